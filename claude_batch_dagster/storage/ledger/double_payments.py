"""What was ever unconfirmed: whoever pays twice wants to know it."""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import Doubt, State
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
        doubt(found[chunk_id], partition_key, n_requests, costs.get((chunk_id, partition_key)))
        for chunk_id, partition_keys in requests.partition_keys_in(connection, found)
        for partition_key, n_requests in Counter(partition_keys).items()
    ]


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
