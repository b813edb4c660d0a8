"""Convolutions, pools and resizing of ONNX as operations of a network. An axis of a convolution is
(letter, input size, output size, taps, stride, leading pad, dilation - 1)."""
import math

import numpy

from .calls import dims_of, given, integers, list_of, numbers
from .errors import LeftOut
from .model import MOST
from .network import Lost
from .shapes import need

LETTERS = {1: "w", 2: "hw", 3: "dhw"}
AUTO = (None, "", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def halves(total, auto):
    """Leading and trailing part of a pad."""
    small, large = total // 2, total - total // 2
    return (large, small) if auto == "SAME_LOWER" else (small, large)


class Window:
    """What nodes with a window have in common: lists with a number for each spatial axis."""

    def __init__(self, c, x, kernel):
        a, rank = c.a, len(dims_of(x)) - 2
        need(rank in LETTERS and len(kernel) == rank, f"it has {rank} spatial dimensions, 1 to 3 are allowed")
        need(a.auto_pad in AUTO, f"its auto_pad is {a.auto_pad}")
        self.rank, self.auto, self.sizes = rank, a.auto_pad or "NOTSET", x.dims[2:]
        self.kernel = list_of(kernel, rank, 1, "its kernel_shape", 1)
        self.strides = list_of(a.strides, rank, 1, "its strides", 1)
        self.dilations = list_of(getattr(a, "dilations", None), rank, 1, "its dilations", 1)
        self.pads = list_of(a.pads, 2 * rank, 0, "its pads")

    def reach(self, i):
        return (self.kernel[i] - 1) * self.dilations[i] + 1

    def sides(self, i):
        """Leading and trailing pad of an axis."""
        if self.auto.startswith("SAME"):
            size, s = self.sizes[i], self.strides[i]
            return halves(max(((size + s - 1) // s - 1) * s + self.reach(i) - size, 0), self.auto)
        return (0, 0) if self.auto == "VALID" else (self.pads[i], self.pads[self.rank + i])

    def room(self, i):
        return self.sizes[i] + sum(self.sides(i)) - self.reach(i)


# ---- convolutions ------------------------------------------------------------------------------------------------------------

def kernel_of(c, w):
    kernel = list(dims_of(w)[2:])
    need(not c.a.kernel_shape or list(c.a.kernel_shape) == kernel, "its attributes do not fit its tensors")
    return kernel


def weights_known(c, *operands):
    """A convolution whose weights are computed has a shape, and is in no file."""
    if any(v is not None and v.array is None for v in operands):
        c.lost = Lost(c.node.op, c.node.label, "its weights are not constant", [v for v in operands if v is not None])


def channels_of(c, x, groups, inside, made):
    need(1 <= groups <= MOST and x.dims[1] == inside and made % groups == 0, "its channels do not fit its groups")


def convolution(c, x, w, b=None):
    window, groups = Window(c, x, kernel_of(c, w)), given(c.a.group, 1)
    channels_of(c, x, groups, w.dims[1] * groups, w.dims[0])
    weights_known(c, w, b)
    axes = []
    for i, letter in enumerate(LETTERS[window.rank]):
        s, out = window.strides[i], window.room(i) // window.strides[i] + 1
        axes.append((letter, window.sizes[i], out, window.kernel[i], s, window.sides(i)[0], window.dilations[i] - 1))
    return c.add("conv", x, w, *([] if b is None else [b]), axes=axes, groups=groups, inputs=x.dims[1], channels=w.dims[0])


def transposed_axis(window, i, more, wanted):
    """Output size and leading pad, as ONNX Runtime has them: a total pad is never below 0."""
    s, size = window.strides[i], window.sizes[i]
    whole = s * (size - 1) + more + window.reach(i)
    if wanted is not None or window.auto.startswith("SAME"):
        total = max(whole - (wanted if wanted is not None else size * s), 0)
        first, _ = halves(total, "SAME_UPPER" if window.auto == "SAME_UPPER" else "SAME_LOWER")
        return wanted if wanted is not None else whole - total, first
    first, last = (0, 0) if window.auto == "VALID" else (window.pads[i], window.pads[window.rank + i])
    return whole - first - last, first


def transposed(c, x, w, b=None):
    window, groups = Window(c, x, kernel_of(c, w)), given(c.a.group, 1)
    channels_of(c, x, groups, w.dims[0], x.dims[1])
    weights_known(c, w, b)
    more = list_of(c.a.output_padding, window.rank, 0, "its output_padding")
    wanted = c.a.output_shape[-window.rank:] if c.a.output_shape else None  # some have batch and channels as well
    wanted = [None] * window.rank if wanted is None else list_of(wanted, window.rank, 0, "its output_shape", 1)
    axes = []
    for i, letter in enumerate(LETTERS[window.rank]):
        s, d, size = window.strides[i], window.dilations[i], window.sizes[i]
        out, first = transposed_axis(window, i, more[i], wanted[i])
        furthest = s * (size - 1) + window.reach(i) - first + max(s, d) - 1
        need(out <= furthest, "its output is beyond what its taps and an output padding reach")
        axes.append((letter, size, out, window.kernel[i], s, first, d - 1))
    return c.add("deconv", x, w, *([] if b is None else [b]), axes=axes, groups=groups, inputs=x.dims[1],
                 channels=w.dims[1] * groups)


def fused_convolution(c, x, w, b=None, z=None):
    """com.microsoft's: a convolution, a sum and an activation."""
    from .elements import activate

    y = convolution(c, x, w, b)
    y = y if z is None else c.add("add", y, z)
    word, numbers = c.a.activation, c.a.activation_params or []
    if not word:
        return y
    need(word in FUSED and len(numbers) in (0, FUSED[word][1]), f"its activation {word} with {len(numbers)} numbers is not known")
    return activate(c, y, FUSED[word][0], *(numbers or FUSED[word][2:]))


FUSED = {"Relu": ("relu", 0), "Sigmoid": ("sigmoid", 0), "Tanh": ("tanh", 0), "LeakyRelu": ("leaky", 1, 0.01),
         "Clip": ("clamp", 2, -math.inf, math.inf), "HardSigmoid": ("hardsigmoid", 2, 0.2, 0.5)}


# ---- pools ---------------------------------------------------------------------------------------------------------------------

def pooled(window, i, ceil):
    """Floor and what the last window may begin at: not in the trailing pad."""
    s, room = window.strides[i], window.room(i)
    out = (-(-room // s) if ceil else room // s) + 1
    return out - 1 if ceil and (out - 1) * s >= window.sizes[i] + window.sides(i)[0] else out


def pool(op):
    def rule(c, x):
        need(not c.wants(1), "its indices are asked for")
        window = Window(c, x, given(c.a.kernel_shape, []))
        sides = [window.sides(i) for i in range(window.rank)]
        need(all(window.room(i) >= 0 for i in range(window.rank)), "its window is larger than its input")
        sizes = [pooled(window, i, c.a.ceil_mode) for i in range(window.rank)]
        floor = [pooled(window, i, False) for i in range(window.rank)]
        words = {"counted": bool(c.a.count_include_pad)} if op == "avgpool" else {}
        return c.add(op, x, k=window.kernel, s=window.strides, p=[p for p, _ in sides], e=[e for _, e in sides], d=window.dilations,
                     o=sizes if sizes != floor else None, sizes=sizes, **words)
    return rule


# ---- resizing --------------------------------------------------------------------------------------------------------------------

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resized_size(size, factor):
    """As ONNX Runtime rounds it, in f32."""
    return int(math.floor(numpy.float32(size) * numpy.float32(factor)))


def checked_factors(factors, rank):
    need(len(factors) == rank and all(0 < f < 1e6 for f in factors),
         f"its scales are {factors}: {rank} numbers above 0 are allowed")
    return [float(numpy.float32(f)) for f in factors]


def spread(values, axes, absent):
    """A value for every axis of some."""
    if axes is None:
        return values
    need(len(axes) == len(values), "its axes do not fit its scales or sizes")
    result = list(absent)
    for axis, value in zip(axes, values):
        need(-len(absent) <= axis < len(absent), f"it has no axis {axis}")
        result[axis] = value
    return result


def resize_mode(c, coordinates, rounding):
    mode = given(c.a.mode, "nearest")
    need(mode in ("nearest", "linear", "bilinear", "trilinear"), f"its mode is {mode}: nearest and linear are allowed")
    need(coordinates in COORDINATES, f"its coordinates are {coordinates}: allowed are {', '.join(COORDINATES)}")
    need(rounding in ROUNDINGS, f"its rounding is {rounding}: allowed are {', '.join(ROUNDINGS)}")
    if mode == "nearest":
        return {"mode": mode, "coordinates": coordinates, "rounding": rounding}
    return {"mode": "linear", "coordinates": coordinates, "rounding": None}


def resize_to(c, x, factors, sizes, words):
    """factors: None where sizes are all that is known."""
    unchanged = [size == n and (factors is None or factors[i] == 1) for i, (size, n) in enumerate(zip(sizes, x.dims))]
    if all(unchanged):
        return x
    if len(x.dims) <= 3 and not (len(x.dims) == 3 and all(unchanged[:2])):  # no image: its axes become an image's
        image = c.add("reshape", x, dims=(1, 1) + tuple(x.dims))
        y = resize_to(c, image, factors and [1.0, 1.0] + factors, [1, 1] + list(sizes), words)
        return c.add("reshape", y, dims=y.dims[2:])
    if not all(unchanged[:2]):
        return resize_turned(c, x, (factors, sizes, words), unchanged)
    said = factors and [said_factor(*f) for f in zip(factors[2:], x.dims[2:], sizes[2:])]
    return c.add("resize", x, factors=said, sizes=list(sizes[2:]), **words)


def said_factor(factor, n, size):
    """The shortest number near a factor that makes the size when a network file's reader multiplies in f64 and rounds down."""
    for near in (float(str(numpy.float32(factor))), factor, float(numpy.nextafter(factor, math.inf)), factor * (1 + 2**-24)):
        if math.floor(n * near) == size:
            return near
    raise LeftOut(f"its factor {factor} makes {size} of {n}, which a network file cannot say")


def resize_turned(c, x, asked, unchanged):
    """Axes that keep their size go to the front."""
    factors, sizes, words = asked
    order = [i for i, u in enumerate(unchanged) if u] + [i for i, u in enumerate(unchanged) if not u]
    need(sum(unchanged) >= 2, "it resizes all axes but one")
    turned = c.add("transpose", x, order=order)
    y = resize_to(c, turned, factors and [factors[i] for i in order], [sizes[i] for i in order], words)
    return c.add("transpose", y, order=[order.index(i) for i in range(len(order))])


def coordinates_of(c, x, factors):
    """half_pixel_symmetric is half_pixel where a factor makes whole sizes."""
    given_coordinates = given(c.a.coordinate_transformation_mode, "half_pixel")
    whole = factors is None or all(float(n * f).is_integer() for n, f in zip(x.dims, factors))
    return "half_pixel" if given_coordinates == "half_pixel_symmetric" and whole else given_coordinates


def by_sizes(c, x, sizes, axes, words):
    """keep_aspect_ratio_policy: one factor for all axes, and sizes rounded to the nearest."""
    policy = given(c.a.keep_aspect_ratio_policy, "stretch")
    if policy == "stretch":
        return resize_to(c, x, None, sizes, words)
    need(policy in ("not_larger", "not_smaller"), f"its keep_aspect_ratio_policy is {policy}")
    among = range(len(x.dims)) if axes is None else [axis % len(x.dims) for axis in axes]
    factor = (min if policy == "not_larger" else max)(sizes[i] / x.dims[i] for i in among)
    factors = [factor if i in among else 1.0 for i in range(len(x.dims))]
    return resize_to(c, x, factors, [math.floor(n * f + 0.5) for n, f in zip(x.dims, factors)], words)


def resize(c, x, *operands):
    """Opset 10: (x, scales); later (x, roi, scales, sizes)."""
    rank, axes = len(dims_of(x)), c.a.axes
    need(not c.a.antialias and not c.a.exclude_outside, "antialias and exclude_outside are not done")
    if c.version < 11:
        words = resize_mode(c, "asymmetric", "floor")
        return by_factors(c, x, checked_factors(numbers(operands[0] if operands else None, "its scales"), rank), words)
    scales, sizes = (list(operands) + [None] * 3)[1:3]
    factors = numbers(scales, "its scales") if scales is not None and scales.dims != (0,) else None
    factors = factors and checked_factors(spread(factors, axes, [1.0] * rank), rank)
    words = resize_mode(c, coordinates_of(c, x, factors), given(c.a.nearest_mode, "round_prefer_floor"))
    if factors:
        return by_factors(c, x, factors, words)
    need(sizes is not None, "it has neither scales nor sizes")
    wanted = list_of(spread(integers(sizes, "the list of its sizes"), axes, x.dims), rank, 0, "the list of its sizes", 1)
    return by_sizes(c, x, wanted, axes, words)


def by_factors(c, x, factors, words):
    return resize_to(c, x, factors, [resized_size(n, f) for n, f in zip(x.dims, factors)], words)


def upsample(c, x, scales=None):
    """Scales are an attribute in opset 7 and 8."""
    factors = numbers(scales, "its scales") if scales is not None else given(c.a.scales, [])
    return by_factors(c, x, checked_factors(factors, len(dims_of(x))), resize_mode(c, "asymmetric", "floor"))
