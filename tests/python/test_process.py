"""What holds for the process: threads, fork and spawn, Ctrl-C, memory, import."""
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np
from reference import generator

import convgen
from convgen import _library

CALLS = int(os.environ.get("CONVGEN_PYTHON_CALLS", 5000))  # of the memory test; 100000 is the promise
HANGS = 1800  # seconds that nothing takes, on no machine


def layer(seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in ((3, 30, 31, 3), (5, 5, 3, 8), (1, 1, 1, 8))]


def one_pass(threads=1):
    """Bytes of the forward pass and of a backward one; in a child process too."""
    x, w, b = layer()
    how = {"padding": 2, "threads": threads, "accuracy": "proven"}
    y = convgen.conv2d(x, w, b.ravel(), **how)
    return y.tobytes() + convgen.conv2d_backward_weights(y, x, w.shape, **how).tobytes()


def one_pass_of_a_new_shape(_=None):
    x, w, b = layer()
    return convgen.conv2d(x[:, :17], w, b.ravel()).tobytes()


def python(code, *words, **environment):
    """What a fresh interpreter prints, which Ctrl-C interrupts even where whoever started the tests ignores it (a shell's background)."""
    done = subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=HANGS,
                          env={**os.environ, **environment}, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    if done.returncode:
        raise AssertionError(f"exit status {done.returncode}: {done.stderr}")
    return done.stdout.strip()


class Threads(unittest.TestCase):
    def test_eight_threads_get_the_bits_of_one(self):
        x, w, b = layer()
        plan = convgen.plan(convgen.problem(x, w, b, padding=2), weights=w)
        expected = plan(x, bias=b.ravel())
        wrong, barrier = [], threading.Barrier(8)

        def work():
            barrier.wait()
            for _ in range(50):
                if not np.array_equal(plan(x, bias=b.ravel()), expected):
                    wrong.append(threading.get_ident())

        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(wrong, [])

    def test_eight_threads_meet_a_new_shape_at_once(self):
        convgen.forget()
        results, barrier = [], threading.Barrier(8)

        def work():
            barrier.wait()
            results.append(one_pass())

        threads = [threading.Thread(target=work) for _ in range(8)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual(len(set(results)), 1)
        self.assertEqual(len(results), 8)

    def test_the_lock_of_the_interpreter_is_released(self):
        """While one thread is in a long call, another goes on counting."""
        x, w = np.ones((8, 60, 60, 32)), np.ones((5, 5, 32, 32))
        plan, out = convgen.plan(convgen.problem(x, w), weights=w), np.empty((8, 56, 56, 32))
        plan(x, out=out)
        inside, counted = threading.Event(), [0]

        def work():
            inside.set()
            for _ in range(200):  # or until the other has had its turns, however busy the processor is
                plan(x, out=out)
                if counted[0] > 5:
                    break
            inside.clear()

        old = sys.getswitchinterval()
        sys.setswitchinterval(100)  # so that nothing but a release lets the other thread go on
        try:
            thread = threading.Thread(target=work)
            thread.start()
            inside.wait()
            while inside.is_set():
                counted[0] += 1
                time.sleep(0)
            thread.join()
        finally:
            sys.setswitchinterval(old)
        self.assertGreater(counted[0], 5)


class Processes(unittest.TestCase):
    def children(self, method, work, expected, n=3):
        with multiprocessing.get_context(method).Pool(n) as pool:
            results = pool.map_async(work, [1] * n).get(timeout=HANGS)
        self.assertEqual([r == expected for r in results], [True] * n)

    def test_fork_after_use(self):
        self.children("fork", one_pass, one_pass())
        self.children("fork", one_pass_of_a_new_shape, one_pass_of_a_new_shape())

    def test_fork_after_use_with_threads(self):
        """OpenMP's pool is not in the child: it runs serially, with the same bits."""
        self.children("fork", one_pass, one_pass(threads=2))
        self.assertEqual(one_pass(threads=2), one_pass())

    def test_child_asks_for_two_threads(self):
        expected = one_pass(threads=2)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            self.assertEqual(pool.apply_async(one_pass, (2,)).get(timeout=HANGS), expected)

    def test_fork_while_another_thread_makes_kernels(self):
        """The locks that are held in that moment are not the child's."""
        stop = threading.Event()

        def work():
            size = 6
            while not stop.is_set():
                convgen.conv2d(np.ones((1, size, 6, 1)), np.ones((3, 3, 1, 2)))
                size += 1

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for n in range(8):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(HANGS)
                    ok = convgen.conv2d(np.ones((1, 200 + n, 6, 1)), np.ones((3, 3, 1, 2)))[0, 0, 0, 0] == 9
                    os._exit(0 if ok else 1)
                self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        finally:
            stop.set()
            thread.join()

    def test_spawn(self):
        self.children("spawn", one_pass, one_pass(), 2)


MENTIONED = """
import warnings
import convgen
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    counts = []
    convgen.plan("mb1ic3ih5oc4kh3"); counts.append(len(told))
    convgen.tune("mb1ic3ih5oc4kh3"); counts.append(len(told))
    convgen.tune("mb1ic3ih6oc4kh3"); counts.append(len(told))
print(*counts)
print(told[0].message)
"""

INTERRUPTED = """
import os, signal, sys, threading
import convgen
problem = "--dt=f64 --dir=FWD_D mb4ic8ih40oc8kh5ph2"
lines = []
def progress(done, line):
    lines.append(line)
    if len(lines) == 4:
        os.kill(os.getpid(), signal.SIGINT)
try:
    convgen.tune(problem, progress=progress)
    print("not interrupted")
except KeyboardInterrupt as error:
    plan = convgen.plan(problem)
    print(len(lines) < 7, plan.stopped, plan.info.ns_min > 0, signal.getsignal(signal.SIGINT) is signal.default_int_handler, error)
"""

KILLED = """
import os, signal, threading, time
import convgen
os.environ["CONVGEN_EFFORT"] = "measure"
try:
    threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT))).start()
    for n in range(40, 80):
        convgen.plan(f"--dt=f64 --dir=FWD_D mb8ic16ih{n}oc16kh5ph2")
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
"""


class Tuning(unittest.TestCase):
    problem = "--dt=f64 --dir=FWD_D mb2ic4ih24oc4kh3ph1"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.old = os.environ.get("CONVGEN_STORE")
        os.environ["CONVGEN_STORE"] = self.folder.name + "/records"
        convgen.forget()

    def tearDown(self):
        if self.old is None:
            del os.environ["CONVGEN_STORE"]
        else:
            os.environ["CONVGEN_STORE"] = self.old
        convgen.forget()
        self.folder.cleanup()

    def test_tunes_remembers_recalls(self):
        lines = []
        plan = convgen.tune(self.problem, progress=lambda done, line: lines.append((done, line)))
        self.assertGreater(plan.info.ns_min, 0)
        self.assertFalse(plan.stopped)
        self.assertEqual([done for done, _ in lines], sorted(done for done, _ in lines))
        self.assertGreater(len(lines), 2)
        self.assertEqual(repr(convgen.plan(self.problem).info), repr(plan.info))  # a transform has no bound: NaN
        convgen.forget()
        self.assertTrue(convgen.plan(self.problem).info.recalled)
        many = convgen.tune([self.problem, convgen.Problem(self.problem)])
        self.assertTrue(many[0].info.recalled and many[1].info.recalled)

    def test_calls_use_what_was_tuned(self):
        x, w = np.ones((1, 9, 9, 2)), np.ones((3, 3, 2, 4))
        convgen.conv2d(x, w)
        tuned = convgen.tune(convgen.problem(x, w))
        from convgen import _calls
        convgen.conv2d(x, w)
        self.assertTrue(any(call.kernel is tuned._kernel for call in _calls._kept.values()))

    def test_effort_variable_tunes_at_first_use(self):
        os.environ["CONVGEN_EFFORT"] = "measure"
        try:
            self.assertGreater(convgen.plan(self.problem).info.ns_min, 0)
        finally:
            del os.environ["CONVGEN_EFFORT"]

    def test_progress_stops(self):
        seen = []

        def after_two(done, line):
            seen.append(line)
            return len(seen) < 3

        plan = convgen.tune(self.problem, progress=after_two)
        self.assertTrue(plan.stopped)
        self.assertEqual(len(seen), 3)
        self.assertGreater(plan.info.ns_min, 0)
        convgen.forget()
        self.assertFalse(convgen.plan(self.problem).info.recalled)
        with self.assertRaisesRegex(convgen.Error, "stopped before any schedule"):
            convgen.tune(self.problem, progress=lambda done, line: False)

    def test_a_store_that_cannot_be_used_is_mentioned_once(self):
        places = {"no place": dict(CONVGEN_STORE="", XDG_CACHE_HOME="", HOME=""), "no such folder": dict(CONVGEN_STORE=self.folder.name + "/no/records"),
                  "no such home": dict(CONVGEN_STORE="", XDG_CACHE_HOME="", HOME=self.folder.name + "/nobody"),
                  "a folder": dict(CONVGEN_STORE=self.folder.name)}
        for name, environment in places.items():
            with self.subTest(name):
                told = python(MENTIONED, **environment).split("\n")
                self.assertEqual(told[0], "1 1 1" if name == "a folder" else "0 1 1")
                self.assertRegex(told[1], "^convgen: .*(records|store).*; kernels are kept for this process only$")
        self.assertFalse(os.path.exists(self.folder.name + "/nobody"))

    def test_course_functions_find_what_was_tuned(self):
        """At the default accuracy, which may take a transform: what the search saw of theirs is remembered for them."""
        rng = np.random.default_rng(1)
        A, W, b = rng.standard_normal((1, 12, 12, 16)), rng.standard_normal((3, 3, 16, 16)), np.zeros((1, 1, 1, 16))
        for direction in ("FWD_B", "BWD_D", "BWD_WB"):
            convgen.tune(f"--dt=f64 --dir={direction} mb1ic16ih12oc16kh3ph1")
        convgen.forget()
        Z = convgen.conv_forward(A, W, b, {"stride": 1, "pad": 1})
        convgen.conv_backward(Z, A, W, b, {"stride": 1, "pad": 1})
        from convgen import _plan
        found = [_library.info(kernel.handle) for (text, _), kernel in _plan._kernels.items() if "proven" in text]
        self.assertEqual(len(found), 3)
        self.assertTrue(all(info.recalled for info in found), [info.schedule for info in found])

    def test_progress_raises(self):
        def fails(done, line):
            raise OSError("the disk is full")

        with self.assertRaisesRegex(OSError, "the disk is full"):
            convgen.tune(self.problem, progress=fails)

    def test_progress_may_convolve(self):
        def convolves(done, line):
            convgen.conv2d(np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1)))

        self.assertFalse(convgen.tune(self.problem, progress=convolves).stopped)

    def test_ctrl_c_keeps_the_best(self):
        self.assertRegex(python(INTERRUPTED, CONVGEN_STORE=self.folder.name + "/c"), "^True True True True the search was stopped")

    def test_ctrl_c_in_the_midst_of_a_candidate(self):
        self.assertEqual(python(KILLED, CONVGEN_STORE=self.folder.name + "/d"), "interrupted")

    def test_in_a_thread_ctrl_c_is_left_alone(self):
        plans = []
        thread = threading.Thread(target=lambda: plans.append(convgen.tune(self.problem)))
        thread.start(), thread.join()
        self.assertFalse(plans[0].stopped)


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Memory(unittest.TestCase):
    def test_flat_over_many_calls(self):
        """Changing shapes out of 200, all three passes: nothing grows after the first thousand calls."""
        rng = generator(self)
        shapes = [(1 + n % 3, 5 + n % 20, 5 + n // 20, 1 + n % 4) for n in range(200)]
        arrays = [(rng.standard_normal(s), rng.standard_normal((3, 3, s[-1], 5)), rng.standard_normal((1, 1, 1, 5))) for s in shapes]
        order = rng.permutation(200)
        hparameters = {"stride": 1, "pad": 1}
        start = None
        for n in range(CALLS):
            x, w, b = arrays[order[n % 200]]
            convgen.conv_backward(convgen.conv_forward(x, w, b, hparameters), x, w, b, hparameters)
            if n == 1000:
                gc.collect()
                start = resident()
        gc.collect()
        grown = resident() - start
        print(f"{CALLS} calls: {grown / 1024:.0f} KB grown after the first thousand, {start / 2**20:.1f} MB then", flush=True)
        self.assertLess(grown, 2 * 2**20)

    def test_kernels_leave_when_there_are_many(self):
        from convgen import _calls, _plan
        convgen.forget()
        kept, _plan.KEPT = _plan.KEPT, 16
        try:
            for n in range(60):
                convgen.conv1d(np.ones((1, 5 + n, 1)), np.ones((3, 1, 1)))
            self.assertLessEqual(len(_plan._kernels), 16)
        finally:
            _plan.KEPT = kept
            convgen.forget()
        self.assertEqual(len(_plan._kernels) + len(_calls._kept), 0)


class Import(unittest.TestCase):
    def test_starts_no_thread_and_needs_numpy_only(self):
        code = """
import sys, numpy
before = set(sys.modules)
import convgen
allowed = set(sys.stdlib_module_names) | {"numpy", "convgen"}
print(sorted({m.split(".")[0] for m in set(sys.modules) - before} - allowed), open("/proc/self/status").read().split("Threads:")[1].split()[0])
"""
        self.assertEqual(python(code, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"), "[] 1")

    def test_one_thread_stays_one(self):
        code = """
import numpy as np, convgen
convgen.conv2d(np.ones((1, 9, 9, 1)), np.ones((3, 3, 1, 2)))
print(open("/proc/self/status").read().split("Threads:")[1].split()[0])
"""
        self.assertEqual(python(code, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"), "1")

    def test_a_missing_library_is_named(self):
        code = "try:\n    import convgen\nexcept ImportError as e: print(e)"
        self.assertRegex(python(code, CONVGEN_LIBRARY="/nowhere/libconvgen.so"), "set CONVGEN_LIBRARY to the path.*Tried: /nowhere")


if __name__ == "__main__":
    unittest.main()
