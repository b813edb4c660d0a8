-- network/simplify.lua: what need not be done, or can be done once when the network is opened.
--
-- Operations that change nothing are dropped; numbers are put together; products with constant matrices become
-- `linear`; batch normalisation and constants for each channel behind a convolution are folded into its weights and
-- bias (`fold`, an operation on constants that the runtime does in double); zeros around an input become a
-- convolution's padding.
local shapes = require "network/shapes"
local operations = require "network/operations"
local graph = require "network/graph"
local recognise = require "network/recognise"
local simplify = {}

local operation, feed = graph.operation, graph.feed

local convolutions = { conv = true, deconv = true, linear = true }
-- What is tidied first, so that forms are recognised, and what is folded then.
local tidying, folding = {}, {}
local rules = tidying

local function rule(names, f)
  for name in names:gmatch "%S+" do
    rules[name] = rules[name] or {}
    table.insert(rules[name], f)
  end
end

local function dims_of(g, operand) return type(operand) == "string" and g.tensors[operand].dims or {} end

local function is_constant(g, operand) return type(operand) == "string" and g.tensors[operand].constant end

-- What an operation makes, under a name of its own.
local function step(g, o, op, operands, attributes)
  local name = graph.name(g, o.name)
  feed(g, operation(op, name, operands, attributes))
  return g.renamed[name] or name
end

---- what changes nothing ----------------------------------------------------------------------------------------------

local function drop_where(changes_nothing)
  return function(g, o)
    return type(o.operands[1]) == "string" and changes_nothing(o, dims_of(g, o.operands[1]), g)
      and graph.drop(g, o, o.operands[1])
  end
end

local function all_are(list, value)
  for _, v in ipairs(list or {}) do if v ~= value then return false end end
  return true
end

rule("reshape", drop_where(function(o, dims) return shapes.same(o.attributes.dims, dims) end))
rule("concat", drop_where(function(o) return #o.operands == 1 end))
rule("split", drop_where(function(o) return #o.results == 1 end))
rule("cast", drop_where(function(o, _, g) return g.tensors[o.operands[1]].type == o.attributes.type end))
rule("pad", drop_where(function(o) return all_are(o.attributes.before, 0) and all_are(o.attributes.after, 0) end))
rule("resize", drop_where(function(o, dims, g)
  return shapes.same(dims, g.tensors[o.name].dims) and all_are(o.attributes.factors, 1)
end))
rule("depth_to_space", drop_where(function(o) return o.attributes.block == 1 end))

rule("transpose", drop_where(function(o)
  for i, axis in ipairs(o.attributes.order) do if axis ~= i - 1 then return false end end
  return true
end))

-- The first axis that a slice goes backwards along.
local function backwards(f)
  for n, step in ipairs(f.steps or {}) do if step < 0 then return n end end
end

-- The slice along its other axes.
local function slice_without(g, o, n)
  if #o.attributes.axes == 1 then return o.operands[1] end
  local f = graph.copy(o).attributes
  for _, list in ipairs { f.axes, f.from, f.to, f.steps } do table.remove(list, n) end
  return step(g, o, "slice", { o.operands[1] }, f)
end

-- A slice backwards gathers its elements.
rule("slice", function(g, o)
  local f, indices, n = o.attributes, {}, backwards(o.attributes)
  if not n then return false end
  for i = f.from[n], f.to[n] + 1, f.steps[n] do indices[#indices + 1] = i end
  local x = slice_without(g, o, n)
  return graph.replace(g, operation("gather", o.name, { x }, { axis = f.axes[n], indices = indices }))
end)

rule("slice", drop_where(function(o, dims, g)
  return all_are(o.attributes.steps, 1) and shapes.same(dims, g.tensors[o.name].dims)
end))

-- A reduction over axes of one element moves nothing. (Those of a mean, sum or maximum are themselves.)
rule("reduce_mean reduce_max reduce_sum", function(g, o)
  local dims = dims_of(g, o.operands[1])
  for _, axis in ipairs(o.attributes.axes) do if dims[axis + 1] ~= 1 then return false end end
  return graph.replace(g, operation("reshape", o.name, o.operands, { dims = g.tensors[o.name].dims }))
end)

---- numbers -----------------------------------------------------------------------------------------------------------

local neutral = { add = 0, sub = 0, mul = 1, div = 1, pow = 1 }
local commutes = { add = true, mul = true }
local together = { add = function(a, b) return a + b end, mul = function(a, b) return a * b end }

-- More than two operands: two by two, from the left.
rule("add sub mul div max min", function(g, o)
  if #o.operands == 2 then return false end
  local y = step(g, o, o.op, { o.operands[1], o.operands[2] })
  return graph.replace(g, operation(o.op, o.name, { y, table.unpack(o.operands, 3) }))
end)

-- A number stands last where the order does not matter.
rule("add mul max min", function(_, o)
  if type(o.operands[1]) == "number" and #o.operands == 2 then
    o.operands[1], o.operands[2] = o.operands[2], o.operands[1]
  end
  return false
end)

rule("add sub mul div pow", drop_where(function(o) return #o.operands == 2 and o.operands[2] == neutral[o.op] end))

-- x + a + b, x * a * b with numbers a and b.
rule("add mul", function(g, o)
  local before = graph.sole(g, o.operands[1], { [o.op] = true })
  if not before or #o.operands ~= 2 or #before.operands ~= 2 then return false end
  local a, b = before.operands[2], o.operands[2]
  if not commutes[o.op] or type(a) ~= "number" or type(b) ~= "number" then return false end
  before.operands[2] = together[o.op](a, b)
  return graph.takes_over(g, before, o)
end)

---- one view after another --------------------------------------------------------------------------------------------

rule("reshape", function(g, o)
  local before = graph.sole(g, o.operands[1], { reshape = true })
  if not before then return false end
  before.attributes.dims = o.attributes.dims
  return graph.takes_over(g, before, o)
end)

rule("transpose", function(g, o)
  local before = graph.sole(g, o.operands[1], { transpose = true })
  if not before then return false end
  local order = {}
  for i, axis in ipairs(o.attributes.order) do order[i] = before.attributes.order[axis + 1] end
  before.attributes.order = order
  return graph.takes_over(g, before, o)
end)

---- products ----------------------------------------------------------------------------------------------------------

local function swapped(rank)
  local order = {}
  for i = 1, rank do order[i] = i - 1 end
  order[rank - 1], order[rank] = order[rank], order[rank - 1]
  return { order = order }
end

-- The operand with its last two axes exchanged.
local function transposed(g, o, operand)
  return step(g, o, "transpose", { operand }, swapped(#dims_of(g, operand)))
end

-- alpha * a * b + beta * c.
rule("gemm", function(g, o)
  local f, a, b, c = o.attributes, o.operands[1], o.operands[2], o.operands[3]
  a = f.trans_a and transposed(g, o, a) or a
  b = f.trans_b and transposed(g, o, b) or b
  if c and f.beta == 0 then c = nil end
  local alpha = (f.alpha or 1) ~= 1
  if not alpha and not c then return graph.replace(g, operation("matmul", o.name, { a, b })) end
  local y = step(g, o, "matmul", { a, b })
  if not c then return graph.replace(g, operation("mul", o.name, { y, f.alpha })) end
  y = alpha and step(g, o, "mul", { y, f.alpha }) or y
  if (f.beta or 1) ~= 1 then c = type(c) == "number" and c * f.beta or step(g, o, "mul", { c, f.beta }) end
  return graph.replace(g, operation("add", o.name, { y, c }))
end)

-- A vector is a matrix of one row or column.
rule("matmul", function(g, o)
  local a, b = dims_of(g, o.operands[1]), dims_of(g, o.operands[2])
  if #a > 1 and #b > 1 then return false end
  local dims = g.tensors[o.name].dims
  local function matrix(operand, wanted) return step(g, o, "reshape", { operand }, { dims = wanted }) end
  local x = #a > 1 and o.operands[1] or matrix(o.operands[1], { 1, a[1] })
  local y = #b > 1 and o.operands[2] or matrix(o.operands[2], { b[1], 1 })
  return graph.replace(g, operation("reshape", o.name, { step(g, o, "matmul", { x, y }) }, { dims = dims }))
end)

rule("matmul", function(g, o)
  local a, b = o.operands[1], o.operands[2]
  if is_constant(g, b) and #dims_of(g, b) == 2 then return graph.replace(g, operation("linear", o.name, { a, b })) end
  if not is_constant(g, a) or #dims_of(g, a) ~= 2 then return false end
  local y = step(g, o, "linear", { transposed(g, o, b), transposed(g, o, a) })
  return graph.replace(g, operation("transpose", o.name, { y }, swapped(#dims_of(g, y))))
end)

---- folding into convolutions -----------------------------------------------------------------------------------------

rules = folding

local function is_plain(p)
  local e = p.attributes.epilogue
  return not p.residual and not (e and e.activation ~= "none")
end

-- The convolution before an operation, which has nothing behind its bias yet.
local function convolution_before(g, o)
  local p = graph.sole(g, o.operands[1], convolutions)
  return p and is_plain(p) and p or nil
end

local function channels_of(g, p)
  local dims = g.tensors[p.name].dims
  return dims, p.op == "linear" and #dims or shapes.channel_axis(g.net.layout, #dims) + 1
end

-- A constant with one element for each channel of what p makes, as a vector; a number as it is; nil: it is neither.
local function per_channel(g, p, operand)
  if type(operand) == "number" then return operand end
  if not is_constant(g, operand) then return nil end
  local dims, channel = channels_of(g, p)
  local own = dims_of(g, operand)
  for i = 1, #own do
    local axis = #dims - #own + i
    if own[i] ~= (axis == channel and dims[channel] or 1) then return nil end
  end
  if channel <= #dims - #own then return nil end
  if #own == 1 then return operand end
  return graph.constant(g, "reshape", operand, { operand }, { dims = { dims[channel] } })
end

-- Folds a step into the weights and the bias of p.
local function fold(g, p, o, what, operands, epsilon)
  p.folds = (p.folds or 0) + 1
  if p.folds > operations.most_folds then return false end
  local weights, bias = graph.name(g, p.operands[2]), graph.name(g, p.operands[3] or o.name)
  table.insert(operands, 1, p.operands[2])
  local window = p.attributes.window
  local f = { op = "fold", name = weights, results = { weights, bias }, operands = operands, bias = p.operands[3],
    attributes = { what = what, of = p.op ~= "conv" and p.op or nil, epsilon = epsilon,
      groups = window and window.g > 1 and window.g or nil } }
  graph.put(g, f)
  p.operands[2], p.operands[3] = weights, bias
  return graph.takes_over(g, p, o)
end

rule("batchnorm", function(g, o)
  local p = convolution_before(g, o)
  for i = 2, 5 do
    if not p or not is_constant(g, o.operands[i]) then return false end
  end
  if p.op == "linear" and #dims_of(g, p.name) ~= 2 then return false end
  return fold(g, p, o, "batchnorm", table.move(o.operands, 2, 5, 1, {}), o.attributes.epsilon)
end)

-- The other operand of a sum or product that the convolution's result is in.
local function with_convolution(g, o)
  if #o.operands ~= 2 then return nil end
  if not commutes[o.op] or graph.sole(g, o.operands[1], convolutions) then return o.operands[2] end
  if not graph.sole(g, o.operands[2], convolutions) then return nil end
  o.operands[1], o.operands[2] = o.operands[2], o.operands[1]
  return o.operands[2]
end

local function broadens(g, o)
  return not shapes.same(dims_of(g, o.operands[1]), g.tensors[o.name].dims)
end

rule("add sub mul div", function(g, o)
  local other = with_convolution(g, o)
  local p = other and convolution_before(g, o)
  if not p or broadens(g, o) then return false end
  local constant = per_channel(g, p, other)
  if not constant then return false end
  if o.op == "add" and not p.operands[3] and type(constant) == "string" then
    p.operands[3] = constant
    return graph.takes_over(g, p, o)
  end
  return fold(g, p, o, o.op, { constant })
end)

---- padding -----------------------------------------------------------------------------------------------------------

-- The pad before an operation on images that is of zeros around the pixels.
local function zeros_before(g, o)
  local pad = graph.sole(g, o.operands[1], { pad = true })
  local f = pad and pad.attributes
  if not f or f.mode or (f.value or 0) ~= 0 then return nil end
  local channel = shapes.channel_axis(g.net.layout, #f.before) + 1
  if f.before[1] + f.after[1] + f.before[channel] + f.after[channel] > 0 then return nil end
  return pad, shapes.first_spatial(g.net.layout)
end

rule("conv", function(g, o)
  local pad, first = zeros_before(g, o)
  if not pad then return false end
  local f, c, rank = pad.attributes, o.attributes.window, o.attributes.window.rank
  local window = { g = c.g, ic = c.ic, oc = c.oc, rank = rank, c[1], c[2], c[3] }
  for n = 4 - rank, 3 do
    local w, at = c[n], first + n - (3 - rank)
    window[n] = { i = w.i - f.before[at] - f.after[at], o = w.o, k = w.k, s = w.s, p = w.p + f.before[at], d = w.d }
  end
  o.attributes.window, o.operands[1] = window, pad.operands[1]
  return graph.replace(g, o)
end)

-- Of an average that counts its padding, or has none.
rule("avgpool", function(g, o)
  local pad, first = zeros_before(g, o)
  local a = o.attributes
  if not pad or a.o or not (a.counted or all_are(a.p, 0) and all_are(a.e, 0)) then return false end
  local p, e, f = {}, {}, pad.attributes
  for n = 1, #a.k do
    p[n], e[n] = (a.p and a.p[n] or 0) + f.before[first + n], (a.e and a.e[n] or 0) + f.after[first + n]
    if p[n] >= (a.k[n] - 1) * (a.d and a.d[n] or 1) + 1 then return false end
  end
  a.p, a.e, a.counted, o.operands[1] = p, e, true, pad.operands[1]
  return graph.replace(g, o)
end)

---- the whole ---------------------------------------------------------------------------------------------------------

function simplify.network(net)
  return graph.rewritten(recognise.network(graph.rewritten(net, tidying)), folding)
end

return simplify
