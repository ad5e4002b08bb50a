"""Chunks, and what became of them: a row for each, and an event for each move."""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import NEXT, ChunkRecord, Lane, Learned, State
from claude_batch_dagster.errors import LedgerConflictError, LedgerError
from claude_batch_dagster.storage.ledger import schema

MOST_NAMED = 900
"""Values that a query names one by one: some databases take 999 parameters and no more."""

LATEST_BATCHES = 200
"""Batches by which it is judged how long one takes."""


def write(connection: sa.Connection, chunk: ChunkRecord) -> None:
    """Write down a new chunk."""
    connection.execute(sa.insert(schema.chunks), [asdict(chunk)])
    _event(connection, chunk.chunk_id, chunk.state, None)


def move(connection: sa.Connection, chunk_id: str, to: State, learned: Learned) -> None:
    """Move a chunk to a state allowed by `NEXT`, with what was learned; raise `LedgerConflictError` on any other."""
    table = schema.chunks
    allowed = [str(state) for state, following in NEXT.items() if to in following]
    moved = connection.execute(
        sa.update(table)
        .where(table.c.chunk_id == chunk_id, table.c.state.in_(allowed))
        .values(state=str(to), **learned)
    )
    if moved.rowcount != 1:
        was = connection.execute(sa.select(table.c.state).where(table.c.chunk_id == chunk_id)).scalar()
        raise LedgerConflictError(chunk_id, was=was, wanted=to)
    _event(connection, chunk_id, to, learned.get("note"))


def _event(connection: sa.Connection, chunk_id: str, state: State, note: str | None) -> None:
    connection.execute(
        sa.insert(schema.events).values(chunk_id=chunk_id, at=datetime.now(UTC), state=str(state), note=note)
    )


def note(connection: sa.Connection, chunk_id: str, learned: Learned) -> None:
    """Write down what was learned of a chunk."""
    connection.execute(sa.update(schema.chunks).where(schema.chunks.c.chunk_id == chunk_id).values(**learned))


def read(connection: sa.Connection, chunk_id: str) -> ChunkRecord:
    """Return one chunk; raise `LedgerError` if it is not known."""
    row = connection.execute(sa.select(schema.chunks).where(schema.chunks.c.chunk_id == chunk_id)).first()
    if row is None:
        raise LedgerError(f"the ledger knows no chunk {chunk_id}")
    return chunk_record(row)


def find(
    connection: sa.Connection, pipeline: str, states: Iterable[State], *, run_id: str | None = None
) -> list[ChunkRecord]:
    """Return the pipeline's chunks in these states, oldest first; of one run if given."""
    table = schema.chunks
    query = sa.select(table).where(_in_states(pipeline, states)).order_by(table.c.chunk_id)
    if run_id is not None:
        query = query.where(table.c.run_id == run_id)
    return [chunk_record(row) for row in connection.execute(query)]


def gives_up_at(connection: sa.Connection, pipeline: str, root_run_id: str) -> datetime | None:
    """Return when rows of a run, or of one that it repeats, are not to wait any longer; None if none is told."""
    table = schema.chunks.c
    query = sa.select(sa.func.min(table.give_up_at)).where(table.pipeline == pipeline, table.root_run_id == root_run_id)
    return connection.execute(query).scalar()


def sizes(connection: sa.Connection, pipeline: str, states: Iterable[State]) -> dict[str, int]:
    """Return how many requests each of the pipeline's chunks in these states has."""
    query = sa.select(schema.chunks.c.chunk_id, schema.chunks.c.n_requests).where(_in_states(pipeline, states))
    return {chunk_id: n for chunk_id, n in connection.execute(query)}  # noqa: C416  (rows)


def with_batches(connection: sa.Connection, batch_ids: Collection[str]) -> list[ChunkRecord]:
    """Return the chunks that became these batches, in any order."""
    wanted, found = sorted(batch_ids), []
    for start in range(0, len(wanted), MOST_NAMED):
        some = schema.chunks.c.batch_id.in_(wanted[start : start + MOST_NAMED])
        found += [chunk_record(row) for row in connection.execute(sa.select(schema.chunks).where(some))]
    return found


def batch_ids(connection: sa.Connection) -> frozenset[str]:
    """Return every batch id there is."""
    query = sa.select(schema.chunks.c.batch_id).where(schema.chunks.c.batch_id.is_not(None))
    return frozenset(connection.execute(query).scalars())


def chunk_ids(connection: sa.Connection) -> frozenset[str]:
    """Return every chunk there is."""
    return frozenset(connection.execute(sa.select(schema.chunks.c.chunk_id)).scalars())


def pipelines(connection: sa.Connection) -> list[str]:
    """Return the names of all pipelines that ever wrote a chunk."""
    query = sa.select(schema.chunks.c.pipeline).distinct().order_by(schema.chunks.c.pipeline)
    return list(connection.execute(query).scalars())


def durations(connection: sa.Connection, pipeline: str, place: str) -> list[timedelta]:
    """Return how long the latest batches sent to this base URL and workspace took to end."""
    chunk = schema.chunks
    query = (
        sa.select(chunk.c.batch_created_at, chunk.c.ended_at)
        .where(
            chunk.c.pipeline == pipeline,
            chunk.c.lane == str(Lane.BATCH),
            chunk.c.account.startswith(f"{place} ", autoescape=True),
            chunk.c.ended_at.is_not(None),
            chunk.c.batch_created_at.is_not(None),
        )
        .order_by(chunk.c.chunk_id.desc())
        .limit(LATEST_BATCHES)
    )
    return [ended_at - created_at for created_at, ended_at in connection.execute(query)]


def _in_states(pipeline: str, states: Iterable[State]) -> sa.ColumnElement[bool]:
    table = schema.chunks.c
    return sa.and_(table.pipeline == pipeline, table.state.in_([str(state) for state in states]))


def chunk_record(row: Any) -> ChunkRecord:
    """Read one row of `schema.chunks`."""
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    del values["body_hash"]
    return ChunkRecord(**{**values, "state": State(values["state"]), "lane": Lane(values["lane"])})
