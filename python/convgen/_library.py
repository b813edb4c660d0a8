"""libconvgen.so through ctypes: finding it, its structures, its functions, its errors.

The only module that sees ctypes. ctypes.CDLL releases the GIL for as long as a call runs. What is declared here mirrors
runtime/convgen.h field by field; tests/python/test_library.py holds it to that.
"""
from __future__ import annotations

import ctypes
import os
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p
from typing import Callable, Optional

NAME = "libconvgen.so.0"
DIMENSIONS = c_int64 * 3
Progress = CFUNCTYPE(c_bool, c_void_p, c_double, c_char_p)
Tensors = c_void_p * 8  # convgen_tensors: src, weights, bias, dst, residual, packed, workspace, slope


class Error(RuntimeError):
    """convgen could not do what was asked for, for a reason that is not in the arguments: the machine, the store, the compiler."""


class Epilogue(Structure):
    _fields_ = [("residual", c_bool), ("residual_last", c_bool), ("activation", c_int), ("lo", c_double), ("hi", c_double)]


class RawProblem(Structure):
    """convgen_problem."""

    _fields_ = [
        ("direction", c_int), ("type", c_int), ("layout", c_int), ("accuracy", c_int), ("weights", c_int),
        ("batch", c_int64), ("groups", c_int64), ("in_channels", c_int64), ("out_channels", c_int64),
        ("input", DIMENSIONS), ("output", DIMENSIONS), ("kernel", DIMENSIONS), ("stride", DIMENSIONS), ("dilation", DIMENSIONS),
        ("pad", DIMENSIONS), ("bias", c_bool), ("epilogue", Epilogue), ("src_pixel_stride", c_int64),
        ("dst_pixel_stride", c_int64), ("accumulate", c_bool), ("op", c_int),
    ]


class Options(Structure):
    _fields_ = [("struct_size", c_size_t), ("threads", c_int), ("target", c_char_p), ("store", c_char_p),
                ("parallel_for", c_void_p), ("progress", Progress), ("user", c_void_p)]


class Info(Structure):
    _fields_ = [("problem", c_char_p), ("family", c_char_p), ("schedule", c_char_p), ("form", c_char_p), ("compiler", c_char_p),
                ("target", c_char_p), ("threads", c_int), ("ns_min", c_double), ("ns_median", c_double),
                ("error_normwise", c_double), ("error_vs_loop", c_double), ("error_vs_bound", c_double), ("recalled", c_bool),
                ("candidates", c_int), ("refused", c_int), ("seconds", c_double), ("warning", c_char_p),
                ("complete", c_bool)]


class RawFigures(Structure):
    _fields_ = [("ulp_max", c_double), ("ulp_mean", c_double), ("normwise", c_double), ("of_bound", c_double)]


class RawErrors(Structure):
    _fields_ = [("struct_size", c_size_t), ("outputs", c_int64), ("terms", c_int64), ("plan", RawFigures), ("loop", RawFigures), ("course", RawFigures),
                ("has_bias_gradient", c_bool), ("bias_outputs", c_int64), ("bias_terms", c_int64), ("bias_plan", RawFigures),
                ("bias_loop", RawFigures), ("bias_course", RawFigures), ("budget", c_double), ("vs_loop", c_double * 5)]


class NetworkOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("effort", c_int), ("seconds", c_double), ("accuracy", c_int)]


class RawPort(Structure):
    """convgen_port."""

    _fields_ = [("name", c_char_p), ("type", c_int), ("rank", c_int), ("dims", c_int64 * 8)]


def candidates() -> list[str]:
    """Where the library is looked for, in order: $CONVGEN_LIBRARY (alone, when it is set), beside the package as it is installed
    (lib/python3/dist-packages/convgen -> lib), the build folder of the source tree, and what the system's loader finds."""
    chosen = os.environ.get("CONVGEN_LIBRARY")
    if chosen:
        return [chosen]
    here = os.path.dirname(os.path.abspath(__file__))
    lib = os.path.join(here, "..", "..", "..")
    triplet = getattr(sys.implementation, "_multiarch", "")
    folders = [here, lib, os.path.join(lib, triplet), os.path.join(lib, "..", "lib64"), os.path.join(here, "..", "..", "build")]
    near = (os.path.normpath(os.path.join(folder, NAME)) for folder in folders)
    return [path for path in near if os.path.exists(path)] + [NAME]


def _load() -> ctypes.CDLL:
    tried = []
    for path in candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path} ({error})")
    raise ImportError("convgen: the library was not found or cannot be loaded; set CONVGEN_LIBRARY to the path of libconvgen.so, "
                      f"or build it with `make`. Tried: {'; '.join(tried)}")


_PROTOTYPES = {
    "convgen_problem_parse": (c_int, c_char_p, POINTER(RawProblem)),
    "convgen_problem_format": (c_int, POINTER(RawProblem), c_char_p, c_size_t),
    "convgen_open": (c_int, POINTER(Options), POINTER(c_void_p)),
    "convgen_close": (None, c_void_p),
    "convgen_plan_create": (c_int, c_void_p, POINTER(RawProblem), c_int, c_double, POINTER(c_void_p)),
    "convgen_plan_free": (None, c_void_p),
    "convgen_plan_packed": (c_size_t, c_void_p),
    "convgen_pack": (c_int, c_void_p, c_void_p, c_void_p),
    "convgen_run": (c_int, c_void_p, c_void_p),
    "convgen_plan_info": (POINTER(Info), c_void_p),
    "convgen_plan_describe": (c_char_p, c_void_p),
    "convgen_certificate": (c_int, c_void_p, POINTER(RawErrors)),
    "convgen_network_open": (c_int, c_void_p, c_char_p, POINTER(NetworkOptions), POINTER(c_void_p)),
    "convgen_network_input": (POINTER(RawPort), c_void_p, c_int),
    "convgen_network_output": (POINTER(RawPort), c_void_p, c_int),
    "convgen_network_workspace": (c_size_t, c_void_p),
    "convgen_network_run": (c_int, c_void_p, POINTER(c_void_p), POINTER(c_void_p), c_void_p),
    "convgen_network_free": (None, c_void_p),
    "convgen_error": (c_char_p, c_void_p),
}
_library = _load()
for _name, (_result, *_arguments) in _PROTOTYPES.items():
    _function = getattr(_library, _name)
    _function.restype, _function.argtypes = _result, _arguments

run = _library.convgen_run  # (plan, tensors) -> status: 0 or what `check` raises
free_plan = _library.convgen_plan_free
free_network = _library.convgen_network_free
network_workspace = _library.convgen_network_workspace
close = _library.convgen_close
packed_size = _library.convgen_plan_packed
CANCELLED = 9  # CONVGEN_CANCELLED

# By status. Those that are not here are the machine's, the store's or the compiler's: Error.
_RAISED = {1: ValueError, 2: ValueError, 3: ValueError, 4: MemoryError, 5: LookupError}


def check(status: int) -> None:
    """Raises what a status other than 0 stands for, with the library's sentence."""
    if status:
        sentence = _library.convgen_error(None).decode(errors="replace")
        raise _RAISED.get(status, Error)(sentence or f"convgen failed with status {status}")


def parse(text: str) -> RawProblem:
    raw = RawProblem()
    if "\0" in text:
        raise ValueError("a problem's text has no NUL characters")
    check(_library.convgen_problem_parse(text.encode(), byref(raw)))
    return raw


def format_problem(raw: RawProblem) -> str:
    text = ctypes.create_string_buffer(512)
    check(_library.convgen_problem_format(byref(raw), text, len(text)))
    return text.value.decode()


def open_context(threads: int, progress: Optional[Callable] = None) -> int:
    """A context's handle. `progress` is a Progress (or None) that must live as long as plans are created in it."""
    options = Options(struct_size=ctypes.sizeof(Options), threads=threads)
    if progress is not None:
        options.progress = progress
    handle = c_void_p()
    check(_library.convgen_open(byref(options), byref(handle)))
    return handle.value


def create_plan(context: int, raw: RawProblem, effort: int, seconds: float) -> tuple[int, int]:
    """(status, handle) of convgen_plan_create."""
    handle = c_void_p()
    status = _library.convgen_plan_create(context, byref(raw), effort, seconds, byref(handle))
    return status, handle.value or 0


def pack(plan: int, weights: int, packed: int) -> None:
    check(_library.convgen_pack(plan, weights, packed))


def info(plan: int) -> Info:
    return _library.convgen_plan_info(plan).contents


def describe(plan: int) -> str:
    return _library.convgen_plan_describe(plan).decode(errors="replace")


def certificate(plan: int) -> RawErrors:
    errors = RawErrors(struct_size=ctypes.sizeof(RawErrors))  # a newer library may know more fields after these
    check(_library.convgen_certificate(plan, byref(errors)))
    return errors


def open_network(context: int, path: bytes, effort: int, accuracy: int) -> int:
    handle = c_void_p()
    options = NetworkOptions(struct_size=ctypes.sizeof(NetworkOptions), effort=effort, accuracy=accuracy)
    check(_library.convgen_network_open(context, path, byref(options), byref(handle)))
    return handle.value


def network_ports(network: int, outputs: bool) -> list[RawPort]:
    """Owned by the network."""
    at = _library.convgen_network_output if outputs else _library.convgen_network_input
    ports = []
    while at(network, len(ports)):
        ports.append(at(network, len(ports)).contents)
    return ports


def run_network(network: int, inputs: list[int], outputs: list[int], workspace: int) -> None:
    check(_library.convgen_network_run(network, (c_void_p * len(inputs))(*inputs), (c_void_p * len(outputs))(*outputs), workspace or None))
