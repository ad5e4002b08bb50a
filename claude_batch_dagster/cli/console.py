"""How figures are told, and the console they are told on."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Column, Table

from claude_batch_dagster import amounts
from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.ledger import ChunkRecord

PIPED_WIDTH = 200
"""Columns where no terminal says how many it has: nothing is cut off in a file or a pipe."""

UNBOUNDED = 10_000
"""More columns than anything needs."""

TEXTS = frozenset(
    {
        "chunk\nbatch",
        "table",
        "sent to",
        "state",
        "day",
        "model",
        "partition",
        "run",
        "which",
        "sent",
        "candidate",
        "field",
    }
)
"""Headings of what is not a figure."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def console() -> Console:
    """Return a console on the standard output of this moment, colourful only on a terminal."""
    here = Console(highlight=False)
    return here if here.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def table(console: Console, title: str, lines: Sequence[Mapping[str, str]]) -> None:
    """Print lines of the same headings as a table; one below the other where that is wider than the terminal."""
    wide = Table(title=title, title_justify="left", box=box.SIMPLE)
    for heading in lines[0]:
        wide.add_column(heading, no_wrap=True, justify="left" if heading in TEXTS else "right")
    for line in lines:
        wide.add_row(*line.values())
    if console.measure(wide, options=console.options.update(width=UNBOUNDED)).maximum <= console.width:
        console.print(wide)
        return
    console.print(f"\n{title}")
    for line in lines:
        tall = Table("", Column(overflow="fold"), box=box.SIMPLE, show_header=False)
        for heading, cell in line.items():
            tall.add_row(heading, cell)
        console.print(tall)


def dollars(amount: float | None) -> str:
    """Tell US dollars, as cells of a table have them."""
    return amounts.dollars(amount, unknown="unknown")


def age(seconds: float) -> str:
    """Tell an age in its largest unit."""
    return next((f"{seconds / size:.0f} {unit}" for size, unit in _UNITS if seconds >= size), f"{seconds:.0f} s")


def day(moment: datetime | None) -> str:
    """Tell a date, in UTC."""
    return moment.strftime("%Y-%m-%d") if moment else "-"


def clock_time(moment: datetime) -> str:
    """Tell a time of day, in UTC."""
    return moment.strftime("%H:%M UTC")


def requests(chunk: ChunkRecord) -> str:
    """Tell how many requests a chunk has."""
    return counted(chunk.n_requests, "request")
