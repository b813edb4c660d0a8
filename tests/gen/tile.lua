-- The tile builder: programs of descriptions of each kind, run operation by operation over small integers, against
-- plain sums.
local suite = require "suite"
local program, targets, tile = require "program", require "targets", require "tile"
local case, equal, refuses = suite.case, suite.equal, suite.refuses

---- a program, run: pointers are {memory, position}; whatever is read must be there ---------------------------------

local run_block

local function lanes_of(k, op) return op.first or 0, (op.first or 0) + (op.count or k.lanes) - 1 end

local function read(m, a, lane)
  local p = m[a.pointer]
  return p.memory[p.position + a.offset + lane] or error(("reads %s + %d"):format(a.pointer.name, a.offset + lane))
end

local function vector(f) return setmetatable({}, { __index = function(_, lane) return f(lane) end }) end

local function operand(m, x)
  if x.kind == "register" then return m[x] end
  return vector(function(lane) return read(m, x.address, x.all and 0 or lane) end)
end

local function each_lane(k, m, op, f)
  local first, last = lanes_of(k, op)
  local d, result = m[op.d] or {}, {}
  for lane = 0, k.lanes - 1 do
    result[lane] = op.op:find "fma" and d[lane] or 0
    if lane >= first and lane <= last then result[lane] = f(lane) end
  end
  m[op.d] = result
end

local run = {}
function run.zero(k, m, op) each_lane(k, m, op, function() return 0 end) end
function run.load(k, m, op) each_lane(k, m, op, function(lane) return read(m, op.a, lane) end) end
function run.broadcast(k, m, op) each_lane(k, m, op, function() return read(m, op.a, 0) end) end
function run.spread(k, m, op)
  each_lane(k, m, { op = "spread", d = op.d }, function(lane) return read(m, op.a, (op.phase + lane) // op.times) end)
end
function run.fma(k, m, op)
  local d, x, y = m[op.d], m[op.x], operand(m, op.y)
  each_lane(k, m, op, function(lane) return d[lane] + x[lane] * y[lane] end)
end
function run.add(k, m, op)
  local x, y = m[op.x], operand(m, op.y)
  each_lane(k, m, op, function(lane) return x[lane] + y[lane] end)
end
function run.max(k, m, op)
  local x, y = m[op.x], m[op.y]
  each_lane(k, m, op, function(lane) return math.max(x[lane], y[lane]) end)
end
function run.store(k, m, op)
  local first, last = lanes_of(k, op)
  for lane = first, last do m[op.a.pointer].memory[m[op.a.pointer].position + op.a.offset + lane] = m[op.x][lane] end
end
run.stream = run.store
function run.prefetch(_, m) m.fetched = m.fetched + 1 end
function run.copy(_, m, op) m[op.p] = { memory = m[op.from].memory, position = m[op.from].position } end
function run.advance(_, m, op) m[op.p].position = m[op.p].position + op.elements end
function run.loop(k, m, op)
  for _ = 1, math.type(op.count) and op.count or m[op.count] do run_block(k, m, op.body) end
end

function run_block(k, m, block)
  for _, op in ipairs(block) do
    local name = op.op .. (op.op ~= "loop" and op.count and "_range" or "")
    m.counts[name] = (m.counts[name] or 0) + 1
    run[op.op](k, m, op)
  end
end

-- arguments by name: a list of numbers (from 0), or a count. Answers how often each operation ran (those of ranges of
-- lanes apart), and how many lines were fetched.
local function execute(k, arguments)
  local m = { counts = {}, fetched = 0 }
  for _, formal in ipairs(k.args) do
    local actual = arguments[formal.name]
    m[formal] = type(actual) == "table" and { memory = actual, position = 0 } or actual
  end
  run_block(k, m, k.body)
  return m.counts, m.fetched
end

local function numbers(n)
  local list = {}
  for i = 0, n - 1 do list[i] = math.random(-9, 9) end
  return list
end

local function same(got, expected, n)
  for i = 0, n - 1 do
    if got[i] ~= expected[i] then error(("element %d is %s, expected %s"):format(i, got[i], expected[i]), 2) end
  end
end

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
print("seed " .. seed)
math.randomseed(seed)

---- a row of 4 pixels, 3 taps, pad 1: channels in the lanes, one lane short of two vectors; bias and relu -----------

local function row_of_pixels(target, stream)
  local lanes = targets[target].bits // 32
  local channels, width, last = 5, 2 * lanes, lanes - 1
  local segments = {
    { tap = 0, first = 1, last = 3 }, { tap = 1, first = 0, last = 3 }, { tap = 2, first = 0, last = 2 },
  }
  local nest = { loop = "rows", steps = { { "src", 4 * channels }, { "panel", 3 * channels * width } } }
  for i, s in ipairs(segments) do
    local reach = { m = tile.span(s.first, s.last) }
    nest[i] = { copies = { { "src", "x", (s.tap - 1) * channels }, { "panel", "w", s.tap * channels * width } },
      { loop = channels, steps = { { "src", 1 }, { "panel", width } },
        { load = reach }, { fetch = { { "panel", 4 * width, 1 } } }, { multiply = reach } } }
  end
  return tile.kernel { name = "pixels", type = "f32", target = targets[target],
    arguments = { { "src", "in" }, { "panel", "in" }, { "bias", "in" }, { "dst", "out" }, { "rows", "count" } },
    sizes = { m = 4, v = 2 }, registers = { "passing", "sums", "held" },
    sums = { pointer = "dst", register = "acc", { "m", width }, { "v", lanes }, last = last },
    held = { pointer = "panel", register = "w", { "v", lanes } },
    passing = { pointer = "src", register = "a", { "m", channels } },
    ending = { epilogue = { epilogue = { activation = "relu" } }, temporary = "held", stream = stream,
      bias = { pointer = "bias", { "v", lanes } } },
    body = { { zero = {} }, nest, { finish = { "epilogue", "stored" } } } }, channels, width, width - 1
end

for _, target in ipairs { "avx512", "avx2", "portable" } do
  case("pixels of a row, " .. target, function()
    local k, channels, width, outputs = row_of_pixels(target, target == "avx2")
    local rows = 2
    local src, panel, bias = numbers(rows * 4 * channels), numbers(rows * 3 * channels * width), numbers(width)
    local dst, expected = {}, {}
    local function sum_of(m, o)
      local sum = bias[o]
      for i = 0, rows * 3 * channels - 1 do
        local r, x, c = i // (3 * channels), m + i // channels % 3 - 1, i % channels
        if x >= 0 and x < 4 then sum = sum + src[(r * 4 + x) * channels + c] * panel[i * width + o] end
      end
      return sum
    end
    for m = 0, 3 do
      for o = 0, outputs - 1 do expected[m * width + o] = math.max(sum_of(m, o), 0) end
    end
    local counts, fetched = execute(k, { src = src, panel = panel, bias = bias, dst = dst, rows = rows })
    same(dst, expected, 4 * width)
    local steps = rows * 3 * channels
    equal(counts.load, steps * 2 + 4) -- the panel's vectors once a step; the bias
    equal(counts.load_range, 4)
    equal(counts.broadcast, rows * channels * 10) -- a pixel once a step that reaches it
    equal(counts.fma, rows * channels * 20)
    equal(fetched, steps)
    equal(counts.stream, target == "avx2" and 4 or nil)
    equal(counts.store, target ~= "avx2" and 4 or nil)
    equal(counts.store_range, 4)
  end)
end

---- held by two axes, ranges of lanes, and added to what is there: a window, where one row of taps sees less

-- sums[kh][o] += window[pixel, kh] * diff[pixel, o]; of the last pixel the first row of taps alone, `seen` lanes.
local function window(lanes, seen)
  local part = { kh = { 0 }, lanes = { [0] = { first = 0, count = seen, padded = true } } }
  return tile.kernel { name = "window", type = "f32", target = targets.avx512,
    arguments = { { "src", "in" }, { "diff", "in" }, { "total", "inout" }, { "columns", "count" } },
    sizes = { kh = 2, o = 3, v = 1 },
    registers = { "passing", { "sums", kh = { 0 } }, { "held", kh = { 0 } }, { "sums", kh = { 1 } } },
    sums = { pointer = "total", register = "acc", { "kh", 3 * lanes }, { "o", lanes }, { "v", lanes } },
    held = { pointer = "src", register = "x", indices = { "kh", "v" }, { "v", lanes }, { "kh", 100 } },
    passing = { pointer = "diff", register = "w", { "o", 1 } }, ending = { temporary = "passing" },
    body = { { zero = {} }, { loop = "columns", steps = { { "src", 2 }, { "diff", 3 } }, { load = {} },
        { multiply = {} } }, { load = part }, { multiply = part },
      { finish = { "added", "stored" } } } }
end

case("a window of two rows of taps", function()
  local lanes, seen, columns = 16, 5, 3
  local k = window(lanes, seen)
  equal(k.vectors[1].name .. " " .. k.vectors[5].name .. " " .. k.vectors[6].name, "w x0_0 acc1_0_0")
  local src, diff, total = numbers(200), numbers(3 * (columns + 1)), numbers(6 * lanes)
  local expected = {}
  for kh = 0, 1 do
    for o = 0, 2 do
      for lane = 0, lanes - 1 do
        local sum, at = 0, (kh * 3 + o) * lanes + lane
        for pixel = 0, columns do
          if pixel < columns or (kh == 0 and lane < seen) then
            sum = sum + src[kh * 100 + pixel * 2 + lane] * diff[pixel * 3 + o]
          end
        end
        expected[at] = total[at] + sum
      end
    end
  end
  local counts = execute(k, { src = src, diff = diff, total = total, columns = columns })
  same(total, expected, 6 * lanes)
  equal(counts.broadcast, 3 * (columns + 1))
  equal(counts.fma, 6 * columns)
  equal(counts.fma_range, 3) -- 0 * NaN must not reach the other lanes
end)

---- no outer product: what passes reaches several sums with another factor each; memory operands --------------------

-- Three outputs of two taps over four inputs, all in one vector of channels: acc[m] += w[tap] * x[m + tap].
local function depthwise(once)
  local lanes, terms = 8, {}
  for x = 0, 3 do
    local uses = {}
    for tap = 0, 1 do
      if x - tap >= 0 and x - tap <= 2 then uses[#uses + 1] = { m = x - tap, tap = tap } end
    end
    terms[#terms + 1] = { at = { src = x * lanes }, uses = uses }
  end
  return tile.kernel { name = "depthwise", type = "f32", target = targets.avx2,
    arguments = { { "src", "in" }, { "weights", "in" }, { "bias", "in" }, nil, { "dst", "out" } },
    sizes = { m = 3, tap = 2, v = 1 },
    sums = { pointer = "dst", register = "acc", { "m", lanes } },
    held = { pointer = "weights", register = "w", { "tap", lanes } },
    passing = { pointer = "src", register = "x", kind = "lanes", once = once },
    ending = { epilogue = { epilogue = {} }, bias = { pointer = "bias" }, temporary = "passing" },
    body = { { load = {} }, { zero = {} }, { multiply = { terms = terms } }, { finish = { "epilogue", "stored" } },
      { clear = { 24 } } } }
end

case("a vector that several sums take", function()
  local lanes = 8
  local src, weights, bias = numbers(4 * lanes), numbers(2 * lanes), numbers(lanes)
  for _, once in ipairs { false, true } do
    local dst, expected = {}, {}
    for m = 0, 2 do
      for c = 0, lanes - 1 do
        local first, second = src[m * lanes + c], src[(m + 1) * lanes + c]
        expected[m * lanes + c] = bias[c] + first * weights[c] + second * weights[lanes + c]
        expected[(m + 3) * lanes + c] = 0
      end
    end
    local counts = execute(depthwise(once), { src = src, weights = weights, bias = bias, dst = dst })
    same(dst, expected, 6 * lanes)
    equal(counts.load, (once and 4 or 6) + 3) -- both ends are taken but once; the bias
  end
end)

case("a broadcast bias, and a memory operand where the target has it and but one vector takes it", function()
  for _, row in ipairs { { "avx512", 1, 2 }, { "avx512", 2, 4 }, { "avx2", 1, 4 } } do
    local target, vectors = targets[row[1]], row[2]
    local lanes = target.bits // 32
    local width = vectors * lanes
    local k = tile.kernel { name = "planar", type = "f32", target = target, sizes = { c = 2, v = vectors },
      arguments = { { "src", "in" }, { "panel", "in" }, { "bias", "in" }, { "dst", "out" } },
      sums = { pointer = "dst", register = "acc", { "c", width }, { "v", lanes } },
      held = { pointer = "src", register = "x", { "v", lanes } },
      passing = { pointer = "panel", register = "w", once = true, { "c", 1 } },
      ending = { value = { pointer = "bias", { "c", 1 } }, epilogue = { epilogue = { activation = "relu" } },
        temporary = "held" },
      body = { { zero = {} }, { load = {} }, { multiply = {} }, { finish = { "biased", "epilogue", "stored" } } } }
    local src, panel, bias, dst, expected = numbers(width), numbers(2), numbers(2), {}, {}
    for c = 0, 1 do for l = 0, width - 1 do expected[c * width + l] = math.max(bias[c] + panel[c] * src[l], 0) end end
    local counts = execute(k, { src = src, panel = panel, bias = bias, dst = dst })
    same(dst, expected, 2 * width)
    equal(counts.broadcast, row[3])
  end
end)

case("a bias of one vector, whose sums have no axis of vectors", function()
  local target = targets.avx2
  local k = tile.kernel { name = "depthwise", type = "f32", target = target, sizes = { r = 2 },
    arguments = { { "src", "in" }, { "weights", "in" }, { "bias", "in" }, { "dst", "out" } },
    sums = { pointer = "dst", register = "acc", { "r", 8 } }, held = { pointer = "weights", register = "w" },
    passing = { pointer = "src", register = "x", kind = "lanes", { "r", 8 } },
    ending = { bias = { pointer = "bias" }, epilogue = { epilogue = {} }, temporary = "passing" },
    body = { { zero = {} }, { load = {} }, { multiply = { terms = { { at = {}, uses = { { r = 0 } } }, { at = {},
      uses = { { r = 1 } } } } } }, { finish = { "epilogue", "stored" } } } }
  local src, weights, bias, dst, expected = numbers(16), numbers(8), numbers(8), {}, {}
  for i = 0, 15 do expected[i] = bias[i % 8] + weights[i % 8] * src[i] end
  execute(k, { src = src, weights = weights, bias = bias, dst = dst })
  same(dst, expected, 16)
end)

case("a sum over frequencies' blocks begins with what is there", function()
  local k = tile.kernel { name = "product", type = "f64", target = targets.avx2, sizes = { i = 2, v = 1 },
    arguments = { { "v", "in" }, { "d", "in" }, { "sums", "inout" }, { "tiles", "count" }, { "old", "count" } },
    sums = { pointer = "sums", register = "acc", { "i", 4 }, { "v", 4 } },
    held = { pointer = "d", register = "d", { "v", 4 } }, passing = { pointer = "v", register = "a", { "i", 1 } },
    body = { { zero = {}, fetch = 1 },
      { loop = "tiles", steps = { { "v", 2 }, { "d", 4 } }, { load = {} }, { multiply = {} } },
      { loop = "old", { finish = { "added_in_memory" } } }, { finish = { "stored" } } } }
  for old = 0, 1 do
    local v, d, sums, expected = numbers(6), numbers(12), numbers(8), {}
    for i = 0, 1 do
      for l = 0, 3 do
        local sum = old * sums[i * 4 + l]
        for t = 0, 2 do sum = sum + v[t * 2 + i] * d[t * 4 + l] end
        expected[i * 4 + l] = sum
      end
    end
    local _, fetched = execute(k, { v = v, d = d, sums = sums, tiles = 3, old = old })
    same(sums, expected, 8)
    equal(fetched, 2)
  end
end)

case("a description that names nothing", function()
  refuses("has no argument row", function()
    tile.kernel { name = "k", type = "f32", target = targets.avx2, sizes = { v = 1 },
      arguments = { { "src", "inout" } }, sums = { pointer = "src", register = "acc", { "v", 8 } },
      held = { pointer = "src", register = "b", { "v", 8 } },
      passing = { pointer = "src", register = "a" }, body = { { loop = 2, steps = { { "row", 1 } } } } }
  end)
end)

return suite.failures()
