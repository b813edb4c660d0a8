-- Kernel programs: what is refused, how they print, how registers are given out, the templates' filler.
local suite = require "suite"
local program, registers, targets = require "program", require "registers", require "targets"
local c, template = require "lower/c", require "template"
local case, equal, refuses = suite.case, suite.equal, suite.refuses

local function new(target, type_) return program.new { name = "k", type = type_ or "f32", target = targets[target or "avx512"] } end

---- lanes -----------------------------------------------------------------------------------------------------------
case("lanes follow from target and type", function()
  for _, row in ipairs { { "avx512", "f32", 16 }, { "avx512", "f64", 8 }, { "avx2", "f32", 8 }, { "avx2", "f64", 4 },
    { "portable", "f32", 4 }, { "portable", "f64", 2 }, { "scalar", "f32", 1 }, { "scalar", "f64", 1 } } do
    equal(new(row[1], row[2]).lanes, row[3])
  end
end)

---- refusals --------------------------------------------------------------------------------------------------------
-- Each row: the sentence, and what is done to a program with an in and an out pointer, a count, a table and a zeroed register.
local misuse = {
  { "fma reads the register y, which has no value there", function(k, p) k:fma(p.v, p.v, k:vector "y") end },
  { "store reads the register y, which has no value there", function(k, p)
    local y = k:vector "y"
    k:loop(p.n, function() k:zero(y) end)
    k:store(k:at(p.dst), y)
  end },
  { "store reads the register y, which has no value there", function(k, p)
    local y = k:vector "y"
    k:loop(0, function() k:zero(y) end)
    k:store(k:at(p.dst), y)
  end },
  { "insert reads the register y", function(k, p) k:insert(k:vector "y", 0, k:at(p.src)) end },
  { "transpose reads the register y", function(k, p)
    local a, b = k:vector "a", k:vector "b"
    k:zero(a)
    k:zero(b)
    k:transpose { p.v, a, b, k:vector "y" }
  end },
  { "fill reads the slot slot0, which has no value there", function(k, p) k:fill(p.v, k:slot()) end },
  { "load reads the pointer row, which has no value there", function(k, p)
    local row
    k:loop(2, function() row = k:copy("row", p.src) end)
    k:load(p.v, k:at(row))
  end },
  { "load reads from dst, which is an out pointer", function(k, p) k:load(p.v, k:at(p.dst)) end },
  { "a memory operand reads from dst", function(k, p) k:fma(p.v, p.v, k:memory(k:at(p.dst))) end },
  { "store writes to src, which is an in pointer", function(k, p) k:store(k:at(p.src), p.v) end },
  { "store writes to row, which is an in pointer", function(k, p) k:store(k:at(k:pick("row", p.src, p.tab, 0)), p.v) end },
  { "load: the first lane is 16, allowed is 0 to 15", function(k, p) k:load(p.v, k:at(p.src), 16, 1) end },
  { "load: the first lane is -1", function(k, p) k:load(p.v, k:at(p.src), -1, 1) end },
  { "store: the number of lanes is 0, allowed is 1 to 16", function(k, p) k:store(k:at(p.dst), p.v, 0, 0) end },
  { "load: the number of lanes is 9, allowed is 1 to 8", function(k, p) k:load(p.v, k:at(p.src), 8, 9) end },
  { "fma: the number of lanes is 9, allowed is 1 to 8", function(k, p) k:fma(p.v, p.v, p.v, 8, 9) end },
  { "an offset must be an integer, not 1.5", function(k, p) k:at(p.src, 1.5) end },
  { "an address needs a pointer, not the count n", function(k, p) k:at(p.n, 0) end },
  { "zero needs a register, not the pointer src", function(k, p) k:zero(p.src) end },
  { "add needs a register or a memory operand, not the address", function(k, p) k:add(p.v, p.v, k:at(p.src)) end },
  { "add needs a register, not the memory operand", function(k, p) k:add(p.v, k:memory(k:at(p.src)), p.v) end },
  { "loop needs a count, not the pointer src", function(k, p) k:loop(p.src, function() end) end },
  { "a loop count is -1", function(k) k:loop(-1, function() end) end },
  { "pick needs a table, not the count n", function(k, p) k:pick("q", p.src, p.n, 0) end },
  { "advance needs a pointer or a table", function(k, p) k:advance(p.n, 1) end },
  { "transpose needs 4 registers of f32, not 2", function(k, p) k:transpose { p.v, k:vector "w" } end },
  { "transpose got the register v twice", function(k, p) k:transpose { p.v, p.v, p.v, p.v } end },
  { "insert: the part is 4, allowed is 0 to 3", function(k, p) k:insert(p.v, 4, k:at(p.src)) end },
  { "a cache level is 4, allowed is 1 to 3", function(k, p) k:prefetch(k:at(p.src), 4) end },
  { "constant needs a number, not", function(k, p) k:constant(p.v, 0 / 0) end },
  { "constant needs a number, not x", function(k, p) k:constant(p.v, "x") end },
  { "1a is no name", function(k) k:vector "1a" end },
  { "begins with cg_", function(k) k:vector "cg_y" end },
  { "the argument name src is taken", function(k) k:count "src" end },
  { "the argument name for is taken", function(k) k:count "for" end },
  { "the pointer q is input; in, out and inout are allowed", function(k) k:pointer("q", "input") end },
  { "zero got the register x of another program", function(k) k:zero(new():vector "x") end },
  { "finish inside a loop", function(k) k:loop(2, function() k:finish() end) end },
}
for _, row in ipairs(misuse) do
  case("refused: " .. row[1], function()
    local k = new()
    local p = { src = k:pointer("src", "in"), dst = k:pointer("dst", "out"), n = k:count "n", tab = k:table "tab", v = k:vector "v" }
    k:zero(p.v)
    refuses(row[1], function()
      row[2](k, p)
      k:finish()
    end)
  end)
end

case("refused: after finish, and before it", function()
  local k = new()
  local v = k:vector "v"
  refuses("lowered before finish", function() c.kernel(k) end)
  refuses("registers before finish", function() registers.allocate(k, k.target) end)
  k:finish()
  refuses("zero after finish", function() k:zero(v) end)
  refuses("finish twice", function() k:finish() end)
end)

case("refused: parts on scalars, unknown types", function()
  local k = new "scalar"
  local v, p = k:vector "v", k:pointer("p", "in")
  refuses("insert needs vectors, and scalar has none", function() k:insert(v, 0, k:at(p)) end)
  refuses("the type f16 is none of f32, f64", function() new("avx2", "f16") end)
end)

case("a loop that runs at least once gives values", function()
  local k = new()
  local v, dst = k:vector "v", k:pointer("dst", "out")
  k:loop(1, function() k:zero(v) end)
  k:store(k:at(dst), v)
  k:finish()
end)

---- text ------------------------------------------------------------------------------------------------------------
local function example()
  local k = program.new { name = "example", type = "f32", target = targets.avx512 }
  local src, dst, rows, at = k:pointer("src", "in"), k:pointer("dst", "inout"), k:count "rows", k:table "at"
  k:count "unused"
  local acc, acc2, x = k:vector "acc", k:vector "acc", k:vector "x"
  k:vector "never"
  k:comment "two chains */ here"
  k:zero(acc)
  k:constant(acc2, 0.625)
  k:loop(rows, function()
    local row = k:pick("row", src, at, 2)
    k:load(x, k:at(row, -3), 3, 5)
    k:fma(acc, x, k:memory_broadcast(k:at(src, 1)))
    k:loop(2, function() k:fnma(acc2, x, k:memory(k:at(src)), 1, 3) end)
    k:mul(x, x, k:memory_broadcast(k:at(src)))
    k:advance(src, 16)
    k:advance(at, -1)
  end)
  local slot = k:slot()
  k:spill(slot, acc)
  k:fill(acc2, slot)
  k:move(acc2, acc)
  k:insert(acc, 1, k:at(dst, 4))
  k:extract(k:at(dst), acc, 3)
  k:prefetch(k:at(src, 64))
  k:store(k:at(dst), acc, 0, 10)
  k:stream(k:at(dst, 16), acc2)
  return k:finish()
end

case("program.print", function()
  equal(program.print(example()), [[
example(src: in, dst: inout, rows: count, at: table, unused: count)  f32 x 16, avx512
  -- two chains * / here
  zero      acc
  constant  acc_2, 0.625
  loop rows
    pick      row, src, at, 2
    load      x, [row - 3] lanes 3..7
    fma       acc, x, [src + 1]{all}
    loop 2
      fnma      acc_2, x, [src] lanes 1..3
    mul       x, x, [src]{all}
    advance   src, 16
    advance   at, -1
  spill     slot0, acc
  fill      acc_2, slot0
  move      acc_2, acc
  insert    acc, 1, [dst + 4]
  extract   [dst], acc, 3
  prefetch  [src + 64], 1
  store     [dst], acc lanes 0..9
  stream    [dst + 16], acc_2
]])
end)

case("lower/c.kernel", function()
  equal(c.kernel(example()), [[
static void example(const float *src, float *dst, long rows, const long *at, long unused) {
    vec acc, acc_2, x, slot0, cg_y;
    (void)unused;
    /* two chains * / here */
    vzero(acc);
    vset(acc_2, 0.625);
    for (long i = 0; i < rows; i++) {
        const float *row = src + at[2];
        vload_range(x, row - 3, 3, 5);
        vfma_all(acc, x, src + 1);
        for (long j = 0; j < 2; j++) {
            vfnma_range(acc_2, x, vmem(src), 1, 3);
        }
        vbroadcast(cg_y, src); vmul(x, x, cg_y);
        src += 16;
        at -= 1;
    }
    vmove(slot0, acc);
    vmove(acc_2, slot0);
    vmove(acc_2, acc);
    vinsert(acc, 1, dst + 4);
    vextract(dst, acc, 3);
    vprefetch(src + 64, 1);
    vstore_range(dst, acc, 0, 10);
    vstream(dst + 16, acc_2);
    vfence();
}
]])
end)

case("constants share a pool, which tells zeros apart", function()
  local k = new()
  local v = k:vector "v"
  for _, value in ipairs { 1, 1.0, 0.0, -0.0, 0.1, math.huge, -math.huge } do k:constant(v, value) end
  equal(#k:finish().pool, 6)
  local text = c.kernel(k)
  for _, spelled in ipairs { "v, 1.0)", "v, 0.0)", "v, -0.0)", "v, 0.1)", "v, (1.0 / 0.0))", "v, (-1.0 / 0.0))" } do
    assert(text:find(spelled, 1, true), spelled)
  end
  equal(program.number_text(1 / 3), "0.3333333333333333")
  equal(tonumber(program.number_text(0.1 + 0.2)), 0.1 + 0.2)
end)

---- registers -------------------------------------------------------------------------------------------------------
-- A tile of m x v accumulators with v weights, as the direct family has.
local function tile(target, m, v, operand, rest)
  local k = new(target)
  local src, dst, n = k:pointer("src", "in"), k:pointer("dst", "out"), k:count "n"
  local acc, w, x = {}, {}, k:vector "x"
  for i = 1, m * v do acc[i] = k:vector "acc"; k:zero(acc[i]) end
  for i = 1, v do w[i] = k:vector "w" end
  k:loop(n, function()
    for i = 1, v do k:load(w[i], k:at(src, i)) end
    for i = 1, m do
      if not operand then k:broadcast(x, k:at(src, i)) end
      for j = 1, v do k:fma(acc[(i - 1) * v + j], w[j], operand and k:memory_broadcast(k:at(src, i)) or x) end
    end
  end)
  for i = 1, m * v do k:store(k:at(dst, i), acc[i], 0, rest) end
  return k:finish(), acc, x
end

local function used(k)
  local r, why = registers.allocate(k, k.target)
  return r and r.used or why
end

case("registers of tiles", function()
  equal(used(tile("avx512", 7, 4, true)), 32)
  equal(used(tile("avx512", 7, 4)), "needs 33 registers, avx512 has 32")
  equal(used(tile("avx2", 6, 2)), 15)
  equal(used(tile("avx2", 6, 2, true)), 15) -- the temporary
  equal(used(tile("avx2", 7, 2, true)), "needs 17 registers, avx2 has 16")
  equal(used(tile("portable", 1, 1)), 3)
end)

case("a mask takes a register of its own, or where there is none one that is done with", function()
  equal(used(tile("avx2", 6, 2, false, 3)), 16)
  local k, acc, x = tile("avx2", 4, 3, false, 3)
  local r = registers.allocate(k, k.target)
  equal(r.used, 16)
  equal(r.short, "needs 17 registers, avx2 has 16")
  for i = 1, #acc do if r.map[acc[i]] == r.temporary then error "a sum that is not stored yet has the mask's register" end end
  equal(r.map[x] < 16 and r.temporary < 16, true)
  k = new("avx2")
  local p, all = k:pointer("p", "inout"), {}
  for i = 1, 16 do all[i] = k:vector "a"; k:load(all[i], k:at(p, i)) end
  for i = 1, 16 do k:store(k:at(p, i), all[i], 0, 3) end
  equal(used(k:finish()), "needs 17 registers, avx2 has 16")
end)

case("a target whose arithmetic takes nothing from memory needs a register for what it loads", function()
  local k = new()
  local p, v = k:pointer("p", "inout"), k:vector "v"
  k:zero(v)
  k:add(v, v, k:memory(k:at(p)))
  k:store(k:at(p), v)
  k:finish()
  local target = { name = "some", registers = 8, mask_registers = true, broadcast_operand = true }
  equal(registers.allocate(k, target).used, 1)
  equal(registers.allocate(k, setmetatable({ operands = "registers" }, { __index = target })).temporary, 1)
end)

case("a register is free again after its last use, but not inside a loop that it enters", function()
  local k = new()
  local p, a, b, late = k:pointer("p", "inout"), k:vector "a", k:vector "b", k:vector "late"
  k:zero(a)
  k:loop(3, function()
    k:store(k:at(p), a) -- a is read in each round: b must not take its place
    k:zero(b)
    k:store(k:at(p), b)
  end)
  k:zero(late)
  k:store(k:at(p), late)
  k:finish()
  local r = registers.allocate(k, k.target)
  equal(r.used, 2)
  equal(r.map[a], 0)
  equal(r.map[b], 1)
  equal(r.map[late], 0)
end)

case("a value that is never read holds its place for a moment", function()
  local k = new()
  local a, b, sum = k:vector "a", k:vector "b", k:vector "sum"
  k:zero(a)
  k:zero(b)
  k:add(sum, a, a)
  k:finish()
  equal(registers.allocate(k, k.target).map[b], 1)
  equal(used(k), 2)
end)

-- Random programs: no two registers that are live at once may share; "live" is found by a different way, running the program.
local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
case("random programs keep their values, seed " .. seed, function()
  math.randomseed(seed)
  for _ = 1, 300 do
    local k = new()
    local v, known = {}, {}
    for i = 1, 8 do v[i] = k:vector "v" end
    local function pick_known()
      local list = {}
      for _, r in ipairs(v) do if known[r] then list[#list + 1] = r end end
      return list[math.random(math.max(#list, 1))]
    end
    local function block(depth)
      for _ = 1, math.random(6) do
        local x, y, d = pick_known(), pick_known(), v[math.random(8)]
        local dice = math.random(4)
        if dice == 1 and depth < 3 then
          local n, before = math.random(0, 2), {}
          for r in pairs(known) do before[r] = true end
          k:loop(n, function() block(depth + 1) end)
          if n == 0 then known = before end
        elseif dice == 2 or not x then
          k:constant(d, math.random(100))
          known[d] = true
        else
          k:add(d, x, y)
          known[d] = true
        end
      end
    end
    block(1)
    k:finish()
    local r = registers.allocate(k, { name = "many", registers = 99, broadcast_operand = true })
    -- Runs the program over names and over machine numbers at once; every value read must agree.
    local virtual, machine = {}, {}
    local function write(d, value) virtual[d], machine[r.map[d]] = value, value end
    local function read(x)
      if virtual[x] ~= machine[r.map[x]] then error(x.name .. " lost its value in\n" .. program.print(k)) end
      return virtual[x]
    end
    local count = 0
    local function run(ops)
      for _, op in ipairs(ops) do
        if op.op == "loop" then for _ = 1, op.count do run(op.body) end
        elseif op.op == "constant" then count = count + 1; write(op.d, count)
        else
          read(op.x); read(op.y)
          count = count + 1
          write(op.d, count)
        end
      end
    end
    run(k.body)
  end
end)

---- templates -------------------------------------------------------------------------------------------------------
case("template.fill", function()
  local original = template_text
  template_text = function() return "@A@ and @B_2@, x@y.z" end
  equal(template.fill("t", { A = "@B_2@", B_2 = 5 }), "@B_2@ and 5, x@y.z")
  refuses("template t: no value for @B_2@", function() template.fill("t", { A = "" }) end)
  refuses("template t: has no place for @C@", function() template.fill("t", { A = "", B_2 = "", C = "" }) end)
  template_text = original
end)

case("every target has a prelude", function()
  for _, name in ipairs { "avx512", "avx2", "portable", "scalar" } do
    for _, type_ in ipairs { "f32", "f64" } do
      assert(not c.prelude(type_, targets[name]):find "@[%u_]+@")
    end
  end
end)

return suite.failures()
