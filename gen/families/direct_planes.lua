-- direct_planes.lua: channels-first data for the direct family: a band of rows as pixels of channels in a task's scratch.
--
-- What a band of output rows needs of the input is laid out as pixels before its tiles are computed, and the outputs of a column
-- tile stand there as pixels before they are put into their planes, where a residual is added. Bands are as wide as the image, so
-- their rows are one run of pixels. A 1x1 with a stride takes its pixels alone.
local driver = require "driver"
local parts = require "parts"
local cut = require "tiles"
local relayout = require "relayout"
local planes = {}

planes.most_scratch = 1 << 20

---- the shape --------------------------------------------------------------------------------------------------------------------

-- An axis of one tap is one without a stride over each n-th pixel (along a row n is 2: it divides all vectors).
local function thinned(axis, i)
  local n = axis.step
  if axis.taps ~= 1 or axis.offset ~= 0 or n == 1 or i == 1 or (i == 3 and n ~= 2) then return axis, 1 end
  return setmetatable({ step = 1, inputs = math.min(axis.outputs, (axis.inputs + n - 1) // n) }, { __index = axis }), n
end

-- Completes a shape: which pixels of the input are taken, and how they stand.
function planes.shape(s)
  local every = {}
  for i = 1, 3 do
    every[i] = 1
    if s.p.pass == "forward" then s.axes[i][1], every[i] = thinned(s.axes[i][1], i) end
  end
  s.planes = { every = every }
  s.from.memory, s.to.memory = "scratch", "scratch"
  local few = s.from.channels * s.size < 64 -- pixels side by side: a row of taps is one loop, as of channels-last data
  s.from.pitch = few and s.from.channels or parts.odd_lines(s.from.channels, s.size)
  s.from.row = s.axes[3][1].inputs * s.from.pitch
end

-- Where the input begins that `outputs` neighbouring outputs of an axis's phases gather from, and how much of it there is.
local function window(axes, outputs)
  local low, high
  for _, axis in ipairs(axes) do
    if axis.taps > 0 then
      local reach = (axis.taps - 1) * axis.tap_step
      low = math.min(low or math.huge, axis.offset + math.min(0, reach))
      high = math.max(high or -math.huge, axis.offset + math.max(0, reach) + (outputs - 1) * axis.step)
    end
  end
  local inputs = axes[1].inputs
  return { low = low or 0, step = axes[1].step, count = low and math.min(high - low + 1, inputs) or 0, inputs = inputs }
end

-- The window of output `first` and those after it, moved into the input: its size is the same everywhere.
local function begin(w, first) return driver.max(driver.min(driver.expr(first) * w.step + w.low, w.inputs - w.count), 0) end

-- Bands of the rows of the first phase, the longest: runs of {first, size, count, results: rows of the output, window}.
local function bands(s, rows)
  local axes, list = s.axes[2], {}
  for _, piece in ipairs(cut.even_pieces(axes[1].outputs, rows)) do
    local stride, run = axes[1].stride, list[#list]
    local results = math.min(piece.size * stride, s.to.size[2] - piece.first * stride)
    if run and run.size == piece.size and run.results == results then run.count = run.count + 1
    else
      list[#list + 1] = { first = piece.first, size = piece.size, count = 1, results = results, window = window(axes, piece.size) }
    end
  end
  return list
end

-- Completes the shape for a schedule: its bands, and both buffers in the scratch.
function planes.plan(s, schedule, width)
  local plan, rows, depth = s.planes, 0, 0
  plan.splits, plan.bands = schedule.splits or 1, bands(s, schedule.rows)
  for _, band in ipairs(plan.bands) do rows = math.max(rows, band.window.count) end
  for _, axis in ipairs(s.axes[1]) do depth = math.max(depth, window({ axis }, 1).count) end
  s.from.image = rows * s.from.row
  s.to.pitch, s.to.row = width, s.to.size[3] * width
  plan.out = parts.round_up(depth * s.from.image, 64 // s.size)
  plan.scratch = (plan.out + plan.bands[1].size * s.axes[2][1].stride * s.to.row) * s.size
end

-- Calls visit(rows) for the largest bands of even sizes whose rows stay in the scratch, in a part of the second cache, near the first.
function planes.each_size(s, width, visit)
  local outputs, pieces, before = s.axes[2][1].outputs, 1, nil
  for _, most in ipairs { planes.most_scratch, 1 << 18, 1 << 16 } do
    local rows
    repeat
      rows = cut.even_size(outputs, (outputs + pieces - 1) // pieces)
      planes.plan(s, { rows = rows }, width)
      pieces = pieces + 1
    until s.planes.scratch <= most or rows == 1
    if rows ~= before then visit(rows) end
    before, pieces = rows, pieces - 1
  end
end

-- Elements that all tasks of an image and a group lay out.
function planes.moved(s)
  local sum, results = 0, s.to.size[1] * s.to.size[2] * s.to.size[3] * s.to.channels
  for _, axis in ipairs(s.axes[1]) do
    for _, band in ipairs(s.planes.bands) do
      sum = sum + axis.outputs * window({ axis }, 1).count * band.count * band.window.count * s.axes[3][1].inputs
    end
  end
  return sum * s.planes.every[3] * s.planes.splits * s.from.channels + results
end

---- kernels ------------------------------------------------------------------------------------------------------------------------

-- A cache line of channels at a time: {first, size, count} each.
local function channel_runs(s, channels)
  local line, list = 64 // s.size, {}
  if channels >= line then list[1] = { first = 0, size = line, count = channels // line } end
  if channels % line > 0 then list[#list + 1] = { first = channels // line * line, size = channels % line, count = 1 } end
  return list
end

-- Each kernel is made once, before the drivers' texts are.
local function maker(s, target, kernels)
  local known = {}
  return function(what, make, view)
    local key = ("%s %d %d"):format(what, view.pixels, view.channels)
    if not known[key] then
      known[key] = make(view, { name = what .. #kernels, type = s.p.type, target = target })
      kernels[#kernels + 1] = known[key]
    end
    return known[key]
  end
end

local function view(s, tensor, pixels, channels, fields)
  local part = 16 // s.size
  fields.pixels, fields.channels, fields.pitch = pixels, channels, tensor.pitch
  fields.limit = (pixels - 1) * tensor.pitch + parts.round_up(channels, part)
  -- What is written beyond few channels the next pixel puts right, or the outputs do.
  fields.row, fields.loose = tensor.size[1] * tensor.size[2] * tensor.size[3], true
  return fields
end

-- Kernels that move a band: in, line by line where pixels are left out, and out, for each number of channels of a column tile.
function planes.movers(s, target, kernels)
  local make, every, from, to = maker(s, target, kernels), s.planes.every, s.from, s.to
  local movers = { lines = (every[2] > 1 or every[3] > 1) and true or false }
  function movers.read(band)
    local list = channel_runs(s, from.channels)
    local pixels = movers.lines and (s.axes[3][1].inputs - 1) * every[3] + 1 or band.window.count * from.size[3]
    for _, run in ipairs(pixels > 0 and list or {}) do
      run.kernel = make("pixels", relayout.to_pixels, view(s, from, pixels, run.size, { every = every[3] }))
    end
    return pixels > 0 and list or {}
  end
  function movers.write(band, channels)
    local list = channel_runs(s, channels)
    for _, run in ipairs(list) do
      run.kernel = make("planes", relayout.to_rows, view(s, to, band.results * to.size[3], run.size,
        { exact = true, finish = s.p.pass == "forward" and s.p.epilogue.residual and s.p }))
    end
    return list
  end
  return movers
end

---- what a task does ---------------------------------------------------------------------------------------------------------------

-- Where a pixel of a channel is in a tensor.
local function element(tensor, n, channel, plane, row)
  return ((n * tensor.all + channel) * tensor.size[1] + plane) * (tensor.size[2] * tensor.size[3]) + row * tensor.size[3]
end

-- Lays out the band's window; answers where it begins: {plane, row}.
function planes.read(s, d, at, axis, band, movers, runs)
  local depth, every = window({ axis }, 1), s.planes.every
  local low = { plane = d:let("low_plane", begin(depth, at.jd)), row = d:let("low_row", begin(band.window, at.first)) }
  local lines = movers.lines and band.window.count or 1
  if #runs > 0 and depth.count > 0 then d:comment "The rows of the input that this task needs, as pixels." end
  for _, run in ipairs(runs) do
    d:loop("plane", 0, depth.count, 1, function(plane)
      d:loop("part", 0, run.count, 1, function(part)
        local c = d:let("c", part * run.size + run.first)
        d:loop("line", 0, lines, 1, function(line)
          d:call(run.kernel, { { d[s.from.base], element(s.from, at.n, at.g * s.from.channels + c, low.plane + plane, (low.row + line) * every[2]) },
            { d.scratch, plane * s.from.image + line * s.from.row + c } })
        end)
      end)
    end)
  end
  return low
end

-- The outputs of a column tile into their planes.
function planes.write(s, d, at, axes, runs, channel)
  local residual = s.p.pass == "forward" and s.p.epilogue.residual
  d:comment "The tile's outputs into their planes."
  for _, run in ipairs(runs) do
    d:loop("part", 0, run.count, 1, function(part)
      local c = d:let("c", part * run.size + run.first)
      local to = d:let("to", element(s.to, at.n, channel + c, at.jd * axes[1].stride + axes[1].start, at.first * axes[2].stride))
      local args = { { d.scratch, c + s.planes.out } }
      if residual then args[2] = { d.residual, to } end
      args[#args + 1] = { d[s.to.base], to }
      d:call(run.kernel, args)
    end)
  end
end

return planes
