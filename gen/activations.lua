-- activations.lua: what is done with a sum before it is stored, one row an activation, in the order of
-- convgen_activation.
--
-- All that is known of an activation stands here: tools/facts.lua writes the rows as C for the build, the programs as
-- what they do to one number (the reference's), so that kernels and reference are one text. All keep NaN, and give at
-- an infinity their limit there; -0 is taken as the formula takes it. They stay within 4 u max(|y|, 2^-20 |x|) of the
-- exact value (u = 2^-24 or 2^-53). A row has
--   name                     as it is spelled; convgen.h has it in capitals
--   parameters               what its numbers are called, lo, then hi, which may be missing where `absent` is C for it;
--                            also: what the list of all words says behind it
--   legal                    what they must be: C, a sentence that says what they are not, and what fills that in
--   program(k, y, e, temp)   puts it into a program: y, a register, becomes what is stored; e has the parameters lo and
--                            hi; temp: a register that may be overwritten, with the channel's slope where `slopes`
--   registers                how many it needs beside y, on the target that needs most (tests/gen/activations.lua);
--                            without: it is a limit, and rounds nothing
--   exact                    C of x, lo and hi (lo: the slope): LIKE(f) is a function of <math.h>
--   means                    words for emitted files, of which %1 and %2 are the parameters
--   steepest                 C of lo: a difference of x grows by no more; what a formula does beside does not count
--   span                     the x between which it hides nothing, where it is flat elsewhere: {lo, hi}, or a function
--                            of e
local functions, polynomials = require "functions", require "polynomials"
local activations = {}

local constant, new, at_least, at_most = functions.constant, functions.new, functions.at_least, functions.at_most
local horner, exponential = functions.horner, functions.exponential
local infinity = math.huge

---- programs --------------------------------------------------------------------------------------------------------

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

-- Without a register of their own: kernels had these two before there was a table.
local function relu(k, y, _, temp)
  k:zero(temp)
  k:max(y, temp, y)
end

local function clamp(k, y, e, temp)
  if e.lo > -infinity then k:constant(temp, e.lo); k:max(y, temp, y) end
  if e.hi < infinity then k:constant(temp, e.hi); k:min(y, temp, y) end
end

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

-- (exp(-2|x|) - 1) / (exp(-2|x|) + 1), whose numerator is exact enough where x is small. What the quotient and the
-- denominator lost in rounding is put back; between 1 and 2, 3/4 is one over the denominator as near as needed.
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

-- tail, rest: of the normal distribution beyond t, from exp(-t^2 / 2) = scale * (1 + part); rest is what the quotient
-- lost in rounding
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
  local inverse = new(k, "inverse", "div", constant(k, "one", 1), under)
  local tail = new(k, "tail", "mul", lost, inverse)
  k:fnma(lost, tail, under)
  k:mul(lost, lost, inverse)
  return tail, lost
end

-- max(x, 0) - |x| * tail(|x|): the tail by its ratio to exp(-x^2 / 2), whose exponent is a pair.
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
  local tail, lost = tail_beyond(k, t, part, scale, sign)
  rectify(k, y)
  k:fma(y, far, lost)
  k:fma(y, far, tail)
end

---- the table -------------------------------------------------------------------------------------------------------

local list = {
  { name = "none", steepest = "1" },
  { name = "relu", program = relu, exact = "x < 0 ? 0 : x", means = "then max(0, .)", steepest = "1" },
  { name = "clamp", program = clamp, exact = "x < lo ? lo : x > hi ? hi : x", means = "then clamped to [%1, %2]",
    steepest = "1", span = function(e) return e end, parameters = { "LO", "HI", also = " with LO <= HI" }, legal = {
      { "lo <= hi", "clamp from %g to %g: the lower bound must not be above the upper one, nor NaN", "lo, hi" } } },
  { name = "leaky", program = leaky, registers = 2, steepest = "fmax(1, fabs(lo))",
    means = "then max(. < 0 ? %1 * . : ., %2)", exact = "LIKE(fmax)(x < 0 ? lo * x : x, hi)",
    parameters = { "SLOPE", "FLOOR", absent = "-INFINITY" }, legal = {
      { "isfinite(lo)", "leaky with the slope %g: it must be a finite number", "lo" },
      { "hi < INFINITY", "leaky with the floor %g: it must be a number, or -infinity for none", "hi" } } },
  { name = "prelu", program = prelu, slopes = true, registers = 3, steepest = "fmax(1, fabs(lo))",
    exact = "x < 0 ? lo * x : x", means = "then . < 0 ? slope[c] * . : ." },
  { name = "sigmoid", program = sigmoid, registers = 6, steepest = "0.25", exact = "1 / (1 + LIKE(exp)(-x))",
    means = "then 1 / (1 + exp(-.))", span = { lo = -2.5, hi = 2.5 } },
  { name = "tanh", program = tanh, registers = 7, steepest = "1", exact = "LIKE(tanh)(x)", means = "then tanh(.)",
    span = { lo = -2, hi = 2 } },
  { name = "hardsigmoid", program = hardsigmoid, registers = 2, steepest = "fabs(lo)", parameters = { "A", "B" },
    exact = "LIKE(fmin)(LIKE(fmax)(LIKE(fma)(lo, x, hi), 0), 1)", means = "then min(max(%1 * . + %2, 0), 1)",
    span = function(e)
      local a, b = -e.hi / e.lo, (1 - e.hi) / e.lo
      return e.lo ~= 0 and { lo = math.min(a, b), hi = math.max(a, b) } or { lo = 0, hi = 0 }
    end,
    legal = {
      { "isfinite(lo) && isfinite(hi)", "hardsigmoid with %g and %g: both must be finite numbers", "lo, hi" } } },
  { name = "hardswish", program = hardswish, registers = 2, steepest = "1.5",
    exact = "x <= -3 ? 0 : x * LIKE(fmin)(x + 3, 6) / 6", means = "then . * min(max(. + 3, 0), 6) / 6" },
  { name = "silu", program = silu, registers = 6, steepest = "1.1", means = "then . / (1 + exp(-.))",
    exact = "x < -11000 ? 0 : x / (1 + LIKE(exp)(-x))" },
  { name = "gelu", program = gelu, registers = 9, steepest = "1.13", means = "then . * (1 + erf(. / sqrt(2))) / 2",
    exact = "x < -150 ? 0 : x * LIKE(erfc)(-x * 0.7071067811865475244L) / 2" },
}

activations.list, activations.rows = list, {}
for i, row in ipairs(list) do
  row.number, activations.rows[row.name] = i - 1, row
end

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

-- Registers that are taken while a sum of a problem has its activation; 0: those that it has anyway. With the sum, and
-- with a range's mask where masks take vector registers.
function activations.room(p, target)
  local needs = activations.of(p).registers
  return needs and needs + 1 + (target.mask_registers and 0 or 1) or 0
end

function activations.put(k, p, y, temp)
  local row = activations.of(p)
  if row.registers then k.activates = true end
  if row.program then row.program(k, y, p.epilogue, temp) end
end

return activations
