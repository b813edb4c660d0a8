-- random.lua: random networks for tests: a file's text, and numbers for its inputs and constants.
local random = {}

local function pick(list) return list[math.random(#list)] end

local function text(dims) return #dims > 0 and table.concat(dims, "x") or "scalar" end

local function count(dims)
  local n = 1
  for _, size in ipairs(dims) do n = n * size end
  return n
end

local function numbers(dims, low, high)
  local t = { dims = dims }
  for i = 1, count(dims) do t[i] = low + (high - low) * math.random() end
  return t
end

---- a network that grows ------------------------------------------------------------------------------------------------

local function line(b, format, ...)
  b.count = b.count + 1
  local name = "t" .. b.count
  b.lines[#b.lines + 1] = name .. " = " .. format:format(...)
  return name
end

local function made(b, name, dims)
  b.list[#b.list + 1] = { name = name, dims = dims }
  return name
end

local function constant(b, dims, low, high)
  b.count = b.count + 1
  local name = "w" .. b.count
  b.constants[#b.constants + 1] = ("tensor %s f32 %s @%d"):format(name, text(dims), b.bytes)
  b.bytes = b.bytes + 4 * count(dims)
  b.given[name] = numbers(dims, low or -0.5, high or 0.5)
  return name
end

-- A tensor of some rank, the later ones more often.
local function some(b, rank)
  local list = {}
  for i, t in ipairs(b.list) do
    if not rank or #t.dims == rank then
      list[#list + 1] = t
      if i > #b.list - 3 then list[#list + 1], list[#list + 2] = t, t end
    end
  end
  return #list > 0 and pick(list) or nil
end

local function same_shape(b, t)
  local list = {}
  for _, other in ipairs(b.list) do
    if other ~= t and text(other.dims) == text(t.dims) then list[#list + 1] = other end
  end
  return #list > 0 and pick(list) or nil
end

---- images, in the order batch, channels, h, w (or as the layout has it) --------------------------------------------------

local function image(b, t)
  local d = t.dims
  if b.layout == "nhwc" then return d[1], d[4], d[2], d[3] end
  return d[1], d[2], d[3], d[4]
end

local function image_dims(b, n, c, h, w) return b.layout == "nhwc" and { n, h, w, c } or { n, c, h, w } end

local function axis(b, nchw) return b.layout == "nhwc" and ({ 0, 3, 1, 2 })[nchw + 1] or nchw end

local function weights(b, first, second, kh, kw)
  return constant(b, b.layout == "nhwc" and { kh, kw, second, first } or { first, second, kh, kw })
end

local ways = {}

function ways.conv(b, t)
  local n, c, h, w = image(b, t)
  local k, s, oc = pick { 1, 3, 3 }, pick { 1, 1, 2 }, math.random(1, 6)
  local g = math.random() < 0.2 and c or 1
  if g > 1 then oc = g end
  local p = k // 2
  local oh, ow = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
  local bias = math.random() < 0.5 and ", " .. constant(b, { oc }) or ""
  local name = line(b, "conv(%s, %s%s) g%dic%dih%diw%doc%doh%dow%dkh%dkw%dsh%dsw%dph%dpw%d", t.name, weights(b, oc, c // g, k, k),
    bias, g, c, h, w, oc, oh, ow, k, k, s, s, p, p)
  return made(b, name, image_dims(b, n, oc, oh, ow))
end

-- A convolution that keeps the shape, and what often stands behind one.
function ways.block(b, t)
  local n, c, h, w = image(b, t)
  local dims, bias = t.dims, math.random() < 0.5 and ", " .. constant(b, { c }) or ""
  local words = pick { "", "", "", " --epilogue=relu" }
  local name = line(b, "conv(%s, %s%s) ic%dih%diw%doc%doh%dow%dkh3kw3ph1pw1%s", t.name, weights(b, c, c, 3, 3), bias, c, h, w, c,
    h, w, words)
  local after = { function() return ways.batchnorm(b, { name = name, dims = dims }) end,
    function() return ways.per_channel(b, { name = name, dims = dims }) end,
    function() return line(b, "add(%s, %s)", name, (same_shape(b, t) or t).name) end,
    function() return line(b, "activate(%s) %s", name, pick { "relu", "silu", "leaky:0.1" }) end,
    function() return line(b, "mul(%s, 1.5)", name) end,
    function() return ways.prelu(b, { name = name, dims = dims }) end }
  for _ = 1, math.random(1, 4) do
    name = pick(after)()
    if math.random() < 0.15 then made(b, name, dims) end
  end
  return made(b, name, image_dims(b, n, c, h, w))
end

function ways.deconv(b, t)
  local n, c, h, w = image(b, t)
  local oc = math.random(1, 4)
  if h > 8 then return end
  local name = line(b, "deconv(%s, %s) ic%dih%diw%doc%doh%dow%dkh2kw2sh2sw2ph0pw0", t.name, weights(b, c, oc, 2, 2), c, h, w, oc,
    2 * h, 2 * w)
  return made(b, name, image_dims(b, n, oc, 2 * h, 2 * w))
end

function ways.batchnorm(b, t)
  local _, c = image(b, t)
  local name = line(b, "batchnorm(%s, %s, %s, %s, %s) epsilon 0.001", t.name, constant(b, { c }, 0.5, 1.5), constant(b, { c }),
    constant(b, { c }), constant(b, { c }, 0.5, 1.5))
  return made(b, name, t.dims)
end

function ways.per_channel(b, t)
  local _, c = image(b, t)
  local dims = b.layout == "nhwc" and pick { { c }, { 1, 1, 1, c } } or pick { { c, 1, 1 }, { 1, c, 1, 1 } }
  return made(b, line(b, "%s(%s, %s)", pick { "add", "mul", "sub", "div" }, t.name, constant(b, dims, 0.5, 1.5)), t.dims)
end

function ways.pool(b, t)
  local n, c, h, w = image(b, t)
  if h < 3 or w < 3 then return end
  local counted, avg = math.random() < 0.5 and " counted" or "", math.random() < 0.5
  local name = line(b, "%s(%s) k3x3 s2x2 p1x1 e1x1%s", avg and "avgpool" or "maxpool", t.name, avg and counted or "")
  return made(b, name, image_dims(b, n, c, (h - 1) // 2 + 1, (w - 1) // 2 + 1))
end

function ways.pad(b, t)
  local n, c, h, w = image(b, t)
  local before, after = image_dims(b, 0, 0, 1, 2), image_dims(b, 0, 0, 0, 1)
  local how = pick { "", "", " edge", " value 0.5" }
  local name = line(b, "pad(%s) before %s after %s%s", t.name, table.concat(before, ","), table.concat(after, ","), how)
  return h < 10 and made(b, name, image_dims(b, n, c, h + 1, w + 3)) or nil
end

function ways.resize(b, t)
  local n, c, h, w = image(b, t)
  if h > 6 or w > 6 then return end
  return made(b, line(b, "resize(%s) nearest %s", t.name,
    pick { "2x2 asymmetric floor", "2x2", ("o%dx%d round_prefer_ceil"):format(2 * h, 2 * w) }), image_dims(b, n, c, 2 * h, 2 * w))
end

function ways.depth_to_space(b, t)
  local n, c, h, w = image(b, t)
  if c % 4 ~= 0 or h > 6 then return end
  return made(b, line(b, "depth_to_space(%s) 2 %s", t.name, pick { "dcr", "crd" }), image_dims(b, n, c // 4, 2 * h, 2 * w))
end

function ways.concat(b, t)
  local list, n, c, h, w = { t.name }, image(b, t)
  for _, other in ipairs(b.list) do
    if #other.dims == 4 then
      local n2, c2, h2, w2 = image(b, other)
      if n2 == n and h2 == h and w2 == w and #list < 4 and math.random() < 0.7 then
        list[#list + 1], c = other.name, c + c2
      end
    end
  end
  return made(b, line(b, "concat(%s) axis %d", table.concat(list, ", "), axis(b, 1)), image_dims(b, n, c, h, w))
end

function ways.split(b, t)
  local n, c, h, w = image(b, t)
  if c < 2 then return end
  local first = math.random(c - 1)
  b.count = b.count + 2
  local one, two = "t" .. b.count - 1, "t" .. b.count
  b.lines[#b.lines + 1] = ("%s, %s = split(%s) axis %d sizes %d,%d"):format(one, two, t.name, axis(b, 1), first, c - first)
  made(b, one, image_dims(b, n, first, h, w))
  return made(b, two, image_dims(b, n, c - first, h, w))
end

function ways.mean(b, t)
  local n, c = image(b, t)
  local keep = math.random() < 0.5
  local dims = keep and image_dims(b, n, c, 1, 1) or { n, c }
  local axes = b.layout == "nhwc" and "1,2" or "2,3"
  return made(b, line(b, "reduce_%s(%s) axes %s%s", pick { "mean", "max", "sum" }, t.name, axes, keep and " keep" or ""), dims)
end

function ways.turn(b, t)
  local d = t.dims
  return made(b, line(b, "transpose(%s) 0,2,3,1", t.name), { d[1], d[3], d[4], d[2] })
end

function ways.turn_back(b, t)
  local d = t.dims
  return made(b, line(b, "transpose(%s) 0,3,1,2", t.name), { d[1], d[4], d[2], d[3] })
end

function ways.rows(b, t)
  local d = t.dims
  return made(b, line(b, "reshape(%s) %dx%dx%d", t.name, d[1], d[2], d[3] * d[4]), { d[1], d[2], d[3] * d[4] })
end

function ways.prelu(b, t)
  local _, c = image(b, t)
  local dims = b.layout == "nhwc" and { c } or { c, 1, 1 }
  return made(b, line(b, "prelu(%s, %s)", t.name, constant(b, dims)), t.dims)
end

---- any tensor ---------------------------------------------------------------------------------------------------------------

local any = {}

function any.activation(b, t)
  local word = pick { "relu", "clamp:0:6", "leaky:0.1", "sigmoid", "tanh", "hardsigmoid:0.2:0.5", "hardswish", "silu", "gelu" }
  return made(b, line(b, "activate(%s) %s", t.name, word), t.dims)
end

function any.silu(b, t)
  local s = line(b, "activate(%s) sigmoid", t.name)
  if math.random() < 0.2 then made(b, s, t.dims) end
  return made(b, line(b, "mul(%s, %s)", s, t.name), t.dims)
end

function any.hardswish(b, t)
  local h = line(b, "activate(%s) clamp:0:6", line(b, "add(%s, 3)", t.name))
  return made(b, line(b, "div(%s, 6)", line(b, "mul(%s, %s)", t.name, h)), t.dims)
end

function any.gelu(b, t)
  local e = line(b, "erf(%s)", line(b, "mul(%s, 0.7071067811865476)", t.name))
  local h = line(b, "mul(%s, %s)", t.name, line(b, "add(%s, 1)", e))
  return made(b, line(b, "mul(%s, 0.5)", h), t.dims)
end

function any.leaky(b, t)
  local l = line(b, "max(%s, %s)", line(b, "mul(%s, 0.25)", t.name), t.name)
  return made(b, line(b, "max(%s, -0.125)", l), t.dims)
end

function any.number(b, t)
  return made(b, line(b, "%s(%s, %s)", pick { "add", "sub", "mul", "div", "max", "min" }, t.name, pick { "0.5", "-1.5", "2", "1" }),
    t.dims)
end

function any.one(b, t)
  local x = pick { "abs", "neg", "erf", "softplus" }
  return made(b, line(b, "%s(%s)", x, t.name), t.dims)
end

function any.sum(b, t)
  local other = same_shape(b, t)
  return other and made(b, line(b, "%s(%s, %s)", pick { "add", "add", "mul", "max", "sub" }, t.name, other.name), t.dims)
end

function any.sums(b, t)
  local other, third = same_shape(b, t), same_shape(b, t)
  return other and made(b, line(b, "add(%s, %s, %s)", t.name, other.name, third.name), t.dims)
end

function any.norm(b, t)
  local rank = #t.dims
  local c = t.dims[rank]
  local m = line(b, "reduce_mean(%s) axes %d keep", t.name, rank - 1)
  local d = line(b, "sub(%s, %s)", t.name, m)
  local v = line(b, "reduce_mean(%s) axes %d keep", line(b, "pow(%s, 2)", d), rank - 1)
  local n = line(b, "div(%s, %s)", d, line(b, "sqrt(%s)", line(b, "add(%s, 0.01)", v)))
  if math.random() < 0.2 then made(b, d, t.dims) end
  local y = line(b, "mul(%s, %s)", n, constant(b, { c }))
  return made(b, line(b, "add(%s, %s)", y, constant(b, { c })), t.dims)
end

function any.matmul(b, t)
  local dims = table.move(t.dims, 1, #t.dims, 1, {})
  local n = math.random(1, 5)
  local name = line(b, "matmul(%s, %s)", t.name, constant(b, { dims[#dims], n }))
  dims[#dims] = n
  if math.random() < 0.6 then name = line(b, "add(%s, %s)", name, constant(b, { n })) end
  return made(b, name, dims)
end

function any.attention(b, t)
  local d = t.dims
  if #d ~= 3 or d[2] * d[3] > 100 then return end
  local s = line(b, "softmax(%s) axis 2", line(b, "matmul(%s, %s)", t.name, line(b, "transpose(%s) 0,2,1", t.name)))
  return made(b, line(b, "matmul(%s, %s)", s, t.name), d)
end

function any.swap(b, t)
  local d = t.dims
  return #d == 3 and made(b, line(b, "transpose(%s) 0,2,1", t.name), { d[1], d[3], d[2] }) or nil
end

function any.slice(b, t)
  local i = math.random(#t.dims)
  local size = t.dims[i]
  if size < 3 then return end
  local dims = table.move(t.dims, 1, #t.dims, 1, {})
  local step, from = pick { 1, 1, 2, -1 }, math.random(0, 1)
  local to = step > 0 and size or 0
  if step < 0 then from = size - 1 end
  dims[i] = step < 0 and size - 1 or (size - from + step - 1) // step
  local name = line(b, "slice(%s) axes %d from %d to %d steps %d", t.name, i - 1, from, to, step)
  return made(b, name, dims)
end

---- the whole ------------------------------------------------------------------------------------------------------------------

local function names(table_of)
  local list = {}
  for name in pairs(table_of) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local image_ways, any_ways = names(ways), names(any)
for _ = 1, 4 do
  table.move({ "conv", "concat", "block", "block" }, 1, 4, #image_ways + 1, image_ways)
end

local function grow(b)
  local way, t
  if math.random() < 0.6 then
    way, t = ways[pick(image_ways)], some(b, 4)
  else
    way, t = any[pick(any_ways)], some(b)
  end
  if t and count(t.dims) < 600 then way(b, t) end
end

local function outputs(b)
  local list, seen = {}, {}
  local function add(t)
    if seen[t.name] then return end
    seen[t.name] = true
    list[#list + 1] = "output " .. t.name
  end
  add(b.list[#b.list])
  for _ = 1, math.random(0, 3) do add(pick(b.list)) end
  return list
end

-- The text of a network and what its inputs and constants are.
function random.network(layout, operations)
  local b = { layout = layout, lines = {}, constants = {}, given = {}, list = {}, count = 0, bytes = 0 }
  local dims = image_dims(b, math.random(1, 2), math.random(1, 4), math.random(3, 8), math.random(3, 8))
  b.given.x = numbers(dims, -2, 2)
  made(b, "x", dims)
  while #b.lines < operations do grow(b) end
  local all = { layout == "nhwc" and "layout nhwc" or "", ("weights w.weights bytes %d"):format(b.bytes) }
  table.move(b.constants, 1, #b.constants, #all + 1, all)
  all[#all + 1] = "input x f32 " .. text(dims)
  table.move(b.lines, 1, #b.lines, #all + 1, all)
  local last = outputs(b)
  table.move(last, 1, #last, #all + 1, all)
  return table.concat(all, "\n") .. "\n", b.given
end

return random
