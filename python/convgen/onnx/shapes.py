"""The shape rules of a network's operations: from the operands' sizes and the words to the result's.

rule(words, dims of the operands) gives the sizes of the result, or of each of them as a list; what does not fit is LeftOut.
"""
import math

from .errors import LeftOut


def shown(dims):
    return "x".join(map(str, dims)) if dims else "a scalar"


def need(holds, sentence):
    if not holds:
        raise LeftOut(sentence)


def axis_of(axis, rank):
    need(-rank <= axis < rank, f"the axis {axis} is none of a tensor of {rank} dimensions")
    return axis % rank


def broadcast(words, *dims):
    rank = max(map(len, dims))
    padded = [(1,) * (rank - len(d)) + tuple(d) for d in dims]
    result = tuple(max(column) for column in zip(*padded))
    need(all(n in (1, most) for d in padded for n, most in zip(d, result)),
         "its operands do not fit together: " + " and ".join(map(shown, dims)))
    return result


def same(words, x, *others):
    return x


def fits(words, x, slope):
    need(broadcast(words, x, slope) == tuple(x), f"{shown(slope)} does not fit {shown(x)}")
    return x


def per_channel(words, x, *others):
    need(len(x) >= 2 and all(tuple(o) == (x[1],) for o in others),
         f"its operands {' and '.join(map(shown, others))} do not fit {shown(x)}")
    return x


def layernorm(words, x, *others):
    for o in others:
        fits(words, x[words["axis"]:], o)
    return x


def convolution(words, x, w, *bias):
    need(not bias or tuple(bias[0]) == (words["channels"],), f"its bias does not have {words['channels']} elements")
    return (x[0], words["channels"]) + tuple(axis[2] for axis in words["axes"])


def gemm(words, a, b, *c):
    need(len(a) == len(b) == 2, f"its matrices are {shown(a)} and {shown(b)}")
    (m, k), (k2, n) = a[::-1] if words["trans_a"] else a, b[::-1] if words["trans_b"] else b
    need(k == k2, f"{shown(a)} and {shown(b)} do not fit")
    return fits(words, (m, n), *c) if c else (m, n)


def matmul(words, a, b):
    need(len(a) and len(b), "it multiplies a scalar")
    left, right = (1,) * (len(a) == 1) + tuple(a), tuple(b) + (1,) * (len(b) == 1)
    need(left[-1] == right[-2], f"{shown(a)} and {shown(b)} do not fit")
    rank = max(len(left), len(right))
    outer = broadcast(words, left[:-2] or (1,), right[:-2] or (1,))[:rank - 2]
    return outer + left[-2:-1] * (len(a) > 1) + right[-1:] * (len(b) > 1)


def pool(words, x):
    return tuple(x[:2]) + tuple(words["sizes"])


def reduce(words, x):
    kept = [(1 if i in words["axes"] else n) for i, n in enumerate(x)]
    return tuple(n for i, n in enumerate(kept) if words["keep"] or i not in words["axes"])


def concat(words, *dims):
    axis = words["axis"]
    need(all(len(d) == len(dims[0]) and all(i == axis or a == b for i, (a, b) in enumerate(zip(d, dims[0]))) for d in dims),
         "its operands do not fit together: " + " and ".join(map(shown, dims)))
    return tuple(sum(d[axis] for d in dims) if i == axis else n for i, n in enumerate(dims[0]))


def split(words, x):
    axis, sizes = words["axis"], words["sizes"]
    need(sum(sizes) == x[axis] and min(sizes) >= 0, f"its parts {sizes} do not add up to {x[axis]}")
    return [tuple(n if i == axis else size for i, size in enumerate(x)) for n in sizes]


def slice_(words, x):
    result = list(x)
    for axis, first, last, step in zip(words["axes"], words["from"], words["to"], words["steps"]):
        result[axis] = len(range(first, last, step))
    return tuple(result)


def pad(words, x):
    return tuple(a + n + b for a, n, b in zip(words["before"], x, words["after"]))


def transpose(words, x):
    need(sorted(words["order"]) == list(range(len(x))),
         f"the axes {words['order']} are not those of a tensor of {len(x)} dimensions")
    return tuple(x[i] for i in words["order"])


def reshape(words, x):
    need(math.prod(x) == math.prod(words["dims"]), f"{shown(x)} and {shown(words['dims'])} have not as many elements")
    return words["dims"]


def resize(words, x):
    return tuple(x[:2]) + tuple(words["sizes"])


def depth_to_space(words, x):
    block = words["block"]
    need(len(x) == 4 and block > 0 and x[1] % (block * block) == 0, f"a block of {block} does not fit {shown(x)}")
    return (x[0], x[1] // (block * block), x[2] * block, x[3] * block)


def gather(words, x, i):
    return tuple(x[:words["axis"]]) + tuple(i) + tuple(x[words["axis"] + 1:])


RULES = {
    "conv": convolution, "deconv": convolution, "gemm": gemm, "matmul": matmul, "maxpool": pool, "avgpool": pool, "pow": same,
    "prelu": fits, "layernorm": layernorm, "concat": concat, "split": split, "slice": slice_, "pad": pad, "transpose": transpose,
    "reshape": reshape, "resize": resize, "depth_to_space": depth_to_space, "gather": gather,
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min"), broadcast),
    **dict.fromkeys(("sqrt", "exp", "log", "neg", "abs", "erf", "activate", "elu", "softplus", "softmax", "logsoftmax", "cast"), same),
    **dict.fromkeys(("batchnorm", "instancenorm"), per_channel),
    **dict.fromkeys(("reduce_mean", "reduce_max", "reduce_sum", "argmax"), reduce),
}
