-- machine.lua: kernel programs as AVX-512 and AVX2 instructions.
--
-- kernel(k) gives C text: a prototype, and a top-level asm block of data that any C compiler takes, libtcc too, which
-- knows no AVX.
-- mnemonics(k) gives the same block as GNU assembly, listing(k) each instruction beside the operation it comes from. A
-- kernel is called as System V has it: pointers and counts in rdi, rsi, rdx, rcx, r8, r9, then on the stack. rax is
-- never given to a variable. Programs of the scalar target become scalar VEX instructions, for any target here has
-- them.
local program, registers = require "program", require "registers"
local types, encoder = require "types", require "isa/x86/encoder"
local machine = {}

local rax, rsp, rip = 0, 4, encoder.rip
local incoming = { 7, 6, 2, 1, 8, 9 } -- rdi rsi rdx rcx r8 r9
local general = { 7, 6, 2, 1, 8, 9, 10, 11, 3, 5, 12, 13, 14, 15 }
local callee_saves = { [3] = true, [5] = true, [12] = true, [13] = true, [14] = true, [15] = true }

local formats = { f32 = "<f", f64 = "<d" }

---- where pointers and counts live ------------------------------------------------------------------------------------

-- Lifetimes of arguments, pointer variables and loop counters (known by their loop operation), in positions; and which
-- ranges of lanes occur. What is used in loops weighs more.
local function survey(k)
  local s = { position = 0, weight = 1, spans = {}, order = {}, loops = {}, ranges = {}, ranges_in_order = {} }
  local function touch(thing, weight)
    local span = s.spans[thing]
    if not span then
      span = { thing = thing, first = s.position, weight = 0 }
      s.spans[thing] = span
      s.order[#s.order + 1] = span
    end
    span.last, span.weight = s.position, span.weight + weight
  end
  -- In all the fields that can hold one: program.reads would cost as much as the encoding.
  local function touch_pointers(op)
    local a, y = op.a, op.y
    if a then touch(a.pointer, s.weight) end
    if y and y.address then touch(y.address.pointer, s.weight) end
    if op.from then touch(op.from, s.weight) end
    if op.tab then touch(op.tab, s.weight) end
    if op.p then touch(op.p, s.weight) end
  end
  local function touch_range(op)
    local key = op.first << 8 | op.count
    local range = s.ranges[key]
    if not range then
      range = { first = op.first, count = op.count, weight = 0 }
      s.ranges[key] = range
      table.insert(s.ranges_in_order, range)
    end
    range.weight = range.weight + s.weight
    range.sums = range.sums or op.op == "fma" or op.op == "fnma" -- no shorter vector does what a mask does for them
  end
  local walk
  local function walk_loop(op)
    if op.count == 0 then return end
    if op.count == 1 then return walk(op.body) end
    if type(op.count) == "table" then touch(op.count, s.weight) end
    touch(op, s.weight * 8)
    local loop = { first = s.position }
    s.loops[#s.loops + 1] = loop
    s.weight = s.weight * 8
    walk(op.body)
    s.weight, s.position = s.weight // 8, s.position + 1
    loop.last = s.position
    s.spans[op].last = s.position
  end
  function walk(block)
    for _, op in ipairs(block) do
      s.position = s.position + 1
      if op.op == "loop" then walk_loop(op) else
        if op.count then touch_range(op) end
        touch_pointers(op)
        if op.from then s.spans[op.p].from = op.from end
      end
    end
  end
  for _, a in ipairs(k.args) do if k.used[a] then touch(a, 0) end end
  walk(k.body)
  for _, span in ipairs(s.order) do
    span.last = math.max(span.last, span.first + 1) -- even what nobody reads is written somewhere
    for _, loop in ipairs(s.loops) do
      if span.first < loop.first and span.last > loop.first and span.last < loop.last then span.last = loop.last end
    end
  end
  return s
end

-- Where among spans, which do not overlap and stand in order, those begin that end behind `at`.
local function first_behind(list, at)
  local low, high = 1, #list + 1
  while low < high do
    local middle = (low + high) // 2
    if list[middle].last > at then high = middle else low = middle + 1 end
  end
  return low
end

local function free_register(taken, span, n)
  local other = taken[n][first_behind(taken[n], span.first)]
  return not (other and other.first < span.last)
end

-- The heaviest choose first: the register they come from, else one that is nobody's, else any; who finds none lives on
-- the stack.
local function place(k, spans)
  local register, on_stack, hint, taken, arriving, by_weight = {}, {}, {}, {}, {}, { table.unpack(spans) }
  for i, a in ipairs(k.args) do hint[a] = incoming[i] end
  for _, n in ipairs(general) do taken[n], arriving[n] = {}, {} end
  for i, span in ipairs(spans) do
    span.rank = i
    if hint[span.thing] then arriving[hint[span.thing]][1] = span end
  end
  table.sort(by_weight, function(a, b) return a.weight > b.weight or (a.weight == b.weight and a.rank < b.rank) end)
  local function take(span, n)
    table.insert(taken[n], first_behind(taken[n], span.first), span)
    register[span.thing] = n
  end
  local function free(span, n, also)
    return free_register(taken, span, n) and (not also or free_register(also, span, n)) and n
  end
  local function first_free(span, also)
    for _, n in ipairs(general) do
      if free(span, n, also) then return n end
    end
  end
  for _, span in ipairs(by_weight) do
    local own, from = hint[span.thing], span.thing.op == "loop" and span.thing.count or span.from
    local source = from and (register[from] or hint[from])
    local n = own and free(span, own) or source and free(span, source, arriving) or first_free(span, arriving)
      or first_free(span)
    if n then take(span, n) else on_stack[#on_stack + 1] = span.thing end
  end
  return register, on_stack
end

---- emission ----------------------------------------------------------------------------------------------------------

local function put(s, bytes, text)
  local n = s.n + 1
  s.n, s.code[n] = n, bytes
  if s.texts then s.texts[n] = text end
end

local function vector(s, form, reg, v, rm, base, disp, mask, all, imm)
  put(s, form.encode(form, reg, v, rm, base, disp, mask, all, imm),
    s.texts and encoder.text(form, reg, v, rm, base, disp, mask, all, imm))
end

local function integer(s, name, reg, rm, base, disp, imm)
  vector(s, encoder.form(name), reg, nil, rm, base, disp, nil, nil, imm)
end

-- A load or broadcast from the pool: `where(s)` gives the offset there once the pool is known.
local function pooled(s, form, reg, where)
  put(s, form.encode(form, reg, nil, nil, rip, 0))
  s.fixups[#s.fixups + 1] = { item = s.n, where = where, form = form, reg = reg }
end

local function fits(x) return x >= -0x80000000 and x <= 0x7FFFFFFF end

-- rax keeps what was last read from the stack into it, until something else needs it.
local function read_spilled(s, thing)
  if s.held ~= thing then integer(s, "read", rax, nil, rsp, s.slot[thing]) end
  s.held = thing
  return rax
end

local function in_register(s, thing) return s.register[thing] or read_spilled(s, thing) end

local function set(s, register, value)
  if value >= 0 and value <= 0xFFFFFFFF then integer(s, "set", register, nil, nil, nil, value)
  else integer(s, "set_wide", register, nil, nil, nil, value) end
end

-- register += the value of a variable
local function plus(s, register, thing)
  if s.register[thing] then integer(s, "plus_reg", s.register[thing], register)
  else integer(s, "plus_read", register, nil, rsp, s.slot[thing]) end
end

local function far(s, thing, disp)
  s.held = nil
  set(s, rax, disp)
  plus(s, rax, thing)
  return rax, 0
end

-- Base and displacement of an address.
local function address(s, a)
  local disp = a.offset * s.size
  if not fits(disp) then return far(s, a.pointer, disp) end
  return in_register(s, a.pointer), disp
end

-- Gives a variable the value of a register.
local function assign(s, thing, from)
  local register = s.register[thing]
  if not register then
    integer(s, "write", from, nil, rsp, s.slot[thing])
    s.held = from == rax and thing or s.held ~= thing and s.held or nil
  elseif register ~= from then
    integer(s, "copy", from, register)
  end
end

---- operations --------------------------------------------------------------------------------------------------------

local function whole(s, form, reg, a)
  local base, disp = address(s, a)
  vector(s, form, reg, nil, nil, base, disp)
end

-- Forms for a range that begins in lane 0 and is as long as a shorter vector or one element.
local function shorter(s, op, one, all)
  if op.first ~= 0 then return end
  local bytes = op.count * s.size
  if bytes == 4 then return encoder.form(one, "f32", 128) end
  if bytes == 8 then return encoder.form(one, "f64", 128) end
  if bytes == 16 or bytes == 32 then return encoder.form(all, s.type, bytes * 8) end
end

-- The mask register of a range; the one for what found no room is set where it is needed.
local function mask_of(s, op)
  local range = s.ranges[op.first << 8 | op.count]
  if range.register then return range.register end
  if s.spare_mask ~= range then
    s.held = nil
    set(s, rax, ((1 << op.count) - 1) << op.first)
    integer(s, "set_mask", 7, rax)
    s.spare_mask = range
  end
  return 7
end

local function mask_in_pool(s, op)
  local range = s.ranges[op.first << 8 | op.count]
  if not range.pool then
    s.masks[#s.masks + 1] = range
    range.pool = (#s.masks - 1) * 32
  end
  return function() return range.pool end
end

local function load(s, op)
  local d, f = s.map[op.d], s.forms
  if not op.count then return whole(s, f.load, d, op.a) end
  local form = shorter(s, op, "load_one", "load")
  if form then return whole(s, form, d, op.a) end
  if s.target.mask_registers then
    local mask, base, disp = mask_of(s, op), address(s, op.a)
    return vector(s, f.load, d, nil, nil, base, disp, mask)
  end
  pooled(s, f.load, d, mask_in_pool(s, op))
  local base, disp = address(s, op.a)
  vector(s, f.load_mask, d, d, nil, base, disp)
end

-- The numbers of the 32-bit words that a spread takes, as a vector of the pool.
local function words_in_pool(s, op)
  local key = op.times << 16 | op.phase
  local entry = s.words[key]
  if not entry then
    local list, words = {}, s.size // 4
    for word = 0, s.target.bits // 32 - 1 do
      list[word + 1] = string.pack("<I4", (word // words + op.phase) // op.times * words + word % words)
    end
    entry = { bytes = table.concat(list), at = #s.words * s.target.bits // 8 }
    s.words[key], s.words[#s.words + 1] = entry, entry
  end
  return function() return 32 * #s.masks + entry.at end
end

local function spread(s, op)
  local d = s.map[op.d]
  load(s, op)
  pooled(s, s.forms.load, s.temporary, words_in_pool(s, op))
  vector(s, s.forms.permute, d, s.temporary, d)
end

local function store(s, op)
  local x, f = s.map[op.x], s.forms
  if not op.count then return whole(s, f.store, x, op.a) end
  local form = shorter(s, op, "store_one", "store")
  if form then return whole(s, form, x, op.a) end
  if s.target.mask_registers then
    local mask, base, disp = mask_of(s, op), address(s, op.a)
    return vector(s, f.store, x, nil, nil, base, disp, mask)
  end
  pooled(s, f.load, s.temporary, mask_in_pool(s, op))
  local base, disp = address(s, op.a)
  vector(s, f.store_mask, x, s.temporary, nil, base, disp)
end

local function broadcast(s, op) whole(s, s.forms.broadcast, s.map[op.d], op.a) end

-- Only the lanes of a range: all of them beside d, of which a blend takes those. Bits of its immediate are lanes.
local function blended(s, op)
  local d, t, x, y = s.map[op.d], s.temporary, s.map[op.x], op.y
  if y.kind == "register" then
    vector(s, s.forms.move, t, nil, s.map[y])
  else
    local base, disp = address(s, y.address)
    vector(s, y.all and s.forms.broadcast or s.forms.load, t, nil, nil, base, disp)
  end
  vector(s, s.forms[op.op .. "_over"], t, x, d)
  vector(s, s.forms.blend, d, d, t, nil, nil, nil, nil, ((1 << op.count) - 1) << op.first)
end

local function arithmetic(s, op)
  if op.count and not s.target.mask_registers then return blended(s, op) end
  local form, d, x, y, mask = s.forms[op.op], s.map[op.d], s.map[op.x], op.y, op.count and mask_of(s, op)
  if y.kind == "register" then return vector(s, form, d, x, s.map[y], nil, nil, mask) end
  local base, disp = address(s, y.address)
  if not y.all or s.k.lanes == 1 then return vector(s, form, d, x, nil, base, disp, mask) end
  if s.target.broadcast_operand then return vector(s, form, d, x, nil, base, disp, mask, true) end
  vector(s, s.forms.broadcast, s.temporary, nil, nil, base, disp)
  vector(s, form, d, x, s.temporary)
end

local function zero(s, op)
  local d = s.map[op.d]
  local form = d > 15 and s.forms.zero or s.forms.zero_low -- either clears the whole register; the low one is shorter
  vector(s, form, d, d, d)
end

local function constant(s, op)
  pooled(s, s.forms.broadcast, s.map[op.d], function() return s.constants_at + (op.index - 1) * s.size end)
end

local function insert(s, op)
  local d, base, disp = s.map[op.d], address(s, op.a)
  vector(s, s.forms.insert, d, d, nil, base, disp, nil, nil, op.part)
end

local function extract(s, op)
  local base, disp = address(s, op.a)
  if op.part == 0 then return vector(s, s.forms.store128, s.map[op.x], nil, nil, base, disp) end
  vector(s, s.forms.extract, s.map[op.x], nil, nil, base, disp, nil, nil, op.part)
end

-- In 128-bit parts, with one register beside those of the group.
local function transpose(s, op)
  local f, t, r = s.forms, s.temporary, {}
  for i, v in ipairs(op.group) do r[i] = s.map[v] end
  local a, b, c, d = table.unpack(r)
  vector(s, f.unpack_low, t, a, b)
  vector(s, f.unpack_high, b, a, b)
  if not c then return vector(s, f.move, a, nil, t) end
  vector(s, f.unpack_low, a, c, d)
  vector(s, f.unpack_high, d, c, d)
  vector(s, f.shuffle, c, b, d, nil, nil, nil, nil, 0x44)
  vector(s, f.shuffle, d, b, d, nil, nil, nil, nil, 0xEE)
  vector(s, f.shuffle, b, t, a, nil, nil, nil, nil, 0xEE)
  vector(s, f.shuffle, a, t, a, nil, nil, nil, nil, 0x44)
end

local function prefetch(s, op)
  local base, disp = address(s, op.a)
  integer(s, "prefetch" .. op.level, nil, nil, base, disp)
end

local function element_size(s, p) return p.kind == "table" and 8 or s.size end

local function advance(s, op)
  local p, bytes = op.p, op.elements * element_size(s, op.p)
  if not fits(bytes) then
    far(s, p, bytes)
    return assign(s, p, rax)
  end
  if s.register[p] then return integer(s, "plus", nil, s.register[p], nil, nil, bytes) end
  integer(s, "plus", nil, nil, rsp, s.slot[p], bytes)
  if s.held == p then s.held = nil end
end

-- With what the following operations add to the new pointer, which are then done.
local function copy(s, op, block, i)
  local bytes, done = 0, 0
  while block[i + done + 1] and block[i + done + 1].op == "advance" and block[i + done + 1].p == op.p do
    done = done + 1
    bytes = bytes + block[i + done].elements * s.size
  end
  if not fits(bytes) then bytes, done = 0, 0 end
  local from, to = in_register(s, op.from), s.register[op.p]
  if bytes == 0 then
    assign(s, op.p, from)
  elseif to then
    integer(s, "address", to, nil, from, bytes)
  else
    integer(s, "address", rax, nil, from, bytes)
    assign(s, op.p, rax)
  end
  return done
end

local function pick(s, op)
  local tab = in_register(s, op.tab)
  integer(s, "read", rax, nil, tab, op.index * 8)
  integer(s, "shift", nil, rax, nil, nil, s.size == 4 and 2 or 3)
  plus(s, rax, op.from)
  s.held = nil
  assign(s, op.p, rax)
end

local function move(s, op)
  local d, x = s.map[op.d], s.map[op.x]
  if d ~= x then vector(s, s.forms.move, d, nil, x) end
end

local function spill(s, op) vector(s, s.forms.store, s.map[op.x], nil, nil, rsp, s.slot[op.slot]) end
local function fill(s, op) vector(s, s.forms.load, s.map[op.d], nil, nil, rsp, s.slot[op.slot]) end

---- jumps -------------------------------------------------------------------------------------------------------------

local function size_of(s, first, last)
  local size, code = 0, s.code
  for i = first, last do size = size + #code[i] end
  return size
end

-- A jump over what follows: begun here, encoded by land, when it is known how far.
local function jump(s, name)
  put(s, "", name)
  return s.n
end

local function label(s, item)
  s.labels[item] = s.labels[item] or (".L%s_%d"):format(s.name, item)
  return s.labels[item]
end

local function land(s, item, name)
  local form = encoder.form(name)
  s.code[item] = encoder.encode(form, nil, nil, nil, nil, nil, nil, nil, size_of(s, item + 1, s.n))
  if s.texts then s.texts[item] = ("%s %s"):format(form.gnu, label(s, s.n + 1)) end
end

-- A jump back to an item.
local function jump_back(s, name, item)
  local form, size = encoder.form(name), size_of(s, item, s.n)
  local bytes = encoder.encode(form, nil, nil, nil, nil, nil, nil, nil, -size - 2)
  if #bytes > 2 then bytes = encoder.encode(form, nil, nil, nil, nil, nil, nil, nil, -size - #bytes) end
  put(s, bytes, s.texts and ("%s %s"):format(form.gnu, label(s, item)))
end

-- Streaming stores want aligned memory; else they are stores. Neighbours at the same pointer, whole vectors apart, are
-- tested together.
local function stream(s, op, block, i)
  if s.k.lanes == 1 then return store(s, op) end
  local bytes, list = s.k.lanes * s.size, { op }
  local base, disp = address(s, op.a)
  for j = i + 1, #block do
    local other = block[j]
    if other.op ~= "stream" or other.a.pointer ~= op.a.pointer or (other.a.offset - op.a.offset) % s.k.lanes ~= 0
      or not fits(other.a.offset * s.size) then break end
    list[#list + 1] = other
  end
  integer(s, "address", rax, nil, base, disp)
  s.held = nil
  integer(s, "test_low", nil, nil, nil, nil, bytes - 1)
  local to_stores = jump(s, "jump_ne")
  local function all(form)
    for _, each in ipairs(list) do
      vector(s, form, s.map[each.x], nil, nil, rax, (each.a.offset - op.a.offset) * s.size)
    end
  end
  all(s.forms.stream)
  local to_end = jump(s, "jump")
  local streams = s.n
  all(s.forms.store)
  land(s, to_end, "jump")
  local last = s.n
  s.n = streams
  land(s, to_stores, "jump_ne")
  s.n = last
  return #list - 1
end

local block

-- Counts down in a register or on the stack; returns the jump that skips a loop of no trips, if there can be such.
local function begin_count(s, op)
  local counter, count = s.register[op], op.count
  if type(count) == "number" then
    set(s, counter or rax, count)
    if not counter then assign(s, op, rax) end
    return
  end
  local at = counter or rax
  if s.register[count] ~= at then
    if s.register[count] then integer(s, "copy", s.register[count], at)
    else integer(s, "read", at, nil, rsp, s.slot[count]) end
  end
  if not counter then assign(s, op, rax) end
  integer(s, "test", at, at)
  return jump(s, "jump_le")
end

local function loop(s, op)
  if op.count == 0 then return end
  if op.count == 1 then return block(s, op.body) end
  local skip = begin_count(s, op)
  s.held, s.spare_mask = nil, nil
  local first = s.n + 1
  block(s, op.body)
  if s.register[op] then integer(s, "down", nil, s.register[op]) else integer(s, "down", nil, nil, rsp, s.slot[op]) end
  jump_back(s, "jump_ne", first)
  if skip then land(s, skip, "jump_le") end
  s.held, s.spare_mask = nil, nil
end

local lower = {
  zero = zero, constant = constant, load = load, spread = spread, store = store, stream = stream, broadcast = broadcast,
  fma = arithmetic, fnma = arithmetic, add = arithmetic, sub = arithmetic, mul = arithmetic, max = arithmetic,
  min = arithmetic, move = move, insert = insert,
  extract = extract, transpose = transpose, prefetch = prefetch, advance = advance, copy = copy, pick = pick,
  spill = spill,
  fill = fill, loop = loop,
}

-- Each function may have done some of the operations after its own: it returns how many.
function block(s, ops)
  local i = 1
  while i <= #ops do
    local op = ops[i]
    if s.origins then s.origins[s.n + 1] = op end
    if op.op ~= "comment" then i = i + (lower[op.op](s, op, ops, i) or 0) end
    i = i + 1
  end
end

---- the frame around it -----------------------------------------------------------------------------------------------

local vector_names = { "load", "store", "stream", "broadcast", "fma", "fnma", "add", "sub", "mul", "max", "min" }
local scalar_names = { load = "load_one", store = "store_one", broadcast = "load_one", fma = "fma_one",
  fnma = "fnma_one",
  add = "add_one", sub = "sub_one", mul = "mul_one", max = "max_one", min = "min_one" }

local function forms_of(k)
  local f, bits = {}, math.max(k.target.bits, 128)
  local function form(name, width) return encoder.form(name, k.type, width or bits) end
  f.zero, f.zero_low = form "zero", form("zero", 128)
  f.move = form "move"
  if k.lanes == 1 then
    for name, row in pairs(scalar_names) do f[name] = form(row) end
    return f
  end
  for _, name in ipairs(vector_names) do f[name] = form(name) end
  for _, name in ipairs { "unpack_low", "unpack_high", "shuffle" } do f[name] = form(name) end
  f.store128, f.permute = form("store", 128), encoder.form("permute", "f32", bits)
  if bits == 512 then
    f.insert, f.extract = form "insert", form "extract"
  else
    f.insert, f.extract = form "insert128", form "extract128"
    for _, name in ipairs { "load_mask", "store_mask", "fma_over", "fnma_over", "blend" } do f[name] = form(name) end
  end
  return f
end

-- The heaviest ranges have mask registers for the whole kernel; where there are more than 7, the seventh serves the
-- others.
local function give_masks(s, ranges)
  local list = {}
  for _, range in ipairs(ranges) do
    if range.sums or not shorter(s, range, "load_one", "load") then list[#list + 1] = range end
  end
  local most = #list <= 7 and 7 or 6
  for i, range in ipairs(list) do range.rank = i end
  table.sort(list, function(a, b) return a.weight > b.weight or (a.weight == b.weight and a.rank < b.rank) end)
  for i = 1, math.min(most, #list) do list[i].register = i end
  s.masks_set = math.min(most, #list)
  s.mask_list = list
end

-- Slots on the stack: vectors first, aligned, then words; the last one holds rsp as it was.
local function lay_frame(s, on_stack)
  local size, bytes = 0, s.k.lanes * s.size
  for _, slot in ipairs(s.k.slots) do s.slot[slot], size = size, size + bytes end
  size = (size + 7) // 8 * 8
  for _, thing in ipairs(on_stack) do s.slot[thing], size = size, size + 8 end
  if size > 0 then s.frame = (size + 8 + 63) // 64 * 64 end
end

local function move_arguments(s)
  local base, first = s.frame and rax or rsp, 8 * #s.saved + 8
  local later = {}
  for i, a in ipairs(s.k.args) do
    local from, register, slot = incoming[i], s.register[a], s.slot[a]
    if not s.k.used[a] then -- nothing reads it
    elseif from and slot then integer(s, "write", from, nil, rsp, slot)
    elseif not from or register ~= from then later[#later + 1] = { a = a, from = from, disp = first + 8 * (i - 7) } end
  end
  for _, m in ipairs(later) do -- what changes its register goes through the stack, so that the order does not matter
    if m.from then integer(s, "push", m.from) end
  end
  for i = #later, 1, -1 do
    if later[i].from then integer(s, "pop", s.register[later[i].a]) end
  end
  local spilled = {}
  for _, m in ipairs(later) do
    if not m.from and s.register[m.a] then integer(s, "read", s.register[m.a], nil, base, m.disp)
    elseif not m.from then spilled[#spilled + 1] = m end
  end
  return spilled, base
end

local function prologue(s)
  for _, n in ipairs(s.saved) do integer(s, "push", n) end
  if s.frame then
    integer(s, "copy", rsp, rax)
    integer(s, "minus", nil, rsp, nil, nil, s.frame)
    integer(s, "both", nil, rsp, nil, nil, -64)
    integer(s, "write", rax, nil, rsp, s.frame - 8)
  end
  local spilled = move_arguments(s)
  for _, m in ipairs(spilled) do -- from the caller's stack to ours, through rax, which then has to be set again
    integer(s, "read", rax, nil, rsp, s.frame - 8)
    integer(s, "read", rax, nil, rax, m.disp)
    integer(s, "write", rax, nil, rsp, s.slot[m.a])
  end
  for i = 1, s.masks_set or 0 do
    local range = s.mask_list[i]
    set(s, rax, ((1 << range.count) - 1) << range.first)
    integer(s, "set_mask", range.register, rax)
  end
end

local function epilogue(s)
  if s.origins then s.origins[s.n + 1] = "end" end
  if s.k.streams and s.k.lanes > 1 then integer(s, "fence") end
  if s.k.lanes > 1 then integer(s, "clean") end
  if s.frame then integer(s, "read", rsp, nil, rsp, s.frame - 8) end
  for i = #s.saved, 1, -1 do integer(s, "pop", s.saved[i]) end
  integer(s, "ret")
end

-- Masks of 32 bytes, words of spreads, then constants.
local function pool(s)
  local list, s_size = {}, s.size
  for _, range in ipairs(s.masks) do
    for lane = 0, 32 // s_size - 1 do
      local inside = lane >= range.first and lane < range.first + range.count
      list[#list + 1] = (inside and "\xFF" or "\0"):rep(s_size)
    end
  end
  for _, entry in ipairs(s.words) do list[#list + 1] = entry.bytes end
  s.constants_at = 32 * #s.masks + #s.words * s.target.bits // 8
  for _, value in ipairs(s.k.pool) do list[#list + 1] = string.pack(formats[s.type], value) end
  return table.concat(list)
end

local function fix(s, pool_at)
  local position, done = 0, 0
  for _, fixup in ipairs(s.fixups) do
    for i = done + 1, fixup.item do position = position + #s.code[i] end
    done = fixup.item
    local offset = fixup.where(s)
    s.code[done] = s.code[done]:sub(1, -5) .. string.pack("<i4", pool_at + offset - position)
    if s.texts then
      s.texts[done] = encoder.text(fixup.form, fixup.reg, nil, nil, rip, (".L%s_pool+%d"):format(s.name, offset))
    end
  end
end

-- code: a list of instructions' bytes, pool; with texts: their spelling, labels and the operations they come from.
local function generate(k, with_texts)
  if not k.finished then error(("program %s: lowered before finish"):format(k.name), 0) end
  local allocated, why = registers.allocate(k, k.target)
  if not allocated then error(("program %s: %s"):format(k.name, why), 0) end
  local seen = survey(k)
  local s = { k = k, name = k.name, type = k.type, size = k.size, target = k.target, map = allocated.map, slot = {},
    temporary = allocated.temporary, forms = forms_of(k), code = {}, n = 0, fixups = {}, masks = {}, words = {},
    ranges = seen.ranges }
  if with_texts then s.texts, s.labels, s.origins = {}, {}, { "begin" } end
  local on_stack
  s.register, on_stack = place(k, seen.order)
  s.saved = {}
  local in_use = {}
  for _, n in pairs(s.register) do in_use[n] = true end
  for _, n in ipairs(general) do if callee_saves[n] and in_use[n] then table.insert(s.saved, n) end end
  if k.target.mask_registers then give_masks(s, seen.ranges_in_order) end
  lay_frame(s, on_stack)
  prologue(s)
  block(s, k.body)
  epilogue(s)
  s.pool = pool(s)
  s.length = size_of(s, 1, s.n)
  s.pool_at = (s.length + 31) // 32 * 32
  fix(s, s.pool_at)
  return s
end

---- texts -------------------------------------------------------------------------------------------------------------

local function prototype(k)
  local spelled = { count = "long ", table = "const long *" }
  local args = {}
  for i, a in ipairs(k.args) do
    args[i] = (spelled[a.kind] or (a.access == "in" and "const " or "") .. types.c(k.type) .. " *") .. a.name
  end
  return ("cg_code void %s(%s);\n"):format(k.name, #args > 0 and table.concat(args, ", ") or "void")
end

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
function machine.bytes(k)
  local s = generate(k)
  local code = table.concat(s.code)
  return #s.pool > 0 and code .. ("\0"):rep(s.pool_at - s.length) .. s.pool or code
end

function machine.kernel(k)
  return ('%s__asm__(".text\\n.balign 64\\n%s:\\n"\n%s);\n'):format(prototype(k), k.name, data(machine.bytes(k)))
end

-- The same function as GNU assembly; assembled, it has the same bytes but for what as writes shorter.
function machine.mnemonics(k)
  local s = generate(k, true)
  local lines = { ("    .text\n    .balign 64\n%s:"):format(k.name) }
  for i = 1, s.n do
    if s.labels[i] then lines[#lines + 1] = s.labels[i] .. ":" end
    lines[#lines + 1] = "    " .. s.texts[i]
  end
  if #s.pool > 0 then
    lines[#lines + 1] = ("    .balign 32\n.L%s_pool:"):format(k.name)
    for at = 1, #s.pool, 4 do lines[#lines + 1] = ("    .long 0x%x"):format((string.unpack("<I4", s.pool, at))) end
  end
  return table.concat(lines, "\n") .. "\n"
end

-- The line of each operation in program.print's text.
local function operation_lines(k)
  local lines, of, number = {}, {}, 1
  for line in program.print(k):gmatch "[^\n]+" do lines[#lines + 1] = line end
  local function walk(ops)
    for _, op in ipairs(ops) do
      number = number + 1
      of[op] = lines[number]
      if op.op == "loop" then walk(op.body) end
    end
  end
  walk(k.body)
  of.begin, of["end"] = lines[1], "  return"
  return of
end

-- The same as C: a prototype, and GNU assembly in a block at file scope, each instruction beside the operation it comes
-- from.
function machine.assembly(k)
  local s, of = generate(k, true), operation_lines(k)
  local lines = { (prototype(k):gsub("^cg_code", "extern")), "__extension__ __asm__(" }
  local function put(text, comment)
    if not comment then lines[#lines + 1] = ('    "%s\\n"'):format(text)
    else lines[#lines + 1] = ('    %-52s /* %s */'):format(('"%s\\n"'):format(text), comment) end
  end
  put ".text"
  put ".balign 64"
  put(k.name .. ":")
  for i = 1, s.n do
    if s.labels[i] then put(s.labels[i] .. ":") end
    local origin = s.origins[i]
    put("  " .. s.texts[i], origin and origin ~= "begin" and of[origin]:gsub("^%s+", ""):gsub("%s+", " ") or nil)
  end
  if #s.pool > 0 then
    put ".balign 32"
    put((".L%s_pool:"):format(k.name))
    for at = 1, #s.pool, 4 do put(("  .long 0x%x"):format((string.unpack("<I4", s.pool, at)))) end
  end
  lines[#lines + 1] = ");\n"
  return table.concat(lines, "\n")
end

-- Address, bytes and spelling of each instruction below the operation that it comes from.
function machine.listing(k)
  local s, of = generate(k, true), operation_lines(k)
  local lines, position = {}, 0
  for i = 1, s.n do
    if s.origins[i] then lines[#lines + 1] = of[s.origins[i]] end
    if s.labels[i] then lines[#lines + 1] = ("%58s%s:"):format("", s.labels[i]) end
    local hex = s.code[i]:gsub(".", function(byte) return ("%02x "):format(byte:byte()) end)
    lines[#lines + 1] = ("    %6x  %-40s      %s"):format(position, hex, s.texts[i])
    position = position + #s.code[i]
  end
  if #s.pool > 0 then lines[#lines + 1] = ("    %6x  .L%s_pool: %d bytes"):format(s.pool_at, k.name, #s.pool) end
  return table.concat(lines, "\n") .. "\n"
end

return machine
