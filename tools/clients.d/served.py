"""A front end with models, for the tests of one file; and small helpers.

The models answer what anybody can compute: ``echo`` gives its inputs back, ``sum`` adds, ``upper``
writes in capitals.
"""

import http.client
import json
import os
import subprocess
import tempfile
import time
import unittest

SKYSAIL = os.environ["SKYSAIL"]
ECHO = os.environ["ECHO"]
#: Long enough for any machine; what takes longer has failed.
PATIENCE_SECONDS = 30
#: What a batch of the model ``slow`` takes.
SLOW_SECONDS = 0.5

#: Datatypes of the protocol, and how the SDK calls them.
SHORT = {
    "BOOL": "bool",
    "UINT8": "u8",
    "UINT16": "u16",
    "UINT32": "u32",
    "UINT64": "u64",
    "INT8": "i8",
    "INT16": "i16",
    "INT32": "i32",
    "INT64": "i64",
    "FP16": "f16",
    "BF16": "bf16",
    "FP32": "f32",
    "FP64": "f64",
    "BYTES": "bytes",
}


def echo(*tensors, delay_ms=0):
    """The command of a model that answers its tensors."""
    named = [part for tensor in tensors for part in ("--tensor", tensor)]
    return [ECHO, *named, "--delay-ms", str(delay_ms)]


#: A query at a time, and none given up early: what is late is late.
ONE_BY_ONE = {"policy": "fixed", "size": 1, "wait_micros": 0}

#: Input type and command of each model.
MODELS = {
    "sum": ("doubles", [SKYSAIL, "example-container", "sum"]),
    "upper": ("strings", [SKYSAIL, "example-container", "upper"]),
    # Two tensors, one of a scalar a row.
    "pair": ("tensors", echo("a:f32[2]", "b:i32")),
    # One dimension that varies, and one that does not.
    "vary": ("tensors", echo("v:f32[-1,2]")),
    "texts": ("tensors", echo("t:string[-1]", "b:bytes")),
    "halves": ("tensors", echo("h:f16[2]", "b:bf16[2]")),
    "slow": ("tensors", echo("x:f32", delay_ms=int(SLOW_SECONDS * 1000))),
    # A model for each datatype: `fp32` takes `x`, three a row.
    **{name.lower(): ("tensors", echo(f"x:{short}[3]")) for name, short in SHORT.items()},
    # Registered, and never started.
    "absent": ("floats", None),
}


def until(what, is_so):
    """Polls until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"gave up waiting: {what}")
        time.sleep(0.02)


class Answer:
    """Status, headers and body of an answer over HTTP."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def request(address, method, path, body=b"", headers=None):
    """One request, with the headers that are named and no others that matter."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


class FrontEnd:
    """A front end on free ports, in a directory of its own."""

    def __init__(self, *flags, prepare=None):
        self.directory = tempfile.TemporaryDirectory(prefix="skysail-clients-")
        self.data = f"{self.directory.name}/data"
        self.headers = {}
        command = [SKYSAIL, "serve", "--json", "--data-dir", self.data, "--log", "error"]
        for port in ("query", "management", "rpc"):
            command += [f"--{port}", "127.0.0.1:0"]
        if prepare:
            prepare(self)
        self.process = subprocess.Popen(
            [*command, "--drain-notice", "0", *flags], stdout=subprocess.PIPE
        )
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise AssertionError("the front end did not start")
        ready = json.loads(line)
        self.query, self.management = ready["query"], ready["management"]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.directory.cleanup()

    def manage(self, method, path, body=b""):
        answer = request(self.management, method, f"/api/v1/{path}", body, self.headers)
        assert answer.status in (200, 201), f"{method} {path}: {answer.status} {answer.body}"
        return answer

    def ask(self, method, path, body=b"", headers=None):
        """One request to the query port."""
        return request(self.query, method, path, body, {**self.headers, **(headers or {})})

    def infer(self, model, body, headers=None):
        return self.ask("POST", f"/v2/models/{model}/infer", body, headers)

    def deploy(self, model, version="1"):
        """Registers a model, and starts it if it has a command."""
        kind, command = MODELS[model]
        new = {"model": model, "version": version, "input_type": kind}
        if model == "slow":
            new["batching"] = ONE_BY_ONE
        self.manage("POST", "models", new)
        if command:
            path = f"models/{model}/versions/{version}/deployment"
            self.manage("PUT", path, {"replicas": 1, "command": command})

    def wait_ready(self, model):
        ready = lambda: self.ask("GET", f"/v2/models/{model}/ready").status == 200
        until(f"model {model} to be ready", ready)

    def add_application(self, name, model, slo_micros=10_000_000, default="-1"):
        kind = MODELS[model][0]
        self.manage("POST", "applications", {
            "name": name, "input_type": kind,
            "latency_slo_micros": slo_micros, "default_output": default})
        self.manage("PUT", f"applications/{name}/links", {"models": [model]})


class Served(unittest.TestCase):
    """Tests against one front end with the models that the class names."""

    models = ()
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.front_end = FrontEnd(*cls.flags)
        cls.addClassCleanup(cls.front_end.stop)
        for model in cls.models:
            cls.front_end.deploy(model)
        for model in cls.models:
            if MODELS[model][1]:
                cls.front_end.wait_ready(model)

    def infer(self, model, body, headers=None):
        return self.front_end.infer(model, body, headers)

    def check_error(self, answer, status, *needles):
        """An error has the one shape that every client can read."""
        shown = f"{answer.status} {answer.body}"
        self.assertEqual(answer.status, status, shown)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        error = answer.json()["error"]
        self.assertIsInstance(error, str)
        self.assertTrue(error)
        for needle in needles:
            self.assertIn(needle, error)
