#!/usr/bin/env python3
"""Trains a small convolutional network in NumPy twice, with convgen's layers and with einsum's: the same network, numbers, batches.

The data are made here: digits of a 5 x 7 font on 16 x 16 pixels, moved, scaled in brightness, with noise. The network: conv 5x5 to
12 channels, relu, mean of 2x2, conv 3x3 to 24, relu, mean of 2x2, dense to 10, softmax. Gradient descent with momentum in float64.
Both runs should show the same loss up to rounding, which training carries along and makes larger: see TOLERANCE.

Usage: examples/train_mnist_like.py [--epochs=N] [--images=N] [--plot=FILE.png]
"""
import os
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../python"))
import numpy as np

import convgen
import ways

OPTIONS = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
EPOCHS, IMAGES, BATCH = int(OPTIONS.get("epochs", 5)), int(OPTIONS.get("images", 2048)), 64
WAYS = {"convgen": (convgen.conv_forward, convgen.conv_backward), "einsum": (ways.einsum_forward, ways.einsum_backward)}
TOLERANCE = 1e-11  # relative, of every loss: roundings of 1e-16, some 10^3 of them in a chain, which gradient descent feeds back
FONT = """
.###. ..#.. .###. ##### ...#. ##### .###. ##### .###. .###.
#...# .##.. #...# ....# ..##. #.... #.... ....# #...# #...#
#..## ..#.. ....# ...#. .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ..##. ..##. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. .#... ....# ##### ....# #...# .#... #...# ....#
#...# ..#.. #.... #...# ...#. #...# #...# .#... #...# ....#
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .###.
""".split()


def digit(n):
    return np.array([[c == "#" for c in FONT[10 * row + n]] for row in range(7)], float)


def data(count, rng):
    """(images (count, 16, 16, 1), labels)"""
    labels = rng.integers(0, 10, count)
    images = rng.normal(0, 0.25, (count, 16, 16, 1))
    for image, label in zip(images, labels):
        glyph = np.kron(digit(label), np.ones((2, 2)))  # 14 x 10
        y, x = rng.integers(0, 3), rng.integers(0, 7)
        image[y:y + 14, x:x + 10, 0] += glyph * rng.uniform(0.5, 1)
    return images, labels


# ---- the network: each layer keeps what its backward pass needs ----


class Convolution:
    def __init__(self, way, f, channels_in, channels_out, rng):
        self.forward_pass, self.backward_pass = WAYS[way]
        self.parameters = [rng.normal(0, np.sqrt(2 / (f * f * channels_in)), (f, f, channels_in, channels_out)), np.zeros((1, 1, 1, channels_out))]
        self.hparameters = {"stride": 1, "pad": f // 2}

    def forward(self, A):
        self.A = A
        return self.forward_pass(A, *self.parameters, self.hparameters)

    def backward(self, dZ):
        dA, *self.gradients = self.backward_pass(dZ, self.A, *self.parameters, self.hparameters)
        return dA


class ReluAndMean:
    """max(0, Z), then the mean of 2 x 2 pixels."""
    parameters, gradients = [], []

    def forward(self, Z):
        self.positive = Z > 0
        A = Z * self.positive
        return (A[:, ::2, ::2] + A[:, 1::2, ::2] + A[:, ::2, 1::2] + A[:, 1::2, 1::2]) / 4

    def backward(self, dA):
        return np.repeat(np.repeat(dA, 2, axis=1), 2, axis=2) / 4 * self.positive


class Dense:
    def __init__(self, inputs, outputs, rng):
        self.parameters = [rng.normal(0, np.sqrt(1 / inputs), (inputs, outputs)), np.zeros(outputs)]

    def forward(self, A):
        self.shape, self.A = A.shape, A.reshape(len(A), -1)
        return self.A @ self.parameters[0] + self.parameters[1]

    def backward(self, dZ):
        self.gradients = [self.A.T @ dZ, dZ.sum(axis=0)]
        return (dZ @ self.parameters[0].T).reshape(self.shape)


def network(way):
    rng = np.random.default_rng(11)  # the same numbers for both
    return [Convolution(way, 5, 1, 12, rng), ReluAndMean(), Convolution(way, 3, 12, 24, rng), ReluAndMean(), Dense(4 * 4 * 24, 10, rng)]


def softmax_loss(scores, labels):
    """(mean cross entropy, its gradient)"""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(labels)), labels]).mean()
    p[np.arange(len(labels)), labels] -= 1
    return loss, p / len(labels)


def forward(layers, A):
    for layer in layers:
        A = layer.forward(A)
    return A


def step(layers, momentum, images, labels, rate=0.02):
    loss, gradient = softmax_loss(forward(layers, images), labels)
    for layer in reversed(layers):
        gradient = layer.backward(gradient)
    for layer, moves in zip(layers, momentum):
        for parameter, move, g in zip(layer.parameters, moves, layer.gradients):
            move *= 0.9
            move -= rate * g
            parameter += move
    return loss


def train(way, images, labels):
    """(losses, seconds of each epoch, layers)"""
    layers, order = network(way), np.random.default_rng(12)
    momentum = [[np.zeros_like(p) for p in layer.parameters] for layer in layers]
    losses, seconds = [], []
    for _ in range(EPOCHS):
        start, places = time.perf_counter(), order.permutation(len(images))
        for at in range(0, len(images) - BATCH + 1, BATCH):
            batch = places[at:at + BATCH]
            losses.append(step(layers, momentum, images[batch], labels[batch]))
        seconds.append(time.perf_counter() - start)
        print(f"{way:8} epoch {len(seconds)}: loss {np.mean(losses[-(len(images) // BATCH):]):.6f}, {seconds[-1]:.2f} s", flush=True)
    return np.array(losses), seconds, layers


def draw(losses, seconds, path):
    try:
        import matplotlib
    except ImportError:
        return print("No plot: matplotlib is not there (Debian: python3-matplotlib).")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.5), constrained_layout=True)
    for (way, curve), style in zip(losses.items(), ({"color": "#2d6a4f", "linewidth": 3}, {"color": "#f4a261", "linewidth": 1, "linestyle": "--"})):
        left.semilogy(curve, label=way, **style)
    left.set(title="loss of each batch: two curves, one over the other", xlabel="step")
    left.legend()
    apart = abs(losses["convgen"] - losses["einsum"]) / abs(losses["einsum"])
    middle.semilogy(np.maximum(apart, 1e-17), color="#444444")
    middle.axhline(TOLERANCE, color="#b00020", linewidth=1)
    middle.set(title=f"how far apart, relative (the line: {TOLERANCE:g})", xlabel="step")
    bars = right.bar(list(seconds), [min(s) for s in seconds.values()], color=["#2d6a4f", "#f4a261"])
    right.bar_label(bars, fmt="%.2f s")
    right.set(title="seconds an epoch, the best")
    figure.savefig(path, dpi=80)
    print(f"Drawn in {path}")


def main():
    rng = np.random.default_rng(10)
    images, labels = data(IMAGES, rng)
    fresh, fresh_labels = data(512, rng)
    results = {way: train(way, images, labels) for way in WAYS}
    losses, seconds = ({way: r[n] for way, r in results.items()} for n in (0, 1))
    for way, (_, _, layers) in results.items():
        right = (forward(layers, fresh).argmax(axis=1) == fresh_labels).mean()
        print(f"{way:8} {100 * right:.1f} % of 512 new images right, {min(seconds[way]):.3f} s an epoch")
    apart = (abs(losses["convgen"] - losses["einsum"]) / abs(losses["einsum"])).max()
    print(f"The losses are at most {apart:.1e} apart, relative; stated: {TOLERANCE:g}. An epoch is "
          f"{min(seconds['einsum']) / min(seconds['convgen']):.1f} times faster with convgen.")
    if OPTIONS.get("plot"):
        draw(losses, seconds, OPTIONS["plot"])
    return 0 if apart <= TOLERANCE and losses["convgen"][-1] < losses["convgen"][0] else 1


if __name__ == "__main__":
    sys.exit(main())
