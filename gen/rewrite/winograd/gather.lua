-- gather.lua: Winograd's algorithm of forward and backward data: what a run needs, and how its kernels are driven.
--
-- A task takes a block of tiles: it transforms all of their input channels into V, then, column tile by column tile of
-- output channels, multiplies each frequency's V by the transformed weights U over the whole reduction, and transforms
-- the products to outputs while they are in the caches. V and the products M are the thread's scratch:
--     V [frequency][tile][input channel]   M [frequency][tile][channels of a column tile]
--     U [column tile][frequency][input channel][channels of a column tile]
-- In place of U there may be half of the transform, beforehand or of each column tile in the task (half.lua). Of
-- channels-first data a task lays its window out as pixels before, and its outputs as planes at the end (planes.lua).
-- Pixels of a dilated problem's window stand a dilation apart; else its grids (grid.lua) are images like others. The
-- windows of a stride's phases have pixels a stride apart, and stand one after the other in V as more channels;
-- likewise their taps in U. Rows of V and frequencies are an odd number of cache lines apart, so that they do not meet
-- in the caches' sets.
local parts = require "parts"
local driver = require "driver"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local transform = require "rewrite/winograd/transform"
local planes = require "rewrite/winograd/planes"
local half = require "rewrite/winograd/half"
local relayout = require "relayout"
local view = require "view"
local gather = {}

gather.most_scratch = 4 << 20
gather.most_shares = 8 -- threads that blocks are cut for, each with parts of its own in the text

local odd_lines, round_up = parts.odd_lines, parts.round_up

local function up(a, b) return (a + b - 1) // b end

---- sizes -------------------------------------------------------------------------------------------------------------

-- Elements between the frequencies of the U of a column tile, or between the columns of frequencies of its H. In the
-- scratch of a task there is only so much of H as the channels of a partial sum take.
local function apart(s, tile)
  local channels = s.fuse and cut.even_size(s.from.channels, s.schedule.chunk or s.from.channels) or s.terms
  return odd_lines(channels * (s.half and s.h.taps or 1) * tile.width, s.size)
end

-- Elements of the U or H of a column tile, of those of a group; bytes of all.
local function panel_elements(s, tile) return (s.half and s.w.size or s.frequencies) * apart(s, tile) end

local function group_elements(s)
  local sum = 0
  for _, run in ipairs(s.columns) do sum = sum + run.count * panel_elements(s, run.tile) end
  return sum
end

function gather.packed_bytes(s) return s.fuse and 0 or s.p.groups * group_elements(s) * s.size end

local function panel_at(s, g, index) return g * group_elements(s) + index * panel_elements(s, s.columns[1].tile) end

local function transposed_bytes(s, tile) return s.h.taps * s.w.taps * s.from.channels * tile.width * s.size end

-- Whether a kernel reads weights as they are: channels of Y side by side.
local function as_they_are(s) return s.p.pass == "forward" and not s.planes end

-- What all schedules of a problem share.
function gather.frame(p, target)
  local from, to = view.gathered(p)
  return { p = p, target = target, size = parts.size_of(p), lanes = parts.lanes_of(p, target),
    images = p.batch * p.input[1], planes = p.layout == "nchw", from = from, to = to,
    later = p.layout == "nchw" and p.epilogue.residual }
end

-- What all schedules of tiles share; h_plans, w_plans: those of the two axes.
function gather.tiled(frame, h_plans, w_plans)
  local s = setmetatable({ h_plans = h_plans, w_plans = w_plans, h = h_plans[1], w = w_plans[1] }, { __index = frame })
  s.frequencies = s.h.size * s.w.size
  s.phases, s.phases_at = grid.phase_pairs(s.h, s.w)
  s.terms = #s.phases * s.from.channels
  s.v_row = odd_lines(s.terms - s.from.channels + round_up(s.from.channels, s.lanes), s.size)
  return s
end

-- The H of one column tile, and its weights transposed, behind what else is in the scratch.
local function fused_buffers(s)
  local tile = s.columns[1].tile
  s.panel_at = round_up(s.scratch // s.size, 64 // s.size)
  s.transposed_at = s.panel_at + panel_elements(s, tile)
  s.scratch = s.transposed_at * s.size + (as_they_are(s) and 0 or transposed_bytes(s, tile))
end

-- What a schedule of tiles needs; figures: of its blocks.
function gather.scheduled(tiled, schedule, figures)
  local s = setmetatable({ schedule = schedule, figures = figures }, { __index = tiled })
  s.columns = cut.runs_of_columns(s.to.channels, schedule.vectors, s.lanes)
  s.width = s.columns[1].tile.width
  s.v_apart, s.m_apart = odd_lines(figures.most * s.v_row, s.size), odd_lines(figures.most * s.width, s.size)
  s.m_at = s.frequencies * s.v_apart
  s.scratch = (s.m_at + s.frequencies * s.m_apart) * s.size
  s.fuse, s.half = schedule.fuse, schedule.half or schedule.fuse
  if s.planes then planes.buffers(s) end
  if s.fuse then fused_buffers(s) end
  return s
end

-- Why a schedule cannot be, or nil; s is its shape.
function gather.misfit(s)
  local one, shares = s.schedule, s.schedule.shares
  if s.scratch > gather.most_scratch then return parts.too_much_scratch(s.scratch, gather.most_scratch) end
  if shares and (shares < 2 or shares > gather.most_shares) then
    return ("cuts its blocks for %d threads, which may be from 2 to %d"):format(shares, gather.most_shares)
  end
  if one.ahead and s.half then return "winograd fetches no rows of half-transformed weights ahead" end
  if one.chunk and one.chunk >= s.from.channels then
    return "winograd has no such partial sums: a chunk is the whole reduction"
  end
  if one.fetch and s.half then return "winograd fetches no input beside the products of half-transformed weights" end
  if s.half and s.h.taps == 1 then return "winograd needs taps along h to transform half of the weights" end
  if one.fetch and grid.dilated(s.p) then return "winograd does not fetch the windows of a dilation" end
  if s.planes and shares then return "winograd cuts no blocks of channels-first data for threads" end
  if s.planes and (one.fetch or one.stream) then return "winograd neither fetches nor streams channels-first data" end
  if not as_they_are(s) and transposed_bytes(s, s.columns[1].tile) > gather.most_scratch then
    return "needs too much scratch to transpose its weights"
  end
  if one.splits > s.columns.all then return ("has %d column tiles, fewer than its shares"):format(s.columns.all) end
end

---- transformed weights -----------------------------------------------------------------------------------------------

-- Where a tap (row y, column x) of weights as a kernel reads them is, and elements between rows of the reduction.
local function tap_places(s, tile)
  local p, taps_w, last = s.p, s.w.taps, s.h.taps * s.w.taps - 1
  local apart_ = s.planes and tile.width or p.pass == "forward" and s.from.channels * p.oc
    or s.from.channels * tile.width
  local row = s.planes and (last + 1) * tile.width or p.pass == "forward" and p.oc or tile.width
  return function(y, x) return (p.pass == "forward" and y * taps_w + x or last - y * taps_w - x) * apart_ end, row
end

local function pack_kernel(s, tile, phase)
  local h, w = grid.part(phase.h, s.h.schemes[1]), grid.part(phase.w, s.w.schemes[1])
  local tap, row = tap_places(s, tile)
  local key = ("pack %d %d %dx%d"):format(tile.vectors, tile.last, h.taps, w.taps)
  return s.build:kernel(key, "pack", function(called)
    return transform.weights(called, { h = s.half and half.rows(h) or h, w = w, columns = s.w.size, row = row,
      half = s.half, tap = function(y, x) return tap(y * s.h.stride, x * s.w.stride) end, apart = apart(s, tile),
      tile = as_they_are(s) and tile or { vectors = tile.vectors, last = s.lanes, width = tile.width } })
  end)
end

-- How the weights of equal column tiles are laid out in the scratch where a kernel does not read them as they are
-- (relayout.packing); nil: it does.
local function transposing(s, tile)
  if as_they_are(s) then return end
  local how = relayout.packing(s.p, { channels = tile.channels, width = tile.width, loose = true, together = true,
    turned = function(o) return relayout.turned_panel(tile, s.p, o) end })
  local key = s.planes and "unfold " .. tile.channels or ("transpose %d %d"):format(tile.vectors, tile.last)
  how.kernel, how.name = s.build:kernel(key, key:match "%a+", how.make), s.planes and "line" or "tap"
  return how
end

-- That, and the kernels that transform them. (Kernels are numbered as they are made.)
local function weights_kernels(s, tile)
  local first = s.planes and transposing(s, tile)
  for _, phase in ipairs(s.phases) do pack_kernel(s, tile, phase) end
  return first or transposing(s, tile)
end

-- Lays the weights of a column tile out in the scratch from `at` on.
local function transpose(s, t, at)
  local how = t.turned
  if not how then return end
  t.d:loop(how.name, 0, how.count, 1, function(n)
    t.d:call(how.kernel, { { t.d.weights, how.from(t.g, t.index * s.width, n) }, { t.d.scratch, n * how.to + at } })
  end)
end

-- Where weights are read as they are, of a channel of the reduction.
local function weights_at(s, t, channel) return t.g * (s.p.oc // s.p.groups) + t.index * s.width + channel * s.p.oc end

-- U or H of so many channels from one on, of weights that stand as they are or are transposed in the scratch from `at`
-- on.
local function make_weights(s, t, at, to, channel, channels)
  local tap, row = tap_places(s, t.tile)
  for i, phase in ipairs(s.phases) do -- strides are of weights that are read as they are
    local from = { t.d.scratch, channel * row + at }
    if as_they_are(s) then from = { t.d.weights, weights_at(s, t, channel) + tap(phase.h.first, phase.w.first) } end
    t.d:call(pack_kernel(s, t.tile, phase), { from, { to[1], to[2] + (i - 1) * (s.from.channels * t.tile.width) },
      channels })
  end
end

-- Tasks of the pack stage: (group, column tile), for each run of equal column tiles.
local function pack_stage(s)
  local list = {}
  for i, run in ipairs(s.columns) do
    list[i] = { what = ("%s of a tile of output channels"):format(s.half and "H" or "U"),
      indices = { { "g", s.p.groups }, { "tile", run.count } }, body = function(d, g, index)
        local t = { d = d, g = g, tile = run.tile, index = index + run.index, turned = weights_kernels(s, run.tile) }
        transpose(s, t, 0)
        make_weights(s, t, 0, { d.packed, panel_at(s, g, t.index) }, driver.expr(0), s.from.channels)
      end }
  end
  return driver.stage { name = "pack", pack = true, parts = list,
    scratch = as_they_are(s) and 0 or transposed_bytes(s, s.columns[1].tile) }
end

---- kernels of the compute stage --------------------------------------------------------------------------------------

-- A side of transform.input: a phase's window of a tile.
local function input_side(plan, tile, phase)
  local scheme, window = grid.part(phase, plan.schemes[tile.class]), tile.windows[phase.first + 1]
  return { scheme = scheme, low = window.low, high = window.high },
    ("%d/%d:%d-%d"):format(tile.class, scheme.size, window.low, window.high)
end

local function input_kernel(s, h_tile, w_tile, phase)
  local h, h_key = input_side(s.h, h_tile, phase.h)
  local w, w_key = input_side(s.w, w_tile, phase.w)
  local words = #s.phases > 1 and (" of one phase, %d rows and %d columns apart"):format(s.h.stride, s.w.stride)
  return s.build:kernel(("input %s %s"):format(h_key, w_key), "input", function(called)
    return transform.input(called, { h = h, w = w, phase = words, channels = s.from.channels, apart = s.v_apart,
      columns = s.w.size, pixel = s.from.w * (s.w.grids.step * s.w.stride),
      row = s.from.h * (s.h.grids.step * s.h.stride) })
  end)
end

local function output_kernel(s, h_class, w_class, tile)
  local key = ("output %d %d %d %d"):format(h_class, w_class, tile.vectors, tile.last)
  return s.build:kernel(key, "output", function(called)
    local p = s.later and planes.unfinished(s.p) or s.p
    return transform.output(p, called, { h = s.h.schemes[h_class], w = s.w.schemes[w_class],
      pixel = s.to.w * s.w.grids.step, row = s.to.h * s.h.grids.step, channels = tile.channels, apart = s.m_apart,
      columns = s.w.size, stream = s.schedule.stream })
  end)
end

-- sum: {channels, adds}, of a partial sum.
local function product_kernel(s, tiles, tile, sum)
  local v, adds, ahead = tile.vectors, sum.adds, s.schedule.ahead
  local key = ("product %d %d, %d %s"):format(tiles, v, sum.channels, adds)
  return s.build:kernel(key, "product", function(called)
    local fetch = {}
    for n = 0, ahead and v - 1 or -1 do fetch[n + 1] = { "u", ahead * tile.width + n * s.lanes, 1 } end
    return transform.product(called, { rows = { "t", tiles, s.v_row, tile.width }, vectors = v,
      about = ("M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of %d input channels, t one of %d "
        .. "tiles, c a lane of %d vector%s of output channels. acc<t>_<v> stays in registers through the sum%s.")
        :format(sum.channels, tiles, v, v == 1 and "" or "s", adds and ", and is added to what is in M" or ""),
      arguments = { { "v", "in" }, { "u", "in" }, { "m", adds and "inout" or "out" } },
      body = { { zero = {} }, { loop = sum.channels, steps = { { "v", 1 }, { "u", tile.width } },
        { load = {} }, { fetch = fetch }, { multiply = {} } },
        { finish = adds and { "added_in_memory", "stored" } or { "stored" } } } })
  end)
end

-- The columns of a block's frequencies: {fw: run, kernels, before: products before them}, all: products of a column
-- tile; fetch: taps of the weights that each of these fetches a row of with each channel, where they are transformed in
-- the run.
local function half_columns(s, block)
  local list = { all = 0 }
  half.each_column(s, block, function(fw, kernels)
    list[#list + 1] = { fw = fw, kernels = kernels, before = list.all }
    list.all = list.all + fw.count * #kernels
  end)
  list.fetch = s.fuse and as_they_are(s) and up(s.h.taps * s.w.taps, list.all) or nil
  return list
end

-- The number `index` of a column's kernels. They share in fetching the H of the next partial sum.
local function half_kernel(s, columns, column, index, tile, sum)
  local one, count, lines = column.kernels[index], #column.kernels, s.h.taps * tile.width * s.size // 64
  local first, stop = lines * (index - 1) // count, lines * index // count
  if s.fuse then first, stop = 0, 0 end
  local key = ("half %s of %d, %d %s %d-%d"):format(one.key, tile.vectors, sum.channels, sum.adds, first, stop)
  return s.build:kernel(key .. " " .. (columns.fetch or 0), "product", function(called)
    return half.product(called, { units = one.units, sums = one.sums, size = s.size, rows = s.h.size,
      tiles = s.figures.most, vectors = tile.vectors, taps = s.h.taps, channels = sum.channels, adds = sum.adds,
      width = tile.width, row = s.v_row, apart = s.w.size * s.v_apart, sums_apart = s.w.size * s.m_apart,
      ahead = stop - first, ahead_first = first, fetch = columns.fetch, fetch_apart = s.from.channels * s.p.oc,
      fetch_row = s.p.oc })
  end)
end

-- Partial sums of at most so many of the terms, as loops {first, stop, channels of a sum, adds}: the first is stored to
-- M, the others are added.
local function sums_of(terms, most)
  local list = {}
  local function add(first, stop, channels, adds)
    if first < stop then list[#list + 1] = { first = first, stop = stop, channels = channels, adds = adds } end
  end
  for i, run in ipairs(cut.piece_runs(terms, most)) do
    local rest = i == 1 and run.size or run.first
    if i == 1 then add(0, rest, run.size, false) end
    add(rest, run.first + run.size * run.count, run.size, true)
  end
  return list
end

local function each_sum(d, sums, body)
  for _, sum in ipairs(sums) do
    d:loop("channel", sum.first, sum.stop, sum.channels, function(channel) body(channel, sum) end)
  end
end

-- Calls body(run of rows of frequencies, list) for rows alike; the list has, for each run of columns that the same
-- tiles of a block and the same phases have, {fw, pieces: of tiles, before: terms before its first, sums: of its
-- terms}.
local function each_row(s, block, body)
  for _, fh in ipairs(grid.frequency_runs(s.h, block.h.tiles[2] > 0)) do
    local list = {}
    for _, fw in ipairs(grid.frequency_runs(s.w, block.w.tiles[2] > 0)) do
      local first, count = blocks.having(block.classes, fh.big_only, fw.big_only)
      local before, phases = s.phases_at(fh.long_only, fw.long_only)
      local terms, pieces = phases * s.from.channels, cut.piece_runs(count, s.schedule.rows)
      for _, piece in ipairs(pieces) do piece.first = piece.first + first end
      if count > 0 then
        list[#list + 1] = { fw = fw, pieces = pieces, before = before * s.from.channels,
          sums = sums_of(terms, s.schedule.chunk or terms) }
      end
    end
    body(fh, list)
  end
end

-- Calls make(column tile, sum) for all kinds of both.
local function each_kind(s, sums, make)
  for _, run in ipairs(s.columns) do
    for _, sum in ipairs(sums) do make(run.tile, sum) end
  end
end

local function make_products(s, block, columns)
  for _, column in ipairs(columns or {}) do
    for i in ipairs(column.kernels) do
      each_kind(s, s.sums, function(tile, sum) half_kernel(s, columns, column, i, tile, sum) end)
    end
  end
  if columns then return end
  each_row(s, block, function(_, list)
    for _, part in ipairs(list) do
      for _, piece in ipairs(part.pieces) do
        each_kind(s, part.sums, function(tile, sum) product_kernel(s, piece.size, tile, sum) end)
      end
    end
  end)
end

-- The drivers' texts are made later; their kernels have to be there before.
local function make_kernels(s, block, columns)
  blocks.each_run(block, function(hr, wr)
    for _, phase in ipairs(s.phases) do input_kernel(s, hr.tile, wr.tile, phase) end
    for _, run in ipairs(s.columns) do output_kernel(s, hr.tile.class, wr.tile.class, run.tile) end
  end)
  if s.planes then planes.make_kernels(s, block) end
  make_products(s, block, columns)
end

---- the compute stage: t is what a task is about {d, block, columns, g, image, y, x; then index, tile, turned, channel}

-- The offset of a pixel of a tensor: image, row, column.
local function pixel(one, image, y, x) return ((image * one.size[2] + y) * one.size[3] + x) * one.w end

-- Likewise of row y and column x of a grid, numbered over all images; bases: what is before in the tensor.
local function grid_pixel(one, block, number, y, x, bases)
  local h, w = block.h.grids, block.w.grids
  local function place(grids, n, i, base)
    return i * grids.step + base + grids.first + (grids.count > 1 and driver.rest(n, grids.count) or 0)
  end
  return pixel(one, driver.quotient(number, h.count * w.count), place(h, driver.quotient(number, w.count), y, bases.h),
    place(w, number, x, bases.w))
end

-- Row and column of the first output of a tile in its block.
local function place_of(s, hr, wr, row, column)
  return row * s.h.schemes[hr.tile.class].outputs + hr.from, column * s.w.schemes[wr.tile.class].outputs + wr.from
end

local function transform_inputs(s, t)
  local d = t.d
  if s.planes then planes.read(s, t) end
  d:comment(("V of each tile: frequency f of tile t at scratch + f * %d + t * %d"):format(s.v_apart, s.v_row))
  blocks.each_tile(d, t.block, function(hr, wr, row, column, image, tile)
    local y, x = place_of(s, hr, wr, row, column)
    for i, phase in ipairs(s.phases) do
      local bases = { h = s.h.base + phase.h.first, w = s.w.base + phase.w.first }
      local window = s.planes and { d.scratch, planes.window(s, t.block, image, y, x) }
        or { d[s.from.base], grid_pixel(s.from, t.block, t.image + image, (t.y + y) * s.h.stride,
          (t.x + x) * s.w.stride, bases) + t.g * s.from.channels }
      local v = tile * s.v_row + (i - 1) * s.from.channels
      d:call(input_kernel(s, hr.tile, wr.tile, phase), { window, { d.scratch, v } })
    end
  end)
end

-- With each frequency a share of the next block's input is fetched: rows of the window, line by line. Beyond the last
-- block that is of no use, and does no harm.
local function fetches(s, block)
  if not s.schedule.fetch or #block.rectangles > 1 then return nil end
  local rows, pixels = (block.h.outputs - 1) * s.h.stride + s.h.taps, (block.w.outputs - 1) * s.w.stride + s.w.taps
  local line = 64 // s.size
  local lines = up(pixels * s.from.w, line)
  local share = up(rows * lines * block.images, s.frequencies * s.columns.all)
  local kernel = s.build:kernel("fetch " .. share, "fetch", function(called) return transform.fetch(called, share) end)
  return function(t, f)
    local at = (t.index * s.frequencies + f) * share
    local row = driver.quotient(at, lines) * s.from.h
    t.d:call(kernel, { { t.d[s.from.base], t.following + row + driver.rest(at, lines) * line } })
  end
end

-- Where the block after this one, of the same part, begins.
local function following(s, t, band_h, band_w, image)
  local d, h, w, images = t.d, t.block.h, t.block.w, t.block.run
  local number = d:let("number", (image * h.count + band_h) * w.count + band_w + 1)
  local row = driver.rest(driver.quotient(number, w.count), h.count)
  return d:let("following", pixel(s.from, driver.quotient(number, w.count * h.count) * images.size + images.first,
    (row * h.outputs + h.first) * s.h.stride + s.h.base,
    (driver.rest(number, w.count) * w.outputs + w.first) * s.w.stride + s.w.base))
end

-- Row of frequencies by row, in the order that U is packed in: it is one stream, whatever tiles a frequency has.
local function multiply(s, t)
  local d, tile, u_apart = t.d, t.tile, apart(s, t.tile)
  local function products(f, part)
    if t.fetch then t.fetch(t, f) end
    for _, run in ipairs(part.pieces) do
      d:loop("t", run.first, run.first + run.size * run.count, run.size, function(n)
        each_sum(d, part.sums, function(channel, sum)
          local term = channel + part.before
          d:call(product_kernel(s, run.size, tile, sum), { { d.scratch, f * s.v_apart + n * s.v_row + term },
            { d.packed, t.panel + f * u_apart + term * tile.width },
            { d.scratch, f * s.m_apart + n * tile.width + s.m_at } })
        end)
      end)
    end
  end
  each_row(s, t.block, function(fh, list)
    d:loop("fh", fh.first, fh.first + fh.count, 1, function(h)
      for _, part in ipairs(list) do
        d:loop("fw", part.fw.first, part.fw.first + part.fw.count, 1, function(w)
          products(d:let("f", h * s.w.size + w), part)
        end)
      end
    end)
  end)
end

-- The products of a column of frequencies w with half-transformed weights, of one partial sum; from: {base, offset of
-- column 0}; ahead: where weights that are transformed next begin, where products fetch them.
local function half_products(s, t, column, w, sum, at)
  local d, count = t.d, #column.kernels
  for i = 1, count do
    local fetch, taps, ahead = t.columns.fetch, s.h.taps * s.w.taps, nil
    if fetch then
      ahead = at.ahead + driver.min(((w - column.fw.first) * count + (column.before + i - 1)) * fetch, taps - fetch)
        * (s.from.channels * s.p.oc)
    end
    d:call(half_kernel(s, t.columns, column, i, t.tile, sum), { v = { d.scratch, w * s.v_apart + at.channel },
      h = at.h(w), m = { d.scratch, w * s.m_apart + s.m_at }, next = ahead and { d.weights, ahead } })
  end
end

local function each_column(t, body)
  for _, column in ipairs(t.columns) do
    local fw = column.fw
    t.d:loop("fw", fw.first, fw.first + fw.count, 1, function(w) body(column, w) end)
  end
end

-- Of half-transformed weights, which are read once: column of frequencies by column, each partial sum by partial sum.
local function multiply_half(s, t)
  each_column(t, function(column, w)
    each_sum(t.d, s.sums, function(channel, sum)
      half_products(s, t, column, w, sum, { channel = channel, h = function()
        return { t.d.packed, t.panel + w * apart(s, t.tile) + channel * (s.h.taps * t.tile.width) }
      end })
    end)
  end)
end

-- Of those that are made in the run: partial sum by partial sum, each of all columns.
local function multiply_fused(s, t)
  local d = t.d
  transpose(s, t, s.transposed_at)
  each_sum(d, s.sums, function(channel, sum)
    d:comment(("H of %d channels, and its part of M"):format(sum.channels))
    make_weights(s, t, s.transposed_at, { d.scratch, s.panel_at }, channel, sum.channels)
    local at, stop = { channel = channel }, channel + sum.channels
    function at.h(w) return { d.scratch, w * apart(s, t.tile) + s.panel_at } end
    if t.columns.fetch then
      local next_tile = { g = t.g, index = t.index + driver.quotient(stop, s.from.channels) }
      at.ahead = d:let("ahead", weights_at(s, next_tile, driver.rest(stop, s.from.channels)))
    end
    each_column(t, function(column, w) half_products(s, t, column, w, sum, at) end)
  end)
end

local function transform_outputs(s, t)
  local d = t.d
  d:comment "Y of each tile"
  blocks.each_tile(d, t.block, function(hr, wr, row, column, image, number)
    local y, x = place_of(s, hr, wr, row, column)
    local out = d:let("out", s.planes and planes.outputs(s, image, y, x)
      or grid_pixel(s.to, t.block, t.image + image, t.y + y, t.x + x, { h = 0, w = 0 }) + t.channel)
    d:call(output_kernel(s, hr.tile.class, wr.tile.class, t.tile), { bias = { d.bias, t.channel },
      slope = { d.slope, t.channel }, m = { d.scratch, number * t.tile.width + s.m_at }, residual = { d.residual, out },
      out = { s.planes and d.scratch or d[s.to.base], out } })
  end)
  if s.planes then planes.write(s, t) end
end

-- The products and outputs of a column tile.
local function column_tile(s, t)
  if not s.fuse then t.panel = t.d:let("panel", panel_at(s, t.g, t.index)) end
  t.d:comment(("M of %d output channels: frequency f of tile t at scratch + f * %d + t * %d + %d"):format(t.tile.width,
    s.m_apart, t.tile.width, s.m_at))
  local how = s.fuse and multiply_fused or s.half and multiply_half or multiply
  how(s, t)
  t.channel = t.d:let("channel", t.g * s.to.channels + t.index * s.width)
  transform_outputs(s, t)
end

-- Tasks over group, images, bands and shares of the column tiles, for equal bands of both axes.
local function compute_part(s, block)
  local images, h, w, splits = block.run, block.h, block.w, s.schedule.splits
  local function body(d, g, image, band_h, band_w, split)
    local t, turned, share = { d = d, block = block, g = g }, {}, up(s.columns.all, splits)
    t.columns = s.half and half_columns(s, block)
    make_kernels(s, block, t.columns)
    for i, run in ipairs(s.fuse and s.columns or {}) do turned[i] = weights_kernels(s, run.tile) end
    t.fetch, t.image = fetches(s, block), d:let("first_image", image * images.size + images.first)
    t.y, t.x = d:let("y", band_h * h.outputs + h.first), d:let("x", band_w * w.outputs + w.first)
    t.following = t.fetch and following(s, t, band_h, band_w, image)
    transform_inputs(s, t)
    for i, run in ipairs(s.columns) do
      t.tile, t.turned = run.tile, turned[i]
      local first, stop = driver.max(split * share, run.index), driver.min(split * share + share, run.index + run.count)
      d:loop("tile", first, stop, 1, function(index)
        t.index = index
        column_tile(s, t)
      end)
    end
  end
  return { body = body, what = #block.rectangles > 1 and ("blocks of %d tiles"):format(block.classes.total)
    or ("blocks of %d x %d x %d outputs: images, rows, columns"):format(images.size, h.outputs, w.outputs),
    indices = { { "g", s.p.groups }, { "image", images.count }, { "band_h", h.count }, { "band_w", w.count },
      { "split", splits } } }
end

-- s: a schedule's shape; b: its builder.
function gather.stages(s, b)
  local schedule = s.schedule
  s.build, s.sums = b, sums_of(s.from.channels, schedule.chunk or s.from.channels)
  local stages, list = { not s.fuse and pack_stage(s) or nil }, {}
  for i, block in ipairs(blocks.list(s.h_plans, s.w_plans, s.images, schedule.tiles, schedule.shares)) do
    list[i] = compute_part(s, block)
  end
  stages[#stages + 1] = driver.stage { name = "compute", parts = list, scratch = s.scratch,
    in_order = schedule.shares ~= nil }
  return stages, gather.packed_bytes(s), 0,
    { 1, (schedule.h[1] - 1) * s.h.grids.step + 1, (schedule.w[1] - 1) * s.w.grids.step + 1 }
end

return gather
