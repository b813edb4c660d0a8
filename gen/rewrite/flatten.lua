-- flatten.lua: a 1x1 kernel over everything is a matrix product: its pixels may be rows of any length.
local flatten = {}

function flatten.applies(p)
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.stride[i] ~= 1 or p.pad[i] ~= 0 or p.input[i] ~= p.output[i] then return false end
  end
  return true
end

-- The first of the lengths from, from + step, ... to that divides the pixels evenly, or nil.
function flatten.length(pixels, from, to, step)
  for length = from, to, step do
    if pixels % length == 0 then return length end
  end
end

-- The problem whose images, so many together, are rows of a length.
function flatten.child(p, images, length)
  local size = { 1, images * p.input[1] * p.input[2] * p.input[3] // length, length }
  return setmetatable({ batch = p.batch // images, input = size, output = size }, { __index = p })
end

return flatten
