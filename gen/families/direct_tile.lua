-- direct_tile.lua: the tile of the direct family's forward and backward data, and how rows of tiles are driven.
--
-- m runs over output pixels of a row, v over vectors of output channels; the panel of packed weights,
-- [taps][channels][v * lanes], is read once from front to back. The builder s is the problem's shape, with
-- the schedule (direct_gather.lua).
local gather = require "gather"
local program = require "program"
local cut = require "tiles"
local parts = require "parts"
local tile = require "tile"
local lane_groups = require "rewrite/lanes"
local direct_tile = {}

---- the kernel ------------------------------------------------------------------------------------------------------

-- Whether taps along w continue in memory where the channels of the tap before end, in the input and in the panel.
function direct_tile.contiguous(s, axis)
  return s.from.w == s.from.channels and axis.tap_step == 1 and axis.tap_stride == 1
end

-- The taps that not all pixels may use.
local function borders_of(variant)
  local list = {}
  for _, seg in ipairs(variant.segments) do
    if seg.first > 0 or seg.last < variant.size - 1 then
      local tap = seg.taps == 1 and " " .. seg.tap or ("s %d..%d"):format(seg.tap, seg.tap + seg.taps - 1)
      list[#list + 1] = ("tap%s only for pixels %d..%d"):format(tap, seg.first, seg.last)
    end
  end
  return table.concat(list, ", ")
end

-- For readers of emitted C.
local function about(variant, column, to)
  local ragged = column.last < column.width // column.vectors
  local text = ("acc[m][v] += x[m] * w[v] for %s, neighbouring pixels of a row of %s, and %s, vectors "
    .. "of its channels%s. Its caller leaves out taps outside the input along d and h; along w all lie inside, for "
    .. "all pixels"):format(parts.span("m", variant.size), to.base,
    parts.span("v", column.vectors),
    ragged and (" (%d lanes of the last)"):format(column.last) or "")
  local borders = borders_of(variant)
  return text .. (borders == "" and "." or ", but at this border: " .. borders .. "; the others would read padding.")
end

-- With `fetch` the panel is fetched early: it comes from far, and whatever fetches ahead on its own stops at the end of
-- a page. With `across` so are the pixels of the next block of rows, line by line while this one's are used, and tiles
-- write the zeros beside them.
local fetched_ahead = 8192 -- bytes

-- So many steps of a segment, an input channel of a tap each.
function direct_tile.steps(s, width, reach, count)
  local fetch, size = {}, s.size
  for i = 0, s.schedule.fetch and width - 1 or -1, 64 // size do
    fetch[#fetch + 1] = { "panel", fetched_ahead // size + i, 1 }
  end
  return { loop = count, steps = { { s.from.base, 1 }, { "panel", width } },
    { load = reach }, { fetch = fetch }, { multiply = reach } }
end

-- Taps along w, for the pixels that they reach.
local function segment(s, axes, width, seg)
  local from, axis, line = s.from, axes[3], 64 // s.size
  local reach, count = { m = tile.span(seg.first, seg.last) }, seg.taps * from.channels
  local node = { copies = { { from.base, "x", seg.tap * axis.tap_step * from.w },
    { "panel", "w", seg.tap * axis.tap_stride * from.channels * width } } }
  if s.schedule.across then
    local fetch, next_rows = {}, s.schedule.rows * axes[2].step * from.h
    for i, m in ipairs(reach.m) do fetch[i] = { from.base, m * axis.step * from.w + next_rows, 2 } end
    node[1] = { loop = count // line, { fetch = fetch }, direct_tile.steps(s, width, reach, line) }
    count = count % line
  end
  table.insert(node, direct_tile.steps(s, width, reach, count))
  return node
end

-- All taps, in row-major order.
local function taps(s, axes, variant, column)
  local from, width = s.from, column.width
  local panel_tap = from.channels * width
  local function step(i, elements)
    return { { from.base, axes[i].tap_step * elements }, { "panel", axes[i].tap_stride * s.tap[i] * panel_tap } }
  end
  local row = s.schedule.groups and lane_groups.row(s, axes[3], variant, column) or {}
  row.loop, row.steps = "rows", step(2, from.h)
  for i, seg in ipairs(s.schedule.groups and {} or variant.segments) do row[i] = segment(s, axes, width, seg) end
  return { loop = "planes", copies = { { from.base, "row" }, { "panel", "row_weights" } },
    steps = step(1, from.d), row }
end

local bare = { epilogue = {} }

-- What is held, and what passes: rows of the panel and elements of the input, or patterns of them in the lanes.
local function factors(s, axis, column, lanes)
  local passing = { pointer = s.from.base, register = "a", { "m", axis.step * s.from.w } }
  if not s.schedule.groups then return { pointer = "panel", register = "w", { "v", lanes } }, passing end
  passing[1], passing.load = nil, lane_groups.load(s, column, lanes)
  return lane_groups.held(s, axis, column, lanes), passing
end

-- acc[m][v] over the nodes `taps`. what: about, size (the m), column, axis (along w: taps, step), apart (elements of
-- the result from one m to the next), columns (taps along w are counted too), finish (endings, if others), zeros.
function direct_tile.program(s, what, o)
  local lanes, groups = what.column.width // what.column.vectors, s.schedule.groups
  local p, from, to, column = s.p, s.from, s.to, what.column
  local held, passing = factors(s, what.axis, column, lanes)
  return tile.kernel { name = o.name, type = o.type, target = o.target, about = what.about,
    arguments = { { from.base, "in" }, { "panel", "in" }, s.bias and { "bias", "in" },
      s.slope and { "slope", "in" }, s.residual and { "residual", "in" }, { to.base, "out" }, { "planes", "count" },
      { "rows", "count" }, what.columns and { "columns", "count" } },
    sizes = { m = what.size, v = column.vectors, k = what.axis.taps },
    registers = { "passing", "sums", not groups and "held" or nil },
    sums = { pointer = to.base, register = "acc", last = column.last, { "m", what.apart }, { "v", lanes } },
    held = held, passing = passing,
    ending = { epilogue = s.later and bare or p, temporary = groups and "passing" or "held",
      stream = s.schedule.stream, residual = s.residual and "residual",
      bias = s.bias and { pointer = "bias", { "v", lanes } },
      slope = s.slope and { pointer = "slope", { "v", lanes } } },
    body = { { zero = {} }, what.taps,
      { finish = what.finish or { "epilogue", "stored" } },
      { clear = what.zeros or {} } } }
end

local function kernel(s, axes, variant, column, o)
  return direct_tile.program(s, { about = about(variant, column, s.to), size = variant.size, column = column,
    axis = axes[3], apart = axes[3].stride * s.to.w, taps = taps(s, axes, variant, column), zeros = axes.zeros }, o)
end

---- phases ----------------------------------------------------------------------------------------------------------

-- All channels of a row of a phase's outputs become zero; or zero is added to what is there, which leaves no -0.
local function zero_row(channels, adds, to, axis, o)
  local k = program.new(o)
  local output, zero, lanes = k:pointer("output", adds and "inout" or "out"), k:vector "zero", k.lanes
  local whole, rest, wide, sum = channels // lanes, channels % lanes, 4, adds and k:vector "sum"
  local function put(at, count)
    if adds then
      k:load(sum, at, 0, count)
      k:add(sum, sum, zero)
    end
    k:store(at, sum or zero, 0, count)
  end
  k:zero(zero)
  k:loop(axis.outputs, function()
    local at = k:copy("at", output)
    k:loop(whole // wide, function()
      for v = 0, wide - 1 do put(k:at(at, v * lanes)) end
      k:advance(at, wide * lanes)
    end)
    for v = 0, whole % wide - 1 do put(k:at(at, v * lanes)) end
    if rest > 0 then put(k:at(at, whole % wide * lanes), rest) end
    k:advance(output, axis.stride * to.w)
  end)
  return k:finish()
end

function direct_tile.zero_kernel(s, axis)
  return s:add(zero_row(s.planes and s.to.w or s.to.all, s.residual, s.to, axis, s:named "zero"))
end

---- rows of tiles ---------------------------------------------------------------------------------------------------

-- The tiles of one phase and one run of equal column tiles: {axes, run, runs: those of a row, each with its kernel}.
function direct_tile.tiles(s, axes, run)
  local runs = cut.row_runs(axes[3], s.schedule.pixels, direct_tile.contiguous(s, axes[3]))
  for _, part in ipairs(runs) do
    part.kernel = s:kernel(part.variant, "tile", function(o) return kernel(s, axes, part.variant, run.tile, o) end)
  end
  return { axes = axes, run = run, runs = runs }
end

-- Where the panel's part is for the first taps that an output's are of: planes and rows of them are driver expressions.
local function weights_at(s, tiles, at, row)
  local axes, tap, first = tiles.axes, s.tap, 0
  for i = 1, 3 do first = first + axes[i].first_tap * tap[i] end
  local taps_before = at.plane * (axes[1].tap_stride * tap[1]) + row * (axes[2].tap_stride * tap[2]) + first
  return at.panel + taps_before * (s.from.channels * tiles.run.tile.width)
end

-- Rows [first, last) of a phase's outputs. at: the panel, the first output channel, the planes of taps, and input(row,
-- of a plane) and output(row), where the rows of the tiles' memory are.
function direct_tile.rows(s, d, tiles, at, first, last)
  local axes = tiles.axes
  local from, to = s.from, s.to
  d:loop("j", first, last, 1, function(j)
    local row, count = gather.tap_range(d, axes[2], j, "row")
    local with = d:let("with", weights_at(s, tiles, at, row))
    local here = d:let("here", at.input(j * axes[2].step + axes[2].offset + row * axes[2].tap_step)
      + axes[3].offset * from.w)
    local there = d:let("there", at.output(j * axes[2].stride + axes[2].start) + axes[3].start * to.w)
    for _, part in ipairs(tiles.runs) do
      d:run("w", part, part.variant.size, function(w)
        local out = there + w * (axes[3].stride * to.w)
        d:call(part.kernel, { panel = { d.packed, with }, bias = { d.bias, at.channel },
          slope = { d.slope, at.channel },
          [from.base] = { d[from.memory], here + w * (axes[3].step * from.w) }, residual = { d.residual, out },
          [to.base] = { d[to.memory], out }, planes = at.planes, rows = count })
      end)
    end
  end)
end

return direct_tile
