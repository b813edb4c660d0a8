-- gradient.lua: the part of the Winograd family for backward weights, and how its kernels are driven.
--
-- The gradient of r taps from m rows of diff_dst is a correlation of r outputs and m taps, F(r,m): diff_dst takes the weights'
-- part. Tiles of m x m pixels and their windows of src are transformed, block by block of tiles; for each frequency the products
-- of input and output channels are summed over the tiles of a block, from zero, and added to what earlier blocks gave; at the end
-- the sums are transformed to the gradient. A task is a slice of the output channels and goes over all tiles; where a schedule has
-- several sums, over a share of the blocks, and the second stage adds what the tasks of a slice have. That shares the transforms,
-- which slices repeat. The bits depend on the schedule, not on the threads. A task's scratch:
--     V [frequency][tile][input channel]    D [frequency][tile][output channel]    S [frequency][input channel][output channel]
-- Of several sums, S is in the shared memory, as [group][slice][sum].
local parts = require "parts"
local tile = require "tile"
local driver = require "driver"
local toomcook = require "toomcook"
local cut = require "tiles"
local transform = require "rewrite/winograd/transform"
local reduce = require "reduce"
local errors = require "rewrite/winograd/error"
local winograd_gradient = {}

winograd_gradient.most_scratch = 4 << 20

---- sizes ----------------------------------------------------------------------------------------------------------------------

local odd_lines = parts.odd_lines

-- Every candidate asks for one of a few, and they are checked exactly when they are made.
local known = {}
local function scheme_of(taps, m)
  local key = taps * 64 + m
  known[key] = known[key] or toomcook.scheme(taps, m)
  return known[key]
end

-- Tiles of one axis (2: h, 3: w) of m outputs each, the last one perhaps cut: {first, low, high: the part of its window that is in
-- the input and that its outputs use, outputs}. (What none uses must not come in: an infinity times zero is no zero.)
local function axis_plan(p, axis, m)
  local taps, base = p.kernel[axis], -p.pad[axis]
  local plan = { scheme = scheme_of(taps, m), size = taps + m - 1, outputs = m, base = base, tiles = {} }
  for first = 0, p.output[axis] - 1, m do
    local at = first + base
    local low = math.min(math.max(-at, 0), plan.size)
    local outputs = math.min(m, p.output[axis] - first)
    table.insert(plan.tiles, { first = first, low = low, high = math.max(math.min(outputs + taps - 1, p.input[axis] - at), low),
      outputs = outputs })
  end
  return plan
end

-- Equal neighbours of the tiles first+1 .. first+count: {tile, at: index in the band, count}.
local function runs_of(plan, first, count)
  local runs = {}
  for i = 1, count do
    local tile, run = plan.tiles[first + i], runs[#runs]
    if run and run.tile.low == tile.low and run.tile.high == tile.high and run.tile.outputs == tile.outputs then
      run.count = run.count + 1
    else
      runs[#runs + 1] = { tile = tile, at = i - 1, count = 1 }
    end
  end
  return runs
end

local function key_of(runs)
  local words = {}
  for i, r in ipairs(runs) do words[i] = ("%d-%d/%dx%d"):format(r.tile.low, r.tile.high, r.tile.outputs, r.count) end
  return table.concat(words, " ")
end

-- Pieces of at most `most` tiles, of each of `shares` even shares of them.
local function pieces_of(count, most, shares)
  local list = {}
  for _, share in ipairs(cut.even_pieces(count, (count + shares - 1) // shares)) do
    for _, piece in ipairs(cut.even_pieces(share.size, most)) do
      list[#list + 1] = { first = share.first + piece.first, size = piece.size }
    end
  end
  return list
end

-- Such pieces; equal ones stand together: {runs, tiles, first (output), count}.
local function bands_of(plan, most, shares)
  local bands = {}
  for _, piece in ipairs(pieces_of(#plan.tiles, most, shares)) do
    local runs, band = runs_of(plan, piece.first, piece.size), bands[#bands]
    local key = key_of(runs)
    if band and band.key == key then
      band.count = band.count + 1
    else
      bands[#bands + 1] = { key = key, runs = runs, tiles = piece.size, first = plan.tiles[piece.first + 1].first, count = 1 }
    end
  end
  return bands
end

-- Rows, columns and images of a block of about `tiles` tiles.
local function block_of(rows, columns, images, tiles)
  if tiles >= rows * columns then return rows, columns, math.min(images, tiles // (rows * columns)) end
  if tiles >= columns then return tiles // columns, columns, 1 end
  return 1, tiles, 1
end

local function whole_vectors(channels, lanes) return (channels + lanes - 1) // lanes * lanes end

-- Everything that stages and estimate derive from a problem and a schedule.
function winograd_gradient.shape(p, schedule, target)
  local size = parts.size_of(p)
  local s = { p = p, schedule = schedule, target = target, size = size, lanes = parts.lanes_of(p, target), icg = p.ic // p.groups,
    ocg = p.oc // p.groups, images = p.batch * p.input[1], h = axis_plan(p, 2, schedule.h[1]), w = axis_plan(p, 3, schedule.w[1]) }
  local rows, columns, images = block_of(#s.h.tiles, #s.w.tiles, s.images, schedule.tiles)
  s.sums = schedule.sums or 1 -- each takes as many blocks: of one image, as many rows too
  s.h_bands, s.w_bands = bands_of(s.h, rows, s.images == 1 and s.sums or 1), bands_of(s.w, columns, 1)
  s.image_runs = cut.piece_runs(s.images, images)
  local most = function(bands) local n = 0; for _, b in ipairs(bands) do n = math.max(n, b.tiles) end; return n end
  s.tiles = most(s.h_bands) * most(s.w_bands) * s.image_runs[1].size
  s.frequencies = s.h.size * s.w.size
  local vectors = (s.ocg + s.lanes - 1) // s.lanes
  s.slices = cut.columns(s.ocg, (vectors + schedule.splits - 1) // schedule.splits, s.lanes)
  s.v_row, s.d_row = whole_vectors(s.icg, s.lanes), s.slices[1].width
  s.v_apart, s.d_apart = odd_lines(s.tiles * s.v_row, size), odd_lines(s.tiles * s.d_row, size)
  s.blocks = 0
  for _, i in ipairs(s.image_runs) do
    for _, h in ipairs(s.h_bands) do
      for _, w in ipairs(s.w_bands) do s.blocks = s.blocks + i.count * h.count * w.count end
    end
  end
  s.one_block = s.blocks == 1
  s.s_row = s.one_block and math.min(schedule.vectors * s.lanes, s.d_row) or s.d_row
  s.s_apart = odd_lines(s.icg * s.s_row, size)
  s.d_at = s.frequencies * s.v_apart
  s.s_at = s.sums == 1 and s.d_at + s.frequencies * s.d_apart or 0
  s.scratch = (s.d_at + s.frequencies * s.d_apart + (s.sums == 1 and s.frequencies * s.s_apart or 0)) * size
  s.shared = s.sums > 1 and p.groups * #s.slices * s.sums * s.frequencies * s.s_apart * size or 0
  return s
end

-- Why a schedule of admitted tiles cannot be, or nil.
function winograd_gradient.misfit(p, schedule, target)
  local s = winograd_gradient.shape(p, schedule, target)
  if s.scratch + s.shared > winograd_gradient.most_scratch then
    return ("needs %.1f MB of scratch a thread, at most %d"):format((s.scratch + s.shared) / 2.0 ^ 20, winograd_gradient.most_scratch >> 20)
  end
  if s.sums < 1 or s.sums > s.blocks then return ("has %d blocks for %d sums"):format(s.blocks, s.sums) end
  if #s.slices ~= s.schedule.splits then return ("has no %d slices of its output channels"):format(s.schedule.splits) end
end

-- Calls body(images, h band, w band) for each kind of block.
local function each_kind(s, body)
  for _, images in ipairs(s.image_runs) do
    for _, h in ipairs(s.h_bands) do
      for _, w in ipairs(s.w_bands) do body(images, h, w) end
    end
  end
end

---- the space and its estimate -----------------------------------------------------------------------------------------------------

local function product_cycles(s)
  local cycles = 0
  for _, column in ipairs(cut.columns(s.slices[1].width, s.schedule.vectors, s.lanes)) do
    for _, inputs in ipairs(cut.piece_runs(s.icg, s.schedule.rows)) do
      local accumulators = inputs.size * column.vectors
      local step = math.max(accumulators / 2, (inputs.size + column.vectors) / 2, 4)
      cycles = cycles + inputs.count * (s.tiles * step + 1.5 * accumulators + 20)
    end
  end
  return cycles * s.frequencies
end

local function tiles_of(p, h, w) return -(-p.output[2] // h) * -(-p.output[3] // w) * p.batch * p.input[1] end

-- The share of all tiles that the largest share of the blocks has.
local function largest_share(s)
  if s.sums == 1 then return 1 end
  local before, all, tiles = 0, 0, {}
  each_kind(s, function(images, h, w)
    local count, each = images.count * h.count * w.count, images.size * h.tiles * w.tiles
    for part = 0, s.sums - 1 do
      local first, stop = math.max(part * s.blocks // s.sums, before), math.min((part + 1) * s.blocks // s.sums, before + count)
      tiles[part] = (tiles[part] or 0) + math.max(stop - first, 0) * each
    end
    before, all = before + count, all + count * each
  end)
  return math.max(tiles[0], table.unpack(tiles)) / all
end

-- A vector of transformed values takes about two cycles and a half.
local function cycles_of(s, machine)
  local p = s.p
  local l2 = machine.l2 and machine.l2 > 0 and machine.l2 or 1 << 20
  local tiles = tiles_of(p, s.h.outputs, s.w.outputs)
  local transforms = s.frequencies * 2.5 / s.lanes
  local slice = tiles / s.tiles * product_cycles(s) + tiles * transforms * (s.v_row + s.d_row)
  local sums = s.frequencies * s.icg * s.d_row / s.lanes * 3
  slice = slice * largest_share(s) + sums * (s.sums > 1 and 2 or 1)
  if s.scratch + s.shared / (p.groups * #s.slices * s.sums) > l2 then slice = slice * 1.15 end
  slice = slice * math.max(1, s.lanes / s.icg) -- transforms work on whole vectors of channels (measured: 3 of 8 take three times as long)
  local tasks = p.groups * #s.slices * s.sums
  return slice * ((tasks + p.threads - 1) // p.threads)
end

-- An axis (2: h, 3: w) as the prediction of errors takes it: to a tile the taps are its outputs, its pixels of diff_dst are the taps.
local function axis_errors(p, axis, plan)
  local sums = errors.axis()
  for _, t in ipairs(plan.tiles) do errors.add_tile(sums, plan.scheme, t.low, t.high, t.outputs, 1) end
  for tap = 0, p.kernel[axis] - 1 do
    local first, stop = math.max(0, p.pad[axis] - tap), math.min(p.output[axis], p.input[axis] + p.pad[axis] - tap)
    errors.add_output(sums, math.max(stop - first, 0), 1)
  end
  return sums
end

-- The mean length of a frequency's sums where they are rounded: in chains over the tiles of a block, over the blocks of a sum from
-- zero, over the sums. (The first of each is added to nothing.)
local function chains_of(s)
  local blocks = s.blocks / s.sums
  local tiles = #s.h.tiles * #s.w.tiles * s.images / s.blocks -- of a block
  return (tiles + 1) / 2 + ((blocks + 1) / 2 - 1 / blocks) + ((s.sums + 1) / 2 - 1 / s.sums)
end

local function predicted_error(p, s)
  return errors.predict(axis_errors(p, 2, s.h), axis_errors(p, 3, s.w), s.images, chains_of(s), 0)
end

local function inexact(p, schedule, target)
  if not (errors.measured(p.kernel[2], schedule.h[1]) and errors.measured(p.kernel[3], schedule.w[1])) then
    return "its error has not been measured"
  end
  return errors.refusal(p, predicted_error(p, winograd_gradient.shape(p, schedule, target)))
end

-- Why the schedule cannot be or the accuracy does not admit it, or nil.
function winograd_gradient.inadmissible(p, schedule, target)
  if schedule.h[2] or schedule.w[2] then return "winograd has tiles of one size for backward weights" end
  return inexact(p, schedule, target) or winograd_gradient.misfit(p, schedule, target)
end

local function sizes_of(taps) return taps == 1 and { 1 } or { 2, 3, 4, 5, 6, 7 } end

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

-- The first two splits whose slices fit into the memory.
local function with_splits(p, schedule, target, splits, list)
  local fitting, why = 0, nil
  for _, n in ipairs(splits) do
    schedule.splits = n
    local cannot = winograd_gradient.misfit(p, schedule, target) or schedule.sums and inexact(p, schedule, target)
    why = why or cannot
    if not cannot and fitting < 2 then
      fitting = fitting + 1
      local copy = {}
      for key, value in pairs(schedule) do copy[key] = value end
      list[#list + 1] = { schedule = copy }
    end
  end
  schedule.splits = splits[1]
  if fitting == 0 then list[#list + 1] = { schedule = schedule, why = why } end
end

local function candidates(p, target)
  local lanes = parts.lanes_of(p, target)
  local vectors, images, list = (p.oc // p.groups + lanes - 1) // lanes, p.batch * p.input[1], {}
  local v = math.min(2, vectors)
  local rows = math.min((target.registers - v - 1) // v, 14)
  local ways = { { splits = splits_of(p, vectors, p.threads) } }
  if p.threads > 1 then ways[2] = { sums = p.threads, splits = splits_of(p, vectors, 1) } end
  for _, h in ipairs(sizes_of(p.kernel[2])) do
    for _, w in ipairs(sizes_of(p.kernel[3])) do
      local all = tiles_of(p, h, w)
      local function schedule(tiles, way)
        return { family = "winograd", h = { h }, w = { w }, tiles = tiles, rows = rows, vectors = v, splits = way.splits[1], sums = way.sums }
      end
      for _, tiles in ipairs { 14, 28, 56, 112, 224 } do
        if p.kernel[2] == p.kernel[3] and math.abs(h - w) > 2 then break end -- a shape between them is as good
        local why = inexact(p, schedule(tiles, ways[1]), target)
        if why then list[#list + 1] = { schedule = schedule(tiles, ways[1]), why = why }
        else
          for _, way in ipairs(ways) do
            local same = way.sums and images == 1 and tiles // 2 * way.sums >= all -- as with half as many tiles: a block a sum
            if not same then with_splits(p, schedule(tiles, way), target, way.splits, list) end
          end
        end
        if tiles >= all then break end
      end
    end
  end
  return list
end

-- A pixel of diff_dst: products of a pair of channels, operations of src's transform a channel, of diff_dst's; the error.
function winograd_gradient.figures(p, schedule, target, operations)
  local s = winograd_gradient.shape(p, schedule, target)
  local h, w = s.h.scheme, s.w.scheme
  local share = #s.h.tiles * #s.w.tiles / (p.output[2] * p.output[3])
  return share * h.size * w.size, share * (h.size * operations(w.BT) + w.size * operations(h.BT)),
    share * (h.taps * operations(w.G) + w.size * operations(h.G)), predicted_error(p, s)
end

-- Entries as families list them.
function winograd_gradient.schedules(p, target, machine, list)
  for _, entry in ipairs(candidates(p, target)) do
    entry.cycles = not entry.why and cycles_of(winograd_gradient.shape(p, entry.schedule, target), machine) or 0
    list[#list + 1] = entry
  end
end

---- kernels ----------------------------------------------------------------------------------------------------------------------

-- The products of one frequency, acc[i][v] over the tiles of a block, added to the sums of earlier blocks if `old` is 1, not 0.
local function product_kernel(s, inputs, vectors, name)
  local lanes, more = parts.lanes_of(s.p, s.target), not s.one_block
  return tile.kernel { name = name, type = s.p.type, target = s.target,
    about = ("S[i][c] += sum over the tiles t of a block of V[t][i] * D[t][c] at one frequency: i is one of %d input channels, c a lane of "
      .. "%d vector%s of output channels. acc<i>_<v> stays in registers through the sum."):format(inputs, vectors, vectors == 1 and "" or "s"),
    arguments = { { "v", "in" }, { "d", "in" }, { "sums", more and "inout" or "out" }, { "tiles", "count" }, more and { "old", "count" } },
    sizes = { i = inputs, v = vectors }, registers = { "passing", "sums", "held" },
    sums = { pointer = "sums", register = "acc", { "i", s.s_row }, { "v", lanes } },
    held = { pointer = "d", register = "d", { "v", lanes } }, passing = { pointer = "v", register = "a", { "i", 1 } },
    body = { { zero = {} }, { loop = "tiles", steps = { { "v", s.v_row }, { "d", s.d_row } }, { load = {} }, { multiply = {} } },
      more and { loop = "old", { finish = { "added_in_memory" } } }, { finish = { "stored" } } } }
end

local function frequency(f) return f - 1 end

-- A side of transform.input: the part [low, high) of what `matrix` takes is there.
local function side(matrix, low, high) return { scheme = { BT = matrix, size = #matrix[1] }, low = low, high = high, at = frequency } end

local function src_kernel(s, c, h, w)
  return c.kernel(("src %d-%d %d-%d"):format(h.low, h.high, w.low, w.high), "src", function(name)
    return transform.input(s.p, s.target, name, { h = side(s.h.scheme.BT, h.low, h.high), w = side(s.w.scheme.BT, w.low, w.high),
      pixel = s.p.ic, row = s.p.input[3] * s.p.ic, channels = s.icg, apart = s.v_apart, columns = s.w.size })
  end)
end

local function diff_kernel(s, c, h, w, channels)
  return c.kernel(("diff %d %d %d"):format(h.outputs, w.outputs, channels), "diff", function(name)
    return transform.input(s.p, s.target, name, { h = side(s.h.scheme.G, 0, h.outputs), w = side(s.w.scheme.G, 0, w.outputs),
      pixel = s.p.oc, row = s.p.output[3] * s.p.oc, channels = channels, apart = s.d_apart, columns = s.w.size,
      m = { to = "D", left = "G", from = "e", right = "GT" } })
  end)
end

local function result_kernel(s, c, channels)
  return c.kernel("result " .. channels, "result", function(name)
    local plane = s.icg * s.p.oc
    return transform.output(s.p, s.target, name, { h = { scheme = s.h.scheme, at = frequency }, w = { scheme = s.w.scheme, at = frequency },
      pixel = plane, row = s.p.kernel[3] * plane, channels = channels, apart = s.s_apart, columns = s.w.size,
      sums = s.sums, sums_apart = s.frequencies * s.s_apart, m = { to = "Y", left = "AT", from = "S", right = "A" } })
  end)
end

local function product_of(s, c, inputs, vectors)
  return c.kernel(("product %d %d"):format(inputs, vectors), "product", function(name) return product_kernel(s, inputs, vectors, name) end)
end

-- Each kernel is made once; the first that cannot be made leaves its reason in c.why.
local function kernel_maker(c, kernels)
  local known = {}
  return function(key, what, make)
    if known[key] == nil then
      local kernel, why = make(what .. #kernels)
      if kernel then kernels[#kernels + 1] = kernel else c.why = c.why or why end
      known[key] = kernel or false
    end
    return known[key]
  end
end

---- the compute stage ----------------------------------------------------------------------------------------------------------------

local function channels_of(s, slice) return (slice.vectors - 1) * s.lanes + slice.last end

-- Calls body(h run, w run).
local function each_pair(h, w, body)
  for _, hr in ipairs(h.runs) do
    for _, wr in ipairs(w.runs) do body(hr, wr) end
  end
end

local function transform_tiles(s, c, d, block, slice, at)
  local p, h, w = s.p, s.h, s.w
  d:comment(("V and D of each tile: frequency f of tile t at scratch + f * %d + t * %d and at scratch + f * %d + t * %d + %d"):format(
    s.v_apart, s.v_row, s.d_apart, s.d_row, s.d_at))
  each_pair(block.h, block.w, function(hr, wr)
    d:loop("image", 0, block.images, 1, function(image)
      d:loop("row", 0, hr.count, 1, function(row)
        d:loop("column", 0, wr.count, 1, function(column)
          local n = d:let("n", at.image + image)
          local y = d:let("y", at.y + (row + hr.at) * h.outputs)
          local x = d:let("x", at.x + (column + wr.at) * w.outputs)
          local tile = d:let("tile", (image * block.h.tiles + row + hr.at) * block.w.tiles + column + wr.at)
          d:call(src_kernel(s, c, hr.tile, wr.tile), { { d.src, ((n * p.input[2] + y + h.base) * p.input[3] + x + w.base) * p.ic +
            at.g * s.icg }, { d.scratch, tile * s.v_row } })
          d:call(diff_kernel(s, c, hr.tile, wr.tile, channels_of(s, slice)), { { d.dst, ((n * p.output[2] + y) * p.output[3] + x) * p.oc +
            at.channel }, { d.scratch, tile * s.d_row + s.d_at } })
        end)
      end)
    end)
  end)
end

-- The products of one panel of output channels at one frequency.
local function multiply_panel(s, c, d, sums, f, counts, vectors, column)
  local to = s.one_block and 0 or column
  for _, inputs in ipairs(cut.piece_runs(s.icg, s.schedule.rows)) do
    d:loop("i", inputs.first, inputs.first + inputs.size * inputs.count, inputs.size, function(i)
      d:call(product_of(s, c, inputs.size, vectors), { { d.scratch, f * s.v_apart + i },
        { d.scratch, f * s.d_apart + column + s.d_at }, { d[sums.base], f * s.s_apart + i * s.s_row + to + sums.at }, table.unpack(counts) })
    end)
  end
end

-- Calls body(vectors, last lanes, first channel) in loops over the panels of a slice.
local function each_panel(s, d, slice, body)
  local panels = cut.columns(channels_of(s, slice), s.schedule.vectors, s.lanes)
  for _, run in ipairs(cut.column_runs(panels)) do
    d:loop("panel", run.index, run.index + run.count, 1, function(panel)
      body(run.tile, d:let("column", panel * (s.schedule.vectors * s.lanes)))
    end)
  end
end

local function multiply(s, c, d, sums, counts, slice)
  d:comment(("S: frequency f of input channel i at f * %d + i * %d behind the first of this task's sums"):format(s.s_apart, s.s_row))
  d:loop("f", 0, s.frequencies, 1, function(f)
    each_panel(s, d, slice, function(panel, column) multiply_panel(s, c, d, sums, f, counts, panel.vectors, column) end)
  end)
end

local function transform_sums(s, c, d, sums, channels, channel)
  d:comment "Y: the gradient of each input channel"
  d:loop("i", 0, s.icg, 1, function(i)
    d:call(result_kernel(s, c, channels), { { d[sums.base], i * s.s_row + sums.at }, { d.weights, i * s.p.oc + channel } })
  end)
end

-- The products of a share of the blocks (numbered from first to stop) into the sums of the whole slice; the first block's begin them.
local function add_blocks(s, c, d, sums, slice, g, channel, first, stop)
  local before = 0
  each_kind(s, function(images, h, w)
    local count = images.count * h.count * w.count
    d:loop("block", driver.max(first - before, 0), driver.min(stop - before, count), 1, function(number)
      local group = d:let("group", driver.quotient(number, h.count * w.count))
      local band_h = d:let("band_h", driver.rest(driver.quotient(number, w.count), h.count))
      local band_w = d:let("band_w", driver.rest(number, w.count))
      local block = { h = h, w = w, images = images.size }
      transform_tiles(s, c, d, block, slice, { g = g, channel = channel, image = group * images.size + images.first,
        y = band_h * (h.tiles * s.h.outputs) + h.first, x = band_w * (w.tiles * s.w.outputs) + w.first })
      multiply(s, c, d, sums, { driver.expr(images.size * h.tiles * w.tiles), d:let("old", driver.min(number + before - first, 1)) }, slice)
    end)
    before = before + count
  end)
end

local function one_block(s, c, d, sums, slice, g, channel)
  local zero = driver.expr(0)
  transform_tiles(s, c, d, { h = s.h_bands[1], w = s.w_bands[1], images = s.images }, slice,
    { g = g, channel = channel, image = zero, y = zero, x = zero })
  each_panel(s, d, slice, function(panel, column)
    d:loop("f", 0, s.frequencies, 1, function(f) multiply_panel(s, c, d, sums, f, { driver.expr(s.tiles) }, panel.vectors, column) end)
    transform_sums(s, c, d, sums, channels_of(s, panel), channel + column)
  end)
end

-- Where the first sums of a slice are.
local function sums_of(s, d, g, slice)
  if s.sums == 1 then return { base = "scratch", at = s.s_at } end
  return { base = "shared", at = d:let("sums", (g * #s.slices + slice) * (s.sums * s.frequencies * s.s_apart)) }
end

local function channel_of(s, d, g, slice) return d:let("channel", g * s.ocg + slice * s.slices[1].width) end

-- Tasks of one run of equal slices.
local function slice_part(s, c, run)
  return { indices = { { "g", s.p.groups }, { "slice", run.count }, { "part", s.sums } }, body = function(d, g, index, part)
    local slice = index + run.index
    local channel, sums = channel_of(s, d, g, slice), sums_of(s, d, g, slice)
    if s.one_block then return one_block(s, c, d, sums, run.tile, g, channel) end
    sums.at = sums.at + part * (s.frequencies * s.s_apart)
    add_blocks(s, c, d, sums, run.tile, g, channel, driver.quotient(part * s.blocks, s.sums), driver.quotient((part + 1) * s.blocks, s.sums))
    if s.sums == 1 then transform_sums(s, c, d, sums, channels_of(s, run.tile), channel) end
  end }
end

-- Tasks of the second stage: the sums of a slice, an input channel at a time.
local function reduce_part(s, c, run)
  return { indices = { { "g", s.p.groups }, { "slice", run.count }, { "i", s.icg } }, body = function(d, g, index, i)
    local slice, channels = index + run.index, channels_of(s, run.tile)
    local sums = sums_of(s, d, g, slice)
    d:call(result_kernel(s, c, channels), { { d.shared, i * s.s_row + sums.at }, { d.weights, i * s.p.oc + channel_of(s, d, g, slice) } })
  end }
end

-- The drivers' texts are made later; their kernels have to be there before.
local function make_kernels(s, c, slice)
  each_kind(s, function(_, h, w)
    each_pair(h, w, function(hr, wr)
      src_kernel(s, c, hr.tile, wr.tile)
      diff_kernel(s, c, hr.tile, wr.tile, channels_of(s, slice))
    end)
  end)
  for _, run in ipairs(cut.column_runs(cut.columns(channels_of(s, slice), s.schedule.vectors, s.lanes))) do
    for _, inputs in ipairs(cut.piece_runs(s.icg, s.schedule.rows)) do product_of(s, c, inputs.size, run.tile.vectors) end
    if s.one_block then result_kernel(s, c, channels_of(s, run.tile)) end
  end
  if s.one_block then return end
  result_kernel(s, c, channels_of(s, slice))
end

function winograd_gradient.stages(p, schedule, target)
  local s = winograd_gradient.shape(p, schedule, target)
  local kernels, c, list, last = {}, {}, {}, {}
  c.kernel = kernel_maker(c, kernels)
  for _, run in ipairs(cut.column_runs(s.slices)) do
    list[#list + 1] = slice_part(s, c, run)
    if s.sums > 1 then last[#last + 1] = reduce_part(s, c, run) end
    make_kernels(s, c, run.tile)
  end
  if c.why then return nil, c.why end
  local stages = { driver.stage { name = "compute", scratch = s.scratch, parts = list } }
  if s.sums > 1 then stages[2] = driver.stage { name = "reduce", parts = last } end
  if p.bias then stages[#stages + 1] = reduce.bias_stage(p, target, kernels) end
  return { kernels = kernels, stages = stages, packed = 0, shared = s.shared, tile = { 1, p.kernel[2], p.kernel[3] } }
end

return winograd_gradient
