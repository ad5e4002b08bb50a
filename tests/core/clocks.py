"""Clocks that are wrong, and clocks on which something happens."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from claude_batch_dagster.core.ports import Clock


class CrashError(BaseException):
    """The process dies here."""


def die() -> None:
    """Die."""
    raise CrashError


@dataclass
class Waking:
    """A clock that does something when somebody is about to sleep for the n-th time."""

    clock: Clock
    act: Callable[[], Any]
    at: int = 1

    def now(self) -> datetime:
        """Return the time."""
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        """Let it happen when it is time, and time pass."""
        self.at -= 1
        if self.at == 0:
            self.act()
        self.clock.sleep(seconds)

    @classmethod
    def never(cls, clock: Clock) -> Self:
        """Return one on which the process dies at its first pause."""
        return cls(clock, die)


@dataclass
class Shifted:
    """The clock of a machine that is ahead, or behind."""

    clock: Clock
    ahead: timedelta

    def now(self) -> datetime:
        """Return what it shows."""
        return self.clock.now() + self.ahead

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.clock.sleep(seconds)
