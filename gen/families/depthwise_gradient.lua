-- depthwise_gradient.lua: the part of the depthwise family for backward weights: the taps of a rectangle of the kernel,
-- an accumulator each, in one pass over a block of output pixels, with the bias gradient beside them.
--
-- Each tap's chain runs over its own valid pixels of the block, row-major. Tensors are read where they are, or a task
-- lays out both planes of its channels first, [pixel][lane], and then takes all rectangles: where data are
-- channels-first, and where rectangles are many or the pixels of a vector meet in few sets of the nearest cache.
-- Groups of few channels share the lanes (rewrite/lanes.lua): an accumulator is a tap and an input channel of each
-- group. Or a task takes each tile of pixels through a chunk of neighbouring channels before the next tile, with the
-- sums of a block in scratch: then lines are read in order.
--
-- Measured in AVX-512 on a Zen 5: of 3 x 3 taps a pixel of a vector of channels is 9 fma, 4.5 cycles, and 2 lines that
-- are new to the first cache (5 with stride 2). A loop that only reads gets 60 bytes a cycle from the second cache in
-- sequence, but some 32 where it steps from pixel to pixel (14 where those are 32 lines apart), and 30 from the last
-- cache in any order: 4 cycles or more, and the two do not overlap wholly. Reading bands of rows across all channels,
-- sums in memory, and prefetching gained nothing. A row too wide for 3 of the input and 1 of the gradient to stay in
-- the first cache (32 channels, 112 pixels) costs 15 to 20 % more.
local driver = require "driver"
local gather = require "gather"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local view = require "view"
local axes = require "families/depthwise_axis"
local moves = require "families/depthwise_moves"
local parts = require "parts"
local program = require "program"
local lane_groups = require "rewrite/lanes"
local depthwise_gradient = {}

---- the shape: which output rows and pixels a rectangle of taps may use -----------------------------------------------

-- What schedules share: a table of what was made, by key.
local function made(known, key, make)
  known[key] = known[key] or make()
  return known[key]
end

function depthwise_gradient.shape(p, target)
  local s, planes = view.units(p, target), axes.forward(p, 1)
  local low, high = cut.inner(planes)
  s.p, s.src, s.dst, s.weights, s.cache = p, view.src(p), view.dst(p), view.weights(p), {}
  s.channels, s.pixel, s.multiplier, s.members = p.oc, s.src.w, p.oc // p.ic, s.icg
  s.from, s.to, s.target, s.moves = s.src, s.dst, target, p.layout == "nchw"
  -- One tap that sees all planes; groups have a stage for it.
  s.bias_beside = p.bias and s.members == 1 and planes.taps == 1 and low == 0 and high == planes.outputs
  return s
end

-- Bytes of neighbouring channels that a task takes a tile through: lines to fetch ahead, of few enough pixels' for the
-- nearest cache to keep what the next tile reads again.
local chunk_bytes = 1024

-- The shape where tiles go across chunks of so many `groups` of vectors; pitch: elements of a chunk, whose sums are in
-- scratch, [tap][channel]. The bias' gradient has a stage of its own.
local function across(s, schedule)
  local width = schedule.vectors * s.lanes
  local groups = math.max(s.channels // width, 1)
  local most = math.min(math.max(chunk_bytes // s.size // width, 1), groups)
  local chunks = (groups + most - 1) // most
  local t = { bias_beside = false, cache = {}, groups = (groups + chunks - 1) // chunks }
  t.pitch = t.groups * width
  t.sums = { size = schedule.height * schedule.width * t.pitch }
  return setmetatable(t, { __index = s })
end

-- The shape where planes of a schedule's vectors are laid out, gradients of channels-first weights too; in_scratch:
-- where they are, in elements; or where tiles go across channels. Otherwise the shape as it is.
function depthwise_gradient.laid(s, schedule)
  if schedule.across then return across(s, schedule) end
  if not (s.moves or schedule.moved) then return s end
  local p, width = s.p, schedule.vectors * s.lanes
  local pitch = moves.pitch(s, schedule.vectors)
  local function rows(pixels, elements) return { w = elements, h = pixels * elements } end
  local t = { laid = true, src = rows(p.input[3], pitch), dst = rows(p.output[3], width), outside = s }
  if s.moves then t.weights = { kw = width, kh = p.kernel[3] * width } end
  local dst = parts.round_up(p.input[2] * t.src.h, 64 // s.size)
  local weights = dst + p.output[2] * t.dst.h
  t.in_scratch = { dst = dst, weights = weights, all = weights + (s.moves and p.kernel[2] * t.weights.kh or 0) }
  return setmetatable(t, { __index = s })
end

-- The parts of the channels, see axes.channel_parts; column: the tile of whole groups.
function depthwise_gradient.parts(s, schedule)
  if not schedule.groups then return axes.channel_parts(s, schedule.vectors) end
  local list = {}
  for i, run in ipairs(lane_groups.columns(s, schedule.groups, s.lanes)) do
    local before = run.index * schedule.groups
    list[i] = { first = before * s.ocg, lanes = run.tile.last, vectors = run.tile.vectors, count = run.count,
      step = run.tile.channels, from = schedule.groups * s.icg, column = run.tile,
      source = { first = before * s.icg, phase = 0 } }
  end
  return list
end

-- A row's columns in chunks of a block, equal neighbours together: {first, count, columns = {axis, row of tiles,
-- start}}.
local function chunks(s, piece, pixels)
  local axis, list, by_key = axes.forward(s.p, 3, piece), {}, {}
  local low, high = cut.inner(axis)
  local first = 0
  while first < axis.outputs do
    local stop, count = math.min(first + reduce.block, axis.outputs), 1
    local row, words = axes.row(axis, pixels, first, stop), {}
    for i, run in ipairs(row) do words[i] = ("%d %d %s"):format(run.first - first, run.count, run.variant.key) end
    local key = table.concat(words, "|")
    by_key[key] = by_key[key] or { axis = axis, row = row, start = first }
    if first >= low then count = math.max((high - first) // reduce.block, 1) end -- inner ones are alike
    local last = list[#list]
    if last and last.columns == by_key[key] then last.count = last.count + count
    else list[#list + 1] = { first = first, count = count, columns = by_key[key] } end
    first = first + count * reduce.block
  end
  return list
end

-- Rectangles of taps: {rows = piece, columns = piece, runs (of rows), chunks, bias, key}; the first one sums the bias
-- as well where every output has its turn there. Those with equal keys share their kernels for equal columns.
local function make_rectangles(s, schedule)
  local list, p = {}, s.p
  for _, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.height)) do
    local runs = made(s.cache, ("rows %d %d"):format(rows.first, rows.size), function()
      return gather.runs(p, 2, rows.first, rows.first + rows.size - 1)
    end)
    local keys = { rows.size }
    for i, run in ipairs(runs) do keys[i + 1] = run.low and run.low .. "-" .. run.high or "" end
    for _, columns in ipairs(cut.even_pieces(p.kernel[3], schedule.width)) do
      local bias = #list == 0 and s.bias_beside
      local of = made(s.cache, ("columns %d %d %d"):format(columns.first, columns.size, schedule.pixels), function()
        return chunks(s, columns, schedule.pixels)
      end)
      list[#list + 1] = { rows = rows, columns = columns, runs = runs, chunks = of, bias = bias,
        key = table.concat(keys, "|") .. (bias and " bias" or "") }
    end
  end
  return list
end

function depthwise_gradient.rectangles(s, schedule)
  return made(s.cache, ("%d %d %d"):format(schedule.height, schedule.width, schedule.pixels), function()
    return make_rectangles(s, schedule)
  end)
end

-- Calls visit(rectangle, columns) for each rectangle and shape of its chunks that needs a kernel of its own.
function depthwise_gradient.each_kernel(rectangles, visit)
  local seen = {}
  for _, r in ipairs(rectangles) do
    for _, chunk in ipairs(r.chunks) do
      local known = made(seen, chunk.columns, function() return {} end)
      if not known[r.key] then visit(r, chunk.columns) end
      known[r.key] = true
    end
  end
end

-- The registers that a schedule needs beside the input vector: sums, and gradients that wait for their last tap.
function depthwise_gradient.registers(s, schedule)
  local p, waiting = s.p, nil
  waiting = math.min(schedule.pixels, (schedule.width - 1) * p.dilation[3] // p.stride[3] + 1)
  local bias = p.bias and s.members == 1 and 1 or 0
  return schedule.vectors * (schedule.height * schedule.width * s.members + bias + waiting)
end

---- the kernel --------------------------------------------------------------------------------------------------------

-- Loads the gradients that a position needs. Pixels are first used in ascending order, which is the order of the bias
-- gradient's chain too: with a bias those before them come first.
local function load_nodes(nodes, r, vectors, state, last)
  for pixel = r.bias and state.next or last, last do
    for v = 0, state[pixel] and -1 or vectors - 1 do
      local reach = { m = { pixel }, v = { v } }
      nodes[#nodes + 1] = { load = reach }
      nodes[#nodes + 1] = r.bias and { collect = reach }
    end
    state[pixel] = true
  end
  state.next = math.max(state.next, last + 1)
end

-- What passes of a position: for each row of taps, vector of channels and input channel of a group an input vector.
local function position_terms(s, row_taps, position, part)
  local list = {}
  local function add(kh, v, i)
    local from, uses = part.column and { first = 0 } or axes.source(part.source.phase + v * s.lanes, part.lanes,
      s.multiplier), {}
    for n, use in ipairs(position.uses) do uses[n] = { v = v, kh = kh, kw = use.tap, i = i, m = use.output } end
    list[#list + 1] = { at = { src = kh * s.p.dilation[2] * s.src.h + position.at * s.src.w + from.first },
      uses = uses, phase = from.phase, elements = from.elements, skip = i }
  end
  for _, kh in ipairs(row_taps) do
    for v = 0, part.vectors - 1 do
      for i = 0, s.members - 1 do add(kh, v, i) end
    end
  end
  return { multiply = { terms = list } }
end

-- One tile of a row.
local function tile_nodes(s, r, axis, variant, row_taps, part)
  local nodes, state = { { forget = true } }, { next = 0 }
  for _, position in ipairs(axes.positions(axis, variant)) do
    for _, use in ipairs(#row_taps > 0 and position.uses or {}) do
      load_nodes(nodes, r, part.vectors, state, use.output)
    end
    nodes[#nodes + 1] = position_terms(s, row_taps, position, part)
  end
  if r.bias then load_nodes(nodes, r, part.vectors, state, variant.size - 1) end
  return nodes
end

-- A tile of each group of vectors of a chunk, whose sums are in memory.
local function across_nodes(s, part, tile_of)
  local width, reach = part.vectors * s.lanes, { v = tile.span(0, part.vectors - 1) }
  local step = { loop = "groups", steps = { { "src", width }, { "diff_dst", width }, { "sums", width } } }
  step[1] = { of = "sums", load = reach }
  table.move(tile_of, 1, #tile_of, 2, step)
  step[#step + 1] = { of = "sums", finish = { "stored" }, reach = reach }
  return { { copies = { { "src", "x" }, { "diff_dst", "y" }, { "sums", "z" } }, step } }
end

-- One row of the output in which the taps of a run are inside.
local function row_nodes(s, r, columns, run, part)
  local list, step, row_taps = {}, s.p.stride[3] * s.src.w, run.low and tile.span(run.low, run.high) or {}
  for _, column in ipairs(columns.row) do
    local variant, at = column.variant, column.first - columns.start
    if variant.uses > 0 and run.low or r.bias then
      local nodes = tile_nodes(s, r, columns.axis, variant, row_taps, part)
      if s.groups then nodes = across_nodes(s, part, nodes) end
      nodes.loop, nodes.steps = column.count, { { "src", column.count > 1 and variant.size * step or 0 },
        { "diff_dst", column.count > 1 and variant.size * s.dst.w or 0 } }
      list[#list + 1] = { copies = { { "src", "a", at * step }, { "diff_dst", "b", at * s.dst.w } }, nodes }
    end
  end
  return list
end

local function sums_of(s, r, part)
  local w = s.groups and { kh = r.columns.size * s.pitch, kw = s.pitch } or s.weights
  local sums = { pointer = s.groups and "sums" or "diff_weights", register = "acc", { "v", s.lanes }, { "kh", w.kh },
    { "kw", w.kw }, last = part.lanes }
  if part.column then sums[4] = { "i", s.weights.i } end
  return sums
end

local function operands(s, r, part)
  return { registers = { "passing" }, body = {}, ending = { temporary = "passing" },
    arguments = { { "src", "in" }, { "diff_dst", "in" }, { s.groups and "sums" or "diff_weights", "inout" },
      r.bias and { "diff_bias", "inout" } },
    sizes = { v = part.vectors, kh = r.rows.size, kw = r.columns.size, i = s.members, m = s.p.output[3] },
    sums = sums_of(s, r, part),
    held = { pointer = "diff_dst", register = "g", { "m", s.dst.w }, { "v", s.lanes }, last = part.lanes },
    passing = { pointer = "src", register = "x", kind = "spread", times = s.multiplier,
      load = part.column and lane_groups.load(s, part.column, s.lanes),
      once = part.lanes == s.lanes and s.multiplier == 1 and s.members == 1 },
    beside = r.bias and { pointer = "diff_bias", register = "acc_bias", { "v", s.lanes }, last = part.lanes } or nil }
end

-- A rectangle's taps over one block: counts tell how many rows of each run the block has; the sums of a part's vectors
-- of channels are added to the gradient that is there.
local function block_kernel(o, s, r, columns, part)
  for key, value in pairs(operands(s, r, part)) do o[key] = value end
  local function each_sum(list, node)
    for v = 0, part.vectors - 1 do
      for _, of in ipairs { "sums", r.bias and "beside" or nil } do list[#list + 1] = node(of, { v = { v } }) end
    end
  end
  for v = 0, part.vectors - 1 do
    if r.bias then table.insert(o.registers, { "beside", v = { v } }) end
    table.insert(o.registers, { "sums", v = { v } })
  end
  if not s.groups then each_sum(o.body, function(of, reach) return { of = of, zero = reach } end) end
  for i, run in ipairs(r.runs) do
    o.arguments[i + 4] = { "rows" .. i, "count" }
    local row = row_nodes(s, r, columns, run, part)
    row.loop, row.steps = "rows" .. i, { { "src", s.p.stride[2] * s.src.h }, { "diff_dst", s.dst.h } }
    o.body[#o.body + 1] = row
  end
  if s.groups then o.arguments[#r.runs + 5] = { "groups", "count" }
  else each_sum(o.body, function(of, reach) return { of = of, finish = { "added_up" }, reach = reach } end) end
  return tile.kernel(o)
end

-- Adds the sums of a block to the gradient, rectangle by rectangle, and zeroes them.
local function add_kernel(s, r, part)
  local key = ("add %d %d %d %d"):format(part.lanes, part.vectors, r.rows.size, r.columns.size)
  return s:kernel(key, "add", function(o)
    local k, width = program.new(o), part.vectors * s.lanes
    k.about = "Adds the sums of a block to the gradient; they are zero again."
    local from, to = k:pointer("sums", "inout"), k:pointer("diff_weights", "inout")
    local sum, temp = k:vector "sum", k:vector "temp"
    local function names(i) return { "sums_" .. i, "to_" .. i } end
    local loops = { { count = r.rows.size, steps = { r.columns.size * s.pitch, s.weights.kh }, names = names(1) },
      { count = r.columns.size, steps = { s.pitch, s.weights.kw }, names = names(2) },
      { count = "groups", steps = { width, width } } }
    k:nest({ from, to }, loops, function(x, y)
      for v = 0, part.vectors - 1 do
        local lanes = v == part.vectors - 1 and part.lanes or s.lanes
        k:load(sum, k:at(x, v * s.lanes), 0, lanes)
        reduce.add(k, k:at(y, v * s.lanes), { sum }, temp, lanes)
        k:zero(sum)
        k:store(k:at(x, v * s.lanes), sum, 0, lanes)
      end
    end)
    return k:finish()
  end)
end

-- Zeroes rows x columns taps, of all vectors of a part.
local function zero_kernel(s, key, part, rows, columns)
  local vectors = part.column and part.vectors or 0 -- else an argument says so
  return s:kernel(("%s %d %d %d %d"):format(key, part.lanes, vectors, rows, columns), "zero", function(o)
    if part.column then
      local inputs = reduce.rows(reduce.vectors(part.column, s.lanes), s.members, s.weights.i)
      return reduce.zero_kernel(o, reduce.rows(reduce.rows(inputs, columns, s.weights.kw), rows, s.weights.kh))
    end
    local row = reduce.rows({ { at = 0, lanes = part.lanes } }, columns, s.weights.kw)
    return reduce.zero_kernel(o, reduce.rows(row, rows, s.weights.kh), { step = part.lanes })
  end)
end

local function bias_kernel(s, part, columns)
  return s:kernel(("bias %d %d"):format(part.lanes, columns), "bias", function(o)
    return reduce.bias_kernel(o, { { at = 0, lanes = part.lanes } }, { run = true,
      loops = { { count = "rows", steps = { s.dst.h }, names = { "at" } }, { count = columns, steps = { s.dst.w } } },
      words = { out = "diff_bias", sum = "sum", sums_first = true, g = "g" } })
  end)
end

---- tasks -------------------------------------------------------------------------------------------------------------

-- Calls the kernels of a rectangle for the block of rows from `first` on; at: where the source, diff_dst, weights and
-- bias of the part begin, {base, offset} each.
local function call_block(d, s, r, kernels, first, at)
  local p, counts = s.p, {}
  for i, run in ipairs(r.runs) do
    local last = driver.min(first + reduce.block_rows(p.output[3]), run.first + run.count)
    counts[i] = d:let("rows", driver.max(last - driver.max(first, run.first), 0))
  end
  local function moved(base, by) return { base[1], base[2] + by } end
  for _, chunk in ipairs(r.chunks) do
    d:run("column", chunk, reduce.block, function(column)
      local args = { src = moved(at.src, first * (p.stride[2] * s.src.h) + column * (p.stride[3] * s.src.w)),
        diff_dst = moved(at.dst, first * s.dst.h + column * s.dst.w), diff_weights = at.weights, diff_bias = at.bias }
      for i, count in ipairs(counts) do args["rows" .. i] = count end
      args.sums, args.groups = at.sums, at.groups
      d:call(kernels[chunk.columns], args)
      if at.sums then d:call(kernels.add, { at.sums, at.weights, at.groups }) end
    end)
  end
end

-- The kernels of a rectangle and a part of the channels: {zero, zero_bias, of = by columns}.
local function kernels_of(s, r, part)
  local use = { zero_bias = r.bias and zero_kernel(s, "zero bias", part, 1, 1), of = {},
    zero = zero_kernel(s, "zero", part, r.rows.size, r.columns.size) }
  if s.groups then
    use.of.add = add_kernel(s, r, part)
    use.clear = zero_kernel(s, "clear", part, 1, 1)
  end
  for _, chunk in ipairs(r.chunks) do
    local columns = chunk.columns
    local key = ("%d %d %d %s %p"):format(part.lanes, part.vectors, part.source.phase, r.key, columns)
    use.of[columns] = s:kernel(key, "gradient", function(o) return block_kernel(o, s, r, columns, part) end)
  end
  return use
end

local function zero_sums(d, r, part, use, at)
  local vectors = at.groups and at.groups * part.vectors or part.vectors
  d:call(use.zero, { at.weights, not part.column and vectors or nil })
  if at.sums then
    d:loop("tap", 0, r.rows.size * r.columns.size, 1, function(tap)
      d:call(use.clear, { { at.sums[1], tap * at.pitch }, vectors })
    end)
  end
  if r.bias then d:call(use.zero_bias, { at.bias, part.vectors }) end
end

-- Where a rectangle's first row of taps begins in a plane of the source.
local function first_row(s, r) return (r.rows.first * s.p.dilation[2] - s.p.pad[2]) * s.src.h end

-- The tasks of a rectangle and a part of the channels.
local function compute_part(s, r, part)
  local p, use, each = s.p, kernels_of(s, r, part), s.groups or 1
  local tasks = (part.count + each - 1) // each
  return { indices = { { "group", tasks }, { "kd", p.kernel[1] } }, body = function(d, group, kd)
    local low, high = gather.valid_outputs(d, p, 1, kd, "od")
    local at = { bias = { d.bias, 0 }, pitch = s.pitch }
    if s.groups then
      group = group * each
      at.sums = { d.scratch, driver.expr(0) }
      at.groups = d:let("groups", driver.min(driver.expr(part.count) - group, each))
    end
    local channel = d:let("c", group * part.step + part.first)
    at.bias[2] = channel
    at.weights = { d.weights, d:let("to",
      ((kd * p.kernel[2] + r.rows.first) * p.kernel[3] + r.columns.first) * s.weights.kw + channel) }
    zero_sums(d, r, part, use, at)
    reduce.planes(d, p, function(n, od)
      at.src = { d.src, d:let("from", gather.seen_at(p, 1, od, kd, n * p.input[1]) * s.src.d + first_row(s, r) +
        group * part.from + part.source.first) }
      at.dst = { d.dst, d:let("with", (n * p.output[1] + od) * s.dst.d + channel) }
      reduce.each_block(d, p, function(first) call_block(d, s, r, use.of, first, at) end)
    end, low, high)
  end }
end

---- tasks that lay out their planes -----------------------------------------------------------------------------------

-- How a part's planes, and channels-first weights, are moved.
local function movers(s, part, i)
  local p, outside, width = s.p, s.outside, part.lanes * part.vectors
  local function plane(tensor, size, channels, pitch)
    return { pixels = size[2] * size[3], channels = channels, members = 1, pixel = tensor.w, channel = tensor.c,
      pitch = pitch, row = 0 }
  end
  local inputs = axes.source(part.source.phase, width, s.multiplier).elements
  local m = { src = moves.into(s, "source" .. i, plane(outside.src, p.input, inputs, s.src.w)),
    dst = moves.into(s, "gradients" .. i, plane(outside.dst, p.output, width, s.dst.w)) }
  m.weights = s.moves and moves.out(s, "result" .. i, { pixels = p.kernel[2] * p.kernel[3], channels = width,
    members = 1, pixel = 1, channel = s.taps, pitch = s.dst.w })
  return m
end

-- Where a task's sums of a rectangle go.
local function sums_at(d, s, r, kd, channel)
  local p, tap = s.p, r.rows.first * s.p.kernel[3] + r.columns.first
  local weights = s.moves and { d.scratch, s.in_scratch.weights + tap * s.weights.kw }
    or { d.weights, (kd * (p.kernel[2] * p.kernel[3]) + tap) * s.weights.kw + channel }
  return { bias = { d.bias, channel }, weights = weights, src = { d.scratch, first_row(s, r) },
    dst = { d.scratch, s.in_scratch.dst } }
end

-- The tasks of a part of the channels.
local function laying_part(s, rectangles, part, move)
  local p, use, outside = s.p, {}, s.outside
  for i, r in ipairs(rectangles) do use[i] = kernels_of(s, r, part) end
  return { indices = { { "group", part.count }, { "kd", p.kernel[1] } }, body = function(d, group, kd)
    local low, high = gather.valid_outputs(d, p, 1, kd, "od")
    local channel = d:let("c", group * part.step + part.first)
    local source = group * part.from + part.source.first
    for i, r in ipairs(rectangles) do zero_sums(d, r, part, use[i], sums_at(d, s, r, kd, channel)) end
    reduce.planes(d, p, function(n, od)
      move.src(d, { d.src, n * outside.src.n + gather.seen_at(p, 1, od, kd) * outside.src.d + source * outside.src.c },
        { d.scratch, 0 })
      move.dst(d, { d.dst, n * outside.dst.n + od * outside.dst.d + channel * outside.dst.c },
        { d.scratch, s.in_scratch.dst })
      for i, r in ipairs(rectangles) do
        local at = sums_at(d, s, r, kd, channel)
        reduce.each_block(d, p, function(first) call_block(d, s, r, use[i].of, first, at) end)
      end
    end, low, high)
    if move.weights then
      move.weights(d, { d.scratch, s.in_scratch.weights },
        { d.weights, channel * s.taps + kd * (p.kernel[2] * p.kernel[3]) })
    end
  end }
end

---- the bias alone, where no rectangle of taps passes over every output -----------------------------------------------

-- A plane of the gradient, and where it is for the kernels: as it is, or laid out.
local function plane_of(s, move)
  if not s.laid then return reduce.plane_at(s.p), function(d, with) return { d.dst, with } end end
  local dst = s.outside.dst
  return function(n, od, c) return n * dst.n + od * dst.d + c * dst.c end, function(d, with)
    move.dst(d, { d.dst, with }, { d.scratch, s.in_scratch.dst })
    return { d.scratch, driver.expr(s.in_scratch.dst) }
  end
end

local function bias_part(s, part, move)
  local p, chunks, kernels = s.p, cut.runs_of_columns(s.p.output[3], 1, reduce.block), {}
  for i, chunk in ipairs(chunks) do kernels[i] = bias_kernel(s, part, chunk.tile.channels) end
  local plane_at, plane = plane_of(s, move)
  return reduce.bias_part(p, { index = { "group", part.count }, zero = zero_kernel(s, "zero bias", part, 1, 1),
    counts = part.vectors, at = plane_at,
    channel = function(d, group) return d:let("c", group * part.step + part.first) end,
    blocks = function(d, with, c)
      local at_plane = plane(d, with)
      reduce.each_block(d, p, function(at)
        local rows = d:let("rows", driver.min(driver.expr(p.output[2]) - at, reduce.block_rows(p.output[3])))
        for i, chunk in ipairs(chunks) do
          d:run("column", { first = chunk.tile.first, count = chunk.count }, reduce.block, function(column)
            d:call(kernels[i], { { at_plane[1], at_plane[2] + at * s.dst.h + column * s.dst.w }, { d.bias, c },
              part.vectors, rows })
          end)
        end
      end)
    end })
end

---- the stage ---------------------------------------------------------------------------------------------------------

-- The stages of a schedule; see family.lua.
function depthwise_gradient.stages(s, schedule)
  s = depthwise_gradient.laid(s, schedule)
  local rectangles, list, bias, move = depthwise_gradient.rectangles(s, schedule), {}, {}, {}
  local channels, beside = depthwise_gradient.parts(s, schedule), s.p.bias and s.members == 1
  for i, part in ipairs(s.laid and channels or {}) do move[i] = movers(s, part, i) end
  for _, part in ipairs(beside and channels or {}) do zero_kernel(s, "zero bias", part, 1, 1) end
  for i, part in ipairs(s.laid and channels or {}) do list[i] = laying_part(s, rectangles, part, move[i]) end
  for _, r in ipairs(s.laid and {} or rectangles) do
    for _, part in ipairs(channels) do list[#list + 1] = compute_part(s, r, part) end
  end
  local scratch = s.laid and s.in_scratch.all * s.size or s.groups and s.sums.size * s.size or nil
  local stages = { driver.stage { name = "compute", parts = list, scratch = scratch } }
  if s.p.bias and not beside then stages[2] = reduce.bias_stage(s) end
  for i, part in ipairs(beside and not rectangles[1].bias and channels or {}) do
    bias[i] = bias_part(s, part, move[i])
  end
  if bias[1] then stages[2] = driver.stage { name = "bias", parts = bias, scratch = scratch } end
  return stages
end

return depthwise_gradient
