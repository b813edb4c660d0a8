"""made.py FOLDER: made.net and made.weights, a small network of many kinds of operations with two inputs and three outputs."""
import sys
import zlib

import numpy

random = numpy.random.default_rng(18)
data, lines = b"", []


def tensor(name, array):
    global data
    array = numpy.ascontiguousarray(array)
    data += bytes(-len(data) % 64)
    kind = {"float32": "f32", "int64": "i64"}[str(array.dtype)]
    lines.append(f"tensor {name} {kind} {'x'.join(map(str, array.shape))} @{len(data)}")
    data += array.tobytes()


def normal(*shape):
    return (random.standard_normal(shape) * (1 / max(1, numpy.prod(shape[1:]))) ** 0.5).astype("float32")


tensor("w0", normal(12, 3, 3, 3))
tensor("b0", normal(12))
tensor("scale", 1 + 0.1 * normal(12))
tensor("shift", normal(12))
tensor("mean", normal(12))
tensor("variance", numpy.abs(1 + 0.3 * random.standard_normal(12)).astype("float32"))
tensor("w1", normal(12, 1, 3, 3))
tensor("slope", normal(12, 1, 1) * 0.2)
tensor("w2", normal(12, 12, 1, 1))
tensor("w3", normal(12, 6, 2, 2))
tensor("b3", normal(6))
tensor("row", normal(1, 18, 1, 1))
tensor("gamma", 1 + 0.1 * normal(10))
tensor("beta", normal(10))
tensor("w4", normal(18, 7))
tensor("b4", normal(7))
tensor("which", numpy.array([3, 0, 5], "int64"))
text = "\n".join(lines) + """
input image f32 2x3x8x10
input "add on" f32 2x12x8x10
c0 = conv(image, w0, b0) ic3ih8iw10oc12oh8ow10kh3kw3ph1pw1
n0 = batchnorm(c0, scale, shift, mean, variance) epsilon 1e-5
r0 = activate(n0) relu
c1 = conv(r0, w1) g12ic12ih8iw10oc12oh8ow10kh3kw3ph1pw1
p1 = prelu(c1, slope)
c2 = conv(p1, w2) ic12ih8iw10oc12oh8ow10kh1kw1
a2 = add(c2, "add on")
s2 = activate(a2) silu
m = maxpool(s2) k2x2 s2x2
d = deconv(m, w3, b3) ic12ih4iw5oc6oh8ow10kh2kw2sh2sw2
t = concat(s2, d) axis 1
u = mul(t, row)
x = exp(u)
l = layernorm(u, gamma, beta) axis 3 epsilon 1e-5
y = add(l, x)
pool = avgpool(y) k3x3 s2x2 p1x1 e1x1
up = resize(pool) nearest 2x2
g = reduce_mean(up) axes 2,3
logits = gemm(g, w4, b4)
probabilities = softmax(logits) axis 1
best = argmax(probabilities) axis 1
picked = gather(logits, which) axis 1
q = transpose(up) 0,2,3,1
output probabilities
output best
output q
output picked
"""
open(f"{sys.argv[1]}/made.weights", "wb").write(data)
open(f"{sys.argv[1]}/made.net", "w").write(f"weights made.weights bytes {len(data)} hash {zlib.crc32(data):08x}\n{text}")
