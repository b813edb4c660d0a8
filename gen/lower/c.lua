-- lower/c.lua: kernel programs as C over the operations of templates/vec.h.in.
--
-- kernel(k) gives one static function; prelude(type, target) gives what stands once before them. One translation unit
-- holds kernels of one type and one target.
local program, template, types = require "program", require "template", require "types"
local c = {}

local spellings = {
  f32 = { fma = "fmaf", sqrt = "sqrtf", suffix = "ps", vector = "", integer = "int", part = "f32x4" },
  f64 = { fma = "fma", sqrt = "sqrt", suffix = "pd", vector = "d", integer = "long long", part = "f64x2" },
}

---- the prelude -----------------------------------------------------------------------------------------------------
-- Where the 32-bit words of a spread vector come from.
local function spread_words(bits, size, steps)
  local list, words = {}, size // 4
  local form = steps and "((%d + (phase)) / (times) * (step) + (skip)) * %d + %d"
    or "(%d + (phase)) / (times) * %d + %d"
  for word = 0, bits // 32 - 1 do list[#list + 1] = form:format(word // words, words, word % words) end
  return table.concat(list, ", ")
end

local function each_lane(lanes, text, separator)
  local list = {}
  for lane = 0, lanes - 1 do list[#list + 1] = (text:gsub("#", tostring(lane))) end
  return table.concat(list, separator)
end

local function values_of(type_name, target)
  local t, bits = spellings[type_name], math.max(target.bits, 128) -- a scalar target never uses what bits decides
  local size = types.bytes(type_name)
  local lanes = types.lanes(type_name, { lanes = target.lanes, bits = bits })
  return {
    TYPE = types.c(type_name), FMA = t.fma, LANES = lanes, BITS = bits, BYTES = bits // 8, SIZE = size,
    PART = types.part(type_name),
    INTRINSICS = target.intrinsics, V = bits == 128 and "_mm_" or ("_mm%d_"):format(bits), S = t.suffix,
    VECTOR = ("__m%d%s"):format(bits, t.vector), MASK = ("__m%di"):format(bits), INTEGER = t.integer, PARTS = t.part,
    EACH = each_lane(lanes, "OP(#, a, b, c)", " "), LIST = each_lane(lanes, "OP(#, a, b, c)", ", "),
    WORDS = spread_words(bits, size), MASK_LANES = each_lane(lanes, "-cg_in(#, first, count)", ", "),
  }
end

function c.prelude(type_name, target) return template.fill("vec.h.in", values_of(type_name, target)) end

local converting = [[
/* One element that is stored as another type. */
#define vload_TYPE(d, p) vload(d, p)
#define vbroadcast_TYPE(d, p) vbroadcast(d, p)
#define vstore_TYPE(p, x) vstore(p, x)
]]

-- Of programs without vectors: the compiler converts.
local function conversions(programs)
  local texts, known = {}, {}
  for _, k in ipairs(programs) do
    for _, p in ipairs(k.args) do
      local stored = k.lanes == 1 and p.kind == "pointer" and p.type
      if stored and stored ~= k.type and not known[stored] then
        texts[#texts + 1], known[stored] = (converting:gsub("TYPE", stored)), true
      end
    end
  end
  return table.concat(texts)
end

-- What stands behind it for programs that have activations, or patterns in the lanes: of the same type and target.
function c.beyond(programs)
  local texts = { "", "" }
  for _, k in ipairs(programs) do
    local all = (k.activates or k.patterns) and values_of(k.type, k.target)
    if k.activates then
      texts[1] = template.fill("vec_activations.h.in", { TYPE = all.TYPE, INTEGER = all.INTEGER, BYTES = all.BYTES,
        V = all.V, S = all.S, SQRT = spellings[k.type].sqrt })
    end
    if k.patterns then
      texts[2] = template.fill("vec_patterns.h.in", { BITS = all.BITS, V = all.V, S = all.S, LANES = all.LANES,
        WORDS = spread_words(all.BITS, all.SIZE, true) })
    end
  end
  return table.concat(texts) .. conversions(programs)
end

---- kernels ---------------------------------------------------------------------------------------------------------
local function address(a) return a.text or program.offset_text(a.pointer.name, a.offset) end

local function pointer_to(p)
  return ("%s%s *"):format(p.access == "in" and "const " or "", types.c(p.type))
end

c.pointer_to = pointer_to

local function number(x)
  if x == math.huge then return "(1.0 / 0.0)" end
  if x == -math.huge then return "(-1.0 / 0.0)" end
  local text = program.number_text(x)
  return text:find "[.e]" and text or text .. ".0"
end

local function spelled(x)
  local kind = math.type(x)
  if kind then return kind == "integer" and tostring(x) or number(x) end
  if x.kind == "address" then return address(x) end
  return x.kind == "memory operand" and ("vmem(%s)"):format(address(x.address)) or x.name
end

local function call(name, list) return ("%s(%s);"):format(name, table.concat(list, ", ")) end

-- An operation's name, and the type's that it converts: vload_TYPE.
local function typed(k, op, name)
  local stored = program.conversion(k, op)
  return stored and name .. "_" .. stored or name
end

-- v and the operation's name, with its operands in order.
local function by_row(k, op, name)
  name = typed(k, op, name)
  local list = {}
  for i, field in ipairs(program.operations[op.op]) do list[i] = spelled(op[field]) end
  if not op.count then return call(name, list) end
  local n = #list
  list[n + 1], list[n + 2] = op.first, op.count
  return call(name .. "_range", list)
end

local function named(name) return function(k, op) return by_row(k, op, name) end end

local function declare(p, value) return ("%s%s = %s;"):format(pointer_to(p), p.name, value) end

-- What takes an element or a constant for all lanes, where no operation of vec.h does both.
local function broadcast_first(k, op, name)
  k.temporary = "cg_y" -- programs have no name that begins with cg_
  local y, with = op.y, setmetatable({ y = { name = k.temporary } }, { __index = op })
  local set = y.value and call("vset", { k.temporary, number(y.value) })
    or call("vbroadcast", { k.temporary, address(y.address) })
  return set .. " " .. by_row(k, with, name)
end

local spell = {
  constant = named "vset", spill = named "vmove", fill = named "vmove",
  spread = function(k, op)
    if op.step then
      return call(typed(k, op, "vspread_step"), { op.d.name, address(op.a), op.times, op.phase, op.step, op.skip,
        op.count or k.lanes })
    end
    return call(typed(k, op, "vspread"), { op.d.name, address(op.a), op.times, op.phase, op.count or k.lanes })
  end,
  transpose = function(_, op)
    local names = {}
    for i, v in ipairs(op.group) do names[i] = v.name end
    return call("vtranspose", names)
  end,
  advance = function(_, op)
    return ("%s %s %d;"):format(op.p.name, op.elements < 0 and "-=" or "+=", math.abs(op.elements))
  end,
  copy = function(_, op) return declare(op.p, op.from.name) end,
  pick = function(_, op) return declare(op.p, ("%s + %s[%d]"):format(op.from.name, op.tab.name, op.index)) end,
  comment = function(_, op) return ("/* %s */"):format(op.text) end,
}

-- One operation, whose operands may have names and texts of their own.
function c.operation(k, op)
  local own, y = spell[op.op], op.y
  if own then return own(k, op) end
  if not (y and y.all) then return by_row(k, op, "v" .. op.op) end
  if op.op == "fma" and not op.count and y.address then
    return call("vfma_all", { op.d.name, op.x.name, address(y.address) })
  end
  return broadcast_first(k, op, "v" .. op.op)
end

local function block(k, lines, ops, indent)
  for _, op in ipairs(ops) do
    if op.op == "loop" then
      local count = type(op.count) == "table" and op.count.name or tostring(op.count)
      lines[#lines + 1] = ("%sfor (long %s = 0; %s < %s; %s++) {"):format(indent, op.index, op.index, count, op.index)
      block(k, lines, op.body, indent .. "    ")
      lines[#lines + 1] = indent .. "}"
    else
      lines[#lines + 1] = indent .. c.operation(k, op)
    end
  end
end

-- A kernel's parameters, in whatever form it is; without counts that are the same in all calls, if so asked.
function c.parameters(k, fewer)
  local words, args = { count = "long ", table = "const long *" }, {}
  for _, a in ipairs(k.args) do
    if not (fewer and a.always) then args[#args + 1] = (words[a.kind] or pointer_to(a)) .. a.name end
  end
  return #args > 0 and table.concat(args, ", ") or "void"
end

-- Declarations of up to 12 names a line; only of those that occur.
function c.declarations(lines, names)
  for i = 1, #names, 12 do
    lines[#lines + 1] = ("    vec %s;"):format(table.concat(names, ", ", i, math.min(i + 11, #names)))
  end
end

-- The text of a finished program as `static void NAME(...) {...}`.
function c.kernel(k)
  if not k.finished then error(("program %s: lowered before finish"):format(k.name), 0) end
  local names, body, lines = {}, {}, {}
  lines[1] = ("static void %s(%s) {"):format(k.name, c.parameters(k))
  block(k, body, k.body, "    ")
  for _, list in ipairs { k.vectors, k.slots } do
    for _, v in ipairs(list) do
      if k.used[v] then names[#names + 1] = v.name end
    end
  end
  names[#names + 1] = k.temporary
  c.declarations(lines, names)
  for _, a in ipairs(k.args) do
    if not k.used[a] then lines[#lines + 1] = ("    (void)%s;"):format(a.name) end
  end
  table.move(body, 1, #body, #lines + 1, lines)
  if k.streams then lines[#lines + 1] = "    vfence();" end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

return c
