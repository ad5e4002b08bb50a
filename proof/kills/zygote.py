"""
A process that has everything imported, and forks one process for each run.

Reads orders from its standard input, one JSON object a line; tells on its standard output who was born and
who has died, and how. When nobody orders any more, whoever still lives is killed.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.kills.order import WORDS, Order
from proof.kills.paths import JobPaths
from proof.scratch import scratch

WELL, BADLY = 0, 1


def main() -> None:
    """Fork until the standard input ends."""
    with scratch() as home:
        _import_what_a_run_imports(home)
        _serve(home)


def _serve(home: Path) -> None:
    gc.freeze()  # what is there already is never looked at, so never copied
    died, deaths = socket.socketpair()
    deaths.settimeout(0)  # a signal must not wait
    signal.signal(signal.SIGCHLD, _awake)
    signal.set_wakeup_fd(deaths.fileno())
    _tell(ready=os.getpid())
    living: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(died, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is died:
                    died.recv(4096)
                    _bury(living)
                elif (line := sys.stdin.readline()) == "":  # one at a time: whoever orders waits for the birth
                    _kill(living)
                    return
                else:
                    living.add(_fork(json.loads(line), home))


def _awake(number: int, frame: FrameType | None) -> None:
    """Do nothing: that the signal has a handler is what wakes the selector."""


def _import_what_a_run_imports(home: Path) -> None:
    """
    Import all that a first run, in a process of its own, is seen to import.

    In a process of its own, so that nothing is open here, and no thread runs, when we fork.
    """
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(2, 1)  # the standard output is for news
        _first_run(home)
        os.write(writer, "\n".join(sys.modules).encode())
        os._exit(WELL)
    os.close(writer)
    with os.fdopen(reader) as file:
        names = file.read().split("\n")
    os.waitpid(pid, 0)
    for name in names:
        with suppress(ImportError):  # some modules are known under names they cannot be imported by
            importlib.import_module(name)


def _first_run(home: Path) -> None:
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with scratch() as path, serving(emulator) as url:
        JobPaths(folder=path).write([("a", WORDS["war"], "1790-01-01")])
        Order(folder=str(path), url=url).perform(home)


def _fork(order: dict[str, Any], home: Path) -> int:
    if (pid := os.fork()) == 0:
        _perform(Order(**order), home)
    _tell(born=pid)
    return pid


def _perform(order: Order, home: Path) -> NoReturn:
    """Run as a process that knows nothing of its parent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = BADLY
    try:
        with Path(order.folder, "runs.log").open("a") as log, Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            status = WELL if order.perform(home) else BADLY
    except BaseException:  # noqa: BLE001  (whatever it is, the process ends here, and says why)
        traceback.print_exc()
    finally:
        os._exit(status)


def _bury(living: set[int]) -> None:
    for pid in list(living):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            living.discard(pid)
            _tell(died=pid, status=os.waitstatus_to_exitcode(status))


def _kill(living: set[int]) -> None:
    signal.set_wakeup_fd(-1)  # nobody is told of these deaths
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _tell(**news: int) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
