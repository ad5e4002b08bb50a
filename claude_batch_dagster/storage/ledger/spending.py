"""What the answers have cost: written down where a chunk lands, summed up by partition."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import Spend
from claude_batch_dagster.storage.ledger.schema import chunks, spend

SUMMED = ("n_requests", "input_tokens", "output_tokens", "cost_usd", "live_cost_usd")


def pay(connection: sa.Connection, chunk_id: str, spends: Sequence[Spend]) -> None:
    """Write down what a chunk cost."""
    if spends:
        connection.execute(sa.insert(spend), [{"chunk_id": chunk_id, **asdict(item)} for item in spends])


def spends(connection: sa.Connection, pipeline: str, *, run_id: str | None, place: str | None) -> list[Spend]:
    """Return what each partition has cost: in one run, or at one base URL and workspace, if given."""
    sums = [sa.func.sum(spend.c[name]).label(name) for name in SUMMED]
    unknown = [
        sa.func.count().filter(spend.c[name].is_(None)).label(f"{name}_unknown")
        for name in ("cost_usd", "live_cost_usd")
    ]
    query = (
        sa.select(spend.c.partition_key, *sums, *unknown)
        .join(chunks, chunks.c.chunk_id == spend.c.chunk_id)
        .where(chunks.c.pipeline == pipeline)
        .group_by(spend.c.partition_key)
    )
    if run_id is not None:
        query = query.where(chunks.c.run_id == run_id)
    if place is not None:
        query = query.where(chunks.c.account.startswith(f"{place} ", autoescape=True))
    return [_spend(row) for row in connection.execute(query)]


def _spend(row: Any) -> Spend:
    return Spend(
        partition_key=row.partition_key,
        n_requests=int(row.n_requests),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cost_usd=None if row.cost_usd_unknown else row.cost_usd,
        live_cost_usd=None if row.live_cost_usd_unknown else row.live_cost_usd,
    )
