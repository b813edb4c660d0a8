-- operation.lua: an operation on views -> source, as the runtime compiles a schedule's.
local driver, source, targets, types = require "driver", require "source", require "targets", require "types"
local kernels = require "network/kernels"
local operation = {}

-- What the tensor behind a slot is to a driver: elements of a type; integers are moved as what is computed. What stages
-- keep is stored so, too.
local function c_type(views, computed, other)
  return function(slot)
    if other[slot] then return other[slot] end
    local type = views[slot] and views[slot].type
    return types.c(types.rows[type] and type or computed)
  end
end

local function stages_text(request, result)
  local list, of = {}, c_type(request.views, result.type, result.types)
  for i, stage in ipairs(result.stages) do
    list[i] = driver.print(stage, of, function(name) return name end)
  end
  return table.concat(list, "\n")
end

local function build(request)
  return kernels.build(request.operation, request.views, targets[request.target], request.threads)
end

-- request: operation, views (kernels.lua), sentence, target, form, threads.
function operation.source(request)
  local form, why_not = source.form(request)
  if not form then return nil, why_not end
  local result, why = build(request)
  if not result then return nil, why end
  local text = source.text(request, result, { problem = request.sentence, schedule = request.operation.op,
    type = result.type, slope = true, kernels = source.kernels(request, result, form.kernel),
    stages = stages_text(request, result) })
  return { text = text, packed = result.packed, shared = result.shared, chains = 1, stages = source.rows(result) }
end

-- Its driver or its source, for people.
function operation.show(request, stage)
  if stage == "source" then
    local made, why = operation.source(request)
    return made and made.text, why
  end
  local result, why = build(request)
  if not result then return nil, why end
  return stages_text(request, result)
end

return operation
