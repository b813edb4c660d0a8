-- The oracle of the encoder: every row and operand shape with random operands, and the edges of every displacement, as GNU as
-- encodes the same instruction's spelling. Without as and objdump there is no oracle, and only a few fixed codes are checked.
local suite = require "suite"
local encoder, rows = require "isa/x86/encoder", require "isa/x86/instructions"

local seed = math.tointeger(tonumber(os.getenv "CONVGEN_SEED")) or os.time()
math.randomseed(seed)
local random = math.random
local per_row = 200 -- in each type and width

---- operands ------------------------------------------------------------------------------------------------------------------
local edges = { 0, 1, -1, 4, 8, 16, 64, 127, 128, -128, -129, 508, 512, -512, -516, 1016, 1024, -1024, 2032, 2048, -2048, 4064, 4096,
  8128, 8129, 8192, -8192, -8193, -8256, 0x7FFFFFFF, -0x80000000 }
local function any_disp()
  local kind = random(4)
  if kind == 1 then return edges[random(#edges)] end
  if kind == 2 then return random(-130, 130) * (1 << random(0, 6)) end
  return kind == 3 and random(-200, 200) or random(-0x80000000, 0x7FFFFFFF)
end

local immediates = {
  ib = function() return random(0, 127) end,
  id = function() return random(0, 0x7FFFFFFF) end,
  io = function() return random(0x100000000, math.maxinteger) end,
  both = function() return random(2) == 1 and random(-128, 127) or random(2) == 1 and random(128, 1000) or random(-0x80000000, -129) end,
  -- As counts a jump from the end of the shorter form: what only that one reaches (-132 to -129, up to four bytes nearer) is never drawn.
  jump = function()
    if random(2) == 1 then return random(2) == 1 and random(0, 127) or random(-128, -1) end
    return random(2) == 1 and random(128, 100000) or random(-100000, -133)
  end,
}
local function immediate(row)
  if row.op == "D" then return immediates.jump() end
  if type(row.code) == "table" then return immediates.both() end
  local kind = row.code:match "i[bdo]$"
  return kind and immediates[kind]()
end

-- Which registers there are in a row, whether its M may be memory or a register, masks and embedded elements.
local function set(words)
  local names = {}
  for word in words:gmatch "%S+" do names[word] = true end
  return names
end
local memory_only = set [[load store load_mask store_mask load_one store_one stream broadcast broadcast_over insert extract insert128 extract128
  prefetch1 prefetch2 prefetch3 read write address plus_read]]
local register_only = set "mask_lanes move copy plus_reg test shift both set_mask shift_up shift_down"
local embedded = set "fma fnma fma_over fnma_over add sub mul max min div band bor bxor"
local maskable = set "broadcast_over load store fma fnma fma_over fnma_over"

local function operands(name, row, bits)
  local is_vector = type(row.code) == "string" and row.code:find "^E?VEX"
  local top = is_vector and (row.low and 15 or (random(2) == 1 and 31 or 15)) or 15
  local o = { reg = random(0, top), imm = immediate(row) }
  if row.op == "VMI" then o.reg = tonumber(row.code:match "/(%d)") end -- of the opcode
  if row.r == "k" then o.reg = random(1, 7) end
  if row.op:find "V" then o.v = random(0, top) end
  if register_only[name] or (not memory_only[name] and random(3) == 1) then
    o.m = random(0, row.m == "k" and 7 or row.m and 15 or top)
  else
    o.m = { base = random(0, encoder.rip), disp = any_disp() }
    o.m.all = embedded[name] and bits == 512 and random(2) == 1 or nil
  end
  if maskable[name] and bits == 512 and random(2) == 1 then o.mask = random(1, 7) end
  return o
end

local function unpacked(o) return o.reg, o.v, o.m, o.mask, o.imm end

---- the oracle ------------------------------------------------------------------------------------------------------------------
local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x "):format(c:byte()) end)) end

-- What as writes one byte shorter, by name: the sources of a commutative instruction exchanged, or a move turned round, so that
-- VEX needs two bytes; an immediate added to rax; a shift by one.
local shorter = { add = true, mul = true, add_one = true, mul_one = true, zero = true, move = true, plus = true, minus = true, shift = true }

local function assemble(texts)
  local stem = os.tmpname()
  local f = assert(io.open(stem .. ".s", "w"))
  f:write(table.concat(texts, "\n"), "\n")
  f:close()
  assert(os.execute(("as -o %s.o %s.s"):format(stem, stem)), "as refused the text")
  local pipe = assert(io.popen(("objdump -d -w --insn-width=16 %s.o"):format(stem)))
  local list = {}
  for line in pipe:lines() do
    local bytes = line:match "^%s*%x+:\t([%x ]+)"
    if bytes then list[#list + 1] = bytes:gsub("%s+$", "") .. " " end
  end
  pipe:close()
  for _, ending in ipairs { "", ".s", ".o" } do os.remove(stem .. ending) end
  return list
end

local names = {} -- in one order, so that a seed draws the same operands again
for name in pairs(rows) do names[#names + 1] = name end
table.sort(names)

local function each_form(visit)
  for _, name in ipairs(names) do
    local row = rows[name]
    local vector = type(row.code) == "string" and row.code:find "%.L%."
    local typed = type(row.code) == "string" and row.code:find "^E?VEX" and not row.gnu:find "vxorps" and not row.gnu:find "vshufps"
      and name ~= "permute"
    for _, type_ in ipairs(typed and { "f32", "f64" } or { "f32" }) do
      for _, bits in ipairs(vector and { 128, 256, 512 } or { 128 }) do
        local impossible = (row.low and bits == 512) or (row.tuple == "part" and bits == 128)
          or (name == "permute" and bits == 128) or (name:find "^broadcast" and type_ == "f64" and bits == 128)
        if not impossible then visit(name, row, type_, bits) end
      end
    end
  end
end

suite.case(("every row as GNU as has it (CONVGEN_SEED=%d)"):format(seed), function()
  if not os.execute "command -v as >/dev/null 2>&1 && command -v objdump >/dev/null 2>&1" then return end
  local texts, expected, about = {}, {}, {}
  each_form(function(name, row, type_, bits)
    local form = encoder.form(name, type_, bits)
    for _ = 1, row.op == "ZO" and 1 or per_row do
      local o = operands(name, row, bits)
      local bytes = encoder.encode(form, unpacked(o))
      if row.op == "D" then o.imm = ".+" .. o.imm + #bytes end
      texts[#texts + 1] = encoder.text(form, unpacked(o))
      expected[#expected + 1], about[#about + 1] = hex(bytes), name
    end
  end)
  local got = assemble(texts)
  suite.equal(#got, #expected)
  local wrong = {}
  for i, bytes in ipairs(got) do
    if bytes ~= expected[i] and not (shorter[about[i]] and #bytes == #expected[i] - 3) then
      wrong[#wrong + 1] = ("%s: %s, as has %s: %s"):format(about[i], expected[i], bytes, texts[i])
    end
  end
  if #wrong == 0 then return end
  error(("%d of %d differ (CONVGEN_SEED=%d)\n%s"):format(#wrong, #got, seed, table.concat(wrong, "\n", 1, math.min(#wrong, 40))), 0)
end)

suite.case("fixed codes", function()
  local function check(expected, name, type_, bits, ...)
    suite.equal(hex(encoder.encode(encoder.form(name, type_, bits), ...)), expected .. " ")
  end
  check("c4 e2 75 b8 c2", "fma", "f32", 256, 0, 1, 2)
  check("62 f2 75 58 b8 40 01", "fma", "f32", 512, 0, 1, { base = 0, disp = 4, all = true })
  check("62 61 7c c9 10 4c 24 01", "load", "f32", 512, 25, nil, { base = 4, disp = 64 }, 1)
  check("c5 f8 77", "clean", "f32", 128)
  check("75 fe", "jump_ne", nil, nil, nil, nil, nil, nil, -2)
end)

return suite.failures()
