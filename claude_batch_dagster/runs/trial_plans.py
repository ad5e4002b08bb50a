"""What a trial is going to send, and what it costs: in the run log, in the UI, and on the command line."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from claude_batch_dagster.amounts import counted, dollars
from claude_batch_dagster.core.planning.forecast import Forecast, Reason
from claude_batch_dagster.core.planning.wording import of_total

Plans = Mapping[str, Forecast]
"""What is going to be done, by candidate."""


def tell_plans(context: dg.AssetExecutionContext, plans: Plans, *, is_dry_run: bool) -> None:
    """Show the plan of a trial in the run log, and as an observation of its asset where there is something to send."""
    first = "DRY RUN: nothing is sent, and no table is changed. A run would do this.\n" if is_dry_run else ""
    total, *each = plan_lines(plans)
    context.log.info("%sPlan: %s", first, "\n  ".join([total, *each]))
    if is_dry_run or n_requests(plans):
        context.log_event(
            dg.AssetObservation(context.asset_key, description=f"Plan: {total}", metadata=_metadata(plans))
        )


def n_requests(plans: Plans) -> int:
    """Return how many requests are to be sent for all candidates."""
    return sum(plan.n_requests for plan in plans.values())


def planned_usd(plans: Plans) -> float | None:
    """Return what is expected of all candidates together, in US dollars; None when a price is not known."""
    estimates = [plan.estimate for plan in plans.values() if plan.n_requests]
    known = [estimate.usd for estimate in estimates if estimate is not None]
    return sum(known) if len(known) == len(estimates) else None


def plan_lines(plans: Plans) -> Iterator[str]:
    """Yield what is sent and what it costs: of all candidates together, then of each."""
    n = n_requests(plans)
    about = f", about {dollars(planned_usd(plans))} at batch prices" if n else ""
    yield f"{counted(len(plans), 'candidate')}, {counted(n, 'request')}{about}"
    for name, plan in plans.items():
        yield "; ".join([f"{name}: {of_total(plan)}", *plan.notes])


def plan_table(plans: Plans) -> list[dict[str, Any]]:
    """Return a line for each candidate: what is sent, and what it costs."""
    return [
        {
            "candidate": name,
            "gold rows": plan.rows.total(),
            "answered": plan.rows[Reason.ANSWERED],
            "requests": plan.n_requests,
            "about": dollars(plan.estimate.usd if plan.estimate else None),
            "between": f"{dollars(plan.estimate.low_usd)} and {dollars(plan.estimate.high_usd)}"
            if plan.estimate
            else "",
        }
        for name, plan in plans.items()
    ]


def _metadata(plans: Plans) -> dict[str, Any]:
    usd = planned_usd(plans)
    return {
        "claude_batch/plan": dg.MetadataValue.table([dg.TableRecord(line) for line in plan_table(plans)]),
        "claude_batch/planned_requests": n_requests(plans),
        **({} if usd is None else {"claude_batch/estimated_usd": usd}),
    }
