"""Replica processes of one command: each loads the model for itself and shares nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import Dict, List, Optional

from . import _skysail

#: In the environment of a worker: its number, from 0.
NUMBER = "SKYSAIL_WORKER"
#: In the environment of a worker: the process that started it.
PARENT = "SKYSAIL_WORKER_PARENT"

#: A worker that ends within this time of its start has failed early.
EARLY_SECONDS = 10.0
#: So many early ends in a row of one worker end the command.
EARLY_MAX = 5
#: The first wait before a worker is started again, and the longest.
WAIT_SECONDS = (0.2, 10.0)
#: Workers that were asked to leave get so long.
LEAVE_SECONDS = 20.0

#: Threads that numeric libraries start unless they are told otherwise.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def be_one() -> None:
    """In a worker: ends when its supervisor is gone, however that went."""
    if not _skysail.tie_to_parent(int(os.environ[PARENT])):
        sys.exit(1)


class Worker:
    """One replica, started again and again."""

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.count = count
        self.process: Optional[subprocess.Popen] = None
        self.started = 0.0
        self.early = 0
        self.again_at = 0.0

    def start(self) -> None:
        environment = dict(os.environ)
        environment[NUMBER] = str(self.number)
        environment[PARENT] = str(os.getpid())
        cores = len(os.sched_getaffinity(0))
        for name in THREADS:
            environment.setdefault(name, str(max(1, cores // self.count)))
        self.started = time.monotonic()
        # Ctrl-C of a terminal is for the supervisor, which asks once.
        self.process = subprocess.Popen(command_line(), env=environment, start_new_session=True)

    def ended(self, status: int) -> Optional[int]:
        """What to do about its end: None to start it again, else the status of the command."""
        self.process = None
        if status == 0:
            return 0
        if status in (2, 130):
            return status
        is_early = time.monotonic() - self.started < EARLY_SECONDS
        self.early = self.early + 1 if is_early else 1
        told = f"signal {-status}" if status < 0 else f"status {status}"
        if self.early >= EARLY_MAX:
            say(f"error: worker {self.number} ended {self.early} times early, now with {told}")
            return 1
        first, longest = WAIT_SECONDS
        wait = min(longest, first * 2 ** (self.early - 1)) * random.uniform(0.5, 1.0)
        self.again_at = time.monotonic() + wait
        say(f"worker {self.number} ended with {told}; it starts again in {wait:.1f} s")
        return None


def command_line() -> List[str]:
    """This program, once more."""
    original = getattr(sys, "orig_argv", None)
    if original:
        return [sys.executable, *original[1:]]
    # Python 3.9: a module is started by its name.
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return [sys.executable, *sys.argv]
    name = spec.name[: -len(".__main__")] if spec.name.endswith(".__main__") else spec.name
    return [sys.executable, "-m", name, *sys.argv[1:]]


def supervise(count: int) -> int:
    """Runs so many workers until they leave, or one cannot work: the exit status."""
    asked: List[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(number))
    workers = [Worker(number, count) for number in range(count)]
    say(f"starting {count} workers")
    for worker in workers:
        worker.start()
    status: Optional[int] = None
    while status is None and not asked:
        status = watch(workers)
        if status is None:
            time.sleep(0.1)
    return stop(workers, asked, status or 0)


def watch(workers: List[Worker]) -> Optional[int]:
    """Starts again what has ended; a status if the command is to end."""
    for worker in workers:
        if worker.process is None:
            if time.monotonic() >= worker.again_at:
                worker.start()
            continue
        ended = worker.process.poll()
        if ended is None:
            continue
        status = worker.ended(ended)
        if status is not None:
            if status != 0:
                say(f"worker {worker.number} cannot work; the others are stopped")
            return status
    return None


def stop(workers: List[Worker], asked: List[int], status: int) -> int:
    """Asks all to leave, and waits for them. A second signal ends them at once."""
    running = {worker.number: worker.process for worker in workers if worker.process is not None}
    for process in running.values():
        process.terminate()
    begun = time.monotonic()
    while running:
        if len(asked) > 1 or time.monotonic() - begun > LEAVE_SECONDS:
            for process in running.values():
                process.kill()
        statuses: Dict[int, int] = {}
        for number, process in running.items():
            ended = process.poll()
            if ended is not None:
                statuses[number] = ended
        for number in statuses:
            del running[number]
        time.sleep(0.02)
    return 130 if len(asked) > 1 else status


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
