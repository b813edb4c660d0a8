-- functions.lua: exp, log, erf as programs of a register, and what these and the activations are made of.
--
-- Nothing is looked up or branched on: an argument is kept in range, or formulas of two ranges are both computed. The
-- constants are those of tools/polynomials.py. At most 2 units in the last place off where the result is a normal
-- number, and one of the smallest number where it is not; NaN stays. (tanh is a row of activations.lua.)
--   exp  0 at -infinity; infinite where the result is above the largest number
--   log  -infinity of 0 and -0, NaN below, infinity of infinity; exact enough of numbers below the normal ones
--   erf  -1 and 1 at the infinities, its argument's sign at 0
local polynomials = require "polynomials"
local functions = {}

-- magic: 1.5 times the power of two at which the type counts in ones, and the exponent's bias. least: the power of two
-- below which log scales up, so that all numbers are normal ones.
local exponent = { 
  f32 = { magic = 0x1.8p23 + 127, fraction = 23, bias = 127, least = 0x1p-100, smallest = 0x1p-149,
    largest = 0x1.fffffep127 },
  f64 = { magic = 0x1.8p52 + 1023, fraction = 52, bias = 1023, least = 0x1p-1000, smallest = 0x1p-1074,
    largest = 0x1.fffffffffffffp1023 } }

local function constant(k, name, value)
  local r = k:vector(name)
  k:constant(r, value)
  return r
end

-- r = a op b in a new register.
local function new(k, name, operation, a, b)
  local r = k:vector(name)
  k[operation](k, r, a, b)
  return r
end

-- y stays where it is NaN.
local function at_least(k, low, y, to) k:max(to or y, constant(k, "low", low), y) end
local function at_most(k, high, y, to) k:min(to or y, constant(k, "high", high), y) end

local function horner(k, name, coefficients, x)
  local sum = constant(k, name, coefficients[#coefficients])
  for i = #coefficients - 1, 1, -1 do k:muladd(sum, x, k:number(coefficients[i])) end
  return sum
end

-- part, n: exp(x + rest) = 2^n * (1 + part), part = exp(high + low) - 1. Adding `magic` rounds to an integer, which
-- then stands in the lowest bits as an exponent does: so n is given.
local function reduced(k, x, rest)
  local c, e = polynomials[k.type], exponent[k.type]
  local scale = constant(k, "scale", c.reduction[1])
  k:muladd(scale, x, k:number(e.magic))
  local n = new(k, "n", "sub", scale, k:number(e.magic))
  local high, low = constant(k, "far", -c.reduction[2]), constant(k, "near", -c.reduction[3])
  k:muladd(high, n, x)
  if rest then k:muladd(low, n, rest) else k:mul(low, low, n) end
  k:add(n, high, low)
  local part = horner(k, "part", c.expm1, n)
  k:mul(n, n, n)
  k:muladd(part, n, low)
  k:add(part, part, high)
  return part, scale
end

-- The same with 2^n, which is 0 and infinite at the ends of the range that x is kept in.
local function exponential(k, x, rest)
  local part, scale = reduced(k, x, rest)
  k:shift(scale, scale, exponent[k.type].fraction)
  return part, scale
end

---- functions -------------------------------------------------------------------------------------------------------

-- Two powers of two: 2^n may be beyond the type where the result is not.
local function exp(k, y)
  local c, e = polynomials[k.type], exponent[k.type]
  at_least(k, c.exp_limits[1], y)
  at_most(k, c.exp_limits[2], y)
  local part, first = reduced(k, y)
  local second = new(k, "second", "sub", first, k:number(e.magic))
  k:mul(first, second, k:number(0.5))
  k:add(first, first, k:number(e.magic))
  local half = new(k, "half", "sub", first, k:number(e.magic))
  k:sub(second, second, half)
  k:add(second, second, k:number(e.magic))
  k:shift(first, first, e.fraction)
  k:shift(second, second, e.fraction)
  k:move(y, first)
  k:fma(y, first, part)
  k:mul(y, y, second)
end

-- The exponent of a positive x, plus the bias, in a new register; x becomes its fraction, from 1 on.
local function taken_apart(k, x, one)
  local e = exponent[k.type]
  local n, whole = k:vector "n", constant(k, "whole", 2.0 ^ e.fraction)
  k:down(n, x, e.fraction)
  k:bor(n, n, whole)
  k:sub(n, n, whole)
  local field = new(k, "field", "band", x, constant(k, "all", math.huge))
  k:bxor(x, x, field)
  k:bor(x, x, one)
  return n
end

-- What is added to a logarithm: 0; -infinity for x = 0, NaN below. small: x where it is, scaled up.
local function where_not_positive(k, small)
  local e, huge = exponent[k.type], constant(k, "huge", 2.0 ^ exponent[k.type].bias)
  local least = constant(k, "least", e.smallest / e.least)
  local below, zero = k:vector "below", k:vector "zero"
  k:zero(zero)
  k:min(below, least, small)
  k:sub(below, below, least)
  k:min(zero, zero, small)
  for _, r in ipairs { below, zero } do k:mul(r, r, huge); k:mul(r, r, huge) end
  k:sub(zero, zero, zero)
  k:add(below, below, zero)
  return below
end

-- log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)) with s = f / (2 + f); n logarithms of 2 are added.
local function log_around_one(k, f, n)
  local c = polynomials[k.type]
  local s = new(k, "s", "add", f, k:number(2))
  k:div(s, f, s)
  local square, z = new(k, "square", "mul", f, k:number(0.5)), new(k, "z", "mul", s, s)
  k:mul(square, square, f)
  local more = horner(k, "more", c.log, z)
  k:muladd(more, z, square)
  k:mul(more, more, s)
  k:fma(more, n, constant(k, "near", c.reduction[3]))
  k:sub(more, more, square)
  k:add(f, f, more)
  k:fma(f, n, constant(k, "far", c.reduction[2]))
end

-- x is the product of two, of which one is a power of two: what is small of it, scaled up, and what is not.
local function log(k, y)
  local e, one = exponent[k.type], constant(k, "one", 1)
  local edge, small, large = constant(k, "edge", e.least), k:vector "small", k:vector "large"
  k:min(small, edge, y)
  k:mul(small, small, k:number(1 / e.least))
  k:max(large, edge, y)
  local special, top = where_not_positive(k, small), k:vector "top"
  at_least(k, e.largest, y, top)
  k:sub(top, top, k:number(e.largest))
  k:add(special, special, top)
  local n, m = taken_apart(k, small, one), taken_apart(k, large, one)
  k:add(n, n, m)
  k:mul(large, large, small)
  k:sub(n, n, k:number(2 * e.bias))
  local high = new(k, "high", "sub", large, k:number(0x1.d413cdp-1)) -- 1 where the fraction is above sqrt(2), else 0
  k:add(high, high, k:number(1.5 * 2.0 ^ e.fraction))
  k:sub(high, high, k:number(1.5 * 2.0 ^ e.fraction))
  k:add(n, n, high)
  k:mul(high, high, k:number(0.5))
  k:fnma(large, large, high)
  k:sub(large, large, one)
  log_around_one(k, large, n)
  k:add(y, large, special)
end

-- erf(t) = 1 - exp(-t G), where G = -log(erfc(t)) / t is its value at 0 and t over / under: a sum of two numbers, as
-- its product with t is. far: -t.
local function erf(k, y)
  local c, sign = polynomials[k.type], constant(k, "sign", -0.0)
  local far = new(k, "far", "bor", y, sign)
  at_least(k, -c.erf_limit[1], far)
  local t = new(k, "t", "bxor", far, sign)
  local more, under = horner(k, "more", c.erf_over, t), horner(k, "under", c.erf_under, t)
  k:mul(more, more, t)
  k:div(more, more, under)
  local first = constant(k, "first", c.erf_first[1])
  local sum = new(k, "sum", "add", first, more)
  k:sub(first, first, sum)
  k:add(first, first, more)
  k:add(first, first, k:number(c.erf_first[2]))
  local power = new(k, "power", "mul", far, sum)
  local rest = new(k, "rest", "bxor", power, sign)
  k:fma(rest, far, sum)
  k:fma(rest, far, first)
  local part, scale = exponential(k, power, rest)
  local result = new(k, "result", "sub", scale, k:number(1))
  k:fma(result, scale, part)
  k:bor(result, result, sign)
  k:bxor(result, result, sign)
  k:band(sign, sign, y)
  k:bor(y, result, sign)
end

-- exact: C of x, as in activations.lua.
functions.list = {
  { name = "exp", program = exp, exact = "LIKE(exp)(x)" },
  { name = "log", program = log, exact = "LIKE(log)(x)" },
  { name = "erf", program = erf, exact = "LIKE(erf)(x)" },
}

functions.constant, functions.new, functions.at_least, functions.at_most = constant, new, at_least, at_most
functions.horner, functions.exponential, functions.log_around_one = horner, exponential, log_around_one
return functions
