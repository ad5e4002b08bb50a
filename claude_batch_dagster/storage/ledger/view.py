"""A ledger that is looked at: never created, upgraded or written, and no run waits for it."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from claude_batch_dagster.core.ledger import OPEN, Condition, Sighting, State
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage import migrations
from claude_batch_dagster.storage.ledger import postgres, requests, schema
from claude_batch_dagster.storage.ledger.chunks import chunk_record
from claude_batch_dagster.storage.ledger.opening import BUSY_SECONDS, created, translated, url_of
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger


class LedgerView(SqlLedger):
    """
    A ledger opened for reading, whatever its revision.

    Raises `LedgerError` when there is none, or when a newer version has written it.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self._use(_looking(url))
        try:
            self.revision = self._revision()
            """The revision of its tables."""
        except LedgerError:
            self.dispose()  # the last one to close it takes SQLite's files beside it away
            raise

    @property
    def is_current(self) -> bool:
        """Whether its tables are those of this version of the package; else they can be upgraded."""
        return self.revision == _script().get_current_head()

    def sightings(self, counted: Iterable[State] = OPEN) -> list[Sighting]:
        """Return every chunk as of one moment, oldest first; partitions of those in `counted` states."""
        chunks = schema.chunks
        with self._transaction() as connection:
            spent = {row.chunk_id: None if row.n_unknown else row.cost for row in connection.execute(_SPENT)}
            partitions = _partitions(connection, counted)
            return [
                Sighting(
                    chunk=chunk_record(row),
                    n_partitions=partitions.get(row.chunk_id, 0),
                    spent_usd=spent.get(row.chunk_id, 0.0),
                )
                for row in connection.execute(sa.select(chunks).order_by(chunks.c.chunk_id))
            ]

    def original(self) -> str | None:
        """Return the path of the ledger that this one is a copy of, if that is still there."""
        try:
            return super().original()
        except LedgerError:  # it was moved, and would take note of its new home
            return None

    def condition(self) -> Condition:
        """Return how the ledger is found."""
        if not self.is_current:
            return Condition(ledger_id=self.ledger_id, revision=self.revision, is_current=False)
        damage = self._damage()
        return Condition(
            ledger_id=self.ledger_id,
            revision=self.revision,
            is_current=True,
            damage=damage,
            original=None if damage else self.original(),
            states=() if damage else [one.chunk.state for one in self.sightings(())],
        )

    def _damage(self) -> str | None:
        """Return what is broken in the file, if anything is; other databases look after themselves."""
        if self._engine.dialect.name != "sqlite":
            return None
        with self._transaction() as connection:
            told = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        return None if told == "ok" else told

    def _revision(self) -> str:
        with self._transaction() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            raise LedgerError(f"there is no ledger at {_shown(self._engine.url)}: its tables are missing")
        try:
            _script().get_revision(revision)
        except CommandError:
            raise LedgerError(
                f"the ledger was written by a newer version of claude-batch-dagster (revision {revision}). "
                "Upgrade the package; nothing was sent or changed."
            ) from None
        return revision


_SPENT = sa.select(
    schema.spend.c.chunk_id,
    sa.func.sum(schema.spend.c.cost_usd).label("cost"),
    sa.func.count().filter(schema.spend.c.cost_usd.is_(None)).label("n_unknown"),
).group_by(schema.spend.c.chunk_id)


def _partitions(connection: sa.Connection, states: Iterable[State]) -> dict[str, int]:
    """Return how many partitions have rows in each chunk of these states."""
    chunks = schema.chunks.c
    wanted = sa.select(chunks.chunk_id).where(chunks.state.in_([str(state) for state in states]))
    found = requests.partition_keys_in(connection, connection.execute(wanted).scalars().all())
    return {chunk_id: len({*partition_keys} - {None}) for chunk_id, partition_keys in found}


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(migrations.__file__).parent))


def _looking(url: str | sa.URL) -> sa.Engine:
    parsed = url_of(url)
    if parsed.get_backend_name() == "sqlite":
        engine = created(parsed, creator=_opener(parsed))
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin)
        return engine
    engine = created(parsed).execution_options(postgresql_readonly=True)
    if engine.dialect.name == "postgresql":
        try:
            with translated(), engine.connect() as connection:
                found = postgres.schema_of(connection, [script.revision for script in _script().walk_revisions()])
        finally:
            engine.dispose()  # its connection prepares statements, which no pooler takes
        postgres.prepare(engine, schema=found or postgres.SCHEMA)
    return engine


def _opener(url: sa.URL) -> Callable[[], sqlite3.Connection]:
    """Return a function that opens the file and never creates it."""
    path = Path(url.database or "")
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {_shown(url)}; looking creates none")
    file = f"file:{quote(str(path.absolute()))}?mode=rw"
    return lambda: sqlite3.connect(file, uri=True, check_same_thread=False)


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS}000")
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: sa.Connection) -> None:
    """Read as of one moment, without the write lock."""
    connection.exec_driver_sql("BEGIN")


def _shown(url: sa.URL) -> str:
    return url.render_as_string(hide_password=True)
