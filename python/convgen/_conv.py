"""conv1d, conv2d, conv3d and their gradients: cross-correlation, as in deep learning.

    dst[n, o, c] = b[c] + sum over k, i of src[n, o*stride + k*dilation - pad, i] * w[k, i, c]

Arrays are channels-last by default: x (batch, height, width, channels), w (kernel height, kernel width, channels in / groups,
channels out), b (channels out,). layout="NCHW" is channels-first: x (batch, channels, height, width), w (channels out, channels
in / groups, kernel height, kernel width). 1 and 3 dimensions likewise. float32 or float64, all alike.

    stride, dilation   an integer, or one for each dimension
    padding            "valid" (none), "same" (ceil(size / stride) outputs), an integer, or for each dimension an integer or a
                       (before, after) pair; negative ones crop
    groups             channels in and out fall into so many groups that do not mix; depthwise: as many as channels
    epilogue           after the bias: None, or an activation ("relu", "leaky:0.1", "silu"), "residual" alone or before or after one
                       ("residual+relu", "silu+residual"): `convgen tune --help` and the sentence that refuses others list them all
    slope              what "prelu" multiplies values below 0 by, one for each output channel
    accuracy           "loop" (about as good as a plain loop; may transform), "proven" (sums in a stated order: within the a-priori
                       bound, exact on small integers, the same bits on every machine), "2x", "8x": docs/numerics.md
    threads            of this call; unless a kernel was tuned for one number of threads, any number gives the same bits
    out                where the result goes: of the right shape and dtype, C-contiguous or a slice of channels
    accumulate         of a gradient: it is added to what `out` has, after all sums

Channels last, x, the result (dy) and a residual may each be a slice of the channels of a C-contiguous array, as wide[..., 16:48] is: it is
read and written in place, without a copy, and the other channels stay as they are.

The first call of a kind takes milliseconds to recall or estimate a kernel; convgen.tune finds the fastest. Wrong arguments
raise ValueError or TypeError with the shapes in the sentence.
"""
from __future__ import annotations

from typing import Any, Optional, Sequence, Union

import numpy as np

from . import _arrays, _calls
from ._problem import BACKWARD_DATA, BACKWARD_WEIGHTS, DIRECTIONS, FORWARD, Names, Padding, Problem, assemble, assemble_transposed

Whole = Union[int, Sequence[int]]
Array = np.ndarray
_NAMES = Names()


def _keywords(stride, padding, dilation, groups, layout, accuracy) -> dict[str, Any]:
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout, accuracy=accuracy)


def _forward(rank, x, w, b, stride, padding, dilation, groups, layout, epilogue, residual, accuracy, threads, out, slope):
    apart = _calls.pitches(layout, x, out)
    words = (stride, padding, dilation, groups, layout, accuracy, epilogue, threads, apart)
    key, call = _calls.find(_FORWARD[rank], x, w, b, None, words)
    if call is None:
        dtype = _calls.common_dtype(x=x, w=w, **({} if b is None else {"b": b}))
        problem = assemble(FORWARD, x.shape, w.shape, None, dtype, bias=b is not None, epilogue=epilogue, rank=rank,
                           pitches=apart, **_keywords(*words[:6]))
        if b is not None and b.shape != problem.shapes.bias:
            raise ValueError(f"b has shape {b.shape}; {problem.shapes.bias} is needed for w of shape {w.shape}")
        call = _calls.make(key, problem, threads)
    return _calls.forward(call, _NAMES, x, w, b, residual, out, slope)


def _backward_data(rank, dy, w, x_shape, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate):
    apart = _calls.pitches(layout, out, dy)
    words = (stride, padding, dilation, groups, layout, accuracy, threads, apart, accumulate)
    if type(x_shape) is not tuple:
        x_shape = _calls.shape_of("x_shape", x_shape)
    key, call = _calls.find(_DATA[rank], dy, w, None, x_shape, words)
    if call is None:
        dtype = _calls.common_dtype(dy=dy, w=w)
        x_shape = _calls.shape_of("x_shape", x_shape)
        problem = assemble(BACKWARD_DATA, x_shape, w.shape, dy.shape, dtype, bias=False, rank=rank, names=_SHAPE_NAMES,
                           pitches=apart, accumulate=accumulate, **_keywords(*words[:6]))
        call = _calls.make(key, problem, threads)
    return _calls.backward_data(call, _NAMES, dy, w, out)


def _backward_weights(rank, dy, x, w_shape, bias, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate):
    apart = _calls.pitches(layout, x, dy)
    words = (stride, padding, dilation, groups, layout, accuracy, threads, apart, accumulate)
    if type(w_shape) is not tuple:
        w_shape = _calls.shape_of("w_shape", w_shape)
    key, call = _calls.find(_WEIGHTS[rank, bool(bias)], dy, x, None, w_shape, words)
    if call is None:
        dtype = _calls.common_dtype(dy=dy, x=x)
        w_shape = _calls.shape_of("w_shape", w_shape)
        problem = assemble(BACKWARD_WEIGHTS, x.shape, w_shape, dy.shape, dtype, bias=bool(bias), rank=rank,
                           pitches=apart, accumulate=accumulate, names=Names(weights="w_shape"), **_keywords(*words[:6]))
        call = _calls.make(key, problem, threads)
    wanted = [("dw", call.shapes.weights), ("db", call.shapes.bias)] if bias else [("dw", call.shapes.weights)]
    outs = _arrays.outputs(out, wanted, call.dtype, 0, call.problem.accumulate)
    _calls.backward_weights(call, _NAMES, dy, x, outs[0], outs[1] if bias else None)
    return (outs[0], outs[1]) if bias else outs[0]


_SHAPE_NAMES = Names(src="x_shape")
_FORWARD = {rank: f"conv{rank}d" for rank in (1, 2, 3)}
_DATA = {rank: f"conv{rank}d_backward_data" for rank in (1, 2, 3)}
_WEIGHTS = {(rank, bias): f"conv{rank}d_backward_weights{bias}" for rank in (1, 2, 3) for bias in (False, True)}


def conv2d(x: Array, w: Array, b: Optional[Array] = None, *, stride: Whole = 1, padding: Padding = 0, dilation: Whole = 1,
           groups: int = 1, layout: str = "NHWC", epilogue: Optional[str] = None, residual: Optional[Array] = None,
           accuracy: str = "loop", threads: int = 1, out: Optional[Array] = None,
           slope: Optional[Array] = None) -> Array:
    """Convolves images. Shapes and keywords: help(convgen)."""
    return _forward(2, x, w, b, stride, padding, dilation, groups, layout, epilogue, residual, accuracy, threads, out, slope)


def conv2d_backward_data(dy: Array, w: Array, x_shape: Sequence[int], *, stride: Whole = 1, padding: Padding = 0,
                         dilation: Whole = 1, groups: int = 1, layout: str = "NHWC", accuracy: str = "loop", threads: int = 1,
                         out: Optional[Array] = None, accumulate: bool = False) -> Array:
    """The gradient of conv2d's x, of shape x_shape, from the gradient dy of its result; a transposed convolution of dy."""
    return _backward_data(2, dy, w, x_shape, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def conv2d_backward_weights(dy: Array, x: Array, w_shape: Sequence[int], *, bias: bool = False, stride: Whole = 1,
                            padding: Padding = 0, dilation: Whole = 1, groups: int = 1, layout: str = "NHWC",
                            accuracy: str = "loop", threads: int = 1, out: Any = None, accumulate: bool = False) -> Any:
    """The gradient of conv2d's w, of shape w_shape, from the gradient dy of its result; with bias=True (dw, db)."""
    return _backward_weights(2, dy, x, w_shape, bias, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def conv1d(x: Array, w: Array, b: Optional[Array] = None, *, stride: Whole = 1, padding: Padding = 0, dilation: Whole = 1,
           groups: int = 1, layout: str = "NWC", epilogue: Optional[str] = None, residual: Optional[Array] = None,
           accuracy: str = "loop", threads: int = 1, out: Optional[Array] = None,
           slope: Optional[Array] = None) -> Array:
    """Convolves signals: x (batch, width, channels), w (kernel width, channels in / groups, channels out). See help(convgen)."""
    return _forward(1, x, w, b, stride, padding, dilation, groups, layout, epilogue, residual, accuracy, threads, out, slope)


def conv1d_backward_data(dy: Array, w: Array, x_shape: Sequence[int], *, stride: Whole = 1, padding: Padding = 0,
                         dilation: Whole = 1, groups: int = 1, layout: str = "NWC", accuracy: str = "loop", threads: int = 1,
                         out: Optional[Array] = None, accumulate: bool = False) -> Array:
    """As conv2d_backward_data, of one dimension."""
    return _backward_data(1, dy, w, x_shape, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def conv1d_backward_weights(dy: Array, x: Array, w_shape: Sequence[int], *, bias: bool = False, stride: Whole = 1,
                            padding: Padding = 0, dilation: Whole = 1, groups: int = 1, layout: str = "NWC",
                            accuracy: str = "loop", threads: int = 1, out: Any = None, accumulate: bool = False) -> Any:
    """As conv2d_backward_weights, of one dimension."""
    return _backward_weights(1, dy, x, w_shape, bias, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def conv3d(x: Array, w: Array, b: Optional[Array] = None, *, stride: Whole = 1, padding: Padding = 0, dilation: Whole = 1,
           groups: int = 1, layout: str = "NDHWC", epilogue: Optional[str] = None, residual: Optional[Array] = None,
           accuracy: str = "loop", threads: int = 1, out: Optional[Array] = None,
           slope: Optional[Array] = None) -> Array:
    """Convolves volumes: x (batch, depth, height, width, channels), w likewise. See help(convgen)."""
    return _forward(3, x, w, b, stride, padding, dilation, groups, layout, epilogue, residual, accuracy, threads, out, slope)


def conv3d_backward_data(dy: Array, w: Array, x_shape: Sequence[int], *, stride: Whole = 1, padding: Padding = 0,
                         dilation: Whole = 1, groups: int = 1, layout: str = "NDHWC", accuracy: str = "loop", threads: int = 1,
                         out: Optional[Array] = None, accumulate: bool = False) -> Array:
    """As conv2d_backward_data, of three dimensions."""
    return _backward_data(3, dy, w, x_shape, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def conv3d_backward_weights(dy: Array, x: Array, w_shape: Sequence[int], *, bias: bool = False, stride: Whole = 1,
                            padding: Padding = 0, dilation: Whole = 1, groups: int = 1, layout: str = "NDHWC",
                            accuracy: str = "loop", threads: int = 1, out: Any = None, accumulate: bool = False) -> Any:
    """As conv2d_backward_weights, of three dimensions."""
    return _backward_weights(3, dy, x, w_shape, bias, stride, padding, dilation, groups, layout, accuracy, threads, out, accumulate)


def problem(x: Any, w: Any, b: Any = None, *, direction: str = FORWARD, dtype: Any = None, stride: Whole = 1, padding: Padding = 0,
            dilation: Whole = 1, groups: int = 1, layout: str = "NHWC", epilogue: Optional[str] = None,
            accuracy: str = "loop", transposed: bool = False, output_padding: Whole = 0, accumulate: bool = False) -> Problem:
    """The problem of a conv1d, conv2d or conv3d call (by x's dimensions) or of a gradient of it: for plan, tune and certificate.
    transposed: of conv_transpose1d, 2d or 3d, which have an output_padding.

    x and w are arrays, or shapes with a dtype. b is anything but None where there is a bias: read by "forward", computed by
    "backward_weights", nothing to "backward_data". An x that is a slice of channels is one of the problem too.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction is {direction!r}; {', '.join(map(repr, DIRECTIONS))} are allowed")
    shapes = [a.shape if isinstance(a, np.ndarray) else _calls.shape_of(name, a) for name, a in (("x", x), ("w", w))]
    arrays = {name: a for name, a in (("x", x), ("w", w)) if isinstance(a, np.ndarray)}
    if dtype is None:
        if not arrays:
            raise TypeError("x and w are shapes; dtype=numpy.float32 or numpy.float64 is needed with them")
        dtype = _calls.common_dtype(**arrays)
    keywords = dict(_keywords(stride, padding, dilation, groups, layout, accuracy), epilogue=epilogue, accumulate=accumulate,
                    bias=b is not None and direction != BACKWARD_DATA, pitches=_calls.pitches(layout, x, None))
    if transposed:
        return assemble_transposed(direction, shapes[0], shapes[1], None, dtype, output_padding=output_padding, **keywords)
    return assemble(direction, shapes[0], shapes[1], None, dtype, **keywords)
