-- emit.lua: the layers of a network -> files that need nothing of convgen.
--
-- network: prefix; form, "c" or "asm"; openmp; machine; targets, best first, "portable" last; layers, each with name,
-- threads, multiplicity, problem, and kernels, one a target: schedule, from (a sentence: why this one), and the
-- recorded errors that are known. put(name, text) takes one file. Names and order depend on the network alone. Of
-- families it knows their stages only.
local targets = require "targets"
local types = require "types"
local template = require "template"
local driver = require "driver"
local dual = require "dual"
local words = require "emit_words"
local frames = require "emit_frames"
local strides = require "strides"
local lower = { c = require "lower/c", legible = require "lower/legible",
  machine = require "lower/machine" }

local emit = {}

---- names -------------------------------------------------------------------------------------------------------------

local pass_suffix = { forward = "", backward_data = "_backward_data", backward_weights = "_backward_weights" }
local derived = { "", "_pack", "_packed", "_workspace", "_kernels" }

local function valid(name)
  return (name:gsub("[^%w_]", "_"):gsub("_+", "_"):gsub("^_", ""):gsub("_$", ""))
end

-- The first name of name, name_2, name_3 ... that is free together with all that is derived from it; case does not tell
-- names apart, since macros and files are made of them too.
local function claim(taken, base)
  local function free(name)
    for _, suffix in ipairs(derived) do if taken[(name .. suffix):lower()] then return false end end
    return true
  end
  local name, n = base, 1
  while not free(name) do
    n = n + 1
    name = base .. "_" .. n
  end
  for _, suffix in ipairs(derived) do taken[(name .. suffix):lower()] = true end
  return name
end

-- Layers' names in C: what the list says, made valid and unique.
local function name_layers(network)
  local given, taken = {}, { target = true, choose = true, internal = true, selfcheck = true, benchmark = true,
    layers = true }
  for _, layer in ipairs(network.layers) do
    local p, said = layer.problem, layer.name ~= "" and layer.name
    local suffix = pass_suffix[p.pass]
    if said and given[said .. suffix] then
      return nil, ("two layers are called %s (%s); give them names of their own"):format(said, words.pass(p))
    end
    if said then given[said .. suffix] = true end
    local base = valid(said or p.text:match "%S+$")
    layer.id = claim(taken, (base == "" and "layer" or base) .. suffix)
  end
  return true
end

---- one kernel -> one file --------------------------------------------------------------------------------------------

local function round64(n) return (n + 63) // 64 * 64 end

local function comment(lines)
  return "/* " .. table.concat(lines, "\n"):gsub("\n", "\n * "):gsub("%*/", "* /"):gsub(" +\n", "\n") .. " */"
end

local function stage_words(result)
  local lines = {}
  for i, stage in ipairs(result.stages) do
    local what = {}
    for _, part in ipairs(stage.parts) do what[#what + 1] = part.what end
    lines[i] = ("%s: %d task%s%s"):format(stage.name, stage.tasks, stage.tasks == 1 and "" or "s",
      #what > 0 and " (" .. table.concat(what, "; ") .. ")" or "")
  end
  return lines
end

local function head(network, layer, kernel, result)
  local p, lines, family = layer.problem, {}, result.family
  local function put(text, ...) lines[#lines + 1] = text:format(...) end
  local function titled(title, list)
    for i, line in ipairs(list) do put("  %-10s%s", i == 1 and title or "", line) end
  end
  put("%s: %s for %s.\n", kernel.file, layer.id, kernel.target)
  put("  %s, %s\n", words.pass(p), p.text)
  for _, line in ipairs(words.mathematics(p)) do put("    %s", line) end
  if result.problem.asked then
    put("  The code is %s of the convolution that reads dst and writes src: these are its names.",
      words.pass(result.problem))
  end
  put ""
  titled("schedule", { kernel.schedule .. ", " .. kernel.from })
  if family.explain then titled("", family.explain(result.problem, result.schedule, targets[kernel.target])) end
  titled("stages", stage_words(result))
  titled("error", words.certificate(p, kernel))
  put("\nMade by convgen %s; belongs to whoever made it.", network.version)
  return comment(lines)
end

-- A kernel's `about`, where its family gives one, stands before it.
local function kernels_text(result, text, target)
  local list = {}
  for i, kernel in ipairs(result.kernels) do
    list[i] = (kernel.about and comment(words.wrapped(kernel.about, 120)) .. "\n" or "") .. text(kernel, target)
  end
  return table.concat(list, "\n")
end

-- Kernels in C behind the strides that they name.
local function legible_text(p, result)
  local all, used = strides.of(p), {}
  local text = kernels_text(result, function(kernel) return lower.legible.kernel(kernel, all, used) end)
  return strides.text(used) .. text
end

-- Without variables that nobody reads: drivers name every index of a task; with signs as people write them.
local function tidied(text)
  text = text:gsub("%+ %-(%d)", "- %1"):gsub(" %* 1 ([/+]) ", " %1 ")
  local uses, lines = {}, {}
  for word in text:gmatch "[%a_][%w_]*" do uses[word] = (uses[word] or 0) + 1 end
  for line in text:gmatch "[^\n]*\n" do lines[#lines + 1] = line end
  for i = #lines, 1, -1 do -- backwards: what a line reads may then be read by nobody
    local name = lines[i]:match "^%s*const long ([%w_]+) = "
    if name and uses[name] == 1 then
      for word in lines[i]:gmatch "[%a_][%w_]*" do uses[word] = uses[word] - 1 end
      table.remove(lines, i)
    end
  end
  return table.concat(lines)
end

local function stages_text(p, result, in_c)
  local list = {}
  local function c_type(name) return words.c_type(p, name) end
  for i, stage in ipairs(result.stages) do
    list[i] = "static " .. tidied(driver.print(stage, c_type, dual.slots(p, stage), in_c))
  end
  return table.concat(list, "\n")
end

-- What encloses a file of a target that not every processor has, or compiler is told of.
local function enclosure(network, kernel)
  local target = targets[kernel.target]
  if not target.isa then return "", "" end
  local open = { "#if " .. network.guard .. "_" .. require("isa/" .. target.isa).emitted.macro }
  if kernel.form == "c" and target.flags ~= "" then
    local line = '#error "compile this file with %s"'
    table.move({ ("#if !defined(CG_BODY) && !(%s)"):format(target.intrinsics), line:format(target.flags), "#endif" },
      1, 3, 2, open)
  end
  return table.concat(open, "\n"), "#endif"
end

-- The line that includes the operations of vectors, whose file is written when a kernel needs it first.
local function vec_header(network, p, target, put)
  local type_name = types.computed(p)
  local name = ("%s_vec_%s_%s.h"):format(network.prefix, type_name, target.name)
  if not network.headers[name] then
    local macro = (network.guard .. "_VEC_" .. type_name .. "_" .. target.name):upper()
    put(name, ("#ifndef %s\n#define %s\n%s\n#endif\n"):format(macro, macro,
      ((lower.c.prelude(type_name, target) .. lower.legible.prelude()):gsub("\n$", ""))))
    network.headers[name] = true
  end
  return ('#include "%s"\n'):format(name)
end

-- What the frames need to know of a kernel: sizes, names.
local function describe(network, layer, kernel, result)
  kernel.chains, kernel.symbol = result.family.chains, ("%s_%s_%s"):format(network.prefix, layer.id, kernel.target)
  kernel.packed, kernel.shared, kernel.scratch = round64(result.packed), round64(result.shared), 0
  kernel.file, kernel.stages = kernel.symbol .. ".c", #result.stages
  for _, stage in ipairs(result.stages) do
    stage.symbol = "stage_" .. stage.name
    kernel.scratch = math.max(kernel.scratch, round64(stage.scratch))
  end
end

local function stage_rows(result)
  local rows = {}
  for i, stage in ipairs(result.stages) do
    rows[i] = ("        { %s, %d, %d },"):format(stage.symbol, stage.tasks, stage.pack and 1 or 0)
  end
  return table.concat(rows, "\n")
end

local instructions = "/* The kernels are instructions, in GNU's spelling; comments tell which operation they are of. "
  .. "*/\n"

local function write_kernel(network, layer, kernel, build, put)
  local p, target = layer.problem, targets[kernel.target]
  local result, why = build({ problem = p, machine = network.machine, target = kernel.target, form = kernel.form,
    threads = layer.threads }, kernel.schedule)
  if not result then return nil, ("%s, %s: %s"):format(layer.id, kernel.target, why) end
  describe(network, layer, kernel, result)
  local in_c, open, close = kernel.form == "c", enclosure(network, kernel)
  put(kernel.file, (template.fill("standalone_kernel.c.in", {
    HEAD = head(network, layer, kernel, result), PREFIX = network.prefix, OPEN = open, CLOSE = close,
    INCLUDE = in_c and vec_header(network, p, result.kernels[1].target, put) .. lower.c.beyond(result.kernels)
      or instructions,
    KERNELS = in_c and legible_text(p, result) or kernels_text(result, lower.machine.assembly, target),
    STAGES = stages_text(p, result, in_c), SYMBOL = kernel.symbol, TABLE = stage_rows(result),
    SIZES = ("%d, %d, %d, %d"):format(kernel.packed, kernel.shared, kernel.scratch, kernel.stages),
  }):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n")))
  return true
end

---- the network -------------------------------------------------------------------------------------------------------

-- Layers with equal problems and threads have the kernels of the first of them.
local function share_kernels(network)
  local first = {}
  for _, layer in ipairs(network.layers) do
    local key = ("%d %s"):format(layer.threads, layer.problem.text)
    first[key] = first[key] or layer
    layer.same = first[key]
  end
end

function emit.write(network, build, put)
  local named, why = name_layers(network)
  if not named then return nil, why end
  network.guard, network.headers = network.prefix:upper(), {}
  share_kernels(network)
  for _, layer in ipairs(network.layers) do
    for i, kernel in ipairs(layer.kernels) do
      kernel.target = network.targets[i]
      kernel.form = network.form == "asm" and targets[kernel.target].isa and "machine" or "c"
      if layer.same == layer then
        local written
        written, why = write_kernel(network, layer, kernel, build, put)
        if not written then return nil, why end
      end
    end
    layer.kernels = layer.same.kernels
  end
  frames.write(network, put)
  return true
end

return emit
