"""Which of our modules the processor works for: looked at a hundred times a second, while a job runs."""

import sys
import threading
import time
from collections.abc import Iterator
from operator import itemgetter
from types import FrameType

OURS = "claude_batch_dagster."
ALL_ELSE = "all else"
LOOK_SECONDS = 0.01

IS_POSSIBLE = hasattr(time, "pthread_getcpuclockid")
"""Whether this system tells what each thread has used."""


class Profile(threading.Thread):
    """
    Counts seconds of the processor by module: the innermost of ours that a thread is in.

    What it calls counts as its own. So do the threads of DuckDB, of which Python knows nothing: what they have used is
    what the process has, less its own threads, and belongs to that one of ours that was busiest meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = dict[str, float]()
        self._done = threading.Event()
        self._used = {thread: _used(thread) for thread in sys._current_frames()}  # noqa: SLF001  (there is no other way)
        self._process = time.process_time()

    def run(self) -> None:
        """Look until it is stopped."""
        while not self._done.wait(LOOK_SECONDS):
            self._look()

    def shares(self) -> dict[str, float]:
        """Stop; return the share of each module, the largest first."""
        self._done.set()
        self.join()
        whole = sum(self.seconds.values())
        largest = sorted(self.seconds.items(), key=itemgetter(1), reverse=True)
        return {module: seconds / whole for module, seconds in largest}

    def _look(self) -> None:
        spent = time.process_time() - self._process
        worked = list(self._worked())
        for module, seconds in worked:
            self._add(module, seconds)
        rest = spent - sum(seconds for _, seconds in worked)
        owner = max((one for one in worked if one[0] != ALL_ELSE), key=itemgetter(1), default=None)
        if owner is None and rest > 0:  # whoever is busy next
            spent -= rest
        elif owner is not None:
            self._add(owner[0], max(0.0, rest))
        self._process += spent

    def _worked(self) -> Iterator[tuple[str, float]]:
        """Yield where each thread of Python is, and what it has used since the last look."""
        for thread, frame in sys._current_frames().items():  # noqa: SLF001  (as above)
            used, before = _used(thread), self._used.get(thread, 0.0)
            self._used[thread] = used
            if used > before:
                yield ALL_ELSE if thread == self.ident else _module(frame), used - before

    def _add(self, module: str, seconds: float) -> None:
        self.seconds[module] = self.seconds.get(module, 0.0) + seconds


def _used(thread: int) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def _module(frame: FrameType | None) -> str:
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(OURS):
            return name.removeprefix(OURS)
        frame = frame.f_back
    return ALL_ELSE
