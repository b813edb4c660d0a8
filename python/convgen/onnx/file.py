"""A network as a network file and its weights. Both are there whole, or nothing is: they are written beside their places first."""
import errno
import os
import tempfile
import zlib

import numpy

from . import spelling
from .errors import Refused
from .network import Operation

ALIGNED = 64
LONGEST_NAME = 1000
NUMBERS = {"add", "sub", "mul", "div", "max", "min"}  # what takes numbers in place of tensors


# ---- what is written ------------------------------------------------------------------------------------------------------

class Node:
    """Of what no node made."""

    def __init__(self, name):
        self.op, self.label, self.outputs = "output", name, [name]


def named_outputs(net):
    """Gives every output its name; what is another input, a constant or another output gets a view of its own."""
    results, taken = [], set()
    for name, value in net.outputs:
        if value.lost:
            continue
        if value in net.inputs and value.name == name:
            results.append(value)
            continue
        if value.maker is None or value in taken:
            o = Operation("reshape", [value], {"dims": value.dims}, Node(name))
            value = net.made(o)
        value.name = name
        taken.add(value)
        results.append(value)
    return results


def needed(net, outputs):
    """The operations that outputs need, in order."""
    wanted = {value.maker for value in outputs}
    for o in reversed(net.operations):
        if o in wanted:
            wanted.update(v.maker for v in o.operands if v.maker)
    return [o for o in net.operations if o in wanted]


class Names:
    """Every tensor's name, once."""

    def __init__(self, values):
        self.of, self.taken, self.last = {}, {""}, {}
        for value in values:
            self.take(value, value.name)

    def take(self, value, name):
        if len(name.encode(errors="replace")) > LONGEST_NAME:
            raise Refused(f"the name {name[:40]}... has more than {LONGEST_NAME} bytes")
        self.of[value] = name
        self.taken.add(name)

    def give(self, value, wish):
        if value in self.of:
            return
        wish = wish if len(wish.encode()) < LONGEST_NAME // 2 else wish[:100]
        name, n = wish, self.last.get(wish, 1)
        while name in self.taken:
            n += 1
            name = f"{wish}.{n}"
        self.last[wish] = n
        self.take(value, name)


def inline(o, operand):
    """The number that stands for a constant, or None."""
    a = operand.array
    others = [v for v in o.operands if v.array is None]
    fits = o.op in NUMBERS and a is not None and a.size == 1 and any(len(v.dims) >= a.ndim for v in others)
    return spelling.single(a.flat[0]) if fits and numpy.isfinite(a.flat[0]) and operand.type == "f32" else \
        spelling.number(a.flat[0]) if fits and numpy.isfinite(a.flat[0]) else None


class Writer:
    def __init__(self, net):
        self.outputs = named_outputs(net)
        self.inputs, self.operations = net.inputs, needed(net, self.outputs)
        self.names = Names(dict.fromkeys([*self.inputs, *self.outputs]))
        self.constants = {}  # value -> offset
        self.bytes = 0
        for o in self.operations:
            self.name(o)

    def name(self, o):
        for operand in o.operands:
            if operand.array is not None and inline(o, operand) is None and operand not in self.constants:
                self.names.give(operand, operand.name or f"{o.node.label}.constant")
                self.constants[operand] = self.bytes
                self.bytes += -(-operand.array.nbytes // ALIGNED) * ALIGNED
        for value in o.results:
            self.names.give(value, value.name or o.node.label)

    def operand(self, o, v):
        return inline(o, v) or spelling.name(self.names.of[v])

    def line(self, o):
        operands = [self.operand(o, v) for v in o.operands] + ([spelling.single(o.words["exponent"])] if o.op == "pow" else [])
        words = spelling.WORDS[o.op](o.words) if o.op in spelling.WORDS else ""
        results = ", ".join(spelling.name(self.names.of[v]) for v in o.results)
        return f"{results} = {o.op}({', '.join(operands)}) {words}".rstrip()

    def tensor(self, kind, v):
        return f"{kind} {spelling.name(self.names.of[v])} {v.type} {spelling.dims(v.dims)}"

    def text(self, title, weights, crc):
        lines = ["# " + "".join(c if c.isprintable() else "?" for c in title)]
        if self.constants:
            lines.append(f"weights {file_name(weights)} bytes {self.bytes} hash {crc:08x}")
        lines += [f"{self.tensor('tensor', v)} @{offset}" for v, offset in self.constants.items()]
        lines += [self.tensor("input", v) for v in self.inputs if not v.lost]
        lines += [self.line(o) for o in self.operations]
        return "\n".join(lines + [f"output {spelling.name(self.names.of[v])}" for v in self.outputs]) + "\n"

    def weights(self, to):
        """Writes the constants; their CRC-32."""
        crc = 0
        for v in self.constants:
            data = numpy.ascontiguousarray(v.array.astype(v.array.dtype.newbyteorder("<"), copy=False)).tobytes()
            data += bytes(-len(data) % ALIGNED)
            crc = zlib.crc32(data, crc)
            to.write(data)
        return crc


def file_name(path):
    name = os.path.basename(path)
    return name if name.isascii() and not set(name) & set(' \t"#') and name.isprintable() else spelling.name(name)


# ---- files ----------------------------------------------------------------------------------------------------------------------

class Beside:
    """Files that are written under other names until all are whole."""

    def __init__(self):
        self.files = []

    def open(self, path):
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix="." + os.path.basename(path)[:100])
        self.files.append((temporary, path))
        return os.fdopen(handle, "wb")

    def keep(self):
        mask = os.umask(0)
        os.umask(mask)
        for temporary, path in self.files:
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)

    def drop(self):
        for temporary, _ in self.files:
            if os.path.exists(temporary):
                os.unlink(temporary)


def write(net, base, title):
    writer, files = Writer(net), Beside()
    weights, text = base + ".weights", base + ".net"
    try:
        crc = 0
        if writer.constants:
            with files.open(weights) as to:
                crc = writer.weights(to)
        with files.open(text) as to:
            to.write(writer.text(title, weights, crc).encode())
        files.keep()
    except OSError as e:
        raise Refused(f"{base}.net: {e.strerror}")
    finally:
        files.drop()
    return writer
