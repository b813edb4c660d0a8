"""The ctypes layer mirrors runtime/convgen.h: field by field, and problems go there and back."""
import copy
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from reference import case, generator

import convgen
from convgen import _library

HEADER = os.environ.get("CONVGEN_HEADER", os.path.join(os.path.dirname(__file__), "../../runtime/convgen.h"))
STRUCTURES = {"convgen_problem": _library.RawProblem, "convgen_epilogue": _library.Epilogue, "convgen_options": _library.Options,
              "convgen_info": _library.Info, "convgen_figures": _library.RawFigures, "convgen_errors": _library.RawErrors,
              "convgen_network_options": _library.NetworkOptions, "convgen_port": _library.RawPort}
RENAMED = {"direction": "pass", "input": "in", "output": "out"}


class Mirror(unittest.TestCase):
    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    def test_sizes_and_offsets(self):
        lines = []
        for name, structure in STRUCTURES.items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            lines += [f'printf("{name}.{f[0]} %zu\\n", offsetof({name}, {RENAMED.get(f[0], f[0])}));' for f in structure._fields_]
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/a.c", "w") as f:
                f.write(f'#include "{os.path.abspath(HEADER)}"\n#include <stdio.h>\nint main(void) {{ {" ".join(lines)} return 0; }}\n')
            subprocess.run(["cc", "-o", folder + "/a", folder + "/a.c"], check=True)
            there = subprocess.run([folder + "/a"], check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")[:-1]
        import ctypes
        ours = []
        for name, structure in STRUCTURES.items():
            ours.append(f"{name} {ctypes.sizeof(structure)}")
            ours += [f"{name}.{f[0]} {getattr(structure, f[0]).offset}" for f in structure._fields_]
        self.assertEqual(ours, there)

    def test_enumerations_and_version(self):
        with open(HEADER) as f:
            text = f.read()
        for name, ours in (("convgen_pass", ["FORWARD", "BACKWARD_DATA", "BACKWARD_WEIGHTS"]), ("convgen_type", ["F32", "F64", "I64"]),
                           ("convgen_accuracy", ["LOOP", "PROVEN", "2X", "8X"]), ("convgen_effort", [e.upper() for e in ("recall", "estimate", "measure", "exhaustive")])):
            row = re.search(r"typedef enum \{([^}]*)\} " + name, text).group(1)
            self.assertEqual(re.findall(r"CONVGEN_(\w+)", row), ours)
        statuses = re.findall(r"^    CONVGEN_(\w+)", re.search(r"typedef enum convgen_status \{(.*?)\}", text, re.S).group(1), re.M)
        self.assertEqual(statuses.index("CANCELLED"), _library.CANCELLED)
        for status, kind in ((1, "BAD_ARGUMENT"), (2, "BAD_PROBLEM"), (3, "UNSUPPORTED"), (4, "NO_MEMORY"), (5, "NO_RECORD")):
            self.assertEqual(statuses[status], kind)
        self.assertIn(f'CONVGEN_VERSION "{convgen.__version__}"', text)


class Problems(unittest.TestCase):
    def test_text_there_and_back(self):
        rng = generator(self)
        for _ in range(100):
            c = case(rng)
            p = convgen.problem(c["x"], c["w"], True, dtype=np.float32, direction=str(rng.choice(["forward", "backward_data", "backward_weights"])),
                                **c["keywords"])
            again = convgen.Problem(str(p), rank=p.rank)
            self.assertEqual(p, again)
            self.assertEqual(p.shapes, again.shapes)
            self.assertEqual(p.shapes.src, c["x"])
            self.assertEqual(pickle.loads(pickle.dumps(p)), p)
            self.assertEqual(copy.deepcopy(p), p)

    def test_facts(self):
        p = convgen.Problem("--dt=f64 --dir=BWD_WB --tag=nchw g3mb2ic6ih7iw8oc9kh3kw2")
        self.assertEqual((p.direction, p.dtype, p.layout, p.has_bias, p.rank), ("backward_weights", np.float64, "NCHW", True, 2))
        self.assertEqual(p.shapes, ((2, 6, 7, 8), (9, 2, 3, 2), (9,), (2, 9, 5, 7)))
        with self.assertRaises(AttributeError):
            p.rank = 1
        self.assertEqual(len({p, convgen.Problem(str(p)), p.with_fixed_weights()}), 2)
        self.assertEqual(convgen.Problem("mb1ic3id4ih5iw6oc2kd1kh1kw1").shapes.src, (1, 4, 5, 6, 3))


class Finding(unittest.TestCase):
    def test_installed_layout(self):
        """lib/python3/dist-packages/convgen finds lib/libconvgen.so.0 and lib/TRIPLET/libconvgen.so.0."""
        triplet = getattr(sys.implementation, "_multiarch", "x")
        for place in ("lib", f"lib/{triplet}", "lib64"):
            with tempfile.TemporaryDirectory() as root:
                package = root + "/lib/python3/dist-packages/convgen"
                shutil.copytree(os.path.dirname(convgen.__file__), package)
                os.makedirs(f"{root}/{place}", exist_ok=True)
                shutil.copy(_library._library._name, f"{root}/{place}/{_library.NAME}")
                environment = {**os.environ, "PYTHONPATH": root + "/lib/python3/dist-packages"}
                environment.pop("CONVGEN_LIBRARY", None)
                found = subprocess.run([sys.executable, "-c", "import convgen; print(convgen._library._library._name)"], env=environment,
                                       check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
                self.assertEqual(os.path.realpath(found), os.path.realpath(f"{root}/{place}/{_library.NAME}"))


if __name__ == "__main__":
    unittest.main()
