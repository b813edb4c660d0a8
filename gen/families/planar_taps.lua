-- planar_taps.lua: planar's backward weights with output channels in the lanes; input channels, and a few taps of a row
-- when channels are few, are broadcast. A block of the output's gradient is turned round before when it is
-- channels-first. One sweep over blocks of output pixels; totals of a task stay in scratch until the end.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_taps = {}

local round_up, lanes_of = parts.round_up, parts.lanes_of

-- Elements from one to the next: input pixels, input channels, pixels of the output's gradient (channels-first: turned,
-- in scratch). Totals of a task stand in scratch as its weights do, a vector or some of output channels in the place of
-- each: [tap][i], or [i][tap] channels-first; tap, input: from one to the next, in such places.
local function steps_of(p, width, inputs)
  if p.layout == "nhwc" then return { pixel = p.ic, channel = 1, diff = p.oc, tap = inputs, input = 1 } end
  local taps = p.kernel[1] * p.kernel[2] * p.kernel[3]
  return { pixel = 1, channel = p.input[1] * p.input[2] * p.input[3], diff = width, tap = 1, input = taps }
end

-- Whether the sum of a block is the total: there is one, and every row of the kernel sees some of it.
local function only_sum(p)
  for i = 1, 2 do
    for k = 0, p.kernel[i] - 1 do
      local seen, at = false, k * p.dilation[i] - p.pad[i]
      for o = 0, p.output[i] - 1 do seen = seen or (o * p.stride[i] + at >= 0 and o * p.stride[i] + at < p.input[i]) end
      if not seen then return false end
    end
  end
  return reduce.one_block(p)
end

-- acc[tap][i][v] over one block, whose gradient stands as [pixel][steps.diff]; the last vector has `last` lanes of it.
local function taps_kernel(p, row, tile, target, name)
  local taps, inputs, vectors, steps = tile.taps, tile.inputs, tile.vectors, tile.steps
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, total = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("total", "inout")
  local columns, rows = k:count "columns", k:count "rows"
  local acc, x, g = sweeps.accumulators(k, taps * inputs, vectors, "acc"), k:vector "x", {}
  for v = 0, vectors - 1 do g[v] = k:vector("g" .. v) end
  local function step(a, b, at, low, high)
    for v = 0, vectors - 1 do
      k:load(g[v], k:at(b, at * steps.diff + v * k.lanes), 0, v == vectors - 1 and tile.last or k.lanes)
    end
    for tap = low, high do
      for i = 0, inputs - 1 do
        local m = tap * inputs + i
        k:broadcast(x, k:at(a, (at * p.stride[3] + tap * p.dilation[3]) * steps.pixel + i * steps.channel))
        for v = 0, vectors - 1 do k:fma(acc[m][v], g[v], x) end
      end
    end
  end
  k:loop(rows, function()
    local a, b = k:copy("a", src), k:copy("b", diff)
    sweeps.sweep(k, row, a, b, p.stride[3] * steps.pixel, steps.diff, columns, taps - 1, step)
    k:advance(src, p.stride[2] * p.input[3] * steps.pixel)
    k:advance(diff, p.output[3] * steps.diff)
  end)
  sweeps.add_totals(k, acc, total, not only_sum(p) and x, function(m)
    return (m // inputs * steps.tap + m % inputs * steps.input) * vectors * k.lanes
  end)
  return k:finish()
end

-- Totals [tap][i][channels of the output] to weights [tap][i][o].
local function straight_out_kernel(p, tile, target, name)
  return relayout.copy({ from = "total", to = "weights", elements = tile.channels, axes = {
    { count = tile.taps, to = p.ic // p.groups * p.oc, as = "b" }, { count = tile.inputs, from = tile.width, to = p.oc } } },
    { name = name, type = p.type, target = target })
end

-- Totals [i][tap][channels of the output], as many pixels of channels, to weights [o][i][tap], which are rows.
local function turned_out_kernel(p, tile, target, name)
  local taps = p.kernel[1] * p.kernel[2] * p.kernel[3]
  local sums = tile.inputs * taps
  return relayout.to_rows({ channels = tile.channels, pixels = sums, pitch = tile.width, limit = sums * tile.width,
    row = p.ic // p.groups * taps, exact = true }, { name = name, type = p.type, target = target })
end

local function turned_bias_kernel(p, vectors, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local diff, total, pixels = k:pointer("diff_dst", "in"), k:pointer("total", "inout"), k:count "pixels"
  local acc, g = sweeps.accumulators(k, 1, vectors, "acc"), k:vector "g"
  k:loop(pixels, function()
    for v = 0, vectors - 1 do k:add(acc[0][v], acc[0][v], k:memory(k:at(diff, v * k.lanes))) end
    k:advance(diff, vectors * k.lanes)
  end)
  sweeps.add_totals(k, acc, total, g, function() return 0 end)
  return k:finish()
end

-- Input channels of a task: as many as keep its totals within about 256 KB (24 KB, in the first cache, where a block's
-- sums are stored and read but once), and at least four tasks where channels allow.
local function inputs_of_task(p, schedule, target, runs)
  local icg = p.ic // p.groups
  local taps = p.kernel[1] * p.kernel[2] * p.kernel[3]
  local fit = (only_sum(p) and 24 << 10 or 256 << 10) // (taps * schedule.vectors * target.bits // 8)
  local share = math.max(1, 4 // math.max(p.groups * runs, 1))
  return cut.piece_runs(icg, round_up(math.max(math.min(fit, (icg + share - 1) // share), 1), schedule.inputs))
end

-- Tiles of a task: pieces of a row's taps and of its input channels, each with its kernel.
local function tiles_of(p, schedule, inputs, columns, target, kernels)
  local tiles, by_key = {}, {}
  for _, taps in ipairs(cut.even_pieces(p.kernel[3], schedule.taps)) do
    local row = sweeps.row_of(p, taps.first, taps.first + taps.size - 1)
    for _, run in ipairs(cut.piece_runs(inputs, schedule.inputs)) do
      local key = ("%d %d %s"):format(taps.size, run.size, sweeps.key_of(row))
      if not by_key[key] then
        local tile = setmetatable({ taps = taps.size, inputs = run.size }, { __index = columns })
        by_key[key] = taps_kernel(p, row, tile, target, "taps" .. #kernels)
        kernels[#kernels + 1] = by_key[key]
      end
      tiles[#tiles + 1] = { kernel = by_key[key], row = row, tap = taps.first, run = run }
    end
  end
  return tiles
end

-- How a channels-first block's gradient gets to where it is read: turned to [pixel][width] in scratch, from which the
-- bias is summed too.
local function turning(p, columns, at, bias, target, kernels)
  local whole = reduce.block_rows(p.output[3]) >= p.output[2] -- rows of a plane are one run of pixels
  local width, row, pixels = columns.width, p.output[3] * columns.width, (whole and p.output[2] or 1) * p.output[3]
  local turn = relayout.to_pixels({ channels = columns.channels, pixels = pixels, pitch = width, limit = pixels * width,
    row = p.output[1] * p.output[2] * p.output[3], loose = true }, { name = "turn" .. #kernels, type = p.type, target = target })
  kernels[#kernels + 1] = turn
  local sum, sum_out
  if bias then
    sum = turned_bias_kernel(p, columns.vectors, target, "bias" .. #kernels)
    sum_out = relayout.copy({ from = "total", to = "bias", elements = columns.channels },
      { name = "bias_out" .. #kernels, type = p.type, target = target })
    kernels[#kernels + 1], kernels[#kernels + 2] = sum, sum_out
  end
  local how = {}
  function how.block(d, with, block, last, i_first)
    d:loop("row", block, whole and block + 1 or last, 1, function(r)
      d:call(turn, { { d.dst, with + r * p.output[3] }, { d.scratch, (r - block) * row + at } })
    end)
    if not bias then return end
    d:when(driver.equal(i_first, 0), function()
      d:call(sum, { { d.scratch, at }, { d.scratch, at - width }, (last - block) * p.output[3] })
    end)
  end
  function how.finish(d, o, i_first)
    if not bias then return end
    d:when(driver.equal(i_first, 0), function() d:call(sum_out, { { d.scratch, at - width }, { d.bias, o } }) end)
  end
  return how
end

-- Tasks of one run of equal tiles of output channels and one run of equal pieces of input channels. Channels-last tasks
-- may have a plane or a row of taps each.
local function taps_part(p, schedule, run, task_inputs, target, kernels)
  local lanes, icg, ocg, channels_last = lanes_of(p, target), p.ic // p.groups, p.oc // p.groups, p.layout == "nhwc"
  local vectors = run.tile.vectors
  local own_taps = channels_last and p.threads > 1 -- a task has one kd, kh
  local rows_of_taps = own_taps and 1 or p.kernel[1] * p.kernel[2]
  local columns = { vectors = vectors, width = vectors * lanes, last = channels_last and run.tile.last or lanes,
    channels = run.tile.width - lanes + run.tile.last, steps = steps_of(p, vectors * lanes, task_inputs.size) }
  local steps, width = columns.steps, columns.width
  local tiles = tiles_of(p, schedule, task_inputs.size, columns, target, kernels)
  local block_rows = math.min(reduce.block_rows(p.output[3]), p.output[2])
  local totals = rows_of_taps * p.kernel[3] * task_inputs.size * width
  local diff_at = totals + (channels_last and 0 or width) -- after the bias
  local zero_from = only_sum(p) and totals or 0
  local zero = zero_from < diff_at and reduce.zero_kernel(p, target, "zero" .. #kernels, { { at = 0 } },
    { times = (diff_at - zero_from) // lanes, step = lanes })
  local all = setmetatable({ taps = rows_of_taps * p.kernel[3], inputs = task_inputs.size }, { __index = columns })
  local out = (channels_last and straight_out_kernel or turned_out_kernel)(p, all, target, "out" .. #kernels)
  kernels[#kernels + 1], kernels[#kernels + 2] = out, zero or nil
  local turned = not channels_last and turning(p, columns, diff_at, p.bias and task_inputs.first == 0, target, kernels)

  -- What a row of the kernel sees of the block: its tiles of taps and input channels.
  local function row_of_taps(d, t, n, od, with, block, last, kd, kh)
    local h_low, h_end = gather.valid_outputs(d, p, 2, kh, "oh")
    local id = d:let("id", od * p.stride[1] + kd * p.dilation[1] - p.pad[1])
    local first = d:let("first_row", driver.max(block, h_low))
    local rows = d:let("rows", driver.max(driver.min(last, h_end) - first, 0))
    d:when(driver.all(driver.less(-1, id), driver.less(id, p.input[1]), driver.less(0, rows)), function()
      local ih = first * p.stride[2] + kh * p.dilation[2] - p.pad[2]
      local image = p.ic * p.input[1] * p.input[2] * p.input[3]
      local from = d:let("from", n * image + (t.g * icg + t.i_first) * steps.channel + (id * p.input[2] + ih) * (p.input[3] * steps.pixel))
      local first_tap = own_taps and 0 or (kd * p.kernel[2] + kh) * p.kernel[3]
      for _, tile in ipairs(tiles) do
        d:loop("m", 0, tile.run.count, 1, function(m)
          local i = d:let("i", m * tile.run.size + tile.run.first)
          local x = (tile.row.from * p.stride[3] + tile.tap * p.dilation[3] - p.pad[3]) * steps.pixel
          local diff = turned and { d.scratch, (first - block) * (p.output[3] * width) + (diff_at + tile.row.from * width) } or
            { d.dst, with + first * (p.output[3] * p.oc) + tile.row.from * p.oc }
          d:call(tile.kernel, { { d.src, from + i * steps.channel + x }, diff,
            { d.scratch, (i * steps.input + (first_tap + tile.tap) * steps.tap) * width }, tile.row.count, rows })
        end)
      end
    end)
  end
  local function block_body(d, t, n, od, with, block, last)
    if own_taps then return row_of_taps(d, t, n, od, with, block, last, t.kd, t.kh) end
    d:loop("kd", 0, p.kernel[1], 1, function(kd)
      d:loop("kh", 0, p.kernel[2], 1, function(kh) row_of_taps(d, t, n, od, with, block, last, kd, kh) end)
    end)
  end
  local function body(d, g, tile_number, chunk, kd, kh)
    local t = { g = g, kd = kd, kh = kh, o = d:let("o", g * ocg + (tile_number + run.index) * (schedule.vectors * lanes)),
      i_first = d:let("i_first", chunk * task_inputs.size + task_inputs.first) }
    if zero then d:call(zero, { { d.scratch, zero_from } }) end
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", 0, p.output[1], 1, function(od)
        local plane = p.output[2] * p.output[3]
        local with = channels_last and d:let("with", (n * p.output[1] + od) * (plane * p.oc) + t.o) or
          d:let("with", (n * p.oc + t.o) * (p.output[1] * plane) + od * plane)
        d:loop("block", 0, p.output[2], block_rows, function(block)
          local last = d:let("last", driver.min(block + block_rows, p.output[2]))
          if turned then turned.block(d, with, block, last, t.i_first) end
          block_body(d, t, n, od, with, block, last)
        end)
      end)
    end)
    local taps = p.kernel[1] * p.kernel[2] * p.kernel[3]
    local first_tap = own_taps and (kd * p.kernel[2] + kh) * p.kernel[3] or 0
    d:call(out, { { d.scratch }, { d.weights, channels_last and (first_tap * icg + t.i_first) * p.oc + t.o or (t.o * icg + t.i_first) * taps } })
    if turned then turned.finish(d, t.o, t.i_first) end
  end
  return { indices = { { "g", p.groups }, { "tile", run.count }, { "chunk", task_inputs.count },
      { "kd", own_taps and p.kernel[1] or 1 }, { "kh", own_taps and p.kernel[2] or 1 } }, body = body,
    scratch = diff_at + (turned and block_rows * p.output[3] * width or 0) }
end

function planar_taps.stages(p, schedule, target)
  local kernels, list, scratch = {}, {}, 0
  local columns = cut.columns(p.oc // p.groups, schedule.vectors, lanes_of(p, target))
  for _, run in ipairs(cut.column_runs(columns)) do
    for _, inputs in ipairs(inputs_of_task(p, schedule, target, #columns)) do
      local part = taps_part(p, schedule, run, inputs, target, kernels)
      list[#list + 1], scratch = part, math.max(scratch, part.scratch)
    end
  end
  return { kernels = kernels, packed = 0, shared = 0, stages = { driver.stage { name = "compute", parts = list,
    scratch = scratch * parts.size_of(p) }, p.layout == "nhwc" and p.bias and reduce.tiles_stage(p, reduce.bias_tiles(p, target, kernels)) or nil } }
end

return planar_taps
