-- network/fuse.lua: operations that are done together.
--
-- Activations and sums with a tensor of the same shape go into the convolution before them; what is left of operations
-- element by element becomes chains. Nothing is fused across a tensor that something else reads, or that is an output.
local shapes = require "network/shapes"
local operations = require "network/operations"
local graph = require "network/graph"
local chain = require "network/chain"
local convolution = require "network/convolution"
local look = require "network/look"
local fuse = {}

local operation = graph.operation
local dims_of, sole_reader, result, fused = look.dims, look.sole_reader, look.result, look.fused
local convolutions = { conv = true, deconv = true, linear = true }

---- behind convolutions -----------------------------------------------------------------------------------------------

-- The name of a constant as a vector of channels, for which an operation may be needed.
local function slope_vector(w, p, slope)
  local dims, own = dims_of(w, p.name), dims_of(w, slope)
  local channel = p.op == "linear" and #dims or shapes.channel_axis(w.net.layout, #dims) + 1
  for i = 1, #own do
    if own[i] ~= (#dims - #own + i == channel and dims[channel] or 1) then return nil end
  end
  return #own > #dims - channel and dims[channel] or nil
end

local function take_activation(w, p, made, o)
  if made.attributes.epilogue.activation ~= "none" then return false end
  local e = made.attributes.epilogue
  if o.op == "activate" then
    local a = o.attributes.activation
    e.activation, e.lo, e.hi = a.activation, a.lo, a.hi
    return true
  end
  local channels = o.op == "prelu" and o.operands[1] == made.name and type(o.operands[2]) == "string"
    and w.net.tensors[o.operands[2]].constant and slope_vector(w, p, o.operands[2])
  if not channels then return false end
  made.slope, made.slope_of = o.operands[2], channels
  e.activation = "prelu"
  return true
end

-- A sum with a tensor of the same shape, which is not a constant.
local function take_residual(w, made, o)
  local e = made.attributes.epilogue
  if o.op ~= "add" or #o.operands ~= 2 or made.residual then return false end
  local other = o.operands[1] == made.name and o.operands[2] or o.operands[1]
  if type(other) == "number" or other == made.name or w.net.tensors[other].constant then return false end
  if not shapes.same(dims_of(w, other), dims_of(w, made.name)) then return false end
  made.residual, e.residual, e.residual_last = other, true, e.activation ~= "none"
  return true
end

-- Takes what follows into a convolution, which then stands where the last of it stood.
local function epilogue(w, p)
  local made, inside, last = graph.copy(p), { p }, p
  made.attributes.epilogue = convolution.epilogue_of(convolution.epilogue(p.attributes.epilogue) or "none")
  while true do
    local o = sole_reader(w, last.name)
    if not o or not (take_activation(w, p, made, o) or take_residual(w, made, o)) then break end
    made.name, made.results, last = o.name, { o.name }, o
    inside[#inside + 1] = o
  end
  if last ~= p then fused(w, inside, last, made) end
end

-- A slope that is no vector becomes a view of one, before the first operation.
local function with_slopes(w)
  local g = { tensors = w.net.tensors }
  local first = {}
  for _, o in ipairs(w.net.operations) do
    local made = w.instead[o]
    if made and made.slope_of and #dims_of(w, made.slope) > 1 then
      local name = graph.name(g, made.slope)
      g.tensors[name] = {}
      first[#first + 1] = operation("reshape", name, { made.slope }, { dims = { made.slope_of } })
      made.slope = name
    end
  end
  return first
end

local function fuse_epilogues(net)
  local w = look.at(net)
  for i = #net.operations, 1, -1 do
    local o = net.operations[i]
    if convolutions[o.op] and not w.gone[o] then epilogue(w, o) end
  end
  local list = with_slopes(w)
  for _, o in ipairs(net.operations) do
    if not w.gone[o] then list[#list + 1] = w.instead[o] or graph.copy(o) end
  end
  return graph.network(net, list)
end

---- normalisation that no convolution took ----------------------------------------------------------------------------

-- A vector of channels as long as the channels of a tensor of some rank.
local function along_channels(g, name, rank)
  local dims, behind = g.tensors[name].dims, rank - 1 - shapes.channel_axis(g.net.layout, rank)
  if behind == 0 then return name end
  local shape = { dims[1] }
  for i = 1, behind do shape[1 + i] = 1 end
  return graph.constant(g, "reshape", name, { name }, { dims = shape })
end

local norms = { batchnorm = { function(g, o)
  local rank, operands = #g.tensors[o.name].dims, { o.operands[1] }
  for i = 2, 5 do operands[i] = along_channels(g, o.operands[i], rank) end
  return graph.replace(g, operation("chain", o.name, operands, { steps = chain.steps(o) }))
end } }

---- chains ------------------------------------------------------------------------------------------------------------

local function is_element(o) return operations.rows[o.op].kind == "elements" end

-- The chain that an operation is by now: its tensors and steps over them.
local function as_chain(w, o)
  local c = w.chains[o]
  if c then return c end
  c = { tensors = {}, steps = chain.steps(o), of = { o } }
  for _, name in ipairs(o.operands) do
    if type(name) == "string" then c.tensors[#c.tensors + 1] = name end
  end
  w.chains[o] = c
  return c
end

local function renumbered(steps, operand, ahead, instead)
  local list = {}
  for i, step in ipairs(steps) do
    local args = {}
    for j, arg in ipairs(step.args) do
      if type(arg) == "number" then args[j] = arg
      elseif arg.step then args[j] = { step = arg.step + ahead }
      else args[j] = instead[arg.operand] or { operand = operand[arg.operand] } end
    end
    list[i] = { name = step.name, args = args, lo = step.lo, hi = step.hi }
  end
  return list
end

-- The tensors of both without the one between, each once, and where those of b are among them.
local function tensors_of(a, b, between)
  local list, at, places, instead = {}, {}, {}, {}
  local function place(name)
    if not at[name] then
      list[#list + 1] = name
      at[name] = #list
    end
    return at[name]
  end
  local first = {}
  for i, name in ipairs(a.tensors) do first[i] = place(name) end
  for i, name in ipairs(b.tensors) do
    if name == between then instead[i] = { step = #a.steps } else places[i] = place(name) end
  end
  return list, first, places, instead
end

-- The steps of a, then those of b, which reads what a makes; nil: that is too much for one.
local function joined(a, b, between)
  local list, first, places, instead = tensors_of(a, b, between)
  if #list > chain.most_operands or #a.steps + #b.steps > chain.most_steps then return nil end
  local steps = renumbered(a.steps, first, 0, {})
  table.move(renumbered(b.steps, places, #a.steps, instead), 1, #b.steps, #steps + 1, steps)
  local of = table.move(b.of, 1, #b.of, #a.of + 1, table.move(a.of, 1, #a.of, 1, {}))
  return { tensors = list, steps = steps, of = of }
end

local function all_read_by(w, name, o)
  if w.output[name] then return false end
  for _, reader in ipairs(w.readers[name]) do if reader ~= o then return false end end
  return true
end

-- Joins an operation with those that make what it alone reads.
local function join_makers(w, o)
  local c, dims = as_chain(w, o), dims_of(w, o.name)
  for _, name in ipairs(table.move(c.tensors, 1, #c.tensors, 1, {})) do
    local p = w.net.tensors[name].from
    if p and is_element(p) and not w.net.tensors[name].constant and all_read_by(w, name, o)
      and shapes.same(dims_of(w, name), dims) then
      local both = joined(as_chain(w, p), c, name)
      if both then
        c, w.chains[o], w.gone[p] = both, both, true
      end
    end
  end
end

local function fuse_chains(net)
  local w = look.at(net)
  w.chains = {}
  for _, o in ipairs(net.operations) do
    if is_element(o) then join_makers(w, o) end
  end
  for o, c in pairs(w.chains) do
    if #c.of > 1 and not w.gone[o] then
      w.instead[o] = operation("chain", o.name, c.tensors, { steps = c.steps })
    end
  end
  return result(w)
end

---- the whole ---------------------------------------------------------------------------------------------------------

function fuse.network(net)
  return fuse_chains(graph.rewritten(fuse_epilogues(net), norms))
end

return fuse
