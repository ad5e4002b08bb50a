"""The ledger on any database SQLAlchemy speaks: SQLite by default, Postgres by URL."""

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from claude_batch_dagster.core.ledger import (
    CLOSED,
    NEXT,
    OPEN,
    ChunkRecord,
    Claimed,
    Doubt,
    Made,
    Requests,
    Spend,
    State,
)
from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.errors import LedgerConflictError, LedgerError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_FILE
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger import claims, identity, schema, spending
from claude_batch_dagster.storage.ledger import requests as columns
from claude_batch_dagster.storage.ledger.doubts import doubts
from claude_batch_dagster.storage.ledger.locks import locks_for
from claude_batch_dagster.storage.migrations import upgrade

BUSY_SECONDS = 60
"""How long SQLite waits for another writer."""

BUSY_PAUSE_SECONDS = 0.01

MOST_NAMED = 900
"""Values that a query names one by one: some databases take 999 parameters and no more."""

LATEST_BATCHES = 200
"""Batches by which it is judged how long one takes."""


class SqlLedger:
    """The ledger; safe to use from many processes at once."""

    def __init__(self, url: str | sa.URL, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open it, or create it; wait no longer than `busy_seconds` for others that hold it."""
        self._use(_engine(url, busy_seconds))
        try:
            with _translated():
                upgrade(self._engine)
        except BaseException:
            self.dispose()
            raise

    def _use(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._used: set[ConnectionPoolEntry] = set()
        sa.event.listen(engine, "checkout", lambda _, entry, __: self._used.add(entry))

    @property
    def ledger_id(self) -> str:
        """A name of its own, given when the ledger was created."""
        with self._transaction() as connection:
            return identity.ledger_id(connection)

    def original(self) -> str | None:
        """Return the path of the ledger that this one is a copy of, if that is still there."""
        with self._transaction() as connection:
            return identity.original_of(connection)

    def settle_down(self) -> None:
        """Make this place the ledger's home; a copy becomes a ledger of its own."""
        with self._transaction() as connection:
            identity.settle_down(connection)

    def new_mark(self) -> str:
        """Write down a mark that a table is to remember too."""
        with self._transaction() as connection:
            return identity.new_mark(connection)

    def has_mark(self, mark: str) -> bool:
        """Whether a mark that a table remembers is known: if not, this ledger is from before it was made."""
        with self._transaction() as connection:
            return identity.has_mark(connection, mark)

    def shared_locks(self, state: StateDirectory) -> Locks:
        """Return the locks that all runs with this ledger share: its server's, or those beside its file."""
        with _translated():
            return locks_for(self._engine, state)

    def intend(self, chunk: ChunkRecord, requests: Requests, *, known: Collection[str] = ()) -> None:
        """Write down a chunk, before anything of it is sent; raise if another one has claimed its questions."""
        with self._transaction() as connection:
            claims.wait_for_turn(connection, chunk.pipeline)
            claims.check(connection, chunk, requests, known)
            connection.execute(sa.insert(schema.chunks), [asdict(chunk)])
            columns.write(connection, chunk.chunk_id, requests)
            _event(connection, chunk.chunk_id, chunk.state, None)

    def move(self, chunk_id: str, *, to: State, **facts: Any) -> ChunkRecord:
        """Move a chunk to a state allowed by `NEXT`, with what was learned; raise on any other."""
        with self._transaction() as connection:
            _move(connection, chunk_id, to, facts)
            return _chunk(connection, chunk_id)

    def note(self, chunk_id: str, **facts: Any) -> ChunkRecord:
        """Write down what was learned of a chunk without moving it."""
        with self._transaction() as connection:
            connection.execute(sa.update(schema.chunks).where(schema.chunks.c.chunk_id == chunk_id).values(**facts))
            return _chunk(connection, chunk_id)

    def chunk(self, chunk_id: str) -> ChunkRecord:
        """Return one chunk; raise `LedgerError` if it is not known."""
        with self._transaction() as connection:
            return _chunk(connection, chunk_id)

    def chunks(self, pipeline: str, states: Iterable[State], *, run_id: str | None = None) -> list[ChunkRecord]:
        """Return the pipeline's chunks in these states, oldest first; of one run if given."""
        table = schema.chunks
        query = (
            sa.select(table)
            .where(table.c.pipeline == pipeline, table.c.state.in_([str(state) for state in states]))
            .order_by(table.c.chunk_id)
        )
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        with self._transaction() as connection:
            return [chunk_record(row) for row in connection.execute(query)]

    def sizes(self, pipeline: str, states: Iterable[State]) -> dict[str, int]:
        """Return how many requests each of the pipeline's chunks in these states has."""
        table = schema.chunks.c
        query = sa.select(table.chunk_id, table.n_requests).where(
            table.pipeline == pipeline, table.state.in_([str(state) for state in states])
        )
        with self._transaction() as connection:
            return {chunk_id: n for chunk_id, n in connection.execute(query)}  # noqa: C416  (rows)

    def with_batches(self, batch_ids: Collection[str]) -> list[ChunkRecord]:
        """Return the chunks that became these batches, in any order."""
        wanted = sorted(batch_ids)
        found = []
        with self._transaction() as connection:
            for start in range(0, len(wanted), MOST_NAMED):
                some = schema.chunks.c.batch_id.in_(wanted[start : start + MOST_NAMED])
                found += [chunk_record(row) for row in connection.execute(sa.select(schema.chunks).where(some))]
        return found

    def batch_ids(self) -> frozenset[str]:
        """Return every batch id this ledger knows."""
        query = sa.select(schema.chunks.c.batch_id).where(schema.chunks.c.batch_id.is_not(None))
        with self._transaction() as connection:
            return frozenset(connection.execute(query).scalars())

    def pipelines(self) -> list[str]:
        """Return the names of all pipelines that ever wrote a chunk here."""
        query = sa.select(schema.chunks.c.pipeline).distinct().order_by(schema.chunks.c.pipeline)
        with self._transaction() as connection:
            return list(connection.execute(query).scalars())

    def unknown(self, chunk_ids: Iterable[str]) -> list[str]:
        """Return those of the chunks that this ledger has never heard of."""
        with self._transaction() as connection:
            known = frozenset(connection.execute(sa.select(schema.chunks.c.chunk_id)).scalars())
        return [chunk_id for chunk_id in chunk_ids if chunk_id not in known]

    def requests(self, chunk_id: str) -> Requests:
        """Return the requests of a chunk in columns."""
        with self._transaction() as connection:
            return columns.read(connection, chunk_id)

    def claimed(self, pipeline: str, *, lacking: Collection[str] = ()) -> Claimed:
        """Return what is claimed now; questions of chunks that are `lacking` in the database count as on their way."""
        with self._transaction() as connection:
            return claims.claimed(connection, pipeline, lacking)

    def made(self, pipeline: str, questions: AbstractSet[str]) -> dict[str, Made]:
        """Return the attempts at these questions that have come to their end, whatever the database knows of them."""
        with self._transaction() as connection:
            return columns.made_in(connection, columns.chunk_ids_in(connection, pipeline, CLOSED), questions)

    def has_earlier_names(self, pipeline: str) -> bool:
        """Whether rows of the pipeline were asked under hashes of an earlier version."""
        with self._transaction() as connection:
            return columns.has_earlier_names(connection, pipeline)

    def rename(self, pipeline: str, names: Mapping[str, str]) -> None:
        """Give questions of the pipeline other hashes: the same questions, by a later version's names."""
        with self._transaction() as connection:
            columns.rename(connection, pipeline, names)

    def note_outcomes(self, chunk_id: str, outcomes: Mapping[int, str], spends: Sequence[Spend] = ()) -> None:
        """Write down what came back for some requests of a chunk, whatever stood there; add what they cost."""
        with self._transaction() as connection:
            columns.note_outcomes(connection, chunk_id, outcomes)
            spending.pay(connection, chunk_id, spends)

    def doubts(self, pipeline: str) -> list[Doubt]:
        """Return every chunk that was ever unconfirmed after its last byte had left, partition by partition."""
        with self._transaction() as connection:
            return doubts(connection, pipeline)

    def close(
        self, chunk_id: str, *, to: State, outcome: str, others: Mapping[int, str], spends: Sequence[Spend]
    ) -> None:
        """Move the chunk to its end; `outcome` holds for all of its requests, but for the `others`, by ordinal."""
        with self._transaction() as connection:
            _move(connection, chunk_id, to, {})
            columns.note_outcomes(connection, chunk_id, others, of_all=outcome)
            spending.pay(connection, chunk_id, spends)

    def spends(self, pipeline: str, *, run_id: str | None = None, place: str | None = None) -> list[Spend]:
        """Return what each partition has cost so far: in one run, or at one base URL and workspace, if given."""
        with self._transaction() as connection:
            return spending.spends(connection, pipeline, run_id=run_id, place=place)

    def unfinished(self, pipeline: str) -> dict[str | None, set[str]]:
        """Return the chunks that may still be at the API, by each partition that has rows in them."""
        found: dict[str | None, set[str]] = {}
        with self._transaction() as connection:
            carrying = columns.chunk_ids_in(connection, pipeline, OPEN)
            for chunk_id, partition_keys in columns.partition_keys_in(connection, carrying):
                for partition_key in set(partition_keys):
                    found.setdefault(partition_key, set()).add(chunk_id)
        return found

    def durations(self, pipeline: str, *, place: str) -> list[timedelta]:
        """Return how long the latest batches sent to this base URL and workspace took to end."""
        chunk = schema.chunks
        query = (
            sa.select(chunk.c.batch_created_at, chunk.c.ended_at)
            .where(
                chunk.c.pipeline == pipeline,
                chunk.c.account.startswith(f"{place} ", autoescape=True),
                chunk.c.ended_at.is_not(None),
                chunk.c.batch_created_at.is_not(None),
            )
            .order_by(chunk.c.chunk_id.desc())
            .limit(LATEST_BATCHES)
        )
        with self._transaction() as connection:
            return [ended_at - created_at for created_at, ended_at in connection.execute(query)]

    def dispose(self) -> None:
        """
        Close every connection, also one left behind by an interruption: its transaction would lock others out.

        The ledger can be used again afterwards, with new connections.
        """
        self._engine.dispose()
        while self._used:
            self._used.pop().invalidate()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with _translated(), self._engine.begin() as connection:
            yield connection


def _engine(url: str | sa.URL, busy_seconds: float) -> sa.Engine:
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
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise LedgerError(
            f"the ledger does not work ({type(cause).__name__}: {cause}). Nothing is sent without it. If it was only "
            "busy, run again; else check its server, disk space and permissions, or restore it from a backup."
        ) from None


def _move(connection: sa.Connection, chunk_id: str, to: State, facts: dict[str, Any]) -> None:
    table = schema.chunks
    allowed = [str(state) for state, following in NEXT.items() if to in following]
    moved = connection.execute(
        sa.update(table).where(table.c.chunk_id == chunk_id, table.c.state.in_(allowed)).values(state=str(to), **facts)
    )
    if moved.rowcount != 1:
        was = connection.execute(sa.select(table.c.state).where(table.c.chunk_id == chunk_id)).scalar()
        raise LedgerConflictError(chunk_id, was=was, wanted=to)
    _event(connection, chunk_id, to, facts.get("note"))


def _event(connection: sa.Connection, chunk_id: str, state: State, note: str | None) -> None:
    connection.execute(
        sa.insert(schema.events).values(chunk_id=chunk_id, at=datetime.now(UTC), state=str(state), note=note)
    )


def _chunk(connection: sa.Connection, chunk_id: str) -> ChunkRecord:
    row = connection.execute(sa.select(schema.chunks).where(schema.chunks.c.chunk_id == chunk_id)).first()
    if row is None:
        raise LedgerError(f"the ledger knows no chunk {chunk_id}")
    return chunk_record(row)


def chunk_record(row: Any) -> ChunkRecord:
    """Read one row of `schema.chunks`."""
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    del values["body_hash"]
    return ChunkRecord(**{**values, "state": State(values["state"])})
