-- straight.lua: matrices as straight-line programs, with what rows or columns share computed once.
--
--   straight.of(matrix [, present [, additions]])
--       the operations of y = matrix * x, rows of fractions; with `present`, inputs whose entry is false are zero; with
--       `additions`, a product and two additions in place of two fma where multiplying is what is scarce.
--       {inputs, operations, results}: values are numbered, inputs first; an operation {op, x, y, c} makes the next
--       value: add x+y, sub x-y, mul x*c, fma x+y*c (c a fraction). results[i] is a value, or false: zero.
--   straight.count(s)                 how many operations
--   straight.reads(s)                 how many inputs it reads
--   straight.constants(s)             the numbers that emit asks for
--   straight.emit(k, s, x, constant)
--       into a kernel program: x is a list of registers, which may be overwritten, or functions that make one where it
--       is first needed; constant(number) gives a register; returns the results' registers, each its own, false for
--       zero.
--   straight.registers(s, held, kept)
--       how many emit has in use at once, with x in registers (held) or made where it is first needed, and constants in
--       others (kept) or in one where they are used.
--
-- Rows of points +p and -p are P + cQ and P - cQ: even and odd parts; columns that differ by signs only are added and
-- subtracted first. A factor that several terms have stays outside.
local toomcook = require "toomcook"
local straight = {}

local zero, one = toomcook.fraction(0), toomcook.fraction(1)

local function put(s, op, x, y, c)
  s.operations[#s.operations + 1] = { op = op, x = x, y = y, c = c }
  return s.inputs + #s.operations
end

-- x + y*c
local function plus(s, x, y, c)
  if c == one then return put(s, "add", x, y) end
  if c == -one then return put(s, "sub", x, y) end
  return put(s, "fma", x, y, c)
end

---- sums of terms {value, coefficient} --------------------------------------------------------------------------------

-- A term with coefficient 1 comes first, if there is one.
local function combine(s, terms)
  local first = 1
  for i, t in ipairs(terms) do
    if t.c == one then first = i; break end
  end
  local lead = terms[first]
  if not lead then return false end
  local value = lead.c == one and lead.x or put(s, "mul", lead.x, nil, lead.c)
  for i, t in ipairs(terms) do
    if i ~= first then value = plus(s, value, t.x, t.c) end
  end
  return value
end

-- The same without a common factor: value and factor.
local function combine_scaled(s, terms)
  local factor, scaled = terms[#terms].c, {}
  for i, t in ipairs(terms) do scaled[i] = { x = t.x, c = t.c / factor } end
  return combine(s, scaled), factor
end

---- what is shared ----------------------------------------------------------------------------------------------------

-- For two rows of equal magnitudes: the terms with equal and those with opposite signs; nil when magnitudes differ.
local function parts(a, b)
  local same, opposite = {}, {}
  if #a ~= #b then return end
  for i, t in ipairs(a) do
    local u = b[i]
    if t.x ~= u.x then return end
    if t.c == u.c then same[#same + 1] = t
    elseif t.c == -u.c then opposite[#opposite + 1] = t
    else return end
  end
  if #same > 0 and #opposite > 0 then return same, opposite end
end

-- Columns i and j of equal magnitude in each row, in at least two rows and with both signs: x[i] + x[j] and x[i] - x[j]
-- are used.
local function matching(rows, i, j)
  local uses, plus_, minus = 0, false, false
  for _, row in ipairs(rows) do
    local a, b = row[i], row[j]
    if a == b then plus_ = plus_ or a ~= zero elseif a == -b then minus = true else return false end
    if a ~= zero then uses = uses + 1 end
  end
  return uses >= 2 and plus_ and minus
end

-- Replaces matching columns by their sums and differences: lists of terms a row.
local function terms_of(s, matrix, present)
  local columns, partner, rows = {}, {}, {}
  for i = 1, s.inputs do
    if present[i] then columns[#columns + 1] = i end
  end
  local pair = {}
  for n, i in ipairs(columns) do
    for m = n + 1, #columns do
      local j = columns[m]
      if not partner[i] and not partner[j] and matching(matrix, i, j) then
        partner[i], partner[j] = j, i
        pair[i] = { sum = put(s, "add", i, j), difference = put(s, "sub", i, j) }
      end
    end
  end
  for r, row in ipairs(matrix) do
    rows[r] = {}
    for _, i in ipairs(columns) do
      if row[i] ~= zero and (pair[i] or not partner[i]) then
        local x = not pair[i] and i or row[i] == row[partner[i]] and pair[i].sum or pair[i].difference
        table.insert(rows[r], { x = x, c = row[i] })
      end
    end
  end
  return rows
end

-- P + cQ and P - cQ.
local function pair_of_rows(s, same, opposite)
  local p, q, c = combine(s, same), combine_scaled(s, opposite)
  if s.additions and c ~= one and c ~= -one then q, c = put(s, "mul", q, nil, c), one end
  return plus(s, p, q, c), plus(s, p, q, -c)
end

function straight.of(matrix, present, additions)
  local s = { inputs = #matrix[1], operations = {}, results = {}, additions = additions }
  if not present then
    present = {}
    for i = 1, s.inputs do present[i] = true end
  end
  local rows = terms_of(s, matrix, present)
  for i, row in ipairs(rows) do
    for j = i + 1, #rows do
      local same, opposite
      if s.results[i] == nil and s.results[j] == nil then same, opposite = parts(row, rows[j]) end
      if same then s.results[i], s.results[j] = pair_of_rows(s, same, opposite) end
    end
    if s.results[i] == nil then s.results[i] = combine(s, row) end
  end
  return s
end

function straight.count(s) return #s.operations end

---- into a kernel program ---------------------------------------------------------------------------------------------

-- The number that an operation multiplies by: fma and fnma carry the sign.
local function factor(op)
  if not op.factor then
    local c = toomcook.number(op.c)
    op.factor = op.op == "fma" and math.abs(c) or c
  end
  return op.factor
end

function straight.constants(s)
  local list, seen = {}, {}
  for _, op in ipairs(s.operations) do
    local c = op.c and factor(op)
    if c and not seen[c] then
      seen[c] = true
      list[#list + 1] = c
    end
  end
  return list
end

-- Where each value is used last, found once: rows and columns are emitted many times.
local function last_uses(s)
  if s.last then return s.last end
  local last = {}
  s.last = last
  for n, op in ipairs(s.operations) do
    last[op.x] = n
    if op.y then last[op.y] = n end
  end
  for _, value in ipairs(s.results) do
    if value then
      last[value] = (last[value] and last[value] > #s.operations) and last[value] + 1 or #s.operations + 1
    end
  end
  return last
end

-- x + y*c in the register of x when that is its last use, else in a copy.
local function emit_fma(k, x, y, op, dies, constant)
  local d = x
  if not dies then
    d = k:vector "t"
    k:move(d, x)
  end
  k[op.c.n < 0 and "fnma" or "fma"](k, d, y, constant(factor(op)))
  return d
end

function straight.emit(k, s, x, constant)
  local registers, last, results, inputs = table.move(x, 1, s.inputs, 1, {}), last_uses(s), {}, s.inputs
  local function register(value)
    local r = registers[value]
    if value <= inputs and type(r) == "function" then
      r = r()
      registers[value] = r
    end
    return r
  end
  for n, op in ipairs(s.operations) do
    local name, a, b, d = op.op, register(op.x), op.y and register(op.y), nil
    if name == "fma" then
      d = emit_fma(k, a, b, op, last[op.x] == n and op.x ~= op.y, constant)
    else
      d = k:vector "t"
      k[name](k, d, a, name == "mul" and constant(factor(op)) or b)
    end
    registers[inputs + n] = d
  end
  local taken = {}
  for i, value in ipairs(s.results) do
    results[i] = value and register(value)
    if value and taken[results[i]] then -- equal rows: each result may be overwritten by whoever gets it
      results[i] = k:vector "t"
      k:move(results[i], register(value))
    end
    taken[results[i]] = true
  end
  return results
end

-- The registers in use after an operation, and the most meanwhile: `used` hold what is read, `dying` of it for the last
-- time, `constant` a number for this operation alone.
local function step(op, used, dying, constant)
  local copied = op.op == "fma" and dying.x == 0
  if op.op == "fma" then return used + (copied and 1 or 0) - dying.y, used + (copied and 1 or 0) + constant end
  local after = used - dying.x - dying.y + 1
  return after, math.max(used + constant, after)
end

-- How many inputs it reads.
function straight.reads(s)
  local last, n = last_uses(s), 0
  for i = 1, s.inputs do n = n + (last[i] and 1 or 0) end
  return n
end

function straight.registers(s, held, kept)
  local last, made, used, most = last_uses(s), {}, 0, 0
  local function need(value)
    if value and value <= s.inputs and not made[value] then used, made[value] = used + 1, true end
    return value
  end
  if held then
    for value in pairs(last) do need(value) end
  end
  for n, op in ipairs(s.operations) do
    need(op.x); need(op.y)
    local dying = { x = last[op.x] == n and op.x ~= op.y and 1 or 0, y = op.y and last[op.y] == n and 1 or 0 }
    local peak
    used, peak = step(op, used, dying, not kept and op.c and 1 or 0)
    most = math.max(most, peak)
  end
  local taken = {}
  for _, value in ipairs(s.results) do
    if need(value) and taken[value] then used = used + 1 end
    taken[value or 0] = true
  end
  return math.max(most, used)
end

-- Of `size` inputs those in [low, high), counted from 0, as straight.of takes them.
function straight.present(size, low, high)
  local list = {}
  for i = 1, size do list[i] = i > low and i <= high end
  return list
end

return straight
