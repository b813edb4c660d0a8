-- tiles.lua: how rows of pixels and channels are cut into tiles, and which taps the pixels of a tile may use.
--
-- Tiles that need the same kernel stand in runs, so that a driver loops over them.
local gather = require "gather"
local cut = {}

-- Cuts `count` into pieces of at most `most` whose sizes differ by at most one, the larger first: {first, size} each.
function cut.even_pieces(count, most)
  local n = (count + most - 1) // most
  local pieces, at = {}, 0
  for i = 1, n do
    local size = count // n + (i <= count % n and 1 or 0)
    pieces[i] = { first = at, size = size }
    at = at + size
  end
  return pieces
end

-- Cuts `count` into `n` such pieces, the larger and the smaller spread among each other: any run of them is as long as its share, but for one.
function cut.spread_pieces(count, n)
  local pieces = {}
  for i = 1, n do
    local first = count * (i - 1) // n
    pieces[i] = { first = first, size = count * i // n - first }
  end
  return pieces
end

-- Runs of pieces of equal size: {first, size, count}.
function cut.piece_runs(channels, most)
  local runs = {}
  for _, piece in ipairs(cut.even_pieces(channels, most)) do
    local run = runs[#runs]
    if run and run.size == piece.size then run.count = run.count + 1
    else runs[#runs + 1] = { first = piece.first, size = piece.size, count = 1 } end
  end
  return runs
end

-- Column tiles of `channels`: {first, vectors, last (lanes of the last vector), panel (elements before it, a panel row each)}.
function cut.columns(channels, vectors, lanes)
  local tiles, width = {}, vectors * lanes
  for first = 0, channels - 1, width do
    local here = math.min(width, channels - first)
    local v = (here + lanes - 1) // lanes
    tiles[#tiles + 1] = { first = first, vectors = v, last = here - (v - 1) * lanes, width = v * lanes }
  end
  return tiles
end

-- Tiles with equal vectors and last share kernels: lists of runs {tile, first index, count}.
function cut.column_runs(tiles)
  local runs = {}
  for i, tile in ipairs(tiles) do
    local run = runs[#runs]
    if run and run.tile.vectors == tile.vectors and run.tile.last == tile.last then
      run.count = run.count + 1
    else
      runs[#runs + 1] = { tile = tile, index = i - 1, count = 1 }
    end
  end
  return runs
end

---- border variants: which pixels of a tile a tap along w may use ------------------------------------------------------------------

-- Segments of one tile of a row: {tap, taps, first pixel, last pixel}; equal neighbours are one where memory allows.
local function segments(axis, tile)
  local list = {}
  for t = 0, axis.taps - 1 do
    local first, last
    for m = 0, tile.size - 1 do
      if gather.inside(axis, tile.first + m, t) then first, last = first or m, m end
    end
    if first then list[#list + 1] = { tap = t, taps = 1, first = first, last = last } end
  end
  return list
end

local function merged(list, contiguous)
  if not contiguous then return list end
  local out = {}
  for _, s in ipairs(list) do
    local before = out[#out]
    if before and before.first == s.first and before.last == s.last and before.tap + before.taps == s.tap then
      before.taps = before.taps + 1
    else
      out[#out + 1] = s
    end
  end
  return out
end

local function segments_key(list)
  local words = {}
  for i, s in ipairs(list) do words[i] = ("%d+%d:%d-%d"):format(s.tap, s.taps, s.first, s.last) end
  return table.concat(words, " ")
end

-- Whether all pixels of a tile may use all taps.
local function inner(axis, tile)
  local last, taps = tile.first + tile.size - 1, axis.taps - 1
  return taps >= 0 and gather.inside(axis, tile.first, 0) and gather.inside(axis, tile.first, taps) and
    gather.inside(axis, last, 0) and gather.inside(axis, last, taps)
end

-- The tiles of a row as runs {variant, first, size, count}; a variant is {size, segments}.
function cut.row_runs(axis, pixels, contiguous)
  local variants, by_key, runs = {}, {}, {}
  local function variant_of(tile)
    local whole = inner(axis, tile)
    local known = whole and by_key[tile.size]
    if known then return known end
    local list = merged(segments(axis, tile), contiguous)
    local key = tile.size .. " " .. segments_key(list)
    local variant = by_key[key]
    if not variant then
      variant = { size = tile.size, segments = list }
      by_key[key] = variant
      variants[#variants + 1] = variant
    end
    if whole then by_key[tile.size] = variant end -- most tiles of a long row: their segments are not made again
    return variant
  end
  for _, tile in ipairs(cut.even_pieces(axis.outputs, pixels)) do
    local variant = variant_of(tile)
    local run = runs[#runs]
    if run and run.variant == variant then run.count = run.count + 1
    else runs[#runs + 1] = { variant = variant, first = tile.first, count = 1 } end
  end
  return runs, variants
end

return cut
