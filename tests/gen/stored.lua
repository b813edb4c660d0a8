-- Elements that are stored otherwise than programs compute: a made-up type of two bytes, computed in f32.
local suite = require "suite"
local types, targets, program, driver = require "types", require "targets", require "program", require "driver"
local c, code, machine = require "lower/c", require "lower/code", require "lower/machine"
local x86 = require "isa/x86"
local convgen = require "convgen"
local case, equal, refuses = suite.case, suite.equal, suite.refuses

types.rows.half = { bytes = 2, c = "unsigned short", digits = 8, sums = "f32", pack = "<I2", number = 9 }

local function example()
  local k = program.new { name = "k", type = "f32", target = targets.avx512 }
  local from, to, sum, x = k:pointer("from", "in"), k:pointer("to", "out"), k:vector "sum", k:vector "x"
  k:zero(sum)
  k:loop(3, function()
    local at = k:copy("at", from)
    k:load(x, k:at(at, 1), 0, 5)
    k:fma(sum, x, k:memory_broadcast(k:at(at, 2)))
    k:add(sum, sum, k:memory(k:at(from)))
    k:advance(from, 4)
  end)
  k:stream(k:at(to), sum)
  return k:finish()
end

-- What a stage does that calls it: with src and dst, or others.
local function called(k, from, to)
  driver.stage { name = "s", parts = { { indices = {}, body = function(d) d:call(k, { { d[from or "src"] }, { d[to or "dst"] } }) end } } }
  return k
end

local function stored_as(list) return function(base) return list[base] or "f32" end end

case("what is called with other elements converts where they are loaded and stored, nothing else reads memory", function()
  local k = called(example())
  program.stored(k, stored_as { src = "half", dst = "half" })
  equal(program.print(k), [[
k(from: in half, to: out half)  f32 x 16, avx512
  zero      sum
  loop 3
    copy      at, from
    load      x, [at + 1] lanes 0..4
    broadcast stored, [at + 2]
    fma       sum, x, stored
    load      stored_2, [from]
    add       sum, sum, stored_2
    advance   from, 4
  store     [to], sum
]])
  local text = c.kernel(k)
  for _, words in ipairs { "k(const unsigned short *from, unsigned short *to)", "vload_half_range(x, at + 1, 0, 5);",
    "const unsigned short *at = from;", "vbroadcast_half(stored, at + 2);", "vload_half(stored_2, from);", "vstore_half(to, sum);" } do
    assert(text:find(words, 1, true), words .. "\n" .. text)
  end
end)

case("what has the type of the sums stays as it was", function()
  local k, other = called(example()), example()
  program.stored(k, stored_as {})
  equal(c.kernel(k), c.kernel(other))
  equal(machine.listing(k), machine.listing(other))
end)

case("one side alone converts", function()
  local k = called(example())
  program.stored(k, stored_as { dst = "half" })
  local text = program.print(k)
  assert(text:find("k(from: in, to: out half)", 1, true) and text:find("add       sum, sum, [from]", 1, true), text)
end)

case("an instruction set converts by rows of its own, or says what it lacks", function()
  local k = called(example())
  program.stored(k, stored_as { src = "half" })
  refuses("program k: x86-64 has no load of half", function() machine.kernel(k) end)
  local count = 0
  local function row(s) count = count + 1; code.put(s, "\x90", s.texts and "nop") end
  x86.stored.half = { load = row, broadcast = row }
  machine.kernel(k)
  equal(count, 3)
  x86.stored.half = nil
end)

case("a pointer is to one type, which is computed as its program computes", function()
  local k = example()
  called(called(k), "scratch")
  refuses("which is half", function() program.stored(k, stored_as { src = "half" }) end)
  refuses("the pointer to is to f64; what is computed in f32 is f32, half",
    function() program.stored(called(example()), stored_as { dst = "f64" }) end)
end)

case("tensors of a problem have its type, what stages keep is stored as it is computed", function()
  local p = { type = "half" }
  equal(types.of(p, "src") .. types.of(p, "scratch") .. types.of(p, "packed") .. types.computed(p), "halff32f32f32")
end)

---- families ----------------------------------------------------------------------------------------------------------

local function request(pass, layout)
  local p = { text = "some", pass = pass, type = "half", layout = layout, accuracy = "2x", weights = "changing", batch = 1, groups = 1, ic = 16,
    oc = 32, input = { 1, 8, 8 }, output = { 1, 8, 8 }, kernel = { 1, 3, 3 }, stride = { 1, 1, 1 }, dilation = { 1, 1, 1 },
    pad = { 0, 1, 1 }, bias = pass ~= "backward_data", epilogue = { residual = false, activation = "none", lo = 0, hi = 0 } }
  return { problem = p, target = "avx512", form = "c", threads = 1, all = true,
    machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} } }
end

-- A schedule of each family, as one family's are much alike.
local function each_family(r, visit)
  local seen = {}
  for _, s in ipairs(convgen.schedules(r)) do
    local family = not s.why and s.name:match "%f[%w]%a+"
    if family and not seen[family] then visit(s.name) end
    if family then seen[family] = true end
  end
  return seen
end

case("each family's kernels convert what tensors hold, and nothing that they keep", function()
  for _, pass in ipairs { "forward", "backward_data", "backward_weights" } do
    for _, layout in ipairs { "nhwc", "nchw" } do
      local seen = each_family(request(pass, layout), function(name)
        local text = assert(convgen.show(request(pass, layout), name, "program"))
        assert(text:find " half[,)]" and not text:find "panel: %w+ half", name)
      end)
      assert(seen.plain, pass)
    end
  end
end)

return suite.failures()
