-- planar_gather.lua: the part of the planar family for forward and backward data: neighbouring pixels of a row in the
-- lanes, a few output channels beside each other, weights broadcast.
--
-- A row of the input is read where it is when its pixels are neighbours in memory and the stride along w is 1; else the
-- rows that a task needs are first laid out in scratch, a row for each channel and each residue of the stride. Outputs
-- whose pixels are not neighbours go through scratch too. A padded tap leaves the lanes of its outputs alone.
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local flatten = require "rewrite/flatten"
local tile = require "tile"
local relayout = require "relayout"
local view = require "view"
local planar_gather = {}

local round_up = parts.round_up

---- the shape of a problem --------------------------------------------------------------------------------------------

-- A matrix product, where pixels are neighbours: an image is one row, or rows of whole vectors that tasks can share.
local function flattened(p, lanes)
  if p.layout ~= "nchw" or not flatten.applies(p) then return p end
  local pixels = p.input[1] * p.input[2] * p.input[3]
  return flatten.child(p, 1, flatten.length(pixels, 512 // lanes * lanes, lanes, -lanes) or pixels)
end

-- What tiles read and write is `read` and `write`: the tensors, or rows in scratch, of the input
-- [plane][row][channel][residue][q], of the output [channel][phase][q].
function planar_gather.shape(problem, target)
  local lanes = parts.lanes_of(problem, target)
  local p = flattened(problem, lanes)
  local s = gather.shape(p, target)
  local from, to = s.from, s.to
  s.tap = { p.kernel[2] * p.kernel[3] * from.channels, p.kernel[3] * from.channels, from.channels } -- of a panel
  s.phases = #s.axes[3]                   -- of the output row
  s.step = s.forward and p.stride[3] or 1 -- residues of the input row
  s.moves_in = not from.neighbours or s.step > 1
  s.moves_out = not to.neighbours or s.phases > 1
  s.in_pitch = round_up((from.size[3] + s.step - 1) // s.step, lanes) + lanes
  s.out_pitch = round_up(s.axes[3][1].outputs, lanes)
  s.in_row = from.all * s.step * s.in_pitch
  s.read = s.moves_in and { memory = "scratch", h = s.in_row, c = s.step * s.in_pitch } or from
  s.write = s.moves_out and { memory = "scratch", c = s.phases * s.out_pitch } or to
  s.room = s.moves_in and s.in_pitch or from.size[3] -- elements of a row that may be read
  s.rows_known = {} -- row_runs of an axis by the most vectors of a tile: many schedules share them
  return s
end

---- tiles: vectors of pixels, and the lanes that each tap gives them --------------------------------------------------

-- Where tap t of pixel 0 is: its residue, and its place in that residue's row.
local function tap_place(s, axis, t)
  local at = axis.offset + t * axis.tap_step
  return at % s.step, at // s.step
end

-- Segments (see tiles.lua) of a tile {first pixel, vectors, last: results of the last one}, with how many vectors they
-- reach. whole: all of the last vector may be read, though not all of it is results.
local function segments(s, axis, at)
  local list, last_one = cut.segments(axis, at), (at.vectors - 1) * s.lanes
  for _, segment in ipairs(list) do
    local _, q = tap_place(s, axis, segment.tap)
    segment.whole = at.last < s.lanes and segment.first <= last_one and segment.last == at.size - 1
      and at.first + last_one + s.lanes + q <= s.room
    segment.vectors = segment.last // s.lanes - segment.first // s.lanes + 1
  end
  return cut.merged(list, s.step == 1)
end

-- The vectors [low, high) of a row whose lanes all tap all pixels, and which may be read whole: their tiles are alike.
local function inner_vectors(s, axis)
  local low, high = cut.inner(axis)
  for _, t in ipairs { 0, axis.taps - 1 } do
    local _, q = tap_place(s, axis, t)
    high = math.min(high, s.room - q)
  end
  return (low + s.lanes - 1) // s.lanes, high // s.lanes
end

-- A variant of tiles, and what tells it from others.
local function variant_of(s, axis, piece)
  local at = { first = piece.first * s.lanes, vectors = piece.size }
  at.size = math.min(axis.outputs - at.first, piece.size * s.lanes)
  at.last = at.size - (piece.size - 1) * s.lanes
  at.segments = segments(s, axis, at)
  return at, at.size .. " " .. cut.segments_key(at.segments)
end

-- The tiles of a row as runs {variant, first pixel, count}; a variant is {vectors, last, segments}. A row that has
-- plenty of variants is not finished.
function planar_gather.row_runs(s, axis, most)
  local known = s.rows_known[axis] or {}
  s.rows_known[axis] = known
  if not known[most] then
    local all = (axis.outputs + s.lanes - 1) // s.lanes
    local pieces = cut.pieces_about(all, most, inner_vectors(s, axis))
    local runs, variants = cut.variant_runs(pieces, function(piece) return variant_of(s, axis, piece) end, cut.plenty)
    for _, run in ipairs(runs) do run.first = run.first * s.lanes end
    known[most] = { runs, variants }
  end
  return table.unpack(known[most])
end

---- the kernel --------------------------------------------------------------------------------------------------------

local unrolled = 512 -- multiply-adds of a row of taps up to which channels are written out

-- The lanes that are loaded for a segment of a variant. padded: some of a vector's results must not see the tap.
local function reach_of(s, variant, segment)
  local reach = tile.reach(segment.first, segment.last, s.lanes)
  for v, lanes in pairs(reach.lanes) do
    lanes.padded = lanes.count < (v == variant.vectors - 1 and variant.last or s.lanes)
    if not lanes.padded and segment.whole then lanes.count = s.lanes end
  end
  return reach
end

-- The input channels of a tap: written out where they are few, else a loop.
local function channels_of_tap(s, reach, m, straight)
  local node = {}
  for i = 0, straight and s.from.channels - 1 or 0 do
    local at = { input = i * s.read.c, panel = i * m }
    table.insert(node, { load = reach, at = at })
    table.insert(node, { multiply = reach, at = at })
  end
  if straight then return node end
  node.loop, node.steps = s.from.channels, { { "input", s.read.c }, { "panel", m } }
  return node
end

-- Taps in row-major order; a panel is [taps][channels][m].
local function taps(s, axes, variant, m)
  local axis, straight = axes[3], axes[3].taps * s.from.channels * m * variant.vectors <= unrolled
  local function steps(i, elements) return { { "input", elements }, { "panel", axes[i].tap_stride * s.tap[i] * m } } end
  local row = { loop = "rows", steps = steps(2, axes[2].tap_step * s.read.h) }
  for i, segment in ipairs(variant.segments) do
    local residue, q = tap_place(s, axis, segment.tap)
    local node, several = channels_of_tap(s, reach_of(s, variant, segment), m, straight), segment.taps > 1
    if several and not straight then node = { copies = { { "input", "xi" }, { "panel", "wi" } }, node } end
    row[i] = { { loop = segment.taps, steps = several and steps(3, axis.tap_step), node }, copies = {
      { "input", "x", residue * s.in_pitch + q }, { "panel", "w", segment.tap * axis.tap_stride * s.tap[3] * m } } }
  end
  return { loop = "planes", copies = { { "input", "row" }, { "panel", "row_weights" } }, row,
    steps = steps(1, s.moves_in and s.read.d or axes[1].tap_step * s.from.d) }
end

-- acc[c][v] += x[v] * w[c]; o: what the program is. axes: those of its phase; m: channels.
local function tile_kernel(o, s, axes, variant, m)
  local p, bias, residual, slope = s.p, s.bias, s.residual and not s.moves_out, s.slope and not s.finishes
  o.about = ("acc[c][v] += x[v] * w[c]: the lanes are neighbouring pixels of a row, %s the output channels whose "
    .. "weights are broadcast. `planes` and `rows` of taps lie inside the input; taps in the padding along w read "
    .. "zeros or fewer lanes."):format(parts.span("c", m))
  o.arguments = { { "input", "in" }, { "panel", "in" }, bias and { "bias", "in" }, slope and { "slope", "in" },
    residual and { "residual", "in" }, { "output", "out" }, { "planes", "count" }, { "rows", "count" } }
  o.sizes, o.registers = { c = m, v = variant.vectors }, { "passing", "held", "sums" }
  o.sums = { pointer = "output", register = "acc", { "c", s.write.c }, { "v", s.lanes },
    last = not s.moves_out and variant.last or nil }
  o.held = { pointer = "input", register = "x", { "v", s.lanes } }
  o.passing = { pointer = "panel", register = "w", once = true, { "c", 1 } }
  o.ending = { epilogue = p, temporary = "held", residual = residual and "residual",
    slope = slope and { pointer = "slope", { "c", 1 } }, slope_of_all = true,
    value = bias and { pointer = "bias", { "c", 1 } } }
  o.body = { { zero = {} }, taps(s, axes, variant, m),
    { finish = { bias and "biased", not s.finishes and "epilogue", "stored" } } }
  return tile.kernel(o)
end

---- packing -----------------------------------------------------------------------------------------------------------

-- Panels follow one another: [group][piece of output channels][tap][input channel][m].
local function panel_at(s, g, c) return (g * s.to.channels + c) * (s.taps * s.from.channels) end

-- How the panel of m channels is made, see relayout.lua.
local function packing(s, m)
  local p, from = s.p, s.from.channels
  local about = "Copies the weights that one tile uses into a panel, which it then reads from front to back."
  return relayout.packing(p, { channels = m, width = m, straight = function(o)
    return relayout.copy({ from = "weights", to = "panel", elements = m, about = about,
      loops = { { count = s.taps * from, steps = { p.oc, m } } } }, o)
  end, turned = function(o)
    return relayout.to_pixels({ channels = m, pixels = from, pitch = m, limit = from * m, row = p.oc }, o)
  end })
end

local function pack_stage(s, pieces)
  local list = {}
  for i, run in ipairs(pieces) do
    local how = packing(s, run.size)
    local kernel = s:add(how.make(s:named "pack"))
    list[i] = { indices = { { "g", s.p.groups }, { "piece", run.count } }, body = function(d, g, piece)
      local c = d:let("c", piece * run.size + run.first)
      d:loop("i", 0, how.count, 1, function(n)
        d:call(kernel, { { d.weights, how.from(g, c, n) }, { d.packed, panel_at(s, g, c) + n * how.to } })
      end)
    end }
  end
  return driver.stage { name = "pack", pack = true, parts = list }
end

---- what a task needs in scratch --------------------------------------------------------------------------------------

local function most(axes, measure)
  local n = 1
  for _, axis in ipairs(axes) do n = math.max(n, measure(axis)) end
  return n
end

-- A row of the output in scratch, all channels of its pixels side by side.
local function line_of(to)
  return to.neighbours and to or view.moved(to, "scratch", to.all)
end

-- The scratch for blocks of so many rows: as many planes and rows of the input as a block may need; where the output's
-- rows begin, and where a residual follows, the output as pixels; elements of all.
local function lay_out(s, rows)
  local lines = math.min(s.from.size[2], most(s.axes[2], function(axis)
    local reach = math.max(axis.taps - 1, 0) * math.abs(axis.tap_step)
    return (math.min(rows, axis.outputs) - 1) * axis.step + reach + 1
  end))
  local planes = most(s.axes[1], function(axis) return math.min(axis.taps, s.from.size[1]) end)
  s.finishes = s.moves_out and s.residual -- after the tiles
  if s.moves_in then s.read.d = s.in_row * lines end
  s.out = s.moves_in and planes * s.read.d + s.lanes or 0
  s.pixels = s.out + (s.moves_out and s.to.all * s.write.c or 0)
  s.line = s.finishes and line_of(s.to)
  s.scratch = s.pixels + (s.finishes and round_up(s.to.all * s.to.size[3], s.lanes) or 0)
end

-- Residual and activation over a row of pixels' channels, or of one channel, when the tiles could not do it: from a
-- line in scratch, where all stand side by side.
local function finishing(s)
  local to, o = s.to, { register = "acc", many = true, finish = s.p, one_slope = s.to.neighbours }
  o.elements = (to.neighbours and 1 or to.all) * to.size[3]
  if not to.neighbours and (to.w > to.all or s.slope) then
    local steps = s.slope and { to.all, to.w, 0, to.w } or { to.all, to.w, to.w }
    o.elements, o.loops = to.all, { { count = to.size[3], steps = steps } }
  end
  return o
end

-- How rows of the input get to scratch, the residues of each, and rows of the output from there, with all their phases.
local function add_moves(s)
  local residues, width = {}, s.from.size[3]
  for i = 0, math.min(s.step, width) - 1 do
    residues[i + 1] = { start = i, outputs = (width - i + s.step - 1) // s.step, stride = s.step }
  end
  local function moves(make, ...)
    local list = relayout.row_moves(...)
    for _, move in ipairs(list) do
      local key = ("%s %d %d"):format(make, move.view.pixels, move.view.limit)
      move.kernel = s:kernel(key, "move", function(o) return relayout[make](move.view, o) end)
    end
    return list
  end
  s.input = s.moves_in and moves("to_rows", s.from, residues, s.step, s.in_pitch)
  local to = s.finishes and s.line or s.to
  s.output = s.moves_out and moves("to_pixels", to, s.axes[3], s.phases, s.out_pitch)
  s.finish = s.finishes and s:add(relayout.copy(finishing(s), s:called "finish"))
end

---- tasks -------------------------------------------------------------------------------------------------------------
--
-- A task has the rows [first, last) of one phase of planes and rows, axes, and is at image n, plane jd. Where tiles
-- are: see row_place, call_tile.

-- The rows of the input that a block's taps reach, laid out in scratch from the lowest on.
local function move_in(d, s, at)
  local planes, lines, from = at.axes[1], at.axes[2], s.from
  local reach = math.max(lines.taps - 1, 0) * lines.tap_step
  local first, last = lines.offset + math.min(0, reach), lines.offset + math.max(0, reach)
  local low = d:let("low", driver.max(at.first * lines.step + first, 0))
  local high = d:let("high", driver.min((at.last - 1) * lines.step + (last + 1), from.size[2]))
  d:loop("plane", 0, at.planes, 1, function(plane)
    local source = d:let("source", at.n * from.n + gather.input_at(planes, at.jd, at.plane + plane) * from.d)
    d:loop("row", low, high, 1, function(row)
      local to = d:let("to", plane * s.read.d + (row - low) * s.in_row)
      for _, move in ipairs(s.input) do
        d:loop("channel", 0, move.count, 1, function(i)
          d:call(move.kernel, { { d[from.base], source + row * from.h + i * from.c + move.outside },
            { d.scratch, to + i * s.read.c + move.inside } })
        end)
      end
    end)
  end)
  return low
end

-- The outputs of a row, from scratch; with a residual as pixels first.
local function move_out(d, s, there)
  local function finish(to, channel)
    d:call(s.finish, { from = { d.scratch, s.pixels }, residual = { d.residual, to }, slope = { d.slope, channel },
      to = { d[s.to.base], to } })
  end
  for _, move in ipairs(s.output) do
    d:loop("channel", 0, move.count, 1, function(i)
      d:call(move.kernel, { { d.scratch, i * s.write.c + (s.out + move.inside) }, s.finishes and
        { d.scratch, s.pixels + move.outside } or { d[s.to.base], there + i * s.to.c + move.outside } })
      if s.finish and s.to.neighbours then finish(there + i * s.to.c, i) end
    end)
  end
  if s.finish and not s.to.neighbours then finish(there, 0) end
end

-- Where the input, weights and output of the row begin that is worked on.
local function row_place(d, s, at, j)
  local planes, lines, kernel = at.axes[1], at.axes[2], s.p.kernel
  local row, rows = gather.tap_range(d, lines, j, "row")
  local line = gather.input_at(lines, j, row)
  local here = s.moves_in and (line - at.low) * s.in_row or
    at.n * s.from.n + gather.input_at(planes, at.jd, at.plane) * s.from.d + line * s.from.h
  local tap = ((planes.first_tap + at.plane * planes.tap_stride) * kernel[2] + lines.first_tap +
    row * lines.tap_stride) * kernel[3]
  at.here, at.tap, at.rows = d:let("here", here), d:let("tap", tap), rows
  at.there = d:let("there", at.n * s.to.n + (at.jd * planes.stride + planes.start) * s.to.d +
    (j * lines.stride + lines.start) * s.to.h)
end

-- A tile of the phase `number` of a row, at pixel w, of m channels from c on of the group.
local function call_tile(d, s, at, number, kernel, m)
  local channel, first_tap = at.g * s.to.channels + at.c, s.axes[3][number].first_tap
  local out = at.there + channel * s.to.c + at.w
  d:call(kernel, { input = { d[s.read.memory], at.here + at.g * (s.from.channels * s.read.c) + at.w },
    panel = { d.packed, panel_at(s, at.g, at.c) + (at.tap + first_tap) * (s.from.channels * m) },
    bias = { d.bias, channel }, slope = { d.slope, channel }, residual = { d.residual, out }, planes = at.planes,
    rows = at.rows,
    output = { d[s.write.memory], not s.moves_out and out or
      channel * s.write.c + (s.out + (number - 1) * s.out_pitch) + at.w } })
end

-- All pixels of a row, and for each tile of them the channels of some pieces, or one piece from at.piece on.
local function row_of_tiles(d, s, at, pieces)
  for number, row in ipairs(at.tiles) do
    for _, run in ipairs(row) do
      d:run("w", run, run.variant.vectors * s.lanes, function(w)
        for _, piece in ipairs(pieces) do
          local function tile_at(c)
            at.w, at.c = w, c
            call_tile(d, s, at, number, row[piece][run.variant], piece.size)
          end
          if at.piece then tile_at(at.piece) else d:run("c", piece, piece.size, tile_at) end
        end
      end)
    end
  end
end

local function task(d, s, at, pieces)
  at.plane, at.planes = gather.tap_range(d, at.axes[1], at.jd, "plane")
  at.last = d:let("last", driver.min(at.first + at.size, at.axes[2].outputs))
  if s.moves_in then at.low = move_in(d, s, at) end
  d:loop("j", at.first, at.last, 1, function(j)
    row_place(d, s, at, j)
    if at.piece then return row_of_tiles(d, s, at, pieces) end
    d:loop("g", 0, s.p.groups, 1, function(g)
      at.g = g
      row_of_tiles(d, s, at, pieces)
    end)
    if s.moves_out then move_out(d, s, at.there) end
  end)
end

---- stages ------------------------------------------------------------------------------------------------------------

-- The tiles of each phase of a row: its runs, and by piece the kernels of their variants.
local function tiles_of(s, axes, pieces, vectors)
  local list = {}
  for number, axis in ipairs(s.axes[3]) do
    local runs, variants = planar_gather.row_runs(s, axis, vectors)
    local row = table.move(runs, 1, #runs, 1, {})
    for _, piece in ipairs(pieces) do
      row[piece] = {}
      for _, variant in ipairs(variants) do
        row[piece][variant] = s:add(tile_kernel(s:named "tile", s, { axes[1], axes[2], axis }, variant, piece.size))
      end
    end
    list[number] = row
  end
  return list
end

-- The parts of one phase of planes and rows. With `panel` a task has a piece of channels, which come first, so that a
-- panel stays near while pixels pass.
local function add_parts(list, s, axes, pieces, schedule)
  local size, tiles = math.min(schedule.rows, axes[2].outputs), tiles_of(s, axes, pieces, schedule.vectors)
  local blocks = { { "n", s.p.batch }, { "jd", axes[1].outputs }, { "block", (axes[2].outputs + size - 1) // size } }
  local function place(n, jd, block)
    return { axes = axes, tiles = tiles, size = size, n = n, jd = jd, first = block * size }
  end
  if not schedule.panel then
    list[#list + 1] = { indices = blocks, body = function(d, ...) task(d, s, place(...), pieces) end }
  end
  for _, piece in ipairs(schedule.panel and pieces or {}) do
    list[#list + 1] = { indices = { { "g", s.p.groups }, { "piece", piece.count }, table.unpack(blocks) },
      body = function(d, g, number, ...)
        local at = place(...)
        at.g, at.piece = g, d:let("c", number * piece.size + piece.first)
        task(d, s, at, { piece })
      end }
  end
end

-- The stages of a schedule; see family.lua.
function planar_gather.stages(s, schedule)
  local list, pieces = {}, cut.piece_runs(s.to.channels, schedule.channels)
  lay_out(s, schedule.rows)
  local pack = pack_stage(s, pieces)
  add_moves(s)
  for _, planes in ipairs(s.axes[1]) do
    for _, lines in ipairs(s.axes[2]) do add_parts(list, s, { planes, lines }, pieces, schedule) end
  end
  return { pack, driver.stage { name = "compute", parts = list, scratch = s.scratch * s.size } },
    s.to.all * s.taps * s.from.channels * s.size
end

return planar_gather
