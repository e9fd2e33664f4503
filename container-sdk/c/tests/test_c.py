"""Containers in C and C++ against a real skysail; see the script ``c``."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from skysail_testing import SKYSAIL, FrontEnd, Refused, conformance, follow, guide, run

ROOT = Path(__file__).resolve().parents[3]
#: Where the SDK is installed and the programs are built.
PREFIX = Path(os.environ["PREFIX"])
BIN = PREFIX / "bin"
VALGRIND = [
    "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
    "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite",
]  # fmt: skip
GROWTH_BYTES_MAX = 4 << 20

front = None


def setUpModule():
    global front
    front = FrontEnd()


def tearDownModule():
    front.stop()


class TestLinear(unittest.TestCase):
    def test_scores_over_http_are_those_of_the_weights_in_c_and_cpp(self):
        rng = random.Random(5)
        w = [[rng.uniform(-1, 1) for _ in range(784)] for _ in range(10)]
        x = [[rng.randrange(256) / 256 for _ in range(784)] for _ in range(20)]
        expected = [[sum(a * b for a, b in zip(row, x)) for row in w] for x in x]
        with tempfile.TemporaryDirectory() as directory:
            weights = struct.pack("<7840f", *(value for row in w for value in row))
            (Path(directory) / "w.f32").write_bytes(weights)
            for name in ("linear-c", "linear-cpp"):
                with self.subTest(name):
                    container = front.start(name, [BIN / name], "--path", directory)
                    self.assertEqual(container.wait_ready()["transport"], "shm")
                    flat = [value for row in x for value in row]
                    y = front.infer(name, x=("FP32", [20, 784], flat))["y"]
                    self.assertEqual(y["shape"], [20, 10])
                    for found, value in zip(y["data"], (v for row in expected for v in row)):
                        self.assertAlmostEqual(found, value, delta=2e-3)
                    self.assertEqual(container.end(), 0, container.log())

    def test_an_example_is_short_and_passes_its_self_test(self):
        source = (ROOT / "container-sdk/c/examples/linear.c").read_text()
        code = [line for line in source.splitlines() if line.strip(" })") and "#include" not in line]
        self.assertLessEqual(len(code), 30)
        with tempfile.TemporaryDirectory() as directory:
            status, said = run(BIN / "linear-c", "--selftest", "--path", directory)
            self.assertEqual(status, 1, said)
            self.assertIn("w.f32 cannot be read, or is too short", said)
            (Path(directory) / "w.f32").write_bytes(bytes(31360))
            status, said = run(BIN / "linear-c", "--selftest", "--path", directory)
            self.assertEqual(status, 0, said)
            self.assertIn("permuted rows: ok", said)


class TestTensors(unittest.TestCase):
    def test_every_type_and_kind_of_row_comes_back_under_valgrind(self):
        front.serve("every", [*VALGRIND, BIN / "every"])
        for rows, n in ((1, 2), (3, 0), (2, 3)):
            count = range(rows * 2)
            inputs = {
                "t_bool": ("BOOL", [rows, 2], [at % 2 == 0 for at in count]),
                "t_f16": ("FP16", [rows, 2], [at + 0.5 for at in count]),
                "scalar": ("FP32", [rows], [at + 0.25 for at in range(rows)]),
                "matrix": ("INT32", [rows, 2, 3], list(range(rows * 6))),
                "ragged": ("FP32", [rows, n], [at / 2 for at in range(rows * n)]),
                "wide": ("INT64", [rows, n, 2], list(range(rows * n * 2))),
                "image": ("UINT8", [rows, n, 2, 3], [at % 256 for at in range(rows * n * 6)]),
                "text": ("BYTES", [rows], [f"é{at}" for at in range(rows)]),
                "blob": ("BYTES", [rows], ["" if at else "b" for at in range(rows)]),
                "pair": ("BYTES", [rows, 2], [f"p{at}" for at in count]),
                "tags": ("BYTES", [rows, n], [f"t{at}" for at in range(rows * n)]),
                "grid": ("BYTES", [rows, n, 2], [f"g{at}" for at in range(rows * n * 2)]),
            }
            for bits in (8, 16, 32, 64):
                inputs[f"t_u{bits}"] = (f"UINT{bits}", [rows, 2], [2**bits - 1 - at for at in count])
                inputs[f"t_i{bits}"] = (f"INT{bits}", [rows, 2], [at - 2 ** (bits - 1) for at in count])
            for bits in (32, 64):
                inputs[f"t_f{bits}"] = (f"FP{bits}", [rows, 2], [at - 0.125 for at in count])
            found = front.infer("every", **inputs)
            for name, (datatype, shape, data) in inputs.items():
                self.assertEqual(found[name]["shape"], shape, name)
                self.assertEqual(found[name]["data"], data, name)
        container = front.containers[-1]
        self.assertEqual(container.end(), 0, container.log())

    def test_the_self_test_sends_rows_of_any_kind(self):
        status, said = run(BIN / "every", "--selftest", "--json")
        self.assertEqual(status, 0, said)
        self.assertTrue(json.loads(said.splitlines()[-1])["ok"])


class TestErrors(unittest.TestCase):
    def say(self, *words):
        return front.infer("moody", say=("BYTES", [len(words)], list(words)))

    def refused(self, *words):
        with self.assertRaises(Refused) as error:
            self.say(*words)
        return str(error.exception)

    def test_errors_cost_their_batch_or_row_and_misuse_is_an_error_under_valgrind(self):
        container = front.serve("moody", [*VALGRIND, BIN / "moody"])
        self.assertEqual(self.say("well", "")["said"]["data"], ["well", ""])
        self.assertIn("as you wish", self.refused("fail"))
        self.assertIn("the model's predict returned 3", self.refused("status"))
        self.assertIn("output 'said' has 0 rows, the batch has 1", self.refused("none"))
        self.assertIn("not this one", self.refused("row"))
        self.assertEqual(self.say("misuse")["said"]["data"], ["misuse"])
        self.assertTrue(1 <= self.say("time")["n"]["data"][0] <= 60)
        self.say("keep")
        self.assertEqual(container.end(), 0, container.log())
        self.assertIn("unloaded", container.log())

    def test_a_model_that_is_wrong_is_told_in_a_line(self):
        long = "set it to sizeof(skysail_model), "
        for variant, status, told in [
            ("broken", 1, "error: the model does not load: no weights"),
            ("silent", 1, "error: the model does not load: the model's load returned 7"),
            ("old", 2, "error: weights.bin is of version 1: train it again"),
            ("sizeless", 2, f"error: the model's size is 0: {long}"),
            ("mute", 2, "error: the model has no predict"),
            ("unsigned", 2, "error: the signature is NULL"),
            ("arrowless", 2, "error: the model's signature is not valid: 'say: string' has no '->'"),
            ("greedy", 2, "error: the model's signature is not valid: max_batch is 100000"),
            ("null", 2, "error: model is NULL"),
            ("argless", 2, "error: argv is NULL"),
            ("later", 2, "error: the model was made for a later libskysail"),
        ]:
            with self.subTest(variant):
                flags = ["--rpc", front.rpc, "--model", "wrong", "--version", "1"]
                found = run(*VALGRIND, BIN / "moody", *flags, VARIANT=variant)
                self.assertEqual(found[0], status, found[1])
                self.assertTrue(found[1].splitlines()[-1].startswith(told), found[1])
        status, said = run(BIN / "moody", "--selftest", VARIANT="longer")
        self.assertEqual(status, 0, said)

    def test_wrong_flags_are_told_with_status_2(self):
        for flags, told in [
            (["--slots", "0"], "--slots"),
            (["--model", "m", "--version", "1"], "--rpc (or SKYSAIL_RPC) is not given"),
            (["--nonsense"], "--nonsense"),
        ]:
            status, said = run(BIN / "moody", *flags)
            self.assertEqual(status, 2, said)
            self.assertIn(told, said)

    def test_another_signature_than_the_registered_one_ends_it_with_status_2(self):
        front.serve("fits", [BIN / "noop"])
        flags = ["--rpc", front.rpc, "--model", "fits", "--version", "1"]
        status, said = run(BIN / "every", *flags)
        self.assertEqual(status, 2, said)
        self.assertIn("serve the registered signature, or register a new version", said)

    def test_an_installation_that_lacks_something_is_told_in_a_line_with_status_2(self):
        install = ROOT / "container-sdk/c/install"
        for words, told in [
            ([], "usage: container-sdk/c/install PREFIX, an absolute path"),
            (["here"], "usage: container-sdk/c/install PREFIX, an absolute path"),
            ([PREFIX / "no"], "install: /nowhere has no libskysail_c.so; build it: "),
        ]:
            status, said = run(install, *words, BUILT="/nowhere")
            self.assertEqual((status, len(said.splitlines())), (2, 1), said)
            self.assertTrue(said.startswith(told), said)

    def test_exceptions_of_cpp_fail_their_batch(self):
        container = front.serve("throws", [BIN / "noop"])
        with self.assertRaisesRegex(Refused, "x is negative"):
            front.infer("throws", x=("FP32", [1], [-1.0]))
        with self.assertRaisesRegex(Refused, "something that is no std::exception"):
            front.infer("throws", x=("FP32", [1], [99.0]))
        found = front.infer("throws", x=("FP32", [1], [3.0]))
        self.assertEqual(found["copies"]["data"], [3.0] * 3)
        self.assertEqual(container.end(), 0, container.log())


class TestConformance(unittest.TestCase):
    def test_the_suite_in_c_passes_over_every_transport(self):
        conformance(BIN / "suite")


class TestLife(unittest.TestCase):
    def test_many_batches_leave_memory_flat(self):
        container = front.serve("many", [BIN / "noop"])
        # All of one length: a response has one shape.
        send = lambda rows: {"x": ("FP32", [rows], [8.0 * (at % 9) + 1 for at in range(rows)])}
        front.many_batches(container, "many", send, GROWTH_BYTES_MAX)
        self.assertEqual(container.end(), 0, container.log())


class TestPackage(unittest.TestCase):
    def test_a_package_takes_its_libraries_along(self):
        with tempfile.TemporaryDirectory() as directory:
            model, package = Path(directory) / "m", Path(directory) / "p"
            model.mkdir()
            shutil.copy2(BIN / "linear-c", model)
            (model / "w.f32").write_bytes(bytes(4 * 784 * 10))
            packed = subprocess.run([SKYSAIL, "package", model, "--output", package])
            self.assertEqual(packed.returncode, 0)
            library = package / "lib/libskysail.so.1"
            self.assertEqual(library.read_bytes(), (PREFIX / "lib/libskysail.so.1").read_bytes())
            ran = subprocess.run([package / "run", "--selftest"], stdout=subprocess.PIPE, text=True)
            self.assertEqual((ran.returncode, ran.stdout.count(": ok")), (0, 9), ran.stdout)


class TestGuide(unittest.TestCase):
    def test_the_guide_does_what_it_says(self):
        skysail = Path(os.environ["SKYSAIL"]).parent
        said = follow(
            ROOT / "docs/guides/c.md",
            {"PATH": f"{skysail}:{os.environ['PATH']}", "PREFIX": str(PREFIX), "SRC": str(ROOT)},
        )
        self.assertEqual(said.count("permuted rows: ok"), 3, said)
        self.assertIn("0.0", said)

    def test_its_scorers_are_the_examples(self):
        files, _ = guide(ROOT / "docs/guides/c.md")
        for name in ("linear.c", "linear.cpp"):
            self.assertEqual(files[name], (ROOT / "container-sdk/c/examples" / name).read_text())


if __name__ == "__main__":
    sys.exit(unittest.main())
