"""The emulator's own time: nobody waits 24 hours to see a batch expire."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta


class Clock(ABC):
    """A time that can be pushed forward, never back."""

    def __init__(self) -> None:
        self.advanced = timedelta()
        """How far the time has been pushed so far."""

    @abstractmethod
    def base(self) -> datetime:
        """Return the time before any push."""

    def now(self) -> datetime:
        """Return the present, in UTC."""
        return self.base() + self.advanced

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Push the time forward."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if step < timedelta():
            raise ValueError(f"a clock cannot go back, and this would take it back by {-step}")
        self.advanced += step


class ManualClock(Clock):
    """A clock that stands still until it is advanced."""

    def __init__(self, start: datetime = datetime(2026, 11, 20, 18, 37, 24, 100435, UTC)) -> None:
        super().__init__()
        self._start = start.astimezone(UTC)

    def base(self) -> datetime:
        """Return the time it was started at."""
        return self._start


class SystemClock(Clock):
    """The machine's clock, plus what it was advanced by."""

    def base(self) -> datetime:
        """Return the machine's time."""
        return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Write a time as the API does: RFC 3339, UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
