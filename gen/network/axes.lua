-- axes.lua: what an operation walks over: axes {size, steps}, a step in elements for each of its views, outermost
-- first.
--
-- Axes of one element are dropped, and neighbours that all views step through as one are one. So a kernel that knows a
-- row, or rows of rows, serves tensors of any rank. The last view is what is written. Nothing here knows an operation.
local axes = {}

-- Of dims and lists of strides, one a view.
function axes.of(dims, strides)
  local list = {}
  for i, size in ipairs(dims) do
    local steps = {}
    for v, of in ipairs(strides) do steps[v] = of[i] end
    if size ~= 1 then list[#list + 1] = { size = size, steps = steps } end
  end
  return list
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

-- In the order of what is written, small steps last.
function axes.ordered(list)
  local out, written = table.move(list, 1, #list, 1, {}), list[1] and #list[1].steps
  for i, axis in ipairs(out) do axis.place = i end
  table.sort(out, function(a, b)
    local x, y = a.steps[written], b.steps[written]
    return x > y or (x == y and a.place < b.place)
  end)
  return out
end

-- An axis of one element, for views that lack one.
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

-- An axis in blocks: the axis of the blocks and that of a block; what remains (nil: nothing) begins at `first`.
function axes.blocks(axis, block)
  local steps = {}
  for v, step in ipairs(axis.steps) do steps[v] = step * block end
  local count, rest = axis.size // block, axis.size % block
  return { size = count, steps = steps }, { size = block, steps = axis.steps },
    rest > 0 and { size = rest, steps = axis.steps, first = count * block } or nil
end

return axes
