-- depthwise_axis.lua: along one axis of a depthwise problem, which positions of the input the taps of an output reach,
-- and rows of tiles whose outputs do so alike.
--
-- Such an axis is as gather.lua's, but that the input stands `down` apart: output j reaches (j * step + offset + tap *
-- tap_step) / down where that is an integer and inside. A strided backward pass needs no phases: `down` is the stride
-- and tiles begin at its multiples, so that every tile inside has the same pattern. Nothing here walks the axis: what
-- differs from the tiles inside is at its ends.
local cut = require "tiles"
local gather = require "gather"
local axes = {}

-- Forward along axis i; backward weights reaches the same way, from some of the taps: `piece`, {first, size}.
function axes.forward(p, i, piece)
  local first, taps = piece and piece.first or 0, piece and piece.size or p.kernel[i]
  return { outputs = p.output[i], inputs = p.input[i], taps = taps, step = p.stride[i], down = 1,
    tap_step = p.dilation[i], offset = first * p.dilation[i] - p.pad[i], known = {}, rows = {} }
end

function axes.backward(p, i)
  return { outputs = p.input[i], inputs = p.output[i] * p.stride[i], taps = p.kernel[i], step = 1, down = p.stride[i],
    tap_step = -p.dilation[i], offset = p.pad[i], known = {}, rows = {} }
end

-- Where a tile that begins with output j has its places counted from.
function axes.reference(axis, j) return j * axis.step // axis.down end

---- the pattern of a tile ---------------------------------------------------------------------------------------------

-- {size, uses (of positions by outputs), first, key}: one for tiles that reach alike. A tap reaches the input for each
-- `down`-th output from `low` on.
local function variant_of(axis, first, size)
  local words, uses, step, down = { size }, 0, axis.step, axis.down
  for tap = 0, axis.taps - 1 do
    local at = first * step + tap * axis.tap_step + axis.offset
    local low, high = math.max(-(at // step), 0), math.min((axis.inputs - 1 - at) // step, size - 1)
    low = low + -(at + low * step) % down -- where down > 1, step is 1
    local count = (high - low) // down + 1
    if count > 0 then
      words[#words + 1] = ("%d:%d+%d"):format(tap, low, count)
      uses = uses + count
    end
  end
  local key = table.concat(words, " ")
  axis.known[key] = axis.known[key] or { size = size, uses = uses, first = first, key = key }
  return axis.known[key], key
end

-- How many positions a variant reaches: exact without gaps between taps.
function axes.reached(axis, variant)
  local a, reach = variant.first * axis.step + axis.offset, (axis.taps - 1) * axis.tap_step
  local low = math.max((a + math.min(reach, 0)) // axis.down, 0)
  local last = a + (variant.size - 1) * axis.step + math.max(reach, 0)
  local high = math.min(last // axis.down, axis.inputs // axis.down - 1)
  return math.max(math.min(variant.uses, high - low + 1), 0)
end

-- The positions that a variant reaches, in the order that keeps every output's taps ascending, relative to the tile's
-- reference: {at, uses = list of {output, tap}}.
function axes.positions(axis, variant)
  if variant.positions then return variant.positions end
  local start = axes.reference(axis, variant.first)
  variant.positions = gather.uses_by_place(axis, function(add)
    for m = 0, variant.size - 1 do
      for tap = 0, axis.taps - 1 do
        local x = (variant.first + m) * axis.step + tap * axis.tap_step + axis.offset
        local at = x // axis.down
        if x % axis.down == 0 and x >= 0 and x < axis.inputs then add(at - start, { output = m, tap = tap }) end
      end
    end
  end)
  return variant.positions
end

-- The taps of positions, ascending.
function axes.taps(positions)
  local used, list = {}, {}
  for _, position in ipairs(positions) do
    for _, use in ipairs(position.uses) do used[use.tap] = true end
  end
  for tap in pairs(used) do list[#list + 1] = tap end
  table.sort(list)
  return list
end

---- rows of tiles -----------------------------------------------------------------------------------------------------

local function make_row(axis, most, from, to)
  local unit, low, high = axis.down, cut.inner(axis)
  local pieces = cut.pieces_about((to - from + unit - 1) // unit, math.max(1, most // unit),
    (low - from + unit - 1) // unit, (high - from) // unit)
  local row = cut.variant_runs(pieces, function(piece)
    local first = from + piece.first * unit
    return variant_of(axis, first, math.min(piece.size * unit, to - first))
  end)
  row.uses = 0
  for _, run in ipairs(row) do
    run.first, row.uses = from + run.first * unit, row.uses + run.variant.uses
  end
  return row
end

-- Outputs [from, to) of an axis, all by default, as runs of equal tiles of at most `most`: {variant, first, count};
-- uses: of the runs.
function axes.row(axis, most, from, to)
  from, to = from or 0, to or axis.outputs
  local key = ("%d %d %d"):format(most, from, to)
  axis.rows[key] = axis.rows[key] or make_row(axis, most, from, to)
  return axis.rows[key]
end

---- channels with a multiplier ----------------------------------------------------------------------------------------

-- Where the inputs of the output channels from `first` are: {the first one's input channel, its place among that one's
-- outputs, and how many there are}.
function axes.source(first, lanes, multiplier)
  local phase = first % multiplier
  return { first = first // multiplier, phase = phase, elements = (phase + lanes - 1) // multiplier + 1 }
end

-- The channels of a shape by tasks: as many whole vectors as are wanted, one, and the ragged one, those alike together,
-- which begin with an input channel as the first one does: {first, lanes, vectors, count, step, from: from one to the
-- next, in outputs and inputs, source: of the first one's first vector}.
function axes.channel_parts(s, vectors)
  local list, lanes, whole, rest = {}, s.lanes, s.channels // s.lanes, s.channels % s.lanes
  local function add(start, part_lanes, part_vectors, count)
    local width = part_vectors * part_lanes
    local period = s.multiplier // gather.gcd(width, s.multiplier)
    for i = 0, math.min(period, count) - 1 do
      local first = start + i * width
      list[#list + 1] = { first = first, lanes = part_lanes, vectors = part_vectors, step = period * width,
        from = period * width // s.multiplier, count = (count - i + period - 1) // period,
        source = axes.source(first, part_lanes, s.multiplier) }
    end
  end
  add(0, lanes, vectors, whole // vectors)
  add(whole // vectors * vectors * lanes, lanes, 1, whole % vectors)
  add(whole * lanes, rest, 1, rest > 0 and 1 or 0)
  return list
end

return axes
