-- pool.lua: maxima and means of windows, vectors across channels or whatever else is next to each other in both views.
--
-- A maximum keeps NaN. A mean is one chain of additions from zero over the taps inside the input in row-major order,
-- divided by their number (counted: by that of all taps).
local driver, gather, program, types = require "driver", require "gather", require "program", require "types"
local axes, walk = require "network/axes", require "network/walk"
local pool = {}

local most_text, most_vectors = 64, 4 -- loads of a kernel whose taps are all written out; vectors of a pixel

---- kernels -----------------------------------------------------------------------------------------------------------

local starts = { maxpool = -math.huge, avgpool = 0 }

local function begin(k, o, counts)
  local acc = {}
  for v = 1, #counts do
    acc[v] = k:vector("acc", { v - 1 })
    if starts[o.op] == 0 then k:zero(acc[v]) else k:constant(acc[v], starts[o.op]) end
  end
  return acc
end

-- One tap, `at` elements from where src stands, taken into the sums.
local function tap(k, o, acc, counts, src, at)
  for v, count in ipairs(counts) do
    local x = k:vector "x"
    k:load(x, k:at(src, at + (v - 1) * k.lanes), 0, count)
    if o.op == "maxpool" then walk.max(k, acc[v], x) else k:add(acc[v], acc[v], x) end
  end
end

local function finish(k, o, acc, counts, dst, divisor)
  for v, sum in ipairs(acc) do
    if o.op == "avgpool" then k:div(sum, sum, divisor) end
    k:store(k:at(dst, (v - 1) * k.lanes), sum, 0, counts[v])
  end
end

local function number(k, value)
  local r = k:vector "n"
  k:constant(r, value)
  return r
end

-- Offsets of all taps of windows, row-major.
local function all_taps(windows, level, at, list)
  local w = windows[level]
  if not w then list[#list + 1] = at else
    for i = 0, w.taps - 1 do all_taps(windows, level + 1, at + i * w.tap_step * w.steps[1], list) end
  end
  return list
end

-- Pixels of which all taps are inside.
local function whole(k, o, counts, src, dst)
  local taps, last = all_taps(o.windows, 1, 0, {}), o.windows[#o.windows]
  local divisor = o.op == "avgpool" and number(k, o.taps)
  k:loop(k:count "pixels", function()
    local acc = begin(k, o, counts)
    for _, at in ipairs(taps) do tap(k, o, acc, counts, src, at) end
    finish(k, o, acc, counts, dst, divisor)
    k:advance(src, last.step * last.steps[1])
    k:advance(dst, last.steps[2])
  end)
end

-- Loops over the taps of windows, as many as arguments say; count: what they are counted in, or nil.
local function clipped_taps(k, o, acc, counts, from, inside, one, level)
  local w = o.windows[level]
  local src = k:copy("s" .. level, from)
  k:loop(inside[level], function()
    if level < #o.windows then clipped_taps(k, o, acc, counts, src, inside, one, level + 1) else
      tap(k, o, acc, counts, src, 0)
      if one then k:add(one.count, one.count, one.one) end
    end
    k:advance(src, w.tap_step * w.steps[1])
  end)
end

-- Pixels of which so many taps are inside.
local function clipped(k, o, counts, src, dst)
  local last, inside = o.windows[#o.windows], {}
  local pixels, mean = k:count "pixels", o.op == "avgpool"
  for i in ipairs(o.windows) do inside[i] = k:count("taps" .. i) end
  local one = mean and not o.counted and { count = k:vector "count", one = number(k, 1) }
  local divisor = one and one.count or mean and number(k, o.taps)
  k:loop(pixels, function()
    local acc = begin(k, o, counts)
    if one then k:zero(one.count) end
    clipped_taps(k, o, acc, counts, src, inside, one, 1)
    finish(k, o, acc, counts, dst, divisor)
    k:advance(src, last.step * last.steps[1])
    k:advance(dst, last.steps[2])
  end)
end

local function kernel(named, o, counts, write)
  local k = program.new(named)
  k.activates = true
  write(k, o, counts, k:pointer("src", "in"), k:pointer("dst", "out"))
  return k:finish()
end

---- stages ------------------------------------------------------------------------------------------------------------

-- The windows of an operation: axes as gather.lua has them, with steps.
local function windows_of(operation, views)
  local list, taps = {}, 1
  for i, axis in ipairs(operation.axes) do
    local at = axis + 1
    list[i] = { outputs = views.dst.dims[at], inputs = views.src.dims[at], step = operation.stride[i],
      offset = -operation.pad[i], tap_step = operation.dilation[i], taps = operation.kernel[i],
      steps = { views.src.strides[at], views.dst.strides[at] } }
    taps = taps * operation.kernel[i]
  end
  return list, taps
end

-- The outputs [low, high) of a window's axis of which all taps are inside.
local function interior(w)
  local low = math.max(0, -(w.offset // w.step))
  local last = w.inputs - 1 - (w.taps - 1) * w.tap_step - w.offset
  local high = math.min(w.outputs, last < 0 and 0 or last // w.step + 1)
  low = math.min(low, w.outputs)
  return low, math.max(low, high)
end

local function kept_axes(operation, views)
  local summed, out = {}, {}
  for _, axis in ipairs(operation.axes) do summed[axis + 1] = true end
  for _, axis in ipairs(axes.of(views.dst.dims, { views.src.strides, views.dst.strides })) do
    if not summed[axis.place] then out[#out + 1] = axis end
  end
  return axes.merged(axes.ordered(out, 2))
end

local function counts_of(size, lanes)
  local counts = {}
  for at = 0, size - 1, lanes do counts[#counts + 1] = math.min(lanes, size - at) end
  return counts
end

-- Kernels of a piece of channels. whole is nil where it would be too long, clipped where no tap is outside.
local function add_kernels(b, o, piece)
  local counts = counts_of(piece.size, o.lanes)
  local function new(hint, write)
    return b:new(hint, function(named) return kernel(named, o, counts, write) end)
  end
  piece.whole = o.taps * #counts <= most_text and new("pool", whole)
  piece.clipped = not (piece.whole and o.inside) and new("clipped", clipped)
end

-- Where src is seen, and dst, for pixels of a row from output `first` on; row: {src, dst, ranges, outputs}.
local function places(o, row, first)
  local src, n = row.src, #o.windows
  for i, w in ipairs(o.windows) do
    local output = i < n and row.outputs[i] or first
    src = src + (output * w.step + row.ranges[i][1] * w.tap_step + w.offset) * w.steps[1]
  end
  return src, row.dst + first * o.windows[n].steps[2]
end

-- Whether all taps are inside: true, or a condition.
local function all_inside(o, ranges)
  local all = true
  for i, w in ipairs(o.windows) do
    local condition = driver.equal(ranges[i][2], w.taps)
    if not o.always[i] then all = all == true and condition or driver.all(all, condition) end
  end
  return all
end

-- Calls for so many pixels; ranges: of each window { first tap, taps }.
local function call(d, o, row, first, pixels)
  local piece, src, dst = row.piece, places(o, row, first)
  local some, all = { { d.src, src }, { d.dst, dst }, pixels }, all_inside(o, row.ranges)
  for i in ipairs(o.windows) do some[#some + 1] = row.ranges[i][2] end
  local function whole() d:call(piece.whole, { table.unpack(some, 1, 3) }) end
  if not piece.whole then d:call(piece.clipped, some)
  elseif all == true then whole()
  else
    d:when(all, whole)
    d:when(driver.equal(all, 0), function() d:call(piece.clipped, some) end)
  end
end

-- A row of outputs of a piece of channels: pixels one by one where taps are outside.
local function pixels(d, o, row)
  local last, n = o.windows[#o.windows], #o.windows
  local low, high = interior(last)
  local function edge(from, to)
    d:loop("x", from, to, 1, function(x)
      row.ranges[n] = { gather.tap_range(d, last, x, "column") }
      call(d, o, row, x, 1)
    end)
  end
  edge(0, low)
  if high > low then
    row.ranges[n] = { driver.expr(0), driver.expr(last.taps) }
    call(d, o, row, driver.expr(low), high - low)
  end
  edge(high, last.outputs)
end

local function body(o, outer)
  return function(d, ...)
    local indices, ranges, outputs = { ... }, {}, {}
    local src, dst = axes.offset(outer, indices, 1), axes.offset(outer, indices, 2)
    for i = 1, #o.windows - 1 do
      outputs[i] = indices[#outer + i]
      ranges[i] = { gather.tap_range(d, o.windows[i], outputs[i], "window" .. i) }
      dst = dst + outputs[i] * o.windows[i].steps[2]
    end
    for _, piece in ipairs(o.pieces) do
      d:loop("piece", 0, piece.count, 1, function(i)
        local c = d:let("c", i * piece.size + piece.first)
        pixels(d, o, { piece = piece, ranges = ranges, outputs = outputs, src = src + c * piece.axis.steps[1],
          dst = dst + c * piece.axis.steps[2] })
      end)
    end
  end
end

local function usual_axes(count)
  local list = {}
  for i = 1, count do list[i] = i + 1 end
  return list
end

local function across_of(kept)
  for _, axis in ipairs(kept) do if axis.steps[1] == 1 and axis.steps[2] == 1 then return axis end end
end

-- axes: of the windows, usually those behind the first two; kernel, stride, pad (leading), dilation: of each; counted.
function pool.stages(b, operation, views)
  operation.axes = operation.axes or usual_axes(#operation.kernel)
  local o, kept = { op = operation.op, counted = operation.counted, always = {}, inside = true },
    kept_axes(operation, views)
  o.windows, o.taps = windows_of(operation, views)
  for i, w in ipairs(o.windows) do
    o.always[i] = gather.always_inside(w)
    o.inside = o.inside and o.always[i]
  end
  local across = across_of(kept)
  o.lanes = across and types.lanes(b.p.type, b.target) or 1
  local vectors = math.max(1, math.min(b.target.registers < 32 and 2 or most_vectors, most_text // o.taps))
  o.pieces = axes.pieces(across or axes.one(2), across and o.lanes * vectors or 1)
  for _, piece in ipairs(o.pieces) do add_kernels(b, o, piece) end
  local outer = axes.without(kept, across)
  local indices = axes.indices(outer)
  for i = 1, #o.windows - 1 do indices[#indices + 1] = { "o" .. i, o.windows[i].outputs } end
  return { driver.stage { name = "compute", parts = { { indices = indices, body = body(o, outer) } } } }
end

return pool
