-- planar_window.lua: planar's backward weights of channels-last data with a window in the lanes: kw and input channels
-- of a row, which stand together in memory; output channels are broadcast; several rows of the kernel at once, where
-- all of them see all rows of a block. One sweep over blocks of output pixels; totals of a task stay in scratch until
-- the end.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local reduce = require "reduce"
local cut = require "tiles"
local relayout = require "relayout"
local sweeps = require "families/planar_sweeps"
local planar_window = {}

local round_up, lanes_of = parts.round_up, parts.lanes_of

-- acc[kh][o][v] over one block. sections: its rows from the first on, as {count, low, high}: the kernel rows low..high,
-- from 0, see them; without sections all rows do, as many as the kernel is told. `src` is the window that the first
-- one's low sees.
local function window_kernel(p, row, rows, outputs, target, name, sections)
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, total = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("total", "inout")
  local columns = k:count "columns"
  sections = sections or { { count = k:count "rows", low = 0, high = rows - 1 } }
  local window = p.kernel[3] * p.ic
  local vectors = (window + k.lanes - 1) // k.lanes
  local acc, x, w = {}, {}, k:vector "w"
  for i = 0, rows - 1 do
    acc[i], x[i] = sweeps.accumulators(k, outputs, vectors, ("acc%d_"):format(i)), {}
    for v = 0, vectors - 1 do x[i][v] = k:vector(("x%d_%d"):format(i, v)) end
  end
  local row_pitch = p.dilation[2] * p.input[3] * p.ic -- from one kernel row's window to the next one's

  -- The lanes of vector v that taps low..high are.
  local function lanes(v, low, high)
    local first, last = math.max(low * p.ic - v * k.lanes, 0), math.min((high + 1) * p.ic - v * k.lanes, k.lanes)
    return first, last - first
  end
  local function step(section, a, g, at, low, high)
    local all = low == 0 and high == p.kernel[3] - 1
    local used = {}
    for v = 0, vectors - 1 do
      local first, lanes_here = lanes(v, low, high)
      if lanes_here > 0 then
        used[#used + 1] = v
        for i = section.low, section.high do
          k:load(x[i][v], k:at(a, at * p.stride[3] * p.ic + v * k.lanes + (i - sections[1].low) * row_pitch), first, lanes_here)
        end
      end
    end
    for o = 0, outputs - 1 do
      k:broadcast(w, k:at(g, at * p.oc + o))
      for _, v in ipairs(used) do
        local first, lanes_here
        if not all then first, lanes_here = lanes(v, low, high) end -- of taps that are not in the padding
        for i = section.low, section.high do k:fma(acc[i][o][v], x[i][v], w, first, lanes_here) end
      end
    end
  end
  for _, section in ipairs(sections) do
    k:loop(section.count, function()
      local a, g = k:copy("a", src), k:copy("g", diff)
      sweeps.sweep(k, row, a, g, p.stride[3] * p.ic, p.oc, columns, p.kernel[3] - 1, function(...) step(section, ...) end)
      k:advance(src, p.stride[2] * p.input[3] * p.ic)
      k:advance(diff, p.output[3] * p.oc)
    end)
  end
  for i = 0, rows - 1 do
    sweeps.add_totals(k, acc[i], total, w, function(o) return (i * outputs + o) * vectors * k.lanes end)
  end
  return k:finish()
end

-- Totals [o][kw, i] to weights [kw, i][o] of one kernel row.
local function window_out_kernel(p, outputs, pitch, target, name)
  local window = p.kernel[3] * p.ic
  return relayout.to_pixels({ channels = outputs, pixels = window, pitch = p.oc, limit = (window - 1) * p.oc + outputs, row = pitch },
    { name = name, type = p.type, target = target })
end

-- The sections (see window_kernel) of the block that begins at a row, for the kernel rows of a tile; nil if all kernel
-- rows see all rows, false if none sees some.
local function sections_of(p, tile, block)
  local sections, whole = {}, true
  for row = block, math.min(block + reduce.block_rows(p.output[3]), p.output[2]) - 1 do
    local low, high
    for i = 0, tile.rows - 1 do
      local y = row * p.stride[2] + (tile.first + i) * p.dilation[2] - p.pad[2]
      if y >= 0 and y < p.input[2] then low, high = low or i, i end
    end
    if not low then return false end
    whole = whole and low == 0 and high == tile.rows - 1
    local before = sections[#sections]
    if before and before.low == low and before.high == high then before.count = before.count + 1
    else sections[#sections + 1] = { count = 1, low = low, high = high } end
  end
  if not whole then return sections end
end

-- A plane's blocks at its upper and lower border, {block, sections}, if they are few enough for kernels of their own.
local function border_blocks(p, tile, row)
  local list, size = {}, 0
  for block = 0, p.output[2] - 1, reduce.block_rows(p.output[3]) do
    local sections = sections_of(p, tile, block)
    if sections then list[#list + 1], size = { block = block, sections = sections }, size + #sections * (1 + #row.ends) end
    if sections == false or size > sweeps.most_border then return {} end
  end
  return list
end

-- Tasks of a tile of kernel rows: {first, rows}, and a run of equal pieces of output channels. Blocks in which some
-- rows of the kernel do not see all rows have kernels of their own, or go kernel row by kernel row.
local function window_part(p, tile, piece, bias, target, kernels)
  local lanes = lanes_of(p, target)
  local pitch = round_up(p.kernel[3] * p.ic, lanes)
  local row = sweeps.row_of(p, 0, p.kernel[3] - 1)
  local one = piece.size * pitch -- totals of a kernel row
  local all = tile.rows * one
  local zero = reduce.zero_kernel(p, target, "zero" .. #kernels, { { at = 0 } }, { times = all // lanes, step = lanes })
  local out = window_out_kernel(p, piece.size, pitch, target, "out" .. #kernels)
  kernels[#kernels + 1], kernels[#kernels + 2] = zero, out
  local together, single
  local borders = tile.rows > 1 and border_blocks(p, tile, row) or {}
  if #borders == 0 then
    single = window_kernel(p, row, 1, piece.size, target, "window" .. #kernels)
    kernels[#kernels + 1] = single
  end
  if tile.rows > 1 then
    together = window_kernel(p, row, tile.rows, piece.size, target, "windows" .. #kernels)
    kernels[#kernels + 1] = together
    for _, border in ipairs(borders) do
      border.kernel = window_kernel(p, row, tile.rows, piece.size, target, "border" .. #kernels, border.sections)
      kernels[#kernels + 1] = border.kernel
    end
  end
  local src_row, dst_row = p.input[3] * p.ic, p.output[3] * p.oc
  local step = reduce.block_rows(p.output[3])

  local function body(d, kd, at)
    local d_low, d_end = gather.valid_outputs(d, p, 1, kd, "od")
    local low, high = gather.valid_outputs(d, p, 2, tile.first + tile.rows - 1, "oh")
    if together then -- what the last kernel row sees begins first, what the first one sees ends last
      low = gather.valid_outputs(d, p, 2, tile.first, "oh")
    end
    local o = d:let("o", at * piece.size + piece.first)
    local function each_bias(visit)
      for _, sum in ipairs(bias) do
        d:when(driver.equal(at, 0), function()
          d:loop("c", sum.first, sum.first + sum.count * sum.width, sum.width, function(c) visit(sum, c) end)
        end)
      end
    end
    each_bias(function(sum, c) d:call(sum.zero, { { d.bias, c } }) end)
    d:call(zero, { { d.scratch } })
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", d_low, d_end, 1, function(od)
        local from = d:let("from", (n * p.input[1] + od * p.stride[1] + kd * p.dilation[1] - p.pad[1]) * (p.input[2] * src_row) +
          (row.from * p.stride[3] - p.pad[3]) * p.ic)
        local with = d:let("with", (n * p.output[1] + od) * (p.output[2] * dst_row) + row.from * p.oc + o)
        local function call(kernel, kh, first, rows, total)
          d:call(kernel, { { d.src, from + (first * p.stride[2] + kh * p.dilation[2] - p.pad[2]) * src_row },
            { d.dst, with + first * dst_row }, { d.scratch, total }, row.count, rows })
        end
        d:loop("block", 0, p.output[2], step, function(block)
          local last = d:let("last", driver.min(block + step, p.output[2]))
          local function by_row(from_row, to_row)
            d:loop("kh", tile.first, tile.first + tile.rows, 1, function(kh)
              local h_low, h_end = from_row, to_row
              if together then h_low, h_end = gather.valid_outputs(d, p, 2, kh, "oh") end
              local first = d:let("row", driver.max(block, h_low))
              call(single, kh, first, d:let("rows", driver.max(driver.min(last, h_end) - first, 0)), (kh - tile.first) * one)
            end)
          end
          if together then
            local inside = driver.all(driver.less(low - 1, block), driver.less(last - 1, high))
            d:when(inside, function() call(together, tile.first, block, last - block, 0) end)
            for _, border in ipairs(borders) do
              d:when(driver.equal(block, border.block), function()
                call(border.kernel, tile.first + border.sections[1].low, driver.expr(border.block), nil, 0)
              end)
            end
          end
          if together and #borders == 0 then
            d:when(driver.less(block, low), by_row)
            d:when(driver.all(driver.less(low - 1, block), driver.less(high, last)), by_row)
          elseif not together then
            by_row(low, high)
          end
          each_bias(function(sum, c) reduce.add_block(d, p, sum, n * p.output[1] + od, block, c) end)
        end)
      end)
    end)
    for i = 0, tile.rows - 1 do
      d:call(out, { { d.scratch, i * one }, { d.weights, ((kd * p.kernel[2] + tile.first + i) * p.kernel[3]) * (p.ic * p.oc) + o } })
    end
  end
  return { indices = { { "kd", p.kernel[1] }, { "piece", piece.count } }, body = body, scratch = all }
end

-- The bias' gradient is summed where a task has just read the output's, if one task reads all planes of it; else by a
-- stage.
function planar_window.stages(p, schedule, target)
  local kernels, list, scratch = {}, {}, 0
  local bias = p.bias and reduce.bias_tiles(p, target, kernels) or {}
  local at_once = p.kernel[1] == 1 and p.pad[1] == 0 and (p.output[1] - 1) * p.stride[1] < p.input[1]
  for i, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.rows)) do
    for j, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      local part = window_part(p, { first = rows.first, rows = rows.size }, piece, at_once and i == 1 and j == 1 and bias or {}, target,
        kernels)
      list[#list + 1], scratch = part, math.max(scratch, part.scratch)
    end
  end
  local size = parts.size_of(p)
  local compute = driver.stage { name = "compute", parts = list, scratch = scratch * size }
  return { kernels = kernels, stages = { compute, p.bias and not at_once and reduce.tiles_stage(p, bias) or nil }, packed = 0, shared = 0 }
end

return planar_window
