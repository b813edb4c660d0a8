-- parts.lua: pieces of kernel programs that several families use.
local activations, types = require "activations", require "types"
local parts = {}

local function activate(k, p, acc, temp, with)
  if with.slope and with.slope_of_all then k:broadcast(temp, with.slope)
  elseif with.slope then k:load(temp, with.slope, with.first, with.count) end
  activations.put(k, p, acc, temp)
end

-- What remains to be done to `acc` before the last store, in the order of the canonical result: bias, then residual and
-- activation, either first. with: their addresses, those that there are, `bias`, `residual` and `slope`
-- (slope_of_all: one for all lanes), and the lanes, first and count; `temp` is a register that may be overwritten.
function parts.epilogue(k, p, acc, temp, with)
  local function add(address)
    if not address then return end
    k:load(temp, address, with.first, with.count)
    k:add(acc, acc, temp)
  end
  add(with.bias)
  if not p.epilogue.residual_last then add(with.residual) end
  activate(k, p, acc, temp, with)
  if p.epilogue.residual_last then add(with.residual) end
end

-- Whether a slope for each channel is read.
function parts.slopes(p) return activations.of(p).slopes end

---- words for readers of emitted C ------------------------------------------------------------------------------------

-- "v = 0..3", of one "v = 0"; "4 vectors", "1 vector".
function parts.span(name, n) return n == 1 and name .. " = 0" or ("%s = 0..%d"):format(name, n - 1) end
function parts.plural(n, what) return ("%d %s%s"):format(n, what, n == 1 and "" or "s") end

---- sizes -------------------------------------------------------------------------------------------------------------

-- Bytes of an element, and elements of a vector of the target.
function parts.size_of(p) return types.bytes(types.computed(p)) end
function parts.lanes_of(p, target) return types.lanes(types.computed(p), target) end

-- Pixels of a tensor of a problem with these axes; bytes of both activations, of the weights.
function parts.pixels(p, axes) return p.batch * axes[1] * axes[2] * axes[3] end

function parts.activation_bytes(p)
  return (parts.pixels(p, p.input) * p.ic + parts.pixels(p, p.output) * p.oc) * parts.size_of(p)
end

function parts.weight_bytes(p)
  return p.kernel[1] * p.kernel[2] * p.kernel[3] * (p.ic // p.groups) * p.oc * parts.size_of(p)
end

function parts.round_up(n, to) return (n + to - 1) // to * to end

-- `elements` rounded up to an odd number of cache lines, so that rows this far apart do not meet in the caches' sets.
function parts.odd_lines(elements, size)
  local lines = (elements * size + 63) // 64
  return (lines | 1) * 64 // size
end

function parts.too_much_scratch(bytes, most)
  return ("needs %.1f MB of scratch a thread, at most %d"):format(bytes / 2.0 ^ 20, most >> 20)
end

return parts
