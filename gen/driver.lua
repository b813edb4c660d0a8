-- driver.lua: the loop nest around kernels, built from a handful of nodes, printed as C.
--
-- A stage is a function over independent tasks. Its parts split the task number into named indices; inside, bodies are
-- made of let, loop, when and call over integer expressions. Every expression is affine or clipped by min and max; what
-- computes values belongs into a kernel program. Nothing here knows what a convolution is.
local driver = {}

---- expressions: a + b, a - b, a * b of numbers and expressions fold constants --------------------------------------
local Expr = {}
Expr.__index = Expr

local function node(op, ...) return setmetatable({ op = op, ... }, Expr) end

local function lift(x)
  if getmetatable(x) == Expr then return x end
  if math.type(x) == "integer" then return node("const", x) end
  error("a driver expression must be an integer or an expression, not " .. tostring(x), 3)
end

local function constant(x) return x.op == "const" and x[1] or nil end

-- An operator by its rules for two expressions and the constants that they are.
local function operator(rules)
  return function(a, b)
    a, b = lift(a), lift(b)
    return rules(a, b, constant(a), constant(b))
  end
end

Expr.__add = operator(function(a, b, ca, cb)
  if ca and cb then return lift(ca + cb) end
  if ca == 0 then return b end
  if cb == 0 then return a end
  if cb and cb < 0 then return node("-", a, lift(-cb)) end
  if ca then return b + a end
  return node("+", a, b)
end)

Expr.__sub = operator(function(a, b, _, cb) return cb and a + -cb or node("-", a, b) end)

Expr.__mul = operator(function(a, b, ca, cb)
  if ca and cb then return lift(ca * cb) end
  if ca then return b * a end
  if cb == 0 then return lift(0) end
  if cb == 1 then return a end
  if cb and a.op == "*" and constant(a[2]) then return a[1] * (constant(a[2]) * cb) end
  return node("*", a, b)
end)

Expr.__unm = function(a) return lift(0) - a end

local function folded(op, fold)
  return operator(function(a, b, ca, cb) return ca and cb and lift(fold(ca, cb)) or node(op, a, b) end)
end

driver.expr = lift
driver.min = folded("min", math.min)
driver.max = folded("max", math.max)
driver.rest = folded("%", math.fmod)

-- a / b rounded down, of a positive constant b; quotient: of an a that is never negative.
local function division(op)
  local divide = folded(op, function(x, y) return x // y end)
  return function(a, b) return b == 1 and lift(a) or divide(a, b) end
end

driver.floor_div, driver.quotient = division "floor_div", division "/"

function driver.ceil_div(a, b) return driver.floor_div(lift(a) + (b - 1), b) end

-- Conditions, for `when`.
driver.less = function(a, b) return node("<", lift(a), lift(b)) end
driver.equal = function(a, b) return node("==", lift(a), lift(b)) end
driver.all = function(...)
  local list = { ... }
  local c = list[1]
  for i = 2, #list do c = node("&&", c, list[i]) end
  return c
end

local rank = { ["&&"] = 1, ["=="] = 2, ["<"] = 3, ["+"] = 4, ["-"] = 4, ["*"] = 5, ["/"] = 5, ["%"] = 5 }

local function text(e, outer)
  if e.op == "const" then return tostring(e[1]) end
  if e.op == "var" then return e[1] end
  if e.op == "entry" then return ("%s[%s]"):format(e[1], text(e[2], 0)) end
  local r = rank[e.op]
  local name = e.op == "floor_div" and e.op or "cg_" .. e.op
  if not r then return ("%s(%s, %s)"):format(name, text(e[1], 0), text(e[2], 0)) end
  local s = ("%s %s %s"):format(text(e[1], r), e.op, text(e[2], r + 1))
  return r < outer and "(" .. s .. ")" or s
end

-- The variables that an expression uses, for the check of scopes.
local function uses(e, visit)
  if e.op == "var" then return visit(e[1]) end
  for i = 1, #e do if getmetatable(e[i]) == Expr then uses(e[i], visit) end end
end

---- bodies ----------------------------------------------------------------------------------------------------------
local Body = {}
Body.__index = Body

local bases = { "src", "weights", "bias", "dst", "residual", "slope", "packed", "shared", "scratch" }
for _, name in ipairs(bases) do Body[name] = { base = name } end

function Body:line(fmt, ...) self.lines[#self.lines + 1] = ("    "):rep(self.depth) .. fmt:format(...) end

function Body:check(e)
  uses(e, function(name)
    if not self.scope[name] then error("driver variable '" .. name .. "' is not in scope", 0) end
  end)
  return e
end

function Body:text(e) return text(self:check(lift(e)), 0) end

-- A second variable of a name is name_2, so that it never meets a kernel such as tile2.
function Body:fresh(name)
  local n, unique = 1, name
  while self.taken[unique] do n = n + 1; unique = name .. "_" .. n end
  self.taken[unique], self.scope[unique] = true, true
  return unique
end

function Body:indent(body, ...)
  local outer = self.scope
  self.scope = setmetatable({}, { __index = outer })
  self.depth = self.depth + 1
  body(...)
  self.depth = self.depth - 1
  self.scope = outer
end

-- A named value; constants stay constants.
function Body:let(name, e)
  e = lift(e)
  if e.op == "const" or e.op == "var" then return e end
  local value = self:text(e)
  local unique = self:fresh(name)
  self:line("const long %s = %s;", unique, value)
  return node("var", unique)
end

-- for name = from, from + step, ... below to. A loop of one constant trip is no loop.
function Body:loop(name, from, to, step, body)
  from, to = lift(from), lift(to)
  local a, b = constant(from), constant(to)
  if a and b and a >= b then return end
  if a and b and a + step >= b then return body(from) end
  local start, stop = self:text(from), self:text(to)
  local unique = self:fresh(name)
  self:line("for (long %s = %s; %s < %s; %s) {", unique, start, unique, stop,
    step == 1 and unique .. "++" or unique .. " += " .. step)
  self:indent(body, node("var", unique))
  self:line("}")
end

-- The same for a run of equal things of a size: {first, count}.
function Body:run(name, run, size, body)
  self:loop(name, run.first, run.first + run.count * size, size, body)
end

function Body:when(condition, body)
  self:line("if (%s) {", self:text(condition))
  self:indent(body)
  self:line("}")
end

function Body:comment(s) self:line("/* %s */", s) end

-- What a count is in all calls, or false; for readers (lower/legible.lua).
local function note(formal, value)
  if formal.always == nil then formal.always = value or false end
  if formal.always ~= value then formal.always = false end
end

function Body:argument(kernel, i, actual)
  local formal = kernel.args[i]
  local counts = getmetatable(actual) == Expr or math.type(actual) == "integer"
  if actual == nil or counts ~= (formal.kind == "count") then
    error(("kernel %s: argument %d (%s) must be a %s"):format(kernel.name, i, formal.name, formal.kind), 0)
  end
  if formal.kind == "count" then
    note(formal, constant(lift(actual)))
    return self:text(actual)
  end
  local base, offset = actual[1], lift(actual[2] or 0)
  self.used[base.base], formal.bases = true, formal.bases or {}
  formal.bases[base.base] = true
  return constant(offset) == 0 and base.base or ("%s + %s"):format(base.base, self:text(offset))
end

-- Calls a kernel program; one argument for each of the program's, in order or by their names (then there may be more):
-- {base, offset} for a pointer, whose `bases` it joins, an expression for a count. (A false kernel could not be made:
-- build.lua knows why, and the text will not be printed.)
function Body:call(kernel, args)
  if not kernel then return end
  local named = next(args) and args[1] == nil
  if not named and #args ~= #kernel.args then
    error(("kernel %s takes %d arguments, got %d"):format(kernel.name, #kernel.args, #args), 0)
  end
  local list = {}
  for i, formal in ipairs(kernel.args) do
    list[i] = self:argument(kernel, i, args[named and formal.name or i])
  end
  self.lines[#self.lines + 1] = { kernel = kernel, arguments = list, indent = ("    "):rep(self.depth) }
end

-- A call's line; without counts that are the same in all calls of the kernel, if so asked.
local function call_text(call, fewer)
  local list = {}
  for i, formal in ipairs(call.kernel.args) do
    if not (fewer and formal.always) then list[#list + 1] = call.arguments[i] end
  end
  return ("%s%s(%s);"):format(call.indent, call.kernel.name, table.concat(list, ", "))
end

-- Tables of constants, which stand before the stage's loops. Integers: a function that gives the entry of an index.
function Body:table(name, list)
  local unique = self:fresh(name)
  self.tables[#self.tables + 1] = ("static const long %s[] = { %s };"):format(unique, table.concat(list, ", "))
  return function(index) return node("entry", unique, lift(index)) end
end

-- Numbers, for kernels: a base. c_type: what they are in C.
function Body:numbers(name, list, c_type)
  local unique, texts = self:fresh(name), {}
  for i, x in ipairs(list) do texts[i] = ("%.17g"):format(x) end
  self.tables[#self.tables + 1] = ("static const %s %s[] = { %s };"):format(c_type, unique, table.concat(texts, ", "))
  return { base = unique }
end

-- The entry of an index of a base whose elements are integers.
function Body:entry(base, index)
  self.used[base.base] = true
  return node("entry", base.base, lift(index))
end

---- stages ----------------------------------------------------------------------------------------------------------

-- 0, 1/2, 1/4, 3/4, 1/8 ... of `whole` for n = 0, 1, 2, 3, 4 ...
local function mirrored(n, whole)
  local sum, bit = 0, 0.5
  while n > 0 do
    sum, bit, n = sum + n % 2 * bit, bit / 2, n // 2
  end
  return math.floor(sum * whole)
end

-- The task of a stage in whose share a part's task is.
local function holder(stage, part, task)
  if #stage.parts == 1 then return task end
  if stage.in_order then return math.min(part.before + task, stage.tasks - 1) end
  local rounding = mirrored(part.before, stage.tasks)
  return math.max(((task + 1) * stage.tasks - rounding + part.count - 1) // part.count - 1, 0)
end

-- The tasks that hold the first and the last one of each part, and those that it names besides, in order: who runs
-- these alone has seen all kinds of work, and the ends of what is written.
local function ends_of(stage)
  local list, seen = {}, {}
  for _, part in ipairs(stage.parts) do
    for _, task in ipairs { 0, part.count - 1, table.unpack(part.besides) } do
      local at = holder(stage, part, task)
      if not seen[at] then seen[at], list[#list + 1] = true, at end
    end
  end
  table.sort(list)
  return list
end

-- Indices of a task number, last index fastest. The outermost needs no remainder, a count of one no variable at all.
local function decompose(d, number, indices)
  local values, inner, outermost = {}, 1, true
  for i = #indices, 1, -1 do inner = inner * indices[i][2] end
  local below = inner
  for i, index in ipairs(indices) do
    below = below // index[2]
    if index[2] == 1 then
      values[i] = lift(0)
    else
      local e = driver.quotient(number, below)
      if not outermost then e = driver.rest(e, index[2]) end
      values[i] = d:let(index[1], e)
      outermost = false
    end
  end
  return values
end

-- Which tasks of a part are those of the stage's share [first, last): from, stop.
local function share_of(stage, part)
  if stage.in_order then
    return ("cg_max(first - %d, 0)"):format(part.before), ("cg_min(last - %d, %d)"):format(part.before, part.count)
  end
  local rounding = mirrored(part.before, stage.tasks)
  local form = rounding > 0 and "(%s * %d + " .. rounding .. ") / %d" or "%s * %d / %d"
  return form:format("first", part.count, stage.tasks), form:format("last", part.count, stage.tasks)
end

local function part_text(d, stage, part)
  if #stage.parts > 1 then
    local from, stop = share_of(stage, part)
    local what = part.what and " /* " .. part.what .. " */" or ""
    d:line("for (long task = %s, stop = %s; task < stop; task++) {%s", from, stop, what)
  else
    d:line("for (long task = first; task < last; task++) {")
  end
  d:indent(function()
    d.scope.task = true
    part.body(d, table.unpack(decompose(d, node("var", "task"), part.indices)))
  end)
  d:line("}")
end

local function new_body()
  local d = setmetatable({ lines = {}, depth = 1, taken = {}, scope = {}, used = {}, tables = {} }, Body)
  for _, name in ipairs(bases) do d.taken[name] = true end
  for _, name in ipairs { "call", "first", "last", "task", "stop" } do d.taken[name] = true end
  return d
end

-- spec: name; pack (bool); scratch (bytes a thread); parts: list of {what=comment, indices={{name, count}...},
-- body=function(d, ...), besides={tasks that write the first and the last element, where its first and last task do
-- not}}, which runs here. The tasks of a part are numbered row-major over its indices; parts come one after another.
--
-- A share [first, last) of the stage's tasks is the same share of each part, so that threads get as much of the long
-- tasks as of the short ones. What does not divide is rounded by what the number of tasks before, its bits mirrored,
-- says: a part of one task goes to another thread than the one before. With spec.in_order shares are contiguous, from
-- one part on to the next: whoever orders the parts has made them even.
function driver.stage(spec)
  local stage = { name = spec.name, symbol = "cg_stage_" .. spec.name, pack = spec.pack or false,
    scratch = spec.scratch or 0, in_order = spec.in_order, parts = {}, tasks = 0, body = new_body() }
  for _, part in ipairs(spec.parts) do
    local count = 1
    for _, index in ipairs(part.indices) do count = count * index[2] end
    if count > 0 then
      stage.parts[#stage.parts + 1] = { count = count, before = stage.tasks, what = part.what, indices = part.indices,
        body = part.body, besides = part.besides or {} }
      stage.tasks = stage.tasks + count
    end
  end
  if #stage.parts > 1 then stage.tasks = math.min(stage.tasks, 1 << 30) end -- first * count stays below 2^63
  for _, part in ipairs(stage.parts) do part_text(stage.body, stage, part) end
  stage.ends = ends_of(stage)
  stage.shares = stage.body.used.shared or false -- what another stage left there, or will find
  return stage
end

-- Where a base is that stands elsewhere: {name of another one, elements from there}.
local function moved(place, c_type, slot)
  local member = slot(place[1])
  return place[2] == 0 and "call->" .. member or ("(%s *)call->%s + %d"):format(c_type(member), member, place[2])
end

-- The C text of a stage; slot(name) is the member of cg_call that a base's name stands for, c_type(slot) the type in C
-- of what it holds. stage.elsewhere: bases that are not what their name says, see `moved`. fewer: calls are of kernels
-- that lower/legible.lua has made, which have fewer arguments.
function driver.print(stage, c_type, slot, fewer)
  local d = stage.body
  local declared = "void %s(const cg_call *call, void *scratch_memory, long first, long last)"
  local head, uses_call = { declared:format(stage.symbol), "{" }, false
  for _, name in ipairs(bases) do
    local member, place = slot(name), stage.elsewhere and stage.elsewhere[name]
    local from = name == "scratch" and "scratch_memory" or place and moved(place, c_type, slot) or "call->" .. member
    if d.used[name] then head[#head + 1] = ("    %s *%s = %s;"):format(c_type(member), name, from) end
    if d.used[name] and name ~= "scratch" then uses_call = true end
  end
  if not d.used.scratch then head[#head + 1] = "    (void)scratch_memory;" end
  if not uses_call then head[#head + 1] = "    (void)call;" end
  for _, line in ipairs(d.tables) do head[#head + 1] = "    " .. line end
  for _, line in ipairs(d.lines) do head[#head + 1] = type(line) == "table" and call_text(line, fewer) or line end
  return table.concat(head, "\n") .. "\n}\n"
end

return driver
