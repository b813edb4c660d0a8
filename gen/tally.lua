-- tally.lua: what a family counts, in cycles: work of the arithmetic units, stores and lines that go on beside it, and
-- what all of them wait for. See cost.lua, whose machines make tallies.
local tally = {}
tally.__index = tally

local LINE, PAGE, PAGES = 64, 4096, 64 -- bytes; pages that a core finds at once
local CALL, LOOP, TASK, TURN = 10, 3, 16, 1.4 -- cycles to begin and end; of 16 bytes loaded, shuffled and stored
local DISTURBED, ALONE = 0.06, 8 -- what goes on meanwhile; lines that are streamed in pieces

function tally.new(m)
  return setmetatable({ m = m, target = m.target, work = 0, stored = 0, lines = 0, waits = 0 }, tally)
end

-- Lines that `chunk` bytes lie in, of which the next begin `pitch` bytes further; the share of a cache's sets that they
-- meet in.
local function lines_of(chunk, pitch)
  if chunk >= pitch then return pitch / LINE end
  return math.max(1, chunk / LINE + ((chunk % LINE == 0 and pitch % LINE == 0) and 0 or 0.5))
end
local function sets_of(lines, pitch) return math.min(1, lines * LINE / (pitch & -pitch)) end

function tally:calls(n) self.work = self.work + n * CALL end
function tally:loops(n) self.work = self.work + n * LOOP end
function tally:tasks(n) self.work = self.work + n * TASK end
function tally:turns(n) self.work = self.work + n * TURN end
function tally:steps(n, fmas, loads, accumulators)
  self.work = self.work + n * self.m.step(fmas, loads, accumulators)
end

-- n vectors stored whole, and parts of vectors.
function tally:stores(n, parts)
  self.stored = self.stored + (n + (parts or 0) * self.target.partial) / self.target.stores
end

-- n chunks are read again. A walk: bytes of a chunk and from one to the next; own, others: bytes of lines of such
-- chunks, and of what else passes since the last time. What does not follow in memory is not fetched ahead by the
-- processor, may crowd in few sets of the nearest cache, and turns pages. fetched: by the kernel, so that nothing waits
-- for memory. waits: what is done meanwhile needs it and waits for each "line", where nothing foresees it, or for the
-- first of each "page", where a loop steps from one to the next.
function tally:read(n, walk)
  local chunk, pitch, own, others = walk.chunk, walk.pitch, walk.own, walk.others or 0
  local m, lines, scattered = self.m, lines_of(chunk, pitch), chunk < pitch
  local asked = scattered and math.min(lines, 1) or 0 -- the first of a chunk's lines
  local all, crowded = own + others, (scattered and own / sets_of(lines, pitch) or own) + others
  local page = scattered and math.min(lines, pitch / PAGE) or 0
  local far = asked * m.beyond(all, walk.fetched and m.rates or m.asked) + (lines - asked) * m.beyond(all, m.rates)
  local near = asked * m.within(crowded, all, m.asked) + (lines - asked) * m.within(crowded, all, m.rates)
  local turned = page * m.lost(own / (lines * LINE) * page, PAGES) * m.rates.page
  local waited = walk.waits and near / lines * (walk.waits == "line" and asked or page) or 0
  self.lines = self.lines + n * (near + turned - waited + (walk.fetched and far or 0))
  self.waits = self.waits + n * (waited + (walk.fetched and 0 or far))
end

-- The same when nothing else is done meanwhile: chunks are copied.
function tally:copy(n, walk)
  local before = self.lines
  self:read(n, walk)
  self.work, self.lines = self.work + self.lines - before + n * walk.chunk / self.target.bits * 8, before
end

-- n chunks of a tensor of `all` bytes are written. Past the caches, a chunk that the next does not follow goes to
-- memory alone.
function tally:write(n, chunk, pitch, all, stream)
  local lines, m, scattered = lines_of(chunk, pitch), self.m, chunk < pitch
  local pages = scattered and math.min(lines, pitch / PAGE) * m.lost(all, PAGE * PAGES) or 0
  local line = stream and m.stream(all) * (scattered and ALONE or 1) or m.store(all)
  self.lines = self.lines + n * (lines * line + pages * m.rates.page)
end

-- Steps that load `rows` lines, pitch bytes apart, each, which meet in few sets of the nearest cache; once: none is used
-- again, and what is lost was only fetched ahead.
function tally:crowds(n, rows, pitch, once)
  local sets = math.min(rows, PAGE // math.max(LINE, math.min(pitch & -pitch, PAGE)))
  local full = rows / sets / (self.m.l1 / PAGE)
  local crowd = math.max(0, math.min(once and (full - 1) / 3 or 3 * (full - 0.6), 1))
  self.lines = self.lines + n * rows * crowd * (once and self.m.asked.l2 or self.m.asked.l3)
end

function tally:cycles()
  local longest = math.max(self.work, self.stored, self.lines)
  return longest + DISTURBED * (self.work + self.stored + self.lines - longest) + self.waits
end

return tally
