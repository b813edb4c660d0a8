-- plain.lua: the family that is always legal: one output at a time, one multiply-add at a time, in canonical order.
--
-- It is the slow certain one: any pass, layout, rank, stride, pad, dilation, group. Its kernels have one lane.
local names = require "names"
local program = require "program"
local driver = require "driver"
local gather = require "gather"
local parts = require "parts"
local cost = require "cost"
local reduce = require "reduce"
local targets = require "targets"
local view = require "view"

local plain = { name = "plain", chains = 1 }

names.family("plain", { { { "plain" } } })

-- Each multiply-add waits for the one before; short chains have their loops and calls beside that.
local function cycles_of(p, machine)
  local t, outputs = cost.machine(machine, targets.scalar).tally(), p.pass == "backward_data" and p.input or p.output
  local chain = { forward = p.ic // p.groups, backward_data = p.oc // p.groups, backward_weights = p.output[3] }
  t:steps(p.macs, 1, 2, 1)
  t:loops(p.macs / chain[p.pass])
  t:calls(p.batch * outputs[1] * outputs[2] * outputs[3])
  return t:cycles() / p.threads
end

function plain.schedules(p, _, machine, list)
  list[1] = { schedule = { family = "plain" }, cycles = cycles_of(p, machine) }
end

local one = { { at = 0 } } -- what a kernel is for
local function zero_kernel(p) return reduce.zero_kernel(p, targets.scalar, "plain_zero", one) end

local function begin(p, name) return program.new { name = name, type = p.type, target = targets.scalar } end

-- One output of the forward pass, taps inside given by counts.
local function forward_kernel(p, src, weights)
  local k = begin(p, "plain_forward")
  k.about = "One output: the chain over the taps inside the input, then channels."
  local a, b = k:pointer("src", "in"), k:pointer("weights", "in")
  local bias = p.bias and k:pointer("bias", "in")
  local residual = p.epilogue.residual and k:pointer("residual", "in")
  local dst = k:pointer("dst", "out")
  local acc, x, y = k:vector("acc"), k:vector("x"), k:vector("y")
  k:zero(acc)
  k:nest({ a, b }, {
      { count = k:count "planes", steps = { p.dilation[1] * src.d, weights.kd }, names = { "a1", "b1" } },
      { count = k:count "rows", steps = { p.dilation[2] * src.h, weights.kh }, names = { "a2", "b2" } },
      { count = k:count "columns", steps = { p.dilation[3] * src.w, weights.kw }, names = { "a3", "b3" } },
      { count = p.ic // p.groups, steps = { src.c, weights.i } } },
    function(from, with)
      k:load(x, k:at(from)); k:load(y, k:at(with)); k:fma(acc, x, y)
    end)
  parts.epilogue(k, p, acc, x, bias and k:at(bias), residual and k:at(residual))
  k:store(k:at(dst), acc)
  return k:finish()
end

local function forward(p)
  local src, dst, weights = view.src(p), view.dst(p), view.weights(p)
  local kernel = forward_kernel(p, src, weights)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local axes = gather.axes(p)
  local function body(d, n, g, od, oh)
    local td, planes = gather.tap_range(d, axes[1][1], od, "plane")
    local th, rows = gather.tap_range(d, axes[2][1], oh, "row")
    d:loop("ow", 0, p.output[3], 1, function(ow)
      local tw, columns = gather.tap_range(d, axes[3][1], ow, "column")
      local from = d:let("from", view.at(src, { n = n, g = g, d = od * p.stride[1] + td * p.dilation[1] - p.pad[1],
        h = oh * p.stride[2] + th * p.dilation[2] - p.pad[2], w = ow * p.stride[3] + tw * p.dilation[3] - p.pad[3] }))
      local with = d:let("with", view.at(weights, { g = g, kd = td, kh = th, kw = tw }))
      local to = d:let("to", view.at(dst, { n = n, g = g, d = od, h = oh, w = ow }))
      d:loop("c", 0, ocg, 1, function(c)
        local args = { { d.src, from }, { d.weights, with + c * weights.o } }
        if p.bias then args[#args + 1] = { d.bias, g * ocg + c } end
        if p.epilogue.residual then args[#args + 1] = { d.residual, to + c * dst.c } end
        args[#args + 1] = { d.dst, to + c * dst.c }
        args[#args + 1], args[#args + 2], args[#args + 3] = planes, rows, columns
        d:call(kernel, args)
      end)
    end)
  end
  return { kernel }, { driver.stage { name = "compute", parts = { { body = body,
    indices = { { "n", p.batch }, { "g", p.groups }, { "od", p.output[1] }, { "oh", p.output[2] } } } } } }
end

-- One tap of one input gradient: a chain over the channels of a group that goes on from what is there.
local function tap_kernel(p, dst, weights)
  local k = begin(p, "plain_tap")
  local a, b, out = k:pointer("diff_dst", "in"), k:pointer("weights", "in"), k:pointer("diff_src", "inout")
  local acc, x, y = k:vector("acc"), k:vector("x"), k:vector("y")
  k:load(acc, k:at(out))
  k:loop(p.oc // p.groups, function()
    k:load(x, k:at(a)); k:load(y, k:at(b)); k:fma(acc, x, y)
    k:advance(a, dst.c)
    k:advance(b, weights.o)
  end)
  k:store(k:at(out), acc)
  return k:finish()
end

local function backward_data(p)
  local src, dst, weights = view.src(p), view.dst(p), view.weights(p)
  local tap, zero = tap_kernel(p, dst, weights), zero_kernel(p)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  -- The output o whose tap k lands on x, where there is one: s * o = x + pad - k * dilation.
  local function each_tap(d, axis, name, x, body)
    d:loop("k" .. name, 0, p.kernel[axis], 1, function(k)
      local scaled = d:let("s" .. name, x + p.pad[axis] - k * p.dilation[axis])
      local s = p.stride[axis]
      d:when(driver.all(driver.less(-1, scaled), driver.less(scaled, p.output[axis] * s),
        driver.equal(driver.rest(scaled, s), 0)), function()
        body(k, d:let("o" .. name, driver.quotient(scaled, s)))
      end)
    end)
  end
  local function body(d, n, g, id, ih)
    d:loop("iw", 0, p.input[3], 1, function(iw)
      d:loop("i", 0, icg, 1, function(i)
        local to = d:let("to", view.at(src, { n = n, c = g * icg + i, d = id, h = ih, w = iw }))
        d:call(zero, { { d.src, to } })
        each_tap(d, 1, "d", id, function(kd, od)
          each_tap(d, 2, "h", ih, function(kh, oh)
            each_tap(d, 3, "w", iw, function(kw, ow)
              d:call(tap, { { d.dst, view.at(dst, { n = n, g = g, d = od, h = oh, w = ow }) },
                { d.weights, view.at(weights, { g = g, kd = kd, kh = kh, kw = kw, i = i }) }, { d.src, to } })
            end)
          end)
        end)
      end)
    end)
  end
  return { tap, zero }, { driver.stage { name = "compute", parts = { { body = body,
    indices = { { "n", p.batch }, { "g", p.groups }, { "id", p.input[1] }, { "ih", p.input[2] } } } } } }
end

-- One block of one weight's gradient, added to what is there.
local function block_kernel(p, src, dst)
  local k = begin(p, "plain_block")
  local a, b, out = k:pointer("src", "in"), k:pointer("diff_dst", "in"), k:pointer("out", "inout")
  local acc, x, y = k:vector("acc"), k:vector("x"), k:vector("y")
  k:zero(acc)
  k:nest({ a, b }, { { count = k:count "rows", steps = { p.stride[2] * src.h, dst.h }, names = { "a1", "b1" } },
      { count = k:count "columns", steps = { p.stride[3] * src.w, dst.w } } }, function(from, with)
    k:load(x, k:at(from)); k:load(y, k:at(with)); k:fma(acc, x, y)
  end)
  reduce.add(k, k:at(out), { acc }, x)
  return k:finish()
end

local function bias_stage(p, zero, dst, kernels)
  local sum = reduce.bias_kernel(p, targets.scalar, "plain_bias", one, {
    words = { out = "out", sum = "acc", sums_first = true, g = "y", total = "x" },
    loops = { { count = "rows", steps = { dst.h }, names = { "row" } }, { count = "columns", steps = { dst.w } } } })
  kernels[#kernels + 1] = sum
  return driver.stage { name = "bias", parts = { reduce.bias_part(p, { index = { "c", p.oc }, zero = zero,
    channel = function(_, c) return c end, at = function(n, od, c) return view.at(dst, { n = n, c = c, d = od }) end,
    blocks = reduce.sum_blocks(p, sum, dst) }) } }
end

local function backward_weights(p)
  local src, dst, weights = view.src(p), view.dst(p), view.weights(p)
  local zero, block = zero_kernel(p), block_kernel(p, src, dst)
  local icg, ocg = p.ic // p.groups, p.oc // p.groups
  local kernels = { zero, block }

  local function weight_body(d, kd, kh, kw, g, i)
    local d_low, d_end = gather.valid_outputs(d, p, 1, kd, "od")
    local h_low, h_end = gather.valid_outputs(d, p, 2, kh, "oh")
    local w_low, w_end = gather.valid_outputs(d, p, 3, kw, "ow")
    d:loop("c", 0, ocg, 1, function(c)
      local to = d:let("to", view.at(weights, { kd = kd, kh = kh, kw = kw, i = i, o = g * ocg + c }))
      d:call(zero, { { d.weights, to } })
      d:loop("n", 0, p.batch, 1, function(n)
        d:loop("od", d_low, d_end, 1, function(od)
          local id = od * p.stride[1] + kd * p.dilation[1] - p.pad[1]
          local from = d:let("from", view.at(src, { n = n, c = g * icg + i, d = id }))
          local with = d:let("with", view.at(dst, { n = n, c = g * ocg + c, d = od }))
          reduce.blocks(d, p, function(row, rows, column, columns)
            local ih = row * p.stride[2] + kh * p.dilation[2] - p.pad[2]
            local iw = column * p.stride[3] + kw * p.dilation[3] - p.pad[3]
            d:call(block, { { d.src, from + ih * src.h + iw * src.w }, { d.dst, with + row * dst.h + column * dst.w },
              { d.weights, to }, rows, columns })
          end, { low = h_low, high = h_end }, { low = w_low, high = w_end })
        end)
      end)
    end)
  end
  local stages = { driver.stage { name = "compute", parts = { { body = weight_body,
    indices = { { "kd", p.kernel[1] }, { "kh", p.kernel[2] }, { "kw", p.kernel[3] }, { "g", p.groups },
      { "i", icg } } } } } }

  if p.bias then stages[2] = bias_stage(p, zero, dst, kernels) end
  return kernels, stages
end

local passes = { forward = forward, backward_data = backward_data, backward_weights = backward_weights }

-- Kernels, stages, bytes of packed weights and of shared memory.
function plain.stages(p, _, _)
  local kernels, stages = passes[p.pass](p)
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return plain
