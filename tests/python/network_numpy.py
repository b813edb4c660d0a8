"""A network that the ONNX reader has made, run by NumPy in plain loops over windows: what it means, for tests. In double, rounded at the end
of each operation."""
import itertools
import math

import numpy as np


def windows(x, sizes, steps, fill):
    """steps: (taps, stride, leading pad, dilation) of each axis. (..., outputs, taps): what each window sees; fill outside."""
    for axis, (out, (k, s, p, d)) in enumerate(zip(sizes, steps)):
        at = np.arange(out)[:, None] * s - p + np.arange(k)[None, :] * d
        inside = (at >= 0) & (at < x.shape[2 + axis])
        x = np.take(x, np.where(inside, at, 0), 2 + axis)
        shape = [1] * x.ndim
        shape[2 + axis:4 + axis] = inside.shape
        x = np.moveaxis(np.where(inside.reshape(shape), x, fill), 3 + axis, -1)
    return x


def conv(w, x, k, b=None):
    axes, g, rank = w["axes"], w["groups"], len(w["axes"])
    seen = windows(x, [a[2] for a in axes], [(a[3], a[4], a[5], a[6] + 1) for a in axes], 0.0)
    n, c = x.shape[:2]
    out = seen.shape[2:2 + rank]
    seen = seen.reshape(n, g, c // g, math.prod(out), -1)
    y = np.einsum("ngcpt,gkct->ngkp", seen, k.reshape(g, w["channels"] // g, c // g, -1), optimize=True).reshape(n, w["channels"], *out)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def deconv(w, x, k, b=None):
    axes, g, n, c = w["axes"], w["groups"], x.shape[0], x.shape[1]
    y = np.zeros((n, w["channels"], *[a[2] for a in axes]))
    per = w["channels"] // g
    for at in itertools.product(*(range(a[1]) for a in axes)):
        for tap in itertools.product(*(range(a[3]) for a in axes)):
            to = tuple(i * a[4] - a[5] + t * (a[6] + 1) for i, t, a in zip(at, tap, axes))
            if all(0 <= o < a[2] for o, a in zip(to, axes)):
                part = np.einsum("ngc,gck->ngk", x[(slice(None), slice(None), *at)].reshape(n, g, c // g),
                                 k[(slice(None), slice(None), *tap)].reshape(g, c // g, per))
                y[(slice(None), slice(None), *to)] += part.reshape(n, -1)
    return y if b is None else y + b.reshape(-1, *[1] * len(axes))


def pool_steps(w):
    return list(zip(w["k"], w["s"], w["p"], w["d"]))


def maxpool(w, x):
    rank = len(w["k"])
    return windows(x, w["sizes"], pool_steps(w), -np.inf).max(axis=tuple(range(2 + rank, 2 + 2 * rank)))


def avgpool(w, x):
    """Counted: pads count, what is behind them does not."""
    rank = len(w["k"])
    over = tuple(range(2 + rank, 2 + 2 * rank))
    ones = np.ones((1, 1) + x.shape[2:])
    if w["counted"]:
        ones = np.pad(ones, [(0, 0)] * 2 + list(zip(w["p"], w["e"])), constant_values=1.0)
        steps = [(k, s, 0, d) for k, s, p, d in pool_steps(w)]
    else:
        steps = pool_steps(w)
    return windows(x, w["sizes"], pool_steps(w), 0.0).sum(axis=over) / windows(ones, w["sizes"], steps, 0.0).sum(axis=over)


ROUND = {"round_prefer_floor": lambda v: np.ceil(v - 0.5), "round_prefer_ceil": lambda v: np.floor(v + 0.5), "floor": np.floor, "ceil": np.ceil}


def source(w, size, out, factor):
    i, factor = np.arange(out), factor or out / size
    coordinates = w["coordinates"]
    if coordinates == "align_corners":
        return i * ((size - 1) / (out - 1)) if out > 1 else i * 0.0
    if coordinates == "asymmetric":
        return i / factor
    return i * 0.0 if coordinates == "pytorch_half_pixel" and out == 1 else (i + 0.5) / factor - 0.5


def resize(w, x):
    for n, out in enumerate(w["sizes"]):
        axis, size = 2 + n, x.shape[2 + n]
        at = source(w, size, out, w["factors"] and w["factors"][n])
        if w["mode"] == "nearest":
            x = np.take(x, np.clip(ROUND[w["rounding"]](at), 0, size - 1).astype(int), axis)
            continue
        at = np.clip(at, 0, size - 1)
        low = np.floor(at).astype(int)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - part) + np.take(x, np.minimum(low + 1, size - 1), axis) * part
    return x


def channels(v, x):
    return v.reshape((-1,) + (1,) * (x.ndim - 2))


def normed(x, axes, epsilon):
    mean = x.mean(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + epsilon)


def batchnorm(w, x, scale, bias, mean, variance):
    return (x - channels(mean, x)) / np.sqrt(channels(variance, x) + w["epsilon"]) * channels(scale, x) + channels(bias, x)


def instancenorm(w, x, scale, bias):
    return normed(x, tuple(range(2, x.ndim)), w["epsilon"]) * channels(scale, x) + channels(bias, x)


def layernorm(w, x, scale, bias=0.0):
    return normed(x, tuple(range(w["axis"], x.ndim)), w["epsilon"]) * scale + bias


def gemm(w, a, b, c=0.0):
    return w["alpha"] * ((a.T if w["trans_a"] else a) @ (b.T if w["trans_b"] else b)) + w["beta"] * c


def logsoftmax(w, x):
    shifted = x - x.max(axis=w["axis"], keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=w["axis"], keepdims=True))


def depth_to_space(w, x):
    (n, c, h, v), b = x.shape, w["block"]
    order, parts = ((0, 3, 4, 1, 5, 2), (n, b, b, c // b // b, h, v)) if w["mode"] == "dcr" else ((0, 1, 4, 2, 5, 3), (n, c // b // b, b, b, h, v))
    return x.reshape(parts).transpose(order).reshape(n, c // b // b, h * b, v * b)


OPERATIONS = {
    "conv": conv, "deconv": deconv, "maxpool": maxpool, "avgpool": avgpool, "resize": resize, "batchnorm": batchnorm, "gemm": gemm,
    "instancenorm": instancenorm, "layernorm": layernorm, "logsoftmax": logsoftmax, "depth_to_space": depth_to_space,
    "elu": lambda w, x: np.where(x > 0, x, w["alpha"] * (np.exp(np.minimum(x, 0)) - 1)),
    "softplus": lambda w, x: np.logaddexp(x, 0.0),
    "prelu": lambda w, x, slope: np.where(x < 0, slope * x, x),
    "argmax": lambda w, x: np.expand_dims(x.argmax(w["axes"][0]), w["axes"][0]) if w["keep"] else x.argmax(w["axes"][0]),
}


def run(net, arrays, folds, every=None):
    """The outputs by name. folds: the reader's own table, for what is no window; every: takes each operation's results."""
    known = {v: np.asarray(arrays[v.name]) for v in net.inputs}
    table = {**folds, **OPERATIONS}
    for o in net.operations:
        if o.lost:
            continue
        operands = [np.asarray(v.array) if v.array is not None else known[v] for v in o.operands]
        wide = [a.astype("float64") if a.dtype == np.float32 else a for a in operands]
        results = table[o.op](o.words, *wide)
        for v, a in zip(o.results, results if isinstance(results, list) else [results]):
            known[v] = np.asarray(a).astype(v.dtype)
            assert known[v].shape == v.dims, (o.op, o.node.label, known[v].shape, v.dims)
            if every:
                every(o, v, known[v])
    return {name: v.array if v.array is not None else known[v] for name, v in net.outputs if not v.lost}
