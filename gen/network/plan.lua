-- network/plan.lua: what the runtime does for a network: steps as problems or kernels, and where their operands lie.
--
-- plan.of(net, request) gives
--   inputs, outputs   { name, type, dims }; weights { file, bytes, hash }
--   operations        in order, each { name, op, sentence, operands = { slot = place }, macs, bytes } and
--     of a convolution  problem, prepare;
--     of any other      kernel = { op, views, attributes } as network/kernels.lua has them
--   arena_bytes, arena_lower_bound
-- prepare: weights, a view of the weights file { type, dims, strides (elements), offset (bytes) } whose axes are
-- those of the problem's weights: taps, then channels read and written (transposed: written and read; of `linear` no
-- taps); bias and slope, such views of a vector, or nil; steps: what each channel's sum y is put through, in order,
-- folded into weights and bias in double: { what, operands = numbers or vectors, epsilon }: mul y * a, div y / a, add
-- y + a, sub y - a, batchnorm (y - mean) / sqrt(variance + epsilon) * scale + bias of { scale, bias, mean, variance
-- }. A problem with steps has a bias, though `bias` may be nil, which is then 0.
-- A place is { place = "input" | "output" | "arena" | "weights" | "prepared", index, offset }: bytes from the beginning
-- of input or output number `index`, of the arena or of the weights file; of "prepared" the index is the operation's,
-- from 0, and its slot says which. request.workspaces: bytes of each operation, placed as "arena" in slot "workspace".
local convolution = require "network/convolution"
local chain = require "network/chain"
local operations = require "network/operations"
local layout = require "network/layout"
local arena = require "network/arena"
local simplify, fuse = require "network/simplify", require "network/fuse"
local types = require "network/types"
local shapes = require "network/shapes"
local file = require "network/file"
local text = require "network/text"
local plan = {}

---- convolutions ------------------------------------------------------------------------------------------------------

local function option(name, value) return value and value ~= 0 and ("--%s=%s "):format(name, value) or "" end

local function options_of(o, step)
  return option("op", o.op == "deconv" and "deconv") .. option("dir", not o.operands[3] and "FWD_D")
    .. option("dt", step.dst.type ~= "f32" and step.dst.type) .. "--weights=fixed "
    .. option("epilogue", convolution.epilogue(o.attributes.epilogue)) .. option("src-stride", step.src_pitch)
    .. option("dst-stride", step.dst_pitch)
end

-- A linear operation as a convolution of rank 1: its rows are pixels.
local function pixels_of(step)
  local src, dst = step.slots[1][2].dims, step.dst.dims
  local rows, one = 1, { i = 1, o = 1, k = 1, s = 1, p = 0, d = 1 }
  for i = 1, #src - 1 do rows = rows * src[i] end
  return { g = 1, ic = src[#src], oc = dst[#dst], rank = 1, one, one,
    { i = rows, o = rows, k = 1, s = 1, p = 0, d = 1 } }
end

-- The weights' axes in the order of channels-last problems: taps, then channels read and written (transposed: written
-- and read).
local function weights_order(net, o)
  if o.op == "linear" then return { 1, 2 } end
  local order, rank = {}, o.attributes.window.rank
  for i = 1, rank + 2 do order[i] = net.layout == "nhwc" and i or i + 2 end
  if net.layout ~= "nhwc" then order[rank + 1], order[rank + 2] = 2, 1 end
  return order
end

-- A view of the weights file, its axes in an order, for the runtime.
local function file_view(v, order)
  local w = { type = v.type, dims = {}, strides = {}, offset = v.root.at + v.offset * types.bytes(v.type) }
  for i, axis in ipairs(order or { 1 }) do w.dims[i], w.strides[i] = v.dims[axis], v.strides[axis] end
  return w
end

-- What is done with each channel's sum, in order: { what, operands = numbers or views, epsilon }.
local function fold_steps(list)
  local steps = {}
  for i, step in ipairs(list) do
    local operands = {}
    for j, operand in ipairs(step.operands) do
      operands[j] = type(operand) == "number" and operand or file_view(operand)
    end
    steps[i] = { what = step.what, epsilon = step.epsilon, operands = operands }
  end
  return steps
end

local function prepare(net, step)
  local p, o = step.prepared, step.from
  return { weights = file_view(p.weights, weights_order(net, o)), bias = p.bias and file_view(p.bias),
    slope = p.slope and file_view(p.slope), steps = fold_steps(p.steps) }
end

local function macs_of(o, dims)
  local c, pixels = o.attributes.window, 1.0
  for n = 1, 3 do pixels = pixels * c[n].k * (o.op == "deconv" and c[n].i or c[n].o) end
  return pixels * dims[1] * c.ic * c.oc / c.g
end

local function as_problem(net, step)
  local o, dims = step.from, step.dst.dims
  local c, batch = o.attributes.window, dims[1]
  if o.op == "linear" then c, batch = pixels_of(step), 1 end
  return { problem = options_of(o, step) .. convolution.descriptor(c, c.rank, batch, o.op == "deconv"),
    macs = macs_of({ op = o.op, attributes = { window = c } }, { batch }), prepare = prepare(net, step) }
end

---- kernels -----------------------------------------------------------------------------------------------------------

local function kernel_view(v) return { type = v.type, dims = v.dims, strides = v.strides } end

local function chain_of(o)
  local list = {}
  for i, step in ipairs(chain.steps(o)) do list[i] = chain.kernel_step(step) end
  return { op = "chain", steps = list }
end

-- Of the file's attributes to those of kernels.
local attributes = {}

local function pool(_, step)
  local f, k = step.from.attributes, { kernel = {}, stride = {}, pad = {}, dilation = {} }
  for n = 1, #f.k do
    local w = shapes.pool_axis(f, n)
    k.kernel[n], k.stride[n], k.pad[n], k.dilation[n] = w.k, w.s, w.p, w.d
  end
  k.counted = f.counted
  return k
end

local function one_axis(_, step) return { axes = { step.from.attributes.axis } } end
local function reduced(_, step) return { axes = step.from.attributes.axes } end

attributes.maxpool, attributes.avgpool = pool, pool
attributes.softmax, attributes.logsoftmax, attributes.argmax = one_axis, one_axis, one_axis
attributes.reduce_mean, attributes.reduce_max, attributes.reduce_sum = reduced, reduced, reduced

function attributes.instancenorm(net, step)
  local axes, first = {}, shapes.first_spatial(net.layout)
  for i = 1, #step.dst.dims - 2 do axes[i] = first + i - 1 end
  return { axes = axes, epsilon = step.from.attributes.epsilon }
end

function attributes.layernorm(_, step)
  local axes = {}
  for axis = step.from.attributes.axis, #step.dst.dims - 1 do axes[#axes + 1] = axis end
  return { axes = axes, epsilon = step.from.attributes.epsilon }
end

function attributes.resize(_, step)
  local f, factors = step.from.attributes, nil
  if f.factors then factors = table.move(f.factors, 1, #f.factors, 3, { 0.0, 0.0 }) end
  return { mode = f.mode, coordinates = f.coordinates, rounding = f.rounding, factors = factors }
end

function attributes.cast() return { op = "copy" } end

function attributes.pad(_, step)
  local f = step.from.attributes
  return { before = f.before, mode = f.mode, value = f.value }
end

function attributes.gather(_, step)
  return { axes = { step.from.attributes.axis }, indices = step.from.attributes.indices }
end

local function as_kernel(net, step)
  local k = step.from and operations.rows[step.op].kind == "elements" and chain_of(step.from)
    or attributes[step.op] and attributes[step.op](net, step) or {}
  k.op, k.views = k.op or step.op, { dst = kernel_view(step.dst) }
  for _, slot in ipairs(step.slots) do k.views[slot[1]] = kernel_view(slot[2]) end
  return { kernel = k }
end

---- where all lies ----------------------------------------------------------------------------------------------------

local function address(v, of)
  local root, offset = v.root, v.offset * types.bytes(v.type)
  if root.place == "arena" then return { place = "arena", index = 0, offset = of[root].offset + offset } end
  if root.place == "weights" then return { place = "weights", index = 0, offset = root.at + offset } end
  return { place = root.place, index = root.index, offset = offset }
end

local function places_of(step, i, of)
  local list = { dst = address(step.dst, of) }
  for _, slot in ipairs(step.slots) do list[slot[1]] = address(slot[2], of) end
  if step.prepared then
    local made = { place = "prepared", index = i - 1, offset = 0 }
    list.weights, list.bias, list.slope = made, step.from.operands[3] and made, step.from.slope and made
  end
  if of[step] then list.workspace = { place = "arena", index = 0, offset = of[step].offset } end
  return list
end

local function moved_bytes(step)
  local sum = 0
  local function add(v)
    local count = 1
    for i, size in ipairs(v.dims) do if v.strides[i] ~= 0 then count = count * size end end
    sum = sum + count * types.bytes(v.type)
  end
  for _, slot in ipairs(step.slots) do add(slot[2]) end
  add(step.dst)
  return sum
end

---- the plan ----------------------------------------------------------------------------------------------------------

local function ports(net, names)
  local list = {}
  for i, name in ipairs(names) do
    local t = net.tensors[name]
    list[i] = { name = name, type = t.type, dims = t.dims }
  end
  return list
end

local function sentence(step)
  return step.from and file.operation(step.from) or ("%s = copy"):format(text.name(step.name))
end

local function operation(net, step, i, of)
  local made = step.prepared and as_problem(net, step) or as_kernel(net, step)
  made.name, made.op, made.sentence = step.name, step.op, sentence(step)
  made.operands, made.bytes = places_of(step, i, of), moved_bytes(step)
  made.macs = made.macs or 0.0
  return made
end

function plan.of(net, request)
  local steps = layout.of(fuse.network(simplify.network(net))).steps
  local laid = arena.of(steps, request.workspaces or {})
  local p = { inputs = ports(net, net.inputs), outputs = ports(net, net.outputs), weights = net.weights,
    operations = {}, arena_bytes = laid.bytes, arena_lower_bound = laid.bound }
  for i, step in ipairs(steps) do p.operations[i] = operation(net, step, i, laid.of) end
  return p
end

return plan
