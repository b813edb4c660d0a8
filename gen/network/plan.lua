-- network/plan.lua: what the runtime does for a network: steps as problems or kernels, and where their operands lie.
--
-- plan.of(net, request) gives
--   inputs, outputs   { name, type, dims }; weights { file, bytes, hash }
--   operations        in order, each { name, op, sentence, operands = { slot = place }, macs, bytes } and
--     of a convolution  problem, prepare;
--     of any other      kernel = { op, views, attributes } as network/kernels.lua has them
--   arena_bytes, arena_lower_bound
-- A place is { place = "input" | "output" | "arena" | "weights" | "prepared", index, offset }: bytes from the beginning
-- of input or output number `index`, of the arena or of the weights file; of "prepared" the index is the operation's, from
-- 0, and its slot says which. request.workspaces: bytes of each operation, placed as "arena" in slot "workspace".
local convolution = require "network/convolution"
local layout = require "network/layout"
local place = require "network/place"
local shapes = require "network/shapes"
local file = require "network/file"
local text = require "network/text"
local plan = {}

local bytes = file.bytes

---- convolutions -----------------------------------------------------------------------------------------------------------

local function option(name, value) return value and value ~= 0 and ("--%s=%s "):format(name, value) or "" end

local function options_of(o, type, step)
  return option("op", o.op == "deconv" and "deconv") .. option("dir", not o.operands[3] and "FWD_D")
    .. option("dt", type ~= "f32" and type) .. "--weights=fixed "
    .. option("epilogue", convolution.epilogue(o.attributes.epilogue)) .. option("src-stride", step.src_pitch)
    .. option("dst-stride", step.dst_pitch)
end

local function problem_text(step, batch)
  local o = step.from
  local c, transposed = o.attributes.window, o.op == "deconv"
  return options_of(o, step.dst.type, step) .. convolution.descriptor(c, c.rank, batch, transposed)
end

-- The weights' axes in the order of channels-last problems: taps, then two of channels.
local function weights_order(net, o, rank)
  local order = {}
  if net.layout == "nhwc" then
    for i = 1, rank + 2 do order[i] = i end
    return order
  end
  for i = 1, rank do order[i] = i + 2 end
  order[rank + 1], order[rank + 2] = 2, 1
  return order
end

local function as_vector(v) return v and { type = v.type, offset = v.offset * bytes[v.type], dims = v.dims,
  strides = v.strides } end

local function weights_view(v, order)
  local w = { type = v.type, dims = {}, strides = {}, offset = v.root.at + v.offset * bytes[v.type] }
  for i, axis in ipairs(order) do w.dims[i], w.strides[i] = v.dims[axis], v.strides[axis] end
  return w
end

local function slot_of(step, name)
  for _, slot in ipairs(step.slots) do if slot[1] == name then return slot[2] end end
end

local function vector_view(v) return v and weights_view(v, { 1 }) end

local function macs_of(o, dims)
  local c, pixels = o.attributes.window, 1.0
  for n = 1, 3 do pixels = pixels * c[n].k * (o.op == "deconv" and c[n].i or c[n].o) end
  return pixels * dims[1] * c.ic * c.oc / c.g
end

local function as_problem(net, step)
  local o, dims = step.from, step.dst.dims
  local rank = o.attributes.window.rank
  return { problem = problem_text(step, dims[1]), macs = macs_of(o, dims),
    prepare = { weights = weights_view(slot_of(step, "weights"), weights_order(net, o, rank)), steps = {},
      bias = vector_view(slot_of(step, "bias")), slope = vector_view(slot_of(step, "slope")) } }
end

---- kernels ----------------------------------------------------------------------------------------------------------------

local function kernel_view(v) return { type = v.type, dims = v.dims, strides = v.strides } end

-- A step's operands: slots in order, numbers as they are.
local function step_operands(step)
  local list, at = {}, 0
  for i, operand in ipairs(step.from.operands) do
    if type(operand) == "number" then
      list[i] = { value = operand }
    else
      at = at + 1
      list[i] = step.slots[at][1]
    end
  end
  return list
end

local chain = {}

local function one_step(name)
  return function(step) return { { name or step.op, table.unpack(step_operands(step)) } } end
end

function chain.activate(step)
  local a = step.from.attributes.activation
  return { { a.activation, "src", lo = a.lo, hi = a.hi } }
end

function chain.pow(step) return { { "pow", "src", lo = step.from.operands[2] } } end
function chain.elu(step) return { { "elu", "src", lo = step.from.attributes.alpha } } end

-- src, scale, bias, mean, variance in the order of slots.
function chain.batchnorm(step)
  return { { "add", "slope", { value = step.from.attributes.epsilon } }, { "sqrt", 1 }, { "sub", "src", "bias" },
    { "div", 3, 2 }, { "mul", 4, "weights" }, { "add", 5, "residual" } }
end

for name in ("add sub mul div max min sqrt exp log neg abs erf softplus prelu"):gmatch "%S+" do
  chain[name] = one_step()
end

-- Of the file's attributes to those of kernels.
local attributes = {}

local function spatial_axes(net, rank)
  local axes, first = {}, shapes.first_spatial(net.layout)
  for i = 1, rank do axes[i] = first + i - 1 end
  return axes
end

local function pool(net, step)
  local f, k = step.from.attributes, { kernel = {}, stride = {}, pad = {}, dilation = {} }
  for n = 1, #f.k do
    local w = shapes.pool_axis(f, n)
    k.kernel[n], k.stride[n], k.pad[n], k.dilation[n] = w.k, w.s, w.p, w.d
  end
  k.axes, k.counted = spatial_axes(net, #f.k), f.counted
  return k
end

local function one_axis(_, step) return { axes = { step.from.attributes.axis } } end
local function reduced(_, step) return { axes = step.from.attributes.axes } end

attributes.maxpool, attributes.avgpool = pool, pool
attributes.softmax, attributes.logsoftmax, attributes.argmax = one_axis, one_axis, one_axis
attributes.reduce_mean, attributes.reduce_max, attributes.reduce_sum = reduced, reduced, reduced

function attributes.instancenorm(net, step)
  return { axes = spatial_axes(net, #step.dst.dims - 2), epsilon = step.from.attributes.epsilon }
end

function attributes.layernorm(_, step)
  local axes = {}
  for axis = step.from.attributes.axis, #step.dst.dims - 1 do axes[#axes + 1] = axis end
  return { axes = axes, epsilon = step.from.attributes.epsilon }
end

function attributes.resize(net, step)
  local f = step.from.attributes
  return { mode = f.mode, coordinates = f.coordinates, rounding = f.rounding, factors = f.factors,
    axes = spatial_axes(net, #step.dst.dims - 2) }
end

function attributes.pad(_, step)
  local f = step.from.attributes
  return { before = f.before, mode = f.mode, value = f.value }
end

function attributes.gather(_, step)
  return { axes = { step.from.attributes.axis }, indices = step.from.attributes.indices }
end

local function as_kernel(net, step)
  local k = chain[step.op] and { op = "chain", steps = chain[step.op](step) }
    or attributes[step.op] and attributes[step.op](net, step) or {}
  k.op, k.views = k.op or step.op, { dst = kernel_view(step.dst) }
  for _, slot in ipairs(step.slots) do k.views[slot[1]] = kernel_view(slot[2]) end
  return { kernel = k }
end

---- where all lies -----------------------------------------------------------------------------------------------------------

-- Blocks of roots in the arena, and of workspaces: from the first to the last step that has them.
local function blocks_of(steps, workspaces)
  local list, of = {}, {}
  local function touch(v, i)
    local root = v.root
    if root.place ~= "arena" then return end
    if not of[root] then
      of[root] = { bytes = root.elements * bytes[root.type], first = i }
      list[#list + 1] = of[root]
    end
    of[root].last = i
  end
  for i, step in ipairs(steps) do
    for _, slot in ipairs(step.slots) do touch(slot[2], i) end
    touch(step.dst, i)
    if (workspaces[i] or 0) > 0 then
      of[step] = { bytes = workspaces[i], first = i, last = i }
      list[#list + 1] = of[step]
    end
  end
  return list, of
end

local function address(v, of)
  local root, offset = v.root, v.offset * bytes[v.type]
  if root.place == "arena" then return { place = "arena", index = 0, offset = of[root].offset + offset } end
  if root.place == "weights" then return { place = "weights", index = 0, offset = root.at + offset } end
  return { place = root.place, index = root.index, offset = offset }
end

local prepared = { weights = true, bias = true, slope = true }

local function places_of(step, i, of)
  local list = { dst = address(step.dst, of) }
  local is_problem = step.from and step.src_pitch
  for _, slot in ipairs(step.slots) do
    list[slot[1]] = is_problem and prepared[slot[1]] and { place = "prepared", index = i - 1, offset = 0 }
      or address(slot[2], of)
  end
  if of[step] then list.workspace = { place = "arena", index = 0, offset = of[step].offset } end
  return list
end

local function moved_bytes(step)
  local sum = 0
  local function add(v)
    local count = 1
    for i, size in ipairs(v.dims) do if v.strides[i] ~= 0 then count = count * size end end
    sum = sum + count * bytes[v.type]
  end
  for _, slot in ipairs(step.slots) do add(slot[2]) end
  add(step.dst)
  return sum
end

---- the plan -----------------------------------------------------------------------------------------------------------------

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
  local made = step.src_pitch and as_problem(net, step) or as_kernel(net, step)
  made.name, made.op, made.sentence = step.name, step.op, sentence(step)
  made.operands, made.bytes = places_of(step, i, of), moved_bytes(step)
  made.macs = made.macs or 0.0
  return made
end

function plan.of(net, request)
  local laid = layout.of(net)
  local blocks, of = blocks_of(laid.steps, request.workspaces or {})
  local p = { inputs = ports(net, net.inputs), outputs = ports(net, net.outputs), weights = net.weights, operations = {} }
  p.arena_bytes, p.arena_lower_bound = place.blocks(blocks)
  for i, step in ipairs(laid.steps) do p.operations[i] = operation(net, step, i, of) end
  return p
end

return plan
