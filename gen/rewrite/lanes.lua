-- lanes.lua: several small groups share the lanes of a column tile of the direct family, whole groups side by side.
--
-- What a group sums over comes as a pattern within a vector: each lane takes the element of its own group. A value
-- serves all taps of a row that reach it, so that it is made once for several products; pixels are taken from several
-- places of the tile in turn, so that these do not wait for each other. A tile is written out but for the taps along d
-- and h.
local cut = require "tiles"
local gather = require "gather"
local lanes = {}

lanes.node = { "lanes", fields = { { "g", "groups" } }, when = "groups" } -- in a schedule's name

local most_operations, most_vectors = 6000, 4

---- the groups of a tile ----------------------------------------------------------------------------------------------

function lanes.vectors(s, groups, width) return (groups * s.to.channels + width - 1) // width end

-- Column tiles of so many groups, as runs of equal ones.
function lanes.columns(s, groups, width) return cut.runs_of_groups(s.p.groups, groups, s.to.channels, width) end

-- The groups that the lanes of a tile's vector v are of: first, how many, and the place of lane 0 among the first one's
-- channels.
local function groups_of(s, column, v, width)
  local from, last = v * width, math.min(v * width + width, column.channels) - 1
  local first = from // s.to.channels
  return first, last // s.to.channels - first + 1, from - first * s.to.channels
end

-- How lanes take their elements: by a permutation of one load, which may be one within parts, or one element after the
-- other.
local function within(s)
  local c = s.from.channels
  return c == s.to.channels and s.part % c == 0
end
local function permuted(s, count, width) return (count > 2 or within(s)) and count * s.from.channels <= width end

-- Loads of a vector's pattern, and whether it needs a register beside.
local function pattern(s, column, v, width)
  local _, count = groups_of(s, column, v, width)
  if count == 1 then return 1, false end
  if not permuted(s, count, width) then return count, not s.target.mask_registers end
  local whole = within(s) and (column.last == width or v < column.vectors - 1)
  return whole and 1 or 2, not whole
end

-- For the tile: loads of its passing operand at the index. term.skip: the element of each group.
function lanes.load(s, column, width)
  local icg, ocg = s.from.channels, s.to.channels
  return function(t, r, _, at)
    local first, count, phase = groups_of(s, column, t.index.v, width)
    local k, skip = t.k, t.term.skip
    local function element(n) return k:at(at.pointer, at.offset + (first + n) * icg + skip) end
    if permuted(s, count, width) then
      return k:spread(r, k:at(at.pointer, at.offset + first * icg), ocg, phase, count * icg, icg, skip)
    end
    k:broadcast(r, element(0))
    for n = 1, count - 1 do
      local from = n * ocg - phase
      k:patch(r, element(n), from, math.min(ocg, width - from))
    end
  end
end

---- the order of a tile's products ------------------------------------------------------------------------------------

-- The positions that pixels [first, first + size) of a variant reach, in the order of their taps: {at, uses}.
local function positions(axis, variant, first, size)
  return gather.uses_by_place(axis, function(add)
    for _, seg in ipairs(variant.segments) do
      for tap = seg.tap, seg.tap + seg.taps - 1 do
        for m = math.max(seg.first, first), math.min(seg.last, first + size - 1) do
          add(m * axis.step + tap * axis.tap_step, { m = m, k = tap })
        end
      end
    end
  end)
end

-- So many places of a tile that its products come from in turn: as many sums as the arithmetic has under way.
local function streams_of(s, axis, size, vectors)
  local uses = math.max((axis.taps + axis.step - 1) // axis.step, 1) * vectors
  return math.min((s.target.fma * s.target.latency + uses - 1) // uses, size)
end

local function streams(s, axis, variant, vectors)
  local list, n = {}, streams_of(s, axis, variant.size, vectors)
  for i, piece in ipairs(cut.even_pieces(variant.size, (variant.size + n - 1) // n)) do
    list[i] = positions(axis, variant, piece.first, piece.size)
  end
  return list
end

-- Visits the steps of a tile, each the positions that are taken in turn, with the taps that these use, ascending.
local function each_step(s, axis, variant, vectors, visit)
  local list, i = streams(s, axis, variant, vectors), 0
  repeat
    local here, taps, used = {}, {}, {}
    i = i + 1
    for _, stream in ipairs(list) do
      here[#here + 1] = stream[i]
      for _, use in ipairs(stream[i] and stream[i].uses or {}) do
        if not used[use.k] then taps[#taps + 1] = use.k end
        used[use.k] = true
      end
    end
    table.sort(taps)
    if #here > 0 then visit(here, taps) end
  until #here == 0
end

-- What passes at some positions, for all vectors.
local function terms(s, here, vectors, skip)
  local list = {}
  for _, position in ipairs(here) do
    for v = 0, vectors - 1 do
      local uses = {}
      for n, use in ipairs(position.uses) do uses[n] = { m = use.m, k = use.k, v = v } end
      list[#list + 1] = { at = { [s.from.base] = position.at * s.from.w }, skip = skip, uses = uses }
    end
  end
  return list
end

-- The nodes of a row of taps.
function lanes.row(s, axis, variant, column)
  local nodes = {}
  each_step(s, axis, variant, column.vectors, function(here, taps)
    for i = 0, s.from.channels - 1 do
      nodes[#nodes + 1] = { load = { k = taps }, at = { panel = i * column.width } }
      nodes[#nodes + 1] = { multiply = { terms = terms(s, here, column.vectors, i) } }
    end
  end)
  return nodes
end

-- What is held: the weights of all taps of a row for one element that goes in.
function lanes.held(s, axis, column, width)
  return { pointer = "panel", register = "w", { "k", axis.tap_stride * s.from.channels * column.width },
    { "v", width } }
end

---- what can be and what is worth trying ------------------------------------------------------------------------------

local function most_taps(s)
  local most = 1
  for _, axis in ipairs(s.axes[3]) do most = math.max(most, axis.taps) end
  return most
end

-- For patterns: a register, and one that they, or what is stored of a vector, may need.
function lanes.pattern_registers(s, groups, width)
  local column = lanes.columns(s, groups, width)[1].tile
  local beside = s.to.all % width ~= 0 and not s.target.mask_registers
  for v = 0, column.vectors - 1 do beside = beside or select(2, pattern(s, column, v, width)) end
  return beside and 2 or 1
end

-- Those beside the sums: weights of a row of taps, and patterns.
function lanes.other_registers(s, groups, width)
  return most_taps(s) * lanes.vectors(s, groups, width) + lanes.pattern_registers(s, groups, width)
end

-- Loads of a pattern, on average of a tile's vectors.
function lanes.pattern_loads(s, groups, width)
  local column, loads = lanes.columns(s, groups, width)[1].tile, 0
  for v = 0, column.vectors - 1 do loads = loads + pattern(s, column, v, width) end
  return loads / column.vectors
end

-- Rows of refusals of a schedule's tiles; and of one that gathers.
function lanes.tile_misfits(s, schedule, width)
  local groups, vectors = schedule.groups, lanes.vectors(s, schedule.groups, width)
  return { { s.p.layout ~= "nhwc", "groups share the lanes of channels-last data" },
    { groups > s.p.groups, "has %d groups, fewer than its tiles", s.p.groups },
    { vectors ~= schedule.vectors, "tiles of %d groups are %d vectors", groups, vectors } }
end

function lanes.misfits(s, schedule, width)
  local rows = lanes.tile_misfits(s, schedule, width)
  local operations = schedule.pixels * most_taps(s) * s.from.channels * schedule.vectors
  rows[4] = { schedule.across or schedule.fetch, "fetches nothing ahead where groups share the lanes" }
  rows[5] = { operations > most_operations, "a row of taps is %d multiply-adds, at most %d", operations,
    most_operations }
  return rows
end

-- Calls visit(groups, vectors) for tiles that fill their lanes better than those before (all: or as well), or than
-- groups alone do. (Of groups with one input channel depthwise makes less.)
function lanes.each_tile(s, width, visit, all)
  local c, p = s.to.channels, s.p
  local best = c / ((c + width - 1) // width * width)
  for v = 1, p.layout == "nhwc" and p.groups < p.ic and most_vectors or 0 do
    local groups = math.min(v * width // c, s.p.groups)
    local filled = groups * c / (v * width)
    if groups > 1 and (filled > best or all and v > 1 and filled == best) and lanes.vectors(s, groups, width) == v then
      visit(groups, v)
      best = filled
    end
  end
end

---- the estimate ------------------------------------------------------------------------------------------------------

-- Multiply-adds and loads of a row of taps.
function lanes.count(s, axis, variant, column, width)
  local fmas, loads, v, patterns = 0, 0, column.vectors, 0
  for i = 0, v - 1 do patterns = patterns + pattern(s, column, i, width) end
  each_step(s, axis, variant, v, function(here, taps)
    for _, position in ipairs(here) do fmas = fmas + #position.uses * v end
    loads = loads + #here * patterns + #taps * v
  end)
  return fmas * s.from.channels, loads * s.from.channels
end

return lanes
