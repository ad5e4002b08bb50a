"""The user's DuckDB database: opened for seconds, shared with others, its errors translated."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import duckdb

from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError, WarehouseError, WarehouseMemoryError
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values
from claude_batch_dagster.storage.duckdb.opening import Connect, Opening

MEMORY_LIMIT = "240MB"
"""
What DuckDB holds in memory, unless `config` says otherwise; more goes to files beside the database for a while.

Where that does not do, because single values are large, it may take what it takes by default: most of the machine's.
"""

DUCKDBS_OWN = frozenset({"temp", "system"})
"""Databases that every connection has beside the file."""

MEMORY_SETTINGS = frozenset({"memory_limit", "max_memory"})

INTERRUPTED = "Query interrupted"
"""All that DuckDB tells of an exception that a signal has raised in the midst of a statement."""

_WRITERS: dict[str, threading.RLock] = {}
"""Held by who writes rows, by database."""

_WRITERS_LOCK = threading.Lock()


@dataclass
class _Room:
    """What has been found out about the memory that is needed."""

    is_lifted: bool = False
    """Whether the limit did not do."""


@dataclass(frozen=True)
class Warehouse:
    """One DuckDB database, by path."""

    database: str
    config: Mapping[str, Any] = field(default_factory=dict)
    lock_timeout_seconds: float = 120.0
    """How long to wait for another process to let go of the file."""
    on_wait: Callable[[str], None] = field(default=lambda _: None, repr=False, compare=False)
    """Told, every now and then, for whom the file is waited."""
    own: Connect | None = field(default=None, repr=False, compare=False)
    """How a resource of the user's opens it, if it does more than that."""
    _users: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)
    """The connection that this thread has opened in the user's way."""
    _room: _Room = field(default_factory=_Room, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.database in {"", ":memory:"}:
            raise ConfigurationError(
                "the database is in memory, so its answers would be gone when the run ends. "
                "Give DuckDBResource a file: database='warehouse.duckdb'."
            )

    def check_schemas(self, *schemas: str) -> None:
        """
        Raise if a schema has the name of the database file, or of a database that DuckDB has in any case.

        DuckDB names a database by its file, up to the first dot, and then does not know which of the two is meant.
        """
        catalog = PurePath(self.database).name.split(".", maxsplit=1)[0]
        taken = {catalog.lower(), *DUCKDBS_OWN} - {"main"}  # a file of that name is main_db to DuckDB
        for schema in schemas:
            if schema.lower() in taken:
                raise ConfigurationError(
                    f"the schema {schema!r} has the name of a database, so DuckDB cannot tell the two apart: it calls "
                    f"the file {self.database!r} {catalog!r}, and has databases temp and system of its own. Nothing "
                    "was sent. Rename the file, or give the asset another schema=."
                )

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """
        Open the database, waiting for other processes; close it also when the body raises.

        Raises `WarehouseLockedError` after `lock_timeout_seconds`, `WarehouseCorruptError` for a file that is no
        database, `WarehouseMemoryError` for lack of memory, of which it may take more when it is opened the next
        time, `WarehouseError` for anything else DuckDB says. A signal in the midst of a statement raises
        `KeyboardInterrupt`, whatever its handler has raised: DuckDB does not tell.
        """
        opening = Opening(
            database=self.database,
            config=self.config,
            lock_timeout_seconds=self.lock_timeout_seconds,
            on_wait=self.on_wait,
            own=self.own,
        )
        try:
            with self._within(opening) as connection:
                connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
                if self._is_limited:
                    if self._room.is_lifted:
                        _lift_limit(connection)
                    else:
                        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
                yield connection
        except duckdb.OutOfMemoryException:
            may_take_more = self._is_limited and not self._room.is_lifted
            self._room.is_lifted = True
            raise WarehouseMemoryError(self.database, may_take_more=may_take_more) from None
        except duckdb.Error as error:
            raise WarehouseError(f"DuckDB: {without_values(error)}") from None
        except RuntimeError as error:
            if str(error) == INTERRUPTED:
                raise KeyboardInterrupt from None
            raise

    @contextmanager
    def _within(self, opening: Opening) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the database; where the user opens it, once in each thread: what they attach can be attached once."""
        if self.own is None:
            with opening.connect() as connection:
                yield connection
        elif outer := getattr(self._users, "connection", None):
            with outer.cursor() as connection:
                yield connection
        else:
            with opening.connect() as connection:
                self._users.connection = connection
                try:
                    yield connection
                finally:
                    self._users.connection = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Keep other threads of this process from writing rows meanwhile; other processes have no way in anyway.

        DuckDB lets two transactions of one process insert a row for the same key, and neither sees the other's.
        """
        with _WRITERS_LOCK:
            writer = _WRITERS.setdefault(os.path.realpath(self.database), threading.RLock())
        with writer:
            yield

    def lift_limit(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Let DuckDB take more memory from here on; `False` if that is not for us to say, or done already."""
        if not self._is_limited or self._room.is_lifted:
            return False
        self._room.is_lifted = True
        _lift_limit(connection)
        return True

    @property
    def _is_limited(self) -> bool:
        """Whether it is for us to say how much memory DuckDB takes."""
        return not MEMORY_SETTINGS.intersection(self.config)


def _lift_limit(connection: duckdb.DuckDBPyConnection) -> None:
    """Let DuckDB take what it takes by default. Before version 2 a reset alone changes only what it says."""
    connection.execute("RESET memory_limit")
    default = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    connection.execute(f"SET memory_limit = '{default}'")


def exists(connection: duckdb.DuckDBPyConnection, table: TableName) -> bool:
    """Whether the database itself has this table; others may be attached to it."""
    query = (
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    )
    return connection.execute(query, [table.schema, table.table]).fetchone() is not None


@contextmanager
def in_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let a join that is fetched while it goes on keep the order of its tables, which several threads would not."""
    query = "SELECT current_setting('threads'), greatest(1, current_setting('external_threads'))"
    threads, fewest = connection.execute(query).fetchall()[0]
    connection.execute(f"SET threads = {fewest}")
    try:
        yield
    finally:
        connection.execute(f"SET threads = {threads}")
