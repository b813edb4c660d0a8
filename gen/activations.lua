-- activations.lua: what is done with a sum before it is stored, one row an activation.
--
-- runtime/problem/activation.c has the same rows for the reference: its head says what holds for all. A row has
--   program(k, y, e, slope)  puts it into a program: y, a register, becomes what is stored; e has the parameters lo and
--                            hi; slope: a register that PReLU's is in
--   registers                how many it needs beside y, on the target that needs most (tests/gen/activations.lua counts)
--   exact                    a C expression of x, lo and hi for emitted self-checks: LIKE(f) is a function of <math.h>
--   means                    words for emitted files, of which %1 and %2 are the parameters
--   steepest                 where the parameters do not say: a difference of x grows by no more
--   span                     the x between which it hides nothing, where it is flat elsewhere: {lo, hi}, or a function
--                            of e
-- Comments of the steps give what stands in activation_steps.h under the same name.
local polynomials = require "polynomials"
local activations = {}

local infinity = math.huge
local exponent = { f32 = { magic = 0x1.8p23 + 127, fraction = 23 }, f64 = { magic = 0x1.8p52 + 1023, fraction = 52 } }

---- pieces ----------------------------------------------------------------------------------------------------------

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

-- part, scale: exp(x + rest) = scale * (1 + part)
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

-- 1 + exp(-x), for x as it is kept in range
local function one_plus_exp(k, x)
  local t, zero = k:vector "t", k:vector "zero"
  at_most(k, polynomials[k.type].limits[1], x, t)
  k:zero(zero)
  k:sub(t, zero, t)
  local part, scale = exponential(k, t)
  k:add(part, part, k:number(1))
  k:mul(part, part, scale)
  k:add(part, part, k:number(1))
  return part
end

local function rectify(k, y)
  local zero = k:vector "zero"
  k:zero(zero)
  k:max(y, zero, y)
  return zero
end

---- programs --------------------------------------------------------------------------------------------------------

-- below = min(0, y); y = max(0, y)
local function part_at_zero(k, y)
  local zero, below = k:vector "zero", k:vector "below"
  k:zero(zero)
  k:min(below, zero, y)
  k:max(y, zero, y)
  return below
end

local function leaky(k, y, e)
  local below = part_at_zero(k, y)
  k:fma(y, constant(k, "slope", e.lo), below)
  if e.hi > -infinity then at_least(k, e.hi, y) end
end

local function prelu(k, y, _, slope) k:fma(y, slope, part_at_zero(k, y)) end

local function hardsigmoid(k, y, e)
  k:muladd(y, constant(k, "alpha", e.lo), k:number(e.hi))
  rectify(k, y)
  at_most(k, 1, y)
end

local function hardswish(k, y)
  local gate = new(k, "gate", "add", y, k:number(3))
  rectify(k, gate)
  at_most(k, 6, gate)
  k:mul(gate, gate, k:number(1 / 6))
  at_least(k, -3, y)
  k:mul(y, gate, y)
end

local function sigmoid(k, y)
  at_least(k, polynomials[k.type].limits[2], y)
  local under = one_plus_exp(k, y)
  k:div(y, constant(k, "one", 1), under)
end

local function silu(k, y)
  at_least(k, polynomials[k.type].limits[2], y)
  k:div(y, y, one_plus_exp(k, y))
end

local function tanh(k, y)
  local sign = constant(k, "sign", -0.0)
  local t = new(k, "t", "bor", y, sign)
  k:add(t, t, t)
  at_least(k, -polynomials[k.type].limits[1], t)
  local part, scale = exponential(k, t)
  local over = new(k, "over", "sub", scale, k:number(1))
  k:fma(over, scale, part)
  k:add(part, part, k:number(1))
  k:mul(part, part, scale)
  local under = new(k, "under", "add", part, k:number(1))
  local lost = new(k, "lost", "sub", under, k:number(1))
  k:sub(lost, part, lost)
  local quotient = new(k, "quotient", "div", over, under)
  k:fnma(over, quotient, under)
  k:fnma(over, quotient, lost)
  k:fma(quotient, over, constant(k, "about", 0.75))
  k:bor(quotient, quotient, sign) -- the sign of y
  k:bxor(quotient, quotient, sign)
  k:band(sign, sign, y)
  k:bor(y, quotient, sign)
end

-- tail: of the normal distribution beyond t, from exp(-t^2 / 2) = scale * (1 + part)
local function tail_beyond(k, t, part, scale, sign)
  local c = polynomials[k.type]
  local small, under = horner(k, "small", c.mills_over, t), horner(k, "under", c.mills_under, t)
  local share, over = constant(k, "share", 15 / 32), k:vector "over"
  k:muladd(small, t, small)
  k:move(over, small)
  k:fma(over, under, share)
  local lost = new(k, "lost", "bxor", over, sign)
  k:fma(lost, under, share)
  k:add(lost, lost, small)
  k:muladd(under, t, under)
  k:fma(lost, part, over)
  k:add(lost, lost, over)
  k:mul(lost, lost, scale)
  k:div(lost, lost, under)
  return lost
end

local function gelu(k, y)
  local sign = constant(k, "sign", -0.0)
  local far = new(k, "far", "bor", y, sign)
  at_least(k, -polynomials[k.type].limits[3], far)
  local t = new(k, "t", "bxor", far, sign)
  local half = new(k, "half", "mul", far, k:number(0.5))
  local square = new(k, "square", "mul", half, t)
  local rest = new(k, "rest", "bxor", square, sign)
  k:fma(rest, half, t)
  local part, scale = exponential(k, square, rest)
  local tail = tail_beyond(k, t, part, scale, sign)
  rectify(k, y)
  k:fma(y, far, tail)
end

---- the table -------------------------------------------------------------------------------------------------------

-- NaN-keeping limits of the first two stand in parts.epilogue: kernels had them before there was a table.
activations.rows = {
  none = {},
  relu = { exact = "x < 0 ? 0 : x", means = "then max(0, .)", steepest = 1 },
  clamp = { exact = "x < lo ? lo : x > hi ? hi : x", means = "then clamped to [%1, %2]", steepest = 1,
    span = function(e) return e end },
  leaky = { program = leaky, registers = 2, steepest = 1, exact = "LIKE(fmax)(x < 0 ? lo * x : x, hi)",
    means = "then max(. < 0 ? %1 * . : ., %2)" },
  prelu = { program = prelu, registers = 3, steepest = 1, exact = "x < 0 ? lo * x : x",
    means = "then . < 0 ? slope[c] * . : ." },
  sigmoid = { program = sigmoid, registers = 6, steepest = 0.25, exact = "1 / (1 + LIKE(exp)(-x))",
    means = "then 1 / (1 + exp(-.))", span = { lo = -2.5, hi = 2.5 } },
  tanh = { program = tanh, registers = 7, steepest = 1, exact = "LIKE(tanh)(x)", means = "then tanh(.)",
    span = { lo = -2, hi = 2 } },
  hardsigmoid = { program = hardsigmoid, registers = 2, steepest = 0, means = "then min(max(%1 * . + %2, 0), 1)",
    exact = "LIKE(fmin)(LIKE(fmax)(LIKE(fma)(lo, x, hi), 0), 1)", span = function(e)
      local a, b = -e.hi / e.lo, (1 - e.hi) / e.lo
      return e.lo ~= 0 and { lo = math.min(a, b), hi = math.max(a, b) } or { lo = 0, hi = 0 }
    end },
  hardswish = { program = hardswish, registers = 2, steepest = 1.5, means = "then . * min(max(. + 3, 0), 6) / 6",
    exact = "x <= -3 ? 0 : x * LIKE(fmin)(x + 3, 6) / 6" },
  silu = { program = silu, registers = 6, steepest = 1.1, exact = "x < -11000 ? 0 : x / (1 + LIKE(exp)(-x))",
    means = "then . / (1 + exp(-.))" },
  gelu = { program = gelu, registers = 9, steepest = 1.13, means = "then . * (1 + erf(. / sqrt(2))) / 2",
    exact = "x < -150 ? 0 : x * LIKE(erfc)(-x * 0.7071067811865475244L) / 2" },
}

-- As convgen_activation counts them.
activations.order = { "none", "relu", "clamp", "leaky", "prelu", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu",
  "gelu" }

-- What emitted files say of an epilogue's.
function activations.words(e)
  local numbers = { ["%1"] = ("%g"):format(e.lo), ["%2"] = ("%g"):format(e.hi) }
  local means = activations.rows[e.activation].means
  return means and (means:gsub("%%[12]", numbers))
end

function activations.of(p) return activations.rows[p.epilogue and p.epilogue.activation or "none"] end

-- The sums {lo, hi} that the activation of a problem does not hide, or nil: it hides none.
function activations.span(p)
  local span = activations.of(p).span
  return type(span) == "function" and span(p.epilogue) or span or nil
end

-- Registers that the activation of a problem needs beside a sum; and with it.
function activations.room(p)
  local needs = activations.registers(p)
  return needs > 0 and needs + 1 or 0
end

function activations.registers(p) return activations.of(p).registers or 0 end

function activations.put(k, p, y, slope)
  k.activates = true
  activations.of(p).program(k, y, p.epilogue, slope)
end

return activations
