"""Calls: arrays and keywords -> a kernel, worked out once.

A call with the shapes, dtypes and keywords of an earlier one needs a look-up, its output and the run. The first of its kind is
checked throughout: that is where the errors come from.
"""
from __future__ import annotations

import operator
from typing import Any, Optional

import numpy as np

from . import _plan
from ._arrays import checked, launch, output, pitch, plain, readable
from ._problem import DTYPE_NEEDED, DTYPES, Names, Problem, is_sequence, layout_of

KEPT = 4096
_kept: dict[tuple, "Call"] = {}
_plan.changed.append(_kept.clear)


class Call:
    """What calls of one kind run."""

    __slots__ = ("problem", "kernel", "handle", "shapes", "dtype")

    def __init__(self, problem: Problem, threads: Any):
        self.problem, self.kernel = problem, _plan.kernel_for(problem, threads)
        self.handle, self.shapes, self.dtype = self.kernel.handle, problem.shapes, problem.dtype


def word(value: Any) -> Any:
    """A keyword's value as part of a key: 1, 1.0 and True are equal to Python, but not all are allowed."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if is_sequence(value):
        return tuple(map(word, value))
    return kind, value


def find(name: str, one: Any, two: Any, three: Any, shape: Any, words: tuple) -> tuple[Optional[tuple], Optional[Call]]:
    """(key, call): the call is None for the first of its kind, the key for what no key can be made of."""
    try:
        key = (name, one.shape, two.shape, one.dtype, two.dtype, None if three is None else (three.shape, three.dtype),
               word(shape), *map(word, words))
        return key, _kept.get(key)
    except (AttributeError, TypeError, ValueError):
        return None, None


def make(key: Optional[tuple], problem: Problem, threads: Any) -> Call:
    call = Call(problem, threads)
    if key is not None:
        _plan.keep(_kept, key, call, KEPT)
    return call


def common_dtype(**arrays: Any) -> np.dtype:
    """The one dtype of these, each of which must be an array."""
    first = next(iter(arrays))
    for name, array in arrays.items():
        array = plain(name, array)
        if array.dtype not in DTYPES:
            raise TypeError(f"{name} of shape {array.shape} has dtype {array.dtype}; {DTYPE_NEEDED}")
        if array.dtype != arrays[first].dtype:
            raise TypeError(f"{name} has dtype {array.dtype} and {first} has {arrays[first].dtype}; all arrays of a call need the same one")
    return arrays[first].dtype


def shape_of(name: str, shape: Any) -> tuple[int, ...]:
    try:
        return tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"{name} is {shape!r}; a shape (a tuple of integers) is needed") from None


def pitches(layout: Any, src: Any, dst: Any) -> tuple[int, int]:
    """Elements from pixel to pixel of arrays that are slices of channels; 0 of others, which are copied where they must be."""
    found = pitch(src), pitch(dst)
    return found if found != (0, 0) and layout_of(layout) == 0 else (0, 0)


# ---- the three passes ----


def forward(call: Call, names: Names, x: Any, w: Any, b: Any, residual: Any = None, out: Any = None,
            slope: Any = None) -> np.ndarray:
    x, w = readable(names.src, x, call.problem.src_stride), readable(names.weights, w)
    if b is not None:
        b = readable(names.bias, b)
    if residual is not None or call.problem.residual:
        residual = _residual(call, residual)
    if slope is not None or call.problem.slope:
        slope = _slope(call, slope)
    dst = output("out", out, call.shapes.dst, call.dtype, call.problem.dst_stride)
    launch(call.handle, x, w, b, dst, residual, slope=slope)
    return dst


def _residual(call: Call, residual: Any) -> np.ndarray:
    if not call.problem.residual:
        raise ValueError("residual is given, but the epilogue does not add it; epilogue='residual' or 'residual+relu' does")
    return checked("residual", residual, call.shapes.dst, call.dtype, call.problem.dst_stride)


def _slope(call: Call, slope: Any) -> np.ndarray:
    if not call.problem.slope:
        raise ValueError("slope is given, but the epilogue has no prelu; epilogue='prelu' reads one for each channel")
    return checked("slope", slope, call.shapes.bias, call.dtype)


def backward_data(call: Call, names: Names, dy: Any, w: Any, out: Any = None) -> np.ndarray:
    dy, w = readable(names.dst, dy, call.problem.dst_stride), readable(names.weights, w)
    dx = output("out", out, call.shapes.src, call.dtype, call.problem.src_stride, call.problem.accumulate)
    launch(call.handle, dx, w, None, dy)
    return dx


def backward_weights(call: Call, names: Names, dy: Any, x: Any, dw: np.ndarray, db: Optional[np.ndarray]) -> None:
    launch(call.handle, readable(names.src, x, call.problem.src_stride), dw, db, readable(names.dst, dy, call.problem.dst_stride))
