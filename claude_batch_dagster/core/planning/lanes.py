"""Which questions do not wait for a batch: a plan of few requests, and what has no answer by its deadline."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.ports import Clock

LONGEST_LEAD = timedelta(minutes=10)
"""How long before its deadline a batch is given up at most: canceling takes minutes, and asking anew seconds a row."""


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


def lanes_of(spending: Spending, clock: Clock, *, told: datetime | None) -> Lanes:
    """
    Return by which way a run asks that begins now.

    `told` is when the runs that it repeats were to give up their batches: it keeps their deadline, unless it is
    repeated days later. Batches are given up early enough for their rows to have answers by the deadline.
    """
    small_below = spending.small_batches_below if spending.small_batches == "live" else 0
    if (after := spending.deadline) is None:
        return Lanes(clock=clock, small_below=small_below)
    now = clock.now()
    keeps = told is not None and now <= told + after
    give_up_at = told if keeps else now + after - min(after / 4, LONGEST_LEAD)
    return Lanes(clock=clock, small_below=small_below, give_up_at=give_up_at)
