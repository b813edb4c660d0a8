-- network/forms.lua: activations in the forms in which exporters spell them: what a few operations make of one tensor,
-- as a word of --epilogue.
--
-- A value is { times, factors }: a number times a product of terms; a term is "x", the tensor itself, or { what, ...
-- } of values and numbers. Values are compared as text, numbers as near as f32 has them.
local text = require "network/text"
local convolution = require "network/convolution"
local forms = {}

local infinity = math.huge

---- values ------------------------------------------------------------------------------------------------------------

local function key(v)
  if type(v) == "number" then return v == 0 and "0" or ("%.6g"):format(v) end
  if type(v) == "string" then return v end
  local parts = {}
  if v.factors then
    for i, factor in ipairs(v.factors) do parts[i] = key(factor) end
    return key(v.times) .. "*" .. table.concat(parts, "*")
  end
  for i, part in ipairs(v) do parts[i] = key(part) end
  return "(" .. table.concat(parts, " ") .. ")"
end

local function value(times, ...)
  local factors = { ... }
  table.sort(factors, function(a, b) return key(a) < key(b) end)
  return { times = times, factors = factors }
end

local function is_value(v) return type(v) == "table" and v.factors ~= nil end

local function term(...) return value(1.0, { ... }) end

forms.x = value(1.0, "x")
local x = forms.x

local function scaled(v, number) return { times = v.times * number, factors = v.factors } end

local function product(a, b)
  local factors = table.move(a.factors, 1, #a.factors, 1, {})
  return value(a.times * b.times, table.unpack(table.move(b.factors, 1, #b.factors, #factors + 1, factors)))
end

-- The only term of a value that is just this, if it is one of `what`.
local function only(v, what)
  local t = v.times == 1 and #v.factors == 1 and v.factors[1]
  return type(t) == "table" and t[1] == what and t or nil
end

---- what operations make of values ------------------------------------------------------------------------------------

-- Limits of limits are limits.
local function limit(v, lo, hi)
  local t = only(v, "limit")
  if not t then return term("limit", v, lo, hi) end
  local function clamped(number) return math.min(math.max(number, lo), hi) end
  return term("limit", t[2], clamped(t[3]), clamped(t[4]))
end

local function plus(v, number)
  local t = only(v, "plus")
  return t and term("plus", t[2], t[3] + number) or term("plus", v, number)
end

local function inverse(v)
  return { times = 1 / v.times, factors = { { "inverse", { times = 1.0, factors = v.factors } } } }
end

local activate = {
  relu = function(v) return limit(v, 0.0, infinity) end,
  clamp = function(v, a) return limit(v, a.lo, a.hi) end,
  leaky = function(v, a)
    local y = term("leaky", v, a.lo)
    return a.hi > -infinity and limit(y, a.hi, infinity) or y
  end,
  hardsigmoid = function(v, a) return term("hardsigmoid", v, a.lo, a.hi) end,
  hardswish = function(v) return product(v, term("hardsigmoid", v, 1 / 6, 0.5)) end,
  silu = function(v) return product(v, term("sigmoid", v)) end,
}
for _, name in ipairs { "sigmoid", "tanh", "gelu" } do activate[name] = function(v) return term(name, v) end end

-- A value and a number, in either order; else two values, or nil.
local function both(v, with_number, with_value)
  local a, b = v[1], v[2]
  if #v ~= 2 then return nil end
  if type(a) == "number" then a, b = b, a end
  if not is_value(a) then return nil end
  if type(b) == "number" then return with_number(a, b) end
  return is_value(b) and with_value and with_value(a, b) or nil
end

local function divided(v)
  local a, b = v[1], v[2]
  if #v ~= 2 then return nil end
  if type(b) == "number" then return b ~= 0 and is_value(a) and scaled(a, 1 / b) or nil end
  if not is_value(b) or b.times == 0 then return nil end
  return type(a) == "number" and scaled(inverse(b), a) or is_value(a) and product(a, inverse(b)) or nil
end

local made = {
  activate = function(v, attributes)
    local a = attributes.activation
    return activate[a.activation] and activate[a.activation](v[1], a)
  end,
  prelu = function(v) return v[2] and term("leaky", v[1], v[2]) end,
  add = function(v) return both(v, plus) end,
  sub = function(v) return is_value(v[1]) and type(v[2]) == "number" and #v == 2 and plus(v[1], -v[2]) or nil end,
  max = function(v)
    return both(v, function(a, n) return limit(a, n, infinity) end, function(a, b) return term("larger", a, b) end)
  end,
  min = function(v) return both(v, function(a, n) return limit(a, -infinity, n) end) end,
  mul = function(v) return both(v, scaled, product) end,
  div = divided,
  neg = function(v) return scaled(v[1], -1) end,
  exp = function(v) return term("exp", v[1]) end,
  erf = function(v) return term("erf", v[1]) end,
}

-- The value of an operation's result, of its operands' values; nil: it is of no use here.
function forms.value(o, operands)
  local make = made[o.op]
  return make and make(operands, o.attributes) or nil
end

function forms.known(op) return made[op] ~= nil end

---- words -------------------------------------------------------------------------------------------------------------

local sigmoid_by_exp = { "inverse", term("plus", term("exp", value(-1.0, "x")), 1.0) }

-- Words without numbers, by their values.
local fixed = {}
for word, list in pairs {
  relu = { limit(x, 0.0, infinity) },
  sigmoid = { term("sigmoid", x), value(1.0, sigmoid_by_exp) },
  tanh = { term("tanh", x) },
  silu = { value(1.0, "x", { "sigmoid", x }), value(1.0, "x", sigmoid_by_exp) },
  hardswish = { value(1.0, "x", { "hardsigmoid", x, 1 / 6, 0.5 }),
    value(1 / 6, "x", { "limit", plus(x, 3.0), 0.0, 6.0 }) },
  gelu = { term("gelu", x), value(0.5, "x", { "plus", term("erf", value(0.5 ^ 0.5, "x")), 1.0 }) },
} do
  for _, v in ipairs(list) do fixed[key(v)] = word end
end

local function is_scaled_x(v) return #v.factors == 1 and v.factors[1] == "x" and v.times or nil end

-- max(x, slope * x), which leaks where the slope is below 1.
local function leaky_by_max(a, b)
  local s, t = is_scaled_x(a), is_scaled_x(b)
  if s == 1 then s, t = t, s end
  return t == 1 and s and s >= 0 and s <= 1 and { activation = "leaky", lo = s, hi = -infinity } or nil
end

local function leaky_of(t, floor)
  if t[1] == "larger" then return leaky_by_max(t[2], t[3]) end
  if t[1] ~= "leaky" or key(t[2]) ~= key(x) then return nil end
  if type(t[3]) == "string" then
    return floor == -infinity and { activation = "prelu", lo = 0.0, hi = 0.0, slope = t[3] }
  end
  return { activation = "leaky", lo = t[3], hi = floor }
end

local function of_limit(times, inner, lo, hi)
  local t = inner.times == 1 and #inner.factors == 1 and inner.factors[1]
  if times == 1 and key(inner) == key(x) then return { activation = "clamp", lo = lo, hi = hi } end
  if times == 1 and hi == infinity and type(t) == "table" and t[1] == "leaky" then return leaky_of(t, lo) end
  local sum = only(inner, "plus")
  local slope = sum and is_scaled_x(sum[2])
  if not slope or lo ~= 0 or math.abs(hi * times - 1) > 1e-6 then return nil end
  return { activation = "hardsigmoid", lo = slope * times, hi = sum[3] * times }
end

local function of_term(times, t)
  if t[1] == "limit" then return of_limit(times, t[2], t[3], t[4]) end
  if times ~= 1 then return nil end
  if t[1] == "hardsigmoid" and key(t[2]) == key(x) then return { activation = "hardsigmoid", lo = t[3], hi = t[4] } end
  return leaky_of(t, -infinity)
end

-- The activation that a value is of x: { activation, lo, hi } and, for prelu, the tensor that is its slope; or nil.
function forms.activation(v)
  local word = fixed[key(v)]
  if word then return { activation = word, lo = 0.0, hi = 0.0 } end
  local t = #v.factors == 1 and v.factors[1]
  local a = type(t) == "table" and of_term(v.times, t) or nil
  if not a or a.slope then return a end
  return text.caught(convolution.activation_of, convolution.activation(a))
end

return forms
