"""`claude-batch status`: what the ledger knows, without asking anybody else."""

from collections.abc import Sequence
from dataclasses import asdict

import click
import orjson
from rich import box
from rich.markup import escape
from rich.table import Table

from claude_batch_dagster.cli import telling
from claude_batch_dagster.cli.overview import ChunkLine, PipelineLine, chunk_line, pipeline_lines
from claude_batch_dagster.cli.places import Places
from claude_batch_dagster.cli.surroundings import looking
from claude_batch_dagster.core.ledger import OPEN, UNCONFIRMED, State

COLOURS = {State.HELD: "red", State.LOST: "red", State.UNSEEN: "magenta", **dict.fromkeys(UNCONFIRMED, "yellow")}


@click.command("status")
@click.option("--all", "everything", is_flag=True, help="Show closed chunks as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.pass_obj
def command(places: Places, *, everything: bool, as_json: bool) -> None:
    """
    Show what is on its way and what it has cost.

    Reads the ledger only: the API and the DuckDB file are left alone, so it works while a run is going on.
    It changes nothing, however often it is done.
    """
    with looking(places) as ledger:
        sightings = ledger.sightings(State if everything else OPEN)
    now = places.clock.now()
    chunks = [chunk_line(one, now) for one in sightings if everything or one.chunk.state in OPEN]
    pipelines = pipeline_lines(sightings)
    if as_json:
        told = {"chunks": [asdict(one) for one in chunks], "pipelines": [asdict(one) for one in pipelines]}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        _show(chunks, pipelines, everything=everything)


def _show(chunks: Sequence[ChunkLine], pipelines: Sequence[PipelineLine], *, everything: bool) -> None:
    console = telling.console()
    if chunks:
        console.print(_chunks_table(chunks, everything=everything))
    else:
        console.print("Nothing is on its way." if pipelines else "Nothing was ever sent.")
    if pipelines:
        console.print(_pipelines_table(pipelines))
    if any(one.results_are_old for one in chunks):
        console.print("Results of the dates in colour are older than 20 of their 29 days: materialize soon.")


def _chunks_table(chunks: Sequence[ChunkLine], *, everything: bool) -> Table:
    table = Table(title="All chunks" if everything else "Open chunks", title_justify="left", box=box.SIMPLE)
    table.add_column("chunk\nbatch", overflow="fold")
    table.add_column("table", overflow="fold")
    table.add_column("state")
    for heading in ("rows", "partitions", "spent", "at most", "age"):
        table.add_column(heading, justify="right")
    table.add_column("results until", justify="right")
    for one in chunks:
        table.add_row(
            f"{one.chunk_id}\n{escape(one.batch_id or '-')}",
            escape(one.pipeline),
            _coloured(one.state, COLOURS.get(one.state)),
            f"{one.n_requests:,}",
            f"{one.n_partitions:,}" if one.n_partitions else "-",
            telling.dollars(one.spent_usd),
            telling.dollars(one.max_cost_usd),
            telling.age(one.age_seconds),
            _coloured(telling.day(one.results_until), "red" if one.results_are_old else None),
        )
    return table


def _pipelines_table(pipelines: Sequence[PipelineLine]) -> Table:
    table = Table(title="Tables", title_justify="left", box=box.SIMPLE)
    table.add_column("table", overflow="fold")
    table.add_column("sent to", overflow="fold")
    for heading in ("in flight", "landed", "spent", "unconfirmed sends", "possible duplicates"):
        table.add_column(heading, justify="right")
    for one in pipelines:
        doubt = f"{one.n_possible_duplicates:,}"
        if one.n_possible_duplicates:
            doubt += f" (at most {telling.dollars(one.possible_duplicate_usd)})"
        table.add_row(
            escape(one.pipeline),
            escape(one.base_url if one.workspace_id == "default" else f"{one.base_url} {one.workspace_id}"),
            f"{one.n_in_flight:,}",
            f"{one.n_landed:,}",
            telling.dollars(one.spent_usd),
            _coloured(f"{one.n_unconfirmed_sends:,}", "yellow" if one.n_unconfirmed_sends else None),
            _coloured(doubt, "magenta" if one.n_possible_duplicates else None),
        )
    return table


def _coloured(text: str, colour: str | None) -> str:
    return f"[{colour}]{text}[/]" if colour else text
