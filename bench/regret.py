#!/usr/bin/env python3
"""Regret: the time of the schedule that was chosen over that of the best of all legal ones.

Usage: bench/regret.py BUILD --batch=LIST --out=FILE [options]      run at the top of the source tree
       bench/regret.py --summary FILE...                            nothing is measured: what such files hold, summarised
  BUILD            the build folder: the command in it does the work (`convgen tune`, `convgen race`)
  --batch=LIST     the layers, in benchdnn's notation; may be repeated
  --out=FILE       one JSON line a layer is added to it. A layer that it has is not measured again, so a long run can be stopped
  --every=N        only every Nth layer: 1, N+1, 2N+1 ...
  --match=TEXT     of these, only the layers with this text
  --dir=D[,D...]   the passes: FWD_B (the default), FWD_D, BWD_D, BWD_W, BWD_WB
  --accuracy=A[,A...]   loop (the default), proven, 2x, 8x
  --weights=W      fixed (the default of forward and backward data, as in bench/peers) or changing
  --threads=N      (1) pinned to as many cores     --target=T
  --draw=N         where there are more legal schedules, N of them drawn at random (100); all: every one takes part
  --seed=S         of the draw (1)
  --seconds=S      of timing for each of the fastest schedules (0.1)
  --also=WHO:FILE  what somebody else chose, another version say: JSON lines of `convgen tune --json` (or bench), or lines of a
                   problem's canonical text and a schedule; may be repeated
  --rows=FILE      every schedule's estimate and time are added to it too, as `convgen race --json` prints them

A layer is tuned in an empty store (MEASURE), then its schedules race: all legal ones, whatever their estimates, or those
drawn. The five fastest, what MEASURE chose, what ESTIMATE chooses and what --also names are timed in turns. Regret is a
time over the best of these: 1 is none. `spread` is the time of a schedule over its own in every second turn: less is noise.
Exit status 1 when a layer could not be measured; it is tried again the next time.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

WHO = ["measure", "estimate"]  # then those of --also
VALUES = {"every": "1", "match": "", "dir": "FWD_B", "accuracy": "loop", "weights": "", "threads": "1", "target": "", "draw": "100",
          "seed": "1", "seconds": "0.1", "rows": "", "out": ""}


# ---- the layers ----

def read_list(path):
    """Every layer of a list: (the options that hold for it, its descriptor)."""
    layers, options = [], []
    with open(path, encoding="utf-8") as f:
        for word in (word for line in f for word in line.split("#")[0].split()):
            if word == "--reset":
                options = []
            elif word.startswith("--batch="):
                raise SystemExit(f"{path}: {word}: a list in a list is not read here")
            elif word.startswith("--"):
                options = options + [word]
            elif not word.startswith("*"):
                layers.append((options, word))
    return layers


def every(layers, n):
    """Layers 1, n+1, 2n+1 ..."""
    return layers[::n]


def words_of(layer, direction, accuracy, set_):
    """The problem as the command is asked about it."""
    options, descriptor = layer
    forward = direction.startswith("FWD")
    kept = [word for word in options if forward or not word.startswith("--epilogue=")]  # an epilogue is the forward pass's
    weights = set_["weights"] or ("changing" if direction.startswith("BWD_W") else "fixed")
    target = [f"--target={set_['target']}"] if set_["target"] else []
    return [*kept, f"--dir={direction}", f"--accuracy={accuracy}", f"--weights={weights}", f"--threads={set_['threads']}", *target,
            descriptor]


def tasks(layers, set_):
    """Each layer's words once, a layer's passes one after another."""
    chosen = [layer for layer in every(layers, int(set_["every"])) if set_["match"] in layer[1]]
    all_ = [words_of(layer, d, a, set_) for layer in chosen for d in set_["dir"].split(",") for a in set_["accuracy"].split(",")]
    return list({" ".join(words): words for words in all_}.values())


def asked(words, set_):
    """What a line of the output file answers: the problem and how the schedules were drawn."""
    return " ".join([*words[:-1], f"--draw={set_['draw']}", f"--seed={set_['seed']}", words[-1]])


# ---- files ----

def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.startswith("{")]


def open_results(path):
    """(the file to add to, the lines it has). A line that was cut when a run was killed is taken away."""
    f = open(path, "a+b")
    f.seek(0)
    text = f.read()
    f.truncate(text.rfind(b"\n") + 1)
    return f, [json.loads(line) for line in text[:text.rfind(b"\n") + 1].splitlines() if line.startswith(b"{")]


def read_also(path):
    """Schedules by the canonical text of their problem."""
    also = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith("{"):
                row = json.loads(line)
                if row.get("problem") and row.get("schedule"):
                    also[row["problem"]] = row["schedule"]
            elif line.split("#")[0].strip():
                problem, schedule = line.split("#")[0].rsplit(None, 1)
                also[problem.strip()] = schedule
    return also


# ---- a layer ----

def run(words):
    """The JSON lines that a command prints; None when it failed."""
    environment = {**os.environ, "CONVGEN_TUNED": "/dev/null"}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows if done.returncode == 0 and rows else None


def tune(command, words):
    """What MEASURE chooses when it remembers nothing."""
    with tempfile.TemporaryDirectory() as folder:
        rows = run([command, "tune", "--json", f"--store={folder}/records", *words])
    return rows[0] if rows else None


def race(command, words, names, set_):
    drawn = [] if set_["draw"] == "all" else [f"--draw={set_['draw']}"]
    named = [f"--schedule={','.join(names)}"] if names else []
    how = [*drawn, f"--seed={set_['seed']}", f"--seconds={set_['seconds']}", *named]
    return run([command, "race", "--json", "--store=/dev/null", *how, *words])


def place(who):
    return (WHO.index(who) if who in WHO else len(WHO), who)


def choice(who, row, best):
    """One who chose, and what came of it; a schedule that is not there any more has no time."""
    timed = row and row["ns_min"]
    return {"by": who, "schedule": row and row["schedule"], "ns": row and row["ns_min"], "spread": row and row["spread"],
            "regret": row["ns_min"] / best["ns_min"] if timed else None, "why": row["why"] if row else "nothing was chosen"}


def judge(rows, names):
    """The line of a layer. names: the schedules chosen, by who chose them."""
    finals = [row for row in rows if row["final"] and row["ns_min"]]
    if not finals:
        return None
    best, by_name = min(finals, key=lambda row: row["ns_min"]), {row["schedule"]: row for row in rows}
    by_name.update((row["asked"], row) for row in rows if row.get("asked"))  # another version's name of it
    names = {**names, "estimate": next((row["schedule"] for row in rows if row["estimated"]), None)}
    first = rows[0]
    return {"problem": first["problem"], "name": first["name"], "pass": first["dir"], "accuracy": first["accuracy"],
            "target": first["target"], "threads": first["threads"], "macs": first["macs"],
            "best": best["schedule"], "best_ns": best["ns_min"], "self_spread": median([row["spread"] for row in finals]),
            "legal": first["legal"], "drawn": first["drawn"], "seed": first["seed"], "refused": sum(bool(row["why"]) for row in rows),
            "chosen": [choice(who, by_name.get(names[who]), best) for who in sorted(names, key=place)]}


def measure(command, words, also, set_):
    """(the line of a layer, the rows of its race); no line when it cannot be measured."""
    tuned = tune(command, words)
    others = {who: chosen[tuned["problem"]] for who, chosen in also.items() if tuned and tuned["problem"] in chosen}
    names = {"measure": tuned and tuned["schedule"], **others}
    rows = race(command, words, sorted({name for name in names.values() if name}), set_) or []
    return judge(rows, names), rows


# ---- summary ----

def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def percentile(values, share):
    """The least value that `share` of the values do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def groups(lines):
    """Results by accuracy, who chose, and pass; `all` is of all passes."""
    found = {}
    for line in lines:
        for c in line["chosen"]:
            for pass_ in (line["pass"], "all"):
                found.setdefault((line["accuracy"], c["by"], pass_), []).append((c["regret"], line))
    return found


def figures(results):
    """Of (regret or None, line): how many have one and how many have none, arithmetic and geometric mean, 95 %, worst and where."""
    timed = [(regret, line) for regret, line in results if regret is not None]
    if not timed:
        return {"layers": 0, "missing": len(results)}
    values = [regret for regret, _ in timed]
    worst, where = max(timed, key=lambda pair: pair[0])
    spreads = [line["self_spread"] for _, line in timed]
    return {"layers": len(timed), "missing": len(results) - len(timed), "mean": sum(values) / len(values),
            "geometric": math.exp(sum(map(math.log, values)) / len(values)), "p95": percentile(values, 0.95), "worst": worst,
            "where": where["problem"], "spread": sum(spreads) / len(spreads), "spread_p95": percentile(spreads, 0.95)}


def print_summary(lines):
    print(f"\n{'accuracy':8} {'chosen by':15} {'pass':6} {'layers':>6} {'none':>4} {'mean':>6} {'geom.':>6} {'95 %':>6} {'worst':>6}  "
          f"{'spread':>6} {'95 %':>6}  worst layer")
    found = groups(lines)
    passes = {key[:2]: sum(k[:2] == key[:2] for k in found) for key in found}
    for key in sorted(found, key=lambda key: (key[0], place(key[1]), key[2] == "all", key[2])):
        if key[2] == "all" and passes[key[:2]] == 2:
            continue  # the only pass stands above
        f = figures(found[key])
        numbers = " ".join(f"{f[n]:6.3f}" for n in ("mean", "geometric", "p95", "worst")) if f["layers"] else "     -" * 4
        spreads = f"{f['spread']:6.3f} {f['spread_p95']:6.3f}  {f['where']}" if f["layers"] else ""
        print(f"{key[0]:8} {key[1]:15} {key[2]:6} {f['layers']:6} {f['missing']:4} {numbers}  {spreads}")


def show(line, number, count):
    cells = [f"{c['by']} {c['regret']:.3f} ({c['schedule']})" if c["regret"] else f"{c['by']} - ({c['why']})" for c in line["chosen"]]
    best = f"best {line['best']} {line['best_ns'] / 1e3:.1f} us, spread {line['self_spread']:.3f}, {line['drawn']} of {line['legal']}"
    print(f"[{number}/{count}] {line['problem']}: {best}: " + "; ".join(cells), flush=True)


# ---- the story ----

def pin(cores):
    """The last cores, as bench/peers: interrupts and other people prefer the first."""
    allowed = sorted(os.sched_getaffinity(0))
    if cores > len(allowed):
        raise SystemExit(f"--threads={cores}: there are {len(allowed)} cores")
    os.sched_setaffinity(0, allowed[-cores:])


def measure_all(command, layers, set_):
    """Adds to the output file what it lacks; (the lines of these layers, whether all are there)."""
    also, all_ = {who: read_also(path) for who, path in set_["also"].items()}, tasks(layers, set_)
    f, had = open_results(set_["out"])
    known, lines = {line["asked"]: line for line in had}, []
    with f, open(set_["rows"] or os.devnull, "a", encoding="utf-8") as every_row:
        for i, words in enumerate(all_):
            key = asked(words, set_)
            line = known.get(key)
            if not line:
                line, rows = measure(command, words, also, set_)
                if not line:
                    print(f"[{i + 1}/{len(all_)}] {' '.join(words)}: not measured", file=sys.stderr, flush=True)
                    continue
                f.write((json.dumps({"asked": key, **line}) + "\n").encode())
                f.flush()
                every_row.writelines(json.dumps(row) + "\n" for row in rows)
                show(line, i + 1, len(all_))
            lines.append(line)
    return lines, len(lines) == len(all_)


def take(arguments):
    """(values of options, lists, other words)."""
    set_, lists, others = {**VALUES, "also": {}}, [], []
    for word in arguments:
        name, is_value, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            others.append(word)
        elif name == "batch" and value:
            lists.append(value)
        elif name == "also" and ":" in value:
            who, _, path = value.partition(":")
            set_["also"][who] = path
        elif is_value and name in VALUES:
            set_[name] = value
        else:
            raise SystemExit(f"regret: {word}: unknown\n\n{__doc__}")
    for name, least in (("every", 1), ("threads", 1), ("seed", 0)):
        if not set_[name].isdigit() or int(set_[name]) < least:
            raise SystemExit(f"regret: --{name}={set_[name]}: a whole number from {least} on is allowed")
    if set_["draw"] != "all" and not set_["draw"].isdigit():
        raise SystemExit(f"regret: --draw={set_['draw']}: a number of schedules, or all")
    return set_, lists, others


def main(arguments):
    if "--summary" in arguments:
        print_summary([line for path in arguments if not path.startswith("--") for line in read_lines(path)])
        return 0
    set_, lists, builds = take(arguments)
    if len(builds) != 1 or not lists or not set_["out"]:
        raise SystemExit(__doc__)
    pin(int(set_["threads"]))
    lines, whole = measure_all(f"{builds[0]}/convgen", [layer for path in lists for layer in read_list(path)], set_)
    print_summary(lines)
    return 0 if whole else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # what is measured is in the file
        sys.exit(130)
