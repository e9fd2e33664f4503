"""A front end and containers as processes, for the tests of SDKs in other languages than Python.

Only the standard library; `SKYSAIL` names the front end's program.
"""

import http.client
import json
import os
import re
import struct
import subprocess
import tempfile
import time
from pathlib import Path

SKYSAIL = os.environ.get("SKYSAIL", "skysail")
#: Long enough for any machine; what takes longer has failed.
PATIENCE_SECONDS = 240
#: Batches of a leak check; the whole is `make soak`.
BATCHES = int(os.environ.get("SKYSAIL_SOAK_BATCHES", "50000"))


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


def run(*command, **environment):
    """Exit status and what was written, of a program that ends by itself."""
    ran = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=2 * PATIENCE_SECONDS,
    )
    return ran.returncode, ran.stdout


def conformance(*command):
    """Holds a suite program to the protocol, case by case, over every transport."""
    status, said = run(SKYSAIL, "conformance", "--patience", "60", "--", *command)
    assert status == 0, said
    assert " 0 failed, " in said.splitlines()[-1], said


class Refused(Exception):
    """A status that is not 200, and what the front end said."""


class Container:
    """A container process and what it has written."""

    def __init__(self, front, name, command, environment):
        self.front, self.name = front, name
        self.log_path = Path(front.directory) / f"{name}-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stderr=log, stdout=log, env={**os.environ, **environment}
            )

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self):
        """Waits until it is there and its batches travel through shared memory: the replica."""

        def is_so():
            assert self.process.poll() is None, f"it ended: {self.log()}"
            served = self.front.manage("GET", "status")["models"]
            replicas = [r for v in served if v["name"] == self.name for r in v["replicas"]]
            return [replica for replica in replicas if replica["transport"] == "shm"]

        return until(f"a replica of {self.name}", is_so)[0]

    def wait_end(self):
        """Its exit status."""
        return self.process.wait(PATIENCE_SECONDS)

    def end(self):
        """Asks it to stop: its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait_end()

    def resident_bytes(self):
        """Memory of its own: what it shares with the front end is not counted."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M).group(1))


class FrontEnd:
    """A front end on free ports, in a directory of its own."""

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="skysail-sdk-")
        self.directory = self.temporary.name
        command = [SKYSAIL, "serve", "--json", "--data-dir", f"{self.directory}/data"]
        for port in ("query", "management", "rpc"):
            command += [f"--{port}", "127.0.0.1:0"]
        command += ["--log", "error", "--drain-notice", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.ready = json.loads(self.process.stdout.readline())
        self.rpc = next(rpc for rpc in self.ready["rpc"] if rpc.startswith("ipc:"))
        self.connections = {}
        self.containers = []

    def request(self, port, method, path, body=None, binary=b""):
        """What a request is answered with, and the bytes behind it."""
        address = self.ready[port].removeprefix("http://")
        connection = self.connections.get(port)
        if connection is None:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
            self.connections[port] = connection
        head = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if binary:
            headers = {"Inference-Header-Content-Length": str(len(head))}
        connection.request(method, path, head + binary, headers)
        response = connection.getresponse()
        said = response.read()
        if response.status >= 300:
            ended = [c.log() for c in self.containers if c.process.poll()]
            raise Refused("\n".join([f"{response.status}: {said.decode()}", *ended]))
        length = int(response.headers.get("Inference-Header-Content-Length", len(said)))
        return json.loads(said[:length]) if said else None, said[length:]

    def manage(self, method, path, body=None):
        return self.request("management", method, f"/api/v1/{path}", body)[0]

    def start(self, name, command, *more, environment=(), kind="tensors"):
        """A container, its model registered."""
        self.manage("POST", "models", {"model": name, "version": "1", "input_type": kind})
        flags = ["--rpc", self.rpc, "--model", name, "--version", "1", *more]
        container = Container(self, name, [*command, *flags], dict(environment))
        self.containers.append(container)
        return container

    def serve(self, name, command, *more, **options):
        """As :meth:`start`, once it serves."""
        container = self.start(name, command, *more, **options)
        container.wait_ready()
        return container

    def application(self, name, kind, default="-1"):
        """An application of the model of its name."""
        body = {"name": name, "input_type": kind, "default_output": default}
        self.manage("POST", "applications", {**body, "latency_slo_micros": 60_000_000})
        self.manage("PUT", f"applications/{name}/links/{name}")

    def infer(self, model, **inputs):
        """The outputs of a model, by name, for inputs that are each (datatype, shape, flat data).

        Half floats, which have no JSON, go and come in binary form; an output has an input's name
        where it has its type.
        """
        tensors, outputs, binary = [], None, b""
        for name, (datatype, shape, data) in inputs.items():
            tensor = {"name": name, "datatype": datatype, "shape": shape}
            if datatype == "FP16":
                packed = struct.pack(f"<{len(data)}e", *data)
                tensor["parameters"] = {"binary_data_size": len(packed)}
                binary += packed
                outputs = [
                    {"name": name, "parameters": {"binary_data": of[0] == "FP16"}}
                    for name, of in inputs.items()
                ]
            else:
                tensor["data"] = data
            tensors.append(tensor)
        parameters = {"skysail_cache": False, "timeout": 60_000_000}
        body = {"inputs": tensors, "parameters": parameters}
        if outputs:
            body["outputs"] = outputs
        said, rest = self.request("query", "POST", f"/v2/models/{model}/infer", body, binary)
        for output in said["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is not None:
                output["data"] = list(struct.unpack(f"<{size // 2}e", rest[:size]))
                rest = rest[size:]
        return {output["name"]: output for output in said["outputs"]}

    def many_batches(self, container, name, inputs, growth_bytes_max):
        """Sends batches of one row to a model that takes no larger ones; memory must stay flat."""
        rows, sent = 1000, 0

        def send(batches):
            for _ in range(batches // rows):
                self.infer(name, **inputs(rows))

        send(max(BATCHES // 5, 5 * rows))
        before = container.resident_bytes()
        send(BATCHES)
        grown = container.resident_bytes() - before
        assert grown < growth_bytes_max, f"{grown} bytes more after {BATCHES} batches"

    def stop(self):
        for container in self.containers:
            if container.process.poll() is None:
                container.process.kill()
                container.process.wait()
        for connection in self.connections.values():
            connection.close()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.process.stdout.close()
        self.temporary.cleanup()


#: Free ports for what a guide starts; its commands find them by the data directory.
SETTINGS = {
    "SKYSAIL_SERVE_QUERY": "127.0.0.1:0",
    "SKYSAIL_SERVE_MANAGEMENT": "127.0.0.1:0",
    "SKYSAIL_SERVE_RPC": '["127.0.0.1:0"]',
    "SKYSAIL_SERVE_DRAIN_NOTICE_SECONDS": "0",
}


def guide(path):
    """The files of a guide, by name, and its commands as one script.

    A block whose first line is ```LANGUAGE NAME is the file NAME; ```sh blocks are commands.
    """
    files, commands = {}, []
    for fence, text in re.findall(r"^```(.*?)\n(.*?)^```$", Path(path).read_text(), re.M | re.S):
        words = fence.split()
        if len(words) == 2:
            files[words[1]] = text
        elif words == ["sh"]:
            commands.append(text)
    return files, "".join(commands)


def follow(path, environment):
    """Does what a guide says, in an empty directory: what was written."""
    files, commands = guide(path)
    with tempfile.TemporaryDirectory(prefix="skysail-guide-") as directory:
        for name, text in files.items():
            place = Path(directory) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        with open(Path(directory) / ".output", "w+") as output:
            script = f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{commands}"
            ran = subprocess.run(
                ["bash", "-c", script],
                cwd=directory,
                env={**os.environ, **SETTINGS, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=2 * PATIENCE_SECONDS,
            )
            output.seek(0)
            said = output.read()
    assert ran.returncode == 0, said
    return said
