"""How many dollars may be spent, by whom, and in which time: kept by what requests can cost at most."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from claude_batch_dagster.amounts import dollars
from claude_batch_dagster.core.ledger import Allowance, Occasion
from claude_batch_dagster.errors import ConfigurationError

Period = Literal["run", "day", "month", "backfill"]

OWN, ALL = "asset", "all"
"""Scopes of one table, and of all that share a ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """
    US dollars that may be spent on batches: what is sent can never cost more.

    Before a batch is sent, what it can cost at most is reserved in the ledger: a token for each byte of a request, and
    an answer of `max_tokens`. When its results have landed, what it did cost takes the place of that. A batch of which
    nobody knows whether it was accepted counts as paid for. Rows for which there is no money left are `blocked`, and go
    with a later run.

    Args:
        usd: US dollars, more than 0.
        per: `"day"` and `"month"` (in UTC), by the time at which a batch was sent; `"run"`, with the runs that repeat
            it; `"backfill"`, or the run where there is none.
        scope: `"asset"` for this asset alone; `"all"` for all that share its ledger; any other text for all whose
            budget has the same one.

    Raises:
        ConfigurationError: One of these cannot be.

    """

    usd: float
    per: Period = "day"
    scope: str = OWN

    def __post_init__(self) -> None:
        usd: Any = self.usd  # not everybody checks types
        if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd < float("inf"):
            raise ConfigurationError(f"a budget takes a number of US dollars, more than 0; got usd={usd!r}.")
        if self.per not in get_args(Period):
            raise ConfigurationError(f"a budget is per {', '.join(get_args(Period))}; got per={self.per!r}.")
        if not isinstance(self.scope, str) or not self.scope:  # type: ignore[redundant-expr]  # (as above)
            raise ConfigurationError(f"the scope of a budget is a text: asset, all, or a name; got {self.scope!r}.")

    @property
    def name(self) -> str | None:
        """The name that chunks bear which are paid from it; None where others tell them."""
        return None if self.scope in {OWN, ALL} else self.scope

    def allowance(self, now: datetime, occasion: Occasion) -> Allowance:
        """Return what counts now, on this occasion: what was sent since when, for whom."""
        root = occasion.root_run_id or occasion.run_id
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = {"day": today, "month": today.replace(day=1)}.get(self.per)
        whole = self.per == "backfill" and occasion.backfill_id is not None
        return Allowance(
            usd=self.usd,
            place=occasion.place,
            pipeline=occasion.pipeline if self.scope == OWN else None,
            budget=self.name,
            since=since,
            root_run_id=root if since is None and not whole else None,
            backfill_id=occasion.backfill_id if whole else None,
        )

    def until(self, now: datetime) -> datetime | None:
        """Return when there is new money; None where that is no question of time."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        match self.per:
            case "day":
                return today + timedelta(days=1)
            case "month":
                return (today.replace(day=1) + timedelta(days=32)).replace(day=1)
            case _:
                return None

    def __str__(self) -> str:
        """Return it in words."""
        scope = {OWN: "of this asset", ALL: "of all assets"}.get(self.scope, f"{self.scope!r}")
        return f"the budget {scope} of {dollars(self.usd)} per {self.per}"
