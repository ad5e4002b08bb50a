"""Schedules spread over processes, each with a lab of its own."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from proof.simulation.lab import SHARED_MEMORY, Lab, new_lab
from proof.simulation.tally import Tally

Task = TypeVar("Task")
Work = Callable[[Task, Lab], Tally]

_labs: list[Lab] = []
"""The one lab of a worker process."""


def spread(work: "Work[Task]", tasks: Iterable[Task], *, n_processes: int = 2) -> Iterator[Tally]:
    """Do each task in a lab, several at a time; the tallies come in the order of the tasks."""
    if n_processes == 1:
        with new_lab() as lab:
            for task in tasks:
                yield work(task, lab)
        return
    with TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit open databases
        with ProcessPoolExecutor(n_processes, mp_context=spawn, initializer=_open, initargs=(folder,)) as pool:
            yield from pool.map(partial(_do, work), list(tasks))


def _open(folder: str) -> None:
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    _labs.append(Lab(own))


def _do(work: "Work[Task]", task: Task) -> Tally:
    return work(task, _labs[0])
