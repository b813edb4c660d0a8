-- depthwise_gradient.lua: the part of the depthwise family for backward weights: the taps of a rectangle of the kernel, an
-- accumulator each, in one pass over a block of output pixels, with the bias gradient beside them.
--
-- Each tap's chain runs over its own valid pixels of the block, row-major. Tensors are read where they are.
--
-- Measured in AVX-512 on a Zen 5: of 3 x 3 taps a pixel of a vector of channels is 9 fma, 4.5 cycles, and 2 lines that are new to the
-- first cache (5 with stride 2). A loop that only reads gets 60 bytes a cycle from the second cache in sequence, but some 32 where
-- it steps from pixel to pixel (14 where those are 32 lines apart), and 30 from the last cache in any order: 4 cycles or more, and
-- the two do not overlap wholly. Reading bands of rows across all channels, sums in memory, and prefetching gained nothing. A row
-- too wide for 3 of the input and 1 of the gradient to stay in the first cache (32 channels, 112 pixels) costs 15 to 20 % more.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local gathering = require "families/depthwise_gather"
local depthwise_gradient = {}

---- the shape: which output rows and pixels a rectangle of taps may use -----------------------------------------------------------

-- Output rows as runs in which the same taps are inside: {first, count, taps = list of taps of the piece}.
local function row_runs(p, piece)
  local axis, runs = gathering.forward_axis(p, 2, piece.first, piece.size), {}
  for row = 0, axis.outputs - 1 do
    local inside = {}
    for tap = 0, piece.size - 1 do
      local at = axis.position(row, tap)
      if at >= 0 and at < axis.inputs then inside[#inside + 1] = tap end
    end
    local key, run = table.concat(inside, " "), runs[#runs]
    if run and run.key == key then run.count = run.count + 1
    else runs[#runs + 1] = { key = key, first = row, count = 1, taps = inside } end
  end
  return runs
end

-- A row's columns in chunks of a block, equal neighbours together: {first, count, columns = {axis, runs, start}}.
local function chunks(p, piece, pixels)
  local axis, list, known, by_key = gathering.forward_axis(p, 3, piece.first, piece.size), {}, {}, {}
  for first = 0, axis.outputs - 1, reduce.block do
    local stop = math.min(first + reduce.block, axis.outputs)
    local low, high = axis.span(first, stop - 1)
    local key = low >= 0 and high < axis.inputs and stop - first -- inner chunks are alike
    if not by_key[key] then
      local runs, words = gathering.runs(axis, pixels, first, stop, known), {}
      for i, run in ipairs(runs) do words[i] = ("%d %d %s"):format(run.first - first, run.count, run.variant.key) end
      key = key or table.concat(words, "|")
      by_key[key] = by_key[key] or { axis = axis, runs = runs, start = first }
    end
    local last = list[#list]
    if last and last.columns == by_key[key] then last.count = last.count + 1
    else list[#list + 1] = { first = first, count = 1, columns = by_key[key] } end
  end
  return list
end

-- Rectangles of taps: {rows = piece, columns = piece, row_runs, chunks, bias}; the first one sums the bias as well where every
-- output has its turn there.
function depthwise_gradient.rectangles(p, schedule)
  local list, chunks_of = {}, {}
  local column_pieces = cut.even_pieces(p.kernel[3], schedule.width)
  for i, columns in ipairs(column_pieces) do chunks_of[i] = chunks(p, columns, schedule.pixels) end
  for _, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.height)) do
    local runs, keys = row_runs(p, rows), {}
    for i, run in ipairs(runs) do keys[i] = run.key end
    for i, columns in ipairs(column_pieces) do
      list[#list + 1] = { rows = rows, columns = columns, row_runs = runs, chunks = chunks_of[i],
        row_key = rows.size .. ": " .. table.concat(keys, "|") }
    end
  end
  local planes = gathering.forward_axis(p, 1)
  local low, high = planes.span(0, planes.outputs - 1)
  list[1].bias = p.bias and planes.taps == 1 and low >= 0 and high < planes.inputs
  return list
end

-- Calls visit(rectangle, columns) for each rectangle and shape of its chunks that needs a kernel of its own.
function depthwise_gradient.each_kernel(rectangles, visit)
  local seen = {}
  for _, r in ipairs(rectangles) do
    for _, chunk in ipairs(r.chunks) do
      local known = seen[chunk.columns] or {}
      seen[chunk.columns] = known
      local key = depthwise_gradient.key(r)
      if not known[key] then visit(r, chunk.columns) end
      known[key] = true
    end
  end
end

-- Rectangles with equal keys share their kernels for equal columns.
function depthwise_gradient.key(r) return r.row_key .. (r.bias and " bias" or "") end

---- the kernel -------------------------------------------------------------------------------------------------------------------------

-- One tile of a row of `part`'s vectors: src and diff are at the tile. Input channels are spread over their outputs' lanes.
local function tile(k, p, r, acc, x, src, diff, run, row_taps, part)
  local row_pitch = p.input[3] * p.ic
  local g, next_pixel = {}, 0
  -- Pixels are first used in ascending order, which is the order of the bias gradient's chain too.
  local function gradient(m)
    for pixel = r.sums_bias and next_pixel or m, m do
      for v = 0, g[pixel] and -1 or part.vectors - 1 do
        g[pixel] = g[pixel] or {}
        g[pixel][v] = k:vector(("g%d_%d"):format(pixel, v))
        k:load(g[pixel][v], k:at(diff, pixel * p.oc + v * k.lanes), 0, part.lanes)
        if r.sums_bias then k:add(acc[v].bias, acc[v].bias, g[pixel][v]) end
      end
    end
    next_pixel = math.max(next_pixel, m + 1)
  end
  local function taps(position, kh, v)
    local multiplier = p.oc // p.ic
    local from = gathering.source(part.phase + v * k.lanes, part.lanes, multiplier)
    local at = k:at(src, kh * p.dilation[2] * row_pitch + position.at * p.ic + from.first)
    local once = #position.uses == 1 and part.lanes == k.lanes and multiplier == 1
    if not once then k:spread(x, at, multiplier, from.phase, from.elements) end
    for _, use in ipairs(position.uses) do
      k:fma(acc[v][kh][use.tap], g[use.output][v], once and k:memory(at) or x)
    end
  end
  for _, position in ipairs(run.variant.positions) do
    for _, use in ipairs(#row_taps > 0 and position.uses or {}) do gradient(use.output) end
    for _, kh in ipairs(row_taps) do
      for v = 0, part.vectors - 1 do taps(position, kh, v) end
    end
  end
  if r.sums_bias then gradient(run.variant.size - 1) end
end

-- The registers that a schedule needs beside the input vector: sums, and gradients that wait for their last tap.
function depthwise_gradient.registers(p, schedule)
  local waiting = math.min(schedule.pixels, (schedule.width - 1) * p.dilation[3] // p.stride[3] + 1)
  return schedule.vectors * (schedule.height * schedule.width + (p.bias and 1 or 0) + waiting)
end

-- rectangle's taps over one block: counts tell how many rows of each run the block has; the sums of
-- part's vectors of channels are added to the gradient that is there.
local function block_kernel(p, r, columns, part, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, out = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("diff_weights", "inout")
  local bias = r.sums_bias and k:pointer("diff_bias", "inout")
  local counts = {}
  for i = 1, #r.row_runs do counts[i] = k:count("rows" .. i) end
  local src_row, dst_row = p.stride[2] * p.input[3] * p.ic, p.output[3] * p.oc

  local acc, x = {}, k:vector("x")
  for v = 0, part.vectors - 1 do
    acc[v] = { bias = r.sums_bias and k:vector("acc_bias" .. v) }
    for kh = 0, r.rows.size - 1 do
      acc[v][kh] = {}
      for kw = 0, r.columns.size - 1 do acc[v][kh][kw] = k:vector(("acc%d_%d_%d"):format(v, kh, kw)) end
    end
  end
  local function each_sum(visit)
    for v = 0, part.vectors - 1 do
      for kh = 0, r.rows.size - 1 do
        for kw = 0, r.columns.size - 1 do visit(acc[v][kh][kw], out, (kh * p.kernel[3] + kw) * p.oc + v * k.lanes) end
      end
      if bias then visit(acc[v].bias, bias, v * k.lanes) end
    end
  end

  local function row(from, with, run)
    for _, column in ipairs(columns.runs) do
      if #column.variant.positions > 0 and #run.taps > 0 or r.sums_bias then
        local a, b = k:copy("a", from), k:copy("b", with)
        k:advance(a, (column.first - columns.start) * p.stride[3] * p.ic)
        k:advance(b, (column.first - columns.start) * p.oc)
        k:loop(column.count, function()
          tile(k, p, r, acc, x, a, b, column, run.taps, part)
          if column.count > 1 then
            k:advance(a, column.variant.size * p.stride[3] * p.ic)
            k:advance(b, column.variant.size * p.oc)
          end
        end)
      end
    end
  end

  each_sum(function(sum) k:zero(sum) end)
  for i, run in ipairs(r.row_runs) do
    k:loop(counts[i], function()
      row(src, diff, run)
      k:advance(src, src_row)
      k:advance(diff, dst_row)
    end)
  end
  each_sum(function(sum, pointer, offset) reduce.add(k, k:at(pointer, offset), { sum }, x, part.lanes) end)
  return k:finish()
end

local function zero_kernel(p, target, name, lanes, rows, columns)
  local places = reduce.rows(reduce.rows({ { at = 0, lanes = lanes } }, columns, p.oc), rows, p.kernel[3] * p.oc)
  return reduce.zero_kernel(p, target, name, places, { step = lanes })
end

local function bias_kernel(p, target, name, lanes, columns)
  return reduce.bias_kernel(p, target, name, { { at = 0, lanes = lanes } }, { run = true,
    loops = { { count = "rows", steps = { p.output[3] * p.oc }, names = { "at" } }, { count = columns, steps = { p.oc } } },
    words = { out = "diff_bias", sum = "sum", sums_first = true, g = "g" } })
end

---- the stage -------------------------------------------------------------------------------------------------------------------------

-- Output channels by tasks: as many whole vectors as the schedule says, one, and the ragged one, those alike together:
-- {first, lanes, vectors, count, step, phase (of the first lane among its input's outputs)}.
function depthwise_gradient.channel_parts(channels, lanes, vectors, multiplier)
  local whole, rest = channels // lanes, channels % lanes
  local list = { { first = 0, lanes = lanes, vectors = vectors, count = whole // vectors },
    { first = whole // vectors * vectors * lanes, lanes = lanes, vectors = 1, count = whole % vectors },
    { first = whole * lanes, lanes = rest, vectors = 1, count = rest > 0 and 1 or 0 } }
  local used = {}
  for _, part in ipairs(list) do
    local width = part.vectors * part.lanes
    local period = gathering.period(width, multiplier)
    for i = 0, math.min(period, part.count) - 1 do
      local first = part.first + i * width
      used[#used + 1] = { first = first, lanes = part.lanes, vectors = part.vectors, count = (part.count - i + period - 1) // period,
        step = period * width, phase = first % multiplier }
    end
  end
  return used
end

-- The blocks of rows of one plane, in order: body(first row, rows below it).
local function row_blocks(d, p, body)
  local step = reduce.block_rows(p.output[3])
  d:loop("block", 0, p.output[2], step, function(at) body(at, step) end)
end

local function each_chunk(d, chunk, body)
  d:loop("column", chunk.first, chunk.first + chunk.count * reduce.block, reduce.block, body)
end

local function compute_part(p, r, part, kernels_of, zero)
  local src_row, dst_row = p.input[3] * p.ic, p.output[3] * p.oc
  local function body(d, group, kd)
    local low, high = gather.valid_outputs(d, p, 1, kd, "od")
    local c = d:let("c", group * part.step + part.first)
    local multiplier = p.oc // p.ic
    local to = d:let("to", ((kd * p.kernel[2] + r.rows.first) * p.kernel[3] + r.columns.first) * p.oc + c)
    d:call(zero, { { d.weights, to }, part.vectors })
    if r.sums_bias then d:call(r.zero_bias[part.lanes], { { d.bias, c }, part.vectors }) end
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", low, high, 1, function(od)
        local from = d:let("from", (n * p.input[1] + od * p.stride[1] + kd * p.dilation[1] - p.pad[1]) * (p.input[2] * src_row) +
          (r.rows.first * p.dilation[2] - p.pad[2]) * src_row + group * (part.step // multiplier) + part.first // multiplier)
        local with = d:let("with", (n * p.output[1] + od) * (p.output[2] * dst_row) + c)
        row_blocks(d, p, function(at, step)
          local counts = {}
          for i, run in ipairs(r.row_runs) do
            local last = driver.min(at + step, run.first + run.count)
            counts[i] = d:let("rows", driver.max(last - driver.max(at, run.first), 0))
          end
          for _, chunk in ipairs(r.chunks) do
            each_chunk(d, chunk, function(column)
              local args = { { d.src, from + at * (p.stride[2] * src_row) + column * (p.stride[3] * p.ic) },
                { d.dst, with + at * dst_row + column * p.oc }, { d.weights, to } }
              if r.sums_bias then args[#args + 1] = { d.bias, c } end
                for _, count in ipairs(counts) do args[#args + 1] = count end
              d:call(kernels_of[chunk.columns], args)
            end)
          end
        end)
      end)
    end)
  end
  return { body = body, indices = { { "group", part.count }, { "kd", p.kernel[1] } } }
end

-- The bias alone, where no rectangle of taps passes over every output. chunk_kernels: {first, size, count, kernel}.
local function bias_part(p, zero, part, chunk_kernels)
  return reduce.bias_part(p, { index = { "group", part.count }, zero = zero, counts = part.vectors, at = reduce.plane_at(p),
    channel = function(d, group) return d:let("c", group * part.step + part.first) end,
    blocks = function(d, with, c)
      row_blocks(d, p, function(at, step)
        local rows = d:let("rows", driver.min(driver.expr(p.output[2]) - at, step))
        for _, chunk in ipairs(chunk_kernels) do
          each_chunk(d, chunk, function(column)
            d:call(chunk.kernel, { { d.dst, with + at * (p.output[3] * p.oc) + column * p.oc }, { d.bias, c }, part.vectors, rows })
          end)
        end
      end)
    end })
end

-- A row's chunks by size: {first, size, count}.
local function widths(p)
  local whole, rest, list = p.output[3] // reduce.block, p.output[3] % reduce.block, {}
  if whole > 0 then list[1] = { first = 0, size = reduce.block, count = whole } end
  if rest > 0 then list[#list + 1] = { first = whole * reduce.block, size = rest, count = 1 } end
  return list
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function depthwise_gradient.stages(p, schedule, target)
  local kernels, list = {}, {}
  local channels = depthwise_gradient.channel_parts(p.oc, parts.lanes_of(p, target), schedule.vectors,
    p.oc // p.ic)
  local function add(kernel)
    kernels[#kernels + 1] = kernel
    return kernel
  end
  local function name(hint) return hint .. #kernels end
  local by_key = {} -- kernels that several parts call
  local function shared(key, make)
    by_key[key] = by_key[key] or make()
    return by_key[key]
  end
  local zero_bias = {}
  if p.bias then
    for _, part in ipairs(channels) do
      zero_bias[part.lanes] = zero_bias[part.lanes] or add(zero_kernel(p, target, name "zero", part.lanes, 1, 1))
    end
  end
  -- A part's kernels for the columns of a rectangle.
  local function kernels_for(part, r)
    local of = {}
    for _, chunk in ipairs(r.chunks) do
      local kinds = shared(chunk.columns, function() return {} end)
      local key = ("%d %d %d %s"):format(part.lanes, part.vectors, part.phase, depthwise_gradient.key(r))
      kinds[key] = kinds[key] or add(block_kernel(p, r, chunk.columns, part, target, name "gradient"))
      of[chunk.columns] = kinds[key]
    end
    return of
  end
  local function bias_chunks(part)
    local chunk_kernels = widths(p)
    for _, run in ipairs(chunk_kernels) do
      run.kernel = shared(("bias %d %d"):format(part.lanes, run.size), function()
        return add(bias_kernel(p, target, name "bias", part.lanes, run.size))
      end)
    end
    return chunk_kernels
  end

  local rectangles = depthwise_gradient.rectangles(p, schedule)
  for _, r in ipairs(rectangles) do
    r.sums_bias, r.zero_bias = r.bias, zero_bias
    for _, part in ipairs(channels) do
      local zero = shared(("zero %d %d %d"):format(part.lanes, r.rows.size, r.columns.size), function()
        return add(zero_kernel(p, target, name "zero", part.lanes, r.rows.size, r.columns.size))
      end)
      list[#list + 1] = compute_part(p, r, part, kernels_for(part, r), zero)
    end
  end
  local stages = { driver.stage { name = "compute", parts = list } }
  if p.bias and not rectangles[1].bias then
    local bias = {}
    for i, part in ipairs(channels) do bias[i] = bias_part(p, zero_bias[part.lanes], part, bias_chunks(part)) end
    stages[2] = driver.stage { name = "bias", parts = bias }
  end
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return depthwise_gradient
