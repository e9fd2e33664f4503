"""Containers in Java against a real skysail, by the jar; see the script ``jvm``."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

from skysail_testing import SKYSAIL, FrontEnd, Refused, conformance, follow, guide, run

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "container-sdk/examples/digits"
#: The jar, and the classes of the tests' models.
JAR, CLASSES = os.environ["JAR"], os.environ["CLASSES"]
JAVA = ["java", "-Xcheck:jni", "-XX:+UseSerialGC", "-Xmx64m", "-cp", f"{JAR}:{CLASSES}"]
GROWTH_BYTES_MAX = 16 << 20

front = None


def setUpModule():
    global front
    front = FrontEnd()


def tearDownModule():
    front.stop()


class TestDigits(unittest.TestCase):
    def test_predictions_over_http_are_those_of_a_reference_in_java(self):
        linear = json.loads((DIGITS / "digits-linear.json").read_text())
        self.assertEqual(linear["input_scale"], 1 / 16)
        (layer,) = linear["layers"]
        images = []
        for line in (DIGITS / "digits-test.csv").read_text().splitlines():
            if line[0].isdigit():
                images.append([float(word) for word in line.split(",")])
        with tempfile.TemporaryDirectory() as directory:
            weights, rows = Path(directory) / "weights.txt", Path(directory) / "rows.csv"
            lines = [
                " ".join(repr(value) for value in [layer["bias"][c], *(w[c] for w in layer["weights"])])
                for c in range(10)
            ]
            weights.write_text("\n".join(lines))
            pixels = [image[1:] for image in images]
            rows.write_text("\n".join(",".join(map(str, image)) for image in pixels))
            status, said = run("java", "-cp", CLASSES, "Reference", weights, rows)
            self.assertEqual(status, 0, said)
            expected = [[float(word) for word in line.split()] for line in said.splitlines()]
            container = front.start("digits", [*JAVA, "Digits"], "--path", directory)
            self.assertEqual(container.wait_ready()["transport"], "shm")
            found = []
            for begin in range(0, len(pixels), 90):
                part = pixels[begin : begin + 90]
                data = ("FP32", [len(part), 64], [value for image in part for value in image])
                answer = front.infer("digits", x=data)
                logits = answer["logits"]["data"]
                found += [logits[at : at + 10] for at in range(0, len(logits), 10)]
                best = [row.index(max(row)) for row in found[begin:]]
                self.assertEqual(answer["digit"]["data"], best)
            self.assertEqual(len(found), len(expected))
            for row, reference in zip(found, expected):
                for value, exact in zip(row, reference):
                    self.assertAlmostEqual(value, exact, delta=1e-3)
            self.assertEqual(container.end(), 0, container.log())
            self.assertNotIn("WARNING", container.log())


class TestTensors(unittest.TestCase):
    def test_every_type_and_kind_of_row_comes_back(self):
        container = front.serve("every", [*JAVA, "Every"])
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
                "text": ("BYTES", [rows], [f"é{at}😀" for at in range(rows)]),
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
        self.assertEqual(container.end(), 0, container.log())
        self.assertNotIn("WARNING", container.log())


class TestErrors(unittest.TestCase):
    def say(self, *words, value=0.0):
        rows = len(words)
        x = ("FP32", [rows, 4096], [value] * 4096 * rows)
        return front.infer("moody", say=("BYTES", [rows], list(words)), x=x)

    def refused(self, *words):
        with self.assertRaises(Refused) as error:
            self.say(*words)
        return str(error.exception)

    def test_errors_cost_their_batch_or_row_and_never_the_jvm(self):
        container = front.serve("moody", [*JAVA, "-Dskysail.stage.bytes=1048576", "Moody"])
        self.assertEqual(self.say("well", "")["said"]["data"], ["well", ""])
        for word, told in [
            ("fail", "java.io.IOException: as you wish: é"),
            ("silent", "Moody$1, which does not say why: java.lang.UnsupportedOperationException"),
            ("overflow", "java.lang.StackOverflowError"),
            ("memory", "java.lang.OutOfMemoryError"),
            ("none", "output 'said' has 0 rows, the batch has 1"),
            ("null", "a row of output 'said' is null"),
            ("nullrow", "a row of output 'v' is null"),
            ("type", "output 'v' holds f32, which is pushed as float[], not double[]"),
            ("odd", "a row of output 'v' has 3 elements, which are not [1, 2]"),
            ("shape", "a row of [2, 1] does not fit the output v: f32[-1,2]"),
            ("huge", "which are not [9223372036854775807, 2]"),
            ("name", "no input 'z'; the schema has say: string, x: f32[4096]"),
            ("wrong", "input 'x' holds f32, asked for i64 or u64"),
            ("nullname", "no input 'null'"),
            ("outside", "no row 7: the batch has 1"),
            ("output", "output 'n' holds i32, asked for f32"),
            ("inplace", "output 'v' has rows of their own shape; push them one by one"),
            ("thread", "used on the thread only that predict was called on"),
            ("write", "ReadOnlyBufferException"),
            ("row", "not this one"),
        ]:
            with self.subTest(word):
                self.assertIn(told, self.refused(word))
        self.assertTrue(1 <= self.say("time")["n"]["data"][0] <= 60)
        for value in range(100):
            self.say("keep", value=float(value))
        # Large enough for a stage, and enough for many.
        for value in range(100, 140):
            answer = self.say(*["keep", "first"] * 4, value=float(value))
            self.assertEqual(answer["n"]["data"], [0, value] * 4)
        self.assertIn("the batch is over", self.refused("kept"))
        self.assertEqual(self.say("well")["said"]["data"], ["well"])
        self.assertEqual(container.end(), 0, container.log())
        log = container.log()
        self.assertIn("at Moody.say(Moody.java:", log)
        self.assertIn("loaded moody:1", log)
        self.assertIn("unloaded", log)
        self.assertIn("it does not unload well", log)
        self.assertNotIn("WARNING", log)

    def test_a_model_that_exits_ends_its_container(self):
        container = front.serve("exits", [*JAVA, "Moody"])
        with self.assertRaises(Refused):
            front.infer("exits", say=("BYTES", [1], ["exit"]), x=("FP32", [1, 4096], [0.0] * 4096))
        self.assertEqual(container.wait_end(), 1)
        self.assertIn("error: the model called System.exit, which ends the container", container.log())

    def test_a_model_that_is_wrong_is_told_in_a_line(self):
        invalid = "error: the model's signature is not valid: "
        for variant, status, told in [
            ("broken", 1, "error: the model does not load: java.lang.IllegalStateException: no weights"),
            ("old", 2, "error: weights.bin is of version 1: train it again"),
            ("classless", 2, "error: there is no class com.example.Weights: put its jar or directory on the class"),
            ("nativeless", 2, "error: a native library is missing: no weights in java.library.path"),
            ("null", 2, "error: the model has no schema: schema() returned null"),
            ("endless", 2, "error: the model has no schema: java.lang.StackOverflowError"),
            ("nameless", 2, "error: the model has no schema: java.lang.NullPointerException"),
            ("typeless", 2, f"{invalid}'f33' is not a tensor type"),
            ("greedy", 2, f"{invalid}max_batch is 100000"),
            ("model", 2, "error: the model is null"),
        ]:
            with self.subTest(variant):
                flags = ["--rpc", front.rpc, "--model", "wrong", "--version", "1"]
                found = run(*JAVA, "Moody", *flags, VARIANT=variant)
                self.assertEqual(found[0], status, found[1])
                self.assertTrue(found[1].splitlines()[-1].startswith(told), found[1])

    def test_a_wrong_start_is_told_in_a_line_with_status_2(self):
        skysail = [*JAVA, "skysail.Skysail"]
        for command, told in [
            ([*skysail, "com.example.Absent"], "error: there is no class com.example.Absent: put its jar"),
            ([*skysail, "NoModel"], "error: NoModel is no model: it does not implement skysail.Model"),
            ([*skysail], "error: name the model's class: "),
            ([*skysail, "Noop", "--model", "m", "--version", "1"], "error: --rpc (or SKYSAIL_RPC) is not given"),
            (["java", "-Dos.arch=s390x", *JAVA[1:], "Moody"], "error: skysail.jar has no native library for linux-s390x: "),
            (["java", "-Djava.io.tmpdir=/proc/none", *JAVA[1:], "Moody"], "error: the native library cannot be written: "),
            ([*JAVA, "OldJava", "11"], "error: this is Java 11, in /"),
            ([*JAVA, "OldJava", "1.8"], "error: this is Java 1.8, in /"),
            (["env", "VARIANT=static", *skysail, "Moody"], "error: Moody cannot be made: java.lang.ArithmeticException"),
        ]:
            with self.subTest(told):
                status, said = run(*command)
                self.assertEqual(status, 2, said)
                self.assertEqual(len(said.splitlines()), 1, said)
                self.assertTrue(said.startswith(told), said)
        status, said = run(*skysail, "Noop", "--slots", "0")
        self.assertEqual(status, 2, said)
        self.assertIn("--slots", said)

    def test_a_file_that_does_not_fit_is_told_in_a_line_with_status_2(self):
        later = Path(CLASSES, "Noop.class").read_bytes()
        for name, file, told in [
            # Java 83, some day.
            ("Noop.class", later[:6] + bytes([0, 127]) + later[8:], "this version of the Java Runtime only recognizes"),
            (f"skysail/native/linux-{platform.machine()}/libskysail_jni.so", b"", "the native library cannot be loaded: "),
        ]:
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                place = Path(directory, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file)
                status, said = run(*JAVA[:-1], f"{directory}:{JAVA[-1]}", "skysail.Skysail", "Noop", "--selftest")
                self.assertEqual(status, 2, said)
                # The JVM itself may warn of the library before.
                self.assertTrue(said.splitlines()[-1].startswith("error: "), said)
                self.assertIn(told, said.splitlines()[-1])

    def test_an_old_jvm_can_read_what_tells_it_that_it_is_old(self):
        version = {}
        with zipfile.ZipFile(JAR) as jar:
            for name in ("Skysail", "Model", "Batch"):
                version[name] = int.from_bytes(jar.read(f"skysail/{name}.class")[6:8], "big")
        self.assertEqual(version, {"Skysail": 52, "Model": 52, "Batch": 61})

    def test_another_signature_than_the_registered_one_ends_it_with_status_2(self):
        front.serve("fits", [*JAVA, "skysail.Skysail", "Noop"])
        flags = ["--rpc", front.rpc, "--model", "fits", "--version", "1"]
        status, said = run(*JAVA, "Every", *flags)
        self.assertEqual(status, 2, said)
        self.assertIn("serve the registered signature, or register a new version", said)

    def test_the_self_test_runs_by_the_models_name(self):
        status, said = run(*JAVA, "skysail.Skysail", "Noop", "--selftest", "--json")
        self.assertEqual(status, 0, said)
        self.assertTrue(json.loads(said.splitlines()[-1])["ok"])


class TestConformance(unittest.TestCase):
    def test_the_suite_in_java_passes_over_every_transport(self):
        # It starts two hundred times: nothing is compiled that will not pay.
        conformance("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JAR}:{CLASSES}", "Suite")


class TestLife(unittest.TestCase):
    def test_many_batches_leave_memory_flat(self):
        command = ["java", "-XX:+UseSerialGC", "-Xms32m", "-Xmx32m", "-XX:+AlwaysPreTouch", *JAVA[4:]]
        container = front.serve("many", [*command, "skysail.Skysail", "Noop"])
        send = lambda rows: {"x": ("FP32", [rows], [float(at) for at in range(rows)])}
        front.many_batches(container, "many", send, GROWTH_BYTES_MAX)
        self.assertEqual(container.end(), 0, container.log())


class TestPackage(unittest.TestCase):
    def test_a_package_of_a_class_has_the_jar(self):
        with tempfile.TemporaryDirectory() as directory:
            model, package = Path(directory) / "m", Path(directory) / "p"
            model.mkdir()
            shutil.copy(Path(CLASSES) / "Noop.class", model)
            command = [SKYSAIL, "package", model, "--output", package]
            told = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            self.assertEqual(told.returncode, 2)
            self.assertIn("has no skysail.jar: name it with --sdk-jar", told.stderr)
            packed = subprocess.run([*command, "--sdk-jar", JAR])
            self.assertEqual(packed.returncode, 0)
            ran = subprocess.run([package / "run", "--selftest"], stdout=subprocess.PIPE, text=True)
            self.assertEqual((ran.returncode, ran.stdout.count(": ok")), (0, 9), ran.stdout)


class TestGuide(unittest.TestCase):
    def test_the_guide_does_what_it_says(self):
        skysail = Path(os.environ["SKYSAIL"]).parent
        path = f"{skysail}:{os.environ['PATH']}"
        said = follow(ROOT / "docs/guides/jvm.md", {"PATH": path, "SRC": str(ROOT)})
        self.assertEqual(said.count("permuted rows: ok"), 2, said)
        self.assertIn("0.0", said)

    def test_its_scorer_is_the_example(self):
        files, _ = guide(ROOT / "docs/guides/jvm.md")
        example = ROOT / "container-sdk/jvm/examples/Linear.java"
        self.assertEqual(files["Linear.java"], example.read_text())


if __name__ == "__main__":
    sys.exit(unittest.main())
