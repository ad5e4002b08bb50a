"""
A canary in every test: a key and a mark in every document, which must turn up nowhere but where they belong.

The key belongs to no file at all. A document belongs to the user's tables and input files, to the outbox
while it is written, and to the emulator's own memory. Neither belongs to a log, to what is printed, to an
event or a snapshot of Dagster, to an error, to the ledger or to the spool.
"""

import logging
import mmap
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from claude_batch_dagster.errors import ClaudeBatchError
from proof import canary as planted

if TYPE_CHECKING:
    import dagster as dg  # takes a second, and most tests have nothing to do with it

KEY, DOCUMENT = planted.KEY, planted.DOCUMENT
"""Part of every key that a test uses, and of every document: those of the simulation too."""

SIGNS = (KEY, DOCUMENT)
DISTANCE = " ." * 24
"""The emulator's answers quote up to 24 words from the beginning of what they answer; Claude's might not."""

ANY_ZLIB = 47
"""`zlib` and `gzip` alike, told apart by their headers."""

SQLITE = b"SQLite format 3\0"


def marked(text: Any) -> Any:
    """Return a document's text with the canary at its end; what is no text, or blank, stays as it is."""
    if not isinstance(text, str) or not text.strip() or DOCUMENT in text:
        return text
    return f"{text}{DISTANCE} {DOCUMENT}"


def may_hold_documents(path: Path) -> bool:
    """Whether a file is a place for documents: a table, an input, a review queue, the outbox, the emulator's memory."""
    is_warehouse = ".duckdb" in "".join(path.suffixes)
    is_queue = path.stem.endswith("_review") and path.suffix in {".csv", ".json"}
    return (
        is_warehouse
        or is_queue
        or path.name == "documents.jsonl"
        or bool({"outbox", "emulator"}.intersection(path.parts))
    )


# --- where to look ---------------------------------------------------------------------------------


def in_text(text: str, where: str) -> Iterator[str]:
    """Yield what is found in a text."""
    yield from (f"{sign} in {where}" for sign in SIGNS if sign in text)


def in_files(folder: Path) -> Iterator[str]:
    """Yield what is found in the files below a folder, where it must not be."""
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):  # a server that is still running has taken it away
            if path.is_file() and path.stat().st_size:
                signs = SIGNS[:1] if may_hold_documents(path.relative_to(folder)) else SIGNS
                yield from in_file(path, str(path.relative_to(folder)), signs)


def in_file(path: Path, name: str, signs: Sequence[str] = SIGNS) -> Iterator[str]:
    """Yield what is found in the bytes of a file and, if it is a SQLite database, in its cells."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield from (f"{sign} in {name}" for sign in signs if content.find(sign.encode()) >= 0)
        is_database = content[: len(SQLITE)] == SQLITE
    if is_database:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            yield from in_cells(connection, name, signs)


def in_cells(connection: sqlite3.Connection, name: str, signs: Sequence[str] = SIGNS) -> Iterator[str]:
    """Yield what is found in the cells of a SQLite database, compressed ones included."""
    tables = [table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        quoted = '"' + table.replace('"', '""') + '"'
        for row in connection.execute(f"SELECT * FROM {quoted}"):  # noqa: S608  (a name of the database's own)
            cells = [unfolded(cell) for cell in row if isinstance(cell, str | bytes)]
            yield from (f"{sign} in {name}, {table}" for sign in signs for cell in cells if sign.encode() in cell)


def unfolded(cell: str | bytes) -> bytes:
    """Return the bytes of a cell, decompressed if they are compressed."""
    if isinstance(cell, str):
        return cell.encode(errors="surrogatepass")
    try:
        return zlib.decompress(cell, ANY_ZLIB)
    except zlib.error:
        return cell


def in_error(error: BaseException) -> Iterator[str]:
    """Yield what is found in an error: its words, its facts, its notes, and those of what is shown as its cause."""
    seen: list[BaseException] = []
    shown: BaseException | None = error
    while shown is not None and shown not in seen:
        seen.append(shown)
        told = [str(shown), repr(shown), *map(repr, shown.args), repr(vars(shown)), *getattr(shown, "__notes__", ())]
        yield from in_text("\n".join(told), f"{type(shown).__name__}, number {len(seen)} of its chain")
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def in_runs(instance: "dg.DagsterInstance", runs: "Sequence[dg.DagsterRun]") -> Iterator[str]:
    """Yield what is found in all that Dagster keeps of runs: tags, config, events, metadata, snapshots."""
    for run in runs:
        kept: list[Any] = [run, *instance.all_logs(run.run_id)]
        if run.job_snapshot_id:
            kept.append(instance.get_job_snapshot(run.job_snapshot_id))
        if run.execution_plan_snapshot_id:
            kept.append(instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id))
        yield from in_text("\n".join(map(str, kept)), "what Dagster keeps of a run")


# --- looking while a test runs ---------------------------------------------------------------------


class Canary(logging.Handler):
    """Listens to every logger and remembers every error of ours, for as long as a test runs."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[str] = []

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        ERRORS.clear()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self)
        ERRORS.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Search one line of a log, with the traceback that comes with it."""
        self.found += in_text(self.format(record), f"the log of {record.name}")

    def leaks(self, folder: Path | None = None, printed: str = "") -> list[str]:
        """Return where the canaries were found, of all places where they must not be."""
        errors = (leak for error in ERRORS for leak in in_error(error))
        files = in_files(folder) if folder else ()
        return [*self.found, *in_text(printed, "what was printed"), *errors, *files]


ERRORS: list[ClaudeBatchError] = []
"""Errors of ours that were made since the present test began."""


def keep_watch() -> None:
    """Have every logger speak and every error of ours be remembered from now on; called once."""
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("anthropic").setLevel(logging.INFO)  # as `new_client` sets it, for clients made without it

    def init(self: ClaudeBatchError, *args: object) -> None:
        super(ClaudeBatchError, self).__init__(*args)
        ERRORS.append(self)

    ClaudeBatchError.__init__ = init  # type: ignore[method-assign, assignment]
