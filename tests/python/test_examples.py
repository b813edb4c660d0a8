"""The examples run, in their short form, and judge themselves: exit status 1 when convgen is wrong."""
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from reference import generator

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")
sys.path.insert(0, EXAMPLES)
import ways


def run(name, *words):
    done = subprocess.run([sys.executable, f"{EXAMPLES}/{name}", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stdout)
    return done.stdout


class Examples(unittest.TestCase):
    def test_which_is_right(self):
        for dtype in ("float64", "float32"):
            with tempfile.TemporaryDirectory() as folder:
                text = run("which_is_right.py", "--quick", f"--dtype={dtype}", f"--plot={folder}/a.png")
                self.assertIn("differ from the exact result: loops 0, einsum 0, convgen 0", text)
                self.assertEqual(text.count("equal to the loops"), 2)
                if "Drawn in" in text:
                    with open(f"{folder}/a.png", "rb") as f:
                        self.assertEqual(f.read(4), b"\x89PNG")

    def test_train(self):
        self.assertIn("times faster with convgen", run("train_mnist_like.py", "--epochs=2", "--images=512"))


class Ways(unittest.TestCase):
    """The exact result that the example judges by: against Fraction's."""

    def test_exact_sums(self):
        from fractions import Fraction
        rng = generator(self)
        for _ in range(50):
            a, b = rng.standard_normal((2, 40)) * 10.0 ** rng.integers(-9, 9, (2, 40))
            exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a, b)) + Fraction(0.1)
            ours = ways.Sum(a, b, 0.1)
            self.assertEqual(ours.value, float(exact))
            self.assertEqual(ours.error_of(1.5), float(abs(exact - Fraction(1.5))))

    def test_elements(self):
        rng = generator(self)
        for hparameters in ({"stride": 1, "pad": 1}, {"stride": 2, "pad": 0}, {"stride": 2, "pad": 2}):
            A, W, b = (rng.integers(-4, 5, s).astype(float) for s in ((2, 7, 7, 2), (3, 3, 2, 3), (1, 1, 1, 3)))
            Z = ways.loops_forward(A, W, b, hparameters)
            dZ = rng.integers(-4, 5, Z.shape).astype(float)
            exact = ways.Exact(A, W, b, dZ, hparameters)
            for name, tensor in zip(("Z", "dA", "dW", "db"), (Z, *ways.loops_backward(dZ, A, W, b, hparameters))):
                for at in np.ndindex(*tensor.shape):
                    self.assertEqual(getattr(exact, name)(*at).value, tensor[at])


if __name__ == "__main__":
    unittest.main()
