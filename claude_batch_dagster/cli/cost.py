"""`claude-batch cost`: what answers have cost, and what was saved."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
import orjson
from rich.markup import escape

from claude_batch_dagster.cli import console
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.core.reporting.costs import CostLine, CostReport

CHOICES = ("day", "table", "model", "partition", "run")


@click.command("cost")
@click.option(
    "--by", type=click.Choice(CHOICES), default="table", show_default=True, help="What the costs are added up by."
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Only what was sent on this day or later, in UTC.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A table for people, the others for machines.",
)
@click.pass_obj
def command(options: Options, *, by: str, since: datetime | None, form: str) -> None:
    """
    Show what answers have cost, and what was saved.

    Reads the view claude_batch.costs of the DuckDB file; while a run has the file, it is waited for. It is opened to be
    read only, so this changes nothing, however often it is done.
    """
    from claude_batch_dagster.costs import cost_report  # noqa: PLC0415  (DuckDB: `--help` need not wait for it)

    day = since.date() if since else None
    report = cost_report(options.stores, by=by, since=day, on_wait=lambda told: click.echo(told, err=True))
    match form:
        case "json":
            click.echo(orjson.dumps(_data(report), option=orjson.OPT_INDENT_2))
        case "csv":
            click.echo(_csv(report), nl=False)
        case _:
            _show(report)


def _data(report: CostReport) -> dict[str, Any]:
    return {
        "costs": [_named(report, line) for line in report.lines],
        "total": [_named(report, line) for line in report.totals],
        "prices": report.prices,
    }


def _named(report: CostReport, line: CostLine) -> dict[str, Any]:
    figures = asdict(line)
    group = figures.pop("group")
    return {**dict(zip(report.by, group, strict=False)), **figures}  # a total has no group


def _csv(report: CostReport) -> str:
    """Return the lines without a total: whoever adds them up would have it twice."""
    text = io.StringIO()
    names = [*report.by, *(name for name in CostLine.__dataclass_fields__ if name != "group")]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_named(report, line) for line in report.lines)
    return text.getvalue()


def _show(report: CostReport) -> None:
    screen = console.console()
    if not report.lines:
        screen.print("Nothing was paid, and nothing saved.")
        return
    n_places = len(report.totals)
    for total in report.totals:
        lines = [line for line in report.lines if line.sent_to == total.sent_to]
        cells = [_cells(report.by, line) for line in lines]
        title = f"Costs at {escape(total.sent_to.removesuffix(' default'))}" if n_places > 1 else "Costs"
        console.table(screen, title, [*cells, _cells(report.by, total)])
    if any(total.unpriced_requests for total in report.totals):
        n = sum(total.unpriced_requests for total in report.totals)
        screen.print(f"{n:,} of the requests have a price that is not known; what they are part of is unknown.")
    screen.print("Saved by increments and by sharing: estimates, at what a request of the table has cost on average.")
    screen.print(f"Prices: {', '.join(report.prices) or 'none yet'}.")


def _cells(by: Sequence[str], line: CostLine) -> dict[str, str]:
    group = line.group or ["total"] + [""] * (len(by) - 1)
    return {
        **{name: escape(value if value is not None else "-") for name, value in zip(by, group, strict=True)},
        "requests": f"{line.requests:,}",
        "paid": console.dollars(line.paid_usd),
        "live price": console.dollars(line.live_usd),
        "saved by\nbatch": console.dollars(line.saved_by_batch_usd),
        "saved by\nincrements": console.dollars(line.saved_by_increments_usd),
        "saved by\nsharing": console.dollars(line.saved_by_sharing_usd),
        "saved by\ncaching": console.dollars(line.saved_by_caching_usd),
        "wasted": console.dollars(line.wasted_usd),
    }
