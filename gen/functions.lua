-- functions.lua: pieces of the programs of functions, which are made of few operations for each lane.
--
-- Nothing is looked up or branched on: an argument is kept in range, or formulas of two ranges are both computed. The
-- constants are those of tools/polynomials.py.
local polynomials = require "polynomials"
local functions = {}

local exponent = { f32 = { magic = 0x1.8p23 + 127, fraction = 23 }, f64 = { magic = 0x1.8p52 + 1023, fraction = 52 } }

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

-- part, scale: exp(x + rest) = scale * (1 + part), part = exp(high + low) - 1. Adding `magic`, 1.5 times the power of
-- two at which the type counts in ones and the exponent's bias, rounds to an integer, which then stands in the lowest
-- bits as an exponent does; scale is 0 and infinite at the ends of the range that x is kept in.
local function exponential(k, x, rest)
  local c, e = polynomials[k.type], exponent[k.type]
  local scale = constant(k, "scale", c.reduction[1])
  k:muladd(scale, x, k:number(e.magic))
  local n = new(k, "n", "sub", scale, k:number(e.magic))
  k:shift(scale, scale, e.fraction)
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

functions.constant, functions.new, functions.at_least, functions.at_most = constant, new, at_least, at_most
functions.horner, functions.exponential = horner, exponential
return functions
