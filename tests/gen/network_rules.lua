-- What simplify and fuse make of small networks, each rule with a case where it must not be used: something else reads
-- what is between, or it is an output.
local suite = require "suite"
local file = require "network/file"
local simplify = require "network/simplify"
local fuse = require "network/fuse"

local head = [[
weights a.weights bytes 100000
tensor w f32 4x4x3x3 @0
tensor w1 f32 4x4x1x1 @0
tensor c f32 4 @0
tensor c4 f32 1x4x1x1 @0
tensor m f32 8x5 @0
tensor v f32 5 @0
tensor k f32 8 @0
input x f32 1x4x6x8
input y f32 1x4x6x8
]]

local conv = "conv(x, w) ic4ih6iw8oc4oh6ow8kh3kw3ph1pw1"

-- A line of an operation without its results' and its operands' names.
local function short(o)
  local line = file.operation(o):match "= (.*)$"
  return (line:gsub("%b() ?", " ", 1):gsub(" ic4ih6iw8oc4oh6ow8kh3kw3ph1pw1", ""):gsub(" +$", ""))
end

local function lines(net)
  local list = {}
  for _, o in ipairs(net.operations) do list[#list + 1] = short(o) end
  return table.concat(list, "; ")
end

local function both(text)
  local net = assert(file.parse(head .. text))
  local simple = simplify.network(net)
  return lines(simple), lines(fuse.network(simple))
end

local function simplified(name, expected, text)
  suite.case(name, function() suite.equal((both(text)), expected) end)
end

local function fused(name, expected, text)
  suite.case(name, function() suite.equal(select(2, both(text)), expected) end)
end

---- identities ------------------------------------------------------------------------------------------------------------

simplified("identities are gone", "sqrt", [[
a = transpose(x) 0,1,2,3
b = reshape(a) 1x4x6x8
d = slice(b) axes 1 from 0 to 4
e = pad(d) before 0,0,0,0 after 0,0,0,0
f = add(e, 0)
g = mul(1, f)
h = div(g, 1)
i = pow(h, 1)
j = concat(i) axis 1
l = cast(j) f32
n = resize(l) nearest 1x1
z = sqrt(n)
output z
]])
simplified("an output keeps its name", "sqrt", "a = sqrt(x)\nb = mul(a, 1)\noutput b\n")
simplified("an input that is given back", "mul", "a = mul(x, 1)\noutput a\n")
simplified("one that is an output under two names", "sqrt; mul", "a = sqrt(x)\nb = mul(a, 1)\noutput a\noutput b\n")
simplified("one after another", "transpose 1,0,2,3; reshape 2x96", [[
a = transpose(x) 0,2,3,1
b = transpose(a) 3,0,1,2
d = reshape(b) 4x48
e = reshape(d) 2x96
output e
]])
simplified("not where another reads what is between", "transpose 0,2,3,1; transpose 3,0,1,2; sqrt", [[
a = transpose(x) 0,2,3,1
b = transpose(a) 3,0,1,2
d = sqrt(a)
output b
output d
]])
simplified("a mean of one element", "reshape 1x192", "a = reshape(x) 1x192x1\nb = reduce_mean(a) axes 2\noutput b\n")
simplified("numbers together", "mul; add", "a = mul(x, 2)\nb = mul(a, 3)\nd = add(b, y)\noutput d\n")
simplified("a slice backwards", "slice axes 3 from 0 to 4 steps 1; gather axis 1 indices 3,2",
  "a = slice(x) axes 1,3 from 3,0 to 1,4 steps -1,1\noutput a\n")

---- products ---------------------------------------------------------------------------------------------------------------

simplified("a product with constants", "linear", "a = matmul(x, m)\nb = add(a, v)\noutput b\n")
simplified("a product with constants that is read twice", "linear; add; add",
  "a = matmul(x, m)\nb = add(a, v)\nd = add(a, b)\noutput d\n")
simplified("gemm", "fold mul of linear; fold add of linear; reshape 24x8; linear",
  "a = reshape(x) 24x8\nb = gemm(a, m, v) alpha 2\noutput b\n")
simplified("gemm of a transposed constant", "transpose 1,0; reshape 6x32; linear",
  "a = reshape(x) 6x32\ntensor t f32 5x32 @0\nb = gemm(a, t) trans_b\noutput b\n")
simplified("a product of activations stays", "transpose 0,1,3,2; matmul", "t = transpose(y) 0,1,3,2\na = matmul(x, t)\noutput a\n")
simplified("a constant on the left", "transpose 1,0; transpose 0,1,3,2; linear; transpose 0,1,3,2",
  "tensor l f32 2x6 @0\na = matmul(l, x)\noutput a\n")

---- folding ------------------------------------------------------------------------------------------------------------------

simplified("batch normalisation", "fold batchnorm epsilon 0.1; conv",
  "a = " .. conv .. "\nb = batchnorm(a, c, c, c, c) epsilon 0.1\noutput b\n")
simplified("batch normalisation of what another reads", "conv; batchnorm epsilon 0.1; add",
  "a = " .. conv .. "\nb = batchnorm(a, c, c, c, c) epsilon 0.1\nd = add(a, b)\noutput d\n")
simplified("batch normalisation of an output", "conv; batchnorm epsilon 0.1",
  "a = " .. conv .. "\nb = batchnorm(a, c, c, c, c) epsilon 0.1\noutput a\noutput b\n")
simplified("batch normalisation behind an activation", "conv --epilogue=relu; batchnorm epsilon 0.1",
  "a = " .. conv .. " --epilogue=relu\nb = batchnorm(a, c, c, c, c) epsilon 0.1\noutput b\n")
simplified("what is not a constant for each channel", "conv; mul",
  "a = " .. conv .. "\nb = mul(a, y)\noutput b\n")
simplified("what broadens the result", "conv; add",
  "tensor t f32 3x4x1x1 @0\na = " .. conv .. "\nb = add(a, t)\noutput b\n")
simplified("what adds a dimension", "conv; add",
  "tensor t f32 1x1x4x1x1 @0\na = " .. conv .. "\nb = add(a, t)\noutput b\n")
simplified("another axis", "conv; add", "tensor t f32 8 @0\na = " .. conv .. "\nb = add(a, t)\noutput b\n")
simplified("a bias", "reshape 4; conv", "a = " .. conv .. "\nb = add(c4, a)\noutput b\n")
simplified("factors and quotients", "reshape 4; fold mul; fold div; conv",
  "a = " .. conv .. "\nb = mul(a, c4)\nd = div(b, 3)\noutput d\n")
simplified("a number over the result", "conv; div", "a = " .. conv .. "\nb = div(3, a)\noutput b\n")

suite.case("no more is folded than the runtime keeps", function()
  local text, last = "a0 = " .. conv .. "\n", 20
  for i = 1, last do text = text .. ("a%d = %s(a%d, %d)\n"):format(i, i % 2 == 0 and "add" or "mul", i - 1, i + 1) end
  local simple, made = both(text .. "output a20\n")
  suite.equal(select(2, simple:gsub("fold", "")), 16)
  suite.equal(made:match "conv; (.*)$", "chain mul($1,18) add(%1,19) mul(%2,20) add(%3,21)")
end)

---- padding --------------------------------------------------------------------------------------------------------------------

local padded = "a = pad(x) before 0,0,1,2 after 0,0,1,0\n"
local wide = "b = conv(a, w) ic4ih8iw10oc4oh6ow8kh3kw3\n"
simplified("zeros before a convolution", "conv ic4ih6iw8oc4oh6ow8kh3kw3ph1pw2", padded .. wide .. "output b\n")
simplified("zeros that another reads", "pad before 0,0,1,2 after 0,0,1,0; conv ic4ih8iw10oc4oh6ow8kh3kw3; sqrt",
  padded .. wide .. "d = sqrt(a)\noutput b\noutput d\n")
simplified("edges before a convolution", "pad before 0,0,1,2 after 0,0,1,0 edge; conv ic4ih8iw10oc4oh6ow8kh3kw3",
  padded:gsub("\n", " edge\n") .. wide .. "output b\n")
simplified("channels of zeros", "pad before 0,1,0,0 after 0,0,0,0; conv ic5ih6iw8oc4oh6ow8kh1kw1",
  "tensor t f32 4x5x1x1 @0\na = pad(x) before 0,1,0,0 after 0,0,0,0\nb = conv(a, t) ic5ih6iw8oc4oh6ow8kh1kw1\noutput b\n")
simplified("zeros before an average", "avgpool k3x3 p1x2 e1x0 counted", padded .. "b = avgpool(a) k3x3\noutput b\n")
simplified("zeros before an average that does not count its own",
  "pad before 0,0,1,1 after 0,0,1,1; avgpool k3x3 p1x1 e1x1",
  "a = pad(x) before 0,0,1,1 after 0,0,1,1\nb = avgpool(a) k3x3 p1x1 e1x1\noutput b\n")
simplified("zeros before a maximum", "pad before 0,0,1,2 after 0,0,1,0; maxpool k3x3",
  padded .. "b = maxpool(a) k3x3\noutput b\n")

---- activations ---------------------------------------------------------------------------------------------------------------

local function after(expected, text) fused(expected, "conv --epilogue=" .. expected, "a = " .. conv .. "\n" .. text) end

after("relu", "b = activate(a) relu\noutput b\n")
after("relu", "b = max(a, 0)\noutput b\n")
after("clamp:0:6", "b = max(a, 0)\nd = min(b, 6)\noutput d\n")
after("clamp:-1:6", "b = activate(a) clamp:-1:8\nd = min(6, b)\noutput d\n")
after("leaky:0.25", "b = mul(a, 0.25)\nd = max(a, b)\noutput d\n")
after("leaky:0.25:-0.5", "b = activate(a) leaky:0.25\nd = max(b, -0.5)\noutput d\n")
after("sigmoid", "b = neg(a)\nd = exp(b)\ne = add(d, 1)\nf = div(1, e)\noutput f\n")
after("silu", "b = activate(a) sigmoid\nd = mul(a, b)\noutput d\n")
after("silu", "b = neg(a)\nd = exp(b)\ne = add(1, d)\nf = div(a, e)\noutput f\n")
after("hardswish", "b = add(a, 3)\nd = activate(b) clamp:0:6\ne = mul(a, d)\nf = div(e, 6)\noutput f\n")
after("hardswish", "b = add(a, 3)\nd = activate(b) clamp:0:6\ne = mul(d, 0.16666667)\nf = mul(a, e)\noutput f\n")
after("hardswish", "b = activate(a) hardsigmoid:0.16666667:0.5\nd = mul(b, a)\noutput d\n")
after("gelu", "b = div(a, 1.4142135)\nd = erf(b)\ne = add(d, 1)\nf = mul(a, e)\ng = mul(f, 0.5)\noutput g\n")
after("gelu", "h = mul(a, 0.5)\nb = mul(a, 0.70710677)\nd = erf(b)\ne = add(d, 1)\nf = mul(h, e)\noutput f\n")
after("tanh", "b = activate(a) tanh\noutput b\n")
fused("prelu", "reshape 4; conv --epilogue=prelu", "a = " .. conv .. "\nb = prelu(a, c4)\noutput b\n")
fused("no leaky of a larger slope", "conv; chain mul($1,2) max($1,%1)",
  "a = " .. conv .. "\nb = mul(a, 2)\nd = max(a, b)\noutput d\n")
fused("hard sigmoid by a clamp", "conv --epilogue=hardsigmoid:0.16666666666666666:0.5",
  "a = " .. conv .. "\nb = add(a, 3)\nd = activate(b) clamp:0:6\ne = div(d, 6)\noutput e\n")

fused("what is read beside", "conv; chain add($1,3) clamp:0:6(%1); chain mul($1,$2) div(%1,6) add(%2,$2)", "a = " .. conv .. [[

b = add(a, 3)
d = activate(b) clamp:0:6
e = mul(a, d)
f = div(e, 6)
g = add(f, d)
output g
]])
fused("an output inside", "conv; chain add($1,3) clamp:0:6(%1); chain mul($1,$2) div(%1,6)", "a = " .. conv .. [[

b = add(a, 3)
d = activate(b) clamp:0:6
e = mul(a, d)
f = div(e, 6)
output d
output f
]])
fused("an activation of what another reads", "conv; activate relu; add",
  "a = " .. conv .. "\nb = activate(a) relu\nd = add(a, y)\noutput b\noutput d\n")
fused("an activation of an output", "conv; activate relu", "a = " .. conv .. "\nb = activate(a) relu\noutput a\noutput b\n")
fused("two activations", "conv --epilogue=sigmoid; activate tanh",
  "a = " .. conv .. "\nb = activate(a) sigmoid\nd = activate(b) tanh\noutput d\n")
fused("another slope than the channels'", "conv; prelu",
  "tensor t f32 6x1 @0\na = " .. conv .. "\nb = prelu(a, t)\noutput b\n")
fused("no silu of another", "chain sigmoid($1) mul(%1,$2)",
  "a = activate(x) sigmoid\nb = mul(a, y)\noutput b\n")

---- sums -----------------------------------------------------------------------------------------------------------------------

fused("a sum and an activation", "conv --epilogue=residual+relu",
  "a = " .. conv .. "\nb = add(y, a)\nd = activate(b) relu\noutput d\n")
fused("an activation and a sum", "conv --epilogue=relu+residual",
  "a = " .. conv .. "\nb = activate(a) relu\nd = add(b, y)\noutput d\n")
fused("a sum with a later convolution", "conv; conv --epilogue=residual",
  "a = " .. conv .. "\nb = conv(y, w) ic4ih6iw8oc4oh6ow8kh3kw3ph1pw1\nd = add(a, b)\noutput d\n")
fused("two sums", "conv --epilogue=residual; add", "a = " .. conv .. "\nb = add(a, y)\nd = add(b, x)\noutput d\n")
fused("a sum with itself", "conv; add", "a = " .. conv .. "\nb = add(a, a)\noutput b\n")
fused("a sum of another shape", "slice axes 2 from 0 to 1; conv; add",
  "s = slice(y) axes 2 from 0 to 1\na = " .. conv .. "\nb = add(a, s)\noutput b\n")
fused("a sum of what another reads", "conv; add; sqrt", "a = " .. conv .. "\nb = add(a, y)\nd = sqrt(a)\noutput b\noutput d\n")

---- layer norms -----------------------------------------------------------------------------------------------------------------

local norm = [[
a = reduce_mean(x) axes 3 keep
b = sub(x, a)
d = %s
e = reduce_mean(d) axes 3 keep
f = add(e, 1e-05)
g = sqrt(f)
h = div(b, g)
i = mul(h, k)
j = add(i, k)
output j
]]
local whole = "layernorm axis 3 epsilon 1e-05"
fused("a layer norm by pow", whole, norm:format "pow(b, 2)")
fused("a layer norm by mul", whole, norm:format "mul(b, b)")
fused("a layer norm with two differences", whole, (norm:gsub("d = %%s", "b2 = sub(x, a)\nd = pow(b2, 2)")))
fused("a layer norm without bias", whole, (norm:format("pow(b, 2)"):gsub("j = .-\n", ""):gsub("output j", "output i")))
fused("a layer norm without scale", whole,
  (norm:format("pow(b, 2)"):gsub("i = .-\n", ""):gsub("j = .-\n", ""):gsub("output j", "output h")))
fused("a layer norm of which a part is an output",
  "reduce_mean axes 3 keep; sub; pow; reduce_mean axes 3 keep; chain add($1,1e-05) sqrt(%1); "
  .. "chain div($1,$2) mul(%1,$3) add(%2,$3)", norm:format "pow(b, 2)" .. "output b\n")
fused("a norm over other axes", "reduce_mean axes 1 keep; sub; pow; reduce_mean axes 1 keep; "
  .. "chain add($1,1e-05) sqrt(%1); chain div($1,$2) mul(%1,$3) add(%2,$3)", (norm:format("pow(b, 2)"):gsub("axes 3", "axes 1")))

---- chains -----------------------------------------------------------------------------------------------------------------------

fused("a chain", "chain mul($1,$2) sigmoid(%1) add(%2,0.5)", "a = mul(x, y)\nb = activate(a) sigmoid\nd = add(b, 0.5)\noutput d\n")
fused("a normalisation of no convolution", "reshape 4x1x1; reshape 4x1x1; reshape 4x1x1; reshape 4x1x1; chain add($5,0.1) "
  .. "sqrt(%1) sub($1,$4) div(%3,%2) mul(%4,$2) add(%5,$3) relu(%6); conv ic4ih6iw8oc4oh6ow8kh1kw1",
  "a = batchnorm(x, c, c, c, c) epsilon 0.1\nb = activate(a) relu\nd = conv(b, w1) ic4ih6iw8oc4oh6ow8kh1kw1\noutput d\n")
fused("a chain that another reads", "mul; activate sigmoid; sqrt",
  "a = mul(x, y)\nb = activate(a) sigmoid\nd = sqrt(a)\noutput b\noutput d\n")
fused("what is smaller is not made again and again", "reduce_mean axes 2,3 keep; sqrt; add",
  "a = reduce_mean(x) axes 2,3 keep\nb = sqrt(a)\nd = add(x, b)\noutput d\n")
fused("no more operands than a kernel has", "chain mul($1,$2) mul(%1,$3) mul(%2,$4) mul(%3,$5); mul", [[
tensor t1 f32 8 @0
tensor t2 f32 8 @0
tensor t3 f32 8 @0
tensor t4 f32 8 @0
a = mul(x, y)
b = mul(a, t1)
d = mul(b, t2)
e = mul(d, t3)
f = mul(e, t4)
output f
]])

return suite.failures()
