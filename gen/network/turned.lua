-- turned.lua: copies between views whose neighbours are along different axes: by transposes of squares (relayout.lua).
local axes, elements = require "network/axes", require "network/elements"
local relayout, types = require "relayout", require "types"
local turned = {}

-- The axis of neighbours of a view.
local function neighbours(list, view)
  for _, axis in ipairs(list) do if axis.steps[view] == 1 then return axis end end
end

-- Turns one piece of both axes: `from` has neighbours where src has them, `to` where dst has them.
local function kernel(from, to)
  local function view(channels, pixels, pitch, row)
    return { channels = channels.size, pixels = pixels.size, pitch = pitch, row = row, exact = true,
      limit = (pixels.size - 1) * pitch + channels.size }
  end
  local x, y = from.axis.steps, to.axis.steps
  return function(named)
    local few = types.part(named.type)
    if from.size < few then return relayout.to_rows(view(from, to, y[1], x[2]), named) end
    if to.size < few and x[2] == to.size then return relayout.to_pixels(view(to, from, x[2], y[1]), named) end
    return relayout.to_many_rows(view(from, to, y[1], x[2]), named)
  end
end

local function part(b, list, from, to, views)
  local call = b:kernel(("turn %d %d"):format(from.size, to.size), "turn", kernel(from, to))
  local all = table.move(list, 1, #list, 1, {})
  all[#all + 1], all[#all + 2] = from, to
  return { indices = axes.indices(all), body = function(d, ...)
    local at = { ... }
    d:call(call, { { d.src, axes.offset(all, at, 1) + (views[1].offset or 0) },
      { d.dst, axes.offset(all, at, 2) + (views[2].offset or 0) } })
  end }
end

-- Parts that copy one view, src, into the other; nil where they are no such views.
function turned.parts(b, views)
  local list = axes.merged(axes.ordered(axes.of_views(views), 2))
  local from, to = neighbours(list, 1), neighbours(list, 2)
  if not from or not to or from == to then return nil end
  local lanes, part_ = types.lanes(b.p.type, b.target), types.part(b.p.type)
  local few = from.size < part_ -- then all of a pixel are turned, and pixels are in a loop
  local wide = few and elements.block(b, list) // from.size or lanes
  local long = few and from.size or math.max(part_, elements.block(b, list) // math.min(wide, to.size) // part_ * part_)
  local parts, rest = {}, axes.without(list, from, to)
  for _, x in ipairs(axes.pieces(from, long)) do
    for _, y in ipairs(axes.pieces(to, wide)) do parts[#parts + 1] = part(b, rest, x, y, views) end
  end
  return parts
end

return turned
