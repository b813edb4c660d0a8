-- planes.lua: channels-first data for Winograd's algorithm: what a block of tiles reads and writes, as pixels of
-- channels.
--
-- A block's window is laid out as pixels in the thread's scratch before it is transformed, and the outputs of a column
-- tile stand there as pixels before they are put into their planes, where a residual is added. Both are transposes of
-- 128-bit parts. Where a block is as wide as a plane, its rows are one run of pixels.
local parts = require "parts"
local cut = require "tiles"
local relayout = require "relayout"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local planes = {}

-- Pixels of the largest block, an axis: of its window in the input, of its outputs.
local function longest(plan, most)
  local window, outputs = 0, 0
  for _, band in ipairs(grid.bands(plan, cut.piece_runs(plan.tiles, most))) do
    window, outputs = math.max(window, band.high - band.low), math.max(outputs, band.outputs)
  end
  return { window = window, outputs = outputs }
end

-- Sizes of the two buffers, which stand behind what a shape has in its scratch.
function planes.buffers(s)
  local rows, columns, images = blocks.block(s.h.tiles, s.w.tiles, s.images, s.schedule.tiles)
  local f, from, to = s.figures, {}, {}
  f.rows, f.columns = f.rows or longest(s.h, rows), f.columns or longest(s.w, columns)
  from.w, to.w = parts.odd_lines(s.from.channels, s.size), s.width
  from.h, to.h = f.columns.window * from.w, f.columns.outputs * to.w
  from.n, to.n = f.rows.window * from.h, f.rows.outputs * to.h
  from.at = s.scratch // s.size
  to.at = from.at + parts.round_up(images * from.n, 64 // s.size)
  s.from, s.to = setmetatable(from, { __index = s.from }), setmetatable(to, { __index = s.to })
  s.scratch = (to.at + images * to.n) * s.size
end

-- Where a pixel of a channel is in a tensor.
local function element(tensor, image, channel, y, x)
  return ((image * tensor.all + channel) * tensor.size[2] + y) * tensor.size[3] + x
end

-- Runs of pixels that stand side by side both in planes and in a buffer: how many, pixels of each.
local function runs(tensor, rows, columns)
  if columns == tensor.size[3] and columns * tensor.w == tensor.h then return 1, rows * columns end
  return rows, columns
end

local function kernel(s, tensor, pixels, channels)
  local what = tensor == s.from and "pixels" or "planes"
  local view = { channels = channels, pixels = pixels, pitch = tensor.w, limit = pixels * tensor.w,
    row = tensor.size[2] * tensor.size[3], loose = true, exact = true }
  if tensor == s.to and s.later then view.finish, view.once = s.p, true end
  return s.build:kernel(("%s %d %d"):format(what, pixels, channels), what, function(called)
    return (tensor == s.from and relayout.to_pixels or relayout.to_rows)(view, called)
  end)
end

-- Runs of a block's window as far as it is in the input, and of its outputs.
local function window_runs(s, h, w) return runs(s.from, h.high - h.low, w.high - w.low) end
local function output_runs(s, h, w) return runs(s.to, h.outputs, w.outputs) end

-- Kernels are made before the drivers' texts.
function planes.make_kernels(s, block)
  local _, pixels = window_runs(s, block.h, block.w)
  if pixels > 0 then kernel(s, s.from, pixels, s.from.channels) end
  local _, results = output_runs(s, block.h, block.w)
  for _, run in ipairs(s.columns) do kernel(s, s.to, results, run.tile.channels) end
end

-- Calls body(image, line) in loops over `count` runs of each image of a block.
local function each_line(t, count, body)
  t.d:loop("image", 0, t.block.images, 1, function(image)
    t.d:loop("line", 0, count, 1, function(line) body(image, line) end)
  end)
end

-- The window of a block as pixels.
function planes.read(s, t)
  local h, w, from = t.block.h, t.block.w, s.from
  local count, pixels = window_runs(s, h, w)
  if pixels == 0 then return end
  each_line(t, count, function(image, line)
    local y, x = t.y + line + (h.low + s.h.base), t.x + (w.low + s.w.base)
    t.d:call(kernel(s, from, pixels, from.channels), {
      { t.d[from.base], element(from, t.image + image, t.g * from.channels, y, x) },
      { t.d.scratch, image * from.n + line * from.h + from.at } })
  end)
end

-- Where the window of a tile begins, and where its outputs go, in the buffers.
function planes.window(s, block, image, y, x)
  return image * s.from.n + (y - block.h.low) * s.from.h + (x - block.w.low) * s.from.w + s.from.at
end

function planes.outputs(s, image, y, x) return image * s.to.n + y * s.to.h + x * s.to.w + s.to.at end

-- A problem whose residual and activation come here, not with its outputs' transform.
function planes.unfinished(p) return setmetatable({ epilogue = { activation = "none" } }, { __index = p }) end

-- The outputs of a column tile into their planes.
function planes.write(s, t)
  local count, pixels = output_runs(s, t.block.h, t.block.w)
  each_line(t, count, function(image, line)
    local to = element(s.to, t.image + image, t.channel, t.y + line, t.x)
    t.d:call(kernel(s, s.to, pixels, t.tile.channels), {
      from = { t.d.scratch, image * s.to.n + line * s.to.h + s.to.at }, to = { t.d[s.to.base], to },
      residual = { t.d.residual, to }, slope = { t.d.slope, t.channel } })
  end)
end

return planes
