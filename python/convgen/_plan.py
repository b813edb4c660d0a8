"""Kernels and plans: what is remembered, estimated or tuned for a problem, kept for the process.

Any thread may call. A forked child keeps the kernels, which then run serially, and opens contexts of its own.
"""
from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import Any, Callable, Iterable, NamedTuple, Optional, Union

import numpy as np

from . import _arrays, _library
from ._problem import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, Problem, whole

EFFORTS = {"recall": 0, "estimate": 1, "measure": 2, "exhaustive": 3}
KEPT = 1024  # kernels; the oldest leave
MOST_THREADS = 1024  # of one convolution, as the library has it
Report = Callable[[float, str], Optional[bool]]


class Kernel:
    """What the library made for a problem. Freed with the last reference, so never under a running call."""

    __slots__ = ("handle", "stopped", "__weakref__")

    def __init__(self, handle: int, stopped: bool):
        self.handle, self.stopped = handle, stopped

    def __del__(self, free=_library.free_plan):
        free(self.handle)


_lock = threading.RLock()  # a progress callback may ask for other kernels
_contexts: dict[int, int] = {}
_kernels: dict[tuple[str, int], Kernel] = {}
changed: list[Callable[[], None]] = []  # called when a kernel has been replaced
_mentioned: set[str] = set()


def _after_fork() -> None:
    """Another thread may have held the lock, or a lock of the library's, when this process was forked: both are left behind."""
    global _lock
    _lock = threading.RLock()
    _contexts.clear()


os.register_at_fork(after_in_child=_after_fork)


def keep(cache: dict, key: Any, value: Any, most: int) -> None:
    """Adds to a cache, from which the oldest quarter leaves when it is full."""
    if len(cache) >= most:
        for old in list(cache)[: most // 4]:
            cache.pop(old, None)
    cache[key] = value


def effort_of(effort: Optional[str]) -> int:
    name, source = (effort, "effort") if effort is not None else (os.environ.get("CONVGEN_EFFORT") or "estimate", "$CONVGEN_EFFORT")
    if name not in EFFORTS:
        raise ValueError(f"{source} is {name!r}; {', '.join(map(repr, EFFORTS))} are allowed")
    return EFFORTS[name]


def kernel_for(problem: Problem, threads: Any) -> Kernel:
    """The kept kernel, or a new one: remembered, else as $CONVGEN_EFFORT says, estimated when it says nothing."""
    key = (problem.text, whole("threads", threads, 1, MOST_THREADS))
    kernel = _kernels.get(key)
    if kernel is None:
        with _lock:
            kernel = _kernels.get(key) or _made(problem, key[1], effort_of(None), 0.0, None)
    return kernel


def _made(problem: Problem, threads: int, effort: int, seconds: float, progress: Optional[Report]) -> Kernel:
    """A kernel that replaces the kept one. Ctrl-C while it is timed keeps the best so far, then goes on its way."""
    if effort >= EFFORTS["measure"]:
        with _Watch(progress) as watch:
            kernel = _searched(problem, threads, effort, seconds, watch)
    else:
        if threads not in _contexts:
            _contexts[threads] = _library.open_context(threads)
        kernel = _created(_contexts[threads], problem, threads, effort, seconds, None)
    return kernel


def _created(context: int, problem: Problem, threads: int, effort: int, seconds: float, watch: Optional["_Watch"]) -> Kernel:
    status, handle = _library.create_plan(context, problem._raw, effort, seconds)
    if status == _library.CANCELLED and watch and (watch.interrupted or watch.error):
        watch.leave()
    _library.check(status)
    kernel = Kernel(handle, bool(watch and watch.stopped))
    keep(_kernels, (problem.text, threads), kernel, KEPT)
    for forget in changed:
        forget()
    _mention(_library.info(handle).warning.decode(errors="replace"))
    return kernel


def _mention(sentence: str) -> None:
    """Warns of a store that cannot be read or written, once in a process: nothing is wrong with the kernel."""
    if sentence and sentence not in _mentioned:
        _mentioned.add(sentence)
        warnings.warn(f"convgen: {sentence}; kernels are kept for this process only", RuntimeWarning, stacklevel=5)


def _searched(problem: Problem, threads: int, effort: int, seconds: float, watch: "_Watch") -> Kernel:
    context = _library.open_context(threads, watch.callback)  # of its own: progress is a context's
    try:
        return _created(context, problem, threads, effort, seconds, watch)
    finally:
        _library.close(context)


class _Watch:
    """Looks on while kernels are timed: reports, and stops for Ctrl-C, for a report that answers False and for one that raises.

    An exception cannot pass through C, and Python's own answer to Ctrl-C is one: so for as long as this lasts the signal only
    leaves a note. (Handlers belong to the main thread; elsewhere nothing is changed.)
    """

    def __init__(self, report: Optional[Report]):
        self.report, self.stopped, self.interrupted, self.handler = report, False, False, None
        self.error: Optional[BaseException] = None
        self.callback = _library.Progress(self._progress)

    def __enter__(self) -> "_Watch":
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self.handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self.handler:
            signal.signal(signal.SIGINT, self.handler)
        if kind is None and (self.error or self.interrupted):
            self.leave()

    def leave(self) -> None:
        """Raises what was held back."""
        if self.error:
            raise self.error
        if self.handler is signal.default_int_handler:
            raise KeyboardInterrupt("the search was stopped; the best kernel so far, if there is one, is kept for this process")
        self.handler(signal.SIGINT, None)

    def _interrupt(self, number: int, frame: Any) -> None:
        self.interrupted = True

    def _progress(self, user: Any, done: float, line: bytes) -> bool:
        try:
            if self.report and not self.interrupted and self.report(done, line.decode(errors="replace")) is False:
                self.stopped = True
        except BaseException as error:
            self.error = error
        self.stopped = self.stopped or self.interrupted or self.error is not None
        return not self.stopped


# ---- plans ----


class Info(NamedTuple):
    """What is known of a plan. Errors are NaN and times 0 where nothing was measured; when it is `recalled` they are what the record
    says, not measured in this process. `warning`: why the store could not be read or written, or "". `complete`: the search was
    not cut short."""

    problem: str
    family: str
    schedule: str
    form: str
    compiler: str
    target: str
    threads: int
    ns_min: float
    ns_median: float
    error_normwise: float
    error_vs_loop: float
    error_vs_bound: float
    recalled: bool
    candidates: int
    refused: int
    seconds: float
    warning: str
    complete: bool


class Figures(NamedTuple):
    """Errors of one way to compute, against the exact result."""

    ulp_max: float
    ulp_mean: float
    normwise: float
    of_bound: float


class Errors(NamedTuple):
    """The certificate of one tensor. `loop` is a plain loop, `course` sums each window pairwise, as np.sum does.

    vs_loop: the plan's normwise error over the loop's on uniform, normal, rectified, positive and badly scaled data; budget: what
    the accuracy allows on the first (NaN for summing families, which have a bound). () and NaN for the gradient of the bias.
    """

    outputs: int
    terms: int
    plan: Figures
    loop: Figures
    course: Figures
    budget: float = float("nan")
    vs_loop: tuple[float, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.outputs} outputs of up to {self.terms} terms, against the exact result",
                 f"{'':8}{'ulp, max':>12}{'ulp, mean':>12}{'normwise':>12}{'of bound':>12}"]
        lines += [f"{name:8}" + "".join(f"{v:12.3g}" for v in getattr(self, name)) for name in ("plan", "loop", "course")]
        return "\n".join(lines)


class Plan:
    """A kernel for one problem, which can be called as often as you like, by any number of threads at once.

    Call it with the tensors that the pass reads and it returns the one that it computes:

        forward           plan(src, weights, bias, residual=..., slope=...)  -> dst
        backward data     plan(dst=..., weights=...)              -> the gradient of src
        backward weights  plan(src, dst=...)                      -> the gradient of weights, with bias (dw, db)

    Weights that were given to convgen.plan are packed in it and not given again. `out` is where the result goes (a pair for
    (dw, db)): C-contiguous (or a slice of channels, as the problem has it), of the right shape and dtype.
    """

    def __init__(self, problem: Problem, kernel: Kernel, weights: Optional[np.ndarray] = None):
        self.problem = problem
        self._kernel = kernel
        self._packed = None if weights is None else _packed(problem, kernel, weights)

    def __call__(self, src: Any = None, weights: Any = None, bias: Any = None, dst: Any = None, residual: Any = None,
                 out: Any = None, slope: Any = None) -> Any:
        given = {"src": src, "weights": weights, "bias": bias, "dst": dst, "residual": residual, "slope": slope}
        results = _results(self.problem)
        needed = _needed(self.problem, self._packed is not None)
        for name, array in given.items():
            if name in needed:
                shapes = self.problem.shapes
                shape = {"residual": shapes.dst, "slope": shapes.bias}.get(name) or getattr(shapes, name)
                given[name] = _arrays.checked(name, array, shape, self.problem.dtype, _stride(self.problem, name))
            elif array is not None:
                raise ValueError(f"{name} is not read by this plan: {self._why_not(name)}")
        outs = _arrays.outputs(out, [(name, getattr(self.problem.shapes, name)) for name in results], self.problem.dtype,
                               _stride(self.problem, results[0]), self.problem.accumulate)
        given.update(zip(results, outs))
        _arrays.launch(self._kernel.handle, *(given[name] for name in ("src", "weights", "bias", "dst", "residual")), self._packed,
                       given["slope"])
        return outs[0] if len(outs) == 1 else tuple(outs)

    def _why_not(self, name: str) -> str:
        if name == "weights" and self._packed is not None:
            return "it has packed weights of its own"
        if name in _results(self.problem):
            return f"it is the result of the {self.problem.direction} pass (out= says where it goes)"
        return f"its problem is {self.problem}"

    @property
    def info(self) -> Info:
        raw = _library.info(self._kernel.handle)
        values = (getattr(raw, name) for name in Info._fields)
        return Info(*(v.decode(errors="replace") if isinstance(v, bytes) else v for v in values))

    @property
    def stopped(self) -> bool:
        """Whether the search was stopped before its end: the best of those tried, and not remembered."""
        return self._kernel.stopped

    def certificate(self) -> Union[Errors, tuple[Errors, Errors]]:
        """Runs once on uniform [-1, 1] data and measures against the exact result. Of backward weights with bias: (dw, db)."""
        raw = _library.certificate(self._kernel.handle)
        whole_ = Errors(raw.outputs, raw.terms, *map(_figures, (raw.plan, raw.loop, raw.course)), raw.budget, tuple(raw.vs_loop))
        if not raw.has_bias_gradient:
            return whole_
        return whole_, Errors(raw.bias_outputs, raw.bias_terms, *map(_figures, (raw.bias_plan, raw.bias_loop, raw.bias_course)))

    def __str__(self) -> str:
        return _library.describe(self._kernel.handle)

    def __repr__(self) -> str:
        return f"<convgen.Plan {self.problem}: {self}>"


def _figures(raw: _library.RawFigures) -> Figures:
    return Figures(raw.ulp_max, raw.ulp_mean, raw.normwise, raw.of_bound)


def _stride(problem: Problem, name: str) -> int:
    """Elements from pixel to pixel of a tensor that is a slice of channels, else 0."""
    return {"src": problem.src_stride, "dst": problem.dst_stride, "residual": problem.dst_stride}.get(name, 0)


def _results(problem: Problem) -> tuple[str, ...]:
    if problem.direction == BACKWARD_WEIGHTS:
        return ("weights", "bias") if problem.has_bias else ("weights",)
    return ("src",) if problem.direction == BACKWARD_DATA else ("dst",)


def _needed(problem: Problem, packed: bool) -> set[str]:
    needed = {FORWARD: {"src", "weights"}, BACKWARD_DATA: {"dst", "weights"}, BACKWARD_WEIGHTS: {"src", "dst"}}[problem.direction]
    if problem.direction == FORWARD:
        needed |= ({"bias"} if problem.has_bias else set()) | ({"residual"} if problem.residual else set())
        needed |= {"slope"} if problem.slope else set()
    return needed - {"weights"} if packed else needed


def _packed(problem: Problem, kernel: Kernel, weights: Any) -> np.ndarray:
    if problem.direction == BACKWARD_WEIGHTS:
        raise ValueError("weights were given to be packed, but backward weights reads none")
    weights = _arrays.checked("weights", weights, problem.shapes.weights, problem.dtype)
    packed = _arrays.aligned_bytes(_library.packed_size(kernel.handle))
    _library.pack(kernel.handle, weights.ctypes.data, packed.ctypes.data)
    return packed


def _want_problem(problem: Any) -> Problem:
    if isinstance(problem, str):
        return Problem(problem)
    if not isinstance(problem, Problem):
        raise TypeError(f"a problem is a convgen.Problem or its text, not {type(problem).__name__}")
    return problem


def plan(problem: Union[Problem, str], weights: Optional[np.ndarray] = None, *, threads: int = 1) -> Plan:
    """A plan for the problem (or its text): remembered, else estimated in milliseconds; $CONVGEN_EFFORT=measure tunes instead.

    With `weights` they are packed once, and calls take none; the kernel is then the best one without the packing in its time.
    """
    problem = _want_problem(problem)
    if weights is not None and problem.direction != BACKWARD_WEIGHTS:
        problem = problem.with_fixed_weights()
    return Plan(problem, kernel_for(problem, threads), weights)


def tune(problem: Union[Problem, str, Iterable[Union[Problem, str]]], *, seconds: float = 0.0, effort: str = "measure",
         threads: int = 1, progress: Optional[Report] = None) -> Union[Plan, list[Plan]]:
    """Finds, verifies, times and remembers the fastest kernel; what is remembered already is recalled. Later calls use it.

    Of several problems the plans are a list. `seconds` limits the search of each (0: no limit). What it cut short is remembered too:
    later calls with a limit recall it, and one without goes on with the search. `progress(done, line)` is called before each
    candidate, with done from 0 to 1; when it returns False the search ends and the best so far is the result. Ctrl-C also keeps the
    best so far, for this process, and then raises KeyboardInterrupt.
    """
    if not isinstance(problem, (str, Problem)):
        return [tune(p, seconds=seconds, effort=effort, threads=threads, progress=progress) for p in problem]
    problem, threads = _want_problem(problem), whole("threads", threads, 1, MOST_THREADS)
    if effort not in ("measure", "exhaustive"):
        raise ValueError(f"effort is {effort!r}; tuning takes 'measure' or 'exhaustive'")
    if not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise ValueError(f"seconds is {seconds!r}; 0 (no limit) or more is allowed")
    with _lock:
        return Plan(problem, _made(problem, threads, EFFORTS[effort], float(seconds), progress))


def certificate(problem: Union[Problem, str, Plan], *, threads: int = 1) -> Union[Errors, tuple[Errors, Errors]]:
    """The errors of a plan, of a plain loop and of np.sum's order against the exact result: see Errors."""
    return (problem if isinstance(problem, Plan) else plan(problem, threads=threads)).certificate()


def forget() -> None:
    """Drops the kernels and contexts that this process keeps (not what the store remembers)."""
    with _lock:
        _kernels.clear()
        for dropped in changed:
            dropped()
        while _contexts:
            _library.close(_contexts.popitem()[1])
