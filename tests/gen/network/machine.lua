-- machine.lua: runs the steps of a laid out network in a memory of bytes, for tests: what lies over something that is
-- still needed gives wrong values.
local values = require "network/values"
local layout = require "network/layout"
local arena = require "network/arena"
local types = require "network/types"
local operations = require "network/operations"
local views = require "network/views"
local machine = {}

local function base(v, laid)
  local root = v.root
  if root.place == "arena" then return laid.of[root].offset end
  return 0
end

local function memory_of(m, root)
  local key = root.place .. (root.index or root.at or "")
  m[key] = m[key] or {}
  return m[key]
end

local function get(m, v, laid)
  local memory, size, from = memory_of(m, v.root), types.bytes(v.type), base(v, laid)
  return values.made(v.dims, function(index) return memory[from + values.offset(v, index) * size] or 0 / 0 end)
end

local function put(m, v, laid, t)
  local memory, size, from, n = memory_of(m, v.root), types.bytes(v.type), base(v, laid), 0
  values.each(v.dims, function(index)
    n = n + 1
    memory[from + values.offset(v, index) * size] = t[n]
  end)
end

local function count(dims)
  local n = 1
  for _, size in ipairs(dims) do n = n * size end
  return n
end

-- A window's view of batch, channels, space, as the file has it.
local function as_in_file(net, o, v)
  if net.layout ~= "nhwc" or operations.rows[o.op].kind ~= "window" then return v end
  local order = { 0 }
  for i = 1, #v.dims - 2 do order[i + 1] = i + 1 end
  order[#v.dims] = 1
  return views.transposed(v, order)
end

-- The operands of a step by what they are called in the file; constants are `given`, folded ones too.
local function reader(run, step)
  local o, list, at = step.from, {}, 0
  operations.operands(o, function(name, slot)
    if type(name) == "number" then return end
    at = at + 1
    local slots = step.prepared and { src = 1, residual = "residual" } or nil
    for i, s in ipairs(step.slots) do
      local here = slots and slots[s[1]] == slot or not slots and i == at
      if here then list[name] = get(run.memory, as_in_file(run.net, o, s[2]), run.laid) end
    end
    local t, dims = list[name], run.net.tensors[name].dims
    if operations.rows[o.op].kind == "elements" then dims = run.net.tensors[o.name].dims end -- they are as long
    if t and count(t.dims) == count(dims) then t.dims = dims end
  end)
  return function(name) return list[name] or run.known[name] end
end

-- The bytes at which a view of the arena has elements.
local function addresses(v, laid)
  local set, size, from = {}, types.bytes(v.type), base(v, laid)
  values.each(v.dims, function(index) set[from + values.offset(v, index) * size] = true end)
  return set
end

-- An operand lies where the result does only where that is allowed: a convolution's residual, or element by element.
local function check_apart(run, step)
  if step.dst.root.place ~= "arena" then return end
  local written = addresses(step.dst, run.laid)
  for _, slot in ipairs(step.slots) do
    local allowed = step.prepared and slot[1] == "residual"
      or step.from and operations.rows[step.op].kind == "elements" and views.alike(slot[2], step.dst)
    if slot[2].root.place == "arena" and not allowed then
      for at in pairs(addresses(slot[2], run.laid)) do
        if written[at] then error(("%s writes over its operand %s"):format(step.name, slot[1]), 0) end
      end
    end
  end
end

-- A convolution's residual lies as its result does, but for where it begins.
local function check_residual(step)
  for _, slot in ipairs(step.prepared and step.slots or {}) do
    local v = slot[2]
    for i, size in ipairs(slot[1] == "residual" and v.dims or {}) do
      if size > 1 and v.strides[i] ~= step.dst.strides[i] then error(step.name .. ": its residual lies otherwise", 0) end
    end
  end
end

local function run_step(run, step)
  check_residual(step)
  check_apart(run, step)
  if not step.from then return put(run.memory, step.dst, run.laid, get(run.memory, step.slots[1][2], run.laid)) end
  local results = values.operation(run.net, step.from, reader(run, step))
  put(run.memory, as_in_file(run.net, step.from, step.dst), run.laid, results[1])
end

-- Constants and inputs where their views say, by place in the file and by number.
local function load(run, given)
  for i, name in ipairs(run.net.inputs) do
    local t = run.net.tensors[name]
    local v = views.fresh("input", t.type, t.dims)
    v.root.index = i - 1
    put(run.memory, v, run.laid, given[name])
  end
  for _, name in ipairs(run.net.constants) do
    local t = run.net.tensors[name]
    local v = views.fresh("weights", t.type, t.dims)
    v.root.at = t.offset
    put(run.memory, v, run.laid, given[name])
  end
end

-- The outputs by name of a network, laid out and placed, of given inputs and constants.
function machine.run(net, given, workspaces)
  local steps = layout.of(net).steps
  local run = { net = net, memory = {}, known = setmetatable({}, { __index = given }) }
  run.laid = arena.of(steps, workspaces or {})
  for _, o in ipairs(net.operations) do
    if net.tensors[o.name].constant then
      local results = values.operation(net, o, function(name) return run.known[name] end)
      for i, name in ipairs(o.results) do run.known[name] = results[i] end
    end
  end
  load(run, given)
  for _, step in ipairs(steps) do run_step(run, step) end
  local outputs = {}
  for i, name in ipairs(net.outputs) do
    local t = net.tensors[name]
    local v = views.fresh("output", t.type, t.dims)
    v.root.index = i - 1
    outputs[name] = get(run.memory, v, run.laid)
  end
  return outputs, run.laid, steps
end

return machine
