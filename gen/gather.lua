-- gather.lua: forward and backward data as one kind of problem.
--
-- Along one axis, an output j of a phase gathers taps t = 0 .. taps-1 from input positions
--     j * step + offset + t * tap_step        (only those inside [0, inputs) count)
-- with the kernel element first_tap + t * tap_stride, and is written to position start + j * stride. Forward has one
-- phase an axis.
-- Backward data with stride s has s phases (the positions x = start + j * s): of a phase, the taps with
-- (start + pad - k * dilation) divisible by s contribute; k ascends, so the order of the sum is the canonical one.
-- Backward weights does not gather; see outputs_of.
local driver, parts = require "driver", require "parts"
local view = require "view"
local gather = {}

function gather.gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

-- The x in [0, n) with a * x = 1 modulo n; a and n have no common divisor.
function gather.inverse(a, n)
  local x, y, m = 0, 1 % n, n
  while a > 0 do
    local q = m // a
    m, a, x, y = a, m - q * a, y, x - q * y
  end
  return x % n
end

-- Forward; what backward weights reads is the same.
function gather.forward_axis(p, i)
  return { { outputs = p.output[i], start = 0, stride = 1, step = p.stride[i], offset = -p.pad[i],
    tap_step = p.dilation[i], taps = p.kernel[i], first_tap = 0, tap_stride = 1, inputs = p.input[i] } }
end

-- Of backward data: the taps of one position are tap_stride apart, and gather from inputs that are tap_step apart.
-- inverse: of a dilation among residues of the stride, both without their common divisor.
local function residues_of(p, i)
  local s, dilation = p.stride[i], p.dilation[i]
  local common = gather.gcd(s, dilation)
  local n, a = s // common, dilation // common
  return { stride = s, common = common, tap_stride = n, tap_step = -a, inverse = gather.inverse(a % n, n) }
end

local function backward_axis(p, i)
  local of, dilation, phases = residues_of(p, i), p.dilation[i], {}
  local s, tap_stride = of.stride, of.tap_stride
  for start = 0, math.min(s, p.input[i]) - 1 do
    local residue = (start + p.pad[i]) % s
    local first = residue // of.common * of.inverse % tap_stride
    if residue % of.common ~= 0 or first >= p.kernel[i] then first = nil end
    phases[#phases + 1] = { outputs = (p.input[i] - start + s - 1) // s, start = start, stride = s, step = 1,
      offset = first and (start + p.pad[i] - first * dilation) // s or 0, tap_step = of.tap_step,
      taps = first and (p.kernel[i] - first + tap_stride - 1) // tap_stride or 0, first_tap = first or 0,
      tap_stride = tap_stride, inputs = p.output[i] }
  end
  return phases
end

-- The phases of each axis d, h, w.
function gather.axes(p)
  local of = p.pass == "forward" and gather.forward_axis or backward_axis
  return { of(p, 1), of(p, 2), of(p, 3) }
end

-- The phases of all axes together, {d, h, w} each; empty: its outputs are zero, since nothing contributes to them
-- (never so forward) or is done with them.
function gather.phases(s)
  local list, axes = {}, s.axes
  for _, d in ipairs(axes[1]) do
    for _, h in ipairs(axes[2]) do
      for _, w in ipairs(axes[3]) do
        list[#list + 1] = { d, h, w, empty = not s.finished and d.taps * h.taps * w.taps == 0 }
      end
    end
  end
  return list
end

-- Whether something is done with a sum before it is stored.
function gather.finished(p) return p.bias or p.epilogue.residual or p.epilogue.activation ~= "none" end

-- What is asked of such a problem: its units, axes, the views that are read and written, and whether a bias and a
-- residual are added.
function gather.shape(p, target)
  local s, e = view.units(p, target), p.epilogue
  s.p, s.forward, s.axes, s.from, s.to = p, p.pass == "forward", gather.axes(p), view.gathered(p)
  s.bias, s.residual, s.slope = p.bias, e.residual, parts.slopes(p)
  s.finished = gather.finished(p)
  return s
end

-- Whether every tap of every output is inside the input.
function gather.always_inside(axis)
  if axis.taps == 0 then return true end
  local low, high = axis.offset, (axis.outputs - 1) * axis.step + axis.offset
  local reach = (axis.taps - 1) * axis.tap_step
  return low + math.min(0, reach) >= 0 and high + math.max(0, reach) < axis.inputs
end

-- Where output j finds tap t; integers or driver expressions. before: what the axis begins with, if not 0.
function gather.input_at(axis, j, t, before)
  local at = before and before + j * axis.step or j * axis.step
  return at + axis.offset + t * axis.tap_step
end

-- Driver expressions: of `taps` taps of an axis, the first one from input `at` on, the first that is inside and how
-- many are.
local function inside(d, axis, at, taps, name)
  local low, high
  if axis.tap_step > 0 then
    low = driver.ceil_div(-at, axis.tap_step)
    high = driver.ceil_div(driver.expr(axis.inputs) - at, axis.tap_step)
  else
    low = driver.ceil_div(at - (axis.inputs - 1), -axis.tap_step)
    high = driver.floor_div(at, -axis.tap_step) + 1
  end
  -- A window that lies wholly outside must not move the pointers: clip the first tap into [0, taps] too.
  low = d:let(name .. "_first", driver.min(driver.max(low, 0), taps))
  return low, d:let(name .. "_count", driver.max(driver.min(high, taps) - low, 0))
end

-- The same of output j (an expression).
function gather.tap_range(d, axis, j, name)
  if gather.always_inside(axis) then return driver.expr(0), driver.expr(axis.taps) end
  return inside(d, axis, driver.expr(j) * axis.step + axis.offset, axis.taps, name)
end

-- What is read, once for all that use it, in the order of the taps: {at, uses}. visit(add): calls add(at, use).
function gather.uses_by_place(axis, visit)
  local list, known = {}, {}
  visit(function(at, use)
    if not known[at] then
      known[at] = { at = at, uses = {} }
      list[#list + 1] = known[at]
    end
    table.insert(known[at].uses, use)
  end)
  table.sort(list, function(a, b)
    if axis.tap_step < 0 then return a.at > b.at end
    return a.at < b.at
  end)
  return list
end

---- phases that are found at run time ---------------------------------------------------------------------------------

-- An axis of which every position of the result is an output: which taps contribute to one is found at run time.
-- residues: positions so far apart are alike, and gather from inputs `step` apart; taps: the most of any.
function gather.line(p, i)
  if p.pass == "forward" then
    return setmetatable({ residues = 1, positions = p.output[i] }, { __index = gather.forward_axis(p, i)[1] })
  end
  local line = residues_of(p, i)
  line.residues, line.positions, line.inputs, line.step = p.stride[i], p.input[i], p.output[i], 1
  line.taps, line.kernel = (p.kernel[i] + line.tap_stride - 1) // line.tap_stride, p.kernel[i]
  line.before, line.shift, line.dilation = p.pad[i] // line.stride, p.pad[i] % line.stride, p.dilation[i]
  return line
end

-- Which taps position x (an expression) has, inside or not: first_tap, of the kernel; taps: how many; at: the input of
-- the first.
function gather.phase(d, line, x, name)
  if not line.kernel then return { first_tap = driver.expr(0), taps = driver.expr(line.taps),
    at = d:let(name .. "_at", driver.expr(x) * line.step + line.offset) } end
  local y, apart = driver.expr(x) + line.shift, line.tap_stride
  local residue = d:let(name .. "_residue", line.stride == 1 and 0 or driver.rest(y, line.stride))
  local first = driver.quotient(residue, line.common)
  if line.inverse ~= 1 then first = driver.rest(first * line.inverse, apart) end
  first = d:let(name .. "_tap", first)
  local taps = driver.quotient(driver.max(driver.expr(line.kernel + apart - 1) - first, 0), apart)
  if line.common > 1 then taps = taps * driver.equal(driver.rest(residue, line.common), 0) end
  local at = driver.floor_div(y - first * line.dilation, line.stride) + line.before
  return { first_tap = first, taps = d:let(name .. "_taps", taps), at = d:let(name .. "_at", at) }
end

-- Of those the ones that are inside: tap: the first one's place in the kernel; count; input: where it is.
function gather.seen_taps(d, line, phase, name)
  local low, count = inside(d, line, phase.at, phase.taps, name)
  return { tap = phase.first_tap + low * (line.tap_stride or 1), count = count, input = phase.at + low * line.tap_step }
end

-- Of `count` outputs, inputs `step` apart, the first of which has a phase: those [low, high) all of whose taps are
-- inside.
function gather.seen_by_all(d, line, phase, count, name)
  local reach = (phase.taps - 1) * line.tap_step
  local first, last = phase.at + reach, phase.at -- inputs of its taps, the least and the greatest
  if line.tap_step > 0 then first, last = last, first end
  local function clip(e) return driver.min(driver.max(e, 0), count) end
  local low = d:let(name .. "_low", clip(driver.ceil_div(-first, line.step)))
  local high = clip(driver.ceil_div(driver.expr(line.inputs) - last, line.step))
  return low, d:let(name .. "_high", driver.max(low, high))
end

-- a / b rounded up.
local function over(a, b) return -(-a // b) end

-- For backward weights: the input that an output of axis i sees with kernel element k; `before` as above.
function gather.seen_at(p, i, output, k, before)
  local at = before and before + output * p.stride[i] or output * p.stride[i]
  return at + k * p.dilation[i] - p.pad[i]
end

-- The outputs [from, stop) of axis i that see a tap.
function gather.outputs_of(p, i, tap)
  local at, stride, most = p.pad[i] - tap * p.dilation[i], p.stride[i], p.output[i]
  local function clip(output) return math.min(math.max(output, 0), most) end
  return clip(over(at, stride)), clip(over(at + p.input[i], stride))
end

-- Of the taps [first, last] those that an output of axis i sees, from the first one on: low, high; or nothing.
function gather.taps_of(p, i, output, first, last)
  local at, dilation = p.pad[i] - output * p.stride[i], p.dilation[i]
  local low, high = math.max(over(at, dilation), first), math.min((at + p.input[i] - 1) // dilation, last)
  if low <= high then return low - first, high - first end
end

-- The outputs of axis i as runs that see the same of those taps: {first, count, low, high, taps: how many; low is nil
-- where there are none}.
function gather.runs(p, i, first, last)
  local bounds, list = { 0, p.output[i] }, {}
  for tap = first, last do
    local from, stop = gather.outputs_of(p, i, tap)
    if from < stop then bounds[#bounds + 1], bounds[#bounds + 2] = from, stop end
  end
  table.sort(bounds)
  for n = 2, #bounds do
    local at, count = bounds[n - 1], bounds[n] - bounds[n - 1]
    local low, high = gather.taps_of(p, i, at, first, last)
    if count > 0 then
      list[#list + 1] = { first = at, count = count, low = low, high = high, taps = low and high - low + 1 or 0 }
    end
  end
  return list
end

-- The same as driver expressions: the outputs o of axis i whose input under kernel element k (an expression) is inside;
-- [low, high).
function gather.valid_outputs(d, p, i, k, name)
  local at = driver.expr(p.pad[i]) - driver.expr(k) * p.dilation[i]
  local low = driver.min(driver.max(driver.ceil_div(at, p.stride[i]), 0), p.output[i])
  local high = driver.max(driver.min(driver.ceil_div(at + p.input[i], p.stride[i]), p.output[i]), 0)
  low, high = d:let(name .. "_low", low), d:let(name .. "_high", high)
  return low, d:let(name .. "_end", driver.max(low, high))
end

return gather
