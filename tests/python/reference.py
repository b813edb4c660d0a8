"""What the tests compare with: convolutions over taps in NumPy, in whatever arithmetic the arrays have.

int64 is exact for small integers; longdouble is far better than both types tested. Channels-last, any rank, groups. Nothing here
uses convgen.
"""
import os
import random

import numpy as np

SEED = int(os.environ.get("CONVGEN_SEED", random.randrange(2**31)))


def generator(test):
    """Random numbers of a test. Its seed is printed, so that CONVGEN_SEED=n runs it again."""
    print(f"{test.id()}: CONVGEN_SEED={SEED}", flush=True)
    return np.random.default_rng(SEED)


def _padded(x, pads):
    x = np.pad(x, ((0, 0), *[(max(a, 0), max(b, 0)) for a, b in pads], (0, 0)))
    return x[(slice(None), *[slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, x.shape[1:-1])])]


def _taps(shape, w, stride, dilation):
    """(index of the tap, the pixels of the padded x that it meets)."""
    reach = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(shape[1:-1], w.shape, stride, dilation)]
    for tap in np.ndindex(*w.shape[:-2]):
        yield tap, (slice(None), *[slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilation, reach, stride)])


def _by_group(a, groups):
    return a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)


def forward(x, w, b, stride, pads, dilation, groups):
    x, y, wg = _padded(x, pads), 0, _by_group(w, groups)
    for tap, at in _taps(x.shape, w, stride, dilation):
        y = y + np.einsum("...gi,igo->...go", _by_group(x[at], groups), wg[tap])
    y = y.reshape(*y.shape[:-2], w.shape[-1])
    return y if b is None else y + b


def backward(dy, x, w, stride, pads, dilation, groups):
    """(dx, dw, db): each the transpose of forward's part."""
    xp, dyg, wg = _padded(x, pads), _by_group(dy, groups), _by_group(w, groups)
    dxp, dw = np.zeros_like(xp), np.zeros_like(wg)
    for tap, at in _taps(xp.shape, w, stride, dilation):
        dxp[at] += np.einsum("...go,igo->...gi", dyg, wg[tap]).reshape(xp[at].shape)
        dw[tap] = np.einsum("ngi,ngo->igo", *(_by_group(a.reshape(-1, a.shape[-1]), groups) for a in (xp[at], dy)))
    return _unpadded(dxp, x, pads), dw.reshape(w.shape), dy.sum(axis=tuple(range(dy.ndim - 1)))


def _unpadded(dxp, x, pads):
    dx = np.zeros_like(x)
    inner = [slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, x.shape[1:-1])]
    outer = [slice(max(a, 0), n - max(b, 0)) for (a, b), n in zip(pads, dxp.shape[1:-1])]
    dx[(slice(None), *inner)] = dxp[(slice(None), *outer)]
    return dx


def case(rng, rank=None, largest=9):
    """Random shapes and keywords of a call that has at least one output."""
    while True:
        r = rank or int(rng.integers(1, 4))
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        inner, outer = (int(n) for n in rng.integers(1, 5, 2))
        sizes, kernel = rng.integers(1, largest + 1, r), rng.integers(1, 5, r)
        stride, dilation = rng.integers(1, 4, r), rng.integers(1, 3, r)
        pads = rng.integers(-1, 4, (r, 2))
        room = sizes + pads.sum(axis=1) - (kernel - 1) * dilation
        if room.min() >= 1 and (sizes + np.minimum(pads, 0).sum(axis=1)).min() >= 1:
            break
    return {"x": (int(rng.integers(1, 4)), *map(int, sizes), inner * groups), "w": (*map(int, kernel), inner, outer * groups),
            "keywords": {"stride": tuple(map(int, stride)), "dilation": tuple(map(int, dilation)), "groups": groups,
                         "padding": tuple((int(a), int(b)) for a, b in pads)}}


def reference_keywords(keywords):
    return {"stride": keywords["stride"], "dilation": keywords["dilation"], "groups": keywords["groups"], "pads": keywords["padding"]}


def channels_first(a):
    """Activations: NHWC -> NCHW, as a view."""
    return np.moveaxis(a, -1, 1)


def weights_first(w):
    """HWIO -> OIHW, as a view."""
    return np.moveaxis(w, (-1, -2), (0, 1))
