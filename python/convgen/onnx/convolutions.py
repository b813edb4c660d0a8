"""The convolutions of a network as a list of problems that the convgen command reads, with what follows folded into them.

Names are kept. A model's tensors are channels-first; the list says channels-last, for which there are the fastest kernels, unless
the model's own order is asked for.
"""
import collections
import math
import os

from . import spelling
from .errors import Refused

MOST_NODES = 8  # of an activation
SCALED = ("batchnorm", "mul", "div", "add", "sub")
CONVOLUTIONS = ("Conv", "ConvTranspose", "com.microsoft.FusedConv")

# Values are products: a number and a tuple of factors, which are X or (what, a value, numbers...). How operations make them:
X, FORMS = "x", {
    "activate": lambda w, v: ACTIVATIONS.get(w["word"], lambda x, *n: form(w["word"], x, *n))(v[0], *w["numbers"]),
    "prelu": lambda w, v: form("leaky", v[0], v[1]),
    "erf": lambda w, v: form("erf", v[0]),
    "add": lambda w, v: with_number(v, lambda x, n: form("plus", x, n)),
    "max": lambda w, v: with_number(v, lambda x, n: form("limit", x, n, math.inf)),
    "min": lambda w, v: with_number(v, lambda x, n: form("limit", x, -math.inf, n)),
    "mul": lambda w, v: with_number(v, lambda x, n: (x[0] * n, x[1])) or product(*v) if len(v) == 2 else None,
    "div": lambda w, v: (v[0][0] / v[1], v[0][1]) if is_value(v[0]) and isinstance(v[1], float) and v[1] else None,
}
ACTIVATIONS = {
    "relu": lambda x: form("limit", x, 0.0, math.inf),
    "clamp": lambda x, lo, hi: form("limit", x, lo, hi),
    "hardswish": lambda x: product(x, form("hardsigmoid", x, 1 / 6, 0.5)),
    "silu": lambda x: product(x, form("sigmoid", x)),
}


def is_value(v):
    return isinstance(v, tuple)


def form(what, value, *numbers):
    known = is_value(value) and all(isinstance(n, (float, str)) for n in numbers)
    return (1.0, ((what, value, *numbers),)) if known else None


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
    if b is None:
        return isinstance(a, (float, str))
    return a == b or isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-6)


def value_of(*factors, times=1.0):
    return times, tuple(sorted(factors, key=repr))


def word_of(value):
    """The command's word for an activation, or None."""
    x = value_of(X)
    fixed = {
        "relu": [value_of(("limit", x, 0.0, math.inf))], "sigmoid": [value_of(("sigmoid", x))], "tanh": [value_of(("tanh", x))],
        "silu": [value_of(X, ("sigmoid", x))], "prelu": [value_of(("leaky", x, "channels"))],
        "hardswish": [value_of(X, ("hardsigmoid", x, 1 / 6, 0.5)),
                      value_of(X, ("limit", value_of(("plus", x, 3.0)), 0.0, 6.0), times=1 / 6)],
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
        return f"leaky:{spelling.single(inner[1][0][2])}:{spelling.single(numbers[0])}"
    word = {"limit": "clamp", "leaky": "leaky", "hardsigmoid": "hardsigmoid"}.get(what)
    if inner != x or not word or (what == "limit" and not numbers[0] <= numbers[1]):
        return None
    return ":".join([word, *map(spelling.single, numbers)])


class Graph:
    """Who makes and who reads a tensor."""

    def __init__(self, net):
        self.operations = net.operations
        self.place = {v: i for i, o in enumerate(net.operations) for v in o.results}
        self.readers = collections.defaultdict(list)
        for i, o in enumerate(net.operations):
            for v in dict.fromkeys(o.operands):
                self.readers[v].append(i)
        self.results = {v for _, v in net.outputs}

    def operand(self, v, dims):
        """A number, "channels" where a constant has one for each, or None."""
        if v.array is None:
            return None
        along = (dims[1],) + (1,) * (len(dims) - 2)  # from the end, as shapes are broadcast
        if len(v.dims) <= len(dims) and ((1,) * len(dims) + v.dims)[-len(along):] == along and v.array.size == dims[1] > 1:
            return "channels"
        return float(v.array.flat[0]) if v.array.size == 1 else None

    def sole_reader(self, tensor):
        readers = self.readers[tensor]
        return (readers[0], self.operations[readers[0]]) if len(readers) == 1 and tensor not in self.results else (None, None)

    def scaled(self, tensor):
        """(operation, what it makes) of a normalisation, or of a constant for each channel: weights and bias have them."""
        i, o = self.sole_reader(tensor)
        if o is None or o.op not in SCALED or o.results[0].dims != tensor.dims or o.op == "div" and o.operands[0] is not tensor:
            return None
        others = [v for v in o.operands if v is not tensor]
        known = all(v.array is not None for v in others) if o.op == "batchnorm" else \
            len(others) == 1 and self.operand(others[0], tensor.dims) is not None
        return (i, o.results[0]) if known else None

    def activation(self, tensor):
        """(word, operations, what it makes) of the longest one that reads the tensor; nothing else reads what is within."""
        values, inside, best = {tensor: (1.0, (X,))}, [], None
        for i in range(self.place[tensor] + 1, len(self.operations)):
            o = self.operations[i]
            if not any(v in values for v in o.operands) or o.op not in FORMS or len(inside) == MOST_NODES:
                continue
            value = FORMS[o.op](o.words, [values.get(v, self.operand(v, tensor.dims)) for v in o.operands])
            if value is None:
                continue
            inside.append(i)
            values[o.results[0]] = value
            outer = [v for v in values if v in self.results or not self.readers[v] or set(self.readers[v]) - set(inside)]
            if outer == [o.results[0]] and word_of(value):
                best = word_of(value), list(inside), o.results[0]
        return best

    def residual(self, tensor, before):
        """(operation, what it makes) of a sum with a tensor of the same shape that is made before a place."""
        i, o = self.sole_reader(tensor)
        if o is None or o.op != "add" or len(o.operands) != 2 or o.operands[0] is o.operands[1]:
            return None
        other = o.operands[o.operands[0] is tensor]
        there = other.dims == tensor.dims and other.array is None and self.place.get(other, -1) < before
        return (i, o.results[0]) if there else None

    def epilogue(self, convolution):
        """(whether there is a bias, words of the command, operations that they stand for) of what follows a convolution."""
        tensor, words, inside, biased = convolution.results[0], [], [], len(convolution.operands) > 2
        at = self.place[tensor]
        while self.scaled(tensor):
            i, tensor = self.scaled(tensor)
            inside, biased = inside + [i], biased or self.operations[i].op not in ("mul", "div")
        while True:
            found = None if any(w != "residual" for w in words) else self.activation(tensor)
            summed = None if found or "residual" in words else self.residual(tensor, at)
            if not found and not summed:
                return biased, "+".join(words), inside
            word, more, tensor = found or ("residual", [summed[0]], summed[1])
            words, inside = words + [word], inside + more


# ---- the list --------------------------------------------------------------------------------------------------------------

def unique_name(label, taken):
    """As the list can hold it: without quotes and control characters, at most 63 bytes."""
    base = "".join(c for c in label if c.isprintable() and c != '"') or "layer"
    name, n = base, 1
    while name in taken or len(name.encode()) > 63:
        n += 1
        name = f"{base.encode()[: 63 - len(str(n)) - 1].decode(errors='ignore')}_{n}"
    taken.add(name)
    return name


def counted(operations):
    nodes = {o.node: o.node.op for o in operations}
    return ", ".join(f"{n} {op}" for op, n in sorted(collections.Counter(nodes.values()).items()))


def layers(net, fuse, say):
    """(op, direction, type, epilogue, problem and name), in the model's order."""
    taken, listed, fused, graph = set(), set(), set(), Graph(net)
    for i, o in enumerate(net.operations):
        if o.op not in ("conv", "deconv"):
            continue
        biased, words, inside = graph.epilogue(o) if fuse else (len(o.operands) > 2, "", [])
        fused.update(inside)
        listed.add(i)
        problem = spelling.descriptor(o.words, o.operands[0].dims[0])
        named = f'{problem}n"{unique_name(o.node.label, taken)}"'
        yield o.op, "FWD_B" if biased else "FWD_D", o.operands[0].type, words or "none", named
    if fused:
        say("done by the convolutions before them: " + counted(net.operations[i] for i in sorted(fused)))
    others = [o for i, o in enumerate(net.operations) if i not in fused | listed]
    if others:
        say("left out, being no convolutions: " + counted(others))


def say_left_out(net, say):
    """Convolutions, and what they are lost with."""
    for lost in net.left_out:
        if not lost.cause or lost.op in CONVOLUTIONS:
            behind = f", as {lost.cause.op} {lost.cause.label} was left out" if lost.cause else ""
            say(f"left out {lost.op} {lost.label}: {lost.why}{behind}")


def write_list(net, a, out, say):
    lines, before = [], ("conv", None, None, "none")
    say_left_out(net, say)
    for *options, line in layers(net, not a.unfused, say):
        op, direction, kind, words = options = tuple(options)
        if options != before:
            lines.append((f"--op={op} " if op != before[0] else "") + f"--dir={direction} --dt={kind} --tag={a.tag}"
                         + (f" --epilogue={words}" if words != before[3] else ""))
            before = options
        lines.append(line)
    if not lines:
        raise Refused(f"{a.model} has no convolution that can be listed")
    out.write(f"# The convolutions of {os.path.basename(a.model)}, by python3 -m convgen.onnx.\n" + "\n".join(lines) + "\n")
