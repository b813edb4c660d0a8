-- space.lua: a problem's best schedules of all families by estimate (or all of them), then the refused ones with their reasons.
--
-- Nothing else in the generator knows which families there are.
local targets = require "targets"
local space = {}

local families = {}
for i, name in ipairs { "direct", "planar", "depthwise", "winograd", "plain" } do families[i] = require("families/" .. name) end

function space.family(name)
  for _, family in ipairs(families) do if family.name == name then return family end end
end

-- "direct.p7.v4.rows4" -> its family and the schedule; nil when no family knows the name.
function space.parse(name)
  for _, family in ipairs(families) do
    local schedule = family.parse(name)
    if schedule and family.print(schedule) == name then return family, schedule end
  end
end

local function before(a, b)
  if (a.why == nil) ~= (b.why == nil) then return a.why == nil end
  if a.cycles ~= b.cycles then return a.cycles < b.cycles end
  return a.name < b.name
end

-- So many schedules are worth looking at, and so many of a family, whatever the others promise; refused ones all tell something.
local most, of_family = 60, 12

-- Of a sorted list; what is asked for by name stays.
local function pruned(list, asked)
  local kept, fitting, count = {}, 0, {}
  for _, entry in ipairs(list) do
    local of = count[entry.family] or 0
    if entry.why or fitting < most or of < of_family or entry.name == asked then
      kept[#kept + 1] = entry
      if not entry.why then fitting, count[entry.family] = fitting + 1, of + 1 end
    end
  end
  return kept
end

-- `asked`: a name that stays whatever its estimate; `all`: so does everything.
function space.list(problem, target_name, machine, asked, all)
  local target, list = targets[target_name], {}
  for _, family in ipairs(families) do
    for _, entry in ipairs(family.schedules(problem, target, machine)) do
      list[#list + 1] = { name = entry.name or family.print(entry.schedule), family = family.name, version = family.version,
        cycles = entry.cycles or 0, why = entry.why }
    end
  end
  table.sort(list, before)
  return all and list or pruned(list, asked)
end

return space
