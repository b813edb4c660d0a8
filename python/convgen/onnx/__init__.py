"""ONNX models for convgen: a model's convolutions as a list of problems, or the whole as a network file.

    python3 -m convgen.onnx model.onnx --size 640x640 > net.txt
    python3 -m convgen.onnx model.onnx --dim 0=1 --dim frames=16 -o net          net.net and net.weights

Needs python3-onnx, which reads the file; shapes are inferred here. Constants are folded, functions and conditions that are
constant inlined; nothing else is changed: a network file says what the model says (docs/network-file.md). The list has Conv of
1 to 3 spatial dimensions as forward passes and ConvTranspose as those of transposed convolutions (--op=deconv), with the
normalisation, activation and sum that follow where nothing else reads what is between (--unfused: without). Everything else is
left out, and named on stderr.
"""
import os

from . import file, lost, sizes
from .errors import Refused
from .model import load
from .walk import Walk


def read(path, batch=0, size=None, dims=None):
    """A model as a network (network.py)."""
    try:
        return Walk(load(path), sizes.Wishes(batch, size, dims)).run()
    except UnicodeDecodeError:
        raise Refused(f"{path}: a name in it is not UTF-8")


def write(net, base, path):
    """Writes BASE.net and BASE.weights; gives sentences about outputs that are left out. None left: nothing is written."""
    said = lost.sentences(net)
    missing = [name for name, value in net.outputs if value.lost]
    if len(missing) == len(net.outputs):
        raise Refused("\n".join(said or [f"{path} has no output"]))
    file.write(net, base, f"{os.path.basename(path)}, by python3 -m convgen.onnx")
    return said + [f"left out of {base}.net: the output{'s' * (len(missing) > 1)} {', '.join(missing)}"] * bool(missing)
