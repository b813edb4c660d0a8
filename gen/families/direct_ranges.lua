-- direct_ranges.lua: the direct family's forward and backward data where taps are ranges that are found at run time, of
-- channels-last data: any stride, dilation and filter, with a few kernels.
--
-- Along d and h a position finds its taps. So does it along w: of the pixels that are alike, as far apart as the
-- stride, those that see all their taps go in tiles, the others, at the borders, one by one. Folded (rewrite/fold.lua),
-- the pixels of a tile are blocks of a stride's pixels.
--
-- What a kernel is for is a class: of the lanes of a row, those with the same taps. Unfolded there is one. A class c is
-- a builder (build.lua), with lane, channels, columns as fold.lua says; line: its axis along w; pitch: elements of the
-- result from one pixel of a tile to the next; panels.
local build = require "build"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local relayout = require "relayout"
local cut = require "tiles"
local fold = require "rewrite/fold"
local direct_gather = require "families/direct_gather"
local register_tile = require "tile"
local tile = require "families/direct_tile"
local ranges = {}

ranges.node = { "ranges", when = "ranges" } -- in a schedule's name

---- the shape -------------------------------------------------------------------------------------------------------

-- classes: {lane, channels, columns, line, pitch}; fold: see there, or nil.
function ranges.shape(p, folded)
  local s = gather.shape(p)
  s.lines = { gather.line(p, 1), gather.line(p, 2), gather.line(p, 3) }
  s.fold = folded and fold.shape(p)
  s.classes = folded and s.fold.classes or { { lane = 0, channels = s.to.channels, columns = p.kernel[3] } }
  for _, c in ipairs(s.classes) do
    c.line, c.pitch = folded and s.fold.line or s.lines[3], (s.lines[3].residues or 1) * s.to.w
  end
  return s
end

-- Column tiles of a class.
function ranges.tiles(s, c, vectors) return cut.runs_of_columns(c.channels, vectors, s.lanes) end

-- How many pixels of a line see all taps, of the one with most.
function ranges.inner(s)
  local f, line = s.fold, s.lines[3]
  local count = f and f.stop - f.first or (line.positions + line.residues - 1) // line.residues
  local reach = (line.taps - 1) * math.abs(line.tap_step)
  return math.max(math.min(count, (line.inputs - reach + line.step - 1) // line.step), 1)
end

---- kernels ---------------------------------------------------------------------------------------------------------

local few = 8 -- channels of a tap that are written out

-- Taps along w, `columns` of them; of taps that continue in memory that many channels.
local function taps_of_row(c, width)
  local from, line, channels = c.from, c.line, c.from.channels
  if tile.contiguous(c, line) then return tile.steps(c, width, {}, "columns") end
  local node = { loop = "columns",
    steps = { { from.base, line.tap_step * from.w }, { "panel", line.tap_stride * channels * width } } }
  if channels > few then
    node.copies = { { from.base, "tap" }, { "panel", "tap_weights" } }
    node[1] = tile.steps(c, width, {}, channels)
    return node
  end
  for i = 0, channels - 1 do
    local at = { [from.base] = i, panel = i * width }
    node[#node + 1] = { { load = {}, at = at }, { multiply = {}, at = at } }
  end
  return node
end

local function taps(c, width)
  local lines, from, row = c.lines, c.from, c.columns * c.from.channels * width
  local function steps(i, elements, rows)
    return { { from.base, lines[i].tap_step * elements }, { "panel", (lines[i].tap_stride or 1) * rows * row } }
  end
  return { loop = "planes", copies = { { from.base, "plane" }, { "panel", "plane_weights" } },
    steps = steps(1, from.d, c.p.kernel[2]),
    { loop = "rows", copies = { { from.base, "row" }, { "panel", "row_weights" } }, steps = steps(2, from.h, 1),
      { copies = { { from.base, "x" }, { "panel", "w" } }, taps_of_row(c, width) } } }
end

-- Only the lanes [low, high) of a column tile are stored.
local function stores_of(lanes, low, high)
  return function(t, sum)
    local before = t.index.v * lanes
    local first, stop = math.max(low - before, 0), math.min(high - before, lanes)
    if first < stop then t.k:store(register_tile.place(t, t.sums), sum, first, stop - first) end
  end
end

-- A kernel for `size` pixels of a run of column tiles; of a cut block only its lanes [low, high).
local function kernel(c, run, size, low, high)
  local text = ("acc[m][v] += x[m] * w[v] for %s, pixels %d elements apart, and %s, vectors of channels. "
    .. "`planes`, `rows` and `columns` of taps lie inside the input for all of them."):format(parts.span("m", size),
    c.pitch, parts.span("v", run.tile.vectors))
  return c:kernel(("%d %d %d %d %d %d"):format(c.lane, run.index, run.count, size, low or 0, high or 0), "tile",
    function(o)
      return tile.program(c, { about = text, size = size, column = run.tile, columns = true,
        axis = c.line, apart = c.pitch, taps = taps(c, run.tile.width),
        finish = low and { stores_of(c.lanes, low, high) } }, o)
    end)
end

---- a row -----------------------------------------------------------------------------------------------------------

-- Calls a kernel where a row's taps and result begin (at) and, from there on, the taps seen along w and the pixel.
local function call(c, d, at, program, seen, pixel)
  local channels = c.from.channels
  local out = at.there + pixel * c.pitch
  d:call(program, { panel = { d.packed, at.with + seen.tap * (channels * at.width) }, bias = { d.bias, at.channel },
    slope = { d.slope, at.channel }, [c.from.base] = { d[c.from.memory], at.here + seen.input * c.from.w },
    residual = { d.residual, out }, [c.to.base] = { d[c.to.memory], out }, planes = at.planes, rows = at.rows,
    columns = seen.count * (tile.contiguous(c, c.line) and channels or 1) })
end

-- The taps of pixel j of a line whose pixel 0 has a phase.
local function seen_by(c, d, phase, j)
  return gather.seen_taps(d, c.line, setmetatable({ at = phase.at + driver.expr(j) * c.line.step },
    { __index = phase }), "column")
end

-- `count` pixels, the first of which has a phase: tiles of those that see all of its taps, the last of which covers
-- some pixels of the one before, unless it would add them a residual twice; the others one by one.
local function line_of_tiles(c, d, at, phase, count)
  local size = c.schedule.pixels
  local low, high = gather.seen_by_all(d, c.line, phase, count, "pixel")
  local function one(j) call(c, d, at, at.pixel, seen_by(c, d, phase, j), j) end
  local whole = high - low
  local tiles = driver.quotient(whole, size)
  local stop = d:let("stop", low + (c.residual and tiles * size or driver.min(tiles, 1) * whole))
  d:loop("j", 0, low, 1, one)
  d:loop("w", low, stop, size, function(w)
    if not c.residual then w = d:let("j", driver.min(w, high - size)) end
    call(c, d, at, at.tile, { tap = phase.first_tap, count = phase.taps, input = phase.at + w * c.line.step }, w)
  end)
  d:loop("j", stop, count, 1, one)
end

-- The lines of a row: of each residue.
local function unfolded(c, d, at)
  local line, there = c.line, at.there
  d:loop("residue", 0, math.min(line.residues, line.positions), 1, function(residue)
    local phase = gather.phase(d, line, residue, "column")
    local count = driver.quotient(driver.expr(line.positions + line.residues - 1) - residue, line.residues)
    at.there = there + residue * c.to.w
    line_of_tiles(c, d, at, phase, d:let("count", count))
  end)
end

-- The tiles of a run that hold lanes [low, high) of a class: the numbers [first, stop) of those that do wholly, and of
-- others {number, low, high: lanes of the tile}.
local function tiles_within(c, run, low, high)
  local first, stop, others = run.count, 0, {}
  for number = 0, run.count - 1 do
    local lane = c.lane + (number + run.index) * c.width
    local from, to = math.max(low - lane, 0), math.min(high - lane, run.tile.channels)
    if from == 0 and to == run.tile.channels then first, stop = math.min(first, number), number + 1
    elseif from < to then others[#others + 1] = { number = number, low = from, high = to } end
  end
  return first, stop, others
end

-- A cut block, lanes [low, high).
local function cut_block(c, d, at, phase, block)
  local first, stop, others = tiles_within(c, at.run, block.low, block.high)
  local function pixel(program) call(c, d, at, program, seen_by(c, d, phase, block.block), block.block) end
  if first < stop then
    d:when(driver.all(driver.less(first - 1, at.number), driver.less(at.number, stop)), function() pixel(at.pixel) end)
  end
  for _, other in ipairs(others) do
    d:when(driver.equal(at.number, other.number), function()
      pixel(kernel(c, at.run, 1, other.low, other.high))
    end)
  end
end

-- The blocks of a row.
local function folded(c, d, at)
  local f = c.fold
  local phase = { first_tap = driver.expr(0), taps = driver.expr(c.columns), at = driver.expr(f.before) }
  at.there = at.there - f.shift
  for _, block in ipairs(f.cut) do cut_block(c, d, at, phase, block) end
  if f.first == f.stop then return end
  at.there, phase.at = at.there + f.first * c.pitch, phase.at + f.first
  line_of_tiles(c, d, at, phase, driver.expr(f.stop - f.first))
end

---- stages ----------------------------------------------------------------------------------------------------------

-- A row of the result at x; at: image n, plane jd, its taps `plane`, group g, where the panel and the tile's lanes
-- begin.
local function row(c, d, at, x)
  local from, to, rows = c.from, c.to, c.lines[2]
  local seen = gather.seen_taps(d, rows, gather.phase(d, rows, x, "row"), "row")
  local before = (at.plane.tap * c.p.kernel[2] + seen.tap) * (c.columns * from.channels * at.width)
  at.rows, at.with = seen.count, d:let("with", at.panel + before)
  at.here = d:let("here", (at.n * from.size[1] + at.plane.input) * from.d + seen.input * from.h + at.g * from.channels)
  at.there = d:let("there", (at.n * to.size[1] + at.jd) * to.d + x * to.h + at.g * to.channels + at.lane);
  (c.fold and folded or unfolded)(c, d, at)
end

-- The lane of a class that a row's first or last element is in.
local function lane_of_end(c, last)
  if not c.fold then return last and c.channels - 1 or 0 end
  return ((last and c.p.input[3] * c.p.ic - 1 or 0) + c.fold.shift) % c.pitch - c.lane
end

-- The task that writes the first or the last element of the result, if it is one of these.
local function task_of_end(c, run, indices, size, last)
  local lane, rows = lane_of_end(c, last), c.lines[2]
  local number, x = lane // c.width - run.index, last and rows.positions - 1 or 0
  if lane < 0 or lane >= c.channels or number < 0 or number >= run.count then return end
  local at = { tile = number, residue = x % rows.residues, block = x // rows.residues // size }
  local task = 0
  for _, index in ipairs(indices) do
    task = task * index[2] + (at[index[1]] or last and index[2] - 1 or 0)
  end
  return task
end

-- Tasks over group, column tile, residue along h, image, plane and block of rows that are alike: they use the same part
-- of the panel.
local function compute_part(c, run)
  local rows, most = c.lines[2], c.schedule.rows
  local apart, width = rows.residues, run.tile.width
  local outputs = (rows.positions + apart - 1) // apart
  local size = math.min(most, outputs)
  local indices = { { "g", c.p.groups }, { "tile", run.count }, { "residue", math.min(apart, rows.positions) },
    { "n", c.p.batch }, { "jd", c.to.size[1] }, { "block", (outputs + size - 1) // size } }
  local tiles, pixel = kernel(c, run, c.schedule.pixels), kernel(c, run, 1)
  local besides = { task_of_end(c, run, indices, size, false) }
  besides[#besides + 1] = task_of_end(c, run, indices, size, true)
  return { indices = indices, besides = besides, body = function(d, g, number, residue, n, jd, block)
    local index = number + run.index
    local at = { run = run, number = number, g = g, n = n, jd = jd, tile = tiles, pixel = pixel, width = width,
      panel = d:let("panel", c.panels.at(g, index)), lane = d:let("lane", index * c.width + c.lane) }
    at.channel = g * c.to.channels + at.lane
    at.plane = gather.seen_taps(d, c.lines[1], gather.phase(d, c.lines[1], jd, "plane"), "plane")
    at.planes = at.plane.count
    local first = d:let("first", block * (size * apart) + residue)
    d:loop("x", first, driver.min(first + size * apart, rows.positions), apart, function(x) row(c, d, at, x) end)
  end }
end

-- How the panel of a class's column tile is made; see relayout.packing.
local function packing(c, column)
  if not c.fold then return direct_gather.packing(c, column) end
  local p, all = c.p, c.p.kernel[3] * c.p.ic
  local function from(_, lane, i)
    local line = driver.quotient(i, c.columns)
    return (line * all + (i - line * c.columns) * c.pitch + lane + c.lane) * p.oc
  end
  return { make = function(o) return relayout.turned_panel(column, p, o) end, from = from, to = p.oc * column.width,
    count = p.kernel[1] * p.kernel[2] * c.columns }
end

-- A class as a builder; its panels begin `before` elements on.
local function class_of(s, fields, before)
  local c = setmetatable({}, { __index = s })
  for key, value in pairs(fields) do c[key] = value end
  local whole = s.p.kernel[1] * s.p.kernel[2] * c.columns * s.from.channels
  local group = parts.round_up(c.channels, s.lanes) * whole
  c.panels = { elements = s.p.groups * group,
    at = function(g, index) return g * group + index * (s.width * whole) + before end }
  return c
end

-- The stages of a schedule, built in a shape of its own; see family.lua.
function ranges.stages(b, shape, schedule)
  local s, elements, pack, compute = build.new(shape.p, b.target, shape), 0, {}, {}
  s.schedule, s.width, s.kernels, s.apart = schedule, schedule.vectors * b.lanes, b.kernels, s.p.groups
  s.step = s.width
  for _, fields in ipairs(shape.classes) do
    local c = class_of(s, fields, elements)
    for _, run in ipairs(ranges.tiles(s, c, schedule.vectors)) do
      if c.columns > 0 then pack[#pack + 1] = direct_gather.pack_part(c, run, packing(c, run.tile)) end
      compute[#compute + 1] = compute_part(c, run)
    end
    elements = elements + c.panels.elements
  end
  return { driver.stage { name = "pack", pack = true, parts = pack },
    driver.stage { name = "compute", parts = compute } }, elements * s.size
end

return ranges
