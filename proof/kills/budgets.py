"""A budget that binds: for about half of the rows that there are, raised as they become more."""

from dataclasses import dataclass
from random import Random
from typing import Any, Self

from claude_batch_dagster import Budget
from claude_batch_dagster.core.planning.budget import Period

ODDS = 1 / 3
"""How many of the jobs have a budget."""

SHARE = 0.5
"""Of the rows, those that there is money for."""

AT_FIRST = (1.2, 2.4)
"""Rows that can be paid for from the start, whatever they come to cost: one, or two of one batch."""

ROWS_RAISED = 2
"""Rows more that there is money for after a run that ended by itself; twice as many after the next."""

MAX_TOKENS = 64
"""Room for a label: else a short row could cost 40 times as much as it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPrice:
    """US dollars for one row, about."""

    most: float
    """What it can cost at most: this is reserved."""
    usual: float


SHORT, LONG = RowPrice(most=7e-5, usual=8.4e-6), RowPrice(most=2.7e-2, usual=1.3e-3)
"""For texts of a line, and for those of `LONG_TEXT` characters."""


@dataclass(kw_only=True)
class RisingBudget:
    """What may have been spent by now."""

    per: Period
    price: RowPrice
    usd: float
    n_idle: int = 0
    """Runs that have ended by themselves, one after the other."""

    @classmethod
    def drawn(cls, seed: int, *, long: bool) -> Self | None:
        """Return the budget of a job; None for the others."""
        chance = Random(f"budget of {seed}")  # of its own: all else of a seed stays as it was
        price = LONG if long else SHORT
        if chance.random() >= ODDS:
            return None
        return cls(per=chance.choice(("day", "month")), price=price, usd=chance.uniform(*AT_FIRST) * price.most)

    @property
    def now(self) -> Budget:
        """The budget as it is at this moment."""
        return Budget(usd=self.usd, per=self.per)

    @property
    def facts(self) -> dict[str, Any]:
        """What an order is given of it."""
        return {"budget": (self.usd, self.per), "options": {"max_tokens": MAX_TOKENS}}

    def written(self, n_rows: int) -> None:
        """Allow for a share of new rows."""
        self.usd += SHARE * n_rows * self.price.usual

    def ran(self, *, killed: bool) -> None:
        """Raise it after a run that was not killed: what is reserved for a batch in doubt may be all there was."""
        self.n_idle = 0 if killed else self.n_idle + 1
        if self.n_idle:
            self.usd += ROWS_RAISED * 2 ** (self.n_idle - 1) * self.price.usual
