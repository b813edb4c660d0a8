-- dual.lua: a transposed convolution as the convolution whose src is its dst: that one's backward data is its forward
-- pass, and so on, with the same weights.
--
-- Families see such a dual alone, whose bias and epilogue are those of what it writes: its fields are a convolution's,
-- `asked` is the problem. Stages name the dual's tensors; `slot` says which of the problem's they are. What is not a
-- contraction of the dual, the bias' gradient, is the problem's own.
local build = require "build"
local reduce = require "reduce"
local dual = {}

local other_pass = { forward = "backward_data", backward_data = "forward", backward_weights = "backward_weights" }
local other_tensor = { src = "dst", dst = "src" }

-- The problem itself where it is a convolution.
function dual.of(p)
  if p.op ~= "transposed" then return p end
  local fields = { asked = p, op = "convolution", pass = other_pass[p.pass], ic = p.oc, oc = p.ic, input = p.output,
    output = p.input, src_stride = p.dst_stride, dst_stride = p.src_stride, bias = p.bias and p.pass == "forward" }
  return setmetatable(fields, { __index = p })
end

-- The member of cg_call that a stage's name is: slot(name).
function dual.slots(p, stage)
  return function(name) return p.op == "transposed" and not stage.asked and other_tensor[name] or name end
end

-- Adds to what a family made for a dual what only the problem has: its bias' gradient, which sums what the dual reads.
function dual.complete(result, p)
  local asked = p.asked
  if not asked or asked.pass ~= "backward_weights" or not asked.bias then return end
  local b = build.new(asked, result.kernels[1].target)
  b.kernels = result.kernels
  local stage = reduce.bias_stage(b)
  stage.asked = true
  result.stages[#result.stages + 1] = stage
end

return dual
