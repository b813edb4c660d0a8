-- family.lua: what every family does: it lists schedules, each with its estimate or why it cannot be,
-- and builds one.
--
-- A family states its name, the forms of its schedules' names (names.lua), and two ways: `gathers`, of forward and
-- backward data, and `sums`, of backward weights. A way has
--   shape(p, target)          what its schedules have in common, by default view.units; p, target and, in lists, m
--                             (cost.lua) are added
--   refused(s)                why the pass cannot be done so, or nil; then nothing else is asked. The family's own
--                             `refused`, if it has one, comes before the shape
--   candidates(s, add)        calls add(schedule) for each that is worth trying, best guess first
--   misfit(s, schedule)       why one cannot be, or nil
--   cycles(s, schedule)       its estimate
--   made(s, schedule)         operations of the kernels that have to be made, where they are many (cost.planned)
--   stages(s, schedule)       its stages, bytes of packed weights and of shared memory, its tile of outputs, if any;
--                             s now is a builder (build.lua), in which their kernels are made
local build = require "build"
local cost = require "cost"
local names = require "names"
local registers = require "registers"
local view = require "view"
local family = {}

-- The sentence of the first row {condition, sentence, what it names ...} whose condition holds, or nil.
function family.first(rows)
  for _, row in ipairs(rows) do
    if row[1] then return row[2]:format(table.unpack(row, 3)) end
  end
end

-- A row: so many registers are needed.
function family.registers(needed, target)
  return { needed > target.registers, "needs %d registers, %s has %d", needed, target.name, target.registers }
end

-- The way of a pass and its shape; or nil and why the family does not apply.
local function shaped(f, p, target, m)
  local why = f.refused and f.refused { p = p }
  if why then return nil, why end
  local way = p.pass == "backward_weights" and f.sums or f.gathers
  local s = way.shape and way.shape(p, target) or view.units(p, target)
  s.p, s.target, s.m = s.p or p, target, m
  why = way.refused and way.refused(s)
  if why then return nil, why end
  return way, s
end

-- What is worth trying, each once: schedules with the parts of their names.
local function candidates(f, way, s)
  local list, seen = {}, {}
  way.candidates(s, function(schedule)
    schedule.family = f.name
    local name, kind = names.print(schedule)
    if not seen[name] then list[#list + 1] = { schedule = schedule, name = name, way = kind } end
    seen[name] = true
  end)
  return list
end

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when
-- the family does not apply.
local function schedules(f, p, target, machine, list)
  local way, s = shaped(f, p, target, cost.machine(machine, target))
  for i, entry in ipairs(way and candidates(f, way, s) or {}) do
    entry.why = way.misfit(s, entry.schedule)
    entry.cycles = entry.why and 0 or way.cycles(s, entry.schedule)
    entry.made = not entry.why and way.made and way.made(s, entry.schedule) or 0
    list[i] = entry
  end
  if #list == 0 then list[1] = { name = f.name, why = not way and s or "no tile fits the registers" } end
end

-- The way of a pass and its shape for a schedule, from wherever its name comes; or nil and why it cannot be.
local function fitting(f, p, schedule, target)
  local sums = names.sums(schedule)
  if sums ~= "either" and sums ~= (p.pass == "backward_weights") then
    return nil, names.print(schedule) .. " is not a schedule of this pass"
  end
  local way, s = shaped(f, p, target)
  local why = not way and s or way.misfit(s, schedule)
  if why then return nil, why end
  return way, s
end

-- The kernels and stages of a schedule; or nil and why not: what its kernels need (`why`, if they could not be made)
-- may show late.
local function built(f, p, schedule, target)
  local way, s = fitting(f, p, schedule, target)
  if not way then return nil, s end
  local stages, packed, shared, tile = way.stages(build.new(s.p, target, s), schedule)
  if s.why then return nil, s.why end
  build.stored(p, s.kernels)
  for _, kernel in ipairs(s.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return { kernels = s.kernels, stages = stages, packed = packed or 0, shared = shared or 0, tile = tile }
end

-- The family that the generator asks (space.lua).
function family.new(f)
  names.family(f.name, f.forms)
  f.chains = 1
  function f.schedules(...) return schedules(f, ...) end
  function f.stages(...) return built(f, ...) end
  function f.misfit(...)
    local way, why = fitting(f, ...)
    return not way and why or nil
  end
  return f
end

return family
