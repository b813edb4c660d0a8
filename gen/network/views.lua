-- network/views.lua: where a tensor's elements are: a view of a root.
--
-- A root is memory of one piece: { place = "input" | "output" | "weights" | "arena", index, type, elements }. A view
-- has root, type, dims, strides and offset, both in elements; strides may be negative, 0 where one element serves
-- all. Views are values: nothing here changes one. The stride of an axis of one element says nothing.
local shapes = require "network/shapes"
local views = {}

local function copied(list) return table.move(list, 1, #list, 1, {}) end

-- The axes from the outermost to the innermost, for a tensor of some rank.
function views.natural(rank)
  local order = {}
  for i = 1, rank do order[i] = i end
  return order
end

-- Channels last inside, whatever the order of the file is.
function views.channels_last(layout, rank)
  local order, channel = {}, shapes.channel_axis(layout, rank) + 1
  for i = 1, rank do if i ~= channel then order[#order + 1] = i end end
  order[rank] = channel
  return order
end

local function dense_strides(dims, order)
  local strides, step = {}, 1
  for i = #order, 1, -1 do
    strides[order[i]] = step
    step = step * dims[order[i]]
  end
  return strides, step
end

-- A tensor over all of a root of its own.
function views.fresh(place, type, dims, order)
  local strides, elements = dense_strides(dims, order or views.natural(#dims))
  return { root = { place = place, type = type, elements = elements }, type = type, dims = copied(dims),
    strides = strides, offset = 0 }
end

local function with(v, dims, strides, offset)
  return { root = v.root, type = v.type, dims = dims, strides = strides, offset = offset or v.offset }
end

-- The order in which the axes lie; those of one element where their neighbours in the file are.
function views.order(v)
  local list = {}
  for i = 1, #v.dims do if v.dims[i] > 1 then list[#list + 1] = i end end
  table.sort(list, function(a, b)
    local x, y = math.abs(v.strides[a]), math.abs(v.strides[b])
    return x > y or x == y and a < b
  end)
  for i = 1, #v.dims do if v.dims[i] == 1 then table.insert(list, 1, i) end end
  return list
end

-- Whether two views of tensors of one shape have their elements at the same places of one root.
function views.same(a, b) return a.root == b.root and views.alike(a, b) end

-- The same of two roots.
function views.alike(a, b)
  if a.offset ~= b.offset or not shapes.same(a.dims, b.dims) then return false end
  for i = 1, #a.dims do if a.dims[i] > 1 and a.strides[i] ~= b.strides[i] then return false end end
  return true
end

---- changes -----------------------------------------------------------------------------------------------------------

-- order: axis of the old view, from 0, for each of the new one.
function views.transposed(v, order)
  local dims, strides = {}, {}
  for i, axis in ipairs(order) do dims[i], strides[i] = v.dims[axis + 1], v.strides[axis + 1] end
  return with(v, dims, strides)
end

-- Elements from, from + step, ... of an axis (from 1).
function views.part(v, axis, from, count, step)
  local dims, strides = copied(v.dims), copied(v.strides)
  dims[axis], strides[axis] = count, v.strides[axis] * (step or 1)
  return with(v, dims, strides, v.offset + from * v.strides[axis])
end

-- The same elements for more dims: NumPy's broadcasting.
function views.broadcast(v, dims)
  local strides, ahead = {}, #dims - #v.dims
  for i = 1, #dims do
    local own = i > ahead and v.dims[i - ahead] > 1
    strides[i] = own and v.strides[i - ahead] or 0
  end
  return with(v, copied(dims), strides)
end

-- Axes of more than one element, neighbours that are walked as one merged: { size, stride }.
local function merged(v)
  local list = {}
  for i = 1, #v.dims do
    local size, stride, before = v.dims[i], v.strides[i], list[#list]
    if size > 1 and before and before[2] == size * stride then
      before[1], before[2] = before[1] * size, stride
    elseif size > 1 then
      list[#list + 1] = { size, stride }
    end
  end
  return list
end

-- The same elements in the same order as other dims; nil: strides cannot say it.
function views.reshaped(v, dims)
  local list, strides, n = merged(v), {}, 0
  n = #list
  local left, stride = n > 0 and list[n][1] or 1, n > 0 and list[n][2] or 1
  for i = #dims, 1, -1 do
    if left == 1 and dims[i] > 1 and n > 1 then
      n = n - 1
      left, stride = list[n][1], list[n][2]
    end
    if left % dims[i] ~= 0 then return nil end
    strides[i], left, stride = stride, left // dims[i], stride * dims[i]
  end
  return with(v, copied(dims), strides)
end

-- One axis as several: sizes from the outermost on.
function views.divided(v, axis, sizes)
  local dims, strides, step = copied(v.dims), copied(v.strides), v.strides[axis]
  table.remove(dims, axis)
  table.remove(strides, axis)
  for i = #sizes, 1, -1 do
    table.insert(dims, axis, sizes[i])
    table.insert(strides, axis, step)
    step = step * sizes[i]
  end
  return with(v, dims, strides)
end

-- Every one of some axes, from the `first` on, as two: its elements, and how often each is repeated.
function views.repeated(v, first, factors)
  local dims, strides = copied(v.dims), copied(v.strides)
  for i = #factors, 1, -1 do
    table.insert(dims, first + i, factors[i])
    table.insert(strides, first + i, 0)
  end
  return with(v, dims, strides)
end

---- questions ---------------------------------------------------------------------------------------------------------

-- Elements from a pixel to the next of an image whose axes lie in this order, the channels last; 0: dense. nil: it does
-- not lie so.
function views.pitch(v, order)
  local channel = order[#order]
  local channels, pitch, count = v.dims[channel], nil, 1
  if channels > 1 and v.strides[channel] ~= 1 then return nil end
  for i = #order - 1, 1, -1 do
    local size, stride = v.dims[order[i]], v.strides[order[i]]
    if size > 1 then
      pitch = pitch or stride
      if stride ~= pitch * count then return nil end
      count = count * size
    end
  end
  pitch = pitch or channels
  if pitch < channels or pitch > (1 << 31) - 1 then return nil end
  return pitch == channels and 0 or pitch
end

-- Whether the axes of more than one element lie in this order.
function views.lies_in(v, order)
  local last = math.huge
  for _, axis in ipairs(order) do
    if v.dims[axis] > 1 then
      if v.strides[axis] > last then return false end
      last = v.strides[axis]
    end
  end
  return true
end

-- Whether a view covers its root, each element once.
function views.whole(v)
  local count = 1
  for i, size in ipairs(v.dims) do count = v.strides[i] == 0 and size > 1 and -1 or count * size end
  return count == v.root.elements
end

return views
