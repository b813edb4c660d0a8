-- depthwise_gather.lua: the part of the depthwise family for forward and backward data: a tile of output rows and
-- pixels of one vector of channels, each input vector loaded once and used by every output that its taps reach.
--
-- Forward with a channel multiplier the lanes are output channels, and each input channel is spread over those of it.
-- Backward data then sums over them, in order within each tap: each member of the multiplier is as a further tap.
-- Tensors and weights are read where they are, and one call makes a row of tiles for all whole vectors of channels; or
-- a task lays out one vector's image and weights, [pixel][member][lane], which it must where members are summed or
-- data are channels-first, and which is worth it where the pixels of a vector meet in few sets of the nearest cache.
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local tile = require "tile"
local axes = require "families/depthwise_axis"
local moves = require "families/depthwise_moves"
local depthwise_gather = {}

---- the shape of a problem --------------------------------------------------------------------------------------------

-- channels: those in the lanes. multiplier: of them for each input channel; members: input channels that each sums
-- over. moves: whether tasks must lay out what they read. parts: of the channels, with kernels of their own.
function depthwise_gather.shape(p, target)
  local s, multiplier = gather.shape(p, target), p.oc // p.ic
  local axis = s.forward and axes.forward or axes.backward
  s.channels, s.pixels, s.lines = s.to.all, axis(p, 3), axis(p, 2)
  s.multiplier, s.members = s.forward and multiplier or 1, s.forward and 1 or multiplier
  s.planar = p.layout == "nchw"
  s.moves, s.parts = s.members > 1 or s.planar, axes.channel_parts(s, 1)
  local planes = s.axes[1][1] -- one plane of taps, always: the weights then stay in registers for a whole row
  s.one_plane = #s.axes[1] == 1 and p.kernel[1] == 1 and planes.taps == 1 and gather.always_inside(planes)
  return s
end

-- Where the tiles of a schedule find things: moves; pixel, tap, out_pixel: elements between the input's pixels, the
-- weights' taps, the output's pixels. Channels-first outputs, and residuals, stand in scratch as well.
local function places(s, schedule)
  local t = { moves = s.moves or schedule.moved or false }
  t.pixel = t.moves and moves.pitch(s, s.members) or s.from.w
  t.tap = t.moves and s.members * s.lanes or s.p.oc
  t.out_pixel = s.planar and s.lanes or s.to.w
  t.in_row, t.out_row, t.weights_row = s.from.size[3] * t.pixel, s.to.size[3] * t.out_pixel, s.p.kernel[3] * t.tap
  return t
end

-- The shape with a schedule's tiles; rows: nil when the taps along h are a loop.
function depthwise_gather.tiled(s, schedule)
  local t = places(s, schedule)
  t.schedule, t.columns = schedule, axes.row(s.pixels, schedule.pixels)
  t.rows = schedule.rows and axes.row(s.lines, schedule.rows)
  return setmetatable(t, { __index = s })
end

---- the kernel --------------------------------------------------------------------------------------------------------

local one_row = { { at = 0, uses = { { output = 0, tap = 0 } } } }

-- What passes for one tile: the positions along h and w, each a value for all sums that its taps reach.
local function terms(s, rows, columns)
  local list, base = {}, s.from.base
  for _, row in ipairs(rows) do
    for _, column in ipairs(columns) do
      for i = 0, s.members - 1 do
        local uses = {}
        for _, r in ipairs(row.uses) do
          for _, c in ipairs(column.uses) do
            uses[#uses + 1] = { r = r.output, m = c.output, kh = r.tap, kw = c.tap, i = i, v = 0 }
          end
        end
        list[#list + 1] = { at = { [base] = row.at * s.in_row + column.at * s.pixel + i * s.lanes }, uses = uses }
      end
    end
  end
  return { multiply = { terms = list } }
end

-- Tap by tap, for rows of weights that do not fit the registers: each weight is loaded once, the input at every use.
local function streamed(s, columns)
  local nodes = {}
  for _, tap in ipairs(axes.taps(columns)) do
    for i = 0, s.members - 1 do
      local list = {}
      for _, column in ipairs(columns) do
        for _, use in ipairs(column.uses) do
          if use.tap == tap then
            list[#list + 1] = { at = { [s.from.base] = column.at * s.pixel + i * s.lanes },
              uses = { { r = 0, m = use.output, kh = 0, kw = 0, i = 0, v = 0 } } }
          end
        end
      end
      nodes[#nodes + 1] = { load = { kh = { 0 }, kw = { 0 }, i = { 0 } },
        at = { weights = tap * s.tap + i * s.lanes } }
      nodes[#nodes + 1] = { multiply = { terms = list } }
    end
  end
  return nodes
end

-- The products of a plane of taps with the positions along w.
local function plane_nodes(s, rows, columns)
  if rows.run then
    local positions = axes.positions(s.lines, rows.run.variant)
    local load = not s.one_plane and { load = { kh = axes.taps(positions), kw = axes.taps(columns) } }
    return { load, terms(s, positions, columns) }
  end
  local nodes = s.schedule.streamed and streamed(s, columns)
    or { { load = { kh = { 0 }, kw = axes.taps(columns) } }, terms(s, one_row, columns) }
  nodes.loop, nodes.steps = "rows", { { s.from.base, rows.axis.tap_step * s.in_row },
    { "weights", rows.axis.tap_stride * s.weights_row } }
  return { { copies = { { s.from.base, "line" }, { "weights", "line_weights" } }, nodes } }
end

local function tile_nodes(s, rows, variant)
  local m = tile.span(0, variant.size - 1)
  local plane = plane_nodes(s, rows, axes.positions(s.pixels, variant))
  if not s.one_plane then
    plane.loop, plane.steps = "planes", { { s.from.base, rows.plane.tap_step * s.from.size[2] * s.in_row },
      { "weights", rows.plane.tap_stride * s.p.kernel[2] * s.weights_row } }
    plane = { copies = { { s.from.base, "plane" }, { "weights", "plane_weights" } }, plane }
  end
  return { zero = { m = m } }, plane, { finish = { "epilogue", "stored" }, reach = { m = m } }
end

-- What the next vector of channels has further on, `times` of them.
local function vector_steps(s, part, times)
  local step = part.step * times
  return { { s.from.base, step // s.multiplier }, { "weights", step }, { s.to.base, step },
    s.bias and { "bias", step }, s.slope and { "slope", step }, s.residual and { "residual", step } }
end

-- The weights of a tile's rows, where they stay in registers.
local function kept_weights(s, rows)
  return s.one_plane and rows.run and { load = { kh = axes.taps(axes.positions(s.lines, rows.run.variant)) } } or nil
end

-- A tile, or with `across` that of each vector of channels, from which the pointers come back.
local function turn_nodes(s, rows, run, part)
  if not s.schedule.across then return { tile_nodes(s, rows, run.variant) } end
  return { { loop = part.count, steps = vector_steps(s, part, 1), kept_weights(s, rows),
    tile_nodes(s, rows, run.variant) }, steps = vector_steps(s, part, -part.count) }
end

-- A run of equal tiles of a row.
local function run_nodes(s, rows, run, part)
  local at, size, base = axes.reference(s.pixels, run.first), run.variant.size, s.from.base
  local input, output = (axes.reference(s.pixels, run.first + size) - at) * s.pixel, size * s.out_pixel
  local first = run.first * s.out_pixel
  return { copies = { { base, "place", at * s.pixel }, { s.to.base, "out", first },
      s.residual and { "residual", "extra", first } },
    { loop = run.count, steps = run.count > 1 and { { base, input }, { s.to.base, output },
      s.residual and { "residual", output } } or nil, turn_nodes(s, rows, run, part) } }
end

local function about(s, rows, part)
  return ("A row of tiles of %d x %d outputs (acc[row][pixel]) of one vector of channels, %s. An input vector is "
    .. "loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie "
    .. "inside."
    ):format(rows.run and rows.run.variant.size or 1, s.columns[1].variant.size,
    not s.moves and part.count > 1 and ("for %d vectors one after another"):format(part.count)
    or part.lanes < s.lanes and ("%d lanes of it"):format(part.lanes) or "alone")
end

-- The tile's operands. Where taps along h are a loop, and of streamed weights, the registers are those of its first
-- tap.
local function operands(s, rows, part)
  local p, bias = s.p, s.bias and { pointer = "bias", { "v", s.lanes } }
  return { sizes = { r = rows.run and rows.run.variant.size or 1, m = s.columns[1].variant.size, kh = p.kernel[2],
      kw = p.kernel[3], i = s.members, v = 1 },
    sums = { pointer = s.to.base, register = "acc", { "r", s.out_row }, { "m", s.out_pixel }, { "v", s.lanes },
      indices = { "r", "m" }, last = part.lanes },
    held = { pointer = "weights", register = "w", { "kh", s.weights_row }, { "kw", s.tap }, { "i", s.lanes },
      { "v", s.lanes }, indices = s.members > 1 and { "kh", "kw", "i" } or { "kh", "kw" }, last = part.lanes },
    passing = { pointer = s.from.base, register = "x", kind = "spread", times = s.multiplier, phase = part.source.phase,
      elements = part.source.elements, once = part.lanes == s.lanes and s.multiplier == 1 },
    registers = { "passing", "sums" },
    ending = { epilogue = p, bias = bias, slope = s.slope and { pointer = "slope", { "v", s.lanes } },
      residual = s.residual and "residual", temporary = "passing" } }
end

-- rows: as rows_of has them. part: of the channels, all of whose vectors the kernel takes in turn, unless they move.
local function row_kernel(o, s, rows, part)
  local base, row = s.from.base, {}
  for key, value in pairs(operands(s, rows, part)) do o[key] = value end
  o.about = about(s, rows, part)
  o.arguments = { { base, "in" }, { "weights", "in" }, s.bias and { "bias", "in" }, s.slope and { "slope", "in" },
    s.residual and { "residual", "in" },
    { s.to.base, "out" }, not s.one_plane and { "planes", "count" }, rows.axis and { "rows", "count" } }
  local alone = s.moves or s.schedule.across
  row[1] = not s.schedule.across and kept_weights(s, rows) or nil
  for _, run in ipairs(s.columns) do row[#row + 1] = run_nodes(s, rows, run, part) end
  row.loop = alone and 1 or part.count
  row.steps = row.loop > 1 and vector_steps(s, part, 1) or nil
  o.body = { row }
  return tile.kernel(o)
end

---- the stage ---------------------------------------------------------------------------------------------------------

-- The rows of tiles: one entry a phase of planes and a run of rows (or, with the taps along h a loop, a phase of rows).
local function rows_of(s)
  local list = {}
  for _, plane in ipairs(s.axes[1]) do
    for _, run in ipairs(s.rows or {}) do list[#list + 1] = { plane = plane, run = run, tiles = run.count } end
    for _, axis in ipairs(s.rows and {} or s.axes[2]) do
      list[#list + 1] = { plane = plane, axis = axis, tiles = axis.outputs }
    end
  end
  return list
end

-- Rows of tiles with a kernel for each of `list`, parts of the channels.
local function with_kernels(s, rows, list)
  for _, part in ipairs(list) do
    rows[part] = s:new("rows", function(o) return row_kernel(o, s, rows, part) end)
  end
  return rows
end

-- Where a row of tiles begins: lines of input and output; the first row of taps and how many, when they are a loop.
local function line_of(d, s, rows, number)
  if rows.axis then
    local axis = rows.axis
    local first, count = gather.tap_range(d, axis, number, "row")
    return { input = gather.input_at(axis, number, first), output = number * axis.stride + axis.start,
      tap = first * axis.tap_stride + axis.first_tap, count = count }
  end
  local first, size = rows.run.first, rows.run.variant.size
  local at = axes.reference(s.lines, first)
  return { input = number * (axes.reference(s.lines, first + size) - at) + at, output = number * size + first }
end

-- Calls the kernels of all parts of the channels for a row of tiles: at is {n, image (the input's and the output's,
-- which are 0 for those that moved), jd, row}; place(part): {input, weights, output, residual, each as {base, offset},
-- channel: the first one}.
local function call_row(d, s, rows, at, list, place)
  local plane = rows.plane
  local first, planes = gather.tap_range(d, plane, at.jd, "plane")
  local line = line_of(d, s, rows, at.row)
  local with = (first * plane.tap_stride + plane.first_tap) * (s.p.kernel[2] * s.weights_row)
  with = d:let("with", line.tap and with + line.tap * s.weights_row or with)
  local here = d:let("here", gather.input_at(plane, at.jd, first, at.image * s.from.size[1]) *
    (s.from.size[2] * s.in_row) + line.input * s.in_row)
  local there = d:let("there", (at.result * s.to.size[1] + at.jd * plane.stride + plane.start) *
    (s.to.size[2] * s.out_row) + line.output * s.out_row)
  for _, part in ipairs(list) do
    local of = place(part)
    local function moved(tensor, by) return { tensor[1], by + tensor[2] } end
    d:call(rows[part], { [s.from.base] = moved(of.input, here), weights = moved(of.weights, with),
      bias = { d.bias, of.channel }, slope = { d.slope, of.channel }, residual = moved(of.residual, there),
      [s.to.base] = moved(of.output, there), planes = planes, rows = line.count })
  end
end

-- Tasks over image, plane and row tile; every task makes all channels.
local function in_place(s)
  local list, channels = {}, s.parts
  for i, rows in ipairs(rows_of(s)) do
    with_kernels(s, rows, channels)
    list[i] = { indices = { { "n", s.p.batch }, { "jd", rows.plane.outputs }, { "tile", rows.tiles } },
      body = function(d, n, jd, row)
        call_row(d, s, rows, { image = n, result = n, jd = jd, row = row }, channels, function(part)
          return { input = { d[s.from.base], part.source.first }, weights = { d.weights, part.first },
            output = { d[s.to.base], part.first }, residual = { d.residual, part.first }, channel = part.first }
        end)
      end }
  end
  return { driver.stage { name = "compute", parts = list } }
end

---- what moves first -------------------------------------------------------------------------------------------------

local function pixels(tensor) return tensor.size[1] * tensor.size[2] * tensor.size[3] end

-- Where a task has its parts of the images: elements from the start of its scratch; size: of all.
local function room(s)
  local input = parts.round_up(pixels(s.from) * s.pixel, 64 // s.size)
  local output = s.planar and pixels(s.to) * s.out_pixel or 0
  local residual = s.planar and s.residual and output or 0
  return { output = input, residual = input + output, size = (input + output + residual) * s.size }
end

function depthwise_gather.scratch(s) return room(s).size end

-- How one part of the channels is moved: input, weights, residual, output (nil where it stands in place).
local function movers(s, part, i)
  local p, out = s.p, s.planar and { pixels = pixels(s.to), channels = part.lanes, members = 1, pixel = s.to.w,
    channel = s.to.c, pitch = s.out_pixel, row = s.lanes }
  local inputs = s.members > 1 and part.lanes or part.source.elements
  local tap, channel = s.planar and 1 or p.oc, s.planar and s.taps or 1
  local alike = s.members > 1 and not s.planar and s.from.w == tap -- weights, and pixels
  local m = {}
  m.input = moves.into(s, "members" .. i, { pixels = pixels(s.from), channels = inputs, members = s.members,
    pixel = s.from.w, channel = s.from.c, pitch = s.pixel, row = s.lanes })
  m.weights = moves.into(s, (alike and "members" or "weights") .. i, { pixels = s.taps,
    channels = part.lanes, members = s.members, pixel = tap, channel = channel, pitch = s.tap, row = s.lanes })
  m.residual = out and s.residual and moves.into(s, "residual" .. i, out)
  m.output = out and moves.out(s, "result" .. i, out)
  return m
end

-- Tasks of one part: an image and a vector of channels. at(v): the first channel, that of its input, and where its
-- weights are packed.
local function moving_tasks(s, part, move, at)
  local p, all, in_scratch = s.p, rows_of(s), room(s)
  for _, rows in ipairs(all) do with_kernels(s, rows, { part }) end
  return { indices = { { "n", p.batch }, { "v", part.count } }, body = function(d, n, v)
    local first, source, packed = at(v)
    local to = n * s.to.n + first * s.to.c
    move.input(d, { d[s.from.base], n * s.from.n + source * s.from.c }, { d.scratch, 0 })
    if move.residual then move.residual(d, { d.residual, to }, { d.scratch, in_scratch.residual }) end
    local place = { input = { d.scratch, 0 }, weights = { d.packed, packed }, channel = first,
      output = move.output and { d.scratch, in_scratch.output } or { d[s.to.base], first },
      residual = move.residual and { d.scratch, in_scratch.residual } or { d.residual, first } }
    local zero = driver.expr(0)
    for _, rows in ipairs(all) do
      d:loop("jd", 0, rows.plane.outputs, 1, function(jd)
        d:loop("tile", 0, rows.tiles, 1, function(row)
          call_row(d, s, rows, { image = zero, result = move.output and zero or n, jd = jd, row = row }, { part },
            function() return place end)
        end)
      end)
    end
    if move.output then move.output(d, { d.scratch, in_scratch.output }, { d[s.to.base], to }) end
  end }
end

-- Tasks over image and vector of channels: each lays out its part of the image in scratch, and the packed weights are
-- so as well.
local function moving(s)
  local compute, pack, channel = {}, {}, s.planar and s.taps or 1
  for i, part in ipairs(s.parts) do
    local move = movers(s, part, i)
    local function at(v)
      local first = v * part.step + part.first
      local source = v * (part.step // s.multiplier) + part.source.first
      return first, source * s.members, (v * (part.step // s.lanes) + part.first // s.lanes) * (s.taps * s.tap)
    end
    pack[i] = { indices = { { "v", part.count } }, body = function(d, v)
      local first, _, packed = at(v)
      move.weights(d, { d.weights, first * s.members * channel }, { d.packed, packed })
    end }
    compute[i] = moving_tasks(s, part, move, at)
  end
  return { driver.stage { name = "pack", pack = true, parts = pack },
    driver.stage { name = "compute", parts = compute, scratch = room(s).size } },
    parts.round_up(s.channels, s.lanes) * s.members * s.taps * s.size
end

-- The stages of a schedule; see family.lua.
function depthwise_gather.stages(s, schedule)
  s = depthwise_gather.tiled(s, schedule)
  return (s.moves and moving or in_place)(s)
end

return depthwise_gather
