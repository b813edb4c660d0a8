-- A second instruction set is a file of isa/ and a row of targets: one that is made up here, of four bytes an instruction, with
-- which programs are lowered and a network is emitted beside x86's.
local suite = require "suite"
local targets, program, machine, code = require "targets", require "program", require "lower/machine", require "lower/code"
local convgen = require "convgen"

---- the instruction set -------------------------------------------------------------------------------------------------------
local function put(s, name, ...)
  code.put(s, string.pack("<I4", #name), s.texts and ("%s %s"):format(name, table.concat({ ... }, ", ")))
end

local function where(s, thing) return s.register[thing] and "x" .. s.register[thing] or "[sp]" end

local operations = setmetatable({}, { __index = function(_, name)
  return function(s, op)
    if op.p and not op.from then return put(s, "add", where(s, op.p), op.elements * op.p.bytes) end
    put(s, name, op.d and "v" .. s.map[op.d] or op.x and "v" .. s.map[op.x] or "", op.a and where(s, op.a.pointer) or "")
  end
end })

function operations.constant(s, op)
  put(s, "literal", "v" .. s.map[op.d])
  code.reads_pool(s, code.constant(s, op.index), "v" .. s.map[op.d])
end

function operations.loop(s, op)
  local skip = type(op.count) == "table" and code.jump(s, "skip")
  local first = s.n + 1
  code.block(s, op.body)
  code.jump_back(s, "again", first)
  if skip then code.land(s, skip) end
end

local made_up = {
  general = { 0, 1, 2, 3 }, incoming = { 0, 1, 2, 3 }, sections = {}, operations = operations, stored = {},
  prologue = function(s) put(s, "enter", #s.on_stack) end,
  epilogue = function(s) put(s, "leave") end,
  jump = function(name, size, back) return string.pack("<i4", back and -size or size), name end,
  fix = function(s, fixup, distance, symbol)
    s.code[fixup.item] = string.pack("<i4", distance)
    if s.texts then s.texts[fixup.item] = ("literal %s, %s"):format(fixup.how, symbol) end
  end,
  emitted = { name = "made-up", macro = "MADE_UP", defined = "defined(__made_up__)", processors = "made-up", prepare = "",
    supports = "has_%s()" },
}
package.loaded["isa/made_up"] = made_up
targets.made_up = { name = "made_up", bits = 128, registers = 32, needs = { "things" }, flags = "", isa = "made_up",
  intrinsics = "0", mask_registers = true, operands = "registers" }
for field, value in pairs(targets.avx2) do
  if targets.made_up[field] == nil and field ~= "broadcast_operand" then targets.made_up[field] = value end
end

---- programs ------------------------------------------------------------------------------------------------------------------
local function example(target)
  local k = program.new { name = "f", type = "f32", target = target }
  local from, to, n, v, w = k:pointer("from", "in"), k:pointer("to", "out"), k:count "n", k:vector "v", k:vector "w"
  k:constant(v, 2)
  k:loop(n, function()
    k:load(w, k:at(from))
    k:add(v, v, w)
    k:advance(from, k.lanes)
  end)
  k:store(k:at(to), v)
  return k:finish()
end

suite.case("a program becomes its instructions: jumps, the pool, places of pointers", function()
  local lines = {}
  for line in machine.assembly(example(targets.made_up)):gmatch '"([^"\n]*)\\n"' do lines[#lines + 1] = line end
  suite.equal(table.concat(lines, "\n"), [[
.text
.balign 64
f:
  enter 0
  literal v0, .Lf_pool+0
  skip .Lf_8
.Lf_4:
  load v1, x0
  add v0, 
  add x0, 16
  again .Lf_4
.Lf_8:
  store v0, x1
  leave 
.balign 32
.Lf_pool:
  .long 0x40000000]])
  local bytes = machine.bytes(example(targets.made_up))
  suite.equal(string.unpack("<i4", bytes, 9), 16) -- the jump over the loop
  suite.equal(string.unpack("<i4", bytes, 5), 56) -- from the end of the second instruction to the pool, which is aligned
  suite.equal(#bytes, 68)
end)

suite.case("a program of one lane is lowered for the target that it runs on", function()
  local text = machine.listing(example(targets.scalar), targets.made_up)
  assert(text:find("enter 0", 1, true) and text:find("literal v0", 1, true), text)
end)

---- a network -----------------------------------------------------------------------------------------------------------------
local function network(form)
  local p = { pass = "forward", type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", batch = 1, groups = 1,
    ic = 5, oc = 20, input = { 1, 5, 5 }, output = { 1, 5, 5 }, kernel = { 1, 3, 3 }, stride = { 1, 1, 1 },
    dilation = { 1, 1, 1 }, pad = { 0, 1, 1 }, bias = true, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 }, text = "some" }
  local files = {}
  local machine_here = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }
  local layer = { name = "one", threads = 1, multiplicity = 1, problem = p, kernels = {} }
  local list = { "avx2", "made_up", "portable" }
  for i in ipairs(list) do layer.kernels[i] = { schedule = "plain", from = "a test" } end
  assert(convgen.emit({ key = "none", prefix = "net", form = form, version = "0", machine = machine_here, targets = list,
    layers = { layer } }, function(name, text) files[name] = text end))
  return files
end

suite.case("it is emitted beside another one", function()
  for _, form in ipairs { "c", "asm" } do
    local files = network(form)
    local function has(file, text) assert(files[file]:find(text, 1, true), file .. " lacks " .. text .. "\n" .. files[file]) end
    has("net.c", "#if NET_X86\n    AVX2,\n#endif\n#if NET_MADE_UP\n    MADE_UP,\n#endif\n    PORTABLE,")
    has("net.c", "#if NET_X86 || NET_MADE_UP\n")
    has("net.c", "#if NET_MADE_UP\n    if (t == MADE_UP) return has_things();\n#endif")
    has("net_internal.h", "#if defined(__made_up__) && defined(__GNUC__)")
    has("net_one_made_up.c", "#if NET_MADE_UP\n" .. (form == "c" and "#include" or "/*"))
    if form == "c" then has("CMakeLists.txt", 'MATCHES "made-up"') else has("net_one_made_up.c", "\"  leave") end
  end
end)

return suite.failures()
