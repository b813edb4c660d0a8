-- gather.lua: the part of the Winograd family for forward and backward data: how its kernels are driven.
--
-- A task takes a block of tiles: it transforms all of their input channels into V, then, column tile by column tile of output
-- channels, multiplies each frequency's V by the transformed weights U over the whole reduction, and transforms the products to
-- outputs while they are in the caches. V and the products M are the thread's scratch:
--     V [frequency][tile][input channel]      M [frequency][tile][channels of a column tile]      U [column tile][frequency][input channel][..]
-- In place of U there may be half of the transform, beforehand or of each column tile in the task (half.lua).
-- Of channels-first data a task lays its window out as pixels before, and its outputs as planes at the end (planes.lua).
-- Pixels of a dilated problem's window stand a dilation apart; else its grids (grid.lua) are images like others. The windows
-- of a stride's phases have pixels a stride apart, and stand one after the other in V as more channels; likewise their taps in U.
-- Rows of V and frequencies are an odd number of cache lines apart, so that they do not meet in the caches' sets.
local parts = require "parts"
local driver = require "driver"
local cut = require "tiles"
local grid = require "rewrite/winograd/grid"
local transform = require "rewrite/winograd/transform"
local planes = require "rewrite/winograd/planes"
local half = require "rewrite/winograd/half"
local relayout = require "relayout"
local winograd_gather = {}

winograd_gather.most_scratch = 4 << 20
winograd_gather.most_shares = 8 -- threads that blocks are cut for, each with parts of its own in the text

---- sizes ----------------------------------------------------------------------------------------------------------------------

local odd_lines = parts.odd_lines

-- Elements between the frequencies of the U of a column tile, or between the columns of frequencies of its H. In the scratch of a
-- task there is only so much of H as the channels of a partial sum take.
local function apart(s, tile)
  local channels = s.fuse and s.chunks[1].size or s.terms
  return odd_lines(channels * (s.half and s.h.taps or 1) * tile.width, s.size)
end

-- Where the U or H of a column tile is; all of them in elements.
local function panels(s)
  local function elements(tile) return (s.half and s.w.size or s.frequencies) * apart(s, tile) end
  local per_group = 0
  for _, tile in ipairs(s.columns) do per_group = per_group + elements(tile) end
  return { elements = s.p.groups * per_group, panel = elements(s.columns[1]),
    apart = function(tile) return apart(s, tile) end,
    at = function(g, index) return g * per_group + index * elements(s.columns[1]) end }
end

local function transposed_bytes(s, tile) return s.h.taps * s.w.taps * s.from.channels * tile.width * s.size end

-- Whether a kernel reads weights as they are: channels of Y side by side.
local function as_they_are(s) return s.p.pass == "forward" and not s.planes end

-- The H of one column tile, and its weights transposed, behind what else is in the scratch.
local function fused_buffers(s)
  s.panel_at = parts.round_up(s.scratch // s.size, 64 // s.size)
  s.transposed_at = s.panel_at + panels(s).panel
  s.scratch = s.transposed_at * s.size + (as_they_are(s) and 0 or transposed_bytes(s, s.columns[1]))
end

-- Everything that stages and estimate derive from a problem and a schedule.
function winograd_gather.shape(p, schedule, target)
  local forward = p.pass == "forward"
  local size = parts.size_of(p)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local axis_h, axis_w = grid.axes(p)
  local h_plans, w_plans = grid.plans(axis_h, schedule.h), grid.plans(axis_w, schedule.w)
  local h, w = h_plans[1], w_plans[1]
  local s = { p = p, schedule = schedule, size = size, lanes = parts.lanes_of(p, target), h = h, w = w, images = p.batch * p.input[1],
    frequencies = h.size * w.size,
    from = { base = forward and "src" or "dst", pitch = forward and p.ic or p.oc, channels = forward and icg or ocg,
      all = forward and p.ic or p.oc, size = forward and p.input or p.output },
    to = { base = forward and "dst" or "src", pitch = forward and p.oc or p.ic, channels = forward and ocg or icg,
      all = forward and p.oc or p.ic, size = forward and p.output or p.input } }
  s.blocks, s.block_images = grid.blocks(h_plans, w_plans, s.images, schedule.tiles, schedule.shares)
  s.columns = cut.columns(s.to.channels, schedule.vectors, s.lanes)
  local most = 0
  for _, block in ipairs(s.blocks) do most = math.max(most, block.classes.total) end
  s.tiles, s.width = most, s.columns[1].width
  s.phases, s.phases_at = grid.phase_pairs(h, w)
  s.terms = #s.phases * s.from.channels
  s.v_row = odd_lines(s.terms - s.from.channels + parts.round_up(s.from.channels, s.lanes), size)
  s.v_apart = odd_lines(most * s.v_row, size)
  s.m_apart = odd_lines(most * s.width, size)
  s.scratch = s.frequencies * (s.v_apart + s.m_apart) * size
  s.fuse, s.half = schedule.fuse, schedule.half or schedule.fuse
  s.chunks = cut.piece_runs(s.from.channels, schedule.chunk or s.from.channels)
  s.planes = p.layout == "nchw"
  if s.planes then planes.buffers(s, axis_h, axis_w) else
    s.from.row, s.to.row = s.from.size[3] * s.from.pitch, s.to.size[3] * s.to.pitch
  end
  if s.fuse then fused_buffers(s) end
  return s
end

---- kernels, each made once ------------------------------------------------------------------------------------------

-- c.kernel(key, what, make); the first that cannot be made leaves its reason in c.why.
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

local function channels_of(s, tile) return (tile.vectors - 1) * s.lanes + tile.last end

---- transformed weights ---------------------------------------------------------------------------------------------------------

-- How the U or H of equal column tiles is made: transpose(d, group, index of the tile, at), where needed: the weights into the scratch
-- from `at` on; make(d, group, index, at, to, first channel of the reduction, channels); from(group, index, channel): where weights are
-- read that need no transposing.
local function weights_maker(s, c, tile)
  local p, layout, target = s.p, c.layout, c.target
  local forward, direct = p.pass == "forward", as_they_are(s)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local taps_h, taps_w = s.h.taps, s.w.taps
  local unfold = s.planes and planes.weights(s, c, tile, channels_of(s, tile))
  local function tap(y, x)
    if s.planes then return (forward and y * taps_w + x or taps_h * taps_w - 1 - y * taps_w - x) * tile.width end
    if forward then return (y * taps_w + x) * (icg * p.oc) end
    return ((taps_h - 1 - y) * taps_w + taps_w - 1 - x) * (ocg * tile.width)
  end
  local read = direct and tile or { vectors = tile.vectors, last = s.lanes, width = tile.width }
  local row = direct and p.oc or s.planes and taps_h * taps_w * tile.width or tile.width
  local function kernel(phase)
    local h, w = grid.part(phase.h, s.h.schemes[1]), grid.part(phase.w, s.w.schemes[1])
    return c.kernel(("pack %d %d %dx%d"):format(tile.vectors, tile.last, h.taps, w.taps), "pack", function(name)
      return transform.weights(p, target, name, { h = s.half and half.rows(h) or h, w = w, columns = s.w.size,
        tap = function(y, x) return tap(y * s.h.stride, x * s.w.stride) end,
        row = row, tile = read, apart = layout.apart(tile), half = s.half })
    end)
  end
  for _, phase in ipairs(s.phases) do kernel(phase) end
  local transpose = not forward and not s.planes and c.kernel(("transpose %d %d"):format(tile.vectors, tile.last), "transpose", function(name)
    return relayout.turned_panel(tile, p, { name = name, type = p.type, target = target })
  end)
  local made = {}
  function made.from(g, index, channel) return g * ocg + index * s.width + channel * row end
  function made.transpose(d, g, index, at)
    local first = index * s.width
    if unfold then
      local length = icg * taps_h * taps_w
      local from = forward and (g * ocg + first) * length or (g * ocg) * length + first * (taps_h * taps_w)
      d:loop("line", 0, unfold.count, 1, function(n)
        d:call(unfold.kernel, { { d.weights, from + n * unfold.from }, { d.scratch, n * unfold.to + at } })
      end)
    elseif transpose then
      d:loop("tap", 0, taps_h * taps_w, 1, function(t)
        d:call(transpose, { { d.weights, t * (icg * p.oc) + first * p.oc + g * ocg }, { d.scratch, t * (ocg * tile.width) + at } })
      end)
    end
  end
  function made.make(d, g, index, at, to, channel, channels)
    for i, phase in ipairs(s.phases) do -- strides are of weights that are read as they are
      local from = direct and { d.weights, made.from(g, index, channel) + tap(phase.h.first, phase.w.first) } or
        { d.scratch, channel * row + at }
      d:call(kernel(phase), { from, { to[1], to[2] + (i - 1) * (s.from.channels * tile.width) }, channels })
    end
  end
  return made
end

-- One run of equal column tiles: tasks are (group, column tile).
local function pack_part(s, c, run)
  local maker = weights_maker(s, c, run.tile)
  return { what = ("%s of a tile of output channels"):format(s.half and "H" or "U"), indices = { { "g", s.p.groups }, { "tile", run.count } },
    body = function(d, g, index)
      maker.transpose(d, g, index + run.index, 0)
      maker.make(d, g, index + run.index, 0, { d.packed, c.layout.at(g, index + run.index) }, driver.expr(0), s.from.channels)
    end }
end

local function pack_stage(s, c)
  local list, scratch = {}, 0
  for _, run in ipairs(cut.column_runs(s.columns)) do
    list[#list + 1] = pack_part(s, c, run)
    if not as_they_are(s) then scratch = math.max(scratch, transposed_bytes(s, run.tile)) end
  end
  return driver.stage { name = "pack", pack = true, scratch = scratch, parts = list }
end

---- kernels of the compute stage------------------------------------------------------------------------------------------

local function side(scheme) return { scheme = scheme, at = function(f) return grid.frequency(scheme, f) end } end

-- Of a phase's window of a tile.
local function input_side(plan, tile, phase)
  local one = side(grid.part(phase, plan.schemes[tile.class]))
  local window = tile.windows[phase.first + 1]
  one.low, one.high = window.low, window.high
  return one, ("%d/%d:%d-%d"):format(tile.class, one.scheme.size, one.low, one.high)
end

local function input_kernel(s, c, h_tile, w_tile, phase)
  local h, h_key = input_side(s.h, h_tile, phase.h)
  local w, w_key = input_side(s.w, w_tile, phase.w)
  return c.kernel(("input %s %s"):format(h_key, w_key), "input", function(name)
    local phase = #s.phases > 1 and (" of one phase, %d rows and %d columns apart"):format(s.h.stride, s.w.stride)
    return transform.input(s.p, c.target, name, { h = h, w = w, phase = phase, pixel = s.from.pitch * (s.w.grids.step * s.w.stride),
      row = s.from.row * (s.h.grids.step * s.h.stride), channels = s.from.channels, apart = s.v_apart, columns = s.w.size })
  end)
end

local function output_kernel(s, c, h_class, w_class, tile)
  return c.kernel(("output %d %d %d %d"):format(h_class, w_class, tile.vectors, tile.last), "output", function(name)
    return transform.output(s.p, c.target, name, { h = side(s.h.schemes[h_class]), w = side(s.w.schemes[w_class]), pixel = s.to.pitch * s.w.grids.step,
      row = s.to.row * s.h.grids.step, channels = channels_of(s, tile), apart = s.m_apart, columns = s.w.size,
      stream = s.schedule.stream })
  end)
end

local function product_kernel(s, c, tiles, tile, channels, adds)
  return c.kernel(("product %d %d, %d %s"):format(tiles, tile.vectors, channels, adds), "product", function(name)
    return transform.product(s.p, c.target, name, { tiles = tiles, vectors = tile.vectors, channels = channels, adds = adds, row = s.v_row,
      width = tile.width, prefetch = s.schedule.ahead and s.schedule.ahead * tile.width })
  end)
end

-- What is fetched with each channel of a product, by one of `calls` of a column tile: of taps that begin so many apart, some.
local function fetched(s, calls)
  if not s.fuse or not as_they_are(s) then return end
  local taps = s.h.taps * s.w.taps
  return (taps + calls - 1) // calls
end

-- The number `index` of the kernels of a column of frequencies. They share in fetching the H of the next partial sum.
local function half_kernel(s, c, kernels, index, tile, calls, channels, adds)
  local one, fetch, lines = kernels[index], fetched(s, calls), s.h.taps * tile.width * s.size // 64
  local first, stop = lines * (index - 1) // #kernels, lines * index // #kernels
  if s.fuse then first, stop = 0, 0 end
  local key = ("half %s of %d, %d %d %s %d-%d"):format(one.key, tile.vectors, channels, fetch or 0, adds, first, stop)
  return c.kernel(key, "product", function(name)
    return half.product(s.p, c.target, name, { units = one.units, vectors = tile.vectors, taps = s.h.taps, channels = channels,
      width = tile.width, row = s.v_row, apart = s.w.size * s.v_apart, sums_apart = s.w.size * s.m_apart, adds = adds,
      ahead = stop - first, ahead_first = first, fetch = fetch, fetch_apart = s.from.channels * s.p.oc, fetch_row = s.p.oc })
  end)
end

-- How many products a column tile of a block has.
local function calls_of(s, block)
  local calls = 0
  half.each_column(s, block, function(fw, list) calls = calls + fw.count * #list end)
  return calls
end

---- the compute stage -----------------------------------------------------------------------------------------------------------

-- Calls body(run of rows of frequencies, list) for rows alike; the list has, for each run of columns that the same tiles of a block and the
-- same phases have, {fw, first: tile, pieces: of tiles, before: terms before its first, terms}.
local function each_row(s, block, body)
  for _, fh in ipairs(grid.frequency_runs(s.h, block.h.tiles[2] > 0)) do
    local list = {}
    for _, fw in ipairs(grid.frequency_runs(s.w, block.w.tiles[2] > 0)) do
      local first, count = grid.having(block.classes, fh.big_only, fw.big_only)
      local before, phases = s.phases_at(fh.long_only, fw.long_only)
      if count > 0 then
        list[#list + 1] = { fw = fw, first = first, pieces = cut.piece_runs(count, s.schedule.rows), before = before * s.from.channels,
          terms = phases * s.from.channels }
      end
    end
    body(fh, list)
  end
end

local function chunks_of(s, terms) return cut.piece_runs(terms, s.schedule.chunk or terms) end

-- Calls body(channels, adds) for each kind of partial sum: the first is stored to M, the others are added.
local function each_sum(chunks, body)
  for _, chunk in ipairs(chunks) do
    if chunk.first == 0 then body(chunk.size, false) end
    if chunk.first > 0 or chunk.count > 1 then body(chunk.size, true) end
  end
end

-- Calls body(first channel, channels, adds) in loops over the partial sums.
local function each_chunk(chunks, d, body)
  for _, run in ipairs(chunks) do
    local first = run.first
    if first == 0 then body(driver.expr(0), run.size, false); first = run.size end
    d:loop("channel", first, run.first + run.size * run.count, run.size, function(channel) body(channel, run.size, true) end)
  end
end

-- The drivers' texts are made later; their kernels have to be there before.
local function make_kernels(s, c, block)
  grid.each_run(block, function(hr, wr)
    for _, phase in ipairs(s.phases) do input_kernel(s, c, hr.tile, wr.tile, phase) end
    for _, run in ipairs(cut.column_runs(s.columns)) do output_kernel(s, c, hr.tile.class, wr.tile.class, run.tile) end
  end)
  if s.planes then
    local channels = {}
    for i, run in ipairs(cut.column_runs(s.columns)) do channels[i] = channels_of(s, run.tile) end
    planes.make_kernels(s, c, block, channels)
  end
  if s.half then
    local calls = calls_of(s, block)
    half.each_column(s, block, function(_, list)
      for i in ipairs(list) do
        for _, run in ipairs(cut.column_runs(s.columns)) do
          each_sum(s.chunks, function(channels, adds) half_kernel(s, c, list, i, run.tile, calls, channels, adds) end)
        end
      end
    end)
    return
  end
  each_row(s, block, function(_, list)
    for _, part in ipairs(list) do
      for _, piece in ipairs(part.pieces) do
        for _, run in ipairs(cut.column_runs(s.columns)) do
          each_sum(chunks_of(s, part.terms), function(channels, adds) product_kernel(s, c, piece.size, run.tile, channels, adds) end)
        end
      end
    end
  end)
end

-- Calls body(h run, w run, row, column, image, tile number) in loops over the tiles of a block.
local function each_tile(d, block, body)
  grid.each_run(block, function(hr, wr, class)
    d:loop("image", 0, block.images, 1, function(image)
      d:loop("row", 0, hr.count, 1, function(row)
        d:loop("column", 0, wr.count, 1, function(column)
          body(hr, wr, row, column, image, (image * class.rows + row + hr.at) * class.columns + column + (wr.at + class.first))
        end)
      end)
    end)
  end)
end

-- The offset of a pixel of `side` (from or to): image, row, column.
local function pixel(tensor, image, y, x) return ((image * tensor.size[2] + y) * tensor.size[3] + x) * tensor.pitch end

-- Likewise of row y and column x of a grid, numbered over all images; h_base and w_base: what is before in the tensor.
local function grid_pixel(tensor, block, number, y, x, h_base, w_base)
  local h, w = block.h.grids, block.w.grids
  local function place(grids, n, i, base)
    return i * grids.step + base + grids.first + (grids.count > 1 and driver.rest(n, grids.count) or 0)
  end
  return pixel(tensor, driver.quotient(number, h.count * w.count), place(h, driver.quotient(number, w.count), y, h_base),
    place(w, number, x, w_base))
end

local function transform_inputs(s, c, d, block, at)
  if s.planes then planes.read(s, c, d, block, at) end
  d:comment(("V of each tile: frequency f of tile t at scratch + f * %d + t * %d"):format(s.v_apart, s.v_row))
  each_tile(d, block, function(hr, wr, row, column, image, tile)
    local y, x = row * s.h.schemes[hr.tile.class].outputs + hr.from, column * s.w.schemes[wr.tile.class].outputs + wr.from
    for i, phase in ipairs(s.phases) do
      local window = s.planes and { d.scratch, planes.window(s, block, image, y, x) }
        or { d[s.from.base], grid_pixel(s.from, block, at.image + image, (at.y + y) * s.h.stride, (at.x + x) * s.w.stride,
          s.h.base + phase.h.first, s.w.base + phase.w.first) + at.g * s.from.channels }
      d:call(input_kernel(s, c, hr.tile, wr.tile, phase), { window, { d.scratch, tile * s.v_row + (i - 1) * s.from.channels } })
    end
  end)
end

-- With each frequency a share of the next block's input is fetched: rows of the window, line by line. Beyond the last block that
-- is of no use, and does no harm.
local function fetches(s, c, block, h, w)
  if not s.schedule.fetch or #block.rectangles > 1 then return nil end
  local rows, pixels = (h.outputs - 1) * s.h.stride + s.h.taps, (w.outputs - 1) * s.w.stride + s.w.taps
  local line = 64 // s.size
  local lines = (pixels * s.from.pitch + line - 1) // line
  local units = s.frequencies * #s.columns
  local share = (rows * lines * block.images + units - 1) // units
  local kernel = c.kernel("fetch " .. share, "fetch", function(name) return transform.fetch(s.p, c.target, name, share) end)
  return function(d, base, index, f)
    local at = (index * s.frequencies + f) * share
    local row = driver.quotient(at, lines) * (s.from.size[3] * s.from.pitch)
    d:call(kernel, { { d[s.from.base], base + row + driver.rest(at, lines) * line } })
  end
end

local function about_sums(s, d, tile)
  d:comment(("M of %d output channels: frequency f of tile t at scratch + f * %d + t * %d + %d"):format(tile.width, s.m_apart, tile.width,
    s.frequencies * s.v_apart))
end

-- Row of frequencies by row, in the order that U is packed in: it is one stream, whatever tiles a frequency has.
local function multiply(s, c, d, block, tile, panel, fetch)
  local u_apart, m = c.layout.apart(tile), s.frequencies * s.v_apart
  about_sums(s, d, tile)
  local function products(f, part)
    if fetch then fetch(f) end
    for _, run in ipairs(part.pieces) do
      d:loop("t", part.first + run.first, part.first + run.first + run.size * run.count, run.size, function(t)
        each_chunk(chunks_of(s, part.terms), d, function(channel, channels, adds)
          d:call(product_kernel(s, c, run.size, tile, channels, adds), { { d.scratch, f * s.v_apart + t * s.v_row + (channel + part.before) },
            { d.packed, panel + f * u_apart + (channel + part.before) * tile.width }, { d.scratch, f * s.m_apart + t * tile.width + m } })
        end)
      end)
    end
  end
  each_row(s, block, function(fh, list)
    d:loop("fh", fh.first, fh.first + fh.count, 1, function(h)
      for _, part in ipairs(list) do
        d:loop("fw", part.fw.first, part.fw.first + part.fw.count, 1, function(w) products(d:let("f", h * s.w.size + w), part) end)
      end
    end)
  end)
end

-- Of half-transformed weights, which are read once: column of frequencies by column, each partial sum by partial sum.
local function multiply_half(s, c, d, block, tile, panel)
  local h_apart, m, calls = c.layout.apart(tile), s.frequencies * s.v_apart, calls_of(s, block)
  about_sums(s, d, tile)
  half.each_column(s, block, function(fw, list)
    d:loop("fw", fw.first, fw.first + fw.count, 1, function(w)
      each_chunk(s.chunks, d, function(channel, channels, adds)
        for i in ipairs(list) do
          d:call(half_kernel(s, c, list, i, tile, calls, channels, adds), { { d.scratch, w * s.v_apart + channel },
            { d.packed, panel + w * h_apart + channel * (s.h.taps * tile.width) }, { d.scratch, w * s.m_apart + m } })
        end
      end)
    end)
  end)
end

-- Of half-transformed weights that are made in the run: partial sum by partial sum, each of all columns. A product fetches weights that are
-- transformed next, where they are read as they are.
local function multiply_fused(s, c, d, block, tile, maker, g, index)
  local h_apart, m, calls = c.layout.apart(tile), s.frequencies * s.v_apart, calls_of(s, block)
  local fetch = fetched(s, calls)
  about_sums(s, d, tile)
  maker.transpose(d, g, index, s.transposed_at)
  each_chunk(s.chunks, d, function(channel, channels, adds)
    d:comment(("H of %d channels, and its part of M"):format(channels))
    maker.make(d, g, index, s.transposed_at, { d.scratch, s.panel_at }, channel, channels)
    local stop, before = channel + channels, 0
    local ahead = fetch and d:let("ahead", maker.from(g, index + driver.quotient(stop, s.from.channels), driver.rest(stop, s.from.channels)))
    half.each_column(s, block, function(fw, list)
      d:loop("fw", fw.first, fw.first + fw.count, 1, function(w)
        for i in ipairs(list) do
          local args = { { d.scratch, w * s.v_apart + channel }, { d.scratch, w * h_apart + s.panel_at }, { d.scratch, w * s.m_apart + m } }
          if fetch then
            local tap = driver.min(((w - fw.first) * #list + (before + i - 1)) * fetch, s.h.taps * s.w.taps - fetch)
            args[4] = { d.weights, ahead + tap * (s.from.channels * s.p.oc) }
          end
          d:call(half_kernel(s, c, list, i, tile, calls, channels, adds), args)
        end
      end)
      before = before + fw.count * #list
    end)
  end)
end

local function transform_outputs(s, c, d, block, at, tile, channel)
  d:comment "Y of each tile"
  each_tile(d, block, function(hr, wr, row, column, image, number)
    local y, x = row * s.h.schemes[hr.tile.class].outputs + hr.from, column * s.w.schemes[wr.tile.class].outputs + wr.from
    local out = d:let("out", s.planes and planes.outputs(s, image, y, x)
      or grid_pixel(s.to, block, at.image + image, at.y + y, at.x + x, 0, 0) + channel)
    local args = { { d.scratch, number * tile.width + s.frequencies * s.v_apart } }
    if s.p.pass == "forward" and s.p.bias then args[#args + 1] = { d.bias, channel } end
    if s.p.pass == "forward" and s.p.epilogue.residual then args[#args + 1] = { d.residual, out } end
    args[#args + 1] = { s.planes and d.scratch or d[s.to.base], out }
    d:call(output_kernel(s, c, hr.tile.class, wr.tile.class, tile), args)
  end)
  if s.planes then planes.write(s, c, d, block, at, channels_of(s, tile), channel) end
end

-- Tasks over group, images, bands and shares of the column tiles, for equal bands of both axes.
local function compute_part(s, c, block)
  local images, h, w = block.run, block.h, block.w
  make_kernels(s, c, block)
  local makers = {}
  for i, run in ipairs(s.fuse and cut.column_runs(s.columns) or {}) do makers[i] = weights_maker(s, c, run.tile) end
  local fetch = fetches(s, c, block, h, w)
  local splits = s.schedule.splits
  local share = (#s.columns + splits - 1) // splits
  local function body(d, g, image, band_h, band_w, split)
    local at = { g = g, image = d:let("first_image", image * images.size + images.first),
      y = d:let("y", band_h * h.outputs + h.first), x = d:let("x", band_w * w.outputs + w.first) }
    local following
    if fetch then -- the block after this one, of the same part
      local number = d:let("number", (image * h.count + band_h) * w.count + band_w + 1)
      local row = driver.rest(driver.quotient(number, w.count), h.count)
      following = d:let("following", pixel(s.from, driver.quotient(number, w.count * h.count) * images.size + images.first,
        (row * h.outputs + h.first) * s.h.stride + s.h.base, (driver.rest(number, w.count) * w.outputs + w.first) * s.w.stride + s.w.base))
    end
    transform_inputs(s, c, d, block, at)
    for i, run in ipairs(cut.column_runs(s.columns)) do
      local first, stop = driver.max(split * share, run.index), driver.min(split * share + share, run.index + run.count)
      d:loop("tile", first, stop, 1, function(index)
        if s.fuse then multiply_fused(s, c, d, block, run.tile, makers[i], g, index)
        elseif s.half then multiply_half(s, c, d, block, run.tile, d:let("panel", c.layout.at(g, index)))
        else
          multiply(s, c, d, block, run.tile, d:let("panel", c.layout.at(g, index)),
            fetch and function(f) fetch(d, following, index, f) end)
        end
        transform_outputs(s, c, d, block, at, run.tile, d:let("channel", g * s.to.channels + index * s.width))
      end)
    end
  end
  local what = ("blocks of %d x %d x %d outputs: images, rows, columns"):format(images.size, h.outputs, w.outputs)
  if #block.rectangles > 1 then what = ("blocks of %d tiles"):format(block.classes.total) end
  return { what = what, body = body, indices = { { "g", s.p.groups }, { "image", images.count }, { "band_h", h.count }, { "band_w", w.count },
    { "split", splits } } }
end

-- Why a schedule cannot be, or nil; s is its shape.
function winograd_gather.misfit(s)
  if s.scratch > winograd_gather.most_scratch then
    return ("needs %.1f MB of scratch a thread, at most %d"):format(s.scratch / 2.0 ^ 20, winograd_gather.most_scratch >> 20)
  end
  local shares = s.schedule.shares
  if shares and (shares < 2 or shares > winograd_gather.most_shares) then
    return ("cuts its blocks for %d threads, which may be from 2 to %d"):format(shares, winograd_gather.most_shares)
  end
  if s.schedule.ahead and s.half then return "winograd fetches no rows of half-transformed weights ahead" end
  if s.schedule.chunk and s.schedule.chunk >= s.from.channels then return "winograd has no such partial sums: a chunk is the whole reduction" end
  if s.schedule.fetch and s.half then return "winograd fetches no input beside the products of half-transformed weights" end
  if s.half and s.h.taps == 1 then return "winograd needs taps along h to transform half of the weights" end
  if s.schedule.fetch and grid.dilated(s.p) then return "winograd does not fetch the windows of a dilation" end
  if s.planes and s.p.epilogue.residual then return "winograd adds no residual to channels-first data" end
  if s.planes and shares then return "winograd cuts no blocks of channels-first data for threads" end
  if s.planes and (s.schedule.fetch or s.schedule.stream) then return "winograd neither fetches nor streams channels-first data" end
  if (s.p.pass ~= "forward" or s.planes) and transposed_bytes(s, s.columns[1]) > winograd_gather.most_scratch then
    return "needs too much scratch to transpose its weights"
  end
  if s.schedule.splits > #s.columns then return ("has %d column tiles, fewer than its shares"):format(#s.columns) end
end

function winograd_gather.stages(p, schedule, target)
  local s = winograd_gather.shape(p, schedule, target)
  local kernels, c = {}, { target = target, layout = panels(s) }
  c.kernel = kernel_maker(c, kernels)
  local stages, list = { not s.fuse and pack_stage(s, c) or nil }, {}
  for i, block in ipairs(s.blocks) do list[i] = compute_part(s, c, block) end
  if c.why then return nil, c.why end
  stages[#stages + 1] = driver.stage { name = "compute", parts = list, scratch = s.scratch, in_order = s.schedule.shares ~= nil }
  return { kernels = kernels, stages = stages, packed = s.fuse and 0 or c.layout.elements * s.size, shared = 0, tile = { 1, (s.schedule.h[1] - 1) * s.h.grids.step + 1, (s.schedule.w[1] - 1) * s.w.grids.step + 1 } }
end

winograd_gather.panels = panels

return winograd_gather
