-- linear.lua: linear interpolation between neighbours along some axes.
--
-- One axis after another, outermost first: low * share + high * other share, the second product added without a
-- rounding between. Whole rows are made so, for each row of the result anew, then its pixels from two of that row.
local driver, program, types = require "driver", require "program", require "types"
local axes, maps = require "network/axes", require "network/maps"
local linear = {}

local most_vectors, most_pairs = 8, 4

---- kernels -----------------------------------------------------------------------------------------------------------

-- Pixels, as many as the count says, of `size` neighbours each, from those of two rows, each with `each` pairs of
-- shares. steps: of a and b; of dst, from one result to the next.
local function kernel(named, o, size, steps, each)
  local k = program.new(named)
  local a, b, shares = k:pointer("a", "in"), k:pointer("b", "in"), k:pointer("shares", "in")
  local dst, share, pixels = k:pointer("to", "out"), {}, k:count "pixels"
  for i = 1, 2 * each do
    share[i] = k:vector("share", { i - 1 })
    k:broadcast(share[i], k:at(shares, i - 1))
  end
  local function between(at, count)
    local x, y = k:vector "x", k:vector "y"
    k:load(x, k:at(a, at), 0, count)
    k:load(y, k:at(b, at), 0, count)
    for i = 0, each - 1 do
      local sum = k:vector "sum"
      k:mul(sum, x, share[2 * i + 1])
      k:fma(sum, y, share[2 * i + 2])
      k:store(k:at(dst, i * steps[2] + at), sum, 0, count)
    end
  end
  k:loop(pixels, function()
    for at = 0, size - 1, o.lanes do between(at, math.min(o.lanes, size - at)) end
    k:advance(a, steps[1])
    k:advance(b, steps[1])
    k:advance(dst, each * steps[2])
  end)
  return k:finish()
end

---- stages ------------------------------------------------------------------------------------------------------------

-- The axes: resized ones, the others, and the one of neighbours in both.
local function axes_of(views)
  local list = axes.of(views.dst.dims, { views.src.strides, views.dst.strides }, views.src.dims)
  local resized, rest, across = {}, {}, nil
  for _, axis in ipairs(list) do
    axis.inputs = views.src.dims[axis.place]
    if axis.inputs ~= axis.size then resized[#resized + 1] = axis
    elseif axis.steps[1] == 1 and axis.steps[2] == 1 then across = axis
    else rest[#rest + 1] = axis end
  end
  return resized, axes.merged(axes.ordered(rest, 2)), across
end

-- Tables of each resized axis, in a driver.
local function tables(d, o)
  for i, axis in ipairs(o.resized) do
    axis.low, axis.high = d:table("low" .. i, axis.lows), d:table("high" .. i, axis.highs)
    axis.shares = d:numbers("shares" .. i, axis.parts, types.c(o.type))
  end
end

-- A row of the innermost resized axis' inputs, {base, offset}, for outputs of the others from `level` on: made in row
-- `slot` of scratch, unless it is one of src. s: the state {d, o, piece, outputs}.
local function row(s, level, from, slot)
  local d, resized, output = s.d, s.o.resized, s.outputs[level]
  local axis, inputs = resized[level], resized[#resized].inputs
  if level == #resized then return { d.src, from } end
  local a = row(s, level + 1, from + axis.low(output) * axis.steps[1], 2 * slot)
  local b = row(s, level + 1, from + axis.high(output) * axis.steps[1], 2 * slot + 1)
  local to = { d.scratch, (slot - 1) * (inputs * s.piece.size) }
  d:call(level == #resized - 1 and s.piece.rows or s.piece.blends, { a, b, { axis.shares, output * 2 }, to,
    driver.expr(inputs) })
  return to
end

-- The pixels of a row from those of `line`: a run in one call, the others one by one.
local function pixels(d, o, piece, line, to)
  local last, run = o.resized[#o.resized], piece.run and o.run
  local step = #o.resized > 1 and piece.size or last.steps[1]
  local function call(which, low, first, count)
    d:call(which, { { line[1], line[2] + low * step }, { line[1], line[2] + (low + 1) * step },
      { last.shares, first * 2 }, { d.dst, to + first * last.steps[2] }, count })
  end
  local function single(from, stop)
    d:loop("x", from, stop, 1, function(x)
      d:call(piece.pixels, { { line[1], line[2] + last.low(x) * step }, { line[1], line[2] + last.high(x) * step },
        { last.shares, x * 2 }, { d.dst, to + x * last.steps[2] }, 1 })
    end)
  end
  single(0, run and run.first or last.size)
  if not run then return end
  call(piece.run, driver.expr(run.low), driver.expr(run.first), run.groups)
  single(run.first + run.groups * run.each, last.size)
end

local function body(o, outer)
  return function(d, ...)
    local indices, outputs = { ... }, {}
    local from, to = axes.offset(outer, indices, 1), axes.offset(outer, indices, 2)
    tables(d, o)
    for i = 1, #o.resized - 1 do
      outputs[i] = indices[#outer + i]
      to = to + outputs[i] * o.resized[i].steps[2]
    end
    for _, piece in ipairs(o.pieces) do
      d:loop("piece", 0, piece.count, 1, function(i)
        local c = d:let("c", i * piece.size + piece.first)
        local at = from + c * piece.axis.steps[1]
        local line = row({ d = d, o = o, piece = piece, outputs = outputs }, 1, at, 1)
        pixels(d, o, piece, line, to + c * piece.axis.steps[2])
      end)
    end
  end
end

local function add_kernels(b, o, piece)
  local last, size = o.resized[#o.resized], piece.size
  local function new(steps, each)
    return b:new("blend", function(named) return kernel(named, o, size, steps, each or 1) end)
  end
  piece.pixels = new { 0, 0 }
  piece.run = o.run and new({ #o.resized > 1 and size or last.steps[1], last.steps[2] }, o.run.each)
  piece.rows = #o.resized > 1 and new { last.steps[1], size }
  piece.blends = #o.resized > 2 and new { size, size }
end

-- Bytes of the rows that are made on the way to one.
local function scratch_of(o, piece)
  local rows = (1 << (#o.resized - 1)) - 1
  return rows * o.resized[#o.resized].inputs * piece.size * types.bytes(o.type)
end

function linear.stages(b, operation, views)
  local resized, outer, across = axes_of(views)
  local o, scratch = { type = b.p.type, resized = resized }, 0
  for _, axis in ipairs(resized) do
    axis.lows, axis.highs, axis.parts = maps.linear(operation, axis.place, axis.inputs, axis.size)
  end
  local last = resized[#resized]
  local run = maps.run(last.lows, last.highs, last.parts)
  o.run = run.groups > 1 and run.each <= most_pairs and run
  o.lanes = across and types.lanes(b.p.type, b.target) or 1
  o.pieces = axes.pieces(across or axes.one(2), across and math.min(across.size, o.lanes * most_vectors) or 1)
  for _, piece in ipairs(o.pieces) do
    add_kernels(b, o, piece)
    scratch = math.max(scratch, scratch_of(o, piece))
  end
  local indices = axes.indices(outer)
  for i = 1, #resized - 1 do indices[#indices + 1] = { "o" .. i, resized[i].size } end
  local parts = { { indices = indices, body = body(o, outer) } }
  return { driver.stage { name = "compute", scratch = scratch, parts = parts } }
end

return linear
