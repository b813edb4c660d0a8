-- places.lua: where pointers, counts and loop counters live: in a general register, or on the stack.
--
-- (Registers of vectors are given by registers.lua, which refuses a program that needs too many.) Of an instruction set
-- it needs the lists isa.general, registers that a variable may have, and isa.incoming, those that arguments come in.
local program, registers = require "program", require "registers"
local places = {}

---- lifetimes -------------------------------------------------------------------------------------------------------

local function touch(s, thing, weight)
  local span = s.spans[thing]
  if not span then
    span = { thing = thing, first = s.position, weight = 0 }
    s.spans[thing], s.order[#s.order + 1] = span, span
  end
  span.last, span.weight = s.position, span.weight + weight
  return span
end

local function touch_pointers(s, op)
  local fields = program.operations[op.op].pointers
  for i = 1, #fields do
    local thing = op[fields[i]]
    if thing.kind ~= "register" then touch(s, thing.pointer or thing, s.weight) end
  end
  if op.from then s.spans[op.p].from = op.from end
end

local function touch_range(s, op)
  local key = op.first << 8 | op.count
  local range = s.ranges[key]
  if not range then
    range = { first = op.first, count = op.count, weight = 0 }
    s.ranges[key], s.ranges_in_order[#s.ranges_in_order + 1] = range, range
  end
  range.weight, range.sums = range.weight + s.weight, range.sums or op.y ~= nil
end

local walk

-- (A loop of one trip is none.)
local function walk_loop(s, op)
  if op.count == 0 then return end
  if op.count == 1 then return walk(s, op.body) end
  if type(op.count) == "table" then touch(s, op.count, s.weight) end
  local span, loop = touch(s, op, s.weight * 8), { first = s.position }
  s.loops[#s.loops + 1] = loop
  s.weight = s.weight * 8
  walk(s, op.body)
  s.weight, s.position = s.weight // 8, s.position + 1
  loop.last, span.last = s.position, s.position
end

function walk(s, block)
  for _, op in ipairs(block) do
    s.position = s.position + 1
    if op.op == "loop" then walk_loop(s, op) else
      if op.count then touch_range(s, op) end
      touch_pointers(s, op)
    end
  end
end

-- Lifetimes of arguments, pointer variables and loop counters (known by their loop operation), in positions; and which
-- ranges of lanes occur, by first << 8 | count. What is used in loops weighs more.
local function survey(k)
  local s = { position = 0, weight = 1, spans = {}, order = {}, loops = {}, ranges = {}, ranges_in_order = {} }
  for _, a in ipairs(k.args) do if k.used[a] then touch(s, a, 0) end end
  walk(s, k.body)
  for _, span in ipairs(s.order) do
    span.last = math.max(span.last, span.first + 1) -- even what nobody reads is written somewhere
  end
  registers.extend_over_loops(s.order, s.loops)
  return s
end

---- choice ----------------------------------------------------------------------------------------------------------

-- Where among spans, which do not overlap and stand in order, those begin that end behind `at`.
local function first_behind(list, at)
  local low, high = 1, #list + 1
  while low < high do
    local middle = (low + high) // 2
    if list[middle].last > at then high = middle else low = middle + 1 end
  end
  return low
end

local function is_free(list, span)
  local other = list[first_behind(list, span.first)]
  return not (other and other.first < span.last)
end

local function first_free(c, span, arriving)
  for _, n in ipairs(c.general) do
    if is_free(c.taken[n], span) and not (arriving and not is_free(arriving[n], span)) then return n end
  end
end

-- The register that a span comes from, else one that is nobody's, else any.
local function choose(c, span)
  local thing = span.thing
  local own, from = c.incoming[thing], thing.op == "loop" and thing.count or span.from
  if own and is_free(c.taken[own], span) then return own end
  local source = from and (c.register[from] or c.incoming[from])
  if source and is_free(c.taken[source], span) and is_free(c.arriving[source], span) then return source end
  return first_free(c, span, c.arriving) or first_free(c, span)
end

-- The heaviest first, of equals the first.
function places.by_weight(list)
  local order = { table.unpack(list) }
  for i, each in ipairs(order) do each.rank = i end
  table.sort(order, function(a, b) return a.weight > b.weight or (a.weight == b.weight and a.rank < b.rank) end)
  return order
end

-- register: by argument, pointer or loop; on_stack: a list of those that found none; ranges: of lanes, by
-- first << 8 | count, and ranges_in_order.
function places.find(k, isa)
  local s = survey(k)
  local c = { general = isa.general, register = {}, incoming = {}, taken = {}, arriving = {} }
  for i, a in ipairs(k.args) do c.incoming[a] = isa.incoming[i] end
  for _, n in ipairs(isa.general) do c.taken[n], c.arriving[n] = {}, {} end
  for _, span in ipairs(s.order) do
    local n = c.incoming[span.thing]
    if n then c.arriving[n][1] = span end
  end
  local on_stack = {}
  for _, span in ipairs(places.by_weight(s.order)) do
    local n = choose(c, span)
    if n then
      table.insert(c.taken[n], first_behind(c.taken[n], span.first), span)
      c.register[span.thing] = n
    else
      on_stack[#on_stack + 1] = span.thing
    end
  end
  return { register = c.register, on_stack = on_stack, ranges = s.ranges, ranges_in_order = s.ranges_in_order }
end

return places
