-- program.lua: the kernel program: build, validate, print.
--
-- A program is a short list of vector operations over virtual registers, with counted loops. It is built by calling
-- methods in order, checked by finish, printed by program.print and turned into code by lower/. Misuse is an error with
-- a sentence that names the program. Nothing here knows what a convolution is, or how a target spells an operation.
local types = require "types"
local program = {}
local tointeger = math.tointeger

local Program = {}
Program.__index = Program
local reserved = {}

---- complaints and names --------------------------------------------------------------------------------------------
local function complain(k, text, ...) error(("program %s: "):format(k.name) .. text:format(...), 0) end

local function describe(thing)
  if type(thing) == "table" and thing.kind then return ("the %s %s"):format(thing.kind, thing.name or "operand") end
  return tostring(thing)
end

local function check_name(k, hint)
  if type(hint) ~= "string" or not hint:match "^[%a_][%w_]*$" then
    complain(k, "%s is no name; letters, digits and _ are allowed", tostring(hint))
  end
end

local function taken(name) return reserved[name] or name:find "^cg_" end

-- A name not yet taken: the hint itself, or hint_2, hint_3, ...
local allowed = {} -- hints that were looked at: all kernels use the same few hundred

local function check_hint(k, hint)
  if allowed[hint] then return end
  check_name(k, hint)
  if hint:find "^cg_" then complain(k, "the name %s begins with cg_, which is for what surrounds a kernel", hint) end
  allowed[hint] = true
end

local function claim(k, hint)
  local names, n = k.names, k.claimed[hint] -- how many of the name are taken
  if not n then check_hint(k, hint) end
  n = n or 0
  local name
  repeat
    n = n + 1
    name = n == 1 and hint or hint .. "_" .. n
  until not (names[name] or reserved[name])
  names[name], k.claimed[hint] = true, n
  return name
end

---- operand checks --------------------------------------------------------------------------------------------------
-- (Operands are checked some hundred thousand times for a kernel: the usual ones take few steps.)
local function want(k, what, thing, kind, other)
  if k.kinds[thing] == kind then return thing end -- one of its registers, pointers, counts or slots
  local is = type(thing) == "table" and thing.kind
  if not is or (is ~= kind and is ~= other) then
    complain(k, "%s needs a %s, not %s", what, other and kind .. " or a " .. other or kind, describe(thing))
  end
  if thing.program ~= k then complain(k, "%s got %s of another program", what, describe(thing)) end
  return thing
end

local function integer(k, what, x, low, high)
  local n = tointeger(x)
  if not n then complain(k, "%s must be an integer, not %s", what, tostring(x)) end
  if (low and n < low) or (high and n > high) then
    complain(k, "%s is %d, allowed is %d to %s", what, n, low, high or "any")
  end
  return n
end

-- What an operand must be, by its field: each answers with the operand that is kept.
local function register(k, what, v) return k.kinds[v] == "register" and v or want(k, what, v, "register") end
local function slot(k, what, s) return want(k, what, s, "slot") end
local function pointer(k, what, p) return want(k, what, p, "pointer") end
local function address(k, what, a) return want(k, what, a, "address") end
local function register_or_memory(k, what, y)
  return k.kinds[y] == "register" and y or want(k, what, y, "register", "memory operand")
end

local function readable(k, what, a)
  if address(k, what, a).pointer.access == "out" then
    complain(k, "%s reads from %s, which is an out pointer", what, a.pointer.name)
  end
  return a
end

local function writable(k, what, a)
  if address(k, what, a).pointer.access == "in" then
    complain(k, "%s writes to %s, which is an in pointer", what, a.pointer.name)
  end
  return a
end

local function parts(k, what)
  if k.lanes == 1 then complain(k, "%s needs vectors, and %s has none", what, k.target.name) end
  return k.lanes // k.part
end

local function bits(k, what, n) return integer(k, what .. ": the bits", n, 1, 8 * k.size - 1) end
local function part(k, what, n) return integer(k, what .. ": the part", n, 0, parts(k, what) - 1) end
local function level(k, _, n) return integer(k, "a cache level", n or 1, 1, 3) end

local function group(k, what, list)
  parts(k, what)
  if #list ~= k.part then complain(k, "%s needs %d registers of %s, not %d", what, k.part, k.type, #list) end
  local copy, seen = {}, {}
  for i, v in ipairs(list) do
    copy[i] = register(k, what, v)
    if seen[v] then complain(k, "%s got the register %s twice", what, v.name) end
    seen[v] = true
  end
  return copy
end

-- Gives an operation the lanes first .. first+count-1; all of them are no range.
local function set_lanes(k, op, first, count)
  local what = op.op
  if not program.operations[what].ranged then complain(k, "%s is of all lanes", what) end
  first = integer(k, what .. ": the first lane", first or 0, 0, k.lanes - 1)
  count = integer(k, what .. ": the number of lanes", count or k.lanes - first, 1, k.lanes - first)
  if count < k.lanes then op.first, op.count = first, count end
end

---- the operations --------------------------------------------------------------------------------------------------
-- Operands in order, as the method takes them and as they are printed: fields of the operation. d is written, x, y and
-- what is at an address are read, unless a row says more of what it reads and writes.
local checks = { d = register, x = register, y = register_or_memory, a = readable, slot = slot, part = part,
  bits = bits,  level = level, group = group }

local function also(row, more)
  for key, value in pairs(row) do if more[key] == nil then more[key] = value end end
  return more
end

local unary = { "d", "x", reads = { "x" }, writes = { "d" } }
local binary = { "d", "x", "y", reads = { "x", "y" }, writes = { "d" } }
local sum = { "d", "x", "y", reads = { "d", "x", "y" }, writes = { "d" }, ranged = true }
local of_bits = also(binary, { "d", "x", "y", y = register })
local from_memory = { "d", "a", reads = { "a" }, writes = { "d" }, converts = true }
local to_memory = { "a", "x", reads = { "a", "x" }, a = writable, converts = true }

-- One row an operation. reads, writes: fields that hold registers, slots, pointers, memory operands, or, in a
-- transpose, a list of registers. ranged: may be of some lanes only. beside: needs a vector register more. converts:
-- elements at a, where they are stored otherwise than the program computes. own: its method stands below; each other
-- has one made by its row.
program.operations = {
  zero      = { "d", writes = { "d" } },
  constant  = { "d", "value", writes = { "d" }, own = true },
  load      = also(from_memory, { ranged = true }),
  spread    = also(from_memory, { "d", "a", "times", "phase", ranged = true, beside = true, own = true }),
  store     = also(to_memory, { ranged = true }),
  stream    = also(to_memory, { own = true }),
  broadcast = from_memory,
  patch     = also(from_memory, { reads = { "d", "a" }, ranged = true, own = true }),
  fma = sum, fnma = sum,
  add = binary, sub = binary, mul = binary, max = binary, min = binary,
  div       = binary,
  muladd    = { "d", "x", "y", reads = { "d", "x", "y" }, writes = { "d" } }, -- d * x + y: a step of a polynomial
  sqrt      = unary,
  greater   = of_bits, -- all bits of a lane where x > y, else none: what band and bxor choose by
  band = of_bits, bor = of_bits, bxor = of_bits,
  shift     = { "d", "x", "bits", reads = { "x" }, writes = { "d" } }, -- up, of each lane as an integer
  down      = { "d", "x", "bits", reads = { "x" }, writes = { "d" } },
  move      = unary,
  insert    = { "d", "part", "a", reads = { "d", "a" }, writes = { "d" }, converts = true },
  extract   = also(to_memory, { "a", "x", "part" }),
  transpose = { "group", reads = { "group" }, writes = { "group" }, beside = true },
  prefetch  = { "a", "level", reads = { "a" }, a = address },
  advance   = { "p", "elements", reads = { "p" }, own = true },
  copy      = { "p", "from", reads = { "from" }, writes = { "p" }, own = true },
  pick      = { "p", "from", "tab", "index", reads = { "from", "tab" }, writes = { "p" }, own = true },
  spill     = { "slot", "x", reads = { "x" }, writes = { "slot" } },
  fill      = { "d", "slot", reads = { "slot" }, writes = { "d" } },
  comment   = { own = true },
  loop      = { own = true },
}

-- pointers: fields that may hold what stands for a pointer, in the order in which an operation reads, then writes them.
local holders = { a = true, y = true, p = true, from = true, tab = true }

for _, row in pairs(program.operations) do
  local list = {}
  row.reads, row.writes, row.pointers = row.reads or {}, row.writes or {}, list
  for _, fields in ipairs { row.reads, row.writes } do
    for _, field in ipairs(fields) do
      if holders[field] and not list[field] then list[#list + 1], list[field] = field, true end
    end
  end
end

-- Names that C or vec.h.in use for themselves; so are those that begin with cg_.
for word in ([[auto break case char const continue default do double else enum extern float for goto if inline int
  long register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
  asm vec vmem vset vfence vfma_all fma fmaf unix linux unrolled]]):gmatch "%S+" do
  reserved[word] = true
end
for name, row in pairs(program.operations) do
  reserved["v" .. name], reserved["v" .. name .. "_range"] = true, row.ranged
end

local function emit(k, op)
  if k.finished then complain(k, "%s after finish", op.op) end
  local list = k.block
  list[#list + 1] = op
end

---- declarations ----------------------------------------------------------------------------------------------------
function program.new(o)
  local k = setmetatable({ name = o.name, names = {}, claimed = {}, kinds = {}, type = o.type, target = o.target,
    args = {}, pool = {}, slots = {}, vectors = {}, body = {}, loops = {}, depth = 0 }, Program)
  check_name(k, o.name)
  if not types.rows[o.type] then complain(k, "the type %s is none of %s", tostring(o.type), types.names()) end
  if type(o.target) ~= "table" then complain(k, "the target is no row of targets") end
  k.size, k.part, k.lanes = types.bytes(o.type), types.part(o.type), types.lanes(o.type, o.target)
  k.block = k.body -- the list that operations go to
  return k
end

local function argument(k, name, row)
  check_name(k, name)
  if k.names[name] or taken(name) then complain(k, "the argument name %s is taken", name) end
  row.program, row.name, row.argument, k.names[name], k.kinds[row] = k, name, true, true, row.kind
  table.insert(k.args, row)
  return row
end

-- To elements of the program's type, until it is known what else they are stored as (program.stored).
function Program:pointer(name, access)
  if access ~= "in" and access ~= "out" and access ~= "inout" then
    complain(self, "the pointer %s is %s; in, out and inout are allowed", tostring(name), tostring(access))
  end
  return argument(self, name, { kind = "pointer", access = access, type = self.type, bytes = self.size })
end

function Program:count(name) return argument(self, name, { kind = "count" }) end
function Program:table(name) return argument(self, name, { kind = "table", bytes = 8 }) end

-- indices: it is one of an array of the hint's name, and has them in its own behind the hint; axes: what they are of.
function Program:vector(hint, indices, axes)
  local name, vectors = indices and hint .. table.concat(indices, "_") or hint, self.vectors
  local v = { kind = "register", program = self, name = claim(self, name), hint = hint, indices = indices, axes = axes }
  vectors[#vectors + 1], self.kinds[v] = v, "register"
  return v
end

function Program:slot(hint)
  local s = { kind = "slot", program = self, name = claim(self, hint or "slot" .. #self.slots), hint = hint or "slot" }
  table.insert(self.slots, s)
  self.kinds[s] = "slot"
  return s
end

function Program:at(p, offset)
  return { kind = "address", program = self, pointer = pointer(self, "an address", p),
    offset = integer(self, "an offset", offset or 0) }
end

function Program:memory(a)
  return { kind = "memory operand", program = self, address = readable(self, "a memory operand", a),
    pointer = a.pointer }
end

function Program:memory_broadcast(a)
  local y = self:memory(a)
  y.all = true
  return y
end

---- methods ---------------------------------------------------------------------------------------------------------
-- Made by rows: of one, two or three operands, which are the fields f, g, h as p, q, r answer. Written out for speed: a
-- kernel has thousands.
local methods = {
  function(name, row, check)
    local f, p = row[1], check[1]
    return function(k, x) emit(k, { op = name, [f] = p(k, name, x) }) end
  end,
  function(name, row, check)
    local f, g, p, q = row[1], row[2], check[1], check[2]
    return function(k, x, y, first, count)
      local op = { op = name, [f] = p(k, name, x), [g] = q(k, name, y) }
      if first or count then set_lanes(k, op, first, count) end
      emit(k, op)
    end
  end,
  function(name, row, check)
    local f, g, h, p, q, r = row[1], row[2], row[3], check[1], check[2], check[3]
    return function(k, x, y, z, first, count)
      local op = { op = name, [f] = p(k, name, x), [g] = q(k, name, y), [h] = r(k, name, z) }
      if first or count then set_lanes(k, op, first, count) end
      emit(k, op)
    end
  end,
}

for name, row in pairs(program.operations) do
  if not row.own then
    local check = {}
    for i, field in ipairs(row) do check[i] = row[field] or checks[field] end
    Program[name] = methods[#row](name, row, check)
  end
end

local function in_pool(k, value)
  if math.type(value) == nil or value ~= value then
    complain(k, "constant needs a number, not %s", tostring(value))
  end
  value = value * 1.0 -- not + 0.0, which makes +0 of -0
  local key = ("%a"):format(value) -- tells -0 from 0, which == does not
  if not k.pool[key] then
    k.pool[key] = #k.pool + 1
    table.insert(k.pool, value)
  end
  return k.pool[key], value
end

function Program:constant(v, value)
  local index
  register(self, "constant", v)
  index, value = in_pool(self, value)
  emit(self, { op = "constant", d = v, index = index, value = value })
end

-- A constant as an operand: y of an arithmetic operation. (A register where operands are no elements for all lanes.)
function Program:number(value)
  local index
  if not self.target.broadcast_operand then
    local r = self:vector "number"
    self:constant(r, value)
    return r
  end
  index, value = in_pool(self, value)
  return { kind = "memory operand", program = self, all = true, index = index, value = value }
end

-- Lane l is a[(phase + l) // times * step + skip], of the first `elements` of a; 0 where that is beyond them. step and
-- skip are 1 and 0 by default. within: all of it stays within parts of 128 bits.
function Program:spread(v, a, times, phase, elements, step, skip)
  times = integer(self, "spread: the times", times, 1)
  phase = integer(self, "spread: the phase", phase, 0, times - 1)
  step = integer(self, "spread: the step", step or 1, 1)
  skip = integer(self, "spread: what it skips", skip or 0, 0, step - 1)
  if times == 1 and step == 1 then return self:load(v, a, 0, elements) end
  if phase + self.lanes <= times then return self:broadcast(v, self:at(a.pointer, a.offset + skip)) end
  local op = { op = "spread", d = register(self, "spread", v), a = readable(self, "spread", a), times = times,
    phase = phase }
  if step > 1 then
    op.step, op.skip, self.patterns = step, skip, true
    op.within = phase == 0 and times == step and self.part % times == 0 and (elements or self.lanes) == self.lanes
  end
  set_lanes(self, op, 0, elements)
  emit(self, op)
end

-- Some lanes become an element, the others stay.
function Program:patch(v, a, first, count)
  local op = { op = "patch", d = register(self, "patch", v), a = readable(self, "patch", a) }
  set_lanes(self, op, first, count)
  if not op.count then return self:broadcast(v, a) end
  self.patterns = true
  emit(self, op)
end

function Program:stream(a, v)
  emit(self, { op = "stream", a = writable(self, "stream", a), x = register(self, "stream", v) })
  self.streams = true
end

function Program:advance(p, elements)
  want(self, "advance", p, "pointer", "table")
  elements = integer(self, "the elements to advance by", elements)
  if elements ~= 0 then emit(self, { op = "advance", p = p, elements = elements }) end
end

local function new_pointer(k, hint, from)
  local p = { kind = "pointer", program = k, name = claim(k, hint), hint = hint, access = from.access, type = from.type,
    bytes = from.bytes, root = from.root or from }
  k.kinds[p] = "pointer"
  return p
end

function Program:copy(hint, from)
  local p = new_pointer(self, hint, pointer(self, "copy", from))
  emit(self, { op = "copy", p = p, from = from })
  return p
end

function Program:pick(hint, from, tab, index)
  local p = new_pointer(self, hint, pointer(self, "pick", from))
  emit(self, { op = "pick", p = p, from = from, tab = want(self, "pick", tab, "table"),
    index = integer(self, "a table index", index) })
  return p
end

function Program:comment(text)
  text = tostring(text):gsub("%*/", "* /"):gsub("%s+", " ")
  emit(self, { op = "comment", text = text })
end

function Program:loop(count, body)
  if type(count) == "table" then
    want(self, "loop", count, "count")
  else
    count = integer(self, "a loop count", count, 0)
  end
  local outer, depth = self.block, self.depth + 1
  self.loops[depth] = self.loops[depth] or claim(self, ({ "i", "j", "l" })[depth] or "i" .. depth)
  local op = { op = "loop", count = count, index = self.loops[depth], body = {} }
  emit(self, op)
  self.block, self.depth = op.body, depth
  body()
  self.block, self.depth = outer, depth - 1
end

-- Loops in each other, {count, steps, names} each, outermost first, over several pointers: body(pointers that have come
-- there). A count may be the name of an argument to be. Inside a loop that has others in it copies of those names go
-- on. A pointer without a step goes on where the loops inside left it, if it has no name there either.
function Program:nest(pointers, loops, body, level)
  level = level or 1
  local loop, inner = loops[level], pointers
  if not loop then return body(table.unpack(pointers)) end
  local count = type(loop.count) == "string" and self:count(loop.count) or loop.count
  self:loop(count, function()
    if level < #loops then
      inner = {}
      for i, p in ipairs(pointers) do inner[i] = loop.names[i] and self:copy(loop.names[i], p) or p end
    end
    self:nest(inner, loops, body, level + 1)
    for i, p in ipairs(pointers) do self:advance(p, loop.steps[i] or 0) end
  end)
end

---- validation ------------------------------------------------------------------------------------------------------
-- A thing is known where it has a value, and used where any operation reads or writes it. The positions, numbers of
-- operations, between which it is used are its lifetime, {thing, first, last}: of arguments first is 0, and so is last
-- where they are not used. (An address and a memory operand stand for their pointer.)
local function check_read(k, op, thing, position)
  if not thing.kind then
    for _, v in ipairs(thing) do check_read(k, op, v, position) end
    return
  end
  if thing.value then return end -- a constant
  local life = k.known[thing]
  if not life then complain(k, "%s reads %s, which has no value there", op.op, describe(thing)) end
  life.last = position
end

local function write(k, thing, position)
  local life = k.used[thing]
  if not life then
    life = { thing = thing, first = position }
    k.used[thing] = life
    if thing.kind == "register" then k.lifetimes[#k.lifetimes + 1] = life end
  end
  life.last = position
  k.known[thing], k.written[#k.written + 1] = life, thing
end

local function check_operation(k, op, row, position)
  local known, reads, writes = k.known, row.reads, row.writes
  for i = 1, #reads do
    local thing = op[reads[i]]
    thing = thing.pointer or thing
    local life = known[thing]
    if life then life.last = position else check_read(k, op, thing, position) end
  end
  for i = 1, #writes do
    local thing = op[writes[i]]
    local life = known[thing]
    if life then life.last = position
    elseif thing.kind then write(k, thing, position) end -- what a transpose writes was known before
  end
end

-- Of what got its value behind `before` a register keeps it if the loop runs at least once; pointer variables are gone.
local function leave_loop(k, op, before)
  local known, written, kept = k.known, k.written, before
  local never_runs = type(op.count) == "table" or op.count == 0
  for i = before + 1, #written do
    local thing = written[i]
    written[i] = nil
    if never_runs or thing.kind == "pointer" then known[thing] = nil else
      kept = kept + 1
      written[kept] = thing
    end
  end
end

-- Walks a block in order, from behind a position; answers with the last one. A loop has two, at its ends.
local function check_flow(k, block, position)
  local operations = program.operations
  for _, op in ipairs(block) do
    position = position + 1
    if op.op == "loop" then
      local before, life = #k.written, { first = position }
      k.loop_lifetimes[#k.loop_lifetimes + 1] = life -- outer ones before those in them
      if k.used[op.count] then k.used[op.count].last = position end
      position = check_flow(k, op.body, position) + 1
      life.last = position
      leave_loop(k, op, before)
    else
      local row = operations[op.op]
      k.beside = k.beside or row.beside and not op.within
      check_operation(k, op, row, position)
    end
  end
  return position
end

-- used: lifetimes by thing; lifetimes: of registers, in the order of their beginnings; loop_lifetimes; beside: whether
-- an operation needs a register more.
local function follow(self)
  self.used, self.known, self.written, self.lifetimes, self.loop_lifetimes = {}, {}, {}, {}, {}
  for _, argument_ in ipairs(self.args) do
    local life = { thing = argument_, first = 0, last = 0 }
    self.used[argument_], self.known[argument_] = life, life
  end
  check_flow(self, self.body, 0)
  for _, argument_ in ipairs(self.args) do
    if self.used[argument_].last == 0 then self.used[argument_] = nil end
  end
  self.known, self.written = nil, nil
end

-- Checks the flow of values and closes the program; returns it.
function Program:finish()
  if self.finished then complain(self, "finish twice") end
  if self.depth > 0 then complain(self, "finish inside a loop") end
  follow(self)
  self.finished = true
  return self
end

---- what elements are stored as --------------------------------------------------------------------------------------

-- Whether a memory operand, or an address, is of elements that are not stored as the program computes.
local function converted(k, thing) return thing and thing.pointer and thing.pointer.type ~= k.type end

-- The type that an operation converts from or to, if it does.
function program.conversion(k, op)
  return program.operations[op.op].converts and converted(k, op.a) and op.a.pointer.type or nil
end

-- Loads, stores and the like convert, as the lowering has it; arithmetic takes what a load has converted, and nothing
-- of the kind goes past the caches.
local function convert(k, block)
  local list = {}
  for _, op in ipairs(block) do
    if op.op == "loop" then op.body = convert(k, op.body) end
    if op.op == "stream" and converted(k, op.a) then op.op = "store" end
    if converted(k, op.y) then
      local r = k:vector "stored"
      list[#list + 1] = { op = op.y.all and "broadcast" or "load", d = r, a = op.y.address,
        first = not op.y.all and op.first or nil, count = not op.y.all and op.count or nil }
      op.y = r
    end
    list[#list + 1] = op
  end
  return list
end

-- The type of what a pointer is called with: that of its bases, which agree.
local function type_of_bases(k, p, type_of)
  local found, from
  for base in pairs(p.bases) do
    local stored = type_of(base)
    if found and found ~= stored then
      complain(k, "%s points to %s, which is %s, and to %s, which is %s", p.name, from, found, base, stored)
    end
    found, from = stored, base
  end
  return found
end

-- A finished program's pointers are to what it is called with: type_of(base), a type that is computed in the program's
-- (of programs without vectors any).
function program.stored(k, type_of)
  local any = false
  for _, p in ipairs(k.args) do
    local stored = p.bases and type_of_bases(k, p, type_of) or p.type
    if k.lanes > 1 and types.rows[stored or k.type].sums ~= types.rows[k.type].sums then
      complain(k, "the pointer %s is to %s; what is computed in %s is %s", p.name, stored, k.type,
        types.names(function(other) return other.sums == k.type end))
    end
    if stored ~= p.type then p.type, p.bytes, any = stored, types.bytes(stored), true end
  end
  if not any then return end
  for p, kind in pairs(k.kinds) do
    if kind == "pointer" and p.root then p.type, p.bytes = p.root.type, p.root.bytes end
  end
  k.body, k.beside, k.allocated = convert(k, k.body), true, nil
  follow(k)
end

---- printing --------------------------------------------------------------------------------------------------------
function program.offset_text(name, offset)
  if offset == 0 then return name end
  return ("%s %s %d"):format(name, offset < 0 and "-" or "+", math.abs(offset))
end

-- The shortest decimal that reads back as the same double.
function program.number_text(x)
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(x)
    if tonumber(text) == x then return text end
  end
end

local function show(thing)
  if math.type(thing) == "integer" then return tostring(thing) end
  if math.type(thing) == "float" then return program.number_text(thing) end
  if thing.value then return show(thing.value) end
  if thing.kind == "memory operand" then return show(thing.address) .. (thing.all and "{all}" or "") end
  if thing.kind == "address" then return "[" .. program.offset_text(thing.pointer.name, thing.offset) .. "]" end
  if thing.kind then return thing.name end
  local names = {}
  for i, v in ipairs(thing) do names[i] = v.name end
  return table.concat(names, ", ")
end

local function print_block(lines, block, indent)
  local function line(text) table.insert(lines, indent .. text) end
  for _, op in ipairs(block) do
    if op.op == "loop" then
      line("loop " .. show(op.count))
      print_block(lines, op.body, indent .. "  ")
    elseif op.op == "comment" then
      line("-- " .. op.text)
    else
      local shown = {}
      for i, field in ipairs(program.operations[op.op]) do shown[i] = show(op[field]) end
      if op.step then shown[#shown + 1] = ("%d, %d"):format(op.step, op.skip) end
      local range = op.count and (" lanes %d..%d"):format(op.first, op.first + op.count - 1) or ""
      line(("%-9s %s%s"):format(op.op, table.concat(shown, ", "), range))
    end
  end
end

-- Readable text: a signature, then one operation a line, destination first, loops indented.
function program.print(k)
  local args = {}
  for i, argument_ in ipairs(k.args) do
    local converts = argument_.kind == "pointer" and argument_.type ~= k.type
    args[i] = ("%s: %s"):format(argument_.name, argument_.access or argument_.kind)
      .. (converts and " " .. argument_.type or "")
  end
  local lines = { ("%s(%s)  %s x %d, %s"):format(k.name, table.concat(args, ", "), k.type, k.lanes, k.target.name) }
  print_block(lines, k.body, "  ")
  return table.concat(lines, "\n") .. "\n"
end

return program
