-- direct_gradient.lua: the part of the direct family for backward weights: m runs over input channels, v over vectors
-- of output channels, and the sum over output pixels, block by block. Tensors are read where they are, unless a
-- schedule moves a block of them into scratch, where its pixels stand close: those that all taps see are moved once.
local driver = require "driver"
local gather = require "gather"
local reduce = require "reduce"
local relayout = require "relayout"
local cut = require "tiles"
local tile = require "tile"
local view = require "view"
local flatten = require "rewrite/flatten"
local gathered = require "rewrite/gather"
local window = require "rewrite/window"
local direct_gradient = {}

local one_block, block_size = reduce.one_block, reduce.block_size

---- sizes -----------------------------------------------------------------------------------------------------------

-- Bytes of the input pixels of a block, moved together; or nil and why they are not.
function direct_gradient.copied_bytes(p)
  local rows, columns = block_size(p)
  return gathered.bytes(p, rows * columns)
end

---- kernels ---------------------------------------------------------------------------------------------------------

-- The fetching of `ahead`: by each piece of the input channels as many pixels of a row of the next column tile.
local function fetched_ahead(b, run)
  local fetch = {}
  for i = 0, (b.ahead or 0) - 1 do
    for v = 0, run.tile.vectors - 1 do fetch[#fetch + 1] = { "following", i * b.dst.w + v * b.lanes, 2 } end
  end
  return fetch
end

-- The nodes of a tile: a sum over one block, of the lanes that are reached, added to the gradient that is there if
-- there are more blocks. Where every tap sees all pixels of the one block, how many is known.
local function block_sum(b, run, inputs, reach)
  local p, diff, ahead, pixels, several = b.p, run.diff, b.ahead, b.pixels, b.pixels ~= 1
  local step = { loop = several and (pixels or "columns"),
    steps = several and { { "src", b.read.w }, { "diff_dst", diff.w } }, { load = reach },
    ahead and { fetch = { { "src", inputs, 2 } } }, { multiply = reach } }
  local row = { loop = not pixels and "rows", copies = several and { { "src", "x" }, { "diff_dst", "y" } },
    { fetch = fetched_ahead(b, run) }, step,
    steps = not pixels and { { "src", b.read.h }, { "diff_dst", diff.h }, ahead and { "following", b.dst.h } } }
  if run.across and not pixels then row = { copies = { { "src", "from" }, { "diff_dst", "with" } }, row } end
  return { { zero = reach, fetch = b.schedule.fetch and 1 }, row,
    { finish = one_block(p) and { "stored" } or { "added", "stored" }, reach = reach } }
end

-- A piece of the input channels after the other through all column tiles: so the gradient is written in the order in
-- which it stands in memory.
local function pieces_across(b, run, inputs)
  local width, channels, nodes = b.width, run.tile.channels, {}
  local whole, rest = channels // width, channels % width
  if whole > 0 then
    nodes = block_sum(b, run, inputs, {})
    nodes.loop, nodes.steps = whole, { { "diff_dst", width }, { "diff_weights", width } }
  end
  return { { loop = "pieces", copies = { { "diff_dst", "row" }, { "diff_weights", "to" } },
    steps = { { "src", inputs }, { "diff_weights", inputs * b.p.oc } },
    nodes, rest > 0 and block_sum(b, run, inputs, tile.reach(0, rest - 1, b.lanes)) } }
end

-- acc[m][v] over one block of output pixels of one tap. With `fetch` the gradient's lines are fetched while the sum is
-- made, with `ahead` the next channels of src, and pixels of the next column tile, `following`.
local function gradient_kernel(b, inputs, run, o)
  local p, lanes, across = b.p, b.lanes, run.across
  local vectors, last = across and b.schedule.vectors or run.tile.vectors, not across and run.tile.last
  return tile.kernel { name = o.name, type = o.type, target = o.target,
    arguments = { { "src", "in" }, { "diff_dst", "in" }, { "diff_weights", "inout" }, b.ahead and { "following", "in" },
      across and { "pieces", "count" }, not b.pixels and { "rows", "count" }, not b.pixels and { "columns", "count" } },
    sizes = { m = inputs, v = vectors }, registers = { "passing", "held", "sums" },
    sums = { pointer = "diff_weights", register = "acc", last = last, { "m", p.oc }, { "v", lanes } },
    held = { pointer = "diff_dst", register = "g", last = last, { "v", lanes } },
    passing = { pointer = "src", register = "a", { "m", 1 } }, ending = { temporary = "held" },
    body = across and pieces_across(b, run, inputs) or block_sum(b, run, inputs, {}) }
end

-- Gives a run of column tiles its kinds: runs of equal pieces of the input channels, with their kernels and how many
-- pieces come before.
local function add_kinds(b, run)
  local before = 0
  run.kinds = cut.piece_runs(b.src.channels, b.schedule.inputs)
  for _, kind in ipairs(run.kinds) do
    local zero = b:named "zero"
    kind.before, before = before, kind.count -- there are two kinds at most
    kind.gradient = b:new("gradient", function(o) return gradient_kernel(b, kind.size, run, o) end)
    kind.zero = not one_block(b.p) and b:add(reduce.zero_kernel(zero,
      reduce.rows(reduce.vectors(run.tile, b.lanes), kind.size, b.p.oc)))
  end
end

-- Runs of equal column tiles, each with its panel's kernel (the block of diff_dst of one column tile, [pixel][v *
-- lanes]: where it is, its pixels lie in few sets of the caches when the channels are many), `diff`: what tiles read of
-- it, and its kinds. With `across` all are one.
local function tile_runs(b)
  local schedule, channels = b.schedule, b.dst.channels
  local runs = schedule.across and { { tile = { channels = channels }, index = 0, count = 1, across = true } }
    or cut.runs_of_columns(channels, schedule.vectors, b.lanes)
  for _, run in ipairs(runs) do
    local column = run.tile
    run.diff = schedule.panel and { h = b.columns * column.width, w = column.width } or b.dst
    run.panel = schedule.panel and b:new("panel", function(o)
      return relayout.copy({ from = "diff_dst", to = "out", elements = column.channels, whole = true,
        loops = { { count = "rows", steps = { b.dst.h }, names = { "y" } },
          { count = "columns", steps = { b.dst.w, column.width } } } }, o)
    end)
    add_kinds(b, run)
  end
  return runs
end

---- the tiles of a slice --------------------------------------------------------------------------------------------

-- The part of each index that slice number `slice` visits: the one that divides best is cut. Answers range(i, count),
-- the part of index i, which has `count` values.
local function sliced(counts, slice, slices)
  local best, least
  for i, count in ipairs(counts) do
    local waste = (count + slices - 1) // slices * slices / count
    if not best or waste < least then best, least = i, waste end
  end
  return function(i, count)
    if i ~= best then return 0, count end
    return driver.quotient(slice * count, slices), driver.quotient(slice * count + count, slices)
  end
end

-- The places kd, kh, kw of a tap's number.
local function tap_places(d, kernel, tap)
  local function place(name, e, count) return count == 1 and driver.expr(0) or d:let(name, e) end
  local plane = kernel[2] * kernel[3]
  local within = kernel[1] == 1 and tap or driver.rest(tap, plane)
  return { place("kd", driver.quotient(tap, plane), kernel[1]),
    place("kh", driver.quotient(within, kernel[3]), kernel[2]), place("kw", driver.rest(within, kernel[3]), kernel[3]) }
end

-- Visits the tiles of a run that belong to a slice, column tile by column tile: visits.group(group) and column(first
-- output channel), if they are there, tap({group, first output channel, k: its places}), and piece(kind, what tap
-- answered, {i: the first input channel of the group, to: where the gradient begins, m: number of the piece, count: of
-- pieces with `across`}).
local function each_tile(b, d, run, slice, visits)
  local p, icg, ocg, kernel, most = b.p, b.src.channels, b.dst.channels, b.p.kernel, 0
  for _, kind in ipairs(run.kinds) do most = math.max(most, kind.count) end
  local taps = kernel[1] * kernel[2] * kernel[3]
  local range = sliced({ p.groups, run.count, taps, most }, slice, p.threads)
  local function each(name, i, count, body)
    local from, to = range(i, count)
    d:loop(name, from, to, 1, body)
  end
  local function pieces(kind, here, to)
    local function visit(m, count)
      local i = d:let("i", m * kind.size + kind.first)
      visits.piece(kind, here, { i = i, to = to + i * p.oc, m = m, count = count })
    end
    if not run.across then return each("m", 4, kind.count, visit) end
    local first, stop = range(4, kind.count)
    visit(first, d:let("pieces", stop - first))
  end
  each("g", 1, p.groups, function(g)
    if visits.group then visits.group(g) end
    each("tile", 2, run.count, function(number)
      local c = d:let("c", g * ocg + (number + run.index) * b.width)
      if visits.column then visits.column(c) end
      each("tap", 3, taps, function(tap)
        local here = visits.tap { g = g, c = c, k = tap_places(d, kernel, tap) }
        local to = d:let("to", tap * (icg * p.oc) + c)
        for _, kind in ipairs(run.kinds) do pieces(kind, here, to) end
      end)
    end)
  end)
end

---- blocks of pixels ------------------------------------------------------------------------------------------------

-- Where the pixels of the column tile from channel c on begin; after the last one those of the next block, which follow
-- in memory.
local function following(b, d, block, pixel, c)
  local channel = d:let("channel", driver.min(c, b.p.oc))
  local next_block = driver.quotient(channel, b.p.oc) * (block.rows * b.dst.h - b.p.oc)
  return d:let("following", block.plane + pixel + channel + next_block)
end

-- What a tap sees of a block: where its source and diff begin, and how many rows and columns. at: as each_tile tells.
local function seen_by_tap(b, d, run, block, at)
  local p, k, src, dst = b.p, at.k, b.src, b.dst
  local function clipped(name, axis, from, size)
    local low, stop = gather.valid_outputs(d, p, axis, k[axis], name)
    if from then low, stop = d:let(name .. "_from", driver.max(low, from)), driver.min(stop, from + size) end
    return low, d:let(name .. "_count", driver.max(stop - low, 0))
  end
  local _, planes = clipped("od", 1, block.od, 1)
  local row, rows = clipped("row", 2, block.row, reduce.block_rows(p.output[3]))
  local column, columns = clipped("column", 3, block.chunk, reduce.block)
  local low = block.low or { plane = 0, row = 0 }
  local from = (gather.seen_at(p, 1, block.od, k[1], not b.window and block.n * p.input[1]) - low.plane) * src.d
    + (gather.seen_at(p, 2, row, k[2]) - low.row) * src.h + gather.seen_at(p, 3, column, k[3]) * src.w
  if not b.window then from = from + at.g * src.g end
  local with = { d.dst, d:let("with", block.plane + row * dst.h + column * dst.w + at.c) }
  if run.panel then
    local at_panel = (row - block.row) * run.diff.h + (column - (block.chunk or 0)) * run.diff.w + b.panel_at
    with = { d.scratch, d:let("with", at_panel) }
  end
  return { from = d:let("from", from), with = with, rows = d:let("rows", planes * rows), columns = columns,
    following = b.ahead and following(b, d, block, row * dst.h + column * dst.w, at.c + run.tile.width) }
end

local function call_gradient(b, d, kind, here, at)
  local ahead = b.ahead
    and here.following + driver.min((at.m + kind.before) * b.ahead, here.columns - b.ahead) * b.dst.w
  d:call(kind.gradient, { src = b.copy and { d.scratch, at.i } or { d[b.src.memory], here.from + at.i },
    diff_dst = here.with, diff_weights = { d.weights, at.to }, following = { d.dst, ahead }, pieces = at.count,
    rows = here.rows, columns = here.columns })
end

-- One block {n, od, row, chunk} of pixels for all tiles of a slice, so that the block is read from the cache near the
-- processor but once.
local function block_body(b, d, runs, slice, block)
  local p, src, dst, chunk = b.p, b.src, b.dst, block.chunk or driver.expr(0)
  local rows = driver.min(driver.expr(p.output[2]) - block.row, reduce.block_rows(p.output[3]))
  local columns = driver.min(driver.expr(p.output[3]) - chunk, reduce.block)
  if b.copy then
    local from = (block.n * p.input[1] + block.od * p.stride[1]) * src.d + block.row * (p.stride[2] * src.h)
      + chunk * (p.stride[3] * src.w)
    d:call(b.copy, { { d.src, from }, { d.scratch }, rows, columns })
  end
  block.rows, block.plane = rows, (block.n * p.output[1] + block.od) * dst.d
  local function moved_together(g)
    local at = { n = block.n, axis = b.window.axis, jd = block.od, first = block.row, reads = g * b.window.source.g }
    block.low = window.read(b.window, d, at, b.window.band, b.mover)
  end
  for _, run in ipairs(runs) do
    each_tile(b, d, run, slice, { group = b.window and moved_together,
      column = function(c)
        local from = block.plane + block.row * dst.h + chunk * dst.w + c
        if run.panel then d:call(run.panel, { { d.dst, from }, { d.scratch, b.panel_at }, rows, columns }) end
      end,
      tap = function(at) return seen_by_tap(b, d, run, block, at) end,
      piece = function(kind, here, at) call_gradient(b, d, kind, here, at) end })
  end
end

-- A task is a slice of the output tiles; it goes over the pixels once, from zero if there are several blocks.
local function task(b, d, runs, slice)
  local p, width = b.p, b.p.output[3]
  for _, run in ipairs(one_block(p) and {} or runs) do
    each_tile(b, d, run, slice, { tap = function() end,
      piece = function(kind, _, at) d:call(kind.zero, { { d.weights, at.to } }) end })
  end
  reduce.planes(d, p, function(n, od)
    reduce.each_block(d, p, function(row)
      local function block(chunk) block_body(b, d, runs, slice, { n = n, od = od, row = row, chunk = chunk }) end
      if width <= reduce.block then block() else d:loop("chunk", 0, width, reduce.block, block) end
    end)
  end)
end

---- stages ----------------------------------------------------------------------------------------------------------

-- Settles what a task moves into scratch, the copied inputs or a window of them, then the panel, how it reads the
-- input's pixels, and what is fetched ahead; answers the elements that are moved.
local function move(b)
  local p, schedule, rows, columns = b.p, b.schedule, block_size(b.p)
  local apart = gathered.pitch(p)
  b.window = schedule.window and window.of_blocks(b)
  b.src = b.window and b.window.from or b.src
  local moved = schedule.copies and direct_gradient.copied_bytes(p) or b.window and window.block(p).bytes or 0
  b.columns, b.panel_at = columns, moved // b.size
  b.read = schedule.copies and { h = columns * apart, w = apart }
    or { h = p.stride[2] * b.src.h, w = p.stride[3] * b.src.w }
  b.copy = schedule.copies and gathered.kernel(b)
  b.mover = b.window and window.kernel(b.window, b.src.channels)
  local pieces = (b.src.channels + schedule.inputs - 1) // schedule.inputs
  b.ahead = schedule.ahead and (columns + pieces - 1) // pieces
  b.pixels = schedule.across and flatten.applies(p) and rows * columns
  return b.panel_at + (schedule.panel and rows * columns * b.width or 0)
end

-- The stages of a schedule; see family.lua.
function direct_gradient.stages(b, schedule)
  local p = b.p
  b.schedule, b.width, b.src, b.dst = schedule, schedule.vectors * b.lanes, view.src(p), view.dst(p)
  local scratch, runs = move(b) * b.size, tile_runs(b)
  local compute = driver.stage { name = "compute", scratch = scratch, parts = { {
    indices = { { "slice", p.threads } }, body = function(d, slice) task(b, d, runs, slice) end } } }
  return { compute, p.bias and reduce.bias_stage(b) or nil }
end

return direct_gradient
