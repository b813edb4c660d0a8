"""From a model to a network: node after node, functions and constant conditions inlined.

A node that cannot be read is Lost with a reason; so is what follows it, but shapes go on where the model has stored them.
"""
import collections

from . import operations, sizes, unsupported
from .calls import Call
from .errors import LeftOut, Refused
from .model import DTYPES, STANDARD, Attributes, array_of, checked_dims, dense, label, type_name
from .network import TYPES, Lost, Network, Value, constant

DEEPEST = 64


class Node:
    """What is kept of a node: its operation, its name as the user knows it, and its results."""

    def __init__(self, proto, prefix):
        self.op, self.label = ("" if proto.domain in STANDARD else proto.domain + ".") + proto.op_type, prefix + label(proto)
        self.outputs = list(proto.output)


def names_read(nodes):
    """By nodes, and by the graphs within them."""
    for node in nodes:
        yield from node.input
        for a in node.attribute:
            yield from names_read(a.g.node)
            yield from (o.name for o in a.g.output)


class Scope:
    """Names within a graph; those of the graphs around it are known too."""

    def __init__(self, outer, nodes, opsets, prefix="", depth=0):
        self.values = collections.ChainMap({}, *(outer.values.maps if outer else []))
        self.nodes, self.opsets, self.prefix, self.depth = nodes, opsets, prefix, depth
        self.read = set(names_read(nodes))  # what an unused second output is told by
        if depth > DEEPEST:
            raise Refused(f"its graphs and functions are nested more than {DEEPEST} deep")

    def version(self):
        return self.opsets.get("", self.opsets.get("ai.onnx", 0))

    def get(self, name, node):
        if name not in self.values:
            raise Refused(f"the shape of {name}, which {node.op} {node.label} reads, is not known: nothing before it makes it")
        return self.values[name]


class Walk:
    def __init__(self, model, wishes):
        self.model, self.net, self.wishes = model, Network(), wishes
        self.stored, self.free_names = {}, {}

    def run(self):
        graph = self.model.graph
        scope = Scope(None, graph.node, self.model.opsets)
        self.initialisers(graph, scope)
        self.inputs([i for i in graph.input if i.name not in scope.values], scope)
        self.nodes(scope, graph)
        names = dict.fromkeys(o.name for o in graph.output)
        self.net.outputs = [(name, self.output(name, scope.get(name, OUTPUT))) for name in names]
        return self.net

    # ---- what is there at the start ------------------------------------------------------------------------------------------

    def initialisers(self, graph, scope):
        for tensor in graph.initializer:
            scope.values[tensor.name] = self.initialiser(tensor, array_of(tensor, self.model.folder))
        for tensor in graph.sparse_initializer:
            scope.values[tensor.values.name] = self.initialiser(tensor.values, dense(tensor, self.model.folder))

    def initialiser(self, tensor, array):
        if array is not None:
            return constant(array, tensor.name)
        why = f"its elements are {type_name(tensor.data_type)}"
        return Value(None, tuple(tensor.dims), lost=Lost("the constant", tensor.name, why))

    def inputs(self, tensors, scope):
        dims, self.free_names = sizes.settled([t for t in tensors if t.type.tensor_type.HasField("shape")], self.wishes)
        for tensor in tensors:
            value = self.input(tensor, dims.get(tensor.name))
            value.name = tensor.name
            scope.values[tensor.name] = value
            self.net.inputs.append(value)

    def input(self, tensor, dims):
        kind = tensor.type.tensor_type.elem_type
        why = None
        if not tensor.type.HasField("tensor_type") or dims is None:
            why = "it is no tensor" if not tensor.type.HasField("tensor_type") else "the model does not say how many dimensions it has"
        elif DTYPES.get(kind) not in TYPES:
            why = f"its elements are {type_name(kind)}: f32, f64 and i64 are allowed"
        dims = None if dims is None else checked_dims(dims, f"the input {tensor.name}")
        return Value(DTYPES.get(kind), dims, lost=Lost("the input", tensor.name, why) if why else None)

    def output(self, name, value):
        """A constant of other types can be no output."""
        if value.array is None or (value.type and value.array.size):
            return value
        why = "it has no elements" if value.type else f"its elements are {value.kind}: f32, f64 and i64 are allowed"
        return Value(value.dtype, value.dims, lost=Lost("the output", name, why))

    # ---- graphs ------------------------------------------------------------------------------------------------------------------

    def nodes(self, scope, graph=None, outputs=()):
        for tensor in list(graph.value_info) + list(graph.output) if graph else []:
            self.stored[scope.prefix + tensor.name] = tensor
        scope.read.update(o.name for o in graph.output) if graph else scope.read.update(outputs)
        for proto in scope.nodes:
            node = Node(proto, scope.prefix)
            operands = [scope.get(name, node) if name else None for name in proto.input]
            for name, value in zip(proto.output, self.results(node, proto, operands, scope)):
                self.define(scope, name, value, node)

    def define(self, scope, name, value, node):
        if not name:
            return
        if name in scope.values.maps[0]:
            raise Refused(f"{name}, which {node.op} {node.label} makes, is there a second time")
        value.name = value.name or scope.prefix + name
        scope.values[name] = value

    def results(self, node, proto, operands, scope):
        try:
            inside = self.inside(node, proto, operands, scope)
            return inside if inside is not None else self.translated(node, proto, operands, scope)
        except LeftOut as e:
            return self.left_out(node, proto, operands, str(e), scope)

    def inside(self, node, proto, operands, scope):
        """The results of the graph or function that a node stands for; None: it is neither."""
        function = self.model.functions.get((proto.domain, proto.op_type))
        if function:
            return self.called(function, node, proto, operands, scope)
        if proto.op_type == "If" and proto.domain in STANDARD:
            return self.branch(node, proto, operands, scope)
        return None

    def called(self, function, node, proto, operands, scope):
        inner = Scope(None, function.called(proto), function.opsets or scope.opsets, node.label + "/", scope.depth + 1)
        inner.values.update(zip(function.inputs, operands + [None] * len(function.inputs)))
        self.nodes(inner, outputs=function.outputs)
        return [inner.get(name, node) for name in function.outputs]

    def branch(self, node, proto, operands, scope):
        a = Attributes(proto, {"then_branch": "graph", "else_branch": "graph"})
        if len(operands) != 1 or operands[0] is None or operands[0].array is None or operands[0].array.size != 1:
            raise LeftOut("its condition is not constant")
        graph = a.then_branch if operands[0].array.reshape(-1)[0] else a.else_branch
        if graph is None:
            raise LeftOut("it has not both branches")
        inner = Scope(scope, graph.node, scope.opsets, scope.prefix, scope.depth + 1)
        self.initialisers(graph, inner)
        self.nodes(inner, graph)
        return [inner.get(o.name, node) for o in graph.output]

    # ---- a node ----------------------------------------------------------------------------------------------------------------------

    def translated(self, node, proto, operands, scope):
        row = operations.row_of(proto.domain, proto.op_type)
        if row is None:
            raise LeftOut("it is not supported")
        while operands and operands[-1] is None:
            operands = operands[:-1]
        if not row.fewest <= len(operands) <= row.most:
            raise LeftOut(f"it has {len(operands)} operands: {row.fewest} to {row.most} are allowed")
        if None in operands[:len(operands) if row.most == operations.MANY else row.fewest]:
            raise LeftOut("an operand of it is missing")
        node.outputs = [name if name in scope.read or i == 0 or row.several else "" for i, name in enumerate(node.outputs)]
        call = Call(self.net, node, scope.version(), Attributes(proto, row.attributes), self.model.folder)
        result = row.rule(call, *operands)
        results = result if isinstance(result, list) else [result]
        if any(node.outputs[len(results):]):
            raise LeftOut("an output of it is asked for that is not made")
        return results

    def left_out(self, node, proto, operands, why, scope):
        """Shapes may be known all the same: from the model, or because the operation is."""
        before = next((v.lost for v in operands if v is not None and v.lost), None)
        cause = (before.cause or before) if before and is_known(proto) else None
        lost = Lost(node.op, node.label, why, [v for v in operands if v is not None], cause)
        lost.macs = unsupported.macs_of(node, operands)
        self.net.left_out.append(lost)
        dims, dtype = unsupported.dims_of(node, proto, operands) + [None] * len(node.outputs), unsupported.dtype_of(node, operands)
        return [self.as_stored(scope.prefix + name, lost) or Value(dtype, d, lost=lost) for name, d in zip(node.outputs, dims)]

    def as_stored(self, name, lost):
        """What the model says of a tensor; None: not all sizes."""
        tensor = None if self.wishes.batch else self.stored.get(name)  # of the model's own batch
        t = tensor.type.tensor_type if tensor is not None and tensor.type.HasField("tensor_type") else None
        if t is None or not t.HasField("shape"):
            return None
        dims = tuple(self.free_names.get(d.dim_param, 0) if sizes.free(d) else d.dim_value for d in t.shape.dim)
        return Value(DTYPES.get(t.elem_type), dims, lost=lost) if all(dims) else None


def is_known(proto):
    """Whether it could be read elsewhere."""
    return operations.row_of(proto.domain, proto.op_type) is not None or (proto.op_type == "If" and proto.domain in STANDARD)


OUTPUT = Node.__new__(Node)
OUTPUT.op, OUTPUT.label, OUTPUT.outputs = "the output", "of the model", []
