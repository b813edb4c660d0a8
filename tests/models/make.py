#!/usr/bin/python3
"""Networks as ONNX files with random weights, for tests and benchmarks: python3 tests/models/make.py FOLDER [NAME...]

    resnet50      ResNet-50, 1x3x224x224 to 1000 classes, batch normalisation not folded
    mobilenetv2   MobileNetV2, likewise, with Clip to 0 and 6
    unet          a U-Net of four levels, 1x3x256x256, as PyTorch exports it: bilinear `interpolate` to the size that Shape says
    tiny          a few layers of each kind, for quick tests
Weights are drawn so that every layer keeps the variance of what it reads (He); statistics of batch normalisation are near 0 and 1. So
outputs neither vanish nor explode. The seed is fixed: a file is the same everywhere. Weights are random, not trained. Needs python3-onnx.
"""
import os
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20261201


class Maker:
    def __init__(self, opset=13):
        self.nodes, self.constants, self.opset = [], [], opset
        self.random = numpy.random.default_rng(SEED)

    def constant(self, array, name=None):
        name = name or f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.ascontiguousarray(array), name))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def near(self, middle, spread, count):
        return self.constant((middle + spread * self.random.standard_normal(count)).astype("float32"))

    def conv(self, x, inputs, outputs, kernel, stride=1, groups=1, bias=False, gain=2.0):
        fan = inputs // groups * kernel * kernel
        w = self.random.standard_normal((outputs, inputs // groups, kernel, kernel)) * (gain / fan) ** 0.5
        more = [self.near(0, 0.05, outputs)] if bias else []
        pad = kernel // 2
        return self.node("Conv", x, self.constant(w.astype("float32")), *more, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[pad] * 4, group=groups)

    def norm(self, x, channels, scale=1.0):
        """scale: what the last norm of a block has, so that sums of blocks do not grow."""
        variance = self.constant(numpy.abs(1 + 0.1 * self.random.standard_normal(channels)).astype("float32"))
        return self.node("BatchNormalization", x, self.near(scale, 0.1 * scale, channels), self.near(0, 0.1, channels),
                         self.near(0, 0.1, channels), variance, epsilon=1e-5)

    def relu(self, x):
        return self.node("Relu", x)

    def classes(self, x, channels, count):
        flat = self.node("Flatten", self.node("GlobalAveragePool", x))
        w = self.random.standard_normal((count, channels)) / channels**0.5
        return self.node("Gemm", flat, self.constant(w.astype("float32")), self.near(0, 0.05, count), transB=1)

    def model(self, name, sizes, result):
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, sizes)
        self.nodes.append(helper.make_node("Identity", [result], ["output"]))
        y = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, name, [x], [y], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


# ---- ResNet-50 ------------------------------------------------------------------------------------------------------------------

def bottleneck(m, x, inputs, width, stride):
    outputs = 4 * width
    y = m.relu(m.norm(m.conv(x, inputs, width, 1), width))
    y = m.relu(m.norm(m.conv(y, width, width, 3, stride), width))
    y = m.norm(m.conv(y, width, outputs, 1), outputs, 0.4)
    if stride > 1 or inputs != outputs:
        x = m.norm(m.conv(x, inputs, outputs, 1, stride, gain=1.0), outputs)
    return m.relu(m.node("Add", y, x))


def resnet50():
    m, channels = Maker(), 64
    x = m.relu(m.norm(m.conv("input", 3, 64, 7, 2), 64))
    x = m.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(blocks):
            x = bottleneck(m, x, channels, width, stride if i == 0 else 1)
            channels = 4 * width
    return m.model("resnet50", [1, 3, 224, 224], m.classes(x, channels, 1000))


# ---- MobileNetV2 ------------------------------------------------------------------------------------------------------------------

def relu6(m, x):
    return m.node("Clip", x, "zero", "six")


def inverted(m, x, shape, stride, expand):
    inputs, outputs = shape
    width, y = inputs * expand, x
    if expand > 1:
        y = relu6(m, m.norm(m.conv(y, inputs, width, 1), width))
    y = relu6(m, m.norm(m.conv(y, width, width, 3, stride, groups=width), width))
    y = m.norm(m.conv(y, width, outputs, 1), outputs, 0.7)
    return m.node("Add", x, y) if stride == 1 and inputs == outputs else y


BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenetv2():
    m, channels = Maker(), 32
    for name, value in (("zero", 0), ("six", 6)):
        m.constant(numpy.array(value, "float32"), name)
    x = relu6(m, m.norm(m.conv("input", 3, 32, 3, 2), 32))
    for expand, outputs, blocks, stride in BLOCKS:
        for i in range(blocks):
            x = inverted(m, x, (channels, outputs), stride if i == 0 else 1, expand)
            channels = outputs
    x = relu6(m, m.norm(m.conv(x, channels, 1280, 1), 1280))
    return m.model("mobilenetv2", [1, 3, 224, 224], m.classes(x, 1280, 1000))


# ---- U-Net --------------------------------------------------------------------------------------------------------------------------

def twice(m, x, inputs, outputs):
    for channels in (inputs, outputs):
        x = m.relu(m.norm(m.conv(x, channels, outputs, 3), outputs))
    return x


def interpolated(m, x, like):
    """As PyTorch exports it: batch and channels of one tensor, height and width of another."""
    front = m.node("Slice", m.node("Shape", x), m.constant(numpy.array([0])), m.constant(numpy.array([2])), m.constant(numpy.array([0])))
    back = m.node("Slice", m.node("Shape", like), m.constant(numpy.array([2])), m.constant(numpy.array([4])), m.constant(numpy.array([0])))
    sizes = m.node("Concat", front, m.node("Cast", back, to=7), axis=0)
    return m.node("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


def unet(size=256, widths=(32, 64, 128, 256, 512)):
    m, x, kept, channels = Maker(), "input", [], 3
    for width in widths:
        x = twice(m, x, channels, width)
        kept.append((x, width))
        channels = width
        if width != widths[-1]:
            x = m.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    for skip, width in reversed(kept[:-1]):
        x = m.node("Concat", skip, interpolated(m, x, skip), axis=1)
        x = twice(m, x, channels + width, width)
        channels = width
    return m.model("unet", [1, 3, size, size], m.node("Sigmoid", m.conv(x, channels, 2, 1, bias=True, gain=1.0)))


# ---- a small one ----------------------------------------------------------------------------------------------------------------------

def tiny():
    m = Maker()
    x = bottleneck(m, m.relu(m.norm(m.conv("input", 3, 16, 3, 2), 16)), 16, 4, 1)
    for name, value in (("zero", 0), ("six", 6)):
        m.constant(numpy.array(value, "float32"), name)
    y = inverted(m, m.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), (16, 16), 1, 3)
    x = twice(m, m.node("Concat", x, interpolated(m, y, x), axis=1), 32, 8)
    return m.model("tiny", [1, 3, 20, 24], m.node("Softmax", m.classes(x, 8, 10), axis=-1))


MODELS = {"resnet50": resnet50, "mobilenetv2": mobilenetv2, "unet": unet, "tiny": tiny}


def main(folder, *names):
    os.makedirs(folder, exist_ok=True)
    for name in names or MODELS:
        onnx.save(MODELS[name](), os.path.join(folder, name + ".onnx"))


if __name__ == "__main__":
    if len(sys.argv) < 2 or any(name not in MODELS for name in sys.argv[2:]):
        sys.exit(f"usage: make.py FOLDER [{'|'.join(MODELS)}]...")
    main(*sys.argv[1:])
