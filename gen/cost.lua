-- cost.lua: what counts come to in cycles, by the slots of a target and the rates of a machine.
--
-- The unit of every estimate is one: cycles of one core from the start of a run to its end, those of the thread with
-- the most work where there are several; what passes once is counted too, and packing weights that change at every run.
-- Families count multiply-adds, stores, calls, and the lines that pass between two uses of the same data; no constant
-- of a processor stands in a family. A rate that the machine lacks, or that cannot be true, is the target's row's.
-- Everything here is monotone: more of anything, or a slower rate, costs no less.
local tally = require "tally"
local cost = {}

local LINE = 64
-- The least that a line takes which nothing fetches ahead: its latency over the lines that are under way.
local asked = { l2 = 2, l3 = 5, memory = 14 }

-- What an operation of a kernel takes to be generated, in cycles; so often a plan that is estimated is taken to run.
local WRITTEN, RUNS = 10000, 250

local function believed(rate) return type(rate) == "number" and rate >= 0 and rate <= 10000 end

-- The rates of a machine, each level at least as slow as the one before it.
local function rates_of(machine, target)
  local given, r = type(machine.rates) == "table" and machine.rates or {}, {}
  for name, default in pairs(target.rates) do r[name] = believed(given[name]) and given[name] or default end
  r.l3 = math.max(r.l3, r.l2)
  r.memory = math.max(r.memory, r.l3)
  r.store_memory, r.stream_memory = math.max(r.store_memory, r.store_l3), math.max(r.stream_memory, r.stream_l3)
  return r
end

local function size(bytes, default) return bytes and bytes > 0 and bytes or default end

-- How much of what is read again, `bytes` after the last time, a cache of `level` bytes no longer has.
local function lost(bytes, level)
  local part = bytes / level - 0.5
  return part <= 0 and 0 or part < 1 and part or 1
end

local function eighth_power(x) return ((x ^ 2) ^ 2) ^ 2 end

-- The most of several bounds; such as lie near each other disturb each other.
local function bound(a, b, c)
  local longest = math.max(a, b, c)
  if longest == 0 then return 0 end
  return longest * (eighth_power(a / longest) + eighth_power(b / longest) + eighth_power(c / longest)) ^ 0.125
end

-- Cycles of a run with its share of making the kernels, of so many operations: what plans that are estimated go by.
function cost.planned(cycles, made) return cycles + made * (WRITTEN / RUNS) end

-- Sizes of the caches in bytes (of the last one what a core may count on while others use it), and cycles.
function cost.machine(machine, target)
  local r = rates_of(machine, target)
  local m = { target = target, rates = r, lost = lost, l1 = size(machine.l1d, 1 << 15), l2 = size(machine.l2, 1 << 20) }
  m.last = math.max(math.min(size(machine.l3, 32 * m.l2) // 2, 32 * m.l2), m.l2)

  m.asked = {}
  for level, least in pairs(asked) do m.asked[level] = math.max(r[level], least) end
  -- Of a line that comes from a cache, or from memory in place of one, by rates of the machine.
  function m.within(first, second, by) return lost(first, m.l1) * by.l2 + lost(second, m.l2) * (by.l3 - by.l2) end
  function m.beyond(bytes, by) return lost(bytes, m.last) * (by.memory - by.l3) end

  -- To read a line again that stands in a row of lines, `bytes` of other data after the last time, beside its loads; to
  -- write one of `bytes` in all, through the caches and past them.
  function m.line(bytes) return m.within(bytes, bytes, r) + m.beyond(bytes, r) end
  function m.store(bytes)
    local first = math.min(r.l2, r.store_l3)
    return lost(bytes, m.l1) * first + lost(bytes, m.l2) * (r.store_l3 - first) +
      lost(bytes, m.last) * (r.store_memory - r.store_l3)
  end
  function m.stream(bytes) return r.stream_l3 + lost(bytes, m.last) * (r.stream_memory - r.stream_l3) end

  -- A step of a tile: so many multiply-adds and loads of vectors, summed into so many accumulators.
  function m.step(fmas, loads, accumulators)
    return bound(fmas / target.fma, loads / target.loads, target.latency * fmas / math.max(accumulators, 1))
  end

  -- To write packed weights from weights, sizes in bytes.
  function m.pack(weights, packed)
    local all = weights + packed
    return packed / LINE * (1.5 + m.store(all)) + weights / LINE * m.line(all)
  end

  function m.tally() return tally.new(m) end

  return m
end

return cost
