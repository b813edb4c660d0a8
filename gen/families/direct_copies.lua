-- direct_copies.lua: the input pixels that a strided 1x1 kernel reads, moved together. Where the input is, they lie far apart: in
-- few sets of the caches, each in a page of its own, and in short rows that divide into tiles badly.
local program = require "program"
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

-- rows x columns pixels, the strides of the problem apart.
function copies.kernel(p, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  k.about = "Moves pixels together: rows x columns of those that the stride leaves, an odd number of cache lines apart."
  local src, out, rows, cols = k:pointer("src", "in"), k:pointer("out", "out"), k:count("rows"), k:count("columns")
  local r, lanes = k:vector("r"), k.lanes
  local rest = p.ic % lanes
  k:loop(rows, function()
    local from = k:copy("from", src)
    k:loop(cols, function()
      local x, y = k:copy("x", from), k:copy("y", out)
      k:loop(p.ic // lanes, function()
        k:load(r, k:at(x))
        k:store(k:at(y), r)
        k:advance(x, lanes)
        k:advance(y, lanes)
      end)
      if rest > 0 then
        k:load(r, k:at(x), 0, rest)
        k:store(k:at(y), r, 0, rest)
      end
      k:advance(from, p.stride[3] * p.ic)
      k:advance(out, copies.pitch(p))
    end)
    k:advance(src, p.stride[2] * p.input[3] * p.ic)
  end)
  return k:finish()
end

return copies
