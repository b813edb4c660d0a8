"""What is known of operations that are not supported: the shapes that they make, so that what follows them can be counted and
listed, and the multiply-adds that they have."""
import math

import numpy

from .errors import LeftOut
from .shapes import broadcast

SAME = set("""
    Acos Acosh Asin Asinh Atan Atanh BatchNormalization Bernoulli BitwiseNot Ceil Clip Cos Cosh CumSum Floor Hardmax LRN LpNormalization
    MeanVarianceNormalization PRelu RandomNormalLike RandomUniformLike ReverseSequence Round Scatter ScatterElements ScatterND Shrink Sign Sin Sinh
    Swish Tan ThresholdedRelu Trilu com.microsoft.BiasGelu com.microsoft.FastGelu com.microsoft.Gelu com.microsoft.QuickGelu
""".split())
TRUTHS = set("And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor".split())
BROADCAST = {"BitShift", "Mod", "Pow"} | TRUTHS
RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}  # gates


def recurrent_dims(gates, operands, layout):
    """Of Y, Y_h and Y_c."""
    x, w = operands[0].dims, operands[1].dims
    directions, hidden = w[0], w[1] // gates
    length, batch = (x[1], x[0]) if layout else (x[0], x[1])
    last = (batch, directions, hidden) if layout else (directions, batch, hidden)
    return [(batch, length, directions, hidden) if layout else (length, directions, batch, hidden), last, last]


def dims_of(node, proto, operands):
    """A list of what is known of the results' sizes."""
    known = [v.dims for v in operands[:2] if v is not None]
    if not known or None in known:
        return []
    if node.op in RECURRENT and list(map(len, known)) == [3, 3]:
        layout = next((a.i for a in proto.attribute if a.name == "layout"), 0)
        return recurrent_dims(RECURRENT[node.op], operands, layout)
    if node.op in BROADCAST:
        return broadcasted(known)
    return known[:1] if node.op in SAME else []


def broadcasted(dims):
    try:
        return [broadcast({}, *dims)]
    except LeftOut:
        return []


def dtype_of(node, operands):
    return numpy.dtype("bool") if node.op in TRUTHS else next((v.dtype for v in operands if v is not None), None)


def macs_of(node, operands):
    """Of each step of a sequence, the products with the weights of what is read and of what is kept."""
    known = [v.dims for v in operands[:3] if v is not None]
    if node.op not in RECURRENT or len(known) < 3 or None in known or len(known[0]) != 3:
        return 0
    return known[0][0] * known[0][1] * sum(map(math.prod, known[1:]))
