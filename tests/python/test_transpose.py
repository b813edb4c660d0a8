"""Transposed convolutions and their gradients, against the scatter that defines them, in NumPy; their sentences."""
import unittest
from functools import partial

import numpy as np
from reference import backward, case, channels_first, forward, generator, reference_keywords, weights_first

import convgen

CONV = {r: partial(getattr(convgen, f"conv_transpose{r}d"), accuracy="proven") for r in (1, 2, 3)}
DATA = {r: partial(getattr(convgen, f"conv_transpose{r}d_backward_data"), accuracy="proven") for r in (1, 2, 3)}
WEIGHTS = {r: partial(getattr(convgen, f"conv_transpose{r}d_backward_weights"), accuracy="proven") for r in (1, 2, 3)}


def integers(rng, shape, dtype=np.float64):
    return rng.integers(-4, 5, shape).astype(dtype)


def scatter(x, w, shape, stride, dilation, pads, groups):
    """dst[n, i*s + k*d - p, c] += src[n,i,b] * weights[k,c,b], term by term."""
    y, inner, outer = np.zeros(shape, x.dtype), w.shape[-1] // groups, w.shape[-2]
    for at in np.ndindex(*x.shape[1:-1]):
        for tap in np.ndindex(*w.shape[:-2]):
            to = [i * s + k * d - p[0] for i, k, s, d, p in zip(at, tap, stride, dilation, pads)]
            if all(0 <= t < n for t, n in zip(to, shape[1:-1])):
                for g in range(groups):
                    of = slice(g * inner, (g + 1) * inner)
                    y[(slice(None), *to, slice(g * outer, (g + 1) * outer))] += x[(slice(None), *at, of)] @ w[(*tap, slice(None), of)].T
    return y


def transposed_case(rng):
    """Of a convolution's case: x is what that wrote, so that every output has its place; what its stride left over is output padding."""
    while True:
        c = case(rng, largest=6)
        k, kernel = c["keywords"], c["w"][:-2]
        sizes = c["x"][1:-1]
        out = [(n + sum(p) - (t - 1) * d - 1) // s + 1 for n, p, t, s, d in zip(sizes, k["padding"], kernel, k["stride"], k["dilation"])]
        reached = [(o - 1) * s + (t - 1) * d + 1 for o, t, s, d in zip(out, kernel, k["stride"], k["dilation"])]
        more = [n + sum(p) - r for n, p, r in zip(sizes, k["padding"], reached)]
        if np.prod(out) * np.prod(kernel) < 400 and min(p[1] for p in k["padding"]) >= 0:
            return {"x": (c["x"][0], *out, c["w"][-1]), "w": c["w"], "y": c["x"], "keywords": {**k, "output_padding": tuple(more)}, "conv": k}


class Transpose(unittest.TestCase):
    def test_integers_are_exact(self):
        rng = generator(self)
        for n in range(80):
            c, dtype = transposed_case(rng), (np.float32, np.float64)[n % 2]
            x, w, b = integers(rng, c["x"], dtype), integers(rng, c["w"], dtype), integers(rng, c["y"][-1:], dtype)
            rank, k, r = x.ndim - 2, c["keywords"], reference_keywords(c["conv"])
            with self.subTest(**c, dtype=dtype.__name__):
                xi, wi = x.astype(np.int64), w.astype(np.int64)
                exact = scatter(xi, wi, c["y"], r["stride"], r["dilation"], r["pads"], r["groups"]) + b.astype(np.int64)
                np.testing.assert_array_equal(CONV[rank](x, w, b, **k), exact)
                dy = integers(rng, c["y"], dtype)
                _, dw, _ = backward(xi, dy.astype(np.int64), wi, **r)  # x is the gradient of what dy would have been read for
                np.testing.assert_array_equal(DATA[rank](dy, w, x.shape, **k), forward(dy.astype(np.int64), wi, None, **r))
                got = WEIGHTS[rank](dy, x, w.shape, bias=True, **k)
                np.testing.assert_array_equal(got[0], dw)
                np.testing.assert_array_equal(got[1], dy.sum(axis=tuple(range(dy.ndim - 1))))
                np.testing.assert_array_equal(WEIGHTS[rank](dy, x, w.shape, **k), dw)

    def test_channels_first_has_the_same_values(self):
        rng = generator(self)
        for _ in range(30):
            c = transposed_case(rng)
            x, w, b, dy = integers(rng, c["x"]), integers(rng, c["w"]), integers(rng, c["y"][-1:]), integers(rng, c["y"])
            rank, k, x1, w1, dy1 = x.ndim - 2, c["keywords"], channels_first(x), weights_first(w), channels_first(dy)
            with self.subTest(**c):
                np.testing.assert_array_equal(CONV[rank](x1, w1, b, layout="NCHW", **k), channels_first(CONV[rank](x, w, b, **k)))
                np.testing.assert_array_equal(DATA[rank](dy1, w1, x1.shape, layout="NCHW", **k), channels_first(DATA[rank](dy, w, x.shape, **k)))
                dw, db = WEIGHTS[rank](dy, x, w.shape, bias=True, **k)
                got = WEIGHTS[rank](dy1, x1, w1.shape, bias=True, layout="NCHW", **k)
                np.testing.assert_array_equal(got[0], weights_first(dw))
                np.testing.assert_array_equal(got[1], db)

    def test_the_bits_of_the_convolution_that_is_transposed(self):
        rng = generator(self)
        x, w = rng.standard_normal((2, 7, 6, 9), np.float32), rng.standard_normal((3, 4, 5, 9), np.float32)
        y = convgen.conv_transpose2d(x, w, stride=2, padding=1, accuracy="proven")
        np.testing.assert_array_equal(y, convgen.conv2d_backward_data(x, w, y.shape, stride=2, padding=1, accuracy="proven"))
        dy = rng.standard_normal(y.shape, np.float32)
        np.testing.assert_array_equal(convgen.conv_transpose2d_backward_weights(dy, x, w.shape, stride=2, padding=1, accuracy="proven"),
                                      convgen.conv2d_backward_weights(x, dy, w.shape, stride=2, padding=1, accuracy="proven"))

    def test_epilogue_and_residual(self):
        rng = generator(self)
        x, w, b = integers(rng, (2, 5, 4, 6)), integers(rng, (2, 3, 7, 6)), integers(rng, (7,))
        y = convgen.conv_transpose2d(x, w, b, stride=3, accuracy="proven")
        self.assertEqual(y.shape, (2, 14, 12, 7))  # of stride 3 and a kernel of 2 rows: some outputs meet no tap
        residual = integers(rng, y.shape)
        got = convgen.conv_transpose2d(x, w, b, stride=3, accuracy="proven", epilogue="residual+relu", residual=residual)
        np.testing.assert_array_equal(got, np.maximum(y + residual, 0))
        np.testing.assert_array_equal(convgen.conv_transpose2d(x, w, b, stride=3, accuracy="proven", epilogue="residual+relu",
                                                               residual=residual, out=residual), got)  # in place

    def test_padding_words(self):
        rng = generator(self)
        x, w = integers(rng, (1, 5, 6, 2)), integers(rng, (3, 3, 3, 2))
        self.assertEqual(convgen.conv_transpose2d(x, w, stride=2, padding="same").shape, (1, 10, 12, 3))
        self.assertEqual(convgen.conv_transpose2d(x, w, stride=2, padding="valid").shape, (1, 11, 13, 3))
        same = convgen.conv_transpose2d(x, w, stride=4, padding="same", accuracy="proven")  # a stride above the kernel
        self.assertEqual(same.shape, (1, 20, 24, 3))
        np.testing.assert_array_equal(same[:, :19, :23], convgen.conv_transpose2d(x, w, stride=4, accuracy="proven"))

    def test_problem_of_a_text(self):
        p = convgen.Problem("--op=deconv g2mb3ic4ih5iw6oc6kh3kw3sh2")
        self.assertEqual(p.shapes, ((3, 5, 6, 4), (3, 3, 3, 4), (6,), (3, 11, 8, 6)))
        self.assertEqual(p.text, str(convgen.Problem(p.text)))

    def test_errors(self):
        x, w, b = np.zeros((2, 5, 4, 6)), np.zeros((3, 3, 7, 6)), np.zeros(7)
        for call, kind, sentence in (
                (lambda: convgen.conv_transpose2d(x, w, b, output_padding=1), ValueError, "output_padding is 1; below the larger"),
                (lambda: convgen.conv_transpose2d(x, w, b, stride=2, output_padding=-1), ValueError, "output_padding is -1"),
                (lambda: convgen.conv_transpose2d(x, w, b, stride=2, padding="same", output_padding=1), ValueError, "with padding='same'"),
                (lambda: convgen.conv_transpose2d(x, w, b[1:]), ValueError, r"b has shape \(6,\); \(7,\) is needed"),
                (lambda: convgen.conv_transpose2d(x[..., 1:], w, b), ValueError, "that is 5 channels"),
                (lambda: convgen.conv_transpose2d(x, w[0], b), ValueError, r"\(kernel..., channels out, channels in\)"),
                (lambda: convgen.conv_transpose2d(x, w, b, groups=4), ValueError, "groups is 4; it must divide the 6 channels in"),
                (lambda: convgen.conv_transpose2d(x, w, b, padding=9), ValueError, "leaves nothing"),
                (lambda: convgen.conv_transpose2d_backward_data(x, w, x.shape), ValueError, r"dy has shape .* follows from x_shape"),
                (lambda: convgen.conv_transpose1d(x, w, b), ValueError, "3 dimensions are needed")):
            with self.assertRaisesRegex(kind, sentence):
                call()


if __name__ == "__main__":
    unittest.main()
