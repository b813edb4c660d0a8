-- space.lua: a problem's best schedules of all families by estimate (or all of them), then the refused ones and why.
--
-- Nothing else in the generator knows which families there are.
local names = require "names"
local targets = require "targets"
local cost = require "cost"
local space = {}

-- The versions say when what a family makes has changed. A family is loaded, and states its schedules' names, when
-- something is asked of it: who runs what is remembered takes one of them.
local families = {
  { name = "direct", version = 4, module = require "families/direct" },
  { name = "planar", version = 5, module = require "families/planar" },
  { name = "depthwise", version = 4, module = require "families/depthwise" },
  { name = "winograd", version = 6, module = require "rewrite/winograd" },
  { name = "plain", version = 2, module = require "families/plain" },
}

local by_name = {}
for _, row in ipairs(families) do by_name[row.name] = row end

function space.family(name) return by_name[name] and by_name[name].module end
function space.version(name) return by_name[name] and by_name[name].version end

-- The words of all families, sorted.
function space.words()
  local words = {}
  for i, row in ipairs(families) do words[i] = row.name end
  table.sort(words)
  return words
end

-- The versions of all families, "4.5.3.6.1": records of equal ones come from the same kernels.
function space.generator()
  local versions = {}
  for i, row in ipairs(families) do versions[i] = row.version end
  return table.concat(versions, ".")
end

-- Which families a name may be of: the one whose word it has, else any.
local function families_of(name)
  for word in name:gmatch "%f[%w]%a+" do if by_name[word] then return { by_name[word] } end end
  return families
end

-- "direct.p7.v4.rows4" -> its family and the schedule; nil and a sentence when it is no name.
function space.parse(name)
  local stated = {}
  for i, row in ipairs(families_of(name)) do stated[i] = row.module.name end -- its file states its forms
  local schedule, why = names.parse(name, stated)
  if not schedule then return nil, why end
  return by_name[schedule.family].module, schedule
end

-- In order of cycles a run, or of those of a plan (cost.lua); what fits first.
local function order_by(field)
  return function(a, b)
    if a.why and not b.why or b.why and not a.why then return not a.why end
    local x, y = a[field], b[field]
    if x ~= y then return x < y end
    return a.name < b.name
  end
end
local before, before_in_plans = order_by "cycles", order_by "planned"

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

local function entry_of(row, problem, found)
  local entry = { family = row.name, version = row.version, cycles = found.cycles or 0, why = found.why,
    planned = cost.planned(found.cycles or 0, found.made or 0),
    arithmetic = found.why and "" or arithmetic_of(row.module, problem, found.schedule) }
  entry.name, entry.way = found.name, found.way or found.name
  if not entry.name then entry.name, entry.way = names.print(found.schedule) end
  return entry
end

-- All schedules of all families, in an order. A family whose list is too much work has what it came to.
local function entries_of(problem, target, machine, order)
  local list = {}
  for _, row in ipairs(families) do
    local found = {}
    local _, gave_up = bounded(row.module.schedules, problem, target, machine, found)
    if gave_up then found[#found + 1] = { name = row.name, why = gave_up } end
    for _, one in ipairs(found) do list[#list + 1] = entry_of(row, problem, one) end
  end
  table.sort(list, order)
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

-- Transforms that are not worth it behind the canonical arithmetic.
local function by_worth(order, of, worth)
  local rank = {}
  for _, name in ipairs(order) do rank[name] = of[name][1].planned / (name == "canonical" and 1 or worth) end
  table.sort(order, function(a, b)
    if rank[a] ~= rank[b] then return rank[a] < rank[b] end
    return a < b
  end)
  return order
end

-- All schedules, where making them counts, so that no number of threads changes the arithmetic that is taken first:
-- arithmetics stand as they do for one thread, the schedules of each as they do for these threads (or, where these have
-- none of it, for one). Others come last.
local function steady(problem, target, machine)
  local list = entries_of(problem, target, machine, before_in_plans)
  local others, of = by_arithmetic(list)
  local order, of_one = table.move(others, 1, #others, 1, {}), of
  if problem.threads > 1 then
    local single = setmetatable({ threads = 1 }, { __index = problem })
    order, of_one = by_arithmetic(entries_of(single, target, machine, before_in_plans))
  end
  local result = {}
  local function add(entries) table.move(entries, 1, #entries, #result + 1, result) end
  for _, name in ipairs(by_worth(order, of_one, target.worth)) do add(of[name] or of_one[name]) end
  for _, name in ipairs(others) do if not of_one[name] then add(of[name]) end end
  for _, entry in ipairs(list) do if entry.why then result[#result + 1] = entry end end
  return result
end

-- asked: a schedule that stays whatever its estimate; all: so does every one. steadily: in that order.
function space.list(problem, target_name, machine, asked, steadily, all)
  local target = targets[target_name]
  local list = steadily and steady(problem, target, machine) or entries_of(problem, target, machine, before)
  return all and list or pruned(list, asked)
end

return space
