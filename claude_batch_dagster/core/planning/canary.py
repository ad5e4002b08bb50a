"""The first rows of a large plan go alone: what they come to says whether the others would be wasted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from claude_batch_dagster.amounts import dollars
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.verdicts import Verdict

LARGE_USD = 1.0
"""US dollars from which on a plan is large, however few rows it has."""

WRITTEN = 2.0
"""How many times as much a token costs that is written to the cache for an hour (Claude docs, "Pricing")."""

EXCESS = 1.5
"""How many times as much as was expected at most a few rows may cost: of so few nobody expects the average."""

MOST_BAD = 0.5
"""Share of rows without a usable answer above which the others are not sent."""

BAD = frozenset({Verdict.INVALID, Verdict.TRUNCATED, Verdict.REFUSED, Verdict.ERRORED, Verdict.REJECTED})
"""Verdicts that speak against the question, or the definition: not those of a service that was too busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What rows came to that were asked with this definition."""

    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Mapping[str, str] = field(default_factory=dict)
    """Of each verdict, what one of its rows says."""
    n_paid: int = 0
    cost_usd: float | None = 0.0
    """What those cost together; None when a price is not known."""

    @property
    def n_judged(self) -> int:
        """Rows that say something of the question."""
        return self.verdicts[Verdict.SUCCEEDED] + self.n_bad

    @property
    def n_bad(self) -> int:
        """Those of them without a usable answer."""
        return sum(self.verdicts[verdict] for verdict in BAD)

    def objection(self, most_usd: float | None) -> str | None:
        """
        Return why other rows like these should not be sent; None if nothing speaks against it.

        `most_usd` is what these were expected to cost at most; None where nobody expected anything.
        """
        if self.n_judged and self.n_bad > MOST_BAD * self.n_judged:
            worst = max(BAD, key=lambda verdict: (self.verdicts[verdict], verdict))
            counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(self.verdicts.items()) if n)
            said = self.errors.get(worst)
            return f"{counts}" + (f" ({worst}: {said})" if said else "")
        if most_usd is None or not self.n_paid or self.cost_usd is None or self.cost_usd <= most_usd:
            return None
        return (
            f"they cost {dollars(self.cost_usd)}, where {dollars(most_usd)} at most was expected. If that is right, "
            "materialize again: by then it is known what rows cost"
        )


def is_large(forecast: Forecast, *, from_requests: int) -> bool:
    """Whether a plan is worth a look at its first rows."""
    usd = forecast.estimate.usd if forecast.estimate else 0.0
    return forecast.n_requests >= from_requests or usd >= LARGE_USD
