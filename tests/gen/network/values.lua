-- values.lua: what the operations of a network file are, in plain loops over dense tensors of numbers, for tests.
--
-- A tensor is { dims, elements in the order of the last axis fastest }. values.operation(net, o, read) gives a list of
-- results; read(name): the tensor of that name.
local views = require "network/views"
local shapes = require "network/shapes"
local convolution = require "network/convolution"
local chain = require "network/chain"
local values = {}

---- tensors -----------------------------------------------------------------------------------------------------------

local function count(dims)
  local n = 1
  for _, size in ipairs(dims) do n = n * size end
  return n
end

-- Calls with every index (a list, from 0) of some sizes.
local function each(dims, visit)
  local index = {}
  for i = 1, #dims do index[i] = 0 end
  for _ = 1, count(dims) do
    visit(index)
    for i = #dims, 1, -1 do
      index[i] = index[i] + 1
      if index[i] < dims[i] then break end
      index[i] = 0
    end
  end
end
values.each = each

local function offset(v, index)
  local at = v.offset
  for i = 1, #index do at = at + index[i] * v.strides[i] end
  return at
end
values.offset = offset

local function dense(dims) return views.fresh("arena", "f32", dims) end

local function at(t, index) return t[1 + offset(dense(t.dims), index)] end

local function made(dims, f)
  local t = { dims = dims }
  each(dims, function(index) t[#t + 1] = f(index) end)
  return t
end
values.made = made

-- The elements of a tensor's memory through a view of it.
function values.through(t, v)
  return made(v.dims, function(index) return t[1 + offset(v, index)] end)
end

local function copied(list) return table.move(list, 1, #list, 1, {}) end

-- Any operand, as long as dims.
local function broadcast(t, dims)
  if type(t) == "number" then return made(dims, function() return t end) end
  return values.through(t, views.broadcast(dense(t.dims), dims))
end

---- element by element --------------------------------------------------------------------------------------------------

local function erf(x) -- Abramowitz and Stegun 7.1.26 is too coarse: a series, and a continued fraction beyond 3
  if math.abs(x) > 3 then
    local f = 0
    for n = 60, 1, -1 do f = n / 2 / (math.abs(x) + f) end
    return (x > 0 and 1 or -1) * (1 - math.exp(-x * x) / (math.abs(x) + f) / math.sqrt(math.pi))
  end
  local sum, term = x, x
  for n = 1, 80 do
    term = -term * x * x / n
    sum = sum + term / (2 * n + 1)
  end
  return 2 / math.sqrt(math.pi) * sum
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local functions = {
  relu = function(x) return math.max(x, 0) end,
  clamp = function(x, a) return math.min(math.max(x, a.lo), a.hi) end,
  leaky = function(x, a) return math.max(x < 0 and a.lo * x or x, a.hi) end,
  hardsigmoid = function(x, a) return math.min(math.max(a.lo * x + a.hi, 0), 1) end,
  hardswish = function(x) return x * math.min(math.max(x + 3, 0), 6) / 6 end,
  silu = function(x) return x * sigmoid(x) end,
  gelu = function(x) return x * (1 + erf(x / math.sqrt(2))) / 2 end,
  tanh = function(x) return 1 - 2 / (math.exp(2 * x) + 1) end,
  sigmoid = sigmoid, erf = erf, exp = math.exp, log = math.log, sqrt = math.sqrt, abs = math.abs,
  neg = function(x) return -x end,
  softplus = function(x) return math.log(1 + math.exp(x)) end,
}

local binary = {
  add = function(a, b) return a + b end, sub = function(a, b) return a - b end, mul = function(a, b) return a * b end,
  div = function(a, b) return a / b end, max = math.max, min = math.min, pow = function(a, b) return a ^ b end,
  prelu = function(a, b) return a < 0 and a * b or a end,
  elu = function(a, b) return a < 0 and b * (math.exp(a) - 1) or a end,
}

local function step_value(step, args)
  local f = binary[step.name]
  if not f then return functions[step.name](args[1], step) end
  local y = args[1]
  for i = 2, #args do y = f(y, args[i]) end
  return y
end

-- Steps over operands that are as long as the result, at one place.
local function chain_at(steps, operands, place)
  local results = {}
  for i, step in ipairs(steps) do
    local args = {}
    for j, arg in ipairs(step.args) do
      args[j] = type(arg) == "number" and arg or arg.step and results[arg.step] or operands[arg.operand][place]
    end
    results[i] = step_value(step, args)
  end
  return results[#results]
end

local operations = {}

local function channel_shape(net, t, rank)
  local dims = {}
  for i = 1, rank do dims[i] = 1 end
  dims[shapes.channel_axis(net.layout, rank) + 1] = count(t.dims)
  return setmetatable({ dims = dims }, { __index = t })
end

function values.elements(net, o, operands, dims)
  local tensors = {}
  for _, t in ipairs(operands) do
    if type(t) == "table" then
      if o.op == "batchnorm" and #t.dims == 1 then t = channel_shape(net, t, #dims) end
      tensors[#tensors + 1] = broadcast(t, dims)
    end
  end
  local y, steps = { dims = dims }, chain.steps(o)
  for i = 1, count(dims) do y[i] = chain_at(steps, tensors, i) end
  return y
end

---- convolutions --------------------------------------------------------------------------------------------------------

local function activated(o, y, channel, residual, slope)
  local e = o.attributes.epilogue
  if residual and not e.residual_last then y = y + residual end
  if e.activation == "prelu" then y = y < 0 and y * slope[channel + 1] or y
  elseif e.activation ~= "none" then y = functions[e.activation](y, e) end
  return residual and e.residual_last and y + residual or y
end

-- n, c and the three axes of an index of an image, and back.
local function image_index(net, rank, n, c, z)
  local index = { n }
  if net.layout ~= "nhwc" then index[2] = c end
  for i = 4 - rank, 3 do index[#index + 1] = z[i] end
  if net.layout == "nhwc" then index[#index + 1] = c end
  return index
end

local function weight_index(net, rank, first, second, k)
  local index = net.layout == "nhwc" and {} or { first, second }
  for i = 4 - rank, 3 do index[#index + 1] = k[i] end
  if net.layout == "nhwc" then index[#index + 1], index[#index + 2] = second, first end
  return index
end

-- The place in the input that an output's tap reads, or nil.
local function read_at(c, z, k, transposed)
  local from = {}
  for i = 1, 3 do
    local w = c[i]
    local p = transposed and z[i] + w.p - k[i] * w.d or z[i] * w.s - w.p + k[i] * w.d
    if transposed then
      if p % w.s ~= 0 then return nil end
      p = p // w.s
    end
    if p < 0 or p >= w.i then return nil end
    from[i] = p
  end
  return from
end

local function convolved(net, o, x, w, n, channel, z)
  local c, transposed, sum = o.attributes.window, o.op == "deconv", 0
  local icg, ocg = c.ic // c.g, c.oc // c.g
  local group = channel // ocg
  each({ c[1].k, c[2].k, c[3].k }, function(k)
    local from = read_at(c, z, k, transposed)
    for i = 0, from and icg - 1 or -1 do
      local read = group * icg + i
      local index = transposed and weight_index(net, c.rank, read, channel % ocg, k)
        or weight_index(net, c.rank, channel, i, k)
      sum = sum + at(x, image_index(net, c.rank, n, read, from)) * at(w, index)
    end
  end)
  return sum
end

local function conv(net, o, operands, dims)
  local rank, c = o.attributes.window.rank, shapes.channel_axis(net.layout, #dims) + 1
  local first = shapes.first_spatial(net.layout)
  return made(dims, function(index)
    local z = { 0, 0, 0 }
    for i = 1, rank do z[3 - rank + i] = index[first + i] end
    local y = convolved(net, o, operands[1], operands[2], index[1], index[c], z)
    if operands[3] then y = y + operands[3][index[c] + 1] end
    return activated(o, y, index[c], operands.residual and at(operands.residual, index), operands.slope)
  end)
end

operations.conv, operations.deconv = conv, conv

function operations.linear(_, o, operands, dims)
  local x, w, rank = operands[1], operands[2], #dims
  return made(dims, function(index)
    local from, sum, channel = copied(index), 0, index[rank]
    for k = 0, w.dims[1] - 1 do
      from[rank] = k
      sum = sum + at(x, from) * at(w, { k, channel })
    end
    if operands[3] then sum = sum + operands[3][channel + 1] end
    return activated(o, sum, channel, operands.residual and at(operands.residual, index), operands.slope)
  end)
end

-- m and a for each channel: y * m + a.
local folds = {
  mul = function(_, a) return a, 0 end, div = function(_, a) return 1 / a, 0 end, add = function(_, a) return 1, a end,
  sub = function(_, a) return 1, -a end,
  batchnorm = function(f, scale, bias, mean, variance)
    local m = scale / math.sqrt(variance + f.epsilon)
    return m, bias - mean * m
  end,
}

local function written_channel(net, f, dims, index)
  if f.of == "linear" then return index[2] end
  if f.of ~= "deconv" then return index[net.layout == "nhwc" and #dims or 1] end
  local read, written = net.layout == "nhwc" and #dims or 1, net.layout == "nhwc" and #dims - 1 or 2
  return index[read] // (dims[read] // (f.groups or 1)) * dims[written] + index[written]
end

function operations.fold(net, o, operands, dims, all_dims)
  local f, m, a = o.attributes, {}, {}
  for c = 1, all_dims[2][1] do
    local args = {}
    for i = 2, #operands do args[i - 1] = type(operands[i]) == "number" and operands[i] or operands[i][c] end
    m[c], a[c] = folds[f.what](f, table.unpack(args))
  end
  local w = made(dims, function(index)
    return at(operands[1], index) * m[written_channel(net, f, dims, index) + 1]
  end)
  local bias = made(all_dims[2], function(index)
    return (operands.bias and operands.bias[index[1] + 1] or 0) * m[index[1] + 1] + a[index[1] + 1]
  end)
  return w, bias
end

---- products -------------------------------------------------------------------------------------------------------------

function operations.matmul(_, _, operands, dims)
  local a, b = operands[1], operands[2]
  local x, y = copied(a.dims), copied(b.dims)
  if #x == 1 then table.insert(x, 1, 1) end
  if #y == 1 then y[2] = 1 end
  local all = shapes.broadcast { table.move(x, 1, #x - 2, 1, {}), table.move(y, 1, #y - 2, 1, {}) }
  local m, k, n = x[#x - 1], x[#x], y[#y]
  local function wide(t, own, r, c)
    local whole = copied(all)
    whole[#all + 1], whole[#all + 2] = r, c
    return broadcast(setmetatable({ dims = own }, { __index = t }), whole)
  end
  a, b = wide(a, x, m, k), wide(b, y, k, n)
  local whole = copied(all)
  whole[#all + 1], whole[#all + 2] = m, n
  local t = made(whole, function(index)
    local i, j, sum = copied(index), copied(index), 0
    for r = 0, k - 1 do
      i[#i], j[#j - 1] = r, r
      sum = sum + at(a, i) * at(b, j)
    end
    return sum
  end)
  t.dims = dims
  return t
end

function operations.gemm(_, o, operands, dims)
  local f, a, b = o.attributes, operands[1], operands[2]
  local c = operands[3] and broadcast(operands[3], dims)
  return made(dims, function(index)
    local sum = 0
    for k = 0, a.dims[f.trans_a and 1 or 2] - 1 do
      sum = sum + at(a, f.trans_a and { k, index[1] } or { index[1], k }) * at(b, f.trans_b and { index[2], k } or { k, index[2] })
    end
    return sum * (f.alpha or 1) + (c and at(c, index) * (f.beta or 1) or 0)
  end)
end

---- windows ----------------------------------------------------------------------------------------------------------------

local function pool(net, o, operands, dims)
  local f, x, first = o.attributes, operands[1], shapes.first_spatial(net.layout)
  return made(dims, function(index)
    local most, sum, inside, all = -math.huge, 0, 0, 0
    each(f.k, function(k)
      local from, within = copied(index), true
      for n = 1, #f.k do
        local w = shapes.pool_axis(f, n)
        local p = index[first + n] * w.s - w.p + k[n] * w.d
        within = within and p >= 0 and p < x.dims[first + n]
        from[first + n] = p
      end
      all = all + 1
      if within then
        most, sum, inside = math.max(most, at(x, from)), sum + at(x, from), inside + 1
      end
    end)
    return o.op == "maxpool" and most or sum / (f.counted and all or inside)
  end)
end

operations.maxpool, operations.avgpool = pool, pool

-- Nearest by whole factors, asymmetric: what tests use.
function operations.resize(_, _, operands, dims)
  local x = operands[1]
  return made(dims, function(index)
    local from = {}
    for i = 1, #index do from[i] = index[i] * x.dims[i] // dims[i] end
    return at(x, from)
  end)
end

function operations.depth_to_space(net, o, operands, dims)
  local x, b, first = operands[1], o.attributes.block, shapes.first_spatial(net.layout)
  local c = shapes.channel_axis(net.layout, 4) + 1
  return made(dims, function(index)
    local from, y, z = copied(index), index[first + 1] % b, index[first + 2] % b
    from[first + 1], from[first + 2] = index[first + 1] // b, index[first + 2] // b
    from[c] = o.attributes.mode == "crd" and (index[c] * b + y) * b + z or (y * b + z) * dims[c] + index[c]
    return at(x, from)
  end)
end

---- along axes ----------------------------------------------------------------------------------------------------------------

-- The elements along some axes (from 0) at the place that an index, of the operand's rank, has in the others.
local function line(x, index, axes)
  local list, sizes, from = {}, {}, copied(index)
  for i, axis in ipairs(axes) do sizes[i] = x.dims[axis + 1] end
  each(sizes, function(along)
    for i, axis in ipairs(axes) do from[axis + 1] = along[i] end
    list[#list + 1] = at(x, from)
  end)
  return list
end

local function sum_of(list)
  local sum = 0
  for _, v in ipairs(list) do sum = sum + v end
  return sum
end

local reductions = {
  reduce_sum = sum_of, reduce_mean = function(list) return sum_of(list) / #list end,
  reduce_max = function(list) return math.max(table.unpack(list)) end,
  argmax = function(list)
    local best = 1
    for i, v in ipairs(list) do if v > list[best] then best = i end end
    return best - 1
  end,
}

local function reduce(_, o, operands, dims)
  local x = operands[1]
  local axes, kept = o.attributes.axes or { o.attributes.axis }, copied(x.dims)
  for _, axis in ipairs(axes) do kept[axis + 1] = 1 end
  local t = made(kept, function(index) return reductions[o.op](line(x, index, axes)) end)
  t.dims = dims
  return t
end

for name in pairs(reductions) do operations[name] = reduce end

local function softmax(_, o, operands, dims)
  local x, axis = operands[1], o.attributes.axis
  return made(dims, function(index)
    local sum = 0
    for _, v in ipairs(line(x, index, { axis })) do sum = sum + math.exp(v) end
    return o.op == "softmax" and math.exp(at(x, index)) / sum or at(x, index) - math.log(sum)
  end)
end

operations.softmax, operations.logsoftmax = softmax, softmax

local function norm(net, o, operands, dims)
  local x, axes, scale, bias = operands[1], {}, operands[2], operands[3]
  if o.op == "layernorm" then
    for axis = o.attributes.axis, #dims - 1 do axes[#axes + 1] = axis end
  else
    for i = 1, #dims - 2 do axes[i] = shapes.first_spatial(net.layout) + i - 1 end
  end
  if o.op == "instancenorm" and #scale.dims == 1 then
    scale, bias = channel_shape(net, scale, #dims), channel_shape(net, bias, #dims)
  end
  scale, bias = scale and broadcast(scale, dims), bias and broadcast(bias, dims)
  return made(dims, function(index)
    local list = line(x, index, axes)
    local mean, squares = sum_of(list) / #list, 0
    for _, v in ipairs(list) do squares = squares + (v - mean) ^ 2 end
    local y = (at(x, index) - mean) / math.sqrt(squares / #list + o.attributes.epsilon)
    return y * (scale and at(scale, index) or 1) + (bias and at(bias, index) or 0)
  end)
end

operations.layernorm, operations.instancenorm = norm, norm

---- moved elements ---------------------------------------------------------------------------------------------------------

function operations.concat(_, o, operands, dims)
  local axis = o.attributes.axis + 1
  return made(dims, function(index)
    local from, n = copied(index), 1
    while from[axis] >= operands[n].dims[axis] do
      from[axis], n = from[axis] - operands[n].dims[axis], n + 1
    end
    return at(operands[n], from)
  end)
end

function operations.split(_, o, operands, _, all_dims)
  local list, first = {}, 0
  for i, size in ipairs(o.attributes.sizes) do
    list[i] = values.through(operands[1], views.part(dense(operands[1].dims), o.attributes.axis + 1, first, size))
    list[i].dims, first = all_dims[i], first + size
  end
  return table.unpack(list)
end

function operations.slice(_, o, operands, dims)
  local f = o.attributes
  return made(dims, function(index)
    local from = copied(index)
    for i, axis in ipairs(f.axes) do from[axis + 1] = f.from[i] + index[axis + 1] * (f.steps and f.steps[i] or 1) end
    return at(operands[1], from)
  end)
end

function operations.pad(_, o, operands, dims)
  local f, x = o.attributes, operands[1]
  return made(dims, function(index)
    local from, inside = {}, true
    for i = 1, #index do
      local p, size = index[i] - f.before[i], x.dims[i]
      if f.mode == "edge" then p = math.min(math.max(p, 0), size - 1) end
      if f.mode == "reflect" then p = p < 0 and -p or p >= size and 2 * size - 2 - p or p end
      from[i], inside = p, inside and p >= 0 and p < size
    end
    return inside and at(x, from) or f.value or 0
  end)
end

function operations.transpose(_, o, operands) return values.through(operands[1], views.transposed(dense(operands[1].dims), o.attributes.order)) end

function operations.reshape(_, _, operands, dims)
  local t = copied(operands[1])
  t.dims = dims
  return t
end

function operations.cast(_, _, operands) return operands[1] end

function operations.gather(_, o, operands, dims)
  local x, axis, indices = operands[1], o.attributes.axis, o.attributes.indices or operands[2]
  local more = o.attributes.indices and 1 or #operands[2].dims
  return made(dims, function(index)
    local from, place = table.move(index, 1, axis, 1, {}), 0
    for i = 1, more do place = place * (o.attributes.indices and 1 or operands[2].dims[i]) + index[axis + i] end
    from[axis + 1] = indices[place + 1]
    return at(x, table.move(index, axis + more + 1, #index, axis + 2, from))
  end)
end

---- an operation ---------------------------------------------------------------------------------------------------------------

local kinds = require("network/operations").rows

-- The results of an operation: read(name) gives operands.
function values.operation(net, o, read)
  local operands, all_dims = {}, {}
  require("network/operations").operands(o, function(name, slot)
    operands[slot] = type(name) == "number" and name or read(name)
  end)
  for i, name in ipairs(o.results) do all_dims[i] = net.tensors[name].dims end
  if kinds[o.op].kind == "elements" then return { values.elements(net, o, operands, all_dims[1]) } end
  return { operations[o.op](net, o, operands, all_dims[1], all_dims) }
end

-- All tensors by name, of inputs and constants by name.
function values.network(net, given)
  local known = setmetatable({}, { __index = given })
  for _, o in ipairs(net.operations) do
    for i, t in ipairs(values.operation(net, o, function(name) return known[name] end)) do known[o.results[i]] = t end
  end
  return known
end

return values
