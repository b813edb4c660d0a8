-- grid.lua: how outputs are covered by Winograd's tiles: sizes on an axis, blocks of tiles, borders.
--
-- An axis is cut into tiles of one or two sizes that cover its outputs exactly, larger ones first; the smaller size has nested
-- points, so both use the same transformed weights. Tiles are numbered within a block by class, so that the tiles that have a
-- given product (frequency) stand side by side:  small columns of large rows, large of large, large of small, small of small.
-- A dilation d splits an axis into d grids of every d-th pixel, undilated each; a grid of an image is a block's image of its own.
-- A stride s splits the taps of an axis into s phases: of every s-th tap and every s-th pixel, without a stride each. Phases are
-- as more channels of the reduction, transformed alike; those that have a tap fewer have no product at infinity.
local toomcook = require "toomcook"
local gather = require "gather"
local cut = require "tiles"
local grid = {}

---- one axis -------------------------------------------------------------------------------------------------------------------

-- {4, 3} and 14 outputs -> 2, 2; nil when they cannot be covered, or not with both.
function grid.counts(outputs, sizes)
  local big, small = sizes[1], sizes[2]
  if not small then return outputs % big == 0 and outputs // big or nil, 0 end
  for count = outputs // big, 1, -1 do
    local rest = outputs - count * big
    if rest > 0 and rest % small == 0 then return count, rest // small end
  end
end

-- Of one grid of several, which may do with one of the sizes.
local function counts_of_grid(outputs, sizes)
  local big, small = grid.counts(outputs, sizes)
  if big then return big, small end
  if outputs % sizes[1] == 0 then return outputs // sizes[1], 0 end
  if sizes[2] and outputs % sizes[2] == 0 then return 0, outputs // sizes[2] end
end

-- The grids of an axis (gather.lua), equal ones in runs: {axis: the grid's own, step: from pixel to pixel, first output, count}.
function grid.split(axis)
  local step, runs = axis.taps > 1 and math.abs(axis.tap_step) or 1, {}
  for first = 0, math.min(step, axis.outputs) - 1 do
    local from, run = axis.offset + first, runs[#runs]
    local outputs, inputs = (axis.outputs - first + step - 1) // step, (axis.inputs - from % step + step - 1) // step
    if run and run.axis.outputs == outputs and run.axis.inputs == inputs and run.axis.offset == from // step then
      run.count = run.count + 1
    else
      runs[#runs + 1] = { step = step, first = first, count = 1, axis = { outputs = outputs, inputs = inputs, offset = from // step,
        taps = axis.taps, tap_step = axis.tap_step // step, step = axis.step } }
    end
  end
  return runs
end

-- Tiles of both sizes that cover all grids of an axis; nil when they do not, or one is of no use.
function grid.cover(axis, sizes)
  local runs, bigs, smalls = grid.split(axis), 0, 0
  for _, run in ipairs(runs) do
    local big, small = (#runs > 1 and counts_of_grid or grid.counts)(run.axis.outputs, sizes)
    if not big then return end
    bigs, smalls = bigs + run.count * big, smalls + run.count * small
  end
  if bigs > 0 and (smalls > 0) == (sizes[2] ~= nil) then return bigs, smalls end
end

-- Positions [low, high) of a tile's window that are in the input.
local function window(axis, base, first, size)
  local at = first + base
  local low = math.min(math.max(-at, 0), size)
  return low, math.max(math.min(size, axis.inputs - at), low)
end

-- Where the window of the first output begins.
local function base_of(axis) return axis.offset + (axis.tap_step < 0 and axis.tap_step * (axis.taps - 1) or 0) end

-- Taps of a phase, of which some may have one fewer.
function grid.taps(axis) return (axis.taps + axis.step - 1) // axis.step end

-- The phases of a grid's axis: {axis: the phase's own, first: its first tap, short: whether it has a tap fewer than the first}.
function grid.phases(axis)
  if axis.step == 1 then return { { axis = axis, first = 0, short = false } } end
  local step, phases = axis.step, {}
  for first = 0, math.min(step, axis.taps) - 1 do
    local from, taps = axis.offset + first, (axis.taps - first + step - 1) // step
    phases[first + 1] = { first = first, short = taps < grid.taps(axis), axis = { outputs = axis.outputs, offset = from // step,
      inputs = (axis.inputs - from % step + step - 1) // step, taps = taps, tap_step = 1, step = 1 } }
  end
  return phases
end

-- What a phase has of the scheme of a tile.
function grid.part(phase, scheme) return phase.short and toomcook.short(scheme) or scheme end

-- A tile and the windows of its phases; equal keys: the same kernels.
local function tile_of(plan, class, first)
  local tile = { class = class, first = first, windows = {} }
  local words = { class .. ":" }
  for i, phase in ipairs(plan.phases) do
    local low, high = window(phase.axis, base_of(phase.axis), first, grid.part(phase, plan.schemes[class]).size)
    tile.windows[i], words[i + 1] = { low = low, high = high }, low .. "-" .. high
  end
  tile.key = table.concat(words, " ")
  return tile
end

local function plan_of(axis, schemes, sizes)
  local big_count, small_count = counts_of_grid(axis.outputs, sizes)
  local plan = { taps = axis.taps, stride = axis.step, phases = grid.phases(axis), schemes = schemes, size = schemes[1].size, tiles = {} }
  plan.short = plan.phases[#plan.phases].short
  local first = 0
  for class = 1, 2 do
    for _ = 1, class == 1 and big_count or small_count do
      table.insert(plan.tiles, tile_of(plan, class, first))
      first = first + schemes[class].outputs
    end
  end
  return plan
end

-- The schemes of an axis' tiles, larger ones first.
function grid.schemes(axis, sizes)
  local big = toomcook.scheme(sizes[1], grid.taps(axis))
  return { big, sizes[2] and toomcook.nested(big, sizes[2]) }
end

-- The plans of the grids of an axis in tiles of `sizes`: schemes, phases (short: whether any is), tiles {class, first, windows of
-- the phases}, grids (as above), base: where the window of the axis' first output begins.
function grid.plans(axis, sizes)
  local schemes, plans = grid.schemes(axis, sizes), {}
  for i, run in ipairs(grid.split(axis)) do
    plans[i] = plan_of(run.axis, schemes, sizes)
    plans[i].grids, plans[i].base = run, base_of(axis)
  end
  return plans
end

-- Where a scheme's frequency f (from 1) is among the big one's (from 0).
function grid.frequency(scheme, f) return (scheme.at and scheme.at[f] or f) - 1 end

-- Runs of an axis' frequencies that all tiles have or only big ones, and all phases or not short ones:
-- {first, count, big_only, long_only}.
function grid.frequency_runs(plan, both)
  local small, runs = plan.schemes[2], {}
  local function run(first, count, big_only, long_only)
    runs[#runs + 1] = { first = first, count = count, big_only = big_only, long_only = long_only }
  end
  local mixed = small and both and small.size < plan.size
  if not mixed and not plan.short then run(0, plan.size, false, false); return runs end
  if mixed then
    run(0, small.size - 1, false, false)
    run(small.size - 1, plan.size - small.size, true, false)
  else run(0, plan.size - 1, false, false) end
  run(plan.size - 1, 1, false, plan.short)
  return runs
end

-- Pairs of the phases of both axes, {h, w}, in an order in which those that have a product stand side by side: those of rows that
-- are short, then those that are not, of columns that are not; those of columns that are short, rows alike. And, for frequencies
-- long_only or not: the number of pairs before those that have the product, and of those.
function grid.phase_pairs(h, w)
  local pairs_, stops = {}, {}
  for _, class in ipairs { { true, false }, { false, false }, { false, true }, { true, true } } do
    for _, a in ipairs(h.phases) do
      for _, b in ipairs(w.phases) do
        if a.short == class[1] and b.short == class[2] then pairs_[#pairs_ + 1] = { h = a, w = b } end
      end
    end
    stops[#stops + 1] = #pairs_
  end
  return pairs_, function(h_long_only, w_long_only)
    local first = h_long_only and stops[1] or 0
    return first, (w_long_only and stops[2] or h_long_only and stops[3] or stops[4]) - first
  end
end

---- bands: an axis' tiles in pieces ---------------------------------------------------------------------------------------------

-- Equal tiles of a band: {tile (the first), at: index within its class, from: outputs before it, count}.
local function tile_runs(plan, first, count)
  local runs, before = {}, { 0, 0 }
  for i = first + 1, first + count do
    local tile, run = plan.tiles[i], runs[#runs]
    if run and run.tile.key == tile.key then
      run.count = run.count + 1
    else
      runs[#runs + 1] = { tile = tile, at = before[tile.class], from = tile.first - plan.tiles[first + 1].first, count = 1 }
    end
    before[tile.class] = before[tile.class] + 1
  end
  return runs, before
end

local function key_of(runs)
  local words = {}
  for i, r in ipairs(runs) do words[i] = ("%s x%d"):format(r.tile.key, r.count) end
  return table.concat(words, ", ")
end

-- Of pieces {first, size} of an axis' tiles; equal ones in runs, unless `apart`: {runs, tiles of each class, first: the first output,
-- outputs of a band, count, grids: the plan's}.
local function bands_of(plan, pieces, apart)
  local bands = {}
  for _, piece in ipairs(pieces) do
    local runs, tiles = tile_runs(plan, piece.first, piece.size)
    local key, band = key_of(runs), bands[#bands]
    if band and band.key == key and not apart then
      band.count = band.count + 1
    else
      local next_tile = plan.tiles[piece.first + piece.size + 1]
      local last = plan.tiles[#plan.tiles]
      local stop = next_tile and next_tile.first or last.first + plan.schemes[last.class].outputs
      local first = plan.tiles[piece.first + 1].first
      bands[#bands + 1] = { key = key, runs = runs, tiles = tiles, first = first, outputs = stop - first, count = 1,
        grids = plan.grids }
    end
  end
  return bands
end

---- blocks ----------------------------------------------------------------------------------------------------------------------

-- Rows, columns and images of a block of about `tiles` tiles.
function grid.block(rows, columns, images, tiles)
  if tiles >= rows * columns then return rows, columns, math.min(images, math.max(tiles // (rows * columns), 1)) end
  if tiles >= columns then return tiles // columns, columns, 1 end
  return 1, tiles, 1
end

-- Of the rectangles {h, w} of a block, where the tiles of each class begin: {[h class][w class] = {first, tiles}}, total; a rectangle
-- gets classes of its own: {[h class][w class] = {first, rows, columns}}.
local function classes_of(rectangles, images)
  local list, at = { {}, {} }, 0
  for _, r in ipairs(rectangles) do r.classes = { {}, {} } end
  for _, class in ipairs { { 1, 2 }, { 1, 1 }, { 2, 1 }, { 2, 2 } } do
    local first = at
    for _, r in ipairs(rectangles) do
      local rows, columns = r.h.tiles[class[1]], r.w.tiles[class[2]]
      r.classes[class[1]][class[2]] = { first = at, rows = rows, columns = columns }
      at = at + images * rows * columns
    end
    list[class[1]][class[2]] = { first = first, tiles = at - first }
  end
  list.total = at
  return list
end

-- Bands of an axis as one, which has no outputs of its own: {tiles, first, outputs, count, grids}.
local function together(bands)
  local one = { tiles = { 0, 0 }, first = 0, outputs = 0, count = 1, grids = bands[1].grids }
  for _, band in ipairs(bands) do
    for class = 1, 2 do one.tiles[class] = one.tiles[class] + band.tiles[class] end
  end
  return one
end

local function block_of(rectangles, h, w, run)
  return { h = h, w = w, rectangles = rectangles, run = run, images = run.size, classes = classes_of(rectangles, run.size) }
end

-- A band whose runs are counted from the first output of all.
local function from_the_first(band)
  local runs = {}
  for i, r in ipairs(band.runs) do runs[i] = { tile = r.tile, at = r.at, from = r.from + band.first, count = r.count } end
  return { runs = runs, tiles = band.tiles, grids = band.grids }
end

-- Whether tiles are few enough for blocks that are a thread's share each, in place of bands.
function grid.diagonal(height, width, shares, tiles)
  return shares and shares <= math.min(height, width) and -(-height * width // shares) <= tiles
end

-- All tiles in a block for each of `shares` threads: a share of the rows by one of the columns, each once: 16 + 9 and 12 + 12 of 7 x 7.
local function diagonals(h, w, shares, run)
  local rows = bands_of(h, cut.spread_pieces(#h.tiles, shares), true)
  local columns = bands_of(w, cut.spread_pieces(#w.tiles, shares), true)
  local blocks = {}
  for share = 0, shares - 1 do
    local rectangles = {}
    for i = 0, shares - 1 do
      rectangles[i + 1] = { h = from_the_first(rows[i + 1]), w = from_the_first(columns[(i + share) % shares + 1]) }
    end
    blocks[share + 1] = block_of(rectangles, together(rows), together(columns), run)
  end
  return blocks
end

-- The blocks of a plan for each axis that a run of images has, in the order of their tasks. `shares` (nil: 1) is for how many threads
-- these, in equal numbers one after the other, are to be about equal work.
local function blocks_of(h, w, rows, columns, tiles, shares, run)
  local height, width = #h.tiles, #w.tiles
  local pieces = cut.even_pieces(height, rows)
  if grid.diagonal(height, width, shares, tiles) then return diagonals(h, w, shares, run) end
  if shares then pieces = cut.spread_pieces(height, math.min(-(-#pieces // shares) * shares, height)) end
  local blocks = {}
  for _, hb in ipairs(bands_of(h, pieces)) do
    for _, wb in ipairs(bands_of(w, cut.even_pieces(width, columns))) do
      blocks[#blocks + 1] = block_of({ { h = hb, w = wb } }, hb, wb, run)
    end
  end
  return blocks
end

-- The blocks of the plans of both axes: {h, w: bands, rectangles of tiles {h, w, classes}, mostly one, run: of images (piece_runs),
-- images, classes}; most images of one. shares: as above.
function grid.blocks(h_plans, w_plans, images, tiles, shares)
  local blocks, most_images = {}, 0
  for _, h in ipairs(h_plans) do
    for _, w in ipairs(w_plans) do
      local all = images * h.grids.count * w.grids.count
      local rows, columns, most = grid.block(#h.tiles, #w.tiles, all, tiles)
      most_images = math.max(most_images, most)
      for _, run in ipairs(cut.piece_runs(all, most)) do
        for _, block in ipairs(blocks_of(h, w, rows, columns, tiles, shares, run)) do blocks[#blocks + 1] = block end
      end
    end
  end
  return blocks, most_images
end

-- Calls body(h run, w run, the class of the rectangle that they are in).
function grid.each_run(block, body)
  for _, r in ipairs(block.rectangles) do
    for _, hr in ipairs(r.h.runs) do
      for _, wr in ipairs(r.w.runs) do body(hr, wr, r.classes[hr.tile.class][wr.tile.class]) end
    end
  end
end

-- First tile and number of tiles that have a frequency.
function grid.having(classes, h_big_only, w_big_only)
  local first = w_big_only and classes[1][1].first or 0
  local stop = classes.total
  if h_big_only then stop = classes[1][1].first + classes[1][1].tiles
  elseif w_big_only then stop = classes[2][2].first end
  return first, stop - first
end

function grid.dilated(p)
  return p.kernel[2] > 1 and p.dilation[2] > 1 or p.kernel[3] > 1 and p.dilation[3] > 1
end

function grid.strided(p) return p.stride[2] ~= 1 or p.stride[3] ~= 1 end

-- Why a problem has no tiles, or nil.
local most_outputs = 8192 -- of an axis, whose tiles are listed one by one

function grid.refused(p)
  if p.layout ~= "nhwc" and p.pass == "backward_weights" then return "winograd needs channels-last data for backward weights" end
  if p.stride[1] ~= 1 then return "winograd needs stride 1 between planes" end
  local strided = grid.strided(p)
  if strided and p.pass ~= "forward" then return "winograd needs stride 1 but for the forward pass" end
  if strided and p.layout ~= "nhwc" then return "winograd needs channels-last data for a stride" end
  for i = 2, 3 do
    if p.stride[i] > 1 and p.kernel[i] > 1 and p.dilation[i] > 1 then return "winograd needs dilation 1 on an axis with a stride" end
  end
  if grid.dilated(p) and p.layout ~= "nhwc" then return "winograd needs channels-last data for a dilation" end
  if grid.dilated(p) and p.pass == "backward_weights" then return "winograd needs dilation 1 for backward weights" end
  if p.kernel[1] ~= 1 or p.input[1] ~= p.output[1] or p.pad[1] ~= 0 then return "winograd needs two dimensions, or planes that do not mix" end
  if p.kernel[2] * p.kernel[3] == 1 then return "winograd needs more than one tap" end
  if p.kernel[2] > 7 or p.kernel[3] > 7 then return "winograd needs at most 7 taps on an axis" end
  for i = 2, 3 do
    local outputs = p.pass == "backward_data" and p.input[i] or p.output[i]
    if outputs > most_outputs then return ("an axis of %d outputs, winograd takes at most %d"):format(outputs, most_outputs) end
  end
  if p.kernel[2] <= p.stride[2] and p.kernel[3] <= p.stride[3] then return "winograd needs more taps on an axis than its stride is" end
end

-- Planes are images: the axes h and w.
function grid.axes(p)
  local axes = gather.axes(p)
  return axes[2][1], axes[3][1]
end

return grid
