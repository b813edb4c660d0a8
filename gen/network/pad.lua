-- pad.lua: constants around a tensor: what is inside is copied, and slabs of constants are put around it, axis by axis.
local elements, turned = require "network/elements", require "network/turned"
local pad = {}

-- Part of a view: of axis i, `count` elements from `first` on.
local function part(view, i, first, count)
  local dims = table.move(view.dims, 1, #view.dims, 1, {})
  dims[i] = count
  local offset = (view.offset or 0) + first * view.strides[i]
  return { type = view.type, dims = dims, strides = view.strides, offset = offset }
end

local function add(list, more) table.move(more, 1, #more, #list + 1, list) end

-- before: elements before those of src, of each axis; value.
function pad.parts(b, operation, views)
  local list, inside, steps = {}, views.dst, { { "add", { value = operation.value or 0 } } }
  local function fill(view) add(list, elements.parts(b, { slots = {}, views = { view }, steps = steps })) end
  for i, size in ipairs(views.src.dims) do
    local before, all = operation.before[i], views.dst.dims[i]
    if before > 0 then fill(part(inside, i, 0, before)) end
    if all > before + size then fill(part(inside, i, before + size, all - before - size)) end
    inside = part(inside, i, before, size)
  end
  add(list, turned.parts(b, { views.src, inside })
    or elements.parts(b, { slots = { "src" }, views = { views.src, inside }, steps = {} }))
  return list
end

return pad
