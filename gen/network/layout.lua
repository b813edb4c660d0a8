-- network/layout.lua: from operations on tensors to operations on views, with copies where an operation cannot read or
-- write a view as it is.
--
-- What only moves elements (transpose, reshape, slice, split) is a change of a view. Convolutions take channels-last
-- images, which may be slices of wider ones; what they make is channels-last. Other results lie as the first operand
-- does. Inputs and outputs have the file's order. What a concatenation joins is written where it is joined, and an
-- output in the caller's memory, as far as the operation that makes it can write there.
-- A step is { op, name, of (the file's operation), from (the same, nil: a copy), slots = { {slot, view}, ... }, dst =
-- view }; that of a convolution has src_pitch, dst_pitch (views.pitch) and prepared = { weights, bias, slope (views),
-- steps }: what is folded into weights and bias, in order, { what, operands (views or numbers), epsilon }.
local text = require "network/text"
local shapes = require "network/shapes"
local operations = require "network/operations"
local views = require "network/views"
local layout = {}

local slots = { "src", "weights", "residual", "bias", "slope" }

---- steps -------------------------------------------------------------------------------------------------------------

local function put(l, step)
  step.of = l.operation
  l.steps[#l.steps + 1] = step
end

local function copy(l, from, to, name)
  put(l, { op = "copy", name = name, slots = { { "src", from } }, dst = to })
  return to
end

local function fresh(l, name, order)
  local t = l.net.tensors[name]
  return views.fresh("arena", t.type, t.dims, order)
end

-- Where a result is to lie: as it was assigned, if its axes lie in this order (nil: in any), else in a root of its own.
local function place_for(l, name, order)
  local assigned = l.assigned[name]
  if assigned and (not order or views.lies_in(assigned, order)) then return assigned end
  return fresh(l, name, order)
end

-- The view of a tensor, which is made where it has been put off until somebody reads it.
local function view_of(l, name)
  local pending = l.pending[name]
  if pending then
    l.pending[name] = nil
    local reader = l.operation
    l.operation = pending.from
    pending.make()
    l.operation = reader
  end
  return l.views[name]
end

-- A result lies at `made`; it is copied where it must be elsewhere. Others read it there, but for an output.
local function settle(l, name, made)
  local assigned = l.assigned[name]
  l.made[name], l.views[name] = made, made
  if not assigned or views.same(assigned, made) then return end
  copy(l, made, assigned, name)
  if assigned.root.place ~= "output" then l.views[name] = assigned end
end

---- constants ---------------------------------------------------------------------------------------------------------

local kinds = {}

local function operand_view(l, operand) return type(operand) == "number" and operand or view_of(l, operand) end

-- Weights and a bias that are made when the network is opened: the weights' view has what is folded into them.
function kinds.fold(l, o)
  local before = l.folded[o.operands[1]]
  if (before and before.name or nil) ~= (l.folded[o.bias] and o.bias or nil) then
    text.fail("%s: a bias is folded together with its weights", text.name(o.name))
  end
  local f = { name = o.results[2], steps = {}, bias = before and before.bias or o.bias and l.views[o.bias] }
  if before then table.move(before.steps, 1, #before.steps, 1, f.steps) end
  local operands = {}
  for i = 2, #o.operands do operands[i - 1] = operand_view(l, o.operands[i]) end
  if #f.steps == operations.most_folds then
    text.fail("%s: at most %d steps are folded into a convolution", text.name(o.name), operations.most_folds)
  end
  f.steps[#f.steps + 1] = { what = o.attributes.what, epsilon = o.attributes.epsilon, operands = operands }
  l.folded[o.results[1]], l.folded[o.results[2]] = f, f
  l.views[o.results[1]] = l.views[o.operands[1]]
end

local function weights_in_file(v, o)
  if not v or v.root.place ~= "weights" then
    text.fail("%s: weights, bias and slope must lie in the weights file", text.name(o.name))
  end
  return v
end

-- What is prepared for a convolution.
local function prepared(l, o)
  local f, bias = l.folded[o.operands[2]], o.operands[3]
  local p = { steps = f and f.steps or {}, weights = weights_in_file(l.views[o.operands[2]], o) }
  if f then
    if bias ~= f.name then text.fail("%s: weights and bias are folded together", text.name(o.name)) end
    p.bias = f.bias
  elseif bias then
    p.bias = weights_in_file(l.views[bias], o)
  end
  p.slope = o.slope and weights_in_file(l.views[o.slope], o)
  return p
end

---- views alone -------------------------------------------------------------------------------------------------------

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

function kinds.view(l, o)
  local list = change[o.op](l, o, view_of(l, o.operands[1]))
  for i, name in ipairs(o.results) do settle(l, name, list[i]) end
end

-- The parts of a whole that operands become: visit(operand, view).
local function each_part(l, o, whole, visit)
  local axis, at = o.attributes.axis + 1, 0
  for _, operand in ipairs(o.operands) do
    local size = l.net.tensors[operand].dims[axis]
    visit(operand, views.part(whole, axis, at, size))
    at = at + size
  end
end

function kinds.joins(l, o)
  local whole = l.wholes[o.name] or place_for(l, o.name, views.order(view_of(l, o.operands[1])))
  each_part(l, o, whole, function(operand, part)
    local v = view_of(l, operand)
    if not views.same(v, part) then copy(l, v, part, o.name) end
  end)
  settle(l, o.name, whole)
end

---- convolutions ------------------------------------------------------------------------------------------------------

-- Channels last inside; of a linear operation the last axis is the channels.
local function image_order(l, o, rank)
  return o.op == "linear" and views.natural(rank) or views.channels_last(l.net.layout, rank)
end

local function pitch_of(l, o, v) return views.pitch(v, image_order(l, o, #v.dims)) end

-- The view as a convolution can take it; one copy serves all that read it.
local function image(l, o, name)
  local v = view_of(l, name)
  if pitch_of(l, o, v) then return v end
  local order = image_order(l, o, #v.dims)
  local key = name .. (o.op == "linear" and " linear" or "")
  l.images[key] = l.images[key] or copy(l, v, fresh(l, name, order), name)
  return l.images[key]
end

local function fresh_image(l, o) return fresh(l, o.name, image_order(l, o, #l.net.tensors[o.name].dims)) end

-- Result and residual, which have one pitch.
local function result_and_residual(l, o)
  local assigned = l.assigned[o.name]
  local dst = assigned and pitch_of(l, o, assigned) and assigned or fresh_image(l, o)
  if not o.residual then return dst end
  local residual = image(l, o, o.residual)
  if pitch_of(l, o, residual) == pitch_of(l, o, dst) then return dst, residual end
  if pitch_of(l, o, residual) ~= 0 then residual = copy(l, residual, fresh_image(l, o), o.residual) end
  return pitch_of(l, o, dst) == 0 and dst or fresh_image(l, o), residual
end

function kinds.convolution(l, o)
  local p, src = prepared(l, o), image(l, o, o.operands[1])
  local dst, residual = result_and_residual(l, o)
  local list = { { "src", src }, { "weights", p.weights } }
  if residual then list[#list + 1] = { "residual", residual } end
  if p.bias then list[#list + 1] = { "bias", p.bias } end
  if o.slope then list[#list + 1] = { "slope", p.slope } end
  put(l, { op = o.op, name = o.name, from = o, slots = list, dst = dst, prepared = p, src_pitch = pitch_of(l, o, src),
    dst_pitch = pitch_of(l, o, dst) })
  settle(l, o.name, dst)
end

---- all others --------------------------------------------------------------------------------------------------------

-- The order of a result: that of the first operand of its rank, constants last. (Of a product any.)
local function order_like_operands(l, o)
  if operations.rows[o.op].kind == "product" then return nil end
  local rank = #l.net.tensors[o.name].dims
  for _, operand in ipairs(o.operands) do
    local put_off = l.pending[operand]
    local v = put_off and put_off.src or type(operand) == "string" and view_of(l, operand)
    if v and #v.dims == rank and v.root.place ~= "weights" then return views.order(v) end
  end
end

-- Operands that are numbers are not in a slot. as: as plain has it.
local function slots_of(l, o, as)
  local list = {}
  for _, operand in ipairs(o.operands) do
    if type(operand) == "string" then
      local slot = slots[#list + 1] or text.fail("%s has more than %d tensors as operands", o.op, #slots)
      local v = as and as(#list + 1, operand) or view_of(l, operand)
      list[#list + 1] = { slot, v or text.fail("%s is folded: convolutions alone read it", text.name(operand)) }
    end
  end
  return list
end

-- as(n, name): the view of an operand as the kernel takes it; written(view): that of the result.
local function plain(l, o, as, written)
  local dst = place_for(l, o.name, order_like_operands(l, o))
  put(l, { op = o.op, name = o.name, from = o, slots = slots_of(l, o, as), dst = written and written(dst) or dst })
  settle(l, o.name, dst)
end

-- One element for each channel, as long as the result.
local function along_channels(l, v, dims)
  local shape = {}
  for i = 1, #dims do shape[i] = 1 end
  shape[shapes.channel_axis(l.net.layout, #dims) + 1] = v.dims[1]
  return views.broadcast(views.reshaped(v, shape), dims)
end

-- Operands as long as the first, or as the result.
local function broadcast_to(l, o, dims)
  return function(at, name)
    local v = view_of(l, name)
    if v and o.op == "instancenorm" and at > 1 then return along_channels(l, v, dims) end
    return v and views.broadcast(v, dims)
  end
end

-- The first operand that repeats elements of another tensor and is not made yet.
local function repeated_operand(l, o)
  for _, operand in ipairs(o.operands) do
    if l.pending[operand] then return l.pending[operand] end
  end
end

-- Every spatial axis as two: what is repeated, and how often.
local function divided_axes(v, p)
  for i = #p.factors, 1, -1 do
    local axis = p.first + i - 1
    v = views.divided(v, axis, { v.dims[axis] // p.factors[i], p.factors[i] })
  end
  return v
end

function kinds.elements(l, o)
  local dims, p = l.net.tensors[o.name].dims, repeated_operand(l, o)
  local wide = broadcast_to(l, o, dims)
  if not p or not shapes.same(p.dims, dims) then return plain(l, o, wide) end
  plain(l, o, function(at, name)
    local q = l.pending[name]
    return q and shapes.same(q.factors, p.factors) and q.repeated or divided_axes(wide(at, name), p)
  end, function(dst) return divided_axes(dst, p) end)
end

local function with_ones(dims, axes)
  local kept = table.move(dims, 1, #dims, 1, {})
  for _, axis in ipairs(axes) do kept[axis + 1] = 1 end
  return kept
end

-- Along axes: the result has the operand's rank, with one element where there is one for all.
function kinds.rows(l, o)
  local dims, f = l.net.tensors[o.operands[1]].dims, o.attributes
  local axes = o.op:match "^reduce" and f.axes or o.op == "argmax" and { f.axis }
  plain(l, o, broadcast_to(l, o, dims), axes and function(dst) return views.reshaped(dst, with_ones(dims, axes)) end)
end

-- Windows are of images whose axes are batch, channels, space.
local function window(l, o)
  local rank, order = #l.net.tensors[o.name].dims, { 0 }
  if l.net.layout ~= "nhwc" then return plain(l, o) end
  for i = 1, rank - 1 do order[i + 1] = i == 1 and rank - 1 or i - 1 end
  local function turned(v) return views.transposed(v, order) end
  plain(l, o, function(_, name) return turned(view_of(l, name)) end, turned)
end

-- How often the elements of each spatial axis are repeated; nil: not by whole numbers.
local function whole_factors(l, o, first)
  local from, to, factors = l.net.tensors[o.operands[1]].dims, l.net.tensors[o.name].dims, {}
  local given = o.attributes.factors
  for i = 1, #from - 2 do
    local axis = first + i - 1
    factors[i] = to[axis] // from[axis]
    if to[axis] % from[axis] ~= 0 or given and given[i] ~= factors[i] then return nil end
  end
  return factors
end

-- Whether the nearest element, by whole factors, is that of the whole part of a quotient.
local function repeats(f)
  local halves = { half_pixel = true, pytorch_half_pixel = true }
  if f.mode ~= "nearest" then return false end
  if f.coordinates == "asymmetric" then return f.rounding == "floor" end
  return halves[f.coordinates or "half_pixel"] and f.rounding ~= "floor" and f.rounding ~= "ceil"
end

-- An image of which elements are repeated is put off: what works element by element reads the smaller one.
function kinds.window(l, o)
  local first = shapes.first_spatial(l.net.layout) + 1
  local factors = o.op == "resize" and repeats(o.attributes) and whole_factors(l, o, first)
  if not factors or l.assigned[o.name] then return window(l, o) end
  local src = view_of(l, o.operands[1])
  l.pending[o.name] = { from = o, src = src, first = first, factors = factors, dims = l.net.tensors[o.name].dims,
    repeated = views.repeated(src, first, factors), make = function() window(l, o) end }
  l.made[o.name], l.views[o.name] = src, nil
end

-- The last two axes are a matrix's; the others are broadcast.
function kinds.product(l, o)
  local dims = l.net.tensors[o.name].dims
  plain(l, o, function(_, name)
    local v = view_of(l, name)
    local own = table.move(dims, 1, #dims, 1, {})
    own[#dims - 1], own[#dims] = v.dims[#v.dims - 1], v.dims[#v.dims]
    return views.broadcast(v, own)
  end)
end

-- Along an axis of the operand: the result has its rank, with all indices along that axis.
local function gather(l, o)
  local dims, axis = l.net.tensors[o.operands[1]].dims, o.attributes.axis
  local all, index = table.move(dims, 1, #dims, 1, {}), view_of(l, o.operands[2])
  all[axis + 1] = o.attributes.indices and #o.attributes.indices or text.elements(index.dims)
  local dst = fresh(l, o.name)
  put(l, { op = o.op, name = o.name, from = o, dst = views.reshaped(dst, all), slots = slots_of(l, o, function(at)
    return at == 2 and views.reshaped(index, { all[axis + 1] }) or nil
  end) })
  settle(l, o.name, dst)
end

-- The axes n, c, h, b, w, b of both, after channels, rows and columns are divided.
local function orders_of_blocks(channels_first, dcr)
  if channels_first then return dcr and { 0, 3, 4, 1, 5, 2 } or { 0, 1, 4, 2, 5, 3 }, { 0, 1, 2, 3, 4, 5 } end
  return dcr and { 0, 5, 1, 3, 2, 4 } or { 0, 3, 1, 4, 2, 5 }, { 0, 5, 1, 2, 3, 4 }
end

-- Images of blocks: where channels are (c, b, b) or (b, b, c) there are (h, b) rows and (w, b) columns.
local function blocks(l, o, src, dst)
  local b, dcr, first = o.attributes.block, o.attributes.mode ~= "crd", shapes.first_spatial(l.net.layout) + 1
  local c = shapes.channel_axis(l.net.layout, 4) + 1
  local count = dst.dims[c]
  local h, w = src.dims[first], src.dims[first + 1]
  src = views.divided(src, c, dcr and { b, b, count } or { count, b, b })
  dst = views.divided(views.divided(dst, first + 1, { w, b }), first, { h, b })
  local from, to = orders_of_blocks(c == 2, dcr)
  return views.transposed(src, from), views.transposed(dst, to)
end

local function depth_to_space(l, o)
  local src = view_of(l, o.operands[1])
  local dst = place_for(l, o.name, views.order(src))
  local from, to = blocks(l, o, src, dst)
  copy(l, from, to, o.name)
  settle(l, o.name, dst)
end

local moves = { depth_to_space = depth_to_space, gather = gather }

function kinds.moves(l, o) return (moves[o.op] or plain)(l, o) end

---- one pass ----------------------------------------------------------------------------------------------------------

local function constants_and_inputs(l)
  for _, name in ipairs(l.net.constants) do
    local t = l.net.tensors[name]
    l.views[name] = views.fresh("weights", t.type, t.dims)
    l.views[name].root.at = t.offset
  end
  for i, name in ipairs(l.net.inputs) do
    local t = l.net.tensors[name]
    l.views[name] = views.fresh("input", t.type, t.dims)
    l.views[name].root.index = i - 1
  end
end

-- An input or a constant that is an output as well.
local function copy_outputs(l)
  for _, name in ipairs(l.net.outputs) do
    view_of(l, name)
    if not l.net.tensors[name].from then copy(l, l.views[name], l.assigned[name], name) end
  end
end

-- assigned: where results must lie; wholes: where concatenations are made.
local function forward(net, assigned, wholes)
  local l = { net = net, assigned = assigned, wholes = wholes or {}, views = {}, made = {}, steps = {}, images = {},
    folded = {}, pending = {} }
  constants_and_inputs(l)
  for _, o in ipairs(net.operations) do
    l.operation = o
    kinds[operations.rows[o.op].kind](l, o)
  end
  l.operation = nil
  copy_outputs(l)
  return l
end

---- where results are wanted ------------------------------------------------------------------------------------------

-- Outputs lie in the file's order, in memory of the caller's.
local function assign_outputs(net)
  local assigned = {}
  for i, name in ipairs(net.outputs) do
    local t = net.tensors[name]
    assigned[name] = views.fresh("output", t.type, t.dims)
    assigned[name].root.index = i - 1
  end
  return assigned
end

-- The view that an operand must have, that the result of a change of views has this one; nil: there is none.
local wanted = {}

function wanted.reshape(o, v, t) return views.reshaped(v, t.dims) end

function wanted.transpose(o, v)
  local back = {}
  for i, axis in ipairs(o.attributes.order) do back[axis + 1] = i - 1 end
  return views.transposed(v, back)
end

-- What an operation makes can be wanted somewhere, once.
local function want(l, assigned, name, v)
  local t = l.net.tensors[name]
  if assigned[name] or not t.from or t.constant or not v then return end
  if views.lies_in(v, views.order(l.made[name])) then assigned[name] = v end
end

-- A concatenation is made where it is wanted, if it lies there as its operands do.
local function whole_of(l, assigned, name)
  local v, order = assigned[name], views.order(l.made[name])
  return v and views.lies_in(v, order) and v or fresh(l, name, order)
end

-- Of all operations from the last on: l is a pass that assigned outputs alone.
local function assign(l)
  local assigned, wholes = l.assigned, {}
  for i = #l.net.operations, 1, -1 do
    local o = l.net.operations[i]
    if operations.rows[o.op].kind == "joins" then
      wholes[o.name] = whole_of(l, assigned, o.name)
      each_part(l, o, wholes[o.name], function(operand, part) want(l, assigned, operand, part) end)
    elseif wanted[o.op] and assigned[o.name] then
      local operand = o.operands[1]
      want(l, assigned, operand, wanted[o.op](o, assigned[o.name], l.net.tensors[operand]))
    end
  end
  return assigned, wholes
end

-- The network's steps and the view of every tensor.
function layout.of(net)
  local l = forward(net, assign_outputs(net))
  return forward(net, assign(l))
end

return layout
