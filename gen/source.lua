-- source.lua: finished kernels and stages -> one C text, in the form that is asked for: c, or machine.
--
-- request: { target, form }. result: { kernels, stages }. What is computed is not known here.
local targets = require "targets"
local template = require "template"
local lower_c = require "lower/c"
local lower_machine = require "lower/machine"
local source = {}

local forms = { c = lower_c, machine = lower_machine }

function source.form(request)
  local form = forms[request.form]
  if not form then return nil, ("form %s is not there; the forms are: c, machine"):format(request.form) end
  if form == lower_machine and not targets[request.target].isa then
    return nil, ("the machine form has no instruction set for %s"):format(request.target)
  end
  return form
end

function source.kernels(request, result, text)
  local list = {}
  for i, kernel in ipairs(result.kernels) do list[i] = text(kernel, targets[request.target]) end
  return table.concat(list, "\n")
end

-- Kernels decide the target that the vector functions are for: plain's have one lane wherever they run.
local function prelude(form, type_name, result)
  return form.prelude(type_name, result.kernels[1].target) .. (form == lower_c and form.beyond(result.kernels) or "")
end

-- o: problem, schedule (words for the head), type (what is computed in), slope (whether there are slopes), beyond,
-- kernels and stages (texts).
function source.text(request, result, o)
  return template.fill("kernel.c.in", {
    PROBLEM = o.problem, SCHEDULE = o.schedule, TARGET = request.target,
    PRELUDE = prelude(source.form(request), o.type, result) .. (o.beyond or ""),
    SLOPE = o.slope and "\n    void *slope; /* one for each channel */" or "",
    KERNELS = o.kernels, STAGES = o.stages,
  })
end

-- What the runtime knows of stages.
function source.rows(result)
  local stages = {}
  for i, stage in ipairs(result.stages) do
    stages[i] = { name = stage.name, symbol = stage.symbol, tasks = stage.tasks, scratch = stage.scratch,
      pack = stage.pack, ends = stage.ends, shares = stage.shares, once = stage.once }
  end
  return stages
end

return source
