-- emit_frames.lua: the files around the kernels: header, dispatch, what the programs know of the layers, build, words.
--
-- Comes after the kernels, whose sizes it needs. Each function gives the text of one file.
local targets = require "targets"
local types = require "types"
local template = require "template"
local words = require "emit_words"

local frames = {}

local function lines_of(list, text)
  local lines = {}
  for _, each in ipairs(list) do lines[#lines + 1] = text(each) end
  return table.concat(lines, "\n")
end

local function x86_targets(network)
  local list = {}
  for _, name in ipairs(network.targets) do if targets[name].isa then list[#list + 1] = name end end
  return list
end

-- `x86` and `all`: texts for the targets of one kind of processor, and for those of every kind.
local function by_processor(network, x86, all)
  if x86 == "" then return all end
  return ("#if %s_X86\n%s\n#endif\n%s"):format(network.guard, x86, all)
end

local function each_target(network, machine, text)
  local list = {}
  for i, name in ipairs(network.targets) do
    if (targets[name].isa ~= nil) == machine then list[#list + 1] = text(name, i) end
  end
  return list
end

local function rows(network, machine, text) return table.concat(each_target(network, machine, text), "\n") end

-- A row for each target, those of one kind of processor enclosed.
local function all_rows(network, text)
  return by_processor(network, rows(network, true, text), rows(network, false, text))
end

-- Kernels of the layers that have their own, in order.
local function own_layers(network)
  local list = {}
  for _, layer in ipairs(network.layers) do if layer.same == layer then list[#list + 1] = layer end end
  return list
end

---- the header --------------------------------------------------------------------------------------------------------

local function most(layer, size)
  local n = 0
  for _, kernel in ipairs(layer.kernels) do n = math.max(n, size(kernel)) end
  return n
end

local function weights_bytes(layer)
  for _, o in ipairs(words.operands(layer.problem)) do
    if o.slot == "weights" then return words.elements(o.shape) * words.element(layer.problem) end
  end
end

local function has_packed(layer) return layer.problem.pass ~= "backward_weights" end

local function sizes(network, layer)
  local name = ("%s_%s"):format(network.prefix, layer.id):upper()
  local fixed = most(layer, function(k) return k.packed + k.shared end)
  local alone = most(layer, function(k) return k.packed + k.shared + k.scratch end)
  local lines = {}
  if network.openmp then
    lines[1] = ("#define %s_WORKSPACE(threads) (%d + %d * (size_t)(threads))"):format(name, fixed,
      most(layer, function(k) return k.scratch end))
  else
    lines[1] = ("#define %s_WORKSPACE %d"):format(name, alone)
  end
  if has_packed(layer) then
    lines[2] = ("#define %s_PACKED %d"):format(name,
      most(layer, function(k) return k.packed > 0 and k.packed or weights_bytes(layer) end))
  end
  return table.concat(lines, "\n")
end

local function parameters(network, layer, packed)
  local t, list = words.c_type(layer.problem), {}
  for _, o in ipairs(words.operands(layer.problem)) do
    if packed and o.slot == "weights" then list[#list + 1] = "const void *packed"
    else list[#list + 1] = ("%s%s *%s"):format(o.written and "" or "const ", t, o.name) end
  end
  list[#list + 1] = "void *workspace"
  if network.openmp then list[#list + 1] = "int threads" end
  return table.concat(list, ", ")
end

local function prototypes(network, layer)
  local name, t = network.prefix .. "_" .. layer.id, words.c_type(layer.problem)
  local list = { ("void %s(%s)"):format(name, parameters(network, layer)) }
  if has_packed(layer) then
    list[2] = ("void %s_pack(const %s *weights, void *packed, void *workspace%s)"):format(name, t,
      network.openmp and ", int threads" or "")
    list[3] = ("void %s_packed(%s)"):format(name, parameters(network, layer, true))
  end
  return list
end

local function certificates(network, layer)
  local lines, before = {}, nil
  for i, kernel in ipairs(layer.kernels) do
    local text = words.certificate(layer.problem, { chains = kernel.chains })
    local said = table.concat(text)
    if said ~= before then
      for n, line in ipairs(text) do
        lines[#lines + 1] = (n == 1 and " *   error      " or " *              ") .. line
      end
      before = said
    end
    lines[#lines + 1] = (" *   %-10s %s%s"):format(network.targets[i], kernel.schedule,
      words.recorded(kernel) and "; " .. words.recorded(kernel) or "")
  end
  return lines
end

local function layer_comment(network, layer)
  local p = layer.problem
  local lines = { ("/* %s%s: %s, %s"):format(layer.name ~= "" and layer.name or layer.id,
    layer.multiplicity > 1 and (" *%d"):format(layer.multiplicity) or "", words.pass(p), p.text), " *" }
  lines[1] = lines[1]:gsub("%*/", "* /")
  for _, line in ipairs(words.mathematics(p)) do lines[#lines + 1] = " *     " .. line end
  lines[#lines + 1] = " *"
  for _, o in ipairs(words.operands(p)) do
    lines[#lines + 1] = (" *   %-13s%s %s"):format(o.name, words.c_type(p), words.shape(o.shape))
  end
  lines[#lines + 1] = " *   layout     " .. words.layout(p)
  table.move(certificates(network, layer), 1, 100, #lines + 1, lines)
  if layer.same ~= layer then lines[#lines + 1] = (" * The same kernels as %s's."):format(layer.same.id) end
  lines[#lines] = lines[#lines] .. " */"
  return table.concat(lines, "\n")
end

local function header(network)
  local t = network.targets
  return template.fill("standalone.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, VERSION = network.version,
    TARGET_NAMES = '"' .. table.concat(t, '", "') .. '"',
    THREADS = network.openmp and " `threads` is how many may work on a call: 1 or more." or "",
    LIST = lines_of(network.layers,
      function(layer) return (" *   %-28s %s"):format(network.prefix .. "_" .. layer.id, layer.problem.text) end),
    LAYERS = lines_of(network.layers, function(layer)
      return ("%s\n%s\n%s;\n"):format(layer_comment(network, layer), sizes(network, layer),
        table.concat(prototypes(network, layer), ";\n"))
    end),
  })
end

---- internal header and dispatch --------------------------------------------------------------------------------------

local function internal(network)
  local stages = 1
  local function declare(name, i)
    return lines_of(own_layers(network), function(layer)
      return ("extern const %s_kernel %s %s_HIDDEN;"):format(network.prefix, layer.kernels[i].symbol, network.guard)
    end), name
  end
  for _, layer in ipairs(network.layers) do stages = math.max(stages, most(layer, function(k) return k.stages end)) end
  local asm = network.form == "asm" and #x86_targets(network) > 0
  return template.fill("standalone_internal.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, STAGES = stages,
    ONLY_ELF = asm and ": they are assembly, called as System V has it" or "",
    AND_ELF = asm and " && defined(__ELF__)" or "",
    SLOPE = any_slope(network) and "\n    void *slope; /* one for each channel */" or "",
    KERNELS = all_rows(network, declare),
  })
end

local choice_without = [[
static int target(void) { return PORTABLE; }
static int runs_here(int t) { return t == PORTABLE; }
static void choose(int t) { (void)t; }
]]

local function choice(network)
  local function test(name)
    local needs = {}
    for i, need in ipairs(targets[name].needs) do needs[i] = ('__builtin_cpu_supports("%s")'):format(need) end
    return ("    if (t == %s) return %s;"):format(name:upper(), table.concat(needs, " && "))
  end
  local text = choice_without
  if #x86_targets(network) > 0 then
    text = template.fill("standalone_choice.in", { GUARD = network.guard, TESTS = rows(network, true, test) })
  end
  return text .. template.fill("standalone_choose.in", { PREFIX = network.prefix })
end

local function definition(network, layer)
  local name, list = network.prefix .. "_" .. layer.id, {}
  local kernels, threads = ("%s_kernels[target()]"):format(network.prefix .. "_" .. layer.same.id),
    network.openmp and ", threads" or ""
  local prototype = prototypes(network, layer)
  local function call(without)
    local members = {}
    for _, o in ipairs(words.operands(layer.problem)) do
      if o.slot ~= without then
        members[#members + 1] = (".%s = %s%s"):format(o.slot, o.written and "" or "(void *)", o.name)
      end
    end
    return ("(cg_call){ %s }"):format(table.concat(members, ", "))
  end
  if layer.same == layer then
    local function reference(_, i) return ("    &%s,"):format(layer.kernels[i].symbol) end
    list[1] = ("static const %s_kernel *const %s_kernels[TARGETS] = {\n%s\n};\n"):format(network.prefix, name,
      all_rows(network, reference))
  end
  list[#list + 1] = ("%s\n{\n    run(%s, %s, workspace, PACK | COMPUTE%s);\n}\n"):format(prototype[1], kernels, call(),
    threads)
  if has_packed(layer) then
    list[#list + 1] = ("%s\n{\n    pack(%s, weights, %d, packed, workspace%s);\n}\n"):format(prototype[2], kernels,
      weights_bytes(layer), threads)
    list[#list + 1] = ("%s\n{\n    run_packed(%s, %s, packed, workspace%s);\n}\n"):format(prototype[3], kernels,
      call "weights", threads)
  end
  return table.concat(list, "\n")
end

local function has_packing(network)
  for _, layer in ipairs(network.layers) do if has_packed(layer) then return true end end
  return false
end

local function dispatch(network)
  local function upper(name) return "    " .. name:upper() .. "," end
  local function quoted(name) return ('    "%s",'):format(name) end
  local prefix, packs = network.prefix, has_packing(network)
  local parameter, threads = network.openmp and ", int threads" or "", network.openmp and ", threads" or ""
  return template.fill("standalone.c.in", {
    PREFIX = prefix, VERSION = network.version, ENUM = all_rows(network, upper), NAMES = all_rows(network, quoted),
    CHOICE = choice(network), THREADS_PARAMETER = parameter,
    SHARING = network.openmp and
      template.fill("standalone_sharing.in", { GUARD = network.guard, PREFIX = prefix }) or "",
    RUN_STAGE = network.openmp and "share(&k->stage[i], &call, scratch, k->scratch, threads);"
      or "k->stage[i].run(&call, scratch, 0, k->stage[i].tasks);",
    PACKING = packs and template.fill("standalone_packing.in", { PREFIX = prefix, PARAMETER = parameter,
      THREADS = threads }) or "",
    INCLUDE = packs and "#include <string.h>\n" or "",
    LAYERS = lines_of(network.layers, function(layer) return definition(network, layer) end),
  })
end

---- what the two programs know ----------------------------------------------------------------------------------------

local function braces(list) return "{ " .. table.concat(list, ", ") .. " }" end

local function number(x)
  if x == math.huge then return "INFINITY" elseif x == -math.huge then return "-INFINITY" end
  local text = ("%.17g"):format(x)
  return text:find "[.e]" and text or text .. ".0"
end

local pass_names = { forward = "FORWARD", backward_data = "BACKWARD_DATA", backward_weights = "BACKWARD_WEIGHTS" }
local activations = { none = 0, relu = 1, clamp = 2 }

-- A function that calls a layer whose operands stand in an array.
local function adapter(network, layer)
  local name, t = network.prefix .. "_" .. layer.id, words.c_type(layer.problem)
  local function call(suffix, packed)
    local list = {}
    for i, o in ipairs(words.operands(layer.problem)) do
      list[i] = packed and o.slot == "weights" and "t[PACKED]"
        or ("(%s%s *)t[%s]"):format(o.written and "" or "const ", t, o.slot:upper())
    end
    return ("%s%s(%s, t[WORKSPACE]%s)"):format(name, suffix, table.concat(list, ", "),
      network.openmp and ", threads" or "")
  end
  local body = "    " .. call "" .. ";\n"
  if has_packed(layer) then
    body = ("    if (how == WHOLE) %s;\n    else if (how == PACK) %s_pack(t[WEIGHTS], t[PACKED], t[WORKSPACE]%s);\n"
      .. "    else %s;\n"):format(call "", name, network.openmp and ", threads" or "", call("_packed", true))
  else
    body = "    (void)how;\n" .. body
  end
  if not network.openmp then body = "    (void)threads;\n" .. body end
  return ("static void run_%s(void *const t[OPERANDS], int how, int threads)\n{\n%s}\n"):format(layer.id, body)
end

local function row(network, layer)
  local p = layer.problem
  local e, macro = p.epilogue, ("%s_%s"):format(network.prefix, layer.id):upper()
  local chains = {}
  for i, kernel in ipairs(layer.kernels) do chains[i] = kernel.chains > 0 and 0 or words.budget(p) end
  return ("    { \"%s\", run_%s, %s, %d, %d, %d, %d, %d, %s, %s, %d, %d, %d, %d,\n"
    .. "      %s, %s, %s, %s, %s, %s,\n      %s, %s, %d, %d, %s },"):format(
    layer.id, layer.id, pass_names[p.pass], types.rows[p.type].number, p.layout == "nchw" and 1 or 0, p.bias and 1 or 0,
    e.residual and 1 or 0, activations[e.activation], number(e.lo), number(e.hi), p.batch, p.groups, p.ic, p.oc,
    braces(p.input), braces(p.output), braces(p.kernel), braces(p.stride), braces(p.dilation), braces(p.pad),
    has_packed(layer) and macro .. "_PACKED" or "0",
    network.openmp and macro .. "_WORKSPACE(THREADS)" or macro .. "_WORKSPACE",
    p.weights == "fixed" and 1 or 0, layer.multiplicity, braces(chains))
end

local function layers_h(network)
  return template.fill("standalone_layers.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, TARGETS = #network.targets, THREADS = network.openmp and 2 or 1,
    NAMES = '"' .. table.concat(network.targets, '", "') .. '"',
    ADAPTERS = lines_of(network.layers, function(layer) return adapter(network, layer) end),
    ROWS = lines_of(network.layers, function(layer) return row(network, layer) end),
  })
end

---- the list, the build, the words ------------------------------------------------------------------------------------

local function list(network)
  return ("# What the convolutions of this directory are: README.md tells how they are made again.\n%s\n"):format(
    lines_of(network.layers, function(layer)
      return ("--reset%s %s%s%s"):format(layer.threads > 1 and (" --threads=%d"):format(layer.threads) or "",
        layer.problem.text,
        layer.name ~= "" and ('n"%s"'):format(layer.name) or "",
        layer.multiplicity > 1 and (" *%d"):format(layer.multiplicity) or "")
    end))
end

local function files_of(network, i)
  return lines_of(own_layers(network), function(layer) return "  " .. layer.kernels[i].file end)
end

local function cmake(network)
  local function flags(name, i)
    if network.form == "asm" then return "" end
    return ("  set_source_files_properties(\n%s\n    PROPERTIES COMPILE_OPTIONS \"%s\")"):format(
      files_of(network, i):gsub("  ", "    "), (targets[name].flags:gsub(" ", ";")))
  end
  local sources = {}
  for i in ipairs(network.targets) do sources[i] = files_of(network, i) end
  local x86 = rows(network, true, flags)
  return template.fill("standalone_cmakelists.in", {
    PREFIX = network.prefix, SOURCES = table.concat(sources, "\n"),
    FLAGS = x86:find "%S" and ("# Files for processors that not all have; they are only called where they run. A "
      .. "compiler for another processor takes\n# them without these flags, as nothing.\n"
      .. "if(CMAKE_SYSTEM_PROCESSOR MATCHES \"x86_64|AMD64\")\n%s\nendif()\n"):format(x86) or "",
    OPENMP = network.openmp and ("find_package(OpenMP REQUIRED COMPONENTS C)\n"
      .. "target_link_libraries(%s PUBLIC OpenMP::OpenMP_C)\n"):format(network.prefix) or "",
  })
end

-- "3 layers, 2 of them different, each": what has kernels.
local function counted_layers(network)
  local layers, different = #network.layers, #own_layers(network)
  if layers == 1 then return "One layer" end
  return different == layers and ("%d layers, each"):format(layers)
    or ("%d layers, %d of them different, each"):format(layers, different)
end

local function readme(network)
  local origins = lines_of(own_layers(network), function(layer)
    local rows = {}
    for i, kernel in ipairs(layer.kernels) do
      rows[i] = ("| %s | %s | `%s` | %s |"):format(layer.id, network.targets[i], kernel.schedule, kernel.from)
    end
    return table.concat(rows, "\n")
  end)
  local flags = {}
  for _, name in ipairs(x86_targets(network)) do
    if network.form == "c" then flags[#flags + 1] = ("`*_%s.c` with `%s`"):format(name, targets[name].flags) end
  end
  return template.fill("standalone_readme.in", {
    PREFIX = network.prefix, VERSION = network.version, TARGETS = table.concat(network.targets, ","),
    FORM = network.form,
    THREADS = network.openmp and "openmp" or "none", LAYER_WORDS = counted_layers(network),
    TARGET_WORDS = table.concat(network.targets, ", "), ORIGINS = origins,
    MACHINE = network.elsewhere and " --machine=FILE" or "", KEY = network.key,
    FLAGS = #flags > 0 and (", and " .. table.concat(flags, ", ")) or "",
    FORM_WORDS = network.form == "asm" and #x86_targets(network) > 0
      and "The x86 kernels are assembly in C files, for gcc and clang on System V systems (no `-flto`): the "
        .. "instructions that were timed."
      or "All kernels are C over the operations of `*_vec_*.h`; `-DCG_BODY=3` takes their plainest body, one lane "
        .. "after another.",
    OPENMP = network.openmp and ("Threads are OpenMP's; `-D%s_SERIAL` compiles without. "):format(network.guard) or "",
  })
end

function frames.write(network, put)
  local prefix = network.prefix
  put(prefix .. ".h", header(network))
  put(prefix .. "_internal.h", internal(network))
  put(prefix .. ".c", (dispatch(network):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n")))
  put(prefix .. "_layers.h", layers_h(network))
  put(prefix .. "_selfcheck.c", template.fill("standalone_selfcheck.c.in",
    { PREFIX = prefix, VERSION = network.version }))
  put(prefix .. "_benchmark.c", template.fill("standalone_benchmark.c.in",
    { PREFIX = prefix, VERSION = network.version }))
  put(prefix .. ".txt", list(network))
  put("CMakeLists.txt", cmake(network))
  put("README.md", readme(network))
end

return frames
