"""Ways to compute one convolutional layer in NumPy, as people write them, and the exact result to judge them by.

A_prev (m, n_H_prev, n_W_prev, n_C_prev), W (f, f, n_C_prev, n_C), b (1, 1, 1, n_C), hparameters {"stride", "pad"}.
"""
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def pad_images(A, pad):
    return np.pad(A, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


# ---- plain loops, as a course has them: right for every stride and pad, and slow ----


def loops_forward(A_prev, W, b, hparameters):
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    A = pad_images(A_prev, pad)
    n_H, n_W = (A.shape[1] - f) // stride + 1, (A.shape[2] - f) // stride + 1
    Z = np.zeros((len(A), n_H, n_W, W.shape[3]), A.dtype)
    for i in range(len(A)):
        for h in range(n_H):
            for w in range(n_W):
                window = A[i, h * stride:h * stride + f, w * stride:w * stride + f]
                for c in range(W.shape[3]):
                    Z[i, h, w, c] = np.sum(window * W[..., c]) + b[0, 0, 0, c]
    return Z


def loops_backward(dZ, A_prev, W, b, hparameters):
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    A = pad_images(A_prev, pad)
    dA, dW, db = np.zeros_like(A), np.zeros_like(W), np.zeros_like(b)
    for i in range(len(A)):
        for h in range(dZ.shape[1]):
            for w in range(dZ.shape[2]):
                rows, columns = slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
                for c in range(dZ.shape[3]):
                    dA[i, rows, columns] += W[..., c] * dZ[i, h, w, c]
                    dW[..., c] += A[i, rows, columns] * dZ[i, h, w, c]
                    db[..., c] += dZ[i, h, w, c]
    return dA[:, pad:dA.shape[1] - pad, pad:dA.shape[2] - pad], dW, db


# ---- einsum over windows, as it is usually written: short, and the backward pass has two bugs ----


def einsum_forward(A_prev, W, b, hparameters):
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    windows = sliding_window_view(pad_images(A_prev, pad), (f, f), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("mhwcij,ijco->mhwo", windows, W) + b


def einsum_backward(dZ, A_prev, W, b, hparameters):
    stride, pad, f = hparameters["stride"], hparameters["pad"], W.shape[0]
    windows = sliding_window_view(pad_images(A_prev, pad), (f, f), axis=(1, 2))[:, ::stride, ::stride]
    dW = np.einsum("mhwcij,mhwo->ijco", windows, dZ)
    db = np.sum(dZ, axis=(0, 1, 2), keepdims=True)
    # The full correlation of dZ with the turned weights. Bug 1: for a stride above 1, stride - 1 zeros belong between dZ's pixels.
    windows = sliding_window_view(pad_images(dZ, f - 1), (f, f), axis=(1, 2))
    dA = np.einsum("mhwoij,ijco->mhwc", windows, W[::-1, ::-1])
    return dA[:, pad:-pad, pad:-pad], dW, db  # Bug 2: for pad 0 this is [0:-0], which is empty.


# ---- the exact result, correctly rounded ----


def exact_products(a, b):
    """Two arrays that add up to a * b exactly (Veltkamp's splitting, Dekker's product; no overflow for ordinary sizes)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    high = a * b
    a1, b1 = ((134217729.0 * v) - ((134217729.0 * v) - v) for v in (a, b))
    a2, b2 = a - a1, b - b1
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


class Sum:
    """The exact sum of a * b + extra: its terms, as floats that add up to it, and what bounds the error of computing it."""

    def __init__(self, a, b, extra=0.0):
        high, low = exact_products(a, b)
        self.parts = [*high.ravel(), *low.ravel(), float(extra)]
        self.terms = high.size + (extra != 0)
        self.size = float(np.abs(high).sum()) + abs(float(extra))
        self.value = math.fsum(self.parts)  # rounded once

    def error_of(self, result):
        """|result - exact|, rounded once."""
        return abs(math.fsum([*self.parts, -float(result)]))


class Exact:
    """Single elements of Z, dA, dW and db as exact sums."""

    def __init__(self, A_prev, W, b, dZ, hparameters):
        self.W, self.b, self.dZ = W, b, dZ
        self.stride, self.pad, self.f = hparameters["stride"], hparameters["pad"], W.shape[0]
        self.A = pad_images(A_prev, self.pad)

    def Z(self, i, h, w, c):
        rows, columns = (slice(k * self.stride, k * self.stride + self.f) for k in (h, w))
        return Sum(self.A[i, rows, columns], self.W[..., c], self.b[0, 0, 0, c])

    def dA(self, i, y, x, c):
        taps = [(h, w, y + self.pad - h * self.stride, x + self.pad - w * self.stride)
                for h in range(self.dZ.shape[1]) for w in range(self.dZ.shape[2])]
        taps = [t for t in taps if 0 <= t[2] < self.f and 0 <= t[3] < self.f]
        return Sum([self.W[r, s, c] for _, _, r, s in taps], [self.dZ[i, h, w] for h, w, _, _ in taps])

    def dW(self, r, s, c, o):
        (_, n_H, n_W, _), k = self.dZ.shape, self.stride
        return Sum(self.A[:, r:r + (n_H - 1) * k + 1:k, s:s + (n_W - 1) * k + 1:k, c], self.dZ[..., o])

    def db(self, _0, _1, _2, c):
        return Sum(self.dZ[..., c], np.ones_like(self.dZ[..., c]))
