"""ONNX operations that a network does not have, and which are done where they have constants alone: shape arithmetic."""
import math

import numpy

from .calls import dims_of, given, integers
from .constants import MOST_FOLDED
from .elements import cast_to
from .errors import LeftOut
from .model import array_of, dense
from .network import constant
from .shapes import axis_of, need


def of_constants(f):
    """f(*arrays), of constants alone."""
    def rule(c, *operands):
        need(all(v is None or v.array is not None for v in operands), "it is done of constants alone")
        arrays = [None if v is None else v.array for v in operands]
        try:
            with numpy.errstate(all="ignore"):
                result = f(c, *arrays)
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as e:
            raise LeftOut(f"its constants do not fit: {e}")
        return [constant(a) for a in result] if isinstance(result, list) else constant(result)
    return rule


def plain(f):
    """As the first operand's type has it."""
    return of_constants(lambda c, *arrays: numpy.asarray(f(*arrays)).astype(arrays[0].dtype))


def truth(f):
    return of_constants(lambda c, *arrays: numpy.asarray(f(*arrays)).astype(bool))


def modulo(c, a, b):
    need(a.dtype.kind == "f" or b.all(), "a division by zero")
    return numpy.fmod(a, b) if c.a.fmod else numpy.mod(a, b)


# ---- sizes --------------------------------------------------------------------------------------------------------------------

def shape(c, x):
    dims = dims_of(x)
    first, last, _ = slice(c.a.start, c.a.end).indices(len(dims))
    return constant(numpy.array(dims[first:max(first, last)], "int64"))


def size(c, x):
    return constant(numpy.array(math.prod(dims_of(x)), "int64"))


def constant_of_shape(c, dims):
    dims = integers(dims, "its shape")
    need(all(n >= 0 for n in dims) and math.prod(dims) <= MOST_FOLDED, f"its shape {dims} is out of range")
    value = array_of(c.a.value, None) if c.a.value is not None else numpy.zeros(1, "float32")
    need(value is not None and value.size == 1, "its value is not one number")
    return constant(numpy.full(dims, value.reshape(-1)[0], value.dtype))


def range_(c, first, last, step):
    need(all(a.size == 1 for a in (first, last, step)) and step.all(), "its limits or step are not numbers")
    first, last, step = (a.reshape(-1)[0] for a in (first, last, step))
    count = max(math.ceil((float(last) - float(first)) / float(step)), 0)
    need(count <= MOST_FOLDED, f"it has {count} elements")
    return (first + numpy.arange(count) * step).astype(first.dtype)


# ---- constants ------------------------------------------------------------------------------------------------------------------

def constant_of(c):
    """A node that is one, in each of its spellings."""
    kinds = {"value_int": "int64", "value_ints": "int64", "value_float": "float32", "value_floats": "float32"}
    for name, dtype in kinds.items():
        if getattr(c.a, name) is not None:
            return constant(numpy.array(getattr(c.a, name), dtype))
    if c.a.value is not None or c.a.sparse_value is not None:
        a = array_of(c.a.value, c.folder) if c.a.value is not None else dense(c.a.sparse_value, c.folder)
        need(a is not None, "its elements are of a type that is not read")
        return constant(a)
    raise LeftOut("it is text" if c.a.value_string is not None or c.a.value_strings is not None else "it has no value")


def cast_like(c, x, other):
    need(other.dtype is not None, "it makes elements of a type that is not read")
    return cast_to(c, x, other.dtype)


def nonzero(c, x):
    return numpy.array(numpy.nonzero(x)).astype("int64")



def gather_nd(c, x, i):
    need(not c.a.batch_dims, "its batch_dims are not 0")
    return x[tuple(numpy.moveaxis(i, -1, 0))]


def scatter_nd(c, x, i, updates):
    need(given(c.a.reduction, "none") == "none", "it reduces")
    result = x.copy()
    result[tuple(numpy.moveaxis(i, -1, 0))] = updates
    return result


def cumsum(c, x, axis):
    need(not c.a.exclusive and not c.a.reverse, "it is exclusive or reversed")
    return numpy.cumsum(x, axis_of(int(axis.reshape(-1)[0]), x.ndim), dtype=x.dtype)


def product(c, x, axes=None):
    axes = given(c.a.axes, axes)
    along = None if axes is None else tuple(int(a) for a in axes)
    return numpy.prod(x, axis=along, keepdims=bool(given(c.a.keepdims, 1)), dtype=x.dtype)
