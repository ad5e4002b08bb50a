"""Processes that each run Dagster once, seen from outside: started, stopped, continued, killed."""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import IO

from proof.canary import KEY
from proof.kills.order import API_KEY, Order

REPOSITORY = Path(__file__).parents[2]

PATIENCE_SECONDS = 90.0
"""Much longer than any run takes: one that takes longer hangs."""


def nobody_listens() -> None:
    """Do nothing."""


@dataclass(kw_only=True)
class Process:
    """One run of Dagster."""

    pid: int
    on_end: Callable[[], None]
    status: int | None = None
    """0 when all went well, 1 when the run failed, minus the signal that killed it; None while it lives."""
    ended: Event = field(default_factory=Event)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> int:
        """Kill it as `kill -9` does; return its status once it is gone."""
        self.send(signal.SIGKILL)
        return self.wait()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; return its status."""
        self.ended.wait(seconds)
        if self.status is None:
            self.send(signal.SIGKILL)
            raise TimeoutError(f"a run has not ended within {seconds:.0f} seconds")
        return self.status

    def end(self, status: int) -> None:
        """Note that it has ended."""
        self.status = status
        self.ended.set()
        self.on_end()


class Zygote:
    """The process that forks all others. It ends when we do, and takes them along."""

    def __init__(self) -> None:
        self._living: dict[int, Process] = {}
        self._born: SimpleQueue[Process] = SimpleQueue()
        self._ready, self._lock, self._on_end = Event(), Lock(), nobody_listens
        command = [sys.executable, "-m", "proof.kills.zygote"]
        self._process = subprocess.Popen(  # noqa: S603  (our own module)
            command, cwd=REPOSITORY, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:  # pragma: no cover  (both were asked for)
            raise AssertionError
        self._orders: IO[str] = stdin
        self._listener = Thread(target=self._listen, args=(stdout,), daemon=True)
        self._listener.start()
        if not self._ready.wait(PATIENCE_SECONDS) or not self._listener.is_alive():
            raise RuntimeError("the process that forks the runs does not start")

    def start(self, order: Order, *, on_end: Callable[[], None] = nobody_listens) -> Process:
        """Start a run; `on_end` is called when it has ended, however it did."""
        with self._lock:  # one birth at a time: the next one to be told of is this one
            self._on_end = on_end
            self._orders.write(json.dumps(asdict(order)) + "\n")
            self._orders.flush()
            return self._born.get(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        """Order nothing any more, which ends it."""
        self._orders.close()
        self._process.wait()
        self._listener.join()

    def _listen(self, news: Iterable[str]) -> None:
        for line in news:
            match json.loads(line):
                case {"ready": _}:
                    self._ready.set()
                case {"born": int(pid)}:
                    self._living[pid] = Process(pid=pid, on_end=self._on_end)
                    self._born.put(self._living[pid])
                case {"died": int(pid), "status": int(status)}:
                    self._living.pop(pid).end(status)
        self._ready.set()  # or it never will be


@cache
def zygote() -> Zygote:
    """Return the one of this process: to have all of Dagster imported takes seconds."""
    one = Zygote()
    atexit.register(one.close)
    return one


def _environment() -> dict[str, str]:
    """Return our environment with the key, and nothing that leads to the real API or slows a run down."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "COV", "PYTEST"))}
    return {**kept, API_KEY: KEY, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
