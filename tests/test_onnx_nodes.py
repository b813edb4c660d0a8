"""ONNX's backend node tests, read by convgen.onnx: each becomes a network file of the expected shapes (WORK_DIR/NAME.net), or is left out with a reason; what the
network means (tests/python/network_numpy.py) is compared with the expected numbers.

    test_onnx_nodes.py SOURCE_DIR WORK_DIR [--all] [--run] [PATTERN]     --all: a line for each; Debian's libonnx-testdata has the tests
--run: each network is also run by convgen.Network on the test's arrays, with the library that $CONVGEN_LIBRARY names.
Operands that decide shapes or are weights are inputs there: where that cannot be read, all but the first are made constants, then all.
Exit status 77: python3-onnx or libonnx-testdata is not installed."""
import collections
import glob
import importlib
import importlib.util
import os
import sys

source, work = sys.argv[1:3]
pattern = next((w for w in sys.argv[3:] if w[:2] != "--"), "")
DIFFERENT = {"resize_downsample_scales_linear_align_corners": "sizes are rounded before coordinates are computed, as in ONNX Runtime"}
FEWEST = 566  # that pass
try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
except ImportError:
    print("skipped: python3-onnx is not installed")
    sys.exit(77)
package = os.path.join(source, "python", "convgen", "onnx")
spec = importlib.util.spec_from_file_location("reader", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
sys.modules["reader"] = reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)
constants, file, walk, sizes, model_of = (importlib.import_module("reader." + name) for name in ("constants", "file", "walk", "sizes", "model"))
sys.path.insert(0, os.path.join(source, "tests", "python"))
import network_numpy  # noqa: E402
if "--run" in sys.argv:
    sys.path.insert(0, os.path.join(source, "python"))
    import convgen  # noqa: E402


class LeftOut(Exception):
    pass


def folders():
    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        yield from sorted(glob.glob(f"/usr/share/libonnx-testdata/data/{kind}/test_*{pattern}*"))


def array(path):
    tensor = onnx.TensorProto()
    with open(path, "rb") as f:
        tensor.ParseFromString(f.read())
    if tensor.data_type not in model_of.DTYPES or not (tensor.raw_data or tensor.dims or tensor.ByteSize() > 4):
        raise LeftOut("an input is no tensor of numbers")
    return numpy_helper.to_array(tensor)


def arrays(folder, kind, count):
    data = os.path.join(folder, "test_data_set_0")
    return [array(os.path.join(data, f"{kind}_{i}.pb")) for i in range(count)]


def with_constants(model, inputs, first):
    """The model with inputs from a place on as initialisers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    names = [i.name for i in changed.graph.input]
    changed.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in list(zip(inputs, names))[first:])
    return changed


def read(model, inputs, first, name):
    path = os.path.join(work, "model.onnx")
    changed = with_constants(model, inputs, first)
    for tensor, a in zip(changed.graph.input, inputs):  # the sizes of the data are known; those of the model may be free
        for dim, n in zip(tensor.type.tensor_type.shape.dim, a.shape):
            dim.dim_value = n
    onnx.save(changed, path)
    net = reader.read(path)
    said = reader.write(net, os.path.join(work, name), path)
    if said:
        raise reader.Refused(said[0])
    return net


def attempts(model, inputs, name):
    """The network of the fewest constants with which the model is read, and how many those are."""
    why = None
    for first in sorted({len(inputs), min(1, len(inputs)), 0}, reverse=True):
        try:
            return read(model, inputs, first, name), first
        except reader.Refused as e:
            why = e if first else why or e
    raise LeftOut(str(why).splitlines()[0])


def compare(net, names, inputs, outputs):
    with np.errstate(all="ignore"):
        made = network_numpy.run(net, dict(zip(names, inputs)), constants.FOLDS)
    for (name, a), wanted in zip(made.items(), outputs):
        assert a.shape == wanted.shape, f"{name} is {a.shape}, {wanted.shape} is expected"
        np.testing.assert_allclose(a, wanted, rtol=1e-3, atol=1e-5, err_msg=name)


def run(net, name, names, inputs, outputs):
    """The same, by kernels."""
    network = convgen.Network(os.path.join(work, name + ".net"))
    given = dict(zip(names, inputs))
    made = network.run({p.name: np.asarray(given[p.name]).astype(p.dtype) for p in network.inputs})
    for (said, _), wanted in zip(net.outputs, outputs):
        if said in made:
            assert made[said].shape == wanted.shape, f"{said} is {made[said].shape} when it is run, {wanted.shape} is expected"
            np.testing.assert_allclose(made[said].astype("float64"), wanted.astype("float64"), rtol=1e-3, atol=1e-5, err_msg=f"{said}, run")


def attempt(folder):
    model, name = onnx.load(os.path.join(folder, "model.onnx")), os.path.basename(folder).removeprefix("test_")
    if "BFLOAT16" in folder:
        raise LeftOut("bfloat16 is not read")
    if any(not t.type.HasField("tensor_type") for t in list(model.graph.input) + list(model.graph.output)):
        raise LeftOut("sequences and optional values are no tensors")
    given = {i.name for i in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in given]
    inputs, outputs = arrays(folder, "input", len(names)), arrays(folder, "output", len(model.graph.output))
    net, first = attempts(model, inputs, name)
    if name in DIFFERENT:
        raise LeftOut(DIFFERENT[name])
    compare(net, names, inputs, outputs)
    if "--run" in sys.argv:
        run(net, name, names, inputs, outputs)
    return "all constant" if not first and names else ""


def kind_of(why):
    """A reason without names, to be counted."""
    why = why.split("; it reads")[0]
    return why.split(" ")[0] if "is not supported" in why else why.split("cannot be read: ")[-1].replace(work, "")


def operation(folder):
    nodes = {n.op_type for n in onnx.load(os.path.join(folder, "model.onnx")).graph.node}
    return nodes.pop() if len(nodes) == 1 else "several"


def listed(counts):
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])))


def main():
    os.makedirs(work, exist_ok=True)
    counts, reasons, passed = collections.Counter(), collections.Counter(), collections.Counter()
    for folder in folders():
        result, why = "passed", ""
        try:
            why = attempt(folder)
            passed[operation(folder)] += 1
        except LeftOut as e:
            result, why = "left out", str(e)
            reasons[kind_of(why)] += 1
        except Exception as e:
            result, why = "FAILED", f"{type(e).__name__}: " + " ".join(str(e).split())[:300]
        counts[result] += 1
        if "--all" in sys.argv or result == "FAILED":
            print(f"{result:9}{os.path.basename(folder)}" + (f": {why}" if why else ""))
    print("passed:", listed(passed))
    print("left out:", listed(reasons))
    print(listed(counts))
    return counts["FAILED"] > 0 or (not pattern and counts["passed"] < FEWEST)


if not os.path.isdir("/usr/share/libonnx-testdata/data/node"):
    print("skipped: libonnx-testdata is not installed")
    sys.exit(77)
sys.exit(main())
