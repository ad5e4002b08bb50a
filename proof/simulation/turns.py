"""Who runs when, and who waits for whom."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Turns(Protocol):
    """How a run shares the machine with others."""

    def next(self) -> None:
        """Let somebody else go first, perhaps."""

    def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock until the end of the block or of the process."""


class Alone:
    """There is no other run: time passes by sleeping, and a lock is always free."""

    def __init__(self, pass_time: Callable[[float], None]) -> None:
        self._pass_time = pass_time
        self._held: set[str] = set()

    def next(self) -> None:
        """Go on."""

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self._pass_time(seconds)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock; to wait for oneself would be to wait for ever."""
        if name in self._held:
            raise RuntimeError(f"the lock {name!r} is asked for by who holds it")
        self._held.add(name)
        try:
            yield
        finally:
            self._held.remove(name)
