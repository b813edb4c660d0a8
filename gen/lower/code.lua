-- code.lua: a function's instructions as they are made: their bytes, their spelling, jumps, and the data behind them.
--
-- What operations become is the instruction set's to say (s.isa, machine.lua tells what that is). s.texts, s.labels and
-- s.origins are there where the spelling is wanted: of each instruction, labels and the operation it comes from.
local program, types = require "program", require "types"
local code = {}

function code.begin(s, with_texts)
  s.code, s.n, s.fixups, s.sections, s.constants = {}, 0, {}, {}, {}
  if with_texts then s.texts, s.labels, s.origins = {}, {}, { "begin" } end
end

function code.put(s, bytes, text)
  local n = s.n + 1
  s.n, s.code[n] = n, bytes
  if s.texts then s.texts[n] = text end
end

-- What the instructions first .. last take.
function code.size(s, first, last)
  local size, bytes = 0, s.code
  for i = first, last do size = size + #bytes[i] end
  return size
end

-- The function of an operation that converts what is stored as another type.
local function converting(s, op, stored)
  local rows = s.isa.stored[stored]
  return rows and rows[op.op]
    or error(("program %s: %s has no %s of %s"):format(s.name, s.isa.emitted.name, op.op, stored), 0)
end

-- Operations in order. The function of one may have done some of those after it: it returns how many.
function code.block(s, ops)
  local operations, origins, i, last = s.isa.operations, s.origins, 1, #ops
  while i <= last do
    local op = ops[i]
    local stored = op.a and op.a.pointer.type ~= s.type and program.conversion(s.k, op)
    if origins then origins[s.n + 1] = op end
    if op.op ~= "comment" then
      local lower = stored and converting(s, op, stored) or operations[op.op]
      i = i + (lower(s, op, ops, i) or 0)
    end
    i = i + 1
  end
end

---- jumps -----------------------------------------------------------------------------------------------------------

local function label(s, item)
  s.labels[item] = s.labels[item] or (".L%s_%d"):format(s.name, item)
  return s.labels[item]
end

local function spelled(s, gnu, item) return s.texts and ("%s %s"):format(gnu, label(s, item)) end

-- A jump over what follows: begun here, encoded by land, when it is known how far.
function code.jump(s, name)
  code.put(s, "", "")
  return { item = s.n, name = name }
end

-- Lets it land behind an instruction, else behind the last one.
function code.land(s, jump, last)
  last = last or s.n
  local bytes, gnu = s.isa.jump(jump.name, code.size(s, jump.item + 1, last))
  s.code[jump.item] = bytes
  if s.texts then s.texts[jump.item] = spelled(s, gnu, last + 1) end
end

-- A jump back to an instruction.
function code.jump_back(s, name, item)
  local bytes, gnu = s.isa.jump(name, code.size(s, item, s.n), true)
  code.put(s, bytes, spelled(s, gnu, item))
end

---- the pool: data behind the code ----------------------------------------------------------------------------------

-- A section's entry of a key, whose bytes make(s, op) gives when it is asked for first. Where it will be is known at
-- the end.
function code.datum(s, section, key, make, op)
  local list = s.sections[section]
  if not list then
    list = { size = 0, known = {} }
    s.sections[section] = list
  end
  local entry = list.known[key]
  if not entry then
    local bytes = make(s, op)
    entry = { section = list, at = list.size }
    list.known[key], list.size, list[#list + 1] = entry, list.size + #bytes, bytes
  end
  return entry
end

-- The last instruction reads an entry of the pool; isa.fix will be given `how`.
function code.reads_pool(s, entry, how)
  s.fixups[#s.fixups + 1] = { item = s.n, entry = entry, how = how }
end

-- The sections that the instruction set names, then the program's constants.
local function gather_pool(s)
  local list, size = {}, 0
  for _, name in ipairs(s.isa.sections) do
    local section = s.sections[name] or { size = 0 }
    section.start, size = size, size + section.size
    table.move(section, 1, #section, #list + 1, list)
  end
  s.constants.start = size
  for _, value in ipairs(s.k.pool) do list[#list + 1] = types.pack(s.type, value) end
  return table.concat(list)
end

-- The program's constant of an index.
function code.constant(s, index) return { section = s.constants, at = (index - 1) * s.size } end

-- Puts the pool behind the code, aligned to 32 bytes, and its places into the instructions.
function code.finish(s)
  s.pool = gather_pool(s)
  s.length = code.size(s, 1, s.n)
  s.pool_at = (s.length + 31) // 32 * 32
  local position, done = 0, 0
  for _, fixup in ipairs(s.fixups) do
    position, done = position + code.size(s, done + 1, fixup.item), fixup.item
    local offset = fixup.entry.section.start + fixup.entry.at
    s.isa.fix(s, fixup, s.pool_at + offset - position, (".L%s_pool+%d"):format(s.name, offset))
  end
end

return code
