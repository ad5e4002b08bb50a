"""What was ever unconfirmed: whoever pays twice wants to know it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import CLOSED, OPEN, Doubt, Lane, State
from claude_batch_dagster.core.verdicts import UNHEARD
from claude_batch_dagster.storage.ledger import requests
from claude_batch_dagster.storage.ledger.schema import chunks, events, spend

UNSURE = (str(State.AMBIGUOUS), str(State.HELD))
"""Every chunk that is looked for has been in one of these."""


def doubts(connection: sa.Connection, pipeline: str) -> list[Doubt]:
    """Return the pipeline's chunks that were ever unsure, one doubt for each partition with a row in them."""
    unsure = sa.select(events.c.chunk_id).where(events.c.state.in_(UNSURE))
    query = sa.select(chunks).where(chunks.c.pipeline == pipeline, chunks.c.chunk_id.in_(unsure))
    found = {row.chunk_id: row for row in connection.execute(query)}
    costs = _costs(connection, found)
    return [
        *(
            doubt(found[chunk_id], partition_key, n_requests, costs.get((chunk_id, partition_key)))
            for chunk_id, partition_keys in requests.partition_keys_in(connection, found)
            for partition_key, n_requests in Counter(partition_keys).items()
        ),
        *_unheard(connection, pipeline),
    ]


def _unheard(connection: sa.Connection, pipeline: str) -> Iterator[Doubt]:
    """Yield what was asked live, and whose answer was lost on the way: by chunk and partition."""
    query = sa.select(chunks).where(
        chunks.c.pipeline == pipeline, chunks.c.lane == str(Lane.LIVE), chunks.c.state.in_(list(map(str, CLOSED)))
    )
    lost = dict[str, tuple[Any, list[tuple[str | None, str, int]]]]()
    for chunk in connection.execute(query).all():
        asked = requests.read(connection, chunk.chunk_id)
        words = enumerate(asked.outcomes)
        if places := [place for place, word in words if word == UNHEARD]:
            of_chunk = [(asked.partition_keys[at], asked.questions[at], asked.attempts[at]) for at in places]
            lost[chunk.chunk_id] = chunk, of_chunk
    if not lost:
        return
    questions = {question for _, of_chunk in lost.values() for _, question, _ in of_chunk}
    later = requests.made_in(connection, requests.chunk_ids_in(connection, pipeline, OPEN | CLOSED), questions)
    for chunk, of_chunk in lost.values():
        again = Counter(key for key, question, attempt in of_chunk if later[question].number > attempt)
        for partition_key, n in again.items():
            yield replace(doubt(chunk, partition_key, n, None), set_free=True, is_unheard=True)


def _costs(connection: sa.Connection, chunk_ids: Any) -> dict[tuple[str, str | None], float | None]:
    """Return what some chunks have cost by partition; None where a price is not known."""
    query = (
        sa.select(spend.c.chunk_id, spend.c.partition_key, sa.func.sum(spend.c.cost_usd))
        .where(spend.c.chunk_id.in_(list(chunk_ids)))
        .group_by(spend.c.chunk_id, spend.c.partition_key)
    )
    return {(chunk_id, partition_key): cost for chunk_id, partition_key, cost in connection.execute(query)}


def doubt(chunk: Any, partition_key: str | None, n_requests: int, cost_usd: float | None) -> Doubt:
    """Return the doubt of a chunk's line in the ledger, for one of its partitions."""
    share = None if chunk.max_cost_usd is None else chunk.max_cost_usd * n_requests / chunk.n_requests
    return Doubt(
        chunk_id=chunk.chunk_id,
        partition_key=partition_key,
        state=State(chunk.state),
        n_requests=n_requests,
        set_free=chunk.set_free_at is not None,
        max_cost_usd=share,
        cost_usd=cost_usd,
    )
