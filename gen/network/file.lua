-- network/file.lua: a network file as a table, checked, and a network as such a file.
--
-- A network has
--   layout              "nchw" or "nhwc": the order of the file's dims and axes
--   weights             { file, bytes, hash }, or nil
--   tensors             by name: { name, type, dims, and `offset` (of the weights file), `input` or `from` (its
--   operation) } constants, inputs, outputs      names, in the file's order
--   operations          in order: { op, name (its first result's), operands, results, attributes, line }
-- Definitions stand before uses, so that there is no cycle. parse(print(n)) is n. Limits count lines and bytes.
local text = require "network/text"
local types = require "network/types"
local words = require "network/words"
local operations = require "network/operations"
local file = {}

local fail = text.fail
local most_lines, longest_line, most_bytes = 100000, 1 << 20, 1 << 46

---- a line's parts ----------------------------------------------------------------------------------------------------

local function skip(line, at) return line:match("^[ \t]*()", at) end

local function ended(line, at)
  at = skip(line, at)
  return at > #line or line:sub(at, at) == "#"
end

local function split_words(line, at)
  local list = {}
  at = skip(line, at)
  while not ended(line, at) do
    local word = line:match("^[^ \t]+", at)
    list[#list + 1] = word
    at = skip(line, at + #word)
  end
  return list
end

local function name_at(line, at, what)
  local name, after = text.name_at(line, skip(line, at))
  if not name then fail("%s is missing: a name is letters, digits, _ and ., or a string in double quotes", what) end
  return name, after
end

---- what is known of names --------------------------------------------------------------------------------------------

local function define(net, tensor)
  local before = net.tensors[tensor.name]
  if before then fail("%s is defined a second time: line %d has it", text.name(tensor.name), before.line) end
  tensor.line = net.line
  net.tensors[tensor.name] = tensor
end

local function known(net, name)
  return net.tensors[name] or fail("%s is not known here: what an operation reads is defined above it", text.name(name))
end

---- lines that say what is there --------------------------------------------------------------------------------------

local function type_and_dims(list, what)
  local dims = list[2] and text.dims_of(list[2])
  if not types.is(list[1] or "") or not dims then
    fail("%s is %s: allowed is a type (f32, f64 or i64) and sizes such as 1x3x64x64, or scalar", what,
      table.concat(list, " "))
  end
  return list[1], dims, text.elements(dims)
end

local lines = {}

function lines.layout(net, line, at)
  local list = split_words(line, at)
  if net.lines > 0 then fail "layout must be the first line" end
  if #list ~= 1 or (list[1] ~= "nchw" and list[1] ~= "nhwc") then fail "layout is nchw or nhwc" end
  net.layout = list[1]
end

local function check_weights(w, list)
  w.bytes = list[1] == "bytes" and list[2] and text.integer_of(list[2], 0, most_bytes)
  w.hash = list[3] == "hash" and list[4] and list[4]:match "^%x%x%x%x%x%x%x%x$" or nil
  if not w.bytes or #list ~= (w.hash and 4 or 2) then
    fail("weights %s: allowed is weights FILE bytes N, and hash with eight hex digits", w.file)
  end
end

function lines.weights(net, line, at)
  if net.weights then fail "a second weights file: one is allowed" end
  at = skip(line, at)
  local bare = line:match("^[^ \t\"]+", at)
  local w, after = { file = bare }, bare and at + #bare
  if not bare then w.file, after = name_at(line, at, "the weights' file") end
  if w.file:match "[/\\%c]" or w.file == "." or w.file == ".." then
    fail("weights %s: the file lies beside this one, so a name without / is needed", text.name(w.file))
  end
  check_weights(w, split_words(line, after))
  net.weights = w
end

local function check_place(net, tensor, elements)
  local size = types.bytes(tensor.type)
  if not net.weights then fail "a tensor before the weights file: a line weights FILE bytes N comes first" end
  if tensor.offset % size ~= 0 then
    fail("@%d is not a multiple of %d, the bytes of %s", tensor.offset, size, tensor.type)
  end
  if elements * size > net.weights.bytes - tensor.offset then
    fail("%s is outside of the weights file: @%d and %d bytes, of %d", text.name(tensor.name), tensor.offset,
      elements * size, net.weights.bytes)
  end
end

function lines.tensor(net, line, at)
  local tensor, elements = {}, nil
  tensor.name, at = name_at(line, at, "the tensor's name")
  local list = split_words(line, at)
  tensor.type, tensor.dims, elements = type_and_dims(list, "the tensor")
  tensor.offset = #list == 3 and list[3]:match "^@%d+$" and text.integer_of(list[3]:sub(2), 0, most_bytes)
  if not tensor.offset then
    fail("tensor %s TYPE DIMS @OFFSET: the offset in bytes is needed", text.name(tensor.name))
  end
  check_place(net, tensor, elements)
  tensor.constant = true
  define(net, tensor)
  net.constants[#net.constants + 1] = tensor.name
end

function lines.input(net, line, at)
  local tensor = { input = true }
  tensor.name, at = name_at(line, at, "the input's name")
  local list = split_words(line, at)
  tensor.type, tensor.dims = type_and_dims(list, "the input")
  if #list > 2 then fail("'%s' is not allowed behind an input's sizes", list[3]) end
  define(net, tensor)
  net.inputs[#net.inputs + 1] = tensor.name
end

function lines.output(net, line, at)
  local name, after = name_at(line, at, "the output's name")
  if not ended(line, after) then fail "an output is a name alone" end
  known(net, name)
  for _, other in ipairs(net.outputs) do
    if other == name then fail("%s is an output twice: once is allowed", text.name(name)) end
  end
  net.outputs[#net.outputs + 1] = name
end

---- operations --------------------------------------------------------------------------------------------------------

local function results_at(line, at)
  local results, name = {}, nil
  repeat
    name, at = name_at(line, at, "a result")
    results[#results + 1] = name
    local comma = line:match("^[ \t]*,()", at)
    at = comma or at
  until not comma
  return results, line:match("^[ \t]*=[ \t]*()", at) or fail "= is missing: a line is NAME = operation(...)"
end

local function value_at(line, at)
  local number, after = text.number_at(line, at)
  if number then return number, after end
  return name_at(line, at, "an operand")
end

-- An operand, or NAME=operand where the operation has that.
local function take_operand(o, line, at)
  at = skip(line, at)
  local slot, behind = line:match("^([a-z_]+)=()", at)
  for _, named in ipairs(slot and operations.rows[o.op].named or {}) do
    if named == slot and not o[slot] then
      o[slot], at = value_at(line, behind)
      return at
    end
  end
  o.operands[#o.operands + 1], at = value_at(line, at)
  return at
end

local function operands_at(o, line, at)
  while true do
    at = skip(line, take_operand(o, line, at))
    local next = line:sub(at, at)
    if next == ")" then return at + 1 end
    if next ~= "," then fail(", or ) is missing behind an operand") end
    at = at + 1
  end
end

local function operation_at(results, line, at)
  local op, after = line:match("^([a-z_]+)%(()", at)
  if not op then fail "an operation is missing behind =: it is spelled name(operands)" end
  local o = { op = op, name = results[1], results = results, operands = {} }
  local row = operations.row(op)
  o.attributes = words.read(row.words, split_words(line, operands_at(o, line, after)))
  return o
end

-- Makes the results of an operation known; their sizes and type are its rule's.
function file.add(net, o)
  local function tensor(name) return known(net, name) end
  local list, type_of = operations.results(o, tensor, net.layout)
  local constant = operations.is_constant(o, tensor)
  for i, name in ipairs(o.results) do
    define(net, { name = name, type = type_of, dims = list[i], from = o, constant = constant })
  end
  net.operations[#net.operations + 1] = o
end

local function take_operation(net, line)
  local results, at = results_at(line, 1)
  local o = operation_at(results, line, at)
  o.line = net.line
  file.add(net, o)
end

---- the whole ---------------------------------------------------------------------------------------------------------

function file.new()
  return { layout = "nchw", tensors = {}, constants = {}, inputs = {}, outputs = {}, operations = {} }
end

local function take_line(net, line)
  if #line > longest_line then fail("the line has %d bytes: at most %d are allowed", #line, longest_line) end
  if ended(line, 1) then return end
  local key, at = line:match("^[ \t]*([a-z]+)[ \t]+()", 1)
  local is_operation = not lines[key] or line:match("^[=,]", at)
  if is_operation then take_operation(net, line) else lines[key](net, line, at) end
  net.lines = net.lines + 1
end

local function check_whole(net)
  if #net.operations == 0 then fail "the network has no operation" end
  if #net.outputs == 0 then fail "the network has no output: a line output NAME is needed" end
end

local function parse(net, content)
  net.lines, net.line = 0, 0
  for line in (content:gsub("\r\n", "\n") .. "\n"):gmatch "(.-)\n" do
    net.line = net.line + 1
    if net.line > most_lines then fail("there are more than %d lines", most_lines) end
    take_line(net, line)
  end
  check_whole(net)
  return net
end

-- The network that a text says, or nil and a sentence that begins with the file's name and the line.
function file.parse(content, name)
  local net = file.new()
  local done, why = text.caught(parse, net, content)
  if not done then return nil, ("%s:%d: %s"):format(name or "network", net.line, why) end
  return net
end

local function operand_text(operand) return type(operand) == "number" and text.number(operand) or text.name(operand) end

local function operands_text(o)
  local list = {}
  for i, operand in ipairs(o.operands) do list[i] = operand_text(operand) end
  for _, slot in ipairs(operations.rows[o.op].named or {}) do
    if o[slot] then list[#list + 1] = slot .. "=" .. operand_text(o[slot]) end
  end
  return table.concat(list, ", ")
end

local function names_text(names)
  local list = {}
  for i, name in ipairs(names) do list[i] = text.name(name) end
  return table.concat(list, ", ")
end

function file.operation(o)
  local behind = words.print(operations.rows[o.op].words, o.attributes)
  return ("%s = %s(%s)%s"):format(names_text(o.results), o.op, operands_text(o), behind ~= "" and " " .. behind or "")
end

local function weights_text(w)
  local name = w.file:match "^[^ \t\"]+$" or text.name(w.file)
  return ("weights %s bytes %d%s"):format(name, w.bytes, w.hash and " hash " .. w.hash or "")
end

local function tensor_text(t)
  local place = t.offset and (" @%d"):format(t.offset) or ""
  return ("%s %s %s %s%s"):format(t.offset and "tensor" or "input", text.name(t.name), t.type, text.dims(t.dims), place)
end

-- The network as a file; note(operation): comments below its line, or nil.
function file.print(net, note)
  local list = {}
  local function put(line) list[#list + 1] = line end
  if net.layout ~= "nchw" then put("layout " .. net.layout) end
  if net.weights then put(weights_text(net.weights)) end
  for _, name in ipairs(net.constants) do put(tensor_text(net.tensors[name])) end
  for _, name in ipairs(net.inputs) do put(tensor_text(net.tensors[name])) end
  for _, o in ipairs(net.operations) do
    put(file.operation(o))
    local said = note and note(o)
    if said then put(said) end
  end
  for _, name in ipairs(net.outputs) do put("output " .. text.name(name)) end
  return table.concat(list, "\n") .. "\n"
end

return file
