-- planar_taps.lua: planar's backward weights with output channels in the lanes; input channels, and a few taps of a row
-- when channels are few, are broadcast. A block of the output's gradient is turned round before when it is
-- channels-first.
--
-- A part w (see planar_sweeps.lua) is a run of equal tiles of output channels and one of equal pieces of input
-- channels.
-- Totals stand in scratch as its weights do, a vector or some of output channels (width) in the place of each:
-- [tap][i], or [i][tap] channels-first; tap, input: from one to the next, in such places. diff: elements between pixels
-- of the gradient as it is read. own_taps: a task has one kd, kh (channels-last, with threads to share among).
-- t: where a task is: group g, output channel o, the first of its input channels; where the gradient of a plane of
-- pixels begins (with).
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_taps = {}

---- kernels -----------------------------------------------------------------------------------------------------------

-- acc[tap][i][v] over one block, for `taps` taps of a row and some inputs.
local function taps_kernel(o, w, row, taps, inputs)
  local p, x, g = w.p, w.src, w.diff
  o.sizes, o.registers = { k = taps, i = inputs, v = w.vectors }, { "sums", "passing", "held" }
  o.sums = { pointer = "total", register = "acc", { "k", w.tap * w.width }, { "i", w.input * w.width },
    { "v", w.lanes },
    indices = function(at) return at.k * inputs + at.i, at.v end }
  o.held = { pointer = "diff_dst", register = "g", { "v", w.lanes }, last = w.channels_last and w.run.tile.last or nil }
  o.passing = { pointer = "src", register = "x", { "k", p.dilation[3] * x.w }, { "i", x.c } }
  return sweeps.kernel(o, { row = row, sections = { {} }, last = taps - 1, names = { "a", "b" }, alone = w.only_sum,
    src = { p.stride[3] * x.w, p.stride[2] * x.h }, diff = { g, p.output[3] * g }, step = function(_, at, low, high)
      return { { load = {}, at = { diff_dst = at * g } },
        { multiply = { k = tile.span(low, high) }, at = { src = at * p.stride[3] * x.w } } }
    end })
end

-- Totals to weights: [tap][i][channels of the output] to [tap][i][o]; channels-first [i][tap][channels of the output],
-- as many pixels of channels, to [o][i][tap], which are rows.
local function out_kernel(o, w)
  local p, inputs, channels = w.p, w.inputs.size, w.run.tile.channels
  if w.channels_last then
    return relayout.copy({ from = "total", to = "weights", elements = channels, loops = {
      { count = w.all_taps, steps = { nil, w.icg * p.oc }, names = { nil, "b" } },
      { count = inputs, steps = { w.width, p.oc } } } }, o)
  end
  return relayout.to_rows({ channels = channels, pixels = inputs * w.all_taps, pitch = w.width,
    limit = inputs * w.all_taps * w.width, row = w.icg * w.all_taps, exact = true }, o)
end

-- Tiles of a task: pieces of a row's taps and of its input channels, each with its kernel.
local function tiles_of(w, schedule)
  local tiles, known = {}, {}
  for _, taps in ipairs(cut.even_pieces(w.p.kernel[3], schedule.taps)) do
    local row = sweeps.row_of(w.p, taps.first, taps.first + taps.size - 1)
    for _, run in ipairs(cut.piece_runs(w.inputs.size, schedule.inputs)) do
      local key = ("%d %d %s"):format(taps.size, run.size, sweeps.key_of(row))
      known[key] = known[key] or w:new("taps", function(o) return taps_kernel(o, w, row, taps.size, run.size) end)
      tiles[#tiles + 1] = { kernel = known[key], row = row, tap = taps.first, run = run }
    end
  end
  return tiles
end

-- A channels-first block's gradient is turned to [pixel][width] in scratch, from which the bias is summed too.
local function add_turning(w)
  local p, channels = w.p, w.run.tile.channels
  local pixels = (w.whole and p.output[2] or 1) * p.output[3]
  w.turn = w:new("turn", function(o)
    return relayout.to_pixels({ channels = channels, pixels = pixels, pitch = w.width, limit = pixels * w.width,
      row = p.output[1] * p.output[2] * p.output[3], loose = true }, o)
  end)
  if not p.bias or w.inputs.first > 0 then return end
  local number = #w.kernels
  w.bias = w:new("bias", function(o)
    return reduce.bias_kernel(o, reduce.vectors({ vectors = w.vectors, last = w.lanes }, w.lanes), { whole = true,
      loops = { { count = "pixels", steps = { w.width } } },
      words = { out = "total", sum = "acc0_%d", g = "g", sums_first = true } })
  end)
  w.bias_out = w:add(relayout.copy({ from = "total", to = "bias", elements = channels },
    w:called("bias_out" .. number)))
end

local function add_kernels(w, schedule)
  w.tiles = tiles_of(w, schedule)
  local number, from = #w.kernels, w.only_sum and w.totals or 0
  w.out, w.zero_from = w:new("out", function(o) return out_kernel(o, w) end), from
  w.zero = from < w.diff_at and sweeps.zero_kernel(w, w.diff_at - from, "zero" .. number)
  if not w.channels_last then add_turning(w) end
end

---- tasks -------------------------------------------------------------------------------------------------------------

-- The bias is summed by the tasks of the first input channels.
local function with_bias(d, w, t, kernel, ...)
  local arguments = { ... }
  if w.bias then d:when(driver.equal(t.i_first, 0), function() d:call(kernel, arguments) end) end
end

-- Turns the gradient of a block, and adds it to the bias.
local function turn_block(d, w, t)
  local p, at = w.p, w.diff_at
  d:loop("row", t.block, w.whole and t.block + 1 or t.last, 1, function(r)
    d:call(w.turn, { { d.dst, t.with + r * p.output[3] },
      { d.scratch, (r - t.block) * (p.output[3] * w.width) + at } })
  end)
  with_bias(d, w, t, w.bias, { d.scratch, at }, { d.scratch, at - w.width }, (t.last - t.block) * p.output[3])
end

-- The tiles of a row of taps, the first of which is number `first` of the task's, for rows of the block: seen {first,
-- rows, from: the input's row}.
local function call_tiles(d, w, t, first, seen)
  local p, x = w.p, w.src
  for _, tiles in ipairs(w.tiles) do
    local row = tiles.row
    local column = gather.seen_at(p, 3, row.from, tiles.tap) * x.w
    d:loop("m", 0, tiles.run.count, 1, function(m)
      local i = d:let("i", m * tiles.run.size + tiles.run.first)
      local diff = w.turn and { d.scratch, (seen.first - t.block) * (p.output[3] * w.width) +
        (w.diff_at + row.from * w.width) } or { d.dst, t.with + seen.first * w.dst.h + row.from * w.dst.w }
      d:call(tiles.kernel, { { d.src, seen.from + i * x.c + column }, diff,
        { d.scratch, (i * w.input + (first + tiles.tap) * w.tap) * w.width }, row.count, seen.rows })
    end)
  end
end

-- What a row of the kernel sees of the block.
local function row_of_taps(d, w, t, kd, kh)
  local p, x, seen = w.p, w.src, {}
  local low, stop = gather.valid_outputs(d, p, 2, kh, "oh")
  local id = d:let("id", gather.seen_at(p, 1, t.od, kd))
  seen.first = d:let("first_row", driver.max(t.block, low))
  seen.rows = d:let("rows", driver.max(driver.min(t.last, stop) - seen.first, 0))
  d:when(driver.all(driver.less(-1, id), driver.less(id, p.input[1]), driver.less(0, seen.rows)), function()
    local row = id * p.input[2] + gather.seen_at(p, 2, seen.first, kh)
    seen.from = d:let("from", t.n * x.n + (t.g * x.channels + t.i_first) * x.c + row * x.h)
    call_tiles(d, w, t, w.own_taps and 0 or (kd * p.kernel[2] + kh) * p.kernel[3], seen)
  end)
end

local function block_of_rows(d, w, t, kd, kh)
  if w.turn then turn_block(d, w, t) end
  if w.own_taps then return row_of_taps(d, w, t, kd, kh) end
  d:loop("kd", 0, w.p.kernel[1], 1, function(k)
    d:loop("kh", 0, w.p.kernel[2], 1, function(j) row_of_taps(d, w, t, k, j) end)
  end)
end

local function task(d, w, t, kd, kh)
  local p, g = w.p, w.dst
  if w.zero then d:call(w.zero, { { d.scratch, w.zero_from } }) end
  sweeps.blocks(d, w, t, { 0, p.output[1] }, function()
    t.with = d:let("with", w.channels_last and (t.n * p.output[1] + t.od) * g.d + t.o or
      (t.n * p.oc + t.o) * g.c + t.od * g.d)
  end, function() block_of_rows(d, w, t, kd, kh) end)
  local first_tap = w.own_taps and (kd * p.kernel[2] + kh) * p.kernel[3] or 0
  d:call(w.out, { { d.scratch }, { d.weights, w.channels_last and (first_tap * w.icg + t.i_first) * p.oc + t.o or
    (t.o * w.icg + t.i_first) * w.all_taps } })
  with_bias(d, w, t, w.bias_out, { d.scratch, w.diff_at - w.width }, { d.bias, t.o })
end

---- stages ------------------------------------------------------------------------------------------------------------

-- Whether the sum of a block is the total: there is one, and every row of the kernel sees some of it.
local function only_sum(p)
  for i = 1, 2 do
    for tap = 0, p.kernel[i] - 1 do
      local from, stop = gather.outputs_of(p, i, tap)
      if from >= stop then return false end
    end
  end
  return reduce.one_block(p)
end

-- Input channels of a task: as many as keep its totals within about 256 KB (24 KB, in the first cache, where a block's
-- sums are stored and read but once), and at least four tasks where channels allow.
local function inputs_of_task(b, schedule, columns)
  local fit = (b.only_sum and 24 << 10 or 256 << 10) // (b.taps * schedule.vectors * b.target.bits // 8)
  local share = math.max(1, 4 // math.max(b.p.groups * columns, 1))
  local most = math.max(math.min(fit, (b.icg + share - 1) // share), 1)
  return cut.piece_runs(b.icg, parts.round_up(most, schedule.inputs))
end

-- Channels-last tasks may have a plane or a row of taps each.
local function part(w, schedule)
  local p, run, inputs, own, last = w.p, w.run, w.inputs, w.own_taps, w.channels_last
  w.vectors, w.width = run.tile.vectors, run.tile.width
  w.all_taps = own and p.kernel[3] or w.taps
  w.diff, w.tap, w.input = last and w.dst.w or w.width, last and inputs.size or 1, last and 1 or w.all_taps
  w.totals = w.all_taps * inputs.size * w.width
  w.diff_at = w.totals + (last and 0 or w.width) -- after the bias
  add_kernels(w, schedule)
  return { scratch = w.diff_at + (last and 0 or w.block_rows * p.output[3] * w.width), indices = { { "g", p.groups },
    { "tile", run.count }, { "chunk", inputs.count }, { "kd", own and p.kernel[1] or 1 },
    { "kh", own and p.kernel[2] or 1 } }, body = function(d, g, number, chunk, kd, kh)
      local t = { g = g }
      t.o = d:let("o", g * w.ocg + (number + run.index) * (schedule.vectors * w.lanes))
      t.i_first = d:let("i_first", chunk * inputs.size + inputs.first)
      task(d, w, t, kd, kh)
    end }
end

function planar_taps.stages(b, schedule)
  local p, list = b.p, {}
  sweeps.begin(b)
  b.channels_last, b.only_sum = p.layout == "nhwc", only_sum(p)
  b.own_taps = b.channels_last and p.threads > 1
  b.whole = reduce.block_rows(p.output[3]) >= p.output[2] -- rows of a plane are one run of pixels
  local columns = cut.runs_of_columns(b.ocg, schedule.vectors, b.lanes)
  for _, run in ipairs(columns) do
    for _, inputs in ipairs(inputs_of_task(b, schedule, columns.all)) do
      list[#list + 1] = part(sweeps.part(b, { run = run, inputs = inputs }), schedule)
    end
  end
  return sweeps.stages(b, list, b.channels_last and p.bias and reduce.bias_tiles(b))
end

return planar_taps
