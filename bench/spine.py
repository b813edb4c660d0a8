#!/usr/bin/env python3
"""Two claims about the C form with the system compiler, measured in one interleaved run.

1. ResNet-50's 56x56 layers (3x3 and 1x1, f32) against the processor's measured FMA peak.
2. The layer of a CNN written in NumPy (batch 10, 100x100x3, 5x5 to 10 channels, f64) against einsum on one thread, each pass.

Usage: bench/spine.py CONVGEN [ROUNDS] [--json]. Needs NumPy; the first form needs a C compiler. Tunes what is not remembered first.
--json: only the second claim, with the form that the command chooses by itself, as JSON lines for bench/bars.py; the backward passes
are taken together (dA, dW and db).
"""
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

WORDS = [word for word in sys.argv[1:] if word != "--json"]
COMMAND = WORDS[0]
ROUNDS = int(WORDS[1]) if len(WORDS) > 1 else 5
JSON = "--json" in sys.argv
COMPILER = [] if JSON else ["--compiler=cc"]
SEED = "mb10ic3ih100oc10kh5ph2"
PASSES = {"forward": "FWD_B", "backward data": "BWD_D", "backward weights": "BWD_WB"}
PEAK_LAYERS = ["mb1ic64ih56oc64kh3ph1", "mb1ic64ih56oc64kh1", "mb1ic64ih56oc256kh1", "mb1ic256ih56oc64kh1"]


def convgen(verb, *words):
    """The JSON lines of one run of the command."""
    run = subprocess.run([COMMAND, verb, "--json", *COMPILER, "--threads=1", *words], check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in run.stdout.splitlines() if b'"problem"' in line]


def einsum_passes():
    """The three passes as somebody would write them; stride 1, pad 2."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((10, 100, 100, 3))
    w = rng.standard_normal((5, 5, 3, 10))
    b = rng.standard_normal((1, 1, 1, 10))
    dz = rng.standard_normal((10, 100, 100, 10))
    around = ((0, 0), (2, 2), (2, 2), (0, 0))

    def forward():
        return np.einsum("nhwcij,ijco->nhwo", sliding_window_view(np.pad(x, around), (5, 5), axis=(1, 2)), w) + b

    def backward_data():
        return np.einsum("nhwoij,ijco->nhwc", sliding_window_view(np.pad(dz, around), (5, 5), axis=(1, 2)), w[::-1, ::-1])

    def backward_weights():
        windows = sliding_window_view(np.pad(x, around), (5, 5), axis=(1, 2))
        return np.einsum("nhwcij,nhwo->ijco", windows, dz), dz.sum(axis=(0, 1, 2))

    return {"forward": forward, "backward data": backward_data, "backward weights": backward_weights}


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def print_json(ours, theirs):
    for name, passes in {"forward": ["forward"], "backward": ["backward data", "backward weights"]}.items():
        line = {who: {"ns_min": 1e9 * sum(min(times[p]) for p in passes),
                      "ns_median": 1e9 * sum(statistics.median(times[p]) for p in passes)}
                for who, times in (("convgen", ours), ("einsum", theirs))}
        print(json.dumps({"name": name, "problem": SEED, "dt": "f64", "peer": "einsum", "contestants": line}))


def main():
    seed = {name: ["--dt=f64", f"--dir={direction}", SEED] for name, direction in PASSES.items()}
    peak_layers = [] if JSON else [["--dir=FWD_D", *PEAK_LAYERS]]
    for words in [*seed.values(), *peak_layers]:
        convgen("tune", *words)
    numpy_passes = einsum_passes()
    peak, ours, theirs = {}, {name: [] for name in seed}, {name: [] for name in seed}
    for _ in range(ROUNDS):
        for words in peak_layers:
            for line in convgen("bench", *words):
                peak.setdefault(line["problem"], []).append(line)
        for name, words in seed.items():
            theirs[name].append(seconds(numpy_passes[name]))
            ours[name].append(convgen("bench", *words)[0]["ns_min"] * 1e-9)
    if JSON:
        return print_json(ours, theirs)
    print("share of the FMA peak (at least 0.8)      best   median")
    for problem, lines in peak.items():
        shares = [line["gflops"] / line["peak_gflops"] for line in lines]
        print(f"  {problem:36} {max(shares):7.2f}  {statistics.median(shares):7.2f}   {lines[0]['schedule']}")
    print("times faster than einsum (at least 5)     minima  medians")
    for name in seed:
        a, b = theirs[name], ours[name]
        print(f"  {name:36} {min(a) / min(b):7.1f}  {statistics.median(a) / statistics.median(b):7.1f}")


if __name__ == "__main__":
    main()
