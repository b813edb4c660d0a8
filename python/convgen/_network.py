"""Whole networks: opened from a network file or an ONNX model, run on NumPy arrays.

Any thread may call a network; each call has a workspace of its own, kept for the next one.
"""
from __future__ import annotations

import os
import tempfile
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _arrays, _library
from ._plan import MOST_THREADS, effort_of
from ._problem import ACCURACIES, whole

_DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 64: np.dtype(np.int64)}
_ALIGNMENT = 64
_KEPT = 64  # workspaces that nobody uses


class Port(NamedTuple):
    """An input or an output of a network."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


def _port(raw: _library.RawPort) -> Port:
    return Port(raw.name.decode(errors="replace"), tuple(raw.dims[: raw.rank]), _DTYPES[raw.type])


def _accuracy(name: Any) -> int:
    if name not in ACCURACIES:
        raise ValueError(f"accuracy is {name!r}; {', '.join(map(repr, ACCURACIES))} are allowed")
    return ACCURACIES.index(name)


def _sizes(size: Any) -> Optional[list[int]]:
    """"640x640", or the numbers."""
    if size is None:
        return None
    words = size.split("x") if isinstance(size, str) else [str(n) for n in ([size] if isinstance(size, int) else size)]
    if not words or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise ValueError(f"size is {size!r}; a text such as '640x640' or its numbers are needed")
    return [int(word) for word in words]


def _written(model: str, folder: str, size: Any, dims: Optional[Mapping[str, int]]) -> str:
    """The network file of an ONNX model; what of it cannot be known or run is refused here, not left out."""
    try:
        from . import onnx as reader
    except ImportError as error:
        raise ImportError(f"an ONNX model is read with the package onnx (Debian: python3-onnx), which cannot be imported: {error}") from error
    try:
        net = reader.read(model, 0, _sizes(size), {str(key): whole(f"dims[{key!r}]", n, 1) for key, n in (dims or {}).items()})
        base = os.path.join(folder, "network")
        said = reader.write(net, base, model)
    except reader.Refused as refused:
        raise ValueError(str(refused)) from None
    if said:
        raise ValueError("\n".join(said))
    return base + ".net"


class Network:
    """net = convgen.Network("net.net" or "model.onnx"); y = net(x), or net.run({"x": x}).

    size and dims give an ONNX model's free dimensions, as `python3 -m convgen.onnx --size` and `--dim` do: size="640x640", dims={"0": 1,
    "frames": 16}. accuracy is that of every convolution, threads how many share the work of a run. What is remembered of a convolution is
    taken, else, with $CONVGEN_EFFORT unset, the best estimate; `convgen tune net.net` tunes them all. inputs and outputs: their names, shapes
    and dtypes, in the order of calls.
    """

    def __init__(self, path: Union[str, os.PathLike], size: Any = None, dims: Optional[Mapping[str, int]] = None, accuracy: str = "loop",
                 threads: int = 1):
        self._handle = 0
        self._idle: list[np.ndarray] = []
        path, tier = os.fspath(path), _accuracy(accuracy)
        threads = whole("threads", threads, 1, MOST_THREADS)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path} is not there; a network file (.net) or an ONNX model (.onnx) is needed")
        if path.endswith(".onnx"):
            with tempfile.TemporaryDirectory(prefix="convgen-") as folder:
                self._open(_written(path, folder, size, dims), tier, threads)
        elif size is not None or dims is not None:
            raise ValueError("size and dims are for ONNX models: a network file has the sizes that it has")
        else:
            self._open(path, tier, threads)

    def _open(self, path: str, tier: int, threads: int) -> None:
        context = _library.open_context(threads)
        try:
            self._handle = _library.open_network(context, os.fsencode(path), effort_of(None), tier)
        finally:
            _library.close(context)  # the network keeps it alive
        self.inputs = tuple(_port(raw) for raw in _library.network_ports(self._handle, False))
        self.outputs = tuple(_port(raw) for raw in _library.network_ports(self._handle, True))
        self._workspace = _library.network_workspace(self._handle)

    def __del__(self, free=_library.free_network):
        if getattr(self, "_handle", 0):
            free(self._handle)

    def __call__(self, *arrays: Any) -> Union[np.ndarray, tuple[np.ndarray, ...]]:
        """The inputs in order; the output, or a tuple of all."""
        if len(arrays) != len(self.inputs):
            raise TypeError(f"{len(arrays)} arrays are given; {len(self.inputs)} are needed: {', '.join(p.name for p in self.inputs)}")
        results = self._run(arrays)
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """All inputs by name; all outputs by name."""
        names = [port.name for port in self.inputs]
        unknown = [name for name in inputs if name not in names]
        missing = [name for name in names if name not in inputs]
        if unknown or missing:
            raise ValueError(f"{(unknown + missing)[0]!r} is {'no input' if unknown else 'missing'}; the inputs are {', '.join(names)}")
        return dict(zip((port.name for port in self.outputs), self._run([inputs[name] for name in names])))

    def _run(self, arrays: Sequence[Any]) -> list[np.ndarray]:
        given = [self._checked(port, array) for port, array in zip(self.inputs, arrays)]
        results = [np.empty(port.shape, port.dtype) for port in self.outputs]
        workspace = self._take()
        at = workspace.ctypes.data
        _library.run_network(self._handle, [a.ctypes.data for a in given], [r.ctypes.data for r in results], at + -at % _ALIGNMENT)
        if len(self._idle) < _KEPT:
            self._idle.append(workspace)
        return results

    def _checked(self, port: Port, array: Any) -> np.ndarray:
        array = _arrays.plain(port.name, array)
        if array.dtype != port.dtype:
            raise TypeError(f"{port.name} has dtype {array.dtype}; {port.dtype} is needed")
        if array.shape != port.shape:
            raise ValueError(f"{port.name} has shape {array.shape}; {port.shape} is needed")
        return _arrays.readable(port.name, array)

    def _take(self) -> np.ndarray:
        """Memory for a run: at most so many as there are calls at once."""
        try:
            return self._idle.pop()
        except IndexError:
            return np.empty(self._workspace + _ALIGNMENT, np.uint8)

    def __repr__(self) -> str:
        def told(ports):
            return ", ".join(f"{p.name} {p.dtype} {'x'.join(map(str, p.shape)) or 'scalar'}" for p in ports)

        return f"Network({told(self.inputs)} -> {told(self.outputs)})"
