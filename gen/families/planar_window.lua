-- planar_window.lua: planar's backward weights of channels-last data with a window in the lanes: kw and input channels
-- of a row, which stand together in memory; output channels are broadcast; several rows of the kernel at once, where
-- all of them see all rows of a block. One sweep over blocks of output pixels; totals of a task stay in scratch until
-- the end.
local driver = require "driver"
local build = require "build"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_window = {}

-- w: what a part is made of: the problem p, the builder b, lanes of a vector, `vectors` of a window, row (see sweeps),
-- rows of the kernel from `first` on, a piece of output channels, elements of a kernel row's totals, and its kernels.

---- the kernel --------------------------------------------------------------------------------------------------------

-- The lanes of a window that taps low..high are: reach of tile.lua.
local function reach_of(w, section, low, high)
  local ic, lanes = w.p.ic, w.lanes
  local reach = { i = tile.span(section.low, section.high), v = {}, lanes = {} }
  local padded = low > 0 or high < w.p.kernel[3] - 1
  for v = 0, w.vectors - 1 do
    local first, last = math.max(low * ic - v * lanes, 0), math.min((high + 1) * ic - v * lanes, lanes)
    if first < last then
      table.insert(reach.v, v)
      reach.lanes[v] = { first = first, count = last - first, padded = padded }
    end
  end
  return reach
end

-- acc[kh][o][v] over one block. sections: its rows from the first on, as {count, low, high}: the kernel rows low..high,
-- from 0, see them; without sections all rows do, as many as the kernel is told. `src` is the window that the first
-- one's low sees.
local function window_kernel(o, w, rows, sections)
  local p, outputs, vectors, lanes = w.p, w.piece.size, w.vectors, w.lanes
  local pixel, kernel_row = p.stride[3] * p.ic, p.dilation[2] * p.input[3] * p.ic
  local apart = { src = { pixel, p.stride[2] * p.input[3] * p.ic }, diff = { p.oc, p.output[3] * p.oc } }
  o.arguments = { { "src", "in" }, { "diff_dst", "in" }, { "total", "inout" }, { "columns", "count" },
    not sections and { "rows", "count" } }
  sections = sections or { { count = "rows", low = 0, high = rows - 1 } }
  o.sizes = { i = rows, o = outputs, v = vectors }
  o.sums = { pointer = "total", register = "acc", { "i", outputs * vectors * lanes }, { "o", vectors * lanes },
    { "v", lanes } }
  o.held = { pointer = "src", register = "x", { "v", lanes }, { "i", kernel_row }, indices = { "i", "v" } }
  o.passing = { pointer = "diff_dst", register = "w", { "o", 1 } }
  o.ending, o.registers, o.body = { temporary = "passing" }, { "passing" }, { { zero = {} } }
  for i = 0, rows - 1 do
    table.insert(o.registers, { "sums", i = { i } })
    table.insert(o.registers, { "held", i = { i } })
  end
  for _, section in ipairs(sections) do
    table.insert(o.body, sweeps.rows(section.count, w.row, apart, p.kernel[3] - 1, { "a", "g" }, function(at, low, high)
      local reach = reach_of(w, section, low, high)
      return { { load = reach, at = { src = at * pixel - sections[1].low * kernel_row } },
        { multiply = reach, at = { diff_dst = at * p.oc } } }
    end))
  end
  table.insert(o.body, { finish = { "added", "stored" } })
  return tile.kernel(o)
end

---- blocks at the borders ---------------------------------------------------------------------------------------------

-- The sections of a block of rows (see window_kernel); nil if all kernel rows see all rows, false if none sees some.
local function sections_of(w, block, stop)
  local sections, whole = {}, true
  for row = block, stop - 1 do
    local low, high = sweeps.taps_of(w.p, 2, row, w.first, w.first + w.rows - 1)
    if not low then return false end
    whole = whole and low == 0 and high == w.rows - 1
    local before = sections[#sections]
    if before and before.low == low and before.high == high then before.count = before.count + 1
    else sections[#sections + 1] = { count = 1, low = low, high = high } end
  end
  if not whole then return sections end
end

-- A plane's blocks at its upper and lower border, {block, sections}, if they are few enough for kernels of their own.
local function border_blocks(w)
  local list, size, step = {}, 0, reduce.block_rows(w.p.output[3])
  local all_from = sweeps.outputs_of(w.p, 2, w.first)
  local _, all_stop = sweeps.outputs_of(w.p, 2, w.first + w.rows - 1)
  for block = 0, w.p.output[2] - 1, step do
    local stop = math.min(block + step, w.p.output[2])
    local sections
    if block < all_from or stop > all_stop then sections = sections_of(w, block, stop) end
    if sections then
      list[#list + 1], size = { block = block, sections = sections }, size + #sections * (1 + #w.row.ends)
    end
    if sections == false or size > sweeps.most_border then return {} end
  end
  return list
end

-- Blocks in which some rows of the kernel do not see all rows have kernels of their own, or go kernel row by kernel
-- row.
local function add_kernels(w)
  local p, b, window, outputs, number = w.p, w.b, w.p.kernel[3] * w.p.ic, w.piece.size, #w.b.kernels
  w.zero = b:new("zero", function(o)
    return reduce.zero_kernel(p, o.target, o.name, { { at = 0 } },
      { times = w.rows * w.one // w.lanes, step = w.lanes })
  end)
  w.out = b:new("out", function(o) -- totals [o][kw, i] to weights [kw, i][o] of one kernel row
    o.name = "out" .. number
    return relayout.to_pixels({ channels = outputs, pixels = window, pitch = p.oc, row = w.one // outputs,
      limit = (window - 1) * p.oc + outputs }, o)
  end)
  w.borders = w.rows > 1 and border_blocks(w) or {}
  if #w.borders == 0 then w.single = b:new("window", function(o) return window_kernel(o, w, 1) end) end
  w.together = w.rows > 1 and b:new("windows", function(o) return window_kernel(o, w, w.rows) end)
  for _, border in ipairs(w.borders) do
    border.kernel = b:new("border", function(o) return window_kernel(o, w, w.rows, border.sections) end)
  end
end

---- tasks -------------------------------------------------------------------------------------------------------------
--
-- t: where a task is: its first output channel o, the index `piece` of it, kernel plane kd, and in a plane of pixels
-- `plane`, from, with: where the source and the gradient of its first row begin.

-- place: {kh, first, rows}.
local function call_rows(d, w, t, kernel, place, total)
  local p = w.p
  d:call(kernel, {
    { d.src, t.from + (place.first * p.stride[2] + place.kh * p.dilation[2] - p.pad[2]) * (p.input[3] * p.ic) },
    { d.dst, t.with + place.first * (p.output[3] * p.oc) }, { d.scratch, total }, w.row.count, place.rows })
end

-- Rows [block, last) kernel row by kernel row, as far as one sees them: [from, stop).
local function by_kernel_rows(d, w, t, block, last)
  d:loop("kh", w.first, w.first + w.rows, 1, function(kh)
    local from, stop = t.low, t.stop
    if w.together then from, stop = gather.valid_outputs(d, w.p, 2, kh, "oh") end
    local first = d:let("row", driver.max(block, from))
    local rows = d:let("rows", driver.max(driver.min(last, stop) - first, 0))
    call_rows(d, w, t, w.single, { kh = kh, first = first, rows = rows }, (kh - w.first) * w.one)
  end)
end

-- All kernel rows at once where they see all rows of the block.
local function by_blocks(d, w, t, block, last)
  local function single() by_kernel_rows(d, w, t, block, last) end
  d:when(driver.all(driver.less(t.low - 1, block), driver.less(last - 1, t.stop)), function()
    call_rows(d, w, t, w.together, { kh = w.first, first = block, rows = last - block }, 0)
  end)
  for _, border in ipairs(w.borders) do
    d:when(driver.equal(block, border.block), function()
      call_rows(d, w, t, border.kernel, { kh = w.first + border.sections[1].low, first = driver.expr(border.block) }, 0)
    end)
  end
  if #w.borders > 0 then return end
  d:when(driver.less(block, t.low), single)
  d:when(driver.all(driver.less(t.low - 1, block), driver.less(t.stop, last)), single)
end

-- The sums of the bias are the first piece's.
local function each_bias(d, w, t, visit)
  for _, sum in ipairs(w.bias) do
    d:when(driver.equal(t.piece, 0), function()
      d:loop("c", sum.first, sum.first + sum.count * sum.width, sum.width, function(c) visit(sum, c) end)
    end)
  end
end

local function plane_of_pixels(d, w, t, n, od)
  local p, step = w.p, reduce.block_rows(w.p.output[3])
  t.from = d:let("from", (n * p.input[1] + od * p.stride[1] + t.kd * p.dilation[1] - p.pad[1]) *
    (p.input[2] * (p.input[3] * p.ic)) + (w.row.from * p.stride[3] - p.pad[3]) * p.ic)
  t.with = d:let("with", (n * p.output[1] + od) * (p.output[2] * (p.output[3] * p.oc)) + w.row.from * p.oc + t.o)
  d:loop("block", 0, p.output[2], step, function(block)
    local last = d:let("last", driver.min(block + step, p.output[2]));
    (w.together and by_blocks or by_kernel_rows)(d, w, t, block, last)
    each_bias(d, w, t, function(sum, c) reduce.add_block(d, p, sum, n * p.output[1] + od, block, c) end)
  end)
end

local function task(d, w, kd, piece)
  local p, last = w.p, w.first + w.rows - 1
  local t = { kd = kd, piece = piece }
  local d_low, d_stop = gather.valid_outputs(d, p, 1, kd, "od")
  -- What the last kernel row sees begins first, what the first one sees ends last.
  t.low, t.stop = driver.expr((sweeps.outputs_of(p, 2, w.first))), driver.expr(math.max(sweeps.outputs_of(p, 2, last)))
  t.o = d:let("o", piece * w.piece.size + w.piece.first)
  each_bias(d, w, t, function(sum, c) d:call(sum.zero, { { d.bias, c } }) end)
  d:call(w.zero, { { d.scratch } })
  d:loop("n", 0, p.batch, 1, function(n)
    d:loop("od", d_low, d_stop, 1, function(od) plane_of_pixels(d, w, t, n, od) end)
  end)
  for i = 0, w.rows - 1 do
    d:call(w.out, { { d.scratch, i * w.one },
      { d.weights, ((kd * p.kernel[2] + w.first + i) * p.kernel[3]) * (p.ic * p.oc) + t.o } })
  end
end

-- Kernels and stages. The bias' gradient is summed where a task has just read the output's, if one task reads all
-- planes of it; else by a stage.
function planar_window.stages(p, schedule, target)
  local b, lanes, list, most = build.new(p, target), parts.lanes_of(p, target), {}, 0
  local bias = p.bias and reduce.bias_tiles(p, target, b.kernels) or {}
  local at_once = p.kernel[1] == 1 and p.pad[1] == 0 and (p.output[1] - 1) * p.stride[1] < p.input[1]
  local vectors = (p.kernel[3] * p.ic + lanes - 1) // lanes
  for i, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.rows)) do
    for j, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      local w = { p = p, b = b, lanes = lanes, vectors = vectors, row = sweeps.row_of(p, 0, p.kernel[3] - 1),
        first = rows.first, rows = rows.size, piece = piece, one = piece.size * vectors * lanes,
        bias = at_once and i == 1 and j == 1 and bias or {} }
      add_kernels(w)
      list[#list + 1] = { indices = { { "kd", p.kernel[1] }, { "piece", piece.count } },
        body = function(d, kd, number) task(d, w, kd, number) end }
      most = math.max(most, w.rows * w.one)
    end
  end
  local compute = driver.stage { name = "compute", parts = list, scratch = most * parts.size_of(p) }
  return { kernels = b.kernels, packed = 0, shared = 0,
    stages = { compute, p.bias and not at_once and reduce.tiles_stage(p, bias) or nil } }
end

return planar_window
