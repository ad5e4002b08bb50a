"""Where a run can be stopped: each call to the world outside passes a gate that numbers it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from claude_batch_dagster.errors import ApiUnreachableError

MANY_CALLS = 5_000
"""More than any run needs: one that makes more would never end."""


class Fault(StrEnum):
    """What can happen at one call."""

    CRASH_BEFORE = "crash before"
    """The process dies; the call was not made."""
    CRASH_AFTER = "crash after"
    """The process dies; the call was made, and nobody here learned what it answered."""
    LOST_REQUEST = "lost request"
    """The connection breaks before the call is made; the process lives."""
    LOST_ANSWER = "lost answer"
    """The call is made and the connection breaks before its answer; the process lives."""

    FAILS = "fails"
    """The call does nothing and raises: the disk is full, or another process holds the file. The process lives."""
    FAILS_AFTER = "fails after"
    """The call is made and raises: a commit whose confirmation is lost, a sync that fails. The process lives."""

    @property
    def kills(self) -> bool:
        """Whether the process dies of it."""
        return self in CRASHES


CRASHES = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_AFTER})
"""What can happen at any call."""

LOCAL = CRASHES | {Fault.FAILS, Fault.FAILS_AFTER}
"""What can happen at a call to something on this machine."""

REMOTE = CRASHES | {Fault.LOST_REQUEST, Fault.LOST_ANSWER}
"""What can happen at a call to the API."""

FIRST = frozenset({Fault.CRASH_BEFORE, Fault.LOST_REQUEST, Fault.FAILS})
"""What happens in place of a call; the other faults happen after it."""

PIECE = frozenset({Fault.CRASH_BEFORE, Fault.LOST_REQUEST})
"""What can happen before a piece of a request leaves."""

Plan = Mapping[int, Fault]
"""Which calls of one run go wrong, by their number from 1."""


class CrashError(BaseException):
    """The process dies here. No code of the engine may catch it, and nothing it does afterwards may last."""


def _unreachable() -> Exception:
    return ApiUnreachableError("simulated")


class EndlessError(Exception):
    """A run makes calls without end."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place where a fault can strike."""

    number: int
    name: str
    fault: Fault


@dataclass(slots=True)
class Gate:
    """Counts the calls of one run and lets the planned faults happen."""

    plan: Plan = field(default_factory=dict)
    on_point: Callable[[Point], None] | None = None
    """Told of each place where a fault could strike, at the moment it could."""
    on_call: Callable[[], None] = lambda: None
    """Called first: somebody else may go on here."""
    trace: list[str] = field(default_factory=list)
    dead: bool = False

    @contextmanager
    def call(
        self, name: str, faults: frozenset[Fault] = CRASHES, *, failure: Callable[[], Exception] = _unreachable
    ) -> Iterator[None]:
        """Make one call inside, at which these faults can happen; those that do not kill raise `failure`."""
        number = self._enter(name)
        self._strike(number, name, faults & FIRST, failure)
        try:
            yield
        finally:
            # Also a call that was refused has been made, and its refusal can be lost.
            if not self.dead:
                self._strike(number, name, faults - FIRST, failure)

    def check(self) -> None:
        """Let no dead process do anything."""
        if self.dead:
            raise CrashError

    @property
    def n_struck(self) -> int:
        """How many of the planned faults have happened."""
        return sum(": " in line for line in self.trace)

    def kill(self, reason: str) -> NoReturn:
        """Let the process die here."""
        self.dead = True
        raise CrashError(reason)

    def _enter(self, name: str) -> int:
        self.check()
        self.on_call()
        self.trace.append(name)
        if len(self.trace) > MANY_CALLS:
            raise EndlessError(f"more than {MANY_CALLS} calls; the last is {name}")
        return len(self.trace)

    def _strike(self, number: int, name: str, possible: frozenset[Fault], failure: Callable[[], Exception]) -> None:
        if self.on_point is not None:
            for one in sorted(possible):
                self.on_point(Point(number, name, one))
        fault = self.plan.get(number)
        if fault is None or fault not in possible:
            return
        self.trace[number - 1] += f": {fault}"
        if fault.kills:
            self.kill(f"{fault} call {number}, {name}")
        raise failure()
