-- elements.lua: element-wise operations, fused chains of them, and copies between views whose rows are neighbours in
-- both: rows of vectors.
--
-- The innermost axis is the one that is written element by element; there each operand is a row of neighbours or one
-- element for all. Any other view goes element by element.
local driver, program, registers = require "driver", require "program", require "registers"
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
  local written = #inner.steps
  return function(pointers, at, count)
    local y = steps.put(k, o.steps, function(slot)
      local r, v = k:vector(slot), o.number[slot]
      local from = k:at(pointers[v], at * inner.steps[v])
      if inner.steps[v] == 0 then k:broadcast(r, from) else k:load(r, from, 0, count) end
      return r
    end)
    if o.convert then o.convert(k, y) end
    k:store(k:at(pointers[written], at * inner.steps[written]), y, 0, count)
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
  k:finish()
  local fits, why = registers.allocate(k, k.target)
  return fits and k or nil, why
end

---- stages ------------------------------------------------------------------------------------------------------------

-- The axis of rows: blocks of a row are rows, else the next axis has them.
local function rows_of(list, piece)
  if piece.count == 1 then return list[#list] or axes.one(#piece.axis.steps) end
  local blocks = { size = piece.count, steps = {} }
  for v, step in ipairs(piece.axis.steps) do blocks.steps[v] = step * piece.size end
  return blocks
end

-- A part of a stage, that of a piece of the innermost axis: tasks are of all axes but the two inner ones, and of some
-- rows.
local function part(b, o, list, piece)
  local inner, outer = { size = piece.size, steps = piece.axis.steps }, rows_of(list, piece)
  local rest = axes.without(list, outer)
  local call = b:new("elements", function(named) return kernel(named, o, outer, inner) end)
  local rows = math.max(1, math.min(outer.size, o.block // inner.size))
  local indices = axes.indices(rest)
  indices[#indices + 1] = { "chunk", (outer.size + rows - 1) // rows }
  return { indices = indices, body = function(d, ...)
    local at, args = { ... }, {}
    local row_ = d:let("row", at[#at] * rows)
    for v = 1, #o.slots + 1 do
      args[v] = { d[o.slots[v] or "dst"],
        axes.offset(rest, at, v) + row_ * outer.steps[v] + piece.first * inner.steps[v] + (o.views[v].offset or 0) }
    end
    args[#args + 1] = driver.min(driver.expr(outer.size) - row_, rows)
    d:call(call, args)
  end }
end

-- Elements that a task should have.
function elements.block(b, list)
  local share = axes.elements(list) // (4 * b.threads)
  return math.max(least_block, math.min(block, share // least_block * least_block))
end

-- Parts that write all elements. o: steps; convert(k, y): what is done with their result; slots: those that are read;
-- views: theirs and, last, what is written. All have its dims.
function elements.parts(b, o)
  local list = axes.merged(axes.ordered(axes.of_views(o.views), #o.views))
  local inner, parts = list[#list] or axes.one(#o.views), {}
  o.number = {}
  for v, slot in ipairs(o.slots) do o.number[slot] = v end
  o.block = elements.block(b, list)
  for i, piece in ipairs(axes.pieces(inner, inner.size > 2 * o.block and o.block or inner.size)) do
    parts[i] = part(b, o, axes.without(list, inner), piece)
  end
  return parts
end

return elements
