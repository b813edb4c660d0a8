-- cost.lua: what a schedule of Winograd's algorithm has to do, counted, and what that comes to in cycles.
--
-- Counted are operations of the transforms and of the products, the lines that each of them reads and writes, and how
-- many bytes pass before a line is read again. What a line costs from there is the machine's (gen/cost.lua). Numbers of
-- tiles are closed formulas: no block is made. t: a tally of a group, b: bytes.
local straight = require "straight"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local gather = require "rewrite/winograd/gather"
local half = require "rewrite/winograd/half"
local cost = {}

local function up(a, b) return (a + b - 1) // b end

-- Operations of a matrix as straight-line code, counted once.
local counted, written = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })
local function operations(matrix)
  counted[matrix] = counted[matrix] or straight.count(straight.of(matrix))
  return counted[matrix]
end

-- Operations of a tile by schemes of rows and columns.
local function into(h, w) return h.size * operations(w.BT) + w.size * operations(h.BT) end
local function out_of(h, w) return h.size * operations(w.AT) + w.outputs * operations(h.AT) end
local function of_weights(h, w) return h.taps * operations(w.G) + w.size * operations(h.G) end

-- Straight-line code, n times: operations on vectors that are loaded, and that are stored.
local function transform(t, n, ops, loads, stores)
  t:steps(n, ops, loads, math.huge)
  t:stores(n * stores)
end

-- n kernels for each column tile, of `size` rows each: sums of so many terms, which are stored so many times.
local function multiply(t, columns, n, size, terms, stored)
  for _, run in ipairs(columns) do
    local v, times = run.tile.vectors, n * run.count
    t:steps(times * terms, size * v, size + v, size * v)
    t:stores(times * stored * size * v)
    t:calls(times * stored)
  end
end

-- Bytes that stand side by side are read n times, `between` others after the last time; they are fetched by kernels.
local function again(t, n, bytes, between)
  t:read(n, { chunk = bytes, pitch = bytes, own = between, fetched = true })
end

local function write(t, n, bytes, all) t:write(n, bytes, bytes, all) end

-- The channels of so many pixels are read, n times, all again after `between` bytes.
local function read_pixels(t, n, pixels, channels, between, fetched)
  local own = pixels * channels.chunk
  t:read(n * pixels, { chunk = channels.chunk, pitch = channels.pitch, own = own, others = between - own,
    fetched = fetched })
end

---- forward and backward data -----------------------------------------------------------------------------------------

-- Tiles of each class on all grids of an axis.
local function tiles_of(plans)
  local count = { 0, 0 }
  for _, plan in ipairs(plans) do
    for _, run in ipairs(plan.runs) do count[run.tile.class] = count[run.tile.class] + run.count * plan.grids.count end
  end
  return count
end

-- Adds so many tiles of two schemes: operations into them and out of them, products of all phases, frequencies,
-- outputs.
local function add_tiles(sum, phases, count, h, w)
  for _, phase in ipairs(phases) do
    local a, b = grid.part(phase.h, h), grid.part(phase.w, w)
    sum.into, sum.products = sum.into + count * into(a, b), sum.products + count * a.size * b.size
  end
  sum.out, sum.frequencies = sum.out + count * out_of(h, w), sum.frequencies + count * h.size * w.size
  sum.outputs, sum.tiles = sum.outputs + count * h.outputs * w.outputs, sum.tiles + count
end

-- Sums over all tiles of both axes.
function cost.work(tiled)
  local rows, columns = tiles_of(tiled.h_plans), tiles_of(tiled.w_plans)
  local sum = { into = 0, out = 0, products = 0, frequencies = 0, outputs = 0, tiles = 0 }
  for i, h in ipairs(tiled.h.schemes) do
    for j, w in ipairs(tiled.w.schemes) do add_tiles(sum, tiled.phases, tiled.images * rows[i] * columns[j], h, w) end
  end
  return sum
end

-- Bytes: of a group's weights, as they are and packed; of what a block keeps on average (V, M and U of a column tile);
-- of all that passes before a run reads its input again. And vectors of the channels that come out, tiles of a block.
local function sizes_of(s, work)
  local p, blocks = s.p, s.figures.count
  local function bytes(elements) return elements * s.size end
  local function tensor(one) return bytes(s.images * one.size[2] * one.size[3] * one.all) end
  local b = { blocks = blocks, tiles = work.tiles / blocks, v = bytes(work.products * s.from.channels) / blocks,
    m = bytes(work.frequencies * s.width) / blocks, output = tensor(s.to), vectors = 0,
    weights = bytes(p.kernel[2] * p.kernel[3] * s.from.channels * s.to.channels),
    packed = gather.packed_bytes(s) / p.groups * work.products / (work.frequencies * #s.phases) }
  b.panel = s.fuse and s.scratch - bytes(s.panel_at) or b.packed / s.columns.all
  b.all = tensor(s.from) + b.output + p.groups * (s.fuse and b.weights or b.packed)
  for _, run in ipairs(s.columns) do b.vectors = b.vectors + run.count * run.tile.vectors end
  return b
end

-- The transforms of the input, a share of the output channels after the other.
local function transform_inputs(t, s, work, b)
  local splits, one = s.schedule.splits, s.from
  local channels = { chunk = one.channels * s.size, pitch = one.all * s.size }
  t:calls(splits * work.tiles * #s.phases)
  transform(t, splits * up(one.channels, s.lanes), work.into, work.products, work.products)
  read_pixels(t, splits, s.images * one.size[2] * one.size[3], channels, b.all, s.schedule.fetch)
  write(t, splits, b.v * b.blocks, b.v)
end

local function transform_outputs(t, s, work, b)
  local pitch, chunk = s.to.all * s.size, math.min(s.width, s.to.channels) * s.size -- what a column tile has of a pixel
  t:calls(work.tiles * s.columns.all)
  transform(t, b.vectors, work.out, work.frequencies, work.outputs)
  again(t, b.blocks * s.columns.all, b.m, b.m)
  t:write(b.output / pitch * s.columns.all, chunk, pitch, b.output, s.schedule.stream)
end

-- The products of whole U. (Frequencies that some tiles lack, or some phases, count as their mean.)
local function products(t, s, work, b)
  local terms, pieces = work.products / work.frequencies * s.from.channels, math.ceil(b.tiles / s.schedule.rows)
  multiply(t, s.columns, work.frequencies / b.tiles * pieces, b.tiles / pieces, terms,
    math.ceil(terms / (s.schedule.chunk or terms)))
end

-- Of H: U is made beside its products. M is added to by each partial sum.
local function products_of_half(t, s, _, b)
  local h, most = s.h.schemes[1], s.schedule.rows
  local sums, together = b.tiles * h.size, 2 * b.tiles <= most
  local made, kernels = half.work(h, together), math.ceil(sums / most)
  local times = together and 1 or math.ceil(b.tiles / most)
  local chunks = up(s.from.channels, s.schedule.chunk or s.from.channels)
  for _, run in ipairs(s.columns) do
    local v, n = run.tile.vectors, run.count * s.w.size * b.blocks
    local fmas, loads = (sums + times * made.operations) * v, sums + times * made.loads * v
    t:steps(n * s.from.channels, fmas, loads, sums * v / kernels)
    t:stores(n * chunks * sums * v)
    t:calls(n * chunks * kernels)
  end
  local m, between = b.m * s.columns.all, s.fuse and b.m + b.panel or b.m / s.w.size
  again(t, b.blocks * (chunks - 1), m, between)
  write(t, b.blocks * chunks, m, between)
end

-- To make U or H of all channels, `times` times (nil: once).
local function make_weights(t, s, _, b, times)
  local h, w = s.h.schemes[1], s.w.schemes[1]
  local vectors, stores = b.vectors * s.from.channels * (times or 1), w.size * (s.half and h.taps or h.size)
  transform(t, vectors, s.half and h.taps * operations(w.G) or of_weights(h, w), h.taps * w.taps, stores)
  again(t, times or 1, b.weights, b.all)
  write(t, 1, vectors * stores * s.lanes * s.size, s.fuse and b.panel or b.packed)
  if s.p.pass ~= "forward" or s.planes then t:turns((times or 1) * b.weights / 16) end
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

-- Cycles of one thread for all groups, in parts: {transforms, products, pack}. What schedules of the same blocks have
-- in common is counted once.
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
  local c, tasks = cost.parts(s, work, m), s.p.groups * s.figures.count * s.schedule.splits
  return (c.transforms + c.products) * share_of(tasks, s.p.threads) + c.pack / s.p.threads
end

---- what the generator writes -----------------------------------------------------------------------------------------

-- Operations of the kernel of a transform: straight-line code, where a number may be loaded for each that has one;
-- loads, stores, and to slots and back.
local function lines(matrix)
  if not written[matrix] then
    local sum = 0
    for _, op in ipairs(straight.of(matrix).operations) do sum = sum + (op.c and 2 or 1) end
    written[matrix] = sum
  end
  return written[matrix]
end

local function kernel(along, across, rows)
  local columns = #along
  return rows * (lines(along) + #along[1] + 2 * columns) + columns * (lines(across) + #across)
end

-- Whole vectors of channels, and the lanes that are left.
local function bodies(channels, lanes) return channels % lanes == 0 and 1 or 2 end

-- Tiles of each class that differ: a window that reaches into the padding has a kernel of its own.
local function kinds_of(plans)
  local count, seen = { 0, 0 }, {}
  for _, plan in ipairs(plans) do
    for _, run in ipairs(plan.runs) do
      local tile = run.tile
      count[tile.class] = count[tile.class] + (seen[tile.key] and 0 or 1)
      seen[tile.key] = true
    end
  end
  return count
end

-- Operations of the transforms' kernels, which all schedules of tiles share.
function cost.transforms_made(tiled)
  local rows, columns, lanes, sum = kinds_of(tiled.h_plans), kinds_of(tiled.w_plans), tiled.lanes, 0
  for i, h in ipairs(tiled.h.schemes) do
    for j, w in ipairs(tiled.w.schemes) do
      for _, phase in ipairs(tiled.phases) do
        local a, b = grid.part(phase.h, h), grid.part(phase.w, w)
        sum = sum + rows[i] * columns[j] * bodies(tiled.from.channels, lanes) * kernel(b.BT, a.BT, a.size)
      end
      sum = sum + bodies(tiled.to.channels, lanes) * kernel(w.AT, h.AT, h.size)
    end
  end
  local h, w = tiled.h.schemes[1], tiled.w.schemes[1]
  return sum + kernel(w.G, h.G, h.taps)
end

---- backward weights --------------------------------------------------------------------------------------------------

-- The transforms of a slice, from pixels that are read again when all of both activations have passed.
local function transform_pixels(t, s, b)
  local p, h, w, v, d = s.p, s.h.scheme, s.w.scheme, s.v_row / s.lanes, s.d_row / s.lanes
  local inputs, outputs = s.images * p.input[2] * p.input[3], s.images * p.output[2] * p.output[3]
  local all = (inputs * p.ic + outputs * p.oc) * s.size
  t:calls(2 * b.tiles)
  transform(t, b.tiles, into(h, w) * v + of_weights(h, w) * d, s.frequencies * (v + d), s.frequencies * (v + d))
  read_pixels(t, 1, inputs, { chunk = s.icg * s.size, pitch = p.ic * s.size }, all)
  read_pixels(t, 1, outputs, { chunk = s.d_row * s.size, pitch = p.oc * s.size }, all)
  write(t, s.blocks, b.v + b.d, b.v + b.d)
end

local function sum_products(t, s, b)
  local rows, panels = up(s.icg, s.schedule.rows), cut.runs_of_columns(s.d_row, s.schedule.vectors, s.lanes)
  multiply(t, panels, rows * s.frequencies, s.icg / rows, b.tiles, s.blocks)
  again(t, s.blocks, panels.all * b.v + rows * b.d, (b.v + b.d) / s.frequencies)
  again(t, s.blocks, b.v + b.d, b.v + b.d)
  if s.one_block then return end
  again(t, s.blocks, b.sums, b.sums + b.v + b.d)
  write(t, s.blocks, b.sums, b.sums)
end

local function transform_sums(t, s, b)
  local h, w, taps, pitch = s.h.scheme, s.w.scheme, s.p.kernel[2] * s.p.kernel[3], s.p.oc * s.size
  t:calls(s.icg)
  transform(t, s.icg * s.d_row / s.lanes, out_of(h, w), s.frequencies * s.sums, taps)
  again(t, s.sums, b.sums, b.sums * s.sums)
  t:write(s.icg * taps, s.d_row * s.size, pitch, taps * s.icg * pitch)
end

function cost.gradient(s, m)
  local function cycles(count, b)
    local t = m.tally()
    count(t, s, b)
    return t:cycles()
  end
  local b = { tiles = s.h.tiles * s.w.tiles * s.images, sums = s.frequencies * s.icg * s.d_row * s.size,
    v = s.tiles * s.v_row * s.frequencies * s.size, d = s.tiles * s.d_row * s.frequencies * s.size }
  local slices = s.p.groups * s.slices.all
  local sums = (cycles(transform_pixels, b) + cycles(sum_products, b)) * share_of(s.blocks, s.sums)
  return sums * up(slices * s.sums, s.p.threads) + cycles(transform_sums, b) * slices / s.p.threads
end

-- Of the products' kernels: a sum is made zero, multiplied and finished. Whole U needs few tiles in a kernel, H all.
function cost.products_made(s, work)
  local f, most = s.figures, s.half and s.figures.most * s.h.size or math.min(s.figures.most, 2 * s.schedule.rows)
  local blocks, sums = f.most * f.count > work.tiles and 2 or 1, (s.schedule.chunk or s.terms) < s.terms and 2 or 1
  local each = s.schedule.vectors * (2 + (sums + 1)) + (s.half and 3 or 1)
  return blocks * sums * #s.columns * most * each
end

-- Operations of the transforms' kernels: of src for each window that differs, of diff_dst for each cut of a tile.
function cost.gradient_made(s)
  local h, w, cuts = s.h.scheme, s.w.scheme, 1
  for _, plan in ipairs { s.h, s.w } do cuts = cuts * (plan.axis.outputs % plan.outputs == 0 and 1 or 2) end
  local windows = kinds_of({ s.h })[1] * kinds_of({ s.w })[1]
  return windows * bodies(s.icg, s.lanes) * kernel(w.BT, h.BT, h.size)
    + cuts * bodies(s.d_row, s.lanes) * kernel(w.G, h.G, h.taps) + kernel(w.AT, h.AT, h.size)
end

---- figures for readers -----------------------------------------------------------------------------------------------

-- A pixel's share of what the tiles of a problem take: products of a pair of channels, operations of the input's
-- transform a channel, of the output's; what binds: the longest of what a run has to do.
function cost.gathering_figures(s, work, m)
  local pixels, most, all = s.images * s.to.size[2] * s.to.size[3], "products", 0
  local names = { products = "the products", transforms = "the transforms", pack = "transforming the weights" }
  local c = cost.parts(s, work, m)
  for name, cycles in pairs(c) do most, all = cycles > c[most] and name or most, all + cycles end
  return { products = work.products / pixels, into = work.into / pixels, out = work.out / pixels,
    binds = ("%s, %.0f%%"):format(names[most], c[most] / all * 100) }
end

-- A pixel of diff_dst: products of a pair of channels, operations of src's transform a channel, of diff_dst's.
function cost.gradient_figures(s)
  local h, w, share = s.h.scheme, s.w.scheme, s.h.tiles * s.w.tiles / (s.p.output[2] * s.p.output[3])
  return { products = share * h.size * w.size, into = share * into(h, w), out = share * of_weights(h, w) }
end

return cost
