"""What a run came to: verdicts, how right they are, tokens, dollars, and where to look next."""

from collections.abc import Iterable, Mapping

import dagster as dg
from dagster_duckdb import DuckDBResource
from rich.console import Console
from rich.table import Table

from claude_batch_dagster.status import Spending
from example_project.settings import CHECKOUT, Settings
from example_project.warehouse import connected


def read_verdicts(database: DuckDBResource) -> dict[str, int]:
    """Count the rows of each status, most frequent first."""
    with connected(database) as connection:
        return dict(
            connection.sql(
                "SELECT status, count(*) FROM public.classified_documents GROUP BY status ORDER BY 2 DESC, 1"
            ).fetchall()
        )


def accuracy_in_words(evaluations: Iterable[dg.AssetCheckEvaluation]) -> str:
    """Say how many answers are right, by the check of a run; nothing where no gold row has an answer."""
    for told in evaluations:
        if told.check_name == "accuracy" and "claude_batch/accuracy" in told.metadata:
            right, low, high = (
                f"{100 * told.metadata[f'claude_batch/{name}'].value:.1f} %"  # type: ignore[operator]
                for name in ("accuracy", "accuracy_low", "accuracy_high")
            )
            n = told.metadata["claude_batch/gold_rows"].value
            return (
                f"Accuracy {right} (95 % interval: {low} to {high}), by {n} gold rows, which a language model has "
                "labelled and no person."
            )
    return ""


def render(  # noqa: PLR0913  (a summary has as many parts as it has)
    console: Console,
    settings: Settings,
    verdicts: Mapping[str, int],
    *,
    how_right: str,
    n_sent: int,
    bills: list[Spending],
) -> None:
    """Print the verdicts, how right they are, what was sent and paid (now and in all), and what to do next."""
    console.print(_verdicts(verdicts))
    if how_right:
        console.print(how_right, highlight=False, soft_wrap=True)
    console.print(_money(bills))
    sent = f"{n_sent:,} request{'' if n_sent == 1 else 's'} sent"
    console.print(f"{sent}." if n_sent else f"{sent}: everything was already classified.", highlight=False)
    if settings.offline:
        console.print(
            "Offline: an emulator answered by comparing words, and the dollars are what Claude would cost.\n"
            "Set ANTHROPIC_API_KEY to ask Claude; these answers will not be taken for real ones.",
            style="dim",
            soft_wrap=True,
        )
    home = _short(settings)
    console.print(f"\nDatabase  {home}/warehouse.duckdb", highlight=False, soft_wrap=True)
    console.print(f"Heat map  {home}/themes_by_decade.svg", highlight=False, soft_wrap=True)
    console.print(f"Query     .venv/bin/python -c {_query(home)}", highlight=False, soft_wrap=True)
    console.print("Look      make ui, then http://localhost:3000", highlight=False)


def _verdicts(verdicts: Mapping[str, int]) -> Table:
    table = Table("verdict", title="classified_documents", title_justify="left")
    table.add_column("rows", justify="right")
    for status, n_rows in verdicts.items():
        table.add_row(status, f"{n_rows:,}")
    return table


def _money(bills: list[Spending]) -> Table:
    table = Table("")
    for name in ("answers", "tokens in", "tokens out", "paid", "saved against live calls"):
        table.add_column(name, justify="right")
    for name, bill in zip(("this run", "all runs"), bills, strict=True):
        table.add_row(
            name,
            f"{bill.n_requests:,}",
            f"{bill.input_tokens:,}",
            f"{bill.output_tokens:,}",
            _dollars(bill.cost_usd),
            _dollars(_saved(bill)),
        )
    return table


def _saved(bill: Spending) -> float | None:
    if bill.live_cost_usd is None or bill.cost_usd is None:
        return None
    return bill.live_cost_usd - bill.cost_usd


def _dollars(amount: float | None) -> str:
    return "not known" if amount is None else f"${amount:,.2f}"


def _query(home: str) -> str:
    statement = "FROM public.classified_documents LIMIT 10"
    return f"\"import duckdb; duckdb.connect('{home}/warehouse.duckdb').sql('{statement}').show()\""


def _short(settings: Settings) -> str:
    """Name the home as people would type it."""
    return str(settings.home.relative_to(CHECKOUT) if settings.home.is_relative_to(CHECKOUT) else settings.home)
