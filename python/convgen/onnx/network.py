"""A network: values and the operations that make them, as a network file has them (but with constants as arrays).

add() folds what has constants alone by NumPy (constants.py) and checks shapes (shapes.py). What is not supported is `lost`, and
what follows it, whose shapes may be known all the same.
"""
import itertools
import math

import numpy

from . import constants, shapes
from .errors import LeftOut
from .model import MOST, MOST_ELEMENTS

TYPES = {numpy.dtype("float32"): "f32", numpy.dtype("float64"): "f64", numpy.dtype("int64"): "i64"}
FLOATS = ("f32", "f64")
ANY_TYPE = {"depth_to_space", "concat", "split", "slice", "pad", "transpose", "reshape", "cast", "gather"}


class Lost:
    """A node that cannot be done, why, what it reads, and, where that is why, the lost one that it follows."""

    count = itertools.count()

    def __init__(self, op, label, why, reads=(), cause=None):
        self.op, self.label, self.why, self.reads, self.cause, self.place = op, label, why, list(reads), cause, next(self.count)
        self.macs = 0


class Value:
    """A tensor. dims: None where they are not known; array: where it is a constant; maker: an Operation, or None."""

    def __init__(self, dtype, dims, array=None, maker=None, lost=None, name=None):
        self.dtype, self.dims, self.array, self.maker, self.lost, self.name = dtype, dims, array, maker, lost, name

    @property
    def type(self):
        return TYPES.get(self.dtype)

    @property
    def kind(self):
        return self.type or (self.dtype.name if self.dtype else "another type")


def constant(array, name=None):
    array = numpy.asarray(array)
    return Value(array.dtype, array.shape, array, name=name)


class Operation:
    def __init__(self, op, operands, words, node):
        self.op, self.operands, self.words, self.node, self.results, self.lost = op, list(operands), words, node, [], None

    @property
    def macs(self):
        return MACS[self.op](self) if self.op in MACS else 0


def convolution_macs(o):
    of, axes = o.operands[0 if o.op == "deconv" else 1].dims, o.words["axes"]
    if o.op == "conv":
        return math.prod(o.results[0].dims) * math.prod(of[1:])
    return math.prod(of) * o.words["channels"] // o.words["groups"] * math.prod(axis[3] for axis in axes)


def matmul_macs(o):
    return math.prod(o.results[0].dims) * o.operands[0].dims[-1]


def gemm_macs(o):
    return math.prod(o.results[0].dims) * o.operands[0].dims[0 if o.words["trans_a"] else 1]


MACS = {"conv": convolution_macs, "deconv": convolution_macs, "matmul": matmul_macs, "gemm": gemm_macs}


class Network:
    def __init__(self):
        self.operations, self.inputs, self.outputs = [], [], []
        self.left_out = []  # the Lost that have no operation

    def add(self, op, operands, node, lost=None, **words):
        """The result, or a list of results where the rule has them."""
        if op in constants.FOLDS and all(v.array is not None for v in operands):
            return self.folded(op, operands, words)
        return self.made(Operation(op, operands, words, node), lost)

    def folded(self, op, operands, words):
        try:
            with numpy.errstate(all="ignore"):
                result = constants.FOLDS[op](words, *(v.array for v in operands))
        except (ValueError, IndexError, TypeError, OverflowError, MemoryError) as e:
            raise LeftOut(f"its constants do not fit: {e}")
        return [constant(a) for a in result] if isinstance(result, list) else constant(result)

    def made(self, o, lost=None):
        check_operands(o)
        result = shapes.RULES[o.op](o.words, *(v.dims for v in o.operands))
        dims = result if isinstance(result, list) else [result]
        for d in dims:
            check_dims(d)
        o.lost = next((v.lost for v in o.operands if v.lost), lost)
        o.results = [Value(numpy.dtype(o.words.get("dtype") or o.operands[0].dtype), tuple(d), maker=o, lost=o.lost) for d in dims]
        self.operations.append(o)
        return o.results if isinstance(result, list) else o.results[0]


def check_dims(dims):
    if 0 in dims:
        raise LeftOut("its result has no elements")
    if any(not 0 < n <= MOST for n in dims) or math.prod(dims) > MOST_ELEMENTS or len(dims) > 8:
        raise LeftOut(f"its result would be {shapes.shown(dims)}, which is out of range")


def check_operands(o):
    for i, v in enumerate(o.operands):
        if v.dims is None:
            raise LeftOut("the shape of what it reads is not known")
        index = o.op == "gather" and i == 1
        if v.type is None or (v.type not in FLOATS and o.op not in ANY_TYPE and not index):
            allowed = "f32, f64 and i64 are" if o.op in ANY_TYPE else "f32 and f64 are"
            raise LeftOut(f"it reads elements of {v.kind}: {allowed} allowed")
        if v.type != o.operands[0].type and not index:
            raise LeftOut(f"it reads elements of {o.operands[0].kind} and {v.kind}")
