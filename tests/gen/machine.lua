-- Random programs in the machine form, and in the C that people read, against the same in C: more pointers and counts than registers, arguments on the stack,
-- more ranges than mask registers, jumps of both lengths, offsets beyond 32 bits. (carry.lua has every operation.) And one program
-- of pointers on the stack, read before and after each thing that needs rax.
local suite = require "suite"
local program, targets, c, machine = require "program", require "targets", require "lower/c", require "lower/machine"
local legible, strides = require "lower/legible", require "strides"
local registers = require "registers"

local seed = math.tointeger(tonumber(os.getenv "CONVGEN_SEED")) or os.time()
math.randomseed(seed)
local random = math.random
local programs = 8 -- in a file

---- random programs -------------------------------------------------------------------------------------------------------------
-- Arrays are entered in the middle; what a program can move its pointers by stays far from their ends.
local length, reach = 1 << 16, 200

local function pick_from(list) return list[random(#list)] end

local function random_program(name, type_, target)
  local k = program.new { name = name, type = type_, target = target }
  local far = (1 << 31) // k.size + random(1000)
  local ins, outs, counts, tables, vectors, slots = {}, {}, {}, {}, {}, {}
  local some = { { ins, 6, function(n) return k:pointer("in" .. n, "in") end },
    { outs, 5, function(n) return k:pointer("out" .. n, "out") end },
    { counts, 4, function(n) return k:count("count" .. n) end }, { tables, 2, function(n) return k:table("table" .. n) end } }
  for _, row in ipairs(some) do for n = 1, random(row[2]) do row[1][n] = row[3](n) end end
  for n = 1, 6 do
    vectors[n] = k:vector "v"
    k:load(vectors[n], k:at(pick_from(ins), random(reach)))
    slots[n] = k:slot()
    k:spill(slots[n], vectors[n])
  end
  local moves = 8
  local function at(list) return k:at(pick_from(list), random(-reach, reach)) end
  local function range()
    local first = random(2) == 1 and 0 or random(0, k.lanes - 1)
    return first, random(1, k.lanes - first)
  end
  local function operand()
    local kind = random(4)
    return kind == 1 and k:memory(at(ins)) or kind == 2 and k:memory_broadcast(at(ins)) or pick_from(vectors)
  end
  local names = { "add", "sub", "mul", "max", "min", "fma", "fnma" }
  local function arithmetic() k[pick_from(names)](k, pick_from(vectors), pick_from(vectors), operand()) end
  local function some_lanes() k[pick_from { "fma", "fnma" }](k, pick_from(vectors), pick_from(vectors), operand(), range()) end
  local actions = {
    arithmetic, arithmetic, arithmetic, some_lanes, some_lanes,
    function() k:load(pick_from(vectors), at(ins), range()) end,
    function() k:store(at(outs), pick_from(vectors), range()) end,
    function()
      local times = random(1, k.lanes + 2)
      k:spread(pick_from(vectors), at(ins), times, random(0, times - 1), random(1, k.lanes))
    end,
    function()
      local step = random(1, k.lanes)
      local times = random(2) == 1 and step or random(1, k.lanes + 2)
      local phase = random(2) == 1 and 0 or random(0, times - 1)
      local elements = random(2) == 1 and k.lanes or random(1, k.lanes)
      if (phase + k.lanes - 1) // times * step + step <= k.lanes then
        k:spread(pick_from(vectors), at(ins), times, phase, elements, step, random(0, step - 1))
      end
    end,
    function() k:patch(pick_from(vectors), at(ins), range()) end,
    function() -- what can become a loop, or two
      local from, to, a, b = pick_from(ins), pick_from(outs), random(-reach, reach), random(-20, 20)
      for i = 0, random(2, 5) do
        k:load(vectors[i + 1], k:at(from, a + i * b))
        if b > 3 then k:add(vectors[i + 1], vectors[i + 1], k:memory(k:at(from, i * k.lanes))) end
      end
      for i = 0, random(2, 5) do k:store(k:at(to, a + i * k.lanes), vectors[i + 1]) end
    end,
    function() k:store(at(outs), pick_from(vectors)) end,
    function() k:constant(pick_from(vectors), random(5) / 4) end,
    function() k:zero(pick_from(vectors)) end,
    function() k:move(pick_from(vectors), pick_from(vectors)) end,
    function() k:broadcast(pick_from(vectors), at(ins)) end,
    function() k:spill(pick_from(slots), pick_from(vectors)) end,
    function() k:fill(pick_from(vectors), pick_from(slots)) end,
    function() k:prefetch(at(ins), random(3)) end,
    function()
      local p, offset = pick_from(outs), k.lanes * random(-5, 5)
      for i = 0, random(0, 2) do k:stream(k:at(p, offset + i * k.lanes), pick_from(vectors)) end
    end,
    function()
      local list = pick_from { ins, outs }
      local p = k:copy("p", pick_from(list))
      if random(2) == 1 then k:advance(p, random(-reach, reach)) end
      list[#list + 1] = p -- until the block ends
    end,
    function()
      local list = pick_from { ins, outs }
      list[#list + 1] = k:pick("p", pick_from(list), pick_from(tables), random(0, 7))
    end,
    function()
      if moves == 0 then return end
      moves = moves - 1
      k:advance(pick_from(pick_from { ins, outs }), random(-20, 20))
    end,
    function() -- far away and back
      local p = pick_from(ins)
      k:advance(p, far)
      k:load(pick_from(vectors), k:at(p, -far + random(reach)))
      k:advance(p, -far)
    end,
  }
  if k.lanes > 1 then
    local parts = k.lanes // k.part
    actions[#actions + 1] = function() k:insert(pick_from(vectors), random(0, parts - 1), at(ins)) end
    actions[#actions + 1] = function() k:extract(at(outs), pick_from(vectors), random(0, parts - 1)) end
    actions[#actions + 1] = function()
      local from = random(0, 6 - k.part)
      k:transpose { table.unpack(vectors, from + 1, from + k.part) }
    end
  end
  local function body(depth, most)
    local known_ins, known_outs = #ins, #outs
    for _ = 1, random(3, most) do
      if depth < 3 and random(6) == 1 then
        k:loop(random(2) == 1 and random(0, 3) or pick_from(counts), function() body(depth + 1, most // 2) end)
      else
        pick_from(actions)()
      end
    end
    while #ins > known_ins do table.remove(ins) end
    while #outs > known_outs do table.remove(outs) end
  end
  body(0, 40)
  for n = 1, 6 do k:store(k:at(outs[1], (n - 1) * k.lanes), vectors[n]) end
  return k:finish()
end

-- Pointers on the stack, as heavier ones have all registers. Each is read, something happens that may need rax, and it is read again: rax must not be believed
-- to hold the pointer still. With a gap one register is nobody's for long, and short lives are lived in it. (Of one type:
-- addresses are found the same way for the other.)
local function spilled_program(name, type_, target, gap)
  local k = program.new { name = name, type = type_, target = target }
  local ins, out, count, tab = {}, k:pointer("out1", "out"), k:count "count1", k:table "table1"
  for n = 1, 6 do ins[n] = k:pointer("in" .. n, "in") end
  local pointers, heavy, v, w, slot = {}, {}, k:vector "v", k:vector "w", k:slot()
  local function copy(i)
    local p = k:copy("p", ins[i % 6 + 1])
    k:advance(p, i)
    return p
  end
  for i = 1, 4 do pointers[i] = copy(i) end
  for i = 1, gap and 13 or 14 do heavy[i] = copy(i) end
  local function use_heavy(also)
    k:loop(2, function() k:loop(2, function() k:loop(2, function()
      for _, p in ipairs(heavy) do k:load(w, k:at(p)) end
      k:load(w, k:at(also))
    end) end) end)
  end
  use_heavy(copy(14))
  k:load(w, k:at(ins[1]))
  k:spill(slot, w)
  local aside = k:pointer("out2", "out")
  local far = (1 << 31) // k.size
  local between = {
    function(p) k:prefetch(k:at(p, far), 1) end,
    function(_, other) k:prefetch(k:at(other, far), 1) end,
    function(p) k:advance(p, 3) end,
    function(_, other) k:advance(other, -3) end,
    function(p) k:advance(p, far); k:advance(p, -far) end,
    function(_, other) k:advance(other, far); k:advance(other, -far) end,
    function() k:stream(k:at(aside, 3), w); k:stream(k:at(aside, k.lanes + 3), w); k:store(k:at(aside, 2 * k.lanes + 3), w) end,
    function(p) local q = k:copy("q", p); k:advance(q, 5); k:load(w, k:at(q)) end,
    function(_, other) local q = k:copy("q", other); k:load(w, k:at(q)) end,
    function(_, other) k:load(w, k:at(k:pick("q", other, tab, 2))); k:add(w, w, k:memory(k:at(k:pick("q", other, tab, 5)))) end,
    function(p) k:loop(count, function() k:fma(w, w, k:memory(k:at(p, 7))); k:advance(p, 1) end) end,
    function(_, other) k:loop(3, function() k:fma(w, w, k:memory(k:at(other, 7))); k:advance(other, 1) end) end,
    function(p) local q = k:copy("q", p); k:advance(q, 5); k:load(w, k:at(p)); k:add(w, w, k:memory(k:at(q))) end,
    function(p, other) k:loop(2, function() k:add(w, w, k:memory(k:at(p))); k:add(w, w, k:memory(k:at(other))) end) end,
    function(_, other) k:loop(count, function() k:add(w, w, k:memory(k:at(other))) end); k:add(w, w, k:memory(k:at(other))) end,
  }
  local written = 0
  local function put(x)
    k:store(k:at(out, written), x)
    written = written + k.lanes
  end
  for turn, needs_rax in ipairs(between) do
    for i, p in ipairs(pointers) do
      k:fill(w, slot)
      k:load(v, k:at(p, 2 * k.lanes))
      needs_rax(p, pointers[(i + turn) % #pointers + 1])
      k:sub(v, v, k:memory(k:at(p, k.lanes)))
      put(v)
      put(w)
    end
  end
  local function fma(range, p) -- of more ranges than mask registers
    k:fma(w, w, k:memory(k:at(p)), range, k.lanes - range)
  end
  for range = 0, k.lanes - 2 do
    local p = pointers[range % #pointers + 1]
    for _, times in ipairs { 2, count } do
      k:fill(w, slot)
      k:load(v, k:at(p))
      fma(range, p)
      k:loop(times, function() fma(range, p); fma(range + 1, p) end)
      fma(range + 1, p)
      k:load(v, k:at(p, 1))
      put(v)
      put(w)
    end
  end
  use_heavy(copy(15))
  return k:finish()
end

-- One range of lanes more than there are mask registers, each used again after the others.
local function eight_ranges(name, type_, target)
  local k = program.new { name = name, type = type_, target = target }
  local from, to, v = k:pointer("in1", "in"), k:pointer("out1", "out"), k:vector "v"
  for turn = 0, 1 do
    for n, range in ipairs { { 1, 1 }, { 1, 2 }, { 1, 3 }, { 2, 1 }, { 2, 2 }, { 3, 1 }, { 0, 3 }, { 0, 2 } } do
      k:load(v, k:at(from, n))
      k:fma(v, v, k:memory(k:at(from)), k.lanes > 1 and range[1] or nil, k.lanes > 1 and range[2] or nil)
      k:store(k:at(to, (turn * 8 + n) * k.lanes), v)
    end
  end
  return k:finish()
end

---- a program that runs both --------------------------------------------------------------------------------------------------
local harness = [[
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { LENGTH = @LENGTH@, MIDDLE = LENGTH / 2 };
static T ins[6][LENGTH], outs[3][5][LENGTH];
static long tables[2][64];
static unsigned long long state = @SEED@;
static T number(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (T)((double)(state >> 40) / 8388608.0 - 1.0);
}
static int same(const char *name) { /* after its form */
    for (int o = 0; o < 5; o++)
        for (long i = 0; i < LENGTH; i++) {
            T a = outs[0][o][i], b = outs[1][o][i];
            if (memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b)) continue;
            fprintf(stderr, "%s: out%d[%ld] is %.9g, %.9g in plain C\n", name, o + 1, i - MIDDLE, (double)b, (double)a);
            return 0;
        }
    return 1;
}
]]

-- One call of a program with the outputs of one side. fewer: without the counts that are the same in all calls.
local function call(k, prefix, side, counts, fewer)
  local args = {}
  for _, a in ipairs(k.args) do
    local kind, n = a.name:match "^(%a+)(%d+)$"
    if not (fewer and a.always) then
      args[#args + 1] = kind == "count" and tostring(counts[n + 0]) or kind == "table" and ("tables[%d] + 8"):format(n - 1)
        or kind == "in" and ("ins[%d] + MIDDLE"):format(n - 1) or ("outs[%d][%d] + MIDDLE"):format(side, n - 1)
    end
  end
  return ("    %s%s(%s);"):format(prefix, k.name, table.concat(args, ", "))
end

local names = { f32 = "float", f64 = "double" }

local function source(type_, target)
  local text = { c.prelude(type_, target) .. legible.prelude(), machine.prelude(), "typedef " .. names[type_] .. " T;",
    (harness:gsub("@LENGTH@", length):gsub("@SEED@", seed .. "ull")) }
  local main = { "int main(void) {", "    int good = 1;",
    "    for (int i = 0; i < 6; i++) for (long j = 0; j < LENGTH; j++) ins[i][j] = number();",
    "    for (int i = 0; i < 5; i++) for (long j = 0; j < LENGTH; j++) outs[2][i][j] = number();",
    "    for (int i = 0; i < 2; i++) for (long j = 0; j < 64; j++) tables[i][j] = (long)(number() * 300);" }
  local patterns, used = nil, {}
  for n = type_ == "f32" and 1 or 3, programs + 2 do
    local k
    repeat k = (n < 3 and spilled_program or n == 3 and eight_ranges or random_program)("f" .. n, type_, target, n == 2) until registers.allocate(k, target)
    if k.patterns and not patterns then text[1], patterns = text[1] .. c.beyond { k }, true end
    text[#text + 1] = machine.kernel(k, targets.avx2)
    text[#text + 1] = c.kernel(k):gsub("^static void ", "static void c_")
    text[#text + 1] = legible.kernel(k, {}, used):gsub("^static void ", "static void l_")
    for _, counts in ipairs { { 0, 1, 2, 3 }, { 2, 3, 1, -1 }, { 4, 2, 0, 1 } } do
      main[#main + 1] = "    memcpy(outs[0], outs[2], sizeof outs[2]);"
      main[#main + 1] = call(k, "c_", 0, counts)
      for _, form in ipairs { "", "l_" } do
        main[#main + 1] = "    memcpy(outs[1], outs[2], sizeof outs[2]);"
        main[#main + 1] = call(k, form, 1, counts, form == "l_")
        main[#main + 1] = ('    good &= same("%s%s");'):format(form, k.name)
      end
    end
  end
  main[#main + 1] = "    return !good;\n}\n"
  table.insert(text, 2, strides.text(used))
  return table.concat(text, "\n") .. "\n" .. table.concat(main, "\n")
end

local function read(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

local cc = os.getenv "CC" or "cc"
local folder = read "mktemp -d":gsub("%s+$", "")
local features = " " .. read "grep -m1 ^flags /proc/cpuinfo 2>/dev/null":gsub("\n", " ") .. " "

local function run(command)
  if not os.execute(("%s >%s/log 2>&1"):format(command, folder)) then
    error(("%s\n%s(CONVGEN_SEED=%d)"):format(command, read(("head -c 2000 %s/log"):format(folder)), seed), 0)
  end
end

local function here(target)
  for _, need in ipairs(target.needs) do
    if not features:find(" " .. need .. " ", 1, true) then return false end
  end
  return true
end

for _, name in ipairs { "avx512", "avx2", "scalar" } do
  for _, type_ in ipairs { "f32", "f64" } do
    if here(targets[name]) and here(targets.avx2) then
      suite.case(("random programs %s %s"):format(name, type_), function()
        local stem = ("%s/%s_%s"):format(folder, name, type_)
        write(stem .. ".c", source(type_, targets[name]))
        run(("%s -std=gnu11 -O1 -ffp-contract=off -DCG_BODY=3 -o %s.test %s.c -lm"):format(cc, stem, stem))
        run(stem .. ".test")
      end)
    end
  end
end

-- GNU assembly as it is emitted, but without the C around it.
local function mnemonics(k)
  local lines = {}
  for line in machine.assembly(k, targets.avx2):gmatch '"([^\n]*)\\n"' do lines[#lines + 1] = line end
  return table.concat(lines, "\n") .. "\n"
end

-- The text, assembled, is the function that the bytes are: the same instructions, wherever they end up.
local commutative = { vaddps = true, vaddpd = true, vmulps = true, vmulpd = true, vxorps = true } -- as exchanges their sources
local function disassembled(options, path)
  local list = {}
  for line in read(("objdump -w --no-show-raw-insn %s %s"):format(options, path)):gmatch "[^\n]+" do
    local name, operands = line:match "^%s*%x+:\t(%S+)%s*([^#<]*)"
    if name then
      operands = operands:gsub("%s+$", ""):gsub("[-0-9a-fx]+%(%%rip%)", "(%%rip)")
      if commutative[name] then
        local sorted = {}
        for operand in operands:gmatch "[^,]+" do sorted[#sorted + 1] = operand end
        table.sort(sorted)
        operands = table.concat(sorted, ",")
      end
      list[#list + 1] = name .. " " .. (name:find "^j" and "" or operands)
    end
  end
  return list
end

suite.case("mnemonics", function()
  if not os.execute "command -v as >/dev/null 2>&1 && command -v objdump >/dev/null 2>&1" then return end
  for n = 1, 12 do
    local k = random_program("f" .. n, pick_from { "f32", "f64" }, targets[pick_from { "avx512", "avx2", "scalar" }])
    if registers.allocate(k, k.target) then
      write(folder .. "/text.s", mnemonics(k))
      write(folder .. "/bytes", machine.bytes(k, targets.avx2))
      run(("as -o %s/text.o %s/text.s"):format(folder, folder))
      local as, ours = disassembled("-d", folder .. "/text.o"), disassembled("-D -b binary -m i386:x86-64", folder .. "/bytes")
      local count = 0
      for i, text in ipairs(as) do
        if ours[i] ~= text then error(("instruction %d is %s, as has %s (CONVGEN_SEED=%d)"):format(i, ours[i], text, seed), 0) end
        count = i
        if text:find "^ret" then break end -- then the pool
      end
      local _, listed = machine.listing(k, targets.avx2):gsub("\n    +%x+  %x%x ", "")
      suite.equal(listed, count)
    end
  end
end)

-- No result shows these to be missing: streamed stores that another thread reads, and the upper halves of registers, which slow a
-- caller's SSE down.
suite.case("streaming ends in a fence, wide registers are left clean", function()
  for _, name in ipairs { "avx512", "avx2" } do
    for _, streams in ipairs { true, false } do
      local k = program.new { name = "f", type = "f32", target = targets[name] }
      local out, v = k:pointer("out", "out"), k:vector "v"
      k:zero(v)
      if streams then k:loop(3, function() k:stream(k:at(out), v); k:advance(out, k.lanes) end) else k:store(k:at(out), v) end
      k:finish()
      local _, fences = c.kernel(k):gsub("vfence%(%);[^;]*$", "")
      suite.equal(fences, streams and 1 or 0)
      suite.equal(mnemonics(k):match "sfence%s+vzeroupper%s+ret" ~= nil, streams)
      suite.equal(mnemonics(k):match "vzeroupper%s+ret" ~= nil, true)
    end
  end
  local header = c.prelude("f32", targets.avx2)
  suite.equal(header:match "#define vfence%(%) (%g*)", "_mm_sfence()")
end)

suite.case("what has no machine form", function()
  local convgen = require "convgen"
  local ok, why = convgen.source({ form = "machine", target = "portable", problem = {} }, "plain")
  suite.equal(ok, nil)
  suite.equal(why, "the machine form has no instruction set for portable")
end)

os.execute(("rm -rf '%s'"):format(folder))
return suite.failures()
