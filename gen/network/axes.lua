-- axes.lua: what an operation walks over: axes {size, steps}, a step in elements for each of its views, outermost
-- first.
--
-- Axes of one element are dropped, and neighbours that all views step through as one are one. So a kernel that knows a
-- row, or rows of rows, serves tensors of any rank. The last view is what is written. Nothing here knows an operation.
local axes = {}

-- Of dims and lists of strides, one a view; place: which of the dims it is. inputs, where they are given: what is read
-- has these dims; then an axis of one element stays where more are read for it.
function axes.of(dims, strides, inputs)
  local list = {}
  for i, size in ipairs(dims) do
    local steps = {}
    for v, of in ipairs(strides) do steps[v] = of[i] end
    if size ~= 1 or inputs and inputs[i] ~= 1 then list[#list + 1] = { size = size, steps = steps, place = i } end
  end
  return list
end

-- Of views with the dims of the last one.
function axes.of_views(views)
  local strides = {}
  for v, view in ipairs(views) do strides[v] = view.strides end
  return axes.of(views[#views].dims, strides)
end

local function together(outer, inner)
  for v, step in ipairs(outer.steps) do
    if step ~= inner.steps[v] * inner.size then return false end
  end
  return true
end

-- Neighbours as one, in the order as it stands.
function axes.merged(list)
  local out = {}
  for _, axis in ipairs(list) do
    local last = out[#out]
    if last and together(last, axis) then
      out[#out] = { size = last.size * axis.size, steps = axis.steps }
    else
      out[#out + 1] = axis
    end
  end
  return out
end

-- In the order of a view, small steps last.
function axes.ordered(list, view)
  local out = table.move(list, 1, #list, 1, {})
  for i, axis in ipairs(out) do axis.at = i end
  table.sort(out, function(a, b)
    local x, y = a.steps[view], b.steps[view]
    return x > y or (x == y and a.at < b.at)
  end)
  return out
end

-- An axis of one element.
function axes.one(views)
  local steps = {}
  for v = 1, views do steps[v] = 0 end
  return { size = 1, steps = steps }
end

function axes.elements(list)
  local n = 1
  for _, axis in ipairs(list) do n = n * axis.size end
  return n
end

-- The list without some of it.
function axes.without(list, ...)
  local out, gone = {}, {}
  for _, axis in ipairs { ... } do gone[axis] = true end
  for _, axis in ipairs(list) do if not gone[axis] then out[#out + 1] = axis end end
  return out
end

-- An axis in pieces of a size, and what remains: {count, size, first, axis}; count pieces, the first one at `first`.
function axes.pieces(axis, size)
  local whole, rest = axis.size // size, axis.size % size
  local list = {}
  if whole > 0 then list[1] = { count = whole, size = size, first = 0, axis = axis } end
  if rest > 0 then list[#list + 1] = { count = 1, size = rest, first = whole * size, axis = axis } end
  return list
end

---- in drivers --------------------------------------------------------------------------------------------------------

-- Indices of a stage's tasks: of axes, and of pieces.
function axes.indices(list)
  local indices = {}
  for i, axis in ipairs(list) do indices[i] = { "i" .. i, axis.count or axis.size } end
  return indices
end

-- The offset of a view where the indices are.
function axes.offset(list, indices, view)
  local sum = 0
  for i, axis in ipairs(list) do
    if axis.count then sum = sum + (indices[i] * axis.size + axis.first) * axis.axis.steps[view]
    else sum = sum + indices[i] * axis.steps[view] end
  end
  return sum
end

return axes
