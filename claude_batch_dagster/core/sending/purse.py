"""How many of the rows that are due can be paid for: what is sent can never cost more than its budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from claude_batch_dagster.amounts import dollars
from claude_batch_dagster.core.ledger import Allowance, Lane, Ledger, Occasion
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow

NO_BOUND = (
    "what requests can cost at most is not known (the price of the model is not listed), so no budget can be kept. "
    "Nothing was sent. Leave the budget out, and set a spend limit of the workspace in the Claude Console."
)

NOT_KNOWN = (
    "not sent, for what it can cost at most is not known (it has pictures, files or tools of the server, or a model "
    "without a listed price), so no budget can be kept; ask such rows in an asset without a budget"
)


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

    def affordable(self, rows: Sequence[OpenRow], lane: Lane = Lane.BATCH) -> Sequence[OpenRow]:
        """
        Return the first of the rows that can be paid for, whatever they come to cost.

        Of all of them it is known what they can cost: `unaffordable` has taken out the others.
        """
        left = self.left_usd
        if _most(rows, lane) <= left:
            return rows
        fits, too_many = 0, len(rows)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (middle, too_many) if _most(rows[:middle], lane) <= left else (fits, middle)
        return rows[:fits]

    def unaffordable(self, rows: Sequence[OpenRow], lane: Lane = Lane.BATCH) -> dict[str, str]:
        """Return the questions that this budget can never pay for, each with the reason."""
        if _bound(rows, lane) is not None and self.budget.usd >= _most(rows, lane):
            return {}
        found: dict[str, str] = {}
        for row in rows:
            bound = _bound([row], lane)
            if bound is None:
                found[row.question] = NOT_KNOWN
            elif bound > self.budget.usd:
                found[row.question] = self.never(bound)
        return found

    def never(self, bound_usd: float) -> str:
        """Return what a row says that alone can cost more than the budget."""
        return (
            f"not sent, for it can cost {dollars(bound_usd)}, which is more than {self.budget} allows at all; raise "
            "the budget, shorten the document, or lower max_tokens"
        )

    @property
    def refusal(self) -> str:
        """What a row says that was not sent for lack of money."""
        until = self.budget.until(self.clock.now())
        when = f"after {until:%Y-%m-%d %H:%M} UTC, or " if until else ""
        return f"not sent, for {self.budget} does not allow it; a run sends it {when}once the budget is raised"


def _most(rows: Sequence[OpenRow], lane: Lane) -> float:
    """Return what the rows can cost at most."""
    return _bound(rows, lane) or 0.0


def _bound(rows: Sequence[OpenRow], lane: Lane) -> float | None:
    """Return what the rows can cost at most; None if nobody knows."""
    return Chunk("", rows, lane).max_cost_usd
