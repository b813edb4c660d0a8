-- network/chain.lua: operations element by element as one: a chain of steps over operands and earlier results.
--
-- A step is { name, args; lo, hi }: an arg is { operand = n }, { step = n } or a number; name is an operation of a
-- file or an activation's, whose numbers are lo and hi. In a file a step is one word, spelled name(args): $2 is the
-- second operand, %1 the first step's result: `mul($1,$2) leaky:0.1(%1)`.
local text = require "network/text"
local convolution = require "network/convolution"
local chain = {}

local fail = text.fail
chain.most_operands, chain.most_steps = 5, 32

-- Steps that are no activation's, and how many args they have.
local counts = {}
for range, names in pairs { [{ 2, 8 }] = "add sub mul div max min", [{ 2, 2 }] = "pow elu prelu",
  [{ 1, 1 }] = "sqrt exp log neg abs erf softplus" } do
  for name in names:gmatch "%S+" do counts[name] = range end
end

---- text --------------------------------------------------------------------------------------------------------------

local function arg_of(word, steps)
  local sign, digits = word:match "^([$%%])([1-9]%d?)$"
  if sign == "$" then return { operand = tonumber(digits) } end
  if sign and tonumber(digits) <= steps then return { step = tonumber(digits) } end
  return text.number_of(word)
    or fail("'%s' is no arg of a step: allowed are $1, %%1 of an earlier step, and numbers", word)
end

local function step_of(word, steps)
  local name, inside = word:match "^([^()]+)%(([^()]*)%)$"
  if not name then return nil end
  local step, range = { name = name, args = {} }, counts[name] or { 1, 1 }
  if not counts[name] then
    local a = convolution.activation_of(name)
    step.name, step.lo, step.hi = a.activation, a.lo, a.hi
  end
  for arg in (inside .. ","):gmatch "(.-)," do step.args[#step.args + 1] = arg_of(arg, steps) end
  if #step.args < range[1] or #step.args > range[2] then fail("%s has %d args", name, #step.args) end
  return step
end

local function arg_text(arg)
  if type(arg) == "number" then return text.number(arg) end
  return arg.operand and "$" .. arg.operand or "%" .. arg.step
end

local function step_text(step)
  local args = {}
  for i, arg in ipairs(step.args) do args[i] = arg_text(arg) end
  local name = counts[step.name] and step.name
    or convolution.activation { activation = step.name, lo = step.lo, hi = step.hi }
  return ("%s(%s)"):format(name, table.concat(args, ","))
end

-- Of words.lua: all steps.
chain.words = { name = "steps", shown = "STEP(ARGS) ...", needed = true,
  text = function(steps)
    local list = {}
    for i, step in ipairs(steps) do list[i] = step_text(step) end
    return table.concat(list, " ")
  end,
  read = function(list, at, attributes)
    local steps = {}
    while list[at] do
      local step = step_of(list[at], #steps)
      if not step then break end
      if #steps == chain.most_steps then fail("a chain has at most %d steps", chain.most_steps) end
      steps[#steps + 1], at = step, at + 1
    end
    if not steps[1] then return nil end
    attributes.steps = steps
    return at
  end }

---- operations as steps -----------------------------------------------------------------------------------------------

-- Numbers as they are, tensors in order.
local function args_of(o)
  local args, at = {}, 0
  for i, operand in ipairs(o.operands) do
    at = type(operand) == "string" and at + 1 or at
    args[i] = type(operand) == "string" and { operand = at } or operand
  end
  return args
end

local special = {}

function special.activate(o)
  local a = o.attributes.activation
  return { { name = a.activation, args = args_of(o), lo = a.lo, hi = a.hi } }
end

function special.elu(o)
  local args = args_of(o)
  return { { name = "elu", args = { args[1], o.attributes.alpha } } }
end

-- Of x, scale, bias, mean and variance.
function special.batchnorm(o)
  local x, scale, bias, mean, variance = table.unpack(args_of(o))
  return { { name = "add", args = { variance, o.attributes.epsilon } }, { name = "sqrt", args = { { step = 1 } } },
    { name = "sub", args = { x, mean } }, { name = "div", args = { { step = 3 }, { step = 2 } } },
    { name = "mul", args = { { step = 4 }, scale } }, { name = "add", args = { { step = 5 }, bias } } }
end

function special.chain(o) return o.attributes.steps end

-- The steps of an element-wise operation over the tensors among its operands.
function chain.steps(o)
  if special[o.op] then return special[o.op](o) end
  return { { name = o.op, args = args_of(o) } }
end

---- kernels -----------------------------------------------------------------------------------------------------------

local slots = { "src", "weights", "residual", "bias", "slope" }

local function kernel_arg(arg)
  if type(arg) == "number" then return { value = arg } end
  return arg.operand and slots[arg.operand] or arg.step
end

-- A step as network/kernels.lua has it.
function chain.kernel_step(step)
  local k = { step.name, lo = step.lo, hi = step.hi }
  local last = #step.args
  if step.name == "pow" or step.name == "elu" then k.lo, last = step.args[2], 1 end
  for i = 1, last do k[#k + 1] = kernel_arg(step.args[i]) end
  return k
end

return chain
