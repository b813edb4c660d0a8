-- tile.lua: the one register tile, sums += held * passing, written as a kernel program from a table that describes it.
--
-- The sums are registers over named axes; "v" counts vectors. Each operand is a view: a pointer, and elements for each
-- axis that it depends on; it is loaded once for each index. What is held has a register for each; what passes comes
-- through one register (or as a memory operand), and all sums that it reaches take it before the next one comes. What
-- is summed over is a nest of loops, in the order as written. Nothing here knows what a convolution is.
--
-- A description has (what is nil or false in a list is left out)
--   name, type, target, about   as a program has
--   arguments   { name, "in" | "out" | "inout" | "count" }, in order
--   sizes       of the axes: { m = 6, v = 4 }
--   sums, held, passing   operands: { pointer = name of an argument, register = name, { axis, elements }, ... }, the
--               axes in the order in which they are walked. indices: those of a register's name, if others (a list of
--               axes, or a function of all indices); last: lanes of the last vector; kind: see `loads`; load: a
--               function (tile, register, operand, place) in its stead; once: for but one sum it may be a memory
--               operand; fresh: it passes through a register of its own each time
--   registers   operands as their registers are declared, { name, axis = indices } for some; others are when used
--   ending      what `endings` need: epilogue (a problem), bias and slope (operands; slope_of_all: it is one for all
--               lanes), value (one that is a bias for all lanes),
--               residual (a pointer's name), temporary (an operand's name), stream
--   body        nodes:
--     { loop = a count, copies = { { pointer, name, elements }, ... }, steps = { { pointer, elements }, ... }, node }
--               the nodes within see the copies, that many elements further on; steps are taken after each turn
--     { zero | load | multiply = reach, at = { pointer = elements to add } }
--     { finish = { ending, ... }, reach = of the sums }, { clear = { elements, ... } }
--     { fetch = { { pointer, elements, level }, ... } }
--     { collect = reach }: adds what is held to the sums `beside`, an operand, which have no factor; of = "beside"
--               makes a node zero or finish be about them; of = "sums", load about what stands where sums go
--     { forget = true }: what is held is done with, its registers too
--     a function of the tile, for what is computed beside the products; an ending may be one of tile, sum and node
-- reach says which indices of an axis are meant, else all are: { m = { 1, 2, 3 } }; lanes: of each vector { first,
-- count, padded: the sums keep their other lanes }; terms: for sums that are no outer product, for each value that
-- passes { at = { pointer = elements }, uses = { indices of all axes, ... }, phase and elements, where they differ }.
local activations, program = require "activations", require "program"
local parts = require "parts"
local reduce = require "reduce"
local tile = {}

---- indices, registers and places -----------------------------------------------------------------------------------

function tile.span(first, last)
  local list = {}
  for i = first, last do list[#list + 1] = i end
  return list
end

-- A reach: the vectors of so many lanes that hold the elements first..last, and which lanes these are.
function tile.reach(first, last, width)
  local reach = { v = tile.span(first // width, last // width), lanes = {} }
  for _, v in ipairs(reach.v) do
    local low = math.max(first - v * width, 0)
    reach.lanes[v] = { first = low, count = math.min(last - v * width + 1, width) - low }
  end
  return reach
end

-- The entries of a list that may have holes: what a description leaves out is nil or false.
local function entries(list)
  local last, i = 0, 0
  for key in pairs(list or {}) do last = math.type(key) == "integer" and math.max(last, key) or last end
  return function()
    repeat i = i + 1 until i > last or list[i]
    return list and list[i] or nil
  end
end

-- Calls visit() for each index of an operand that is reached; t.index holds it.
local function each(t, operand, reach, visit, depth)
  local axis = operand[depth or 1]
  if not axis then return visit() end
  local name, list = axis[1], reach[axis[1]]
  for i = 0, (list and #list or t.sizes[name]) - 1 do
    t.index[name] = list and list[i + 1] or i
    each(t, operand, reach, visit, (depth or 1) + 1)
  end
end

local function count(t, operand, reach)
  local n = 1
  for _, axis in ipairs(operand) do n = n * (reach[axis[1]] and #reach[axis[1]] or t.sizes[axis[1]]) end
  return n
end

-- Of a register that is one of many: the operand's name, its indices and what axes these are of.
local function numbered(t, operand)
  local indices, axes = {}, {}
  if type(operand.indices) == "function" then return operand.register, { operand.indices(t.index) } end
  for i, axis in ipairs(operand.indices or operand) do
    axes[i] = operand.indices and axis or axis[1]
    indices[i] = t.index[axes[i]]
  end
  return operand.register, indices, axes
end

-- The register of an operand at the index; r: from now on.
local function register(t, operand, r)
  local index, sizes, key, passing = t.index, t.sizes, 0, operand == t.passing
  for i = 1, passing and 0 or #operand do
    local name = operand[i][1]
    key = key * sizes[name] + index[name]
  end
  local known = t.known[operand] or {}
  t.known[operand] = known
  r = r or known[key] or passing and t.k:vector(operand.register) or t.k:vector(numbered(t, operand))
  known[key] = r
  return r
end

local function offset(t, operand)
  local index, sum = t.index, 0
  for i = 1, #operand do sum = sum + index[operand[i][1]] * operand[i][2] end
  return sum
end

-- Where an operand is at the index; `at` has elements to add for its pointer.
local function place(t, operand, at)
  return t.k:at(t.pointers[operand.pointer], (at and at[operand.pointer] or 0) + offset(t, operand))
end

-- For functions of the tile: where an operand is at the index; makes r what is held at one.
tile.place = place

function tile.hold(t, r, index)
  for axis, i in pairs(index) do t.index[axis] = i end
  register(t, t.held, r)
end

-- The lanes of an operand's vector: first, count, and whether others must be kept.
local function lanes(t, operand, reach)
  local own = reach.lanes and reach.lanes[t.index.v]
  if own then return own.first, own.count, own.padded end
  if operand.last and (t.index.v or 0) == (t.sizes.v or 1) - 1 then return 0, operand.last end
end

---- products --------------------------------------------------------------------------------------------------------

local loads = {}

function loads.lanes(t, r, operand, at, reach)
  local first, n = lanes(t, operand, reach)
  t.k:load(r, at, first, n)
end

function loads.broadcast(t, r, _, at) t.k:broadcast(r, at) end

-- Of operand.elements each `times` lanes take one, from the phase on.
function loads.spread(t, r, operand, at)
  local own = t.term.phase and t.term or operand
  t.k:spread(r, at, operand.times, own.phase, own.elements)
end

-- What passes at the index, for so many uses: a register, or a memory operand.
local function factor(t, reach, at, uses)
  local operand = t.passing
  local from, kind = place(t, operand, at), operand.kind or "broadcast"
  if operand.once and uses == 1 and kind ~= "broadcast" then return t.k:memory(from) end
  if operand.once and uses == 1 and t.k.target.broadcast_operand then return t.k:memory_broadcast(from) end
  if operand.fresh then t.known[operand] = nil end
  local r = register(t, operand)
  local load_it = operand.load or loads[kind]
  load_it(t, r, operand, from, reach)
  return r
end

local function multiply(t, reach, x)
  local first, n, padded = lanes(t, t.held, reach)
  t.k:fma(register(t, t.sums), register(t, t.held), x, padded and first, padded and n)
end

local function move_index(t, index) for axis, i in pairs(index) do t.index[axis] = i end end

local function multiply_terms(t, reach)
  for _, term in ipairs(reach.terms) do
    t.term = term
    move_index(t, term.uses[1])
    local x = factor(t, reach, term.at, #term.uses)
    for _, use in ipairs(term.uses) do
      move_index(t, use)
      multiply(t, reach, x)
    end
  end
end

---- nodes -----------------------------------------------------------------------------------------------------------

local nodes, endings = {}, {}
local kinds = { "zero", "load", "multiply", "collect", "forget", "finish", "clear", "fetch" }

-- The sums that a node is about.
local function sums_of(t, node) return t[node.of or "sums"] end

-- fetch: the level to which the sums' places are fetched meanwhile.
function nodes.zero(t, node)
  local sums = sums_of(t, node)
  each(t, sums, node.zero, function()
    t.k:zero(register(t, sums))
    if node.fetch then t.k:prefetch(place(t, sums), node.fetch) end
  end)
end

function nodes.collect(t, node)
  each(t, t.held, node.collect, function()
    local sum = register(t, t.beside)
    t.k:add(sum, sum, register(t, t.held))
  end)
end

function nodes.forget(t) t.known[t.held] = {} end

function nodes.load(t, node)
  local operand, reach = t[node.of or "held"], node.load
  each(t, operand, reach, function()
    loads[operand.kind or "lanes"](t, register(t, operand), operand, place(t, operand, node.at), reach)
  end)
end

function nodes.multiply(t, node)
  local reach = node.multiply
  if reach.terms then return multiply_terms(t, reach) end
  local uses = count(t, t.held, reach)
  each(t, t.passing, reach, function()
    local x = factor(t, reach, node.at, uses)
    each(t, t.held, reach, function() multiply(t, reach, x) end)
  end)
end

function nodes.fetch(t, node)
  for _, at in ipairs(node.fetch) do t.k:prefetch(t.k:at(t.pointers[at[1]], at[2]), at[3]) end
end

-- Registers that an activation takes.
local function room(t) return t.ending.epilogue and activations.room(t.ending.epilogue, t.k.target) or 0 end

-- The sums in order; and, by number, stack slots in which some of them wait, where an activation needs more registers
-- than all leave. What is summed afterwards, and what is overwritten, have registers of their own then: the same ones
-- would stay taken.
local function gather(t, sums, node)
  local k, list, slots, needs = t.k, {}, {}, room(t)
  each(t, sums, node.reach or {}, function() list[#list + 1] = register(t, sums) end)
  local live = #list - 1 + needs + count(t, t.held, {}) + 1 -- what is held, what passes
  if needs == 0 or live <= k.target.registers then return list, slots end
  for i = math.max(1, #list - (live - k.target.registers) + 1), #list do
    slots[i] = k:slot "waits"
    k:spill(slots[i], list[i])
  end
  t.waiting = true
  t.known[sums] = nil
  return list, slots
end

local function filled(t, slot)
  local sum = t.k:vector "sum"
  t.k:fill(sum, slot)
  return sum
end

function nodes.finish(t, node)
  local sums, n = sums_of(t, node), 0
  local list, slots = gather(t, sums, node)
  each(t, sums, node.reach or {}, function()
    n = n + 1
    local sum = slots[n] and filled(t, slots[n]) or list[n]
    for ending in entries(node.finish) do (endings[ending] or ending)(t, sum, node) end
  end)
  if room(t) > 0 then t.known[sums], t.known[t.passing], t.known[t[t.ending.temporary]] = nil, nil, nil end
end

-- Places so far from the sums' become zero; the first sum is done with.
function nodes.clear(t, node)
  if #node.clear == 0 then return end
  for axis in pairs(t.sizes) do t.index[axis] = 0 end
  local zero = register(t, t.sums)
  t.k:zero(zero)
  for _, elements in ipairs(node.clear) do
    local at = { [t.sums.pointer] = elements }
    each(t, t.sums, {}, function() endings.stored(t, zero, { at = at }) end)
  end
end

---- endings: what happens to each sum -------------------------------------------------------------------------------

-- Where sums wait, a register from one to the next would be one that the activation lacks.
local function beside(t, operand)
  if t.waiting then t.known[operand] = nil end
  return register(t, operand)
end

local function temporary(t) return beside(t, t[t.ending.temporary]) end

function endings.stored(t, sum, node)
  local first, n = lanes(t, t.sums, node.reach or {})
  local to = place(t, t.sums, node.at)
  if t.ending.stream and (n or t.k.lanes) == t.k.lanes then t.k:stream(to, sum) else t.k:store(to, sum, first, n) end
end

-- To what is there.
function endings.added(t, sum, node)
  local temp = temporary(t)
  t.k:load(temp, place(t, t.sums), lanes(t, t.sums, node.reach or {}))
  t.k:add(sum, temp, sum)
end

-- The same by way of the temporary, which is stored.
function endings.added_up(t, sum, node)
  local sums = sums_of(t, node)
  reduce.add(t.k, place(t, sums), { sum }, temporary(t), select(2, lanes(t, sums, {})))
end

function endings.added_in_memory(t, sum) t.k:add(sum, sum, t.k:memory(place(t, t.sums))) end

-- A bias that does not depend on the vector.
function endings.biased(t, sum)
  local r = beside(t, t.passing)
  if t.index.v == 0 or t.waiting then t.k:broadcast(r, place(t, t.ending.value)) end
  t.k:add(sum, sum, r)
end

function endings.epilogue(t, sum)
  local e, first, n = t.ending, lanes(t, t.sums, {})
  local residual = e.residual and t.k:at(t.pointers[e.residual], offset(t, t.sums))
  local with = { bias = e.bias and place(t, e.bias), residual = residual, slope = e.slope and place(t, e.slope),
    slope_of_all = e.slope_of_all, first = first, count = n }
  parts.epilogue(t.k, e.epilogue, sum, temporary(t), with)
end

---- the nest --------------------------------------------------------------------------------------------------------

local walk

local function turn(t, node)
  local outer, k = t.pointers, t.k
  t.pointers = setmetatable({}, { __index = outer })
  for c in entries(node.copies) do t.pointers[c[1]] = k:copy(c[2], outer[c[1]]) end
  for c in entries(node.copies) do k:advance(t.pointers[c[1]], c[3] or 0) end
  walk(t, node)
  t.pointers = outer
  for step in entries(node.steps) do k:advance(outer[step[1]], step[2]) end
end

local function perform(t, node)
  if type(node) == "function" then return node(t) end
  for _, kind in ipairs(kinds) do
    if node[kind] then return nodes[kind](t, node) end
  end
  if not node.loop then return turn(t, node) end
  t.k:loop(t.counts[node.loop] or node.loop, function() turn(t, node) end)
end

function walk(t, list) for node in entries(list) do perform(t, node) end end

local function declare(t, arguments)
  setmetatable(t.pointers, { __index = function(_, name)
    error(("program %s has no argument %s"):format(t.k.name, tostring(name)), 0)
  end })
  for argument in entries(arguments) do
    local name, access = argument[1], argument[2]
    if access == "count" then t.counts[name] = t.k:count(name) else t.pointers[name] = t.k:pointer(name, access) end
  end
end

local function declare_registers(t, list)
  for _, entry in ipairs(list or {}) do
    local name, reach = entry, {}
    if type(entry) == "table" then name, reach = entry[1], entry end
    each(t, name == "passing" and {} or t[name], reach, function() register(t, t[name]) end)
  end
end

-- The finished program of a description, which the tile t has beside what it keeps while it is written.
function tile.kernel(o)
  local k = program.new { name = o.name, type = o.type, target = o.target }
  k.about = o.about
  local t = { k = k, ending = o.ending or {}, known = {}, index = {}, pointers = {}, counts = {}, term = {} }
  setmetatable(t, { __index = o })
  declare(t, o.arguments)
  declare_registers(t, o.registers)
  walk(t, o.body)
  return k:finish()
end

return tile
