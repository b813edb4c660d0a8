-- planar_taps.lua: planar's backward weights with output channels in the lanes; input channels, and a few taps of a row
-- when channels are few, are broadcast. A block of the output's gradient is turned round before when it is
-- channels-first. One sweep over blocks of output pixels; totals of a task stay in scratch until the end.
local program = require "program"
local driver = require "driver"
local build = require "build"
local gather = require "gather"
local parts = require "parts"
local view = require "view"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_taps = {}

---- what a part is made of --------------------------------------------------------------------------------------------

-- Whether the sum of a block is the total: there is one, and every row of the kernel sees some of it.
local function only_sum(p)
  for i = 1, 2 do
    for tap = 0, p.kernel[i] - 1 do
      local from, stop = sweeps.outputs_of(p, i, tap)
      if from >= stop then return false end
    end
  end
  return reduce.one_block(p)
end

-- Of one run of equal tiles of output channels and one of equal pieces of input channels. diff: elements between pixels
-- of the gradient as it is read (channels-first: turned, in scratch). Totals of a task stand in scratch as its weights
-- do, a vector or some of output channels in the place of each: [tap][i], or [i][tap] channels-first; tap, input: from
-- one to the next, in such places. own_taps: a task has one kd, kh (channels-last, with threads to share among).
local function part_of(p, b, run, inputs)
  local lanes, last, vectors, taps = parts.lanes_of(p, b.target), p.layout == "nhwc", run.tile.vectors, p.kernel[3]
  local w = { p = p, b = b, run = run, inputs = inputs, lanes = lanes, vectors = vectors, width = vectors * lanes,
    channels_last = last, own_taps = last and p.threads > 1, last = last and run.tile.last or lanes, sum = only_sum(p),
    src = view.src(p), block_rows = math.min(reduce.block_rows(p.output[3]), p.output[2]) }
  w.rows_of_taps = w.own_taps and 1 or p.kernel[1] * p.kernel[2]
  w.taps = w.rows_of_taps * taps
  w.diff, w.tap, w.input = last and p.oc or w.width, last and inputs.size or 1, last and 1 or w.taps
  w.totals = w.taps * inputs.size * w.width
  w.diff_at = w.totals + (last and 0 or w.width) -- after the bias
  w.scratch = w.diff_at + (last and 0 or w.block_rows * p.output[3] * w.width)
  return w
end

---- kernels -----------------------------------------------------------------------------------------------------------

-- acc[tap][i][v] over one block, for `taps` taps of a row and some inputs.
local function taps_kernel(o, w, row, taps, inputs)
  local p, x, g, lanes = w.p, w.src, w.diff, w.lanes
  local apart = { src = { p.stride[3] * x.w, p.stride[2] * x.h }, diff = { g, p.output[3] * g } }
  o.arguments = { { "src", "in" }, { "diff_dst", "in" }, { "total", "inout" }, { "columns", "count" },
    { "rows", "count" } }
  o.sizes, o.registers = { k = taps, i = inputs, v = w.vectors }, { "sums", "passing", "held" }
  o.sums = { pointer = "total", register = "acc", { "k", w.tap * w.width }, { "i", w.input * w.width }, { "v", lanes },
    indices = function(at) return at.k * inputs + at.i, at.v end }
  o.held = { pointer = "diff_dst", register = "g", { "v", lanes }, last = w.last }
  o.passing = { pointer = "src", register = "x", { "k", p.dilation[3] * x.w }, { "i", x.c } }
  o.ending = { temporary = "passing" }
  local sweep = sweeps.rows("rows", row, apart, taps - 1, { "a", "b" }, function(at, low, high)
    return { { load = {}, at = { diff_dst = at * g } },
      { multiply = { k = tile.span(low, high) }, at = { src = at * p.stride[3] * x.w } } }
  end)
  o.body = { { zero = {} }, sweep, { finish = w.sum and { "stored" } or { "added", "stored" } } }
  return tile.kernel(o)
end

-- Totals to weights: [tap][i][channels of the output] to [tap][i][o]; channels-first [i][tap][channels of the output],
-- as many pixels of channels, to [o][i][tap], which are rows.
local function out_kernel(o, w)
  local p, inputs, channels, icg = w.p, w.inputs.size, w.run.tile.channels, w.p.ic // w.p.groups
  if w.channels_last then
    return relayout.copy({ from = "total", to = "weights", elements = channels, axes = {
      { count = w.taps, to = icg * p.oc, as = "b" }, { count = inputs, from = w.width, to = p.oc } } }, o)
  end
  local sums = inputs * w.taps
  return relayout.to_rows({ channels = channels, pixels = sums, pitch = w.width, limit = sums * w.width,
    row = icg * w.taps, exact = true }, o)
end

local function turned_bias_kernel(o, vectors)
  local k = program.new(o)
  local diff, total, pixels = k:pointer("diff_dst", "in"), k:pointer("total", "inout"), k:count "pixels"
  local acc = {}
  for v = 0, vectors - 1 do
    acc[v] = k:vector("acc0_" .. v)
    k:zero(acc[v])
  end
  local g = k:vector "g"
  k:loop(pixels, function()
    for v = 0, vectors - 1 do k:add(acc[v], acc[v], k:memory(k:at(diff, v * k.lanes))) end
    k:advance(diff, vectors * k.lanes)
  end)
  for v = 0, vectors - 1 do reduce.total(k, k:at(total, v * k.lanes), acc[v], g) end
  return k:finish()
end

-- Tiles of a task: pieces of a row's taps and of its input channels, each with its kernel.
local function tiles_of(w, schedule)
  local tiles, known = {}, {}
  for _, taps in ipairs(cut.even_pieces(w.p.kernel[3], schedule.taps)) do
    local row = sweeps.row_of(w.p, taps.first, taps.first + taps.size - 1)
    for _, run in ipairs(cut.piece_runs(w.inputs.size, schedule.inputs)) do
      local key = ("%d %d %s"):format(taps.size, run.size, sweeps.key_of(row))
      known[key] = known[key] or
        w.b:new("taps", function(o) return taps_kernel(o, w, row, taps.size, run.size) end)
      tiles[#tiles + 1] = { kernel = known[key], row = row, tap = taps.first, run = run }
    end
  end
  return tiles
end

-- A channels-first block's gradient is turned to [pixel][width] in scratch, from which the bias is summed too.
local function add_turning(w)
  local p, channels = w.p, w.run.tile.channels
  w.whole = reduce.block_rows(p.output[3]) >= p.output[2] -- rows of a plane are one run of pixels
  local pixels = (w.whole and p.output[2] or 1) * p.output[3]
  w.turn = w.b:new("turn", function(o)
    return relayout.to_pixels({ channels = channels, pixels = pixels, pitch = w.width, limit = pixels * w.width,
      row = p.output[1] * p.output[2] * p.output[3], loose = true }, o)
  end)
  if not p.bias or w.inputs.first > 0 then return end
  local number = #w.b.kernels
  w.bias = w.b:new("bias", function(o) return turned_bias_kernel(o, w.vectors) end)
  w.bias_out = w.b:new("bias_out", function(o)
    o.name = "bias_out" .. number
    return relayout.copy({ from = "total", to = "bias", elements = channels }, o)
  end)
end

local function add_kernels(w, schedule)
  local p, from = w.p, w.sum and w.totals or 0
  w.tiles = tiles_of(w, schedule)
  local number = #w.b.kernels
  w.out, w.zero_from = w.b:new("out", function(o) return out_kernel(o, w) end), from
  w.zero = from < w.diff_at and w.b:new("zero", function(o)
    return reduce.zero_kernel(p, o.target, "zero" .. number, { { at = 0 } },
      { times = (w.diff_at - from) // w.lanes, step = w.lanes })
  end)
  if not w.channels_last then add_turning(w) end
end

---- tasks -------------------------------------------------------------------------------------------------------------
--
-- t: where a task is: group g, output channel o, the first of its input channels, kd and kh if it has its own; and in
-- it: image n, plane od, where its gradient begins (with), the rows [block, last).

-- Turns the gradient of a block, and adds it to the bias.
local function turn_block(d, w, t)
  local p, at = w.p, w.diff_at
  d:loop("row", t.block, w.whole and t.block + 1 or t.last, 1, function(r)
    d:call(w.turn, { { d.dst, t.with + r * p.output[3] },
      { d.scratch, (r - t.block) * (p.output[3] * w.width) + at } })
  end)
  if not w.bias then return end
  d:when(driver.equal(t.i_first, 0), function()
    d:call(w.bias, { { d.scratch, at }, { d.scratch, at - w.width }, (t.last - t.block) * p.output[3] })
  end)
end

-- The tiles of a row of taps that sees `rows` rows of a block from `first` on; from: the input's row.
local function call_tiles(d, w, t, kd, kh, seen)
  local p, x = w.p, w.src
  local first_tap = w.own_taps and 0 or (kd * p.kernel[2] + kh) * p.kernel[3]
  for _, tiles in ipairs(w.tiles) do
    d:loop("m", 0, tiles.run.count, 1, function(m)
      local i = d:let("i", m * tiles.run.size + tiles.run.first)
      local column = (tiles.row.from * p.stride[3] + tiles.tap * p.dilation[3] - p.pad[3]) * x.w
      local diff = w.channels_last and { d.dst, t.with + seen.first * (p.output[3] * p.oc) + tiles.row.from * p.oc } or
        { d.scratch, (seen.first - t.block) * (p.output[3] * w.width) + (w.diff_at + tiles.row.from * w.width) }
      d:call(tiles.kernel, { { d.src, seen.from + i * x.c + column }, diff,
        { d.scratch, (i * w.input + (first_tap + tiles.tap) * w.tap) * w.width }, tiles.row.count, seen.rows })
    end)
  end
end

-- What a row of the kernel sees of the block.
local function row_of_taps(d, w, t, kd, kh)
  local p, x, seen = w.p, w.src, {}
  local low, stop = gather.valid_outputs(d, p, 2, kh, "oh")
  local id = d:let("id", t.od * p.stride[1] + kd * p.dilation[1] - p.pad[1])
  seen.first = d:let("first_row", driver.max(t.block, low))
  seen.rows = d:let("rows", driver.max(driver.min(t.last, stop) - seen.first, 0))
  local inside = driver.all(driver.less(-1, id), driver.less(id, p.input[1]), driver.less(0, seen.rows))
  d:when(inside, function()
    local ih = seen.first * p.stride[2] + kh * p.dilation[2] - p.pad[2]
    seen.from = d:let("from", t.n * x.n + (t.g * (p.ic // p.groups) + t.i_first) * x.c + (id * p.input[2] + ih) * x.h)
    call_tiles(d, w, t, kd, kh, seen)
  end)
end

local function block_of_rows(d, w, t)
  if w.turn then turn_block(d, w, t) end
  if w.own_taps then return row_of_taps(d, w, t, t.kd, t.kh) end
  d:loop("kd", 0, w.p.kernel[1], 1, function(kd)
    d:loop("kh", 0, w.p.kernel[2], 1, function(kh) row_of_taps(d, w, t, kd, kh) end)
  end)
end

local function each_block(d, w, t)
  local p, plane = w.p, w.p.output[2] * w.p.output[3]
  d:loop("n", 0, p.batch, 1, function(n)
    d:loop("od", 0, p.output[1], 1, function(od)
      t.n, t.od = n, od
      t.with = d:let("with", w.channels_last and (n * p.output[1] + od) * (plane * p.oc) + t.o or
        (n * p.oc + t.o) * (p.output[1] * plane) + od * plane)
      d:loop("block", 0, p.output[2], w.block_rows, function(block)
        t.block, t.last = block, d:let("last", driver.min(block + w.block_rows, p.output[2]))
        block_of_rows(d, w, t)
      end)
    end)
  end)
end

local function task(d, w, t)
  local p, icg = w.p, w.p.ic // w.p.groups
  if w.zero then d:call(w.zero, { { d.scratch, w.zero_from } }) end
  each_block(d, w, t)
  local first_tap = w.own_taps and (t.kd * p.kernel[2] + t.kh) * p.kernel[3] or 0
  d:call(w.out, { { d.scratch }, { d.weights, w.channels_last and (first_tap * icg + t.i_first) * p.oc + t.o or
    (t.o * icg + t.i_first) * w.taps } })
  if not w.bias then return end
  d:when(driver.equal(t.i_first, 0), function()
    d:call(w.bias_out, { { d.scratch, w.diff_at - w.width }, { d.bias, t.o } })
  end)
end

-- Channels-last tasks may have a plane or a row of taps each. width: channels of a whole tile.
local function part(w, width)
  local p, own = w.p, w.own_taps
  return { indices = { { "g", p.groups }, { "tile", w.run.count }, { "chunk", w.inputs.count },
    { "kd", own and p.kernel[1] or 1 }, { "kh", own and p.kernel[2] or 1 } },
    body = function(d, g, number, chunk, kd, kh)
      local t = { g = g, kd = kd, kh = kh }
      t.o = d:let("o", g * (p.oc // p.groups) + (number + w.run.index) * width)
      t.i_first = d:let("i_first", chunk * w.inputs.size + w.inputs.first)
      task(d, w, t)
    end }
end

---- stages ------------------------------------------------------------------------------------------------------------

-- Input channels of a task: as many as keep its totals within about 256 KB (24 KB, in the first cache, where a block's
-- sums are stored and read but once), and at least four tasks where channels allow.
local function inputs_of_task(p, schedule, target, runs)
  local icg, taps = p.ic // p.groups, p.kernel[1] * p.kernel[2] * p.kernel[3]
  local fit = (only_sum(p) and 24 << 10 or 256 << 10) // (taps * schedule.vectors * target.bits // 8)
  local share = math.max(1, 4 // math.max(p.groups * runs, 1))
  local most = math.max(math.min(fit, (icg + share - 1) // share), 1)
  return cut.piece_runs(icg, parts.round_up(most, schedule.inputs))
end

function planar_taps.stages(p, schedule, target)
  local b, lanes, list, most = build.new(p, target), parts.lanes_of(p, target), {}, 0
  local columns = cut.columns(p.oc // p.groups, schedule.vectors, lanes)
  for _, run in ipairs(cut.column_runs(columns)) do
    for _, inputs in ipairs(inputs_of_task(p, schedule, target, #columns)) do
      local w = part_of(p, b, run, inputs)
      add_kernels(w, schedule)
      list[#list + 1], most = part(w, schedule.vectors * lanes), math.max(most, w.scratch)
    end
  end
  local stages = { driver.stage { name = "compute", parts = list, scratch = most * parts.size_of(p) } }
  if p.layout == "nhwc" and p.bias then stages[2] = reduce.tiles_stage(p, reduce.bias_tiles(p, target, b.kernels)) end
  return { kernels = b.kernels, packed = 0, shared = 0, stages = stages }
end

return planar_taps
