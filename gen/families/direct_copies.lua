-- direct_copies.lua: the input pixels that a strided 1x1 kernel reads, moved together. Where the input is, they lie far
-- apart: in few sets of the caches, each in a page of its own, and in short rows that divide into tiles badly.
local parts = require "parts"
local copies = {}

copies.most = 1 << 20 -- bytes

local size_of = parts.size_of

-- Elements from a moved pixel to the next: an odd number of cache lines.
function copies.pitch(p) return parts.odd_lines(p.ic, size_of(p)) end

-- Bytes of that many pixels, or nil and why they are not moved.
function copies.bytes(p, pixels)
  if p.groups > 1 then return nil, "copies inputs of one group only" end
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.pad[i] ~= 0 or (p.output[i] - 1) * p.stride[i] >= p.input[i] then
      return nil, "copies inputs of a 1x1 kernel without a pad only"
    end
  end
  local bytes = pixels * copies.pitch(p) * size_of(p)
  if bytes > copies.most then return nil, ("would copy %d bytes, at most %d"):format(bytes, copies.most) end
  return bytes
end

-- rows x columns pixels, the strides of the problem apart, as relayout.copy takes them.
function copies.view(p)
  return { about = "Moves pixels together: rows x columns of those that the stride leaves, an odd number of cache "
    .. "lines apart.",
    from = "src", to = "out", elements = p.ic, many = true, axes = {
      { count = "rows", from = p.stride[2] * p.input[3] * p.ic, as = "from" },
      { count = "columns", from = p.stride[3] * p.ic, to = copies.pitch(p) } } }
end

return copies
