"""Opening the database of a ledger: durable at every commit, patient with other writers, closed without a trace."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_FILE

BUSY_SECONDS = 60
"""How long SQLite waits for another writer."""

BUSY_PAUSE_SECONDS = 0.01


def engine_of(url: str | sa.URL, busy_seconds: float) -> sa.Engine:
    """Return an engine for the ledger at a URL, which waits no longer than `busy_seconds` for others that hold it."""
    try:
        engine = sa.create_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        raise LedgerError(
            f"the ledger URL cannot be used ({type(error).__name__}). Use sqlite:///path/to/ledger.sqlite or postgresql://…"
        ) from None
    if engine.dialect.name == "sqlite":
        _make_private(engine.url.database)
        sa.event.listen(engine, "connect", lambda raw, _: _prepare_sqlite(raw, busy_seconds))
        sa.event.listen(engine, "begin", _begin_immediate)
        sa.event.listen(engine, "close", _undo)
    elif engine.dialect.name == "postgresql" and busy_seconds < BUSY_SECONDS:
        _hurry_postgres(engine, busy_seconds)
    return engine


def _hurry_postgres(engine: sa.Engine, busy_seconds: float) -> None:
    """Wait no longer than that for a statement, nor for a host that is silent (whole seconds, two at least)."""
    limit = f"SET LOCAL statement_timeout = {busy_seconds * 1_000:.0f}"
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(limit))
    if engine.dialect.driver in {"psycopg", "psycopg2"}:
        wait = {"connect_timeout": max(2, round(busy_seconds))}
        sa.event.listen(engine, "do_connect", lambda *given: given[-1].update({**wait, **given[-1]}))


def _make_private(path: str | None) -> None:
    """Create the file for its owner only; SQLite gives the files beside it the same mode."""
    if path and path != ":memory:":
        with suppress(OSError):  # opening it says what is wrong
            Path(path).touch(mode=PRIVATE_FILE)


def _prepare_sqlite(connection: Any, busy_seconds: float) -> None:
    """Write ahead, sync at every commit, wait for other writers, and leave BEGIN to us."""
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={busy_seconds * 1_000:.0f}",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _write_ahead(connection, busy_seconds)


def _write_ahead(connection: Any, busy_seconds: float) -> None:
    """Switch to write-ahead; where processes open a new ledger together, SQLite itself does not wait for this."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE_SECONDS)
        else:
            return


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at once: a reader that turns writer could not wait for it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _undo(connection: Any, _: ConnectionPoolEntry) -> None:
    """Undo before closing: SQLite keeps a closed connection and its lock while some cursor of it is still about."""
    connection.rollback()


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the database into `LedgerError`, which says what to do."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise LedgerError(
            f"the ledger does not work ({type(cause).__name__}: {cause}). Nothing is sent without it. If it was only "
            "busy, run again; else check its server, disk space and permissions, or restore it from a backup."
        ) from None
