-- network/place.lua: where in one arena each root lies, from its first write to its last read.
--
-- A block is { bytes, first, last }: the operations, from 1, between which it is alive, both included. No two blocks
-- that are alive at once overlap; offsets are multiples of 64. The bound is the largest sum of what is alive at once:
-- no arena is smaller.
local place = {}

local alignment = 64

local function rounded(bytes) return (bytes + alignment - 1) // alignment * alignment end

-- The largest sum of bytes alive at one operation.
function place.bound(blocks)
  local change, last = {}, 0
  for _, b in ipairs(blocks) do
    change[b.first] = (change[b.first] or 0) + rounded(b.bytes)
    change[b.last + 1] = (change[b.last + 1] or 0) - rounded(b.bytes)
    last = math.max(last, b.last + 1)
  end
  local sum, most = 0, 0
  for i = 1, last do
    sum = sum + (change[i] or 0)
    most = math.max(most, sum)
  end
  return most
end

-- Where the lowest gap begins that a block fits into, among placed ones in the order of their offsets.
local function gap_for(b, placed)
  local size, at = rounded(b.bytes), 0
  for _, other in ipairs(placed) do
    if other.first <= b.last and b.first <= other.last then
      if other.offset - at >= size then return at end
      at = math.max(at, other.offset + rounded(other.bytes))
    end
  end
  return at
end

local function insert(placed, b)
  local i = #placed
  while i > 0 and placed[i].offset > b.offset do i = i - 1 end
  table.insert(placed, i + 1, b)
end

-- Gives every block its offset, in an order; the arena's bytes.
local function in_order(blocks)
  local placed, most = {}, 0
  for _, b in ipairs(blocks) do
    b.offset = gap_for(b, placed)
    insert(placed, b)
    most = math.max(most, b.offset + rounded(b.bytes))
  end
  return most
end

local function length(b) return b.last - b.first + 1 end

-- Orders to begin with: each is what comes first, ties by number.
local orders = {
  function(b) return -b.bytes end,
  function(b) return -b.bytes * length(b) end,
  function(b) return -length(b) end,
  function(b) return b.first end,
}

local function sorted(blocks, key)
  local list, keys = table.move(blocks, 1, #blocks, 1, {}), {}
  for _, b in ipairs(blocks) do keys[b] = key(b) end
  table.sort(list, function(a, b) return keys[a] < keys[b] or keys[a] == keys[b] and a.number < b.number end)
  return list
end

-- The best so far: its bytes and the offsets.
local function keep(best, blocks, bytes)
  if best.bytes and best.bytes <= bytes then return end
  best.bytes = bytes
  for i, b in ipairs(blocks) do best[i] = b.offset end
end

-- Moves a block that reaches up to the arena's end to the front of the order.
local function move_highest(order, bytes)
  for i, b in ipairs(order) do
    if b.offset + rounded(b.bytes) == bytes then
      table.insert(order, 1, table.remove(order, i))
      return
    end
  end
end

-- Tries orders, each changed where its arena was too large, while there is hope and work left: a try takes about the
-- square of the number of blocks.
local most_work = 20000000

local function search(blocks, bound, best)
  local tries = math.max(1, math.min(100, most_work // (#orders * #blocks * #blocks + 1)))
  for _, key in ipairs(orders) do
    local order = sorted(blocks, key)
    for _ = 1, tries do
      local bytes = in_order(order)
      keep(best, blocks, bytes)
      if best.bytes == bound then return end
      move_highest(order, bytes)
    end
  end
end

-- Gives every block an offset; the arena's bytes and their lower bound.
function place.blocks(blocks)
  local best, bound = {}, place.bound(blocks)
  for i, b in ipairs(blocks) do b.number = i end
  search(blocks, bound, best)
  for i, b in ipairs(blocks) do b.offset = best[i] end
  return best.bytes, bound
end

return place
