"""Storage that survives a simulated crash, used for one schedule after another: opening it anew would cost most."""

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger import schema
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

CONFIG = {"threads": 1, "memory_limit": "8GB"}  # it is in memory, and what was dropped stays there for a while
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (a private folder is made in it)

_numbers = count(1)


class SurvivingStorage:
    """
    A ledger, a state directory and a database, emptied before each schedule.

    What is in them has been committed, so they are what a crash leaves behind: SQLite on a disk of memory,
    DuckDB in memory, held open by a connection of ours.
    """

    def __init__(self, folder: Path) -> None:
        self._open = ExitStack()
        self.state = StateDirectory.open(folder / "state")
        self.ledger = SqlLedger(self.state.ledger_url)
        self.database = f":memory:storage{next(_numbers)}"
        self.duckdb = self._open.enter_context(Warehouse(self.database, CONFIG).connect())
        _plan_quickly(self.duckdb)
        self.sqlite = sqlite3.connect(self.state.path / "ledger.sqlite", isolation_level=None)
        gc.collect()
        gc.freeze()  # thousands of schedules, and all that was imported would be walked through again and again

    def clear(self) -> None:
        """Empty everything."""
        for table in reversed(schema.metadata.sorted_tables):
            if table.name != "identity":
                self.sqlite.execute(f"DELETE FROM {table.name}")  # noqa: S608  (our own names)
        self.sqlite.execute("UPDATE identity SET home = NULL")
        for name in ("TABLE IF EXISTS docs", "TABLE IF EXISTS answers", "SCHEMA IF EXISTS claude_batch CASCADE"):
            self.duckdb.execute(f"DROP {name}")
        for folder in (self.state.spool, self.state.path / "outbox"):
            for file in folder.iterdir():
                file.unlink()

    def reopen_ledger(self) -> None:
        """Open the ledger as a new version of the package would: with its upgrades."""
        self.ledger.dispose()
        self.ledger = SqlLedger(self.state.ledger_url)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the ledger in plain SQL, past the code under test."""
        return self.sqlite.execute(query).fetchall()

    def ledger_dump(self) -> list[list[tuple[Any, ...]]]:
        """Return all that the ledger holds."""
        return [self.rows(f"SELECT * FROM {table.name}") for table in schema.metadata.sorted_tables]  # noqa: S608

    def close(self) -> None:
        """Let go of everything."""
        self.sqlite.close()
        self.ledger.dispose()
        self._open.close()


def _plan_quickly(connection: duckdb.DuckDBPyConnection) -> None:
    """Plan queries as they are written: results stay the same, and planning takes longer than running them."""
    names = [name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
    connection.execute(f"SET GLOBAL disabled_optimizers = '{','.join(names)}'")


@contextmanager
def new_storage() -> Iterator[SurvivingStorage]:
    """Open storage in memory if there is a disk of it, else in a folder for temporary files."""
    with TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        storage = SurvivingStorage(Path(folder))
        try:
            yield storage
        finally:
            storage.close()
