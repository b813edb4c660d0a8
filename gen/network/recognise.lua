-- network/recognise.lua: what exporters spell as several operations, as one: activations, and the layer norm.
--
-- Nothing is taken together across a tensor that something else reads, or that is an output.
local shapes = require "network/shapes"
local graph = require "network/graph"
local forms = require "network/forms"
local look = require "network/look"
local recognise = {}

local operation = graph.operation
local dims_of, sole_reader, result, fused = look.dims, look.sole_reader, look.result, look.fused
local most_inside = 8 -- operations of an activation

---- activations -------------------------------------------------------------------------------------------------------

-- A constant with one element for each channel, with which prelu is a convolution's.
local function operand_value(w, s, name)
  if type(name) == "number" then return name end
  return s.values[name] or w.net.tensors[name].constant and name or nil
end

-- The earliest operation that reads a value and has not been looked at.
local function next_reader(w, s)
  local best
  for name in pairs(s.values) do
    for _, o in ipairs(w.readers[name] or {}) do
      local free = not s.seen[o] and not w.gone[o] and not w.instead[o]
      if free and (not best or w.place[o] < w.place[best]) then best = o end
    end
  end
  return best
end

-- Whether what is inside is read inside alone, but for the root and the last result.
local function is_closed(w, s, root, last)
  for name in pairs(s.values) do
    if name ~= root and name ~= last then
      if w.output[name] then return false end
      for _, o in ipairs(w.readers[name]) do if not s.inside[o] then return false end end
    end
  end
  return true
end

local function take(w, s, o)
  local operands = {}
  for i, name in ipairs(o.operands) do
    operands[i] = operand_value(w, s, name)
    if operands[i] == nil then return nil end
  end
  if type(operands[1]) == "string" or not shapes.same(dims_of(w, o.name), s.dims) then return nil end
  return forms.value(o, operands)
end

local function inside_list(s)
  local list = {}
  for o in pairs(s.inside) do list[#list + 1] = o end
  return list
end

-- The longest activation that reads a tensor: { activation, inside, last }.
local function activation_after(w, root)
  local s = { values = { [root] = forms.x }, seen = {}, inside = {}, dims = dims_of(w, root) }
  local best, count = nil, 0
  while count < most_inside do
    local o = next_reader(w, s)
    if not o then break end
    s.seen[o] = true
    local value = forms.known(o.op) and take(w, s, o)
    if value then
      s.inside[o], s.values[o.name], count = true, value, count + 1
      local a = is_closed(w, s, root, o.name) and forms.activation(value)
      if a then best = { activation = a, inside = inside_list(s), last = o } end
    end
  end
  return best
end

local function activated(root, found)
  local a = found.activation
  if a.slope then return operation("prelu", found.last.name, { root, a.slope }) end
  return operation("activate", found.last.name, { root }, { activation = a })
end

-- Recognised for every tensor, the earliest first.
local function activations(net)
  local w = look.at(net)
  local function at(name)
    local found = not net.tensors[name].constant and activation_after(w, name)
    if found then fused(w, found.inside, found.last, activated(name, found)) end
  end
  for _, name in ipairs(net.inputs) do at(name) end
  for _, o in ipairs(net.operations) do
    if not w.gone[o] then for _, name in ipairs(o.results) do at(name) end end
  end
  return result(w)
end

---- layer norms -------------------------------------------------------------------------------------------------------

local function maker(w, name, op)
  local t = type(name) == "string" and w.net.tensors[name]
  return t and t.from and t.from.op == op and t.from or nil
end

-- The axis from which on to the last a mean is taken, whose axes are kept.
local function trailing_axis(w, mean)
  local f, rank = mean.attributes, #dims_of(w, mean.operands[1])
  local axes = table.move(f.axes, 1, #f.axes, 1, {})
  table.sort(axes)
  for i, axis in ipairs(axes) do if axis ~= rank - #axes + i - 1 then return nil end end
  return (f.keep or #axes == rank) and axes[1] or nil
end

-- x - mean(x) along the last axes: x and the first of these.
local function centred(w, name, inside)
  local sub = maker(w, name, "sub")
  local mean = sub and #sub.operands == 2 and maker(w, sub.operands[2], "reduce_mean")
  if not mean or mean.operands[1] ~= sub.operands[1] then return nil end
  inside[sub], inside[mean] = true, true
  return sub.operands[1], trailing_axis(w, mean)
end

local function squared(w, name, inside)
  local o = maker(w, name, "pow") or maker(w, name, "mul")
  if not o or #o.operands ~= 2 or o.operands[2] ~= (o.op == "pow" and 2 or o.operands[1]) then return nil end
  inside[o] = true
  return o.operands[1]
end

-- sqrt(mean(square) + epsilon): what is squared, the axis and epsilon.
local function deviation(w, name, inside)
  local sqrt = maker(w, name, "sqrt")
  local add = sqrt and maker(w, sqrt.operands[1], "add")
  local mean = add and #add.operands == 2 and maker(w, add.operands[1], "reduce_mean")
  local square = mean and type(add.operands[2]) == "number" and squared(w, mean.operands[1], inside)
  if not square then return nil end
  inside[sqrt], inside[add], inside[mean] = true, true, true
  return square, trailing_axis(w, mean), add.operands[2]
end

-- What a division is the normalised of: { x, axis, epsilon }, and the operations inside.
local function normalised(w, o)
  local inside = { [o] = true }
  local x, axis = centred(w, o.operands[1], inside)
  local square, other_axis, epsilon = deviation(w, o.operands[2], inside)
  if not x or not square or axis ~= other_axis or not axis then return nil end
  if centred(w, square, inside) ~= x then return nil end
  return { x = x, axis = axis, epsilon = epsilon, inside = inside, last = o }
end

-- The constant that the last result is scaled by or shifted with, over the normalised axes.
local function constant_of(w, n, op)
  local o = sole_reader(w, n.last.name)
  if not o or o.op ~= op or #o.operands ~= 2 then return nil end
  local other = o.operands[1] == n.last.name and o.operands[2] or o.operands[1]
  local t = type(other) == "string" and w.net.tensors[other]
  if not t or not t.constant or #t.dims > #dims_of(w, n.x) - n.axis then return nil end
  n.inside[o], n.last = true, o
  return other
end

local function closed(w, inside, last)
  for o in pairs(inside) do
    if o ~= last and w.output[o.name] then return false end
    for _, reader in ipairs(o ~= last and w.readers[o.name] or {}) do
      if not inside[reader] then return false end
    end
  end
  return true
end

local function layer_norm(w, o)
  local n = #o.operands == 2 and normalised(w, o)
  if not n or not closed(w, n.inside, o) then return end
  local operands = { n.x, constant_of(w, n, "mul") }
  operands[3] = operands[2] and constant_of(w, n, "add")
  local made = operation("layernorm", n.last.name, operands, { axis = n.axis, epsilon = n.epsilon })
  fused(w, inside_list(n), n.last, made)
end

local function norms(net)
  local w = look.at(net)
  for _, o in ipairs(net.operations) do
    if o.op == "div" and not w.gone[o] then layer_norm(w, o) end
  end
  return result(w)
end

---- the whole ---------------------------------------------------------------------------------------------------------

function recognise.network(net) return activations(norms(net)) end

return recognise
