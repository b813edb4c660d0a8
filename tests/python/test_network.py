"""convgen.Network: a network file and an ONNX model on NumPy arrays, from many threads, and what is refused."""
import os
import shutil
import tempfile
import threading
import unittest
import zlib

import numpy as np
from reference import generator

import convgen

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnx = None


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="convgen-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        rng = generator(self)
        self.w = rng.uniform(-1, 1, (6, 3, 1, 1)).astype("f4")
        self.x = rng.uniform(-1, 1, (2, 3, 5, 4)).astype("f4")
        self.y = np.maximum(np.einsum("nchw,oc->nohw", self.x.astype("f8"), self.w[:, :, 0, 0]), 0)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, lines, name="n.net", inputs="input x f32 2x3x5x4\n"):
        data = self.w.tobytes()
        with open(self.path("n.weights"), "wb") as f:
            f.write(data)
        with open(self.path(name), "w") as f:
            f.write(f"weights n.weights bytes {len(data)} hash {zlib.crc32(data):08x}\ntensor w f32 6x3x1x1 @0\n{inputs}{lines}")
        return self.path(name)

    def simple(self):
        return self.write("y = conv(x, w) ic3ih5iw4oc6oh5ow4kh1kw1 --epilogue=relu\noutput y\n")


class Runs(Files):
    def test_call_and_run(self):
        net = convgen.Network(self.simple())
        self.assertEqual(net.inputs, (("x", (2, 3, 5, 4), np.dtype("f4")),))
        self.assertEqual(net.outputs, (("y", (2, 6, 5, 4), np.dtype("f4")),))
        self.assertEqual(net.inputs[0].name, "x")
        y = net(self.x)
        self.assertIs(type(y), np.ndarray)
        np.testing.assert_allclose(y, self.y, atol=1e-6)
        self.assertTrue((net.run({"x": self.x})["y"] == y).all())
        self.assertIn("x float32 2x3x5x4 -> y", repr(net))

    def test_inputs_that_are_not_contiguous(self):
        net = convgen.Network(self.simple(), accuracy="proven")
        odd = np.asfortranarray(self.x)
        self.assertTrue((net(odd) == net(self.x)).all())

    def test_several_inputs_and_outputs(self):
        net = convgen.Network(self.write("y = conv(x, w) ic3ih5iw4oc6oh5ow4kh1kw1\nz = add(y, b)\noutput z\noutput y\n",
                                         inputs="input x f32 2x3x5x4\ninput b f32 4\n"))
        b = np.arange(4, dtype="f4")
        results = net(self.x, b)
        self.assertIs(type(results), tuple)
        np.testing.assert_allclose(results[0], results[1] + b, atol=1e-6)
        named = net.run({"b": b, "x": self.x})
        self.assertEqual(list(named), ["z", "y"])
        self.assertTrue((named["z"] == results[0]).all())

    def test_threads(self):
        path = self.simple()
        first = convgen.Network(path, accuracy="proven")(self.x)
        for threads in (2, 3):
            self.assertTrue((convgen.Network(path, accuracy="proven", threads=threads)(self.x) == first).all())

    def test_many_threads_call_one(self):
        net = convgen.Network(self.simple())
        first, same = net(self.x), []

        def call():
            same.append(all((net(self.x) == first).all() for _ in range(30)))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(same, [True] * 8)

    def test_what_is_refused(self):
        net = convgen.Network(self.simple())
        for call, kind, sentence in (
                (lambda: net(self.x[0]), ValueError, r"x has shape \(3, 5, 4\); \(2, 3, 5, 4\) is needed"),
                (lambda: net(self.x.astype("f8")), TypeError, "x has dtype float64; float32 is needed"),
                (lambda: net(self.x.tolist()), TypeError, "x is a list; a NumPy array is needed"),
                (lambda: net(), TypeError, "0 arrays are given; 1 are needed: x"),
                (lambda: net.run({"q": self.x}), ValueError, "'q' is no input; the inputs are x"),
                (lambda: net.run({}), ValueError, "'x' is missing; the inputs are x"),
                (lambda: convgen.Network(self.path("none.net")), FileNotFoundError, "none.net is not there"),
                (lambda: convgen.Network(self.simple(), accuracy="best"), ValueError, "accuracy is 'best'; 'loop', 'proven'"),
                (lambda: convgen.Network(self.simple(), threads=0), ValueError, "threads"),
                (lambda: convgen.Network(self.simple(), size="3x3"), ValueError, "size and dims are for ONNX models"),
                (lambda: convgen.Network(self.write("y = foo(x)\noutput y\n", "b.net")), ValueError, "b.net:4: 'foo' is no operation")):
            with self.assertRaisesRegex(kind, sentence):
                call()

    def test_other_weights(self):
        path = self.simple()
        with open(self.path("n.weights"), "r+b") as f:
            f.write(b"\1")
        with self.assertRaisesRegex(ValueError, "these are other weights"):
            convgen.Network(path)


@unittest.skipUnless(onnx, "python3-onnx is not installed")
class Models(Files):
    def model(self, op="Conv"):
        value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)  # noqa: E731
        nodes = [helper.make_node(op, ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
        graph = helper.make_graph(nodes, "g", [value("x", ["n", 3, "h", "v"])], [value("y", ["n", 6, "h", "v"])],
                                  [numpy_helper.from_array(self.w, "w")])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), self.path("m.onnx"))
        return self.path("m.onnx")

    def test_a_model(self):
        for sizes in ({"size": "5x4", "dims": {"n": 2}}, {"size": (5, 4), "dims": {"0": 2}}, {"dims": {"x:0": 2, "h": 5, "v": 4}}):
            net = convgen.Network(self.model(), **sizes)
            np.testing.assert_allclose(net(self.x), self.y, atol=1e-6)

    def test_what_is_refused(self):
        for call, sentence in ((lambda: convgen.Network(self.model()), "h|--dim|--size"),
                               (lambda: convgen.Network(self.model(), size="5xq"), "size is '5xq'"),
                               (lambda: convgen.Network(self.model("Magic"), size="5x4"), "Magic")):
            with self.assertRaisesRegex(ValueError, sentence):
                call()


if __name__ == "__main__":
    unittest.main()
