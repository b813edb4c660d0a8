-- Network files: parsed and printed, refused with the file and the line, and planned.
local suite = require "suite"
local file = require "network/file"
local convgen = require "convgen"

local head = [[
weights a.weights bytes 100000 hash 5f1c0a7e
tensor c0.w f32 24x1x3x3 @0
tensor c0.b f32 24 @864
tensor c1.w f32 24x24x3x3 @960
input x f32 1x1x10x8
c0 = conv(x, c0.w, c0.b) ic1ih10iw8oc24oh8ow8kh3kw3ph0pw1 --epilogue=leaky:0.2:-0.4
]]

suite.case("a file is printed as it is read", function()
  local content = head .. [[
c1 = conv(c0, c1.w, residual=c0) ic24ih8iw8oc24oh8ow8kh3kw3ph1pw1 --epilogue=residual+relu
p = maxpool(c1) k2x2 s2x2
"a b\n\"é\"", q = split(p) axis 1 sizes 4,20
m = mul(q, 0.5, -1e-07)
output m
output "a b\n\"é\""
]]
  suite.equal(file.print(assert(file.parse(content))), content)
end)

local function refused(sentence, content)
  local net, why = file.parse(content, "a.net")
  suite.equal(net, nil)
  suite.equal(why:sub(1, #sentence), sentence)
end

suite.case("what is wrong names the file and the line", function()
  refused("a.net:7: y is not known here", head .. "z = add(c0, y)\ny = add(c0, c0)\noutput z\n")
  refused("a.net:7: c0 is defined a second time", head .. "c0 = add(x, x)\noutput c0\n")
  refused("a.net:7: 'foo' is no operation", head .. "y = foo(x)\noutput y\n")
  refused("a.net:2: w is outside of the weights file", "weights w bytes 4\ntensor w f32 2 @0\n")
end)

suite.case("convolutions, a pool and a sum are planned", function()
  local plan = assert(convgen.network { text = head .. [[
c1 = conv(c0, c1.w) ic24ih8iw8oc24oh8ow8kh3kw3ph1pw1
s = add(c0, c1)
p = maxpool(s) k2x2 s2x2
output p
]] })
  local ops = {}
  for i, o in ipairs(plan.operations) do ops[i] = o.op end
  suite.equal(table.concat(ops, " "), "conv conv maxpool copy")
  suite.equal(plan.operations[2].problem, "--dir=FWD_D --weights=fixed --epilogue=residual mb1ic24ih8iw8oc24oh8ow8kh3kw3ph1pw1")
  suite.equal(plan.operations[2].operands.src.offset, plan.operations[1].operands.dst.offset)
end)

return suite.failures()
