-- winograd.lua: less arithmetic by Winograd's algorithm: transform, a contraction for each frequency, transform back.
--
-- F(m,r) on each axis computes m outputs of r taps by m + r - 1 products (toomcook.lua). 2 to 7 taps on an axis,
-- forward and backward data, and backward weights of channels-last data; dilations of channels-last data but in
-- backward weights; strides of channels-last data forward. The result is not the canonical one (chains 0): how far it
-- may be is the problem's accuracy. A NaN or an infinity in the input spreads over the tiles that its window touches.
--
-- Here: schedules, which of them a problem and its accuracy admit, the list. What they need and how they run:
-- gather.lua and gradient.lua; what they cost: cost.lua. Nothing that is listed is built.
local family = require "family"
local activations, parts = require "activations", require "parts"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local gather = require "rewrite/winograd/gather"
local gradient = require "rewrite/winograd/gradient"
local errors = require "rewrite/winograd/error"
local cost = require "rewrite/winograd/cost"
local words = require "rewrite/winograd/words"
local costs = require "cost"
local names = require "names"

---- schedules: [split.p2/]winograd.4+3x4+3.t28.s1[.d2][.fetch][.stream]/product.r14.v2[.a4][.c64][.half|.fuse] ------
-- Partial sums of backward weights. Tile sizes on h and w; tiles of a block; shares of the output channels; threads
-- that blocks are cut for (blocks.lua); whether the next block's input is fetched during a block's products, and
-- outputs are streamed. Of the product: rows and vectors; how many rows of U are fetched ahead; channels of a partial
-- sum; whether weights are transformed along one axis only, beforehand or in the run (half.lua: rows are sums of a
-- kernel then).

local forms = { { sums = "either",
  { "split", fields = { { "p", "sums" } }, when = "sums" },
  { "winograd", marks = { "fetch", "stream" },
    fields = { { sizes = { "h", "w" } }, { "t", "tiles" }, { "s", "splits" }, { "d", "shares", optional = true } } },
  { "product", marks = { { "half", "fuse" } }, fields = { { "r", "rows" }, { "v", "vectors" },
    { "a", "ahead", optional = true }, { "c", "chunk", optional = true } } },
} }

---- admission ---------------------------------------------------------------------------------------------------------

local most_size = 10 -- frequencies on an axis

local function reduced(p) return (p.pass == "backward_data" and p.oc or p.ic) // p.groups end
local function produced(p) return (p.pass == "backward_data" and p.ic or p.oc) // p.groups end

local function refused(s)
  local p = s.p
  return grid.refused(p) or family.first { { s.target.bits == 0, "winograd needs vectors" },
    { p.accuracy == "proven", "proven admits no transforms" },
    { p.groups > 1 and p.ic == p.groups,
      "winograd sums over the channels of a group; depthwise is for groups of one" } }
end

-- An axis in tiles of `sizes`, and what its errors sum to, each worked out where it is first asked for.
local function axis_in(axis, sizes)
  local one = { axis = axis, sizes = sizes }
  function one.plans() one.made = one.made or grid.plans(axis, sizes); return one.made end
  function one.errors() one.known = one.known or errors.of_plans(one.plans()); return one.known end
  return one
end

-- tiles: {h, w}, the two axes, as above. chunk: the terms of a partial sum, nil: there is one sum.
local function predicted_error(p, tiles, chunk)
  local e, phases = p.epilogue or {}, math.min(p.stride[2], p.kernel[2]) * math.min(p.stride[3], p.kernel[3])
  local clamp, h, w = activations.span(p), tiles.h.errors(), tiles.w.errors()
  -- Outputs of padding alone are small, and then the only ones that a clamp leaves; the loop makes them without any
  -- error.
  if clamp and (h.some < h.outputs or w.some < w.outputs) then return math.huge end
  local added = (p.bias and 1 or 0) + (e.residual and 1 or 0)
  local terms = reduced(p) * phases
  local sums = math.max(terms / (chunk or terms), 1)
  return errors.predict(h, w, reduced(p), errors.chains(terms / sums, sums), added, clamp)
end

-- Why tiles are refused for their error with sums of at most `chunk` channels, or nil.
local function inexact(p, tiles, chunk)
  local h, w, key = tiles.h, tiles.w, chunk or 0
  if tiles[key] == nil then
    tiles[key] = errors.unmeasured(h.sizes[1], grid.taps(h.axis)) or errors.unmeasured(w.sizes[1], grid.taps(w.axis))
      or errors.refusal(p, predicted_error(p, tiles, chunk)) or false
  end
  return tiles[key] or nil
end

-- The same of the longest sums that are admitted, and the channels of a sum where it is not of all.
local function chunk_of(p, tiles)
  local why = inexact(p, tiles)
  for _, chunk in ipairs(why and { 128, 64, 32, 16 } or {}) do
    if reduced(p) > chunk and not inexact(p, tiles, chunk) then return nil, chunk end
  end
  return why
end

-- Why the tiles of a transform or of its products are none that can be, or nil. taps: of both axes.
local function too_large(s, schedule, taps)
  local size = math.max(schedule.h[1] + taps[1], schedule.w[1] + taps[2]) - 1
  local rows = math.min(schedule.rows, s.p.pass == "backward_weights" and reduced(s.p) or schedule.tiles)
  local vectors = math.min(schedule.vectors, (produced(s.p) + s.lanes - 1) // s.lanes)
  return family.first { { size > most_size, "needs %d frequencies on an axis, at most %d", size, most_size },
    family.registers(vectors * rows + vectors, s.target) }
end

-- {[schedule] = what is known of it}, of a candidate since it was made, of others made here.
local function memory(s, make)
  return setmetatable({}, { __index = function(known, schedule)
    known[schedule] = make(s, schedule)
    return rawget(known, schedule)
  end })
end

-- Calls visit(s, tiles of rows and columns, list), where list(schedule, what is known of it) adds a candidate; of axes
-- that are alike, a shape between is as good as one that is far from square.
local function each_shape(s, rows, columns, alike, add, visit)
  local function list(schedule, known)
    s.entries[schedule] = known
    add(schedule)
  end
  for _, h in ipairs(rows) do
    for _, w in ipairs(columns) do
      if not alike or math.abs(h.sizes[1] - w.sizes[1]) <= 2 then visit(s, { h = h, w = w }, list) end
    end
  end
end

---- forward and backward data: what is known of a schedule ------------------------------------------------------------

-- Tiles of both axes.
local function with_tiled(s, tiles)
  tiles.tiled = gather.tiled(s, tiles.h.plans(), tiles.w.plans())
  tiles.work, tiles.transforms = cost.work(tiles.tiled), cost.transforms_made(tiles.tiled)
  return tiles
end

-- {tiles: of both axes, shape, why: it cannot be} of a schedule from anywhere.
local function known_gathering(s, schedule)
  local h, w = grid.axes(s.p)
  local why, name = too_large(s, schedule, { grid.taps(h), grid.taps(w) }), names.print(schedule)
  why = why or family.first { { schedule.sums, "%s has partial sums, which are for backward weights", name },
    { (schedule.half or schedule.fuse) and grid.strided(s.p), "%s is for stride 1", name },
    { not grid.cover(h, schedule.h) or not grid.cover(w, schedule.w),
      "%s does not cover the outputs of this problem exactly", name } }
  if why then return { why = why } end
  local tiles = with_tiled(s, { h = axis_in(h, schedule.h), w = axis_in(w, schedule.w) })
  local t = tiles.tiled
  local figures = blocks.figures(t.h_plans, t.w_plans, t.images, schedule.tiles, schedule.shares)
  return { tiles = tiles, shape = gather.scheduled(t, schedule, figures) }
end

local gathers = { refused = refused }

function gathers.shape(p, target)
  local s = gather.frame(p, target)
  s.entries = memory(s, known_gathering)
  return s
end

function gathers.misfit(s, schedule)
  local one = s.entries[schedule]
  return one.why or inexact(s.p, one.tiles, schedule.chunk) or gather.misfit(one.shape)
end

function gathers.cycles(s, schedule)
  local one = s.entries[schedule]
  return cost.gathering(one.shape, one.tiles.work, s.m)
end

function gathers.made(s, schedule)
  local one = s.entries[schedule]
  return one.tiles.transforms + cost.products_made(one.shape, one.tiles.work)
end

function gathers.stages(s, schedule) return gather.stages(s.entries[schedule].shape, s) end

function gathers.figures(s, schedule)
  local one = s.entries[schedule]
  return predicted_error(s.p, one.tiles, schedule.chunk), cost.gathering_figures(one.shape, one.tiles.work, s.m)
end

---- what is worth trying ----------------------------------------------------------------------------------------------

-- For each larger size the smaller one that makes the fewest frequencies in all.
local function axis_sizes(axis)
  local list, taps, split = {}, grid.taps(axis), grid.split(axis)
  if taps == 1 then return { axis_in(axis, { 1 }) } end
  for big = 1, math.min(most_size - taps + 1, split[1].axis.outputs) do
    local best, least
    for small = big - 1, 0, -1 do
      local sizes = { big, small > 0 and small or nil }
      local a, b = grid.cover(axis, sizes, split)
      local sum = a and a * (big + taps - 1) + b * (small + taps - 1)
      if sum and (not least or sum < least) then best, least = sizes, sum end
    end
    if best then list[#list + 1] = axis_in(axis, best) end
  end
  return list
end

local function same_axis(a, b)
  for name, value in pairs(a) do
    if b[name] ~= value then return false end
  end
  return true
end

-- Tiles of the product: accumulators, a row of U, the broadcast.
local function most_rows(target, v) return math.min((target.registers - v - 1) // v, v == 1 and 28 or 14) end

-- Blocks of different numbers of tiles: {tiles, figures}.
local function block_sizes(tiled, shares)
  local list, seen = {}, {}
  for _, tiles in ipairs { 14, 28, 42, 56 } do
    local figures = blocks.figures(tiled.h_plans, tiled.w_plans, tiled.images, tiles, shares)
    if not seen[figures.key] then list[#list + 1] = { tiles = tiles, figures = figures } end
    seen[figures.key] = true
  end
  return list
end

-- A virtual machine may tell any size of the last cache; streaming is tried where outputs leave the one before it.
local function for_large(p, m)
  local bytes = p.batch * p.output[1] * p.output[2] * p.output[3] * p.oc * parts.size_of(p)
  if bytes <= 4 * m.l2 or p.layout == "nchw" then return { {} } end
  if grid.dilated(p) then return { { stream = true }, {} } end
  return { { stream = true, fetch = p.groups == 1 }, { fetch = p.groups == 1 }, {} }
end

-- A schedule of tiles {h, w, chunk, bytes: of U}.
local function schedule_of(s, tiles, number, split)
  return { h = tiles.h.sizes, w = tiles.w.sizes, tiles = number, rows = most_rows(s.target, s.vectors),
    vectors = s.vectors, splits = split, chunk = tiles.chunk, shares = split == 1 and s.shares or nil,
    ahead = tiles.bytes > 2 * s.m.l2 and 64 or 16, stream = false, fetch = false }
end

-- H in place of an U that leaves the caches; of weights that change in the run, where the pack stage would take long. H
-- of a partial sum waits in the first cache for all kernels of a column, or in the second for those of all columns.
local function halves(s, tiles, number, split, add)
  local h, w, fixed, l2 = tiles.h, tiles.w, s.p.weights == "fixed", s.m.l2
  if h.axis.taps == 1 or grid.strided(s.p) or tiles.bytes <= (fixed and l2 or l2 // 2) then return end
  local bytes, before = (w.sizes[1] + w.axis.taps - 1) * h.axis.taps * s.vectors * s.target.bits // 8, nil
  for _, fits in ipairs(fixed and { 64, 32 } or { bytes * 64 <= l2 // 8 and 64 or 32 }) do
    local one = schedule_of(s, tiles, number, split)
    local beside = h.axis.taps > 5 and 10 or 8 -- the sums: what makes U of a row, of many taps more
    one.rows, one.ahead, one.half, one.fuse = (s.target.registers - beside) // s.vectors, nil, fixed, not fixed
    one.chunk = reduced(s.p) > fits and math.min(tiles.chunk or fits, fits) or tiles.chunk
    if not before or one.chunk ~= before.chunk then add(one) end
    before = one
  end
end

-- All schedules of tiles of both axes.
local function tile_candidates(s, tiles, list)
  local p, why = s.p, nil
  -- of all phases
  local function frequencies(one) return one.sizes[1] * one.axis.step + one.axis.taps - one.axis.step end
  why, tiles.chunk = chunk_of(p, tiles)
  tiles.bytes = frequencies(tiles.h) * frequencies(tiles.w) * reduced(p) * produced(p) * s.size
  if why then return list(schedule_of(s, tiles, 14, 1), { why = why }) end
  with_tiled(s, tiles)
  for _, split in ipairs(s.splits) do
    for _, block in ipairs(block_sizes(tiles.tiled, split == 1 and s.shares)) do
      local function add(schedule)
        list(schedule, { tiles = tiles, shape = gather.scheduled(tiles.tiled, schedule, block.figures) })
      end
      for _, large in ipairs(for_large(p, s.m)) do
        local one = schedule_of(s, tiles, block.tiles, split)
        one.stream, one.fetch = large.stream or false, large.fetch or false
        add(one)
      end
      halves(s, tiles, block.tiles, split, add)
    end
  end
end

function gathers.candidates(s, add)
  local p, threads, columns = s.p, s.p.threads, (produced(s.p) + s.lanes - 1) // s.lanes
  s.vectors = math.min(2, columns)
  s.splits = { 1, threads > 1 and (columns + s.vectors - 1) // s.vectors >= threads and threads or nil }
  s.shares = p.layout == "nhwc" and threads > 1 and threads <= gather.most_shares and p.batch * p.input[1] % threads > 0
    and threads or nil
  local h, w = grid.axes(p)
  local rows = axis_sizes(h)
  each_shape(s, rows, same_axis(h, w) and rows or axis_sizes(w), grid.taps(h) == grid.taps(w), add,
    tile_candidates)
end

---- backward weights --------------------------------------------------------------------------------------------------

-- The predicted error of a shape. (The first of each sum is added to nothing.)
local function gradient_error(s)
  local of = s.errors
  local tiles = s.h.tiles * s.w.tiles * s.images / s.blocks -- of a block
  return errors.predict(of.h, of.w, s.images, errors.chains(tiles, s.blocks / s.sums, s.sums), 0)
end

-- The axis i in tiles of m pixels, with their errors; or why these cannot be predicted.
local function pixels_in(p, i, m)
  local one = { sizes = { m }, unmeasured = errors.unmeasured(p.kernel[i], m) }
  if one.unmeasured then return one end
  one.plan = grid.pixels(p, i, m)
  one.errors = errors.of_pixels(one.plan)
  return one
end

local function with_errors(s, h, w)
  local tiled = gradient.tiled(s.p, s.target, h.plan, w.plan)
  tiled.errors = { h = h.errors, w = w.errors }
  return tiled
end

-- {shape, why: it cannot be} of a schedule of tiles whose errors are known.
local function of_tiled(tiled, schedule)
  local shape = gradient.scheduled(tiled, schedule, gradient.blocks(tiled, schedule.tiles, schedule.sums or 1))
  local inexact_ = errors.refusal(tiled.p, gradient_error(shape))
  return { shape = shape, inexact = inexact_, why = gradient.misfit(shape) or inexact_ }
end

-- The same from anywhere.
local function known_sums(s, schedule)
  local why = too_large(s, schedule, { s.p.kernel[2], s.p.kernel[3] }) or family.first {
    { schedule.half or schedule.fuse or schedule.chunk or schedule.shares, "%s halves weights or sums, or cuts blocks "
      .. "for threads, which is not for backward weights", names.print(schedule) },
    { schedule.h[2] or schedule.w[2], "winograd has tiles of one size for backward weights" } }
  if why then return { why = why } end
  local h, w = pixels_in(s.p, 2, schedule.h[1]), pixels_in(s.p, 3, schedule.w[1])
  why = h.unmeasured or w.unmeasured
  return why and { why = why } or of_tiled(with_errors(s, h, w), schedule)
end

local sums = { refused = refused }

function sums.shape(p, target)
  local s = { target = target, lanes = parts.lanes_of(p, target) }
  s.entries = memory(s, known_sums)
  return s
end

function sums.misfit(s, schedule) return s.entries[schedule].why end
function sums.cycles(s, schedule) return cost.gradient(s.entries[schedule].shape, s.m) end
function sums.made(s, schedule) return cost.gradient_made(s.entries[schedule].shape) end
function sums.stages(s, schedule) return gradient.stages(s.entries[schedule].shape, s) end

function sums.figures(s, schedule)
  local shape = s.entries[schedule].shape
  return gradient_error(shape), cost.gradient_figures(shape)
end

-- Numbers of slices that differ, from the first that gives every one of `threads` one; the most where none does.
local function splits_of(p, vectors, threads)
  local list, most = {}, 1
  for _, n in ipairs { 1, 2, 4, 8, 16 } do
    local each = (vectors + n - 1) // n
    if (vectors + each - 1) // each == n then
      most = n
      if n * p.groups >= threads or n == vectors then list[#list + 1] = n end
    end
  end
  return #list > 0 and list or { most }
end

-- The first two splits whose slices fit into the memory; else why the first does not.
local function with_splits(tiled, schedule_with, splits, list)
  local fitting, first = 0, nil
  for _, n in ipairs(splits) do
    local schedule = schedule_with(n)
    local one = of_tiled(tiled, schedule)
    first = first or { schedule, one }
    if not one.why and fitting < 2 then
      fitting = fitting + 1
      list(schedule, one)
    end
  end
  if fitting == 0 then list(table.unpack(first)) end
end

-- All schedules of tiles of {h, w} pixels (each: pixels_in); s.ways: {splits, sums}.
local function pixel_candidates(s, pixels, list)
  local h, w, ways = pixels.h, pixels.w, s.ways
  local function schedule(tiles, way, splits)
    return { h = h.sizes, w = w.sizes, tiles = tiles, rows = s.rows, vectors = s.vectors, splits = splits,
      sums = way.sums }
  end
  local first, why = ways[1].splits[1], h.unmeasured or w.unmeasured
  if why then return list(schedule(14, ways[1], first), { why = why }) end
  local tiled = with_errors(s, h, w)
  local all = h.plan.tiles * w.plan.tiles * tiled.images
  for _, tiles in ipairs { 14, 28, 56, 112, 224 } do
    local one = schedule(tiles, ways[1], first)
    local inexact_ = of_tiled(tiled, one).inexact
    if inexact_ then list(one, { why = inexact_ }) end
    for _, way in ipairs(inexact_ and {} or ways) do
      -- as half as many tiles: a block a sum
      local same = way.sums and tiled.images == 1 and tiles // 2 * way.sums >= all
      if not same then with_splits(tiled, function(n) return schedule(tiles, way, n) end, way.splits, list) end
    end
    if tiles >= all then break end
  end
end

-- The axis i in tiles of each size.
local function pixel_sizes(p, i)
  local list = {}
  for n, m in ipairs(p.kernel[i] == 1 and { 1 } or { 2, 3, 4, 5, 6, 7 }) do list[n] = pixels_in(p, i, m) end
  return list
end

function sums.candidates(s, add)
  local p = s.p
  local vectors = (p.oc // p.groups + s.lanes - 1) // s.lanes
  s.ways = { { splits = splits_of(p, vectors, p.threads) },
    p.threads > 1 and { sums = p.threads, splits = splits_of(p, vectors, 1) } or nil }
  s.vectors = math.min(2, vectors)
  s.rows = math.min((s.target.registers - s.vectors - 1) // s.vectors, 14)
  each_shape(s, pixel_sizes(p, 2), pixel_sizes(p, 3), p.kernel[2] == p.kernel[3], add, pixel_candidates)
end

---- what the generator asks for ---------------------------------------------------------------------------------------

local winograd = family.new { name = "winograd", forms = forms, gathers = gathers, sums = sums }

winograd.chains = 0
winograd.inadmissible = winograd.misfit -- a name may come from anywhere, so its error is predicted again

-- The parts of its name that decide the bits of its results: the transform, the order of its sums. Kernels of `half`
-- share operations among rows of frequencies by what fits a block; sums of backward weights are of a block's tiles.
function winograd.arithmetic(p, s)
  if p.pass == "backward_weights" then return { h = true, tiles = true, sums = true } end
  if s.half or s.fuse then return { h = true, chunk = true, tiles = true, rows = true, shares = true } end
  return { h = true, chunk = true }
end

-- For readers of the list of schedules.
function winograd.figures(p, schedule, target, machine)
  local way = p.pass == "backward_weights" and sums or gathers
  local s = way.shape(p, target)
  s.p, s.m = p, costs.machine(machine, target)
  local error, f = way.figures(s, schedule)
  return ("%.3g of %d products, %.1f + %.1f operations, error %.2f%s"):format(f.products, p.kernel[2] * p.kernel[3],
    f.into, f.out, error, f.binds and ", binds: " .. f.binds or "")
end

winograd.figures_mean = "winograd: multiplications of an output pixel for a pair of channels, and how many a sum has; "
  .. "operations of the transforms for a pixel, a channel that goes in + one that comes out; the most that the error "
  .. "over the plain loop's is expected to be; where the time goes"

-- Of emitted C.
function winograd.explain(p, s) return (p.pass == "backward_weights" and words.gradient or words.gathering)(p, s) end

return winograd
