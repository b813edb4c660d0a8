-- planar_gather.lua: the part of the planar family for forward and backward data: neighbouring pixels of a row in the
-- lanes, a few output channels beside each other, weights broadcast.
--
-- A row of the input is read where it is when its pixels are neighbours in memory and the stride along w is 1; else the
-- rows that a task needs are first laid out in scratch, a row for each channel and each residue of the stride. Outputs
-- whose pixels are not neighbours go through scratch too. A padded tap leaves the lanes of its outputs alone.
local driver = require "driver"
local build = require "build"
local gather = require "gather"
local parts = require "parts"
local view = require "view"
local cut = require "tiles"
local flatten = require "rewrite/flatten"
local tile = require "tile"
local relayout = require "relayout"
local planar_gather = {}

local round_up = parts.round_up

---- the shape of a problem --------------------------------------------------------------------------------------------

-- A matrix product, where pixels are neighbours: an image is one row, or rows of whole vectors that tasks can share.
local function flattened(p, lanes)
  if p.layout ~= "nchw" or not flatten.applies(p) then return p end
  local pixels = p.input[1] * p.input[2] * p.input[3]
  return flatten.child(p, 1, flatten.length(pixels, 512 // lanes * lanes, lanes, -lanes) or pixels)
end

function planar_gather.shape(problem, target)
  local size, lanes = parts.size_of(problem), parts.lanes_of(problem, target)
  local p = flattened(problem, lanes)
  local forward = p.pass == "forward"
  local from, to = view.gathered(p)
  local s = { p = p, size = size, lanes = lanes, part = 16 // size, forward = forward, from = from, to = to,
    axes = gather.axes(p), taps = p.kernel[1] * p.kernel[2] * p.kernel[3] }
  s.phases = #s.axes[3]            -- of the output row
  s.step = forward and p.stride[3] or 1 -- residues of the input row
  s.moves_in = not from.neighbours or s.step > 1
  s.moves_out = not to.neighbours or s.phases > 1
  -- Rows in scratch: of the input [plane][row][channel][residue][q], of the output [channel][phase][q].
  s.in_pitch = round_up((from.size[3] + s.step - 1) // s.step, lanes) + lanes
  s.out_pitch = round_up(s.axes[3][1].outputs, lanes)
  s.in_row = from.all * s.step * s.in_pitch
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
    local runs, variants = cut.variant_runs(pieces, function(piece) return variant_of(s, axis, piece) end)
    for _, run in ipairs(runs) do run.first = run.first * s.lanes end
    known[most] = { runs = runs, variants = variants }
  end
  return known[most].runs, known[most].variants
end

---- the kernel --------------------------------------------------------------------------------------------------------

local unrolled = 512 -- multiply-adds of a row of taps up to which channels are written out

-- What the pointers of a tile step over: the input by channel, row and plane; a panel is [taps][channels][m].
local function pitches(s, axes, m)
  local from, kernel, panel_tap = s.from, s.p.kernel, s.from.channels * m
  local pitch = { channel = from.c, row = axes[2].tap_step * from.h, plane = axes[1].tap_step * from.d,
    taps = { axes[1].tap_stride * kernel[2] * kernel[3] * panel_tap, axes[2].tap_stride * kernel[3] * panel_tap,
      axes[3].tap_stride * panel_tap } }
  if s.moves_in then
    pitch.channel, pitch.row = s.step * s.in_pitch, axes[2].tap_step * s.in_row
    pitch.plane = planar_gather.plane_rows(s) * s.in_row
  end
  return pitch
end

-- Which lanes of each vector of a variant are loaded for a segment: reach of tile.lua. padded: some of the vector's
-- results must not see the tap.
local function reach_of(s, variant, segment)
  local reach = { v = tile.span(segment.first // s.lanes, segment.last // s.lanes), lanes = {} }
  for _, v in ipairs(reach.v) do
    local first, stored = math.max(segment.first - v * s.lanes, 0), v == variant.vectors - 1 and variant.last or s.lanes
    local count = math.min(segment.last - v * s.lanes + 1, stored) - first
    local padded = count < stored
    reach.lanes[v] = { first = first, count = not padded and segment.whole and s.lanes or count, padded = padded }
  end
  return reach
end

-- The input channels of a tap: written out where they are few, else a loop.
local function channels_of_tap(s, reach, m, pitch, straight)
  local node = {}
  for i = 0, straight and s.from.channels - 1 or 0 do
    local at = { input = i * pitch.channel, panel = i * m }
    table.insert(node, { load = reach, at = at })
    table.insert(node, { multiply = reach, at = at })
  end
  if straight then return node end
  node.loop, node.steps = s.from.channels, { { "input", pitch.channel }, { "panel", m } }
  return node
end

local function taps_of_segment(s, axis, variant, segment, m, pitch)
  local residue, q = tap_place(s, axis, segment.tap)
  local straight = axis.taps * s.from.channels * m * variant.vectors <= unrolled
  local node, steps = channels_of_tap(s, reach_of(s, variant, segment), m, pitch, straight), nil
  if segment.taps > 1 then
    steps = { { "input", axis.tap_step }, { "panel", pitch.taps[3] } }
    if not straight then node = { copies = { { "input", "xi" }, { "panel", "wi" } }, node } end
  end
  return { copies = { { "input", "x", residue * s.in_pitch + q }, { "panel", "w", segment.tap * pitch.taps[3] } },
    { loop = segment.taps, steps = steps, node } }
end

-- acc[c][v] += x[v] * w[c]; o: what the program is. axes: those of its phase; m: channels.
local function tile_kernel(o, s, axes, variant, m)
  local p, axis, pitch = s.p, axes[3], pitches(s, axes, m)
  local bias, residual = s.forward and p.bias, s.forward and p.epilogue.residual
  o.about = ("acc[c][v] += x[v] * w[c]: the lanes are neighbouring pixels of a row, c = 0..%d output channels whose "
    .. "weights are broadcast. `planes` and `rows` of taps lie inside the input; taps in the padding along w read "
    .. "zeros or fewer lanes."):format(m - 1)
  o.arguments = { { "input", "in" }, { "panel", "in" }, bias and { "bias", "in" },
    residual and not s.moves_out and { "residual", "in" }, { "output", "out" }, { "planes", "count" },
    { "rows", "count" } }
  o.sizes, o.registers = { c = m, v = variant.vectors }, { "passing", "held", "sums" }
  o.sums = { pointer = "output", register = "acc", { "c", s.moves_out and s.phases * s.out_pitch or s.to.c },
    { "v", s.lanes }, last = not s.moves_out and variant.last or nil }
  o.held = { pointer = "input", register = "x", { "v", s.lanes } }
  o.passing = { pointer = "panel", register = "w", once = true, { "c", 1 } }
  o.ending = { epilogue = p, temporary = "held", residual = not s.moves_out and residual and "residual",
    bias = bias and { pointer = "bias", { "c", 1 } } }
  local finish = { "stored" }
  if s.forward and not (s.moves_out and residual) then table.insert(finish, 1, "epilogue") end
  if bias then table.insert(finish, 1, "biased") end
  local row = { loop = "rows", steps = { { "input", pitch.row }, { "panel", pitch.taps[2] } } }
  for i, segment in ipairs(variant.segments) do row[i] = taps_of_segment(s, axis, variant, segment, m, pitch) end
  o.body = { { zero = {} }, { loop = "planes", copies = { { "input", "row" }, { "panel", "row_weights" } }, row,
    steps = { { "input", pitch.plane }, { "panel", pitch.taps[1] } } }, { finish = finish } }
  return tile.kernel(o)
end

---- packing -----------------------------------------------------------------------------------------------------------

-- Panels follow one another: [group][piece of output channels][tap][input channel][m].
local function panel_at(s, g, c) return (g * s.to.channels + c) * (s.taps * s.from.channels) end

-- For each layout and pass: the kernel that packs m channels, how often it runs, and from and to as offsets of a run.
local function packing(o, s, m)
  local p, icg, ocg = s.p, s.p.ic // s.p.groups, s.p.oc // s.p.groups
  if p.layout == "nchw" then
    local how = relayout.weights(p, m, m, false, o)
    return how.kernel, how.count, function(g, c, i) return how.first(g, c) + i * how.from end, how.to
  elseif s.forward then
    return relayout.copy({ from = "weights", to = "panel", elements = m,
      about = "Copies the weights that one tile uses into a panel, which it then reads from front to back.",
      axes = { { count = s.taps * icg, from = p.oc, to = m } } }, o), 1, function(g, c) return g * ocg + c end, 0
  end
  return relayout.to_pixels({ channels = m, pixels = ocg, pitch = m, limit = ocg * m, row = p.oc }, o), s.taps,
    function(g, c, tap) return tap * (icg * p.oc) + c * p.oc + g * ocg end, ocg * m
end

local function pack_stage(b, s, pieces)
  local list = {}
  for _, run in ipairs(pieces) do
    local count, from, to
    local kernel = b:new("pack", function(o)
      local made
      made, count, from, to = packing(o, s, run.size)
      return made
    end)
    list[#list + 1] = { indices = { { "g", s.p.groups }, { "piece", run.count } }, body = function(d, g, piece)
      local c = d:let("c", piece * run.size + run.first)
      d:loop("i", 0, count, 1, function(i)
        d:call(kernel, { { d.weights, from(g, c, i) }, { d.packed, panel_at(s, g, c) + i * to } })
      end)
    end }
  end
  return driver.stage { name = "pack", pack = true, parts = list }
end

---- what a task needs in scratch --------------------------------------------------------------------------------------

-- Rows of input that the output rows of a block may need: at most an image's.
function planar_gather.plane_rows(s)
  local most = 0
  for _, axis in ipairs(s.axes[2]) do
    local rows = math.min(s.rows, axis.outputs)
    most = math.max(most, (rows - 1) * axis.step + math.max(axis.taps - 1, 0) * math.abs(axis.tap_step) + 1)
  end
  return math.min(most, s.from.size[2])
end

local function planes_of(s)
  local most = 1
  for _, axis in ipairs(s.axes[1]) do most = math.max(most, math.min(axis.taps, s.from.size[1])) end
  return most
end

-- Elements: the input's rows, the output's, and where a residual follows, the output as pixels.
local function scratch_layout(s)
  local input = s.moves_in and planes_of(s) * planar_gather.plane_rows(s) * s.in_row + s.lanes or 0
  local out = s.moves_out and s.to.all * s.phases * s.out_pitch or 0
  local finish = s.moves_out and s.forward and s.p.epilogue.residual
  local pixels = finish and round_up(s.to.all * s.to.size[3], s.lanes) or 0
  return { out = input, pixels = input + out, elements = input + out + pixels, finish = finish }
end

-- How a row of a tensor and its rows in scratch are moved: {view, count: so many channels a call each, outside, inside:
-- where}. Of a channel there are `rows` in scratch, pitch apart; lines {start, pixels, stride} are what they hold. A
-- view is a line's when channels stand beside each other, else a channel's.
local function moves_of_row(tensor, lines, rows, pitch)
  local list, width = {}, tensor.size[3]
  if tensor.neighbours then
    list[1] = { count = tensor.all, outside = 0, inside = 0, view = { channels = #lines, pixels = lines[1].pixels,
      pitch = lines[1].stride, limit = width, row = pitch } }
    return list
  end
  for i, line in ipairs(lines) do
    local apart = line.stride * tensor.w
    list[i] = { count = 1, outside = line.start * tensor.w, inside = (i - 1) * pitch, view = { channels = tensor.all,
      pixels = line.pixels, pitch = apart, limit = (line.pixels - 1) * apart + tensor.all, row = rows * pitch } }
  end
  return list
end

-- The residues of the input row, the phases of the output row.
local function input_moves(s)
  local lines, width = {}, s.from.size[3]
  for residue = 0, math.min(s.step, width) - 1 do
    lines[residue + 1] = { start = residue, pixels = (width - residue + s.step - 1) // s.step, stride = s.step }
  end
  return moves_of_row(s.from, lines, s.step, s.in_pitch)
end

local function output_moves(s)
  local lines = {}
  for i, axis in ipairs(s.axes[3]) do lines[i] = { start = axis.start, pixels = axis.outputs, stride = axis.stride } end
  return moves_of_row(s.to, lines, s.phases, s.out_pitch)
end

local function with_kernels(b, make, moves)
  for _, move in ipairs(moves) do
    local key = ("%s %d %d"):format(make, move.view.pixels, move.view.limit)
    move.kernel = b:kernel(key, "move", function(o) return relayout[make](move.view, o) end)
  end
  return moves
end

---- stages ------------------------------------------------------------------------------------------------------------
--
-- c: what the tasks of a phase of planes and rows are made of: the shape s, axes (of planes, of rows), rows of a block,
-- the scratch's layout, how rows move in and out, and tiles: by phase of the row {number, axis, runs, kernels by piece
-- and variant}. at: where in it a task is.

local function tiles_of(b, s, axes, pieces, vectors)
  local list = {}
  for number, axis in ipairs(s.axes[3]) do
    local runs, variants = planar_gather.row_runs(s, axis, vectors)
    local kernels = {}
    for _, piece in ipairs(pieces) do
      kernels[piece] = {}
      for _, variant in ipairs(variants) do
        kernels[piece][variant] = b:new("tile", function(o)
          return tile_kernel(o, s, { axes[1], axes[2], axis }, variant, piece.size)
        end)
      end
    end
    list[number] = { number = number, axis = axis, runs = runs, kernels = kernels }
  end
  return list
end

-- Where the input, weights and output of the row begin that is worked on.
local function row_place(d, c, at)
  local s, planes, lines = c.s, c.axes[1], c.axes[2]
  local from, to, kernel = s.from, s.to, s.p.kernel
  local row, rows = gather.tap_range(d, lines, at.j, "row")
  local line = at.j * lines.step + lines.offset + row * lines.tap_step
  local here = s.moves_in and (line - at.low) * s.in_row or
    at.n * from.n + (at.jd * planes.step + planes.offset + at.plane * planes.tap_step) * from.d + line * from.h
  local tap = ((planes.first_tap + at.plane * planes.tap_stride) * kernel[2] + lines.first_tap +
    row * lines.tap_stride) * kernel[3]
  at.here, at.tap, at.rows = d:let("here", here), d:let("tap", tap), rows
  at.there = d:let("there", at.n * to.n + (at.jd * planes.stride + planes.start) * to.d +
    (at.j * lines.stride + lines.start) * to.h)
end

local function call_tile(d, c, at, tiles, kernel, m)
  local s, channel = c.s, at.g * c.s.to.channels + at.c
  local out = at.there + channel * s.to.c + at.w
  local group = s.from.channels * (s.moves_in and s.step * s.in_pitch or s.from.c)
  local args = { { s.moves_in and d.scratch or d[s.from.base], at.here + at.g * group + at.w },
    { d.packed, panel_at(s, at.g, at.c) + (at.tap + tiles.axis.first_tap) * (s.from.channels * m) } }
  if s.forward and s.p.bias then args[#args + 1] = { d.bias, channel } end
  if s.forward and s.p.epilogue.residual and not s.moves_out then args[#args + 1] = { d.residual, out } end
  args[#args + 1] = not s.moves_out and { d[s.to.base], out } or { d.scratch, channel * (s.phases * s.out_pitch) +
    (c.layout.out + (tiles.number - 1) * s.out_pitch) + at.w }
  args[#args + 1], args[#args + 2] = at.planes, at.rows
  d:call(kernel, args)
end

-- All pixels of a row, and for each tile of them channels: each_channel(piece, body) runs body(c) for those of a piece.
local function row_of_tiles(d, c, at, pieces, each_channel)
  for _, tiles in ipairs(c.tiles) do
    for _, run in ipairs(tiles.runs) do
      local width = run.variant.vectors * c.s.lanes
      d:loop("w", run.first, run.first + run.count * width, width, function(w)
        at.w = w
        for _, piece in ipairs(pieces) do
          each_channel(piece, function(channel)
            at.c = channel
            call_tile(d, c, at, tiles, tiles.kernels[piece][run.variant], piece.size)
          end)
        end
      end)
    end
  end
end

-- The rows of the input that a block's taps reach, laid out in scratch from the lowest on.
local function move_in(d, c, at)
  local s, planes, lines = c.s, c.axes[1], c.axes[2]
  local from, reach = s.from, math.max(lines.taps - 1, 0) * lines.tap_step
  local first, last = lines.offset + math.min(0, reach), lines.offset + math.max(0, reach)
  local low = d:let("low", driver.max(at.first * lines.step + first, 0))
  local high = d:let("high", driver.min((at.last - 1) * lines.step + (last + 1), from.size[2]))
  d:loop("plane", 0, at.planes, 1, function(plane)
    local source = d:let("source", at.n * from.n +
      (at.jd * planes.step + planes.offset + (at.plane + plane) * planes.tap_step) * from.d)
    d:loop("row", low, high, 1, function(row)
      local to = d:let("to", plane * (planar_gather.plane_rows(s) * s.in_row) + (row - low) * s.in_row)
      for _, move in ipairs(c.input) do
        d:loop("channel", 0, move.count, 1, function(i)
          d:call(move.kernel, { { d[from.base], source + row * from.h + i * from.c + move.outside },
            { d.scratch, to + i * (s.step * s.in_pitch) + move.inside } })
        end)
      end
    end)
  end)
  return low
end

-- The outputs of a row, from scratch; with a residual as pixels first.
local function move_out(d, c, at)
  local s, layout = c.s, c.layout
  for _, move in ipairs(c.output) do
    d:loop("channel", 0, move.count, 1, function(i)
      d:call(move.kernel, { { d.scratch, i * (s.phases * s.out_pitch) + (layout.out + move.inside) },
        c.finish and { d.scratch, layout.pixels + move.outside } or
        { d[s.to.base], at.there + i * s.to.c + move.outside } })
    end)
  end
  if c.finish then
    d:call(c.finish, { { d.scratch, layout.pixels }, { d.residual, at.there }, { d.dst, at.there } })
  end
end

-- A block of rows; body() is run for each of them.
local function block_of_rows(d, c, at, body)
  local planes, lines = c.axes[1], c.axes[2]
  at.plane, at.planes = gather.tap_range(d, planes, at.jd, "plane")
  at.first = at.block * c.rows
  at.last = d:let("last", driver.min(at.block * c.rows + c.rows, lines.outputs))
  if c.s.moves_in then at.low = move_in(d, c, at) end
  d:loop("j", at.first, at.last, 1, function(j)
    at.j = j
    row_place(d, c, at)
    body()
  end)
end

-- A task has a block of rows.
local function by_rows(c, blocks, pieces)
  return { indices = blocks, body = function(d, n, jd, block)
    local at = { n = n, jd = jd, block = block }
    block_of_rows(d, c, at, function()
      d:loop("g", 0, c.s.p.groups, 1, function(g)
        at.g = g
        row_of_tiles(d, c, at, pieces, function(piece, body)
          d:loop("c", piece.first, piece.first + piece.count * piece.size, piece.size, body)
        end)
      end)
      if c.s.moves_out then move_out(d, c, at) end
    end)
  end }
end

-- A task has a block of rows and a piece of channels; channels come first, so that a panel stays near while pixels
-- pass.
local function by_channels(c, blocks, piece)
  return { indices = { { "g", c.s.p.groups }, { "piece", piece.count }, table.unpack(blocks) },
    body = function(d, g, number, n, jd, block)
      local at = { g = g, n = n, jd = jd, block = block }
      local first = d:let("c", number * piece.size + piece.first)
      block_of_rows(d, c, at, function()
        row_of_tiles(d, c, at, { piece }, function(_, body) body(first) end)
      end)
    end }
end

-- Tasks of one phase of planes and rows.
local function add_parts(list, b, c, pieces, schedule)
  local s, planes, lines = c.s, c.axes[1], c.axes[2]
  c.tiles, c.rows = tiles_of(b, s, c.axes, pieces, schedule.vectors), math.min(s.rows, lines.outputs)
  local blocks = { { "n", s.p.batch }, { "jd", planes.outputs }, { "block", (lines.outputs + c.rows - 1) // c.rows } }
  if not schedule.panel then list[#list + 1] = by_rows(c, blocks, pieces) end
  for _, piece in ipairs(schedule.panel and pieces or {}) do list[#list + 1] = by_channels(c, blocks, piece) end
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function planar_gather.stages(problem, schedule, target)
  local b = build.new(problem, target)
  local s = planar_gather.shape(problem, target)
  s.rows = schedule.rows
  local pieces = cut.piece_runs(s.to.channels, schedule.channels)
  local pack = pack_stage(b, s, pieces)
  local moves = { s = s, layout = scratch_layout(s) }
  moves.input = s.moves_in and with_kernels(b, "to_rows", input_moves(s))
  moves.output = s.moves_out and with_kernels(b, "to_pixels", output_moves(s))
  -- Residual and activation over a row of pixels' channels, when the tiles could not do it.
  moves.finish = moves.layout.finish and b:new("finish", function(o)
    o.name = "finish"
    return relayout.copy({ register = "acc", elements = s.to.all * s.to.size[3], many = true, finish = s.p }, o)
  end)
  local list = {}
  for _, planes in ipairs(s.axes[1]) do
    for _, lines in ipairs(s.axes[2]) do
      add_parts(list, b, setmetatable({ axes = { planes, lines } }, { __index = moves }), pieces, schedule)
    end
  end
  return { kernels = b.kernels, packed = s.to.all * s.taps * s.from.channels * s.size, shared = 0,
    stages = { pack, driver.stage { name = "compute", parts = list, scratch = moves.layout.elements * s.size } } }
end

return planar_gather
