"""How many of the rows that are due can be paid for: what is sent can never cost more than its budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from claude_batch_dagster.core.ledger import Allowance, Ledger, Occasion
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow
from claude_batch_dagster.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Purse:
    """The money of one run, as its budget has it."""

    budget: Budget
    ledger: Ledger
    clock: Clock
    occasion: Occasion

    @property
    def allowance(self) -> Allowance:
        """What counts at this moment."""
        return self.budget.allowance(self.clock.now(), self.occasion)

    @property
    def left_usd(self) -> float:
        """What is neither spent nor reserved."""
        allowance = self.allowance
        return allowance.usd - self.ledger.committed(allowance)

    def affordable(self, rows: Sequence[OpenRow]) -> Sequence[OpenRow]:
        """
        Return the first of the rows that can be paid for, whatever they come to cost.

        Raises `ConfigurationError` if nobody knows what they can cost.
        """
        left = self.left_usd
        if _most(rows) <= left:
            return rows
        fits, too_many = 0, len(rows)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (middle, too_many) if _most(rows[:middle]) <= left else (fits, middle)
        return rows[:fits]

    @property
    def refusal(self) -> str:
        """What a row says that was not sent for lack of money."""
        until = self.budget.until(self.clock.now())
        when = f"after {until:%Y-%m-%d %H:%M} UTC, or " if until else ""
        return f"not sent, for {self.budget} does not allow it; a run sends it {when}once the budget is raised"


def _most(rows: Sequence[OpenRow]) -> float:
    """Return what the rows can cost at most."""
    usd = Chunk("", rows).max_cost_usd
    if usd is None:
        raise ConfigurationError(
            "what requests can cost at most is not known (the price of the model is not listed, or they have pictures, "
            "files or tools of the server), so no budget can be kept. Nothing was sent. Leave the budget out, and set "
            "a spend limit of the workspace in the Claude Console."
        )
    return usd
