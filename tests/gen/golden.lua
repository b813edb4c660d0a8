-- What each family makes, as a hash beside its version: whoever changes a family's output must raise its version, or records
-- made by the old one would be trusted for the new. After that, put the hash that this prints into the table.
local suite = require "suite"
local convgen, space = require "convgen", require "space"

local golden = {
  direct    = { version = 4, hash = "7c37c9f116c18dcf" },
  planar    = { version = 5, hash = "64676d4284130307" },
  depthwise = { version = 4, hash = "4e8abed215f09bb4" },
  winograd  = { version = 6, hash = "4598e3e360b28faa" },
  plain     = { version = 2, hash = "ed31f936e9a9b53e" },
}

local machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }

local function problem(fields)
  local p = { pass = "forward", type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", batch = 2, groups = 1, ic = 5,
    oc = 20, input = { 1, 9, 11 }, output = { 1, 9, 11 }, kernel = { 1, 3, 3 }, stride = { 1, 1, 1 }, dilation = { 1, 1, 1 },
    pad = { 0, 1, 1 }, bias = false, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 }, text = "golden" }
  for key, value in pairs(fields) do p[key] = value end
  return p
end

local problems = {
  { bias = true, epilogue = { residual = true, activation = "clamp", lo = -0.5, hi = 2.0 } },
  { pass = "backward_data" }, { pass = "backward_weights", bias = true },
  { layout = "nchw" }, { layout = "nchw", pass = "backward_data" }, { layout = "nchw", pass = "backward_weights" },
  { type = "f64", stride = { 1, 2, 2 }, output = { 1, 5, 6 } },
  { pass = "backward_data", stride = { 1, 2, 2 }, output = { 1, 5, 6 } },
  { pass = "backward_weights", kernel = { 1, 1, 1 }, pad = { 0, 0, 0 }, stride = { 1, 2, 2 }, output = { 1, 5, 6 } },
  { groups = 20, ic = 20 }, { groups = 20, ic = 20, pass = "backward_data" }, { groups = 20, ic = 20, pass = "backward_weights" },
}

-- Beside those: what shows more of one family. marked: schedules with this in their names, found where the second cache has l2 bytes.
local pointwise = { kernel = { 1, 1, 1 }, pad = { 0, 0, 0 }, stride = { 1, 2, 2 }, batch = 80, ic = 16, oc = 36, input = { 1, 5, 3 },
  output = { 1, 3, 2 }, l2 = 8192 }
local wide = { accuracy = "8x", batch = 1, ic = 40, oc = 80, input = { 1, 12, 14 }, output = { 1, 12, 14 }, l2 = 65536 }
local function like(fields, changes)
  local p = {}
  for key, value in pairs(fields) do p[key] = value end
  for key, value in pairs(changes) do p[key] = value end
  return p
end
local strided = { pass = "backward_data", kernel = { 1, 4, 7 }, stride = { 1, 4, 6 }, pad = { 0, 1, 2 }, input = { 1, 13, 19 },
  output = { 1, 3, 3 } }
local more = {
  direct = { like(pointwise, { marked = ".across" }), like(pointwise, { marked = ".across", pass = "backward_data" }),
    like(pointwise, { marked = ".ahead", pass = "backward_weights" }), { groups = 5, ic = 20, oc = 20, marked = "lanes." },
    { groups = 5, ic = 20, oc = 10, marked = "lanes.", pass = "backward_data" }, { groups = 5, ic = 20, oc = 20, marked = "window/" },
    { groups = 4, ic = 1024, oc = 20, marked = "window/", pass = "backward_weights", kernel = { 2, 3, 3 }, pad = { 1, 1, 1 }, input = { 3, 5, 7 },
      output = { 4, 3, 4 }, stride = { 1, 2, 2 } },
    like(strided, { marked = "fold/" }), like(strided, { marked = "ranges/", type = "f64", dilation = { 1, 3, 2 }, output = { 1, 2, 3 } }),
    like(strided, { marked = "turned/fold/", layout = "nchw" }),
    { marked = "ranges/", input = { 1, 1, 300 }, output = { 1, 1, 300 }, kernel = { 1, 1, 201 }, pad = { 0, 0, 100 }, bias = true },
    { marked = "turned/", layout = "nchw", pass = "backward_weights", bias = true, input = { 1, 1, 600 }, output = { 1, 1, 600 },
      kernel = { 1, 1, 3 }, pad = { 0, 0, 1 } } },
  depthwise = { { groups = 20, ic = 20, oc = 60, pass = "backward_data" },
    { groups = 20, ic = 20, oc = 60, layout = "nchw", bias = true,
      epilogue = { residual = true, activation = "clamp", lo = -0.5, hi = 2.0 } },
    { groups = 20, ic = 20, oc = 60, layout = "nchw", pass = "backward_data" },
    { groups = 20, ic = 20, oc = 60, layout = "nchw", pass = "backward_weights", bias = true },
    { groups = 20, ic = 20, bias = true, epilogue = { residual = true, activation = "clamp", lo = -0.5, hi = 2.0 } },
    { groups = 20, ic = 20, bias = true, pass = "backward_weights", kernel = { 2, 3, 3 }, pad = { 1, 1, 1 }, output = { 2, 9, 11 } },
    { groups = 5, ic = 20, oc = 20, bias = true, pass = "backward_weights", marked = "lanes." } },
  winograd = { { accuracy = "8x", ic = 20, bias = true, kernel = { 1, 3, 5 }, pad = { 0, 1, 2 } },
    { accuracy = "8x", pass = "backward_data", groups = 2, ic = 40, oc = 80, type = "f64" },
    { accuracy = "8x", dilation = { 1, 2, 3 }, pad = { 0, 2, 2 }, output = { 1, 9, 9 } },
    { accuracy = "8x", dilation = { 1, 2, 3 }, pad = { 0, 2, 2 }, output = { 1, 9, 9 }, pass = "backward_data" },
    { accuracy = "8x", kernel = { 1, 3, 4 }, stride = { 1, 2, 3 }, output = { 1, 5, 4 } },
    like(wide, { marked = ".half", weights = "fixed" }), like(wide, { marked = ".fuse" }), like(wide, { marked = ".d2" }) },
}

local function problems_of(family)
  local list = table.move(problems, 1, #problems, 1, {})
  return table.move(more[family] or {}, 1, #(more[family] or {}), #list + 1, list)
end

-- FNV-1a, 64 bits.
local function fold(hash, text)
  for i = 1, #text do hash = (hash ~ text:byte(i)) * 0x100000001b3 end
  return hash
end

-- But for the line that says how the schedule is called.
local function without_name(text) return (text:gsub("\n %* schedule [^\n]*", "", 1)) end

-- Those of the family that can be and that a problem asks for, by name: what is estimated of them is no part of its output.
local function schedules_of(family, fields, request)
  local list = {}
  for _, s in ipairs(convgen.schedules(request)) do
    if s.family == family and not s.why and (not fields.marked or s.name:find(fields.marked, 1, true)) then list[#list + 1] = s.name end
  end
  table.sort(list)
  return list
end

-- Over the first and the last of them for each problem and target.
local function hash_of(family)
  local hash = 0xcbf29ce484222325
  for _, target in ipairs { "avx512", "avx2", "portable" } do
    for _, fields in ipairs(problems_of(family)) do
      local here = setmetatable({ l2 = fields.l2 }, { __index = machine })
      local request = { problem = problem(fields), machine = here, target = target, form = "c", threads = 2, all = true }
      local list = schedules_of(family, fields, request)
      for _, name in ipairs { list[1], #list > 1 and list[#list] or nil } do
        hash = fold(hash, without_name(convgen.source(request, name).text))
      end
      if fields.marked and #list == 0 and target == "avx512" then error("no schedule of " .. family .. " has " .. fields.marked, 0) end
    end
  end
  return ("%016x"):format(hash)
end

for name, known in pairs(golden) do
  suite.case("the output of " .. name, function()
    suite.equal(space.version(name), known.version)
    local hash = hash_of(name)
    if hash ~= known.hash then
      error(("%s makes other code than version %d did: raise its version, then put hash = \"%s\" here"):format(name, known.version, hash), 0)
    end
  end)
end

return suite.failures()
