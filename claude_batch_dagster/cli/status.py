"""`claude-batch status`: what the ledger knows, without asking anybody else."""

from collections.abc import Sequence
from dataclasses import asdict

import click
import orjson
from rich.markup import escape

from claude_batch_dagster.cli import console
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.core.ledger import OPEN, UNCONFIRMED, State
from claude_batch_dagster.core.reporting.overview import BatchStatus, TableStatus, batch_status, table_statuses

COLOURS = {State.HELD: "red", State.LOST: "red", State.UNSEEN: "magenta", **dict.fromkeys(UNCONFIRMED, "yellow")}


@click.command("status")
@click.option("--all", "everything", is_flag=True, help="Show closed chunks as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.pass_obj
def command(options: Options, *, everything: bool, as_json: bool) -> None:
    """
    Show what is on its way and what it has cost.

    Reads the ledger only: the API and the DuckDB file are left alone, so it works while a run is going on.
    It changes nothing, however often it is done.
    """
    with options.stores.looking() as ledger:
        sightings = ledger.sightings(State if everything else OPEN)
    now = options.clock.now()
    chunks = [batch_status(one, now) for one in sightings if everything or one.chunk.state in OPEN]
    pipelines = table_statuses(sightings)
    if as_json:
        told = {"chunks": [asdict(one) for one in chunks], "pipelines": [asdict(one) for one in pipelines]}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        _show(chunks, pipelines, everything=everything)


def _show(chunks: Sequence[BatchStatus], pipelines: Sequence[TableStatus], *, everything: bool) -> None:
    screen = console.console()
    if chunks:
        console.table(screen, "All chunks" if everything else "Open chunks", [_chunk_cells(one) for one in chunks])
    else:
        screen.print("Nothing is on its way." if pipelines else "Nothing was ever sent.")
    if pipelines:
        console.table(screen, "Tables", [_pipeline_cells(one) for one in pipelines])
    if any(one.results_are_old for one in chunks):
        screen.print("Results of the dates in colour are older than 20 of their 29 days: materialize soon.")


def _chunk_cells(one: BatchStatus) -> dict[str, str]:
    return {
        "chunk\nbatch": f"{one.chunk_id}\n{escape(one.batch_id or '-')}",
        "table": escape(one.pipeline),
        "state": _coloured(one.state, COLOURS.get(one.state)),
        "rows": f"{one.n_requests:,}",
        "partitions": f"{one.n_partitions:,}" if one.n_partitions else "-",
        "spent": console.dollars(one.spent_usd),
        "at most": console.dollars(one.max_cost_usd),
        "age": console.age(one.age_seconds),
        "results until": _coloured(console.day(one.results_until), "red" if one.results_are_old else None),
    }


def _pipeline_cells(one: TableStatus) -> dict[str, str]:
    doubt = f"{one.n_possible_duplicates:,}"
    if one.n_possible_duplicates:
        doubt += f" (at most {console.dollars(one.possible_duplicate_usd)})"
    return {
        "table": escape(one.pipeline),
        "sent to": escape(one.base_url if one.workspace_id == "default" else f"{one.base_url} {one.workspace_id}"),
        "in flight": f"{one.n_in_flight:,}",
        "landed": f"{one.n_landed:,}",
        "spent": console.dollars(one.spent_usd),
        "unconfirmed sends": _coloured(f"{one.n_unconfirmed_sends:,}", "yellow" if one.n_unconfirmed_sends else None),
        "possible duplicates": _coloured(doubt, "magenta" if one.n_possible_duplicates else None),
    }


def _coloured(text: str, colour: str | None) -> str:
    return f"[{colour}]{text}[/]" if colour else text
