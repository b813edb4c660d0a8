-- cost.lua: what counts come to in cycles, by the slots of a target and the rates of a machine.
--
-- The unit of every estimate is one: cycles of one core from the start of a run to its end, those of the thread with the most work
-- where there are several. Families count multiply-adds, loads, stores and the lines that pass between two uses of the same data;
-- no constant of a processor stands in a family. A rate that the machine lacks, or that cannot be true, is the target's row's.
-- Everything here is monotone: more of anything, or a slower rate, costs no less.
local cost = {}

-- A rate is believed within these: cycles of a line.
local least, most = 0, 10000

local function believed(rate) return type(rate) == "number" and rate >= least and rate <= most end

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
local function lost(bytes, level) return math.max(0, math.min(bytes / level - 0.5, 1)) end

-- What families ask: sizes of the caches in bytes (of the last one what a core may count on while others use it), and cycles.
function cost.machine(machine, target)
  local r = rates_of(machine, target)
  local m = { rates = r, l1 = size(machine.l1d, 1 << 15), l2 = size(machine.l2, 1 << 20), page = r.page }
  m.last = math.max(math.min(size(machine.l3, 32 * m.l2) // 2, 16 * m.l2), m.l2)

  -- To read a line again, `bytes` of other data after the last time, beside its loads.
  function m.line(bytes)
    return lost(bytes, m.l1) * r.l2 + lost(bytes, m.l2) * (r.l3 - r.l2) + lost(bytes, m.last) * (r.memory - r.l3)
  end

  -- To write a line of `bytes` in all, through the caches and past them.
  function m.store(bytes)
    local near, far = math.min(r.l2, r.store_l3), r.store_l3
    return lost(bytes, m.l1) * near + lost(bytes, m.l2) * (far - near) + lost(bytes, m.last) * (r.store_memory - far)
  end
  function m.stream(bytes) return r.stream_l3 + lost(bytes, m.last) * (r.stream_memory - r.stream_l3) end

  -- A step of a tile: so many multiply-adds and loads of vectors, summed into so many accumulators.
  function m.step(fmas, loads, accumulators)
    return math.max(fmas / target.fma, loads / target.loads, target.latency * fmas / math.max(accumulators, 1))
  end

  return m
end

return cost
