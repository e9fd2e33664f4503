"""A container's life: errors, kept arrays, signals, workers, memory."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import skysail
from conftest import MODELS, Container, until

#: Batches of the leak check; the whole is `make soak`.
BATCHES = int(os.environ.get("SKYSAIL_SOAK_BATCHES", "20000"))
#: How much a container may grow meanwhile.
GROWTH_BYTES_MAX = 8 << 20


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def moody(front):
    container = front.serve("moody.py", "moody", "strings")
    yield container
    if container.process.poll() is None:
        assert container.end() == 0, container.log()
        assert "unloaded" in container.log()


class TestErrors:
    def say(self, front, *words):
        return front.client.predict_batch("moody", list(words), cache=False)

    def refused(self, front, word):
        """What a batch that fails as a whole is told over V2."""
        with pytest.raises(skysail.ApiError) as error:
            front.client.infer("moody-2", say=[word])
        assert error.value.status == 500
        return str(error.value)

    def test_an_exception_costs_its_batch_and_its_traceback_is_in_the_log(self, front, moody):
        (answer,) = self.say(front, "raise")
        assert (answer.default, answer.default_cause) == (True, "model_error")
        log = until("the traceback", lambda: "KeyError" in moody.log() and moody.log())
        assert "Traceback (most recent call last):" in log
        assert "moody.py" in log and 'raise KeyError("as you wish")' in log
        (answer,) = self.say(front, "exit")
        assert answer.default_cause == "model_error"
        (answer,) = self.say(front, "well")
        assert (answer.output["said"], answer.default) == ("well", False)

    def test_rows_fail_on_their_own(self, front, moody):
        words = ["a", "row", "b", "fail row", "c"]
        answers = self.say(front, *words)
        assert [a.default_cause for a in answers] == [None, "model_error"] * 2 + [None]
        assert [a.output["said"] for a in answers[::2]] == ["a", "b", "c"]

    def test_answers_that_do_not_fit_are_told_to_whoever_asked(self, front, moody):
        # The model itself, without an application that has a default.
        second = front.start("moody.py", "moody-2", "tensors")
        second.wait_ready()
        assert "predict returned None: return 'said', 'n'" in self.refused(front, "none")
        told = self.refused(front, "short")
        assert "output 'said' has 0 rows, the batch has 1" in told
        assert "output 'n' is float64, the signature says i32" in self.refused(front, "floats")
        assert "array of objects (object)" in self.refused(front, "objects")
        assert "the outputs 'said', 'm'" in self.refused(front, "unknown")
        assert "KeyError: 'as you wish'" in self.refused(front, "raise")
        found = front.client.infer("moody-2", say=["well"], deadline=30)
        assert found["said"].tolist() == [b"well"]
        remaining = front.client.infer("moody-2", say=["time"], deadline=30)["n"][0]
        assert 1 <= remaining <= 30
        assert second.end(signal.SIGINT) == 0, second.log()

    def test_what_keeps_a_model_from_loading_decides_the_status(self, front):
        for name, status, told in [
            ("moody-broken", 1, "error: the model does not load: RuntimeError: no weights"),
            ("moody-old", 2, "error: weights.bin is of version 1: train it again"),
            ("moody-lacking", 2, "error: No module named 'no_such_library'; install it: "),
        ]:
            container = front.start("moody.py", name, "tensors")
            assert container.process.wait(60) == status, container.log()
            lines = container.log().splitlines()
            assert lines[-1].startswith(told), container.log()

    def test_a_signature_that_differs_is_refused_with_advice(self, front, moody):
        command = [sys.executable, str(MODELS / "noop.py"), "--rpc", front.rpc]
        container = Container(
            front, "moody", "1", [*command, "--model", "moody", "--version", "1"]
        )
        assert container.process.wait(60) == 2, container.log()
        assert "serve the registered signature, or register a new version" in container.log()


@pytest.mark.parametrize("shared", ["true", "false"])
def test_arrays_that_a_model_keeps_stay_as_they_were(front, shared):
    name = f"keeper-{shared}"
    container = front.serve("keeper.py", name, "tensors", "--shared-memory", shared)
    rng = np.random.default_rng(3)
    kept = set()
    # Rows of a log are written again after at most 4,096.
    for _ in range(120):
        x = rng.normal(size=(64, 16)).astype(np.float32)
        found = front.client.infer(name, x=x, t=x[:, :3], cache=False)
        assert not found["changed"].any()
        kept.update(found["kept"].tolist())
    assert max(kept) >= 400
    assert ("it is given copies from now on" in container.log()) == (shared == "true")
    assert container.end() == 0, container.log()


class TestLife:
    def test_what_is_in_hand_is_answered_before_it_leaves(self, front):
        container = front.serve("moody.py", "leaver", "strings")
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(front.client.predict("leaver", "wait", cache=False))
        )
        asking.start()
        in_hand = lambda: any(r.get("in_flight") for r in container.replicas())  # noqa: E731
        until("the batch to be in hand", lambda: in_hand() or answers)
        assert container.end(signal.SIGINT) == 0, container.log()
        asking.join()
        assert not answers[0].default and answers[0].output["said"] == "wait"
        assert "unloaded" in container.log() and "Traceback" not in container.log()

    def test_killed_it_is_missed_and_another_takes_over(self, front):
        container = front.serve("moody.py", "killed", "strings")
        container.process.kill()
        until("it to be missed", lambda: not container.replicas())
        answer = front.client.predict("killed", "hello", timeout=0.2)
        assert (answer.default, answer.default_cause) == (True, "no_replica")
        command = [sys.executable, "-m", "skysail", "serve", str(MODELS / "moody.py")]
        again = Container(
            front,
            "killed",
            "1",
            [*command, "--rpc", front.rpc, "--model", "killed", "--version", "1"],
        )
        again.wait_ready()
        assert front.client.predict("killed", "hello").output["said"] == "hello"
        assert again.end() == 0

    def test_it_is_deployed_by_the_front_end_as_any_command(self, front, tmp_path):
        np.savez(
            tmp_path / "mlp.npz",
            w1=np.ones((64, 2), np.float32),
            b1=np.zeros(2, np.float32),
            w2=np.ones((2, 10), np.float32),
            b2=np.zeros(10, np.float32),
        )
        admin = front.client.admin
        admin.add_model("deployed", "1", "floats")
        command = [sys.executable, str(MODELS / "mlp.py"), "--path", str(tmp_path)]
        admin.deploy("deployed", "1", command)
        until("it to be ready", lambda: front.client.is_ready("deployed"))
        found = front.client.infer("deployed", x=np.ones((2, 64)))["y"]
        assert found.tolist() == [[128] * 10] * 2
        admin.scale("deployed", 0)
        until("it to be gone", lambda: not front.replicas("deployed"))


class TestWorkers:
    def pids(self, container, count):
        return {replica["pid"] for replica in container.wait_ready(count)}

    def test_one_command_keeps_several_processes_running(self, front):
        container = front.start("moody.py", "team", "strings", "--workers", "2")
        first = self.pids(container, 2)
        assert len(first) == 2 and container.process.pid not in first
        victim = first.pop()
        os.kill(victim, signal.SIGKILL)
        until(
            "another in its place",
            lambda: victim not in self.pids(container, 2) and len(container.replicas()) == 2,
        )
        assert "ended with signal 9; it starts again" in container.log()
        pids = self.pids(container, 2)
        assert container.end() == 0, container.log()
        assert not any(alive(pid) for pid in pids)

    def test_ctrl_c_of_a_terminal_asks_every_process_once(self, front):
        container = front.start("moody.py", "terminal", "strings", "--workers", "2")
        self.pids(container, 2)
        os.killpg(container.process.pid, signal.SIGINT)
        assert container.process.wait(60) == 0, container.log()
        assert container.log().count("unloaded") == 2 and "Traceback" not in container.log()

    def test_workers_leave_when_their_command_is_killed(self, front):
        container = front.start("moody.py", "orphans", "strings", "--workers", "2")
        pids = self.pids(container, 2)
        container.process.kill()
        until("the workers to leave", lambda: not any(alive(pid) for pid in pids))

    def test_a_worker_that_cannot_work_ends_the_command(self, front):
        container = front.start("moody.py", "moody-old", "tensors", "--workers", "2", version="2")
        assert container.process.wait(60) == 2, container.log()
        assert "train it again" in container.log()
        assert "cannot work; the others are stopped" in container.log()


def test_memory_stays_flat_over_many_batches(front):
    container = front.serve("noop.py", "noop", "floats")
    rows = [[float(row)] * 784 for row in range(500)]
    body = skysail.client._predict("noop", {"input_batch": rows, "cache": False})

    def ask(batches):
        for _ in range(batches // len(rows)):
            answers = front.client._ask(body).check().json()["batch_predictions"]
            assert all(not a["default"] and a["output"] == 1 for a in answers)

    def resident():
        status = Path(f"/proc/{container.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        # Shared memory is the front end's.
        return int(fields["RssAnon"].split()[0]) << 10

    ask(2000)
    before = resident()
    ask(BATCHES)
    after = resident()
    assert after - before < GROWTH_BYTES_MAX, f"{before} to {after} bytes"
    assert container.end() == 0
