-- emit_network.lua: a whole network in emitted files: its operations, where their operands lie, what is packed.
--
-- network.net: text, name (of its file); layer_of, for each operation of its plan the number of the layer that it is,
-- 0 for others; bytes, hash (CRC-32 as a number) of its weights; embed. `begin` adds network.plan, whose operations
-- have `layer`: a layer of the list, or one of network.others: { id, operation = as network/kernels.lua has it,
-- sentence, kernels }. `place`, once all kernels are written, says where all lies.
local kernels = require "network/kernels"
local network_file, network_plan = require "network/file", require "network/plan"
local network_text, network_types = require "network/text", require "network/types"
local types, parts = require "types", require "parts"
local activations, functions = require "activations", require "functions"
local template = require "template"
local words = require "emit_words"
local whole = {}

local function round64(n) return (n + 63) // 64 * 64 end

local function planned(net, workspaces)
  local parsed, why = network_file.parse(net.text, net.name)
  if not parsed then return nil, why end
  return network_text.caught(network_plan.of, parsed, { workspaces = workspaces })
end

---- operations that are no layers -------------------------------------------------------------------------------------

-- What tells an operation on views from others: tables as text, whatever their order.
local function spelled(value)
  if type(value) ~= "table" then return tostring(value) end
  local names, list = {}, {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for i, name in ipairs(names) do list[i] = tostring(name) .. "=" .. spelled(value[name]) end
  return "{" .. table.concat(list, ",") .. "}"
end

local function other(network, o, known, claim)
  local key = spelled(o.kernel)
  if not known[key] then
    known[key] = { id = claim(o.name), operation = o.kernel, sentence = o.sentence, threads = 1, kernels = {} }
    known[key].same = known[key]
    for i = 1, #network.targets do known[key].kernels[i] = {} end
    table.insert(network.others, known[key])
  end
  return known[key]
end

-- claim(name): a name in C that is like it, and free.
function whole.begin(network, claim)
  local plan, why = planned(network.net)
  if not plan then return nil, why end
  network.plan, network.others = plan, {}
  local known = {}
  for i, o in ipairs(plan.operations) do
    o.layer = network.layers[network.net.layer_of[i]] or other(network, o, known, claim)
  end
  return true
end

-- Kernels and stages of one of the others.
function whole.build(layer, target) return kernels.build(layer.operation, layer.operation.views, target, 1) end

---- where all lies ----------------------------------------------------------------------------------------------------

local function most(layer, size)
  local n = 0
  for _, kernel in ipairs(layer.same.kernels) do n = math.max(n, size(kernel)) end
  return n
end

local function shared_and_scratch(kernel) return kernel.shared + kernel.scratch end

local function weights_bytes(p)
  for _, o in ipairs(words.operands(p)) do
    if o.slot == "weights" then return words.elements(o.shape) * types.bytes(o.type) end
  end
end

-- A convolution's packed weights, bias and slope, and the room that making them needs.
local function sizes_of(o, i)
  local p = o.layer.problem
  local bytes, vector = weights_bytes(p), p.oc * types.bytes(p.type)
  local s = { operation = o, index = i, doubles = round64(16 * p.oc), weights = round64(bytes),
    packed = round64(most(o.layer, function(k) return k.packed > 0 and k.packed or bytes end)),
    bias = p.bias and round64(vector) or 0, slope = parts.slopes(p) and round64(vector) or 0 }
  s.room = s.doubles
    + most(o.layer, function(k) return k.packed > 0 and s.weights + shared_and_scratch(k) or 0 end)
  return s
end

-- Who needs most room is packed first: the room is behind it, where others come later.
local function place_weights(plan)
  local list, at, bytes = {}, 64, 64
  for i, o in ipairs(plan.operations) do if o.problem then list[#list + 1] = sizes_of(o, i) end end
  table.sort(list, function(a, b) return a.room > b.room or a.room == b.room and a.index < b.index end)
  for _, s in ipairs(list) do
    s.operation.packed = s
    s.at = { weights = at, bias = at + s.packed, slope = at + s.packed + s.bias }
    at = at + s.packed + s.bias + s.slope
    s.room_at, bytes = at, math.max(bytes, at + s.room)
  end
  plan.packing, plan.packed_bytes = list, bytes
  return at
end

local function view_bytes(v)
  local last = 0
  for i, size in ipairs(v.dims) do
    if size == 0 then return 0 end
    last = last + (size - 1) * v.strides[i]
  end
  return (last + 1) * network_types.bytes(v.type)
end

-- Operands that operations read as the file has them, each once.
local function place_constants(plan, at)
  local known = {}
  plan.constants = {}
  for _, o in ipairs(plan.operations) do
    for slot, place in pairs(o.kernel and o.operands or {}) do
      if place.place == "weights" then known[place.offset] = math.max(known[place.offset] or 0,
        view_bytes(o.kernel.views[slot])) end
    end
  end
  for offset, bytes in pairs(known) do table.insert(plan.constants, { from = offset, bytes = bytes }) end
  table.sort(plan.constants, function(a, b) return a.from < b.from end)
  for _, c in ipairs(plan.constants) do
    c.to, at = at, at + round64(c.bytes)
    plan.constants[c.from] = c
  end
  plan.packed_bytes = math.max(plan.packed_bytes, at)
end

-- The plan anew, with the workspaces of all kernels.
function whole.place(network)
  local first, workspaces = network.plan, {}
  for i, o in ipairs(first.operations) do workspaces[i] = most(o.layer, shared_and_scratch) end
  local plan, why = planned(network.net, workspaces)
  if not plan then return nil, why end
  for i, o in ipairs(plan.operations) do o.layer = first.operations[i].layer end
  place_constants(plan, place_weights(plan))
  network.plan = plan
  return true
end

---- as C --------------------------------------------------------------------------------------------------------------

local bases = { packed = 1, arena = 2 } -- behind them inputs, then outputs
local slots = { "src", "weights", "residual", "bias", "slope", "dst" }

local function place_text(plan, o, slot)
  local place = o.operands[slot]
  if not place then return "{ 0, 0 }" end
  local base, offset = 3 + place.index, place.offset
  if place.place == "output" then base = base + #plan.inputs
  elseif place.place == "arena" then base = bases.arena
  elseif place.place == "weights" then base, offset = bases.packed, plan.constants[offset].to
  elseif place.place == "prepared" then base, offset = bases.packed, o.packed.at[slot] end
  return ("{ %d, %d }"):format(base, offset)
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\127-\255?]', function(c) return ("\\%03o"):format(c:byte()) end) .. '"'
end

local function comment(text) return "/* " .. text:gsub("%*/", "* /"):gsub("/%*", "/ *"):gsub("%c", " ") .. " */" end

local function operation_row(network, o)
  local list = {}
  for i, slot in ipairs(slots) do list[i] = place_text(network.plan, o, slot) end
  local workspace = o.operands.workspace
  return ("    %s\n    { %s, %s_%s_kernels, { %s }, %d },"):format(comment(o.sentence), quoted(o.name), network.prefix,
    o.layer.same.id, table.concat(list, ", "), workspace and workspace.offset or 0)
end

-- A number in C, exactly.
local function number(x)
  if x ~= x then return "0.0 / 0.0" elseif x == math.huge then return "1.0 / 0.0" end
  return x == -math.huge and "-1.0 / 0.0" or ("%.17g"):format(x)
end

-- A vector of the weights file, a number, or nothing.
local function vector_text(v)
  if not v then return "{ -2, 0, 0, 0 }" end
  if type(v) == "number" then return ("{ -1, 0, 0, %s }"):format(number(v)) end
  local stride = #v.dims > 0 and v.dims[1] > 1 and v.strides[1] or 0
  return ("{ %d, %d, %d, 0 }"):format(types.rows[v.type].number, v.offset, stride)
end

local folds = { mul = 0, div = 1, add = 2, sub = 3, batchnorm = 4 }

local function fold_row(step)
  local list = {}
  for i = 1, 4 do list[i] = vector_text(step.operands[i]) end
  return ("    { %d, %s, { %s } },"):format(folds[step.what], number(step.epsilon or 0), table.concat(list, ", "))
end

-- The first `count` numbers of a list as those of three axes.
local function three(list, count, otherwise)
  local numbers = {}
  for i = 1, 3 do numbers[i] = i > 3 - count and list[i - 3 + count] or otherwise end
  return "{ " .. table.concat(numbers, ", ") .. " }"
end

-- A row of what P_pack does for a convolution; its folds are those from `first` on.
local function packing_row(network, s, first)
  local o, p, w = s.operation, s.operation.layer.problem, s.operation.prepare.weights
  local rank = #w.dims
  local function at(slot, there) return there and s.at[slot] or 0 end
  local rows = {
    { ("%s_%s_kernels"):format(network.prefix, o.layer.same.id), types.rows[p.type].number, p.oc,
      p.op == "transposed" and 1 or 0, p.ic // p.groups, p.oc // p.groups },
    { types.rows[w.type].number, w.offset, three(w.dims, rank - 2, 1), three(w.strides, rank - 2, 0) },
    { w.dims[rank - 1], w.dims[rank], w.strides[rank - 1], w.strides[rank] },
    { vector_text(o.prepare.bias), vector_text(o.prepare.slope), first, #o.prepare.steps },
    { s.at.weights, at("bias", p.bias), at("slope", parts.slopes(p)), s.room_at, s.doubles, s.weights },
  }
  for i, row in ipairs(rows) do rows[i] = table.concat(row, ", ") end
  return ("    %s\n    { %s },"):format(comment(o.name), table.concat(rows, ",\n      "))
end

local function packing_rows(network)
  local rows, steps = {}, {}
  for i, s in ipairs(network.plan.packing) do
    rows[i] = packing_row(network, s, #steps)
    for _, step in ipairs(s.operation.prepare.steps) do steps[#steps + 1] = fold_row(step) end
  end
  return table.concat(rows, "\n"), table.concat(steps, "\n"), #steps
end

local function constant_rows(network)
  local rows = {}
  for i, c in ipairs(network.plan.constants) do rows[i] = ("    { %d, %d, %d },"):format(c.to, c.from, c.bytes) end
  return table.concat(rows, "\n")
end

-- 32 bits that other kernels, another order or another version would change (FNV-1a).
local function digest(text)
  local h = 0x811c9dc5
  for i = 1, #text do h = ((h ~ text:byte(i)) * 0x01000193) & 0xffffffff end
  return h
end

local function described(network)
  local list = { network.version, network.form, network.net.text }
  for _, s in ipairs(network.plan.packing) do
    list[#list + 1] = ("%d"):format(s.at.weights)
    for i, kernel in ipairs(s.operation.layer.same.kernels) do
      list[#list + 1] = ("%s %s"):format(network.targets[i], kernel.schedule)
    end
  end
  return table.concat(list, "\n")
end

---- the call ----------------------------------------------------------------------------------------------------------

local reserved = {}
for word in ([[packed workspace base alignas alignof and and_eq asm auto bitand bitor bool break case catch char class
  compl const constexpr continue decltype default delete do double else enum explicit export extern false float for
  friend goto if inline int int64_t long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
  protected public register reinterpret_cast requires restrict return short signed sizeof static static_assert
  static_cast struct switch template this throw true try typedef typeid typename typeof union unsigned using virtual
  void volatile wchar_t while xor xor_eq concept concepts thread_local dynamic_cast const_cast linux unix]]):gmatch "%S+"
do reserved[word] = true end

local c_types = { i64 = "int64_t" }

-- Inputs and outputs, with their names in C.
local function ports(plan)
  local taken, list = {}, {}
  local function add(port, written)
    local name = port.name:gsub("[^%w_]", "_")
    if not name:match "^%a" or reserved[name] then name = "t_" .. name end
    while taken[name] or reserved[name] do name = name .. "_" end
    taken[name] = true
    list[#list + 1] = { name = name, type = c_types[port.type] or types.c(port.type), written = written, port = port }
  end
  for _, port in ipairs(plan.inputs) do add(port) end
  for _, port in ipairs(plan.outputs) do add(port, true) end
  return list
end

local function each(list, between, text)
  local out = {}
  for i, x in ipairs(list) do out[i] = text(x, i) end
  return table.concat(out, between)
end

function whole.prototype(network)
  local function parameter(x) return ("%s%s *%s, "):format(x.written and "" or "const ", x.type, x.name) end
  return ("void %s_run(%sconst void *packed, void *workspace)"):format(network.prefix,
    each(ports(network.plan), "", parameter))
end

function whole.port_bytes(port)
  local n = network_types.bytes(port.type)
  for _, size in ipairs(port.dims) do n = n * size end
  return n
end

local function port_line(x)
  local shape = #x.port.dims > 0 and words.shape(x.port.dims) or "(one element)"
  return (" *   %-14s %s %s %s%s"):format(x.name, x.written and "output" or "input ", x.type, shape,
    x.name ~= x.port.name and ", " .. quoted(x.port.name):gsub("%*/", "* /") or "")
end

-- Values of standalone_network.h.in.
function whole.header(network)
  local net, plan = network.net, network.plan
  local guard = network.guard
  return { PREFIX = network.prefix, GUARD = guard, COUNT = #plan.operations,
    PORTS = each(ports(plan), "\n", port_line), PROTOTYPE = whole.prototype(network),
    WEIGHTS = net.bytes, PACKED = plan.packed_bytes, WORKSPACE = plan.arena_bytes,
    EMBEDDED = net.embed and net.bytes > 0 and ("/* The weights, for %s_pack. */\nextern const unsigned int "
      .. "%s_weights[%d];\n"):format(network.prefix, network.prefix, (net.bytes + 3) // 4) or "" }
end

-- Values of standalone_network_internal.h.in.
function whole.internal(network)
  return { PREFIX = network.prefix, GUARD = network.guard, COUNT = #network.plan.operations,
    CONVOLUTIONS = #network.plan.packing }
end

-- Values of standalone_network.c.in, but for the tables of kernels.
function whole.dispatch(network)
  local plan = network.plan
  local packings, steps, step_count = packing_rows(network)
  return { PREFIX = network.prefix, GUARD = network.guard, PROTOTYPE = whole.prototype(network),
    ROWS = each(plan.operations, "\n", function(o) return operation_row(network, o) end),
    BASES = each(ports(plan), ", ", function(x) return "(char *)" .. x.name end),
    PACKINGS = packings, FOLDS = step_count > 0 and steps or "    { 0, 0, { { 0, 0, 0, 0 } } },",
    CONSTANTS = #plan.constants > 0 and constant_rows(network) or "    { 0, 0, 0 },",
    HASH = ("0x%08xu"):format(network.net.hash), DIGEST = ("0x%08xu"):format(digest(described(network))) }
end

---- what the programs know --------------------------------------------------------------------------------------------

local function braces(list) return "{ " .. table.concat(list, ", ") .. " }" end

-- Values of standalone_network_programs.h.in.
function whole.programs(network)
  local plan = network.plan
  local list = ports(plan)
  return { PREFIX = network.prefix, GUARD = network.guard, INPUTS = #plan.inputs, PORTS = #list,
    ROWS = each(list, "\n", function(x)
      return ("    { %s, %d, %d },"):format(quoted(x.port.name), whole.port_bytes(x.port),
        ({ f32 = 0, f64 = 1, i64 = 2 })[x.port.type])
    end),
    ARGUMENTS = each(list, ", ", function(_, i) return ("(void *)base[%d]"):format(i + 2) end) }
end

-- An operation's fields that are lists of numbers, their C type's members.
local lists = { "axes", "kernel", "stride", "pad", "dilation", "before", "indices", "factors" }
local texts = { "op", "mode", "coordinates", "rounding" }

local function numbers(list)
  local out = {}
  for i, x in ipairs(list) do out[i] = math.type(x) == "integer" and tostring(x) or number(x) end
  return #out > 0 and braces(out) or "{ 0 }"
end

local function view_text(v)
  return ('{ "%s", %d, %s, %s }'):format(v.type, #v.dims, numbers(v.dims), numbers(v.strides))
end

local slot_number = {}
for i, slot in ipairs(slots) do slot_number[slot] = i - 1 end

local function step_operand(x)
  if type(x) == "table" then return ("{ CG_OF_NUMBER, 0, %s }"):format(number(x.value)) end
  if type(x) == "string" then return ("{ CG_OF_SLOT, %d, 0 }"):format(slot_number[x]) end
  return ("{ CG_OF_STEP, %d, 0 }"):format(x)
end

local function step_text(step)
  local operands = {}
  for i = 2, #step do operands[i - 1] = step_operand(step[i]) end
  return ('{ "%s", %d, %s, %s, %s }'):format(step[1], #operands, #operands > 0 and braces(operands) or "{ { 0 } }",
    number(step.lo or 0), number(step.hi or 0))
end

-- A cg_operation.
local function description(k)
  local fields = {}
  local function put(name, text) fields[#fields + 1] = (".%s = %s"):format(name, text) end
  for _, name in ipairs(texts) do if k[name] then put(name, quoted(k[name])) end end
  for _, name in ipairs(lists) do
    if k[name] and #k[name] > 0 then put(name, ("{ %d, %s }"):format(#k[name], numbers(k[name]))) end
  end
  if k.steps and #k.steps > 0 then
    put("steps", #k.steps)
    put("step", "{ " .. each(k.steps, ",\n          ", step_text) .. " }")
  end
  if k.counted then put("counted", "true") end
  if k.epsilon then put("epsilon", number(k.epsilon)) end
  if k.value then put("value", number(k.value)) end
  put("view", "{ " .. each(slots, "", function(slot)
    local v = k.views[slot]
    return v and ("\n          [%d] = %s,"):format(slot_number[slot], view_text(v)) or ""
  end) .. " }")
  return "{ " .. table.concat(fields, ", ") .. " }"
end

-- A convolution as the self-check's loops have it: `place` is where it comes among those that are packed.
local function convolution_text(layer, place)
  local p, e = layer.problem, layer.problem.epilogue
  local function flag(x) return x and 1 or 0 end
  local src, dst = p.src_stride or 0, p.dst_stride or 0
  return ("{ %s,\n      %s }"):format(table.concat({ place, types.rows[p.type].number, flag(p.op == "transposed"),
      flag(p.bias), e.residual_last and 2 or flag(e.residual), ("{ %d, %s, %s }"):format(
        activations.rows[e.activation].number, number(e.lo), number(e.hi)), p.batch, p.groups, p.ic, p.oc,
      src > 0 and src or p.ic, dst > 0 and dst or p.oc }, ", "),
    table.concat({ numbers(p.input), numbers(p.output), numbers(p.kernel), numbers(p.stride), numbers(p.dilation),
      numbers(p.pad) }, ", "))
end

-- C of `case n: ... x` for each row with such a text.
local function cases(rows)
  return each(rows, "\n", function(row, i)
    return row.exact and ("    case %d: return %s; /* %s */"):format(i - 1, row.exact, row.name) or ""
  end)
end

local function exact_functions()
  return each(functions.list, "\n", function(row)
    return ("static long double exact_%s(long double x) { return %s; }"):format(row.name, row.exact)
  end), each(functions.list, ", ", function(row) return ('{ "%s", exact_%s }'):format(row.name, row.name) end)
end

-- Values of standalone_network_selfcheck.c.in.
function whole.selfcheck(network)
  local others, convolutions, kinds = {}, {}, {}
  local number_of, place_of = {}, {}
  for i, other_layer in ipairs(network.others) do
    number_of[other_layer] = i - 1
    others[i] = "    " .. description(other_layer.operation) .. ","
  end
  for i, s in ipairs(network.plan.packing) do
    place_of[s.operation] = i - 1
    convolutions[i] = "    " .. convolution_text(s.operation.layer, i - 1) .. ","
  end
  for i, o in ipairs(network.plan.operations) do
    kinds[i] = ("%d, %d"):format(o.problem and 1 or 0, o.problem and place_of[o] or number_of[o.layer])
  end
  local definitions, rows = exact_functions()
  return { PREFIX = network.prefix, GUARD = network.guard, VERSION = network.version,
    TYPES = template.fill("operations.h.in", {}), LOOPS = template.fill("operations.c.in", {}),
    ACTIVATIONS = cases(activations.list), FUNCTIONS = definitions, FUNCTION_ROWS = rows,
    ACTIVATION_NAMES = each(activations.list, ", ", function(row) return quoted(row.name) end),
    OTHERS = #others > 0 and table.concat(others, "\n") or "    { .op = \"\" },",
    CONVOLUTIONS = table.concat(convolutions, "\n"),
    KINDS = each(kinds, "\n", function(k) return "    { " .. k .. " }," end),
    TARGETS = each(network.targets, ", ", function(name) return quoted(name) end) }
end

-- Values of standalone_network_readme.in.
function whole.readme(network)
  local plan, net = network.plan, network.net
  return { PREFIX = network.prefix, PREFIX_BYTES = network.guard, WEIGHTS = net.bytes, PACKED = plan.packed_bytes,
    WORKSPACE = plan.arena_bytes, BOUND = plan.arena_lower_bound, COUNT = #plan.operations,
    EMBEDDED = net.embed and net.bytes > 0 and (" They are the array `%s_weights` too."):format(network.prefix) or "" }
end

return whole
