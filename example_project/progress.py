"""Shows how far the batches are while a run waits for them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from claude_batch_dagster.status import LedgerStatus, RequestCounts

TABLE = "public.classified_documents"

_LOOK_EVERY_SECONDS = 0.5
_PLAIN_LINE_EVERY_SECONDS = 10.0


def watch(status: LedgerStatus) -> Iterator[RequestCounts]:
    """Yield, whenever asked, how far the requests are that had not landed at the first look."""
    landed_before = status.requests(TABLE).landed
    while True:
        now = status.requests(TABLE)
        yield RequestCounts(
            sent=now.sent - landed_before, ended=now.ended - landed_before, landed=now.landed - landed_before
        )


@contextmanager
def shown(console: Console, title: str, looks: Iterator[RequestCounts], total: int) -> Iterator[None]:
    """Show progress while the body runs: a bar in a terminal, now and then a line anywhere else."""
    done = threading.Event()
    draw = _bar if console.is_terminal else _lines
    thread = threading.Thread(target=draw, args=(console, title, looks, total, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bar(console: Console, title: str, looks: Iterator[RequestCounts], total: int, done: threading.Event) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[requests]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total or None, requests="")
        for requests in looks:
            progress.update(task, completed=requests.landed, requests=_in_words(requests))
            if done.wait(_LOOK_EVERY_SECONDS):
                return


def _lines(console: Console, title: str, looks: Iterator[RequestCounts], total: int, done: threading.Event) -> None:
    started = time.monotonic()
    for requests in looks:
        if done.wait(_PLAIN_LINE_EVERY_SECONDS):
            return
        of = f" of {total:,}" if total else ""
        console.print(f"{title}: {_in_words(requests)}{of}, {time.monotonic() - started:.0f} s")


def _in_words(requests: RequestCounts) -> str:
    return f"{requests.sent:,} sent, {requests.ended:,} answered, {requests.landed:,} landed"
