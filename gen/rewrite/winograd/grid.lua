-- grid.lua: one axis in Winograd's tiles: sizes that cover it, how far windows reach into the input, bands of tiles.
--
-- An axis is cut into tiles of one or two sizes that cover its outputs exactly, larger ones first; the smaller size has
-- nested points, so both use the same transformed weights. (Backward weights: one size, the last tile perhaps cut.)
-- Tiles that are alike stand in runs, so an axis of any length is a few entries, and nothing walks its outputs. A
-- dilation d splits an axis into d grids of every d-th pixel, undilated each; a grid of an image is a block's image of
-- its own. A stride s splits the taps of an axis into s phases: of every s-th tap and every s-th pixel, without a
-- stride each. Phases are as more channels of the reduction; those that have a tap fewer have no product at infinity.
local toomcook = require "toomcook"
local gather = require "gather"
local cut = require "tiles"
local family = require "family"
local grid = {}

---- sizes -------------------------------------------------------------------------------------------------------------

-- {4, 3} and 14 outputs -> 2, 2; nil when they cannot be covered, or not with both.
function grid.counts(outputs, sizes)
  local big, small = sizes[1], sizes[2]
  local most = outputs // big
  if not small then return outputs % big == 0 and most or nil, 0 end
  for count = most, math.max(most - small, 1), -1 do -- rests repeat
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

-- Of every `step`-th input from the one that an offset finds: how many there are, the offset among them.
local function every(axis, offset, step) return (axis.inputs - offset % step + step - 1) // step, offset // step end

-- The grids of an axis (gather.lua), equal ones in runs: {axis: the grid's own, step: from pixel to pixel, first
-- output, count}.
function grid.split(axis)
  local step, runs = axis.taps > 1 and math.abs(axis.tap_step) or 1, {}
  for first = 0, math.min(step, axis.outputs) - 1 do
    local run, outputs, inputs, offset = runs[#runs], (axis.outputs - first + step - 1) // step,
      every(axis, axis.offset + first, step)
    if run and run.axis.outputs == outputs and run.axis.inputs == inputs and run.axis.offset == offset then
      run.count = run.count + 1
    else
      runs[#runs + 1] = { step = step, first = first, count = 1, axis = { outputs = outputs, inputs = inputs,
        offset = offset, taps = axis.taps, tap_step = axis.tap_step // step, step = axis.step } }
    end
  end
  return runs
end

-- Tiles of both sizes that cover all grids of an axis; nil when they do not, or one is of no use.
function grid.cover(axis, sizes, split)
  local runs, bigs, smalls = split or grid.split(axis), 0, 0
  for _, run in ipairs(runs) do
    local big, small = (#runs > 1 and counts_of_grid or grid.counts)(run.axis.outputs, sizes)
    if not big then return end
    bigs, smalls = bigs + run.count * big, smalls + run.count * small
  end
  if bigs > 0 and (smalls > 0) == (sizes[2] ~= nil) then return bigs, smalls end
end

---- phases ------------------------------------------------------------------------------------------------------------

-- Taps of a phase, of which some may have one fewer.
function grid.taps(axis) return (axis.taps + axis.step - 1) // axis.step end

-- The phases of a grid's axis: {axis: its own, first: its first tap, short: whether it has a tap fewer than the first}.
function grid.phases(axis)
  if axis.step == 1 then return { { axis = axis, first = 0, short = false } } end
  local step, phases = axis.step, {}
  for first = 0, math.min(step, axis.taps) - 1 do
    local own = { outputs = axis.outputs, taps = (axis.taps - first + step - 1) // step, tap_step = 1, step = 1 }
    own.inputs, own.offset = every(axis, axis.offset + first, step)
    phases[first + 1] = { first = first, short = own.taps < grid.taps(axis), axis = own }
  end
  return phases
end

-- What a phase has of the scheme of a tile.
function grid.part(phase, scheme) return phase.short and toomcook.short(scheme) or scheme end

-- Pairs of the phases of both axes, {h, w}, in an order in which those that have a product stand side by side: those of
-- rows that are short, then those that are not, of columns that are not; those of columns that are short, rows alike.
-- And, for frequencies long_only or not: the number of pairs before those that have the product, and of those.
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

---- tiles -------------------------------------------------------------------------------------------------------------

-- How many windows at `at`, at + step, ... reach into the input as the first does.
function grid.alike(axis, at, size, step)
  if at >= 0 and at + size <= axis.inputs then return (axis.inputs - size - at) // step + 1 end
  if at + size <= 0 then return (-size - at) // step + 1 end
  return at >= axis.inputs and math.huge or 1
end

-- Where the window of the first output begins.
local function base_of(axis) return axis.offset + (axis.tap_step < 0 and axis.tap_step * (axis.taps - 1) or 0) end

-- A tile of a kind {class, outputs, whole: those of a tile that is not cut, count} and how many of `left` are like it.
-- Its windows, one for each phase, are in the input, and used by its outputs, in [low, high).
local function tile_of(plan, kind, first, left)
  local tile = { class = kind.class, outputs = kind.outputs, first = first, windows = {} }
  local words, count = { kind.class .. ":" .. kind.outputs }, left
  for i, phase in ipairs(plan.phases) do
    local axis = phase.axis
    local at, size = first + base_of(axis), kind.outputs + axis.taps - 1
    local low = math.min(math.max(-at, 0), kind.whole + axis.taps - 1)
    local high = math.max(math.min(size, axis.inputs - at), low)
    tile.windows[i], words[i + 1] = { low = low, high = high }, low .. "-" .. high
    count = math.min(count, grid.alike(axis, at, size, kind.outputs))
  end
  tile.key = table.concat(words, " ")
  return tile, count
end

-- A grid's tiles of several kinds, one after the other: runs {tile, index, first: output, count}, tiles: how many.
local function plan_of(axis, scheme, kinds)
  local plan = { axis = axis, taps = axis.taps, stride = axis.step, phases = grid.phases(axis), size = scheme.size,
    base = base_of(axis), runs = {}, tiles = 0 }
  plan.short = plan.phases[#plan.phases].short
  local first, runs = 0, plan.runs
  for _, kind in ipairs(kinds) do
    local left = kind.count
    while left > 0 do
      local tile, count = tile_of(plan, kind, first, left)
      if runs[#runs] and runs[#runs].tile.key == tile.key then runs[#runs].count = runs[#runs].count + count
      else runs[#runs + 1] = { tile = tile, index = plan.tiles, first = first, count = count } end
      first, left, plan.tiles = first + count * kind.outputs, left - count, plan.tiles + count
    end
  end
  return plan
end

-- The schemes of an axis' tiles, larger ones first.
function grid.schemes(axis, sizes)
  local big = toomcook.scheme(sizes[1], grid.taps(axis))
  return { big, sizes[2] and toomcook.nested(big, sizes[2]) }
end

-- The plans of the grids of an axis in tiles of `sizes`: as above, with their schemes, grids (a run of grid.split),
-- base: where the window of the first output of all begins.
function grid.plans(axis, sizes)
  local schemes, plans = grid.schemes(axis, sizes), {}
  for i, run in ipairs(grid.split(axis)) do
    local big, small, kinds = counts_of_grid(run.axis.outputs, sizes)
    kinds = { { class = 1, outputs = sizes[1], whole = sizes[1], count = big } }
    kinds[2] = small > 0 and { class = 2, outputs = sizes[2], whole = sizes[2], count = small } or nil
    plans[i] = plan_of(run.axis, schemes[1], kinds)
    plans[i].schemes, plans[i].grids, plans[i].base = schemes, run, base_of(axis)
  end
  return plans
end

-- Of backward weights: the axis of diff_dst's pixels in tiles of m, whose scheme has the taps as outputs.
function grid.pixels(p, i, m)
  local axis = { outputs = p.output[i], inputs = p.input[i], offset = -p.pad[i], taps = p.kernel[i], tap_step = 1,
    step = 1 }
  local scheme, whole, rest = toomcook.scheme(p.kernel[i], m), axis.outputs // m, axis.outputs % m
  local plan = plan_of(axis, scheme, { { class = 1, outputs = m, whole = m, count = whole },
    rest > 0 and { class = 1, outputs = rest, whole = m, count = 1 } or nil })
  plan.scheme, plan.outputs = scheme, m
  return plan
end

-- Runs of an axis' frequencies that all tiles have or only big ones, and all phases or not short ones: {first, count,
-- big_only, long_only}. both: whether there are tiles of both sizes.
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

---- bands: an axis' tiles in pieces -----------------------------------------------------------------------------------

-- The tiles [first, stop) of a plan as runs {tile, at: index within its class, from: outputs before it, count}; how
-- many of each class there are; where their outputs begin and end.
local function runs_between(plan, first, stop)
  local runs, tiles, from, to = {}, { 0, 0 }, nil, nil
  for _, r in ipairs(plan.runs) do
    local a, b = math.max(r.index, first), math.min(r.index + r.count, stop)
    if a < b then
      local at = r.first + (a - r.index) * r.tile.outputs
      from, to = from or at, at + (b - a) * r.tile.outputs
      runs[#runs + 1] = { tile = r.tile, at = tiles[r.tile.class], from = at - from, count = b - a }
      tiles[r.tile.class] = tiles[r.tile.class] + b - a
    end
  end
  return runs, tiles, from, to
end

-- How many pieces of `size` tiles from the one numbered `first` on are like the first.
local function like_first(plan, first, size)
  for _, r in ipairs(plan.runs) do
    if first >= r.index and first + size <= r.index + r.count then return (r.index + r.count - first) // size end
  end
  return 1
end

local function key_of(runs)
  local words = {}
  for i, r in ipairs(runs) do words[i] = ("%s x%d"):format(r.tile.key, r.count) end
  return table.concat(words, ", ")
end

-- The part [low, high) of a band's window, counted from its first output's, that is in the input.
local function clip(plan, band)
  local at = band.first + plan.base
  band.low = math.max(-at, 0)
  band.high = math.max(math.min(band.outputs + plan.taps - 1, plan.axis.inputs - at), band.low)
  return band
end

-- Of pieces of an axis' tiles in runs {first, size, count}; equal neighbours are one, unless `apart`: {runs, tiles of
-- each class, first: the first output, outputs of a band, count, low, high, grids: the plan's}.
function grid.bands(plan, pieces, apart)
  local bands = {}
  for _, piece in ipairs(pieces) do
    local first, left = piece.first, piece.count
    while left > 0 do
      local runs, tiles, from, to = runs_between(plan, first, first + piece.size)
      local count, key, band = math.min(left, like_first(plan, first, piece.size)), key_of(runs), bands[#bands]
      if band and band.key == key and not apart then band.count = band.count + count
      else
        bands[#bands + 1] = clip(plan, { key = key, runs = runs, tiles = tiles, first = from, outputs = to - from,
          count = count, grids = plan.grids })
      end
      first, left = first + count * piece.size, left - count
    end
  end
  return bands
end

---- problems ----------------------------------------------------------------------------------------------------------

function grid.dilated(p) return p.kernel[2] > 1 and p.dilation[2] > 1 or p.kernel[3] > 1 and p.dilation[3] > 1 end

function grid.strided(p) return p.stride[2] ~= 1 or p.stride[3] ~= 1 end

local most_outputs = 8192 -- of an axis

-- Why a problem has no tiles, or nil.
function grid.refused(p)
  local nchw, weights, strided, dilated, k, s = p.layout ~= "nhwc", p.pass == "backward_weights", grid.strided(p),
    grid.dilated(p), p.kernel, p.stride
  local function both(i) return s[i] > 1 and k[i] > 1 and p.dilation[i] > 1 end
  local outputs = p.pass == "backward_data" and p.input or p.output
  local longest = outputs[2] > most_outputs and outputs[2] or outputs[3]
  return family.first { { nchw and weights, "winograd needs channels-last data for backward weights" },
    { s[1] ~= 1, "winograd needs stride 1 between planes" },
    { strided and p.pass ~= "forward", "winograd needs stride 1 but for the forward pass" },
    { strided and nchw, "winograd needs channels-last data for a stride" },
    { both(2) or both(3), "winograd needs dilation 1 on an axis with a stride" },
    { dilated and nchw, "winograd needs channels-last data for a dilation" },
    { dilated and weights, "winograd needs dilation 1 for backward weights" },
    { k[1] ~= 1 or p.input[1] ~= p.output[1] or p.pad[1] ~= 0,
      "winograd needs two dimensions, or planes that do not mix" },
    { nchw and p.input[1] > 1, "winograd needs channels-last data for several planes" },
    { k[2] * k[3] == 1, "winograd needs more than one tap" },
    { k[2] > 7 or k[3] > 7, "winograd needs at most 7 taps on an axis" },
    { longest > most_outputs, "an axis of %d outputs, winograd takes at most %d", longest, most_outputs },
    { k[2] <= s[2] and k[3] <= s[3], "winograd needs more taps on an axis than its stride is" } }
end

-- Planes are images: the axes h and w.
function grid.axes(p)
  local axes = gather.axes(p)
  return axes[2][1], axes[3][1]
end

return grid
