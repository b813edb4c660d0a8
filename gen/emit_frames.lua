-- emit_frames.lua: the files around the kernels: header, dispatch, what the programs know of the layers, build, words.
--
-- Comes after the kernels, whose sizes it needs. Each function gives the text of one file, or of a part of one. Layers
-- are described first: called and macro, its names in C; operands; packs: its weights have a packed form; weights:
-- their bytes.
local targets = require "targets"
local activations, parts, types = require "activations", require "parts", require "types"
local template = require "template"
local dual = require "dual"
local words = require "emit_words"

local frames = {}

local function lines_of(list, text)
  local lines = {}
  for i, each in ipairs(list) do lines[i] = text(each, i) end
  return table.concat(lines, "\n")
end

local function describe(network)
  network.and_threads, network.int_threads = "", ""
  if network.openmp then network.and_threads, network.int_threads = ", threads", ", int threads" end
  network.own = {} -- layers that have kernels of their own
  for _, layer in ipairs(network.layers) do
    layer.called = network.prefix .. "_" .. layer.id
    layer.macro, layer.operands = layer.called:upper(), words.operands(layer.problem)
    layer.packs = layer.problem.pass ~= "backward_weights"
    for _, o in ipairs(layer.operands) do
      if o.slot == "weights" then layer.weights = words.elements(o.shape) * types.bytes(o.type) end
    end
    network.packs = network.packs or layer.packs
    if layer.same == layer then table.insert(network.own, layer) end
  end
end

---- targets of one instruction set, which other processors do not have ----------------------------------------------

-- In order: { names and their places, emitted: isa/'s words about them, condition: the macro that they stand under }.
local function groups(network)
  local list = {}
  for i, name in ipairs(network.targets) do
    local isa = targets[name].isa
    if #list == 0 or list[#list].isa ~= isa then
      local emitted = isa and require("isa/" .. isa).emitted
      list[#list + 1] = { isa = isa, emitted = emitted, condition = emitted and network.guard .. "_" .. emitted.macro }
    end
    table.insert(list[#list], { name, i })
  end
  return list
end

local function special_groups(network)
  local list = groups(network)
  if not list[#list].isa then list[#list] = nil end -- the last target is of any processor
  return list
end

-- Whether there may be no kernel for a processor: the portable ones are left out.
local function bare(network) return targets[network.targets[#network.targets]].isa ~= nil end
local function if_bare(network, text, otherwise) return bare(network) and text or otherwise or "" end
local no_kernel = "    if (!k) return; /* there is none for this processor */\n"

local function rows(group, text)
  return lines_of(group, function(target) return text(table.unpack(target)) end)
end

local function enclosed(group, text) return ("#if %s\n%s\n#endif"):format(group.condition, text) end

-- A row for each target.
local function all_rows(network, text)
  return lines_of(groups(network), function(group)
    return group.isa and enclosed(group, rows(group, text)) or rows(group, text)
  end)
end

---- the header --------------------------------------------------------------------------------------------------------

local function most(layer, size)
  local n = 0
  for _, kernel in ipairs(layer.kernels) do n = math.max(n, size(kernel)) end
  return n
end

local function sizes(network, layer)
  local fixed = most(layer, function(k) return k.packed + k.shared end)
  local alone = most(layer, function(k) return k.packed + k.shared + k.scratch end)
  local each = most(layer, function(k) return k.scratch end)
  local text = network.openmp
    and ("#define %s_WORKSPACE(threads) (%d + %d * (size_t)(threads))"):format(layer.macro, fixed, each)
    or ("#define %s_WORKSPACE %d"):format(layer.macro, alone)
  if not layer.packs then return text end
  local packed = most(layer, function(k) return k.packed > 0 and k.packed or layer.weights end)
  return ("%s\n#define %s_PACKED %d"):format(text, layer.macro, packed)
end

local function pointer_to(o) return ("%s%s *"):format(o.written and "" or "const ", types.c(o.type)) end

local function parameters(network, layer, packed)
  local list = {}
  for i, o in ipairs(layer.operands) do
    list[i] = packed and o.slot == "weights" and "const void *packed" or pointer_to(o) .. o.name
  end
  return table.concat(list, ", ") .. ", void *workspace" .. network.int_threads
end

-- Of the layer, of its packing, of the layer with packed weights.
local function prototypes(network, layer)
  local list = { ("void %s(%s)"):format(layer.called, parameters(network, layer)) }
  if not layer.packs then return list end
  list[2] = ("void %s_pack(const %s *weights, void *packed, void *workspace%s)"):format(layer.called,
    words.c_type(layer.problem, "weights"), network.int_threads)
  list[3] = ("void %s_packed(%s)"):format(layer.called, parameters(network, layer, true))
  return list
end

-- What is proven of each target's kernel, where it is not what was said of the one before.
local function certificates(network, layer, put)
  local before, alike = nil, words.alike(layer)
  for i, kernel in ipairs(layer.kernels) do
    local text = words.certificate(layer.problem, { chains = kernel.chains }, alike)
    local said = table.concat(text)
    for n, line in ipairs(said ~= before and text or {}) do put("  %-10s %s", n == 1 and "error" or "", line) end
    before = said
    local recorded = words.recorded(kernel)
    put("  %-10s %s%s", network.targets[i], kernel.schedule, recorded and "; " .. recorded or "")
  end
end

local function layer_comment(network, layer)
  local p, lines = layer.problem, {}
  local function put(text, ...) lines[#lines + 1] = (" * " .. text):format(...) end
  lines[1] = ("/* %s%s: %s, %s"):format(layer.name ~= "" and layer.name or layer.id,
    layer.multiplicity > 1 and (" *%d"):format(layer.multiplicity) or "", words.pass(p), p.text):gsub("%*/", "* /")
  lines[2] = " *"
  for _, line in ipairs(words.mathematics(p)) do put("    %s", line) end
  lines[#lines + 1] = " *"
  for _, o in ipairs(layer.operands) do
    local apart = o.apart and (", %d elements from a pixel to the next"):format(o.apart) or ""
    put("  %-13s%s %s%s", o.name, types.c(o.type), words.shape(o.shape), apart)
  end
  put("  layout     %s", words.layout(p))
  certificates(network, layer, put)
  if layer.same ~= layer then put("The same kernels as %s's.", layer.same.id) end
  return table.concat(lines, "\n") .. " */"
end

local function any(network, has)
  for _, layer in ipairs(network.layers) do if has(layer.problem, layer) then return true end end
  return false
end

local function has_residual(p) return p.epilogue.residual end

-- What stands in sums beside the products.
local function added(network)
  local list = {}
  local function name(what, has) if any(network, has) then list[#list + 1] = what end end
  name("bias", function(p) return p.bias and p.pass == "forward" end)
  name("residual", has_residual)
  name("old values", function(p) return p.accumulate end)
  return #list > 0 and (" (and of %s)"):format(table.concat(list, " and ")) or ""
end

-- Sentences of the header, those that hold of these layers.
local function on_calls(network)
  return {
    network.packs and "A layer packs its weights in every call, or once: NAME_pack, then NAME_packed in place of "
      .. "NAME. What is packed is for this build on this kind of processor, not for a file." or "",
    "Tensors are dense, in the order of their dimensions here, and need the alignment of their element.",
    (network.packs and "`packed` and `workspace` are the caller's, aligned to 64 bytes, of the sizes given here in "
      or "`workspace` is the caller's, aligned to 64 bytes, of the size given here in ") .. "bytes; of size 0, NULL",
    "will do.",
    ("An output overlaps no other operand%s."):format(
      any(network, has_residual) and ", but dst may be exactly residual" or ""),
    "Nothing is allocated; calls may run at the same time when their outputs and workspaces differ.",
    network.openmp and "`threads` is how many may work on a call: 1 or more. A layer gives the same bits for any "
      .. "number of threads." or "",
  }
end

local function on_errors(network)
  return {
    "The code for the processor at hand is chosen at the first call. Errors: u is the unit roundoff, sum |a||b| the",
    ("sum of the magnitudes of the products%s."):format(added(network)),
    any(network, function(_, layer) return words.alike(layer) end)
      and 'Where it says "the same bits everywhere", all processors give them.' or "",
  }
end

local function paragraph(sentences)
  return lines_of(words.wrapped(table.concat(sentences, " "), 120), function(line) return " * " .. line end)
end

local function header(network)
  return template.fill("standalone.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, VERSION = network.version,
    TARGET_NAMES = '"' .. table.concat(network.targets, '", "') .. '"',
    NONE = if_bare(network, " NULL: there is no kernel for this processor, and a layer leaves its\n"
      .. " * outputs as they are. So ask before the first call."),
    CALLS = paragraph(on_calls(network)), ERRORS = paragraph(on_errors(network)),
    LIST = lines_of(network.layers,
      function(layer) return (" *   %-28s %s"):format(layer.called, layer.problem.text) end),
    LAYERS = lines_of(network.layers, function(layer)
      return ("%s\n%s\n%s;\n"):format(layer_comment(network, layer), sizes(network, layer),
        table.concat(prototypes(network, layer), ";\n"))
    end),
  })
end

---- internal header and dispatch --------------------------------------------------------------------------------------

local function internal(network)
  local stages, special = 1, special_groups(network)
  for _, layer in ipairs(network.layers) do stages = math.max(stages, most(layer, function(k) return k.stages end)) end
  local asm = network.form == "asm" and #special > 0
  return template.fill("standalone_internal.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, STAGES = stages,
    RESIDUAL = any(network, has_residual) and ", *residual" or "",
    SLOPE = any(network, parts.slopes) and "\n    void *slope; /* one for each channel */" or "",
    CONDITIONS = lines_of(special, function(group)
      return template.fill("standalone_condition.in", { NAME = group.emitted.name, MACRO = group.condition,
        DEFINED = group.emitted.defined, AND_ELF = asm and " && defined(__ELF__)" or "",
        OTHERS = if_bare(network, "nothing else has any", "all else gets the portable ones"),
        ONLY_ELF = asm and ": they are assembly, called as System V has it" or "" })
    end),
    KERNELS = all_rows(network, function(_, i)
      return lines_of(network.own, function(layer)
        return ("extern const %s_kernel %s %s_HIDDEN;"):format(network.prefix, layer.kernels[i].symbol, network.guard)
      end)
    end),
  })
end

-- What tells whether the targets of a group run here.
local function tests(group)
  return group.emitted.prepare .. rows(group, function(name)
    local needs = lines_of(targets[name].needs, function(need) return group.emitted.supports:format(need) end)
    return ("    if (t == %s) return %s;"):format(name:upper(), (needs:gsub("\n", " && ")))
  end)
end

local function choice(network)
  local special = special_groups(network)
  local last = if_bare(network, "(void)t, 0", "t == PORTABLE")
  local without = template.fill("standalone_no_choice.in", { LAST = last,
    ONLY = if_bare(network, "TARGETS", "PORTABLE") })
  if #special == 0 then return without end
  local conditions = lines_of(special, function(group) return group.condition end)
  local function text(group) return enclosed(group, tests(group)) end
  return template.fill("standalone_choice.in", {
    CONDITION = conditions:gsub("\n", " || "), WITHOUT = without,
    LAST = if_bare(network, "0", last),
    SOME = if_bare(network, "t < TARGETS && "),
    TESTS = #special == 1 and tests(special[1]) or lines_of(special, text),
  })
end

-- A call's operands as the members of a cg_call.
local function call(layer, without)
  local members = {}
  for _, o in ipairs(layer.operands) do
    if o.slot ~= without then
      members[#members + 1] = (".%s = %s%s"):format(o.slot, o.written and "" or "(void *)", o.name)
    end
  end
  return ("(cg_call){ %s }"):format(table.concat(members, ", "))
end

local function definition(network, layer)
  local list, prototype = {}, prototypes(network, layer)
  local kernels, threads = ("%s_kernels[target()]"):format(layer.same.called), network.and_threads
  local function define(text)
    list[#list + 1] = ("%s\n{\n    %s%s);\n}\n"):format(table.remove(prototype, 1), text, threads)
  end
  if layer.same == layer then
    list[1] = ("static const %s_kernel *const %s_kernels[%s] = {\n%s%s\n};\n"):format(network.prefix, layer.called,
      if_bare(network, "TARGETS + 1", "TARGETS"),
      all_rows(network, function(_, i) return ("    &%s,"):format(layer.kernels[i].symbol) end),
      if_bare(network, "\n    NULL,"))
  end
  define(("run(%s, %s, workspace, PACK | COMPUTE"):format(kernels, call(layer)))
  if layer.packs then
    define(("pack(%s, weights, %d, packed, workspace"):format(kernels, layer.weights))
    define(("run_packed(%s, %s, packed, workspace"):format(kernels, call(layer, "weights")))
  end
  return table.concat(list, "\n")
end

local function dispatch(network)
  local prefix, parameter, threads = network.prefix, network.int_threads, network.and_threads
  return template.fill("standalone.c.in", {
    PREFIX = prefix, VERSION = network.version,
    ENUM = all_rows(network, function(name) return "    " .. name:upper() .. "," end),
    NAMES = all_rows(network, function(name) return ('    "%s",'):format(name) end)
      .. if_bare(network, "\n    NULL,"),
    ROOM = if_bare(network, "TARGETS + 1", "TARGETS"), UNLESS = if_bare(network, no_kernel),
    CHOICE = choice(network) .. template.fill("standalone_choose.in", { PREFIX = prefix }),
    THREADS_PARAMETER = parameter,
    SHARING = network.openmp and
      template.fill("standalone_sharing.in", { GUARD = network.guard, PREFIX = prefix }) or "",
    RUN_STAGE = network.openmp and "share(&k->stage[i], &call, scratch, k->scratch, threads);"
      or "k->stage[i].run(&call, scratch, 0, k->stage[i].tasks);",
    PACKING = network.packs and template.fill("standalone_packing.in", { PREFIX = prefix, PARAMETER = parameter,
      THREADS = threads, UNLESS = if_bare(network, no_kernel) }) or "",
    INCLUDE = network.packs and "#include <string.h>\n" or "",
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

-- What a self-check knows of activations that round, and of residuals behind one, where there are any.
local function checked_activations(network)
  local used, cases = {}, {}
  for _, layer in ipairs(network.layers) do
    local e = layer.problem.epilogue
    local row = activations.rows[e.activation]
    if row.registers or e.residual_last then used[row] = true end
  end
  if not next(used) then return { ACTIVATE = "", FIRST = "", ACTIVATED = "", EXACT = "" } end
  for _, row in ipairs(activations.list) do
    if used[row] and row.registers then
      cases[#cases + 1] = ("    case %d: y = %s, *steep = %s; break;"):format(row.number, row.exact, row.steepest)
    end
  end
  return { ACTIVATE = template.fill("standalone_activate.in", { CASES = table.concat(cases, "\n") }), FIRST = " == 1",
    ACTIVATED = "\n    activate(l, t, element, s);", EXACT = " && l->activation < 3" }
end

-- What the two programs know of slices and of gradients that are added to, where there are any.
local function any_slices(network)
  return any(network, function(p) return p.accumulate or (p.src_stride or 0) + (p.dst_stride or 0) > 0 end)
end

local function checked_slices(network, values)
  local any = any_slices(network)
  local all = any and { SLICES = template.fill("standalone_slices.in", {}), RUN = "with_slices", ON = "l, ",
    THREADS = "", BETWEEN = "between ? between : ", CONST = "",
    ADDED = "\n        if (l->adds) add(l, &s, old_value(i), 1);" }
    or { SLICES = "", RUN = "l->run", ON = "", THREADS = ", THREADS", BETWEEN = "", CONST = "const ", ADDED = "" }
  for name, text in pairs(all) do values[name] = text end
  return values
end

local function timed_slices(network)
  local function pitch(i, channels) return ("(l->apart[%d] ? l->apart[%d] : %s)"):format(i, i, channels) end
  if any_slices(network) then return { SRC = pitch(0, "l->ic"), DST = pitch(1, "l->oc") } end
  return { SRC = "l->ic", DST = "l->oc" }
end

-- A function that calls a layer whose operands stand in an array.
local function adapter(network, layer)
  local threads, slot_of = network.and_threads, dual.slots(layer.problem, {})
  local function run(suffix, packed)
    local list = {}
    for i, o in ipairs(layer.operands) do
      list[i] = packed and o.slot == "weights" and "t[PACKED]"
        or ("(%s)t[%s]"):format(pointer_to(o), slot_of(o.slot):upper())
    end
    return ("%s%s(%s, t[WORKSPACE]%s);"):format(layer.called, suffix, table.concat(list, ", "), threads)
  end
  local body = layer.packs
    and ("    if (how == WHOLE) %s\n    else if (how == PACK) %s_pack(t[WEIGHTS], t[PACKED], t[WORKSPACE]%s);\n"
      .. "    else %s\n"):format(run "", layer.called, threads, run("_packed", true))
    or ("    (void)how;\n    %s\n"):format(run "")
  return ("static void run_%s(void *const t[OPERANDS], int how, int threads)\n{\n%s%s}\n"):format(layer.id,
    network.openmp and "" or "    (void)threads;\n", body)
end

-- The fields of a row, in the order of standalone_layers.h.in.
local function row(network, layer)
  local p, e, budgets = dual.of(layer.problem), layer.problem.epilogue, {}
  local function flag(x) return x and 1 or 0 end
  for i, kernel in ipairs(layer.kernels) do budgets[i] = kernel.chains > 0 and 0 or words.budget(p) end
  local lines = {
    { ('"%s"'):format(layer.id), "run_" .. layer.id, p.pass:upper(), flag(p.asked), types.rows[p.type].number,
      flag(p.layout == "nchw"), flag(layer.problem.bias), e.residual_last and 2 or flag(e.residual),
      activations.rows[e.activation].number, number(e.lo), number(e.hi), p.batch, p.groups, p.ic, p.oc },
    { braces(p.input), braces(p.output), braces(p.kernel), braces(p.stride), braces(p.dilation), braces(p.pad) },
    { layer.packs and layer.macro .. "_PACKED" or 0,
      layer.macro .. "_WORKSPACE" .. (network.openmp and "(THREADS)" or ""),
      flag(p.weights == "fixed"), layer.multiplicity, braces(budgets),
      network.slices and braces { p.src_stride, p.dst_stride } or nil, network.slices and flag(p.accumulate) or nil },
  }
  for i, line in ipairs(lines) do lines[i] = table.concat(line, ", ") end
  return ("    { %s },"):format(table.concat(lines, ",\n      "))
end

local function layers_h(network)
  network.slices = any_slices(network)
  return template.fill("standalone_layers.h.in", {
    PREFIX = network.prefix, GUARD = network.guard, TARGETS = #network.targets, THREADS = network.openmp and 2 or 1,
    NAMES = '"' .. table.concat(network.targets, '", "') .. '"',
    SLICES = network.slices and "\n    long apart[2]; /* of src and dst that are slices: elements from pixel to "
      .. "pixel */\n    int adds;      /* to what outputs have */" or "",
    ADAPTERS = lines_of(network.layers, function(layer) return adapter(network, layer) end),
    ROWS = lines_of(network.layers, function(layer) return row(network, layer) end),
  })
end

---- the list, the build, the words ------------------------------------------------------------------------------------

local function list(network)
  return "# What the convolutions of this directory are: README.md tells how they are made again.\n"
    .. lines_of(network.layers, function(layer)
      return ("--reset%s %s%s%s"):format(layer.threads > 1 and (" --threads=%d"):format(layer.threads) or "",
        layer.problem.text,
        layer.name ~= "" and ('n"%s"'):format(layer.name) or "",
        layer.multiplicity > 1 and (" *%d"):format(layer.multiplicity) or "")
    end) .. "\n"
end

local function files_of(network, i, indent)
  return lines_of(network.own, function(layer) return indent .. layer.kernels[i].file end)
end

-- Flags of the files of a group, for compilers of its processors.
local function flags(network, group)
  if network.form == "asm" then return "" end
  local files = rows(group, function(name, i)
    return ("  set_source_files_properties(\n%s\n    PROPERTIES COMPILE_OPTIONS \"%s\")"):format(
      files_of(network, i, "    "), (targets[name].flags:gsub(" ", ";")))
  end)
  return template.fill("standalone_flags.in", { PROCESSORS = group.emitted.processors, FILES = files })
end

local function cmake(network)
  return template.fill("standalone_cmakelists.in", {
    PREFIX = network.prefix,
    SOURCES = lines_of(network.targets, function(_, i) return files_of(network, i, "  ") end),
    FLAGS = lines_of(special_groups(network), function(group) return flags(network, group) end),
    OPENMP = network.openmp and ("find_package(OpenMP REQUIRED COMPONENTS C)\n"
      .. "target_link_libraries(%s PUBLIC OpenMP::OpenMP_C)\n"):format(network.prefix) or "",
  })
end

-- "3 layers, 2 of them different, each": what has kernels.
local function counted_layers(network)
  local layers, different = #network.layers, #network.own
  if layers == 1 then return "One layer" end
  return different == layers and ("%d layers, each"):format(layers)
    or ("%d layers, %d of them different, each"):format(layers, different)
end

-- What compilers are told where there is no CMake, and what the kernels are.
local function form_words(network)
  local flagged, names = {}, {}
  for i, group in ipairs(special_groups(network)) do
    names[i] = group.isa
    rows(group, function(name)
      table.insert(flagged, ("`*_%s.c` with `%s`"):format(name, targets[name].flags))
      return ""
    end)
  end
  if network.form == "asm" and #names > 0 then
    return "", ("The %s kernels are assembly in C files, for gcc and clang on System V systems (no `-flto`): the "
      .. "instructions that were timed."):format(table.concat(names, " and "))
  end
  local compiled = #names > 0 and ", and " .. table.concat(flagged, ", ") or ""
  return compiled, "All kernels are C over the operations of `*_vec_*.h`; `-DCG_BODY=3` takes their plainest body, one "
    .. "lane after another."
end

local function readme(network)
  local flagged, form = form_words(network)
  return template.fill("standalone_readme.in", {
    PREFIX = network.prefix, VERSION = network.version, TARGETS = table.concat(network.targets, ","),
    FORM = network.form,
    THREADS = network.openmp and "openmp" or "none", LAYER_WORDS = counted_layers(network),
    TARGET_WORDS = table.concat(network.targets, ", "),
    ORIGINS = lines_of(network.own, function(layer)
      return lines_of(layer.kernels, function(kernel, i)
        return ("| %s | %s | `%s` | %s |"):format(layer.id, network.targets[i], kernel.schedule, kernel.from)
      end)
    end),
    ABSENT = if_bare(network, (" Where there is no kernel for a processor, `%s_target()` is NULL, and layers\n"
      .. "leave their outputs as they are."):format(network.prefix)),
    BARE = if_bare(network, " --no-portable"), FMA = if_bare(network, "",
      "; the portable kernels also fma or fmaf (`-lm`) where the processor has no such instruction"),
    MACHINE = network.elsewhere and " --machine=FILE" or "", KEY = network.key, FLAGS = flagged, FORM_WORDS = form,
    OPENMP = network.openmp and ("Threads are OpenMP's; `-D%s_SERIAL` compiles without. "):format(network.guard) or "",
  })
end

function frames.write(network, put)
  local prefix = network.prefix
  local function tidied(text) return (text:gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n")) end
  local function program(name, values)
    values.PREFIX, values.VERSION = prefix, network.version
    put(prefix .. name, template.fill("standalone" .. name .. ".in", values))
  end
  describe(network)
  put(prefix .. ".h", header(network))
  put(prefix .. "_internal.h", tidied(internal(network)))
  put(prefix .. ".c", tidied(dispatch(network)))
  put(prefix .. "_layers.h", layers_h(network))
  local checked, timed = checked_slices(network, checked_activations(network)), timed_slices(network)
  checked.OR_NONE = if_bare(network, ' ? best : "none"')
  timed.UNLESS = if_bare(network, ("    if (!%s_target()) {\n        fputs(\"no kernel is for this processor\\n\", "
    .. "stderr);\n        return 1;\n    }\n"):format(prefix))
  program("_selfcheck.c", checked)
  program("_benchmark.c", timed)
  put(prefix .. ".txt", list(network))
  put("CMakeLists.txt", tidied(cmake(network)))
  put("README.md", readme(network))
end

return frames
