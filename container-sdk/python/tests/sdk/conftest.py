"""A front end, and containers by the installed package; see the script ``../python``."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skysail

sys.path.insert(0, str(Path(__file__).parents[3] / "testing"))

import skysail_testing  # noqa: E402
from skysail_testing import PATIENCE_SECONDS, SKYSAIL, until  # noqa: E402

MODELS = Path(__file__).parent / "models"


class Container:
    """A container process and what it has written."""

    def __init__(self, front, name, version, command):
        self.front, self.name, self.version = front, name, version
        self.log_path = Path(front.directory) / f"{name}-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, start_new_session=True
            )

    def log(self):
        return self.log_path.read_text()

    def replicas(self):
        return self.front.replicas(self.name)

    def wait_ready(self, count=1):
        def is_so():
            assert self.process.poll() is None, f"it ended: {self.log()}"
            return len(self.replicas()) == count and self.replicas()

        return until(f"{count} replicas of {self.name}", is_so)

    def end(self, signal=None):
        """Its exit status."""
        if self.process.poll() is None:
            self.process.terminate() if signal is None else self.process.send_signal(signal)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class FrontEnd(skysail_testing.FrontEnd):
    """One that is asked by the package's own client."""

    def __init__(self):
        super().__init__()
        self.client = skysail.Client(self.ready["query"], self.ready["management"], timeout=60)

    def start(self, target, name, kind="tensors", *more, version="1", command=None):
        """A container of a model of the folder ``models``, registered."""
        self.client.admin.add_model(name, version, kind)
        if kind != "tensors":
            self.client.admin.add_application(
                name, kind, default_output="-1", slo_seconds=60, link=name
            )
        command = command or [sys.executable, "-m", "skysail", "serve", str(MODELS / target)]
        command = [*command, "--rpc", self.rpc, "--model", name, "--version", version, *more]
        container = Container(self, name, version, command)
        self.containers.append(container)
        return container

    def serve(self, *arguments, **more):
        """As :meth:`start`, once it serves."""
        container = self.start(*arguments, **more)
        container.wait_ready()
        return container

    def replicas(self, name):
        served = self.client.admin.status()["models"]
        found = [version["replicas"] for version in served if version["name"] == name]
        return [replica for replicas in found for replica in replicas]


@pytest.fixture(scope="session")
def front():
    front = FrontEnd()
    yield front
    front.stop()


@pytest.fixture
def python(tmp_path):
    """Runs this Python in a folder of its own: exit status and what was written."""

    def run(*arguments, input=None, **environment):
        ran = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            universal_newlines=True,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return run
