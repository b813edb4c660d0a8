"""The ONNX operations that are read, one row each: attributes, how many operands, and what it is in a network.

A row's rule(call, *operands) gives a value, or a list of them; a missing operand is None. It raises LeftOut where it cannot.
"""
import numpy

from . import arithmetic as n
from . import elements as e
from . import moves as m
from . import windows as w

MANY = 2**20


class Row:
    def __init__(self, rule, operands=(1, 1), attributes="", several=False):
        """several: outputs beside the first are there even where nothing reads them."""
        self.rule, self.fewest, self.most, self.several = rule, *operands, several
        self.attributes = dict(word.split(":") for word in attributes.split())


WINDOW = "auto_pad:string dilations:ints kernel_shape:ints pads:ints strides:ints"
REDUCE = "axes:ints keepdims:int noop_with_empty_axes:int"
BROADCAST = "broadcast:int axis:int"  # before opset 7
ARG = "axis:int keepdims:int select_last_index:int"
RESIZE = ("mode:string nearest_mode:string coordinate_transformation_mode:string cubic_coeff_a:float exclude_outside:int "
          "extrapolation_value:float antialias:int axes:ints keep_aspect_ratio_policy:string")

ROWS = {
    # convolutions and products
    "Conv": Row(w.convolution, (2, 3), WINDOW + " group:int"),
    "ConvTranspose": Row(w.transposed, (2, 3), WINDOW + " group:int output_padding:ints output_shape:ints"),
    "Gemm": Row(m.gemm, (2, 3), "alpha:float beta:float broadcast:int transA:int transB:int"),
    "MatMul": Row(m.matmul, (2, 2)),
    # windows
    "MaxPool": Row(w.pool("maxpool"), (1, 1), WINDOW + " ceil_mode:int storage_order:int"),
    "AveragePool": Row(w.pool("avgpool"), (1, 1), WINDOW + " ceil_mode:int count_include_pad:int"),
    "GlobalAveragePool": Row(e.global_pool("reduce_mean")),
    "GlobalMaxPool": Row(e.global_pool("reduce_max")),
    "Resize": Row(w.resize, (1, 4), RESIZE),
    "Upsample": Row(w.upsample, (1, 2), "mode:string scales:floats"),
    # element by element
    "Add": Row(e.binary("add"), (2, 2), BROADCAST),
    "Sub": Row(e.binary("sub"), (2, 2), BROADCAST),
    "Mul": Row(e.binary("mul"), (2, 2), BROADCAST),
    "Div": Row(e.binary("div"), (2, 2), BROADCAST),
    "Sum": Row(e.variadic("add"), (1, MANY)),
    "Max": Row(e.variadic("max"), (1, MANY)),
    "Min": Row(e.variadic("min"), (1, MANY)),
    "Mean": Row(e.mean, (1, MANY)),
    "Pow": Row(e.power, (2, 2), BROADCAST),
    "Sqrt": Row(e.same("sqrt")),
    "Exp": Row(e.same("exp")),
    "Log": Row(e.same("log")),
    "Neg": Row(e.same("neg")),
    "Abs": Row(e.same("abs")),
    "Erf": Row(e.same("erf")),
    "Reciprocal": Row(e.reciprocal),
    "Softplus": Row(e.same("softplus")),
    "Softsign": Row(e.softsign),
    "Mish": Row(e.mish),
    "Relu": Row(e.activation("relu")),
    "Clip": Row(e.clip, (1, 3), "min:float max:float"),
    "LeakyRelu": Row(e.activation("leaky", ("alpha", 0.01)), (1, 1), "alpha:float"),
    "PRelu": Row(e.prelu, (2, 2)),
    "Sigmoid": Row(e.activation("sigmoid")),
    "Tanh": Row(e.activation("tanh")),
    "HardSigmoid": Row(e.activation("hardsigmoid", ("alpha", 0.2), ("beta", 0.5)), (1, 1), "alpha:float beta:float"),
    "HardSwish": Row(e.activation("hardswish")),
    "Elu": Row(e.elu, (1, 1), "alpha:float"),
    "Selu": Row(e.selu, (1, 1), "alpha:float gamma:float"),
    "Celu": Row(e.celu, (1, 1), "alpha:float"),
    "Gelu": Row(e.gelu, (1, 1), "approximate:string"),
    # norms, and along axes
    "BatchNormalization": Row(e.batch_norm, (5, 5), "epsilon:float is_test:int momentum:float spatial:int training_mode:int"),
    "InstanceNormalization": Row(e.instance_norm, (3, 3), "epsilon:float"),
    "LayerNormalization": Row(e.layer_norm, (2, 3), "axis:int epsilon:float stash_type:int"),
    "GroupNormalization": Row(e.group_norm, (3, 3), "epsilon:float num_groups:int stash_type:int"),
    "Softmax": Row(e.softmax("softmax"), (1, 1), "axis:int"),
    "LogSoftmax": Row(e.softmax("logsoftmax"), (1, 1), "axis:int"),
    "ReduceMean": Row(e.reduced("reduce_mean"), (1, 2), REDUCE),
    "ReduceMax": Row(e.reduced("reduce_max"), (1, 2), REDUCE),
    "ReduceSum": Row(e.reduced("reduce_sum"), (1, 2), REDUCE),
    "ReduceMin": Row(e.reduced("reduce_max", e.same("neg"), e.same("neg")), (1, 2), REDUCE),
    "ReduceL1": Row(e.reduced("reduce_sum", e.same("abs")), (1, 2), REDUCE),
    "ReduceL2": Row(e.reduced("reduce_sum", e.squared, e.same("sqrt")), (1, 2), REDUCE),
    "ReduceSumSquare": Row(e.reduced("reduce_sum", e.squared), (1, 2), REDUCE),
    "ReduceLogSum": Row(e.reduced("reduce_sum", None, e.same("log")), (1, 2), REDUCE),
    "ArgMax": Row(e.arg(False), (1, 1), ARG),
    "ArgMin": Row(e.arg(True), (1, 1), ARG),
    # elements in other places
    "Concat": Row(m.concat, (1, MANY), "axis:int"),
    "Split": Row(m.split, (1, 2), "axis:int split:ints num_outputs:int", several=True),
    "Slice": Row(m.slice_, (1, 5), "starts:ints ends:ints axes:ints"),
    "Pad": Row(m.pad, (1, 4), "mode:string pads:ints value:float"),
    "Transpose": Row(m.transpose, (1, 1), "perm:ints"),
    "Reshape": Row(m.reshape, (2, 2), "allowzero:int"),
    "Flatten": Row(m.flatten, (1, 1), "axis:int"),
    "Squeeze": Row(m.squeeze, (1, 2), "axes:ints"),
    "Unsqueeze": Row(m.unsqueeze, (1, 2), "axes:ints"),
    "DepthToSpace": Row(m.depth_to_space, (1, 1), "blocksize:int mode:string"),
    "SpaceToDepth": Row(m.space_to_depth, (1, 1), "blocksize:int"),
    "Gather": Row(m.gather, (2, 2), "axis:int"),
    "Expand": Row(m.expand, (2, 2)),
    "Tile": Row(m.tile, (2, 2)),
    "Where": Row(m.where, (3, 3)),
    "Identity": Row(m.identity),
    "Dropout": Row(e.dropout, (1, 3), "is_test:int ratio:float seed:int"),
    "Cast": Row(e.cast, (1, 1), "to:int saturate:int"),
    "CastLike": Row(n.cast_like, (2, 2), "saturate:int"),
    # what is known while the model is read
    "Constant": Row(n.constant_of, (0, 0), "value:tensor sparse_value:sparse_tensor value_int:int value_ints:ints value_float:float "
                                           "value_floats:floats value_string:string value_strings:strings"),
    "ConstantOfShape": Row(n.constant_of_shape, (1, 1), "value:tensor"),
    "Shape": Row(n.shape, (1, 1), "start:int end:int"),
    "Size": Row(n.size),
    "Range": Row(n.of_constants(n.range_), (3, 3)),
    "Equal": Row(n.truth(numpy.equal), (2, 2)),
    "Less": Row(n.truth(numpy.less), (2, 2)),
    "LessOrEqual": Row(n.truth(numpy.less_equal), (2, 2)),
    "Greater": Row(n.truth(numpy.greater), (2, 2)),
    "GreaterOrEqual": Row(n.truth(numpy.greater_equal), (2, 2)),
    "And": Row(n.truth(numpy.logical_and), (2, 2)),
    "Or": Row(n.truth(numpy.logical_or), (2, 2)),
    "Xor": Row(n.truth(numpy.logical_xor), (2, 2)),
    "Not": Row(n.truth(numpy.logical_not)),
    "Floor": Row(n.plain(numpy.floor)),
    "Ceil": Row(n.plain(numpy.ceil)),
    "Round": Row(n.plain(numpy.rint)),
    "Sign": Row(n.plain(numpy.sign)),
    "Sin": Row(n.plain(numpy.sin)),
    "Cos": Row(n.plain(numpy.cos)),
    "Mod": Row(n.of_constants(n.modulo), (2, 2), "fmod:int"),
    "NonZero": Row(n.of_constants(n.nonzero)),
    "GatherND": Row(n.of_constants(n.gather_nd), (2, 2), "batch_dims:int"),
    "ScatterND": Row(n.of_constants(n.scatter_nd), (3, 3), "reduction:string"),
    "CumSum": Row(n.of_constants(n.cumsum), (2, 2), "exclusive:int reverse:int"),
    "ReduceProd": Row(n.of_constants(n.product), (1, 2), REDUCE),
}

MICROSOFT = {
    "FusedConv": Row(w.fused_convolution, (2, 4), WINDOW + " group:int activation:string activation_params:floats"),
}


def row_of(domain, op):
    """None: it is not read."""
    return {"": ROWS, "ai.onnx": ROWS, "com.microsoft": MICROSOFT}.get(domain, {}).get(op)
