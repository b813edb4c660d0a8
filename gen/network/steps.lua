-- steps.lua: element-wise operations as steps of a kernel program: a chain of them over operands and earlier results.
--
-- A step is { name, operands...; lo, hi }: an operand is the name of a slot ("src"), an integer: the result of that
-- step, or { value = x }: a number for all elements. lo and hi are an activation's parameters, lo an exponent, or elu's
-- alpha. max and min keep NaN, of either operand. What stands in activations.lua and functions.lua is exact as it says
-- there, sqrt and div are rounded once.
local activations, functions, polynomials = require "activations", require "functions", require "polynomials"
local steps = {}

local constant, new, at_least = functions.constant, functions.new, functions.at_least
local exp, log
for _, row in ipairs(functions.list) do
  if row.name == "exp" then exp = row.program elseif row.name == "log" then log = row.program end
end

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

local function sqrt(k, y) k:sqrt(y, y) end

-- alpha (exp(x) - 1) below zero, where the difference from 1 is made of exp's parts.
local function elu(k, y, step)
  local zero, below = k:vector "zero", k:vector "below"
  k:zero(zero)
  k:min(below, zero, y)
  k:max(y, zero, y)
  at_least(k, -polynomials[k.type].limits[1], below)
  local part, scale = functions.exponential(k, below)
  local over = new(k, "over", "sub", scale, k:number(1))
  k:fma(over, scale, part)
  k:fma(y, over, constant(k, "alpha", step.lo))
end

-- max(x, 0) + log(1 + e), e = exp(-|x|): of 1 + e, or of half of it where that is nearer to 1.
local function softplus(k, y)
  local sign, zero = constant(k, "sign", -0.0), k:vector "zero"
  local e = new(k, "e", "bor", y, sign)
  k:zero(zero)
  k:max(y, zero, y)
  exp(k, e)
  local magic = 1.5 * 2.0 ^ (k.type == "f32" and 23 or 52)
  local high = new(k, "high", "add", e, k:number(1 - 0x1.d413cdp-1))
  k:add(high, high, k:number(magic)) -- rounds to 0 or 1
  k:sub(high, high, k:number(magic))
  local half, kept = new(k, "half", "mul", high, k:number(0.5)), constant(k, "kept", 1)
  k:sub(kept, kept, half)
  k:mul(e, e, kept)
  k:sub(e, e, half)
  functions.log_around_one(k, e, high)
  k:add(y, y, e)
end

-- y to the power n, a natural number, by squares.
local function power_of(k, y, n)
  local square, power = k:vector "square", nil
  k:move(square, y)
  while n > 0 do
    if n % 2 == 1 then
      if power then k:mul(power, power, square)
      else
        power = k:vector "power"
        k:move(power, square)
      end
    end
    n = n // 2
    if n > 0 then k:mul(square, square, square) end
  end
  k:move(y, power)
end

local function invert(k, y) k:div(y, constant(k, "one", 1), y) end

-- Whole exponents by products, halves by a root besides; others by exp and log, of no x below 0, whose error grows with
-- the logarithm of the result.
local function pow(k, y, step)
  local size = math.abs(step.lo)
  local whole, half = math.tointeger(size // 1), size % 1
  if size == 0 then return k:constant(y, 1) end
  if size >= 2.0 ^ 31 or half ~= 0 and half ~= 0.5 then
    log(k, y)
    k:mul(y, y, k:number(step.lo))
    return exp(k, y)
  end
  local root = half > 0 and k:vector "root"
  if root then k:sqrt(root, y) end
  if whole > 0 then power_of(k, y, whole) else k:constant(y, 1) end
  if root then k:mul(y, y, root) end
  if step.lo < 0 then invert(k, y) end
end

steps.unary = { neg = neg, abs = abs, sqrt = sqrt, elu = elu, softplus = softplus, pow = pow }
for _, row in ipairs(functions.list) do steps.unary[row.name] = row.program end

for _, row in ipairs(activations.list) do
  if row.program and not row.slopes then
    steps.unary[row.name] = function(k, y, step)
      row.program(k, y, { lo = step.lo or 0, hi = step.hi or 0 }, not row.registers and k:vector "temp" or nil)
    end
  end
end

---- a chain -----------------------------------------------------------------------------------------------------------

-- The register of an operand. (A slot is loaded anew wherever it is read: no register waits for a later step.)
local function register(k, chain, operand)
  if type(operand) == "table" then return constant(k, "number", operand.value) end
  return chain.results[operand] or chain.load(operand)
end

-- The same in a register that may be overwritten.
local function own(k, chain, operand)
  local x = register(k, chain, operand)
  if not chain.results[operand] then return x end
  local y = k:vector "y"
  k:move(y, x)
  return y
end

local function unary(k, chain, step)
  local y = own(k, chain, step[2])
  steps.unary[step[1]](k, y, step)
  return y
end

local function prelu(k, chain, step)
  local y = own(k, chain, step[2])
  activations.rows.prelu.program(k, y, nil, own(k, chain, step[3]))
  return y
end

-- Of two or more operands, from the left.
local function binary(k, chain, step)
  local row, x = steps.binary[step[1]], register(k, chain, step[2])
  for i = 3, #step do
    local y, d = step[i], k:vector "d"
    y = row.number and type(y) == "table" and k:number(y.value) or register(k, chain, y)
    row.write(k, d, x, y)
    x = d
  end
  return x
end

local function writer(name)
  return name == "prelu" and prelu or steps.binary[name] and binary or steps.unary[name] and unary
end

-- Puts a chain into a program, load(slot) gives a register with an operand; the last step's result, which nobody else
-- has, or src where there are no steps.
function steps.put(k, list, load)
  local chain = { results = {}, load = load }
  k.activates = true
  for i, step in ipairs(list) do chain.results[i] = writer(step[1])(k, chain, step) end
  return chain.results[#list] or load "src"
end

-- Why there is no program for a chain, or nil.
function steps.misfit(list)
  for _, step in ipairs(list) do
    if not writer(step[1]) then return ("no step is called %s"):format(tostring(step[1])) end
  end
end

-- Whether a chain is of a few instructions alone.
local cheap = { add = true, sub = true, mul = true, max = true, min = true, neg = true, abs = true, relu = true,
  clamp = true }

function steps.cheap(list)
  for _, step in ipairs(list) do if not cheap[step[1]] then return false end end
  return #list <= 4
end

return steps
