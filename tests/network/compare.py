"""compare.py FOLDER CONVGEN MODEL.onnx NETWORK.net [OPTION...]: the network beside the model in ONNX Runtime (onnxruntime-node below
FOLDER/node_modules), on random inputs: the largest difference over the largest output must be at most 2e-5. Needs NumPy and node.
CONVGEN_SEED=n draws the same inputs again. --probabilities before FOLDER: outputs are probabilities, whose largest may be far below 1 on
noise, where ONNX Runtime's sigmoid is wrong by 1e-7: differences are over 1."""
import os, re, subprocess, sys, tempfile
import numpy as np

LIMIT = 2e-5


def ports(network, kind):
    """name -> (type, dims) of the lines of that kind; an output's name alone."""
    for line in open(network, encoding="utf-8"):
        found = re.match(kind + r'\s+("(?:[^"\\]|\\.)*"|[A-Za-z0-9_.]+)(?:\s+(\w+)\s+(\S+))?\s*(?:#.*)?$', line)
        if found:
            name = found[1]
            yield (eval(name) if name[0] == '"' else name), found[2], found[3]


def file_of(name):
    return re.sub(r"[^A-Za-z0-9_.]", "_", name) + ".npy"


def draw(network, folder, rng):
    """NAME=FILE of each input."""
    words = []
    for name, kind, dims in ports(network, "input"):
        shape = [] if dims == "scalar" else [int(d) for d in dims.split("x")]
        values = rng.uniform(-1, 1, shape).astype({"f32": "<f4", "f64": "<f8", "i64": "<i8"}[kind])
        path = os.path.join(folder, "in_" + file_of(name))
        np.save(path, values)
        words.append(name + "=" + path)
    return words


def main():
    words = sys.argv[1:]
    probabilities = words[0] == "--probabilities"
    runtime, convgen, model, network, *options = words[probabilities:]
    seed = int(os.environ.get("CONVGEN_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        words = draw(network, folder, np.random.default_rng(seed))
        theirs, ours = os.path.join(folder, "theirs"), os.path.join(folder, "ours")
        subprocess.run(["node", os.path.join(here, "run.mjs"), runtime, model, theirs, *words], check=True)
        subprocess.run([convgen, "run", network, *("--input=" + w for w in words), "--output=" + ours, *options], check=True)
        worst = 0
        for name, _, _ in ports(network, "output"):
            a, b = (np.load(os.path.join(f, file_of(name))) for f in (ours, theirs))
            if a.shape != b.shape:
                sys.exit(f"{name} has the shape {a.shape}; ONNX Runtime's {b.shape}")
            largest = 1 if probabilities else np.abs(b).max()
            worst = max(worst, float(np.abs(a.astype("f8") - b).max() / (largest if largest > 0 else 1)))
    print(f"{os.path.basename(network)}: largest difference over {'1' if probabilities else 'the largest output'} {worst:.3g} (seed {seed})")
    sys.exit(not worst <= LIMIT)


main()
