#!/usr/bin/env python3
"""The layer of a CNN written in NumPy, from Python: convgen against einsum and against plain loops, all overhead included.

Batch 10, 100x100x3, 5x5 to 10 channels, stride 1, pad 2, float64, one thread. Each call makes its results anew, as a program of
somebody's would. Also: the overhead of a call over the C plan, and the time of `import convgen` beyond NumPy's.

Usage: bench/course.py BUILD [ROUNDS] [--json] [--no-loops]     --json: lines for bench/bars.py; the loops take half a minute
"""
import json
import os
import statistics
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
WORDS = [word for word in sys.argv[1:] if not word.startswith("--")]
ROUNDS = int(WORDS[1]) if len(WORDS) > 1 else 15
HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["CONVGEN_LIBRARY"] = os.path.abspath(f"{WORDS[0]}/libconvgen.so")
sys.path.insert(0, f"{HERE}/../python")
import numpy as np

import convgen
from convgen import _library

HPARAMETERS = {"stride": 1, "pad": 2}


def einsum_passes(A, W, b, dZ):
    """As somebody would write them who knows einsum well: nothing is computed that is cropped later."""
    from numpy.lib.stride_tricks import sliding_window_view
    around = ((0, 0), (2, 2), (2, 2), (0, 0))

    def forward():
        return np.einsum("nhwcij,ijco->nhwo", sliding_window_view(np.pad(A, around), (5, 5), axis=(1, 2)), W) + b

    def backward():
        dA = np.einsum("nhwoij,ijco->nhwc", sliding_window_view(np.pad(dZ, around), (5, 5), axis=(1, 2)), W[::-1, ::-1])
        windows = sliding_window_view(np.pad(A, around), (5, 5), axis=(1, 2))
        return dA, np.einsum("nhwcij,nhwo->ijco", windows, dZ), dZ.sum(axis=(0, 1, 2), keepdims=True)

    return forward, backward


def loop_passes(A, W, b, dZ):
    """As the course has them."""
    def forward():
        padded, Z = np.pad(A, ((0, 0), (2, 2), (2, 2), (0, 0))), np.zeros(dZ.shape)
        for i in range(Z.shape[0]):
            for h in range(Z.shape[1]):
                for w in range(Z.shape[2]):
                    window = padded[i, h:h + 5, w:w + 5]
                    for c in range(Z.shape[3]):
                        Z[i, h, w, c] = np.sum(window * W[..., c]) + float(b[..., c])
        return Z

    def backward():
        padded = np.pad(A, ((0, 0), (2, 2), (2, 2), (0, 0)))
        dA, dW, db = np.zeros_like(padded), np.zeros_like(W), np.zeros_like(b)
        for i in range(dZ.shape[0]):
            for h in range(dZ.shape[1]):
                for w in range(dZ.shape[2]):
                    window, gradient = padded[i, h:h + 5, w:w + 5], dA[i, h:h + 5, w:w + 5]
                    for c in range(dZ.shape[3]):
                        gradient += W[..., c] * dZ[i, h, w, c]
                        dW[..., c] += window * dZ[i, h, w, c]
                        db[..., c] += dZ[i, h, w, c]
        return dA[:, 2:-2, 2:-2], dW, db

    return forward, backward


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def call_overhead():
    """Seconds of conv_forward and of conv_backward beyond the C plans that they run, on a layer of one pixel."""
    A, W, b = np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    hparameters = {"stride": 1, "pad": 0}
    Z = convgen.conv_forward(A, W, b, hparameters)
    plans = [convgen.plan(p) for p in convgen.course_problems(A, W, b, hparameters)]
    out = np.empty_like(Z)
    operands = [(A, W, b, Z), (out, W, None, Z), (A, out, b, Z)]
    bare = []
    for plan, arrays in zip(plans, operands):
        handle, tensors = plan._kernel.handle, _library.Tensors(*(None if a is None else a.ctypes.data for a in arrays))
        bare.append(least(lambda h=handle, t=tensors: _library.run(h, t)))
    forward = least(lambda: convgen.conv_forward(A, W, b, hparameters)) - bare[0]
    return forward, least(lambda: convgen.conv_backward(Z, A, W, b, hparameters)) - bare[1] - bare[2]


def least(f, calls=2000, repeats=15):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def import_seconds():
    code = "import numpy, time; t = time.perf_counter(); import convgen; print(time.perf_counter() - t)"
    environment = {**os.environ, "PYTHONPATH": f"{HERE}/../python"}
    return min(float(subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE).stdout) for _ in range(7))


def measure(passes, rounds, loops):
    """{pass: {who: [seconds]}}: interleaved; the loops once."""
    times = {p: {who: [] for who in passes} for p in ("forward", "backward")}
    for round_ in range(rounds):
        for who, functions in passes.items():
            if who == "loops" and (round_ or not loops):
                continue
            for p, f in zip(times, functions):
                times[p][who].append(seconds(f))
    return times


def main():
    rng = np.random.default_rng(1)
    A, W, b, dZ = (rng.standard_normal(s) for s in ((10, 100, 100, 3), (5, 5, 3, 10), (1, 1, 1, 10), (10, 100, 100, 10)))
    convgen.tune(convgen.course_problems(A, W, b, HPARAMETERS))
    ours = (lambda: convgen.conv_forward(A, W, b, HPARAMETERS), lambda: convgen.conv_backward(dZ, A, W, b, HPARAMETERS))
    passes = {"convgen": ours, "einsum": einsum_passes(A, W, b, dZ), "loops": loop_passes(A, W, b, dZ)}
    [f() for f in (*ours, *passes["einsum"])]  # the first calls' memory and code
    times = measure(passes, ROUNDS, "--no-loops" not in sys.argv)
    overhead, imported = call_overhead(), import_seconds()
    if "--json" in sys.argv:
        for p, of in times.items():
            line = {who: {"ns_min": 1e9 * min(t), "ns_median": 1e9 * statistics.median(t)} for who, t in of.items() if t}
            print(json.dumps({"name": p, "problem": "mb10ic3ih100oc10kh5ph2", "dt": "f64", "contestants": line}))
        for name, value in (("overhead_forward", overhead[0]), ("overhead_backward", overhead[1]), ("import", imported)):
            print(json.dumps({"name": name, "candidates": 0, "refused": 0, "seconds": value}))
        return
    print(f"{'':10}{'convgen':>12}" + "".join(f"{who:>12}{'by minima':>11}{'by medians':>11}" for who in passes if who != "convgen"))
    for p, of in times.items():
        mine = of["convgen"]
        cells = "".join(f"{min(t):10.3g} s{min(t) / min(mine):10.1f}x{statistics.median(t) / statistics.median(mine):10.1f}x"
                        for who, t in of.items() if who != "convgen" and t)
        print(f"{p:10}{1e3 * min(mine):9.2f} ms{cells}")
    print(f"overhead of a call over the C plan: conv_forward {1e6 * overhead[0]:.1f} us, conv_backward {1e6 * overhead[1]:.1f} us (of two plans)")
    print(f"import convgen beyond import numpy: {1e3 * imported:.1f} ms")


if __name__ == "__main__":
    main()
