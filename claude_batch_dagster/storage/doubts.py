"""The query for what was ever unconfirmed: whoever pays twice wants to know it."""

from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import Doubt, State
from claude_batch_dagster.storage.schema import chunks, events, rows, spend

UNSURE = (str(State.AMBIGUOUS), str(State.HELD))
"""Every chunk that is looked for has been in one of these."""


def doubtful(pipeline: str) -> sa.Select[Any]:
    """Select the pipeline's chunks that were ever unsure, a line for each partition with a row in them."""
    unsure = sa.select(events.c.chunk_id).where(events.c.state.in_(UNSURE))
    cost = (
        sa.select(sa.func.sum(spend.c.cost_usd))
        .where(spend.c.chunk_id == chunks.c.chunk_id, spend.c.partition_key.is_not_distinct_from(rows.c.partition_key))
        .scalar_subquery()
    )
    return (
        sa.select(
            chunks.c.chunk_id,
            chunks.c.state,
            chunks.c.set_free_at,
            chunks.c.max_cost_usd,
            chunks.c.n_requests.label("n_in_all"),
            rows.c.partition_key,
            sa.func.count().label("n_requests"),
            cost.label("cost_usd"),
        )
        .join(rows, rows.c.chunk_id == chunks.c.chunk_id)
        .where(chunks.c.pipeline == pipeline, chunks.c.chunk_id.in_(unsure))
        .group_by(chunks.c.chunk_id, rows.c.partition_key)
        .order_by(chunks.c.chunk_id)
    )


def doubt(row: Any) -> Doubt:
    """Read one line of `doubtful`."""
    share = None if row.max_cost_usd is None else row.max_cost_usd * row.n_requests / row.n_in_all
    return Doubt(
        chunk_id=row.chunk_id,
        partition_key=row.partition_key,
        state=State(row.state),
        n_requests=row.n_requests,
        set_free=row.set_free_at is not None,
        max_cost_usd=share,
        cost_usd=row.cost_usd,
    )
