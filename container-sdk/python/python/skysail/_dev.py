"""``python -m skysail dev FILE``: a front end and a model, again whenever its file changes."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from ._run import fail
from .client import ApiError, Client, Unreachable

#: How often files are looked at.
LOOK_SECONDS = 0.25
#: A process that was asked to leave gets so long.
LEAVE_SECONDS = 15.0
#: The objective of the application that the model answers.
SLO_SECONDS = 1.0

#: Input types of Clipper's API, by the element type of a single input.
CLIPPER = {"i32": "integers", "f32": "floats", "f64": "doubles", "string": "strings", "bytes": "bytes"}


def dev(arguments: List[str]) -> int:
    """Until it is interrupted: the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m skysail dev",
        description="Runs a front end on this machine with the model of FILE, and starts the model "
        "again whenever a Python file beside it changes.",
    )
    parser.add_argument("file", help="the model: model.py, or model.py:Class")
    parser.add_argument("--query", default="127.0.0.1:1337", metavar="ADDRESS")
    parser.add_argument("--management", default="127.0.0.1:1338", metavar="ADDRESS")
    parser.add_argument("--data-dir", metavar="DIR", help="default: a temporary one")
    options = parser.parse_args(arguments)
    path = Path(options.file.partition(":")[0])
    if not path.is_file():
        fail(f"no file {path} in {Path.cwd()}: name the model's Python file")
    program = os.environ.get("SKYSAIL") or shutil.which("skysail")
    if not program:
        fail("the front end is not on PATH: install skysail, or set SKYSAIL to the program")
    stopped: List[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopped.append(number))
    with tempfile.TemporaryDirectory(prefix="skysail-dev-") as temporary:
        session = Session(program, options, path, options.data_dir or temporary)
        try:
            return session.run(stopped)
        finally:
            session.end()


class Session:
    """The front end and the model's processes."""

    def __init__(self, program: str, options: Any, path: Path, data_dir: str) -> None:
        self.target = options.file
        self.path = path
        self.name = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).strip("._-") or "model"
        self.version = 0
        self.container: Optional[subprocess.Popen] = None
        self.application: Optional[str] = None
        command = [program, "serve", "--json", "--data-dir", data_dir, "--log", "warn"]
        command += ["--query", options.query, "--management", options.management]
        command += ["--rpc", "127.0.0.1:0", "--drain-notice", "0"]
        # Ctrl-C of a terminal is for this process, which ends the others in order.
        self.front_end = subprocess.Popen(
            command, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.front_end.stdout is not None
        line = self.front_end.stdout.readline()
        if not line:
            fail("the front end does not start: see above", status=self.front_end.wait() or 1)
        self.ready: Dict[str, Any] = json.loads(line)
        self.client = Client(self.ready["query"], self.ready["management"])

    def run(self, stopped: List[int]) -> int:
        seen = self.stamp()
        self.reload(stopped)
        while not stopped:
            time.sleep(LOOK_SECONDS)
            if self.front_end.poll() is not None:
                say("the front end has ended")
                return 1
            if self.container is not None and self.container.poll() is not None:
                say(f"the model has ended with status {self.container.wait()}; change a file to go on")
                self.container = None
            now = self.stamp()
            if now != seen:
                seen = now
                self.reload(stopped)
        return 130 if stopped[0] == signal.SIGINT else 0

    def stamp(self) -> Dict[str, int]:
        """When the Python files beside the model were written."""
        stamps = {}
        for path in self.path.resolve().parent.rglob("*.py"):
            try:
                stamps[str(path)] = path.stat().st_mtime_ns
            except OSError:
                pass
        return stamps

    def reload(self, stopped: List[int]) -> None:
        """Serves the file as it is now, as a new version; the old one answers until then."""
        described = self.describe()
        if described is None:
            say("change a file to go on")
            return
        kind = input_type(described["inputs"])
        version = str(self.version + 1)
        try:
            self.client.admin.add_model(self.name, version, kind)
        except (ApiError, Unreachable) as error:
            say(f"the front end refuses the model: {error}")
            return
        self.version += 1
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "skysail", "serve", self.target]
            + ["--rpc", self.endpoint(), "--model", self.name, "--version", version]
            + ["--path", str(self.path.resolve().parent)],
            start_new_session=True,
        )
        if not self.wait_for(version, process, stopped):
            leave(process)
            self.client.admin.remove_model(self.name, version)
            say("the model does not serve; change a file to go on")
            return
        if self.container is not None:
            leave(self.container)
            self.client.admin.remove_model(self.name, str(self.version - 1))
        self.container = process
        self.link(kind)
        self.tell(described, time.monotonic() - started)

    def describe(self) -> Optional[Dict[str, Any]]:
        """What the file declares, read by a process of its own."""
        command = [sys.executable, "-m", "skysail", "describe", self.target]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def endpoint(self) -> str:
        return next(rpc for rpc in self.ready["rpc"] if rpc.startswith("ipc://"))

    def wait_for(self, version: str, process: subprocess.Popen, stopped: List[int]) -> bool:
        """Until the version has a replica, or never will."""
        while not stopped and process.poll() is None:
            for served in self.client.admin.status()["models"]:
                if served["name"] == self.name and served["version"] == version:
                    if any(replica["state"] == "ready" for replica in served["replicas"]):
                        return True
            time.sleep(0.05)
        return False

    def link(self, kind: str) -> None:
        """An application of the model's name, where Clipper's API can ask it."""
        if self.application == kind:
            return
        admin = self.client.admin
        if self.application is not None:
            admin.remove_application(self.name)
            self.application = None
        if kind != "tensors":
            admin.add_application(self.name, kind, slo_seconds=SLO_SECONDS, link=self.name)
            self.application = kind

    def tell(self, described: Dict[str, Any], seconds: float) -> None:
        takes = ", ".join(f"{name}: {text}" for name, text in described["inputs"].items())
        gives = ", ".join(f"{name}: {text}" for name, text in described["outputs"].items())
        query = self.ready["query"]
        say(f"{self.name} version {self.version} serves after {seconds:.1f} s: ({takes}) -> ({gives})")
        say(f"  http://{query}/v2/models/{self.name}")
        if self.application is not None:
            example = '"..."' if self.application in ("strings", "bytes") else "[...]"
            say(f"  curl http://{query}/{self.name}/predict -d '{{\"input\": {example}}}'")

    def end(self) -> None:
        for process in (self.container, self.front_end):
            if process is not None:
                leave(process)


def input_type(inputs: Dict[str, str]) -> str:
    if len(inputs) != 1:
        return "tensors"
    datatype, _, dims = next(iter(inputs.values())).partition("[")
    if datatype in ("string", "bytes") and dims:
        return "tensors"
    return CLIPPER.get(datatype, "tensors")


def leave(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(line: str) -> None:
    sys.stderr.write(f"dev: {line}\n")
    sys.stderr.flush()
