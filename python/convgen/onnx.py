"""The convolutions of an ONNX model as a list of problems that the convgen command reads.

    python3 -m convgen.onnx model.onnx > net.txt
    python3 -m convgen.onnx model.onnx --batch 4 --size 640x640 --dim frames=16

Needs python3-onnx, for the model and its shape inference. Conv of 1 to 3 spatial dimensions with groups, dilations, strides,
any pads and auto_pad becomes a forward pass, ConvTranspose one of a transposed convolution (--op=deconv), both with the activation and the
sum with a tensor of their shape that follow where nothing else reads what is between (--unfused: without).
Everything else is left out, and named on stderr. Names are kept. The model's tensors are channels-first; the list says channels-last, for
which there are the fastest kernels, unless --tag nchw asks for the model's own order.
"""
import argparse
import collections
import math
import os
import subprocess
import sys

if __name__ == "__main__" and not __package__:  # run as a file: beside it this module would be found for the package onnx
    sys.path.pop(0)

MOST = 2**31 - 1
TYPES = {1: "f32", 11: "f64"}
AXES = {1: "w", 2: "hw", 3: "dhw"}


class Refused(Exception):
    """A sentence for the user."""


class LeftOut(Exception):
    """Why a node is not in the list."""


# ---- the model ---------------------------------------------------------------------------------------------------------

def load(path):
    try:
        import onnx
    except ImportError:
        raise Refused("python3-onnx is not installed; it reads the model")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as e:
        raise Refused(f"{path}: {e.strerror}")
    except Exception:  # what protobuf raises has no public name
        raise Refused(f"{path} is not a whole ONNX file")
    if not model.graph.node:
        raise Refused(f"{path} is not an ONNX model: it has no graph")
    return model


def free_dimension(dim):
    return not dim.HasField("dim_value") or dim.dim_value <= 0


def input_sizes(model, batch, size, dims):
    """Gives the free dimensions of the inputs their sizes; what was asked for must be of use."""
    constants = {i.name for i in model.graph.initializer}
    unknown = []
    for tensor in model.graph.input:
        if tensor.name in constants:
            continue
        shape = tensor.type.tensor_type.shape.dim
        for place, dim in enumerate(shape):
            if dim.dim_param in dims:
                dim.dim_value = dims[dim.dim_param]
            elif place == 0 and batch and len(shape) >= 3:
                dim.dim_value = batch
            elif not free_dimension(dim):
                continue
            elif place == 0 and len(shape) >= 3:
                dim.dim_value = 1
            elif place >= 2 and len(size) == len(shape) - 2:
                dim.dim_value = size[place - 2]
            elif place >= 2 and size:
                raise Refused(f"--size has {len(size)} sizes, the input {tensor.name} has {len(shape) - 2} spatial dimensions")
            else:
                unknown.append(f"{tensor.name}[{place}]" + (f" ({dim.dim_param})" if dim.dim_param else ""))
    if unknown:
        raise Refused("the model leaves these dimensions free: " + ", ".join(unknown) + "; give them by --size HxW or --dim NAME=N")


INFER = ("import onnx, sys; m = onnx.load_model_from_string(sys.stdin.buffer.read()); "
         "sys.stdout.buffer.write(onnx.shape_inference.infer_shapes(m, data_prop=True).SerializeToString())")


def inferred(model, path):
    """By a process of its own: on a graph that does not fit together, onnx may crash."""
    import onnx

    done = subprocess.run([sys.executable, "-c", INFER], input=model.SerializeToString(), capture_output=True, cwd="/")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(f"{path}: its shapes cannot be inferred: {said[-1] if said and done.returncode > 0 else 'onnx crashed on it'}")
    return onnx.load_model_from_string(done.stdout)


def infer_shapes(model, path):
    """name -> (element type, sizes); a size that is not known is 0."""
    del model.graph.value_info[:]  # of other input sizes
    for tensor in model.graph.output:
        tensor.type.tensor_type.ClearField("shape")
    model = inferred(model, path)
    shapes = {i.name: (i.data_type, list(i.dims)) for i in model.graph.initializer}
    for tensor in list(model.graph.input) + list(model.graph.value_info) + list(model.graph.output):
        if tensor.name in shapes or not tensor.type.tensor_type.HasField("shape"):
            continue
        t = tensor.type.tensor_type
        shapes[tensor.name] = (t.elem_type, [0 if free_dimension(d) else d.dim_value for d in t.shape.dim])
    for node in model.graph.node:  # constants that are nodes
        for a in node.attribute:
            if node.op_type == "Constant" and a.name == "value":
                shapes[node.output[0]] = (a.t.data_type, list(a.t.dims))
    return shapes


# ---- a node -> a problem ------------------------------------------------------------------------------------------------

def attributes(node):
    values = {}
    for a in node.attribute:
        values[a.name] = list(a.ints) if a.ints else a.s.decode() if a.s else a.f if a.type == a.FLOAT else a.i
    return values


def tensors_of(node, shapes):
    x, w = (shapes.get(name) for name in node.input[:2])
    if not x or not x[1] or 0 in x[1]:
        raise Refused(f"the shape of {node.input[0]}, which {label(node)} reads, is not known")
    if not w or not w[1] or 0 in w[1]:
        raise Refused(f"the shape of {node.input[1]}, the weights of {label(node)}, is not known")
    rank = len(x[1]) - 2
    if rank not in AXES or len(w[1]) != rank + 2:
        raise LeftOut(f"it has {rank} spatial dimensions, 1 to 3 are allowed")
    if x[0] not in TYPES:
        raise LeftOut("its elements are neither f32 nor f64")
    if any(not 0 < n <= MOST for n in x[1] + w[1]):
        raise LeftOut("a size is out of range")
    return TYPES[x[0]], x[1], w[1], rank


def lists_of(node, rank, kernel):
    a = attributes(node)
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    pads = a.get("pads") or [0] * (2 * rank)
    given = a.get("kernel_shape") or kernel
    if [len(strides), len(dilations), len(pads)] != [rank, rank, 2 * rank] or given != kernel:
        raise LeftOut("its attributes do not fit its tensors")
    if min(strides + dilations) < 1:
        raise LeftOut("a stride or dilation is below 1")
    return a, strides, dilations, pads, a.get("auto_pad") or "NOTSET"


def halves(total, auto):
    """Leading and trailing part of a pad."""
    small, large = total // 2, total - total // 2
    return (large, small) if auto == "SAME_LOWER" else (small, large)


def direction_of(node):
    return "FWD_B" if len(node.input) > 2 and node.input[2] else "FWD_D"


def convolution(node, shapes):
    kind, x, w, rank = tensors_of(node, shapes)
    a, strides, dilations, pads, auto = lists_of(node, rank, w[2:])
    groups = a.get("group", 1)
    if groups < 1 or x[1] != w[1] * groups or w[0] % groups:
        raise LeftOut("its channels do not fit its groups")
    axes = []
    for i, name in enumerate(AXES[rank]):
        size, reach, s = x[2 + i], (w[2 + i] - 1) * dilations[i] + 1, strides[i]
        if auto.startswith("SAME"):
            out = (size + s - 1) // s
            first, _ = halves(max((out - 1) * s + reach - size, 0), auto)
        else:
            first, last = (0, 0) if auto == "VALID" else (pads[i], pads[rank + i])
            out = (size + first + last - reach) // s + 1
        axes.append((name, size, out, w[2 + i], s, first, dilations[i] - 1))
    return "conv", direction_of(node), kind, groups, x[0], x[1], w[0], axes


def transposed(node, shapes):
    kind, x, w, rank = tensors_of(node, shapes)
    a, strides, dilations, pads, auto = lists_of(node, rank, w[2:])
    groups, more, wanted = a.get("group", 1), a.get("output_padding") or [0] * rank, a.get("output_shape")
    if groups < 1 or x[1] != w[0] or x[1] % groups or len(more) != rank:
        raise LeftOut("its channels do not fit its groups")
    wanted = wanted[-rank:] if wanted else None
    axes = []
    for i, name in enumerate(AXES[rank]):
        reach, s = (w[2 + i] - 1) * dilations[i] + 1, strides[i]
        whole = s * (x[2 + i] - 1) + more[i] + reach
        if wanted or auto.startswith("SAME"):
            size = wanted[i] if wanted else x[2 + i] * s
            first, _ = halves(whole - size, "SAME_LOWER" if auto != "SAME_UPPER" else auto)
        else:
            first, last = (0, 0) if auto == "VALID" else (pads[i], pads[rank + i])
            size = whole - first - last
        if size > whole - more[i] - first + max(s, dilations[i]) - 1:
            raise LeftOut("its output is beyond what its taps and an output padding reach")
        axes.append((name, x[2 + i], size, w[2 + i], s, first, dilations[i] - 1))
    return "deconv", direction_of(node), kind, groups, x[0], x[1], w[1] * groups, axes


READERS = {"Conv": convolution, "ConvTranspose": transposed}


def text(problem):
    *_, groups, batch, ic, oc, axes = problem
    if any(not 0 < n <= MOST for _, size, out, *_ in axes for n in (size, out)):
        raise LeftOut("an input or output would have no elements")
    words = {"i": 1, "o": 2, "k": 3, "s": 4, "p": 5, "d": 6}
    spelled = lambda letter: "".join(f"{letter}{axis[0]}{axis[words[letter]]}" for axis in axes)
    return (f"g{groups}" if groups > 1 else "") + f"mb{batch}ic{ic}" + spelled("i") + f"oc{oc}" + "".join(map(spelled, "okspd"))


# ---- what follows a convolution ------------------------------------------------------------------------------------------

# Values are products: a number and a tuple of factors, which are X or (what, a value, numbers...). How nodes make them of values:
X, FORMS = "x", {
    "Relu": lambda a, v: form("limit", v[0], 0.0, math.inf),
    "Clip": lambda a, v: form("limit", v[0], *limits(a, v)),
    "LeakyRelu": lambda a, v: form("leaky", v[0], a.get("alpha", 0.01)),
    "PRelu": lambda a, v: form("leaky", v[0], v[1]),
    "HardSigmoid": lambda a, v: form("hardsigmoid", v[0], a.get("alpha", 0.2), a.get("beta", 0.5)),
    "HardSwish": lambda a, v: product(v[0], form("hardsigmoid", v[0], 1 / 6, 0.5)),
    "Gelu": lambda a, v: form("gelu", v[0]) if a.get("approximate", "none") == "none" else None,
    "Sigmoid": lambda a, v: form("sigmoid", v[0]),
    "Tanh": lambda a, v: form("tanh", v[0]),
    "Erf": lambda a, v: form("erf", v[0]),
    "Add": lambda a, v: with_number(v, lambda x, n: form("plus", x, n)),
    "Max": lambda a, v: with_number(v, lambda x, n: form("limit", x, n, math.inf)) if len(v) == 2 else None,
    "Min": lambda a, v: with_number(v, lambda x, n: form("limit", x, -math.inf, n)) if len(v) == 2 else None,
    "Mul": lambda a, v: with_number(v, lambda x, n: (x[0] * n, x[1])) or product(*v),
    "Div": lambda a, v: (v[0][0] / v[1], v[0][1]) if is_value(v[0]) and isinstance(v[1], float) and v[1] else None,
}
MOST_NODES = 8  # of an activation


def is_value(v):
    return isinstance(v, tuple)


def form(what, value, *numbers):
    known = is_value(value) and all(isinstance(n, (float, str)) for n in numbers)
    return (1.0, ((what, value, *numbers),)) if known else None


def limits(a, v):
    """Of Clip: inputs, or attributes before opset 11."""
    given = [v[i] if len(v) > i and v[i] is not None else a.get(name, free) for i, name, free in ((1, "min", -math.inf), (2, "max", math.inf))]
    largest = 3.4028234e38
    return [math.copysign(math.inf, g) if isinstance(g, float) and abs(g) > largest else g for g in given]


def with_number(v, make):
    for value, number in (v, v[::-1]) if len(v) == 2 else ():
        if is_value(value) and isinstance(number, float):
            return make(value, number)
    return None


def product(a, b):
    return (a[0] * b[0], tuple(sorted(a[1] + b[1], key=repr))) if is_value(a) and is_value(b) else None


def like(a, b):
    """Whether two values are one, their numbers as near as f32 has them; None in the second is any number."""
    if isinstance(b, tuple):
        return isinstance(a, tuple) and len(a) == len(b) and all(map(like, a, b))
    return isinstance(a, (float, str)) if b is None else a == b or isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-6)


def value_of(*factors, times=1.0):
    return times, tuple(sorted(factors, key=repr))


def spelled(number):
    """As short as it is told from its neighbours in f32."""
    import numpy

    return str(numpy.float32(number)).removesuffix(".0")


def word_of(value):
    """The command's word for an activation, or None."""
    x = value_of(X)
    fixed = {
        "relu": [value_of(("limit", x, 0.0, math.inf))], "sigmoid": [value_of(("sigmoid", x))], "tanh": [value_of(("tanh", x))],
        "silu": [value_of(X, ("sigmoid", x))], "prelu": [value_of(("leaky", x, "channels"))],
        "hardswish": [value_of(X, ("hardsigmoid", x, 1 / 6, 0.5)), value_of(X, ("limit", value_of(("plus", x, 3.0)), 0.0, 6.0), times=1 / 6)],
        "gelu": [value_of(("gelu", x)), value_of(X, ("plus", value_of(("erf", value_of(X, times=0.5**0.5))), 1.0), times=0.5)],
    }
    for word, forms in fixed.items():
        if any(like(value, f) for f in forms):
            return word
    if value[0] != 1.0 or len(value[1]) != 1 or value[1][0] == X:
        return None
    what, inner, *numbers = value[1][0]
    if any(isinstance(n, str) for n in numbers):
        return None
    if what == "limit" and numbers[1] == math.inf and like(inner, value_of(("leaky", x, None))) and inner[1][0][2] != "channels":
        return f"leaky:{spelled(inner[1][0][2])}:{spelled(numbers[0])}"
    word = {"limit": "clamp", "leaky": "leaky", "hardsigmoid": "hardsigmoid"}.get(what)
    if inner != x or not word or (what == "limit" and not numbers[0] <= numbers[1]):
        return None
    return ":".join([word, *map(spelled, numbers)])


class Graph:
    """Who makes and who reads a tensor; numbers that are known."""

    def __init__(self, graph, shapes):
        from onnx import numpy_helper

        self.nodes, self.shapes, self.numbers = graph.node, shapes, {}
        self.place = {out: i for i, node in enumerate(graph.node) for out in node.output}
        self.readers = collections.defaultdict(list)
        for i, node in enumerate(graph.node):
            for name in set(node.input):
                self.readers[name].append(i)
        self.results = {out.name for out in graph.output}
        constants = {i.name: i for i in graph.initializer}
        for node in graph.node:
            constants.update((node.output[0], a.t) for a in node.attribute if node.op_type == "Constant" and a.name == "value")
        self.constants = set(constants)
        for name, t in constants.items():
            if math.prod(t.dims) == 1 and t.data_location == 0 and t.data_type in TYPES:
                self.numbers[name] = float(numpy_helper.to_array(t).reshape(()))

    def operand(self, name, sizes):
        """A number, "channels" where a constant has one for each, or None."""
        own = self.shapes.get(name, (0, []))[1]
        along = [sizes[1]] + [1] * (len(sizes) - 2)  # from the end, as shapes are broadcast
        if name in self.constants and own and ([1] * len(sizes) + own)[-len(along):] == along and math.prod(own) == sizes[1] > 1:
            return "channels"
        return self.numbers.get(name)

    def activation(self, tensor, sizes):
        """(word, nodes, what it makes) of the longest one that reads the tensor; nothing else reads what is within."""
        values, inside, best = {tensor: (1.0, (X,))}, [], None
        for i in range(self.place[tensor] + 1, len(self.nodes)):
            node = self.nodes[i]
            if not any(name in values for name in node.input) or node.op_type not in FORMS or len(inside) == MOST_NODES:
                continue
            operands = [values.get(name, self.operand(name, sizes)) for name in node.input]
            value = FORMS[node.op_type](attributes(node), operands) if node.domain in ("", "ai.onnx") else None
            if value is None:
                continue
            inside.append(i)
            values[node.output[0]] = value
            outer = [name for name in values if name in self.results or not self.readers[name] or set(self.readers[name]) - set(inside)]
            if outer == [node.output[0]] and word_of(value):
                best = word_of(value), list(inside), node.output[0]
        return best

    def residual(self, tensor, sizes, before):
        """(node, what it makes) of a sum with a tensor of the same shape that is made before a place."""
        readers = self.readers[tensor]
        node = self.nodes[readers[0]] if len(readers) == 1 and tensor not in self.results else None
        if node is None or node.op_type not in ("Add", "Sum") or len(node.input) != 2 or node.input[0] == node.input[1]:
            return None
        other = node.input[node.input[0] == tensor]
        same = self.shapes.get(other, (0, []))[1] == sizes and other not in self.constants
        return (readers[0], node.output[0]) if same and self.place.get(other, -1) < before else None

    def epilogue(self, node):
        """(words of the command, nodes that they stand for) of what follows a convolution."""
        tensor, at, words, nodes = node.output[0], self.place[node.output[0]], [], []
        sizes = self.shapes.get(tensor, (0, []))[1]  # of all that follows as well
        while sizes and 0 not in sizes:
            found = None if any(w != "residual" for w in words) else self.activation(tensor, sizes)
            summed = None if found or "residual" in words else self.residual(tensor, sizes, at)
            if not found and not summed:
                break
            word, more, tensor = found or ("residual", [summed[0]], summed[1])
            words, nodes = words + [word], nodes + more
        return "+".join(words), nodes


# ---- the list --------------------------------------------------------------------------------------------------------------

def label(node):
    return node.name or (node.output[0] if node.output else "?")


def unique_name(node, taken):
    """As the list can hold it: without quotes and control characters, at most 63 bytes."""
    base = "".join(c for c in label(node) if c.isprintable() and c != '"') or "layer"
    name, n = base, 1
    while name in taken or len(name.encode()) > 63:
        n += 1
        name = f"{base.encode()[: 63 - len(str(n)) - 1].decode(errors='ignore')}_{n}"
    taken.add(name)
    return name


def counted(nodes):
    return ", ".join(f"{n} {op}" for op, n in sorted(collections.Counter(node.op_type for node in nodes).items()))


def layers(model, shapes, fuse, say):
    """(op, direction, type, epilogue, problem and name), in the model's order."""
    taken, others, fused, graph = set(), [], set(), Graph(model.graph, shapes)
    for i, node in enumerate(model.graph.node):
        reader = READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if not reader:
            others.append(i)
            continue
        try:
            problem = reader(node, shapes)
            line = text(problem)
        except LeftOut as e:
            say(f"left out {node.op_type} {label(node)}: {e}")
            continue
        words, nodes = graph.epilogue(node) if fuse else ("", [])
        fused.update(nodes)
        yield *problem[:3], words or "none", f'{line}n"{unique_name(node, taken)}"'
    nodes = model.graph.node
    if fused:
        say("done by the convolutions before them: " + counted(nodes[i] for i in fused))
    if set(others) - fused:
        say("left out, being no convolutions: " + counted(nodes[i] for i in others if i not in fused))


def write_list(model, a, shapes, out, say):
    lines, before = [], ("conv", None, None, "none")
    for *options, line in layers(model, shapes, not a.unfused, say):
        op, direction, kind, words = options = tuple(options)
        if options != before:
            lines.append((f"--op={op} " if op != before[0] else "") + f"--dir={direction} --dt={kind} --tag={a.tag}"
                         + (f" --epilogue={words}" if words != before[3] else ""))
            before = options
        lines.append(line)
    if not lines:
        raise Refused(f"{a.model} has no convolution that can be listed")
    out.write(f"# The convolutions of {os.path.basename(a.model)}, by python3 -m convgen.onnx.\n" + "\n".join(lines) + "\n")


# ---- the command -------------------------------------------------------------------------------------------------------------

def positive(word):
    if not word.isdigit() or not 0 < int(word) <= MOST:
        raise argparse.ArgumentTypeError(f"{word} is no whole number from 1 to {MOST}")
    return int(word)


def named_size(word):
    name, _, value = word.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{word} is not NAME=N")
    return name, positive(value)


def main(words=None):
    parser = argparse.ArgumentParser(prog="convgen.onnx", description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", type=positive, default=0, metavar="N", help="the first dimension of the inputs (default: the model's, 1 where it is free)")
    parser.add_argument("--size", type=lambda w: [positive(n) for n in w.split("x")], default=[], metavar="HxW", help="the free spatial dimensions")
    parser.add_argument("--dim", type=named_size, action="append", default=[], metavar="NAME=N", help="a free dimension by its name; may be repeated")
    parser.add_argument("--tag", choices=("nhwc", "nchw"), default="nhwc", help="the order of tensors that the list says (default nhwc)")
    parser.add_argument("--unfused", action="store_true", help="convolutions alone, without what follows them")
    a = parser.parse_args(words)
    say = lambda sentence: print(f"convgen.onnx: {sentence}", file=sys.stderr)
    try:
        model = load(a.model)
        input_sizes(model, a.batch, a.size, dict(a.dim))
        write_list(model, a, infer_shapes(model, a.model), sys.stdout, say)
    except Refused as e:
        say(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
