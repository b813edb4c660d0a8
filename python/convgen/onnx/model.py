"""An ONNX file as graphs of nodes whose attributes have been checked, and arrays.

load(path) gives a Model or raises Refused. A file is never trusted: types, sizes and places are checked before use, external
data lies in the model's folder or below it. What onnx itself infers or checks is not used: Debian's knows opsets up to 17.
"""
import math
import os
import warnings

import numpy

from .errors import LeftOut, Refused

MOST = 2**31 - 1
MOST_ELEMENTS = 2**40
MOST_DENSE = 2**28
STANDARD = ("", "ai.onnx")
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64",
          12: "uint32", 13: "uint64"}
DTYPES = {number: numpy.dtype(name) for number, name in DTYPES.items()}
OTHERS = {8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4",
          22: "int4"}
KINDS = {1: "float", 2: "int", 3: "string", 4: "tensor", 5: "graph", 6: "floats", 7: "ints", 8: "strings", 11: "sparse_tensor"}
FIELDS = {"float": "f", "int": "i", "string": "s", "tensor": "t", "graph": "g", "floats": "floats", "ints": "ints", "strings": "strings",
          "sparse_tensor": "sparse_tensor"}
FUNCTION_DEFAULTS = 11  # FunctionProto.attribute_proto, which onnx 1.12 does not know


def type_name(number):
    return DTYPES[number].name if number in DTYPES else OTHERS.get(number, f"type {number}")


def label(node):
    return node.name or next((name for name in node.output if name), "") or node.op_type


# ---- arrays --------------------------------------------------------------------------------------------------------------

def checked_dims(dims, what):
    dims = tuple(dims)
    if any(not 0 <= n <= MOST for n in dims) or math.prod(dims) > MOST_ELEMENTS or len(dims) > 32:
        raise Refused(f"{what} has the sizes {'x'.join(map(str, dims))}, which are out of range")
    return dims


def is_inside(folder, place):
    """Links within the folder are followed, and stay there."""
    if not place or os.path.isabs(place) or ".." in place.replace("\\", "/").split("/"):
        return False
    top, there = os.path.realpath(folder), os.path.realpath(os.path.join(folder, place))
    return os.path.commonpath([top, there]) == top


def external(tensor, dtype, count, folder, what):
    """Maps what lies in a file beside the model."""
    entries = {e.key: e.value for e in tensor.external_data}
    place, offset = entries.get("location", ""), entries.get("offset", "0")
    length = entries.get("length", str(count * dtype.itemsize))
    if not is_inside(folder, place):
        raise Refused(f"the data of {what} are said to be in {place!r}: a file in the model's folder is needed")
    if not (offset.isdigit() and length.isdigit()) or int(length) != count * dtype.itemsize:
        raise Refused(f"the data of {what} have the offset {offset} and length {length}: {count * dtype.itemsize} bytes are needed")
    return mapped(os.path.join(folder, place), dtype, count, int(offset), what)


def mapped(path, dtype, count, offset, what):
    try:
        size = os.path.getsize(path)
        if offset + count * dtype.itemsize > size:
            raise Refused(f"the data of {what} end behind the end of {path}, which has {size} bytes")
        return numpy.memmap(path, dtype.newbyteorder("<"), "r", offset, (count,)) if count else numpy.zeros(0, dtype)
    except OSError as e:
        raise Refused(f"{path}, the data of {what}: {e.strerror}")


def array_of(tensor, folder):
    """A constant's elements; None where NumPy has no such type. folder: None where external data are not allowed."""
    from onnx import numpy_helper

    what = f"the constant {tensor.name!r}"
    dims, dtype = checked_dims(tensor.dims, what), DTYPES.get(tensor.data_type)
    if dtype is None:
        return None
    if tensor.data_location == 1:
        return external(tensor, dtype, math.prod(dims), folder, what).reshape(dims)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != math.prod(dims) * dtype.itemsize:
            raise Refused(f"{what} has {len(tensor.raw_data)} bytes of data, {math.prod(dims) * dtype.itemsize} are needed")
        return numpy.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(dims)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError, KeyError):
        raise Refused(f"{what} of {'x'.join(map(str, dims))} has not as many elements of data")


def dense(sparse, folder):
    values, indices = array_of(sparse.values, folder), array_of(sparse.indices, folder)
    dims = checked_dims(sparse.dims, f"the sparse constant {sparse.values.name!r}")
    if values is None or indices is None or math.prod(dims) > MOST_DENSE:
        return None
    if values.ndim != 1 or indices.shape not in ((values.size,), (values.size, len(dims))):
        raise Refused(f"the sparse constant {sparse.values.name!r} has not an index for each value")
    result = numpy.zeros(dims, values.dtype)
    try:
        if indices.ndim == 1:
            result.reshape(-1)[indices] = values
        else:
            result[tuple(indices.T)] = values
    except IndexError:
        raise Refused(f"the sparse constant {sparse.values.name!r} has an index out of range")
    return result


# ---- attributes ------------------------------------------------------------------------------------------------------------

def kind_of(a):
    """Old files do not say it."""
    if a.type in KINDS:
        return KINDS[a.type]
    lists = [kind for kind in ("ints", "floats", "strings") if len(getattr(a, FIELDS[kind]))]
    return (lists + [kind for kind in ("string", "tensor", "graph", "float", "int") if a.HasField(FIELDS[kind])] + ["ints"])[0]


def decoded(name, text):
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise LeftOut(f"its attribute {name} is not UTF-8")


def value_of(a):
    kind = kind_of(a)
    value = getattr(a, FIELDS[kind])
    if kind == "string":
        return decoded(a.name, value)
    if kind == "strings":
        return [decoded(a.name, text) for text in value]
    return list(value) if kind in ("ints", "floats") else value


class Attributes:
    """Of a node, as a row declares them: {name: kind}; a missing one is None."""

    def __init__(self, node, declared):
        for name in declared:
            setattr(self, name, None)
        for a in node.attribute:
            if a.name not in declared:
                raise LeftOut(f"its attribute {a.name} is not known")
            self.take(a, declared[a.name])

    def take(self, a, kind):
        given = kind_of(a)
        if given != kind and not (kind == "ints" and given == "floats" and not a.floats):
            raise LeftOut(f"its attribute {a.name} is of the type {given}: {kind} is allowed")
        value = value_of(a)
        if kind in ("int", "ints") and any(not -2**63 <= n < 2**63 for n in numpy.atleast_1d(numpy.array(value, object))):
            raise LeftOut(f"its attribute {a.name} is out of range")
        setattr(self, a.name, value)


# ---- functions ---------------------------------------------------------------------------------------------------------------

class Function:
    """A node that is one stands for these nodes."""

    def __init__(self, proto):
        import onnx

        self.inputs, self.outputs, self.nodes = list(proto.input), list(proto.output), list(proto.node)
        self.opsets = {o.domain: o.version for o in proto.opset_import}
        later = proto.UnknownFields() if hasattr(proto, "UnknownFields") else []
        known = list(getattr(proto, "attribute_proto", []))
        known += [onnx.AttributeProto.FromString(f.data) for f in later if f.field_number == FUNCTION_DEFAULTS]
        self.defaults = {a.name: a for a in known}

    def called(self, node):
        """Its nodes, with the call's attributes in place of references."""
        given = {**self.defaults, **{a.name: a for a in node.attribute}}
        return [resolved(n, given) for n in self.nodes]


def resolved(node, given):
    if not any(refers(a) for a in node.attribute):
        return node
    copy = type(node)()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for a in node.attribute:
        copy.attribute.extend(replaced(a, given))
    return copy


def refers(a):
    return bool(a.ref_attr_name) or any(refers(b) for n in a.g.node for b in n.attribute)


def replaced(a, given):
    """The attribute that takes another's place: none where it is not given."""
    copy = type(a)()
    copy.CopyFrom(given[a.ref_attr_name] if a.ref_attr_name in given else a)
    if a.ref_attr_name:
        copy.name = a.name
        return [copy] if a.ref_attr_name in given else []
    if a.HasField("g"):
        nodes = [resolved(n, given) for n in a.g.node]
        del copy.g.node[:]
        copy.g.node.extend(nodes)
    return [copy]


# ---- the file -----------------------------------------------------------------------------------------------------------------

class Model:
    def __init__(self, path, proto):
        self.path, self.graph, self.folder = path, proto.graph, os.path.dirname(os.path.abspath(path))
        self.opsets = {o.domain: o.version for o in proto.opset_import}
        self.functions = {(f.domain, f.name): Function(f) for f in proto.functions}


def parsed(path):
    try:
        import onnx
    except ImportError:
        raise Refused("python3-onnx is not installed; it reads the model")
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # that not all of it was read
            return onnx.ModelProto.FromString(file.read())
    except OSError as e:
        raise Refused(f"{path}: {e.strerror}")
    except Exception:  # what protobuf raises has no public name
        raise Refused(f"{path} is not a whole ONNX file")


def texts(message):
    """Every text in a message, and in those within."""
    for field, value in message.ListFields():
        values = value if field.label == field.LABEL_REPEATED else [value]
        if field.type == field.TYPE_STRING:
            yield from values
        elif field.type == field.TYPE_MESSAGE:
            for inner in values:
                yield from texts(inner)


def load(path):
    proto = parsed(path)
    if not all(isinstance(text, str) for text in texts(proto)):  # protobuf gives bytes for them, or an exception
        raise Refused(f"{path}: a name in it is not UTF-8")
    if not proto.graph.node:
        raise Refused(f"{path} is not an ONNX model: it has no graph")
    return Model(path, proto)
