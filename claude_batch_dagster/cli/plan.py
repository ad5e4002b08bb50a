"""`claude-batch plan`: what a run would send, why, and what it would cost, by the definitions of a project."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
import orjson
from rich.markup import escape

from claude_batch_dagster.cli import console
from claude_batch_dagster.core.planning.forecast import SENT, Forecast, PartitionForecast, Reason
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.core.planning.wording import MEANING, of_caching, of_canary, of_misses, of_total

MOST_PARTITIONS = 20
"""Partitions that are shown: those that cost most."""


@click.command("plan")
@click.argument("asset", required=False)
@click.option(
    "-m", "--module", "place", help="Module with the definitions, or the path of a Python file.", required=True
)
@click.option(
    "--partition", "partitions", multiple=True, help="A partition to plan for; may be repeated. [default: all]"
)
@click.option("--limit", type=int, help="Plan as with this limit in the run config.")
@click.option("--full-refresh", is_flag=True, help="Plan as with full_refresh in the run config.")
@click.option("--retry-final", is_flag=True, help="Plan as with retry_final in the run config.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def command(  # noqa: PLR0913  (one argument for each option)
    *,
    asset: str | None,
    place: str,
    partitions: tuple[str, ...],
    limit: int | None,
    full_refresh: bool,
    retry_final: bool,
    as_json: bool,
) -> None:
    """
    Show what a run would send, why, and what it would cost.

    Of ASSET, if the definitions have more than one that asks Claude. Nothing is sent and no table is changed, however
    often it is done. Database, ledger and key are those of the resource in the definitions.
    What has ended at the API and was not collected yet counts as in flight.
    """
    from claude_batch_dagster.assets.plans import asset_in, definitions_in, plan_of  # noqa: PLC0415  (Dagster)

    settings = RunSettings(limit=limit, refresh="plan" if full_refresh else None, retry_final=retry_final)
    defs = definitions_in(place)
    found = asset_in(defs, asset)
    forecast = plan_of(defs, found, partitions, settings)
    if as_json:
        click.echo(orjson.dumps(_data(forecast), option=orjson.OPT_INDENT_2))
    else:
        _show(found.key.to_user_string(), forecast)


def _data(forecast: Forecast) -> dict[str, Any]:
    return {
        "requests": forecast.n_requests,
        "estimate": forecast.estimate,
        "notes": forecast.notes,
        "changed": sorted(forecast.changed) if forecast.changed is not None else None,
        "rows": _named(forecast.rows),
        "partitions": [
            {
                "partition": part.partition_key,
                "requests": part.n_requests,
                "rows": _named(part.rows),
                "estimate": part.estimate,
            }
            for part in forecast.partitions
        ],
    }


def _named(rows: Counter[Reason]) -> dict[str, int]:
    return {str(reason): n for reason, n in rows.items()}


def _show(name: str, forecast: Forecast) -> None:
    screen = console.console()
    screen.print(f"{escape(name)}: {of_total(forecast)}", soft_wrap=True)
    rows = forecast.rows
    lines = [
        {
            "which": MEANING[reason],
            "sent": "yes" if reason in SENT else "no",
            "rows": f"{n:,}",
            "about": console.dollars(forecast.usd(reason)) if reason in SENT else "-",
        }
        for reason, n in sorted(rows.items(), key=lambda item: (item[0] not in SENT, -item[1]))
    ]
    if lines:
        console.table(screen, "Rows", lines)
    busy = [part for part in forecast.partitions if part.n_requests and part.partition_key is not None]
    if busy:
        dearest = sorted(busy, key=lambda part: -(part.estimate.usd if part.estimate else part.n_requests))
        console.table(screen, "Partitions", _cells(dearest[:MOST_PARTITIONS]))
        if len(busy) > MOST_PARTITIONS:
            screen.print(f"... and {len(busy) - MOST_PARTITIONS:,} more, which cost less.")
    misses = of_misses(forecast.misses) if forecast.n_requests and forecast.misses else None
    for note in filter(None, (of_canary(forecast), of_caching(forecast), *forecast.notes, misses)):
        screen.print(f"{note[:1].upper()}{note[1:].rstrip('.')}.", soft_wrap=True)


def _cells(parts: Sequence[PartitionForecast]) -> list[dict[str, str]]:
    return [
        {
            "partition": escape(str(part.partition_key)),
            "requests": f"{part.n_requests:,}",
            "about": console.dollars(part.estimate.usd if part.estimate else None),
        }
        for part in parts
    ]
