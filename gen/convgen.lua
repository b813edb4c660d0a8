-- convgen.lua: the entry: what the runtime may ask the generator.
--
-- Each function answers with plain data, or with nil and a sentence that says why not.
local targets = require "targets"
local space = require "space"
local driver = require "driver"
local program = require "program"
local template = require "template"
local lower_c = require "lower/c"

local convgen = {}

-- Multiply-adds of a problem, padded taps counted.
local function prepare(request)
  local p = request.problem
  local k, o = p.kernel, p.output
  p.macs = 1.0 * p.batch * o[1] * o[2] * o[3] * p.oc * (p.ic // p.groups) * k[1] * k[2] * k[3]
  return p
end

function convgen.targets()
  local list = {}
  for _, name in ipairs(targets.order) do
    local t = targets[name]
    list[#list + 1] = { name = name, bits = t.bits, needs = t.needs, flags = t.flags }
  end
  return list
end

function convgen.version(name)
  local family = space.family(name)
  return family and family.version
end

function convgen.schedules(request) return space.list(prepare(request), request.target, request.machine) end

-- The schedule's kernels and stages.
local function build(request, name)
  if request.form ~= "c" then return nil, ("form %s is not there; the forms are: c"):format(request.form) end
  local family, schedule = space.parse(name)
  if not family then return nil, ("'%s' is no schedule; `convgen show PROBLEM --stage=schedules` lists them"):format(name) end
  local result, why = family.stages(prepare(request), schedule, targets[request.target], request.machine)
  if not result then return nil, why end
  result.family = family
  return result
end

local function c_type(request) return request.problem.type == "f32" and "float" or "double" end

local function kernels_text(result)
  local list = {}
  for i, kernel in ipairs(result.kernels) do list[i] = lower_c.kernel(kernel) end
  return table.concat(list, "\n")
end

local function stages_text(request, result)
  local list = {}
  for i, stage in ipairs(result.stages) do list[i] = driver.print(stage, c_type(request)) end
  return table.concat(list, "\n")
end

-- Kernels decide the target that the vector functions are for: plain's have one lane wherever they run.
local function kernel_target(result) return result.kernels[1].target end

local function source_text(request, name, result)
  return template.fill("kernel.c.in", {
    PROBLEM = request.problem.text, SCHEDULE = name, TARGET = request.target,
    PRELUDE = lower_c.prelude(request.problem.type, kernel_target(result)),
    KERNELS = kernels_text(result), STAGES = stages_text(request, result),
  })
end

function convgen.source(request, name)
  local result, why = build(request, name)
  if not result then return nil, why end
  local stages = {}
  for i, stage in ipairs(result.stages) do
    stages[i] = { name = stage.name, symbol = stage.symbol, tasks = stage.tasks, scratch = stage.scratch, pack = stage.pack }
  end
  return { text = source_text(request, name, result), packed = result.packed, shared = result.shared,
    chains = result.family.chains, stages = stages }
end

---- looking at the arrows ----------------------------------------------------------------------------------------------------------

local function show_schedules(request)
  local lines = { "  estimate  schedule" }
  for _, s in ipairs(convgen.schedules(request)) do
    lines[#lines + 1] = s.why and ("   refused  %s: %s"):format(s.name, s.why) or ("%10.4g  %s"):format(s.cycles, s.name)
  end
  return table.concat(lines, "\n") .. "\n(estimates in cycles)\n"
end

local function show_program(_, _, result)
  local list = {}
  for i, kernel in ipairs(result.kernels) do list[i] = program.print(kernel) end
  return table.concat(list, "\n")
end

local views = {
  program = show_program,
  driver = function(request, _, result) return stages_text(request, result) end,
  source = source_text,
}

-- One stage of the pipeline as text; without a schedule the best estimate's.
function convgen.show(request, name, stage)
  if stage == "schedules" then return show_schedules(request) end
  if stage == "code" then return nil, "stage code shows machine code, which the C form leaves to the compiler" end
  local view = views[stage]
  if not view then return nil, ("'%s' is no stage; the stages are: schedules, program, driver, source, code"):format(stage) end
  name = name or convgen.schedules(request)[1].name
  local result, why = build(request, name)
  if not result then return nil, why end
  return view(request, name, result)
end

return convgen
