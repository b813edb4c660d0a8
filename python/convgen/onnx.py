"""The convolutions of an ONNX model as a list of problems that the convgen command reads.

    python3 -m convgen.onnx model.onnx > net.txt
    python3 -m convgen.onnx model.onnx --batch 4 --size 640x640 --dim frames=16

Needs python3-onnx, for the model and its shape inference. Conv of 1 to 3 spatial dimensions with groups, dilations, strides,
any pads and auto_pad becomes a forward pass, ConvTranspose one of a transposed convolution (--op=deconv). Everything
else is left out, and named on stderr. Names are kept. The model's tensors are channels-first; the list says channels-last, for
which there are the fastest kernels, unless --tag nchw asks for the model's own order.
"""
import argparse
import collections
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
        values[a.name] = list(a.ints) if a.ints else a.s.decode() if a.s else a.i
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


def layers(model, shapes, say):
    """(op, direction, type, problem and name), in the model's order."""
    taken, others = set(), collections.Counter()
    for node in model.graph.node:
        reader = READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if not reader:
            others[node.op_type] += 1
            continue
        try:
            problem = reader(node, shapes)
            line = text(problem)
        except LeftOut as e:
            say(f"left out {node.op_type} {label(node)}: {e}")
            continue
        yield *problem[:3], f'{line}n"{unique_name(node, taken)}"'
    if others:
        say("left out, being no convolutions: " + ", ".join(f"{n} {op}" for op, n in sorted(others.items())))


def write_list(model, path, tag, shapes, out, say):
    lines, before = [], ("conv",)
    for op, direction, kind, line in layers(model, shapes, say):
        if (op, direction, kind) != before:
            lines.append((f"--op={op} " if op != before[0] else "") + f"--dir={direction} --dt={kind} --tag={tag}")
            before = op, direction, kind
        lines.append(line)
    if not lines:
        raise Refused(f"{path} has no convolution that can be listed")
    out.write(f"# The convolutions of {os.path.basename(path)}, by python3 -m convgen.onnx.\n" + "\n".join(lines) + "\n")


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
    a = parser.parse_args(words)
    say = lambda sentence: print(f"convgen.onnx: {sentence}", file=sys.stderr)
    try:
        model = load(a.model)
        input_sizes(model, a.batch, a.size, dict(a.dim))
        write_list(model, a.model, a.tag, infer_shapes(model, a.model), sys.stdout, say)
    except Refused as e:
        say(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
