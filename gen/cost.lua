-- cost.lua: what counts come to in cycles, by the slots of a target and the rates of a machine.
--
-- The unit of every estimate is one: cycles of one core from the start of a run to its end, those of the thread with the most
-- work where there are several; what passes once is counted too, and packing weights that change at every run. Families count
-- multiply-adds, stores, calls, and the lines that pass between two uses of the same data; no constant of a processor stands
-- in a family. A rate that the machine lacks, or that cannot be true, is the target's row's.
-- Everything here is monotone: more of anything, or a slower rate, costs no less.
local cost = {}

local LINE, PAGE, PAGES = 64, 4096, 64 -- bytes; pages that a core finds at once
local CALL, LOOP, TASK, TURN = 10, 3, 16, 1.4 -- cycles to begin and end; of 16 bytes loaded, shuffled and stored
local DISTURBED, ALONE = 0.06, 8 -- what goes on meanwhile; lines that are streamed in pieces
local asked = { l2 = 2, l3 = 5, memory = 14 } -- the least for a line that nothing fetches ahead: latency over lines under way

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
local function lost(bytes, level) return math.max(0, math.min(bytes / level - 0.5, 1)) end

-- The most of several bounds; such as lie near each other disturb each other.
local function bound(a, b, c)
  local longest = math.max(a, b, c)
  return longest == 0 and 0 or longest * ((a / longest) ^ 8 + (b / longest) ^ 8 + (c / longest) ^ 8) ^ 0.125
end

-- Lines that `chunk` bytes lie in, of which the next begin `pitch` bytes further; the share of a cache's sets that they meet in.
local function lines_of(chunk, pitch)
  if chunk >= pitch then return pitch / LINE end
  return math.max(1, chunk / LINE + ((chunk % LINE == 0 and pitch % LINE == 0) and 0 or 0.5))
end
local function sets_of(lines, pitch) return math.min(1, lines * LINE / (pitch & -pitch)) end

---- what a family counts: work, stores and lines that go on beside each other, what all wait for ---------------------------

local tally = {}
tally.__index = tally

function tally:calls(n) self.work = self.work + n * CALL end
function tally:loops(n) self.work = self.work + n * LOOP end
function tally:tasks(n) self.work = self.work + n * TASK end
function tally:turns(n) self.work = self.work + n * TURN end
function tally:steps(n, fmas, loads, accumulators) self.work = self.work + n * self.m.step(fmas, loads, accumulators) end

-- n vectors stored whole, and parts of vectors.
function tally:stores(n, parts)
  self.stored = self.stored + (n + (parts or 0) * self.target.partial) / self.target.stores
end

-- n chunks are read again. A walk: bytes of a chunk and from one to the next; own, others: bytes of lines of such chunks, and
-- of what else passes since the last time. What does not follow in memory is not fetched ahead by the processor, may crowd in
-- few sets of the nearest cache, and turns pages. fetched: by the kernel, so that nothing waits for memory.
function tally:read(n, walk)
  local chunk, pitch, own, others = walk.chunk, walk.pitch, walk.own, walk.others or 0
  local m, lines, scattered = self.m, lines_of(chunk, pitch), chunk < pitch
  local asked = scattered and math.min(lines, 1) or 0 -- the first of a chunk's lines
  local all, crowded = own + others, (scattered and own / sets_of(lines, pitch) or own) + others
  local far = asked * m.beyond(all, walk.fetched and m.rates or m.asked) + (lines - asked) * m.beyond(all, m.rates)
  local near = asked * m.within(crowded, all, m.asked) + (lines - asked) * m.within(crowded, all, m.rates)
  local pages = scattered and math.min(lines, pitch / PAGE) or 0
  local turned = pages * lost(own / (lines * LINE) * pages, PAGES)
  self.lines = self.lines + n * (near + turned * m.rates.page + (walk.fetched and far or 0))
  self.waits = self.waits + n * (walk.fetched and 0 or far)
end

-- The same when nothing else is done meanwhile: chunks are copied.
function tally:copy(n, walk)
  local before = self.lines
  self:read(n, walk)
  self.work, self.lines = self.work + self.lines - before + n * walk.chunk / self.target.bits * 8, before
end

-- n chunks of a tensor of `all` bytes are written. Past the caches, a chunk that the next does not follow goes to memory alone.
function tally:write(n, chunk, pitch, all, stream)
  local lines, m, scattered = lines_of(chunk, pitch), self.m, chunk < pitch
  local pages = scattered and math.min(lines, pitch / PAGE) * lost(all, PAGE * PAGES) or 0
  local line = stream and m.stream(all) * (scattered and ALONE or 1) or m.store(all)
  self.lines = self.lines + n * (lines * line + pages * m.rates.page)
end

-- Steps that load `rows` lines, pitch bytes apart, each, which meet in few sets of the nearest cache.
function tally:crowds(n, rows, pitch)
  local sets = math.min(rows, PAGE // math.max(LINE, math.min(pitch & -pitch, PAGE)))
  local crowd = math.max(0, math.min(3 * (rows / sets / (self.m.l1 / PAGE) - 1), 1))
  self.lines = self.lines + n * rows * crowd * self.m.asked.l2
end

function tally:cycles()
  local longest = math.max(self.work, self.stored, self.lines)
  return longest + DISTURBED * (self.work + self.stored + self.lines - longest) + self.waits
end

---- what a machine costs ---------------------------------------------------------------------------------------------------

-- Sizes of the caches in bytes (of the last one what a core may count on while others use it), and cycles.
function cost.machine(machine, target)
  local r = rates_of(machine, target)
  local m = { target = target, rates = r, l1 = size(machine.l1d, 1 << 15), l2 = size(machine.l2, 1 << 20) }
  m.last = math.max(math.min(size(machine.l3, 32 * m.l2) // 2, 32 * m.l2), m.l2)

  m.asked = {}
  for level, least in pairs(asked) do m.asked[level] = math.max(r[level], least) end
  -- Of a line that comes from a cache, or from memory in place of one, by rates of the machine.
  function m.within(first, second, by) return lost(first, m.l1) * by.l2 + lost(second, m.l2) * (by.l3 - by.l2) end
  function m.beyond(bytes, by) return lost(bytes, m.last) * (by.memory - by.l3) end

  -- To read a line again that stands in a row of lines, `bytes` of other data after the last time, beside its loads; to write
  -- one of `bytes` in all, through the caches and past them.
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

  function m.tally() return setmetatable({ m = m, target = target, work = 0, stored = 0, lines = 0, waits = 0 }, tally) end

  return m
end

return cost
