-- gradient.lua: Winograd's algorithm of backward weights: what a run needs, and how its kernels are driven.
--
-- The gradient of r taps from m rows of diff_dst is a correlation of r outputs and m taps, F(r,m): diff_dst takes the
-- weights' part. Tiles of m x m pixels and their windows of src are transformed, block by block of tiles; for each
-- frequency the products of input and output channels are summed over the tiles of a block, from zero, and added to
-- what earlier blocks gave; at the end the sums are transformed to the gradient. A task is a slice of the output
-- channels and goes over all tiles; where a schedule has several sums, over a share of the blocks, and the second stage
-- adds what the tasks of a slice have. That shares the transforms, which slices repeat. The bits depend on the
-- schedule, not on the threads. A task's scratch:
--     V [frequency][tile][input channel]   D [frequency][tile][output channel]
--     S [frequency][input channel][output channel]; of several sums in the shared memory, as [group][slice][sum]
local parts = require "parts"
local driver = require "driver"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local transform = require "rewrite/winograd/transform"
local reduce = require "reduce"
local view = require "view"
local gradient = {}

gradient.most_scratch = 4 << 20

---- sizes -------------------------------------------------------------------------------------------------------------

local odd_lines = parts.odd_lines

-- Pieces of at most `most` tiles, of each of `shares` even shares of them, in runs {first, size, count}.
local function pieces_of(count, most, shares)
  local list = {}
  for _, share in ipairs(cut.even_pieces(count, (count + shares - 1) // shares)) do
    for _, piece in ipairs(cut.piece_runs(share.size, most)) do
      list[#list + 1] = { first = share.first + piece.first, size = piece.size, count = piece.count }
    end
  end
  return list
end

-- What all schedules of tiles share; h, w: the axes in tiles (grid.pixels).
function gradient.tiled(p, target, h, w)
  local s = view.units(p, target)
  s.src, s.dst = view.src(p), view.dst(p)
  s.p, s.target, s.h, s.w, s.images, s.frequencies = p, target, h, w, p.batch * p.input[1], h.size * w.size
  s.v_row = parts.round_up(s.icg, s.lanes)
  return s
end

-- The blocks of a schedule: {h, w: pieces, images: runs, count, most: tiles of the largest}. Each of several sums takes
-- as many blocks: of one image, as many rows too.
function gradient.blocks(tiled, tiles, sums)
  local rows, columns, images = blocks.block(tiled.h.tiles, tiled.w.tiles, tiled.images, tiles)
  local b = { h = pieces_of(tiled.h.tiles, rows, tiled.images == 1 and sums or 1),
    w = pieces_of(tiled.w.tiles, columns, 1), images = cut.piece_runs(tiled.images, images), count = 1, most = 1 }
  for _, pieces in ipairs { b.h, b.w, b.images } do
    local count, most = 0, 0
    for _, piece in ipairs(pieces) do count, most = count + piece.count, math.max(most, piece.size) end
    b.count, b.most = b.count * count, b.most * most
  end
  return b
end

-- What a schedule of tiles needs.
function gradient.scheduled(tiled, schedule, list)
  local s = setmetatable({ schedule = schedule, list = list, tiles = list.most, blocks = list.count,
    one_block = list.count == 1, sums = schedule.sums or 1 }, { __index = tiled })
  local vectors = (s.ocg + s.lanes - 1) // s.lanes
  s.slices = cut.runs_of_columns(s.ocg, (vectors + schedule.splits - 1) // schedule.splits, s.lanes)
  s.d_row = s.slices[1].tile.width
  s.v_apart, s.d_apart = odd_lines(s.tiles * s.v_row, s.size), odd_lines(s.tiles * s.d_row, s.size)
  s.s_row = s.one_block and math.min(schedule.vectors * s.lanes, s.d_row) or s.d_row
  s.s_apart = odd_lines(s.icg * s.s_row, s.size)
  s.d_at = s.frequencies * s.v_apart
  local buffers, sums = s.d_at + s.frequencies * s.d_apart, s.frequencies * s.s_apart
  s.s_at = s.sums == 1 and buffers or 0
  s.scratch = (buffers + (s.sums == 1 and sums or 0)) * s.size
  s.shared = s.sums > 1 and s.p.groups * s.slices.all * s.sums * sums * s.size or 0
  return s
end

-- Why a schedule of admitted tiles cannot be, or nil; s is its shape.
function gradient.misfit(s)
  local bytes = s.scratch + s.shared
  if bytes > gradient.most_scratch then return parts.too_much_scratch(bytes, gradient.most_scratch) end
  if s.sums < 1 or s.sums > s.blocks then return ("has %d blocks for %d sums"):format(s.blocks, s.sums) end
  if s.slices.all ~= s.schedule.splits then
    return ("has no %d slices of its output channels"):format(s.schedule.splits)
  end
end

---- kernels -----------------------------------------------------------------------------------------------------------

-- A side of transform.input: the part [low, high) of what `matrix` takes is there.
local function side(matrix, low, high)
  return { scheme = { BT = matrix, size = #matrix[1] }, low = low, high = high }
end

local function src_kernel(s, h_tile, w_tile)
  local h, w = h_tile.windows[1], w_tile.windows[1]
  return s.build:kernel(("src %d-%d %d-%d"):format(h.low, h.high, w.low, w.high), "src", function(called)
    return transform.input(called, { h = side(s.h.scheme.BT, h.low, h.high),
      w = side(s.w.scheme.BT, w.low, w.high), pixel = s.src.w, row = s.src.h, channels = s.icg,
      apart = s.v_apart, columns = s.w.size })
  end)
end

local function diff_kernel(s, h_tile, w_tile, channels)
  local h, w = h_tile.outputs, w_tile.outputs
  return s.build:kernel(("diff %d %d %d"):format(h, w, channels), "diff", function(called)
    return transform.input(called, { h = side(s.h.scheme.G, 0, h), w = side(s.w.scheme.G, 0, w),
      pixel = s.dst.w, row = s.dst.h, channels = channels, apart = s.d_apart, columns = s.w.size,
      m = { to = "D", left = "G", from = "e", right = "GT" } })
  end)
end

local function result_kernel(s, channels)
  return s.build:kernel("result " .. channels, "result", function(called)
    local plane = s.icg * s.p.oc
    return transform.output(s.p, called, { h = s.h.scheme, w = s.w.scheme, pixel = plane,
      row = s.p.kernel[3] * plane, channels = channels, apart = s.s_apart, columns = s.w.size,
      sums = s.sums, sums_apart = s.frequencies * s.s_apart,
      m = { to = "Y", left = "AT", from = "S", right = "A" } })
  end)
end

-- Over the tiles of a block, added to the sums of earlier blocks if `old` is 1, not 0.
local function product_kernel(s, inputs, vectors)
  local more = not s.one_block
  return s.build:kernel(("product %d %d"):format(inputs, vectors), "product", function(called)
    return transform.product(called, { rows = { "i", inputs, 1, s.s_row }, vectors = vectors,
      about = ("S[i][c] += sum over the tiles t of a block of V[t][i] * D[t][c] at one frequency: i is one of %d input "
        .. "channels, c a lane of %d vector%s of output channels. acc<i>_<v> stays in registers through the sum.")
        :format(inputs, vectors, vectors == 1 and "" or "s"),
      arguments = { { "v", "in" }, { "d", "in" }, { "sums", more and "inout" or "out" }, { "tiles", "count" },
        more and { "old", "count" } },
      body = { { zero = {} },
        { loop = "tiles", steps = { { "v", s.v_row }, { "d", s.d_row } }, { load = {} }, { multiply = {} } },
        more and { loop = "old", { finish = { "added_in_memory" } } }, { finish = { "stored" } } } })
  end)
end

-- The panels of a slice.
local function panels(s, slice) return cut.runs_of_columns(slice.channels, s.schedule.vectors, s.lanes) end

-- Kernels are numbered as they are made: in this order, before a driver's text asks for them.
local function make_kernels(s, slice)
  for _, block in ipairs(s.kinds) do
    blocks.each_run(block, function(hr, wr)
      src_kernel(s, hr.tile, wr.tile)
      diff_kernel(s, hr.tile, wr.tile, slice.channels)
    end)
  end
  for _, run in ipairs(panels(s, slice)) do
    for _, inputs in ipairs(cut.piece_runs(s.icg, s.schedule.rows)) do
      product_kernel(s, inputs.size, run.tile.vectors)
    end
    if s.one_block then result_kernel(s, run.tile.channels) end
  end
  if not s.one_block then result_kernel(s, slice.channels) end
end

---- the compute stage: t is what a task is about {d, slice, g, channel, sums; of a block image, y, x} -----------------

local function transform_tiles(s, t, block)
  local d, p, h, w = t.d, s.p, s.h, s.w
  d:comment(("V and D of each tile: frequency f of tile t at scratch + f * %d + t * %d and at scratch + f * %d + "
    .. "t * %d + %d"):format(s.v_apart, s.v_row, s.d_apart, s.d_row, s.d_at))
  blocks.each_tile(d, block, function(hr, wr, row, column, image, number)
    local n = d:let("n", t.image + image)
    local y, x = d:let("y", t.y + (row + hr.at) * h.outputs), d:let("x", t.x + (column + wr.at) * w.outputs)
    local tile = d:let("tile", number)
    d:call(src_kernel(s, hr.tile, wr.tile), {
      { d.src, ((n * p.input[2] + y + h.base) * p.input[3] + x + w.base) * s.src.w + t.g * s.icg },
      { d.scratch, tile * s.v_row } })
    d:call(diff_kernel(s, hr.tile, wr.tile, t.slice.channels), {
      { d.dst, ((n * p.output[2] + y) * p.output[3] + x) * s.dst.w + t.channel },
      { d.scratch, tile * s.d_row + s.d_at } })
  end)
end

-- The products of one panel of output channels at one frequency; counts: of tiles, and whether there are sums before.
local function multiply_panel(s, t, f, counts, vectors, column)
  local d, to = t.d, s.one_block and 0 or column
  for _, inputs in ipairs(cut.piece_runs(s.icg, s.schedule.rows)) do
    d:loop("i", inputs.first, inputs.first + inputs.size * inputs.count, inputs.size, function(i)
      d:call(product_kernel(s, inputs.size, vectors), { { d.scratch, f * s.v_apart + i },
        { d.scratch, f * s.d_apart + column + s.d_at },
        { d[t.sums.base], f * s.s_apart + i * s.s_row + to + t.sums.at }, table.unpack(counts) })
    end)
  end
end

-- Calls body(panel, first channel) in loops over the panels of a slice.
local function each_panel(s, t, body)
  for _, run in ipairs(panels(s, t.slice)) do
    t.d:loop("panel", run.index, run.index + run.count, 1, function(panel)
      body(run.tile, t.d:let("column", panel * (s.schedule.vectors * s.lanes)))
    end)
  end
end

local function multiply(s, t, counts)
  t.d:comment(("S: frequency f of input channel i at f * %d + i * %d behind the first of this task's sums"):format(
    s.s_apart, s.s_row))
  t.d:loop("f", 0, s.frequencies, 1, function(f)
    each_panel(s, t, function(panel, column) multiply_panel(s, t, f, counts, panel.vectors, column) end)
  end)
end

local function transform_sums(s, t, channels, channel)
  local d = t.d
  d:comment "Y: the gradient of each input channel"
  d:loop("i", 0, s.icg, 1, function(i)
    d:call(result_kernel(s, channels), { { d[t.sums.base], i * s.s_row + t.sums.at },
      { d.weights, i * s.p.oc + channel } })
  end)
end

-- The products of a share of the blocks (numbered from first to stop) into the sums of the whole slice; the first
-- block's begin them.
local function add_blocks(s, t, first, stop)
  local d, before = t.d, 0
  for _, block in ipairs(s.kinds) do
    local images, h, w = block.run, block.h, block.w
    local count = images.count * h.count * w.count
    d:loop("block", driver.max(first - before, 0), driver.min(stop - before, count), 1, function(number)
      local group = d:let("group", driver.quotient(number, h.count * w.count))
      local band_h = d:let("band_h", driver.rest(driver.quotient(number, w.count), h.count))
      local band_w = d:let("band_w", driver.rest(number, w.count))
      t.image = group * images.size + images.first
      t.y, t.x = band_h * (h.tiles[1] * s.h.outputs) + h.first, band_w * (w.tiles[1] * s.w.outputs) + w.first
      transform_tiles(s, t, block)
      multiply(s, t, { driver.expr(block.classes.total), d:let("old", driver.min(number + before - first, 1)) })
    end)
    before = before + count
  end
end

local function one_block(s, t)
  local d, zero = t.d, driver.expr(0)
  t.image, t.y, t.x = zero, zero, zero
  transform_tiles(s, t, s.kinds[1])
  each_panel(s, t, function(panel, column)
    d:loop("f", 0, s.frequencies, 1, function(f)
      multiply_panel(s, t, f, { driver.expr(s.tiles) }, panel.vectors, column)
    end)
    transform_sums(s, t, panel.channels, t.channel + column)
  end)
end

-- Where the first sums of a slice are, and its first channel.
local function sums_of(s, d, g, slice)
  if s.sums == 1 then return { base = "scratch", at = s.s_at } end
  return { base = "shared", at = d:let("sums", (g * s.slices.all + slice) * (s.sums * s.frequencies * s.s_apart)) }
end

local function channel_of(s, d, g, slice) return d:let("channel", g * s.ocg + slice * s.slices[1].tile.width) end

-- Tasks of one run of equal slices.
local function slice_part(s, run)
  return { indices = { { "g", s.p.groups }, { "slice", run.count }, { "part", s.sums } }, body = function(d, g, slice,
    part)
    make_kernels(s, run.tile)
    local t = { d = d, g = g, slice = run.tile }
    t.channel, t.sums = channel_of(s, d, g, slice + run.index), sums_of(s, d, g, slice + run.index)
    if s.one_block then return one_block(s, t) end
    t.sums.at = t.sums.at + part * (s.frequencies * s.s_apart)
    add_blocks(s, t, driver.quotient(part * s.blocks, s.sums), driver.quotient((part + 1) * s.blocks, s.sums))
    if s.sums == 1 then transform_sums(s, t, run.tile.channels, t.channel) end
  end }
end

-- Tasks of the second stage: the sums of a slice, an input channel at a time.
local function reduce_part(s, run)
  return { indices = { { "g", s.p.groups }, { "slice", run.count }, { "i", s.icg } }, body = function(d, g, slice, i)
    local sums = sums_of(s, d, g, slice + run.index)
    local kernel = result_kernel(s, run.tile.channels)
    d:call(kernel, { { d.shared, i * s.s_row + sums.at }, { d.weights,
      i * s.p.oc + channel_of(s, d, g, slice + run.index) } })
  end }
end

-- s: a schedule's shape; b: its builder.
function gradient.stages(s, b)
  local p, list, last = s.p, {}, {}
  s.build, s.kinds = b, blocks.of_pieces(s.h, s.w, s.list)
  for i, run in ipairs(s.slices) do list[i], last[i] = slice_part(s, run), s.sums > 1 and reduce_part(s, run) or nil end
  local stages = { driver.stage { name = "compute", scratch = s.scratch, parts = list } }
  if s.sums > 1 then stages[2] = driver.stage { name = "reduce", parts = last } end
  if p.bias then stages[#stages + 1] = reduce.bias_stage(s.build) end
  return stages, 0, s.shared, { 1, p.kernel[2], p.kernel[3] }
end

return gradient
