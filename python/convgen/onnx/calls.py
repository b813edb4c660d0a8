"""What the translation of a node has at hand: its attributes, its opset, and the network that it adds operations to."""
import math

import numpy

from .model import MOST, type_name
from .model import DTYPES
from .network import constant
from .shapes import axis_of, need


class Call:
    def __init__(self, net, node, version, attributes, folder):
        self.net, self.node, self.version, self.a, self.folder = net, node, version, attributes, folder
        self.lost = None  # set where shapes are known and nothing more

    def add(self, op, *operands, **words):
        return self.net.add(op, operands, self.node, lost=self.lost, **words)

    def constant(self, array):
        return constant(array)

    def wants(self, place):
        """Whether an output beside the first is asked for."""
        return len(self.node.outputs) > place and bool(self.node.outputs[place])


def given(value, absent):
    return absent if value is None else value


def array(v, what):
    need(v is not None and v.array is not None, f"{what} is {'missing' if v is None else 'not constant'}")
    return v.array


def integers(v, what):
    """A constant list, of an operand."""
    a = array(v, what)
    need(a.ndim <= 1 and a.dtype.kind in "iu" and a.size <= 1000000, f"{what} is no list of whole numbers")
    return [int(n) for n in a.reshape(-1)]


def either(attribute, operand, what):
    """A list that is an attribute in old opsets and an operand in new ones; None: neither."""
    return integers(operand, what) if operand is not None else attribute


def numbers(v, what):
    """A constant list of numbers, of an operand."""
    a = array(v, what)
    need(a.ndim == 1 and a.dtype.kind == "f" and a.size <= 100, f"{what} are no list of numbers")
    return a.tolist()


def number(v, what):
    a = array(v, what)
    need(a.size == 1 and a.dtype.kind in "fiub", f"{what} is not one number")
    return float(a.reshape(-1)[0])


def like(v, value):
    """A number of a tensor's type."""
    return constant(numpy.array(value, v.dtype))


def finite(value, what):
    need(math.isfinite(value) and abs(value) < 1e300, f"{what} is {value}: a finite number is allowed")
    return value


def dtype_of(number):
    need(number in DTYPES, f"it makes elements of {type_name(number)}")
    return DTYPES[number]


def dims_of(v):
    need(v.dims is not None, "the shape of what it reads is not known")
    return v.dims


def list_of(values, count, absent, what, least=0):
    """A list with one number for each place, within bounds."""
    values = [absent] * count if values is None or not len(values) else list(values)
    need(len(values) == count and all(least <= n <= MOST for n in values),
         f"{what} is {values}: {count} numbers of {least} to {MOST} are allowed")
    return values


def axes_of(axes, rank):
    axes = [axis_of(axis, rank) for axis in axes]
    need(len(set(axes)) == len(axes), f"an axis is there twice: {axes}")
    return axes


def reshaped(c, x, dims):
    return x if tuple(x.dims) == tuple(dims) else c.add("reshape", x, dims=tuple(dims))
