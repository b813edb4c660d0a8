-- planar_window.lua: planar's backward weights of channels-last data with a window in the lanes: kw and input channels
-- of a row, which stand together in memory; output channels are broadcast; several rows of the kernel at once, where
-- all of them see all rows of a block.
--
-- A part w (see planar_sweeps.lua) has vectors of a window, rows of the kernel from `first` on, a piece of output
-- channels, `one`: elements of a kernel row's totals. t: where a task is; from, with: where the source and the gradient
-- of a plane of pixels begin.
local driver = require "driver"
local gather = require "gather"
local reduce = require "reduce"
local cut = require "tiles"
local tile = require "tile"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_window = {}

---- kernels -----------------------------------------------------------------------------------------------------------

-- The lanes of a window that taps low..high are.
local function reach_of(w, section, low, high)
  local reach, padded = tile.reach(low * w.p.ic, (high + 1) * w.p.ic - 1, w.lanes), low > 0 or high < w.p.kernel[3] - 1
  reach.i = tile.span(section.low, section.high)
  for _, lanes in pairs(reach.lanes) do lanes.padded = padded end
  return reach
end

-- acc[kh][o][v] over one block. sections: its rows from the first on, as {count, low, high}: the kernel rows low..high,
-- from 0, see them; without sections all rows do. `src` is the window that the first one's low sees.
local function window_kernel(o, w, rows, sections)
  local p, vectors, lanes, src, dst = w.p, w.vectors, w.lanes, w.src, w.dst
  local pixel, kernel_row = p.stride[3] * src.w, p.dilation[2] * src.h
  sections = sections or { { low = 0, high = rows - 1 } }
  o.sizes = { i = rows, o = w.piece.size, v = vectors }
  o.sums = { pointer = "total", register = "acc", { "i", w.one }, { "o", vectors * lanes }, { "v", lanes } }
  o.held = { pointer = "src", register = "x", { "v", lanes }, { "i", kernel_row }, indices = { "i", "v" } }
  o.passing, o.registers = { pointer = "diff_dst", register = "w", { "o", 1 } }, { "passing" }
  for i = 0, rows - 1 do
    o.registers[2 * i + 2], o.registers[2 * i + 3] = { "sums", i = { i } }, { "held", i = { i } }
  end
  return sweeps.kernel(o, { row = w.row, sections = sections, last = p.kernel[3] - 1, names = { "a", "g" },
    src = { pixel, p.stride[2] * src.h }, diff = { dst.w, dst.h }, step = function(section, at, low, high)
      local reach = reach_of(w, section, low, high)
      return { { load = reach, at = { src = at * pixel - sections[1].low * kernel_row } },
        { multiply = reach, at = { diff_dst = at * dst.w } } }
    end })
end

-- A plane's blocks in which not all kernel rows see all rows, {block, sections}, if they are few enough for kernels of
-- their own.
local function border_blocks(w)
  local list, size, rows, runs = {}, 0, w.p.output[2], gather.runs(w.p, 2, w.first, w.first + w.rows - 1)
  local function sections_of(block, stop)
    local sections = {}
    for _, run in ipairs(runs) do
      local count = math.min(stop, run.first + run.count) - math.max(block, run.first)
      if count > 0 and not run.low then return nil end
      if count > 0 then sections[#sections + 1] = { count = count, low = run.low, high = run.high } end
    end
    return sections
  end
  for block = 0, w.rows > 1 and rows - 1 or -1, w.block_rows do
    local stop = math.min(block + w.block_rows, rows)
    if block < w.low or stop > w.stop then
      local sections = sections_of(block, stop)
      size = size + (sections and #sections * (1 + #w.row.ends) or math.huge)
      if size > sweeps.most_border then return {} end
      list[#list + 1] = { block = block, sections = sections }
    end
  end
  return list
end

-- Blocks in which some rows of the kernel do not see all rows have kernels of their own, or go kernel row by kernel
-- row. Totals [o][kw, i] become weights [kw, i][o] of one kernel row.
local function add_kernels(w)
  local window, outputs, number = w.p.kernel[3] * w.p.ic, w.piece.size, #w.kernels
  local function make(what, rows, sections)
    return w:new(what, function(o) return window_kernel(o, w, rows, sections) end)
  end
  w.zero = sweeps.zero_kernel(w, w.rows * w.one, "zero" .. number)
  w.out = w:add(relayout.to_pixels({ channels = outputs, pixels = window, pitch = w.p.oc, row = w.one // outputs,
    limit = (window - 1) * w.p.oc + outputs }, w:called("out" .. number)))
  w.borders = border_blocks(w)
  w.single = #w.borders == 0 and make("window", 1)
  w.together = w.rows > 1 and make("windows", w.rows)
  for _, border in ipairs(w.borders) do border.kernel = make("border", w.rows, border.sections) end
end

---- tasks -------------------------------------------------------------------------------------------------------------

-- `rows` rows from `first` on, seen by the kernel row kh and those after it that the kernel has.
local function call_rows(d, w, t, kernel, kh, rows)
  local first = rows[1]
  d:call(kernel, { src = { d.src, t.from + gather.seen_at(w.p, 2, first, kh) * w.src.h },
    diff_dst = { d.dst, t.with + first * w.dst.h }, columns = w.row.count, rows = rows[2],
    total = { d.scratch, kernel == w.single and (kh - w.first) * w.one or 0 } })
end

-- A block kernel row by kernel row, as far as each sees it.
local function by_kernel_rows(d, w, t)
  d:loop("kh", w.first, w.first + w.rows, 1, function(kh)
    local from, stop = gather.valid_outputs(d, w.p, 2, kh, "oh")
    local first = d:let("row", driver.max(t.block, from))
    call_rows(d, w, t, w.single, kh, { first, d:let("rows", driver.max(driver.min(t.last, stop) - first, 0)) })
  end)
end

-- All kernel rows at once where they see all rows of the block: what the last one sees begins first, what the first
-- one sees ends last.
local function all_kernel_rows(d, w, t)
  local function single() by_kernel_rows(d, w, t) end
  d:when(driver.all(driver.less(w.low - 1, t.block), driver.less(t.last - 1, w.stop)), function()
    call_rows(d, w, t, w.together, w.first, { t.block, t.last - t.block })
  end)
  for _, border in ipairs(w.borders) do
    d:when(driver.equal(t.block, border.block), function()
      call_rows(d, w, t, border.kernel, w.first + border.sections[1].low, { driver.expr(border.block) })
    end)
  end
  if #w.borders > 0 then return end
  d:when(driver.less(t.block, w.low), single)
  d:when(driver.all(driver.less(w.low - 1, t.block), driver.less(w.stop, t.last)), single)
end

-- The sums of the bias are the first piece's.
local function each_bias(d, w, piece, visit)
  for _, sum in ipairs(w.bias) do
    d:when(driver.equal(piece, 0), function()
      d:run("c", sum, sum.width, function(c) visit(sum, c) end)
    end)
  end
end

local function task(d, w, kd, piece)
  local p, src, dst, t = w.p, w.src, w.dst, {}
  local planes = { gather.valid_outputs(d, p, 1, kd, "od") }
  local o = d:let("o", piece * w.piece.size + w.piece.first)
  each_bias(d, w, piece, function(sum, c) d:call(sum.zero, { { d.bias, c } }) end)
  d:call(w.zero, { { d.scratch } })
  sweeps.blocks(d, w, t, planes, function()
    t.from = d:let("from", gather.seen_at(p, 1, t.od, kd, t.n * p.input[1]) * src.d +
      (w.row.from * p.stride[3] - p.pad[3]) * src.w)
    t.with = d:let("with", (t.n * p.output[1] + t.od) * dst.d + w.row.from * dst.w + o)
  end, function()
    (w.together and all_kernel_rows or by_kernel_rows)(d, w, t)
    each_bias(d, w, piece, function(sum, c) reduce.add_block(d, p, sum, t.n * p.output[1] + t.od, t.block, c) end)
  end)
  for i = 0, w.rows - 1 do
    d:call(w.out, { { d.scratch, i * w.one },
      { d.weights, ((kd * p.kernel[2] + w.first + i) * p.kernel[3]) * (p.ic * p.oc) + o } })
  end
end

-- The stages of a schedule. The bias' gradient is summed where a task has just read the output's, if one task reads all
-- planes of it; else by a stage.
function planar_window.stages(b, schedule)
  local p, list = b.p, {}
  local bias = p.bias and reduce.bias_tiles(b)
  sweeps.begin(b)
  local at_once = p.kernel[1] == 1 and p.pad[1] == 0 and (p.output[1] - 1) * p.stride[1] < p.input[1]
  b.row = sweeps.row_of(p, 0, p.kernel[3] - 1)
  b.vectors = (p.kernel[3] * p.ic + b.lanes - 1) // b.lanes
  for _, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.rows)) do
    for _, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      local w = sweeps.part(b, { first = rows.first, rows = rows.size, piece = piece,
        one = piece.size * b.vectors * b.lanes, bias = at_once and #list == 0 and bias or {} })
      w.low, w.stop = gather.outputs_of(p, 2, w.first), math.max(gather.outputs_of(p, 2, w.first + w.rows - 1))
      add_kernels(w)
      list[#list + 1] = { indices = { { "kd", p.kernel[1] }, { "piece", piece.count } }, scratch = w.rows * w.one,
        body = function(d, kd, number) task(d, w, kd, number) end }
    end
  end
  return sweeps.stages(b, list, not at_once and bias)
end

return planar_window
