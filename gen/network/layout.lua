-- network/layout.lua: from operations on tensors to operations on views, with copies where an operation cannot read or
-- write a view as it is.
--
-- What only moves elements (transpose, reshape, slice, split) is a change of a view. Convolutions take channels-last
-- images, which may be slices of wider ones; what they make is channels-last. Other results lie as the first operand
-- does. Inputs and outputs have the file's order.
-- A step is { op, name, from (the file's operation, or nil: a copy), slots = { {slot, view}, ... }, dst = view }.
local text = require "network/text"
local shapes = require "network/shapes"
local operations = require "network/operations"
local views = require "network/views"
local layout = {}

local slots = { "src", "weights", "residual", "bias", "slope" }

---- steps -----------------------------------------------------------------------------------------------------------------

local function put(l, step)
  l.steps[#l.steps + 1] = step
  return step
end

local function copy(l, from, to, name)
  put(l, { op = "copy", name = name, slots = { { "src", from } }, dst = to })
  return to
end

-- Where a result is to lie: as it was assigned, else in a root of its own.
local function place_for(l, name, order)
  local t = l.net.tensors[name]
  return l.assigned[name] or views.fresh("arena", t.type, t.dims, order or views.natural(#t.dims))
end

-- A result that lies at `made`, where it must be at its assigned place.
local function settle(l, name, made)
  local assigned = l.assigned[name]
  if assigned and not views.same(assigned, made) then made = copy(l, made, assigned, name) end
  l.views[name] = made
end

---- views alone -----------------------------------------------------------------------------------------------------------

local change = {}

function change.transpose(_, o, v) return { views.transposed(v, o.attributes.order) } end

function change.slice(_, o, v)
  local f = o.attributes
  for i, axis in ipairs(f.axes) do
    local step = f.steps and f.steps[i] or 1
    local count = (f.to[i] - f.from[i] + step - (step > 0 and 1 or -1)) // step
    v = views.part(v, axis + 1, f.from[i], count, step)
  end
  return { v }
end

function change.split(_, o, v)
  local list, at = {}, 0
  for i, size in ipairs(o.attributes.sizes) do
    list[i], at = views.part(v, o.attributes.axis + 1, at, size), at + size
  end
  return list
end

function change.reshape(l, o, v)
  local reshaped = views.reshaped(v, o.attributes.dims)
  if reshaped then return { reshaped } end
  local dense = copy(l, v, views.fresh("arena", v.type, v.dims), o.name)
  return { views.reshaped(dense, o.attributes.dims) }
end

local kinds = {}

function kinds.view(l, o)
  local list = change[o.op](l, o, l.views[o.operands[1]])
  for i, name in ipairs(o.results) do settle(l, name, list[i]) end
end

function kinds.joins(l, o)
  local axis, at = o.attributes.axis + 1, 0
  local whole = place_for(l, o.name, views.order(l.views[o.operands[1]]))
  for _, operand in ipairs(o.operands) do
    local v = l.views[operand]
    local part = views.part(whole, axis, at, v.dims[axis])
    if not views.same(v, part) then copy(l, v, part, o.name) end
    at = at + v.dims[axis]
  end
  l.views[o.name] = whole
end

---- convolutions ------------------------------------------------------------------------------------------------------------

local function pixel_axes(l, rank)
  local channel, pixels = shapes.channel_axis(l.net.layout, rank) + 1, {}
  for i = 1, rank do if i ~= channel then pixels[#pixels + 1] = i end end
  return pixels, channel
end

local function pitch_of(l, v) return views.pitch(v, pixel_axes(l, #v.dims)) end

-- The view as a convolution can take it, with this pitch where one is given.
local function image(l, v, name, pitch)
  local own = pitch_of(l, v)
  if own and (not pitch or own == pitch) then return v end
  return copy(l, v, views.fresh("arena", v.type, v.dims, views.channels_last(l.net.layout, #v.dims)), name)
end

local function convolution_dst(l, o)
  local assigned = l.assigned[o.name]
  if assigned and pitch_of(l, assigned) then return assigned end
  local t = l.net.tensors[o.name]
  return views.fresh("arena", t.type, t.dims, views.channels_last(l.net.layout, #t.dims))
end

function kinds.convolution(l, o)
  local src, dst = image(l, l.views[o.operands[1]], o.operands[1]), convolution_dst(l, o)
  local list = { { "src", src }, { "weights", l.views[o.operands[2]] } }
  if o.residual then
    local residual = l.views[o.residual]
    if pitch_of(l, residual) ~= pitch_of(l, dst) then
      residual = image(l, residual, o.residual, 0)
      if pitch_of(l, dst) ~= 0 then dst = convolution_dst({ net = l.net, assigned = {} }, o) end
    end
    list[#list + 1] = { "residual", residual }
  end
  if o.operands[3] then list[#list + 1] = { "bias", l.views[o.operands[3]] } end
  if o.slope then list[#list + 1] = { "slope", l.views[o.slope] } end
  put(l, { op = o.op, name = o.name, from = o, slots = list, dst = dst, src_pitch = pitch_of(l, src),
    dst_pitch = pitch_of(l, dst) })
  settle(l, o.name, dst)
end

---- all others ----------------------------------------------------------------------------------------------------------

-- The order of a result: that of the first operand of its rank.
local function order_like_operands(l, o)
  local rank = #l.net.tensors[o.name].dims
  for _, operand in ipairs(o.operands) do
    local v = l.views[operand]
    if v and #v.dims == rank and v.root.place ~= "weights" then return views.order(v) end
  end
end

-- Operands that are numbers are not in a slot.
local function slots_of(l, o, as)
  local list = {}
  for _, operand in ipairs(o.operands) do
    local v = l.views[operand]
    if v then
      local slot = slots[#list + 1] or text.fail("%s has more than %d tensors as operands", o.op, #slots)
      list[#list + 1] = { slot, as and as(v) or v }
    end
  end
  return list
end

local function plain(l, o, as)
  local dst = place_for(l, o.name, order_like_operands(l, o))
  put(l, { op = o.op, name = o.name, from = o, slots = slots_of(l, o, as), dst = dst })
  l.views[o.name] = dst
end

-- One element for each channel, as long as the result.
local function along_channels(l, v, dims)
  local shape = {}
  for i = 1, #dims do shape[i] = 1 end
  shape[shapes.channel_axis(l.net.layout, #dims) + 1] = v.dims[1]
  return views.broadcast(views.reshaped(v, shape), dims)
end

local per_channel = { batchnorm = true, instancenorm = true }

function kinds.elements(l, o)
  local dims = l.net.tensors[o.name].dims
  plain(l, o, function(v)
    if per_channel[o.op] and #v.dims == 1 then return along_channels(l, v, dims) end
    return views.broadcast(v, dims)
  end)
end

local function with_axes(dims, axes)
  local kept, gone = table.move(dims, 1, #dims, 1, {}), {}
  for _, axis in ipairs(axes) do kept[axis + 1] = 1 end
  return kept
end

-- Along axes: the result has the operand's rank, with one element where there is one for all.
function kinds.rows(l, o)
  local src, f = l.views[o.operands[1]], o.attributes
  plain(l, o, function(v) return v == src and v or views.broadcast(v, src.dims) end)
  local axes = o.op:match "^reduce" and f.axes or o.op == "argmax" and { f.axis }
  local step = l.steps[#l.steps]
  if axes then step.dst = views.reshaped(step.dst, with_axes(src.dims, axes)) end
end

-- The view of channels apart: n, c, h, b, w, b (crd) or what depth_to_space has else, as one of six axes each.
function kinds.moves(l, o)
  if o.op ~= "depth_to_space" then return plain(l, o) end
  text.fail "depth_to_space is not laid out"
end

kinds.window, kinds.product = plain, plain

---- the whole -------------------------------------------------------------------------------------------------------------

local bytes = { f32 = 4, f64 = 8, i64 = 8 }

local function constants_and_inputs(l)
  for _, name in ipairs(l.net.constants) do
    local t = l.net.tensors[name]
    local v = views.fresh("weights", t.type, t.dims)
    v.root.at = t.offset
    l.views[name] = v
  end
  for i, name in ipairs(l.net.inputs) do
    local t = l.net.tensors[name]
    l.views[name] = views.fresh("input", t.type, t.dims)
    l.views[name].root.index = i - 1
  end
end

-- Outputs lie in the file's order, in memory of the caller's.
local function assign_outputs(net)
  local assigned = {}
  for i, name in ipairs(net.outputs) do
    local t = net.tensors[name]
    local v = views.fresh("output", t.type, t.dims)
    v.root.index = i - 1
    assigned[name] = v
  end
  return assigned
end

-- An input or a constant that is an output as well.
local function copy_outputs(l)
  for _, name in ipairs(l.net.outputs) do
    if not l.net.tensors[name].from then copy(l, l.views[name], l.assigned[name], name) end
  end
end

local function forward(net, assigned)
  local l = { net = net, assigned = assigned, views = {}, steps = {} }
  constants_and_inputs(l)
  for _, o in ipairs(net.operations) do kinds[operations.row(o.op).kind](l, o) end
  copy_outputs(l)
  return l
end

-- The network's steps and the view of every tensor.
function layout.of(net) return forward(net, assign_outputs(net)) end

layout.bytes = bytes

return layout
