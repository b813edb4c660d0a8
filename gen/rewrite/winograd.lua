-- winograd.lua: less arithmetic by Winograd's algorithm: schedules, their admission by predicted error, their estimates.
--
-- F(m,r) on each axis computes m outputs of r taps by m + r - 1 products (toomcook.lua). 2 to 7 taps on an axis, forward and
-- backward data, and backward weights of channels-last data; dilations of channels-last data but in backward weights; strides of
-- channels-last data forward. The result is not the canonical one (chains 0): how far it may be is the problem's accuracy. A NaN or an infinity in the input spreads over the tiles that its window touches.
local names = require "names"
local parts = require "parts"
local registers = require "registers"
local straight = require "straight"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local gathering = require "rewrite/winograd/gather"
local gradient = require "rewrite/winograd/gradient"
local half = require "rewrite/winograd/half"
local errors = require "rewrite/winograd/error"
local words = require "rewrite/winograd/words"

local winograd = { name = "winograd", version = 6, chains = 0 }

---- schedules: [split.p2/]winograd.4+3x4+3.t28.s1[.d2][.fetch][.stream]/product.r14.v2[.a4][.c64][.half|.fuse] -----------------------
-- Partial sums of backward weights. Tile sizes on h and w; tiles of a block; shares of the output channels; threads that blocks are cut
-- for (grid.lua); whether the next block's input is fetched during a block's products, and outputs are streamed. Of the product:
-- rows and vectors; how many rows of U are fetched ahead; channels of a partial sum; whether weights are transformed along one axis only,
-- beforehand or in the run (half.lua: rows are sums of a kernel then).

names.family("winograd", {
  { { "split", fields = { { "p", "sums" } }, when = "sums" },
    { "winograd", fields = { { sizes = { "h", "w" } }, { "t", "tiles" }, { "s", "splits" }, { "d", "shares", optional = true } },
      marks = { "fetch", "stream" } },
    { "product", fields = { { "r", "rows" }, { "v", "vectors" }, { "a", "ahead", optional = true }, { "c", "chunk", optional = true } },
      marks = { { "half", "fuse" } } } },
})

---- admission -------------------------------------------------------------------------------------------------------------------

local function reduced(p) return (p.pass == "backward_data" and p.oc or p.ic) // p.groups end
local function produced(p) return (p.pass == "backward_data" and p.ic or p.oc) // p.groups end

local lanes_of = parts.lanes_of

-- An axis in tiles of `sizes`, as the prediction of errors takes it.
local function axis_errors(axis, sizes)
  local sums = errors.axis()
  for _, plan in ipairs(grid.plans(axis, sizes)) do
    local one, count = plan.grids.axis, plan.grids.count
    for _, tile in ipairs(plan.tiles) do
      for i, phase in ipairs(plan.phases) do
        local scheme = grid.part(phase, plan.schemes[tile.class])
        errors.add_tile(sums, scheme, tile.windows[i].low, tile.windows[i].high, scheme.taps, count)
      end
    end
    for j = 0, one.outputs - 1 do
      local first = one.offset + math.min(0, one.tap_step * (one.taps - 1)) + j * one.step
      errors.add_output(sums, math.max(math.min(one.taps, one.inputs - first) - math.max(0, -first), 0), count)
    end
  end
  return sums
end

-- From the two axes, as above. chunk: the terms of a partial sum, nil: there is one sum.
local function predicted_error(p, h, w, chunk)
  local e, phases = p.epilogue or {}, math.min(p.stride[2], p.kernel[2]) * math.min(p.stride[3], p.kernel[3])
  local clamp = e.activation == "clamp" and e or nil
  -- Outputs of padding alone are small, and then the only ones that a clamp leaves; the loop makes them without any error.
  if clamp and (h.some < h.outputs or w.some < w.outputs) then return math.huge end
  local added = (p.pass == "forward" and p.bias and 1 or 0) + (e.residual and 1 or 0)
  local terms = reduced(p) * phases
  local sums = math.max(terms / (chunk or terms), 1)
  -- A product is in half of the roundings of its sum, and that in half of those of the sums that follow the first.
  local chains = (terms / sums + 1) / 2 + (sums + 1) / 2 - 1 / sums
  return errors.predict(h, w, reduced(p), chains, added, clamp)
end

local not_measured = "its error has not been measured"

-- Why the errors of tiles cannot be predicted, or nil.
local function unmeasured(h_axis, w_axis, h_sizes, w_sizes)
  if not (errors.measured(h_sizes[1], grid.taps(h_axis)) and errors.measured(w_sizes[1], grid.taps(w_axis))) then
    return not_measured
  end
end

-- Why tiles are refused for their error with sums of at most `chunk` channels, or nil. known: what was worked out of sizes before.
local function inexact(p, h_axis, w_axis, h_sizes, w_sizes, chunk, known)
  known[h_sizes] = known[h_sizes] or axis_errors(h_axis, h_sizes)
  known[w_sizes] = known[w_sizes] or axis_errors(w_axis, w_sizes)
  return errors.refusal(p, predicted_error(p, known[h_sizes], known[w_sizes], chunk))
end

-- The same of the longest sums that are admitted, and the channels of a sum where it is not of all.
local function chunk_of(p, h_axis, w_axis, h_sizes, w_sizes, known)
  local function refusal(chunk) return inexact(p, h_axis, w_axis, h_sizes, w_sizes, chunk, known) end
  local why = unmeasured(h_axis, w_axis, h_sizes, w_sizes)
  if why then return why end
  why = refusal()
  if not why then return end
  for _, chunk in ipairs { 128, 64, 32, 16 } do
    if reduced(p) > chunk and not refusal(chunk) then return nil, chunk end
  end
  return why
end

local function refused(p, target)
  local why = grid.refused(p)
  if why then return why end
  if target.bits == 0 then return "winograd needs vectors" end
  if p.accuracy == "proven" then return "proven admits no transforms" end
  if p.groups > 1 and p.ic == p.groups then return "winograd sums over the channels of a group; depthwise is for groups of one" end
end

---- the space -------------------------------------------------------------------------------------------------------------------

local most_size = 10 -- frequencies on an axis

-- For each larger size the smaller one that makes the fewest frequencies in all.
local function axis_sizes(axis)
  local list, taps = {}, grid.taps(axis)
  if taps == 1 then return { { 1 } } end
  for big = 1, math.min(most_size - taps + 1, grid.split(axis)[1].axis.outputs) do
    local best, least
    for small = big - 1, 0, -1 do
      local sizes = { big, small > 0 and small or nil }
      local a, b = grid.cover(axis, sizes)
      local sum = a and a * (big + taps - 1) + b * (small + taps - 1)
      if sum and (not least or sum < least) then best, least = sizes, sum end
    end
    if best then list[#list + 1] = best end
  end
  return list
end

-- Tiles of the product: accumulators, a row of U, the broadcast.
local function most_rows(target, v) return math.min((target.registers - v - 1) // v, v == 1 and 28 or 14) end

-- Numbers of tiles that make different blocks.
local function block_tiles(p, h, w, h_axis, w_axis, shares)
  local rows, columns, images = grid.plans(h_axis, h), grid.plans(w_axis, w), p.batch * p.input[1]
  local list, seen = {}, {}
  for _, tiles in ipairs { 14, 28, 42, 56 } do
    local key = ""
    for _, r in ipairs(rows) do
      for _, c in ipairs(columns) do
        key = grid.diagonal(#r.tiles, #c.tiles, shares, tiles) and key .. " shares"
          or ("%s %d %d %d"):format(key, grid.block(#r.tiles, #c.tiles, images * r.grids.count * c.grids.count, tiles))
      end
    end
    if not seen[key] then list[#list + 1] = tiles end
    seen[key] = true
  end
  return list
end

-- A virtual machine may tell any size of the last cache; streaming is tried where outputs leave the one before it.
local function for_large(p, l2)
  local bytes = p.batch * p.output[1] * p.output[2] * p.output[3] * p.oc * parts.size_of(p)
  if bytes <= 4 * l2 or p.layout == "nchw" then return { {} } end
  if grid.dilated(p) then return { { stream = true }, {} } end
  return { { stream = true, fetch = p.groups == 1 }, { fetch = p.groups == 1 }, {} }
end

local function candidates(p, target, machine)
  local h_axis, w_axis = grid.axes(p)
  local lanes, l2 = lanes_of(p, target), machine.l2 and machine.l2 > 0 and machine.l2 or 1 << 20
  local columns = (produced(p) + lanes - 1) // lanes
  local vectors = math.min(2, columns)
  local splits = { 1, p.threads > 1 and (columns + vectors - 1) // vectors >= p.threads and p.threads or nil }
  local shares = p.layout == "nhwc" and p.threads > 1 and p.threads <= gathering.most_shares and p.batch * p.input[1] % p.threads > 0 and p.threads or nil
  local list, known = {}, {}
  local function add(h, w)
    local function frequencies(axis, size) return size * axis.step + axis.taps - axis.step end -- of all phases
    local u = frequencies(h_axis, h[1]) * frequencies(w_axis, w[1]) * reduced(p) * produced(p) * parts.size_of(p)
    local why, chunk = chunk_of(p, h_axis, w_axis, h, w, known)
    local function schedule(tiles, split, large)
      return { h = h, w = w, tiles = tiles, rows = most_rows(target, vectors), vectors = vectors, splits = split, chunk = chunk,
        shares = split == 1 and shares or nil,
        ahead = u > 2 * l2 and 64 or 16, stream = large.stream or false, fetch = large.fetch or false }
    end
    if why then list[#list + 1] = { schedule = schedule(14, 1, {}), why = why }; return end
    -- H in place of an U that leaves the caches; of weights that change in the run, where the pack stage would take long.
    local function halves(tiles, split)
      local fixed = p.weights == "fixed"
      if h_axis.taps == 1 or grid.strided(p) or u <= (fixed and l2 or l2 // 2) then return end
      local bytes = (w[1] + w_axis.taps - 1) * h_axis.taps * vectors * target.bits // 8
      local before
      -- H of a partial sum waits in the first cache for all kernels of a column, or in the second for those of all columns.
      for _, fits in ipairs(fixed and { 64, 32 } or { bytes * 64 <= l2 // 8 and 64 or 32 }) do
        local one = schedule(tiles, split, {})
        local beside = h_axis.taps > 5 and 10 or 8 -- the sums: what makes U of a row, of many taps more
        one.rows, one.ahead, one.half, one.fuse = (target.registers - beside) // vectors, nil, fixed, not fixed
        one.chunk = reduced(p) > fits and math.min(chunk or fits, fits) or chunk
        if not before or one.chunk ~= before.chunk then
          list[#list + 1] = { schedule = one, why = inexact(p, h_axis, w_axis, h, w, one.chunk, known) }
        end
        before = one
      end
    end
    for _, split in ipairs(splits) do
      for _, tiles in ipairs(block_tiles(p, h, w, h_axis, w_axis, split == 1 and shares)) do
        for _, large in ipairs(for_large(p, l2)) do list[#list + 1] = { schedule = schedule(tiles, split, large) } end
        halves(tiles, split)
      end
    end
  end
  for _, h in ipairs(axis_sizes(h_axis)) do
    for _, w in ipairs(axis_sizes(w_axis)) do
      if grid.taps(h_axis) ~= grid.taps(w_axis) or math.abs(h[1] - w[1]) <= 2 then add(h, w) end
    end
  end
  return list
end

---- the estimate, in cycles -----------------------------------------------------------------------------------------------------

-- Operations of a matrix as straight-line code, counted once.
local counted = setmetatable({}, { __mode = "k" })
local function operations(matrix)
  counted[matrix] = counted[matrix] or straight.count(straight.of(matrix))
  return counted[matrix]
end

-- Of one tile of two schemes: operations of the input's and of the output's transform, products of all phases, frequencies.
local function tile_operations(s, class_h, class_w)
  local h, w, into, products = s.h.schemes[class_h], s.w.schemes[class_w], 0, 0
  for _, phase in ipairs(s.phases) do
    local a, b = grid.part(phase.h, h), grid.part(phase.w, w)
    into, products = into + a.size * operations(b.BT) + b.size * operations(a.BT), products + a.size * b.size
  end
  return into, h.size * operations(w.AT) + w.outputs * operations(h.AT), products, h.size * w.size
end

-- Cycles of a block's input transforms and of its output transforms. Inputs wait longer: for the caches, and sums of many terms
-- for each other.
local function transform_cycles(s, block)
  local input, output = 0, 0
  for class_h = 1, 2 do
    for class_w = 1, 2 do
      local tiles = block.classes[class_h][class_w].tiles
      if tiles > 0 then
        local into, out, products, frequencies = tile_operations(s, class_h, class_w)
        input = input + tiles * (0.7 * into + 0.5 * products)
        output = output + tiles * (0.5 * out + 0.5 * frequencies)
      end
    end
  end
  local function vectors(n) return (n + s.lanes - 1) // s.lanes end
  return vectors(s.from.channels) * input, vectors(s.to.channels) * output
end

local function product_cycles(s, block)
  if s.half then return half.cycles(s, block) end
  local cycles, chunks = 0, half.chunks(s)
  for _, fh in ipairs(grid.frequency_runs(s.h, block.h.tiles[2] > 0)) do
    for _, fw in ipairs(grid.frequency_runs(s.w, block.w.tiles[2] > 0)) do
      local _, count = grid.having(block.classes, fh.big_only, fw.big_only)
      local _, phases = s.phases_at(fh.long_only, fw.long_only)
      for _, piece in ipairs(cut.piece_runs(count, s.schedule.rows)) do
        for _, column in ipairs(s.columns) do
          local v = column.vectors
          local step = math.max(piece.size * v / 2, (piece.size + v) / 2, 4)
          local adding = chunks * ((chunks > 1 and 2 or 1) * piece.size * v + 30)
          cycles = cycles + fh.count * fw.count * piece.count * (phases * s.from.channels * step + adding)
        end
      end
    end
  end
  return cycles
end

-- Laying out pixels: 16 parts of 4 elements take about 30 cycles.
local function planes_cycles(s, block, images)
  if not s.planes then return 0 end
  local h, w = block.h, block.w
  local pixels = s.schedule.splits * s.from.channels * (h.high - h.low) * (w.high - w.low) + s.to.channels * h.outputs * w.outputs
  return images * pixels * s.size / 4 * 30 / 64
end

-- What the run of a schedule costs: transforms, products, reading the transformed weights (beside the products, and in their way),
-- making them.
local function costs_of(s, machine)
  local p, splits = s.p, s.schedule.splits
  local l2, weights = parts.l2(machine), s.fuse and 0 or gathering.panels(s).elements * s.size // p.groups
  local _, _, products, frequencies = tile_operations(s, 1, 1)
  if #s.phases > 1 then weights = weights * products // (frequencies * #s.phases) end -- those that phases have
  local far = weights + s.scratch > l2
  local c = { transforms = 0, products = 0, weights = 0, fused = 0, pack = 0, tasks = {} }
  for i, block in ipairs(s.blocks) do
    local blocks = p.groups * block.run.count * block.h.count * block.w.count
    local input, output = transform_cycles(s, block)
    local multiply = product_cycles(s, block)
    c.products = c.products + blocks * multiply
    c.tasks[i] = { count = blocks * splits, each = multiply / splits + input + output / splits }
    c.weights = c.weights + blocks * weights / 64 * (far and 4.4 or 1)
    c.transforms = c.transforms + blocks * (splits * input + output + planes_cycles(s, block, block.images))
    if s.fuse then c.fused = c.fused + blocks * half.making_cycles(s) end
  end
  if s.fuse then c.pack = c.fused
  elseif p.weights == "changing" then
    c.pack = parts.pack_cycles(p.kernel[2] * p.kernel[3] * p.ic * (p.oc // p.groups) * s.size, weights * p.groups, machine)
  end
  return c, far
end

-- What the thread with the most work has of all; tasks: {count, each: cycles}, which threads share in equal numbers.
local function largest_share(tasks, threads)
  local count, all, before, most = 0, 0, 0, {}
  for _, t in ipairs(tasks) do count, all = count + t.count, all + t.count * t.each end
  for _, t in ipairs(tasks) do
    for i = 1, threads do
      local first, stop = math.max(count * (i - 1) // threads, before), math.min(count * i // threads, before + t.count)
      most[i] = (most[i] or 0) + math.max(stop - first, 0) * t.each
    end
    before = before + t.count
  end
  return math.max(table.unpack(most)) / all
end

local function cycles_of(s, machine)
  local p = s.p
  local c, far = costs_of(s, machine)
  local cycles = 1.03 * math.max(c.products, c.weights) + (far and 0.06 * c.weights or 0) + c.transforms + c.fused
  if s.scratch > parts.l2(machine) then cycles = cycles * 1.1 end
  if s.schedule.stream then cycles = cycles * 0.99 end
  if s.schedule.fetch then cycles = cycles * 0.95 end
  return cycles * largest_share(c.tasks, p.threads) + (c.pack - c.fused) / p.threads
end

function winograd.schedules(p, target, machine, list)
  local why = refused(p, target)
  if why then list[1] = { why = why, name = "winograd" }; return end
  if p.pass == "backward_weights" then return gradient.schedules(p, target, machine, list) end
  for _, c in ipairs(candidates(p, target, machine)) do
    c.schedule.family = "winograd"
    if not c.why then
      local s = gathering.shape(p, c.schedule, target)
      c.why = gathering.misfit(s)
      c.cycles = not c.why and cycles_of(s, machine) or 0
    end
    list[#list + 1] = c
  end
end

-- What decides the bits of its results: the transform, the order of its sums. Kernels of `half` share operations among rows of
-- frequencies by what fits a block; sums of backward weights are of a block's tiles.
function winograd.arithmetic(p, s)
  local name = ("winograd %sx%s"):format(names.print_sizes(s.h), names.print_sizes(s.w))
  if p.pass == "backward_weights" then return ("%s t%d p%d"):format(name, s.tiles, s.sums or 1) end
  if s.half or s.fuse then name = ("%s half t%d r%d d%d"):format(name, s.tiles, s.rows, s.shares or 1) end
  return ("%s c%d"):format(name, s.chunk or 0)
end

-- What binds: the longest of what a run has to do.
local function binding(s, machine)
  local c = costs_of(s, machine)
  local all, most = math.max(c.products, c.weights) + c.transforms + c.pack, "products"
  for _, name in ipairs { "transforms", "weights", "pack" } do
    if c[name] > c[most] then most = name end
  end
  local names = { products = "the products", transforms = "the transforms", weights = "reading the weights", pack = "transforming the weights" }
  return ("%s, %.0f%%"):format(names[most], c[most] / all * 100)
end

-- A pixel's share of what the tiles of a problem take: products of a pair of channels, operations of the input's transform a
-- channel, of the output's.
local function counts_of(s)
  local into, out, products = 0, 0, 0
  for _, block in ipairs(s.blocks) do
    for class_h = 1, 2 do
      for class_w = 1, 2 do
        local tiles = block.classes[class_h][class_w].tiles * block.run.count * block.h.count * block.w.count / s.images
        if tiles > 0 then
          local a, b, n = tile_operations(s, class_h, class_w)
          into, out, products = into + tiles * a, out + tiles * b, products + tiles * n
        end
      end
    end
  end
  local pixels = s.to.size[2] * s.to.size[3]
  return products / pixels, into / pixels, out / pixels
end

-- For readers of the list of schedules.
function winograd.figures(p, schedule, target, machine)
  local products, into, out, error, binds
  if p.pass == "backward_weights" then
    products, into, out, error = gradient.figures(p, schedule, target, operations)
  else
    local s = gathering.shape(p, schedule, target)
    products, into, out = counts_of(s)
    local h, w = grid.axes(p)
    error, binds = predicted_error(p, axis_errors(h, schedule.h), axis_errors(w, schedule.w), schedule.chunk), binding(s, machine)
  end
  return ("%.3g of %d products, %.1f + %.1f operations, error %.2f%s"):format(products, p.kernel[2] * p.kernel[3], into, out, error,
    binds and ", binds: " .. binds or "")
end

winograd.figures_mean = "winograd: multiplications of an output pixel for a pair of channels, and how many a sum has; operations of the "
  .. "transforms for a pixel, a channel that goes in + one that comes out; the most that the error over the plain loop's is expected to be; where the time goes"

-- Why a schedule cannot be a gathering one's or the accuracy does not admit it, or nil.
local function misfit(p, schedule, target)
  if schedule.sums then return names.print(schedule) .. " has partial sums, which are for backward weights" end
  if (schedule.half or schedule.fuse) and grid.strided(p) then return names.print(schedule) .. " is for stride 1" end
  local h, w = grid.axes(p)
  local why = unmeasured(h, w, schedule.h, schedule.w)
  if why then return why end
  if not grid.cover(h, schedule.h) or not grid.cover(w, schedule.w) then
    return names.print(schedule) .. " does not cover the outputs of this problem exactly"
  end
  return inexact(p, h, w, schedule.h, schedule.w, schedule.chunk, {}) or gathering.misfit(gathering.shape(p, schedule, target))
end

-- Why the tiles of a transform or of its products are none that can be, or nil.
local function too_large(p, schedule, target)
  local weights = p.pass == "backward_weights"
  for i, sizes in ipairs { schedule.h, schedule.w } do
    local taps = weights and p.kernel[i + 1] or grid.taps(select(i, grid.axes(p)))
    if sizes[1] + taps - 1 > most_size then return ("needs %d frequencies on an axis, at most %d"):format(sizes[1] + taps - 1, most_size) end
    if not errors.measured(weights and taps or sizes[1], weights and sizes[1] or taps) then return not_measured end
  end
  local vectors = math.min(schedule.vectors, (produced(p) + lanes_of(p, target) - 1) // lanes_of(p, target))
  local sums = vectors * math.min(schedule.rows, weights and reduced(p) or schedule.tiles)
  if sums + vectors > target.registers then return ("needs %d registers, %s has %d"):format(sums + vectors, target.name, target.registers) end
end

-- For readers of emitted C.
function winograd.explain(p, s) return (p.pass == "backward_weights" and words.gradient or words.gathering)(p, s) end

-- Why a schedule is not for this problem and its accuracy, or nil: a name may come from anywhere, so its error is predicted again.
function winograd.inadmissible(p, schedule, target)
  local weights = p.pass == "backward_weights"
  if weights and (schedule.half or schedule.fuse or schedule.chunk or schedule.shares) then
    return names.print(schedule) .. " halves weights or sums, or cuts blocks for threads, which is not for backward weights"
  end
  return refused(p, target) or too_large(p, schedule, target) or (weights and gradient.inadmissible or misfit)(p, schedule, target)
end

function winograd.stages(p, schedule, target)
  local why = winograd.inadmissible(p, schedule, target)
  if why then return nil, why end
  local result, cannot = (p.pass == "backward_weights" and gradient or gathering).stages(p, schedule, target)
  if not result then return nil, cannot end
  for _, kernel in ipairs(result.kernels) do
    local map, full = registers.allocate(kernel, target)
    if not map then return nil, full end
  end
  return result
end

return winograd
