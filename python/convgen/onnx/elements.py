"""ONNX operations element by element, norms, and what goes along axes, as operations of a network."""
import math

import numpy

from .calls import array, axes_of, dims_of, dtype_of, either, finite, given, like, number, reshaped
from .network import TYPES, constant
from .shapes import axis_of, broadcast, need

LARGEST = 3.4028234e38


def same(op):
    return lambda c, x: c.add(op, x)


def binary(op):
    """Before opset 7 the second operand's axes begin at one of the first's."""
    def rule(c, a, b):
        rank, axis = len(dims_of(a)), c.a.axis
        if c.version < 7 and c.a.broadcast and axis is not None:
            need(0 <= axis <= rank - len(dims_of(b)), f"it has no axis {axis}")
            b = reshaped(c, b, b.dims + (1,) * (rank - axis - len(b.dims)))
        return c.add(op, a, b)
    return rule


def variadic(op):
    return lambda c, *operands: c.add(op, *operands) if len(operands) > 1 else operands[0]


def mean(c, *operands):
    total = variadic("add")(c, *operands)
    return c.add("div", total, like(total, len(operands)))


def power(c, x, exponent):
    e = array(exponent, "its exponent")
    one = e.size > 0 and (e == e.flat[0]).all() and broadcast({}, dims_of(x), e.shape) == tuple(x.dims)
    need(one, "its exponent is not one number")
    return c.add("pow", x, exponent=finite(float(e.flat[0]), "its exponent"))


def reciprocal(c, x):
    return c.add("div", like(x, 1), x)


def softsign(c, x):
    return c.add("div", x, c.add("add", c.add("abs", x), like(x, 1)))


def mish(c, x):
    return c.add("mul", x, activate(c, c.add("softplus", x), "tanh"))


# ---- activations -----------------------------------------------------------------------------------------------------------

def activate(c, x, word, *numbers):
    for n in numbers if word != "clamp" else ():
        finite(n, f"a number of {word}")
    return c.add("activate", x, word=word, numbers=numbers)


def activation(word, *defaults):
    """defaults: (attribute, value) of each number."""
    return lambda c, x: activate(c, x, word, *(given(getattr(c.a, name), value) for name, value in defaults))


def clip(c, x, lo=None, hi=None):
    """Limits are operands, or attributes before opset 11."""
    if any(v is not None and v.array is None for v in (lo, hi)):
        x = x if lo is None else c.add("max", x, lo)
        return x if hi is None else c.add("min", x, hi)
    lo = number(lo, "its min") if lo is not None else given(c.a.min, -math.inf)
    hi = number(hi, "its max") if hi is not None else given(c.a.max, math.inf)
    lo, hi = (math.copysign(math.inf, n) if abs(n) > LARGEST and x.type == "f32" else n for n in (lo, hi))
    need(lo <= hi, f"its limits are {lo} and {hi}")
    if (lo, hi) == (-math.inf, math.inf):
        return x
    return activate(c, x, "relu") if (lo, hi) == (0, math.inf) else activate(c, x, "clamp", lo, hi)


def elu(c, x):
    return c.add("elu", x, alpha=finite(given(c.a.alpha, 1.0), "its alpha"))


def selu(c, x):
    alpha, gamma = given(c.a.alpha, 1.6732632423543772), given(c.a.gamma, 1.0507009873554805)
    return c.add("mul", c.add("elu", x, alpha=finite(alpha, "its alpha")), like(x, finite(gamma, "its gamma")))


def celu(c, x):
    alpha = finite(given(c.a.alpha, 1.0), "its alpha")
    need(alpha != 0, "its alpha is 0")
    return c.add("mul", c.add("elu", c.add("div", x, like(x, alpha)), alpha=1.0), like(x, alpha))


def gelu(c, x):
    if given(c.a.approximate, "none") == "none":
        return activate(c, x, "gelu")
    need(c.a.approximate == "tanh", f"its approximation {c.a.approximate} is not known")
    cubed = c.add("mul", c.add("pow", x, exponent=3.0), like(x, 0.044715))
    inner = c.add("mul", c.add("add", x, cubed), like(x, math.sqrt(2 / math.pi)))
    return c.add("mul", c.add("mul", x, like(x, 0.5)), c.add("add", activate(c, inner, "tanh"), like(x, 1)))


def prelu(c, x, slope):
    """Before opset 7 a list has a slope for each channel."""
    if c.version < 7 and len(dims_of(slope)) == 1 and len(dims_of(x)) > 2:
        slope = reshaped(c, slope, slope.dims + (1,) * (len(x.dims) - 2))
    return c.add("prelu", x, slope)


# ---- norms ------------------------------------------------------------------------------------------------------------------

def epsilon_of(c):
    e = given(c.a.epsilon, 1e-5)
    need(0 <= e < 1e30, f"its epsilon is {e}")
    return e


def batch_norm(c, x, *operands):
    trained = c.a.is_test if c.version < 7 else not c.a.training_mode
    need(trained and given(c.a.spatial, 1) == 1 and not c.wants(1), "its statistics are not constants of the model")
    return c.add("batchnorm", x, *operands, epsilon=epsilon_of(c))


def instance_norm(c, x, scale, bias):
    return c.add("instancenorm", x, scale, bias, epsilon=epsilon_of(c))


def layer_norm(c, x, scale, bias=None):
    axis = axis_of(given(c.a.axis, -1), len(dims_of(x)))
    y = c.add("layernorm", x, *([scale] if bias is None else [scale, bias]), axis=axis, epsilon=epsilon_of(c))
    if not c.wants(1) and not c.wants(2):
        return y
    along = {"axes": list(range(axis, len(x.dims))), "keep": True}
    mean = c.add("reduce_mean", x, **along)
    spread = c.add("reduce_mean", c.add("pow", c.add("sub", x, mean), exponent=2.0), **along)
    return [y, mean, reciprocal(c, c.add("sqrt", c.add("add", spread, like(x, epsilon_of(c)))))]


def group_norm(c, x, scale, bias):
    """Scale and bias have an element for each group up to opset 20, for each channel from 21 on."""
    groups, dims = given(c.a.num_groups, 0), dims_of(x)
    need(len(dims) >= 3 and groups > 0 and dims[1] % groups == 0, f"its {groups} groups do not fit {dims}")
    ones, zeros = (constant(numpy.full(groups, n, x.dtype)) for n in (1, 0))
    flat = c.add("reshape", x, dims=(dims[0], groups, math.prod(dims[1:]) // groups))
    normed = c.add("instancenorm", flat, ones, zeros, epsilon=epsilon_of(c))
    along = [per_channel(v, dims, c.version) for v in (scale, bias)]
    return c.add("add", c.add("mul", c.add("reshape", normed, dims=dims), along[0]), along[1])


def per_channel(v, dims, version):
    a = array(v, "its scale or bias").reshape(-1)
    a = a if version >= 21 else numpy.repeat(a, dims[1] // max(a.size, 1))
    need(a.size == dims[1], "its scale or bias does not fit")
    return constant(a.reshape((-1,) + (1,) * (len(dims) - 2)))


# ---- along axes ---------------------------------------------------------------------------------------------------------------

def softmax(op):
    def rule(c, x):
        rank = len(dims_of(x))
        axis = axis_of(given(c.a.axis, 1 if c.version < 13 else -1), rank)
        if c.version >= 13 or math.prod(x.dims[axis + 1:]) == 1:
            return c.add(op, x, axis=axis)
        flat = reshaped(c, x, (math.prod(x.dims[:axis]), math.prod(x.dims[axis:])))  # over all axes from this one on
        return reshaped(c, c.add(op, flat, axis=1), x.dims)
    return rule


def reduce_axes(c, x, axes):
    rank = len(dims_of(x))
    axes = either(c.a.axes, axes, "the list of its axes")
    if axes is None or not len(axes):
        return [] if given(c.a.noop_with_empty_axes, 0) else list(range(rank))
    return sorted(axes_of(axes, rank))


def reduced(op, before=None, after=None):
    """before, after: operations on the tensor and on the result."""
    def rule(c, x, axes=None):
        along = reduce_axes(c, x, axes)
        x = before(c, x) if before else x
        y = c.add(op, x, axes=along, keep=bool(given(c.a.keepdims, 1))) if along else x
        return after(c, y) if after else y
    return rule


def squared(c, x):
    return c.add("mul", x, x)


def arg(negated):
    def rule(c, x):
        need(not c.a.select_last_index, "it takes the last of several")
        axis = axis_of(given(c.a.axis, 0), len(dims_of(x)))
        x = c.add("neg", x) if negated else x
        return c.add("argmax", x, axes=[axis], keep=bool(given(c.a.keepdims, 1)), dtype="int64")
    return rule


def global_pool(op):
    def rule(c, x):
        need(len(dims_of(x)) >= 3, "it needs spatial dimensions")
        return c.add(op, x, axes=list(range(2, len(x.dims))), keep=True)
    return rule


# ---- types ---------------------------------------------------------------------------------------------------------------------

def cast_to(c, x, dtype):
    if dtype == x.dtype:
        return x
    need(x.array is not None or dtype in TYPES, f"it makes elements of {dtype.name}: f32, f64 and i64 are allowed")
    return c.add("cast", x, dtype=dtype)


def cast(c, x):
    return cast_to(c, x, dtype_of(given(c.a.to, 0)))


def dropout(c, x, ratio=None, training=None):
    need(not c.wants(1), "its mask is asked for")
    used = c.a.is_test if c.version < 7 else training is None or not number(training, "its training_mode")
    need(used or (ratio is not None and number(ratio, "its ratio") == 0), "it is in training mode")
    return x
