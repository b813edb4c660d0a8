-- linear.lua: linear interpolation between neighbours along some axes.
--
-- One axis after another, outermost first: low * share + high * other share, the second product added without a
-- rounding between. Whole rows are made so, for each row of the result anew, then its pixels from two of that row.
local driver, program, types = require "driver", require "program", require "types"
local axes, maps = require "network/axes", require "network/maps"
local linear = {}

local most_vectors = 8

---- kernels -----------------------------------------------------------------------------------------------------------

-- Pixels, as many as the count says, of `size` neighbours each: from those of two rows. steps: of a and b, and of dst.
local function kernel(named, o, size, steps)
  local k = program.new(named)
  local a, b, shares = k:pointer("a", "in"), k:pointer("b", "in"), k:pointer("shares", "in")
  local dst, low, high = k:pointer("to", "out"), k:vector "low", k:vector "high"
  local pixels = k:count "pixels"
  k:broadcast(low, k:at(shares))
  k:broadcast(high, k:at(shares, 1))
  local function between(at, count)
    local x, y = k:vector "x", k:vector "y"
    k:load(x, k:at(a, at), 0, count)
    k:load(y, k:at(b, at), 0, count)
    k:mul(x, x, low)
    k:fma(x, y, high)
    k:store(k:at(dst, at), x, 0, count)
  end
  k:loop(pixels, function()
    for at = 0, size - 1, o.lanes do between(at, math.min(o.lanes, size - at)) end
    k:advance(a, steps[1])
    k:advance(b, steps[1])
    k:advance(dst, steps[2])
  end)
  return k:finish()
end

---- stages ------------------------------------------------------------------------------------------------------------

-- The axes: resized ones, also to one element, the others, and the one of neighbours in both.
local function axes_of(views)
  local resized, rest, across = {}, {}, nil
  for place, size in ipairs(views.dst.dims) do
    local axis = { size = size, steps = { views.src.strides[place], views.dst.strides[place] }, place = place,
      inputs = views.src.dims[place] }
    if axis.inputs ~= size then resized[#resized + 1] = axis
    elseif size > 1 and axis.steps[1] == 1 and axis.steps[2] == 1 then across = axis
    elseif size > 1 then rest[#rest + 1] = axis end
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

local function pixels(d, o, piece, line, to)
  local last = o.resized[#o.resized]
  local step = #o.resized > 1 and piece.size or last.steps[1]
  d:loop("x", 0, last.size, 1, function(x)
    d:call(piece.pixels, { { line[1], line[2] + last.low(x) * step }, { line[1], line[2] + last.high(x) * step },
      { last.shares, x * 2 }, { d.dst, to + x * last.steps[2] }, 1 })
  end)
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
  local function new(steps) return b:new("blend", function(named) return kernel(named, o, size, steps) end) end
  piece.pixels = new { 0, 0 }
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
