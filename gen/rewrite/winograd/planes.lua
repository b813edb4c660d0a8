-- planes.lua: channels-first data for the Winograd family: what a block of tiles reads and writes, as pixels of channels.
--
-- A block's window is laid out as pixels in the thread's scratch before it is transformed, and the outputs of a column tile stand
-- there as pixels before they are put into their planes. Both are transposes of 128-bit parts. Where a block is as wide as a plane,
-- its rows are one run of pixels. Weights are laid out likewise before they are transformed.
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
  return window, outputs
end

local function lengths_of(s)
  local rows, columns = blocks.block(s.h.tiles, s.w.tiles, s.images, s.schedule.tiles)
  local l = {}
  l.window_h, l.outputs_h = longest(s.h, rows)
  l.window_w, l.outputs_w = longest(s.w, columns)
  return l
end

-- Sizes of the two buffers, which stand behind what a shape has in its scratch.
function planes.buffers(s)
  s.figures.lengths = s.figures.lengths or lengths_of(s)
  local l, from, to, images = s.figures.lengths, {}, {}, s.figures.images
  from.pitch, to.pitch = parts.odd_lines(s.from.channels, s.size), s.width
  from.row, to.row = l.window_w * from.pitch, l.outputs_w * to.pitch
  from.image, to.image = l.window_h * from.row, l.outputs_h * to.row
  from.at = s.scratch // s.size
  to.at = from.at + parts.round_up(images * from.image, 64 // s.size)
  s.from, s.to = setmetatable(from, { __index = s.from }), setmetatable(to, { __index = s.to })
  s.scratch = (to.at + images * to.image) * s.size
end

local function plane(tensor) return tensor.size[2] * tensor.size[3] end

-- Where a pixel of a channel is in a tensor.
local function element(tensor, image, channel, y, x)
  return ((image * tensor.all + channel) * tensor.size[2] + y) * tensor.size[3] + x
end

-- Runs of pixels that stand side by side both in planes and in a buffer: how many, pixels of each.
local function runs(tensor, rows, columns)
  if columns == tensor.size[3] and columns * tensor.pitch == tensor.row then return 1, rows * columns end
  return rows, columns
end

local function kernel(s, tensor, pixels, channels)
  local what = tensor == s.from and "pixels" or "planes"
  local view = { channels = channels, pixels = pixels, pitch = tensor.pitch, limit = pixels * tensor.pitch,
    row = plane(tensor), loose = true, exact = true }
  return s.build:kernel(("%s %d %d"):format(what, pixels, channels), what, function(called)
    return (tensor == s.from and relayout.to_pixels or relayout.to_rows)(view, called)
  end)
end

-- Kernels are made before the drivers' texts.
function planes.make_kernels(s, block, channels_of_tiles)
  local h, w = block.h, block.w
  local _, pixels = runs(s.from, h.high - h.low, w.high - w.low)
  if pixels > 0 then kernel(s, s.from, pixels, s.from.channels) end
  local _, results = runs(s.to, h.outputs, w.outputs)
  for _, channels in ipairs(channels_of_tiles) do kernel(s, s.to, results, channels) end
end

-- The window of a block, as far as it is in the input, as pixels.
function planes.read(s, t)
  local d, block, h, w = t.d, t.block, t.block.h, t.block.w
  local count, pixels = runs(s.from, h.high - h.low, w.high - w.low)
  if pixels == 0 then return end
  d:loop("image", 0, block.images, 1, function(image)
    d:loop("line", 0, count, 1, function(line)
      d:call(kernel(s, s.from, pixels, s.from.channels), { { d[s.from.base], element(s.from, t.image + image, t.g * s.from.channels,
        t.y + line + (h.low + s.h.base), t.x + (w.low + s.w.base)) }, { d.scratch, image * s.from.image + line * s.from.row + s.from.at } })
    end)
  end)
end

-- Where the window of a tile begins, and where its outputs go, in the buffers.
function planes.window(s, block, image, y, x)
  return image * s.from.image + (y - block.h.low) * s.from.row + (x - block.w.low) * s.from.pitch + s.from.at
end

function planes.outputs(s, image, y, x) return image * s.to.image + y * s.to.row + x * s.to.pitch + s.to.at end

-- The outputs of a column tile into their planes.
function planes.write(s, t, channels)
  local d, block = t.d, t.block
  local count, pixels = runs(s.to, block.h.outputs, block.w.outputs)
  d:loop("image", 0, block.images, 1, function(image)
    d:loop("line", 0, count, 1, function(line)
      d:call(kernel(s, s.to, pixels, channels), { { d.scratch, image * s.to.image + line * s.to.row + s.to.at },
        { d[s.to.base], element(s.to, t.image + image, t.channel, t.y + line, t.x) } })
    end)
  end)
end

---- weights ----------------------------------------------------------------------------------------------------------------------

-- Of a column tile, [input channel][tap][output channel] of forward, [output channel][tap][input channel] of backward data: the
-- kernel, how often it runs, elements between its runs in the weights and in the scratch.
function planes.weights(s, tile, channels)
  local taps, icg = s.h.taps * s.w.taps, s.p.ic // s.p.groups
  local forward = s.p.pass == "forward"
  local pixels = forward and icg * taps or taps
  local made = s.build:kernel(("unfold %d"):format(channels), "unfold", function(called)
    return relayout.to_pixels({ channels = channels, pixels = pixels, pitch = tile.width, limit = pixels * tile.width,
      row = forward and icg * taps or taps, loose = true }, called)
  end)
  return { kernel = made, count = forward and 1 or s.from.channels, from = icg * taps, to = taps * tile.width }
end

return planes
