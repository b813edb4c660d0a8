-- space.lua: a problem's best schedules of all families by estimate (or all of them), then the refused ones and why.
--
-- Nothing else in the generator knows which families there are.
local names = require "names"
local targets = require "targets"
local space = {}

local families = { (require "families/direct"), (require "families/planar"), (require "families/depthwise"),
  (require "rewrite/winograd"), (require "families/plain") }

-- Their names are asked for here and now: a family states its schedules' names when it is loaded.
local of_name = {}
for _, family in ipairs(families) do of_name[family.name] = family end

function space.family(name) return of_name[name] end

-- The versions of all families, "4.5.3.6.1": records of equal ones come from the same kernels.
function space.generator()
  local versions = {}
  for i, family in ipairs(families) do versions[i] = family.version end
  return table.concat(versions, ".")
end

-- "direct.p7.v4.rows4" -> its family and the schedule; nil and a sentence when it is no name.
function space.parse(name)
  local schedule, why = names.parse(name)
  if not schedule then return nil, why end
  return space.family(schedule.family), schedule
end

local function before(a, b)
  if (a.why == nil) ~= (b.why == nil) then return a.why == nil end
  if a.cycles ~= b.cycles then return a.cycles < b.cycles end
  return a.name < b.name
end

-- So many schedules are worth looking at, and so many of a family and of a way, whatever the others promise; refused
-- ones all tell something.
local most, of_family, of_way = 60, 12, 2

-- Of a sorted list; what is asked for by name stays.
local function pruned(list, asked)
  local kept, fitting, families_kept, ways_kept = {}, 0, {}, {}
  for _, entry in ipairs(list) do
    local of, like = families_kept[entry.family] or 0, ways_kept[entry.way] or 0
    if entry.why or fitting < most or of < of_family or like < of_way or entry.name == asked then
      kept[#kept + 1] = entry
      if not entry.why then
        fitting, families_kept[entry.family], ways_kept[entry.way] = fitting + 1, of + 1, like + 1
      end
    end
  end
  return kept
end

-- What decides the bits of a schedule's results: all sums in canonical order are one arithmetic.
local function arithmetic_of(family, problem, schedule)
  return family.chains == 1 and "canonical" or (names.print(schedule, family.arithmetic(problem, schedule)))
end

local function entry_of(family, problem, found)
  local entry = { family = family.name, version = family.version, cycles = found.cycles or 0, why = found.why,
    arithmetic = found.why and "" or arithmetic_of(family, problem, found.schedule) }
  if found.name then entry.name, entry.way = found.name, found.name
  else entry.name, entry.way = names.print(found.schedule) end
  return entry
end

-- All schedules of all families, sorted. A family whose list is too much work has what it came to.
local function entries_of(problem, target, machine)
  local list = {}
  for _, family in ipairs(families) do
    local found = {}
    local _, gave_up = bounded(family.schedules, problem, target, machine, found)
    if gave_up then found[#found + 1] = { name = family.name, why = gave_up } end
    for _, one in ipairs(found) do list[#list + 1] = entry_of(family, problem, one) end
  end
  table.sort(list, before)
  return list
end

-- The arithmetics of a sorted list, best first, each with its schedules.
local function by_arithmetic(list)
  local order, of = {}, {}
  for _, entry in ipairs(list) do
    if entry.why then break end
    local name = entry.arithmetic
    if not of[name] then
      order[#order + 1] = name
      of[name] = {}
    end
    table.insert(of[name], entry)
  end
  return order, of
end

-- A sorted list so that no number of threads changes the arithmetic that is taken first: arithmetics stand as they do
-- for one thread, the schedules of each as they do for these threads (or, where these have none of it, for one). Others
-- come last.
local function steady(problem, target, machine, list)
  local single = setmetatable({ threads = 1 }, { __index = problem })
  local one = problem.threads == 1 and list or entries_of(single, target, machine)
  local order, of_one = by_arithmetic(one)
  local others, of = by_arithmetic(list)
  local result = {}
  local function add(entries) table.move(entries, 1, #entries, #result + 1, result) end
  for _, name in ipairs(order) do add(of[name] or of_one[name]) end
  for _, name in ipairs(others) do if not of_one[name] then add(of[name]) end end
  for _, entry in ipairs(list) do if entry.why then result[#result + 1] = entry end end
  return result
end

-- asked: a schedule that stays whatever its estimate; all: so does every one. steadily: in that order.
function space.list(problem, target_name, machine, asked, steadily, all)
  local target = targets[target_name]
  local list = entries_of(problem, target, machine)
  if steadily then list = steady(problem, target, machine, list) end
  return all and list or pruned(list, asked)
end

return space
