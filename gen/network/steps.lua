-- steps.lua: element-wise operations as steps of a kernel program: a chain of them over operands and earlier results.
--
-- A step is { name, operands...; lo, hi }: an operand is the name of a slot ("src"), an integer: the result of that
-- step, or { value = x }: a number for all elements. lo and hi are an activation's parameters, lo an exponent, or elu's
-- alpha. max and min keep NaN, of either operand. What stands in activations.lua and functions.lua is exact as it says
-- there, sqrt and div are rounded once.
local activations, functions = require "activations", require "functions"
local steps = {}

local constant = functions.constant

-- Either is NaN: then the larger one by either order, in the bits of both. (Of zeros it is -0 where one of them is.)
local function keeping(name)
  return function(k, d, x, y)
    local other = k:vector "other"
    k[name](k, other, y, x)
    k[name](k, d, x, y)
    k:bor(d, d, other)
  end
end

local function plain(name) return function(k, d, x, y) k[name](k, d, x, y) end end

-- Of two operands, d another register than both. second: what y may be beside a register.
steps.binary = {
  add = { write = plain "add", number = true }, sub = { write = plain "sub", number = true },
  mul = { write = plain "mul", number = true }, div = { write = plain "div", number = true },
  max = { write = keeping "max" }, min = { write = keeping "min" },
}

---- of one operand, which becomes the result -------------------------------------------------------------------------

local function neg(k, y) k:bxor(y, y, constant(k, "sign", -0.0)) end

local function abs(k, y)
  local sign = constant(k, "sign", -0.0)
  k:bor(y, y, sign)
  k:bxor(y, y, sign)
end

steps.unary = { neg = neg, abs = abs }
for _, row in ipairs(functions.list) do steps.unary[row.name] = row.program end

for _, row in ipairs(activations.list) do
  if row.program and not row.slopes then
    steps.unary[row.name] = function(k, y, step)
      row.program(k, y, { lo = step.lo or 0, hi = step.hi or 0 }, not row.registers and k:vector "temp" or nil)
    end
  end
end

---- a chain -----------------------------------------------------------------------------------------------------------

-- The register of an operand.
local function register(k, values, operand)
  if type(operand) == "table" then return constant(k, "number", operand.value) end
  return values[operand]
end

local function unary(k, values, step)
  local y = k:vector "y"
  k:move(y, register(k, values, step[2]))
  steps.unary[step[1]](k, y, step)
  return y
end

local function prelu(k, values, step)
  local y, slope = k:vector "y", k:vector "slope"
  k:move(y, register(k, values, step[2]))
  k:move(slope, register(k, values, step[3]))
  activations.rows.prelu.program(k, y, nil, slope)
  return y
end

-- Of two or more operands, from the left.
local function binary(k, values, step)
  local row, x = steps.binary[step[1]], register(k, values, step[2])
  for i = 3, #step do
    local y, d = step[i], k:vector "d"
    y = row.number and type(y) == "table" and k:number(y.value) or register(k, values, y)
    row.write(k, d, x, y)
    x = d
  end
  return x
end

-- Puts a chain into a program, for the values of slots; the last step's result, which nobody else has, or the only
-- slot's where there are no steps.
function steps.put(k, list, values)
  k.activates = true
  for i, step in ipairs(list) do
    local name = step[1]
    if name == "prelu" then values[i] = prelu(k, values, step)
    elseif steps.binary[name] then values[i] = binary(k, values, step)
    elseif steps.unary[name] then values[i] = unary(k, values, step)
    else error(("no step is called %s"):format(name), 0) end
  end
  return #list > 0 and values[#list] or values.src
end

-- Whether a chain is of a few instructions alone.
local cheap = { add = true, sub = true, mul = true, max = true, min = true, neg = true, abs = true, relu = true,
  clamp = true }

function steps.cheap(list)
  for _, step in ipairs(list) do if not cheap[step[1]] then return false end end
  return #list <= 4
end

return steps
