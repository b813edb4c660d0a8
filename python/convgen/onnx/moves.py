"""ONNX operations that move elements, and products, as operations of a network."""
import math

import numpy

from .calls import array, axes_of, dims_of, either, finite, given, integers, number, reshaped
from .model import MOST
from .shapes import axis_of, broadcast, need

MOST_JOINED = 4096


def identity(c, x):
    return x


def gemm(c, a, b, z=None):
    words = {"trans_a": bool(c.a.transA), "trans_b": bool(c.a.transB), "alpha": finite(given(c.a.alpha, 1.0), "its alpha"),
             "beta": finite(given(c.a.beta, 1.0), "its beta")}
    return c.add("gemm", a, b, *([] if z is None else [z]), **words)


def matmul(c, a, b):
    return c.add("matmul", a, b)


# ---- sizes --------------------------------------------------------------------------------------------------------------------

def reshape(c, x, wanted):
    wanted, dims = integers(wanted, "its shape"), dims_of(x)
    if not c.a.allowzero:
        need(all(n or i < len(dims) for i, n in enumerate(wanted)), f"its shape {wanted} keeps a dimension that is not there")
        wanted = [n or dims[i] for i, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = math.prod(n for n in wanted if n != -1)
        need(rest and math.prod(dims) % rest == 0, f"its shape {wanted} does not fit {dims}")
        wanted = [math.prod(dims) // rest if n == -1 else n for n in wanted]
    need(all(0 <= n <= MOST for n in wanted), f"its shape {wanted} is out of range")
    return reshaped(c, x, wanted)


def flatten(c, x):
    dims, axis = dims_of(x), given(c.a.axis, 1)
    need(-len(dims) <= axis <= len(dims), f"it has no axis {axis}")
    axis += len(dims) if axis < 0 else 0
    return reshaped(c, x, (math.prod(dims[:axis]), math.prod(dims[axis:])))


def squeeze(c, x, axes=None):
    dims = dims_of(x)
    axes = either(c.a.axes, axes, "the list of its axes")
    gone = [i for i, n in enumerate(dims) if n == 1] if axes is None else axes_of(axes, len(dims))
    need(all(dims[i] == 1 for i in gone), f"its axes {gone} are not all of size 1 in {dims}")
    return reshaped(c, x, [n for i, n in enumerate(dims) if i not in gone])


def unsqueeze(c, x, axes=None):
    axes = either(c.a.axes, axes, "the list of its axes")
    need(axes is not None, "it has no axes")
    rest, rank = iter(dims_of(x)), len(x.dims) + len(axes)
    new = axes_of(axes, rank)
    return reshaped(c, x, [1 if i in new else next(rest) for i in range(rank)])


def transpose(c, x):
    rank = len(dims_of(x))
    order = list(range(rank))[::-1] if c.a.perm is None else list(c.a.perm)
    return x if order == list(range(rank)) else c.add("transpose", x, order=order)


def joined(c, x, axis, times):
    """A tensor so many times along an axis."""
    need(times <= MOST_JOINED or x.array is not None, f"it repeats a tensor {times} times: at most {MOST_JOINED} are allowed")
    return x if times == 1 else c.add("concat", *[x] * times, axis=axis)


def expand(c, x, wanted):
    return expanded(c, x, broadcast({}, dims_of(x), integers(wanted, "its shape")))


def expanded(c, x, dims):
    if x.array is not None and 0 < math.prod(dims) <= 2**26:
        return c.constant(numpy.broadcast_to(x.array, dims))
    x = reshaped(c, x, (1,) * (len(dims) - len(x.dims)) + tuple(x.dims))
    for axis, (n, size) in enumerate(zip(dims, x.dims)):
        x = joined(c, x, axis, n // size)
    return x


def tile(c, x, repeats):
    repeats = integers(repeats, "the list of its repeats")
    need(len(repeats) == len(dims_of(x)) and all(0 < n <= MOST for n in repeats), f"its repeats {repeats} do not fit")
    for axis, n in enumerate(repeats):
        x = joined(c, x, axis, n)
    return x


# ---- parts ----------------------------------------------------------------------------------------------------------------------

def concat(c, *operands):
    operands = [v for v in operands if v.array is None or v.array.size] or list(operands[:1])
    axis = axis_of(given(c.a.axis, 1), len(dims_of(operands[0])))
    return c.add("concat", *operands, axis=axis) if len(operands) > 1 else operands[0]


def part_sizes(c, x, axis, sizes):
    sizes, count = either(c.a.split, sizes, "the list of its sizes"), len(c.node.outputs)
    if sizes is not None:
        need(len(sizes) == count, f"it has {len(sizes)} sizes and {count} outputs")
        return list(sizes)
    count, each = given(c.a.num_outputs, count), -(-x.dims[axis] // max(count, 1))
    even = x.dims[axis] == each * count or c.a.num_outputs is not None
    need(count == len(c.node.outputs) and even, "its input cannot be split evenly")
    return [each] * (count - 1) + [x.dims[axis] - each * (count - 1)]


def split(c, x, sizes=None):
    axis = axis_of(given(c.a.axis, 0), len(dims_of(x)))
    return c.add("split", x, axis=axis, sizes=part_sizes(c, x, axis, sizes))


def bounds(first, last, step, size):
    """As Python's slices: counted from the end where negative, clamped."""
    need(step != 0, "a step of it is 0")
    first, last, step = slice(first, last, step).indices(size)
    return first, last, step


def slice_lists(c, operands):
    if c.version < 10:
        return c.a.starts, c.a.ends, c.a.axes, None
    lists = [None if v is None else integers(v, "a list of its places") for v in operands] + [None] * 4
    return lists[:4]


def slice_(c, x, *operands):
    rank = len(dims_of(x))
    starts, ends, axes, steps = slice_lists(c, operands)
    need(starts is not None and ends is not None, "it has no starts and ends")
    axes = axes_of(range(len(starts)) if axes is None else axes, rank)
    steps = steps or [1] * len(axes)
    need(len(starts) == len(ends) == len(axes) == len(steps), "its starts, ends, axes and steps are not as many each")
    places = [bounds(*place, x.dims[axis]) for *place, axis in zip(starts, ends, steps, axes)]
    kept = [(axis, *place) for axis, place in zip(axes, places) if place != (0, x.dims[axis], 1)]
    return sliced(c, x, kept)


def sliced(c, x, places):
    """places: (axis, from, to, step)."""
    if not places:
        return x
    axes, first, last, steps = (list(column) for column in zip(*places))
    return c.add("slice", x, axes=axes, **{"from": first, "to": last, "steps": steps})


def gather(c, x, indices):
    axis, i = axis_of(given(c.a.axis, 0), len(dims_of(x))), array(indices, "its list of indices")
    size = x.dims[axis]
    need(i.dtype.kind == "i" and ((-size <= i) & (i < size)).all(), "an index of it is out of range")
    i = numpy.where(i < 0, i + size, i).astype("int64")
    if i.ndim == 0 and x.array is None:  # one: a slice
        one = sliced(c, x, [(axis, int(i), int(i) + 1, 1)] if size > 1 else [])
        return reshaped(c, one, x.dims[:axis] + x.dims[axis + 1:])
    return c.add("gather", x, c.constant(i), axis=axis)


def pad_lists(c, x, pads, axes):
    """Leading and trailing pads of all axes."""
    rank = len(dims_of(x))
    pads = either(c.a.pads, pads, "the list of its pads")
    axes = list(range(rank)) if axes is None else axes_of(integers(axes, "the list of its axes"), rank)
    need(pads is not None and len(pads) == 2 * len(axes) and all(abs(n) <= MOST for n in pads), f"its pads {pads} do not fit")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    return before, after


def pad(c, x, pads=None, value=None, axes=None):
    before, after = pad_lists(c, x, pads, axes)
    mode, number_of = given(c.a.mode, "constant"), number(value, "its value") if value is not None else given(c.a.value, 0.0)
    need(mode in ("constant", "reflect", "edge"), f"its mode is {mode}: constant, reflect and edge are allowed")
    need(mode != "constant" or number_of == number_of, "its value is not a number")
    cut = [(i, max(-a, 0), n - max(-b, 0), 1) for i, (a, n, b) in enumerate(zip(before, x.dims, after)) if a < 0 or b < 0]
    need(all(first < last for _, first, last, _ in cut), "its pads leave nothing")
    x = sliced(c, x, cut)
    before, after = ([max(n, 0) for n in side] for side in (before, after))
    fits = all(max(a, b) < n for a, b, n in zip(before, after, x.dims) if a or b)
    need(mode != "reflect" or fits, "a reflected pad is as large as the tensor")
    return c.add("pad", x, before=before, after=after, mode=mode, value=number_of) if any(before + after) else x


def depth_to_space(c, x):
    mode = given(c.a.mode, "DCR").lower()
    need(mode in ("dcr", "crd"), f"its mode is {mode}")
    return c.add("depth_to_space", x, block=given(c.a.blocksize, 0), mode=mode)


def space_to_depth(c, x):
    b, dims = given(c.a.blocksize, 0), dims_of(x)
    need(len(dims) == 4 and b > 0 and dims[2] % b == 0 and dims[3] % b == 0, f"a block of {b} does not fit {dims}")
    n, channels, h, w = dims
    blocks = c.add("reshape", x, dims=(n, channels, h // b, b, w // b, b))
    return c.add("reshape", c.add("transpose", blocks, order=[0, 3, 5, 1, 2, 4]), dims=(n, channels * b * b, h // b, w // b))


def where(c, condition, a, b):
    """Of one truth for all; others are folded."""
    truth = array(condition, "its condition")
    dims = broadcast({}, truth.shape, dims_of(a), dims_of(b))
    if a.array is not None and b.array is not None and math.prod(dims) <= 2**26:
        return c.constant(numpy.where(truth, a.array, b.array))
    need(truth.size and (truth.all() or not truth.any()), "its condition is not the same everywhere")
    return expanded(c, a if truth.all() else b, dims)
