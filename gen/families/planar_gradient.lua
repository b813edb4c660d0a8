-- planar_gradient.lua: the part of the planar family for backward weights. Two forms, each one sweep over blocks of output pixels:
--
-- window (channels-last): the lanes are the window of a row, kw and input channels, which stands together in memory; output
--   channels are broadcast; several rows of the kernel at once, where all of them see all rows of a block.
-- taps: output channels are the lanes; input channels, and a few taps of a row when channels are few, are broadcast. A block of
--   the output's gradient is turned round before when it is channels-first.
--
-- Pixels at the ends of a row, where some taps of a tile lie in the padding, are written out; a tap never sees another's pixels.
-- Totals of a task stay in scratch until the end.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local relayout = require "families/planar_relayout"
local planar_gradient = {}

planar_gradient.most_border = 32

local round_up = parts.round_up

local lanes_of = parts.lanes_of

---- a row of pixels ------------------------------------------------------------------------------------------------------------------

-- The pixels of a row as the taps [first, last] of it see them: those at the ends that only some taps see, as {at, low, high}
-- (taps, from 0; at relative to `from`), and between them the pixels [from, from + count) that all see.
function planar_gradient.row_of(p, first, last)
  local s, dilation, pad, width, outputs = p.stride[3], p.dilation[3], p.pad[3], p.input[3], p.output[3]
  local function sees(pixel, k)
    local x = pixel * s + k * dilation - pad
    return x >= 0 and x < width
  end
  local row, partly = { ends = {}, from = 0, count = 0 }, {}
  for pixel = 0, outputs - 1 do
    local low, high
    for k = first, last do if sees(pixel, k) then low, high = low or k, k end end
    if low == first and high == last then
      if row.count == 0 then row.from = pixel end
      row.count = row.count + 1
    elseif low then
      partly[#partly + 1] = { at = pixel, low = low - first, high = high - first }
    end
  end
  if row.count == 0 then row.from = partly[1] and partly[1].at or 0 end
  for i, e in ipairs(partly) do
    row.ends[i] = { at = e.at - row.from, after = row.count > 0 and e.at > row.from or false, low = e.low, high = e.high }
  end
  return row
end

local function key_of(row)
  local words = {}
  -- Ends behind the middle are addressed from its end, so that rows of any length share a kernel.
  for i, e in ipairs(row.ends) do
    words[i] = ("%d%s:%d-%d"):format(e.after and e.at - row.count or e.at, e.after and "+" or "", e.low, e.high)
  end
  return table.concat(words, " ")
end

-- The sweep over one row: step(x, g, at, low, high) for a pixel `at` pixels from where x and g stand.
local function sweep(k, row, x, g, x_step, g_step, columns, last_tap, step)
  for _, e in ipairs(row.ends) do if not e.after then step(x, g, e.at, e.low, e.high) end end
  k:loop(columns, function()
    step(x, g, 0, 0, last_tap)
    k:advance(x, x_step)
    k:advance(g, g_step)
  end)
  for _, e in ipairs(row.ends) do if e.after then step(x, g, e.at - row.count, e.low, e.high) end end
end

local function accumulators(k, rows, columns, name)
  local acc = {}
  for m = 0, rows - 1 do
    acc[m] = {}
    for v = 0, columns - 1 do
      acc[m][v] = k:vector(("%s%d_%d"):format(name, m, v))
      k:zero(acc[m][v])
    end
  end
  return acc
end

-- total[m][v] += acc[m][v]; place(m): where the totals of a row are, else one after another. Without temp acc is the total.
local function add_totals(k, acc, total, rows, columns, temp, at, place)
  for m = 0, rows - 1 do
    for v = 0, columns - 1 do
      local place = k:at(total, at + (place and place(m) or m * columns * k.lanes) + v * k.lanes)
      if temp then
        k:load(temp, place)
        k:add(acc[m][v], temp, acc[m][v])
      end
      k:store(place, acc[m][v])
    end
  end
end

local function zero_kernel(p, vectors, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local out, zero = k:pointer("out", "out"), k:vector "zero"
  k:zero(zero)
  k:loop(vectors, function()
    k:store(k:at(out), zero)
    k:advance(out, k.lanes)
  end)
  return k:finish()
end

---- window ---------------------------------------------------------------------------------------------------------------------------------

-- acc[kh][o][v] over one block. sections: its rows from the first on, as {count, low, high}: the kernel rows low..high, from 0, see
-- them; without sections all rows do, as many as the kernel is told. `src` is the window that the first one's low sees.
local function window_kernel(p, row, rows, outputs, target, name, sections)
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, total = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("total", "inout")
  local columns = k:count "columns"
  sections = sections or { { count = k:count "rows", low = 0, high = rows - 1 } }
  local window = p.kernel[3] * p.ic
  local vectors = (window + k.lanes - 1) // k.lanes
  local acc, x, w = {}, {}, k:vector "w"
  for i = 0, rows - 1 do
    acc[i], x[i] = accumulators(k, outputs, vectors, ("acc%d_"):format(i)), {}
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
      sweep(k, row, a, g, p.stride[3] * p.ic, p.oc, columns, p.kernel[3] - 1, function(...) step(section, ...) end)
      k:advance(src, p.stride[2] * p.input[3] * p.ic)
      k:advance(diff, p.output[3] * p.oc)
    end)
  end
  for i = 0, rows - 1 do add_totals(k, acc[i], total, outputs, vectors, w, i * outputs * vectors * k.lanes) end
  return k:finish()
end

-- Totals [o][kw, i] to weights [kw, i][o] of one kernel row.
local function window_out_kernel(p, outputs, pitch, target, name)
  local window = p.kernel[3] * p.ic
  return relayout.to_pixels({ channels = outputs, pixels = window, pitch = p.oc, limit = (window - 1) * p.oc + outputs, row = pitch },
    { name = name, type = p.type, target = target })
end

-- `blocks` blocks of `rows` rows each: chains of additions beside each other, added to diff_bias one after another.
local function bias_kernel(p, tile, blocks, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local diff, out, pixels = k:pointer("diff_dst", "in"), k:pointer("diff_bias", "inout"), k:count "pixels"
  local g, acc = k:vector "g", accumulators(k, blocks, tile.vectors, "acc")
  local block = parts.block_rows(p.output[3]) * p.output[3] * p.oc
  local function last(v) return v == tile.vectors - 1 and tile.last or k.lanes end
  k:loop(pixels, function()
    for b = 0, blocks - 1 do
      for v = 0, tile.vectors - 1 do
        k:load(g, k:at(diff, b * block + v * k.lanes), 0, last(v))
        k:add(acc[b][v], acc[b][v], g)
      end
    end
    k:advance(diff, p.oc)
  end)
  for v = 0, tile.vectors - 1 do
    local place = k:at(out, v * k.lanes)
    k:load(g, place, 0, last(v))
    for b = 0, blocks - 1 do k:add(g, g, acc[b][v]) end
    k:store(place, g, 0, last(v))
  end
  return k:finish()
end

local function bias_zero_kernel(p, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local out, zero = k:pointer("out", "out"), k:vector "zero"
  k:zero(zero)
  for v = 0, tile.vectors - 1 do
    k:store(k:at(out, v * k.lanes), zero, 0, v == tile.vectors - 1 and tile.last or k.lanes)
  end
  return k:finish()
end

-- How many blocks of a plane the chains of a bias kernel take, a chain a block: an addition waits for the one before.
local function blocks_together(p, vectors, target)
  local step = parts.block_rows(p.output[3])
  local whole, best, least = p.output[2] // step, 1, math.huge
  for many = 1, math.min(10, (target.registers - 2) // vectors, whole) do
    local calls = whole // many + whole % many
    if calls < least then best, least = many, calls end
  end
  return best
end

-- Runs of equal tiles of output channels with what sums their gradient: {first, count, width, zero, one, many, together}.
local function bias_tiles(p, target, kernels)
  local lanes, list = lanes_of(p, target), {}
  local wide = math.min(target.registers < 32 and 2 or 4, (p.oc + lanes - 1) // lanes)
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc, wide, lanes))) do
    local together = blocks_together(p, run.tile.vectors, target)
    local function add(kernel)
      kernels[#kernels + 1] = kernel
      return kernel
    end
    list[#list + 1] = { first = run.index * wide * lanes, count = run.count, width = wide * lanes, together = together,
      zero = add(bias_zero_kernel(p, run.tile, target, "zero" .. #kernels)),
      one = (together == 1 or p.output[2] % (together * parts.block_rows(p.output[3])) > 0) and
        add(bias_kernel(p, run.tile, 1, target, "bias" .. #kernels)),
      many = together > 1 and add(bias_kernel(p, run.tile, together, target, "biases" .. #kernels)) }
  end
  return list
end

-- Once the last block of several that are summed together has come: adds them to the bias' gradient at channel c.
local function add_bias(d, p, tile, plane, block, c)
  local step, row = parts.block_rows(p.output[3]), p.output[3] * p.oc
  local together = tile.together * step
  local done = p.output[2] // together * together -- rows that go together
  local function call(kernel, first, rows)
    d:call(kernel, { { d.dst, plane * (p.output[2] * row) + first * row + c }, { d.bias, c }, rows * p.output[3] })
  end
  if not tile.many then return call(tile.one, block, driver.min(driver.expr(p.output[2]) - block, step)) end
  d:when(driver.all(driver.less(block, done), driver.equal(driver.rest(block + step, together), 0)), function()
    call(tile.many, block - (together - step), driver.expr(step))
  end)
  if done < p.output[2] then
    d:when(driver.less(done - 1, block), function() call(tile.one, block, driver.min(driver.expr(p.output[2]) - block, step)) end)
  end
end

-- The sections (see window_kernel) of the block that begins at a row, for the kernel rows of a tile; nil if all kernel
-- rows see all rows, false if none sees some.
local function sections_of(p, tile, block)
  local sections, whole = {}, true
  for row = block, math.min(block + parts.block_rows(p.output[3]), p.output[2]) - 1 do
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
  for block = 0, p.output[2] - 1, parts.block_rows(p.output[3]) do
    local sections = sections_of(p, tile, block)
    if sections then list[#list + 1], size = { block = block, sections = sections }, size + #sections * (1 + #row.ends) end
    if sections == false or size > planar_gradient.most_border then return {} end
  end
  return list
end

-- Tasks of a tile of kernel rows: {first, rows}, and a run of equal pieces of output channels. Blocks in which some rows of the
-- kernel do not see all rows have kernels of their own, or go kernel row by kernel row.
local function window_part(p, tile, piece, bias, target, kernels)
  local lanes = lanes_of(p, target)
  local pitch = round_up(p.kernel[3] * p.ic, lanes)
  local row = planar_gradient.row_of(p, 0, p.kernel[3] - 1)
  local one = piece.size * pitch -- totals of a kernel row
  local all = tile.rows * one
  local zero = zero_kernel(p, all // lanes, target, "zero" .. #kernels)
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
  local step = parts.block_rows(p.output[3])

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
          each_bias(function(sum, c) add_bias(d, p, sum, n * p.output[1] + od, block, c) end)
        end)
      end)
    end)
    for i = 0, tile.rows - 1 do
      d:call(out, { { d.scratch, i * one }, { d.weights, ((kd * p.kernel[2] + tile.first + i) * p.kernel[3]) * (p.ic * p.oc) + o } })
    end
  end
  return { indices = { { "kd", p.kernel[1] }, { "piece", piece.count } }, body = body, scratch = all }
end

local function bias_part(p, tile)
  return { indices = { { "tile", tile.count } }, body = function(d, index)
    local with = d:let("c", index * tile.width + tile.first)
    d:call(tile.zero, { { d.bias, with } })
    d:loop("plane", 0, p.batch * p.output[1], 1, function(plane)
      d:loop("block", 0, p.output[2], parts.block_rows(p.output[3]), function(block) add_bias(d, p, tile, plane, block, with) end)
    end)
  end }
end

local function bias_stage(p, tiles)
  local sums = {}
  for i, tile in ipairs(tiles) do sums[i] = bias_part(p, tile) end
  return driver.stage { name = "bias", parts = sums }
end

-- The bias' gradient is summed where a task has just read the output's, if one task reads all planes of it; else by a stage.
local function window_stages(p, schedule, target)
  local kernels, list, scratch = {}, {}, 0
  local bias = p.bias and bias_tiles(p, target, kernels) or {}
  local at_once = p.kernel[1] == 1 and p.pad[1] == 0 and (p.output[1] - 1) * p.stride[1] < p.input[1]
  for i, rows in ipairs(cut.even_pieces(p.kernel[2], schedule.rows)) do
    for j, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      local part = window_part(p, { first = rows.first, rows = rows.size }, piece, at_once and i == 1 and j == 1 and bias or {}, target,
        kernels)
      list[#list + 1], scratch = part, math.max(scratch, part.scratch)
    end
  end
  local size = p.type == "f32" and 4 or 8
  local compute = driver.stage { name = "compute", parts = list, scratch = scratch * size }
  return { kernels = kernels, stages = { compute, p.bias and not at_once and bias_stage(p, bias) or nil }, packed = 0, shared = 0 }
end

---- taps -------------------------------------------------------------------------------------------------------------------------------------

-- Elements from one to the next: input pixels, input channels, pixels of the output's gradient (channels-first: turned, in scratch).
-- Totals of a task stand in scratch as its weights do, a vector or some of output channels in the place of each: [tap][i], or [i][tap]
-- channels-first; tap, input: from one to the next, in such places.
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
  return parts.one_block(p)
end

-- acc[tap][i][v] over one block, whose gradient stands as [pixel][steps.diff]; the last vector has `last` lanes of it.
local function taps_kernel(p, row, tile, target, name)
  local taps, inputs, vectors, steps = tile.taps, tile.inputs, tile.vectors, tile.steps
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, total = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("total", "inout")
  local columns, rows = k:count "columns", k:count "rows"
  local acc, x, g = accumulators(k, taps * inputs, vectors, "acc"), k:vector "x", {}
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
    sweep(k, row, a, b, p.stride[3] * steps.pixel, steps.diff, columns, taps - 1, step)
    k:advance(src, p.stride[2] * p.input[3] * steps.pixel)
    k:advance(diff, p.output[3] * steps.diff)
  end)
  add_totals(k, acc, total, taps * inputs, vectors, not only_sum(p) and x, 0, function(m)
    return (m // inputs * steps.tap + m % inputs * steps.input) * vectors * k.lanes
  end)
  return k:finish()
end

-- Totals [tap][i][channels of the output] to weights [tap][i][o].
local function straight_out_kernel(p, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local from, to, r = k:pointer("total", "in"), k:pointer("weights", "out"), k:vector "r"
  k:loop(tile.taps, function()
    local b = k:copy("b", to)
    k:loop(tile.inputs, function()
      for v = 0, tile.vectors - 1 do
        local count = v == tile.vectors - 1 and tile.last or k.lanes
        k:load(r, k:at(from, v * k.lanes), 0, count)
        k:store(k:at(b, v * k.lanes), r, 0, count)
      end
      k:advance(from, tile.vectors * k.lanes)
      k:advance(b, p.oc)
    end)
    k:advance(to, p.ic // p.groups * p.oc)
  end)
  return k:finish()
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
  local acc, g = accumulators(k, 1, vectors, "acc"), k:vector "g"
  k:loop(pixels, function()
    for v = 0, vectors - 1 do k:add(acc[0][v], acc[0][v], k:memory(k:at(diff, v * k.lanes))) end
    k:advance(diff, vectors * k.lanes)
  end)
  add_totals(k, acc, total, 1, vectors, g, 0)
  return k:finish()
end

local function copy_out_kernel(p, vectors, channels, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local from, to, r = k:pointer("total", "in"), k:pointer("bias", "out"), k:vector "r"
  for v = 0, vectors - 1 do
    local count = math.min(channels - v * k.lanes, k.lanes)
    k:load(r, k:at(from, v * k.lanes), 0, count)
    k:store(k:at(to, v * k.lanes), r, 0, count)
  end
  return k:finish()
end

-- Input channels of a task: as many as keep its totals within about 256 KB (24 KB, in the first cache, where a block's sums are
-- stored and read but once), and at least four tasks where channels allow.
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
    local row = planar_gradient.row_of(p, taps.first, taps.first + taps.size - 1)
    for _, run in ipairs(cut.piece_runs(inputs, schedule.inputs)) do
      local key = ("%d %d %s"):format(taps.size, run.size, key_of(row))
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

-- How a channels-first block's gradient gets to where it is read: turned to [pixel][width] in scratch, from which the bias is summed too.
local function turning(p, columns, at, bias, target, kernels)
  local whole = parts.block_rows(p.output[3]) >= p.output[2] -- rows of a plane are one run of pixels
  local width, row, pixels = columns.width, p.output[3] * columns.width, (whole and p.output[2] or 1) * p.output[3]
  local turn = relayout.to_pixels({ channels = columns.channels, pixels = pixels, pitch = width, limit = pixels * width,
    row = p.output[1] * p.output[2] * p.output[3], loose = true }, { name = "turn" .. #kernels, type = p.type, target = target })
  kernels[#kernels + 1] = turn
  local sum, sum_out
  if bias then
    sum = turned_bias_kernel(p, columns.vectors, target, "bias" .. #kernels)
    sum_out = copy_out_kernel(p, columns.vectors, columns.channels, target, "bias_out" .. #kernels)
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

-- Tasks of one run of equal tiles of output channels and one run of equal pieces of input channels. Channels-last tasks may have a
-- plane or a row of taps each.
local function taps_part(p, schedule, run, task_inputs, target, kernels)
  local lanes, icg, ocg, channels_last = lanes_of(p, target), p.ic // p.groups, p.oc // p.groups, p.layout == "nhwc"
  local vectors = run.tile.vectors
  local own_taps = channels_last and p.threads > 1 -- a task has one kd, kh
  local rows_of_taps = own_taps and 1 or p.kernel[1] * p.kernel[2]
  local columns = { vectors = vectors, width = vectors * lanes, last = channels_last and run.tile.last or lanes,
    channels = run.tile.width - lanes + run.tile.last, steps = steps_of(p, vectors * lanes, task_inputs.size) }
  local steps, width = columns.steps, columns.width
  local tiles = tiles_of(p, schedule, task_inputs.size, columns, target, kernels)
  local block_rows = math.min(parts.block_rows(p.output[3]), p.output[2])
  local totals = rows_of_taps * p.kernel[3] * task_inputs.size * width
  local diff_at = totals + (channels_last and 0 or width) -- after the bias
  local zero_from = only_sum(p) and totals or 0
  local zero = zero_from < diff_at and zero_kernel(p, (diff_at - zero_from) // lanes, target, "zero" .. #kernels)
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

local function taps_stages(p, schedule, target)
  local kernels, list, scratch = {}, {}, 0
  local columns = cut.columns(p.oc // p.groups, schedule.vectors, lanes_of(p, target))
  for _, run in ipairs(cut.column_runs(columns)) do
    for _, inputs in ipairs(inputs_of_task(p, schedule, target, #columns)) do
      local part = taps_part(p, schedule, run, inputs, target, kernels)
      list[#list + 1], scratch = part, math.max(scratch, part.scratch)
    end
  end
  return { kernels = kernels, packed = 0, shared = 0, stages = { driver.stage { name = "compute", parts = list,
    scratch = scratch * (p.type == "f32" and 4 or 8) }, p.layout == "nhwc" and p.bias and bias_stage(p, bias_tiles(p, target, kernels)) or nil } }
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function planar_gradient.stages(p, schedule, target)
  return (schedule.outputs and window_stages or taps_stages)(p, schedule, target)
end

return planar_gradient
