-- matmul.lua: products of two tensors, batch by batch: register tiles (tile.lua) along an axis of neighbours of the
-- result.
--
-- Each sum is one chain of fma from zero over k, ascending, whichever operand has the lanes. That one is laid out in
-- panels where its neighbours are along k, or where there are many rows, for which it is read anew.
local relayout, tile, types = require "relayout", require "tile", require "types"
local axes = require "network/axes"
local matmul = {}

local most_vectors = 4

-- The last two axes of the result, and the sum's: lanes, rows, k: {size, steps of what has the lanes, of the other one,
-- of the result}; and which operand has the lanes.
local function roles(views)
  local rank, a, b, dst = #views.dst.dims, views.src, views.weights, views.dst
  local function axis(size, held, other, of) return { size = size, steps = { held or 0, other or 0, of or 0 } } end
  local m, n, k = dst.dims[rank - 1], dst.dims[rank], a.dims[rank]
  local sm, sn = dst.strides[rank - 1], dst.strides[rank]
  if sn == 1 or n == 1 or sm ~= 1 then
    return { held = "weights", other = "src", lanes = axis(n, b.strides[rank], nil, sn),
      rows = axis(m, nil, a.strides[rank - 1], sm), k = axis(k, b.strides[rank - 1], a.strides[rank]) }
  end
  return { held = "src", other = "weights", lanes = axis(m, a.strides[rank - 1], nil, sm),
    rows = axis(n, nil, b.strides[rank], sn), k = axis(k, a.strides[rank], b.strides[rank - 1]) }
end

-- A tile of rows and a piece of lanes; from: steps of what has the lanes, {lanes, k}.
local function kernel(named, o, rows, size, from)
  local lanes = o.lanes
  local last = (size - 1) % lanes + 1
  local function operand(pointer, register, list)
    list.pointer, list.register, list.last = pointer, register, last
    return list
  end
  named.arguments = { { "held", "in" }, { "other", "in" }, { "dst", "out" } }
  named.sizes = { m = rows, v = (size + lanes - 1) // lanes }
  named.sums = operand("dst", "acc", { { "m", o.rows.steps[3] }, { "v", lanes } })
  named.held = operand("held", "b", { { "v", lanes } })
  named.passing = { pointer = "other", register = "a", { "m", o.rows.steps[2] } }
  named.body = { { zero = {} },
    { loop = o.k.size, { load = {} }, { multiply = {} }, steps = { { "held", from }, { "other", o.k.steps[2] } } },
    { finish = { "stored" } } }
  return tile.kernel(named)
end

-- Lanes of what has them, k by k, `width` elements apart.
local function panel(named, o, size, width)
  if o.lanes_axis.steps[1] == 1 then
    return relayout.copy({ elements = size, loops = { { count = o.k.size, steps = { o.k.steps[1], width } } } }, named)
  end
  return relayout.to_many_rows({ channels = o.k.size, pixels = size, pitch = o.lanes_axis.steps[1], row = width,
    exact = true }, named)
end

local function even(size, most)
  local pieces = (size + most - 1) // most
  return (size + pieces - 1) // pieces
end

local function shape(b, views)
  local o = roles(views)
  o.lanes_axis, o.lanes = o.lanes, types.lanes(b.p.type, b.target)
  local unit = o.lanes_axis.steps[3] == 1 or o.lanes_axis.size == 1
  o.vectors = not unit and 1 or math.min(most_vectors, b.target.registers < 32 and 2 or most_vectors,
    (o.lanes_axis.size + o.lanes - 1) // o.lanes)
  o.tile_rows = even(o.rows.size, math.max(1, math.min(8, (b.target.registers - 2 - o.vectors) // o.vectors)))
  local straight = o.lanes_axis.steps[1] == 1 or o.lanes_axis.size == 1
  o.packed = unit and (straight and o.rows.size > 4 * o.tile_rows or not straight and o.k.steps[1] == 1)
  o.width = unit and (o.packed or straight) and o.vectors * o.lanes or 1
  return o
end

-- Kernels of a piece of lanes: pack, and tiles of pieces of rows.
local function add_kernels(b, o, piece)
  local from = o.packed and o.width or o.k.steps[1]
  piece.pack = o.packed and b:new("panel", function(named) return panel(named, o, piece.size, o.width) end)
  piece.rows = axes.pieces(o.rows, o.tile_rows)
  for _, rows in ipairs(piece.rows) do
    rows.kernel = b:new("product", function(named) return kernel(named, o, rows.size, piece.size, from) end)
  end
end

local function part(o, batch, piece)
  local list = table.move(batch, 1, #batch, 1, {})
  list[#list + 1] = piece
  return { indices = axes.indices(list), body = function(d, ...)
    local at = { ... }
    local held, other, dst = axes.offset(list, at, 1), axes.offset(list, at, 2), axes.offset(list, at, 3)
    local from = { d[o.held], held }
    if piece.pack then
      d:call(piece.pack, { from, { d.scratch, 0 } })
      from = { d.scratch, 0 }
    end
    for _, rows in ipairs(piece.rows) do
      d:loop("row", 0, rows.count, 1, function(i)
        local row = d:let("r", i * rows.size + rows.first)
        d:call(rows.kernel, { from, { d[o.other], other + row * rows.axis.steps[2] },
          { d.dst, dst + row * rows.axis.steps[3] } })
      end)
    end
  end }
end

-- views: src [.., m, k], weights [.., k, n], dst [.., m, n], as many axes each; strides of 0 where a batch is shared.
function matmul.parts(b, views)
  local o, rank, dims = shape(b, views), #views.dst.dims, {}
  for i = 1, rank - 2 do dims[i] = views.dst.dims[i] end
  local batch = axes.merged(axes.of(dims, { views[o.held].strides, views[o.other].strides, views.dst.strides }))
  local parts = {}
  for i, piece in ipairs(axes.pieces(o.lanes_axis, math.min(o.width, o.lanes_axis.size))) do
    add_kernels(b, o, piece)
    parts[i] = part(o, batch, piece)
  end
  return parts, o.packed and o.k.size * o.width * types.bytes(b.p.type) or 0
end

return matmul
