-- legible.lua: kernel programs as C that people read, for compilers that unroll loops of known counts.
--
-- The operations are those of c.lua's text, in the same order; but registers stand in arrays, what repeats in loops,
-- strides have names, and there are no loops of one turn or dead steps of pointers. libtcc, which unrolls nothing and
-- computes every index anew, is better served with c.lua's. kernel(k, strides, used) gives a function. strides: lists
-- of { name, elements } by what a pointer is into (strides.lua); `used` collects those that occur, by name.
local program, c, template = require "program", require "lower/c", require "template"
local arrays, flow, roll = require "lower/arrays", require "lower/flow", require "lower/roll"
local legible = {}

---- statements for roll.lua: what they are, and their numbers ---------------------------------------------------------

-- Hands what an operand is to put(key, number, what the number is): parts of a key, and numbers beside it.
local function take(s, x, at, put)
  if type(x) == "number" then return put("#" .. x) end
  if not x.kind then
    for _, v in ipairs(x) do take(s, v, at, put) end
  elseif x.kind == "register" or x.kind == "slot" then
    local e = s.arrays[x]
    put(e.array.key)
    for i, n in ipairs(e.indices) do put(nil, n, { array = e.array, axis = e.array.axes[i] }) end
  elseif x.value then put("=" .. x.index)
  else put((x.all and "all " or "") .. x.kind .. at.pointer.name, at.offset, { pointer = at.pointer }) end
end

local function statement(s, node)
  local op = node.op
  local keys = { op.op, op.first or "", op.count or "", op.step or "", op.skip or "" } -- beside the row's
  local out = { op = op, places = node.at, at = {}, of = {} }
  local function put(key, number, of)
    keys[#keys + 1] = key
    if number then
      out.at[#out.at + 1] = number
      out.of[#out.at] = of
    end
  end
  if op.op == "comment" or op.op == "advance" then return out end -- where they stand
  for _, field in ipairs(program.operations[op.op]) do take(s, op[field], node.at[field], put) end
  out.key = table.concat(keys, " ")
  return out
end

-- Arrays that a loop goes over; the others' elements are variables.
local function mark_indexed(node)
  for i, step in ipairs(node.steps) do
    if step ~= 0 and node.of[i].array then node.of[i].array.indexed = true end
  end
  for _, inner in ipairs(node.body) do if inner.steps then mark_indexed(inner) end end
end

local function rolled(s, list)
  for i, node in ipairs(list) do
    if node.op then list[i] = statement(s, node) elseif node.body then rolled(s, node.body) end
  end
  local out = roll.list(list)
  for i, node in ipairs(out) do
    if node.steps then mark_indexed(node) end
    list[i] = node
  end
  for i = #out + 1, #list do list[i] = nil end
  return list
end

---- names -------------------------------------------------------------------------------------------------------------

-- What pointers and loops are called, which nothing else may be.
local function take_names(s, list)
  for _, node in ipairs(list) do
    if node.loop then s.taken[node.loop.index] = true end
    if node.declare then s.taken[node.declare.hint], s.taken[node.declare.name] = true, true end
    if node.body then take_names(s, node.body) end
  end
end

local function free_name(s, name)
  while s.taken[name] do name = name .. "v" end
  s.taken[name] = true
  return name
end

local function element_name(array, indices)
  local digits = table.concat(indices, "_")
  return array.name .. (array.numbered and digits == "0" and "" or digits)
end

-- An array by its name, or the element that is no part of one, when it comes first; else nil.
local function new_name(s, e)
  local array, key = e.array, table.concat(e.indices, " ")
  array.names, array.sizes = array.names or {}, array.sizes or {}
  for i, n in ipairs(e.indices) do array.sizes[i] = math.max(array.sizes[i] or 0, n + 1) end
  if array.indexed then
    if array.c_name then return nil end
    array.c_name = free_name(s, array.name)
    return array
  end
  if array.names[key] then return nil end
  array.names[key] = free_name(s, element_name(array, e.indices))
  return array.names[key]
end

local function declarator(array)
  local text = array.c_name
  for _, size in ipairs(array.sizes) do if size > 1 then text = ("%s[%d]"):format(text, size) end end
  return text
end

-- The registers and slots that occur, as C declares them, in order.
local function declared_registers(s)
  local list = {}
  for _, things in ipairs { s.k.vectors, s.k.slots } do
    for _, v in ipairs(things) do list[#list + 1] = s.arrays[v] and new_name(s, s.arrays[v]) end
  end
  for i, what in ipairs(list) do list[i] = type(what) == "table" and declarator(what) or what end
  return list
end

---- numbers in loops: { constant, { step, loop }, ... } ---------------------------------------------------------------

-- "3", "m", "2 - m", "4 * m + 1": steps as spelled says.
local function sum_text(number, spelled)
  local parts = {}
  local function put(value, text)
    if #parts > 0 then parts[#parts + 1] = value < 0 and " - " or " + "
    elseif value < 0 then parts[1] = "-" end
    parts[#parts + 1] = text
  end
  local constant = number[1]
  if constant > 0 and number[2] and number[2][1] < 0 then put(constant, spelled(constant)) constant = 0 end
  for i = 2, #number do
    local step, variable = number[i][1], number[i][2]
    local size = math.abs(step)
    put(step, size == 1 and variable.name or ("%s * %s"):format(variable.name, spelled(size, variable)))
  end
  if constant ~= 0 or #parts == 0 then put(constant, spelled(math.abs(constant))) end
  return table.concat(parts)
end

local function plain(n) return ("%d"):format(n) end

local function multiple(s, row, n)
  s.used[row[1]] = row[2]
  return n == row[2] and row[1] or ("%d * %s"):format(n // row[2], row[1])
end

-- n as a multiple of the stride `row`, with some of a smaller one `other` more or less; nil where that says little.
local function mixed(s, row, n, other)
  local most = (n + row[2] // 2) // row[2] * row[2]
  local rest = n - most
  if most == 0 or math.abs(rest) * 4 > row[2] or rest ~= 0 and (not other or rest % other[2] ~= 0) then return nil end
  if rest == 0 then return multiple(s, row, n), false end
  return ("%s %s %s"):format(multiple(s, row, most), rest < 0 and "-" or "+", multiple(s, other, math.abs(rest))), true
end

-- So many elements, positive: a multiple of a stride, of two, or a number; and whether it is a sum.
local function elements(s, strides, n, variable)
  if variable and variable.axis == "v" and n == s.lanes[2] and n > 1 then return multiple(s, s.lanes, n) end
  for i, row in ipairs(strides) do
    for other = i + 1, math.max(#strides, i + 1) do
      local text, sum = mixed(s, row, n, strides[other])
      if text then return sum and variable and "(" .. text .. ")" or text, sum end
    end
  end
  return plain(n)
end

-- Of the tensor that a pointer is into in all calls.
local function strides_of(s, pointer)
  local bases = (pointer.root or pointer).bases or {}
  local base = next(bases)
  if base and next(bases, base) then base = nil end
  local list = table.move(base and s.strides[base] or {}, 1, #(base and s.strides[base] or {}), 1, {})
  if s.k.lanes > 1 then list[#list + 1] = s.lanes end
  return list
end

local function address_text(s, pointer, number)
  local strides, name = strides_of(s, pointer), s.names[pointer] or pointer.name
  if number[1] == 0 and #number == 1 then return name end
  local text = sum_text(number, function(n, variable)
    local said, two = elements(s, strides, n, variable)
    return two and number[1] < 0 and "(" .. said .. ")" or said
  end)
  if text:sub(1, 1) == "-" then return name .. " - " .. text:sub(2) end
  return name .. " + " .. text
end

local function register_text(array, numbers)
  if not array.indexed then
    local indices = {}
    for i, n in ipairs(numbers) do indices[i] = n[1] end
    return array.names[table.concat(indices, " ")]
  end
  local text = array.c_name
  for i, n in ipairs(numbers) do
    if array.sizes[i] > 1 then text = ("%s[%s]"):format(text, sum_text(n, plain)) end
  end
  return text
end

---- operations as c.lua spells them -----------------------------------------------------------------------------------

-- An operand as c.lua takes it; next_number gives its numbers in order.
local function shown(s, x, at, next_number)
  if type(x) == "number" or x.value then return x end
  if not x.kind then
    local list = {}
    for i, v in ipairs(x) do list[i] = shown(s, v, at, next_number) end
    return list
  end
  if x.kind == "register" or x.kind == "slot" then
    local e, numbers = s.arrays[x], {}
    for i in ipairs(e.indices) do numbers[i] = next_number() end
    return { name = register_text(e.array, numbers) }
  end
  local address = { kind = "address", text = address_text(s, at.pointer, next_number()) }
  return x.kind == "address" and address or { kind = x.kind, all = x.all, address = address }
end

-- A statement whose first number is number `first` of those of the loops around.
local function operation_text(s, node, first, loops)
  local op, index = setmetatable({}, { __index = node.op }), 0
  local function next_number()
    index = index + 1
    local number = { node.at[index] }
    for _, loop in ipairs(loops) do
      local step = loop.steps[first - loop.first + index]
      if step ~= 0 then
        number[1] = number[1] - step * loop.start
        number[#number + 1] = { step, loop }
      end
    end
    return number
  end
  for _, field in ipairs(program.operations[op.op]) do
    op[field] = shown(s, op[field], node.places[field], next_number)
  end
  return c.operation(s.k, op)
end

---- lines -------------------------------------------------------------------------------------------------------------

local function put(s, text) s.lines[#s.lines + 1] = ("    "):rep(s.depth) .. text end

-- What a loop counts is what the first register counts that changes in it; it starts where that one does.
local function variable(s, node, first, loops)
  local axis, start = "n", 0
  for i, step in ipairs(node.steps) do
    if step ~= 0 and node.of[i].array then
      local alone = step == 1
      for _, loop in ipairs(loops) do alone = alone and loop.steps[first - loop.first + i] == 0 end
      axis, start = node.of[i].axis, alone and node.at[i] or 0
      break
    end
  end
  local name = type(axis) == "string" and axis or "n"
  for letter in ("mnpqrstuvwxyz"):gmatch "." do
    if not s.taken[name] then break end
    name = letter
  end
  return { name = name, axis = axis, start = start, first = first, steps = node.steps, count = node.count }
end

local write = {}

local write_rolled

-- The statements of a turn, or the one that stands in the loop's line.
local function write_turn(s, node, head, first, loops)
  local alone = #node.body == 1 and node.body[1]
  local text = alone and not alone.steps and operation_text(s, alone, first, loops)
  text = text and (text:find(";.") and "{ " .. text .. " }" or text) -- an operation may take two
  if text and #text + #head + 4 * s.depth < 118 then return put(s, head .. " " .. text) end
  local bare = alone and alone.steps
  put(s, bare and head or head .. " {")
  s.depth = s.depth + 1
  for _, child in ipairs(node.body) do
    write_rolled(s, child, first, loops)
    first = first + #child.at
  end
  s.depth = s.depth - 1
  if not bare then put(s, "}") end
end

function write_rolled(s, node, first, loops)
  if not node.steps then return put(s, operation_text(s, node, first, loops)) end
  local loop, inner = variable(s, node, first, loops), table.move(loops, 1, #loops, 1, {})
  inner[#inner + 1], s.taken[loop.name] = loop, true
  local name, start = loop.name, loop.start
  local head = ("unrolled for (int %s = %d; %s < %d; %s++)"):format(name, start, name, start + loop.count, name)
  write_turn(s, node, head, first, inner)
  s.taken[name] = nil
end

local function block(s, list)
  local outer = s.scope
  s.scope = setmetatable({}, { __index = outer })
  s.depth = s.depth + 1
  for _, node in ipairs(list) do
    local kind = node.declare and "declare" or node.loop and "loop" or node.scope and "scope" or "rolled"
    write[kind](s, node)
  end
  s.depth, s.scope = s.depth - 1, outer
end

function write.rolled(s, node)
  local op = node.op
  if op and op.op == "advance" then
    local strides = strides_of(s, op.p)
    local amount = op.p.kind == "table" and plain or function(n) return (elements(s, strides, n)) end
    return put(s, ("%s %s %s;"):format(s.names[op.p] or op.p.name, op.elements < 0 and "-=" or "+=",
      amount(math.abs(op.elements))))
  end
  write_rolled(s, node, 1, {})
end

function write.declare(s, node)
  local p, from = node.declare, node.from.pointer
  local name = s.scope[p.hint] and p.name or p.hint
  local value = node.pick and ("%s + %s[%d]"):format(address_text(s, from, { node.from.offset }), node.pick.tab.name,
    node.pick.index) or address_text(s, from, { node.from.offset })
  put(s, ("%s%s = %s;"):format(c.pointer_to(p), name, value))
  s.names[p], s.scope[name] = name, true
end

function write.loop(s, node)
  local op = node.loop
  local count = type(op.count) == "table" and (op.count.always or op.count.name) or op.count
  put(s, ("for (long %s = 0; %s < %s; %s++) {"):format(op.index, op.index, count, op.index))
  block(s, node.body)
  put(s, "}")
end

function write.scope(s, node)
  put(s, "{")
  block(s, node.body)
  put(s, "}")
end

local function new_state(k, strides, used)
  local s = { k = k, arrays = arrays.find(k), strides = strides, used = used, lanes = { "LANES", k.lanes }, names = {},
    scope = {}, taken = {}, lines = {}, depth = 0 }
  for _, a in ipairs(k.args) do s.taken[a.name], s.scope[a.name] = true, true end
  return s
end

local function reads(s, list, a)
  for _, node in ipairs(list) do
    if node.loop and node.loop.count == a and not a.always or node.body and reads(s, node.body, a) then return true end
    if node.from and node.from.pointer == a or node.pick and node.pick.tab == a or node.op and node.op.p == a then
      return true
    end
    for _, place in pairs(node.places or {}) do if place.pointer == a then return true end end
  end
  return false
end

-- What stands behind c.lua's prelude.
function legible.prelude() return template.fill("unrolled.h.in", {}) end

function legible.kernel(k, strides, used)
  local s = new_state(k, strides or {}, used or {})
  local tree = rolled(s, flow.tree(k))
  take_names(s, tree)
  local names = declared_registers(s)
  block(s, tree)
  names[#names + 1] = k.temporary
  local lines = { ("static void %s(%s) {"):format(k.name, c.parameters(k, true)) }
  c.declarations(lines, names)
  for _, a in ipairs(k.args) do
    if not a.always and not reads(s, tree, a) then lines[#lines + 1] = ("    (void)%s;"):format(a.name) end
  end
  table.move(s.lines, 1, #s.lines, #lines + 1, lines)
  if k.streams then lines[#lines + 1] = "    vfence();" end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

return legible
