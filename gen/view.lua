-- view.lua: where a tensor's elements are: its base, and its strides in elements by axis name.
--
-- An image has the axes n, d, h, w and c, the channels; weights have kd, kh, kw, i and o. g steps from one group's
-- channels to the next one's. Families ask here instead of writing a layout down; what they move into scratch is a view
-- of their own.
local types = require "types"
local view = {}

-- What every family works out of a problem and a target: bytes of an element, elements of a vector and of 128 bits,
-- channels of a group that are read and written forward, taps of all axes.
function view.units(p, target)
  local t = types.computed(p)
  return { size = types.bytes(t), lanes = target and types.lanes(t, target), part = types.part(t),
    icg = p.ic // p.groups, ocg = p.oc // p.groups, taps = p.kernel[1] * p.kernel[2] * p.kernel[3] }
end

-- all: channels; channels: those of a group; memory: where it is. neighbours: pixels of a row stand beside each other.
-- pitch: where it is a slice of the channels of a wider tensor, elements from pixel to pixel.
local function image(p, base, all, size, pitch)
  local last, pixels, channels = p.layout == "nhwc", size[1] * size[2] * size[3], all // p.groups
  local each = last and (pitch or 0) > 0 and pitch or all
  local w, c = last and each or 1, last and 1 or pixels
  return { base = base, memory = base, all = all, channels = channels, size = size, n = each * pixels, g = channels * c,
    c = c, d = size[2] * size[3] * w, h = size[3] * w, w = w, neighbours = w == 1 }
end

-- The same image elsewhere, w elements from pixel to pixel.
function view.moved(v, memory, w)
  return setmetatable({ memory = memory, w = w, h = v.size[3] * w, d = v.size[2] * v.size[3] * w }, { __index = v })
end

function view.src(p) return image(p, "src", p.ic, p.input, p.src_stride) end
function view.dst(p) return image(p, "dst", p.oc, p.output, p.dst_stride) end

-- Of forward and backward data: what is read, and what is written.
function view.gathered(p)
  if p.pass == "forward" then return view.src(p), view.dst(p) end
  return view.dst(p), view.src(p)
end

function view.weights(p)
  local icg, kh, kw = p.ic // p.groups, p.kernel[2], p.kernel[3]
  local last = p.layout == "nhwc"
  local tap, o = last and icg * p.oc or 1, last and 1 or icg * p.kernel[1] * kh * kw
  return { base = "weights", kd = kh * kw * tap, kh = kw * tap, kw = tap, i = last and p.oc or p.kernel[1] * kh * kw,
    o = o, g = p.oc // p.groups * o }
end

local order = { "n", "g", "kd", "kh", "kw", "i", "o", "c", "d", "h", "w" }

-- The offset of a position: integers or driver expressions by axis name; without a name 0.
function view.at(v, position)
  local sum = 0
  for _, axis in ipairs(order) do
    if position[axis] then sum = sum + position[axis] * v[axis] end
  end
  return sum
end

return view
