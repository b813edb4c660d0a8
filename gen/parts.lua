-- parts.lua: pieces of kernel programs that several families use.
local types = require "types"
local parts = {}

-- What remains to be done to `acc` before the last store, in the order of the canonical result: bias, residual,
-- activation.
-- `bias` and `residual` are addresses or nil; `temp` is a register that may be overwritten; first, count: the lanes.
function parts.epilogue(k, p, acc, temp, bias, residual, first, count)
  for _, address in ipairs { bias or false, residual or false } do
    if address then
      k:load(temp, address, first, count)
      k:add(acc, acc, temp)
    end
  end
  local e = p.epilogue
  if e.activation == "relu" then
    k:zero(temp)
    k:max(acc, temp, acc)
  elseif e.activation == "clamp" then
    if e.lo > -math.huge then k:constant(temp, e.lo); k:max(acc, temp, acc) end
    if e.hi < math.huge then k:constant(temp, e.hi); k:min(acc, temp, acc) end
  end
end

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
