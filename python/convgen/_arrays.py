"""Arrays: checked, copied only when they must be, handed to the library.

The library wants C-contiguous tensors with aligned elements. Inputs that are not are copied; outputs never.
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


def readable(name: str, array: Any) -> np.ndarray:
    """The array, or a copy that the library can read."""
    if type(array) is not _ndarray:
        array = plain(name, array)
    return array if array.flags.num & _READABLE == _READABLE else array.copy()


def checked(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = plain(name, array)
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; {dtype} is needed")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; {shape} is needed")
    return readable(name, array)


def output(name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array, or `out` when it can take the result in place."""
    if out is None:
        return _empty(shape, dtype)
    plain(name, out)
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}; {dtype} is needed")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}; {shape} is needed")
    if out.flags.num & _READABLE != _READABLE:
        raise ValueError(f"{name} of shape {out.shape} and strides {out.strides} is not C-contiguous and aligned; results are written in place")
    if not out.flags.writeable:
        raise ValueError(f"{name} of shape {out.shape} is read-only")
    return out


def outputs(out: Any, wanted: Sequence[tuple[str, tuple[int, ...]]], dtype: np.dtype) -> list[np.ndarray]:
    """One array for each (name, shape); `out` is an array for one, a sequence for more."""
    if len(wanted) == 1:
        return [output("out", out, wanted[0][1], dtype)]
    if out is None:
        out = (None,) * len(wanted)
    if not isinstance(out, (tuple, list)) or len(out) != len(wanted):
        raise TypeError(f"out must be a tuple of {len(wanted)}: {', '.join(name for name, _ in wanted)}")
    return [output(f"out[{i}] ({name})", o, shape, dtype) for i, (o, (name, shape)) in enumerate(zip(out, wanted))]


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
