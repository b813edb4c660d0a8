"""Arrays: checked, copied only when they must be, handed to the library.

The library wants tensors with aligned elements that are C-contiguous, or slices of the channels of such (channels last). Inputs
that are not are copied; outputs never.
"""
from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np

from . import _library

_READABLE = 0x101  # flags.num: C-contiguous and aligned
_Tensors, _run = _library.Tensors, _library.run
_ndarray, _empty = np.ndarray, np.empty


def plain(name: str, array: Any) -> np.ndarray:
    """The array itself; what only looks like one is refused."""
    if not isinstance(array, _ndarray):
        raise TypeError(f"{name} is {'missing' if array is None else 'a ' + type(array).__name__}; a NumPy array is needed")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored; fill it first ({name}.filled(0))")
    return array


def pitch(array: Any) -> int:
    """Of an array that is a slice of the channels of a C-contiguous one: elements from pixel to pixel. 0: it is none, or all of them."""
    if not isinstance(array, _ndarray) or array.flags.num & _READABLE == _READABLE or array.ndim < 3 or not array.flags.aligned:
        return 0
    found, pixels, element = 0, 1, array.itemsize
    for size, stride in zip(array.shape[-2::-1], array.strides[-2::-1]):
        found = found or (stride if size > 1 else 0)
        if size > 1 and stride != found * pixels:
            return 0
        pixels *= size
    beside = array.shape[-1] == 1 or array.strides[-1] == element
    return found // element if beside and found % element == 0 and found >= array.shape[-1] * element else 0


def _stands(array: np.ndarray, stride: int) -> bool:
    """Whether the library can take it, with so many elements from pixel to pixel, 0 for the channels."""
    return pitch(array) == stride if stride else array.flags.num & _READABLE == _READABLE


def _slice(shape: tuple[int, ...], dtype: np.dtype, stride: int) -> np.ndarray:
    return _empty((*shape[:-1], stride), dtype)[..., :shape[-1]] if stride else _empty(shape, dtype)


def readable(name: str, array: Any, stride: int = 0) -> np.ndarray:
    """The array, or a copy that the library can read."""
    if type(array) is not _ndarray:
        array = plain(name, array)
    if not stride:
        return array if array.flags.num & _READABLE == _READABLE else array.copy()
    if _stands(array, stride):
        return array
    copy = _slice(array.shape, array.dtype, stride)
    copy[...] = array
    return copy


def checked(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype, stride: int = 0) -> np.ndarray:
    array = plain(name, array)
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; {dtype} is needed")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
    return readable(name, array, stride)


def output(name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype, stride: int = 0, adds: bool = False) -> np.ndarray:
    """A new array, or `out` when it can take the result in place. adds: the result is added to it."""
    if out is None:
        if adds:
            raise ValueError(f"{name} is missing: accumulate adds to what it has")
        return _slice(shape, dtype, stride)
    plain(name, out)
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}; {dtype} is needed")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}; {shape} is needed")
    if not _stands(out, stride):
        what = f"a slice of channels with {stride} elements from pixel to pixel" if stride else "C-contiguous and aligned"
        raise ValueError(f"{name} of shape {out.shape} and strides {out.strides} is not {what}; results are written in place")
    if not out.flags.writeable:
        raise ValueError(f"{name} of shape {out.shape} is read-only")
    return out


def outputs(out: Any, wanted: Sequence[tuple[str, tuple[int, ...]]], dtype: np.dtype, stride: int = 0, adds: bool = False) -> list[np.ndarray]:
    """One array for each (name, shape); `out` is an array for one, a sequence for more. stride: of the only one."""
    if len(wanted) == 1:
        return [output("out", out, wanted[0][1], dtype, stride, adds)]
    if out is None:
        out = (None,) * len(wanted)
    if not isinstance(out, (tuple, list)) or len(out) != len(wanted):
        raise TypeError(f"out must be a tuple of {len(wanted)}: {', '.join(name for name, _ in wanted)}")
    return [output(f"out[{i}] ({name})", o, shape, dtype, 0, adds) for i, (o, (name, shape)) in enumerate(zip(out, wanted))]


def aligned_bytes(size: int, alignment: int = 64) -> np.ndarray:
    block = np.empty(size + alignment, np.uint8)
    start = -block.ctypes.data % alignment
    return block[start:start + size]


def launch(handle: int, src: Any, weights: Any, bias: Any, dst: Any, residual: Any = None, packed: Optional[np.ndarray] = None,
           slope: Any = None) -> None:
    """Runs a plan on arrays that were checked. They are alive until it returns: the caller holds them."""
    status = _run(handle, _Tensors(
        None if src is None else src.ctypes.data, None if weights is None else weights.ctypes.data,
        None if bias is None else bias.ctypes.data, None if dst is None else dst.ctypes.data,
        None if residual is None else residual.ctypes.data, None if packed is None else packed.ctypes.data,
        None, None if slope is None else slope.ctypes.data))
    if status:
        _library.check(status)
