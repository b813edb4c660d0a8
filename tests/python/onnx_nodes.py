#!/usr/bin/python3
"""ONNX's backend node tests of Conv and ConvTranspose, run through convgen.conv1d to conv3d: `make test-onnx`.

Usage: onnx_nodes.py [FOLDER]     Debian's libonnx-testdata has it in /usr/share/libonnx-testdata/data/node

Prints a line for each test, the reason where it is skipped, and the counts. Exit status 1 when one fails or none passed.
"""
import glob
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper

import convgen

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/libonnx-testdata/data/node"
FORWARD = {r: getattr(convgen, f"conv{r}d") for r in (1, 2, 3)}
TRANSPOSE = {r: getattr(convgen, f"conv_transpose{r}d") for r in (1, 2, 3)}


class Skipped(Exception):
    pass


def read(path):
    with open(path, "rb") as f:
        tensor = onnx.TensorProto()
        tensor.ParseFromString(f.read())
        return numpy_helper.to_array(tensor)


def cases():
    """(name, node, inputs, outputs) of every model that has a convolution in its name or nodes."""
    for folder in sorted(glob.glob(f"{FOLDER}/test_*conv*")):
        model = onnx.load(f"{folder}/model.onnx")
        for data in sorted(glob.glob(f"{folder}/test_data_set_*")):
            inputs = [read(p) for p in sorted(glob.glob(f"{data}/input_*.pb"))]
            outputs = [read(p) for p in sorted(glob.glob(f"{data}/output_*.pb"))]
            yield os.path.basename(folder), list(model.graph.node), inputs, outputs


def attributes(node, rank):
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    auto = given.get("auto_pad", b"NOTSET").decode()
    return {"stride": tuple(given.get("strides", [1] * rank)), "dilation": tuple(given.get("dilations", [1] * rank)),
            "groups": given.get("group", 1), "pads": given.get("pads", [0] * 2 * rank), "auto": auto,
            "output_padding": given.get("output_padding", [0] * rank), "output_shape": given.get("output_shape")}


def pairs(pads):
    half = len(pads) // 2
    return [(pads[i], pads[half + i]) for i in range(half)]


def shared(total, auto):
    """Padding of both sides: the odd one after for SAME_UPPER, before for SAME_LOWER."""
    small, large = total // 2, total - total // 2
    return (large, small) if auto == "SAME_LOWER" else (small, large)


def conv(x, w, b, a):
    rank, padding = x.ndim - 2, pairs(a["pads"])
    if a["auto"].startswith("SAME"):
        reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], a["dilation"])]
        padding = [shared(max((-(-n // s) - 1) * s + r - n, 0), a["auto"]) for n, s, r in zip(x.shape[2:], a["stride"], reach)]
    return FORWARD[rank](x, w, b, stride=a["stride"], dilation=a["dilation"], groups=a["groups"], padding=padding, layout="NCHW")


def conv_transpose(x, w, b, a):
    rank = x.ndim - 2
    full = [(n - 1) * s + (k - 1) * d + 1 + extra
            for n, s, k, d, extra in zip(x.shape[2:], a["stride"], w.shape[2:], a["dilation"], a["output_padding"])]
    if a["output_shape"] is not None or a["auto"].startswith("SAME"):
        size = a["output_shape"] or [n * s for n, s in zip(x.shape[2:], a["stride"])]
        padding = [shared(f - n, a["auto"]) if a["auto"] == "SAME_UPPER" else shared(f - n, "SAME_LOWER") for f, n in zip(full, size)]
    else:
        padding = pairs(a["pads"])
    size = [f - before - after for f, (before, after) in zip(full, padding)]
    y = TRANSPOSE[rank](x, w, b, stride=a["stride"], dilation=a["dilation"], groups=a["groups"], padding=padding, layout="NCHW",
                        output_padding=a["output_padding"])
    assert y.shape == (x.shape[0], w.shape[1] * a["groups"], *size)
    return y


RUN = {"Conv": conv, "ConvTranspose": conv_transpose}


def run(nodes, inputs, outputs):
    if len(nodes) != 1 or nodes[0].op_type not in RUN:
        raise Skipped(f"{', '.join(n.op_type for n in nodes)}: not a Conv or ConvTranspose alone")
    if inputs[0].dtype not in (np.float32, np.float64):
        raise Skipped(f"{inputs[0].dtype}: float32 and float64 only")
    x, w, b = (*inputs, None)[:3]
    y = RUN[nodes[0].op_type](x, w, b, attributes(nodes[0], x.ndim - 2))
    np.testing.assert_allclose(y, outputs[0], rtol=1e-3, atol=1e-7)  # the tolerances of ONNX's own runner
    if y.dtype != outputs[0].dtype:
        raise AssertionError(f"dtype {y.dtype}, {outputs[0].dtype} is expected")


def main():
    counts = {"passed": 0, "skipped": 0, "failed": 0}
    for name, nodes, inputs, outputs in cases():
        result, why = "passed", ""
        try:
            run(nodes, inputs, outputs)
        except Skipped as reason:
            result, why = "skipped", f": {reason}"
        except (AssertionError, ValueError, TypeError) as error:
            result, why = "failed", ": " + " ".join(str(error).split())
        counts[result] += 1
        print(f"{result:8}{name}{why}")
    print(", ".join(f"{n} {result}" for result, n in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
