"""The sizes of a model's inputs: the free ones by --batch, --size and --dim, each of which must be of use.

A key of --dim is a dimension's name, a position (of every input), or INPUT:POSITION.
"""
import argparse

from .errors import Refused
from .model import MOST


def positive(word):
    if not word.isdigit() or not word.isascii() or not 0 < int(word) <= MOST:
        raise argparse.ArgumentTypeError(f"{word} is no whole number from 1 to {MOST}")
    return int(word)


def named_size(word):
    name, _, value = word.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{word} is not NAME=N or POSITION=N")
    return name, positive(value)


def sizes_of(word):
    return [positive(n) for n in word.split("x")]


def whole(n, what):
    if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= MOST:
        raise Refused(f"{what} is {n!r}: a whole number from 1 to {MOST} is allowed")
    return n


class Wishes:
    """What the user asked for, and what of it was of use."""

    def __init__(self, batch=0, size=(), dims=None):
        self.batch, self.used = batch, set()
        self.size = [whole(n, "a size") for n in size or ()]
        self.dims = {str(key): whole(n, f"the dimension {key}") for key, n in (dims or {}).items()}

    def asked(self, name, place, param):
        """The size that --dim has for a place, the more exact key first."""
        for key in (f"{name}:{place}", param, str(place)):
            if key and key in self.dims:
                self.used.add(key)
                return f"--dim {key}={self.dims[key]}", self.dims[key]
        return None, 0

    def spatial(self, name, place, rank):
        if place < 2 or not self.size:
            return None, 0
        if len(self.size) != rank - 2:
            raise Refused(f"--size has {len(self.size)} sizes, the input {name} has {rank - 2} spatial dimensions")
        return "--size " + "x".join(map(str, self.size)), self.size[place - 2]

    def unused(self):
        return [f"--dim {key}={n}" for key, n in self.dims.items() if key not in self.used]


def free(dim):
    return not dim.HasField("dim_value") or dim.dim_value <= 0


def checked(name, place, dim, word, asked):
    """What is fixed stays."""
    if not free(dim) and dim.dim_value != asked:
        raise Refused(f"{word}: the input {name} has {dim.dim_value} at position {place}, which is not free")
    return asked


def size_at(tensor, place, wishes, rank):
    """A size, or 0: it is not known."""
    dim, name = tensor.type.tensor_type.shape.dim[place], tensor.name
    word, asked = wishes.asked(name, place, dim.dim_param)
    if asked and (free(dim) or not word.startswith(f"--dim {place}=")):
        return checked(name, place, dim, word, asked)
    if place == 0 and rank >= 3 and (wishes.batch or free(dim)):
        return wishes.batch or 1
    word, asked = wishes.spatial(name, place, rank) if rank >= 3 and (free(dim) or len(wishes.size) == rank - 2) else (None, 0)
    return checked(name, place, dim, word, asked) if asked else 0 if free(dim) else dim.dim_value


def unknown_place(tensor, place):
    param = tensor.type.tensor_type.shape.dim[place].dim_param
    return f"{tensor.name}[{place}]" + (f" ({param})" if param else "")


def settled(tensors, wishes):
    """name -> sizes of all inputs, and the free names' sizes. What one input has settled holds for its name in others."""
    sizes, names = {}, {}
    for tensor in tensors:
        dims = tensor.type.tensor_type.shape.dim
        sizes[tensor.name] = [size_at(tensor, place, wishes, len(dims)) for place in range(len(dims))]
        names.update((d.dim_param, n) for d, n in zip(dims, sizes[tensor.name]) if d.dim_param and n)
    for tensor in tensors:
        dims = tensor.type.tensor_type.shape.dim
        sizes[tensor.name] = tuple(n or names.get(d.dim_param, 0) for d, n in zip(dims, sizes[tensor.name]))
    check_known([(t, place) for t in tensors for place, n in enumerate(sizes[t.name]) if not n])
    check_use(tensors, wishes, sizes)
    return sizes, names


def check_known(unknown):
    if unknown:
        example = " ".join(f"--dim {key}=N" for key in dict.fromkeys(key_of(*u) for u in unknown))
        spatial = "--size HxW or " if any(place >= 2 for _, place in unknown) else ""
        places = ", ".join(unknown_place(*u) for u in unknown)
        raise Refused(f"the model leaves these dimensions free: {places}; give them by {spatial}{example}")


def key_of(tensor, place):
    return tensor.type.tensor_type.shape.dim[place].dim_param or f"{tensor.name}:{place}"


def said_place(tensor, place, dim):
    return unknown_place(tensor, place) + ("" if free(dim) else f" = {dim.dim_value}")


def check_use(tensors, wishes, sizes):
    for word in wishes.unused():
        places = [said_place(t, i, d) for t in tensors for i, d in enumerate(t.type.tensor_type.shape.dim)]
        raise Refused(f"{word} is of no use: the model's dimensions are {', '.join(places)}")
    for key, n in wishes.dims.items():
        if key.isdigit() and not any(len(dims) > int(key) and dims[int(key)] == n for dims in sizes.values()):
            raise Refused(f"--dim {key}={n} is of no use: no input has a free dimension at position {key}")
    if wishes.size and not any(len(dims) - 2 == len(wishes.size) for dims in sizes.values()):
        raise Refused(f"--size {'x'.join(map(str, wishes.size))} is of no use: no input has {len(wishes.size)} spatial dimensions")
