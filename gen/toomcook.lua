-- toomcook.lua: exact Toom-Cook (Winograd) transforms from outputs, taps and rational points.
--
-- y = AT [(G g) . (BT d)] gives the `outputs` correlations y[k] = sum over j of d[k+j] g[j] of `taps` weights g with
-- the size = outputs + taps - 1 inputs d, by `size` products. Matrices are rows of fractions. The weights' transform G
-- carries the factors 1/N, so that BT and AT of dyadic points are dyadic: exact in either type.
--
--   toomcook.scheme(outputs, taps [, points])
--       {outputs, taps, size, points, AT, G, BT}; points are fractions or texts such as "0 5/8 -5/8 3/2 -3/2", one
--       fewer than size: the last one is infinity. Without points the best that are known. The bilinear identity has
--       been checked exactly.
--   toomcook.nested(big, outputs)
--       a scheme for fewer outputs with the first of big's points and big's own G: its products use the same
--       transformed weights. `at[f]` is the product of big that its product f is; what the factors differ by is in BT.
--   toomcook.short(scheme)
--       for one tap fewer: the scheme without infinity, where a last tap of zero has a zero
--   toomcook.number(fraction)         the nearest double
--   toomcook.transposed(matrix, columns)
--   toomcook.fraction(n [, d]), toomcook.parse("5/8")
--
-- Arithmetic is checked for overflow: an error names what did not fit. How matrices become operations: straight.lua.
local toomcook = {}

---- fractions ---------------------------------------------------------------------------------------------------------
local Fraction = {}
Fraction.__index = Fraction

local function product(a, b)
  if math.abs(a * 1.0 * b) >= 2.0 ^ 62 then error(("a fraction overflows: %d * %d"):format(a, b), 0) end
  return a * b
end

local function sum(a, b)
  if math.abs(a + 0.0 + b) >= 2.0 ^ 62 then error(("a fraction overflows: %d + %d"):format(a, b), 0) end
  return a + b
end

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return math.abs(a)
end

local function fraction(n, d)
  d = d or 1
  if d == 0 then error("a fraction divides by zero", 0) end
  if d == 1 then return setmetatable({ n = n, d = 1 }, Fraction) end
  local common = gcd(n, d)
  if d < 0 then common = -common end
  return setmetatable({ n = n // common, d = d // common }, Fraction)
end

Fraction.__mul = function(a, b) -- crosswise first: the product is as small as it can be
  local p, q = fraction(a.n, b.d), fraction(b.n, a.d)
  return fraction(product(p.n, q.n), product(p.d, q.d))
end
Fraction.__div = function(a, b) return a * fraction(b.d, b.n) end
Fraction.__add = function(a, b)
  if a.n == 0 or b.n == 0 then return a.n == 0 and b or a end
  local common = gcd(a.d, b.d)
  return fraction(sum(product(a.n, b.d // common), product(b.n, a.d // common)), product(a.d, b.d // common))
end
Fraction.__unm = function(a) return fraction(-a.n, a.d) end
Fraction.__sub = function(a, b) return a + -b end
Fraction.__eq = function(a, b) return a.n == b.n and a.d == b.d end
Fraction.__tostring = function(a) return a.d == 1 and tostring(a.n) or ("%d/%d"):format(a.n, a.d) end

local zero, one = fraction(0), fraction(1)

toomcook.fraction = fraction

function toomcook.parse(text)
  local n, d = text:match "^(-?%d+)/?(%d*)$"
  if not n then error(("'%s' is no fraction"):format(text), 0) end
  return fraction(math.tointeger(n), d == "" and 1 or math.tointeger(d))
end

function toomcook.number(x) return x.n / x.d end

local function power(x, n)
  local p = one
  for _ = 1, n do p = p * x end
  return p
end

---- points ------------------------------------------------------------------------------------------------------------

-- By the number of finite points: the best by their errors, which tools/points.lua measures.
local best = {
  [0] = "",
  "0",
  "0 -1",
  "0 1 -1",
  "0 3/2 -3/2 1/2",
  "0 5/8 -5/8 3/2 -3/2",
  "0 7/8 -7/8 7/4 -7/4 3/8",
  "0 1/2 -1/2 1 -1 2 -2",
  "0 1/2 -1/2 1 -1 2 -2 -3/4",
  "0 1/2 -1/2 1 -1 2 -2 5/4 -5/4",
}

-- Of outputs, taps that others are better for.
local better = { ["2,2"] = "0 1", ["2,4"] = "0 3/4 -3/4 2", ["6,2"] = "0 7/8 -7/8 2 -2 3/8",
  ["4,4"] = "0 7/8 -7/8 2 -2 3/8", ["7,2"] = "0 1/2 -1/2 1 -1 7/4 -7/4", ["2,7"] = "0 1/2 -1/2 1 -1 7/4 -7/4" }

-- Whether the errors of F(outputs, taps) have been measured.
function toomcook.measured(outputs, taps) return outputs + taps <= 9 end

local function points_of(outputs, taps, given)
  given = given or better[outputs .. "," .. taps] or best[outputs + taps - 2]
  if not given then error(("no points for F(%d,%d) are known"):format(outputs, taps), 0) end
  if type(given) ~= "string" then return given end
  local list = {}
  for word in given:gmatch "%S+" do list[#list + 1] = toomcook.parse(word) end
  return list
end

local function check_points(points, finite)
  if #points ~= finite then error(("%d points and infinity are needed, not %d"):format(finite, #points), 0) end
  for i, p in ipairs(points) do
    for j = 1, i - 1 do
      if points[j] == p then error(("the point %s stands twice"):format(tostring(p)), 0) end
    end
  end
end

---- the matrices ------------------------------------------------------------------------------------------------------

-- The coefficients of the product of (x - p) over the points but the one numbered `without`, lowest first, `size` of
-- them.
local function monic(points, without, size)
  local c = { one }
  for i, p in ipairs(points) do
    if i ~= without then
      local d = {}
      for k = 1, #c + 1 do d[k] = (c[k - 1] or zero) - p * (c[k] or zero) end
      c = d
    end
  end
  for k = #c + 1, size do c[k] = zero end
  return c
end

-- N: the product of the differences to the other points.
local function differences(points, i)
  local n = one
  for j, p in ipairs(points) do
    if j ~= i then n = n * (points[i] - p) end
  end
  return n
end

-- Rows of powers of the points, times a factor each; infinity has the highest power alone.
local function powers(points, columns, factor)
  local rows = {}
  for i = 1, #points + 1 do
    rows[i] = {}
    for k = 1, columns do
      if i > #points then rows[i][k] = k == columns and one or zero
      else rows[i][k] = power(points[i], k - 1) * factor(i) end
    end
  end
  return rows
end

function toomcook.transposed(rows, columns)
  local t = {}
  for k = 1, columns do
    t[k] = {}
    for i, row in ipairs(rows) do t[k][i] = row[k] end
  end
  return t
end

-- sum over f of AT[k][f] G[f][j] BT[f][i] must be 1 where i = k + j, else 0.
local function check_output(s, k, j)
  local products = {}
  for f = 1, s.size do products[f] = s.AT[k][f] * s.G[f][j] end
  for i = 1, s.size do
    local x = zero
    for f = 1, s.size do
      if products[f].n ~= 0 and s.BT[f][i].n ~= 0 then x = x + products[f] * s.BT[f][i] end
    end
    if x ~= (i == k + j - 1 and one or zero) then
      error(("F(%d,%d) is no convolution: output %d, tap %d, input %d gets %s"):format(s.outputs, s.taps, k, j, i,
        tostring(x)), 0)
    end
  end
end

local function check(s)
  for k = 1, s.outputs do
    for j = 1, s.taps do check_output(s, k, j) end
  end
  return s
end

local function unit() return one end

-- Of all but one finite points; or, of fewer, nested in a big scheme.
local function new_scheme(outputs, taps, points, big)
  local s = { outputs = outputs, taps = taps, size = outputs + taps - 1, points = points, BT = {}, at = big and {},
    AT = toomcook.transposed(powers(points, outputs, unit), outputs),
    G = big and {} or powers(points, taps, function(i) return one / differences(points, i) end) }
  for i = 1, s.size do
    s.BT[i] = monic(points, i, s.size)
    if big then
      s.at[i] = i < s.size and i or big.size
      s.G[i] = big.G[s.at[i]]
      local factor = i < s.size and differences(big.points, i) / differences(points, i) or one
      for k = 1, s.size do s.BT[i][k] = s.BT[i][k] * factor end
    end
  end
  return check(s)
end

-- Schemes of the known points are made once.
local made = {}

function toomcook.scheme(outputs, taps, given)
  local key = not given and outputs << 8 | taps
  if made[key] then return made[key] end
  local points = points_of(outputs, taps, given)
  check_points(points, outputs + taps - 2)
  local scheme = new_scheme(outputs, taps, points)
  if key then made[key] = scheme end
  return scheme
end

function toomcook.nested(big, outputs)
  if outputs > big.outputs then error(("F(%d) has no nested F(%d)"):format(big.outputs, outputs), 0) end
  local points = table.move(big.points, 1, outputs + big.taps - 2, 1, {})
  big.nested = big.nested or {}
  big.nested[outputs] = big.nested[outputs] or new_scheme(outputs, big.taps, points, big)
  return big.nested[outputs]
end

-- BT's finite rows use all inputs but the last, so this is the part of the matrices that is left.
local function new_short(scheme)
  local size, taps = scheme.size - 1, scheme.taps - 1
  local function part(rows, count, columns)
    local list = {}
    for i = 1, count do list[i] = table.move(rows[i], 1, columns, 1, {}) end
    return list
  end
  return check { outputs = scheme.outputs, taps = taps, size = size, points = scheme.points,
    BT = part(scheme.BT, size, size),
    G = part(scheme.G, size, taps), AT = part(scheme.AT, scheme.outputs, size) }
end

function toomcook.short(scheme)
  scheme.short = scheme.short or new_short(scheme)
  return scheme.short
end

return toomcook
