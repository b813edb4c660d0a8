-- indexed.lua: copies whose elements come from other places along some axes: nearest neighbours, borders, picked ones.
--
-- Rows of neighbours along an axis where nothing differs are copied whole. Where each element of the next axis comes
-- `times` times, in order, a kernel walks that as well.
local driver, program, types = require "driver", require "program", require "types"
local axes, maps = require "network/axes", require "network/maps"
local indexed = {}

local most_text = 64 -- stores of a kernel

---- kernels -----------------------------------------------------------------------------------------------------------


-- Pixels, as many as the count says, of `size` neighbours each, `times` times.
local function kernel(named, o, size)
  local k = program.new(named)
  local src, dst = k:pointer("src", "in"), k:pointer("dst", "out")
  local lanes, times, apart = o.lanes, o.times or 1, o.inner and o.inner.steps[2] or 0
  k:loop(k:count "pixels", function()
    for at = 0, size - 1, lanes do
      local r, count = k:vector "r", math.min(lanes, size - at)
      k:load(r, k:at(src, at), 0, count)
      for i = 0, times - 1 do k:store(k:at(dst, at + i * apart), r, 0, count) end
    end
    k:advance(src, o.inner and o.inner.steps[1] or 0)
    k:advance(dst, times * apart)
  end)
  return k:finish()
end

---- stages ------------------------------------------------------------------------------------------------------------

-- Of the dims of the result axes with steps; offset: of src, where an axis is one element. map: an axis' list, or a
-- function of a driver and an index; without: straight.
local function axes_of(views, given)
  local list, offset = {}, 0
  for i, size in ipairs(views.dst.dims) do
    local map, step = given[i], views.src.strides[i]
    if type(map) == "table" then
      local a, b = maps.straight(map)
      if a and a >= 0 then step, offset, map = step * a, offset + b * step, nil end
    end
    if size > 1 or map then
      list[#list + 1] = { size = size, steps = { step, views.dst.strides[i] }, map = map, inputs = views.src.dims[i],
        place = i }
    end
  end
  return axes.ordered(list, 2), offset
end

local function across_of(list)
  for _, axis in ipairs(list) do
    if not axis.map and axis.steps[1] == 1 and axis.steps[2] == 1 then return axis end
  end
end

-- The axis that kernels walk beside: the innermost one, if its elements come a number of times in order.
local function inner_of(list)
  local axis = list[#list]
  if not axis or type(axis.map) == "function" then return nil end
  local times = axis.map and maps.times(axis.map, axis.inputs) or not axis.map and 1
  return times and axis, times
end

-- Where src is for an index of an axis.
local function source(d, axis, index)
  if not axis.map then return index * axis.steps[1] end
  if type(axis.map) == "function" then return axis.map(d, index) * axis.steps[1] end
  return axis.entry(index) * axis.steps[1]
end

local function body(o, outer)
  return function(d, ...)
    local indices, from, to = { ... }, driver.expr(o.offset), driver.expr(0)
    for i, axis in ipairs(outer) do
      if type(axis.map) == "table" then axis.entry = d:table("place", axis.map) end
      from, to = from + source(d, axis, indices[i]), to + indices[i] * axis.steps[2]
    end
    for _, piece in ipairs(o.pieces) do
      d:loop("piece", 0, piece.count, 1, function(i)
        local at = i * piece.size + piece.first
        d:call(piece.kernel, { { d.src, from + at * piece.axis.steps[1] }, { d.dst, to + at * piece.axis.steps[2] },
          o.inner and o.inner.size // o.times or 1 })
      end)
    end
  end
end

-- given: by axis, from 1, which element is taken, as above.
function indexed.stages(b, views, given)
  local o, list = {}, nil
  list, o.offset = axes_of(views, given)
  local across = across_of(list)
  list = axes.without(list, across)
  o.inner, o.times = inner_of(list)
  o.lanes = across and types.lanes(b.p.type, b.target) or 1
  local outer, width = axes.without(list, o.inner), o.lanes * math.max(1, most_text // (o.times or 1))
  o.pieces = axes.pieces(across or axes.one(2), across and math.min(width, across.size) or 1)
  for _, piece in ipairs(o.pieces) do
    piece.kernel = b:new("pick", function(named) return kernel(named, o, piece.size) end)
  end
  return { driver.stage { name = "compute", parts = { { indices = axes.indices(outer), body = body(o, outer) } } } }
end

---- operations --------------------------------------------------------------------------------------------------------

-- Axes whose sizes differ.
local function differing(views, make)
  local given = {}
  for i, size in ipairs(views.src.dims) do
    local out = views.dst.dims[i]
    if size ~= out then given[i] = make(i, size, out) end
  end
  return given
end

function indexed.nearest(b, operation, views)
  return indexed.stages(b, views, differing(views, function(i, size, out)
    return maps.nearest(operation, i, size, out)
  end))
end

function indexed.border(b, operation, views)
  return indexed.stages(b, views, differing(views, function(i, size, out)
    return maps.padded(operation.mode, operation.before[i], size, out)
  end))
end

-- The entry of the indices, as a place of an axis of `size` elements: from its end on where it is below 0; what is
-- beyond the axis is its first or last one.
local function picked(stride, size)
  return function(d, index)
    local i = d:let("picked", d:entry(d.weights, index * stride))
    local at = i + driver.max(driver.min(-i, 1), 0) * size
    return d:let("at", driver.min(driver.max(at, 0), size - 1))
  end
end

-- indices: a list; or views.weights of i64. A list's may count from the end, too.
function indexed.gather(b, operation, views)
  local axis = operation.axes[1] + 1
  local size = views.src.dims[axis]
  if not operation.indices then
    b.types = { weights = "long" }
    return indexed.stages(b, views, { [axis] = picked(views.weights.strides[1], size) })
  end
  local list = {}
  for i, at in ipairs(operation.indices) do
    list[i] = math.min(math.max(at < 0 and at + size or at, 0), size - 1)
  end
  return indexed.stages(b, views, { [axis] = list })
end

return indexed
