#!/usr/bin/env python3
"""Loops, einsum and convgen give different last digits. Which one is right?

Computes Z, dA, dW and db of a convolutional layer in three ways, for growing numbers of terms, and tells how far each is from the
exact result: in units in the last place (ulp) and as a share of the a-priori bound. Draws it, and says what to conclude.

Usage: examples/which_is_right.py [--dtype=float64|float32] [--plot=FILE.png] [--quick]      docs/numerics.md explains the rest
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../python"))
import numpy as np

import convgen
import ways

OPTIONS = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
DTYPE = np.dtype(OPTIONS.get("dtype", "float64"))
HPARAMETERS = {"stride": 1, "pad": 1}
WAYS = {"loops": (ways.loops_forward, ways.loops_backward), "einsum": (ways.einsum_forward, ways.einsum_backward),
        "convgen": (convgen.conv_forward, convgen.conv_backward)}
TENSORS = ("Z", "dA", "dW", "db")
SAMPLE = 60  # elements of each tensor that are judged


def layer(images, size, channels_in, channels_out, numbers, dtype, f=3):
    """A_prev, W, b, dZ of a layer that keeps the size of its images."""
    shapes = (images, size, size, channels_in), (f, f, channels_in, channels_out), (1, 1, 1, channels_out), (images, size, size, channels_out)
    return [numbers(s).astype(dtype) for s in shapes]


def compute(way, A, W, b, dZ, hparameters):
    forward, backward = WAYS[way]
    return dict(zip(TENSORS, (forward(A, W, b, hparameters), *backward(dZ, A, W, b, hparameters))))


def errors(result, of_element, rng):
    """(ulps, shares of the bound, terms): of sampled elements."""
    u, ulps, shares, most = np.finfo(DTYPE).eps / 2, [], [], 0
    flat = rng.choice(result.size, min(SAMPLE, result.size), replace=False)
    for at in zip(*np.unravel_index(np.sort(flat), result.shape)):
        exact = of_element(*at)
        error = exact.error_of(result[at])
        ulps.append(error / float(np.spacing(np.abs(DTYPE.type(exact.value)))))
        shares.append(error / (exact.terms * u / (1 - exact.terms * u) * exact.size))
        most = max(most, exact.terms)
    return np.array(ulps), np.array(shares), most


def measure(layers, tensors, numbers):
    """[(tensor, terms, way, median ulp, largest ulp, largest share of the bound)]"""
    rows = []
    for sizes in layers:
        data = layer(*sizes, numbers, DTYPE)
        exact = ways.Exact(*data, HPARAMETERS)
        for way in WAYS:
            results = compute(way, *data, HPARAMETERS)
            for tensor in tensors:
                ulps, shares, terms = errors(results[tensor], getattr(exact, tensor), np.random.default_rng(5))
                rows.append((tensor, terms, way, np.median(ulps), ulps.max(), shares.max()))
    return rows


def show(rows):
    print(f"\n{'':4}{'terms':>8}   " + "".join(f"{way + ': ulp, median':>22}{'largest':>10}{'of bound':>10}" for way in WAYS))
    for tensor, terms in dict.fromkeys((row[0], row[1]) for row in rows):
        cells = {row[2]: row[3:] for row in rows if row[:2] == (tensor, terms)}
        print(f"{tensor:4}{terms:8}   " + "".join(f"{cells[way][0]:22.2f}{cells[way][1]:10.3g}{cells[way][2]:10.2g}" for way in WAYS))


def differences_on_integers():
    """Small integers make every sum exact in any order: one difference is a bug. {way: number of differing elements}"""
    rng = np.random.default_rng(7)
    data = layer(2, 9, 5, 7, lambda shape: rng.integers(-4, 5, shape), DTYPE)
    exact = ways.Exact(*data, HPARAMETERS)
    counts = {}
    for way in WAYS:
        results = compute(way, *data, HPARAMETERS)
        counts[way] = sum(results[t][at] != getattr(exact, t)(*at).value for t in TENSORS for at in np.ndindex(*results[t].shape))
    return counts


def bugs_of_einsum():
    """dA of the usual einsum code beside the loops', on integers."""
    rng = np.random.default_rng(8)
    for hparameters in ({"stride": 2, "pad": 1}, {"stride": 1, "pad": 0}):
        A, W, b, _ = layer(1, 9, 2, 3, lambda shape: rng.integers(-4, 5, shape), DTYPE)
        Z = ways.loops_forward(A, W, b, hparameters)
        dZ = rng.integers(-4, 5, Z.shape).astype(DTYPE)
        right = ways.loops_backward(dZ, A, W, b, hparameters)[0]
        usual = ways.einsum_backward(dZ, A, W, b, hparameters)[0]
        ours = convgen.conv_backward(dZ, A, W, b, hparameters)[0]
        print(f"  {hparameters}: A_prev has shape {A.shape}; dA of the loops {right.shape}, of einsum {usual.shape}, of convgen "
              f"{ours.shape} ({'equal to the loops' if np.array_equal(ours, right) else 'DIFFERENT from the loops'})")
    print("  The first needs stride - 1 zeros between the pixels of dZ; the second slices [pad:-pad], and [0:-0] is empty.")


def draw(rows, path):
    try:
        import matplotlib
    except ImportError:
        return print("\nNo plot: matplotlib is not there (Debian: python3-matplotlib).")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 4, figsize=(15, 7), sharey="row", constrained_layout=True)
    styles = {"loops": ("o-", "#b5651d"), "einsum": ("s--", "#2a6f97"), "convgen": ("^-", "#2d6a4f")}
    for column, tensor in enumerate(TENSORS):
        for way, (style, colour) in styles.items():
            points = [row for row in rows if row[0] == tensor and row[2] == way]
            terms = [row[1] for row in points]
            axes[0, column].loglog(terms, [max(row[3], 0.05) for row in points], style, color=colour, label=way, markersize=5)
            axes[1, column].loglog(terms, [max(row[5], 1e-6) for row in points], style, color=colour, label=way, markersize=5)
        axes[0, column].set_title(tensor)
        axes[1, column].axhline(1, color="black", linewidth=1)
        axes[1, column].set_xlabel("terms of the sum")
        for row in (0, 1):
            axes[row, column].grid(True, which="major", alpha=0.3)
    axes[0, 0].set_ylabel("median error, ulp (drawn from 0.05 up)")
    axes[1, 0].set_ylabel("largest error as a share of the bound\n(the line: the bound)")
    axes[0, 0].legend()
    figure.suptitle(f"Distance of three ways from the exact result, {DTYPE.name}, numbers in [-1, 1]")
    figure.savefig(path, dpi=80)
    print(f"\nDrawn in {path}")


def conclude(rows):
    def typical(tensor, way):
        return max((row for row in rows if row[0] == tensor and row[2] == way), key=lambda row: row[1])[3]

    worst = {way: max(row[5] for row in rows if row[2] == way) for way in WAYS}
    print(f"""
What to conclude
  1. All three compute the same sums in different orders: rounding depends on the order. np.sum adds pairwise within a window,
     einsum mostly one after another, the loops' dW one window after another, convgen dW in blocks of 512 pixels.
  2. None is "the" right one: the exact result is, and each is near it. At the most terms the median error is, in ulp:
{chr(10).join(f"     {t:3}" + "".join(f"  {way} {typical(t, way):.2f}" for way in WAYS) for t in TENSORS)}
  3. All are within the a-priori bound, gamma_K * sum|a||b| (Higham, 3.5): the largest share is {', '.join(f'{w} {s:.3f}' for w, s in worst.items())}.
     A result above the bound cannot be rounding: it is a bug.
  4. A large number of ulps alone means little: where terms cancel, the result is small beside what was added, and so is its ulp.
  5. To look for a bug, use small integers: then all must agree exactly, whatever the order.""")


def main():
    rng = np.random.default_rng(3)
    quick = "quick" in OPTIONS
    channels = [(1, 6, c, c) for c in ((1, 8, 32) if quick else (1, 4, 16, 64, 256))]
    pixels = [(1, size, 1, 8) for size in ((8, 16) if quick else (8, 16, 32, 64, 128))]
    rows = measure(channels, ("Z", "dA"), lambda shape: rng.uniform(-1, 1, shape))
    rows += measure(pixels, ("dW", "db"), lambda shape: rng.uniform(-1, 1, shape))
    print(f"Distance from the exact result, {DTYPE.name}, numbers in [-1, 1], up to {SAMPLE} elements of each tensor")
    show(rows)
    counts = differences_on_integers()
    print("\nOn small integers, elements that differ from the exact result: " + ", ".join(f"{way} {n}" for way, n in counts.items()))
    print("\nTwo bugs of the usual einsum code, which no rounding explains:")
    bugs_of_einsum()
    conclude(rows)
    if OPTIONS.get("plot"):
        draw(rows, OPTIONS["plot"])
    return 1 if counts["convgen"] or any(row[5] > 1 for row in rows if row[2] == "convgen") else 0


if __name__ == "__main__":
    sys.exit(main())
