-- flow.lua: a finished program's loops and pointers as a reader wants them.
--
-- flow.tree(k) answers with a list of nodes, in order; each has first and last, the positions of its operations
-- (program.finish). Loops that run once are gone, and so are steps that nobody sees: a pointer's that nothing reads
-- behind it, and those by which a copy begins elsewhere. A node is
--   { op, at = { places of its addresses by field } }   an operation; a place is { pointer, offset }
--   { loop = the operation, body }
--   { declare = a pointer, from = a place }             or, of an operation that picks, { declare, pick = it, from }
--   { body, scope = true }                              what pointers stand in whose names others have as well
-- Pointers that stay where another one is are that one, with an offset.
local program, registers = require "program", require "registers"
local flow = {}

-- How often a loop runs, where that is known: a count that is the same in all calls is no argument.
local function trips(op)
  if type(op.count) ~= "table" then return op.count end
  return op.count.always or nil
end

-- Where each pointer is advanced: positions, in order; and whether anything is done with it but that.
local function find_advances(s, ops, position)
  for _, op in ipairs(ops) do
    position = position + 1
    if op.op == "loop" then position = find_advances(s, op.body, position) + 1
    elseif op.op == "advance" then
      s.advances[op.p] = s.advances[op.p] or {}
      table.insert(s.advances[op.p], position)
    else
      for _, field in ipairs(program.operations[op.op].pointers) do
        local x = op[field]
        if x and x.kind ~= "register" then s.serves[x.pointer or x] = true end
      end
    end
  end
  return position
end

local function advances_between(s, pointer, first, last)
  local n = 0
  for _, position in ipairs(s.advances[pointer] or {}) do
    if position > first and position <= last then n = n + 1 end
  end
  return n
end

local function place(s, pointer, offset)
  local known = s.places[pointer]
  if known then return known.pointer, known.offset + (offset or 0) end
  return pointer, offset or 0
end

local function last_use(s, pointer) return s.last[pointer] or s.k.used[pointer].last end

-- The end of a pointer that is declared here: what is read in a loop is read in its last turn.
local function end_of(s, pointer)
  local span = { first = s.position, last = s.k.used[pointer].last }
  registers.extend_over_loops({ span }, s.k.loop_lifetimes)
  return span.last
end

-- The steps of a pointer among the copies and steps that directly follow an operation: these say where it begins.
local function beginning(s, ops, i, pointer)
  local elements, steps = 0, {}
  for n = i + 1, #ops do
    local op = ops[n]
    if op.op ~= "copy" and op.op ~= "advance" or op.from == pointer then break end
    if op.p == pointer then
      elements = elements + op.elements
      steps[#steps + 1] = op
    end
  end
  for _, op in ipairs(steps) do s.begun[op] = true end
  return elements, #steps
end

local function declare(s, out, ops, i)
  local op = ops[i]
  local from, offset = place(s, op.from)
  local elements, steps = 0, 0
  if op.op == "copy" then elements, steps = beginning(s, ops, i, op.p) end
  local last = end_of(s, op.p)
  local stays = op.op == "copy" and steps == #(s.advances[op.p] or {})
    and advances_between(s, op.from, s.position, last) + advances_between(s, from, s.position, last) == 0
  if stays then
    s.places[op.p] = { pointer = from, offset = offset + elements }
    s.last[from] = math.max(last_use(s, from), last)
    return
  end
  s.depths[op.p] = s.depth
  out[#out + 1] = { declare = op.p, pick = op.op == "pick" and op or nil, first = s.position, last = s.position,
    from = { pointer = from, offset = offset + elements } }
end

-- Nothing reads the pointer, or nothing does behind the step and no loop comes back to it.
local function dead(s, op)
  return not s.serves[op.p] or (s.depths[op.p] or 0) == s.depth and last_use(s, op.p) <= s.position
end

local function operation(s, out, op)
  if s.begun[op] or op.op == "advance" and dead(s, op) then return end
  local node = { op = op, at = {}, first = s.position, last = s.position }
  for _, field in ipairs { "a", "y" } do
    local x = op[field]
    local address = x and (x.kind == "address" and x or x.address)
    if address then
      local pointer, offset = place(s, address.pointer, address.offset)
      node.at[field] = { pointer = pointer, offset = offset }
    end
  end
  out[#out + 1] = node
end

---- scopes ----------------------------------------------------------------------------------------------------------

-- The runs of declarations in a list: {first, last: nodes, from the first one on to the last that uses them; names}.
local function runs_of(s, list)
  local runs, i = {}, 1
  while i <= #list do
    local run, stop = { first = i, names = {} }, 0
    while list[i] and list[i].declare do
      local p = list[i].declare
      run.names[p.hint], stop, i = true, math.max(stop, last_use(s, p)), i + 1
    end
    if i > run.first then
      run.last = i - 1
      while list[run.last + 1] and list[run.last + 1].first <= stop do run.last = run.last + 1 end
      runs[#runs + 1] = run
    else
      i = i + 1
    end
  end
  return runs
end

local function meet(a, b)
  for name in pairs(a.names) do if b.names[name] then return true end end
  return false
end

-- Runs whose names others have, too, unless they are not one behind the other.
local function scopes_of(runs)
  local chosen = {}
  for i, run in ipairs(runs) do
    local shared, apart = false, true
    for n, other in ipairs(runs) do
      shared = shared or n ~= i and meet(run, other)
      apart = apart and (n == i or other.last < run.first or other.first > run.last)
    end
    if shared and apart then chosen[#chosen + 1] = run end
  end
  return chosen
end

local function with_scopes(s, list)
  local out, i = {}, 1
  for _, run in ipairs(scopes_of(runs_of(s, list))) do
    table.move(list, i, run.first - 1, #out + 1, out)
    out[#out + 1] = { scope = true, body = table.move(list, run.first, run.last, 1, {}), first = list[run.first].first,
      last = list[run.last].last }
    i = run.last + 1
  end
  return table.move(list, i, #list, #out + 1, out)
end

---- the tree --------------------------------------------------------------------------------------------------------

local walk

local function loop(s, out, op)
  local count, first = trips(op), s.position
  if count == 1 then walk(s, op.body, out)
  elseif count == 0 then walk(s, op.body, {})
  else
    local body = {}
    s.depth = s.depth + 1
    walk(s, op.body, body)
    s.depth = s.depth - 1
    body = #body > 0 and with_scopes(s, body)
    if body then out[#out + 1] = { loop = op, body = body, first = first, last = s.position + 1 } end
  end
  s.position = s.position + 1
end

function walk(s, ops, out)
  for i, op in ipairs(ops) do
    s.position = s.position + 1
    if op.op == "loop" then loop(s, out, op)
    elseif op.op == "copy" or op.op == "pick" then declare(s, out, ops, i)
    else operation(s, out, op) end
  end
end

function flow.tree(k)
  local s = { k = k, advances = {}, serves = {}, places = {}, last = {}, depths = {}, begun = {} }
  s.depth, s.position = 0, 0
  local list = {}
  find_advances(s, k.body, 0)
  walk(s, k.body, list)
  return with_scopes(s, list)
end

return flow
