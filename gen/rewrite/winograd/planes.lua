-- planes.lua: channels-first data for the Winograd family: what a block of tiles reads and writes, as pixels of channels.
--
-- A block's window is laid out as pixels in the thread's scratch before it is transformed, and the outputs of a column tile stand
-- there as pixels before they are put into their planes. Both are transposes of 128-bit parts. Where a block is as wide as a plane,
-- its rows are one run of pixels. Weights are laid out likewise before they are transformed.
local parts = require "parts"
local relayout = require "relayout"
local planes = {}

-- The part [low, high) of a band's window that is in the input.
local function inside(band, plan, axis)
  local at = band.first + plan.base
  local low = math.max(-at, 0)
  return low, math.max(math.min(band.outputs + axis.taps - 1, axis.inputs - at), low)
end

local function most(blocks, axis, measure)
  local n = 0
  for _, block in ipairs(blocks) do n = math.max(n, measure(block[axis])) end
  return n
end

-- Sizes of the two buffers, which stand behind what a shape has in its scratch.
function planes.buffers(s, axis_h, axis_w)
  for _, block in ipairs(s.blocks) do
    block.h.low, block.h.high = inside(block.h, s.h, axis_h)
    block.w.low, block.w.high = inside(block.w, s.w, axis_w)
  end
  local function length(band) return band.high - band.low end
  local function outputs(band) return band.outputs end
  s.from.pitch, s.to.pitch = parts.odd_lines(s.from.channels, s.size), s.width
  s.from.row, s.to.row = most(s.blocks, "w", length) * s.from.pitch, most(s.blocks, "w", outputs) * s.to.pitch
  s.from.image, s.to.image = most(s.blocks, "h", length) * s.from.row, most(s.blocks, "h", outputs) * s.to.row
  s.from.at = s.scratch // s.size
  s.to.at = s.from.at + parts.round_up(s.block_images * s.from.image, 64 // s.size)
  s.scratch = (s.to.at + s.block_images * s.to.image) * s.size
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

local function view(tensor, pixels, channels)
  return { channels = channels, pixels = pixels, pitch = tensor.pitch, limit = pixels * tensor.pitch, row = plane(tensor), loose = true,
    exact = true }
end

local function kernel(s, c, tensor, pixels, channels)
  local inward = tensor == s.from
  return c.kernel(("%s %d %d"):format(inward and "pixels" or "planes", pixels, channels), inward and "pixels" or "planes", function(name)
    return (inward and relayout.to_pixels or relayout.to_rows)(view(tensor, pixels, channels),
      { name = name, type = s.p.type, target = c.target })
  end)
end

-- Kernels are made before the drivers' texts.
function planes.make_kernels(s, c, block, channels_of_tiles)
  local h, w = block.h, block.w
  local _, pixels = runs(s.from, h.high - h.low, w.high - w.low)
  if pixels > 0 then kernel(s, c, s.from, pixels, s.from.channels) end
  local _, results = runs(s.to, h.outputs, w.outputs)
  for _, channels in ipairs(channels_of_tiles) do kernel(s, c, s.to, results, channels) end
end

-- The window of a block, as far as it is in the input, as pixels.
function planes.read(s, c, d, block, at)
  local h, w = block.h, block.w
  local count, pixels = runs(s.from, h.high - h.low, w.high - w.low)
  if pixels == 0 then return end
  d:loop("image", 0, block.images, 1, function(image)
    d:loop("line", 0, count, 1, function(line)
      d:call(kernel(s, c, s.from, pixels, s.from.channels), { { d[s.from.base], element(s.from, at.image + image, at.g * s.from.channels,
        at.y + line + (h.low + s.h.base), at.x + (w.low + s.w.base)) }, { d.scratch, image * s.from.image + line * s.from.row + s.from.at } })
    end)
  end)
end

-- Where the window of a tile begins, and where its outputs go, in the buffers.
function planes.window(s, block, image, y, x)
  return image * s.from.image + (y - block.h.low) * s.from.row + (x - block.w.low) * s.from.pitch + s.from.at
end

function planes.outputs(s, image, y, x) return image * s.to.image + y * s.to.row + x * s.to.pitch + s.to.at end

-- The outputs of a column tile into their planes.
function planes.write(s, c, d, block, at, channels, channel)
  local count, pixels = runs(s.to, block.h.outputs, block.w.outputs)
  d:loop("image", 0, block.images, 1, function(image)
    d:loop("line", 0, count, 1, function(line)
      d:call(kernel(s, c, s.to, pixels, channels), { { d.scratch, image * s.to.image + line * s.to.row + s.to.at },
        { d[s.to.base], element(s.to, at.image + image, channel, at.y + line, at.x) } })
    end)
  end)
end

---- weights ----------------------------------------------------------------------------------------------------------------------

-- Of a column tile, [input channel][tap][output channel] of forward, [output channel][tap][input channel] of backward data: the
-- kernel, how often it runs, elements between its runs in the weights and in the scratch.
function planes.weights(s, c, tile, channels)
  local taps, icg = s.h.taps * s.w.taps, s.p.ic // s.p.groups
  local forward = s.p.pass == "forward"
  local pixels = forward and icg * taps or taps
  local made = c.kernel(("unfold %d"):format(channels), "unfold", function(name)
    return relayout.to_pixels({ channels = channels, pixels = pixels, pitch = tile.width, limit = pixels * tile.width,
      row = forward and icg * taps or taps, loose = true }, { name = name, type = s.p.type, target = c.target })
  end)
  return { kernel = made, count = forward and 1 or s.from.channels, from = icg * taps, to = taps * tile.width }
end

return planes
