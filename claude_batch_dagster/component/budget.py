"""The budget in YAML: `budget: {usd: 10, per: day}`."""

from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from claude_batch_dagster.component.texts import Templated, made_of, number
from claude_batch_dagster.core.planning.budget import Budget, Period


class BudgetModel(dg.Model):
    """US dollars that may be spent: what is sent can never cost more."""

    usd: float | Templated = Field(description="US dollars, more than 0.")
    per: Period | Templated = Field(
        default="day", description="The time in which they may be spent: run, day, month (in UTC) or backfill."
    )
    scope: str = Field(
        default="asset",
        description="What they are for: asset, all (that share the ledger), or a name that several budgets share.",
    )


def resolve_budget(context: dg.ResolutionContext, said: Any) -> Budget | None:
    """Return the budget that YAML describes; raise `ResolutionException` for one that cannot be."""
    return made_of(context, said, Budget, lambda given: Budget(**{**given, "usd": number(given["usd"], "usd")}))


ResolvedBudget = Annotated[
    Budget | None,
    dg.Resolver(
        resolve_budget,
        model_field_type=BudgetModel | Templated | None,
        description="US dollars that may be spent by run, day, month or backfill; default no limit.",
        examples=[{"usd": 10, "per": "day"}],
        inject_before_resolve=False,
    ),
]
