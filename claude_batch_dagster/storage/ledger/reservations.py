"""Whether a chunk may be sent: asked in the very transaction that writes it down, and claims its questions."""

from collections.abc import Collection

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import CLOSED, OPEN, UNCONFIRMED, ChunkRecord, Claimed, Requests, State
from claude_batch_dagster.core.ports import place_of
from claude_batch_dagster.errors import ClaimConflictError
from claude_batch_dagster.storage.ledger import requests
from claude_batch_dagster.storage.ledger.locks import key_of
from claude_batch_dagster.storage.ledger.schema import chunks


def wait_for_turn(connection: sa.Connection, pipeline: str) -> None:
    """Let one intent of a pipeline at a time into the ledger, to its commit; SQLite lets one writer in anyway."""
    if connection.dialect.name == "postgresql":
        key = {"key": key_of(f"intent {pipeline}")}
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), key)


def claimed(connection: sa.Connection, pipeline: str, lacking: Collection[str]) -> Claimed:
    """Return what the chunks of a pipeline have claimed; questions of those that are `lacking` are on their way."""
    states = {chunk_id: State(state) for chunk_id, state in connection.execute(_claiming(pipeline))}
    carrying = [chunk_id for chunk_id, state in states.items() if state in OPEN or chunk_id in lacking]
    return Claimed(requests.questions_in(connection, carrying), frozenset(states))


def check(connection: sa.Connection, chunk: ChunkRecord, sent: Requests, known: Collection[str]) -> None:
    """
    Raise `ClaimConflictError` if a chunk must not be sent, for what another run did meanwhile.

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
    attempts = dict(zip(sent.questions, sent.attempts, strict=True))
    for chunk_id, state in connection.execute(_claiming(chunk.pipeline)).all():
        if chunk_id not in known:
            others = requests.read(connection, chunk_id)
            made = zip(others.questions, others.attempts, strict=True)
            if any(_claims(State(state), number, attempts.get(question)) for question, number in made):
                raise ClaimConflictError(chunk_id, "it carries, or has answered, rows of this one")


def _claiming(pipeline: str) -> sa.Select[str, str]:
    """Select the chunks of a pipeline that carry questions, or have come to their end with them, oldest first."""
    return (
        sa.select(chunks.c.chunk_id, chunks.c.state)
        .where(chunks.c.pipeline == pipeline, chunks.c.state.in_([str(state) for state in OPEN | CLOSED]))
        .order_by(chunks.c.chunk_id)
    )


def _claims(state: State, made: int, attempt: int | None) -> bool:
    """Whether an attempt forbids another: on its way; or at its end, and not known when the other was counted."""
    return attempt is not None and (state in OPEN or made >= attempt)
