"""Whether a chunk may be sent: asked in the very transaction that writes it down, and claims its rows."""

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import OPEN, UNCONFIRMED, ChunkRecord, State
from claude_batch_dagster.core.ports import place_of
from claude_batch_dagster.errors import ClaimConflictError
from claude_batch_dagster.storage.locks import key_of
from claude_batch_dagster.storage.schema import chunks, rows

_MINE, _OTHER = rows.alias("mine"), rows.alias("other")


def wait_for_turn(connection: sa.Connection, pipeline: str) -> None:
    """Let one intent of a pipeline at a time into the ledger, to its commit; SQLite lets one writer in anyway."""
    if connection.dialect.name == "postgresql":
        key = {"key": key_of(f"intent {pipeline}")}
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), key)


def check(connection: sa.Connection, chunk: ChunkRecord) -> None:
    """
    Raise `ClaimConflictError` if a chunk that was just written must not be sent, for what another run did meanwhile.

    The lock of the pipeline should make this impossible; but a server may end the session that holds it.
    """
    unconfirmed = sa.select(chunks.c.chunk_id, chunks.c.account).where(
        chunks.c.pipeline == chunk.pipeline,
        chunks.c.chunk_id != chunk.chunk_id,
        chunks.c.state.in_([str(state) for state in UNCONFIRMED]),
    )
    for chunk_id, account in connection.execute(unconfirmed):
        if place_of(account) == place_of(chunk.account):
            raise ClaimConflictError(chunk_id, "it is not known yet whether that was accepted")
    claimed_by = connection.execute(_claimed(chunk)).scalar()
    if claimed_by is not None:
        raise ClaimConflictError(claimed_by, "it carries, or has answered, rows of this one")


def _claimed(chunk: ChunkRecord) -> sa.Select[str]:
    """
    Find another chunk with a question of this one that must not be asked now, all rows at once.

    On its way; or come to its end in an attempt that was not known when this one was counted.
    """
    taken = sa.or_(
        chunks.c.state.in_([str(state) for state in OPEN]),
        sa.and_(
            chunks.c.state.in_([str(State.APPLIED), str(State.LOST)]),
            _OTHER.c.attempt >= _MINE.c.attempt,
        ),
    )
    return (
        sa.select(_OTHER.c.chunk_id)
        .join_from(_MINE, _OTHER, _OTHER.c.request_hash == _MINE.c.request_hash)
        .join(chunks, chunks.c.chunk_id == _OTHER.c.chunk_id)
        .where(
            _MINE.c.chunk_id == chunk.chunk_id,
            _OTHER.c.chunk_id != chunk.chunk_id,
            chunks.c.pipeline == chunk.pipeline,
            taken,
        )
        .limit(1)
    )
