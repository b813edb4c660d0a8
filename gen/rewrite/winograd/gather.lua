-- gather.lua: Winograd's algorithm of forward and backward data: what a run needs, and how its kernels are driven.
--
-- A task takes a block of tiles: it transforms all of their input channels into V, then, column tile by column tile of
-- output channels, multiplies each frequency's V by the transformed weights U over the whole reduction, and transforms the
-- products to outputs while they are in the caches. V and the products M are the thread's scratch:
--     V [frequency][tile][input channel]   M [frequency][tile][channels of a column tile]
--     U [column tile][frequency][input channel][channels of a column tile]
-- In place of U there may be half of the transform, beforehand or of each column tile in the task (half.lua). Of
-- channels-first data a task lays its window out as pixels before, and its outputs as planes at the end (planes.lua).
-- Pixels of a dilated problem's window stand a dilation apart; else its grids (grid.lua) are images like others. The windows
-- of a stride's phases have pixels a stride apart, and stand one after the other in V as more channels; likewise their taps
-- in U. Rows of V and frequencies are an odd number of cache lines apart, so that they do not meet in the caches' sets.
local parts = require "parts"
local driver = require "driver"
local cut = require "tiles"
local build = require "build"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local transform = require "rewrite/winograd/transform"
local planes = require "rewrite/winograd/planes"
local half = require "rewrite/winograd/half"
local relayout = require "relayout"
local gather = {}

gather.most_scratch = 4 << 20
gather.most_shares = 8 -- threads that blocks are cut for, each with parts of its own in the text

local odd_lines, round_up = parts.odd_lines, parts.round_up

---- sizes ------------------------------------------------------------------------------------------------------------

-- Elements between the frequencies of the U of a column tile, or between the columns of frequencies of its H. In the scratch
-- of a task there is only so much of H as the channels of a partial sum take.
local function apart(s, tile)
  local channels = s.fuse and s.chunks[1].size or s.terms
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

-- A tensor whose windows are read or whose pixels are written: all its channels, those of a group.
local function tensor(p, forward_input)
  local is_src = forward_input == (p.pass == "forward")
  local all = is_src and p.ic or p.oc
  return { base = is_src and "src" or "dst", pitch = all, all = all, channels = all // p.groups,
    size = is_src and p.input or p.output }
end

-- What all schedules of a problem share.
function gather.frame(p, target)
  local s = { p = p, target = target, size = parts.size_of(p), lanes = parts.lanes_of(p, target),
    images = p.batch * p.input[1], planes = p.layout == "nchw", from = tensor(p, true), to = tensor(p, false) }
  s.from.row, s.to.row = s.from.size[3] * s.from.pitch, s.to.size[3] * s.to.pitch
  return s
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
  s.scratch = s.frequencies * (s.v_apart + s.m_apart) * s.size
  s.fuse, s.half = schedule.fuse, schedule.half or schedule.fuse
  s.chunks = cut.piece_runs(s.from.channels, schedule.chunk or s.from.channels)
  if s.planes then planes.buffers(s) end
  if s.fuse then fused_buffers(s) end
  return s
end

-- Everything that stages and estimate derive from a problem and a schedule.
function gather.shape(p, schedule, target)
  local h, w = grid.axes(p)
  local tiled = gather.tiled(gather.frame(p, target), grid.plans(h, schedule.h), grid.plans(w, schedule.w))
  return gather.scheduled(tiled, schedule,
    blocks.figures(tiled.h_plans, tiled.w_plans, tiled.images, schedule.tiles, schedule.shares))
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
  if s.planes and s.p.epilogue.residual then return "winograd adds no residual to channels-first data" end
  if s.planes and shares then return "winograd cuts no blocks of channels-first data for threads" end
  if s.planes and (one.fetch or one.stream) then return "winograd neither fetches nor streams channels-first data" end
  if not as_they_are(s) and transposed_bytes(s, s.columns[1].tile) > gather.most_scratch then
    return "needs too much scratch to transpose its weights"
  end
  if one.splits > s.columns.all then
    return ("has %d column tiles, fewer than its shares"):format(s.columns.all)
  end
end

---- transformed weights ----------------------------------------------------------------------------------------------

-- Elements from tap to tap of weights as a kernel reads them, of row y and column x; and between rows of the reduction.
local function tap_places(s, tile)
  local p, taps_h, taps_w = s.p, s.h.taps, s.w.taps
  local all = taps_h * taps_w
  if s.planes then
    return function(y, x)
      local tap = y * taps_w + x
      return (p.pass == "forward" and tap or all - 1 - tap) * tile.width
    end, all * tile.width
  end
  if p.pass == "forward" then return function(y, x) return (y * taps_w + x) * (s.from.channels * p.oc) end, p.oc end
  return function(y, x) return (all - 1 - y * taps_w - x) * (s.from.channels * tile.width) end, tile.width
end

local function pack_kernel(s, tile, phase)
  local h, w = grid.part(phase.h, s.h.schemes[1]), grid.part(phase.w, s.w.schemes[1])
  local tap, row = tap_places(s, tile)
  return s.build:kernel(("pack %d %d %dx%d"):format(tile.vectors, tile.last, h.taps, w.taps), "pack", function(called)
    return transform.weights(called, { h = s.half and half.rows(h) or h, w = w, columns = s.w.size,
      tap = function(y, x) return tap(y * s.h.stride, x * s.w.stride) end, row = row, apart = apart(s, tile), half = s.half,
      tile = as_they_are(s) and tile or { vectors = tile.vectors, last = s.lanes, width = tile.width } })
  end)
end

-- How the weights of equal column tiles are laid out in the scratch, where a kernel does not read them as they are:
-- a function(d, group, index of the tile, at).
local function transposer(s, tile)
  local p, taps = s.p, s.h.taps * s.w.taps
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  if s.planes then
    local unfold, length = planes.weights(s, tile, tile.channels), icg * taps
    return function(d, g, index, at)
      local first = index * s.width
      local from = p.pass == "forward" and (g * ocg + first) * length or (g * ocg) * length + first * taps
      d:loop("line", 0, unfold.count, 1, function(n)
        d:call(unfold.kernel, { { d.weights, from + n * unfold.from }, { d.scratch, n * unfold.to + at } })
      end)
    end
  end
  if p.pass == "forward" then return function() end end
  local kernel = s.build:kernel(("transpose %d %d"):format(tile.vectors, tile.last), "transpose", function(called)
    return relayout.turned_panel(tile, p, called)
  end)
  return function(d, g, index, at)
    d:loop("tap", 0, taps, 1, function(t)
      d:call(kernel, { { d.weights, t * (icg * p.oc) + index * s.width * p.oc + g * ocg },
        { d.scratch, t * (ocg * tile.width) + at } })
    end)
  end
end

-- How the U or H of equal column tiles is made: transpose, as above; from(group, index, channel): where weights are read as
-- they are; make(d, from, to, channels): of so many channels of the reduction.
local function weights_maker(s, tile)
  local tap, row = tap_places(s, tile)
  local unfold = s.planes and transposer(s, tile) -- kernels are numbered as they are made
  for _, phase in ipairs(s.phases) do pack_kernel(s, tile, phase) end
  local made = { transpose = unfold or transposer(s, tile), row = row }
  function made.from(g, index, channel) return g * (s.p.oc // s.p.groups) + index * s.width + channel * row end
  function made.make(d, from, to, channels)
    for i, phase in ipairs(s.phases) do -- strides are of weights that are read as they are
      local first = as_they_are(s) and tap(phase.h.first, phase.w.first) or 0
      d:call(pack_kernel(s, tile, phase),
        { { from[1], from[2] + first }, { to[1], to[2] + (i - 1) * (s.from.channels * tile.width) }, channels })
    end
  end
  return made
end

-- Lays out what is needed from `at` of the scratch on; where weights of a channel are then.
local function ready_weights(s, maker, t, at, channel)
  if as_they_are(s) then return { t.d.weights, maker.from(t.g, t.index, channel) } end
  return { t.d.scratch, channel * maker.row + at }
end

-- One run of equal column tiles: tasks are (group, column tile).
local function pack_part(s, run)
  local maker = weights_maker(s, run.tile)
  return { what = ("%s of a tile of output channels"):format(s.half and "H" or "U"),
    indices = { { "g", s.p.groups }, { "tile", run.count } },
    body = function(d, g, index)
      local t = { d = d, g = g, index = index + run.index }
      maker.transpose(d, g, t.index, 0)
      maker.make(d, ready_weights(s, maker, t, 0, driver.expr(0)), { d.packed, panel_at(s, g, t.index) }, s.from.channels)
    end }
end

local function pack_stage(s)
  local list, scratch = {}, 0
  for i, run in ipairs(s.columns) do
    list[i] = pack_part(s, run)
    if not as_they_are(s) then scratch = math.max(scratch, transposed_bytes(s, run.tile)) end
  end
  return driver.stage { name = "pack", pack = true, scratch = scratch, parts = list }
end

---- kernels of the compute stage -------------------------------------------------------------------------------------

local function side(scheme) return { scheme = scheme, at = function(f) return grid.frequency(scheme, f) end } end

-- Of a phase's window of a tile.
local function input_side(plan, tile, phase)
  local one = side(grid.part(phase, plan.schemes[tile.class]))
  local window = tile.windows[phase.first + 1]
  one.low, one.high = window.low, window.high
  return one, ("%d/%d:%d-%d"):format(tile.class, one.scheme.size, one.low, one.high)
end

local function input_kernel(s, h_tile, w_tile, phase)
  local h, h_key = input_side(s.h, h_tile, phase.h)
  local w, w_key = input_side(s.w, w_tile, phase.w)
  return s.build:kernel(("input %s %s"):format(h_key, w_key), "input", function(called)
    return transform.input(called, { h = h, w = w,
      phase = #s.phases > 1 and (" of one phase, %d rows and %d columns apart"):format(s.h.stride, s.w.stride),
      pixel = s.from.pitch * (s.w.grids.step * s.w.stride), row = s.from.row * (s.h.grids.step * s.h.stride),
      channels = s.from.channels, apart = s.v_apart, columns = s.w.size })
  end)
end

local function output_kernel(s, h_class, w_class, tile)
  return s.build:kernel(("output %d %d %d %d"):format(h_class, w_class, tile.vectors, tile.last), "output", function(called)
    return transform.output(s.p, called, { h = side(s.h.schemes[h_class]), w = side(s.w.schemes[w_class]),
      pixel = s.to.pitch * s.w.grids.step, row = s.to.row * s.h.grids.step, channels = tile.channels,
      apart = s.m_apart, columns = s.w.size, stream = s.schedule.stream })
  end)
end

-- sum: {channels, adds}, of a partial sum.
local function product_kernel(s, tiles, tile, sum)
  return s.build:kernel(("product %d %d, %d %s"):format(tiles, tile.vectors, sum.channels, sum.adds), "product", function(called)
    return transform.product(s.p, called, { tiles = tiles, vectors = tile.vectors, channels = sum.channels,
      adds = sum.adds, row = s.v_row, width = tile.width, prefetch = s.schedule.ahead and s.schedule.ahead * tile.width })
  end)
end

-- The columns of a block's frequencies: {fw: run, kernels, before: products before them}, all: products of a column tile.
local function half_columns(s, block)
  local list = { all = 0 }
  half.each_column(s, block, function(fw, kernels)
    list[#list + 1] = { fw = fw, kernels = kernels, before = list.all }
    list.all = list.all + fw.count * #kernels
  end)
  return list
end

-- What is fetched with each channel of a product, of taps that begin so many apart: some by each one of a column tile.
local function fetched(s, columns)
  return s.fuse and as_they_are(s) and -(-s.h.taps * s.w.taps // columns.all) or nil
end

-- The number `index` of the kernels of a column of frequencies. They share in fetching the H of the next partial sum.
local function half_kernel(s, columns, kernels, index, tile, sum)
  local one, fetch, lines = kernels[index], fetched(s, columns), s.h.taps * tile.width * s.size // 64
  local first, stop = lines * (index - 1) // #kernels, lines * index // #kernels
  if s.fuse then first, stop = 0, 0 end
  local key = ("half %s of %d, %d %d %s %d-%d"):format(one.key, tile.vectors, sum.channels, fetch or 0, sum.adds, first, stop)
  return s.build:kernel(key, "product", function(called)
    return half.product(called, { units = one.units, vectors = tile.vectors, taps = s.h.taps,
      channels = sum.channels, width = tile.width, row = s.v_row, apart = s.w.size * s.v_apart,
      sums_apart = s.w.size * s.m_apart, adds = sum.adds, ahead = stop - first, ahead_first = first, fetch = fetch,
      fetch_apart = s.from.channels * s.p.oc, fetch_row = s.p.oc })
  end)
end

-- Calls body(run of rows of frequencies, list) for rows alike; the list has, for each run of columns that the same tiles of
-- a block and the same phases have, {fw, first: tile, pieces: of tiles, before: terms before its first, chunks: of its terms}.
local function each_row(s, block, body)
  for _, fh in ipairs(grid.frequency_runs(s.h, block.h.tiles[2] > 0)) do
    local list = {}
    for _, fw in ipairs(grid.frequency_runs(s.w, block.w.tiles[2] > 0)) do
      local first, count = blocks.having(block.classes, fh.big_only, fw.big_only)
      local before, phases = s.phases_at(fh.long_only, fw.long_only)
      local terms = phases * s.from.channels
      if count > 0 then
        list[#list + 1] = { fw = fw, first = first, pieces = cut.piece_runs(count, s.schedule.rows),
          before = before * s.from.channels, chunks = cut.piece_runs(terms, s.schedule.chunk or terms) }
      end
    end
    body(fh, list)
  end
end

-- Calls body(sum) for each kind of partial sum: the first is stored to M, the others are added.
local function each_sum(chunks, body)
  for _, chunk in ipairs(chunks) do
    if chunk.first == 0 then body { channels = chunk.size, adds = false } end
    if chunk.first > 0 or chunk.count > 1 then body { channels = chunk.size, adds = true } end
  end
end

-- Calls body(first channel, sum) in loops over the partial sums.
local function each_chunk(chunks, d, body)
  for _, run in ipairs(chunks) do
    local first = run.first
    if first == 0 then body(driver.expr(0), { channels = run.size, adds = false }); first = run.size end
    d:loop("channel", first, run.first + run.size * run.count, run.size, function(channel)
      body(channel, { channels = run.size, adds = true })
    end)
  end
end

local function make_products(s, block, tile)
  each_row(s, block, function(_, list)
    for _, part in ipairs(list) do
      for _, piece in ipairs(part.pieces) do
        for _, run in ipairs(s.columns) do
          each_sum(part.chunks, function(sum) product_kernel(s, piece.size, run.tile, sum) end)
        end
      end
    end
  end)
end

local function make_halves(s, columns)
  for _, column in ipairs(columns) do
    for i in ipairs(column.kernels) do
      for _, run in ipairs(s.columns) do
        each_sum(s.chunks, function(sum) half_kernel(s, columns, column.kernels, i, run.tile, sum) end)
      end
    end
  end
end

-- The drivers' texts are made later; their kernels have to be there before.
local function make_kernels(s, block, columns)
  blocks.each_run(block, function(hr, wr)
    for _, phase in ipairs(s.phases) do input_kernel(s, hr.tile, wr.tile, phase) end
    for _, run in ipairs(s.columns) do output_kernel(s, hr.tile.class, wr.tile.class, run.tile) end
  end)
  if s.planes then
    local channels = {}
    for i, run in ipairs(s.columns) do channels[i] = run.tile.channels end
    planes.make_kernels(s, block, channels)
  end
  if s.half then make_halves(s, columns) else make_products(s, block) end
end

---- the compute stage: t is what a task is about {d, block, columns, g, image, y, x; then index, tile, maker, channel} -

-- The offset of a pixel of a tensor: image, row, column.
local function pixel(one, image, y, x) return ((image * one.size[2] + y) * one.size[3] + x) * one.pitch end

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
      local window = s.planes and { d.scratch, planes.window(s, t.block, image, y, x) }
        or { d[s.from.base], grid_pixel(s.from, t.block, t.image + image, (t.y + y) * s.h.stride, (t.x + x) * s.w.stride,
          { h = s.h.base + phase.h.first, w = s.w.base + phase.w.first }) + t.g * s.from.channels }
      d:call(input_kernel(s, hr.tile, wr.tile, phase), { window, { d.scratch, tile * s.v_row + (i - 1) * s.from.channels } })
    end
  end)
end

-- With each frequency a share of the next block's input is fetched: rows of the window, line by line. Beyond the last block
-- that is of no use, and does no harm.
local function fetches(s, block)
  if not s.schedule.fetch or #block.rectangles > 1 then return nil end
  local rows, pixels = (block.h.outputs - 1) * s.h.stride + s.h.taps, (block.w.outputs - 1) * s.w.stride + s.w.taps
  local line = 64 // s.size
  local lines = (pixels * s.from.pitch + line - 1) // line
  local units = s.frequencies * s.columns.all
  local share = (rows * lines * block.images + units - 1) // units
  local kernel = s.build:kernel("fetch " .. share, "fetch", function(called) return transform.fetch(called, share) end)
  return function(t, f)
    local at = (t.index * s.frequencies + f) * share
    local row = driver.quotient(at, lines) * (s.from.size[3] * s.from.pitch)
    t.d:call(kernel, { { t.d[s.from.base], t.following + row + driver.rest(at, lines) * line } })
  end
end

-- Where the block after this one, of the same part, begins.
local function following(s, t, band_h, band_w, image)
  local d, h, w = t.d, t.block.h, t.block.w
  local number = d:let("number", (image * h.count + band_h) * w.count + band_w + 1)
  local row = driver.rest(driver.quotient(number, w.count), h.count)
  return d:let("following", pixel(s.from,
    driver.quotient(number, w.count * h.count) * t.block.run.size + t.block.run.first,
    (row * h.outputs + h.first) * s.h.stride + s.h.base,
    (driver.rest(number, w.count) * w.outputs + w.first) * s.w.stride + s.w.base))
end

-- Where M is in the scratch.
local function m_at(s) return s.frequencies * s.v_apart end

-- Row of frequencies by row, in the order that U is packed in: it is one stream, whatever tiles a frequency has.
local function multiply(s, t)
  local d, tile, u_apart, panel = t.d, t.tile, apart(s, t.tile), t.panel
  local function products(f, part)
    if t.fetch then t.fetch(t, f) end
    for _, run in ipairs(part.pieces) do
      local first = part.first + run.first
      d:loop("t", first, first + run.size * run.count, run.size, function(n)
        each_chunk(part.chunks, d, function(channel, sum)
          d:call(product_kernel(s, run.size, tile, sum), {
            { d.scratch, f * s.v_apart + n * s.v_row + (channel + part.before) },
            { d.packed, panel + f * u_apart + (channel + part.before) * tile.width },
            { d.scratch, f * s.m_apart + n * tile.width + m_at(s) } })
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

-- Of half-transformed weights, which are read once: column of frequencies by column, each partial sum by partial sum.
local function multiply_half(s, t)
  local d, tile = t.d, t.tile
  for _, column in ipairs(t.columns) do
    local fw = column.fw
    d:loop("fw", fw.first, fw.first + fw.count, 1, function(w)
      each_chunk(s.chunks, d, function(channel, sum)
        for i in ipairs(column.kernels) do
          d:call(half_kernel(s, t.columns, column.kernels, i, tile, sum), { { d.scratch, w * s.v_apart + channel },
            { d.packed, t.panel + w * apart(s, tile) + channel * (s.h.taps * tile.width) },
            { d.scratch, w * s.m_apart + m_at(s) } })
        end
      end)
    end)
  end
end

-- The products of one partial sum of half-transformed weights that are made in the run; each fetches weights that are
-- transformed next, where they are read as they are: `ahead`.
local function multiply_chunk(s, t, channel, sum, ahead)
  local d, fetch = t.d, fetched(s, t.columns)
  for _, column in ipairs(t.columns) do
    local fw, kernels = column.fw, column.kernels
    d:loop("fw", fw.first, fw.first + fw.count, 1, function(w)
      for i in ipairs(kernels) do
        local args = { { d.scratch, w * s.v_apart + channel }, { d.scratch, w * apart(s, t.tile) + s.panel_at },
          { d.scratch, w * s.m_apart + m_at(s) } }
        if fetch then
          local tap = driver.min(((w - fw.first) * #kernels + (column.before + i - 1)) * fetch, s.h.taps * s.w.taps - fetch)
          args[4] = { d.weights, ahead + tap * (s.from.channels * s.p.oc) }
        end
        d:call(half_kernel(s, t.columns, kernels, i, t.tile, sum), args)
      end
    end)
  end
end

-- Partial sum by partial sum, each of all columns.
local function multiply_fused(s, t)
  local d, maker = t.d, t.maker
  maker.transpose(d, t.g, t.index, s.transposed_at)
  each_chunk(s.chunks, d, function(channel, sum)
    d:comment(("H of %d channels, and its part of M"):format(sum.channels))
    maker.make(d, ready_weights(s, maker, t, s.transposed_at, channel), { d.scratch, s.panel_at }, sum.channels)
    local stop = channel + sum.channels
    local ahead = fetched(s, t.columns) and d:let("ahead",
      maker.from(t.g, t.index + driver.quotient(stop, s.from.channels), driver.rest(stop, s.from.channels)))
    multiply_chunk(s, t, channel, sum, ahead)
  end)
end

local function transform_outputs(s, t)
  local d, p = t.d, s.p
  d:comment "Y of each tile"
  blocks.each_tile(d, t.block, function(hr, wr, row, column, image, number)
    local y, x = place_of(s, hr, wr, row, column)
    local out = d:let("out", s.planes and planes.outputs(s, image, y, x)
      or grid_pixel(s.to, t.block, t.image + image, t.y + y, t.x + x, { h = 0, w = 0 }) + t.channel)
    local args = { { d.scratch, number * t.tile.width + m_at(s) } }
    if p.pass == "forward" and p.bias then args[#args + 1] = { d.bias, t.channel } end
    if p.pass == "forward" and p.epilogue.residual then args[#args + 1] = { d.residual, out } end
    args[#args + 1] = { s.planes and d.scratch or d[s.to.base], out }
    d:call(output_kernel(s, hr.tile.class, wr.tile.class, t.tile), args)
  end)
  if s.planes then planes.write(s, t, t.tile.channels) end
end

-- The products and outputs of a column tile.
local function column_tile(s, t)
  if not s.fuse then t.panel = t.d:let("panel", panel_at(s, t.g, t.index)) end
  t.d:comment(("M of %d output channels: frequency f of tile t at scratch + f * %d + t * %d + %d"):format(t.tile.width,
    s.m_apart, t.tile.width, m_at(s)))
  local how = s.fuse and multiply_fused or s.half and multiply_half or multiply
  how(s, t)
  t.channel = t.d:let("channel", t.g * s.to.channels + t.index * s.width)
  transform_outputs(s, t)
end

-- Tasks over group, images, bands and shares of the column tiles, for equal bands of both axes.
local function compute_part(s, block)
  local images, h, w, splits = block.run, block.h, block.w, s.schedule.splits
  local columns, makers = s.half and half_columns(s, block), {}
  make_kernels(s, block, columns)
  for i, run in ipairs(s.fuse and s.columns or {}) do makers[i] = weights_maker(s, run.tile) end
  local fetch, share = fetches(s, block), (s.columns.all + splits - 1) // splits
  local function body(d, g, image, band_h, band_w, split)
    local t = { d = d, block = block, columns = columns, fetch = fetch, g = g,
      image = d:let("first_image", image * images.size + images.first),
      y = d:let("y", band_h * h.outputs + h.first), x = d:let("x", band_w * w.outputs + w.first) }
    t.following = fetch and following(s, t, band_h, band_w, image)
    transform_inputs(s, t)
    for i, run in ipairs(s.columns) do
      t.tile, t.maker = run.tile, makers[i]
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

function gather.stages(p, schedule, target)
  local s = gather.shape(p, schedule, target)
  s.build = build.new(p, target)
  local stages, list = { not s.fuse and pack_stage(s) or nil }, {}
  for i, block in ipairs(blocks.list(s.h_plans, s.w_plans, s.images, schedule.tiles, schedule.shares)) do
    list[i] = compute_part(s, block)
  end
  if s.build.why then return nil, s.build.why end
  stages[#stages + 1] = driver.stage { name = "compute", parts = list, scratch = s.scratch,
    in_order = schedule.shares ~= nil }
  return { kernels = s.build.kernels, stages = stages, packed = gather.packed_bytes(s), shared = 0,
    tile = { 1, (schedule.h[1] - 1) * s.h.grids.step + 1, (schedule.w[1] - 1) * s.w.grids.step + 1 } }
end

return gather
