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
from claude_batch_dagster.storage.ledger import postgres

BUSY_SECONDS = 60
"""How long SQLite waits for another writer."""

BUSY_PAUSE_SECONDS = 0.01


def engine_of(url: str | sa.URL, busy_seconds: float) -> sa.Engine:
    """Return an engine for the ledger at a URL, which waits no longer than `busy_seconds` for others that hold it."""
    engine = created(url)
    if engine.dialect.name == "sqlite":
        _make_private(engine.url.database)
        sa.event.listen(engine, "connect", lambda raw, _: _prepare_sqlite(raw, busy_seconds))
        sa.event.listen(engine, "begin", _begin_immediate)
        sa.event.listen(engine, "close", _undo)
    elif engine.dialect.name == "postgresql":
        postgres.prepare(engine, limit_seconds=busy_seconds if busy_seconds < BUSY_SECONDS else None)
    return engine


def created(url: str | sa.URL, **options: Any) -> sa.Engine:
    """Return an engine for a URL; raise `LedgerError` for one that cannot be used."""
    parsed = url_of(url)
    try:
        return sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql", **options)
    except (SQLAlchemyError, ImportError) as error:
        raise _unusable(error) from None


def url_of(url: str | sa.URL) -> sa.URL:
    """Return a URL in its parts, with a driver; raise `LedgerError` for a text that is none."""
    try:
        return postgres.with_driver(sa.make_url(url))
    except SQLAlchemyError as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> LedgerError:
    return LedgerError(
        f"the ledger URL cannot be used ({type(error).__name__}). Use sqlite:///path/to/ledger.sqlite or "
        "postgresql://…, which needs pip install 'claude-batch-dagster[postgres]'"
    )


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
