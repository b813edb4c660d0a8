"""What a network's operations make of constants, by NumPy: FOLDS[op](words, *arrays) is an array, or a list of arrays."""
import numpy

MOST_FOLDED = 2**28  # elements that a fold may make


def joined(f):
    def all_of(words, *arrays):
        result = arrays[0]
        for a in arrays[1:]:
            result = limited(f, result, a)
        return result
    return all_of


def limited(f, a, b):
    if numpy.broadcast(a, b).size > MOST_FOLDED:
        raise ValueError("they are too large")
    return f(a, b)


def divided(a, b):
    """Towards zero, as C has it."""
    if a.dtype.kind == "f":
        return a / b
    if not numpy.all(b):
        raise ValueError("a division by zero")
    quotient = numpy.abs(a) // numpy.abs(b)
    return (quotient * (numpy.sign(a) * numpy.sign(b))).astype(a.dtype)


def erf(words, x):
    import math

    return numpy.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else x


def activation(words, x):
    word, numbers = words["word"], words["numbers"]
    if word == "relu":
        return numpy.maximum(x, x.dtype.type(0))
    if word == "clamp":
        return numpy.minimum(numpy.maximum(x, x.dtype.type(numbers[0])), x.dtype.type(numbers[1]))
    wide = x.astype("float64")
    return FORMULAS[word](wide, *numbers).astype(x.dtype)


def hard(x, a, b):
    return numpy.clip(a * x + b, 0, 1)


FORMULAS = {
    "leaky": lambda x, a: numpy.where(x < 0, a * x, x),
    "sigmoid": lambda x: 1 / (1 + numpy.exp(-x)),
    "tanh": numpy.tanh,
    "hardsigmoid": hard,
    "hardswish": lambda x: x * hard(x, 1 / 6, 0.5),
    "silu": lambda x: x / (1 + numpy.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + erf({}, x * 0.5**0.5)),
}


def resliced(words, x):
    index = [slice(None)] * x.ndim
    for axis, first, last, step in zip(words["axes"], words["from"], words["to"], words["steps"]):
        index[axis] = slice(first, None if last < 0 else last, step)
    return x[tuple(index)]


def padded(words, x):
    sides = list(zip(words["before"], words["after"]))
    if numpy.prod([n + a + b for n, (a, b) in zip(x.shape, sides)], dtype=object) > MOST_FOLDED:
        raise ValueError("they are too large")
    if words["mode"] != "constant":
        return numpy.pad(x, sides, mode=words["mode"])
    return numpy.pad(x, sides, constant_values=words["value"])


def reduced(f, dtype=None):
    return lambda words, x: f(x, axis=tuple(words["axes"]), keepdims=words["keep"]).astype(x.dtype)


def softmax(words, x):
    e = numpy.exp(x - x.max(axis=words["axis"], keepdims=True))
    return e / e.sum(axis=words["axis"], keepdims=True)


FOLDS = {
    "add": joined(numpy.add), "sub": joined(numpy.subtract), "mul": joined(numpy.multiply), "div": joined(divided),
    "max": joined(numpy.maximum), "min": joined(numpy.minimum), "pow": lambda w, x: numpy.power(x, x.dtype.type(w["exponent"])),
    "sqrt": lambda w, x: numpy.sqrt(x), "exp": lambda w, x: numpy.exp(x), "log": lambda w, x: numpy.log(x), "neg": lambda w, x: -x,
    "abs": lambda w, x: numpy.abs(x), "erf": erf, "activate": activation, "softmax": softmax,
    "matmul": lambda w, a, b: numpy.matmul(a, b),
    "concat": lambda w, *arrays: numpy.concatenate(arrays, w["axis"]),
    "split": lambda w, x: numpy.split(x, numpy.cumsum(w["sizes"])[:-1], w["axis"]),
    "slice": resliced, "pad": padded,
    "transpose": lambda w, x: numpy.transpose(x, w["order"]),
    "reshape": lambda w, x: numpy.reshape(x, w["dims"]),
    "cast": lambda w, x: x.astype(w["dtype"]),
    "gather": lambda w, x, i: numpy.take(x, i, w["axis"]),
    "reduce_sum": reduced(numpy.sum), "reduce_mean": reduced(numpy.mean), "reduce_max": reduced(numpy.max),
}
