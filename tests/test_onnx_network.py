"""convgen.onnx -o: models that this writes, as network files: what the files say, what they mean (tests/python/network_numpy.py), and what is refused.

    test_onnx_network.py SOURCE_DIR WORK_DIR        exit status 77: python3-onnx is not installed"""
import importlib
import importlib.util
import io
import math
import os
import random
import shutil
import sys
import zlib
from contextlib import redirect_stderr, redirect_stdout

source, work = sys.argv[1:3]
try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    print("skipped: python3-onnx is not installed")
    sys.exit(77)
package = os.path.join(source, "python", "convgen", "onnx")
spec = importlib.util.spec_from_file_location("reader", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
sys.modules["reader"] = reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)
command, constants = importlib.import_module("reader.__main__"), importlib.import_module("reader.constants")
sys.path.insert(0, os.path.join(source, "tests", "python"))
import network_numpy  # noqa: E402

shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
path, base = os.path.join(work, "model.onnx"), os.path.join(work, "net")
failed, written, rng = 0, [], np.random.default_rng(7)


def check(what, good):
    global failed
    if not good:
        failed += 1
        print("FAILED:", what)


def real(*dims):
    return rng.standard_normal(dims).astype("float32")


def longs(*values):
    return np.array(values, "int64")


def node(op, inputs, outputs, **a):
    """Operands and results with blanks between; _ is a missing one."""
    return helper.make_node(op, ["" if n == "_" else n for n in inputs.split()], outputs.split(), name=a.pop("name", None), **a)


def described(name, dims, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, dims)


def graph(nodes, inputs, outputs, weights={}, stored=()):
    tensors = [i if not isinstance(i, tuple) else described(*i) for i in inputs]
    return helper.make_graph(nodes, "g", tensors, [onnx.ValueInfoProto(name=n) for n in outputs.split()],
                             [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()], value_info=list(stored))


def model(nodes, inputs=(("x", [1, 3, 8, 8]),), outputs="y", weights={}, opset=17, others=(), functions=(), stored=()):
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in others]
    made = helper.make_model(graph(nodes, inputs, outputs, weights, stored), opset_imports=opsets, functions=list(functions))
    made.ir_version = 10 if opset > 20 else 9 if opset > 18 else 8
    return made


def clean():
    for name in os.listdir(work):
        if name.startswith(("net", ".")):
            os.unlink(os.path.join(work, name))


def run(made, *words):
    """Exit status, the network file, what was said."""
    clean()
    if isinstance(made, onnx.ModelProto):
        written.append(made)
        onnx.save(made, path)
    elif made is not None:
        with open(path, "wb") as f:
            f.write(made)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = command.main([path, *words, "-o", base])
        except SystemExit as e:
            status = e.code
    text = open(base + ".net").read() if os.path.exists(base + ".net") else None
    left = sorted(n for n in os.listdir(work) if n.startswith(("net", ".")))
    check(f"nothing half-written: {left}", left in ([], ["net.net"], ["net.net", "net.weights"]) and (status == 0) == bool(left))
    return status, text, err.getvalue()


def lines(text):
    """Without the head, tensors and ports."""
    return [line for line in text.splitlines() if not line.startswith(("#", "weights ", "tensor ", "input ", "output "))]


def says(what, made, wanted, *words):
    """The operations of the file are these."""
    status, text, err = run(made, *words)
    check(f"{what}: {err}", status == 0 and text is not None)
    if text:
        check(f"{what}: {lines(text)} and not {wanted}", lines(text) == wanted)
    return text


def means(what, made, expected, *words):
    """The first output, of what expected(x...) gives for random inputs."""
    status, text, err = run(made, *words)
    check(f"{what}: {err}", status == 0 and err == "")
    if status:
        return
    net = reader.read(path)
    inputs = {v.name: real(*v.dims) for v in net.inputs}
    got = list(network_numpy.run(net, inputs, constants.FOLDS).values())[0]
    wanted = expected(*inputs.values())
    check(f"{what}: {got.shape} and not {wanted.shape}", got.shape == wanted.shape)
    check(f"{what}: numbers", got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-5, atol=1e-5))


def refused(what, made, sentence, *words):
    status, text, err = run(made, *words)
    check(f"{what}: status {status}, {err!r}", status != 0 and text is None and sentence in err and "Traceback" not in err)
    return err


# ---- what a file says ----------------------------------------------------------------------------------------------------------

def test_file():
    nodes = [node("Conv", "x w b", "c", pads=[1, 1, 1, 1], name="first"), node("Relu", "c", "r"), node("MaxPool", "r", "y", kernel_shape=[2, 2],
                                                                                               strides=[2, 2])]
    w, b = real(4, 3, 3, 3), real(4)
    made = model(nodes, weights={"w": w, "b": b})
    text = says("a file", made, ["c = conv(x, w, b) ic3ih8iw8oc4oh8ow8kh3kw3sh1sw1ph1pw1dh0dw0", "r = activate(c) relu", "y = maxpool(r) k2x2 s2x2"])
    data = open(base + ".weights", "rb").read()
    head = text.splitlines()
    check("head", head[0] == "# model.onnx, by python3 -m convgen.onnx")
    check("weights", head[1] == f"weights net.weights bytes {len(data)} hash {zlib.crc32(data):08x}")
    check("tensors", head[2:5] == ["tensor w f32 4x3x3x3 @0", "tensor b f32 4 @448", "input x f32 1x3x8x8"])
    check("data", data[:432] == w.tobytes() and data[448:464] == b.tobytes() and len(data) % 64 == 0)
    check("output", head[-1] == "output y")


def test_names():
    nodes = [node("Relu", "x:0", "a/b"), node("Neg", "a/b", "\u00fc\"\\"), node("Abs", "\u00fc\"\\", "a.1"), node("Identity", "a.1", "y")]
    says("names", model(nodes, [("x:0", [2, 3])]), ['"a/b" = activate("x:0") relu', '"ü\\"\\\\" = neg("a/b")', 'y = abs("ü\\"\\\\")'])


def test_outputs():
    says("an input", model([node("Identity", "x", "y")], [("x", [2, 3])]), ["y = reshape(x) 2x3"])
    says("twice", model([node("Relu", "x", "y"), node("Identity", "y", "z")], [("x", [2, 3])], "y z"), ["y = activate(x) relu", "z = reshape(y) 2x3"])
    says("a constant", model([node("Shape", "x", "y")], [("x", [2, 3])]), ["y = reshape(y.2) 2"])
    says("as it is", model([node("Relu", "x", "y")], [("x", [2, 3])], "y x y"), ["y = activate(x) relu"])
    check("once each", open(base + ".net").read().endswith("output y\noutput x\n"))
    says("unused", model([node("Relu", "x", "t"), node("Neg", "x", "y")], [("x", [2, 3])]), ["y = neg(x)"])


def test_numbers():
    third = np.array(1 / 3, "float32")
    cases = [("Add", third, "y = add(x, 0.33333334)"), ("Mul", np.full((1, 1), 6, "float32"), "y = mul(x, 6)"), ("Div", np.full(1, 1e-12, "float32"),
             "y = div(x, 1e-12)"), ("Max", np.array(-0.4, "float32"), "y = max(x, -0.4)"), ("Sub", np.array(-np.inf, "float32"), "y = sub(x, k)")]
    for op, k, wanted in cases:
        says(op, model([node(op, "x k", "y")], [("x", [2, 3])], weights={"k": k}), [wanted])
    says("a higher rank", model([node("Add", "x k", "y")], [("x", [2, 3])], weights={"k": np.ones((1, 1, 1), "float32")}), ["y = add(x, k)"])
    says("first", model([node("Sub", "k x", "y")], [("x", [2, 3])], weights={"k": third}), ["y = sub(0.33333334, x)"])


ROWS = [  # operation, operands and constants, attributes, the line
    ("Clip", {}, {}, []), ("Clip", {"a": np.float32(0)}, {}, "activate(x) relu"), ("Clip", {"a": np.float32(0), "b": np.float32(6)}, {}, "activate(x) clamp:0:6"),
    ("LeakyRelu", {}, {}, "activate(x) leaky:0.01"), ("HardSigmoid", {}, {}, "activate(x) hardsigmoid:0.2:0.5"), ("Elu", {}, {"alpha": 0.5}, "elu(x) 0.5"),
    ("Pow", {"e": np.float32(2)}, {}, "pow(x, 2)"), ("Softmax", {}, {}, "softmax(x) axis 3"), ("ReduceMean", {}, {"axes": [-1, 2]}, "reduce_mean(x) axes 2,3 keep"),
    ("GlobalMaxPool", {}, {}, "reduce_max(x) axes 2,3 keep"), ("Transpose", {}, {"perm": [0, 2, 3, 1]}, "transpose(x) 0,2,3,1"),
    ("AveragePool", {}, {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1}, "avgpool(x) k3x2 p1x0 e0x1 counted"),
    ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, "maxpool(x) k3x3 s2x2 o4x4"),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 2, 2], "ceil_mode": 1}, "maxpool(x) k2x2 s3x3 e2x2"),
    ("Slice", {"a": longs(-3), "b": longs(2**62), "c": longs(2)}, {}, "slice(x) axes 2 from 5 to 8"),
    ("Slice", {"a": longs(-1), "b": longs(-2**63), "c": longs(3), "d": longs(-2)}, {}, "slice(x) axes 3 from 7 to -1 steps -2"),
    ("Pad", {"a": longs(0, 0, 1, 2, 0, 0, 3, 4), "b": np.float32(-1)}, {}, "pad(x) before 0,0,1,2 after 0,0,3,4 value -1"),
    ("Pad", {"a": longs(0, 0, 1, 2, 0, 0, 3, 4)}, {"mode": "reflect"}, "pad(x) before 0,0,1,2 after 0,0,3,4 reflect"),
    ("Reshape", {"a": longs(0, -1)}, {}, "reshape(x) 1x192"), ("Cast", {}, {"to": 11}, "cast(x) f64"), ("ArgMax", {}, {"axis": 1, "keepdims": 0}, "argmax(x) axis 1"),
    ("Gather", {"a": longs(2, 0, -1)}, {"axis": 1}, "gather(x, y.constant) axis 1"),
    ("Resize", {"_": None, "s": np.float32([1, 1, 2, 1.5])}, {}, "resize(x) nearest 2x1.5 half_pixel round_prefer_floor"),
    ("Resize", {"_": None, "__": None, "s": longs(1, 3, 5, 16)}, {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
     "resize(x) linear o5x16 align_corners"),
    ("BatchNormalization", {n: real(3) for n in "abcd"}, {"epsilon": 1e-3}, "batchnorm(x, a, b, c, d) epsilon 0.001"),
    ("LayerNormalization", {"a": real(8)}, {}, "layernorm(x, a) axis 3 epsilon 1e-05"),
    ("Gemm", {"b": real(4, 3)}, {"transA": 1, "transB": 1, "alpha": 0.5}, "gemm(x, b) trans_a trans_b alpha 0.5"),
]


def test_rows():
    for op, weights, a, wanted in ROWS:
        operands = " ".join(["x"] + ["_" if v is None else n for n, v in weights.items()])
        made = model([node(op, operands, "y", **a)], [("x", [3, 2] if op == "Gemm" else [1, 3, 8, 8])], weights={n: v for n, v in weights.items() if v is not None})
        says(f"{op} {a}", made, ["y = " + (wanted or "reshape(x) 1x3x8x8")])


# ---- what is ONNX's ----------------------------------------------------------------------------------------------------------------

def test_opsets():
    x = [("x", [2, 4, 6, 6])]
    means("Split 18", model([node("Split", "x", "y z", axis=1, num_outputs=2)], x, "y z", opset=18), lambda x: x[:, :2])
    means("ReduceMax 18", model([node("ReduceMax", "x a", "y", keepdims=0)], x, weights={"a": longs(-1)}, opset=18), lambda x: x.max(3))
    means("Pad 18", model([node("Pad", "x p _ a", "y")], x, weights={"p": longs(1, 2), "a": longs(-1)}, opset=18), lambda x: np.pad(x, [(0, 0)] * 3 + [(1, 2)]))
    means("AveragePool 19", model([node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2])], x, opset=19),
          lambda x: (x[:, :, :4, :4] + x[:, :, 2:, :4] + x[:, :, :4, 2:] + x[:, :, 2:, 2:]) / 4)
    means("Gelu 20", model([node("Gelu", "x", "y")], x, opset=20), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x * 0.5**0.5)))
    group = node("GroupNormalization", "x s b", "y", num_groups=2)
    one, zero = np.ones(4, "float32"), np.zeros(4, "float32")
    grouped = lambda x: x.reshape(2, 2, -1)
    normal = lambda x: ((grouped(x) - grouped(x).mean(2, keepdims=True)) / np.sqrt(grouped(x).var(2, keepdims=True) + 1e-5)).reshape(x.shape)
    means("GroupNormalization 21", model([group], x, weights={"s": one, "b": zero}, opset=21), normal)
    means("GroupNormalization 18", model([group], x, weights={"s": one[:2], "b": zero[:2]}, opset=18), normal)
    means("Resize 18", model([node("Resize", "x _ _ s", "y", axes=[2, 3])], x, weights={"s": longs(12, 18)}, opset=18), lambda x: x.repeat(2, 2).repeat(3, 3))
    means("Resize 10", model([node("Resize", "x s", "y")], x, weights={"s": np.float32([1, 1, 2, 3])}, opset=10), lambda x: x.repeat(2, 2).repeat(3, 3))
    means("Upsample 9", model([node("Upsample", "x s", "y")], x, weights={"s": np.float32([1, 1, 2, 3])}, opset=9), lambda x: x.repeat(2, 2).repeat(3, 3))
    means("Upsample 7", model([node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])], x, opset=7), lambda x: x.repeat(2, 2).repeat(3, 3))
    means("Softmax 11", model([node("Softmax", "x", "y", axis=2)], x, opset=11),
          lambda x: (lambda e: e / e.sum((2, 3), keepdims=True))(np.exp(x - x.max((2, 3), keepdims=True))))
    says("Softmax 11, axis 1", model([node("Softmax", "x", "y")], [("x", [2, 3])], opset=11), ["y = softmax(x) axis 1"])
    says("Softmax 11, from axis 1 on", model([node("Softmax", "x", "y")], [("x", [2, 3, 4])], opset=11),
         ["y.2 = reshape(x) 2x12", "y.3 = softmax(y.2) axis 1", "y = reshape(y.3) 2x3x4"])
    means("Add 6", model([node("Add", "x k", "y", broadcast=1, axis=1)], x, weights={"k": np.float32([1, 2, 3, 4])}, opset=6),
          lambda x: x + np.float32([1, 2, 3, 4]).reshape(4, 1, 1))
    means("Dropout 11", model([node("Dropout", "x", "y mask", ratio=0.5)], x, opset=11), lambda x: x)


def test_constants():
    spellings = [{"value": numpy_helper.from_array(np.float32([2, 3]))}, {"value_floats": [2.0, 3.0]}]
    for a in spellings:
        means(f"Constant {list(a)}", model([node("Constant", "", "k", **a), node("Mul", "x k", "y")], [("x", [4, 2])]), lambda x: x * np.float32([2, 3]))
    for a in {"value_int": 3}, {"value_ints": [3]}, {"value_float": 3.0}:
        means(f"Constant {list(a)}", model([node("Constant", "", "k", **a), node("Cast", "k", "f", to=1), node("Mul", "x f", "y")], [("x", [4, 2])]), lambda x: x * 3)
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.float32([5]), "v"), numpy_helper.from_array(longs(1), "i"), [2])
    means("sparse", model([node("Constant", "", "k", sparse_value=sparse), node("Add", "x k", "y")], [("x", [4, 2])]), lambda x: x + np.float32([0, 5]))
    refused("text", model([node("Constant", "", "k", value_string="a"), node("Add", "x k", "y")], [("x", [4, 2])]), "Constant k cannot be read: it is text")


def test_arithmetic():
    """Shapes through Shape, Slice, Concat, Reshape and more."""
    nodes = [node("Shape", "x", "s"), node("Slice", "s i j", "n"), node("Cast", "n", "f", to=1), node("Mul", "f k", "g"), node("Floor", "g", "h"), node("Cast", "h", "l", to=7),
             node("Concat", "l m", "t", axis=0), node("Reshape", "x t", "y")]
    weights = {"i": longs(0), "j": longs(1), "k": np.float32([2.1]), "m": longs(-1)}
    means("shape arithmetic", model(nodes, [("x", [4, 6])], weights=weights), lambda x: x.reshape(8, 3))
    size = [node("Shape", "x", "s"), node("Gather", "s i", "n"), node("Unsqueeze", "n z", "u"), node("ConstantOfShape", "u", "c"), node("Add", "x c", "y")]
    means("ConstantOfShape", model(size, [("x", [4, 6])], weights={"i": np.array(1), "z": longs(0)}), lambda x: x)


def test_inlined():
    block = helper.make_function("my", "Block", ["a", "w"], ["o"], [node("Conv", "a w", "c", pads=[1, 1, 1, 1]), node("LeakyRelu", "c", "o")],
                                 [helper.make_opsetid("", 17)], ["alpha"])
    block.node[1].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha"))
    calls = [node("Block", "x w", "t", domain="my", alpha=0.25, name="one"), node("Block", "t w", "y", domain="my", name="two")]
    conv = "ic3ih8iw8oc3oh8ow8kh3kw3sh1sw1ph1pw1dh0dw0"
    made = model(calls, weights={"w": real(3, 3, 3, 3)}, others=["my"], functions=[block])
    says("functions", made, [f'"one/c" = conv(x, w) {conv}', '"one/o" = activate("one/c") leaky:0.25', f'"two/c" = conv("one/o", w) {conv}',
                             'y = activate("two/c") leaky:0.01'])
    then, other = graph([node("Relu", "x", "p")], [], "p"), graph([node("Conv", "x v", "q")], [], "q", {"v": real(2, 3, 1, 1)})
    for n, wanted in (3, "y = activate(x) relu"), (4, "y = conv(x, v) ic3ih8iw8oc2oh8ow8kh1kw1sh1sw1ph0pw0dh0dw0"):
        nodes = [node("Shape", "x", "s"), node("Gather", "s i", "d"), node("Equal", "d n", "c"), node("If", "c", "y", then_branch=then, else_branch=other)]
        says(f"If {n}", model(nodes, weights={"i": np.array(1), "n": np.array(n)}), [wanted])
    nodes = [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s n", "c"), node("If", "c", "y", then_branch=then, else_branch=other, name="choice")]
    refused("If", model(nodes, weights={"n": np.float32(0)}), "Greater c cannot be read: it is done of constants alone; it reads s of ReduceSum s and the constant n")


def test_initialisers():
    made = model([node("Conv", "x w", "y")], [("x", [1, 3, 8, 8]), ("w", [2, 3, 1, 1])], weights={"w": real(2, 3, 1, 1)})
    text = says("initialisers as inputs", made, ["y = conv(x, w) ic3ih8iw8oc2oh8ow8kh1kw1sh1sw1ph0pw0dh0dw0"])
    check("one input", text.count("\ninput ") == 1)


def with_external(location, offset=0, length=None, bytes_there=200):
    w = real(2, 3, 1, 1)
    with open(os.path.join(work, "weights.bin"), "wb") as f:
        f.write((bytes(offset) + w.tobytes() + bytes(200))[:bytes_there])
    made = model([node("Conv", "x w", "y")], weights={"w": w})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ("location", location), ("offset", offset), ("length", w.nbytes if length is None else length):
        tensor.external_data.add(key=key, value=str(value))
    return made, w


def test_external():
    made, w = with_external("weights.bin", 16)
    status, text, err = run(made)
    check(f"external data: {err}", status == 0 and open(base + ".weights", "rb").read()[:24] == w.tobytes())
    for location in "../weights.bin", "/etc/passwd", "", "sub/../../weights.bin":
        refused(location, with_external(location)[0], "a file in the model's folder is needed")
    refused("missing", with_external("other.bin")[0], "other.bin, the data of the constant 'w': No such file")
    refused("short", with_external("weights.bin", bytes_there=20)[0], "end behind the end of")
    refused("length", with_external("weights.bin", length=20)[0], "24 bytes are needed")


def test_fused_convolution():
    a = {"domain": "com.microsoft", "kernel_shape": [1, 1], "activation": "LeakyRelu", "activation_params": [0.2]}
    made = model([node("FusedConv", "x w b z", "y", **a)], [("x", [1, 3, 8, 8]), ("z", [1, 2, 8, 8])], weights={"w": real(2, 3, 1, 1), "b": real(2)}, others=["com.microsoft"])
    says("FusedConv", made, ["y.2 = conv(x, w, b) ic3ih8iw8oc2oh8ow8kh1kw1sh1sw1ph0pw0dh0dw0", "y.3 = add(y.2, z)", "y = activate(y.3) leaky:0.2"])
    refused("com.microsoft", model([node("FusedGemm", "x", "y", domain="com.microsoft", name="fused")], others=["com.microsoft"]), "com.microsoft.FusedGemm fused is not supported; it reads the input x")


def test_transposed():
    """As ONNX Runtime has them: a total pad is not below 0."""
    cases = [({"auto_pad": "SAME_UPPER", "strides": [2]}, 3, 10, 0), ({"auto_pad": "SAME_LOWER", "strides": [2]}, 3, 10, 1), ({"auto_pad": "SAME_UPPER", "strides": [3]}, 1, 13, 0),
             ({"output_shape": [10], "strides": [2]}, 3, 10, 1), ({"output_shape": [10], "strides": [2], "auto_pad": "SAME_UPPER"}, 3, 10, 0),
             ({"output_shape": [12], "strides": [2]}, 3, 12, 0), ({"auto_pad": "VALID", "strides": [2]}, 3, 11, 0)]
    for a, k, size, pad in cases:
        status, text, err = run(model([node("ConvTranspose", "x w", "y", **a)], [("x", [1, 1, 5])], weights={"w": real(1, 1, k)}))
        check(f"{a}: {text} {err}", status == 0 and f"iw5oc1ow{size}kw{k}" in text and f"pw{pad}d" in text)


# ---- sizes of inputs --------------------------------------------------------------------------------------------------------------------

def test_dimensions():
    two = model([node("Relu", "a", "y"), node("Relu", "b", "z")], [("a", ["n", 3, None, "w"]), ("b", [None, None])], "y z")
    err = refused("free", two, "the model leaves these dimensions free: a[2], a[3] (w), b[0], b[1]; give them by --size HxW or --dim a:2=N --dim w=N --dim b:0=N --dim b:1=N")
    check("one sentence", err.count("\n") == 1)
    status, text, err = run(two, "--dim", "0=2", "--dim", "a:2=5", "--dim", "w=6", "--dim", "b:1=7")
    check(f"by name and position: {text} {err}", "input a f32 2x3x5x6\ninput b f32 2x7\n" in (text or ""))
    status, text, err = run(two, "--size", "5x6", "--dim", "0=4", "--dim", "b:0=1", "--dim", "b:1=7")
    check(f"the more exact key: {text} {err}", "input a f32 4x3x5x6\ninput b f32 1x7\n" in (text or ""))
    given = ("--size", "5x6", "--dim", "0=2", "--dim", "b:1=7")
    refused("no such name", two, "--dim width=5 is of no use", *given, "--dim", "width=5")
    refused("no such position", two, "--dim 7=5 is of no use", *given, "--dim", "7=5")
    refused("no such input", two, "--dim c:1=5 is of no use", *given, "--dim", "c:1=5")
    refused("fixed", two, "the input a has 3 at position 1, which is not free", *given, "--dim", "a:1=4")
    named = model([node("Relu", "a", "y"), node("Relu", "b", "z")], [("b", ["n", 7]), ("a", ["n", 3, 5, 5])], "y z")
    check("a name that another input settles", "input b f32 1x7\n" in run(named)[1])
    fixed = model([node("Relu", "x", "y")], [("x", [1, 3, 48, "w"])])
    check("what is so already", run(fixed, "--dim", "2=48", "--dim", "3=320")[0] == 0 and run(fixed, "--size", "48x320")[0] == 0)
    refused("not so", fixed, "--dim 2=50 is of no use", "--dim", "2=50", "--dim", "3=320")
    refused("another size", fixed, "--size 50x320: the input x has 48 at position 2, which is not free", "--size", "50x320")
    refused("no spatial dimensions", model([node("Relu", "x", "y")], [("x", [2, 3])]), "--size 4x4 is of no use", "--size", "4x4")
    for word in "w", "w=0", "w=x", "=3", "w=99999999999":
        refused(word, fixed, "", "--dim", word)


# ---- what is refused -------------------------------------------------------------------------------------------------------------------------

def test_lost():
    w = {"w": real(4, 3, 3, 3), "v": real(3, 3, 1, 1)}
    custom = [node("Conv", "x v", "a", name="before"), node("Swirl", "a", "b", domain="my", name="odd"), node("Conv", "b w", "y", name="after")]
    err = refused("custom", model(custom, weights=w, others=["my"]), "my.Swirl odd is not supported; it reads a of Conv before\n")
    check(f"share: {err}", "without it and what follows, 100 % of the multiply-adds are supported (the sizes of 1 convolutions" in err)
    stored = [described("b", [1, 3, 8, 8])]
    err = refused("custom, stored", model(custom, weights=w, others=["my"], stored=stored), "my.Swirl odd is not supported; it reads a of Conv before\n")
    check(f"share: {err}", "without it and what follows, 12.9 % of" in err)
    lstm = [node("LSTM", "x u r", "h", hidden_size=4, name="rnn"), node("Squeeze", "h a", "s"), node("MatMul", "s m", "y")]
    made = model(lstm, [("x", [5, 2, 3])], weights={"u": real(1, 16, 3), "r": real(1, 16, 4), "a": longs(1), "m": real(4, 10)})
    err = refused("recurrent", made, "LSTM rnn is not supported; it reads the input x and the constant u and the constant r\n")
    check(f"share: {err}", "0 % of the multiply-adds are supported\n" in err)
    both = model(custom + [node("Relu", "a", "z")], outputs="y z", weights=w, others=["my"])
    status, text, err = run(both)
    check(f"one output: {err}", status == 0 and text.endswith("output z\n") and "left out of" in err and "the output y" in err)
    dead = model(custom[:2] + [node("Relu", "a", "y")], weights=w, others=["my"])
    check("nothing needs it", run(dead)[::2] == (0, ""))
    refused("weights", model([node("Conv", "x x", "y")], [("x", [3, 3, 8, 8])]), "Conv y cannot be read: its weights are not constant")
    refused("an input", model([node("Relu", "x", "y")], [described("x", [2, 3], TensorProto.INT32)]), "the input x cannot be read: its elements are int32: f32, f64 and i64 are allowed")
    refused("no rank", model([node("Relu", "x", "y")], [onnx.ValueInfoProto(name="x", type=onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1)))]),
            "the model does not say how many dimensions it has")
    total = node("Sum", " ".join(f"t{i}" for i in range(20)), "y")
    many = model([node("Swirl", "x", f"t{i}", domain="my") for i in range(20)] + [total], others=["my"])
    refused("many", many, "my.Swirl t0 and 19 more are not supported; the first reads the input x\n")
    many = model([node(f"Swirl{i}", "x", f"t{i}", domain="my") for i in range(20)] + [total], others=["my"])
    refused("many operations", many, "my.Swirl7 t7 is not supported; it reads the input x\nconvgen.onnx: and 12 operations more\n")


ATTRIBUTES = [
    (("auto_pad", [1, 2]), "its attribute auto_pad is of the type ints: string is allowed"), (("auto_pad", "SOME"), "its auto_pad is SOME"),
    (("auto_pad", b"\xff\xfe"), "its attribute auto_pad is not UTF-8"), (("strides", [2**62, 1]), "its strides is [4611686018427387904, 1]: 2 numbers of 1 to 2147483647"),
    (("strides", [0, 1]), "its strides is"), (("strides", [1]), "its strides is"), (("strides", "ab"), "is of the type string: ints"), (("pads", [-1, 0, 0, 0]), "its pads is"),
    (("dilations", [2**31 - 1] * 2), "out of range"), (("group", 2), "its channels do not fit its groups"), (("group", 1.5), "is of the type float: int is allowed"),
    (("kernel_shape", [5, 5]), "do not fit"), (("swirl", 1), "its attribute swirl is not known"),
]


def test_attributes():
    for (name, value), sentence in ATTRIBUTES:
        refused(f"{name} {value}", model([node("Conv", "x w", "y", **{name: value})], weights={"w": real(4, 3, 3, 3)}), sentence)
    refused("nan", model([node("LeakyRelu", "x", "y", alpha=math.nan)]), "is nan: a finite number is allowed")


def test_graphs():
    refused("unknown", model([node("Relu", "z", "y")]), "the shape of z, which Relu y reads, is not known: nothing before it makes it")
    refused("order", model([node("Relu", "t", "y"), node("Relu", "x", "t")]), "the shape of t")
    refused("twice", model([node("Relu", "x", "y"), node("Neg", "x", "y")]), "is there a second time")
    refused("operands", model([node("Add", "x", "y")]), "Add y cannot be read: it has 1 operands: 2 to 2 are allowed")
    refused("missing", model([node("Sum", "x _ x", "y")]), "Sum y cannot be read: an operand of it is missing")
    refused("fit", model([node("Add", "x k", "y")], weights={"k": real(5)}), "its operands do not fit together: 1x3x8x8 and 5")
    refused("huge", model([node("Relu", "x", "y")], [("x", [2**31 - 1, 2**31 - 1])]), "out of range")
    refused("empty", model([node("Slice", "x a b", "y")], weights={"a": longs(0), "b": longs(0)}), "its result has no elements")
    for what, data, sentence in ("no ONNX", b"no model at all", "is not"), ("empty", b"", "it has no graph"), ("cut", model([node("Relu", "x", "y")]).SerializeToString()[:-9], "is not"):
        refused(what, data, sentence)
    name = model([node("Relu", "x", "QQQQ"), node("Relu", "QQQQ", "y")]).SerializeToString().replace(b"QQQQ", b"Q\xff\xfeQ")
    refused("not UTF-8", name, "a name in it is not UTF-8")
    short = model([node("Conv", "x w", "y")], weights={"w": real(4, 3, 3, 3)})
    short.graph.initializer[0].raw_data = bytes(5)
    refused("short data", short, "the constant 'w' has 5 bytes of data, 432 are needed")
    short.graph.initializer[0].dims[0] = 2**62
    refused("absurd sizes", short, "which are out of range")
    endless = helper.make_function("my", "F", ["a"], ["b"], [node("F", "a", "b", domain="my")], [helper.make_opsetid("my", 1)], [])
    refused("endless", model([node("F", "x", "y", domain="my")], others=["my"], functions=[endless]), "nested more than 64 deep")


def test_models():
    """What tests/models/make.py makes is read whole."""
    where = importlib.util.spec_from_file_location("make", os.path.join(source, "tests", "models", "make.py"))
    make = importlib.util.module_from_spec(where)
    where.loader.exec_module(make)
    counts = {"resnet50": (53, "1x1000"), "mobilenetv2": (52, "1x1000"), "unet": (19, "1x2x256x256"), "tiny": (9, "1x10")}
    for name, (convolutions, sizes) in counts.items():
        made = make.MODELS[name]()
        onnx.save(made, path)
        net = reader.read(path)
        check(f"{name} is read", sum(o.op == "conv" for o in net.operations) == convolutions and all(not o.lost for o in net.operations))
        check(f"{name}'s output", "x".join(map(str, net.outputs[0][1].dims)) == sizes)
    y = network_numpy.run(net, {"input": real(1, 3, 20, 24)}, constants.FOLDS)["output"]
    check(f"tiny's numbers: {y}", abs(y.sum() - 1) < 1e-5 and y.min() > 0 and y.max() < 0.9999)


def test_unwritten():
    """What was there stays when nothing can be written."""
    onnx.save(model([node("Relu", "x", "y")]), path)
    for to, sentence in (os.path.join(work, "no", "folder"), "No such file"), (os.path.join(work, "model.onnx", "x"), "Not a directory"):
        err = io.StringIO()
        with redirect_stderr(err):
            status = command.main([path, "-o", to])
        check(f"{to}: {err.getvalue()}", status == 1 and sentence in err.getvalue())
    clean()
    onnx.save(model([node("Conv", "x w", "y")], weights={"w": real(4, 3, 3, 3)}), path)
    os.mkdir(os.path.join(work, "there.net"))
    before = sorted(os.listdir(work))
    with redirect_stderr(io.StringIO()) as err:
        status = command.main([path, "-o", os.path.join(work, "there")])
    check(f"a folder: {err.getvalue()}", status == 1 and "Is a directory" in err.getvalue() and sorted(os.listdir(work)) == before)


NUMBERS = [0, -1, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**62, -2**63, 2**63 - 1]


def messages(message):
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.label == field.LABEL_REPEATED else [value]:
                yield from messages(inner)


def fault(r, made):
    """One wrong number, word or missing part somewhere."""
    message = r.choice([m for m in messages(made) if m.ListFields()])
    field, value = r.choice(message.ListFields())
    numbers = {field.TYPE_INT32: NUMBERS[:7], field.TYPE_INT64: NUMBERS, field.TYPE_FLOAT: [0.0, -1.0, math.nan, math.inf, 1e30], field.TYPE_STRING: ["", "x", "pads", "Conv"],
               field.TYPE_BYTES: [b"", b"\xff\xfe", b"SAME_UPPER"], field.TYPE_ENUM: list(field.enum_type.values_by_number) if field.enum_type else []}
    if field.label != field.LABEL_REPEATED and field.type in numbers:
        setattr(message, field.name, r.choice(numbers[field.type]))
    elif field.label == field.LABEL_REPEATED and field.type in numbers and r.random() < 0.7:
        value[r.randrange(len(value))] = r.choice(numbers[field.type])
    elif field.label == field.LABEL_REPEATED:
        del value[r.randrange(len(value))]


def test_faults(seed):
    """Whatever is wrong with a model: a sentence, or a file."""
    r, models = random.Random(seed), list(written)
    for i in range(500):
        made = onnx.ModelProto()
        made.CopyFrom(r.choice(models))
        for _ in range(r.randint(1, 3)):
            fault(r, made)
        try:
            status, text, err = run(made)
            check(f"seed {seed}, fault {i}: {status} {err}", (status == 0) == (text is not None) and (status == 0 or err))
        except Exception as e:
            check(f"seed {seed}, fault {i}: {type(e).__name__}: {e}\n{onnx.helper.printable_graph(made.graph)[:500]}", False)


for test in [test_file, test_names, test_outputs, test_numbers, test_rows, test_opsets, test_constants, test_arithmetic, test_inlined, test_initialisers, test_external,
             test_fused_convolution, test_transposed, test_dimensions, test_lost, test_attributes, test_graphs, test_models,
             test_unwritten]:
    test()
seed = int(os.environ.get("CONVGEN_SEED") or random.SystemRandom().randrange(1 << 30))
print("seed", seed)
test_faults(seed)
print("failed:", failed)
sys.exit(failed > 0)
