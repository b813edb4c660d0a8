-- registers.lua: virtual registers -> machine registers, by linear scan.
--
-- A register lives from its first writing to its last use in one machine register; a value that enters a loop and is used inside
-- lives to the loop's end, so accumulators stay where they are. Nothing is split or spilled: a program that does not fit is
-- refused, and a family that wants spills writes them (program: slot, spill, fill).
local program = require "program"
local registers = {}

-- Whether an operation needs a register beside those it names: for the mask of a range, for the sums of which a range is taken,
-- for an element that is an operand, for the exchange in a transpose, for the places that a spread takes lanes from. (A range that is loaded can have its mask in the destination.)
local function needs_temporary(op, target)
  if op.op == "transpose" or op.op == "spread" then return true end
  if (op.op == "store" or op.y) and op.count and not target.mask_registers then return true end
  return op.y and op.y.all and not target.broadcast_operand
end

-- Numbers the operations and notes where each register is first and last touched, and where loops begin and end.
local function survey(k, target)
  local s = { position = 0, spans = {}, order = {}, loops = {} }
  local spans = s.spans
  local function touch(things)
    for i = 1, #things do
      local v = things[i]
      local span = spans[v]
      if span then span.last = s.position
      elseif v.kind == "register" then
        spans[v] = { register = v, first = s.position, last = s.position }
        s.order[#s.order + 1] = spans[v]
      end
    end
  end
  local function walk(block)
    for _, op in ipairs(block) do
      s.position = s.position + 1
      if op.op == "loop" then
        local loop = { first = s.position }
        s.loops[#s.loops + 1] = loop -- outer ones before inner ones
        walk(op.body)
        s.position = s.position + 1
        loop.last = s.position
      else
        s.temporary = s.temporary or needs_temporary(op, target)
        touch(program.reads(op))
        touch(program.writes(op))
      end
    end
  end
  walk(k.body)
  return s
end

local function extend_over_loops(spans, loops)
  for _, span in ipairs(spans) do
    for _, loop in ipairs(loops) do -- the outermost that the value enters decides
      if span.first < loop.first and span.last > loop.first and span.last < loop.last then span.last = loop.last end
    end
  end
end

-- Gives each span the lowest number that is free. A number is free from the operation that reads its value last, which may write
-- another value there. Spans come in the order of their beginnings, so no other assignment needs fewer.
local function scan(spans)
  local until_, map, used = {}, {}, 0
  for _, span in ipairs(spans) do
    local n = 0
    while until_[n] and until_[n] > span.first do n = n + 1 end
    until_[n], map[span.register] = math.max(span.last, span.first + 1), n
    used = math.max(used, n + 1)
  end
  return map, used
end

local function allocate(k, target)
  local s = survey(k, target)
  extend_over_loops(s.order, s.loops)
  local map, used = scan(s.order)
  local temporary = s.temporary and used or nil
  if temporary then used = used + 1 end
  if used > target.registers then
    return nil, ("needs %d registers, %s has %d"):format(used, target.name, target.registers)
  end
  return { map = map, used = used, temporary = temporary }
end

-- {map = virtual register -> machine number from 0, used = how many, temporary = the number of a spare one, if needed},
-- or nil and why not. A family asks whether a program fits and the lowering asks again: a finished program keeps the answer.
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
