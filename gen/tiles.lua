-- tiles.lua: how rows of pixels and channels are cut into tiles, and which taps the pixels of a tile may use.
--
-- Tiles that need the same kernel stand in runs, so that a driver loops over them.
local cut = {}

-- Pieces of at most `most` whose sizes differ by at most one, the larger first, as runs of equal ones: {first, size,
-- count}; there are two at most.
function cut.piece_runs(count, most)
  local n = (count + most - 1) // most
  if n == 0 then return {} end
  local larger, size = count % n, count // n
  local runs, small = {}, { first = larger * (size + 1), size = size, count = n - larger }
  if larger > 0 then runs[1] = { first = 0, size = size + 1, count = larger } end
  runs[#runs + 1] = small
  return runs
end

-- Those pieces one by one: {first, size} each.
function cut.even_pieces(count, most)
  local pieces = {}
  for _, run in ipairs(cut.piece_runs(count, most)) do
    for i = 0, run.count - 1 do pieces[#pieces + 1] = { first = run.first + i * run.size, size = run.size } end
  end
  return pieces
end

-- The size of the largest of them, without making them.
function cut.even_size(count, most)
  local n = (count + most - 1) // most
  return (count + n - 1) // n
end

-- The pieces as runs {first, size, count, whole}: those of one size that lie within [low, high), where all pieces need
-- the same, are one run, the others are alone. A row of a million pixels is a few entries.
function cut.pieces_about(count, most, low, high)
  local list = {}
  local function add(run, from, stop, whole)
    list[#list + 1] = { first = run.first + from * run.size, size = run.size, count = stop - from, whole = whole }
  end
  for _, run in ipairs(cut.piece_runs(count, most)) do
    local a = math.min(math.max((low - run.first + run.size - 1) // run.size, 0), run.count)
    local b = math.max(math.min((high - run.first) // run.size, run.count), a)
    for i = 0, a - 1 do add(run, i, i + 1, false) end
    if b > a then add(run, a, b, true) end
    for i = b, run.count - 1 do add(run, i, i + 1, false) end
  end
  return list
end

-- Cuts `count` into `n` such pieces, the larger and the smaller spread among each other: any run of them is as long as
-- its share, but for one.
function cut.spread_pieces(count, n)
  local pieces = {}
  for i = 1, n do
    local first = count * (i - 1) // n
    pieces[i] = { first = first, size = count * i // n - first, count = 1 }
  end
  return pieces
end

local function column(first, channels, lanes)
  local v = (channels + lanes - 1) // lanes
  return { first = first, channels = channels, vectors = v, last = channels - (v - 1) * lanes, width = v * lanes }
end

-- Column tiles of `channels` in runs of equal ones, which share kernels: {tile, index: of the first, count}; there are
-- two at most. all: of tiles. A tile is {first, channels, vectors, last (lanes of the last vector), width (of all
-- vectors whole)}.
function cut.runs_of_columns(channels, vectors, lanes)
  local width = vectors * lanes
  local runs = { all = (channels + width - 1) // width }
  local whole, rest = channels // width, channels % width
  if whole > 0 then runs[1] = { tile = column(0, width, lanes), index = 0, count = whole } end
  if rest > 0 then runs[#runs + 1] = { tile = column(whole * width, rest, lanes), index = whole, count = 1 } end
  return runs
end

-- The same of whole groups of `channels` each, `groups` a tile: its width is that of whole vectors.
function cut.runs_of_groups(count, groups, channels, lanes)
  local runs, whole, rest = { all = (count + groups - 1) // groups }, count // groups, count % groups
  if whole > 0 then runs[1] = { tile = column(0, groups * channels, lanes), index = 0, count = whole } end
  if rest > 0 then
    runs[#runs + 1] = { tile = column(whole * groups * channels, rest * channels, lanes), index = whole, count = 1 }
  end
  return runs
end

---- border variants: which pixels of a tile a tap along w may use -----------------------------------------------------

cut.plenty = 16 -- variants: more than any family takes, so that the rest of the row need not be looked at

-- Segments of one tile {first, size} of a row: {tap, taps, first pixel, last pixel}, a tap each.
function cut.segments(axis, tile)
  local list = {}
  for t = 0, axis.taps - 1 do
    local at = tile.first * axis.step + axis.offset + t * axis.tap_step
    local first = math.max((-at + axis.step - 1) // axis.step, 0)
    local last = math.min((axis.inputs - 1 - at) // axis.step, tile.size - 1)
    if first <= last then list[#list + 1] = { tap = t, taps = 1, first = first, last = last } end
  end
  return list
end

-- Equal neighbours as one, where memory allows.
function cut.merged(list, contiguous)
  if not contiguous then return list end
  local out = {}
  for _, s in ipairs(list) do
    local before = out[#out]
    if before and before.first == s.first and before.last == s.last and before.tap + before.taps == s.tap
      and before.whole == s.whole then
      before.taps = before.taps + 1
    else
      out[#out + 1] = s
    end
  end
  return out
end

-- What tells a tile's segments from others.
function cut.segments_key(list)
  local words = {}
  for i, s in ipairs(list) do
    words[i] = ("%d+%d:%d-%d%s"):format(s.tap, s.taps, s.first, s.last, s.whole and "+" or "")
  end
  return table.concat(words, " ")
end

-- The outputs [low, high) of an axis that may use all taps.
function cut.inner(axis)
  local a, b = axis.offset, axis.offset + (axis.taps - 1) * axis.tap_step
  local low = (-math.min(a, b) + axis.step - 1) // axis.step
  return math.max(low, 0), math.min((axis.inputs - 1 - math.max(a, b)) // axis.step + 1, axis.outputs)
end

-- Pairs of an output of the axis and a tap that lies inside for it.
function cut.seen(axis)
  local sum = 0
  for _, s in ipairs(cut.segments(axis, { first = 0, size = axis.outputs })) do sum = sum + s.last - s.first + 1 end
  return sum
end

-- Tiles of `pixels` at the ends of a row that differ for certain, without looking at them: what they see of the taps is
-- neither all nor nothing, and is another from tile to tile, where these are as long as taps are apart.
function cut.border_tiles(axis, pixels)
  local reach = (axis.taps - 1) * axis.tap_step
  if axis.taps == 0 or pixels // 2 * axis.step < math.abs(axis.tap_step) then return 0 end
  local low, high = cut.inner(axis)
  local first = math.max(-((axis.offset + math.max(0, reach)) // axis.step), 0)
  local stop = math.min((axis.inputs - 1 - axis.offset - math.min(0, reach)) // axis.step + 1, axis.outputs)
  local border = high > low and low - first + stop - high or stop - first
  return math.max(border // pixels - 2, 0)
end

-- Pieces of a row as runs of equal tiles, {variant, first, count}, and the variants; describe(piece) answers with a
-- variant and with what tells it from others. A row that has `most` variants is not finished.
function cut.variant_runs(pieces, describe, most)
  local variants, known, runs = {}, {}, {}
  for _, piece in ipairs(pieces) do
    local made, key = describe(piece)
    local variant, run = known[key] or made, runs[#runs]
    if not known[key] then known[key], variants[#variants + 1] = variant, variant end
    if run and run.variant == variant then run.count = run.count + piece.count
    else runs[#runs + 1] = { variant = variant, first = piece.first, count = piece.count } end
    if #variants == most then break end
  end
  return runs, variants
end

-- The tiles of a row; a variant is {size, segments}.
function cut.row_runs(axis, pixels, contiguous)
  return cut.variant_runs(cut.pieces_about(axis.outputs, pixels, cut.inner(axis)), function(tile)
    local list = cut.merged(cut.segments(axis, tile), contiguous)
    return { size = tile.size, segments = list }, tile.size .. " " .. cut.segments_key(list)
  end, cut.plenty)
end

return cut
