-- elements.lua: element-wise operations, fused chains of them, and copies between views whose rows are neighbours in
-- both: rows of vectors.
--
-- The innermost axis is the one that is written element by element; there each operand is a row of neighbours or one
-- element for all. Any other view goes element by element.
local driver, program = require "driver", require "program"
local axes, steps = require "network/axes", require "network/steps"
local elements = {}

local most_unrolled, block, least_block = 4, 16384, 1024

---- kernels -----------------------------------------------------------------------------------------------------------

-- What a row is walked in: so many elements a step, 1 where some operand's are not neighbours.
local function lanes_of(k, inner)
  local written = #inner.steps
  if inner.steps[written] ~= 1 and inner.size > 1 then return 1 end
  for v = 1, written - 1 do
    if inner.steps[v] > 1 and inner.size > 1 then return 1 end
  end
  return k.lanes
end

-- A function that makes `count` elements, which are `at` elements on.
local function maker(k, o, inner)
  return function(pointers, at, count)
    local values = {}
    for v, slot in ipairs(o.slots) do
      local r, from = k:vector(slot), k:at(pointers[v], at * inner.steps[v])
      if inner.steps[v] == 0 then k:broadcast(r, from) else k:load(r, from, 0, count) end
      values[slot] = r
    end
    local y = steps.put(k, o.steps, values)
    k:store(k:at(pointers[#pointers], at * inner.steps[#pointers]), y, 0, count)
  end
end

-- One row: a loop over groups of vectors, then what remains.
local function row(k, o, inner, pointers, make)
  local lanes = lanes_of(k, inner)
  local together = steps.cheap(o.steps) and most_unrolled or 1
  local each = lanes * together
  local whole, ahead = inner.size // each, {}
  local first = whole > 1 and whole * each or 0
  for v, step in ipairs(inner.steps) do ahead[v] = step * each end
  if whole > 1 then
    for v, p in ipairs(pointers) do pointers[v] = k:copy("p" .. v, p) end
    k:nest(pointers, { { count = whole, steps = ahead } }, function()
      for n = 0, together - 1 do make(pointers, n * lanes, lanes) end
    end)
  end
  for at = first, inner.size - 1, lanes do make(pointers, at - first, math.min(lanes, inner.size - at)) end
end

-- Rows of the inner axis, as many as the count says.
local function kernel(named, o, outer, inner)
  local k, pointers, names = program.new(named), {}, {}
  for v, slot in ipairs(o.slots) do pointers[v], names[v] = k:pointer(slot, "in"), "x" .. v end
  pointers[#pointers + 1], names[#names + 1] = k:pointer("dst", "out"), "y"
  local make, rows = maker(k, o, inner), k:count "rows"
  k:loop(rows, function()
    local at = {}
    for v, p in ipairs(pointers) do at[v] = k:copy(names[v], p) end
    row(k, o, inner, at, make)
    for v, p in ipairs(pointers) do k:advance(p, outer.steps[v]) end
  end)
  return k:finish()
end

---- stages ------------------------------------------------------------------------------------------------------------

-- A part of a stage: tasks are of all axes but the two inner ones, and of some rows.
local function part(b, o, list)
  local inner, outer = list[#list] or axes.one(#o.slots + 1), list[#list - 1] or axes.one(#o.slots + 1)
  local call = b:new("elements", function(named) return kernel(named, o, outer, inner) end)
  local rows = math.max(1, math.min(outer.size, o.block // inner.size))
  local indices, first = {}, inner.first or 0
  for i = 1, #list - 2 do indices[i] = { "i" .. i, list[i].size } end
  indices[#indices + 1] = { "chunk", (outer.size + rows - 1) // rows }
  return { indices = indices, body = function(d, ...)
    local at, args = { ... }, {}
    local row_ = d:let("row", at[#at] * rows)
    for v = 1, #o.slots + 1 do
      local offset = row_ * outer.steps[v] + first * inner.steps[v]
      for i = 1, #list - 2 do offset = offset + at[i] * list[i].steps[v] end
      args[v] = { d[o.slots[v] or "dst"], offset }
    end
    args[#args + 1] = driver.min(driver.expr(outer.size) - row_, rows)
    d:call(call, args)
  end }
end

-- Parts that write all elements of `list`; long rows in blocks.
local function parts_of(b, o, list)
  local inner = list[#list]
  if not inner or inner.size <= 2 * o.block then return { part(b, o, list) } end
  local blocks, one, rest = axes.blocks(inner, o.block)
  local with = table.move(list, 1, #list - 1, 1, {})
  with[#with + 1], with[#with + 2] = blocks, one
  local all = { part(b, o, with) }
  if rest then
    list = table.move(list, 1, #list - 1, 1, {})
    list[#list + 1] = rest
    all[2] = part(b, o, list)
  end
  return all
end

-- o: steps; slots: those that are read; views: theirs and, last, what is written. All have its dims.
function elements.parts(b, o)
  local strides = {}
  for v, view in ipairs(o.views) do strides[v] = view.strides end
  local list = axes.merged(axes.ordered(axes.of(o.views[#o.views].dims, strides)))
  local share = axes.elements(list) // (4 * b.threads)
  o.block = math.max(least_block, math.min(block, share // least_block * least_block))
  return parts_of(b, o, list)
end

return elements
