"""Which questions do not wait for a batch: a plan of few requests, and what has no answer by its deadline."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from claude_batch_dagster.core.ports import Clock

LONGEST_LEAD = timedelta(minutes=10)
"""How long before its deadline a batch is given up at most: canceling takes minutes, and asking anew seconds a row."""


def gives_up_at(begun: datetime, deadline: timedelta) -> datetime:
    """Return when batches are given up, so that their rows have answers by the deadline of what was begun then."""
    return begun + deadline - min(deadline / 4, LONGEST_LEAD)


@dataclass(kw_only=True)
class Lanes:
    """By which way one run asks."""

    clock: Clock
    give_up_at: datetime | None = None
    """From when on nothing of this run is asked by a batch; None for never."""
    small_below: int = 0
    """Requests of a plan from which on it is worth a batch; 0 for any."""
    small: frozenset[str] = field(default=frozenset(), init=False)
    """The questions of a plan that is not worth a batch: others that come up later are not among it."""

    def plan(self, due: Collection[str]) -> None:
        """Decide for the questions of a plan; what fails of them is asked in the same way."""
        self.small = frozenset(due) if len(due) < self.small_below else frozenset()

    @property
    def is_late(self) -> bool:
        """Whether the time for batches is over."""
        return self.give_up_at is not None and self.clock.now() >= self.give_up_at

    @property
    def is_live(self) -> bool:
        """Whether all of the plan is asked live."""
        return bool(self.small) or self.is_late
