#!/usr/bin/env python3
"""The claims of bench/bars.txt, measured and judged; a plot of the ratio per layer.

Usage: bench/bars.py BUILD [--only=GLOB] [--list] [--seconds=S]     run at the top of the source tree
  BUILD          the build folder: peers, convgen; results go to BUILD/bench/ (one file of JSON lines a run, ratios.svg)
  --only=GLOB    claims whose text matches, e.g. 'ResNet-50 forward*', or all of one run, e.g. avx2
  --seconds=S    of timing for each contestant and layer
  --kept         nothing is measured: what earlier runs left in BUILD/bench is judged
  --page=FILE    also write the table as a page (Markdown) with the plots beside it
Also drawn: BUILD/bench/errors.svg, speed against error of the runs of bench/winograd.txt; BUILD/bench/summary.svg, the README's picture.
Exit status 1 when a bar is missed or a run fails. Figures by minima and by medians stand side by side; the bound says which is judged.
"""
import fnmatch
import json
import math
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def read_table(path):
    """(runs by name, claims as dictionaries)."""
    names, runs, claims = ("what", "bound", "figure", "over", "layers", "run"), {}, []
    with open(path, encoding="utf-8") as f:
        for line in f:
            cells = [cell.strip() for cell in line.split("|")]
            if line.startswith("#") or not line.strip():
                continue
            if len(cells) == len(names):
                claims.append(dict(zip(names, cells)))
            else:
                name, words = line.split(" = ")
                runs[name.strip()] = words.strip()
    return runs, claims


def command(run, build, seconds):
    """The words to start for a run, and the variables to start them with."""
    kind, *words = run.split()
    environment = dict(os.environ)
    if kind == "peers":
        return [f"{build}/peers", "--json", *seconds, *words], environment
    if kind == "tune":
        environment["CONVGEN_TUNED"] = "/dev/null"
        store = f"{build}/bench/fresh-records"
        for left in (store, store + ".lock"):
            if os.path.exists(left):
                os.remove(left)
        return [f"{build}/convgen", "tune", "--json", f"--store={store}", *words], environment
    if kind == "course":
        return [sys.executable, f"{HERE}/course.py", build, "--json"], environment
    return [sys.executable, f"{HERE}/spine.py", f"{build}/convgen", "--json"], environment


def kept(name, build):
    """The JSON lines that an earlier run left."""
    path = f"{build}/bench/{name}.jsonl"
    if not os.path.exists(path):
        return [], True
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.startswith("{")], True


# The command as a process: kind of run -> its first words, how often it runs, what it is told of the store.
PROCESSES = {"recall": (["tune"], 31, "recalled"),
             "emit": (["emit", "--form=asm", "--target=avx512,avx2", "--prefix=net", "--force", "-o", "{build}/bench/emitted"], 6, "none")}


def process(kind, build, words):
    """The least time of a process of the command, from its start to its end."""
    verb, count, store = PROCESSES[kind]
    words = [f"{build}/convgen", *[word.format(build=build) for word in verb], f"--store={build}/bench/{store}", *words]
    print(f"# {' '.join(words)}    ({count} times)", flush=True)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        if subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            return "", False
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])  # the first may have had to tune
    return json.dumps({"name": kind, "seconds": times[0], "median": times[len(times) // 2]}) + "\n", True


def output_of(words, environment):
    print("# " + " ".join(words), flush=True)
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=False, text=True)
    return done.stdout, done.returncode == 0


def measure(name, run, build, seconds):
    """The JSON lines of a run, kept in a file; what went before a failure counts."""
    kind, *words = run.split()
    text, good = process(kind, build, words) if kind in PROCESSES else output_of(*command(run, build, seconds))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    for line in lines:
        show(line)
    with open(f"{build}/bench/{name}.jsonl", "w", encoding="utf-8") as f:
        f.write(text)
    return lines, good


def show(line):
    """A line of the log: GFLOP/s of each (best, median), ratio (minima, medians), share of the peak."""
    if "flops" not in line:
        return
    cells = [f"{who} {c['gflops']:.1f} {line['flops'] / c['ns_median']:.1f}" for who, c in line["contestants"].items()]
    ours, peak = line["contestants"].get("convgen"), line["peak_gflops"]
    share = f"  {100 * ours['gflops'] / peak:.0f}% of {peak:.0f}" if ours and peak else ""
    ratio = f"  x{line['ratio_min']:.2f} x{line['ratio_median']:.2f}" if "ratio_min" in line else ""
    how = f"  {ours['how']}" if ours else ""
    print(f"{(line['name'] or line['problem'])[:32]:32} {line['pass']:16} " + " | ".join(cells) + ratio + share + how, flush=True)


def ratio(line, over, key):
    """How many times faster convgen is than the best of `over`; None where one did not take part."""
    all_ = line.get("contestants", {})
    theirs = [all_[who][key] for who in over.split(",") if who in all_]
    return min(theirs) / all_["convgen"][key] if theirs and "convgen" in all_ else None


def chosen(line, layers):
    name = f"{line.get('name') or line.get('problem')}/{line.get('pass')}" if "pass" in line else line.get("name", "")
    return any(fnmatch.fnmatch(name, pattern) for pattern in layers.split())


def geometric(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def share_of_sums(lines, over, key):
    """The sum of the best peers' times over the sum of convgen's, of a whole network."""
    ours = [line["times"] * line["contestants"]["convgen"][key] for line in lines]
    return sum(ratio(line, over, key) * own for line, own in zip(lines, ours)) / sum(ours)


def figure(row, lines):
    """(by minima, by medians, remark) of a row."""
    if row["figure"] == "ns":
        ours = [line["contestants"]["convgen"] for line in lines if "convgen" in line.get("contestants", {})]
        return (ours[0]["ns_min"], ours[0]["ns_median"], "1 layer") if ours else (None, None, "nothing measured")
    if row["figure"] in ("rate", "total"):
        fresh = [line for line in lines if line.get("seconds") and (not row["layers"] or chosen(line, row["layers"]))]
        if row["figure"] == "total":
            return sum(line["seconds"] for line in fresh) if fresh else None, None, f"{len(fresh)} layers"
        rates = [(line["candidates"] - line["refused"]) / line["seconds"] for line in fresh]
        return sum(rates) / len(rates) if rates else None, None, f"{len(fresh)} layers"
    mine = [line for line in lines if chosen(line, row["layers"])]
    found = [(ratio(line, row["over"], "ns_min"), ratio(line, row["over"], "ns_median"), line) for line in mine]
    missing = [f[2] for f in found if f[0] is None]
    found = [f for f in found if f[0] is not None]
    if not found:
        return None, None, "nothing measured"
    judged = by_medians(row)
    worst = min(found, key=lambda f: f[judged])
    remark = "1 layer" if len(found) == 1 else \
        f"{len(found)} layers, least {worst[judged]:.2f} ({worst[2]['name'] or worst[2]['problem']})"
    if missing:
        remark += f", {len(missing)} without a peer or a result"
    if row["figure"] == "each":
        return min(f[0] for f in found), min(f[1] for f in found), remark
    if row["figure"] == "sum":
        kept = [f[2] for f in found]
        return share_of_sums(kept, row["over"], "ns_min"), share_of_sums(kept, row["over"], "ns_median"), remark
    return geometric([f[0] for f in found]), geometric([f[1] for f in found]), remark


def by_medians(row):
    return row["bound"].startswith(">~")


def verdict(row, minima, medians):
    if minima is None:
        return "MISSING"
    if row["bound"] == "-":
        return "shown"
    sign, bound = row["bound"].split()
    value = medians if by_medians(row) else minima
    return "met" if (value >= float(bound) if sign[0] == ">" else value <= float(bound)) else "MISSED"


def layer(line):
    return (line["name"] or line["problem"]).split(":")[-1].replace("_", " ")


def draw(build, name, blocks):
    """A plot by bench/NAME.gp, where gnuplot is. blocks: (title, rows of cells)."""
    with open(f"{build}/bench/{name}.dat", "w", encoding="utf-8") as f:
        for title, rows in blocks:
            f.write(f'"{title}"\n' + "".join(" ".join(f'"{c}"' if isinstance(c, str) else f"{c:.4f}" for c in row) + "\n" for row in rows) + "\n\n")
    if blocks:
        files = f"data='{build}/bench/{name}.dat'; out='{build}/bench/{name}.svg'; blocks={len(blocks)}"
        try:
            subprocess.run(["gnuplot", "-e", files, f"{HERE}/{name}.gp"], check=True)
            print(f"# plot: {build}/bench/{name}.svg")
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"# no plot: {error}")


DRAWN_ON_A_PAGE = {"resnet50": "ResNet-50, no transforms (--accuracy=proven)", "resnet50-loop": "ResNet-50, error of a plain loop (the default)",
                   "mobilenetv2": "MobileNetV2", "winograd": "layers of 3x3 and 5x5, error of a plain loop"}


# The README's first picture: the claim, what it is called there, over what (the plot's colours).
SUMMARY = [("from Python over einsum, backward", "gradients of a course's layer, float64", 0),
           ("from Python over einsum, forward", "the same layer, forward", 0),
           ("whole VGG-16 forward, error 1.25", "VGG-16, all convolutions", 1),
           ("MobileNetV2 depthwise forward, mean", "depthwise layers of MobileNetV2", 1),
           ("whole ResNet-50 forward, error 1.25", "ResNet-50, all convolutions", 1),
           ("ResNet-50 forward, mean", "the same, without Winograd", 1)]


def summary(build, results):
    """One bar a claim, by minima, when all of them were measured."""
    found = {row["what"]: minima for row, minima, *_ in results if minima is not None}
    if all(what in found for what, *_ in SUMMARY):
        draw(build, "summary", [("", [(label, found[what], float(kind)) for what, label, kind in SUMMARY])])


def plot(build, runs, few):
    """The ratio of every layer, a panel a run (few: those of a page); and speed against error, a curve a layer that several runs have."""
    passes = {"forward": 0, "backward_data": 1, "backward_weights": 2}
    ratios, curves = [], {}
    for run, (lines, _) in runs.items():
        lines = [line for line in lines if "ratio_min" in line]
        if lines and (not few or run in DRAWN_ON_A_PAGE):
            names = [layer(line) for line in lines]
            names = ["" if i and name == names[i - 1] else name for i, name in enumerate(names)] # a layer's passes are neighbours
            ratios.append((DRAWN_ON_A_PAGE.get(run, run), [(name, line["ratio_min"], float(passes[line["pass"]])) for name, line in zip(names, lines)]))
        for line in lines if run in ("winograd", "winograd-2x", "winograd-8x") else []:
            if line["pass"] == "forward" and "error_vs_loop" in line:
                curves.setdefault(layer(line), []).append((line["error_vs_loop"], line["ratio_median"]))
    draw(build, "ratios", ratios)
    draw(build, "errors", [(name, sorted(points)) for name, points in curves.items()])


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        fields = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].splitlines())
    return " ".join(next(fields[key] for key in fields if key.strip() == "model name").split())


def page(path, build, results, texts):
    """What was measured, for readers: a table of claims, the commands, the plots."""
    def number(value):
        return "" if value is None else f"{value:.3g}" if value < 0.1 else f"{value:.2f}"
    peaks, days = set(), set()
    for run in texts:
        if os.path.exists(f"{build}/bench/{run}.jsonl"):
            days.add(time.strftime("%Y-%m-%d", time.localtime(os.path.getmtime(f"{build}/bench/{run}.jsonl"))))
        peaks |= {(line["dt"], line["target"]) + (line["peak_gflops"],) for line in kept(run, build)[0] if line.get("threads") == 1}
    of = {key: [p for t, g, p in peaks if (t, g) == key] for key in sorted({p[:2] for p in peaks})}
    peak = ", ".join(f"{min(of[key]):.0f} to {max(of[key]):.0f} GFLOP/s {key[0]} {key[1]}" for key in of)
    with open(path, "w", encoding="utf-8") as f:
        f.write("# Measured\n\nWritten by `bench/bars.py --page`, from the results of `make bench` (`bench/run`), each run interleaved, pinned, and warm but for those named cold.\n\n"
                f"Machine: {processor()}; FMA peak of one core as measured in these runs: {peak}. Date: {', '.join(sorted(days))}.\n\n"
                "Ratios say how many times faster convgen is; *bound* is judged by minima (`>=`, `<=`) or by medians (`>~`), `-` is shown only.\n"
                "Weights are packed beforehand, activations laid out as each side likes them best, on both sides.\n\n"
                "| what | bound | minima | medians | verdict | remark | run |\n|---|---|---|---|---|---|---|\n")
        results = [result for result in results if result[1] is not None]
        for row, value, median, remark in results:
            f.write(f"| {row['what']} | `{row['bound']}` | {number(value)} | {number(median)} | {verdict(row, value, median)} | {remark} | {row['run']} |\n")
        f.write("\n![Times faster than oneDNN's best direct kernel, per layer](ratios.svg)\n\n"
                "![Speed over the best direct kernel against the error over a plain loop's](errors.svg)\n\nThe runs:\n\n```\n")
        f.writelines(f"{name:16}= {text}\n" for name, text in texts.items() if any(row["run"] == name for row, *_ in results))
        f.write("```\n")
    for name in ("ratios", "errors", "summary"):
        if os.path.exists(f"{build}/bench/{name}.svg"):
            shutil.copy(f"{build}/bench/{name}.svg", os.path.join(os.path.dirname(path), f"{name}.svg"))


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if len(words) != 1:
        sys.exit(__doc__)
    build, pattern = words[0], next((w[7:] for w in sys.argv if w.startswith("--only=")), "*")
    texts, claims = read_table(f"{HERE}/bars.txt")
    table = [row for row in claims if fnmatch.fnmatch(row["what"], pattern) or row["run"] == pattern]
    if "--list" in sys.argv:
        print("\n".join(row["what"] for row in table))
        return 0
    os.makedirs(f"{build}/bench", exist_ok=True)
    seconds = [word for word in sys.argv if word.startswith("--seconds=")]
    runs = {}
    for row in table:
        if row["run"] not in runs:
            runs[row["run"]] = kept(row["run"], build) if "--kept" in sys.argv else measure(row["run"], texts[row["run"]], build, seconds)
    print(f"\n{'what':46} {'at least':>8} {'minima':>8} {'medians':>8}  verdict")
    results = [(row, *figure(row, runs[row["run"]][0])) for row in table]
    for row, value, median, remark in results:
        cells = [f"{v:8.3g}" if v is not None and v < 0.1 else f"{v:8.2f}" if v is not None else f"{'':8}" for v in (value, median)]
        print(f"{row['what']:46} {row['bound']:>8} {cells[0]} {cells[1]}  {verdict(row, value, median):8} {remark}")
    page_path = next((w[7:] for w in sys.argv if w.startswith("--page=")), None)
    plot(build, runs, few=page_path)
    summary(build, results)
    if page_path:
        page(page_path, build, results, texts)
    for run, (_, good) in runs.items():
        if not good:
            print(f"# failed or wrong: {run}")
    missed = any(verdict(row, value, median) in ("MISSED", "MISSING") for row, value, median, _ in results)
    return 1 if missed or not all(good for _, good in runs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
