-- network/graph.lua: a network while it is rewritten: who makes and who reads a tensor, and what becomes of it.
--
-- graph.feed gives an operation to rules, the first of which that takes it has said what it becomes; else it stands
-- as it is. What earlier operations have become can still change (`takes_over`), what is made of constants alone
-- stands first.
local operations = require "network/operations"
local file = require "network/file"
local graph = {}

-- How often tensors are read; an output is read once more.
local function count_readers(net)
  local count = {}
  local function read(name)
    if type(name) == "string" then count[name] = (count[name] or 0) + 1 end
  end
  for _, o in ipairs(net.operations) do operations.operands(o, read) end
  for _, name in ipairs(net.outputs) do read(name) end
  return count
end

-- A copy that can be changed.
function graph.copy(value)
  if type(value) ~= "table" then return value end
  local c = {}
  for key, part in pairs(value) do c[key] = graph.copy(part) end
  return c
end

function graph.of(net, rules)
  local g = { net = net, rules = rules, tensors = {}, count = count_readers(net), maker = {}, output = {}, renamed = {},
    list = {}, first = {} }
  for name, t in pairs(net.tensors) do g.tensors[name] = t end
  for _, name in ipairs(net.outputs) do g.output[name] = true end
  return g
end

---- building ----------------------------------------------------------------------------------------------------------

-- A name that nothing has, beginning with another.
function graph.name(g, base)
  local n = 1
  base = #base > 900 and "made" or base
  while g.tensors[base .. "_" .. n] do n = n + 1 end
  return base .. "_" .. n
end

-- An operation of one result.
function graph.operation(op, result, operands, attributes)
  return { op = op, name = result, results = { result }, operands = operands, attributes = attributes or {} }
end

-- What an operation's results are.
local function describe(g, o)
  local function tensor(name) return g.tensors[name] end
  local list, type_of = operations.results(o, tensor, g.net.layout)
  local constant = operations.is_constant(o, tensor)
  for i, name in ipairs(o.results) do
    g.tensors[name] = { name = name, type = type_of, dims = list[i], constant = constant, from = o }
    g.count[name] = g.count[name] or 1
  end
end

-- Puts an operation at the end, or among those of constants.
function graph.put(g, o)
  describe(g, o)
  for _, name in ipairs(o.results) do g.maker[name] = o end
  local to = g.tensors[o.name].constant and g.first or g.list
  to[#to + 1] = o
end

-- An operation on constants, whose result's name is made from a name.
function graph.constant(g, op, base, operands, attributes)
  local name = graph.name(g, base)
  graph.put(g, graph.operation(op, name, operands, attributes))
  return name
end

function graph.feed(g, o)
  operations.operands(o, function(name) return g.renamed[name] end)
  describe(g, o)
  for _, rule in ipairs(g.rules[o.op] or {}) do
    if rule(g, o) then return end
  end
  graph.put(g, o)
end

-- Instead of o, operations whose last one makes its result; names between are made from it.
function graph.replace(g, ...)
  for _, o in ipairs { ... } do graph.feed(g, o) end
  return true
end

-- The operation that makes a tensor which nothing else reads, if it is one of these.
function graph.sole(g, name, ops)
  local maker = type(name) == "string" and g.count[name] == 1 and g.maker[name]
  return maker and ops[maker.op] and maker or nil
end

-- Operation p makes what o made, which is gone.
function graph.takes_over(g, p, o)
  g.tensors[p.name], g.maker[p.name] = nil, nil
  p.name, p.results = o.name, { o.name }
  g.maker[o.name] = p
  return true
end

-- Where o makes what it reads, its readers read that. An output keeps its name: then what is read takes it.
function graph.drop(g, o, operand)
  local maker = g.maker[operand]
  if not g.output[o.name] then
    g.renamed[o.name] = operand
    g.count[operand] = g.count[operand] + (g.count[o.name] or 1) - 1
    return true
  end
  if not maker or g.count[operand] ~= 1 or #maker.results > 1 then return false end
  return graph.takes_over(g, maker, o)
end

---- the end -----------------------------------------------------------------------------------------------------------

-- What outputs depend on.
local function needed_by(list, outputs)
  local needed, wanted, kept = {}, {}, {}
  for _, name in ipairs(outputs) do needed[name] = true end
  for i = #list, 1, -1 do
    for _, name in ipairs(list[i].results) do wanted[i] = wanted[i] or needed[name] end
    if wanted[i] then operations.operands(list[i], function(name) needed[name] = true end) end
  end
  for i, o in ipairs(list) do
    if wanted[i] then kept[#kept + 1] = o end
  end
  return needed, kept
end

-- A network of operations, without what no output depends on; inputs stay. All is checked once more.
function graph.network(net, list)
  local needed, kept = needed_by(list, net.outputs)
  local new = file.new()
  new.layout, new.weights, new.inputs, new.outputs = net.layout, net.weights, net.inputs, net.outputs
  for _, name in ipairs(net.constants) do
    if needed[name] then
      new.tensors[name] = net.tensors[name]
      new.constants[#new.constants + 1] = name
    end
  end
  for _, name in ipairs(net.inputs) do new.tensors[name] = net.tensors[name] end
  for _, o in ipairs(kept) do file.add(new, o) end
  return new
end

-- Gives every operation of a network to rules (by operation: lists of functions(g, o)); the network that comes of it.
function graph.rewritten(net, rules)
  local g = graph.of(net, rules)
  for _, o in ipairs(net.operations) do graph.feed(g, graph.copy(o)) end
  return graph.network(net, table.move(g.list, 1, #g.list, #g.first + 1, g.first))
end

return graph
