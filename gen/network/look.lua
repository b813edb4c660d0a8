-- network/look.lua: a network that is looked at as a whole: who reads what, what is gone, and what stands instead.
local operations = require "network/operations"
local graph = require "network/graph"
local look = {}

-- place: by operation; readers: by name, operations, one for each time; gone, instead: by operation.
function look.at(net)
  local w = { net = net, place = {}, readers = {}, output = {}, gone = {}, instead = {} }
  for i, o in ipairs(net.operations) do
    w.place[o] = i
    operations.operands(o, function(name)
      if type(name) == "number" then return end
      w.readers[name] = w.readers[name] or {}
      table.insert(w.readers[name], o)
    end)
  end
  for _, name in ipairs(net.outputs) do w.output[name] = true end
  return w
end

function look.dims(w, name) return type(name) == "string" and w.net.tensors[name].dims or {} end

-- The operation that alone reads a tensor, once.
function look.sole_reader(w, name)
  local list = w.readers[name]
  local o = list and #list == 1 and not w.output[name] and list[1]
  return o and not w.gone[o] and not w.instead[o] and o or nil
end

-- Where operations are gone and others stand instead.
function look.result(w)
  local list = {}
  for _, o in ipairs(w.net.operations) do
    if not w.gone[o] then list[#list + 1] = w.instead[o] or graph.copy(o) end
  end
  return graph.network(w.net, list)
end

-- One operation stands where the last of some stood; the others are gone.
function look.fused(w, inside, last, o)
  for _, other in ipairs(inside) do w.gone[other] = true end
  w.gone[last], w.instead[last] = nil, o
end

return look
