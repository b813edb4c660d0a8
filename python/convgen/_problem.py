"""Problems: what NumPy arrays and keywords mean, as one line of text that the command takes as well.

Nothing here touches an array's elements.
"""
from __future__ import annotations

import operator
from typing import Any, Iterable, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _library

FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS = "forward", "backward_data", "backward_weights"
PRELU = 4  # of convgen_activation
TRANSPOSED = 1  # of convgen_op
DIRECTIONS = (FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS)
ACCURACIES = ("loop", "proven", "2x", "8x")
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # by convgen_type
DTYPE_NEEDED = " or ".join(t.name for t in DTYPES) + " in the machine's byte order is needed"
_LAYOUTS = ({"nhwc", "channels_last", "nwc", "ndhwc"}, {"nchw", "channels_first", "ncw", "ncdhw"})
_LARGEST = 2**31 - 1  # of a stride, pad or dilation; sizes are checked by the library

Padding = Union[str, int, Sequence[Union[int, Sequence[int]]]]


class Shapes(NamedTuple):
    """The shapes of a problem's tensors."""

    src: tuple[int, ...]
    weights: tuple[int, ...]
    bias: tuple[int, ...]
    dst: tuple[int, ...]


class Problem:
    """One convolution: its pass, type, layout and sizes. Immutable; equal when the text is.

    `Problem("--dt=f64 --dir=BWD_D mb10ic3ih100oc10kh5ph2")` reads benchdnn's notation, which is what the convgen command takes;
    `convgen.problem(x, w, ...)` makes one of arrays. str() is the canonical text. `rank` is the number of spatial dimensions of the
    arrays; when it is not given, that is 3 for a problem that has depth, else 2.
    """

    __slots__ = ("text", "rank", "direction", "dtype", "layout", "has_bias", "residual", "slope", "src_stride", "dst_stride",
                 "accumulate", "shapes", "_raw")

    def __init__(self, text: str, rank: Optional[int] = None):
        self._fill(_library.parse(_want_text(text)), rank)

    @classmethod
    def _of(cls, raw: _library.RawProblem, rank: int) -> "Problem":
        self = cls.__new__(cls)
        self._fill(raw, rank)
        return self

    def _fill(self, raw: _library.RawProblem, rank: Optional[int]) -> None:
        text = _library.format_problem(raw)
        raw = _library.parse(text)  # nothing is left to be computed in this one
        flat = [raw.input[d] == raw.output[d] == raw.kernel[d] == raw.stride[d] == 1 and raw.pad[d] == 0 for d in range(3)]
        least = 1 if flat[0] and flat[1] else 2 if flat[0] else 3
        if rank is None:
            rank = max(least, 2)
        elif not isinstance(rank, int) or not least <= rank <= 3:
            raise ValueError(f"rank is {rank!r}; this problem has {least} to 3 spatial dimensions")
        put = super().__setattr__
        put("text", text), put("rank", rank), put("_raw", raw)
        put("direction", DIRECTIONS[raw.direction]), put("dtype", DTYPES[raw.type])
        put("layout", ("NHWC", "NCHW")[raw.layout])
        put("has_bias", bool(raw.bias)), put("residual", bool(raw.epilogue.residual))
        put("slope", raw.epilogue.activation == PRELU)
        put("src_stride", raw.src_pixel_stride), put("dst_stride", raw.dst_pixel_stride), put("accumulate", bool(raw.accumulate))
        put("shapes", _shapes(raw, rank))

    def with_fixed_weights(self) -> "Problem":
        """The same with weights that are packed once, so that packing is not in the time."""
        raw = _library.RawProblem.from_buffer_copy(self._raw)
        raw.weights = 1
        return Problem._of(raw, self.rank)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Problem cannot be changed; make another")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"convgen.Problem({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and (self.text, self.rank) == (other.text, other.rank)

    def __hash__(self) -> int:
        return hash((self.text, self.rank))

    def __reduce__(self):
        return Problem, (self.text, self.rank)


def _want_text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a problem's text is a str, not {type(text).__name__}")
    return text


def _shapes(raw: _library.RawProblem, rank: int) -> Shapes:
    def space(sizes):
        return tuple(sizes[3 - rank:])

    inner, outer = raw.in_channels // raw.groups, raw.out_channels  # a transposed convolution's weights are its dual's
    if raw.op == TRANSPOSED:
        inner, outer = raw.out_channels // raw.groups, raw.in_channels
    if raw.layout == 0:
        return Shapes((raw.batch, *space(raw.input), raw.in_channels), (*space(raw.kernel), inner, outer),
                      (raw.out_channels,), (raw.batch, *space(raw.output), raw.out_channels))
    return Shapes((raw.batch, raw.in_channels, *space(raw.input)), (outer, inner, *space(raw.kernel)),
                  (raw.out_channels,), (raw.batch, raw.out_channels, *space(raw.output)))


# ---- keywords -> numbers ----


def whole(name: str, value: Any, least: int, most: int = _LARGEST) -> int:
    """An integer from `least` to `most`; True and 2.0 are none."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; an integer is needed")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); an integer is needed") from None
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}; {least} to {most} is allowed")
    return number


def is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or isinstance(value, np.ndarray) and value.ndim > 0


def per_dimension(name: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """One number for all spatial dimensions, or a sequence of one each."""
    if is_sequence(value):
        if len(value) != rank:
            raise ValueError(f"{name} is {value!r}; an integer or {rank} of them are allowed")
        return tuple(whole(name, v, least) for v in value)
    return (whole(name, value, least),) * rank


def layout_of(layout: Any) -> int:
    """0: channels last, 1: channels first."""
    if isinstance(layout, str):
        for number, names in enumerate(_LAYOUTS):
            if layout.lower() in names:
                return number
    raise ValueError(f"layout is {layout!r}; 'NHWC' (channels last) or 'NCHW' (channels first) is allowed")


def accuracy_of(accuracy: Any) -> int:
    if accuracy not in ACCURACIES:
        raise ValueError(f"accuracy is {accuracy!r}; {', '.join(map(repr, ACCURACIES[:-1]))} or {ACCURACIES[-1]!r} is allowed")
    return ACCURACIES.index(accuracy)


def type_of(name: str, dtype: Any) -> int:
    """The place of a dtype in DTYPES."""
    try:
        return DTYPES.index(np.dtype(dtype))
    except (ValueError, TypeError):
        raise TypeError(f"{name} has dtype {dtype}; {DTYPE_NEEDED}") from None


def _pads(padding: Any, rank: int, sizes, kernel, stride, dilation) -> list[tuple[int, int]]:
    """(before, after) for each dimension."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    if isinstance(padding, str):
        if padding.lower() == "valid":
            return [(0, 0)] * rank
        if padding.lower() == "same":  # as TensorFlow and ONNX's SAME_UPPER: ceil(size / stride) outputs, the odd one after
            both = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(sizes, stride, reach)]
            return [(b // 2, b - b // 2) for b in both]
        raise ValueError(f"padding is {padding!r}; 'same', 'valid', an integer, or for each of the {rank} dimensions an integer or a "
                         "(before, after) pair is allowed")
    if not is_sequence(padding):
        return [(whole("padding", padding, -_LARGEST),) * 2] * rank
    if len(padding) != rank:
        hint = " (one pair is ((before, after),))" if rank == 1 else ""
        raise ValueError(f"padding is {padding!r}; for each of the {rank} dimensions an integer or a (before, after) pair is needed{hint}")
    return [_pair(p) for p in padding]


def _pair(pad: Any) -> tuple[int, int]:
    if is_sequence(pad):
        if len(pad) != 2:
            raise ValueError(f"padding has the entry {pad!r}; an integer or a (before, after) pair is needed")
        return whole("padding", pad[0], -_LARGEST), whole("padding", pad[1], -_LARGEST)
    return (whole("padding", pad, -_LARGEST),) * 2


def epilogue_of(text: Optional[str]) -> _library.Epilogue:
    """Of 'relu', 'leaky:0.1', 'residual+silu', 'silu+residual' ...: the command's notation, read by the library."""
    if text is None:
        return _library.Epilogue()
    allowed = "None or words as 'relu', 'leaky:0.1', 'silu', 'residual+relu'"
    if isinstance(text, str) and text and text.split() == [text]:
        try:
            return _library.parse(f"--dir=FWD_D --epilogue={text} mb1ic1ih1oc1kh1").epilogue
        except ValueError as e:
            allowed = str(e).rpartition("VALUE with ")[2]
    raise ValueError(f"epilogue is {text!r}; allowed is {allowed}")


# ---- arrays -> problem ----


def _dimensions(values: Iterable[int], fill: int) -> Any:
    values = tuple(values)
    return _library.DIMENSIONS(*(fill,) * (3 - len(values)), *values)


def _split(name: str, shape: tuple[int, ...], rank: int, first: int) -> tuple[int, int, tuple[int, ...]]:
    """(batch, channels, sizes) of activations."""
    if len(shape) != rank + 2:
        raise ValueError(f"{name} has shape {shape}; {rank + 2} dimensions are needed: {_axes(rank, first)}")
    if min(shape) < 1:
        raise ValueError(f"{name} has shape {shape}; every size must be at least 1, the batch too")
    _check_largest(name, shape)
    return (shape[0], shape[1], shape[2:]) if first else (shape[0], shape[-1], shape[1:-1])


def _check_largest(name: str, shape: tuple[int, ...]) -> None:
    if max(shape) > 2**48:  # far from what wraps around in the library's 64 bits; it checks products
        raise ValueError(f"{name} has shape {shape}; a size of at most {2**48} is allowed")


def _axes(rank: int, first: int) -> str:
    space = ("width", "height, width", "depth, height, width")[rank - 1]
    return f"(batch, channels, {space})" if first else f"(batch, {space}, channels)"


def _weights(name: str, shape: tuple[int, ...], rank: int, first: int, inner: str = "in",
             outer: str = "out") -> tuple[tuple[int, ...], int, int]:
    """(kernel, channels in of a group, channels out); of a transposed convolution channels out of a group, channels in."""
    if len(shape) != rank + 2:
        form = f"(channels {outer}, channels {inner}, kernel...)" if first else f"(kernel..., channels {inner}, channels {outer})"
        raise ValueError(f"{name} has shape {shape}; {rank + 2} dimensions are needed: {form}")
    if min(shape) < 1:
        raise ValueError(f"{name} has shape {shape}; every size must be at least 1")
    _check_largest(name, shape)
    return (shape[2:], shape[1], shape[0]) if first else (shape[:-2], shape[-2], shape[-1])


class Names(NamedTuple):
    """What the caller calls the tensors: for sentences."""

    src: str = "x"
    weights: str = "w"
    bias: str = "b"
    dst: str = "dy"


def _rank_of(names: Names, src: tuple, rank: Optional[int], layout: Any) -> tuple[int, int]:
    """(spatial dimensions, the layout's number)."""
    rank, first = len(src) - 2 if rank is None else rank, layout_of(layout)
    if not 1 <= rank <= 3:
        raise ValueError(f"{names.src} has shape {src}; 3 to 5 dimensions are needed: {_axes(2, first)} with 1 to 3 sizes between")
    return rank, first


def assemble(direction: str, src: tuple, weights: tuple, dst: Optional[tuple], dtype: Any, *, bias: bool, stride: Any, padding: Any,
             dilation: Any, groups: Any, layout: Any, epilogue: Any = None, accuracy: Any = "loop", fixed: bool = False,
             rank: Optional[int] = None, names: Names = Names(), pitches: tuple[int, int] = (0, 0), accumulate: Any = False) -> Problem:
    """The problem of these shapes; `dst`, where it is given, is checked against what follows from the rest."""
    rank, first = _rank_of(names, src, rank, layout)
    batch, channels, sizes = _split(names.src, src, rank, first)
    kernel, inner, out_channels = _weights(names.weights, weights, rank, first)
    groups = whole("groups", groups, 1)
    if channels != inner * groups:
        raise ValueError(f"{names.src} has shape {src}, that is {channels} channels; {names.weights} of shape {weights} with groups={groups} needs "
                         f"{inner * groups}")
    if out_channels % groups:
        raise ValueError(f"groups is {groups}; it must divide the {out_channels} channels out of {names.weights}, shape {weights}")
    stride, dilation = per_dimension("stride", stride, rank), per_dimension("dilation", dilation, rank)
    pads = _pads(padding, rank, sizes, kernel, stride, dilation)
    out = _outputs(names, src, weights, sizes, kernel, stride, dilation, pads)
    expected = (batch, out_channels, *out) if first else (batch, *out, out_channels)
    if dst is not None and dst != expected:
        raise ValueError(f"{names.dst} has shape {dst}; {expected} follows from {names.src} of shape {src}, {names.weights} of shape {weights}, "
                         f"stride {stride}, padding {tuple(pads)} and dilation {dilation}")
    raw = _library.RawProblem(
        direction=DIRECTIONS.index(direction), type=type_of(names.src, dtype), layout=first, accuracy=accuracy_of(accuracy),
        weights=int(fixed), batch=batch, groups=groups, in_channels=channels, out_channels=out_channels,
        input=_dimensions(sizes, 1), output=_dimensions(out, 1), kernel=_dimensions(kernel, 1), stride=_dimensions(stride, 1),
        dilation=_dimensions(dilation, 1), pad=_dimensions([p[0] for p in pads], 0), bias=bias, epilogue=epilogue_of(epilogue),
        src_pixel_stride=pitches[0], dst_pixel_stride=pitches[1], accumulate=_flag("accumulate", accumulate))
    return Problem._of(raw, rank)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; True or False is needed")
    return value


def _outputs(names, src, weights, sizes, kernel, stride, dilation, pads) -> tuple[int, ...]:
    out = tuple((n + before + after - (k - 1) * d - 1) // s + 1
                for n, k, s, d, (before, after) in zip(sizes, kernel, stride, dilation, pads))
    if min(out) < 1:
        raise ValueError(f"{names.weights} of shape {weights} with dilation {dilation} does not fit into {names.src} of shape {src} with padding "
                         f"{tuple(pads)}")
    return out


# ---- transposed convolutions ----


def assemble_transposed(direction: str, src: tuple, weights: tuple, dst: Optional[tuple], dtype: Any, *, bias: bool, stride: Any,
                        padding: Any, output_padding: Any, dilation: Any, groups: Any, layout: Any, epilogue: Any = None,
                        accuracy: Any = "loop", rank: Optional[int] = None, names: Names = Names(), pitches: tuple[int, int] = (0, 0),
                        accumulate: Any = False) -> Problem:
    """As assemble: the problem of a transposed convolution of these shapes."""
    rank, first = _rank_of(names, src, rank, layout)
    batch, channels, sizes = _split(names.src, src, rank, first)
    kernel, inner, in_channels = _weights(names.weights, weights, rank, first, "out", "in")
    groups = whole("groups", groups, 1)
    if channels != in_channels:
        raise ValueError(f"{names.src} has shape {src}, that is {channels} channels; {names.weights} of shape {weights} needs {in_channels}")
    if in_channels % groups:
        raise ValueError(f"groups is {groups}; it must divide the {in_channels} channels in of {names.weights}, shape {weights}")
    stride, dilation = per_dimension("stride", stride, rank), per_dimension("dilation", dilation, rank)
    pads, out = _written(names, src, weights, padding, output_padding, sizes, kernel, stride, dilation)
    out_channels = inner * groups
    expected = (batch, out_channels, *out) if first else (batch, *out, out_channels)
    if dst is not None and dst != expected:
        raise ValueError(f"{names.dst} has shape {dst}; {expected} follows from {names.src} of shape {src}, {names.weights} of shape {weights}, "
                         f"stride {stride}, padding {tuple(pads)}, output_padding {output_padding} and dilation {dilation}")
    raw = _library.RawProblem(
        op=TRANSPOSED, direction=DIRECTIONS.index(direction), type=type_of(names.src, dtype), layout=first, accuracy=accuracy_of(accuracy),
        batch=batch, groups=groups, in_channels=channels, out_channels=out_channels,
        input=_dimensions(sizes, 1), output=_dimensions(out, 1), kernel=_dimensions(kernel, 1), stride=_dimensions(stride, 1),
        dilation=_dimensions(dilation, 1), pad=_dimensions([p[0] for p in pads], 0), bias=bias, epilogue=epilogue_of(epilogue),
        src_pixel_stride=pitches[0], dst_pixel_stride=pitches[1], accumulate=_flag("accumulate", accumulate))
    return Problem._of(raw, rank)


def _written(names, src, weights, padding, output_padding, sizes, kernel, stride, dilation) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """(pads, outputs): what the taps reach without the pads, and the output padding behind it; "same": size * stride."""
    rank = len(sizes)
    more = per_dimension("output_padding", output_padding, rank, 0)
    for m, s, d in zip(more, stride, dilation):
        if m >= max(s, d):
            raise ValueError(f"output_padding is {output_padding!r}; below the larger of stride {stride} and dilation {dilation} is allowed")
    reached = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(sizes, kernel, stride, dilation)]
    if isinstance(padding, str) and padding.lower() == "same":
        if any(more):
            raise ValueError(f"output_padding is {output_padding!r}; with padding='same' only 0 is allowed: there are size * stride outputs")
        over = [r - n * s for r, n, s in zip(reached, sizes, stride)]
        pads = [(max(o, 0) // 2, o - max(o, 0) // 2) for o in over]
    else:
        pads = _pads(padding, rank, sizes, kernel, stride, dilation)
    out = tuple(r - before - after + m for r, (before, after), m in zip(reached, pads, more))
    if min(out) < 1:
        raise ValueError(f"padding {tuple(pads)} leaves nothing of what {names.weights} of shape {weights} makes of {names.src} of shape {src}")
    return pads, out
