-- Random blocks in an arena: what is alive at once does not overlap, offsets are aligned, and the arena is not smaller
-- than its lower bound. Work is counted.
local suite = require "suite"
local place = require "network/place"

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
print(("CONVGEN_SEED=%d"):format(seed))

local function random_blocks(count, steps, life)
  local blocks = {}
  for i = 1, count do
    local first = math.random(steps)
    blocks[i] = { bytes = math.random(0, 3) == 0 and math.random(1, 100) or 64 * math.random(1, 1000), first = first,
      last = math.min(steps, first + math.random(0, life)) }
  end
  return blocks
end

local function overlap(a, b)
  return a.first <= b.last and b.first <= a.last and a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes
end

-- The largest sum alive at one step, each block rounded up to 64.
local function largest_sum(blocks, steps)
  local most = 0
  for step = 1, steps do
    local sum = 0
    for _, b in ipairs(blocks) do
      if b.first <= step and step <= b.last then sum = sum + (b.bytes + 63) // 64 * 64 end
    end
    most = math.max(most, sum)
  end
  return most
end

local function check(blocks, steps)
  local bytes, bound = place.blocks(blocks)
  suite.equal(bound, largest_sum(blocks, steps))
  assert(bytes >= bound, "the arena is smaller than its lower bound")
  for i, a in ipairs(blocks) do
    assert(a.offset % 64 == 0 and a.offset >= 0 and a.offset + a.bytes <= bytes, "a block is outside or not aligned")
    for j = 1, i - 1 do assert(not overlap(a, blocks[j]), "two blocks that are alive overlap") end
  end
  return bytes / bound
end

for i = 1, 60 do
  math.randomseed(seed, i)
  suite.case(("blocks %d"):format(i), function()
    local steps = math.random(1, 60)
    check(random_blocks(math.random(1, 80), steps, math.random(0, 20)), steps)
  end)
end

suite.case("no blocks", function() suite.equal(place.blocks {}, 0) end)

-- A chain of layers with sums across, as networks have them: no more than the largest sum.
suite.case("a chain is at its lower bound", function()
  local blocks = {}
  for i = 1, 40 do blocks[i] = { bytes = 1000 * (1 + i % 7), first = i, last = math.min(41, i + (i % 3 == 0 and 3 or 1)) } end
  assert(check(blocks, 41) <= 1.05)
end)

suite.case("many blocks are placed in little work", function()
  math.randomseed(seed)
  local count, blocks = 0, random_blocks(1500, 1500, 6)
  debug.sethook(function() count = count + 1 end, "", 100000)
  check(blocks, 1500)
  debug.sethook()
  assert(count < 6000, count)
end)

return suite.failures()
