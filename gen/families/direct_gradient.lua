-- direct_gradient.lua: the part of the direct family for backward weights: m runs over input channels, v over vectors of output
-- channels, and the sum over output pixels, block by block. Tensors are read where they are; nothing is packed.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local direct_gradient = {}

-- Whether all output pixels are one block, whose sum then is the gradient: nothing is there to be added to.
local function one_block(p)
  return p.batch * p.output[1] == 1 and p.output[3] <= parts.block and p.output[2] <= parts.block_rows(p.output[3])
end

-- acc[m][v] over one block of output pixels of one tap, added to the gradient that is there if there are more. `far`: the gradient
-- is in no near cache; its lines are fetched while the sum is made.
local function gradient_kernel(p, inputs, tile, target, name, source, far)
  local k = program.new { name = name, type = p.type, target = target }
  local src, diff, out = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("diff_weights", "inout")
  local rows, cols = k:count("rows"), k:count("columns")
  local acc, b, a = {}, {}, k:vector("a")
  local function last(v) return v == tile.vectors - 1 and tile.last or k.lanes end
  for v = 0, tile.vectors - 1 do b[v] = k:vector("g" .. v) end
  for m = 0, inputs - 1 do
    acc[m] = {}
    for v = 0, tile.vectors - 1 do
      acc[m][v] = k:vector(("acc%d_%d"):format(m, v))
      k:zero(acc[m][v])
      if far then k:prefetch(k:at(out, m * p.oc + v * k.lanes), 1) end
    end
  end
  k:loop(rows, function()
    local x, y = k:copy("x", src), k:copy("y", diff)
    k:loop(cols, function()
      for v = 0, tile.vectors - 1 do k:load(b[v], k:at(y, v * k.lanes), 0, last(v)) end
      for m = 0, inputs - 1 do
        k:broadcast(a, k:at(x, m))
        for v = 0, tile.vectors - 1 do k:fma(acc[m][v], b[v], a) end
      end
      k:advance(x, source.column)
      k:advance(y, p.oc)
    end)
    k:advance(src, source.row)
    k:advance(diff, p.output[3] * p.oc)
  end)
  for m = 0, inputs - 1 do
    for v = 0, tile.vectors - 1 do
      local at = k:at(out, m * p.oc + v * k.lanes)
      if not one_block(p) then
        k:load(b[v], at, 0, last(v))
        k:add(acc[m][v], b[v], acc[m][v])
      end
      k:store(at, acc[m][v], 0, last(v))
    end
  end
  return k:finish()
end

-- Input pixels of a block side by side, for a strided 1x1: where the input is, its pixels lie in few sets of the caches. The
-- distance between pixels is an odd number of cache lines.
local function copied_pitch(p)
  local size = p.type == "f32" and 4 or 8
  return ((p.ic * size + 63) // 64 | 1) * 64 // size
end

-- Bytes of such a block, or nil and why there is none.
function direct_gradient.copied_bytes(p)
  if p.groups > 1 then return nil, "copies inputs of one group only" end
  for i = 1, 3 do
    if p.kernel[i] ~= 1 or p.pad[i] ~= 0 or (p.output[i] - 1) * p.stride[i] >= p.input[i] then
      return nil, "copies inputs of a 1x1 kernel without a pad only"
    end
  end
  local pixels = math.min(parts.block_rows(p.output[3]), p.output[2]) * math.min(p.output[3], parts.block)
  local bytes = pixels * copied_pitch(p) * (p.type == "f32" and 4 or 8)
  if bytes > 1 << 20 then return nil, ("would copy %d bytes, at most %d"):format(bytes, 1 << 20) end
  return bytes
end

local function copy_kernel(p, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local src, out, rows, cols = k:pointer("src", "in"), k:pointer("out", "out"), k:count("rows"), k:count("columns")
  local r, lanes = k:vector("r"), k.lanes
  local rest = p.ic % lanes
  k:loop(rows, function()
    local from = k:copy("from", src)
    k:loop(cols, function()
      local x, y = k:copy("x", from), k:copy("y", out)
      k:loop(p.ic // lanes, function()
        k:load(r, k:at(x))
        k:store(k:at(y), r)
        k:advance(x, lanes)
        k:advance(y, lanes)
      end)
      if rest > 0 then
        k:load(r, k:at(x), 0, rest)
        k:store(k:at(y), r, 0, rest)
      end
      k:advance(from, p.stride[3] * p.ic)
      k:advance(out, copied_pitch(p))
    end)
    k:advance(src, p.stride[2] * p.input[3] * p.ic)
  end)
  return k:finish()
end

local function zero_kernel(p, inputs, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local out, zero = k:pointer("out", "out"), k:vector("zero")
  k:zero(zero)
  for m = 0, inputs - 1 do
    for v = 0, tile.vectors - 1 do
      k:store(k:at(out, m * p.oc + v * k.lanes), zero, 0, v == tile.vectors - 1 and tile.last or k.lanes)
    end
  end
  return k:finish()
end

local function bias_kernel(p, tile, target, name)
  local k = program.new { name = name, type = p.type, target = target }
  local diff, out = k:pointer("diff_dst", "in"), k:pointer("diff_bias", "inout")
  local rows, cols = k:count("rows"), k:count("columns")
  local acc, g = {}, k:vector("g")
  local function last(v) return v == tile.vectors - 1 and tile.last or k.lanes end
  for v = 0, tile.vectors - 1 do
    acc[v] = k:vector("acc" .. v)
    k:zero(acc[v])
  end
  k:loop(rows, function()
    local y = k:copy("y", diff)
    k:loop(cols, function()
      for v = 0, tile.vectors - 1 do
        k:load(g, k:at(y, v * k.lanes), 0, last(v))
        k:add(acc[v], acc[v], g)
      end
      k:advance(y, p.oc)
    end)
    k:advance(diff, p.output[3] * p.oc)
  end)
  for v = 0, tile.vectors - 1 do
    local at = k:at(out, v * k.lanes)
    k:load(g, at, 0, last(v))
    k:add(g, g, acc[v])
    k:store(at, g, 0, last(v))
  end
  return k:finish()
end

-- A kernel for each run of equal column tiles and run of equal input pieces.
local function tile_kinds(p, schedule, target, kernels, far)
  local source = { column = p.stride[3] * p.ic, row = p.stride[2] * p.input[3] * p.ic }
  if schedule.copies then source = { column = copied_pitch(p), row = math.min(p.output[3], parts.block) * copied_pitch(p) } end
  local lanes = target.bits // 8 // (p.type == "f32" and 4 or 8)
  local kinds = {}
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc // p.groups, schedule.vectors, lanes))) do
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      local n = #kernels
      kernels[n + 1] = gradient_kernel(p, inputs.size, run.tile, target, "gradient" .. n, source, far)
      if not one_block(p) then kernels[n + 2] = zero_kernel(p, inputs.size, run.tile, target, "zero" .. n) end
      kinds[#kinds + 1] = { run = run, inputs = inputs, gradient = kernels[n + 1], zero = kernels[n + 2] }
    end
  end
  return kinds
end

-- The part [low, high) of each index that slice number `slice` of `slices` visits: the index that divides best is cut.
local function sliced(counts, slice, slices)
  local best, least
  for i, count in ipairs(counts) do
    local waste = (count + slices - 1) // slices * slices / count
    if not best or waste < least then best, least = i, waste end
  end
  local ranges = {}
  for i, count in ipairs(counts) do
    ranges[i] = i ~= best and { 0, count } or
      { driver.quotient(slice * count, slices), driver.quotient(slice * count + count, slices) }
  end
  return ranges
end

-- Visits the tiles of one kind that belong to a slice: visit(g, kd, kh, kw, first output channel, first input channel of a group,
-- where the gradient begins).
local function each_tile(d, p, kind, width, slice, visit)
  local kernel, icg, ocg = p.kernel, p.ic // p.groups, p.oc // p.groups
  local run, inputs = kind.run, kind.inputs
  local ranges = sliced({ p.groups, kernel[1] * kernel[2] * kernel[3], run.count, inputs.count }, slice, p.threads)
  d:loop("g", ranges[1][1], ranges[1][2], 1, function(g)
    d:loop("tap", ranges[2][1], ranges[2][2], 1, function(tap)
      local kd = d:let("kd", driver.quotient(tap, kernel[2] * kernel[3]))
      local kh = d:let("kh", driver.rest(driver.quotient(tap, kernel[3]), kernel[2]))
      local kw = d:let("kw", driver.rest(tap, kernel[3]))
      d:loop("tile", ranges[3][1], ranges[3][2], 1, function(tile)
        d:loop("m", ranges[4][1], ranges[4][2], 1, function(m)
          local c = d:let("c", g * ocg + (tile + run.index) * width)
          local i = d:let("i", m * inputs.size + inputs.first)
          visit(g, kd, kh, kw, c, i, d:let("to", (tap * icg + i) * p.oc + c))
        end)
      end)
    end)
  end)
end

-- One block of pixels for all tiles of a slice, so that the block is read from the cache near the processor but once.
local function block_body(d, p, kinds, width, copy, slice, n, od, first_row, chunk)
  local src_row, dst_row, icg = p.input[3] * p.ic, p.output[3] * p.oc, p.ic // p.groups
  local function clipped(name, axis, k, at, size)
    local low, stop = gather.valid_outputs(d, p, axis, k, name)
    if at then low, stop = d:let(name .. "_from", driver.max(low, at)), driver.min(stop, at + size) end
    return low, d:let(name .. "_count", driver.max(stop - low, 0))
  end
  if copy then
    local rows = driver.min(driver.expr(p.output[2]) - first_row, parts.block_rows(p.output[3]))
    local columns = chunk and driver.min(driver.expr(p.output[3]) - chunk, parts.block) or driver.expr(p.output[3])
    local from = (n * p.input[1] + od * p.stride[1]) * (p.input[2] * src_row) + first_row * (p.stride[2] * src_row) +
      (chunk or 0) * (p.stride[3] * p.ic)
    d:call(copy, { { d.src, from }, { d.scratch }, rows, columns })
  end
  for _, kind in ipairs(kinds) do
    each_tile(d, p, kind, width, slice, function(g, kd, kh, kw, c, i, to)
      local _, planes = clipped("od", 1, kd, od, 1)
      local row, rows = clipped("row", 2, kh, first_row, parts.block_rows(p.output[3]))
      local column, columns = clipped("column", 3, kw, chunk, parts.block)
      local from = (n * p.input[1] + od * p.stride[1] + kd * p.dilation[1] - p.pad[1]) * (p.input[2] * src_row) +
        (row * p.stride[2] + kh * p.dilation[2] - p.pad[2]) * src_row +
        (column * p.stride[3] + kw * p.dilation[3] - p.pad[3]) * p.ic + g * icg + i
      local with = (n * p.output[1] + od) * (p.output[2] * dst_row) + row * dst_row + column * p.oc + c
      local source = copy and { d.scratch, i } or { d.src, from }
      d:call(kind.gradient, { source, { d.dst, with }, { d.weights, to }, planes * rows, columns })
    end)
  end
end

-- A task is a slice of the output tiles; it goes over the pixels once.
local function gradient_part(p, kinds, width, copy)
  local height, columns = p.output[2], p.output[3]
  return { indices = { { "slice", p.threads } }, body = function(d, slice)
    for _, kind in ipairs(one_block(p) and {} or kinds) do
      each_tile(d, p, kind, width, slice, function(_, _, _, _, _, _, to) d:call(kind.zero, { { d.weights, to } }) end)
    end
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", 0, p.output[1], 1, function(od)
        d:loop("block", 0, height, parts.block_rows(columns), function(row)
          if columns <= parts.block then return block_body(d, p, kinds, width, copy, slice, n, od, row) end
          d:loop("chunk", 0, columns, parts.block, function(chunk)
            block_body(d, p, kinds, width, copy, slice, n, od, row, chunk)
          end)
        end)
      end)
    end)
  end }
end

local function bias_part(p, run, width, target, kernels)
  local kernel = bias_kernel(p, run.tile, target, "bias" .. #kernels)
  local zero = zero_kernel(p, 1, run.tile, target, "zero" .. #kernels)
  kernels[#kernels + 1], kernels[#kernels + 2] = kernel, zero
  local dst_row = p.output[3] * p.oc
  return { indices = { { "tile", run.count } }, body = function(d, tile)
    local c = d:let("c", (tile + run.index) * width)
    d:call(zero, { { d.bias, c } })
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", 0, p.output[1], 1, function(od)
        local with = d:let("with", (n * p.output[1] + od) * (p.output[2] * dst_row) + c)
        parts.blocks(d, driver, p.output[2], p.output[3], { low = 0, high = p.output[2] }, { low = 0, high = p.output[3] },
          function(row, rows, column, cols)
            d:call(kernel, { { d.dst, with + row * dst_row + column * p.oc }, { d.bias, c }, rows, cols })
          end)
      end)
    end)
  end }
end

-- Adds its kernels to `kernels`.
function direct_gradient.bias_stage(p, target, kernels)
  local lanes = target.bits // 8 // (p.type == "f32" and 4 or 8)
  local wide = math.min(4, (p.oc + lanes - 1) // lanes)
  local list = {}
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc, wide, lanes))) do
    list[#list + 1] = bias_part(p, run, wide * lanes, target, kernels)
  end
  return driver.stage { name = "bias", parts = list }
end

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gradient.stages(p, schedule, target, machine)
  local size = p.type == "f32" and 4 or 8
  local lanes = target.bits // 8 // size
  local kernels = {}
  local far = p.kernel[1] * p.kernel[2] * p.kernel[3] * p.oc * (p.ic // p.groups) * size > math.max(machine.l2 or 0, 1 << 20)
  local kinds = tile_kinds(p, schedule, target, kernels, far)
  local copy = schedule.copies and copy_kernel(p, target, "copy")
  kernels[#kernels + 1] = copy or nil
  local stages = { driver.stage { name = "compute", scratch = copy and direct_gradient.copied_bytes(p),
    parts = { gradient_part(p, kinds, schedule.vectors * lanes, copy) } } }
  if p.bias then stages[2] = direct_gradient.bias_stage(p, target, kernels) end
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return direct_gradient
