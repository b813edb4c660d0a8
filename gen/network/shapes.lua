-- network/shapes.lua: the shape rules of operations: from the operands' sizes and the attributes to the result's.
--
-- rule(o, s): o is the operation; s[i] the dims of operand i ({}: a number), s.type(i) its type, s.layout the file's.
-- It gives dims and, where it is not the first operand's, the type; or refuses with a sentence. Axes count from 0.
local text = require "network/text"
local convolution = require "network/convolution"
local shapes = {}

local fail, shown = text.fail, text.dims

---- what rules share --------------------------------------------------------------------------------------------------

-- Where the channels are, and where the first spatial axis is.
function shapes.channel_axis(layout, rank) return layout == "nhwc" and rank - 1 or math.min(1, rank - 1) end
function shapes.first_spatial(layout) return layout == "nhwc" and 1 or 2 end

local function copied(dims) return table.move(dims, 1, #dims, 1, {}) end

local function need(holds, ...) if not holds then fail(...) end end

local function check_axis(axis, rank)
  need(axis >= 0 and axis < rank, "axis %d is none of a tensor of %d dimensions: allowed is 0 to %d", axis, rank,
    rank - 1)
end

local function same(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do if a[i] ~= b[i] then return false end end
  return true
end
shapes.same = same

local function broadcast_two(a, b)
  local rank, dims = math.max(#a, #b), {}
  for i = 1, rank do
    local x, y = a[#a - rank + i] or 1, b[#b - rank + i] or 1
    need(x == y or x == 1 or y == 1,
      "%s and %s do not fit together: sizes must be the same, or 1, counted from the last", shown(a), shown(b))
    dims[i] = math.max(x, y)
  end
  return dims
end

-- NumPy's broadcasting.
function shapes.broadcast(list)
  local dims = list[1]
  for i = 2, #list do dims = broadcast_two(dims, list[i]) end
  return copied(dims)
end

local function fits_into(dims, whole, what)
  need(#dims <= #whole and same(broadcast_two(dims, whole), whole), "%s is %s, which does not fit the tensor of %s",
    what, shown(dims), shown(whole))
end

-- Operands from the second on, each with one element for each channel.
local function per_channel(s, first, last, channels)
  for i = first, last do
    if s[i] then
      need(same(s[i], { channels }), "operand %d is %s: allowed is %d, one element for each channel", i, shown(s[i]),
        channels)
    end
  end
end

---- convolutions ------------------------------------------------------------------------------------------------------

local function image(s, i)
  local rank = #s[i] - 2
  need(rank >= 1 and rank <= 3, "operand %d is %s: a batch, channels and 1 to 3 spatial sizes are needed", i,
    shown(s[i]))
  return rank, shapes.channel_axis(s.layout, #s[i]) + 1, shapes.first_spatial(s.layout) + 1
end

local function image_dims(s, batch, channels, sizes)
  local dims = s.layout == "nhwc" and { batch } or { batch, channels }
  table.move(sizes, 1, #sizes, #dims + 1, dims)
  if s.layout == "nhwc" then dims[#dims + 1] = channels end
  return dims
end

local function letters(c, rank, letter)
  local list = {}
  for n = 1, rank do list[n] = c[3 - rank + n][letter] end
  return list
end

-- The weights' order: OIHW or HWIO; transposed IOHW or HWOI.
local function weight_dims(c, rank, layout, transposed)
  local first, second = c.oc, c.ic // c.g
  if transposed then first, second = c.ic, c.oc // c.g end
  local taps = letters(c, rank, "k")
  if layout == "nhwc" then return table.move({ second, first }, 1, 2, rank + 1, taps) end
  return table.move(taps, 1, rank, 3, { first, second })
end

local function check_axes(c, rank)
  for n = 1, 3 - rank do
    local w = c[n]
    need(w.i == 1 and w.o == 1 and w.k == 1, "the descriptor has more spatial dimensions than its input, which has %d",
      rank)
  end
end

local function check_image(c, s, rank, channel, spatial)
  local sizes = letters(c, rank, "i")
  local given = table.move(s[1], spatial, spatial + rank - 1, 1, {})
  need(c.ic == s[1][channel], "ic is %d, the input has %d channels", c.ic, s[1][channel])
  need(same(sizes, given), "the descriptor's input is %s, the tensor is %s", shown(sizes), shown(given))
  need(not c.mb or c.mb == s[1][1], "mb is %d, the input has a batch of %d", c.mb or 0, s[1][1])
end

-- The bias, and what the epilogue reads.
local function check_epilogue(o, s, channels, dims)
  per_channel(s, 3, 3, channels)
  o.attributes.epilogue = o.attributes.epilogue or convolution.epilogue_of "none"
  local epilogue = o.attributes.epilogue
  if o.slope then need(same(s.slope, { channels }), "slope is %s, allowed is %d", shown(s.slope), channels) end
  if o.residual then need(same(s.residual, dims), "residual is %s, the result %s", shown(s.residual), shown(dims)) end
  need((epilogue.activation == "prelu") == (o.slope ~= nil), "slope=... and the activation prelu belong together")
  need((epilogue.residual or false) == (o.residual ~= nil), "residual=... and the epilogue's residual belong together")
end

function shapes.convolution(o, s)
  local c = o.attributes.window
  local rank, channel, spatial = image(s, 1)
  c.rank = rank
  check_axes(c, rank)
  check_image(c, s, rank, channel, spatial)
  local wanted = weight_dims(c, rank, s.layout, o.op == "deconv")
  need(same(s[2], wanted), "the weights are %s, the descriptor has %s", shown(s[2]), shown(wanted))
  if o.op == "deconv" then for n = 1, 3 do convolution.check_reached(c[n]) end end
  local dims = image_dims(s, s[1][1], c.oc, letters(c, rank, "o"))
  check_epilogue(o, s, c.oc, dims)
  return dims
end

-- A convolution of one pixel along the last axis: weights as a matrix, one row for each channel that is read.
function shapes.linear(o, s)
  local dims = copied(s[1])
  need(#s[2] == 2 and #dims >= 1 and dims[#dims] == s[2][1], "%s times %s: the last size must be the matrix's rows",
    shown(dims), shown(s[2]))
  dims[#dims] = s[2][2]
  check_epilogue(o, s, s[2][2], dims)
  return dims
end

-- The channels that weights make.
local function channels_made(f, w, layout)
  local groups = f.groups or 1
  if f.of == "linear" then return w[2] end
  if f.of == "deconv" then return w[layout == "nhwc" and #w - 1 or 2] * groups end
  return w[layout == "nhwc" and #w or 1]
end

-- Weights and a bias from such, and what is done with the sums.
function shapes.fold(o, s)
  local f, count = o.attributes, #o.operands
  need(#o.results == 2 and count == (f.what == "batchnorm" and 5 or 2),
    "fold makes weights and a bias, of weights and scale, bias, mean and variance, or of weights and one constant")
  need(#s[1] >= 2, "the weights are %s", shown(s[1]))
  local channels = channels_made(f, s[1], s.layout)
  for i = 2, count do need(type(o.operands[i]) == "number" or same(s[i], { channels }),
    "operand %d is %s: allowed is %d, one element for each channel", i, shown(s[i]), channels) end
  if o.bias then need(same(s.bias, { channels }), "the bias is %s, allowed is %d", shown(s.bias), channels) end
  return { copied(s[1]), { channels } }
end

---- products ----------------------------------------------------------------------------------------------------------

function shapes.gemm(o, s)
  local a, b, f = s[1], s[2], o.attributes
  need(#a == 2 and #b == 2, "gemm takes matrices, these are %s and %s", shown(a), shown(b))
  local m, k = a[f.trans_a and 2 or 1], a[f.trans_a and 1 or 2]
  local k2, n = b[f.trans_b and 2 or 1], b[f.trans_b and 1 or 2]
  need(k == k2, "the matrices do not fit: %d columns against %d rows", k, k2)
  if s[3] then fits_into(s[3], { m, n }, "what is added") end
  return { m, n }
end

local function part(dims, from, to) return table.move(dims, from, to, 1, {}) end

function shapes.matmul(_, s)
  local a, b = copied(s[1]), copied(s[2])
  need(#a > 0 and #b > 0, "matmul takes tensors, not numbers")
  local row, column = #a == 1, #b == 1
  if row then table.insert(a, 1, 1) end
  if column then b[2] = 1 end
  need(a[#a] == b[#b - 1], "the matrices of %s and %s do not fit: %d columns against %d rows", shown(s[1]), shown(s[2]),
    a[#a], b[#b - 1])
  local dims = broadcast_two(part(a, 1, #a - 2), part(b, 1, #b - 2))
  if not row then dims[#dims + 1] = a[#a - 1] end
  if not column then dims[#dims + 1] = b[#b] end
  return dims
end

---- pools -------------------------------------------------------------------------------------------------------------

-- What is missing is 1, or 0 for pads.
local function pool_axis(f, n)
  local function of(name, absent) return f[name] and f[name][n] or absent end
  return { k = of("k"), s = of("s", 1), p = of("p", 0), e = of("e", 0), d = of("d", 1), o = of("o") }
end
shapes.pool_axis = pool_axis

local function pooled(w, size)
  local room = size + w.p + w.e - convolution.reach(w)
  local floor, ceil = room // w.s + 1, -(-room // w.s) + 1
  need(room >= 0, "the window reaches over %d, the input with its pads is %d", convolution.reach(w), size + w.p + w.e)
  need(w.p < convolution.reach(w), "the leading pad %d must be less than the window's reach, %d", w.p,
    convolution.reach(w))
  local out = w.o or floor
  need(out == floor or out == ceil, "the output size %d is neither the floor rule's %d nor the ceil rule's %d", out,
    floor, ceil)
  need((out - 1) * w.s < size + w.p, "the last window begins in the trailing pad")
  return out
end

function shapes.pool(o, s)
  local rank, channel, spatial = image(s, 1)
  local f, sizes = o.attributes, {}
  for _, name in ipairs { "k", "s", "p", "e", "d", "o" } do
    need(not f[name] or #f[name] == rank, "%s has %d sizes, the input %d spatial ones", name, f[name] and #f[name] or 0,
      rank)
  end
  for n = 1, rank do sizes[n] = pooled(pool_axis(f, n), s[1][spatial + n - 1]) end
  return image_dims(s, s[1][1], s[1][channel], sizes)
end

---- along axes --------------------------------------------------------------------------------------------------------

local function marked(axes, rank)
  local set = {}
  for _, axis in ipairs(axes) do
    check_axis(axis, rank)
    need(not set[axis + 1], "axis %d is given twice", axis)
    set[axis + 1] = true
  end
  return set
end

function shapes.reduce(o, s)
  local gone, dims = marked(o.attributes.axes, #s[1]), {}
  for i, size in ipairs(s[1]) do
    if not gone[i] then dims[#dims + 1] = size elseif o.attributes.keep then dims[#dims + 1] = 1 end
  end
  return dims
end

function shapes.argmax(o, s)
  check_axis(o.attributes.axis, #s[1])
  local f = { axes = { o.attributes.axis }, keep = o.attributes.keep }
  return shapes.reduce({ attributes = f }, s), "i64"
end

function shapes.along(o, s)
  check_axis(o.attributes.axis, #s[1])
  return copied(s[1])
end

---- element by element ------------------------------------------------------------------------------------------------

function shapes.same_as_first(_, s) return copied(s[1]) end
function shapes.all_broadcast(_, s) return shapes.broadcast(s) end

function shapes.chain(o, s)
  for i, step in ipairs(o.attributes.steps) do
    for _, arg in ipairs(step.args) do
      local missing = type(arg) == "table" and arg.operand and not s[arg.operand]
      need(not missing, "step %d reads operand $%d, which is not there", i, missing and arg.operand or 0)
    end
  end
  return shapes.broadcast(s)
end

function shapes.power(o, s)
  need(type(o.operands[2]) == "number", "pow takes a number as exponent, not a tensor")
  return copied(s[1])
end

function shapes.prelu(_, s)
  fits_into(s[2], s[1], "the slope")
  return copied(s[1])
end

function shapes.cast(o, s) return copied(s[1]), o.attributes.type end

---- norms -------------------------------------------------------------------------------------------------------------

function shapes.channel_norm(_, s)
  need(#s[1] >= 2, "the input is %s: a batch and channels are needed", shown(s[1]))
  per_channel(s, 2, #s, s[1][shapes.channel_axis(s.layout, #s[1]) + 1])
  return copied(s[1])
end

function shapes.layernorm(o, s)
  check_axis(o.attributes.axis, #s[1])
  local inner = part(s[1], o.attributes.axis + 1, #s[1])
  for i = 2, #s do fits_into(s[i], inner, i == 2 and "the scale" or "the bias") end
  return copied(s[1])
end

---- moved elements ----------------------------------------------------------------------------------------------------

local function resized_size(size, factor, given)
  if given then return given end
  need(factor > 0 and size * factor < text.most, "the factor %s is out of range", text.number(factor))
  return math.floor(size * factor)
end

function shapes.resize(o, s)
  local rank, channel, spatial = image(s, 1)
  local f, sizes = o.attributes, {}
  need((f.factors == nil) ~= (f.o == nil), "either factors, such as 2x2, or sizes, such as o64x64, are needed")
  local given = f.factors or f.o
  need(#given == rank, "%d factors or sizes are given, the input has %d spatial sizes", #given, rank)
  for n = 1, rank do sizes[n] = resized_size(s[1][spatial + n - 1], f.factors and f.factors[n], f.o and f.o[n]) end
  return image_dims(s, s[1][1], s[1][channel], sizes)
end

function shapes.depth_to_space(o, s)
  local rank, channel, spatial = image(s, 1)
  local b, x = o.attributes.block, s[1]
  need(rank == 2, "the input is %s: two spatial sizes are needed", shown(x))
  need(b <= 1 << 15 and x[channel] % (b * b) == 0, "a block of %d does not divide the %d channels", b, x[channel])
  return image_dims(s, x[1], x[channel] // (b * b), { x[spatial] * b, x[spatial + 1] * b })
end

local function joins(a, b, axis)
  if #a ~= #b then return false end
  for i = 1, #a do if i ~= axis + 1 and a[i] ~= b[i] then return false end end
  return true
end

function shapes.concat(o, s)
  local axis, dims = o.attributes.axis, copied(s[1])
  check_axis(axis, #dims)
  for i = 2, #s do
    need(joins(s[1], s[i], axis), "%s and %s differ elsewhere than on axis %d", shown(s[1]), shown(s[i]), axis)
    dims[axis + 1] = dims[axis + 1] + s[i][axis + 1]
  end
  return dims
end

-- A list of dims, one for each result.
function shapes.split(o, s)
  local axis, sizes, sum, list = o.attributes.axis, o.attributes.sizes, 0, {}
  check_axis(axis, #s[1])
  need(#sizes == #o.results, "split has %d sizes and %d results", #sizes, #o.results)
  for i, size in ipairs(sizes) do
    list[i], sum = copied(s[1]), sum + size
    list[i][axis + 1] = size
  end
  need(sum == s[1][axis + 1], "the sizes are %d in all, axis %d has %d", sum, axis, s[1][axis + 1])
  return list
end

local function sliced(size, from, to, step)
  if step > 0 then
    need(from >= 0 and from < to and to <= size, "from %d to %d: allowed is 0 <= from < to <= %d", from, to, size)
  else
    need(step < 0 and from < size and to >= -1 and from > to,
      "from %d to %d with the step %d: a negative step takes %d > from > to >= -1", from, to, step, size)
  end
  return (to - from + step - (step > 0 and 1 or -1)) // step
end

function shapes.slice(o, s)
  local f, dims = o.attributes, copied(s[1])
  marked(f.axes, #dims)
  need(#f.from == #f.axes and #f.to == #f.axes and #(f.steps or f.axes) == #f.axes,
    "axes, from, to and steps must have as many numbers each")
  for i, axis in ipairs(f.axes) do
    dims[axis + 1] = sliced(dims[axis + 1], f.from[i], f.to[i], f.steps and f.steps[i] or 1)
  end
  return dims
end

local function check_mirrored(o, s, i)
  local f = o.attributes
  local size, most = s[1][i], math.max(f.before[i], f.after[i])
  need(f.mode ~= "reflect" or most < size, "a reflected pad of %d is not less than the size %d", most, size)
  need(not (f.mode and f.value), "a value, reflect or edge: one of them is allowed")
end

function shapes.pad(o, s)
  local f, dims = o.attributes, copied(s[1])
  need(#f.before == #dims and #f.after == #dims, "before and after must have %d numbers each", #dims)
  for i = 1, #dims do
    check_mirrored(o, s, i)
    dims[i] = dims[i] + f.before[i] + f.after[i]
  end
  return dims
end

function shapes.transpose(o, s)
  local order, dims = o.attributes.order, {}
  need(#order == #s[1], "%d axes are given, the tensor has %d", #order, #s[1])
  marked(order, #s[1])
  for i, axis in ipairs(order) do dims[i] = s[1][axis + 1] end
  return dims
end

function shapes.reshape(o, s)
  local dims = o.attributes.dims
  need(text.elements(dims) == text.elements(s[1]), "%s and %s have not as many elements", shown(s[1]), shown(dims))
  return copied(dims)
end

local function gathered_dims(o, s)
  if o.attributes.indices then
    need(not s[2], "indices and a tensor of them: one is allowed")
    return { #o.attributes.indices }
  end
  need(s[2] and s.type(2) == "i64", "gather takes indices, or a tensor i64 of them")
  return s[2]
end

function shapes.gather(o, s)
  local axis, dims = o.attributes.axis, {}
  check_axis(axis, #s[1])
  local indices = o.attributes.indices or {}
  need(#indices <= 64, "%d indices are given: more than 64 need a tensor i64", #indices)
  for _, index in ipairs(indices) do
    need(index < s[1][axis + 1], "the index %d is out of range: axis %d has %d", index, axis, s[1][axis + 1])
  end
  table.move(s[1], 1, axis, 1, dims)
  local more = gathered_dims(o, s)
  table.move(more, 1, #more, #dims + 1, dims)
  return table.move(s[1], axis + 2, #s[1], #dims + 1, dims)
end

return shapes
