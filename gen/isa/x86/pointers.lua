-- pointers.lua: operations on pointers and counts, addresses, loops.
--
-- A variable lives in a general register (s.register) or on the stack (s.slot). rax is never given to one: it keeps
-- what was last read from the stack into it (s.held), until something else needs it. There is one memory operand at a
-- time, s.at: it is encoded before the next is made.
local code, encoder = require "lower/code", require "isa/x86/encoder"
local pointers = { rax = 0, rsp = 4 }

local rax, rsp, forms = pointers.rax, pointers.rsp, encoder.integers

local function integer(s, name, reg, m, imm)
  local form = forms[name]
  code.put(s, form.encode(form, reg, nil, m, nil, imm), s.texts and encoder.text(form, reg, nil, m, nil, imm))
end

local function at(s, base, disp)
  local m = s.at
  m.base, m.disp, m.all = base, disp, nil
  return m
end

local function on_stack(s, thing) return at(s, rsp, s.slot[thing]) end

local function fits(x) return x >= -0x80000000 and x <= 0x7FFFFFFF end

local function in_register(s, thing)
  local register = s.register[thing]
  if register then return register end
  if s.held ~= thing then integer(s, "read", rax, on_stack(s, thing)) end
  s.held = thing
  return rax
end

local function set(s, register, value)
  integer(s, value >= 0 and value <= 0xFFFFFFFF and "set" or "set_wide", register, nil, value)
end

-- rax = a number, for what follows; a pointer in it is lost.
local function set_rax(s, value)
  s.held = nil
  set(s, rax, value)
end

-- rax += the value of a variable
local function plus(s, thing)
  local register = s.register[thing]
  if register then integer(s, "plus_reg", register, rax) else integer(s, "plus_read", rax, on_stack(s, thing)) end
end

local function far(s, thing, disp)
  set_rax(s, disp)
  plus(s, thing)
end

-- The memory operand of an address.
local function address(s, a)
  local p = a.pointer
  local disp = a.offset * p.bytes
  if fits(disp) then return at(s, in_register(s, p), disp) end
  far(s, p, disp)
  return at(s, rax, 0)
end

-- Gives a variable the value of a register.
local function assign(s, thing, from)
  local register = s.register[thing]
  if not register then
    integer(s, "write", from, on_stack(s, thing))
    s.held = from == rax and thing or s.held ~= thing and s.held or nil
  elseif register ~= from then
    integer(s, "copy", from, register)
  end
end

-- The register of a variable, or where it is on the stack.
local function place(s, thing) return s.register[thing] or on_stack(s, thing) end

local function advance(s, op)
  local p, bytes = op.p, op.elements * op.p.bytes
  if not fits(bytes) then
    far(s, p, bytes)
    return assign(s, p, rax)
  end
  integer(s, "plus", nil, place(s, p), bytes)
  if s.held == p then s.held = nil end
end

-- How far the operations advance a pointer that follow the i-th, and how many they are.
local function advances(p, block, i)
  local bytes, n = 0, 0
  local nxt = block[i + 1]
  while nxt and nxt.op == "advance" and nxt.p == p do
    bytes, n = bytes + nxt.elements * p.bytes, n + 1
    nxt = block[i + n + 1]
  end
  if fits(bytes) then return bytes, n end
  return 0, 0
end

-- With what the following operations add to the new pointer, which are then done.
local function copy(s, op, block, i)
  local bytes, done = advances(op.p, block, i)
  local from, to = in_register(s, op.from), s.register[op.p] or rax
  if bytes == 0 then
    assign(s, op.p, from)
  else
    integer(s, "address", to, at(s, from, bytes))
    assign(s, op.p, to)
  end
  return done
end

local shifts = { [1] = 0, [2] = 1, [4] = 2, [8] = 3 }

local function pick(s, op)
  integer(s, "read", rax, at(s, in_register(s, op.tab), op.index * 8))
  integer(s, "shift", nil, rax, shifts[op.p.bytes])
  plus(s, op.from)
  s.held = nil
  assign(s, op.p, rax)
end

local function prefetch(s, op) integer(s, "prefetch" .. op.level, nil, address(s, op.a)) end

---- loops -----------------------------------------------------------------------------------------------------------

-- Counts down in a register or on the stack; returns the jump that skips a loop of no trips, if there can be such.
local function begin_count(s, op)
  local counter, count = s.register[op] or rax, op.count
  local known = type(count) == "number"
  if known then set(s, counter, count)
  elseif not s.register[count] then integer(s, "read", counter, on_stack(s, count))
  elseif s.register[count] ~= counter then integer(s, "copy", s.register[count], counter) end
  if counter == rax then assign(s, op, rax) end
  if known then return end
  integer(s, "test", counter, counter)
  return code.jump(s, "jump_le")
end

local function loop(s, op)
  if op.count == 0 then return end
  if op.count == 1 then return code.block(s, op.body) end
  local skip = begin_count(s, op)
  s.held, s.spare_mask = nil, nil
  local first = s.n + 1
  code.block(s, op.body)
  integer(s, "down", nil, place(s, op))
  code.jump_back(s, "jump_ne", first)
  if skip then code.land(s, skip) end
  s.held, s.spare_mask = nil, nil
end

pointers.operations = { advance = advance, copy = copy, pick = pick, prefetch = prefetch, loop = loop }
pointers.integer, pointers.at, pointers.on_stack, pointers.address = integer, at, on_stack, address
pointers.fits, pointers.set, pointers.set_rax = fits, set, set_rax

return pointers
