"""A table of what is refused: the call, the exception, and what its sentence must say."""
import unittest

import numpy as np

import convgen
import convgen._calls

X, W, B = np.ones((2, 9, 8, 3)), np.ones((3, 3, 3, 4)), np.ones(4)
DY = np.ones((2, 7, 6, 4))
COURSE = {"stride": 1, "pad": 1}


def x(dtype):
    return X.astype(dtype)


def conv(x=X, w=W, b=B, **keywords):
    return convgen.conv2d(x, w, b, **keywords)


def course(A=X, W=W, b=B.reshape(1, 1, 1, 4), **changes):
    return convgen.conv_forward(A, W, b, {**COURSE, **changes})


def course_back(dZ=np.ones((2, 9, 8, 4)), A=X, W=W, b=B.reshape(1, 1, 1, 4), **changes):
    return convgen.conv_backward(dZ, A, W, b, {**COURSE, **changes})


def read_only(shape):
    a = np.empty(shape)
    a.flags.writeable = False
    return a


OUT = (2, 7, 6, 4)
TABLE = [
    # dtypes
    (lambda: conv(x(int)), TypeError, r"x of shape \(2, 9, 8, 3\) has dtype int64; float32 or float64"),
    (lambda: conv(x(complex)), TypeError, "x .* has dtype complex128; float32 or float64"),
    (lambda: conv(x(np.float16)), TypeError, "x .* has dtype float16; float32 or float64"),
    (lambda: conv(x(np.longdouble)), TypeError, "x .* has dtype float128; float32 or float64"),
    (lambda: conv(x(object)), TypeError, "x .* has dtype object; float32 or float64"),
    (lambda: conv(x(">f8")), TypeError, "x .* has dtype >f8; .* in the machine's byte order"),
    (lambda: conv(x(bool)), TypeError, "x .* has dtype bool"),
    (lambda: conv(x(np.float32)), TypeError, "w has dtype float64 and x has float32; all arrays of a call need the same one"),
    (lambda: conv(b=B.astype(int)), TypeError, "b .* has dtype int64"),
    (lambda: conv(b=B.astype(np.float32)), TypeError, "b has dtype float32 and x has float64"),
    # not arrays
    (lambda: conv(X.tolist()), TypeError, "x is a list; a NumPy array is needed"),
    (lambda: conv(None), TypeError, "x is missing; a NumPy array is needed"),
    (lambda: conv(w=3.0), TypeError, "w is a float; a NumPy array is needed"),
    (lambda: conv(np.ma.masked_equal(X, 1)), TypeError, "x is a masked array, whose mask would be ignored"),
    # shapes
    (lambda: conv(X[0]), ValueError, r"x has shape \(9, 8, 3\); 4 dimensions are needed: \(batch, height, width, channels\)"),
    (lambda: conv(X[0], layout="NCHW"), ValueError, r"x has shape \(9, 8, 3\); 4 dimensions are needed: \(batch, channels, height, width\)"),
    (lambda: conv(X[:0]), ValueError, r"x has shape \(0, 9, 8, 3\); every size must be at least 1, the batch too"),
    (lambda: conv(X[:, :0]), ValueError, r"x has shape \(2, 0, 8, 3\); every size"),
    (lambda: conv(w=W[:, :, :, :0]), ValueError, r"w has shape \(3, 3, 3, 0\); every size must be at least 1"),
    (lambda: conv(w=W[0]), ValueError, r"w has shape \(3, 3, 4\); 4 dimensions are needed: \(kernel"),
    (lambda: conv(w=W[:, :, :2]), ValueError, r"x has shape \(2, 9, 8, 3\), that is 3 channels; w of shape \(3, 3, 2, 4\) with groups=1 needs 2"),
    (lambda: conv(w=np.ones((10, 3, 3, 4))), ValueError, r"w of shape \(10, 3, 3, 4\) .* does not fit into x of shape \(2, 9, 8, 3\)"),
    (lambda: conv(b=np.ones(3)), ValueError, r"b has shape \(3,\); \(4,\) is needed for w of shape \(3, 3, 3, 4\)"),
    (lambda: conv(b=np.ones((1, 1, 1, 4))), ValueError, r"b has shape \(1, 1, 1, 4\); \(4,\) is needed"),
    (lambda: convgen.conv3d(X, W), ValueError, r"x has shape \(2, 9, 8, 3\); 5 dimensions are needed: \(batch, depth, height, width, channels\)"),
    (lambda: convgen.conv1d(X, W), ValueError, r"x has shape \(2, 9, 8, 3\); 3 dimensions are needed: \(batch, width, channels\)"),
    # numbers
    (lambda: conv(stride=float("nan")), TypeError, r"stride is nan \(float\); an integer is needed"),
    (lambda: conv(stride=1.0), TypeError, r"stride is 1.0 \(float\); an integer is needed"),
    (lambda: conv(stride=True), TypeError, "stride is True; an integer is needed"),
    (lambda: conv(stride=0), ValueError, "stride is 0; 1 to 2147483647 is allowed"),
    (lambda: conv(stride=-1), ValueError, "stride is -1; 1 to 2147483647 is allowed"),
    (lambda: conv(stride=2**70), ValueError, "stride is 1180591620717411303424; 1 to"),
    (lambda: conv(stride=(1, 2, 3)), ValueError, r"stride is \(1, 2, 3\); an integer or 2 of them"),
    (lambda: conv(stride=(1, 1.0)), TypeError, "stride is 1.0"),
    (lambda: conv(stride={}), TypeError, "stride is {}"),
    (lambda: conv(stride="1"), TypeError, "stride is '1'"),
    (lambda: conv(dilation=0), ValueError, "dilation is 0; 1 to"),
    (lambda: conv(dilation=(1, np.nan)), TypeError, "dilation is nan"),
    (lambda: conv(groups=0), ValueError, "groups is 0; 1 to"),
    (lambda: conv(groups=3), ValueError, "with groups=3 needs 9"),
    (lambda: conv(np.ones((1, 5, 5, 9)), groups=3), ValueError, "groups is 3; it must divide the 4 channels out"),
    (lambda: conv(padding="full"), ValueError, "padding is 'full'; 'same', 'valid', an integer, or for each of the 2 dimensions"),
    (lambda: conv(padding=(1, 2, 3)), ValueError, r"padding is \(1, 2, 3\); for each of the 2 dimensions"),
    (lambda: conv(padding=((1, 2, 3), 1)), ValueError, r"padding has the entry \(1, 2, 3\)"),
    (lambda: conv(padding=np.nan), TypeError, "padding is nan"),
    (lambda: conv(padding=((0.5, 1), 1)), TypeError, "padding is 0.5"),
    (lambda: conv(padding=-5), ValueError, r"does not fit into x of shape \(2, 9, 8, 3\) with padding \(\(-5, -5\), \(-5, -5\)\)"),
    (lambda: convgen.conv1d(X[0], W[0], padding=(1, 2)), ValueError, r"padding is \(1, 2\); .* \(one pair is \(\(before, after\),\)\)"),
    (lambda: conv(threads=0), ValueError, "threads is 0; 1 to 1024 is allowed"),
    (lambda: conv(threads=5000), ValueError, "threads is 5000; 1 to 1024 is allowed"),
    (lambda: conv(threads=1.5), TypeError, "threads is 1.5"),
    # words
    (lambda: conv(layout="HWCN"), ValueError, "layout is 'HWCN'; 'NHWC' .* or 'NCHW'"),
    (lambda: conv(layout=None), ValueError, "layout is None"),
    (lambda: conv(accuracy="best"), ValueError, "accuracy is 'best'; 'loop', 'proven', '2x' or '8x'"),
    (lambda: conv(epilogue="swish"), ValueError, "epilogue is 'swish'; allowed is none, relu, clamp:LO:HI"),
    (lambda: conv(epilogue="leaky:nan"), ValueError, "epilogue is 'leaky:nan'; allowed is none, relu, clamp:LO:HI"),
    (lambda: conv(epilogue="prelu"), TypeError, "slope is missing; a NumPy array is needed"),
    (lambda: conv(slope=np.ones(4)), ValueError, "slope is given, but the epilogue has no prelu"),
    (lambda: conv(epilogue="prelu", slope=np.ones(5)), ValueError, r"slope has shape \(5,\); \(4,\) is needed"),
    (lambda: conv(epilogue=""), ValueError, "epilogue is ''; allowed is None or words"),
    (lambda: conv(epilogue="relu mb5"), ValueError, "epilogue is 'relu mb5'; allowed is None or words"),
    (lambda: conv(residual=np.ones(OUT)), ValueError, "residual is given, but the epilogue does not add it"),
    (lambda: conv(epilogue="residual"), TypeError, "residual is missing; a NumPy array is needed"),
    (lambda: conv(epilogue="residual", residual=np.ones((2, 7, 6, 3))), ValueError, r"residual has shape \(2, 7, 6, 3\); \(2, 7, 6, 4\) is needed"),
    # out
    (lambda: conv(out=np.empty((2, 7, 6, 5))), ValueError, r"out has shape \(2, 7, 6, 5\); \(2, 7, 6, 4\) is needed"),
    (lambda: conv(out=np.empty(OUT, np.float32)), TypeError, "out has dtype float32; float64 is needed"),
    (lambda: conv(out=np.empty(OUT, order="F")), ValueError, r"out of shape \(2, 7, 6, 4\) and strides .* is not C-contiguous"),
    (lambda: conv(out=np.empty((4, 7, 6, 4))[::2]), ValueError, "is not C-contiguous"),
    (lambda: conv(out=np.frombuffer(bytearray(8 * 2 * 7 * 6 * 4 + 1), np.float64, offset=1).reshape(OUT)), ValueError, "is not C-contiguous and aligned"),
    (lambda: conv(out=read_only(OUT)), ValueError, r"out of shape \(2, 7, 6, 4\) is read-only"),
    (lambda: conv(out=[]), TypeError, "out is a list; a NumPy array is needed"),
    (lambda: convgen.conv2d(DY, np.ones((1, 1, 4, 4)), out=DY), ValueError, "dst overlaps src"),
    (lambda: convgen.conv2d_backward_weights(DY, X, W.shape, bias=True, out=np.empty(W.shape)), TypeError, "out must be a tuple of 2: dw, db"),
    # gradients
    (lambda: convgen.conv2d_backward_data(DY[1:], W, X.shape), ValueError,
     r"dy has shape \(1, 7, 6, 4\); \(2, 7, 6, 4\) follows from x_shape of shape \(2, 9, 8, 3\)"),
    (lambda: convgen.conv2d_backward_data(DY, W, 7.5), TypeError, "x_shape is 7.5; a shape"),
    (lambda: convgen.conv2d_backward_data(DY, W, (2, 9, 8, 3.0)), TypeError, r"x_shape is \(2, 9, 8, 3.0\); a shape"),
    (lambda: convgen.conv2d_backward_data(DY, W, (2, 9, 8)), ValueError, r"x_shape has shape \(2, 9, 8\); 4 dimensions are needed"),
    (lambda: convgen.conv2d_backward_weights(DY, X, (3, 3, 3, 5)), ValueError, r"dy has shape \(2, 7, 6, 4\); \(2, 7, 6, 5\) follows"),
    (lambda: convgen.conv2d_backward_weights(DY, X.astype(np.float32), W.shape), TypeError, "x has dtype float32 and dy has float64"),
    # the course's functions
    (lambda: course(A=x(int)), TypeError, r"A_prev of shape \(2, 9, 8, 3\) has dtype int64"),
    (lambda: course(A=X[:0]), ValueError, r"A_prev has shape \(0, 9, 8, 3\); every size must be at least 1, the batch too"),
    (lambda: course(W=W[:, :, :2]), ValueError, r"A_prev has shape \(2, 9, 8, 3\), that is 3 channels; W of shape \(3, 3, 2, 4\) .* needs 2"),
    (lambda: course(b=B), ValueError, r"b has shape \(4,\); \(1, 1, 1, 4\) is needed for W of shape \(3, 3, 3, 4\)"),
    (lambda: course(b=None), TypeError, "b is missing; a NumPy array is needed"),
    (lambda: course(stride=float("nan")), TypeError, "stride is nan"),
    (lambda: course(pad=-1), ValueError, r"hparameters\['pad'\] is -1; an integer of at least 0"),
    (lambda: course(pad=np.int64(-1)), ValueError, r"hparameters\['pad'\] is .*-1.*; an integer of at least 0"),
    (lambda: course(pad="same"), ValueError, r"hparameters\['pad'\] is 'same'"),
    (lambda: course(pad=1.0), TypeError, "padding is 1.0"),
    (lambda: convgen.conv_forward(X, W, B.reshape(1, 1, 1, 4), {"stride": 1}), ValueError, "a dictionary with 'stride' and 'pad'"),
    (lambda: convgen.conv_forward(X, W, B.reshape(1, 1, 1, 4), None), ValueError, "hparameters is None"),
    (lambda: course_back(dZ=DY), ValueError, r"dZ has shape \(2, 7, 6, 4\); \(2, 9, 8, 4\) follows from A_prev of shape"),
    (lambda: course_back(dZ=np.ones((2, 9, 8, 4), np.float32)), TypeError, "A_prev has dtype float64 and dZ has float32"),
    (lambda: course_back(A=X.tolist()), TypeError, "A_prev is a list"),
    # problems, plans, tuning
    (lambda: convgen.Problem("mb1ic3ih5oc4kh9"), ValueError, "."),
    (lambda: convgen.Problem("ic3"), ValueError, "."),
    (lambda: convgen.Problem("mb1ic3ih5oc4kh3\0"), ValueError, "NUL"),
    (lambda: convgen.Problem(3), TypeError, "a problem's text is a str, not int"),
    (lambda: convgen.Problem("mb1ic3ih5oc4kh3", rank=1), ValueError, "rank is 1; this problem has 2 to 3"),
    (lambda: convgen.problem((1, 5, 5, 3), (3, 3, 3, 4)), TypeError, "x and w are shapes; dtype="),
    (lambda: convgen.problem((1, 5, 5, 3), (3, 3, 3, 4), dtype=int), TypeError, "x has dtype .*int.*; float32 or float64"),
    (lambda: convgen.problem(X, W, direction="sideways"), ValueError, "direction is 'sideways'"),
    (lambda: convgen.problem((2**40, 2**40, 5, 3), (3, 3, 3, 4), dtype=float), ValueError, "."),
    (lambda: convgen.problem((2**70, 5, 5, 3), (3, 3, 3, 4), dtype=float), ValueError, "x has shape .* a size of at most"),
    (lambda: convgen.plan(7), TypeError, "a problem is a convgen.Problem or its text, not int"),
    (lambda: convgen.plan("mb1ic3ih9oc4kh3", weights=np.ones((3, 3, 3, 4))), TypeError, "weights has dtype float64; float32 is needed"),
    (lambda: convgen.plan("--dir=BWD_W mb1ic3ih9oc4kh3", weights=W), ValueError, "backward weights reads none"),
    (lambda: convgen.tune("mb1ic3ih9oc4kh3", effort="estimate"), ValueError, "effort is 'estimate'; tuning takes 'measure' or 'exhaustive'"),
    (lambda: convgen.tune("mb1ic3ih9oc4kh3", seconds=float("nan")), ValueError, "seconds is nan; 0"),
    (lambda: convgen.tune("mb1ic3ih9oc4kh3", seconds=-1), ValueError, "seconds is -1"),
]


class Refused(unittest.TestCase):
    def check_table(self):
        for row, (call, kind, sentence) in enumerate(TABLE):
            with self.subTest(row=row, sentence=sentence):
                with self.assertRaisesRegex(kind, sentence) as caught:
                    call()
                self.assertNotIn("\n", str(caught.exception))
                self.assertLess(len(str(caught.exception)), 300)

    def test_table(self):
        self.check_table()

    def test_table_again_after_good_calls(self):
        """A kept call must not let through what only looks like it. (test_values has every part of the key.)"""
        for _ in range(2):  # a new kernel drops the calls that are kept: the second time all stay
            conv(), conv(stride=(1, 1)), course(), course_back(), convgen.conv2d_backward_data(DY, W, X.shape)
            convgen.conv2d_backward_weights(DY, X, W.shape, bias=True)
        self.assertEqual(len(convgen._calls._kept), 7)
        self.check_table()

    def test_a_stand_in_for_an_array(self):
        """Shape and dtype alone do not make an array."""
        class Looks:
            shape, dtype = X.shape, X.dtype

        conv()
        with self.assertRaisesRegex(TypeError, "x is a Looks; a NumPy array is needed"):
            conv(Looks())

    def test_effort_variable(self):
        import os
        os.environ["CONVGEN_EFFORT"] = "quick"
        try:
            with self.assertRaisesRegex(ValueError, r"\$CONVGEN_EFFORT is 'quick'; 'recall', 'estimate'"):
                convgen.plan("mb1ic1ih5oc1kh5")
            os.environ["CONVGEN_EFFORT"] = "recall"
            with self.assertRaisesRegex(LookupError, "nothing is remembered for"):
                convgen.plan("mb1ic1ih5oc1kh5")
        finally:
            del os.environ["CONVGEN_EFFORT"]
        self.assertIsInstance(convgen.plan("mb1ic1ih5oc1kh5"), convgen.Plan)


if __name__ == "__main__":
    unittest.main()
