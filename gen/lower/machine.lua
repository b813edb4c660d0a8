-- machine.lua: kernel programs as the instructions of a target's instruction set, targets' `isa`.
--
-- kernel(k) gives C text: a prototype, and a top-level asm block of data that any C compiler takes, libtcc too, which
-- knows no vectors. assembly(k) gives the same block as GNU assembly, listing(k) each instruction beside the operation
-- it comes from. A second argument is the target that a program of one lane is to run on: its own has no instructions.
--
-- An instruction set is a file isa/NAME.lua, a table of what it is to this one, to places.lua and to code.lua:
--   general, incoming  registers that pointers and counts may have, and that arguments come in, as lists of numbers
--   prologue(s)        everything before the first operation: what it keeps of its own in s, the frame, arguments
--   operations         by the operation's name: function(s, op, operations, i) that puts its instructions; it may do
--                      some of the operations that follow, too, and says how many. `loop` puts a block (code.block)
--   stored             by type, operations that convert from it or to it (program.stored): load, store, ...
--   epilogue(s)        everything after the last one
--   jump(name, size, back)            bytes and spelling of a jump over so many bytes, or back to before them
--   fix(s, fixup, distance, symbol)   puts the place of an entry of the pool into the instruction that reads it
--   sections           names of what it puts into the pool, before the program's constants
--   emitted            what emitted files say of it: name; macro, condition, CMake's word for it (a pattern); C that
--                      comes before asking for features, and that asks for one (emit_frames.lua)
-- s, the state, has the program k with name, type and size of an element, target; map and temporary: the registers of
-- vectors (registers.lua); register, on_stack, ranges (places.lua); slot, saved: for the frame; and the code so far.
local program, registers, c = require "program", require "registers", require "lower/c"
local places, code = require "lower/places", require "lower/code"
local machine = {}

local function refuse(k, why) error(("program %s: %s"):format(k.name, why), 0) end

local function new_state(k, target)
  local allocated, why = registers.allocate(k, k.target)
  if not allocated then refuse(k, why) end
  local isa = require("isa/" .. (target or k.target).isa)
  local s = places.find(k, isa)
  s.isa, s.k, s.name, s.type, s.size, s.target = isa, k, k.name, k.type, k.size, k.target
  s.map, s.temporary, s.slot, s.saved = allocated.map, allocated.temporary, {}, {}
  return s
end

-- The state when all is done: code, a list of instructions' bytes, and pool.
local function generate(k, target, with_texts)
  if not k.finished then refuse(k, "lowered before finish") end
  local s = new_state(k, target)
  code.begin(s, with_texts)
  s.isa.prologue(s)
  code.block(s, k.body)
  if with_texts then s.origins[s.n + 1] = "end" end
  s.isa.epilogue(s)
  code.finish(s)
  return s
end

---- texts -----------------------------------------------------------------------------------------------------------

local function prototype(k, class) return ("%s void %s(%s);\n"):format(class, k.name, c.parameters(k)) end

-- What stands once before kernels. Without `hidden` a system compiler would call through a table of the shared object.
function machine.prelude()
  return [[
/* Kernels are data: instructions, assembled by the generator. */
#ifdef __TINYC__
#define cg_code static
#else
#define cg_code extern __attribute__((visibility("hidden")))
#endif
]]
end

local eight = ("0x%x,"):rep(7) .. "0x%x"

-- Words of 8 bytes, 8 a line: the directive that compilers read fastest.
local function data(bytes)
  bytes = bytes .. ("\0"):rep(-#bytes % 8)
  local lines, at, n = {}, 1, #bytes
  while at + 63 <= n do
    lines[#lines + 1] = '".quad ' .. eight:format(string.unpack("<i8i8i8i8i8i8i8i8", bytes, at)) .. '\\n"'
    at = at + 64
  end
  while at <= n do
    lines[#lines + 1] = ('".quad 0x%x\\n"'):format((string.unpack("<i8", bytes, at)))
    at = at + 8
  end
  return table.concat(lines, "\n")
end

-- The bytes of a finished program's function, its pool at their end.
function machine.bytes(k, target)
  local s = generate(k, target)
  local bytes = table.concat(s.code)
  return #s.pool > 0 and bytes .. ("\0"):rep(s.pool_at - s.length) .. s.pool or bytes
end

function machine.kernel(k, target)
  return ('%s__asm__(".text\\n.balign 64\\n%s:\\n"\n%s);\n'):format(prototype(k, "cg_code"), k.name,
    data(machine.bytes(k, target)))
end

-- The line of each operation in program.print's text.
local function operation_lines(k)
  local of, next_line = {}, program.print(k):gmatch "[^\n]+"
  local function walk(ops)
    for _, op in ipairs(ops) do
      of[op] = next_line()
      if op.op == "loop" then walk(op.body) end
    end
  end
  of.begin, of["end"] = next_line(), "  return"
  walk(k.body)
  return of
end

local function pool_lines(s, put)
  if #s.pool == 0 then return end
  put ".balign 32"
  put((".L%s_pool:"):format(s.name))
  for at = 1, #s.pool, 4 do put(("  .long 0x%x"):format((string.unpack("<I4", s.pool, at)))) end
end

-- The same as C: a prototype, and GNU assembly in a block at file scope, each instruction beside the operation it comes
-- from. Assembled, it has the same bytes but for what as writes shorter.
function machine.assembly(k, target)
  local s, of = generate(k, target, true), operation_lines(k)
  local lines = { prototype(k, "extern"), "__extension__ __asm__(" }
  local function put(text) lines[#lines + 1] = ('    "%s\\n"'):format(text) end
  of.begin = nil
  put ".text"
  put ".balign 64"
  put(k.name .. ":")
  for i = 1, s.n do
    if s.labels[i] then put(s.labels[i] .. ":") end
    put("  " .. s.texts[i])
    local origin = of[s.origins[i]]
    origin = origin and origin:gsub("^%s+", ""):gsub("%s+", " ")
    if origin then lines[#lines] = ("%-56s /* %s */"):format(lines[#lines], origin) end
  end
  pool_lines(s, put)
  lines[#lines + 1] = ");\n"
  return table.concat(lines, "\n")
end

-- Address, bytes and spelling of each instruction below the operation that it comes from.
function machine.listing(k, target)
  local s, of = generate(k, target, true), operation_lines(k)
  local lines, position = {}, 0
  for i = 1, s.n do
    lines[#lines + 1] = of[s.origins[i]]
    if s.labels[i] then lines[#lines + 1] = ("%58s%s:"):format("", s.labels[i]) end
    local hex = s.code[i]:gsub(".", function(byte) return ("%02x "):format(byte:byte()) end)
    lines[#lines + 1] = ("    %6x  %-40s      %s"):format(position, hex, s.texts[i])
    position = position + #s.code[i]
  end
  if #s.pool > 0 then lines[#lines + 1] = ("    %6x  .L%s_pool: %d bytes"):format(s.pool_at, k.name, #s.pool) end
  return table.concat(lines, "\n") .. "\n"
end

return machine
