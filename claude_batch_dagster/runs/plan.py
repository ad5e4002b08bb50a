"""What a run is going to do, as people read it: lines of the run log, and metadata of an observation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from claude_batch_dagster.amounts import counted, dollars
from claude_batch_dagster.core.planning.forecast import SENT, Forecast, PartitionForecast
from claude_batch_dagster.core.planning.wording import (
    of_basis,
    of_caching,
    of_canary,
    of_misses,
    of_rows,
    of_total,
)

MOST_PARTITIONS = 200
"""Partitions in the table of the UI: those that cost most."""


def plan_text(forecast: Forecast) -> str:
    """Return the plan as a few lines."""
    return "\n  ".join(_lines(forecast))


def tell_plan(context: dg.AssetExecutionContext, forecast: Forecast) -> None:
    """Show the plan of a run that does nothing else."""
    context.log.info("DRY RUN: nothing is sent, and no table is changed. A run would do this.\n%s", plan_text(forecast))
    _observe(context, forecast)


def observe_plan(context: dg.AssetExecutionContext, forecast: Forecast) -> None:
    """Show the plan of a run that is about to carry it out."""
    context.log.info(plan_text(forecast))
    if forecast.n_requests:
        _observe(context, forecast)


def tell_left_out(context: dg.AssetExecutionContext, left_out: Mapping[str, int]) -> None:
    """Say how many rows were not sent, and why."""
    for reason, n in left_out.items():
        context.log.warning("%s %s", counted(n, "request was", "requests were"), reason)


def _observe(context: dg.AssetExecutionContext, forecast: Forecast) -> None:
    of_one = context.assets_def.partitions_def is not None and context.has_partition_key
    context.log_event(
        dg.AssetObservation(
            context.asset_key,
            partition=str(context.partition_key) if of_one else None,
            description=f"Plan: {of_total(forecast)}",
            metadata=plan_metadata(forecast),
        )
    )


def _lines(forecast: Forecast) -> Iterator[str]:
    yield f"Plan: {of_total(forecast)}"
    if sent := of_rows(forecast, sent=True):
        yield f"to be sent: {sent}"
    if rest := of_rows(forecast, sent=False):
        yield f"not to be sent: {rest}"
    yield from filter(None, (of_canary(forecast), of_caching(forecast), *forecast.notes))
    if forecast.n_requests and forecast.misses:
        yield of_misses(forecast.misses)


def plan_metadata(forecast: Forecast) -> dict[str, Any]:
    """Return the plan as metadata: figures, and a table by reason and one by partition."""
    rows = forecast.rows
    metadata: dict[str, Any] = {
        "claude_batch/plan": _table(
            {
                "reason": str(reason),
                "sent": "yes" if reason in SENT else "no",
                "rows": n,
                "about": dollars(forecast.usd(reason)) if reason in SENT else "",
            }
            for reason, n in sorted(rows.items(), key=lambda item: (item[0] not in SENT, -item[1]))
        ),
        "claude_batch/planned_requests": forecast.n_requests,
    }
    if (estimate := forecast.estimate) is not None:
        metadata |= {
            "claude_batch/estimated_usd": estimate.usd,
            "claude_batch/estimated_usd_low": estimate.low_usd,
            "claude_batch/estimated_usd_high": estimate.high_usd,
            "claude_batch/estimated_by": of_basis(estimate),
        }
    busy = [part for part in forecast.partitions if part.n_requests]
    if busy and busy[0].partition_key is not None:
        metadata["claude_batch/plan_by_partition"] = _by_partition(busy)
    return metadata


def _by_partition(parts: Sequence[PartitionForecast]) -> dg.TableMetadataValue:
    dearest = sorted(parts, key=lambda part: (-(part.estimate.usd if part.estimate else 0.0), -part.n_requests))
    shown = [
        {
            "partition": str(part.partition_key),
            "requests": part.n_requests,
            "about": dollars(part.estimate.usd if part.estimate else None),
            "why": ", ".join(f"{part.rows[reason]:,} {reason}" for reason in SENT if part.rows[reason]),
        }
        for part in dearest[:MOST_PARTITIONS]
    ]
    if more := dearest[MOST_PARTITIONS:]:
        n = sum(part.n_requests for part in more)
        shown.append(
            {"partition": f"and {counted(len(more), 'more partition')}", "requests": n, "about": "", "why": ""}
        )
    return _table(shown)


def _table(rows: Any) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
