-- convgen.lua: the entry: what the runtime may ask the generator.
--
-- Each function answers with plain data, or with nil and a sentence that says why not.
local targets = require "targets"
local types, parts = require "types", require "parts"
local space = require "space"
local driver = require "driver"
local dual = require "dual"
local program = require "program"
local source = require "source"
local operation = require "network/operation"
local lower_c = require "lower/c"
local legible = require "lower/legible"
local strides = require "strides"
local emit = require "emit"
local accumulate = require "rewrite/accumulate"
local network_file, network_text = require "network/file", require "network/text"
local network_plan, network_show = require "network/plan", require "network/show"

local convgen = {}

-- The problem as families see it, with what they derive from it: multiply-adds (padded taps counted), threads to share
-- the work among.
local function prepare(request)
  local p = dual.of(request.problem)
  p.threads = request.threads or 1
  local k, o = p.kernel, p.output
  p.macs = 1.0 * p.batch * o[1] * o[2] * o[3] * p.oc * (p.ic // p.groups) * k[1] * k[2] * k[3]
  return accumulate.problem(p)
end

function convgen.targets()
  local list = {}
  for _, name in ipairs(targets.order) do
    local t = targets[name]
    list[#list + 1] = { name = name, bits = t.bits, needs = t.needs, flags = t.flags, machine = t.isa ~= nil,
      rates = t.rates }
  end
  return list
end

convgen.version = space.version

-- The name of a schedule's family and its chains (0: it transforms); or nil and why it is none, or not one that the
-- problem's accuracy admits. (Whether it can be built is `source`'s to say.)
function convgen.admits(request, name)
  local family, schedule = space.parse(name)
  if not family then return nil, schedule end
  local why = family.inadmissible and family.inadmissible(prepare(request), schedule, targets[request.target])
  if why then return nil, why end
  return { family = family.name, chains = family.chains }
end

convgen.generator = space.generator

function convgen.schedules(request)
  return space.list(prepare(request), request.target, request.machine, request.asked, request.steady, request.all)
end

-- The schedule's kernels and stages.
local function build(request, name)
  local form, why_not = source.form(request)
  if not form then return nil, why_not end
  local family, schedule = space.parse(name)
  if not family then return nil, schedule .. "; `convgen show PROBLEM --stage=schedules` lists them" end
  local problem = prepare(request)
  local result, why = family.stages(problem, schedule, targets[request.target], request.machine)
  if not result then return nil, why end
  result.family, result.schedule, result.problem = family, schedule, problem
  dual.complete(result, problem)
  accumulate.stages(result, problem)
  return result
end

-- Kernels in C for people, and for compilers that unroll loops, which libtcc does not.
local function legible_kernels(request, result)
  local all, used, list = strides.of(request.problem), {}, {}
  for i, kernel in ipairs(result.kernels) do list[i] = legible.kernel(kernel, all, used) end
  return strides.text(used) .. table.concat(list, "\n")
end

local function stages_text(request, result, fewer)
  local list = {}
  local function c_type(name) return types.c(types.of(request.problem, name)) end
  for i, stage in ipairs(result.stages) do
    list[i] = driver.print(stage, c_type, dual.slots(request.problem, stage), fewer)
  end
  return table.concat(list, "\n")
end

local function source_text(request, name, result)
  local form, p = source.form(request), request.problem
  local unrolls = form == lower_c and request.unrolls
  return source.text(request, result, { problem = p.text, schedule = name, type = types.computed(p),
    slope = parts.slopes(p), beyond = unrolls and legible.prelude(),
    kernels = unrolls and legible_kernels(request, result) or source.kernels(request, result, form.kernel),
    stages = stages_text(request, result, unrolls) })
end

function convgen.source(request, name)
  local result, why = build(request, name)
  if not result then return nil, why end
  return { text = source_text(request, name, result), packed = result.packed, shared = result.shared,
    chains = result.family.chains, tile = result.tile, stages = source.rows(result) }
end

-- The plan of a network file, as network/plan.lua has it: request.text, its name for sentences, and `workspaces`, the
-- bytes of each operation, which may be missing. Or nil and a sentence that names the file and the line.
function convgen.network(request)
  local net, why = network_file.parse(request.text, request.name)
  if not net then return nil, why end
  local made, why_not = network_text.caught(network_plan.of, net, request)
  return made, why_not and ("%s: %s"):format(request.name or "network", why_not)
end

-- What can be looked at of a network, in the pipeline's order; one of these as text, of request.text (and name).
convgen.network_shown = { "simplified", "fused", "layout", "memory" }

function convgen.network_show(request, stage)
  local net, why = network_file.parse(request.text, request.name)
  if not net then return nil, why end
  local view = network_show[stage]
  if not view then
    return nil, ("'%s' is no stage of a network; the stages are: %s"):format(stage,
      table.concat(convgen.network_shown, ", "))
  end
  local shown, why_not = network_text.caught(view, net)
  return shown, why_not and ("%s: %s"):format(request.name or "network", why_not)
end

-- The same of an operation of a network: request.operation on request.views (network/kernels.lua), request.sentence
-- says what it is.
function convgen.operation(request) return operation.source(request) end
function convgen.operation_show(request, stage) return operation.show(request, stage) end

-- The files of a network, each given to put(name, text); see emit.lua.
function convgen.emit(network, put) return emit.write(network, build, put) end

---- looking at the arrows ---------------------------------------------------------------------------------------------

-- What a family tells of a schedule beside its estimate; its sentence about what that means is kept in `meanings`.
local function figures_of(request, s, meanings)
  local family, schedule = space.parse(s.name)
  if not family or not family.figures then return "" end
  meanings[1] = family.figures_mean
  return ("%s  %s"):format((" "):rep(46 - #s.name),
    family.figures(prepare(request), schedule, targets[request.target], request.machine))
end

local function show_schedules(request)
  local lines, meanings = { "  estimate  schedule" }, {}
  for _, s in ipairs(convgen.schedules(request)) do
    lines[#lines + 1] = s.why and ("   refused  %s: %s"):format(s.name, s.why)
      or ("%10.4g  %s%s"):format(s.cycles, s.name, figures_of(request, s, meanings))
  end
  lines[#lines + 1] = "(estimates in cycles)"
  if meanings[1] then lines[#lines + 1] = ("(%s)"):format(meanings[1]) end
  return table.concat(lines, "\n") .. "\n"
end

local function show_program(request, _, result) return source.kernels(request, result, program.print) end

-- Instructions beside the operations that they come from.
local function show_code(request, _, result)
  local form, why = source.form(setmetatable({ form = "machine" }, { __index = request }))
  if not form then return nil, why end
  if request.form ~= "machine" then
    return nil, "--stage=code lists the machine form, and a system compiler is given the C form: "
      .. "--stage=source shows that"
  end
  return source.kernels(request, result, form.listing)
end

local views = {
  program = show_program,
  driver = function(request, _, result) return stages_text(request, result) end,
  source = source_text,
  code = show_code,
}

-- What can be looked at, in the pipeline's order. The first lists schedules, the others are of one.
convgen.shown = { "schedules", "program", "driver", "source", "code" }

-- One stage of the pipeline as text; without a schedule the best estimate's.
function convgen.show(request, name, stage)
  if stage == convgen.shown[1] then return show_schedules(request) end
  local view = views[stage]
  if not view then
    return nil, ("'%s' is no stage; the stages are: %s"):format(stage, table.concat(convgen.shown, ", "))
  end
  name = name or convgen.schedules(request)[1].name
  local result, why = build(request, name)
  if not result then return nil, why end
  return view(request, name, result)
end

return convgen
