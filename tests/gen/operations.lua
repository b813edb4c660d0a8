-- Kernels of a network's operations: how much they take to make and how long they are, whatever the sizes of images; what is refused.
-- (What they compute is tests/test_operations.c's.)
local suite = require "suite"
local convgen, driver = require "convgen", require "driver"

local function view(dims, strides, type_) return { type = type_ or "f32", dims = dims, strides = strides } end

-- Channels last; dense.
local function image(c, h, w) return view({ 1, c, h, w }, { c * h * w, 1, w * c, c }) end
local function planes(c, h, w) return view({ 1, c, h, w }, { c * h * w, h * w, w, 1 }) end

local function source(operation, views, target)
  return convgen.operation { operation = operation, views = views, sentence = operation.op, target = target or "avx512", form = "machine",
    threads = 2 }
end

local function counted(body)
  local count = 0
  collectgarbage()
  debug.sethook(function() count = count + 1000 end, "", 1000)
  local ok, why = pcall(body)
  debug.sethook()
  if not ok then error(why, 0) end
  return count
end

-- Operations on images of h x w. allowed: thousand Lua instructions, half as much again as was counted when it was written here.
local cases = {
  { "add and relu", 80, function(h, w)
    return { op = "chain", steps = { { "add", "src", "weights" }, { "relu", 1 } } },
      { src = image(64, h, w), weights = image(64, h, w), dst = image(64, h, w) }
  end },
  { "gelu of a scaled image", 125, function(h, w)
    return { op = "chain", steps = { { "mul", "src", "weights" }, { "gelu", 1 } } },
      { src = image(24, h, w), weights = view({ 1, 24, h, w }, { 0, 1, 0, 0 }), dst = image(24, h, w) }
  end },
  { "planes to pixels", 60, function(h, w) return { op = "copy" }, { src = planes(64, h, w), dst = image(64, h, w) } end },
  { "pixels of three channels to planes", 90, function(h, w) return { op = "copy" }, { src = image(3, h, w), dst = planes(3, h, w) } end },
  { "a maximum of 3x3", 145, function(h, w)
    return { op = "maxpool", kernel = { 3, 3 }, stride = { 2, 2 }, pad = { 1, 1 }, dilation = { 1, 1 } },
      { src = image(64, h, w), dst = image(64, h // 2, w // 2) }
  end },
  { "a mean over an image", 80, function(h, w)
    return { op = "reduce_mean", axes = { 2, 3 } }, { src = image(96, h, w), dst = image(96, 1, 1) }
  end },
  { "softmax along rows", 165, function(h, w)
    return { op = "softmax", axes = { 3 } }, { src = planes(8, h, w), dst = planes(8, h, w) }
  end },
  { "normalisation of pixels", 100, function(h, w)
    local scale = view({ 1, 96, h, w }, { 0, 1, 0, 0 })
    return { op = "layernorm", axes = { 1 }, epsilon = 1e-5 }, { src = image(96, h, w), weights = scale, residual = scale, dst = image(96, h, w) }
  end },
  { "nearest neighbours, twice as many", 35, function(h, w)
    return { op = "resize", mode = "nearest", coordinates = "asymmetric", rounding = "floor" },
      { src = image(96, h, w), dst = image(96, 2 * h, 2 * w) }
  end, tables = true },
  { "linear interpolation, twice as many", 135, function(h, w)
    return { op = "resize", mode = "linear", coordinates = "half_pixel" }, { src = image(96, h, w), dst = image(96, 2 * h, 2 * w) }
  end, tables = true },
  { "padding", 95, function(h, w)
    return { op = "pad", before = { 0, 0, 1, 1 } }, { src = image(24, h, w), dst = image(24, h + 2, w + 2) }
  end },
  { "a product", 85, function(h, w)
    return { op = "matmul" }, { src = planes(8, h, 40), weights = planes(8, 40, w), dst = planes(8, h, w) }
  end },
  { "the largest one's place", 150, function(h, w)
    return { op = "argmax", axes = { 3 } }, { src = planes(1, h, w), dst = view({ 1, 1, h, 1 }, { h, h, 1, 1 }, "i64") }
  end },
}

for _, c in ipairs(cases) do
  suite.case(c[1] .. ": few Lua instructions", function()
    local operation, views = c[3](40, 40)
    assert(source(operation, views))
    local count = counted(function() assert(source(operation, views)) end)
    print(("%8d instructions: %s"):format(count, c[1]))
    if count > c[2] * 1000 then error(("%d instructions, at most %d are allowed"):format(count, c[2] * 1000), 0) end
  end)
  suite.case(c[1] .. ": a text that does not grow with images", function()
    for _, target in ipairs { "avx512", "avx2" } do
      local function length(h, w)
        local operation, views = c[3](h, w)
        return #source(operation, views, target).text
      end
      local small = length(48, 48)
      local grown = length(480, 480) - small
      local allowed = c.tables and 480 * 2 * 60 or 3000 -- a few pieces and blocks of other sizes
      if grown > allowed then error(("%s: %d bytes, and %d more"):format(target, small, grown), 0) end
      if small > 12000 + (c.tables and 12000 or 0) then error(("%s: %d bytes"):format(target, small), 0) end
    end
  end)
end

suite.case("tables of a stage stand before its loops", function()
  local kernel = { name = "k", args = { { name = "from", kind = "pointer" }, { name = "with", kind = "pointer" } } }
  local function body(d, n)
    local place, shares = d:table("place", { 3, 1, 2 }), d:numbers("shares", { 0.25, 1 }, "float")
    d:call(kernel, { { d.src, place(n + 1) * 4 + d:entry(d.weights, n) }, { shares, n * 2 } })
  end
  local stage = driver.stage { name = "test", parts = { { indices = { { "n", 2 } }, body = body } } }
  local text = driver.print(stage, function(slot) return slot == "weights" and "long" or "float" end, function(name) return name end)
  for _, words in ipairs { "float *src = call->src;", "long *weights = call->weights;", "static const long place[] = { 3, 1, 2 };",
    "static const float shares[] = { 0.25, 1 };", "k(src + place[task + 1] * 4 + weights[task], shares + task * 2);" } do
    assert(text:find(words, 1, true), words .. "\n" .. text)
  end
end)

suite.case("what is not there is refused with a sentence", function()
  local one = { src = planes(1, 1, 3), dst = planes(1, 1, 3) }
  local function refused(operation, views, sentence)
    local result, why = source(operation, views)
    suite.equal(result, nil)
    suite.equal(why, sentence)
  end
  refused({ op = "lstm" }, one, "no kernels are there for lstm")
  refused({ op = "chain", steps = { { "swish", "src" } } }, one, "no step is called swish")
  refused({ op = "argmax", axes = { 3 } }, { src = planes(1, 1, 1 << 24), dst = view({ 1, 1, 1, 1 }, { 1, 1, 1, 1 }, "i64") },
    "argmax of an axis of 16777216 elements, allowed are 8388608")
end)

return suite.failures()
