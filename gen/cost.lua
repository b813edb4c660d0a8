-- cost.lua: what counts come to in cycles, by the slots of a target and the rates of a machine.
--
-- The unit of every estimate is one: cycles of one core from the start of a run to its end, those of the thread with the most work
-- where there are several, what passes once and what weights take that change at every run included. Families count multiply-adds,
-- loads, stores, calls and the lines that pass between two uses of the same data; no constant of a processor stands in a family.
-- A rate that the machine lacks, or that cannot be true, is the target's row's.
-- Everything here is monotone: more of anything, or a slower rate, costs no less.
local cost = {}

local LINE, PAGE = 64, 4096

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

-- The most of several bounds; such as lie near each other disturb each other.
local function bound(a, b, c)
  local longest = math.max(a, b, c)
  if longest == 0 then return 0 end
  local function share(x) return (x / longest) ^ 8 end
  return longest * (share(a) + share(b) + share(c)) ^ 0.125
end

-- Lines that `chunk` bytes lie in, of which the next begin `pitch` bytes further.
local function lines_of(chunk, pitch)
  if chunk >= pitch then return pitch / LINE end
  return math.max(1, chunk / LINE + ((chunk % LINE == 0 and pitch % LINE == 0) and 0 or 0.5))
end

-- The share of a cache's sets that lines so far apart lie in.
local function sets_of(lines, pitch) return math.min(1, lines * LINE / (pitch & -pitch)) end

local tally = {}
tally.__index = tally

-- What begins and ends.
local CALL, LOOP, TASK, TURN = 10, 3, 16, 1.4

function tally:calls(n) self.work = self.work + n * CALL end
function tally:loops(n) self.work = self.work + n * LOOP end
function tally:tasks(n) self.work = self.work + n * TASK end
-- n parts of 16 bytes turned round: loaded, shuffled, stored.
function tally:turns(n) self.work = self.work + n * TURN end
function tally:steps(n, fmas, loads, accumulators) self.work = self.work + n * self.m.step(fmas, loads, accumulators) end

-- n vectors stored whole, and parts of vectors.
function tally:stores(n, parts) self.stored = self.stored + (n + (parts or 0) * self.target.partial) / self.target.stores end

-- n chunks are read again. A walk: bytes of a chunk and from one to the next; own, others: bytes of lines of such chunks, and of what
-- else passes since the last time. What does not follow in memory is not fetched ahead by the processor, may crowd in few sets of
-- the caches and turns pages. fetched: by the kernel, so that nothing waits for memory.
function tally:read(n, walk)
  local chunk, pitch, others = walk.chunk, walk.pitch, walk.others or 0
  local lines, scattered = lines_of(chunk, pitch), chunk < pitch
  local scale = scattered and 2 or 1
  local far = n * lines * self.far(walk.own + others, walk.fetched and 1 or scale)
  local own = scattered and walk.own / sets_of(lines, pitch) or walk.own
  self.lines = self.lines + n * lines * self.near(own + others, walk.own + others, scale) + (walk.fetched and far or 0)
  self.waits = self.waits + (walk.fetched and 0 or far)
  if scattered then
    local pages = math.min(lines, pitch / PAGE)
    self.lines = self.lines + n * pages * lost(walk.own / (lines * LINE) * pages, 64) * self.m.page
  end
end

-- n chunks are copied, and nothing is done meanwhile.
function tally:copy(n, walk)
  local before = self.lines
  self:read(n, walk)
  self.work, self.lines = self.work + self.lines - before + n * walk.chunk / self.target.bits * 8, before
end

-- The same of writing, of `all` bytes in all. Past the caches, a chunk that the next does not follow goes to memory alone.
local ALONE = 8

function tally:write(n, chunk, pitch, all, stream)
  local lines, m = lines_of(chunk, pitch), self.m
  self.lines = self.lines + n * lines * (stream and m.stream(all) * (chunk < pitch and ALONE or 1) or m.store(all))
  if chunk < pitch then self.lines = self.lines + n * math.min(lines, pitch / PAGE) * lost(all, PAGE * 64) * m.page end
end

-- Steps that loads `rows` lines, pitch bytes apart, each.
function tally:crowds(n, rows, pitch)
  self.lines = self.lines + n * rows * self.m.crowd(rows, pitch) * 2 * self.m.rates.l2
end

-- Stores and lines go on while work is done: the longest of them, what they disturb each other, and the waits.
function tally:cycles()
  local longest = math.max(self.work, self.stored, self.lines)
  return longest + 0.06 * (self.work + self.stored + self.lines - longest) + self.waits
end

-- What families ask: sizes of the caches in bytes (of the last one what a core may count on while others use it), and cycles.
function cost.machine(machine, target)
  local r = rates_of(machine, target)
  local m = { rates = r, l1 = size(machine.l1d, 1 << 15), l2 = size(machine.l2, 1 << 20), page = r.page }
  m.last = math.max(math.min(size(machine.l3, 32 * m.l2) // 2, 32 * m.l2), m.l2)

  local function far(bytes, scale) return lost(bytes, m.last) * scale * (r.memory - r.l3) end
  local function near(first, second, scale) return scale * (lost(first, m.l1) * r.l2 + lost(second, m.l2) * (r.l3 - r.l2)) end

  -- To read a line again that stands in a row of lines, `bytes` of other data after the last time, beside its loads.
  function m.line(bytes) return near(bytes, bytes, 1) + far(bytes, 1) end

  -- To write a line of `bytes` in all, through the caches and past them.
  function m.store(bytes)
    local first = math.min(r.l2, r.store_l3)
    return lost(bytes, m.l1) * first + lost(bytes, m.l2) * (r.store_l3 - first) + lost(bytes, m.last) * (r.store_memory - r.store_l3)
  end
  function m.stream(bytes) return r.stream_l3 + lost(bytes, m.last) * (r.stream_memory - r.stream_l3) end

  -- A step of a tile: so many multiply-adds and loads of vectors, summed into so many accumulators.
  function m.step(fmas, loads, accumulators)
    return bound(fmas / target.fma, loads / target.loads, target.latency * fmas / math.max(accumulators, 1))
  end

  -- How much of `rows` lines, pitch bytes apart, the nearest cache loses because they meet in its sets.
  function m.crowd(rows, pitch)
    local sets = math.min(rows, PAGE // math.max(LINE, math.min(pitch & -pitch, PAGE)))
    return math.max(0, math.min(3 * (rows / sets / (m.l1 / PAGE) - 1), 1))
  end

  -- To write packed weights from weights, sizes in bytes.
  function m.pack(weights, packed)
    local all = weights + packed
    return packed / LINE * (1.5 + m.store(all)) + weights / LINE * m.line(all)
  end

  -- What a family counts: work of the arithmetic units, lines that come meanwhile, what work waits for.
  function m.tally() return setmetatable({ m = m, target = target, work = 0, stored = 0, lines = 0, waits = 0, near = near, far = far }, tally) end

  return m
end

return cost
