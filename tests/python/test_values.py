"""Results and gradients: against exact results, by the adjoint identity, by finite differences; strides, layouts, plans."""
import unittest
from functools import partial

import numpy as np
from reference import backward, case, channels_first, forward, generator, reference_keywords, weights_first

import convgen
import convgen._calls

# Equality to the bit is the promise of "proven"; what transforms its data is within its budget only.
CONV = {r: partial(getattr(convgen, f"conv{r}d"), accuracy="proven") for r in (1, 2, 3)}
DATA = {r: partial(getattr(convgen, f"conv{r}d_backward_data"), accuracy="proven") for r in (1, 2, 3)}
WEIGHTS = {r: partial(getattr(convgen, f"conv{r}d_backward_weights"), accuracy="proven") for r in (1, 2, 3)}
conv1d, conv2d, problem = CONV[1], CONV[2], partial(convgen.problem, accuracy="proven")


def integers(rng, shape, dtype=np.float64):
    return rng.integers(-4, 5, shape).astype(dtype)


def bound(terms, dtype):
    """gamma_K of a sum of K products (Higham, Accuracy and Stability, 3.5)."""
    u = np.finfo(dtype).eps / 2
    return terms * u / (1 - terms * u)


class Values(unittest.TestCase):
    def test_integers_are_exact(self):
        """Small integers: every sum is exact in any order, so a difference of one bit is a bug."""
        rng = generator(self)
        for n in range(120):
            c, dtype = case(rng), (np.float32, np.float64)[n % 2]
            x, w, b = integers(rng, c["x"], dtype), integers(rng, c["w"], dtype), integers(rng, c["w"][-1:], dtype)
            rank, k = x.ndim - 2, c["keywords"]
            with self.subTest(**c, dtype=dtype.__name__):
                exact = [a.astype(np.int64) for a in (x, w, b)]
                y = CONV[rank](x, w, b, **k)
                np.testing.assert_array_equal(y, forward(*exact, **reference_keywords(k)))
                dy = integers(rng, y.shape, dtype)
                dx, dw, db = backward(dy.astype(np.int64), exact[0], exact[1], **reference_keywords(k))
                np.testing.assert_array_equal(DATA[rank](dy, w, x.shape, **k), dx)
                got = WEIGHTS[rank](dy, x, w.shape, bias=True, **k)
                np.testing.assert_array_equal(got[0], dw)
                np.testing.assert_array_equal(got[1], db)
                np.testing.assert_array_equal(WEIGHTS[rank](dy, x, w.shape, **k), dw)
                self.assertEqual((y.dtype, got[0].dtype), (dtype, dtype))

    def test_slices_of_channels_are_taken_in_place(self):
        """Of one wide array, which is read and written without a copy; gradients onto what is there. `proven`: to the bit."""
        rng = generator(self)
        for _ in range(40):
            c = case(rng)
            x, w = integers(rng, c["x"]), integers(rng, c["w"])
            rank, k, n = x.ndim - 2, c["keywords"], x.shape[-1]
            y = CONV[rank](x, w, **k)
            dx, dw = DATA[rank](y, w, x.shape, **k), WEIGHTS[rank](y, x, w.shape, **k)
            with self.subTest(**c):
                source, result = integers(rng, (*x.shape[:-1], n + 7)), integers(rng, (*y.shape[:-1], y.shape[-1] + 5))
                source[..., 2:n + 2] = x
                before, at = result.copy(), (..., slice(3, y.shape[-1] + 3))
                got = CONV[rank](source[..., 2:n + 2], w, out=result[at], **k)
                self.assertIs(got.base, result)
                before[at] = y
                np.testing.assert_array_equal(result, before)
                want = source.copy()
                want[..., 2:n + 2] += dx
                DATA[rank](result[at], w, x.shape, out=source[..., 2:n + 2], accumulate=True, **k)
                np.testing.assert_array_equal(source, want)
                source[..., 2:n + 2] = x
                sums = np.full_like(dw, 3)
                WEIGHTS[rank](result[at], source[..., 2:n + 2], w.shape, out=sums, accumulate=True, **k)
                np.testing.assert_array_equal(sums, dw + 3)
                plan = convgen.plan(problem(source[..., 2:n + 2], w, **k))
                np.testing.assert_array_equal(plan(source[..., 2:n + 2], w), y)
                np.testing.assert_array_equal(plan(x, w), y)  # copied to where the plan wants it

    def test_channels_first_has_the_same_values(self):
        rng = generator(self)
        for _ in range(40):
            c = case(rng)
            x, w, b = integers(rng, c["x"]), integers(rng, c["w"]), integers(rng, c["w"][-1:])
            rank, k = x.ndim - 2, c["keywords"]
            with self.subTest(**c):
                y = CONV[rank](x, w, b, **k)
                x1, w1 = channels_first(x), weights_first(w)  # views, not contiguous
                np.testing.assert_array_equal(CONV[rank](x1, w1, b, layout="NCHW", **k), channels_first(y))
                np.testing.assert_array_equal(DATA[rank](channels_first(y), w1, x1.shape, layout="NCHW", **k),
                                              channels_first(DATA[rank](y, w, x.shape, **k)))
                np.testing.assert_array_equal(WEIGHTS[rank](channels_first(y), x1, w1.shape, layout="channels_first", **k),
                                              weights_first(WEIGHTS[rank](y, x, w.shape, **k)))

    def test_within_the_bound_on_real_numbers(self):
        """|error| <= gamma_K * sum |a||b| for every element of every pass, against long double."""
        rng = generator(self)
        for n in range(40):
            c, dtype = case(rng), (np.float32, np.float64)[n % 2]
            x, w, b = (rng.uniform(-1, 1, s).astype(dtype) for s in (c["x"], c["w"], c["w"][-1:]))
            rank, k, r = x.ndim - 2, c["keywords"], reference_keywords(c["keywords"])
            y = CONV[rank](x, w, b, **k)
            dy = rng.uniform(-1, 1, y.shape).astype(dtype)
            long = [a.astype(np.longdouble) for a in (x, w, b, dy)]
            size = [abs(a) for a in long]
            terms = int(np.prod(w.shape[:-1])) + 1, int(np.prod(w.shape)), int(np.prod(y.shape[:-1]))
            exact = [forward(*long[:3], **r), *backward(long[3], *long[:2], **r)]
            sums = [forward(*size[:3], **r), *backward(size[3], *size[:2], **r)]
            ours = [y, DATA[rank](dy, w, x.shape, **k), *WEIGHTS[rank](dy, x, w.shape, bias=True, **k)]
            for name, o, e, s, t in zip(("y", "dx", "dw", "db"), ours, exact, sums, (*terms, terms[2])):
                with self.subTest(tensor=name, dtype=dtype.__name__, **c):
                    self.assertTrue((abs(o - e) <= bound(t + 1, dtype) * s).all(), abs(o - e).max())

    def test_padding_words(self):
        x, w = np.ones((1, 7, 8, 2)), np.ones((3, 4, 2, 5))
        self.assertEqual(conv2d(x, w, padding="valid").shape, (1, 5, 5, 5))
        for stride in (1, 2, 3, (2, 1)):
            y = conv2d(x, w, padding="same", stride=stride)
            s = stride if isinstance(stride, tuple) else (stride, stride)
            self.assertEqual(y.shape, (1, -(-7 // s[0]), -(-8 // s[1]), 5))
        same = conv2d(x, w, padding="same")
        np.testing.assert_array_equal(same, conv2d(x, w, padding=((1, 1), (1, 2))))  # the odd one after
        np.testing.assert_array_equal(conv2d(x, w, padding=[1, (1, 1)]), conv2d(x, w, padding=1))
        np.testing.assert_array_equal(conv2d(x, w, padding=np.array([1, 1]), stride=np.int64(1)), conv2d(x, w, padding=1))
        np.testing.assert_array_equal(conv1d(x[:, 0], w[0], padding=((2, 1),)), conv1d(np.pad(x[:, 0], ((0, 0), (2, 1), (0, 0))), w[0]))

    def test_epilogues(self):
        rng = generator(self)
        x, w, b = integers(rng, (2, 6, 5, 3)), integers(rng, (3, 3, 3, 4)), integers(rng, (4,))
        y, residual = conv2d(x, w, b), integers(rng, (2, 4, 3, 4))
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="relu"), np.maximum(y, 0))
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="clamp:-3:6"), np.clip(y, -3, 6))
        slope = np.linspace(-1, 1, y.shape[-1]).astype(y.dtype)
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="prelu", slope=slope), np.where(y < 0, slope * y, y))
        np.testing.assert_allclose(conv2d(x, w, b, epilogue="silu"), y / (1 + np.exp(-y.astype(float))), rtol=4e-7, atol=1e-9)
        np.testing.assert_allclose(conv2d(x, w, b, epilogue="tanh+residual", residual=residual), np.tanh(y) + residual, rtol=4e-7)
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="residual", residual=residual), y + residual)
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="residual", residual=np.asfortranarray(residual)), y + residual)
        np.testing.assert_array_equal(conv2d(x, w, b, epilogue="residual+relu", residual=residual), np.maximum(y + residual, 0))
        np.testing.assert_array_equal(conv2d(x, w, epilogue="residual+relu", residual=residual, out=residual.copy()),
                                      np.maximum(y - b + residual, 0))

    def test_arrays_of_any_strides(self):
        """Copied only when they must be; the same bits; inputs untouched."""
        rng = generator(self)
        x, w, b = rng.standard_normal((2, 9, 8, 3)), rng.standard_normal((3, 3, 3, 4)), rng.standard_normal(4)
        y = conv2d(x, w, b)
        unaligned = np.frombuffer(bytearray(b"\0" + x.tobytes()), np.float64, offset=1).reshape(x.shape)
        wide = np.zeros((2, 9, 16, 6))
        wide[:, :, ::2, 1::2] = x
        for other in (np.asfortranarray(x), x[::-1].copy()[::-1], x[:, ::-1, ::-1].copy()[:, ::-1, ::-1], wide[:, :, ::2, 1::2], unaligned,
                      np.moveaxis(np.moveaxis(x, 3, 1).copy(), 1, 3), x.view(np.memmap)):
            np.testing.assert_array_equal(conv2d(other, w, b), y)
            np.testing.assert_array_equal(conv2d(other, np.asfortranarray(w), b[::-1].copy()[::-1]), y)
        ones = np.broadcast_to(np.float64(2), x.shape)
        np.testing.assert_array_equal(conv2d(ones, w, b), conv2d(ones.copy(), w, b))

    def test_read_only_inputs_stay_untouched(self):
        rng = generator(self)
        arrays = [rng.standard_normal(s) for s in ((2, 9, 8, 3), (3, 3, 3, 4), (1, 1, 1, 4), (2, 9, 8, 4))]
        for a in arrays:
            a.flags.writeable = False
        before = [a.copy() for a in arrays]
        x, w, b, dz = arrays
        convgen.conv_forward(x, w, b, {"stride": 1, "pad": 1})
        convgen.conv_backward(dz, x, w, b, {"stride": 1, "pad": 1})
        for a, old in zip(arrays, before):
            np.testing.assert_array_equal(a, old)

    def test_nan_reaches_its_receptive_field_only(self):
        x, w = np.ones((1, 9, 9, 2)), np.ones((3, 3, 2, 4))
        x[0, 4, 4, 0] = np.nan
        bad = np.isnan(conv2d(x, w))
        self.assertTrue(bad[0, 2:5, 2:5].all())
        self.assertEqual(bad.sum(), 9 * 4)


class Gradients(unittest.TestCase):
    def test_tiers_are_within_their_budgets(self):
        """Of layers where transforms pay: normwise error over a plain loop's, on uniform data (the certificate's)."""
        for accuracy, most in (("proven", 1.25), ("loop", 1.25), ("2x", 2.1), ("8x", 8)):
            for direction in ("forward", "backward_data", "backward_weights"):
                for dtype in (np.float32, np.float64):
                    p = convgen.problem((1, 28, 28, 64), (3, 3, 64, 64), dtype=dtype, padding=1, direction=direction, accuracy=accuracy)
                    errors = convgen.certificate(p)
                    with self.subTest(problem=str(p)):
                        self.assertLess(errors.plan.normwise, most * errors.loop.normwise)

    def test_adjoint_identity(self):
        """<conv x, y> = <x, conv' y> and = <w, dw>, up to the rounding of the sums."""
        rng = generator(self)
        for _ in range(40):
            c = case(rng, largest=14)
            x, w = rng.standard_normal(c["x"]), rng.standard_normal(c["w"])
            rank, k = x.ndim - 2, c["keywords"]
            y = CONV[rank](x, w, **k)
            dy = rng.standard_normal(y.shape)
            one = np.vdot(y, dy)
            size = np.vdot(CONV[rank](abs(x), abs(w), **k), abs(dy)) + 1e-300
            with self.subTest(**c):
                self.assertLess(abs(one - np.vdot(x, DATA[rank](dy, w, x.shape, **k))), 1e-13 * size)
                self.assertLess(abs(one - np.vdot(w, WEIGHTS[rank](dy, x, w.shape, **k))), 1e-13 * size)

    def test_finite_differences(self):
        """Of the loss sum(y^2) / 2, in f64, each element of x, w and b moved both ways."""
        rng = generator(self)
        for hparameters in ({"stride": 1, "pad": 0}, {"stride": 2, "pad": 1}, {"stride": 3, "pad": 2}):
            arrays = [rng.standard_normal(s) for s in ((2, 5, 6, 2), (3, 2, 2, 3), (1, 1, 1, 3))]

            def loss():
                return (convgen.conv_forward(*arrays, hparameters) ** 2).sum() / 2

            gradients = convgen.conv_backward(convgen.conv_forward(*arrays, hparameters), *arrays, hparameters)
            for name, a, gradient in zip(("A_prev", "W", "b"), arrays, gradients):
                for at in np.ndindex(*a.shape):
                    old, h = a[at], 1e-4
                    a[at] = old + h
                    up = loss()
                    a[at] = old - h
                    difference = (up - loss()) / (2 * h)
                    a[at] = old
                    with self.subTest(tensor=name, at=at, **hparameters):
                        self.assertAlmostEqual(gradient[at], difference, delta=1e-6 * max(1, abs(difference)))


def loops_forward(A, W, b, hparameters):
    """The course's function, in exact integers."""
    s, p, (f, g, _, channels) = hparameters["stride"], hparameters["pad"], W.shape
    A = np.pad(A, ((0, 0), (p, p), (p, p), (0, 0)))
    Z = np.zeros((len(A), (A.shape[1] - f) // s + 1, (A.shape[2] - g) // s + 1, channels), A.dtype)
    for i, h, w, c in np.ndindex(*Z.shape):
        Z[i, h, w, c] = (A[i, h * s:h * s + f, w * s:w * s + g] * W[..., c]).sum() + b[0, 0, 0, c]
    return Z


def loops_backward(dZ, A, W, hparameters):
    s, p, (f, g, _, _) = hparameters["stride"], hparameters["pad"], W.shape
    A = np.pad(A, ((0, 0), (p, p), (p, p), (0, 0)))
    dA, dW, db = np.zeros_like(A), np.zeros_like(W), np.zeros((1, 1, 1, W.shape[-1]), A.dtype)
    for i, h, w, c in np.ndindex(*dZ.shape):
        at = (i, slice(h * s, h * s + f), slice(w * s, w * s + g))
        dA[at] += W[..., c] * dZ[i, h, w, c]
        dW[..., c] += A[at] * dZ[i, h, w, c]
        db[..., c] += dZ[i, h, w, c]
    return dA[:, p:dA.shape[1] - p, p:dA.shape[2] - p], dW, db


class Course(unittest.TestCase):
    def test_as_the_loops_of_the_course(self):
        rng = generator(self)
        for n in range(30):
            dtype = (np.float32, np.float64)[n % 2]
            f, g = (int(k) for k in rng.integers(1, 5, 2))
            hparameters = {"stride": int(rng.integers(1, 4)), "pad": int(rng.integers(0, 3))}
            A = integers(rng, (2, f + int(rng.integers(0, 5)), g + int(rng.integers(0, 5)), int(rng.integers(1, 4))), dtype)
            W = integers(rng, (f, g, A.shape[-1], int(rng.integers(1, 5))), dtype)
            b = integers(rng, (1, 1, 1, W.shape[-1]), dtype)
            with self.subTest(A=A.shape, W=W.shape, **hparameters):
                Z = convgen.conv_forward(A, W, b, hparameters)
                np.testing.assert_array_equal(Z, loops_forward(*(a.astype(int) for a in (A, W, b)), hparameters))
                dZ = integers(rng, Z.shape, dtype)
                ours = convgen.conv_backward(dZ, A, W, b, hparameters)
                for o, a, e in zip(ours, (A, W, b), loops_backward(*(a.astype(int) for a in (dZ, A, W)), hparameters)):
                    np.testing.assert_array_equal(o, e)
                    self.assertEqual((o.shape, o.dtype), (a.shape, dtype))


class Kept(unittest.TestCase):
    """A call that is kept serves the calls that are its like in every part of its key, and no others.

    A new kernel drops what is kept: so the base call is made again, and is there, before each call that differs from it in one
    part. That must then do what it does when nothing is kept: return the same, or refuse with the same sentence. Results begin
    as NaNs, so that none is what an earlier one left in memory."""

    def setUp(self):
        empty = convgen._arrays._empty
        self.addCleanup(setattr, convgen._arrays, "_empty", empty)
        convgen._arrays._empty = lambda shape, dtype: np.full(shape, np.nan, dtype)

    X, W, B = ((np.arange(n) % 7 - 3.0).reshape(s) for n, s in ((432, (2, 6, 6, 6)), (1296, (6, 6, 6, 6)), (6, (6,))))

    @staticmethod
    def outcome(call):
        try:
            result = call()
        except (TypeError, ValueError) as error:
            return type(error).__name__, str(error)
        return [(a.dtype, a.shape, a.tobytes()) for a in (result if isinstance(result, tuple) else (result,))]

    def check(self, function, arguments, keywords, changes):
        def of(change):
            changed = {n: v for n, v in change.items() if isinstance(n, int)}
            words = {n: v for n, v in change.items() if not isinstance(n, int)}
            return lambda: words.get("function", function)(*(changed.get(n, a) for n, a in enumerate(arguments)),
                                                            **{**keywords, **{n: v for n, v in words.items() if n != "function"}})

        for change in changes:
            with self.subTest(function=function.__name__, change={n: getattr(v, "shape", v) for n, v in change.items()}):
                convgen._calls._kept.clear()
                expected = self.outcome(of(change))
                convgen._calls._kept.clear()
                base = self.outcome(of({}))
                self.assertEqual(self.outcome(of({})), base)  # the second one finds the first
                self.assertGreater(len(convgen._calls._kept), 0)
                self.assertEqual(self.outcome(of(change)), expected)
                self.assertEqual(self.outcome(of({})), base)

    LAST = {"layout": "channels_last"}  # of any rank
    WORDS = [{"stride": 2}, {"stride": 1.0}, {"stride": True}, {"stride": (1, 2)}, {"stride": (1, 1.0)}, {"padding": 1}, {"padding": ((0, 1), 0)},
             {"padding": "same"}, {"padding": False}, {"dilation": 2}, {"dilation": True}, {"groups": 2}, {"groups": True}, {"layout": "NCHW"},
             {"layout": None}, {"accuracy": "best"}, {"accuracy": None}, {"threads": 0}, {"threads": 1.0}, {"threads": True}]

    def test_forward(self):
        x, w, b = self.X, self.W[:3, :3], self.B
        single = [a.astype(np.float32) for a in (x, w, b)]
        self.check(convgen.conv2d, (x, w, b), self.LAST, self.WORDS + [
            {0: x[:1]}, {0: x[:, :5]}, {1: w[:2]}, {1: w[..., :5]}, {2: None}, {2: b[:5]}, {2: b[:3]}, {2: b.reshape(1, 6)}, {2: b.reshape(1, 1, 1, 6)},
            {0: single[0]}, {1: single[1]}, {2: single[2]}, dict(enumerate(single)), {"epilogue": "relu"}, {"epilogue": "tanh"},
            {"epilogue": "residual"}, {"epilogue": "residual", "residual": np.ones((2, 4, 4, 6))}, {"residual": np.ones((2, 4, 4, 6))},
            {"function": convgen.conv1d}, {"function": convgen.conv3d}])
        self.check(convgen.conv2d, (x, w), {}, [{"function": partial(convgen.conv2d, b=b)}])

    def test_layout(self):
        """Shapes that are allowed in either."""
        self.check(convgen.conv2d, (self.X, self.W, self.B), {}, [{"layout": "NCHW"}, {"layout": "nhwc"}])
        self.check(convgen.conv2d_backward_data, (self.X[:, :1, :1], self.W, (2, 6, 6, 6)), {}, [{"layout": "NCHW", 0: self.X[:, :, :1, :1]}])

    def test_backward_data(self):
        dy, w, shape = self.X[:, :3, :3], self.W[:3, :3], (2, 7, 7, 6)
        single = [a.astype(np.float32) for a in (dy, w)]
        self.check(convgen.conv2d_backward_data, (dy, w, shape), {**self.LAST, "stride": 2}, self.WORDS + [
            {0: dy[:1]}, {0: dy[:, :2]}, {1: w[:2]}, {1: w[:, :, :5]}, {0: single[0]}, {1: single[1]}, dict(enumerate(single)),
            {2: (2, 8, 7, 6)}, {2: (2, 7, 8, 6)}, {2: (2, 7, 9, 6)}, {2: (2, 7, 7, 6.0)}, {2: (2.0, 7, 7, 6)}, {2: [2, 8, 8, 6]}, {2: (2, 7, 7)}, {2: None},
            {"function": convgen.conv1d_backward_data}, {"function": convgen.conv3d_backward_data}])

    def test_backward_weights(self):
        dy, x, shape = self.X[:, :3, :3], np.tile(self.X, (1, 2, 2, 1))[:, :7, :7], (2, 3, 6, 6)
        single = [a.astype(np.float32) for a in (dy, x)]
        for bias in (False, True):
            self.check(convgen.conv2d_backward_weights, (dy, x, shape), {**self.LAST, "stride": 2, "bias": bias}, self.WORDS + [
                {0: dy[:1]}, {0: dy[:, :2]}, {1: x[:1]}, {1: x[:, :6]}, {0: single[0]}, {1: single[1]}, dict(enumerate(single)),
                {2: (3, 3, 6, 6)}, {2: (2, 2, 6, 6)}, {2: (2, 3, 3, 6)}, {2: (2, 3, 6, 6.0)}, {2: (2, 3, True, 6)}, {2: [3, 2, 6, 6]}, {2: None},
                {"bias": not bias}, {"function": convgen.conv1d_backward_weights}, {"function": convgen.conv3d_backward_weights}])

    def test_course(self):
        x, w, b, how = self.X, self.W[:3, :3], self.B.reshape(1, 1, 1, 6), {"stride": 3, "pad": 0}
        dz = x[:, :2, :2]  # of stride 3; of stride 2 and pad 0 too
        single = [a.astype(np.float32) for a in (dz, x, w, b)]
        hows = [{"stride": 2}, {"stride": 1}, {"stride": 3.0}, {"stride": True}, {"pad": 1}, {"pad": False}, {"pad": 0.0}, {"pad": "same"}]
        arrays = [{0: x[:1]}, {0: x[:, :5]}, {0: single[1]}, {1: w[:2]}, {1: w[..., :5]}, {1: single[2]}, {2: None}, {2: b[..., :5]}, {2: self.B},
                  {2: single[3]}]
        self.check(convgen.conv_forward, (x, w, b, how), {}, arrays + [dict(enumerate(single[1:]))] + [{3: {**how, **h}} for h in hows])
        self.check(convgen.conv_backward, (dz, x, w, b, how), {}, [{n + 1: a for n, a in change.items()} for change in arrays] + [
            {0: dz[:1]}, {0: dz[:, :3]}, {0: single[0]}, dict(enumerate(single))] + [{4: {**how, **h}} for h in hows])

    def test_kernels_of_other_threads(self):
        text = "--dt=f64 --dir=FWD_D mb2ic3ih9oc4kh3"
        for threads in (1, 2, 1, 3):
            self.assertEqual(convgen.plan(text, threads=threads).info.threads, threads)


class Plans(unittest.TestCase):
    def test_packed_weights_and_out(self):
        rng = generator(self)
        x, w, b = rng.standard_normal((2, 9, 8, 16)), rng.standard_normal((3, 3, 16, 32)), rng.standard_normal(32)
        y = conv2d(x, w, b, padding=1)
        p = problem(x, w, b, padding=1)
        plan = convgen.plan(p, weights=w)
        out = np.empty_like(y)
        self.assertIs(plan(x, bias=b, out=out), out)
        np.testing.assert_array_equal(out, y)
        np.testing.assert_array_equal(convgen.plan(p)(x, w, b), y)
        with self.assertRaisesRegex(ValueError, "weights is not read by this plan: it has packed weights"):
            plan(x, w, b)
        with self.assertRaisesRegex(ValueError, "residual is not read by this plan"):
            plan(x, bias=b, residual=y)
        with self.assertRaisesRegex(ValueError, "dst is not read by this plan: it is the result of the forward pass"):
            plan(x, bias=b, dst=y)
        with self.assertRaisesRegex(TypeError, "bias is missing"):
            plan(x)

    def test_gradients_of_plans(self):
        rng = generator(self)
        x, w, dy = rng.standard_normal((2, 9, 8, 4)), rng.standard_normal((3, 3, 4, 6)), rng.standard_normal((2, 9, 8, 6))
        data = convgen.plan(problem(x, w, direction="backward_data", padding=1))
        np.testing.assert_array_equal(data(dst=dy, weights=w), DATA[2](dy, w, x.shape, padding=1))
        packed = convgen.plan(problem(x, w, direction="backward_data", padding=1), weights=w)
        np.testing.assert_array_equal(packed(dst=dy), data(dst=dy, weights=w))
        both = convgen.plan(problem(x, w, True, direction="backward_weights", padding=1))
        dw, db = both(x, dst=dy, out=(np.empty_like(w), np.empty(6)))
        for ours, theirs in zip((dw, db), WEIGHTS[2](dy, x, w.shape, bias=True, padding=1)):
            np.testing.assert_array_equal(ours, theirs)

    def test_text_info_certificate(self):
        plan = convgen.plan("--accuracy=proven --dt=f64 --dir=FWD_D mb1ic3ih20oc10kh5ph2")
        self.assertEqual(plan.info.problem, str(plan.problem))
        self.assertIn(plan.info.schedule, str(plan))
        self.assertEqual(plan.problem.shapes.dst, (1, 20, 20, 10))
        errors = convgen.certificate(plan)
        self.assertEqual((errors.outputs, errors.terms), (20 * 20 * 10, 75))
        self.assertLess(errors.plan.of_bound, 1)
        self.assertLess(errors.plan.normwise, 1.25 * errors.loop.normwise)
        dw, db = convgen.certificate("--dt=f64 --dir=BWD_WB mb1ic3ih20oc10kh5ph2")
        self.assertEqual((dw.terms, db.terms), (400, 400))
        self.assertIn("of bound", str(db))

    def test_threads_give_the_same_bits(self):
        rng = generator(self)
        x, w, b = (rng.standard_normal(s, dtype=np.float32) for s in ((4, 20, 20, 16), (3, 3, 16, 32), (32,)))
        y = conv2d(x, w, b)
        np.testing.assert_array_equal(conv2d(x, w, b, threads=2), y)
        dw = WEIGHTS[2](y, x, w.shape)
        np.testing.assert_array_equal(WEIGHTS[2](y, x, w.shape, threads=2), dw)


if __name__ == "__main__":
    unittest.main()
