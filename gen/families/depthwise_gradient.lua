-- depthwise_gradient.lua: the part of the depthwise family for backward weights: the taps of a rectangle of the kernel,
-- an accumulator each, in one pass over a block of output pixels, with the bias gradient beside them.
--
-- Each tap's chain runs over its own valid pixels of the block, row-major. Tensors are read where they are.
--
-- Measured in AVX-512 on a Zen 5: of 3 x 3 taps a pixel of a vector of channels is 9 fma, 4.5 cycles, and 2 lines that
-- are new to the first cache (5 with stride 2). A loop that only reads gets 60 bytes a cycle from the second cache in
-- sequence, but some 32 where it steps from pixel to pixel (14 where those are 32 lines apart), and 30 from the last
-- cache in any order: 4 cycles or more, and the two do not overlap wholly. Reading bands of rows across all channels,
-- sums in memory, and prefetching gained nothing. A row too wide for 3 of the input and 1 of the gradient to stay in
-- the first cache (32 channels, 112 pixels) costs 15 to 20 % more.
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local view = require "view"
local axes = require "families/depthwise_axis"
local depthwise_gradient = {}

---- the shape: which output rows and pixels a rectangle of taps may use -----------------------------------------------

-- What schedules share: a table of what was made, by key.
local function made(known, key, make)
  known[key] = known[key] or make()
  return known[key]
end

function depthwise_gradient.shape(p, target)
  local planes = axes.forward(p, 1)
  local low, high = axes.inner(planes)
  return { p = p, target = target, lanes = parts.lanes_of(p, target), multiplier = p.oc // p.ic, src = view.src(p),
    dst = view.dst(p), weights = view.weights(p), known = {}, channels = p.oc, pixel = p.ic,
    bias_beside = p.bias and planes.taps == 1 and low == 0 and high == planes.outputs } -- one tap that sees all planes
end

-- A row's columns in chunks of a block, equal neighbours together: {first, count, columns = {axis, row of tiles,
-- start}}.
local function chunks(s, piece, pixels)
  local axis, list, by_key = axes.forward(s.p, 3, piece), {}, {}
  local low, high = axes.inner(axis)
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
    local runs = made(s.known, ("rows %d %d"):format(rows.first, rows.size), function()
      return axes.runs(axes.forward(p, 2, rows))
    end)
    local keys = { rows.size }
    for i, run in ipairs(runs) do keys[i + 1] = run.key end
    for _, columns in ipairs(cut.even_pieces(p.kernel[3], schedule.width)) do
      local bias = #list == 0 and s.bias_beside
      local of = made(s.known, ("columns %d %d %d"):format(columns.first, columns.size, schedule.pixels), function()
        return chunks(s, columns, schedule.pixels)
      end)
      list[#list + 1] = { rows = rows, columns = columns, runs = runs, chunks = of, bias = bias,
        key = table.concat(keys, "|") .. (bias and " bias" or "") }
    end
  end
  return list
end

function depthwise_gradient.rectangles(s, schedule)
  return made(s.known, ("%d %d %d"):format(schedule.height, schedule.width, schedule.pixels), function()
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
function depthwise_gradient.registers(p, schedule)
  local waiting = math.min(schedule.pixels, (schedule.width - 1) * p.dilation[3] // p.stride[3] + 1)
  return schedule.vectors * (schedule.height * schedule.width + (p.bias and 1 or 0) + waiting)
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

-- What passes of a position: for each row of taps and vector of channels an input vector.
local function position_terms(s, row_taps, position, part)
  local list = {}
  for _, kh in ipairs(row_taps) do
    for v = 0, part.vectors - 1 do
      local from, uses = axes.source(part.phase + v * s.lanes, part.lanes, s.multiplier), {}
      for i, use in ipairs(position.uses) do uses[i] = { v = v, kh = kh, kw = use.tap, m = use.output } end
      list[#list + 1] = { at = { src = kh * s.p.dilation[2] * s.src.h + position.at * s.src.w + from.first },
        uses = uses, phase = from.phase, elements = from.elements }
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

-- One row of the output in which the taps of a run are inside.
local function row_nodes(s, r, columns, run, part)
  local list, step = {}, s.p.stride[3] * s.src.w
  for _, column in ipairs(columns.row) do
    local variant, at = column.variant, column.first - columns.start
    if variant.uses > 0 and #run.taps > 0 or r.bias then
      local nodes = tile_nodes(s, r, columns.axis, variant, run.taps, part)
      nodes.loop, nodes.steps = column.count, { { "src", column.count > 1 and variant.size * step or 0 },
        { "diff_dst", column.count > 1 and variant.size * s.dst.w or 0 } }
      list[#list + 1] = { copies = { { "src", "a", at * step }, { "diff_dst", "b", at * s.dst.w } }, nodes }
    end
  end
  return list
end

local function operands(s, r, part)
  return { registers = { "passing" }, body = {}, ending = { temporary = "passing" },
    arguments = { { "src", "in" }, { "diff_dst", "in" }, { "diff_weights", "inout" },
      r.bias and { "diff_bias", "inout" } },
    sizes = { v = part.vectors, kh = r.rows.size, kw = r.columns.size, m = s.p.output[3] },
    sums = { pointer = "diff_weights", register = "acc", { "v", s.lanes }, { "kh", s.weights.kh },
      { "kw", s.weights.kw }, last = part.lanes },
    held = { pointer = "diff_dst", register = "g", { "m", s.dst.w }, { "v", s.lanes }, last = part.lanes },
    passing = { pointer = "src", register = "x", kind = "spread", times = s.multiplier,
      once = part.lanes == s.lanes and s.multiplier == 1 },
    beside = r.bias and { pointer = "diff_bias", register = "acc_bias", { "v", s.lanes }, last = part.lanes } or nil }
end

-- A rectangle's taps over one block: counts tell how many rows of each run the block has; the sums of a part's vectors
-- of channels are added to the gradient that is there.
local function block_kernel(s, r, columns, part, name)
  local o = operands(s, r, part)
  local function each_sum(node)
    for v = 0, part.vectors - 1 do
      o.body[#o.body + 1] = node("sums", { v = { v } })
      o.body[#o.body + 1] = r.bias and node("beside", { v = { v } })
    end
  end
  for v = 0, part.vectors - 1 do
    if r.bias then table.insert(o.registers, { "beside", v = { v } }) end
    table.insert(o.registers, { "sums", v = { v } })
  end
  each_sum(function(of, reach) return { of = of, zero = reach } end)
  for i, run in ipairs(r.runs) do
    o.arguments[i + 4] = { "rows" .. i, "count" }
    local row = row_nodes(s, r, columns, run, part)
    row.loop, row.steps = "rows" .. i, { { "src", s.p.stride[2] * s.src.h }, { "diff_dst", s.dst.h } }
    o.body[#o.body + 1] = row
  end
  each_sum(function(of, reach) return { of = of, finish = { "added_up" }, reach = reach } end)
  o.name, o.type, o.target = name, s.p.type, s.target
  return tile.kernel(o)
end
local function zero_kernel(s, lanes, rows, columns, name)
  local places = reduce.rows(reduce.rows({ { at = 0, lanes = lanes } }, columns, s.weights.kw), rows, s.weights.kh)
  return reduce.zero_kernel(s.p, s.target, name, places, { step = lanes })
end

local function bias_kernel(s, lanes, columns, name)
  return reduce.bias_kernel(s.p, s.target, name, { { at = 0, lanes = lanes } }, { run = true,
    loops = { { count = "rows", steps = { s.dst.h }, names = { "at" } }, { count = columns, steps = { s.dst.w } } },
    words = { out = "diff_bias", sum = "sum", sums_first = true, g = "g" } })
end

---- the stage ---------------------------------------------------------------------------------------------------------

-- Output channels by tasks: as many whole vectors as the schedule says, one, and the ragged one, those alike together:
-- {first, lanes, vectors, count, step, phase (of the first lane among its input's outputs)}.
function depthwise_gradient.channel_parts(s, vectors)
  local lanes, multiplier, list = s.lanes, s.multiplier, {}
  local whole, rest = s.channels // lanes, s.channels % lanes
  local function add(start, part_lanes, part_vectors, count)
    local width = part_vectors * part_lanes
    local period = axes.period(width, multiplier)
    for i = 0, math.min(period, count) - 1 do
      local first = start + i * width
      list[#list + 1] = { first = first, lanes = part_lanes, vectors = part_vectors, step = period * width,
        count = (count - i + period - 1) // period, phase = first % multiplier }
    end
  end
  add(0, lanes, vectors, whole // vectors)
  add(whole // vectors * vectors * lanes, lanes, 1, whole % vectors)
  add(whole * lanes, rest, 1, rest > 0 and 1 or 0)
  return list
end

-- The blocks of rows of one plane, in order: body(first row, rows below it).
local function row_blocks(d, p, body)
  local step = reduce.block_rows(p.output[3])
  d:loop("block", 0, p.output[2], step, function(at) body(at, step) end)
end

local function each_chunk(d, chunk, body)
  d:loop("column", chunk.first, chunk.first + chunk.count * reduce.block, reduce.block, body)
end

-- Calls the kernels of a rectangle for a block of rows; at: where the source, diff_dst, weights and bias of the part
-- begin.
local function call_block(d, s, r, kernels, block, at)
  local counts = {}
  for i, run in ipairs(r.runs) do
    local last = driver.min(block.first + block.rows, run.first + run.count)
    counts[i] = d:let("rows", driver.max(last - driver.max(block.first, run.first), 0))
  end
  for _, chunk in ipairs(r.chunks) do
    each_chunk(d, chunk, function(column)
      local args = { { d.src, at.src + block.first * (s.p.stride[2] * s.src.h) + column * (s.p.stride[3] * s.src.w) },
        { d.dst, at.dst + block.first * s.dst.h + column * s.dst.w }, { d.weights, at.weights } }
      if r.bias then args[#args + 1] = { d.bias, at.bias } end
      for _, count in ipairs(counts) do args[#args + 1] = count end
      d:call(kernels[chunk.columns], args)
    end)
  end
end

-- The tasks of a rectangle and a part of the channels; use: its kernels, {zero, zero_bias, of = by columns}.
local function compute_part(s, r, part, use)
  local p = s.p
  return { indices = { { "group", part.count }, { "kd", p.kernel[1] } }, body = function(d, group, kd)
    local low, high = gather.valid_outputs(d, p, 1, kd, "od")
    local at = { bias = d:let("c", group * part.step + part.first) }
    at.weights = d:let("to", ((kd * p.kernel[2] + r.rows.first) * p.kernel[3] + r.columns.first) * p.oc + at.bias)
    d:call(use.zero, { { d.weights, at.weights }, part.vectors })
    if r.bias then d:call(use.zero_bias, { { d.bias, at.bias }, part.vectors }) end
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", low, high, 1, function(od)
        at.src = d:let("from", (n * p.input[1] + od * p.stride[1] + kd * p.dilation[1] - p.pad[1]) * s.src.d +
          (r.rows.first * p.dilation[2] - p.pad[2]) * s.src.h + group * (part.step // s.multiplier) +
          part.first // s.multiplier)
        at.dst = d:let("with", (n * p.output[1] + od) * s.dst.d + at.bias)
        row_blocks(d, p, function(first, rows) call_block(d, s, r, use.of, { first = first, rows = rows }, at) end)
      end)
    end)
  end }
end

-- A row's chunks by size: {first, size, count}.
local function widths(p)
  local whole, rest, list = p.output[3] // reduce.block, p.output[3] % reduce.block, {}
  if whole > 0 then list[1] = { first = 0, size = reduce.block, count = whole } end
  if rest > 0 then list[#list + 1] = { first = whole * reduce.block, size = rest, count = 1 } end
  return list
end

-- The bias alone, where no rectangle of taps passes over every output.
local function bias_part(s, part, zero, kernel_of)
  local p, kinds = s.p, widths(s.p)
  for _, chunk in ipairs(kinds) do chunk.kernel = kernel_of(chunk.size) end
  return reduce.bias_part(p, { index = { "group", part.count }, zero = zero, counts = part.vectors,
    at = reduce.plane_at(p), channel = function(d, group) return d:let("c", group * part.step + part.first) end,
    blocks = function(d, with, c)
      row_blocks(d, p, function(at, step)
        local rows = d:let("rows", driver.min(driver.expr(p.output[2]) - at, step))
        for _, chunk in ipairs(kinds) do
          each_chunk(d, chunk, function(column)
            d:call(chunk.kernel, { { d.dst, with + at * s.dst.h + column * s.dst.w }, { d.bias, c }, part.vectors,
              rows })
          end)
        end
      end)
    end })
end

-- Kernels by what they are for, each made once: kernel(what its name begins with, key, make, arguments before the
-- name).
local function kernel_maker(s, kernels)
  local known = {}
  return function(what, key, make, ...)
    if not known[key] then
      local arguments = { ... }
      arguments[#arguments + 1] = what .. #kernels
      known[key] = make(s, table.unpack(arguments))
      kernels[#kernels + 1] = known[key]
    end
    return known[key]
  end
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function depthwise_gradient.stages(s, schedule)
  local kernels, list, rectangles = {}, {}, depthwise_gradient.rectangles(s, schedule)
  local channels, kernel = depthwise_gradient.channel_parts(s, schedule.vectors), kernel_maker(s, kernels)
  local function zero_bias(part) return kernel("zero", "zero bias " .. part.lanes, zero_kernel, part.lanes, 1, 1) end
  for _, part in ipairs(s.p.bias and channels or {}) do zero_bias(part) end
  for _, r in ipairs(rectangles) do
    for _, part in ipairs(channels) do
      local use = { zero_bias = r.bias and zero_bias(part), of = {},
        zero = kernel("zero", ("zero %d %d %d"):format(part.lanes, r.rows.size, r.columns.size), zero_kernel,
          part.lanes, r.rows.size, r.columns.size) }
      for _, chunk in ipairs(r.chunks) do
        local key = ("%d %d %d %s %p"):format(part.lanes, part.vectors, part.phase, r.key, chunk.columns)
        use.of[chunk.columns] = kernel("gradient", key, block_kernel, r, chunk.columns, part)
      end
      list[#list + 1] = compute_part(s, r, part, use)
    end
  end
  local stages = { driver.stage { name = "compute", parts = list } }
  if s.p.bias and not rectangles[1].bias then
    local bias = {}
    for i, part in ipairs(channels) do
      bias[i] = bias_part(s, part, zero_bias(part), function(size)
        return kernel("bias", ("bias %d %d"):format(part.lanes, size), bias_kernel, part.lanes, size)
      end)
    end
    stages[2] = driver.stage { name = "bias", parts = bias }
  end
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return depthwise_gradient
