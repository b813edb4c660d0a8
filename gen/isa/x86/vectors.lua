-- vectors.lua: operations on vectors, and on one element where the target has no vectors.
--
-- Ranges of lanes: what begins in lane 0 and is as long as a shorter vector or one element is that; else AVX-512 has
-- mask registers, and AVX2 masked moves, whose masks are in the pool, and blends.
local code, encoder, pointers = require "lower/code", require "isa/x86/encoder", require "isa/x86/pointers"
local places = require "lower/places"
local vectors = {}

local integer, at, address = pointers.integer, pointers.at, pointers.address
local from_pool, all_from_pool = { base = encoder.rip, disp = 0 }, { base = encoder.rip, disp = 0, all = true }

local function put(s, form, reg, v, m, mask)
  local n = s.n + 1
  s.n, s.code[n] = n, form.encode(form, reg, v, m, mask)
  if s.texts then s.texts[n] = encoder.text(form, reg, v, m, mask) end
end

-- An instruction with an immediate.
local function put_imm(s, form, reg, v, m, imm)
  code.put(s, form.encode(form, reg, v, m, nil, imm), s.texts and encoder.text(form, reg, v, m, nil, imm))
end

-- One that reads an entry of the pool.
local function pooled(s, form, reg, entry, v, all)
  code.put(s, form.encode(form, reg, v, all and all_from_pool or from_pool))
  code.reads_pool(s, entry, { form = form, reg = reg, v = v, all = all })
end

---- forms -----------------------------------------------------------------------------------------------------------

-- Where the name of a form is not that of its row: by what, and how wide, if not as wide as the others.
local special = {
  zero_low = function(f) return encoder.form("zero", f.type, 128) end,
  store128 = function(f) return encoder.form("store", f.type, 128) end,
  permute = function(f) return encoder.form("permute", "f32", f.bits) end,
  insert = function(f) return encoder.form(f.bits == 512 and "insert" or "insert128", f.type, f.bits) end,
  muladd = function(f) return encoder.form("fma_over", f.type, f.bits) end,
  shift = function(f) return encoder.form("shift_up", f.type, f.bits) end,
  down = function(f) return encoder.form("shift_down", f.type, f.bits) end,
  extract = function(f) return encoder.form(f.bits == 512 and "extract" or "extract128", f.type, f.bits) end,
}
local one_element = { broadcast = "load_one", zero = "zero", zero_low = "zero", move = "move", muladd = "fma_over_one",
  band = "band", bor = "bor", bxor = "bxor", shift = "shift_up", down = "shift_down" }

-- Read when they are asked for first.
local function new_forms(type_name, target)
  local f = { type = type_name, bits = math.max(target.bits, 128) }
  return setmetatable(f, { __index = function(_, name)
    local form
    if target.bits == 0 then form = encoder.form(one_element[name] or name .. "_one", type_name, 128)
    elseif special[name] then form = special[name](f)
    else form = encoder.form(name, type_name, f.bits) end
    f[name] = form
    return form
  end })
end

local known = {}

function vectors.forms(type_name, target)
  known[target] = known[target] or {}
  known[target][type_name] = known[target][type_name] or new_forms(type_name, target)
  return known[target][type_name]
end

---- ranges of lanes -------------------------------------------------------------------------------------------------

-- A form of a load or store for a range that begins in lane 0 and is as long as a shorter vector or one element.
local function shorter(s, op, name)
  if op.first ~= 0 then return end
  local bytes = op.count * s.size
  local element = encoder.element[bytes]
  if element then return encoder.form(name .. "_one", element, 128) end
  if bytes == 16 or bytes == 32 then return encoder.form(name, s.type, bytes * 8) end
end

local function bits(range) return ((1 << range.count) - 1) << range.first end

-- The heaviest ranges have mask registers for the whole kernel; where there are more than 7, the seventh serves the
-- others. (No shorter vector does what a mask does for sums.)
function vectors.give_masks(s)
  local list = {}
  s.masks = {}
  if not s.target.mask_registers then return end
  for _, range in ipairs(s.ranges_in_order) do
    if range.sums or not shorter(s, range, "load") then list[#list + 1] = range end
  end
  list = places.by_weight(list)
  for i = 1, #list <= 7 and #list or 6 do s.masks[i], list[i].register = list[i], i end
end

function vectors.set_masks(s)
  for i, range in ipairs(s.masks) do
    pointers.set(s, pointers.rax, bits(range))
    integer(s, "set_mask", i, pointers.rax)
  end
end

-- The mask register of a range; the one for what found no room is set where it is needed.
local function mask_of(s, op)
  local range = s.ranges[op.first << 8 | op.count]
  if range.register then return range.register end
  if s.spare_mask ~= range then
    pointers.set_rax(s, bits(range))
    integer(s, "set_mask", 7, pointers.rax)
    s.spare_mask = range
  end
  return 7
end

-- 32 bytes, whatever the vector.
local function mask_bytes(s, op)
  local before, after = op.first * s.size, 32 - (op.first + op.count) * s.size
  return ("\0"):rep(before) .. ("\xFF"):rep(op.count * s.size) .. ("\0"):rep(after)
end

local function mask_in_pool(s, op) return code.datum(s, "masks", op.first << 8 | op.count, mask_bytes, op) end

---- moves -----------------------------------------------------------------------------------------------------------

-- A load or a store of a register. (The mask of what is loaded can be in its destination.)
local function transfer(s, op, name, reg)
  local f = s.forms
  if not op.count then return put(s, f[name], reg, nil, address(s, op.a)) end
  local form = shorter(s, op, name)
  if form then return put(s, form, reg, nil, address(s, op.a)) end
  if s.target.mask_registers then
    local mask = mask_of(s, op)
    return put(s, f[name], reg, nil, address(s, op.a), mask)
  end
  local mask = name == "load" and reg or s.temporary
  pooled(s, f.load, mask, mask_in_pool(s, op))
  put(s, f[name .. "_mask"], reg, mask, address(s, op.a))
end

local function load(s, op) transfer(s, op, "load", s.map[op.d]) end
local function store(s, op) transfer(s, op, "store", s.map[op.x]) end

-- The numbers of the 32-bit words that a spread takes: what lies beyond a vector no lane that counts asks for.
local function spread_words(s, op)
  local list, words, all = {}, s.size // 4, s.target.bits // 32
  for word = 0, all - 1 do
    local from = (word // words + op.phase) // op.times * (op.step or 1) + (op.skip or 0)
    list[word + 1] = string.pack("<I4", (from * words + word % words) % all)
  end
  return table.concat(list)
end

-- What a spread within parts takes of each: two bits for each of four elements, or one for each of all.
local function spread_within(s, op)
  local imm, part = 0, s.k.part
  for lane = 0, part == 4 and 3 or s.k.lanes - 1 do
    imm = imm | (lane % part // op.times * op.times + op.skip) << (part // 2 * lane)
  end
  return imm
end

local function spread(s, op)
  local d = s.map[op.d]
  if op.within then return put_imm(s, s.forms.permute_within, d, nil, address(s, op.a), spread_within(s, op)) end
  load(s, op)
  local key = ((op.step or 1) << 8 | (op.skip or 0)) << 32 | op.times << 16 | op.phase
  pooled(s, s.forms.load, s.temporary, code.datum(s, "words", key, spread_words, op))
  put(s, s.forms.permute, d, s.temporary, d)
end

-- How many of those from the i-th on stream through the same pointer, whole vectors apart.
local function neighbours(s, block, i)
  local a, n = block[i].a, 1
  while true do
    local other = block[i + n]
    if not other or other.op ~= "stream" or other.a.pointer ~= a.pointer or (other.a.offset - a.offset) % s.k.lanes ~= 0
      or not pointers.fits(other.a.offset * s.size) then return n end
    n = n + 1
  end
end

-- Streaming stores want aligned memory; else they are stores. Neighbours are tested together.
local function stream(s, op, block, i)
  if s.k.lanes == 1 then return store(s, op) end
  local n, rax = neighbours(s, block, i), pointers.rax
  integer(s, "address", rax, address(s, op.a))
  s.held = nil
  integer(s, "test_low", nil, nil, s.k.lanes * s.size - 1)
  local function all(form)
    for j = i, i + n - 1 do
      put(s, form, s.map[block[j].x], nil, at(s, rax, (block[j].a.offset - op.a.offset) * s.size))
    end
  end
  local to_stores = code.jump(s, "jump_ne")
  all(s.forms.stream)
  local to_end = code.jump(s, "jump")
  local stores = s.n
  all(s.forms.store)
  code.land(s, to_end)
  code.land(s, to_stores, stores)
  return n - 1
end

local function broadcast(s, op) put(s, s.forms.broadcast, s.map[op.d], nil, address(s, op.a)) end

local function patch(s, op)
  local f, d = s.forms, s.map[op.d]
  if s.target.mask_registers then
    local mask = mask_of(s, op) -- may take the register that an address is in
    return put(s, f.broadcast_over, d, nil, address(s, op.a), mask)
  end
  put(s, f.broadcast, s.temporary, nil, address(s, op.a))
  put_imm(s, f.blend, d, d, s.temporary, bits(op))
end

local function zero(s, op)
  local d = s.map[op.d]
  put(s, d > 15 and s.forms.zero or s.forms.zero_low, d, d, d) -- either clears all of it; the low one is shorter
end

local function constant(s, op) pooled(s, s.forms.broadcast, s.map[op.d], code.constant(s, op.index)) end

local function move(s, op)
  local d, x = s.map[op.d], s.map[op.x]
  if d ~= x then put(s, s.forms.move, d, nil, x) end
end

local function spill(s, op) put(s, s.forms.store, s.map[op.x], nil, pointers.on_stack(s, op.slot)) end
local function fill(s, op) put(s, s.forms.load, s.map[op.d], nil, pointers.on_stack(s, op.slot)) end

---- arithmetic ------------------------------------------------------------------------------------------------------

-- Only the lanes of a range: all of them beside d, of which a blend takes those. Bits of its immediate are lanes.
local function blended(s, op)
  local f, d, t, y = s.forms, s.map[op.d], s.temporary, op.y
  if y.kind == "register" then put(s, f.move, t, nil, s.map[y])
  else put(s, y.all and f.broadcast or f.load, t, nil, address(s, y.address)) end
  put(s, f[op.op .. "_over"], t, s.map[op.x], d)
  put_imm(s, f.blend, d, d, t, bits(op))
end

local function arithmetic(s, op)
  if op.count and not s.target.mask_registers then return blended(s, op) end
  local form, d, x, y, mask = s.forms[op.op], s.map[op.d], s.map[op.x], op.y, op.count and mask_of(s, op)
  if y.kind == "register" then return put(s, form, d, x, s.map[y], mask) end
  if y.value then return pooled(s, form, d, code.constant(s, y.index), x, true) end
  local m = address(s, y.address)
  if not y.all or s.k.lanes == 1 then return put(s, form, d, x, m, mask) end
  if s.target.broadcast_operand then
    m.all = true
    return put(s, form, d, x, m, mask)
  end
  put(s, s.forms.broadcast, s.temporary, nil, m)
  put(s, form, d, x, s.temporary)
end

local function shift(s, op) put_imm(s, s.forms.shift, 6, s.map[op.d], s.map[op.x], op.bits) end -- 6: of the opcode
local function down(s, op) put_imm(s, s.forms.down, 2, s.map[op.d], s.map[op.x], op.bits) end

local function sqrt(s, op)
  local d, x = s.map[op.d], s.map[op.x]
  put(s, s.forms.sqrt, d, s.k.lanes == 1 and x or nil, x) -- of one element: with the rest of x
end

-- The mask is k0, which no range has.
local function greater(s, op)
  local f, d, x, y = s.forms, s.map[op.d], s.map[op.x], s.map[op.y]
  if not s.target.mask_registers then return put_imm(s, f.greater, d, x, y, 30) end
  put_imm(s, f.greater_mask, 0, x, y, 30)
  put(s, f.mask_lanes, d, nil, 0)
end

---- parts of 128 bits -----------------------------------------------------------------------------------------------

local function insert(s, op)
  local d = s.map[op.d]
  put_imm(s, s.forms.insert, d, d, address(s, op.a), op.part)
end

local function extract(s, op)
  local x, m = s.map[op.x], address(s, op.a)
  if op.part == 0 then return put(s, s.forms.store128, x, nil, m) end
  put_imm(s, s.forms.extract, x, nil, m, op.part)
end

-- With one register beside those of the group.
local function transpose(s, op)
  local f, t, r = s.forms, s.temporary, {}
  for i, v in ipairs(op.group) do r[i] = s.map[v] end
  local a, b, c, d = table.unpack(r)
  put(s, f.unpack_low, t, a, b)
  put(s, f.unpack_high, b, a, b)
  if not c then return put(s, f.move, a, nil, t) end
  put(s, f.unpack_low, a, c, d)
  put(s, f.unpack_high, d, c, d)
  put_imm(s, f.shuffle, c, b, d, 0x44)
  put_imm(s, f.shuffle, d, b, d, 0xEE)
  put_imm(s, f.shuffle, b, t, a, 0xEE)
  put_imm(s, f.shuffle, a, t, a, 0x44)
end

-- One row an operation: its function, which takes the form of the operation's name where it does not say more.
vectors.operations = {
  zero = zero, constant = constant, load = load, spread = spread, store = store, stream = stream, broadcast = broadcast,
  patch = patch,
  fma = arithmetic, fnma = arithmetic, add = arithmetic, sub = arithmetic, mul = arithmetic, max = arithmetic,
  min = arithmetic, move = move, insert = insert, extract = extract, transpose = transpose, spill = spill, fill = fill,
  div = arithmetic, muladd = arithmetic, band = arithmetic, bor = arithmetic, bxor = arithmetic, shift = shift,
  down = down, sqrt = sqrt, greater = greater,
}

---- what is stored as another type: one f32 for an f64 ----------------------------------------------------------------

local function one(s, name)
  if s.k.lanes > 1 then error(("program %s: vectors of %s are not converted"):format(s.name, s.type), 0) end
  return encoder.form(name, "f32", 128)
end

local function widened(s, op) put(s, one(s, "widen_one"), s.map[op.d], s.map[op.d], address(s, op.a)) end

local function narrowed(s, op)
  put(s, one(s, "narrow_one"), s.temporary, s.map[op.x], s.map[op.x])
  put(s, one(s, "store_one"), s.temporary, nil, address(s, op.a))
end

vectors.stored = { f32 = { load = widened, broadcast = widened, store = narrowed } }

-- A reader of the pool knows how far it is now.
function vectors.fix(s, fixup, distance, symbol)
  local how, n = fixup.how, fixup.item
  local function pool(disp) return { base = encoder.rip, disp = disp, all = how.all } end
  s.code[n] = how.form.encode(how.form, how.reg, how.v, pool(distance))
  if s.texts then s.texts[n] = encoder.text(how.form, how.reg, how.v, pool(symbol)) end
end

return vectors
