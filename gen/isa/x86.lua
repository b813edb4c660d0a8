-- x86.lua: what x86-64 with AVX2 or AVX-512 is to lower/machine.lua: a row of the interface that is told there.
--
-- A kernel is called as System V has it: pointers and counts in rdi, rsi, rdx, rcx, r8, r9, then on the stack. Programs
-- of the scalar target become scalar VEX instructions, for any target here has them.
local encoder, pointers, vectors = require "isa/x86/encoder", require "isa/x86/pointers", require "isa/x86/vectors"

local integer, at, rax, rsp = pointers.integer, pointers.at, pointers.rax, pointers.rsp

local x86 = {
  general = { 7, 6, 2, 1, 8, 9, 10, 11, 3, 5, 12, 13, 14, 15 }, -- rdi rsi rdx rcx r8 r9 r10 r11 rbx rbp r12 r13 r14 r15
  incoming = { 7, 6, 2, 1, 8, 9 },
  sections = { "masks", "words" },
  operations = {},
  stored = vectors.stored,
  fix = vectors.fix,
  emitted = { name = "x86-64", macro = "X86", defined = "defined(__x86_64__)", processors = "x86_64|AMD64",
    prepare = "    __builtin_cpu_init();\n", supports = '__builtin_cpu_supports("%s")' },
}
local callee_saves = { [3] = true, [5] = true, [12] = true, [13] = true, [14] = true, [15] = true }

for _, list in ipairs { pointers.operations, vectors.operations } do
  for name, lower in pairs(list) do x86.operations[name] = lower end
end

-- A jump over so many bytes of instructions, or back to before them: its bytes and what it is called. (The first of a
-- row's codes takes two bytes.)
function x86.jump(name, size, back)
  local form = encoder.integers[name]
  local function of(distance) return form.encode(form, nil, nil, nil, nil, distance) end
  local bytes = of(back and -size - 2 or size)
  if back and #bytes > 2 then bytes = of(-size - #bytes) end
  return bytes, form.gnu
end

---- the frame -------------------------------------------------------------------------------------------------------

-- Slots on the stack: vectors first, aligned, then words; the last one holds rsp as it was.
local function lay_frame(s)
  local size, bytes = 0, s.k.lanes * s.size
  for _, slot in ipairs(s.k.slots) do s.slot[slot], size = size, size + bytes end
  size = (size + 7) // 8 * 8
  for _, thing in ipairs(s.on_stack) do s.slot[thing], size = size, size + 8 end
  if size > 0 then s.frame = (size + 8 + 63) // 64 * 64 end
end

local function old_rsp(s) return at(s, rsp, s.frame - 8) end

-- Arguments that come in a register and live in another. What changes its register goes through the stack, so that the
-- order does not matter.
local function exchange(s, list)
  for i = 1, #list do integer(s, "push", list[i].from) end
  for i = #list, 1, -1 do integer(s, "pop", list[i].to) end
end

-- From the caller's stack to a register, or to ours through rax, which then has to be set again.
local function fetch(s, list)
  for _, m in ipairs(list) do
    if m.to then integer(s, "read", m.to, at(s, s.frame and rax or rsp, m.disp)) end
  end
  for _, m in ipairs(list) do
    if not m.to then
      integer(s, "read", rax, old_rsp(s))
      integer(s, "read", rax, at(s, rax, m.disp))
      integer(s, "write", rax, pointers.on_stack(s, m.argument))
    end
  end
end

local function move_arguments(s)
  local in_registers, beyond, first = {}, {}, 8 * #s.saved + 8
  for i, a in ipairs(s.k.args) do
    local m = { argument = a, from = x86.incoming[i], to = s.register[a], disp = first + 8 * (i - 7) }
    if not s.k.used[a] then -- nothing reads it
    elseif not m.from then beyond[#beyond + 1] = m
    elseif not m.to then integer(s, "write", m.from, pointers.on_stack(s, a))
    elseif m.from ~= m.to then in_registers[#in_registers + 1] = m end
  end
  exchange(s, in_registers)
  fetch(s, beyond)
end

function x86.prologue(s)
  local in_use = {}
  for _, n in pairs(s.register) do in_use[n] = true end
  for _, n in ipairs(x86.general) do if callee_saves[n] and in_use[n] then table.insert(s.saved, n) end end
  s.at, s.forms = {}, vectors.forms(s.type, s.target)
  vectors.give_masks(s)
  lay_frame(s)
  for _, n in ipairs(s.saved) do integer(s, "push", n) end
  if s.frame then
    integer(s, "copy", rsp, rax)
    integer(s, "minus", nil, rsp, s.frame)
    integer(s, "both", nil, rsp, -64)
    integer(s, "write", rax, old_rsp(s))
  end
  move_arguments(s)
  vectors.set_masks(s)
end

function x86.epilogue(s)
  if s.k.streams and s.k.lanes > 1 then integer(s, "fence") end
  if s.k.lanes > 1 then integer(s, "clean") end
  if s.frame then integer(s, "read", rsp, old_rsp(s)) end
  for i = #s.saved, 1, -1 do integer(s, "pop", s.saved[i]) end
  integer(s, "ret")
end

return x86
