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

local all = [[
weights a.weights bytes 100000
tensor w f32 6x2x3x3 @0
tensor wd f32 4x3x2x2 @0
tensor b6 f32 6 @0
tensor m f32 8x5 @0
tensor ix i64 2x3 @0
input x f32 2x4x6x8
input v f32 8
input n f32 3x8
input i i64 3
]]

-- The sizes of what a line makes: of all results, with the type where it is not f32.
local function sizes(line, layout)
  local net = assert(file.parse((layout or "") .. all .. "r = " .. line .. "\noutput r\n"))
  local t = net.tensors.r
  return (t.type ~= "f32" and t.type .. " " or "") .. table.concat(t.dims, "x")
end

for line, expected in pairs {
  ["conv(x, w, b6) g2ic4ih6iw8oc6oh4ow8kh3kw3ph0pw1"] = "2x6x4x8",
  ["conv(x, w) g2mb2ic4ih6iw8oc6oh3ow4kh3kw3sh2sw2"] = "2x6x3x4",
  ["deconv(x, wd) ic4ih6iw8oc3oh12ow16kh2kw2sh2sw2ph0pw0"] = "2x3x12x16",
  ["linear(x, m)"] = "2x4x6x5", ["linear(v, m)"] = "5",
  ["gemm(n, m)"] = "3x5", ["gemm(n, n, 1) trans_b alpha 2"] = "3x3", ["gemm(n, n, v) trans_a"] = "8x8",
  ["matmul(x, m)"] = "2x4x6x5", ["matmul(n, v)"] = "3", ["matmul(v, m)"] = "5", ["matmul(v, v)"] = "",
  ["maxpool(x) k3x3 s2x2"] = "2x4x2x3", ["maxpool(x) k3x3 s2x2 o3x4"] = "2x4x3x4",
  ["avgpool(x) k2x3 p1x1 e0x1 d2x1 counted"] = "2x4x5x8",
  ["reduce_mean(x) axes 2,3"] = "2x4", ["reduce_max(x) axes 1 keep"] = "2x1x6x8", ["reduce_sum(v) axes 0"] = "",
  ["argmax(x) axis 1"] = "i64 2x6x8", ["argmax(x) axis 3 keep"] = "i64 2x4x6x1",
  ["softmax(x) axis 1"] = "2x4x6x8", ["logsoftmax(v) axis 0"] = "8",
  ["add(x, v)"] = "2x4x6x8", ["sub(2, n)"] = "3x8", ["mul(n, v, 3)"] = "3x8", ["max(x, n, v)"] = false,
  ["pow(x, 0.5)"] = "2x4x6x8", ["erf(v)"] = "8", ["softplus(v)"] = "8", ["elu(v) 0.5"] = "8",
  ["activate(v) leaky:0.1:-1"] = "8", ["prelu(x, v)"] = "2x4x6x8", ["chain(n, v) mul($1,$2) silu(%1)"] = "3x8",
  ["batchnorm(n, v, v, v, v) epsilon 1e-5"] = "3x8", ["layernorm(x, n) axis 2 epsilon 1e-5"] = false,
  ["layernorm(x, v, v) axis 3 epsilon 1e-5"] = "2x4x6x8", ["layernorm(x) axis 1 epsilon 0"] = "2x4x6x8",
  ["resize(x) nearest 2x1.5"] = "2x4x12x12", ["resize(x) linear o3x5 align_corners"] = "2x4x3x5",
  ["resize(x) nearest 0.4x0.5 asymmetric ceil"] = "2x4x2x4", ["depth_to_space(x) 2 crd"] = "2x1x12x16",
  ["concat(n, n, n) axis 0"] = "9x8", ["concat(n, n) axis 1"] = "3x16",
  ["slice(x) axes 0,3 from 1,1 to 2,7 steps 1,2"] = "1x4x6x3", ["slice(v) axes 0 from 7 to -1 steps -3"] = "3",
  ["pad(n) before 1,0 after 0,2 value 3"] = "4x10", ["pad(n) before 2,0 after 2,7 reflect"] = "7x15",
  ["transpose(x) 3,0,2,1"] = "8x2x6x4", ["reshape(x) 2x192"] = "2x192", ["cast(i) f64"] = "f64 3",
  ["gather(n) axis 1 indices 7,0,0"] = "3x3", ["gather(n, ix) axis 0"] = "2x3x8", ["gather(i, ix) axis 0"] = "i64 2x3",
  ["transpose(i) 0"] = "i64 3",
} do
  suite.case(line, function()
    if expected then suite.equal(sizes(line), expected) else suite.equal(pcall(sizes, line), false) end
  end)
end

suite.case("sizes with channels last", function()
  local head = "layout nhwc\nweights a bytes 9999\ntensor w f32 3x3x2x6 @0\ntensor d f32 2x2x3x4 @0\ninput x f32 2x6x8x4\n"
  for line, expected in pairs {
    ["conv(x, w) g2ic4ih6iw8oc6oh4ow8kh3kw3ph0pw1"] = "2x4x8x6",
    ["deconv(x, d) ic4ih6iw8oc3oh12ow16kh2kw2sh2sw2ph0pw0"] = "2x12x16x3",
    ["maxpool(x) k3x3 s2x2"] = "2x2x3x4", ["resize(x) nearest 2x1"] = "2x12x8x4", ["depth_to_space(x) 2"] = "2x12x16x1",
  } do
    local net = assert(file.parse(head .. "r = " .. line .. "\noutput r\n"))
    suite.equal(table.concat(net.tensors.r.dims, "x"), expected)
  end
end)

---- what is refused ------------------------------------------------------------------------------------------------------

local function refused(sentence, content)
  local net, why = file.parse(content, "a.net")
  suite.equal(net, nil)
  suite.equal(why:sub(1, #sentence), sentence)
end

-- In line 11, behind all of the above.
local function refuses(sentence, line)
  suite.case(line, function() refused("a.net:11: " .. sentence, all .. line .. "\noutput x\n") end)
end

suite.case("what is wrong names the file and the line", function()
  refused("a.net:7: y is not known here", head .. "z = add(c0, y)\ny = add(c0, c0)\noutput z\n")
  refused("a.net:7: c0 is defined a second time: line 6 has it", head .. "c0 = add(x, x)\noutput c0\n")
  refused("a.net:7: 'foo' is no operation; the operations are: abs, activate, add,", head .. "y = foo(x)\noutput y\n")
  refused("a.net:2: w is outside of the weights file: @0 and 8 bytes, of 4", "weights w bytes 4\ntensor w f32 2 @0\n")
  refused("a.net:2: w is outside", "weights w bytes 8\ntensor w f32 1 @8\n")
  refused("a.net:2: @2 is not a multiple of 4", "weights w bytes 8\ntensor w f32 1 @2\n")
  refused("a.net:1: a tensor before the weights file", "tensor w f32 1 @0\n")
  refused("a.net:2: layout must be the first line", "input x f32 1\nlayout nhwc\n")
  refused("a.net:1: layout is nchw or nhwc", "layout nwhc\n")
  refused("a.net:1: weights \"../w\": the file lies beside this one", "weights ../w bytes 4\n")
  refused("a.net:1: weights w: allowed is weights FILE bytes N", "weights w bytes -4\n")
  refused("a.net:1: weights w: allowed is weights FILE bytes N", "weights w bytes 4 hash 12345\n")
  refused("a.net:2: a second weights file", "weights w bytes 4\nweights w bytes 4\n")
  refused("a.net:3: the network has no operation", "input x f32 1\noutput x\n")
  refused("a.net:3: the network has no output", "input x f32 1\ny = abs(x)\n")
  refused("a.net:4: x is an output twice", "input x f32 1\ny = abs(x)\noutput x\noutput x\n")
  refused("a.net:100001: there are more than 100000 lines", ("\n"):rep(100001))
  refused("a.net:1: the line has 1048577 bytes", "#" .. (" "):rep(1 << 20))
end)

refuses("the input is f32 0x2", "input y f32 0x2")
refuses("the input is f16 2", "input y f16 2")
refuses("a tensor of 2147483647x2147483647x2147483647 has too many elements", "input y f32 2147483647x2147483647x2147483647")
refuses("a tensor of 2147483647x2147483647 has too many elements", "input y f32 2147483647x2147483647")
refuses("a tensor has 9 dimensions", "input y f32 1x1x1x1x1x1x1x1x1")
refuses("'more' is not allowed behind", "input y f32 1 more")
refuses("a name in quotes has no closing quote", 'input "y f32 1')
refuses("a name has half of a surrogate pair", 'input "\\ud800y" f32 1')
refuses("a name has a character 0", 'input "y\\u0000" f32 1')
refuses("= is missing", "y abs(x)")
refuses("an operation is missing behind =", "y = x")
refuses(", or ) is missing behind an operand", "y = add(x x)")
refuses("an operand is missing", "y = add(x, )")
refuses("add has 1 operands: allowed are 2 to 64", "y = add(x)")
refuses("abs has 2 results: allowed is 1", "y, z = abs(x)")
refuses("add has numbers alone as operands", "y = add(1, 2)")
refuses("maxpool takes a tensor, not a number", "y = maxpool(1) k2x2")
refuses("add has operands of the types f32 and i64", "y = add(x, i)")
refuses("abs takes f32 or f64, i is i64", "y = abs(i)")
refuses("2x4x6x8 and 3x8 do not fit together", "y = add(x, n)")
refuses("axis A (0 or more) is missing", "y = softmax(x)")
refuses("'axes' is not allowed here; allowed is: axis A (0 or more)", "y = softmax(x) axes 1")
refuses("axis -1: allowed is axis A", "y = softmax(x) axis -1")
refuses("'axis' is not allowed here", "y = softmax(x) axis 1 axis 2")
refuses("axis 4 is none of a tensor of 4 dimensions", "y = softmax(x) axis 4")
refuses("axis 1 is given twice", "y = reduce_mean(x) axes 1,1")
refuses("unknown letter at 'zh3'", "y = conv(x, w) zh3")
refuses("ih is given twice", "y = conv(x, w) ih3ih3")
refuses("ih99999999999: ih must be 0 to 2147483647", "y = conv(x, w) ih99999999999")
refuses("kw is missing", "y = conv(x, w) ic4ih6iw8oc6kh3")
refuses("ic is missing", "y = conv(x, w) oc6ih6iw8kh3kw3")
refuses("no spatial dimension", "y = conv(x, w) ic4oc6")
refuses("ic is 5, the input has 4 channels", "y = conv(x, w) ic5ih6iw8oc6kh3kw3")
refuses("the descriptor's input is 7x8, the tensor is 6x8", "y = conv(x, w) ic4ih7iw8oc6kh3kw3")
refuses("mb is 3, the input has a batch of 2", "y = conv(x, w) g2mb3ic4ih6iw8oc6kh3kw3")
refuses("the weights are 6x2x3x3, the descriptor has 6x4x3x3", "y = conv(x, w) ic4ih6iw8oc6kh3kw3")
refuses("operand 3 is 6x2x3x3: allowed is 6", "y = conv(x, w, w) g2ic4ih6iw8oc6kh3kw3")
refuses("operand 2 of conv must be a constant", "y = conv(x, x) g2ic4ih6iw8oc6kh3kw3")
refuses("residual=... and the epilogue's residual belong together", "y = conv(x, w) g2ic4ih6iw8oc6kh3kw3 --epilogue=residual")
refuses("slope=... and the activation prelu belong together", "y = conv(x, w) g2ic4ih6iw8oc6kh3kw3 --epilogue=prelu")
refuses("residual is 2x4x6x8, the result 2x6x4x6", "y = conv(x, w, residual=x) g2ic4ih6iw8oc6kh3kw3 --epilogue=residual")
refuses("'swish' is not an activation; allowed are: relu, clamp,", "y = activate(x) swish")
refuses("the numbers of clamp:6:0 are out of range", "y = activate(x) clamp:6:0")
refuses("clamp:6 has 1 numbers: allowed is clamp:LO:HI", "y = activate(x) clamp:6")
refuses("--epilogue=relu+tanh: one activation and one residual", "y = conv(x, w) g2ic4ih6iw8oc6kh3kw3 --epilogue=relu+tanh")
refuses("an output size is 14, of which taps and an output padding reach 13", "y = deconv(x, wd) ic4ih6iw8oc3oh14ow16kh2kw2sh2sw2ph0pw0")
refuses("the matrices do not fit", "y = gemm(n, n)")
refuses("gemm takes matrices", "y = gemm(x, m)")
refuses("the window reaches over 9, the input with its pads is 6", "y = maxpool(x) k9x3")
refuses("the leading pad 3 must be less than the window's reach, 3", "y = maxpool(x) k3x3 p3x0")
refuses("the output size 9 is neither", "y = maxpool(x) k3x3 o9x6")
refuses("k has 1 sizes, the input 2 spatial ones", "y = maxpool(x) k3")
refuses("either factors", "y = resize(x) nearest")
refuses("either factors", "y = resize(x) nearest 2x2 o3x3")
refuses("the factor inf is out of range", "y = resize(x) nearest infx1")
refuses("a dimension is 0", "y = resize(x) nearest 0.1x1")
refuses("a block of 3 does not divide the 4 channels", "y = depth_to_space(x) 3")
refuses("split has 2 sizes and 1 results", "y = split(x) axis 1 sizes 2,2")
refuses("the sizes are 5 in all, axis 1 has 4", "y, z = split(x) axis 1 sizes 2,3")
refuses("from 0 to 9: allowed is 0 <= from < to <= 8", "y = slice(v) axes 0 from 0 to 9")
refuses("from 0 to 3 with the step -1", "y = slice(v) axes 0 from 0 to 3 steps -1")
refuses("2x4x6x8 and 9 have not as many elements", "y = reshape(x) 9")
refuses("1 axes are given, the tensor has 4", "y = transpose(x) 0")
refuses("the index 8 is out of range", "y = gather(v) axis 0 indices 8")
refuses("gather takes indices", "y = gather(v) axis 0")
refuses("a reflected pad of 8 is not less than the size 8", "y = pad(v) before 8 after 0 reflect")
refuses("pow takes a number as exponent", "y = pow(x, v)")
refuses("step 1 reads operand $3", "y = chain(x) add($1,$3)")
refuses("'%1' is no arg of a step", "y = chain(x) add($1,%1)")
refuses("2x4x6x8 and 3x8 differ elsewhere than on axis 1", "y = concat(x, n) axis 1")

suite.case("more memory than there can be", function()
  local lines = { "input x f32 1048576x1048576" }
  for i = 1, 20 do lines[#lines + 1] = ("a%d = exp(x)"):format(i) end
  lines[#lines + 1] = "b1 = matmul(a1, a20)"
  for i = 2, 19 do lines[#lines + 1] = ("b%d = matmul(b%d, a%d)"):format(i, i - 1, i) end
  local plan, why = convgen.network { text = table.concat(lines, "\n") .. "\noutput b19\n", name = "a.net" }
  suite.equal(plan, nil)
  suite.equal(why:match "^a.net: the tensors need %d+ bytes at one time: at most 2%^46 are allowed", why)
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
