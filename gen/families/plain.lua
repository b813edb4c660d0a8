-- plain.lua: the family that is always legal: one output at a time, one multiply-add at a time, in canonical order.
--
-- It is the slow certain one: any pass, layout, rank, stride, pad, dilation, group. Its kernels have one lane.
local names = require "names"
local build = require "build"
local driver = require "driver"
local program = require "program"
local gather = require "gather"
local cost = require "cost"
local reduce = require "reduce"
local targets = require "targets"
local types = require "types"
local parts, tile = require "parts", require "tile"
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

---- kernels -----------------------------------------------------------------------------------------------------------

local one = { { at = 0 } } -- what a kernel is for
local function named(p, name) return { name = name, type = types.computed(p), target = targets.scalar } end
local function zero_kernel(p) return reduce.zero_kernel(named(p, "plain_zero"), one) end

-- A chain of multiply-adds, acc += x * y. o: name and about, arguments, the first two of which x and y are read from,
-- `to`: where the sum goes; loops {count, step of x, step of y}, outermost first; begin: the node before them; ends.
local function chain(p, o)
  local from, with = o.arguments[1][1], o.arguments[2][1]
  local nest = { { load = {} }, { multiply = {} } }
  for i = #o.loops, 1, -1 do
    local loop = o.loops[i]
    nest.loop, nest.steps = loop[1], { { from, loop[2] }, { with, loop[3] } }
    nest.copies = i < #o.loops and { { from, "a" .. i }, { with, "b" .. i } } or nil
    nest = { nest }
  end
  o.type, o.target, o.sizes, o.registers = types.computed(p), targets.scalar, {}, { "sums", "held", "passing" }
  o.sums, o.held = { pointer = o.to, register = "acc" }, { pointer = from, register = "x" }
  o.passing = { pointer = with, register = "y", kind = "lanes" }
  o.ending = { epilogue = p, temporary = "held", residual = p.epilogue.residual and "residual",
    bias = p.bias and { pointer = "bias" }, slope = parts.slopes(p) and { pointer = "slope" } }
  o.body = { o.begin, nest, { finish = o.ends } }
  return tile.kernel(o)
end

-- One output of the forward pass, taps inside given by counts.
local function forward_kernel(p, src, weights)
  return chain(p, { name = "plain_forward",
    about = "One output: the chain over the taps inside the input, then channels.",
    arguments = { { "src", "in" }, { "weights", "in" }, p.bias and { "bias", "in" },
      parts.slopes(p) and { "slope", "in" }, p.epilogue.residual and { "residual", "in" }, { "dst", "out" },
      { "planes", "count" }, { "rows", "count" }, { "columns", "count" } },
    loops = { { "planes", p.dilation[1] * src.d, weights.kd }, { "rows", p.dilation[2] * src.h, weights.kh },
      { "columns", p.dilation[3] * src.w, weights.kw }, { p.ic // p.groups, src.c, weights.i } },
    to = "dst", begin = { zero = {} }, ends = { "epilogue", "stored" } })
end

-- One tap of one input gradient: a chain over the channels of a group that goes on from what is there.
local function tap_kernel(p, dst, weights)
  return chain(p, { name = "plain_tap", arguments = { { "diff_dst", "in" }, { "weights", "in" },
    { "diff_src", "inout" } }, loops = { { p.oc // p.groups, dst.c, weights.o } }, to = "diff_src",
    begin = { load = {}, of = "sums" }, ends = { "stored" } })
end

-- What is done with the whole sum, which waits in scratch: a residual may be where it goes.
local function finish_kernel(p)
  local k, with = program.new(named(p, "plain_finish")), {}
  local function pointer(name, there) return there and k:pointer(name, "in") end
  local sum, bias, slope = pointer("sum", true), pointer("bias", p.bias), pointer("slope", parts.slopes(p))
  local residual, to = pointer("residual", p.epilogue.residual), k:pointer("diff_src", "out")
  for name, from in pairs { bias = bias, slope = slope, residual = residual } do with[name] = from and k:at(from) end
  local acc, temp = k:vector "acc", k:vector "x"
  k:load(acc, k:at(sum))
  parts.epilogue(k, p, acc, temp, with)
  k:store(k:at(to), acc)
  return k:finish()
end

-- One block of one weight's gradient, added to what is there.
local function block_kernel(p, src, dst)
  return chain(p, { name = "plain_block", arguments = { { "src", "in" }, { "diff_dst", "in" }, { "out", "inout" },
    { "rows", "count" }, { "columns", "count" } },
    loops = { { "rows", p.stride[2] * src.h, dst.h }, { "columns", p.stride[3] * src.w, dst.w } },
    to = "out", begin = { zero = {} }, ends = { "added_up" } })
end

---- passes ------------------------------------------------------------------------------------------------------------

local function stage(indices, body, scratch)
  return driver.stage { name = "compute", parts = { { indices = indices, body = body } }, scratch = scratch }
end

local function forward(p)
  local src, dst, weights, ocg = view.src(p), view.dst(p), view.weights(p), p.oc // p.groups
  local kernel, axes = forward_kernel(p, src, weights), gather.axes(p)
  local function body(d, n, g, od, oh)
    local td, planes = gather.tap_range(d, axes[1][1], od, "plane")
    local th, rows = gather.tap_range(d, axes[2][1], oh, "row")
    d:loop("ow", 0, p.output[3], 1, function(ow)
      local tw, columns = gather.tap_range(d, axes[3][1], ow, "column")
      local from = d:let("from", view.at(src, { n = n, g = g, d = gather.seen_at(p, 1, od, td),
        h = gather.seen_at(p, 2, oh, th), w = gather.seen_at(p, 3, ow, tw) }))
      local with = d:let("with", view.at(weights, { g = g, kd = td, kh = th, kw = tw }))
      local to = d:let("to", view.at(dst, { n = n, g = g, d = od, h = oh, w = ow }))
      d:loop("c", 0, ocg, 1, function(c)
        local out = to + c * dst.c
        d:call(kernel, { src = { d.src, from }, weights = { d.weights, with + c * weights.o },
          bias = { d.bias, g * ocg + c }, slope = { d.slope, g * ocg + c },
          residual = { d.residual, out }, dst = { d.dst, out }, planes = planes, rows = rows, columns = columns })
      end)
    end)
  end
  return { kernel }, { stage({ { "n", p.batch }, { "g", p.groups }, { "od", p.output[1] }, { "oh", p.output[2] } },
    body) }
end

-- The output o of an axis whose tap k lands on x, where there is one: s * o = x + pad - k * dilation.
local function each_tap(d, p, axis, x, body)
  local name, s = ({ "d", "h", "w" })[axis], p.stride[axis]
  d:loop("k" .. name, 0, p.kernel[axis], 1, function(k)
    local scaled = d:let("s" .. name, x + p.pad[axis] - k * p.dilation[axis])
    d:when(driver.all(driver.less(-1, scaled), driver.less(scaled, p.output[axis] * s),
      driver.equal(driver.rest(scaled, s), 0)), function()
      body(k, d:let("o" .. name, driver.quotient(scaled, s)))
    end)
  end)
end

local function backward_data(p)
  local src, dst, weights, icg = view.src(p), view.dst(p), view.weights(p), p.ic // p.groups
  local tap, zero, finish = tap_kernel(p, dst, weights), zero_kernel(p), gather.finished(p) and finish_kernel(p)
  local function one_input(d, at, g, i)
    local to = d:let("to", view.at(src, at))
    local sum = finish and { d.scratch } or { d.src, to }
    d:call(zero, { sum })
    each_tap(d, p, 1, at.d, function(kd, od)
      each_tap(d, p, 2, at.h, function(kh, oh)
        each_tap(d, p, 3, at.w, function(kw, ow)
          d:call(tap, { { d.dst, view.at(dst, { n = at.n, g = g, d = od, h = oh, w = ow }) },
            { d.weights, view.at(weights, { g = g, kd = kd, kh = kh, kw = kw, i = i }) }, sum })
        end)
      end)
    end)
    if not finish then return end
    d:call(finish, { sum = sum, bias = { d.bias, at.c }, slope = { d.slope, at.c }, residual = { d.residual, to },
      diff_src = { d.src, to } })
  end
  local rows = { { "n", p.batch }, { "g", p.groups }, { "id", p.input[1] }, { "ih", p.input[2] } }
  return { tap, zero, finish or nil }, { stage(rows,
    function(d, n, g, id, ih)
      d:loop("iw", 0, p.input[3], 1, function(iw)
        d:loop("i", 0, icg, 1, function(i)
          one_input(d, { n = n, c = g * icg + i, d = id, h = ih, w = iw }, g, i)
        end)
      end)
    end, finish and types.bytes(types.computed(p))) }
end

local function bias_stage(p, zero, dst, kernels)
  local sum = reduce.bias_kernel(named(p, "plain_bias"), one, {
    words = { out = "out", sum = "acc", sums_first = true, g = "y", total = "x" },
    loops = { { count = "rows", steps = { dst.h }, names = { "row" } }, { count = "columns", steps = { dst.w } } } })
  kernels[#kernels + 1] = sum
  return driver.stage { name = "bias", parts = { reduce.bias_part(p, { index = { "c", p.oc }, zero = zero,
    channel = function(_, c) return c end, at = function(n, od, c) return view.at(dst, { n = n, c = c, d = od }) end,
    blocks = reduce.sum_blocks(p, sum, dst) }) } }
end

local function backward_weights(p)
  local src, dst, icg, ocg = view.src(p), view.dst(p), p.ic // p.groups, p.oc // p.groups
  local zero, block = zero_kernel(p), block_kernel(p, src, dst)
  local kernels, weights = { zero, block }, view.weights(p)

  -- at: i, o: channels of the tensors; of: the outputs [low, high) that see a tap of each axis
  local function one_weight(d, at, of, to)
    d:call(zero, { { d.weights, to } })
    reduce.planes(d, p, function(n, od)
      local from = d:let("from", view.at(src, { n = n, c = at.i, d = gather.seen_at(p, 1, od, at.kd) }))
      local with = d:let("with", view.at(dst, { n = n, c = at.o, d = od }))
      reduce.blocks(d, p, function(row, rows, column, columns)
        d:call(block, { { d.src, from + gather.seen_at(p, 2, row, at.kh) * src.h +
            gather.seen_at(p, 3, column, at.kw) * src.w },
          { d.dst, with + row * dst.h + column * dst.w }, { d.weights, to }, rows, columns })
      end, of[2], of[3])
    end, of[1].low, of[1].high)
  end
  local compute = stage({ { "kd", p.kernel[1] }, { "kh", p.kernel[2] }, { "kw", p.kernel[3] }, { "g", p.groups },
    { "i", icg } }, function(d, kd, kh, kw, g, i)
    local of = {}
    for axis, k in ipairs { kd, kh, kw } do
      local low, high = gather.valid_outputs(d, p, axis, k, ({ "od", "oh", "ow" })[axis])
      of[axis] = { low = low, high = high }
    end
    d:loop("c", 0, ocg, 1, function(c)
      local o = g * ocg + c
      local to = d:let("to", view.at(weights, { kd = kd, kh = kh, kw = kw, i = i, o = o }))
      one_weight(d, { kd = kd, kh = kh, kw = kw, i = g * icg + i, o = o }, of, to)
    end)
  end)
  return kernels, { compute, p.bias and bias_stage(p, zero, dst, kernels) or nil }
end

local passes = { forward = forward, backward_data = backward_data, backward_weights = backward_weights }

-- Kernels, stages, bytes of packed weights and of shared memory.
function plain.stages(p, _, _)
  local kernels, stages = passes[p.pass](p)
  build.stored(p, kernels)
  return { kernels = kernels, stages = stages, packed = 0, shared = 0 }
end

return plain
