"""The command python3 -m convgen.onnx."""
import argparse
import importlib.util
import os
import sys

if not __package__:  # run as a folder, without the library: its modules need a package
    sys.path.pop(0)
    folder = os.path.dirname(os.path.abspath(__file__))
    top = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("convgen_onnx", top, submodule_search_locations=[folder])
    sys.modules["convgen_onnx"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["convgen_onnx"])
    __package__ = "convgen_onnx"

from . import __doc__ as description, convolutions, read, sizes, write
from .errors import Refused


def base_of(word):
    base = word[:-4] if word.endswith(".net") else word
    if not os.path.basename(base):
        raise argparse.ArgumentTypeError(f"{word!r} is no name of a file")
    return base


def options():
    parser = argparse.ArgumentParser(prog="convgen.onnx", description=description.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("-o", dest="output", type=base_of, metavar="NAME", help="write the network to NAME.net and NAME.weights")
    parser.add_argument("--batch", type=sizes.positive, default=0, metavar="N",
                        help="the first dimension of the inputs (default: the model's, 1 where it is free)")
    parser.add_argument("--size", type=sizes.sizes_of, default=[], metavar="HxW", help="the free spatial dimensions")
    parser.add_argument("--dim", type=sizes.named_size, action="append", default=[], metavar="KEY=N",
                        help="a free dimension by its name, its position (of all inputs), or INPUT:POSITION; may be repeated")
    parser.add_argument("--tag", choices=("nhwc", "nchw"), default="nhwc",
                        help="the order of tensors that the list says (default nhwc)")
    parser.add_argument("--unfused", action="store_true", help="convolutions alone, without what follows them")
    return parser


def say(sentences):
    for sentence in str(sentences).splitlines():
        print(f"convgen.onnx: {sentence}", file=sys.stderr)


def main(words=None):
    a = options().parse_args(words)
    try:
        net = read(a.model, a.batch, a.size, dict(a.dim))
        if a.output:
            for sentence in write(net, a.output, a.model):
                say(sentence)
        else:
            convolutions.write_list(net, a, sys.stdout, say)
    except Refused as e:
        say(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
