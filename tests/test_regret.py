#!/usr/bin/env python3
"""test_regret.py SOURCE BUILD: bench/regret.py: which layers, what is measured again, the arithmetic of the summary.

Times are canned, or not looked at."""
import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

SOURCE, BUILD = sys.argv[1:3]
sys.path.insert(0, os.path.join(SOURCE, "bench"))
sys.dont_write_bytecode = True
import regret  # noqa: E402

LIST = """# three layers
--epilogue=relu mb1ic3ih6oc4kh3ph1n"a" *3
mb1ic8ih6oc8kh1n"b"   # a comment
--reset
--dt=f64 mb1ic8ih6oc16kh1n"c"
"""


def settings(**given):
    return {**regret.VALUES, **{name: str(value) for name, value in given.items()}}


def row(schedule, ns, **fields):
    return {"problem": "p", "name": "", "dir": "FWD_B", "accuracy": "loop", "target": "avx2", "threads": 1, "macs": 100, "schedule": schedule,
            "ns_min": ns, "final": 1, "estimated": 0, "named": 0, "spread": 1.01, "legal": 9, "drawn": 3, "seed": 1, "why": "", **fields}


def line(problem, measure, estimate, spread=1.0, pass_="FWD_B"):
    return {"asked": problem, "problem": problem, "pass": pass_, "accuracy": "loop", "self_spread": spread,
            "chosen": [{"by": "measure", "regret": measure}, {"by": "estimate", "regret": estimate}]}


class Layers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "list.txt")
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(LIST)

    def test_every(self):
        layers = list(range(1, 12))
        self.assertEqual(regret.every(layers, 1), layers)
        self.assertEqual(regret.every(layers, 4), [1, 5, 9])
        self.assertEqual(regret.every(layers, 20), [1])

    def test_list(self):
        self.assertEqual(regret.read_list(self.path), [(["--epilogue=relu"], 'mb1ic3ih6oc4kh3ph1n"a"'), (["--epilogue=relu"], 'mb1ic8ih6oc8kh1n"b"'),
                                                       (["--dt=f64"], 'mb1ic8ih6oc16kh1n"c"')])

    def test_shipped_list(self):
        layers = regret.read_list(os.path.join(SOURCE, "bench", "convbench.txt"))
        self.assertEqual(len(layers), 4509)
        self.assertEqual(len(regret.every(layers, 20)), 226)
        self.assertTrue(regret.every(layers, 20)[1][1].endswith('n"c40"'))

    def test_passes(self):
        words = regret.tasks(regret.read_list(self.path), settings(dir="FWD_D,BWD_W", every=2))
        self.assertEqual([w[-1][-3:] for w in words], ['"a"', '"a"', '"c"', '"c"'])
        self.assertIn("--epilogue=relu", words[0])
        self.assertNotIn("--epilogue=relu", words[1])  # which is the forward pass's
        self.assertIn("--weights=fixed", words[0])
        self.assertIn("--weights=changing", words[1])


class Results(unittest.TestCase):
    def test_a_layer(self):
        rows = [row("b", 100, spread=1.03), row("a", 110, estimated=1), row("m", 105, named=1), row("x", 90, final=0), row("n", None, why="gone")]
        result = regret.judge(rows, {"measure": "m", "also": "n"})
        self.assertEqual((result["best"], result["best_ns"], result["self_spread"]), ("b", 100, 1.01))
        self.assertEqual([(c["by"], c["schedule"], c["regret"]) for c in result["chosen"]], [("measure", "m", 1.05), ("estimate", "a", 1.1), ("also", "n", None)])
        self.assertEqual(result["chosen"][2]["why"], "gone")
        self.assertEqual((result["legal"], result["drawn"], result["refused"]), (9, 3, 1))
        self.assertIsNone(regret.judge([row("n", None, final=0, why="gone")], {}))

    def test_summary(self):
        lines = [line(str(i), 1 + i / 100, 2.0 if i else None, spread=1 + i / 1000) for i in range(20)]
        f = regret.figures(regret.groups(lines)["loop", "measure", "FWD_B"])
        self.assertEqual((f["layers"], f["missing"], f["worst"], f["where"], f["p95"]), (20, 0, 1.19, "19", 1.18))
        self.assertAlmostEqual(f["mean"], 1.095)
        self.assertLess(f["geometric"], f["mean"])
        self.assertAlmostEqual(f["spread"], 1.0095)
        f = regret.figures(regret.groups(lines)["loop", "estimate", "all"])
        self.assertEqual((f["layers"], f["missing"], f["geometric"]), (19, 1, 2.0))
        self.assertEqual(regret.figures([(None, lines[0])]), {"layers": 0, "missing": 1})

    def test_percentile(self):
        self.assertEqual(regret.percentile([3, 1, 2], 0.95), 3)
        self.assertEqual(regret.percentile(range(1, 101), 0.95), 95)
        self.assertEqual(regret.percentile([5], 0.95), 5)

    def test_printed(self):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            regret.print_summary([line("a", 1.5, None), line("b", 1.0, 1.25, pass_="BWD_W")])
        rows = [words.split() for words in text.getvalue().splitlines()[2:]]
        self.assertIn(["loop", "measure", "all", "2", "0", "1.250", "1.225", "1.500", "1.500", "1.000", "1.000", "a"], rows)
        self.assertIn(["loop", "estimate", "FWD_B", "0", "1", "-", "-", "-", "-"], rows)


class Files(unittest.TestCase):
    """With the real command on small layers; of the times nothing is asked."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        with open(self.at("list"), "w", encoding="utf-8") as f:
            f.write(LIST)

    def at(self, name):
        return os.path.join(self.folder, name)

    def run_it(self, *words):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            status = regret.main([BUILD, f"--batch={self.at('list')}", f"--out={self.at('out')}", "--seconds=0.001", "--draw=2", *words])
        self.assertEqual(status, 0)
        return [words for words in text.getvalue().splitlines() if words.startswith("[")]

    def test_stopped_and_gone_on(self):
        self.assertEqual(len(self.run_it("--every=2")), 2)
        whole = regret.read_lines(self.at("out"))
        with open(self.at("out"), "r+", encoding="utf-8") as f:
            text = f.read()
            f.truncate(text.index("\n") + 20)  # killed while it wrote
        shown = self.run_it("--every=2")
        self.assertEqual(len(shown), 1)
        self.assertTrue(shown[0].startswith("[2/2]"))
        self.assertEqual(self.run_it("--every=2"), [])
        lines = regret.read_lines(self.at("out"))
        self.assertEqual([r["asked"] for r in lines], [r["asked"] for r in whole])
        self.assertEqual([(r["drawn"], r["seed"]) for r in lines], [(2, 1), (2, 1)])
        self.assertEqual([c["by"] for c in lines[0]["chosen"]], ["measure", "estimate"])
        self.assertEqual(len(self.run_it("--every=2", "--seed=2")), 2)  # another draw is another question

    def test_also(self):
        with open(self.at("also"), "w", encoding="utf-8") as f:
            f.write(json.dumps({"problem": "--weights=fixed --epilogue=relu mb1ic3ih6iw6oc4oh6ow6kh3kw3ph1pw1", "schedule": "plain"}) + "\n")
            f.write("--dt=f64 --weights=fixed mb1ic8ih6iw6oc16oh6ow6kh1kw1 old.p4\n")
        with open(self.at("older"), "w", encoding="utf-8") as f:  # by a name of convgen 0.1
            f.write("--dt=f64 --weights=fixed mb1ic8ih6iw6oc16oh6ow6kh1kw1 direct.p4.v1.rows1.copies\n")
        also = [f"--also=before:{self.at('also')}", f"--also=older:{self.at('older')}"]
        self.run_it("--every=2", *also, f"--rows={self.at('rows')}")
        first, second = regret.read_lines(self.at("out"))
        self.assertEqual(first["chosen"][2]["by"], "before")
        self.assertEqual((first["chosen"][2]["schedule"], second["chosen"][2]["schedule"]), ("plain", "old.p4"))
        self.assertEqual((second["chosen"][3]["by"], second["chosen"][3]["schedule"]), ("older", "gather/direct.p4.v1.rows1"))
        self.assertGreater(first["chosen"][2]["regret"], 0)
        self.assertIsNone(second["chosen"][2]["regret"])
        self.assertTrue(all("cycles" in r for r in regret.read_lines(self.at("rows"))))

    def test_words(self):
        for words in (["--every=0"], ["--draw=some"], ["--unknown"], ["--seed=-1"], ["--also=file"]):
            with self.assertRaises(SystemExit) as refused:
                self.run_it(*words)
            self.assertIn(words[0], str(refused.exception))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
