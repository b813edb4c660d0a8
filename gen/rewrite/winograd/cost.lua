-- cost.lua: what a schedule of Winograd's algorithm has to do, counted, and what that comes to in cycles.
--
-- Counted are operations of the transforms and of the products, the lines that each of them reads and writes, and how many
-- bytes pass before a line is read again. What a line costs from there is the machine's (gen/cost.lua). Numbers of tiles of
-- each kind are closed formulas: no block is made.
local straight = require "straight"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local gather = require "rewrite/winograd/gather"
local half = require "rewrite/winograd/half"
local cost = {}

-- Operations of a matrix as straight-line code, counted once.
local counted = setmetatable({}, { __mode = "k" })
local function operations(matrix)
  counted[matrix] = counted[matrix] or straight.count(straight.of(matrix))
  return counted[matrix]
end

local function up(a, b) return (a + b - 1) // b end

-- Straight-line code, n times: operations on vectors that are loaded, and that are stored.
local function transform(t, n, ops, loads, stores)
  t:steps(n, ops, loads, math.huge)
  t:stores(n * stores)
end

-- Bytes that stand side by side are read n times, `between` others after the last time; they are fetched by kernels.
local function again(t, n, bytes, between) t:read(n, { chunk = bytes, pitch = bytes, own = between, fetched = true }) end

-- Channels of a group of so many pixels are read, of which all are read again after `between` bytes.
local function read_pixels(t, n, tensor, pixels, between, fetched)
  local own = pixels * tensor.chunk
  t:read(n * pixels, { chunk = tensor.chunk, pitch = tensor.pitch, own = own, others = between - own, fetched = fetched })
end

---- forward and backward data: what tiles of both axes have in all --------------------------------------------------

-- Tiles of each class on all grids of an axis.
local function tiles_of(plans)
  local count = { 0, 0 }
  for _, plan in ipairs(plans) do
    for _, run in ipairs(plan.runs) do
      count[run.tile.class] = count[run.tile.class] + run.count * plan.grids.count
    end
  end
  return count
end

-- A tile of two schemes: operations into it and out of it, loads of its windows, products of all phases, frequencies.
local function tile_work(tiled, h, w)
  local t = { into = 0, products = 0, frequencies = h.size * w.size, outputs = h.outputs * w.outputs,
    out = h.size * operations(w.AT) + w.outputs * operations(h.AT) }
  for _, phase in ipairs(tiled.phases) do
    local a, b = grid.part(phase.h, h), grid.part(phase.w, w)
    t.into = t.into + a.size * operations(b.BT) + b.size * operations(a.BT)
    t.products = t.products + a.size * b.size
  end
  return t
end

-- Kinds of frequencies: {count, share: of the tiles that have them, phases}.
local function kinds_of(tiled, rows, columns)
  local kinds, h_all, w_all = {}, rows[1] + rows[2], columns[1] + columns[2]
  for _, fh in ipairs(grid.frequency_runs(tiled.h, rows[2] > 0)) do
    for _, fw in ipairs(grid.frequency_runs(tiled.w, columns[2] > 0)) do
      local share = (fh.big_only and rows[1] / h_all or 1) * (fw.big_only and columns[1] / w_all or 1)
      local _, phases = tiled.phases_at(fh.long_only, fw.long_only)
      if share > 0 then kinds[#kinds + 1] = { count = fh.count * fw.count, share = share, phases = phases, fw = fw } end
    end
  end
  return kinds
end

-- Sums over all tiles: as of a tile, tiles, kinds.
function cost.work(tiled)
  local rows, columns = tiles_of(tiled.h_plans), tiles_of(tiled.w_plans)
  local sum = { into = 0, out = 0, products = 0, frequencies = 0, outputs = 0, tiles = 0 }
  for i = 1, 2 do
    for j = 1, 2 do
      local count = tiled.images * rows[i] * columns[j]
      if count > 0 then
        for name, n in pairs(tile_work(tiled, tiled.h.schemes[i], tiled.w.schemes[j])) do sum[name] = sum[name] + count * n end
        sum.tiles = sum.tiles + count
      end
    end
  end
  sum.kinds = kinds_of(tiled, rows, columns)
  return sum
end

---- forward and backward data: what a run comes to -------------------------------------------------------------------

-- Bytes: of a group's tensors, of what a block of tiles keeps on average (V, M and U of a column tile), and of all that passes
-- before a run reads its input again.
local function sizes_of(s, work)
  local p, b = s.p, { blocks = s.figures.count }
  local function bytes(elements) return elements * s.size end
  local function pixels(one) return s.images * one.size[2] * one.size[3] end
  b.pixels_in, b.pixels_out = pixels(s.from), pixels(s.to)
  b.weights = bytes(p.kernel[2] * p.kernel[3] * s.from.channels * s.to.channels)
  b.packed = s.fuse and 0 or gather.packed_bytes(s) / p.groups * work.products / (work.frequencies * #s.phases)
  b.v, b.m = bytes(work.products * s.from.channels) / b.blocks, bytes(work.frequencies * s.width) / b.blocks
  b.panel = s.fuse and s.scratch - bytes(s.panel_at) or b.packed / s.columns.all
  b.all = p.groups * (bytes(b.pixels_in * s.from.channels + b.pixels_out * s.to.channels) + (s.fuse and b.weights or b.packed))
  return b
end

-- Channels in whole vectors, of one column tile after the other.
local function vectors_of(s)
  local n = 0
  for _, run in ipairs(s.columns) do n = n + run.count * run.tile.vectors end
  return n
end

-- The transforms of the input, a share of the output channels after the other.
local function transform_inputs(t, s, work, b)
  local vectors, splits, one = up(s.from.channels, s.lanes), s.schedule.splits, s.from
  t:calls(splits * work.tiles * #s.phases)
  transform(t, splits * vectors, work.into, work.products, work.products)
  read_pixels(t, splits, { chunk = one.channels * s.size, pitch = one.all * s.size }, b.pixels_in, b.all, s.schedule.fetch)
  t:write(splits, b.v * b.blocks, b.v * b.blocks, b.v)
end

local function transform_outputs(t, s, work, b)
  local vectors, one = vectors_of(s), s.to
  t:calls(work.tiles * s.columns.all)
  transform(t, vectors, work.out, work.frequencies, work.outputs)
  again(t, b.blocks * s.columns.all, b.m, b.m)
  local chunk = math.min(s.width, one.channels) * s.size -- what a column tile has of a pixel
  t:write(b.pixels_out * s.columns.all, chunk, one.all * s.size, b.pixels_out * one.all * s.size, s.schedule.stream)
end

-- The products of whole U.
local function products(t, s, work, b)
  for _, kind in ipairs(work.kinds) do
    local tiles, terms = work.tiles * kind.share / b.blocks, kind.phases * s.from.channels
    local pieces = math.ceil(tiles / s.schedule.rows)
    local size, chunks = tiles / pieces, up(terms, s.schedule.chunk or terms)
    for _, run in ipairs(s.columns) do
      local v, n = run.tile.vectors, b.blocks * kind.count * pieces * run.count
      t:steps(n * terms, size * v, size + v, size * v)
      t:stores(n * chunks * size * v)
      t:calls(n * chunks)
    end
  end
end

-- Of H: U is made beside its products.
local function products_of_half(t, s, work, b)
  local h, most, tiles = s.h.schemes[1], s.schedule.rows, work.tiles / b.blocks
  local sums, together = tiles * h.size, 2 * tiles <= most
  local made, kernels, times = half.work(h, together), math.ceil(sums / most), together and 1 or math.ceil(tiles / most)
  local chunks = up(s.from.channels, s.schedule.chunk or s.from.channels)
  for _, run in ipairs(s.columns) do
    local v, n = run.tile.vectors, run.count * s.w.size * b.blocks
    t:steps(n * s.from.channels, (sums + times * made.operations) * v, sums + times * made.loads * v, sums * v / kernels)
    t:stores(n * chunks * sums * v)
    t:calls(n * chunks * kernels)
  end
  local m, between = b.m * s.columns.all, s.fuse and b.m + b.panel or b.m / s.w.size -- M is added to by each partial sum
  again(t, b.blocks * (chunks - 1), m, between)
  t:write(b.blocks * chunks, m, m, between)
end

-- To make U or H of all channels, `times` times (nil: once).
local function make_weights(t, s, _, b, times)
  times = times or 1
  local p, h, w = s.p, s.h.schemes[1], s.w.schemes[1]
  local vectors, rows = vectors_of(s) * s.from.channels * times, s.half and h.taps or h.size
  transform(t, vectors, h.taps * operations(w.G) + (s.half and 0 or w.size * operations(h.G)), h.taps * w.taps, rows * w.size)
  again(t, times, b.weights, b.all)
  local bytes = rows * w.size * vectors * s.lanes * s.size
  t:write(1, bytes, bytes, s.fuse and b.panel or b.packed)
  if p.pass ~= "forward" or s.planes then t:turns(times * b.weights / 16) end
end

local function all_products(t, s, work, b)
  local how = s.half and products_of_half or products
  how(t, s, work, b)
  again(t, 1, b.packed, b.all) -- all of U, by the first block of a group, then by the others
  again(t, b.blocks - 1, b.packed, b.packed + b.v + b.m)
  again(t, s.columns.all * b.blocks, b.v, b.v + b.m + b.panel)
  t:tasks(b.blocks * s.schedule.splits)
  if s.fuse then make_weights(t, s, work, b, b.blocks) end
end

-- Cycles of one thread for all groups, in parts: {transforms, products, pack}. What schedules of the same blocks have in
-- common is counted once.
function cost.parts(s, work, m)
  local one, known, b = s.schedule, s.figures, nil
  local function cycles(key, count)
    if not known[key] then
      local t = m.tally()
      b = b or sizes_of(s, work)
      count(t, s, work, b)
      known[key] = s.p.groups * t:cycles()
    end
    return known[key]
  end
  local weights = s.half and (s.fuse and "fuse" or "half") or "whole"
  local shape = weights .. (one.chunk or "") .. "," .. one.splits
  local inward = cycles("in" .. tostring(one.fetch) .. shape, transform_inputs)
  local outward = cycles("out" .. tostring(one.stream), transform_outputs)
  return { transforms = inward + outward, products = cycles(shape, all_products),
    pack = s.p.weights == "changing" and not s.fuse and cycles("pack" .. weights, make_weights) or 0 }
end

-- The share of the work that the thread with the most of equal tasks has.
local function share_of(tasks, threads) return up(tasks, threads) / tasks end

function cost.gathering(s, work, m)
  local c, p = cost.parts(s, work, m), s.p
  return (c.transforms + c.products) * share_of(p.groups * s.figures.count * s.schedule.splits, p.threads) + c.pack / p.threads
end

---- backward weights -------------------------------------------------------------------------------------------------

local function pixel_ops(h, w) return h.size * operations(w.BT) + w.size * operations(h.BT) end
local function diff_ops(h, w) return h.taps * operations(w.G) + w.size * operations(h.G) end

-- The transforms of a slice, from pixels that are read again when all of both activations have passed.
local function transform_pixels(t, s, b)
  local p, h, w = s.p, s.h.scheme, s.w.scheme
  local v, d = s.v_row / s.lanes, s.d_row / s.lanes
  local all = p.groups * s.images * (p.input[2] * p.input[3] * s.icg + p.output[2] * p.output[3] * s.ocg) * s.size
  t:calls(2 * b.tiles)
  transform(t, b.tiles, pixel_ops(h, w) * v + diff_ops(h, w) * d, s.frequencies * (v + d), s.frequencies * (v + d))
  read_pixels(t, 1, { chunk = s.icg * s.size, pitch = p.ic * s.size }, s.images * p.input[2] * p.input[3], all)
  read_pixels(t, 1, { chunk = s.d_row * s.size, pitch = p.oc * s.size }, s.images * p.output[2] * p.output[3], all)
  t:write(s.blocks, b.v + b.d, b.v + b.d, b.v + b.d)
end

local function sum_products(t, s, b)
  local rows = up(s.icg, s.schedule.rows)
  local size, panels = s.icg / rows, cut.runs_of_columns(s.d_row, s.schedule.vectors, s.lanes)
  for _, run in ipairs(panels) do
    local v, n = run.tile.vectors, run.count * rows * s.frequencies
    t:steps(n * b.tiles, size * v, size + v, size * v)
    t:stores(n * s.blocks * size * v)
    t:calls(n * s.blocks)
  end
  again(t, s.blocks, panels.all * b.v + rows * b.d, (b.v + b.d) / s.frequencies)
  again(t, s.blocks, b.v + b.d, b.v + b.d)
  if s.one_block then return end
  again(t, s.blocks, b.sums, b.sums + b.v + b.d)
  t:write(s.blocks, b.sums, b.sums, b.sums)
end

local function transform_sums(t, s, b)
  local p, h, w = s.p, s.h.scheme, s.w.scheme
  local vectors = s.icg * s.d_row / s.lanes
  t:calls(s.icg)
  transform(t, vectors, h.size * operations(w.AT) + w.outputs * operations(h.AT), s.frequencies * s.sums,
    p.kernel[2] * p.kernel[3])
  again(t, s.sums, b.sums, b.sums * s.sums)
  t:write(s.icg * p.kernel[2] * p.kernel[3], s.d_row * s.size, p.oc * s.size, p.kernel[2] * p.kernel[3] * s.icg * p.oc * s.size)
end

function cost.gradient(s, m)
  local p, pixels, t, outward = s.p, m.tally(), m.tally(), m.tally()
  local function bytes(elements) return elements * s.size end
  local b = { tiles = s.h.tiles * s.w.tiles * s.images, v = bytes(s.tiles * s.v_row * s.frequencies),
    d = bytes(s.tiles * s.d_row * s.frequencies), sums = bytes(s.frequencies * s.icg * s.d_row) }
  transform_pixels(pixels, s, b)
  sum_products(t, s, b)
  transform_sums(outward, s, b)
  local slices = p.groups * s.slices.all
  return (pixels:cycles() + t:cycles()) * share_of(s.blocks, s.sums) * up(slices * s.sums, p.threads) + outward:cycles() * slices / p.threads
end

---- figures ----------------------------------------------------------------------------------------------------------

-- A pixel's share of what the tiles of a problem take: products of a pair of channels, operations of the input's transform a
-- channel, of the output's; what binds: the longest of what a run has to do.
function cost.gathering_figures(s, m)
  local work, pixels, most, all = cost.work(s), s.images * s.to.size[2] * s.to.size[3], "products", 0
  local c = cost.parts(s, work, m)
  for name, cycles in pairs(c) do
    all = all + cycles
    if cycles > c[most] then most = name end
  end
  local names = { products = "the products", transforms = "the transforms", pack = "transforming the weights" }
  return { products = work.products / pixels, into = work.into / pixels, out = work.out / pixels,
    binds = ("%s, %.0f%%"):format(names[most], c[most] / all * 100) }
end

-- A pixel of diff_dst: products of a pair of channels, operations of src's transform a channel, of diff_dst's.
function cost.gradient_figures(s)
  local h, w, share = s.h.scheme, s.w.scheme, s.h.tiles * s.w.tiles / (s.p.output[2] * s.p.output[3])
  return { products = share * h.size * w.size, into = share * pixel_ops(h, w), out = share * diff_ops(h, w) }
end

return cost
