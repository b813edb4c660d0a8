-- direct_gradient.lua: the part of the direct family for backward weights: m runs over input channels, v over vectors of output
-- channels, and the sum over output pixels, block by block. Tensors are read where they are; nothing is packed.
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cut = require "tiles"
local direct_gradient = {}

-- acc[m][v] over one block of output pixels of one tap, added to the gradient that is there.
local function gradient_kernel(p, inputs, tile, target, name)
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
      k:advance(x, p.stride[3] * p.ic)
      k:advance(y, p.oc)
    end)
    k:advance(src, p.stride[2] * p.input[3] * p.ic)
    k:advance(diff, p.output[3] * p.oc)
  end)
  for m = 0, inputs - 1 do
    for v = 0, tile.vectors - 1 do
      local at = k:at(out, m * p.oc + v * k.lanes)
      k:load(b[v], at, 0, last(v))
      k:add(b[v], b[v], acc[m][v])
      k:store(at, b[v], 0, last(v))
    end
  end
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

local function gradient_part(p, inputs, run, width, target, kernels)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local kernel = gradient_kernel(p, inputs.size, run.tile, target, "gradient" .. #kernels)
  local zero = zero_kernel(p, inputs.size, run.tile, target, "zero" .. #kernels)
  kernels[#kernels + 1], kernels[#kernels + 2] = kernel, zero
  local src_row, dst_row = p.input[3] * p.ic, p.output[3] * p.oc

  local function body(d, g, kd, kh, kw, tile, m)
    local d_low, d_end = gather.valid_outputs(d, p, 1, kd, "od")
    local h_low, h_end = gather.valid_outputs(d, p, 2, kh, "oh")
    local w_low, w_end = gather.valid_outputs(d, p, 3, kw, "ow")
    local c = d:let("c", g * ocg + (tile + run.index) * width)
    local i = d:let("i", m * inputs.size + inputs.first)
    local to = d:let("to", (((kd * p.kernel[2] + kh) * p.kernel[3] + kw) * icg + i) * p.oc + c)
    d:call(zero, { { d.weights, to } })
    d:loop("n", 0, p.batch, 1, function(n)
      d:loop("od", d_low, d_end, 1, function(od)
        local from = d:let("from", (n * p.input[1] + od * p.stride[1] + kd * p.dilation[1] - p.pad[1]) * (p.input[2] * src_row) +
          g * icg + i)
        local with = d:let("with", (n * p.output[1] + od) * (p.output[2] * dst_row) + c)
        parts.blocks(d, driver, p.output[2], p.output[3], { low = h_low, high = h_end }, { low = w_low, high = w_end },
          function(row, rows, column, cols)
            d:call(kernel, { { d.src, from + (row * p.stride[2] + kh * p.dilation[2] - p.pad[2]) * src_row +
              (column * p.stride[3] + kw * p.dilation[3] - p.pad[3]) * p.ic },
              { d.dst, with + row * dst_row + column * p.oc }, { d.weights, to }, rows, cols })
          end)
      end)
    end)
  end
  return { body = body, indices = { { "g", p.groups }, { "kd", p.kernel[1] }, { "kh", p.kernel[2] }, { "kw", p.kernel[3] },
    { "tile", run.count }, { "m", inputs.count } } }
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

-- Kernels and stages of a schedule; see families in convgen.lua.
function direct_gradient.stages(p, schedule, target)
  local lanes = target.bits // 8 // (p.type == "f32" and 4 or 8)
  local kernels, list = {}, {}
  local width = schedule.vectors * lanes
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc // p.groups, schedule.vectors, lanes))) do
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      list[#list + 1] = gradient_part(p, inputs, run, width, target, kernels)
    end
  end
  local stages = { driver.stage { name = "compute", parts = list } }
  if p.bias then
    local bias = {}
    local wide = math.min(4, (p.oc + lanes - 1) // lanes)
    for _, run in ipairs(cut.column_runs(cut.columns(p.oc, wide, lanes))) do
      bias[#bias + 1] = bias_part(p, run, wide * lanes, target, kernels)
    end
    stages[2] = driver.stage { name = "bias", parts = bias }
  end
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return direct_gradient
