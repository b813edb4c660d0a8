-- winograd_error.lua: the predicted error of tiles over the plain loop's, and what a tier admits.
--
-- From the measured schemes of schemes.lua: two axes of other sizes than were measured together have the geometric mean of their
-- own; between the measured numbers of channels the logarithm decides. Few channels make the loop better, not the transforms.
local schemes = require "schemes"
local winograd_error = {}

-- The budget of a tier; the same numbers as in runtime/budget.c.
winograd_error.tiers = { proven = 0, loop = 1.25, ["2x"] = 2.1, ["8x"] = 8 }

local single = { 2.0, 1.5, 1.2, 1.0 } -- F(1, taps)

local function row(outputs, taps, stride)
  for _, r in ipairs(stride == 1 and schemes.rows or schemes.strided) do
    if r.outputs == outputs and r.taps == taps and (r.stride or 1) == stride then return r end
  end
end

local function measured_together(h, w, taps)
  for _, m in ipairs(schemes.mixed) do
    local a, b = m.outputs[1], m.outputs[2]
    if m.taps == taps and ((a == h and b == w) or (a == w and b == h)) then return m.errors end
  end
end

local function at_channels(errors, channels)
  local known, n = schemes.channels, #schemes.channels
  if channels < 1 then return errors[1] * channels ^ -0.5 end -- padding: the loop's sums are shorter, the transforms are not
  if channels >= known[n] then return errors[n] end
  local i = 1
  while known[i + 1] <= channels do i = i + 1 end
  local share = (math.log(channels) - math.log(known[i])) / (math.log(known[i + 1]) - math.log(known[i]))
  return errors[i] + share * (errors[i + 1] - errors[i])
end

-- Of tiles of h x w outputs of h_taps x w_taps taps, reducing over `channels`, with strides, if any; huge where nothing is known.
function winograd_error.predict(h, h_taps, w, w_taps, channels, h_stride, w_stride)
  h_stride, w_stride = h_stride or 1, w_stride or 1
  if h_taps <= h_stride then h, h_taps, h_stride, w, w_taps, w_stride = w, w_taps, w_stride, h, h_taps, h_stride end
  local a, b = row(h, h_taps, h_stride), row(w, w_taps, w_stride)
  if w_taps <= w_stride then -- phases of one tap
    local line = h == 1 and single or a and a.line
    return line and at_channels(line, channels) or math.huge
  end
  local mixed = h_taps == w_taps and h_stride * w_stride == 1 and measured_together(h, w, h_taps)
  if mixed then return at_channels(mixed, channels) end
  local one, other = h == 1 and single or a and a.square, w == 1 and single or b and b.square
  if not one or not other then return math.huge end
  return math.sqrt(at_channels(one, channels) * at_channels(other, channels))
end

-- Of sums in chunks, over one sum of all channels: rounding grows with the length of a chain, c of n; then come the n / c chunks, and what
-- the transforms do to each product (measured).
function winograd_error.chunks(channels, chunk)
  if not chunk or chunk >= channels then return 1 end
  return math.min(math.sqrt(chunk / channels + 1 / chunk + 16 / channels), 1)
end

return winograd_error
