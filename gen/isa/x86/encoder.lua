-- encoder.lua: rows of instructions.lua -> bytes, and the GNU spelling of the same instruction.
--
-- form(name, type, bits) reads a row once; encode(form, ...) and text(form, ...) take the same operands:
--   reg   the register in ModRM.reg, or in the opcode        v     the register in vvvv
--   m     the register in ModRM.r/m; or memory, { base, disp, all }: base encoder.rip has disp from the end of the
--         instruction, all is one element for all lanes
--   mask  1..7: these lanes only; a destination register's others become 0, or stay where the row says merge
--   imm   an immediate, or a jump's distance from its end
-- Registers are numbers. Operands are not checked: what a row cannot do is the caller's to know. Knows nothing of
-- programs.
local types, rows = require "types", require "isa/x86/instructions"
local encoder = { rip = 16 }

local pack, char, type = string.pack, string.char, type
local rip = encoder.rip

-- What depends on the type of elements, by the marks of instructions.lua.
local marks = {
  f32 = { P = 0, S = 2, W = 0, step = 0, t = "s", p = "32x4", i = "d" },
  f64 = { P = 1, S = 3, W = 1, step = 1, t = "d", p = "64x2", i = "q" },
}
for name, t in pairs(marks) do t.size = types.bytes(name) end
local prefixes = { NP = 0, ["66"] = 1, F3 = 2, F2 = 3 }
local maps = { ["0F"] = 1, ["0F38"] = 2, ["0F3A"] = 3 }
local immediates = { ib = "<I1", id = "<I4", io = "<i8", cb = "<I1", cd = "<I4" }
local immediate_masks = { ib = 0xFF, id = 0xFFFFFFFF, cb = 0xFF, cd = 0xFFFFFFFF }

---- ModRM, SIB and displacement: what follows the prefixes, which are a number of 1 to 4 bytes ------------------------

local formats = {}
for length = 1, 4 do
  local head = ("<I%dBB"):format(length)
  formats[length] = { none = head, byte = head .. "b", word = head .. "i4",
    sib = head .. "B", sib_byte = head .. "Bb", sib_word = head .. "Bi4" }
end

-- n: the unit of a one-byte displacement.
local function memory(f, head, opcode, field, m, n)
  local base, disp = m.base, m.disp
  if base == rip then return pack(f.word, head, opcode, field | 5, disp) end
  local low = base & 7
  if disp == 0 and low ~= 5 then -- rbp and r13 without displacement mean something else
    if low == 4 then return pack(f.sib, head, opcode, field | 4, 0x24) end -- rsp and r12 need a SIB byte
    return pack(f.none, head, opcode, field | low)
  end
  if disp % n == 0 then
    local short = disp // n
    if short >= -128 and short <= 127 then
      if low == 4 then return pack(f.sib_byte, head, opcode, field | 0x44, 0x24, short) end
      return pack(f.byte, head, opcode, field | 0x40 | low, short)
    end
  end
  if low == 4 then return pack(f.sib_word, head, opcode, field | 0x84, 0x24, disp) end
  return pack(f.word, head, opcode, field | 0x80 | low, disp)
end

local function operand(f, head, opcode, reg, m, n)
  local field = (reg & 7) << 3
  if type(m) == "table" then return memory(f, head, opcode, field, m, n) end
  return pack(f.none, head, opcode, 0xC0 | field | m & 7)
end

---- VEX and EVEX ------------------------------------------------------------------------------------------------------

local one, two, three, four = table.unpack(formats)

-- Bits of registers are stored inverted: a prefix begins with ones there, and xor puts them right.
local function evex(f, reg, v, m, mask)
  local head, unit = f.evex ~ ((reg & 8) << 12 | (reg & 16) << 8), f.unit
  if v then head = head ~ ((v & 15) << 19 | (v & 16) << 23) end
  if mask then head = head | mask << 24 | (f.zeroing and 0x80000000 or 0) end
  if type(m) == "number" then
    head = head ~ (m & 24) << 10
  else
    head = head ~ (m.base & 8) << 10
    if m.all then head, unit = head | 0x10000000, f.size end
  end
  return operand(four, head, f.opcode, reg, m, unit)
end

local function vex(f, reg, v, m)
  local beyond = (type(m) == "table" and m.base or m) & 8
  if f.short and beyond == 0 then
    return operand(two, f.short ~ ((reg & 8) << 12 | (v or 0) << 11), f.opcode, reg, m, 1)
  end
  return operand(three, f.vex ~ ((reg & 8) << 12 | (v or 0) << 19 | beyond << 10), f.opcode, reg, m, 1)
end

-- What of registers alone was encoded once is known.
local function of_registers(f, reg, v, m)
  local key = reg | (v or 32) << 5 | m << 11
  local bytes = f.known[key]
  if not bytes then
    local wide = f.only_evex or reg > 15 or (v or 0) > 15 or m > 15
    bytes = (wide and evex or vex)(f, reg, v, m)
    f.known[key] = bytes
  end
  return bytes
end

local function vector(f, reg, v, m, mask, imm)
  local bytes
  if mask then bytes = evex(f, reg, v, m, mask)
  elseif type(m) == "number" then bytes = of_registers(f, reg, v, m)
  else
    local wide = f.only_evex or m.all or reg > 15 or (v or 0) > 15
    bytes = (wide and evex or vex)(f, reg, v, m)
  end
  return imm and bytes .. char(imm) or bytes
end

local function read_vector(f, row, t, bits)
  local code = "^(E?VEX)%.(%w+)%.(%w+)%.(%w+)%.(%w+) (%x%x)(%+?t?)(.*)$"
  local space, l, p, map, w, opcode, step, rest = row.code:match(code)
  local length = l == "L" and bits or l == "LIG" and 128 or math.tointeger(l)
  local pp, ll = prefixes[p] or t[p:sub(1, 1)], length // 256 -- 128, 256, 512 are 0, 1, 2
  local w_evex = (w == "Wt" or w == "WIGt") and t.W or 0
  local w_vex = w == "Wt" and t.W or 0
  f.opcode = tonumber(opcode, 16) + (step == "+t" and t.step or 0)
  f.size = t.size
  f.unit = row.tuple == "one" and t.size or row.tuple == "part" and 16 or length // 8
  f.only_evex = space == "EVEX" or length == 512
  f.zeroing = row.op:sub(1, 1) == "R" and not row.merge
  f.letter = l == "LIG" and "x" or ({ "x", "y", "z" })[ll + 1]
  f.lanes = length // 8 // t.size
  f.evex = 0x62 | (0xF0 | maps[map]) << 8 | (w_evex << 7 | 0x7C | pp) << 16 | (ll << 5 | 0x08) << 24
  f.vex = 0xC4 | (0xE0 | maps[map]) << 8 | (w_vex << 7 | 0x78 | ll << 2 | pp) << 16
  if map == "0F" and w_vex == 0 then f.short = 0xC5 | (0xF8 | ll << 2 | pp) << 8 end
  if rest == "" then -- no operands
    local bytes = pack("<I2B", f.short, f.opcode)
    f.encode = function() return bytes end
  else
    f.known, f.encode = {}, vector
  end
end

---- instructions without VEX ------------------------------------------------------------------------------------------

local function read_code(text)
  local c = { bytes = {}, text = text }
  for word in text:gmatch "%S+" do
    if word == "REX.W" then c.rex = 0x48
    elseif word:sub(1, 1) == "/" then c.modrm, c.digit = true, math.tointeger(word:sub(2))
    elseif immediates[word] then c.immediate, c.mask = immediates[word], immediate_masks[word]
    else
      local hex, plus = word:match "^(%x%x)(.*)$"
      c.bytes[#c.bytes + 1] = tonumber(hex, 16)
      c.in_opcode = plus == "+rd"
    end
  end
  c.opcode = c.bytes[#c.bytes]
  return c
end

local function with_modrm(c, reg, m)
  reg = c.digit or reg
  local rex = (c.rex or 0x40) | (reg & 8) >> 1 | ((type(m) == "table" and m.base or m) & 8) >> 3
  if c.rex then return operand(one, rex, c.opcode, reg, m, 1) end
  if rex == 0x40 then return operand(one, c.bytes[1], c.opcode, reg, m, 1) end
  return operand(two, rex | c.bytes[1] << 8, c.opcode, reg, m, 1)
end

local function without_modrm(c, reg)
  local rex = (c.rex or 0) | (c.in_opcode and reg > 7 and 0x41 or 0)
  local opcode = (rex > 0 and char(rex) or "") .. char(table.unpack(c.bytes))
  return c.in_opcode and opcode:sub(1, -2) .. char(c.opcode | reg & 7) or opcode
end

local function legacy(f, reg, _, m, _, imm)
  local c = f.codes[1]
  if f.codes[2] and (imm > 127 or imm < -128) then c = f.codes[2] end
  local bytes = c.modrm and with_modrm(c, reg or 0, m) or without_modrm(c, reg)
  if not c.immediate then return bytes end
  return bytes .. pack(c.immediate, c.mask and imm & c.mask or imm)
end

local function read_legacy(f, row)
  local codes = type(row.code) == "table" and row.code or { row.code }
  f.codes, f.encode = {}, legacy
  for i, text in ipairs(codes) do f.codes[i] = read_code(text) end
end

---- forms -------------------------------------------------------------------------------------------------------------

-- By bits, type and name: kernels ask for forms as often as for instructions.
local known = {}

local function forms_known(type_name, bits)
  local of_bits = known[bits] or {}
  known[bits] = of_bits
  local forms = of_bits[type_name] or {}
  of_bits[type_name] = forms
  return forms
end

-- The instruction of a row for elements of a type and vectors of so many bits (neither matters to integer
-- instructions).
function encoder.form(name, type_name, bits)
  local forms = forms_known(type_name or "", bits or 0)
  if forms[name] then return forms[name] end
  local row, t = rows[name], marks[type_name or "f32"]
  local f = { name = name, row = row, gnu = (row.gnu:gsub("%%(%l)", t)) }
  if type(row.code) == "string" and row.code:find "^E?VEX" then read_vector(f, row, t, bits)
  else read_legacy(f, row) end
  forms[name] = f
  return f
end

-- Of pointers and counts: forms by name.
encoder.integers = setmetatable({}, { __index = function(forms, name)
  forms[name] = encoder.form(name)
  return forms[name]
end })

-- The type that a shorter vector of so many bytes holds one element of.
encoder.element = {}
for name, t in pairs(marks) do encoder.element[t.size] = name end

function encoder.encode(f, ...) return f.encode(f, ...) end

---- the GNU spelling --------------------------------------------------------------------------------------------------

local names64 = { [0] = "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
  "r14", "r15", [rip] = "rip" }
local names32 = { [0] = "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi" }

local function register(f, n, class)
  if class == "k" then return "%k" .. n end
  if class == "r32" then return "%" .. (names32[n] or names64[n] .. "d") end
  if f.letter then return ("%%%smm%d"):format(f.letter, n) end
  return "%" .. names64[n]
end

local function memory_text(f, m)
  local disp = m.disp == 0 and m.base ~= rip and "" or tostring(m.disp)
  return ("%s(%%%s)%s"):format(disp, names64[m.base], m.all and ("{1to%d}"):format(f.lanes) or "")
end

-- Operands in the order of op, which is the manual's: destination first; GNU wants it last. A jump's imm may be a
-- label.
local spell = {
  R = function(f, reg) return register(f, reg, f.row.r) end,
  V = function(f, _, v) return register(f, v) end,
  M = function(f, _, _, m) return type(m) == "table" and memory_text(f, m) or register(f, m, f.row.m) end,
  O = function(f, reg) return register(f, reg, f.row.m) end,
  I = function(_, _, _, _, imm) return ("$%d"):format(imm) end,
  D = function(_, _, _, _, imm) return tostring(imm) end,
}

function encoder.text(f, reg, v, m, mask, imm)
  local list, op = {}, f.row.op == "ZO" and "" or f.row.op
  for letter in op:gmatch "." do table.insert(list, 1, spell[letter](f, reg, v, m, imm)) end
  if mask then list[#list] = ("%s{%%k%d}%s"):format(list[#list], mask, f.zeroing and "{z}" or "") end
  if op == "I" then list[2] = "%al" end
  return #list == 0 and f.gnu or ("%s %s"):format(f.gnu, table.concat(list, ", "))
end

return encoder
