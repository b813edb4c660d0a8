-- dual.lua: a transposed problem is made as its dual convolution is, but for whose tensors the names are.
local suite = require "suite"
local convgen, dual = require "convgen", require "dual"

local machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }
local other = { forward = "backward_data", backward_data = "forward", backward_weights = "backward_weights" }

local function problem(fields)
  local p = { op = "convolution", pass = "forward", type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", batch = 2, groups = 1,
    ic = 5, oc = 20, input = { 1, 9, 11 }, output = { 1, 5, 6 }, kernel = { 1, 3, 3 }, stride = { 1, 2, 2 }, dilation = { 1, 1, 1 },
    pad = { 0, 1, 1 }, bias = false, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 }, text = "dual" }
  for key, value in pairs(fields) do p[key] = value end
  return p
end

-- The transposed problem whose dual that is.
local function transposed(p, fields)
  local t = problem { op = "transposed", pass = other[p.pass], ic = p.oc, oc = p.ic, input = p.output, output = p.input, layout = p.layout }
  for key, value in pairs(fields or {}) do t[key] = value end
  return t
end

local function sources(p)
  local request, list = { problem = p, machine = machine, target = "avx2", form = "c", threads = 2, all = true }, {}
  for _, s in ipairs(convgen.schedules(request)) do
    if not s.why then list[s.name] = convgen.source(request, s.name).text end
  end
  return list
end

local function with_exchanged_slots(text)
  return (text:gsub("(call%->)(%a+)", function(at, name) return at .. (({ src = "dst", dst = "src" })[name] or name) end))
end

for _, layout in ipairs { "nhwc", "nchw" } do
  for pass in pairs(other) do
    suite.case(("the kernels of the dual, %s of %s"):format(pass, layout), function()
      local p, count = problem { pass = pass, layout = layout }, 0
      local ours = sources(transposed(p))
      for name, text in pairs(sources(p)) do
        suite.equal(ours[name], with_exchanged_slots(text))
        count = count + 1
      end
      for name in pairs(ours) do count = count - 1 end
      suite.equal(count, 0)
    end)
  end
end

suite.case("a convolution is its own dual", function()
  local p = problem {}
  suite.equal(dual.of(p), p)
  suite.equal(dual.slots(p, {})("src"), "src")
end)

suite.case("the bias' gradient is of the problem's own output", function()
  local text
  for _, each in pairs(sources(transposed(problem { pass = "backward_weights" }, { bias = true }))) do
    text = each:match "void cg_stage_bias.-\n}"
    suite.equal(text:match "%*dst = (call%->%a+)", "call->dst")
    suite.equal(text:match "call%->src", nil)
  end
end)

return suite.failures()
