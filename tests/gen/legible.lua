-- Programs as C that people read: loops, pointers, registers and strides of small programs, as text. (That the text does what the
-- program does is machine.lua's, with random programs.)
local suite = require "suite"
local program, targets = require "program", require "targets"
local flow, arrays, legible = require "lower/flow", require "lower/arrays", require "lower/legible"
local case, equal = suite.case, suite.equal

local strides = { src = { { "SRC_H", 96 }, { "SRC_W", 20 } }, dst = { { "DST_W", 16 } } }

-- body(k, src, dst, rows) writes a program.
local function new(body)
  local k = program.new { name = "k", type = "f32", target = targets.avx2 }
  local src, dst, rows = k:pointer("src", "in"), k:pointer("dst", "out"), k:count "rows"
  src.bases, dst.bases = { src = true }, { dst = true }
  body(k, src, dst, rows)
  return k:finish()
end

-- The lines of its text between head and end, and the names of strides in it.
local function text_of(body)
  local used, names = {}, {}
  local text = legible.kernel(new(body), strides, used)
  for name in pairs(used) do names[#names + 1] = name end
  table.sort(names)
  return text:match "^[^\n]*\n(.*)}\n$":gsub("    %(void%)rows;\n", ""), table.concat(names, " ")
end

local function expect(name, body, text, names)
  case(name, function()
    local got, used = text_of(body)
    equal(got, text)
    if names then equal(used, names) end
  end)
end

-- Registers acc0, acc1 ... over an axis m, zero.
local function zeroed(k, count)
  local list = {}
  for m = 0, count - 1 do
    list[m] = k:vector("acc", { m }, { "m" })
    k:zero(list[m])
  end
  return list
end

---- loops, arrays and strides -----------------------------------------------------------------------------------------

expect("a tile: sums in an array, loops over it, strides by name", function(k, src, dst, rows)
  local acc, w = zeroed(k, 3), k:vector "w"
  k:loop(rows, function()
    local x = k:copy("x", src)
    k:loop(5, function()
      k:load(w, k:at(x))
      for m = 0, 2 do k:fma(acc[m], w, k:memory(k:at(x, m * 20))) end
      k:advance(x, 8)
    end)
    k:advance(src, 96)
  end)
  for m = 0, 2 do k:store(k:at(dst, m * 16), acc[m]) end
end, [[
    vec acc[3], w;
    unrolled for (int m = 0; m < 3; m++) vzero(acc[m]);
    for (long i = 0; i < rows; i++) {
        const float *x = src;
        for (long j = 0; j < 5; j++) {
            vload(w, x);
            unrolled for (int m = 0; m < 3; m++) vfma(acc[m], w, vmem(x + m * SRC_W));
            x += LANES;
        }
        src += SRC_H;
    }
    unrolled for (int m = 0; m < 3; m++) vstore(dst + m * DST_W, acc[m]);
]], "DST_W LANES SRC_H SRC_W")

expect("registers of one name share an element where one ends before the next, and have two where not", function(k, src, dst)
  for i = 0, 1 do
    local t = k:vector "t"
    k:load(t, k:at(src, 7 * i))
    k:store(k:at(dst, 3 * i), t)
  end
  local a, b = k:vector "t", k:vector "t"
  k:load(a, k:at(src, 5))
  k:load(b, k:at(src, 1))
  k:add(a, a, b)
  k:store(k:at(dst, 9), a)
end, [[
    vec t[2];
    vload(t[0], src);
    vstore(dst, t[0]);
    vload(t[0], src + 7);
    vstore(dst + 3, t[0]);
    unrolled for (int n = 0; n < 2; n++) vload(t[n], src + 5 - n * 4);
    vadd(t[0], t[0], t[1]);
    vstore(dst + 9, t[0]);
]], "")

expect("registers that no loop goes over are variables", function(k, src, dst)
  local a, b = k:vector("acc", { 0 }, { "m" }), k:vector("acc", { 1 }, { "m" })
  k:load(a, k:at(src))
  k:broadcast(b, k:at(src, 3))
  k:add(a, a, b)
  k:store(k:at(dst), a)
end, [[
    vec acc0, acc1;
    vload(acc0, src);
    vbroadcast(acc1, src + 3);
    vadd(acc0, acc0, acc1);
    vstore(dst, acc0);
]])

expect("what ends where the next begins is not its place", function(k, src, dst)
  local a, b = k:vector "t", k:vector "t"
  k:load(a, k:at(src))
  k:add(b, a, a)
  k:store(k:at(dst), b)
end, [[
    vec t, t1;
    vload(t, src);
    vadd(t1, t, t);
    vstore(dst, t1);
]])

expect("a loop counts what the first register counts, from where that begins", function(k, src, dst)
  local acc = zeroed(k, 4)
  for m = 1, 3 do k:add(acc[m], acc[0], k:memory(k:at(src, 7 + m * 40))) end
  for m = 0, 3 do k:store(k:at(dst, m * 16), acc[m]) end
end, [[
    vec acc[4];
    unrolled for (int m = 0; m < 4; m++) vzero(acc[m]);
    unrolled for (int m = 1; m < 4; m++) vadd(acc[m], acc[0], vmem(src + m * 2 * SRC_W + 7));
    unrolled for (int m = 0; m < 4; m++) vstore(dst + m * DST_W, acc[m]);
]])

-- An address of src, and what is said of it.
for at, said in pairs { [0] = "src", [-96] = "src - SRC_H", [96] = "src + SRC_H", [192] = "src + 2 * SRC_H", [116] = "src + SRC_H + SRC_W",
  [76] = "src + SRC_H - SRC_W", [40] = "src + 2 * SRC_W", [33] = "src + 33", [16] = "src + 2 * LANES", [97] = "src + 97" } do
  case("an address, " .. at, function()
    local text = text_of(function(k, src, dst)
      local w = k:vector "w"
      k:load(w, k:at(src, at))
      k:store(k:at(dst), w)
    end)
    equal(text:match "vload%(w, (.-)%);", said)
  end)
end

---- loops of one turn, and steps that nobody sees ---------------------------------------------------------------------

local function once(again)
  return function(k, src, dst)
    local w = k:vector "w"
    k:loop(1, function()
      k:load(w, k:at(src))
      k:advance(src, 96)
    end)
    if again then k:load(w, k:at(src)) end
    k:store(k:at(dst), w)
  end
end

expect("a loop of one turn is none, and a step behind which nothing is read is gone", once(false), [[
    vec w;
    vload(w, src);
    vstore(dst, w);
]], "")
expect("a step behind which something is read stays", once(true), [[
    vec w;
    vload(w, src);
    src += SRC_H;
    vload(w, src);
    vstore(dst, w);
]])
expect("a loop of no turn is gone", function(k, src, dst)
  local w = k:vector "w"
  k:zero(w)
  k:loop(0, function() k:load(w, k:at(src)) end)
  k:store(k:at(dst), w)
end, [[
    vec w;
    (void)src;
    vzero(w);
    vstore(dst, w);
]])
expect("steps of what is never read are gone", function(k, src, dst, rows)
  local w = k:vector "w"
  k:zero(w)
  k:loop(rows, function()
    k:store(k:at(dst), w)
    k:advance(src, 96)
  end)
end, [[
    vec w;
    (void)src;
    vzero(w);
    for (long i = 0; i < rows; i++) {
        vstore(dst, w);
    }
]])
expect("a step in a loop stays, for the next turn reads behind it", function(k, src, dst)
  local w = k:vector "w"
  k:zero(w)
  k:loop(2, function()
    k:add(w, w, k:memory(k:at(src)))
    k:advance(src, 96)
  end)
  k:store(k:at(dst), w)
end, [[
    vec w;
    vzero(w);
    for (long i = 0; i < 2; i++) {
        vadd(w, w, vmem(src));
        src += SRC_H;
    }
    vstore(dst, w);
]])

---- pointers ----------------------------------------------------------------------------------------------------------

-- A copy that is stepped once; moves: what it is of moves while it is read.
local function copied(moves)
  return function(k, src, dst)
    local w, x = k:vector "w", k:copy("x", src)
    k:advance(x, 20)
    if moves then k:advance(src, 8) end
    k:load(w, k:at(x, 96))
    k:store(k:at(dst), w)
    k:load(w, k:at(src))
    k:store(k:at(dst, 8), w)
  end
end

expect("a copy that stays beside what it is of is that, with an offset", copied(false), [[
    vec w;
    vload(w, src + SRC_H + SRC_W);
    vstore(dst, w);
    vload(w, src);
    vstore(dst + LANES, w);
]])
expect("a copy of what moves is a pointer of its own, which begins where its first steps lead", copied(true), [[
    vec w;
    const float *x = src + SRC_W;
    src += LANES;
    vload(w, x + SRC_H);
    vstore(dst, w);
    vload(w, src);
    vstore(dst + LANES, w);
]])
expect("a copy that a loop reads before it moves what it is of is a pointer of its own", function(k, src, dst, rows)
  local w, x = k:vector "w", k:copy("x", src)
  k:loop(rows, function()
    k:load(w, k:at(x))
    k:add(w, w, k:memory(k:at(src)))
    k:store(k:at(dst), w)
    k:advance(src, 96)
  end)
end, [[
    vec w;
    const float *x = src;
    for (long i = 0; i < rows; i++) {
        vload(w, x);
        vadd(w, w, vmem(src));
        vstore(dst, w);
        src += SRC_H;
    }
]])
expect("pointers of one name, one behind the other, have a scope each", function(k, src, dst, rows)
  local w = k:vector "w"
  for i = 0, 1 do
    local x = k:copy("x", src)
    k:loop(rows, function()
      k:load(w, k:at(x, i))
      k:store(k:at(dst, i * 16), w)
      k:advance(x, 20 + i)
    end)
  end
end, [[
    vec w;
    {
        const float *x = src;
        for (long i = 0; i < rows; i++) {
            vload(w, x);
            vstore(dst, w);
            x += SRC_W;
        }
    }
    {
        const float *x = src;
        for (long i = 0; i < rows; i++) {
            vload(w, x + 1);
            vstore(dst + DST_W, w);
            x += 21;
        }
    }
]])
expect("pointers of one name that live at once have two names", function(k, src, dst, rows)
  local w, x, y = k:vector "w", k:copy("x", src), k:copy("x", src)
  k:zero(w)
  k:loop(rows, function()
    k:add(w, w, k:memory(k:at(x)))
    k:add(w, w, k:memory(k:at(y)))
    k:advance(x, 3)
    k:advance(y, 5)
  end)
  k:store(k:at(dst), w)
end, [[
    vec w;
    const float *x = src;
    const float *x_2 = src;
    vzero(w);
    for (long i = 0; i < rows; i++) {
        vadd(w, w, vmem(x));
        vadd(w, w, vmem(x_2));
        x += 3;
        x_2 += 5;
    }
    vstore(dst, w);
]])

---- what they stand on ------------------------------------------------------------------------------------------------

case("positions of a tree are those of the program's operations", function()
  local tree = flow.tree(new(function(k, src, dst, rows)
    local w = k:vector "w"
    k:zero(w)
    k:loop(rows, function() k:add(w, w, k:memory(k:at(src))) end)
    k:store(k:at(dst), w)
  end))
  local list = {}
  for i, node in ipairs(tree) do list[i] = ("%s %d-%d"):format(node.loop and "loop" or node.op.op, node.first, node.last) end
  equal(table.concat(list, ", "), "zero 1-1, loop 2-4, store 5-5")
end)

case("an element whose value still lives is not taken", function()
  local first, second
  local found = arrays.find(new(function(k, src, dst)
    first, second = k:vector("acc", { 0 }, { "m" }), k:vector("acc", { 0 }, { "m" })
    k:load(first, k:at(src))
    k:load(second, k:at(src, 8))
    k:add(first, first, second)
    k:store(k:at(dst), first)
  end))
  equal(found[first].array.name, "acc")
  equal(found[second].array.name, "acc0_2")
end)

case("what lives into a loop lives through all of its turns", function()
  local through, within
  local found = arrays.find(new(function(k, src, dst, rows)
    through = k:vector "t"
    k:load(through, k:at(src))
    k:loop(rows, function()
      k:store(k:at(dst), through)
      within = k:vector "t"
      k:load(within, k:at(src, 8))
      k:store(k:at(dst, 8), within)
    end)
  end))
  equal(found[through].indices[1], 0)
  equal(found[within].indices[1], 1)
end)

return suite.failures()
