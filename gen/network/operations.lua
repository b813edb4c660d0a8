-- network/operations.lua: the operations of a network file, one row each.
--
-- A row has
--   operands   {fewest, most}; named: operands that are spelled NAME=...; constants: those that must be weights
--   results    how many at most (1 where it is missing)
--   words      what stands behind the operands (words.lua)
--   types      what elements may be: "numbers" (f32 or f64) or "any"
--   shape      the rule (shapes.lua)
--   kind       what the later stages do with it: "convolution", "product", "fold" (of constants), "view" (elements only
--              change their place), "elements" (element by element, broadcast; a chain can have it), "window", "rows",
--              "moves", "joins"
local text = require "network/text"
local words = require "network/words"
local shapes = require "network/shapes"
local convolution = require "network/convolution"
local chain = require "network/chain"
local operations = { rows = {} }

operations.most_folds = 16 -- into one convolution, as the runtime keeps them (CG_FOLDS)

local rows, fail = operations.rows, text.fail
local needed, flag, choice, keyed, bare, lettered = words.needed, words.flag, words.choice, words.keyed, words.bare,
  words.lettered

---- words of one operation alone --------------------------------------------------------------------------------------

local function window(transposed)
  return { name = "window", shown = "DESCRIPTOR", needed = true,
    text = function(c) return convolution.descriptor(c, c.rank, nil, transposed) end,
    read = function(list, at, a)
      if list[at]:sub(1, 2) == "--" then return nil end
      a.window = convolution.read(list[at], transposed)
      return at + 1
    end }
end

local epilogue = lettered("epilogue", "--epilogue=", { shown = "WORDS", of = convolution.epilogue_of,
  text = convolution.epilogue })

local activation = bare("activation", { shown = "WORD", of = convolution.activation_of, text = convolution.activation })

local pool_words = { needed(lettered("k", "k", words.windows)), lettered("s", "s", words.windows),
  lettered("p", "p", words.pads), lettered("e", "e", words.pads), lettered("d", "d", words.windows),
  lettered("o", "o", words.windows) }

local function with(list, ...)
  local all = table.move(list, 1, #list, 1, {})
  for _, word in ipairs { ... } do all[#all + 1] = word end
  return all
end

---- the table ---------------------------------------------------------------------------------------------------------

local axis = needed(keyed("axis", words.axis))
local epsilon = needed(keyed("epsilon", words.number))

local function row(names, r)
  r.results, r.types = r.results or 1, r.types or "numbers"
  for name in names:gmatch "%S+" do
    rows[name] = setmetatable({ name = name }, { __index = r })
  end
end

row("conv", { kind = "convolution", operands = { 2, 3 }, named = { "residual", "slope" }, constants = { 2, 3, "slope" },
  words = { window(false), epilogue }, shape = shapes.convolution })
row("deconv", { kind = "convolution", operands = { 2, 3 }, named = { "residual", "slope" },
  constants = { 2, 3, "slope" }, words = { window(true), epilogue }, shape = shapes.convolution })
row("linear", { kind = "convolution", operands = { 2, 3 }, named = { "residual", "slope" },
  constants = { 2, 3, "slope" }, words = { epilogue }, shape = shapes.linear })
row("fold", { kind = "fold", operands = { 2, 5 }, named = { "bias" }, constants = { 1, 2, 3, 4, 5, "bias" },
  results = 2, shape = shapes.fold, words = { needed(choice("what", { "batchnorm", "mul", "div", "add", "sub" })),
  keyed("of", { shown = "conv|deconv|linear", text = tostring, of = convolution.kind_of }), keyed("groups", words.size),
  keyed("epsilon", words.number) } })
row("gemm", { kind = "product", operands = { 2, 3 }, shape = shapes.gemm,
  words = { flag "trans_a", flag "trans_b", keyed("alpha", words.number), keyed("beta", words.number) } })
row("matmul", { kind = "product", operands = { 2, 2 }, words = {}, shape = shapes.matmul })

row("maxpool", { kind = "window", operands = { 1, 1 }, words = pool_words, shape = shapes.pool })
row("avgpool", { kind = "window", operands = { 1, 1 }, words = with(pool_words, flag "counted"), shape = shapes.pool })

row("reduce_mean reduce_max reduce_sum", { kind = "rows", operands = { 1, 1 }, shape = shapes.reduce,
  words = { needed(keyed("axes", words.axes)), flag "keep" } })
row("argmax", { kind = "rows", operands = { 1, 1 }, words = { axis, flag "keep" }, shape = shapes.argmax })
row("softmax logsoftmax", { kind = "rows", operands = { 1, 1 }, words = { axis }, shape = shapes.along })

row("add sub mul div max min", { kind = "elements", operands = { 2, 64 }, words = {}, shape = shapes.all_broadcast })
row("pow", { kind = "elements", operands = { 2, 2 }, words = {}, shape = shapes.power })
row("sqrt exp log neg abs erf softplus", { kind = "elements", operands = { 1, 1 }, words = {},
  shape = shapes.same_as_first })
row("activate", { kind = "elements", operands = { 1, 1 }, words = { needed(activation) },
  shape = shapes.same_as_first })
row("elu", { kind = "elements", operands = { 1, 1 }, words = { needed(bare("alpha", words.number)) },
  shape = shapes.same_as_first })
row("prelu", { kind = "elements", operands = { 2, 2 }, words = {}, shape = shapes.prelu })

row("chain", { kind = "elements", operands = { 1, chain.most_operands }, words = { chain.words },
  shape = shapes.chain })

row("batchnorm", { kind = "elements", operands = { 5, 5 }, words = { epsilon }, shape = shapes.channel_norm })
row("instancenorm", { kind = "rows", operands = { 3, 3 }, words = { epsilon }, shape = shapes.channel_norm })
row("layernorm", { kind = "rows", operands = { 1, 3 }, words = { axis, epsilon }, shape = shapes.layernorm })

row("resize", { kind = "window", operands = { 1, 1 }, shape = shapes.resize, words = {
  needed(choice("mode", { "nearest", "linear" })), bare("factors", words.factors), lettered("o", "o", words.windows),
  choice("coordinates", { "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel" }),
  choice("rounding", { "floor", "ceil", "round_prefer_floor", "round_prefer_ceil" }) } })
row("depth_to_space", { kind = "moves", operands = { 1, 1 }, types = "any", shape = shapes.depth_to_space,
  words = { needed(bare("block", words.size)), choice("mode", { "dcr", "crd" }) } })

row("concat", { kind = "joins", operands = { 1, 4096 }, types = "any", words = { axis }, shape = shapes.concat })
row("split", { kind = "view", operands = { 1, 1 }, results = 4096, types = "any", shape = shapes.split,
  words = { axis, needed(keyed("sizes", words.sizes)) } })
row("slice", { kind = "view", operands = { 1, 1 }, types = "any", shape = shapes.slice, words = {
  needed(keyed("axes", words.axes)), needed(keyed("from", words.integers)), needed(keyed("to", words.integers)),
  keyed("steps", words.integers) } })
row("pad", { kind = "moves", operands = { 1, 1 }, types = "any", shape = shapes.pad, words = {
  needed(keyed("before", words.counts)), needed(keyed("after", words.counts)), keyed("value", words.number),
  choice("mode", { "reflect", "edge" }) } })
row("transpose", { kind = "view", operands = { 1, 1 }, types = "any", shape = shapes.transpose,
  words = { needed(bare("order", words.axes)) } })
row("reshape", { kind = "view", operands = { 1, 1 }, types = "any", shape = shapes.reshape,
  words = { needed(bare("dims", words.dims)) } })
row("cast", { kind = "moves", operands = { 1, 1 }, types = "any", shape = shapes.cast,
  words = { needed(bare("type", words.type)) } })
row("gather", { kind = "moves", operands = { 1, 2 }, types = "any", shape = shapes.gather, words = { axis,
  keyed("indices", words.counts) } })

---- what all stages ask -----------------------------------------------------------------------------------------------

local function names()
  local list = {}
  for name in pairs(rows) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

function operations.row(op)
  return rows[op] or fail("'%s' is no operation; the operations are: %s", op, names())
end

-- Every operand of an operation, named ones too: visit(name or number, slot); what visit gives takes its place.
function operations.operands(o, visit)
  for i, operand in ipairs(o.operands) do o.operands[i] = visit(operand, i) or operand end
  for _, slot in ipairs(rows[o.op].named or {}) do
    if o[slot] then o[slot] = visit(o[slot], slot) or o[slot] end
  end
end

---- checks ------------------------------------------------------------------------------------------------------------

local function check_count(o, r)
  local fewest, most = r.operands[1], r.operands[2]
  if #o.operands < fewest or #o.operands > most then
    fail("%s has %d operands: allowed %s", o.op, #o.operands,
      fewest == most and "is " .. most or ("are %d to %d"):format(fewest, most))
  end
  if #o.results > r.results then fail("%s has %d results: allowed is %d", o.op, #o.results, r.results) end
end

local function check_constants(o, r, tensor)
  for _, slot in ipairs(r.constants or {}) do
    local operand = o.operands[slot] or type(slot) == "string" and o[slot]
    if type(operand) == "string" and not tensor(operand).constant or type(operand) == "number" and r.kind ~= "fold" then
      fail("%s %s of %s must be a constant: a tensor of the weights file, or a view of one",
        type(slot) == "number" and "operand" or "the", tostring(slot), o.op)
    end
  end
end

local function check_types(o, r, tensor)
  local type_of
  operations.operands(o, function(operand, slot)
    local t = type(operand) == "string" and tensor(operand).type
    if not t or o.op == "gather" and slot == 2 then return end
    type_of = type_of or t
    if t ~= type_of then fail("%s has operands of the types %s and %s: they must be the same", o.op, type_of, t) end
    if r.types == "numbers" and t == "i64" then fail("%s takes f32 or f64, %s is i64", o.op, operand) end
  end)
  return type_of or fail("%s has numbers alone as operands: a tensor is needed", o.op)
end

local function sizes_of(o, tensor, layout)
  local s = { layout = layout, type = function(i) return tensor(o.operands[i]).type end }
  operations.operands(o, function(operand, slot)
    s[slot] = type(operand) == "string" and tensor(operand).dims or {}
  end)
  return s
end

-- Whether what an operation makes is known when the network is opened: views of constants, and what is folded.
function operations.is_constant(o, tensor)
  local constant = rows[o.op].kind == "view" or rows[o.op].kind == "fold"
  operations.operands(o, function(operand)
    constant = constant and (type(operand) == "number" or tensor(operand).constant)
  end)
  return constant
end

-- The results of an operation: a list of dims and their type. tensor(name): what is known of an operand.
function operations.results(o, tensor, layout)
  local r = operations.row(o.op)
  check_count(o, r)
  if type(o.operands[1]) == "number" and r.kind ~= "elements" then fail("%s takes a tensor, not a number", o.op) end
  local type_of = check_types(o, r, tensor)
  check_constants(o, r, tensor)
  local dims, other = r.shape(o, sizes_of(o, tensor, layout))
  local list = type(dims[1]) == "table" and dims or { dims }
  for _, d in ipairs(list) do text.elements(d) end
  return list, other or type_of
end

return operations
