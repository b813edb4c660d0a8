#!/usr/bin/env python3
"""Bits: whether two builds give the same `proven` results, bit for bit.

Usage: bench/bits.py LIBRARY LIBRARY [--count=N] [--seed=S] [--batch=LIST]... [--target=T,T]     run at the top of the source tree
  LIBRARY          a build's libconvgen.so
  --count=N        so many random problems (2000)       --seed=S   of them (printed; 1)
  --batch=LIST     the problems of a list too, in benchdnn's notation; may be repeated
  --target=T,T     the targets (avx512,avx2,portable), those that the processor has

Each library runs in a process of its own, plans every problem at ESTIMATE with an empty store and prints a hash of what the plan
computes from random data. A problem that only one of them can plan, or that both refuse, is named. Exit status 1 when bits differ.
"""
import hashlib
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))


# ---- problems ----

def axis(r, letter, most):
    """The words of one axis: input, output, kernel, stride, pad, dilation, with a trailing pad of its own."""
    size, kernel = r.randint(1, most), r.choice([1, 1, 2, 3, 3, 5, 7, r.randint(1, most + 3)])
    stride, dilation = r.choice([1, 1, 1, 2, 3, 4]), r.choice([1, 1, 1, 2, 3])
    pad = r.choice([0, kernel // 2, r.randint(0, 2), r.randint(-2, most + 2)])
    room = size + pad + r.randint(-2, 3) - (kernel - 1) * dilation - 1
    out = 1 if room < 0 else room // stride + 1
    return f"i{letter}{size}o{letter}{out}k{letter}{kernel}s{letter}{stride}p{letter}{pad}d{letter}{dilation - 1}"


def random_problem(r):
    rank = r.randint(1, 3)
    groups = r.choice([1, 1, 1, r.randint(1, 20)])
    ic, oc = (groups * r.choice([1, r.randint(1, 9), r.randint(1, 80 if groups == 1 else 4)]) for _ in range(2))
    direction = r.choice(["FWD_B", "FWD_D", "BWD_D", "BWD_W", "BWD_WB"])
    words = [f"--dir={direction}", f"--dt={r.choice(['f32', 'f32', 'f64'])}", f"--tag={r.choice(['nhwc', 'nhwc', 'nchw'])}",
             f"--weights={r.choice(['changing', 'fixed'])}", "--accuracy=proven"]
    if direction[0] == "F":
        words.append("--epilogue=" + r.choice(["relu", "clamp:-0.7:1.3", "residual", "residual+relu"])) if r.random() < 0.5 else None
    shape = "".join(axis(r, letter, (40, 14, 6)[rank - 1]) for letter in "dhw"[3 - rank:])
    return " ".join(words) + f" g{groups}mb{r.randint(1, 3)}ic{ic}oc{oc}{shape}"


def listed(path):
    """The problems of a list as text, at `proven`."""
    options = []
    with open(path, encoding="utf-8") as f:
        for word in (word for line in f for word in line.split("#")[0].split()):
            if word == "--reset":
                options = []
            elif word.startswith("--"):
                options.append(word)
            elif not word.startswith("*"):
                yield " ".join([*options, "--accuracy=proven", word])


# ---- one library ----

def result_of(problem, context):
    """A hash of what the plan computes, and its schedule; or the reason why there is none."""
    import ctypes
    import numpy as np
    from convgen import _library, _plan, _arrays
    status, handle = _library.create_plan(context, problem._raw, 1, 0.0)
    if status:
        return "none", "-"
    plan = _plan.Plan(problem, _plan.Kernel(handle, False))
    r = np.random.default_rng(7)
    needed = _plan._needed(problem, False)
    given = {name: r.uniform(-1, 1, problem.shapes.dst if name == "residual" else getattr(problem.shapes, name)).astype(problem.dtype)
             for name in sorted(needed)}
    out = plan(**given)
    parts = out if isinstance(out, tuple) else (out,)
    return hashlib.sha1(b"".join(np.ascontiguousarray(x).tobytes() for x in parts)).hexdigest()[:16], plan.info.schedule


def speak_for(targets):
    """Reads problems, prints `hash schedule` for each target."""
    from convgen import _library
    from convgen import Problem
    contexts = {}
    for line in sys.stdin:
        answers = []
        for target in targets:
            if target not in contexts:
                os.environ["CONVGEN_TARGET"] = target
                contexts[target] = _library.open_context(1)
            try:
                answers.append(" ".join(result_of(Problem(line.strip()), contexts[target])))
            except ValueError as why:
                answers.append("no problem: " + str(why).replace("\t", " "))
        print("\t".join(answers), flush=True)


def start(library, targets):
    environment = {**os.environ, "CONVGEN_LIBRARY": library, "CONVGEN_STORE": "/dev/null", "CONVGEN_TUNED": "/dev/null"}
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), "--speak=" + ",".join(targets)], env=environment,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---- both ----

def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    options = [word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--")]
    value = {"count": "2000", "seed": "1", "target": "avx512,avx2,portable", **{k: v[0] for k, *v in options if v}}
    if "speak" in value:
        return speak_for(value["speak"].split(","))
    if len(words) != 2:
        raise SystemExit(__doc__)
    flags = set(open("/proc/cpuinfo").read().split())
    targets = [t for t in value["target"].split(",") if t == "portable" or {"avx512": "avx512dq"}.get(t, t) in flags]
    r = random.Random(int(value["seed"]))
    problems = [p for k, *v in options if k == "batch" for p in listed(v[0])]
    problems += [random_problem(r) for _ in range(int(value["count"]))]
    speakers = [start(word, targets) for word in words]
    same = refused = other = 0
    for text in problems:
        for s in speakers:
            print(text, file=s.stdin, flush=True)
        rows = [s.stdout.readline().strip().split("\t") for s in speakers]
        for target, a, b in zip(targets, *rows):
            hashes = [x.split()[0] for x in (a, b)]
            if hashes[0] != hashes[1]:
                other += 1
                print(f"{target} {text}: {a}, {b}")
            elif hashes[0] in ("none", "no"):
                refused += 1
            else:
                same += 1
    print(f"{len(problems)} problems, {', '.join(targets)}, seed {value['seed']}: {same} results with the same bits, {other} others, "
          f"{refused} that neither makes")
    return 1 if other or not same else 0


if __name__ == "__main__":
    sys.exit(main())
