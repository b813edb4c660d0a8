-- registers.lua: virtual registers -> machine registers, by linear scan.
--
-- A register lives from its first writing to its last use in one machine register; a value that enters a loop and is
-- used inside lives to the loop's end, so accumulators stay where they are. Nothing is split or spilled: a program that
-- does not fit is refused, and a family that wants spills writes them (program: slot, spill, fill).
local program = require "program"
local registers = {}

-- Whether an operation needs a register beside those it names, on a target that lacks something: for the mask of a
-- range, for the sums of which a range is taken, for an operand in memory or an element that is one. (A range that is
-- loaded can have its mask in the destination.)
local function needs_temporary(op, target)
  local y = op.y
  return op.count and not target.mask_registers and (y or op.op == "store" or op.op == "patch")
    or y and (y.all and not target.broadcast_operand or y.pointer and target.operands == "registers")
end

local function lacks_something(target)
  return not (target.mask_registers and target.broadcast_operand and target.operands ~= "registers")
end

-- Adds the positions of operations that need one, from behind a position; answers with the last one (program.lua).
local function add_needing(list, block, target, position)
  for _, op in ipairs(block) do
    position = position + 1
    if op.op == "loop" then position = add_needing(list, op.body, target, position) + 1
    elseif needs_temporary(op, target) then list[#list + 1] = position end
  end
  return position
end

local function needing(k, target)
  local list = {}
  if lacks_something(target) then add_needing(list, k.body, target, 0) end
  return list
end

-- What lives when a loop begins and is used in it lives to its end. Loops: outer ones before those in them.
function registers.extend_over_loops(spans, loops)
  for _, span in ipairs(spans) do
    for _, loop in ipairs(loops) do -- the outermost that the value enters decides
      if span.first < loop.first and span.last > loop.first and span.last < loop.last then span.last = loop.last end
    end
  end
end

-- Numbers from 0 that are free, as bits of words: the lowest one is found in two steps.
local word_bits = 32
local bit_of = {}
for i = 0, word_bits - 1 do bit_of[1 << i] = i end

local function take_lowest(free)
  local w = 1
  while free[w] == 0 do w = w + 1 end
  local bits = free[w] or (1 << word_bits) - 1 -- a word that nobody has taken from
  free[w] = bits & (bits - 1)
  return (w - 1) * word_bits + bit_of[bits & -bits]
end

local function give_back(free, n)
  local w = n // word_bits + 1
  free[w] = free[w] | 1 << n % word_bits
end

-- Gives each span the lowest number that is free. A number is free from the operation that reads its value last, which
-- may write another value there. Spans come in the order of their beginnings, so no other assignment needs fewer.
local function scan(spans)
  local map, used, free, ending, position = {}, 0, {}, {}, 0
  for _, span in ipairs(spans) do
    local first, last = span.first, span.last
    while position < first do -- what ends up to here
      position = position + 1
      local numbers = ending[position]
      for i = 1, numbers and #numbers or 0 do give_back(free, numbers[i]) end
    end
    local n, at = take_lowest(free), last > first and last or first + 1
    local list = ending[at]
    if list then list[#list + 1] = n else ending[at] = { n } end
    map[span.thing] = n
    if n >= used then used = n + 1 end
  end
  return map, used
end

-- The lowest number that has no value at any of these positions: where registers are short, a mask can be in it.
local function unused_at(positions, lifetimes, map)
  local taken, n = {}, 0
  for _, span in ipairs(lifetimes) do
    for _, position in ipairs(positions) do
      if span.first <= position and position <= span.last then taken[map[span.thing]] = true end
    end
  end
  while taken[n] do n = n + 1 end
  return n
end

local function allocate(k, target)
  registers.extend_over_loops(k.lifetimes, k.loop_lifetimes)
  local map, used = scan(k.lifetimes)
  local positions = needing(k, target)
  local temporary = (k.beside or #positions > 0) and used or nil
  local own = used + (temporary and 1 or 0)
  local short = own > target.registers
    and ("needs %d registers, %s has %d"):format(own, target.name, target.registers) or nil
  if temporary == target.registers and not k.beside then temporary = unused_at(positions, k.lifetimes, map) end
  if temporary then used = math.max(used, temporary + 1) end
  if used > target.registers then return nil, short end
  return { map = map, used = used, temporary = temporary, short = short }
end

-- {map = virtual register -> machine number from 0, used = how many, temporary = the number of a spare one, if needed,
-- short = why it is one that others have too}, or nil and why not. A family asks whether a program fits and the
-- lowering asks again: a finished program keeps the answer.
function registers.allocate(k, target)
  if not k.finished then error(("program %s: registers before finish"):format(k.name), 0) end
  k.allocated = k.allocated or {}
  local known = k.allocated[target]
  if not known then
    local result, why = allocate(k, target)
    known = { result, why }
    k.allocated[target] = known
  end
  return known[1], known[2]
end

return registers
