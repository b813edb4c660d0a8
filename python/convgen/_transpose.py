"""conv_transpose1d, conv_transpose2d, conv_transpose3d and their gradients: what a convolution does to its gradient, as an operation of its own.

    dst[n, i*stride + k*dilation - pad, c] += src[n, i, b] * w[k, c, b], then b[c] and the epilogue

Arrays and keywords are conv2d's, but that w is (kernel height, kernel width, channels out / groups, channels in), with layout="NCHW"
(channels in, channels out / groups, kernel height, kernel width): TensorFlow's and PyTorch's.

    padding            takes away from what the taps reach: (size - 1) * stride + (kernel - 1) * dilation + 1; "same": size * stride outputs
    output_padding     so many more behind it, below the larger of stride and dilation
"""
from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

from . import _arrays, _calls
from ._conv import Array, Whole
from ._problem import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, Names, Padding, assemble_transposed

_NAMES = Names()
_LAYOUTS = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


def _problem(direction, src, weights, dst, dtype, bias, rank, words, apart, epilogue=None, names=_NAMES, accumulate=False):
    stride, padding, output_padding, dilation, groups, layout, accuracy = words
    return assemble_transposed(direction, src, weights, dst, dtype, bias=bias, stride=stride, padding=padding, output_padding=output_padding,
                               dilation=dilation, groups=groups, layout=layout, epilogue=epilogue, accuracy=accuracy, rank=rank, names=names,
                               pitches=apart, accumulate=accumulate)


def _named(function: Callable[..., Any], name: str, sentence: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = sentence + " Shapes and keywords: help(convgen)."
    return function


def _forward_of(rank: int) -> Callable[..., Array]:
    name = f"conv_transpose{rank}d"

    def conv_transpose(x: Array, w: Array, b: Optional[Array] = None, *, stride: Whole = 1, padding: Padding = 0, output_padding: Whole = 0,
                       dilation: Whole = 1, groups: int = 1, layout: str = _LAYOUTS[rank], epilogue: Optional[str] = None,
                       residual: Optional[Array] = None, accuracy: str = "loop", threads: int = 1, out: Optional[Array] = None,
                       slope: Optional[Array] = None) -> Array:
        words, apart = (stride, padding, output_padding, dilation, groups, layout, accuracy), _calls.pitches(layout, x, out)
        key, call = _calls.find(name, x, w, b, None, (*words, epilogue, threads, apart))
        if call is None:
            dtype = _calls.common_dtype(x=x, w=w, **({} if b is None else {"b": b}))
            problem = _problem(FORWARD, x.shape, w.shape, None, dtype, b is not None, rank, words, apart, epilogue)
            if b is not None and b.shape != problem.shapes.bias:
                raise ValueError(f"b has shape {b.shape}; {problem.shapes.bias} is needed for w of shape {w.shape}")
            call = _calls.make(key, problem, threads)
        return _calls.forward(call, _NAMES, x, w, b, residual, out, slope)

    return _named(conv_transpose, name, "A transposed convolution of x.")


def _data_of(rank: int) -> Callable[..., Array]:
    name = f"conv_transpose{rank}d_backward_data"

    def backward_data(dy: Array, w: Array, x_shape: Sequence[int], *, stride: Whole = 1, padding: Padding = 0, output_padding: Whole = 0,
                      dilation: Whole = 1, groups: int = 1, layout: str = _LAYOUTS[rank], accuracy: str = "loop", threads: int = 1,
                      out: Optional[Array] = None, accumulate: bool = False) -> Array:
        words, apart = (stride, padding, output_padding, dilation, groups, layout, accuracy), _calls.pitches(layout, out, dy)
        x_shape = _calls.shape_of("x_shape", x_shape)
        key, call = _calls.find(name, dy, w, None, x_shape, (*words, threads, apart, accumulate))
        if call is None:
            dtype = _calls.common_dtype(dy=dy, w=w)
            call = _calls.make(key, _problem(BACKWARD_DATA, x_shape, w.shape, dy.shape, dtype, False, rank, words, apart,
                                             names=Names(src="x_shape"), accumulate=accumulate), threads)
        return _calls.backward_data(call, _NAMES, dy, w, out)

    return _named(backward_data, name, f"The gradient of conv_transpose{rank}d's x, of shape x_shape, from the gradient dy of its result.")


def _weights_of(rank: int) -> Callable[..., Any]:
    name = f"conv_transpose{rank}d_backward_weights"

    def backward_weights(dy: Array, x: Array, w_shape: Sequence[int], *, bias: bool = False, stride: Whole = 1, padding: Padding = 0,
                         output_padding: Whole = 0, dilation: Whole = 1, groups: int = 1, layout: str = _LAYOUTS[rank],
                         accuracy: str = "loop", threads: int = 1, out: Any = None, accumulate: bool = False) -> Any:
        words, apart = (stride, padding, output_padding, dilation, groups, layout, accuracy), _calls.pitches(layout, x, dy)
        w_shape = _calls.shape_of("w_shape", w_shape)
        key, call = _calls.find(f"{name}{bool(bias)}", dy, x, None, w_shape, (*words, threads, apart, accumulate))
        if call is None:
            dtype = _calls.common_dtype(dy=dy, x=x)
            call = _calls.make(key, _problem(BACKWARD_WEIGHTS, x.shape, w_shape, dy.shape, dtype, bool(bias), rank, words, apart,
                                             names=Names(weights="w_shape"), accumulate=accumulate), threads)
        wanted = [("dw", call.shapes.weights), ("db", call.shapes.bias)] if bias else [("dw", call.shapes.weights)]
        outs = _arrays.outputs(out, wanted, call.dtype, 0, call.problem.accumulate)
        _calls.backward_weights(call, _NAMES, dy, x, outs[0], outs[1] if bias else None)
        return (outs[0], outs[1]) if bias else outs[0]

    return _named(backward_weights, name, f"The gradient of conv_transpose{rank}d's w, of shape w_shape, from the gradient dy of its result; with "
                  "bias=True (dw, db).")


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_forward_of(rank) for rank in (1, 2, 3))
conv_transpose1d_backward_data, conv_transpose2d_backward_data, conv_transpose3d_backward_data = (_data_of(rank) for rank in (1, 2, 3))
conv_transpose1d_backward_weights, conv_transpose2d_backward_weights, conv_transpose3d_backward_weights = (
    _weights_of(rank) for rank in (1, 2, 3))
