-- emit.lua: the layers of a network -> files that need nothing of convgen.
--
-- network: prefix; form, "c" or "asm"; openmp; machine; targets, best first, "portable" last; layers, each with name,
-- threads, multiplicity, problem, and kernels, one a target: schedule, from (a sentence: why this one), and the
-- recorded errors that are known. put(name, text) takes one file. Names and order depend on the network alone. Of
-- families it knows their stages only.
local targets = require "targets"
local template = require "template"
local driver = require "driver"
local words = require "emit_words"
local frames = require "emit_frames"
local lower = { c = require "lower/c", machine = require "lower/machine" }

local emit = {}

---- names -------------------------------------------------------------------------------------------------------------

local pass_suffix = { forward = "", backward_data = "_backward_data", backward_weights = "_backward_weights" }
local derived = { "", "_pack", "_packed", "_workspace", "_kernels" }

local function valid(name)
  return (name:gsub("[^%w_]", "_"):gsub("_+", "_"):gsub("^_", ""):gsub("_$", ""))
end

-- A layer's name in C: what the list says, made valid and unique together with all that is derived from it; case does
-- not tell names apart, since macros and files are made of them too.
local function name_layers(network)
  local taken, given = { target = true, choose = true, internal = true, selfcheck = true, benchmark = true,
    layers = true }, {}
  local function free(name)
    for _, suffix in ipairs(derived) do if taken[(name .. suffix):lower()] then return false end end
    return true
  end
  for _, layer in ipairs(network.layers) do
    local p, said = layer.problem, layer.name
    if said ~= "" then
      local key = said .. pass_suffix[p.pass]
      if given[key] then
        return nil, ("two layers are called %s (%s); give them names of their own"):format(said, words.pass(p))
      end
      given[key] = true
    end
    local base = valid(said ~= "" and said or p.text:match "%S+$")
    base = (base == "" and "layer" or base) .. pass_suffix[p.pass]
    local name, n = base, 1
    while not free(name) do
      n = n + 1
      name = base .. "_" .. n
    end
    for _, suffix in ipairs(derived) do taken[(name .. suffix):lower()] = true end
    layer.id = name
  end
  return true
end

---- one kernel -> one file --------------------------------------------------------------------------------------------

local function round64(n) return (n + 63) // 64 * 64 end

local function comment(lines)
  return "/* " .. table.concat(lines, "\n * "):gsub("%*/", "* /"):gsub(" +\n", "\n") .. " */"
end

local function append(list, title, lines)
  for i, line in ipairs(lines) do
    list[#list + 1] = (i == 1 and "  %-10s%s" or "  %-10s%s"):format(i == 1 and title or "", line)
  end
end

local function count_text(n, one) return ("%d %s%s"):format(n, one, n == 1 and "" or "s") end

local function stage_words(result)
  local lines = {}
  for i, stage in ipairs(result.stages) do
    local what = {}
    for _, part in ipairs(stage.parts) do what[#what + 1] = part.what end
    lines[i] = ("%s: %s%s"):format(stage.name, count_text(stage.tasks, "task"),
      #what > 0 and " (" .. table.concat(what, "; ") .. ")" or "")
  end
  return lines
end

local function head(network, layer, kernel, result, file)
  local p, lines = layer.problem, {}
  lines[1] = ("%s: %s for %s."):format(file, layer.id, kernel.target)
  lines[2] = ""
  lines[3] = ("  %s, %s"):format(words.pass(p), p.text)
  lines[4] = ""
  for _, line in ipairs(words.mathematics(p)) do lines[#lines + 1] = "    " .. line end
  lines[#lines + 1] = ""
  append(lines, "schedule", { kernel.schedule .. ", " .. kernel.from })
  if result.family.explain then append(lines, "", result.family.explain(p, result.schedule, targets[kernel.target])) end
  append(lines, "stages", stage_words(result))
  append(lines, "error", words.certificate(p, kernel))
  lines[#lines + 1] = ""
  lines[#lines + 1] = ("Made by convgen %s; belongs to whoever made it."):format(network.version)
  return comment(lines)
end

-- Words as lines of at most so many characters.
local function wrapped(text, width)
  local lines = { "" }
  for word in text:gmatch "%S+" do
    if #lines[#lines] + #word > width and lines[#lines] ~= "" then lines[#lines + 1] = "" end
    lines[#lines] = lines[#lines] .. (lines[#lines] == "" and "" or " ") .. word
  end
  return lines
end

-- A kernel's `about`, where its family gives one, stands before it.
local function kernels_text(result, text, target)
  local list = {}
  for i, kernel in ipairs(result.kernels) do
    list[i] = (kernel.about and comment(wrapped(kernel.about, 120)) .. "\n" or "") .. text(kernel, target)
  end
  return table.concat(list, "\n")
end

local function vec_name(network, p, target) return ("%s_vec_%s_%s.h"):format(network.prefix, p.type, target.name) end

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

local function stages_text(p, result)
  local list = {}
  for i, stage in ipairs(result.stages) do list[i] = "static " .. tidied(driver.print(stage, words.c_type(p))) end
  return table.concat(list, "\n")
end

-- What encloses a file of a target that not every processor has, or compiler is told of.
local function enclosure(network, kernel)
  local target, macro = targets[kernel.target], network.guard .. "_X86"
  if not target.isa then return "", "" end
  local open = { "#if " .. macro }
  if kernel.form == "c" then
    local line = '#error "compile this file with %s"'
    table.move({ ("#if !defined(CG_BODY) && !(%s)"):format(target.intrinsics), line:format(target.flags), "#endif" },
      1, 3, 2, open)
  end
  return table.concat(open, "\n"), "#endif"
end

local function vec_header(network, p, target)
  local macro = (network.guard .. "_VEC_" .. p.type .. "_" .. target.name):upper()
  return ("#ifndef %s\n#define %s\n%s\n#endif\n"):format(macro, macro,
    (lower.c.prelude(p.type, target):gsub("\n$", "")))
end

local function write_kernel(network, layer, kernel, build, put)
  local p = layer.problem
  local result, why = build({ problem = p, machine = network.machine, target = kernel.target, form = kernel.form,
    threads = layer.threads },
    kernel.schedule)
  if not result then return nil, ("%s, %s: %s"):format(layer.id, kernel.target, why) end
  local form, vectors = lower[kernel.form], result.kernels[1].target
  kernel.chains, kernel.symbol = result.family.chains, ("%s_%s_%s"):format(network.prefix, layer.id, kernel.target)
  kernel.packed, kernel.shared, kernel.scratch = round64(result.packed), round64(result.shared), 0
  kernel.file, kernel.stages = kernel.symbol .. ".c", #result.stages
  local rows, include = {}, nil
  for i, stage in ipairs(result.stages) do
    stage.symbol = "stage_" .. stage.name
    kernel.scratch = math.max(kernel.scratch, round64(stage.scratch))
    rows[i] = ("        { %s, %d, %d },"):format(stage.symbol, stage.tasks, stage.pack and 1 or 0)
  end
  if kernel.form == "c" then
    local name = vec_name(network, p, vectors)
    include = ('#include "%s"\n%s'):format(name, lower.c.beyond(result.kernels))
    if not network.headers[name] then
      network.headers[name] = true
      put(name, vec_header(network, p, vectors))
    end
  else
    include = "/* The kernels are instructions, in GNU's spelling; comments tell which operation they are of. */\n"
  end
  local open, close = enclosure(network, kernel)
  put(kernel.file, (template.fill("standalone_kernel.c.in", {
    HEAD = head(network, layer, kernel, result, kernel.file), PREFIX = network.prefix, OPEN = open, CLOSE = close,
    INCLUDE = include,
    KERNELS = kernels_text(result, kernel.form == "c" and form.kernel or form.assembly, targets[kernel.target]),
    STAGES = stages_text(p, result),
    SYMBOL = kernel.symbol, TABLE = table.concat(rows, "\n"),
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
