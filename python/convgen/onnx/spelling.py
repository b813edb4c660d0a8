"""How a network file spells names, numbers and the words behind an operation's operands."""
import json
import math
import re

import numpy

BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")


def name(text):
    return text if BARE.match(text) else json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def number(value):
    """As short as it is the same again."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1000000 and str(value) != "-0.0" else repr(value)


def single(value):
    """A number that was an f32: the shortest that is the same f32 again, by way of f64 too."""
    with numpy.errstate(over="ignore"):
        narrow = numpy.float32(value)
    if not numpy.isfinite(narrow):
        return number(value)
    short = float(str(narrow))
    return number(short if numpy.float32(short) == narrow else float(narrow))


def dims(sizes):
    return "x".join(map(str, sizes)) if len(sizes) else "scalar"


def listed(numbers):
    return ",".join(map(str, numbers))


def descriptor(words, batch=None):
    axes = words["axes"]
    column = lambda letter, place: "".join(f"{letter}{axis[0]}{axis[place]}" for axis in axes)
    groups = f"g{words['groups']}" if words["groups"] > 1 else ""
    return (groups + (f"mb{batch}" if batch else "") + f"ic{words['inputs']}" + column("i", 1) + f"oc{words['channels']}"
            + "".join(column(letter, place) for letter, place in (("o", 2), ("k", 3), ("s", 4), ("p", 5), ("d", 6))))


def activation(w):
    return ":".join([w["word"], *map(single, w["numbers"])])


def unless(words, absent):
    """A flag or a word where it is not the usual."""
    return words if not absent else ""


def pool(w):
    usual = {"k": None, "s": 1, "p": 0, "e": 0, "d": 1}
    letters = [letter + dims(w[letter]) for letter in usual if set(w[letter]) != {usual[letter]}]
    return " ".join(letters + (["o" + dims(w["o"])] if w["o"] else []) + (["counted"] if w.get("counted") else []))


def gemm(w):
    words = [name for name in ("trans_a", "trans_b") if w[name]]
    return " ".join(words + [f"{name} {single(w[name])}" for name in ("alpha", "beta") if w[name] != 1])


def factors_of(w):
    return "x".join(map(number, w["factors"])) if w["factors"] else "o" + dims(w["sizes"])


def resize(w):
    return " ".join(filter(None, (w["mode"], factors_of(w), w["coordinates"], w["rounding"])))


def pad(w):
    tail = {"constant": f" value {single(w['value'])}" if w["value"] else ""}.get(w["mode"], " " + w["mode"])
    return f"before {listed(w['before'])} after {listed(w['after'])}{tail}"


def slice_(w):
    steps = f" steps {listed(w['steps'])}" if set(w["steps"]) != {1} else ""
    return f"axes {listed(w['axes'])} from {listed(w['from'])} to {listed(w['to'])}{steps}"


def axis(w):
    return f"axis {w['axis']}"


def reduce(w):
    return f"axes {listed(w['axes'])}" + (" keep" if w["keep"] else "")


def epsilon(w):
    return f"epsilon {single(w['epsilon'])}"


WORDS = {
    "conv": descriptor, "deconv": descriptor, "gemm": gemm, "maxpool": pool, "avgpool": pool, "resize": resize,
    "reduce_mean": reduce, "reduce_max": reduce, "reduce_sum": reduce,
    "argmax": lambda w: f"axis {w['axes'][0]}" + (" keep" if w["keep"] else ""),
    "activate": activation, "elu": lambda w: single(w["alpha"]), "softmax": axis, "logsoftmax": axis, "concat": axis, "gather": axis,
    "batchnorm": epsilon, "instancenorm": epsilon, "layernorm": lambda w: f"{axis(w)} {epsilon(w)}",
    "split": lambda w: f"{axis(w)} sizes {listed(w['sizes'])}", "slice": slice_, "pad": pad,
    "transpose": lambda w: listed(w["order"]), "reshape": lambda w: dims(w["dims"]),
    "depth_to_space": lambda w: f"{w['block']} {w['mode']}",
    "cast": lambda w: {"float32": "f32", "float64": "f64", "int64": "i64"}[w["dtype"].name],
}
