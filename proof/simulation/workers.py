"""Schedules spread over processes, each with storage of its own."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from proof.simulation.storage import SHARED_MEMORY, SurvivingStorage, new_storage
from proof.simulation.tally import Tally

Task = TypeVar("Task")
Work = Callable[[Task, SurvivingStorage], Tally]

_storages: list[SurvivingStorage] = []
"""What a worker process has opened: one."""


def spread(work: "Work[Task]", tasks: Iterable[Task], *, n_processes: int = 2) -> Iterator[Tally]:
    """Do each task with storage emptied for it, several at a time; the tallies come in the order of the tasks."""
    if n_processes == 1:
        with new_storage() as storage:
            for task in tasks:
                yield work(task, storage)
        return
    with TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit open databases
        with ProcessPoolExecutor(n_processes, mp_context=spawn, initializer=_open, initargs=(folder,)) as pool:
            yield from pool.map(partial(_do, work), list(tasks))


def _open(folder: str) -> None:
    own = Path(folder) / str(os.getpid())
    own.mkdir()
    _storages.append(SurvivingStorage(own))


def _do(work: "Work[Task]", task: Task) -> Tally:
    return work(task, _storages[0])
