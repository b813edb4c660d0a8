-- winograd.lua: less arithmetic by Winograd's algorithm: transform, a contraction for each frequency, transform back.
--
-- F(m,r) on each axis computes m outputs of r taps by m + r - 1 products (toomcook.lua). 2 to 7 taps on an axis,
-- forward and backward data, and backward weights of channels-last data; dilations of channels-last data but in
-- backward weights; strides of channels-last data forward. The result is not the canonical one (chains 0): how far it
-- may be is the problem's accuracy. A NaN or an infinity in the input spreads over the tiles that its window touches.
--
-- Here: schedules, which of them a problem and its accuracy admit, the list. What they need and how they run:
-- gather.lua and gradient.lua; what they cost: cost.lua. Nothing that is listed is built.
local names = require "names"
local activations, parts = require "activations", require "parts"
local registers = require "registers"
local costs = require "cost"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local gather = require "rewrite/winograd/gather"
local gradient = require "rewrite/winograd/gradient"
local errors = require "rewrite/winograd/error"
local cost = require "rewrite/winograd/cost"
local words = require "rewrite/winograd/words"

local winograd = { name = "winograd", chains = 0 }

---- schedules: [split.p2/]winograd.4+3x4+3.t28.s1[.d2][.fetch][.stream]/product.r14.v2[.a4][.c64][.half|.fuse] ------
-- Partial sums of backward weights. Tile sizes on h and w; tiles of a block; shares of the output channels; threads
-- that blocks are cut for (blocks.lua); whether the next block's input is fetched during a block's products, and outputs
-- are streamed. Of the product: rows and vectors; how many rows of U are fetched ahead; channels of a partial sum;
-- whether weights are transformed along one axis only, beforehand or in the run (half.lua: rows are sums of a kernel
-- then).

names.family("winograd", { {
  { "split", fields = { { "p", "sums" } }, when = "sums" },
  { "winograd", marks = { "fetch", "stream" },
    fields = { { sizes = { "h", "w" } }, { "t", "tiles" }, { "s", "splits" }, { "d", "shares", optional = true } } },
  { "product", marks = { { "half", "fuse" } }, fields = { { "r", "rows" }, { "v", "vectors" },
    { "a", "ahead", optional = true }, { "c", "chunk", optional = true } } },
} })

---- admission ---------------------------------------------------------------------------------------------------------

local most_size = 10 -- frequencies on an axis

local function reduced(p) return (p.pass == "backward_data" and p.oc or p.ic) // p.groups end
local function produced(p) return (p.pass == "backward_data" and p.ic or p.oc) // p.groups end

local function refused(p, target)
  local why = grid.refused(p)
  if why then return why end
  if target.bits == 0 then return "winograd needs vectors" end
  if p.accuracy == "proven" then return "proven admits no transforms" end
  if p.groups > 1 and p.ic == p.groups then
    return "winograd sums over the channels of a group; depthwise is for groups of one"
  end
end

-- An axis in tiles of `sizes`, and what its errors sum to, each worked out where it is first asked for.
local function axis_in(axis, sizes)
  local one = { axis = axis, sizes = sizes }
  function one.plans() one.made = one.made or grid.plans(axis, sizes); return one.made end
  function one.errors() one.known = one.known or errors.of_plans(one.plans()); return one.known end
  return one
end

-- From the two axes, as above. chunk: the terms of a partial sum, nil: there is one sum.
local function predicted_error(p, h, w, chunk)
  local e, phases = p.epilogue or {}, math.min(p.stride[2], p.kernel[2]) * math.min(p.stride[3], p.kernel[3])
  local clamp = activations.span(p)
  h, w = h.errors(), w.errors()
  -- Outputs of padding alone are small, and then the only ones that a clamp leaves; the loop makes them without any
  -- error.
  if clamp and (h.some < h.outputs or w.some < w.outputs) then return math.huge end
  local added = (p.pass == "forward" and p.bias and 1 or 0) + (e.residual and 1 or 0)
  local terms = reduced(p) * phases
  local sums = math.max(terms / (chunk or terms), 1)
  return errors.predict(h, w, reduced(p), errors.chains(terms / sums, sums), added, clamp)
end

-- Why the errors of tiles cannot be predicted, or nil.
local function unmeasured(h, w)
  return errors.unmeasured(h.sizes[1], grid.taps(h.axis)) or errors.unmeasured(w.sizes[1], grid.taps(w.axis))
end

-- Why tiles are refused for their error with sums of at most `chunk` channels, or nil.
local function inexact(p, h, w, chunk) return errors.refusal(p, predicted_error(p, h, w, chunk)) end

-- The same of the longest sums that are admitted, and the channels of a sum where it is not of all.
local function chunk_of(p, h, w)
  local why = unmeasured(h, w)
  if why then return why end
  why = inexact(p, h, w)
  if not why then return end
  for _, chunk in ipairs { 128, 64, 32, 16 } do
    if reduced(p) > chunk and not inexact(p, h, w, chunk) then return nil, chunk end
  end
  return why
end

-- The same of backward weights; s: the shape. (The first of each sum is added to nothing.)
local function gradient_error(s)
  local of = s.errors
  local tiles = s.h.tiles * s.w.tiles * s.images / s.blocks -- of a block
  return errors.predict(of.h, of.w, s.images, errors.chains(tiles, s.blocks / s.sums, s.sums), 0)
end

---- the space of forward and backward data ----------------------------------------------------------------------------

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

-- What the schedules of a problem have in common: {p, target, m, vectors, splits, shares, list: of entries}.
local function space_of(p, target, m, list)
  local lanes = parts.lanes_of(p, target)
  local columns = (produced(p) + lanes - 1) // lanes
  local vectors = math.min(2, columns)
  local threads = p.threads
  return { p = p, target = target, m = m, list = list, vectors = vectors,
    splits = { 1, threads > 1 and (columns + vectors - 1) // vectors >= threads and threads or nil },
    shares = p.layout == "nhwc" and threads > 1 and threads <= gather.most_shares and p.batch * p.input[1] % threads > 0
      and threads or nil }
end

-- A schedule of tiles that are known: {h, w, chunk, bytes: of U}.
local function schedule_of(o, known, tiles, split)
  return { family = "winograd", h = known.h.sizes, w = known.w.sizes, tiles = tiles,
    rows = most_rows(o.target, o.vectors), vectors = o.vectors, splits = split, chunk = known.chunk,
    shares = split == 1 and o.shares or nil, ahead = known.bytes > 2 * o.m.l2 and 64 or 16,
    stream = false, fetch = false }
end

-- H in place of an U that leaves the caches; of weights that change in the run, where the pack stage would take long. H
-- of a partial sum waits in the first cache for all kernels of a column, or in the second for those of all columns.
local function halves(o, known, block, split)
  local p, h, w, fixed = o.p, known.h, known.w, o.p.weights == "fixed"
  if h.axis.taps == 1 or grid.strided(p) or known.bytes <= (fixed and o.m.l2 or o.m.l2 // 2) then return end
  local bytes, before = (w.sizes[1] + w.axis.taps - 1) * h.axis.taps * o.vectors * o.target.bits // 8, nil
  for _, fits in ipairs(fixed and { 64, 32 } or { bytes * 64 <= o.m.l2 // 8 and 64 or 32 }) do
    local one = schedule_of(o, known, block.tiles, split)
    local beside = h.axis.taps > 5 and 10 or 8 -- the sums: what makes U of a row, of many taps more
    one.rows, one.ahead, one.half, one.fuse = (o.target.registers - beside) // o.vectors, nil, fixed, not fixed
    one.chunk = reduced(p) > fits and math.min(known.chunk or fits, fits) or known.chunk
    if not before or one.chunk ~= before.chunk then o.add(one, block, inexact(p, h, w, one.chunk)) end
    before = one
  end
end

-- All schedules of the tiles of both axes.
local function add_tiles(o, frame, h, w)
  local p = o.p
  -- of all phases
  local function frequencies(one) return one.sizes[1] * one.axis.step + one.axis.taps - one.axis.step end
  local why, chunk = chunk_of(p, h, w)
  local known = { h = h, w = w, chunk = chunk,
    bytes = frequencies(h) * frequencies(w) * reduced(p) * produced(p) * frame.size }
  if why then o.list[#o.list + 1] = { schedule = schedule_of(o, known, 14, 1), why = why }; return end
  local tiled = gather.tiled(frame, h.plans(), w.plans())
  local work = cost.work(tiled)
  function o.add(schedule, block, cannot)
    local s = gather.scheduled(tiled, schedule, block.figures)
    cannot = cannot or gather.misfit(s)
    local cycles = not cannot and cost.gathering(s, work, o.m) or 0
    o.list[#o.list + 1] = { schedule = schedule, why = cannot, cycles = cycles }
  end
  for _, split in ipairs(o.splits) do
    for _, block in ipairs(block_sizes(tiled, split == 1 and o.shares)) do
      for _, large in ipairs(for_large(p, o.m)) do
        local one = schedule_of(o, known, block.tiles, split)
        one.stream, one.fetch = large.stream or false, large.fetch or false
        o.add(one, block)
      end
      halves(o, known, block, split)
    end
  end
end

local function gathering(o)
  local h_axis, w_axis = grid.axes(o.p)
  local frame, rows = gather.frame(o.p, o.target), axis_sizes(h_axis)
  local columns = same_axis(h_axis, w_axis) and rows or axis_sizes(w_axis)
  for _, h in ipairs(rows) do
    for _, w in ipairs(columns) do
      local far = grid.taps(h_axis) == grid.taps(w_axis) and math.abs(h.sizes[1] - w.sizes[1]) > 2
      if not far then add_tiles(o, frame, h, w) end
    end
  end
end

---- the space of backward weights -------------------------------------------------------------------------------------

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

-- The shape of a schedule of tiles whose errors are known, and why it cannot be, or nil.
local function gradient_shape(tiled, schedule)
  local s = gradient.scheduled(tiled, schedule, gradient.blocks(tiled, schedule.tiles, schedule.sums or 1))
  return s, errors.refusal(s.p, gradient_error(s))
end

-- The first two splits whose slices fit into the memory.
local function with_splits(o, tiled, schedule_with, splits)
  local fitting, why = 0, nil
  for _, n in ipairs(splits) do
    local schedule = schedule_with(n)
    local s, wrong = gradient_shape(tiled, schedule)
    local cannot = gradient.misfit(s) or wrong
    why = why or cannot
    if not cannot and fitting < 2 then
      fitting = fitting + 1
      o.list[#o.list + 1] = { schedule = schedule, cycles = cost.gradient(s, o.m) }
    end
  end
  if fitting == 0 then o.list[#o.list + 1] = { schedule = schedule_with(splits[1]), why = why } end
end

-- All schedules of tiles of h x w pixels (each: pixel_sizes); ways: {splits, sums}.
local function add_pixels(o, h, w, ways)
  local function schedule(tiles, way, splits)
    return { family = "winograd", h = { h.outputs }, w = { w.outputs }, tiles = tiles, rows = o.rows,
      vectors = o.vectors, splits = splits, sums = way.sums }
  end
  local function refuse(one, why) o.list[#o.list + 1] = { schedule = one, why = why } end
  local first = ways[1].splits[1]
  if h.unmeasured or w.unmeasured then return refuse(schedule(14, ways[1], first), h.unmeasured or w.unmeasured) end
  local tiled = gradient.tiled(o.p, o.target, h.plan, w.plan)
  tiled.errors = { h = h.errors, w = w.errors }
  local all = h.plan.tiles * w.plan.tiles * tiled.images
  for _, tiles in ipairs { 14, 28, 56, 112, 224 } do
    local _, why = gradient_shape(tiled, schedule(tiles, ways[1], first))
    if why then refuse(schedule(tiles, ways[1], first), why) end
    for _, way in ipairs(why and {} or ways) do
      -- as half as many tiles: a block a sum
      local same = way.sums and tiled.images == 1 and tiles // 2 * way.sums >= all
      if not same then with_splits(o, tiled, function(n) return schedule(tiles, way, n) end, way.splits) end
    end
    if tiles >= all then break end
  end
end

-- The axis i in tiles of each size, with their errors.
local function pixel_sizes(p, i)
  local list, taps = {}, p.kernel[i]
  for _, m in ipairs(taps == 1 and { 1 } or { 2, 3, 4, 5, 6, 7 }) do
    local one = { outputs = m, unmeasured = errors.unmeasured(taps, m) }
    if not one.unmeasured then
      one.plan = grid.pixels(p, i, m)
      one.errors = errors.of_pixels(one.plan)
    end
    list[#list + 1] = one
  end
  return list
end

local function weights(o)
  local p, lanes = o.p, parts.lanes_of(o.p, o.target)
  local vectors = (p.oc // p.groups + lanes - 1) // lanes
  local ways = { { splits = splits_of(p, vectors, p.threads) } }
  if p.threads > 1 then ways[2] = { sums = p.threads, splits = splits_of(p, vectors, 1) } end
  o.rows = math.min((o.target.registers - o.vectors - 1) // o.vectors, 14)
  local rows, columns = pixel_sizes(p, 2), pixel_sizes(p, 3)
  for _, h in ipairs(rows) do
    for _, w in ipairs(columns) do
      local far = p.kernel[2] == p.kernel[3] and math.abs(h.outputs - w.outputs) > 2 -- a shape between is as good
      if not far then add_pixels(o, h, w, ways) end
    end
  end
end

function winograd.schedules(p, target, machine, list)
  local why = refused(p, target)
  if why then list[1] = { why = why, name = "winograd" }; return end
  local o = space_of(p, target, costs.machine(machine, target), list)
  return (p.pass == "backward_weights" and weights or gathering)(o)
end

---- schedules from anywhere -------------------------------------------------------------------------------------------

-- The parts of its name that decide the bits of its results: the transform, the order of its sums. Kernels of `half`
-- share operations among rows of frequencies by what fits a block; sums of backward weights are of a block's tiles.
function winograd.arithmetic(p, s)
  if p.pass == "backward_weights" then return { h = true, tiles = true, sums = true } end
  if s.half or s.fuse then return { h = true, chunk = true, tiles = true, rows = true, shares = true } end
  return { h = true, chunk = true }
end

local function axes_of(p, schedule)
  local h, w = grid.axes(p)
  return axis_in(h, schedule.h), axis_in(w, schedule.w)
end

-- Why a schedule cannot be a gathering one's or the accuracy does not admit it, or nil.
local function gathering_misfit(p, schedule, target)
  if schedule.sums then return names.print(schedule) .. " has partial sums, which are for backward weights" end
  if (schedule.half or schedule.fuse) and grid.strided(p) then return names.print(schedule) .. " is for stride 1" end
  local h, w = axes_of(p, schedule)
  local why = unmeasured(h, w)
  if why then return why end
  if not grid.cover(h.axis, schedule.h) or not grid.cover(w.axis, schedule.w) then
    return names.print(schedule) .. " does not cover the outputs of this problem exactly"
  end
  return inexact(p, h, w, schedule.chunk) or gather.misfit(gather.shape(p, schedule, target))
end

local function gradient_with_errors(p, schedule, target)
  local s = gradient.shape(p, schedule, target)
  s.errors = { h = errors.of_pixels(s.h), w = errors.of_pixels(s.w) }
  return s
end

local function gradient_misfit(p, schedule, target)
  if schedule.half or schedule.fuse or schedule.chunk or schedule.shares then
    return names.print(schedule)
      .. " halves weights or sums, or cuts blocks for threads, which is not for backward weights"
  end
  if schedule.h[2] or schedule.w[2] then return "winograd has tiles of one size for backward weights" end
  local s = gradient_with_errors(p, schedule, target)
  return errors.refusal(p, gradient_error(s)) or gradient.misfit(s)
end

-- Why the tiles of a transform or of its products are none that can be, or nil.
local function too_large(p, schedule, target)
  local is_gradient = p.pass == "backward_weights"
  for i, sizes in ipairs { schedule.h, schedule.w } do
    local taps = is_gradient and p.kernel[i + 1] or grid.taps(select(i, grid.axes(p)))
    local size = sizes[1] + taps - 1
    if size > most_size then return ("needs %d frequencies on an axis, at most %d"):format(size, most_size) end
    local why = errors.unmeasured(is_gradient and taps or sizes[1], is_gradient and sizes[1] or taps)
    if why then return why end
  end
  local lanes = parts.lanes_of(p, target)
  local vectors = math.min(schedule.vectors, (produced(p) + lanes - 1) // lanes)
  local sums = vectors * math.min(schedule.rows, is_gradient and reduced(p) or schedule.tiles)
  if sums + vectors > target.registers then
    return ("needs %d registers, %s has %d"):format(sums + vectors, target.name, target.registers)
  end
end

-- Why a schedule is not for this problem and its accuracy, or nil: a name may come from anywhere, so its error is
-- predicted again.
function winograd.inadmissible(p, schedule, target)
  local misfit = p.pass == "backward_weights" and gradient_misfit or gathering_misfit
  return refused(p, target) or too_large(p, schedule, target) or misfit(p, schedule, target)
end

function winograd.stages(p, schedule, target)
  local why = winograd.inadmissible(p, schedule, target)
  if why then return nil, why end
  local result, cannot = (p.pass == "backward_weights" and gradient or gather).stages(p, schedule, target)
  if not result then return nil, cannot end
  for _, kernel in ipairs(result.kernels) do
    local map, full = registers.allocate(kernel, target)
    if not map then return nil, full end
  end
  return result
end

---- for readers -------------------------------------------------------------------------------------------------------

-- Of the list of schedules.
function winograd.figures(p, schedule, target, machine)
  local m, taps, error, f = costs.machine(machine, target), p.kernel[2] * p.kernel[3], nil, nil
  if p.pass == "backward_weights" then
    local s = gradient_with_errors(p, schedule, target)
    error, f = gradient_error(s), cost.gradient_figures(s)
  else
    local h, w = axes_of(p, schedule)
    error, f = predicted_error(p, h, w, schedule.chunk), cost.gathering_figures(gather.shape(p, schedule, target), m)
  end
  return ("%.3g of %d products, %.1f + %.1f operations, error %.2f%s"):format(f.products, taps, f.into, f.out, error,
    f.binds and ", binds: " .. f.binds or "")
end

winograd.figures_mean = "winograd: multiplications of an output pixel for a pair of channels, and how many a sum has; "
  .. "operations of the transforms for a pixel, a channel that goes in + one that comes out; the most that the error "
  .. "over the plain loop's is expected to be; where the time goes"

-- Of emitted C.
function winograd.explain(p, s) return (p.pass == "backward_weights" and words.gradient or words.gathering)(p, s) end

return winograd
