-- planes.lua: channels-first data for a tile that wants pixels of channels: a band of rows of them in a task's scratch.
--
-- What a band of output rows needs of the input is laid out as pixels before its tiles are computed, and the outputs of
-- a column tile stand there as pixels before they are put into their planes, where a residual is added. Bands are as
-- wide as the image, so their rows are one run of pixels. A 1x1 with a stride takes its pixels alone.
local driver = require "driver"
local parts = require "parts"
local relayout = require "relayout"
local cut = require "tiles"
local planes = {}

planes.most_scratch = 1 << 20

planes.node = { "planes", fields = { { "s", "splits" } }, when = "splits" } -- in a schedule's name

---- the shape -------------------------------------------------------------------------------------------------------

-- An axis of one tap is one without a stride over each n-th pixel (along a row n is 2: it divides all vectors).
local function thinned(axis, i)
  local n = axis.step
  if axis.taps ~= 1 or axis.offset ~= 0 or n == 1 or i == 1 or (i == 3 and n ~= 2) then return axis, 1 end
  return setmetatable({ step = 1, inputs = math.min(axis.outputs, (axis.inputs + n - 1) // n) }, { __index = axis }), n
end

-- Completes a shape: which pixels of the input are taken, and how they stand. A residual is added where outputs are put
-- into their planes.
function planes.shape(s)
  local every = {}
  for i = 1, 3 do
    every[i] = 1
    if s.p.pass == "forward" then s.axes[i][1], every[i] = thinned(s.axes[i][1], i) end
  end
  s.planes = { every = every, lines = every[2] > 1 or every[3] > 1 }
  s.from.memory, s.to.memory, s.later, s.residual = "scratch", "scratch", s.residual, false
  s.slope = s.slope and not s.later
  local few = s.from.channels * s.size < 64 -- pixels side by side: a row of taps is one loop, as of channels-last data
  s.from.w = few and s.from.channels or parts.odd_lines(s.from.channels, s.size)
  s.from.h = s.axes[3][1].inputs * s.from.w
end

-- Where the input begins that `outputs` neighbouring outputs of an axis's phases gather from, and how much of it there
-- is.
function planes.window(axes, outputs)
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
function planes.begin(w, first)
  return driver.max(driver.min(driver.expr(first) * w.step + w.low, w.inputs - w.count), 0)
end

-- Bands of the rows of the first phase, the longest: runs of {first, size, count, results: rows of the output, window}.
function planes.bands(s, rows)
  local axes, list, stride, size = s.axes[2], {}, s.axes[2][1].stride, s.to.size[2]
  for i, run in ipairs(cut.pieces_about(axes[1].outputs, rows, 0, size // stride)) do
    list[i] = { first = run.first, size = run.size, count = run.count, window = planes.window(axes, run.size),
      results = math.min(run.size * stride, size - run.first * stride) }
  end
  return list
end

-- Completes the shape for a schedule: its bands, and both buffers in the scratch.
function planes.plan(s, schedule, width)
  local plan, rows, depth = s.planes, 0, 0
  plan.splits, plan.bands = schedule.splits or 1, planes.bands(s, schedule.rows)
  for _, band in ipairs(plan.bands) do rows = math.max(rows, band.window.count) end
  for _, axis in ipairs(s.axes[1]) do depth = math.max(depth, planes.window({ axis }, 1).count) end
  s.from.d = rows * s.from.h
  s.to.w, s.to.h = width, s.to.size[3] * width
  plan.out = parts.round_up(depth * s.from.d, 64 // s.size)
  plan.scratch = (plan.out + plan.bands[1].size * s.axes[2][1].stride * s.to.h) * s.size
end

-- Calls visit(rows) for the largest bands of even sizes whose rows stay in the scratch, in a part of the second cache,
-- near the first. More pieces never need more.
function planes.each_size(s, width, visit)
  local outputs, fewest, before = s.axes[2][1].outputs, 1, nil
  local function size_of(pieces) return cut.even_size(outputs, (outputs + pieces - 1) // pieces) end
  for _, most in ipairs { planes.most_scratch, 1 << 18, 1 << 16 } do
    local high = outputs
    while fewest < high do
      local middle = (fewest + high) // 2
      planes.plan(s, { rows = size_of(middle) }, width)
      if s.planes.scratch <= most then high = middle else fewest = middle + 1 end
    end
    local rows = size_of(fewest)
    if rows ~= before then visit(rows) end
    before = rows
  end
end

-- Elements that all tasks of an image and a group lay out.
function planes.moved(s)
  local sum, results = 0, s.to.size[1] * s.to.size[2] * s.to.size[3] * s.to.channels
  for _, axis in ipairs(s.axes[1]) do
    for _, band in ipairs(s.planes.bands) do
      sum = sum + axis.outputs * planes.window({ axis }, 1).count * band.count * band.window.count *
        s.axes[3][1].inputs
    end
  end
  return sum * s.planes.every[3] * s.planes.splits * s.from.channels + results
end

---- kernels ---------------------------------------------------------------------------------------------------------

-- A cache line of channels at a time: {first, size, count} each.
local function channel_runs(s, channels)
  local line, list = 64 // s.size, {}
  if channels >= line then list[1] = { first = 0, size = line, count = channels // line } end
  local rest = channels % line
  if rest > 0 then list[#list + 1] = { first = channels - rest, size = rest, count = 1 } end
  return list
end

-- Those runs with the kernels that turn so many of their pixels: into "pixels" or into "planes".
local function turning(s, what, tensor, pixels, channels)
  local list = pixels > 0 and channel_runs(s, channels) or {}
  for _, run in ipairs(list) do
    run.kernel = s:kernel(("%s %d %d"):format(what, pixels, run.size), what, function(o)
      -- What is written beyond few channels the next pixel puts right, or the outputs do.
      local view = { pixels = pixels, channels = run.size, pitch = tensor.w, loose = true,
        limit = (pixels - 1) * tensor.w + parts.round_up(run.size, 16 // s.size),
        row = tensor.size[1] * tensor.size[2] * tensor.size[3] }
      if what == "planes" then
        view.exact, view.finish, view.once = true, s.later and s.p, s.later
        return relayout.to_rows(view, o)
      end
      view.every = s.planes.every[3]
      return relayout.to_pixels(view, o)
    end)
  end
  return list
end

-- In, line by line where pixels are left out.
local function readers(s, band)
  local line = (s.axes[3][1].inputs - 1) * s.planes.every[3] + 1
  return turning(s, "pixels", s.from, s.planes.lines and line or band.window.count * s.from.size[3], s.from.channels)
end

-- Out, the outputs of a column tile.
function planes.writers(s, band, column)
  return turning(s, "planes", s.to, band.results * s.to.size[3], column.channels)
end

---- what a task does ------------------------------------------------------------------------------------------------

-- Where a pixel of a channel is in a tensor.
local function element(tensor, n, channel, plane, row)
  local size = tensor.size
  return ((n * tensor.all + channel) * size[1] + plane) * (size[2] * size[3]) + row * size[3]
end

-- Lays out the band's window; answers where it begins: {plane, row}. at: g, n, jd, first (row), and the axis along d.
function planes.read(s, d, at, band)
  local runs, depth = readers(s, band), planes.window({ at.axis }, 1)
  local low = { plane = d:let("low_plane", planes.begin(depth, at.jd)),
    row = d:let("low_row", planes.begin(band.window, at.first)) }
  if #runs > 0 and depth.count > 0 then d:comment "The rows of the input that this task needs, as pixels." end
  for _, run in ipairs(runs) do
    local function lines(plane, c)
      d:loop("line", 0, s.planes.lines and band.window.count or 1, 1, function(line)
        local row = (low.row + line) * s.planes.every[2]
        d:call(run.kernel, {
          { d[s.from.base], element(s.from, at.n, at.g * s.from.channels + c, low.plane + plane, row) },
          { d.scratch, plane * s.from.d + line * s.from.h + c } })
      end)
    end
    d:loop("plane", 0, depth.count, 1, function(plane)
      d:loop("part", 0, run.count, 1, function(part) lines(plane, d:let("c", part * run.size + run.first)) end)
    end)
  end
  return low
end

-- The outputs of a column tile into their planes.
function planes.write(s, d, at, runs)
  d:comment "The tile's outputs into their planes."
  for _, run in ipairs(runs) do
    d:loop("part", 0, run.count, 1, function(part)
      local c = d:let("c", part * run.size + run.first)
      local to = d:let("to", element(s.to, at.n, at.channel + c, at.jd * at.axis.stride + at.axis.start,
        at.first * s.axes[2][1].stride))
      d:call(run.kernel, { from = { d.scratch, c + s.planes.out }, residual = { d.residual, to },
        slope = { d.slope, at.channel + c }, to = { d[s.to.base], to } })
    end)
  end
end

return planes
