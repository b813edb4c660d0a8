-- depthwise_axis.lua: along one axis of a depthwise problem, which positions of the input the taps of an output reach,
-- and rows of tiles whose outputs do so alike.
--
-- Output j reaches (j * up + tap * tap_step + offset) / down where that is an integer and inside the input. A strided
-- backward pass needs no phases: `down` is the stride and tiles begin at its multiples, so that every tile inside has
-- the same pattern. Nothing here walks the axis: what differs from the tiles inside is at its ends.
local cut = require "tiles"
local axes = {}

local function axis_of(fields)
  local reach = (fields.taps - 1) * fields.tap_step
  fields.low, fields.high, fields.known, fields.rows = math.min(reach, 0), math.max(reach, 0), {}, {}
  return fields
end

-- Forward along axis i; backward weights reaches the same way, from some of the taps: `piece`, {first, size}.
function axes.forward(p, i, piece)
  local first, taps = piece and piece.first or 0, piece and piece.size or p.kernel[i]
  return axis_of { outputs = p.output[i], inputs = p.input[i], taps = taps, up = p.stride[i], down = 1,
    tap_step = p.dilation[i], offset = first * p.dilation[i] - p.pad[i] }
end

function axes.backward(p, i)
  return axis_of { outputs = p.input[i], inputs = p.output[i], taps = p.kernel[i], up = 1, down = p.stride[i],
    tap_step = -p.dilation[i], offset = p.pad[i] }
end

-- Where a tile that begins with output j has its places counted from.
function axes.reference(axis, j) return j * axis.up // axis.down end

-- The outputs [low, high) all of whose taps are inside.
function axes.inner(axis)
  local low = -((axis.low + axis.offset) // axis.up)
  local high = (axis.inputs * axis.down - 1 - axis.high - axis.offset) // axis.up + 1
  return math.max(low, 0), math.max(math.min(high, axis.outputs), 0)
end

---- the pattern of a tile ---------------------------------------------------------------------------------------------

-- The outputs m, m + down, ... of a tile's that a tap reaches something inside for: the first and how many.
local function seen(axis, first, size, tap)
  local at = first * axis.up + tap * axis.tap_step + axis.offset
  local low = math.max(-(at // axis.up), 0)
  local high = math.min(((axis.inputs - 1) * axis.down - at) // axis.up, size - 1)
  low = low + -(at + low * axis.up) % axis.down -- where down > 1, up is 1
  return low, math.max((high - low) // axis.down + 1, 0)
end

-- {size, uses (of positions by outputs), first}: equal for tiles that reach alike.
local function variant_of(axis, first, size)
  local words, uses = { size }, 0
  for tap = 0, axis.taps - 1 do
    local low, count = seen(axis, first, size, tap)
    if count > 0 then
      words[#words + 1] = ("%d:%d+%d"):format(tap, low, count)
      uses = uses + count
    end
  end
  local key = table.concat(words, " ")
  axis.known[key] = axis.known[key] or { size = size, uses = uses, first = first, key = key }
  return axis.known[key]
end

-- How many positions a variant reaches: exact without gaps between taps.
function axes.reached(axis, variant)
  local a = variant.first * axis.up + axis.offset
  local low = math.max((a + axis.low) // axis.down, 0)
  local high = math.min((a + (variant.size - 1) * axis.up + axis.high) // axis.down, axis.inputs - 1)
  return math.max(math.min(variant.uses, high - low + 1), 0)
end

-- The positions that a variant reaches, in the order that keeps every output's taps ascending, relative to the tile's
-- reference: {at, uses = list of {output, tap}}.
function axes.positions(axis, variant)
  if variant.positions then return variant.positions end
  local by_position, list = {}, {}
  local start = axes.reference(axis, variant.first)
  for m = 0, variant.size - 1 do
    for tap = 0, axis.taps - 1 do
      local x = (variant.first + m) * axis.up + tap * axis.tap_step + axis.offset
      local at = x // axis.down
      if x % axis.down == 0 and at >= 0 and at < axis.inputs then
        if not by_position[at] then
          by_position[at] = { at = at - start, uses = {} }
          list[#list + 1] = by_position[at]
        end
        table.insert(by_position[at].uses, { output = m, tap = tap })
      end
    end
  end
  table.sort(list, function(a, b)
    if axis.tap_step < 0 then return a.at > b.at end
    return a.at < b.at
  end)
  variant.positions = list
  return list
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
  local row, unit = { uses = 0 }, axis.down
  local low, high = axes.inner(axis)
  low, high = (low - from + unit - 1) // unit, (high - from) // unit
  for _, piece in ipairs(cut.pieces_about((to - from + unit - 1) // unit, math.max(1, most // unit), low, high)) do
    local first = from + piece.first * unit
    local variant = variant_of(axis, first, math.min(piece.size * unit, to - first))
    local run = row[#row]
    if run and run.variant == variant then run.count = run.count + piece.count else
      row[#row + 1] = { variant = variant, first = first, count = piece.count }
      row.uses = row.uses + variant.uses
    end
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

-- Outputs as runs that see the same taps: {first, count, taps, key}.
function axes.runs(axis)
  local bounds, cuts, spans = { 0, axis.outputs }, {}, {}
  for tap = 0, axis.taps - 1 do
    local low, count = seen(axis, 0, axis.outputs, tap)
    spans[tap] = { low, low + count }
    if count > 0 then bounds[#bounds + 1], bounds[#bounds + 2] = low, low + count end
  end
  table.sort(bounds)
  for i = 2, #bounds do
    local first, count = bounds[i - 1], bounds[i] - bounds[i - 1]
    if count > 0 then
      local taps = {}
      for tap = 0, axis.taps - 1 do
        if spans[tap][1] <= first and first < spans[tap][2] then taps[#taps + 1] = tap end
      end
      cuts[#cuts + 1] = { first = first, count = count, taps = taps, key = table.concat(taps, " ") }
    end
  end
  return cuts
end

---- channels with a multiplier ----------------------------------------------------------------------------------------

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

-- Where the inputs of the output channels from `first` are: {the first one's input channel, its place among that one's
-- outputs, and how many there are}.
function axes.source(first, lanes, multiplier)
  local phase = first % multiplier
  return { first = first // multiplier, phase = phase, elements = (phase + lanes - 1) // multiplier + 1 }
end

-- The channels of a shape by tasks: as many whole vectors as are wanted, one, and the ragged one, those alike together,
-- which begin with an input channel as the first one does: {first, lanes, vectors, count, step: from one to the next,
-- source: of the first one's first vector}.
function axes.channel_parts(s, vectors)
  local list, lanes, whole, rest = {}, s.lanes, s.channels // s.lanes, s.channels % s.lanes
  local function add(start, part_lanes, part_vectors, count)
    local width = part_vectors * part_lanes
    local period = s.multiplier // gcd(width, s.multiplier)
    for i = 0, math.min(period, count) - 1 do
      local first = start + i * width
      list[#list + 1] = { first = first, lanes = part_lanes, vectors = part_vectors, step = period * width,
        count = (count - i + period - 1) // period, source = axes.source(first, part_lanes, s.multiplier) }
    end
  end
  add(0, lanes, vectors, whole // vectors)
  add(whole // vectors * vectors * lanes, lanes, 1, whole % vectors)
  add(whole * lanes, rest, 1, rest > 0 and 1 or 0)
  return list
end

return axes
