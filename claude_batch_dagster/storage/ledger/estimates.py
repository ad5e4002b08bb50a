"""What runs were expected to cost, and what requests like theirs did cost: by which the next one is estimated."""

from dataclasses import asdict
from datetime import UTC, datetime

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import OPEN, TRAVELLING, Answered, ChunkRecord, Expected, Lane, State
from claude_batch_dagster.storage.ledger.chunks import chunk_record
from claude_batch_dagster.storage.ledger.schema import chunks, estimates, spend

LATEST_CHUNKS = 50
"""Chunks by which it is judged what a request costs."""

LATEST_RUNS = 3
"""Runs whose estimates are compared with what they came to."""


def answered(connection: sa.Connection, pipeline: str, definition: str, place: str) -> list[Answered]:
    """Return what the latest chunks with this definition came to, at one base URL and workspace."""
    query = (
        sa.select(
            chunks.c.n_requests,
            chunks.c.n_bytes,
            sa.func.sum(spend.c.n_requests).label("n_answered"),
            sa.func.sum(spend.c.input_tokens).label("input_tokens"),
            sa.func.sum(spend.c.output_tokens).label("output_tokens"),
            sa.func.sum(spend.c.cost_usd).label("cost_usd"),
        )
        .join(spend, spend.c.chunk_id == chunks.c.chunk_id)
        .where(
            chunks.c.pipeline == pipeline,
            chunks.c.definition == definition,
            chunks.c.lane == str(Lane.BATCH),  # others cost twice as much
            _at(place),
        )
        .group_by(chunks.c.chunk_id, chunks.c.n_requests, chunks.c.n_bytes)
        .having(sa.func.count() == sa.func.count(spend.c.cost_usd), sa.func.sum(spend.c.n_requests) > 0)
        .order_by(chunks.c.chunk_id.desc())
        .limit(LATEST_CHUNKS)
    )
    return [
        Answered(
            n_requests=int(row.n_answered),
            n_bytes=round(row.n_bytes * int(row.n_answered) / row.n_requests),
            input_tokens=int(row.input_tokens),
            output_tokens=int(row.output_tokens),
            cost_usd=float(row.cost_usd),
        )
        for row in connection.execute(query)
    ]


def asked_with(connection: sa.Connection, pipeline: str, definition: str, place: str) -> list[ChunkRecord]:
    """Return the latest chunks with this definition that were accepted, at one base URL and workspace."""
    query = (
        sa.select(chunks)
        .where(
            chunks.c.pipeline == pipeline,
            chunks.c.definition == definition,
            chunks.c.state.in_([str(state) for state in TRAVELLING | {State.APPLIED}]),
            _at(place),
        )
        .order_by(chunks.c.chunk_id.desc())
        .limit(LATEST_CHUNKS)
    )
    return [chunk_record(row) for row in connection.execute(query)]


def expect(connection: sa.Connection, run_id: str, pipeline: str, expected: Expected) -> None:
    """Write down what a run is expected to cost, in place of what stood there."""
    connection.execute(sa.delete(estimates).where(estimates.c.run_id == run_id, estimates.c.pipeline == pipeline))
    values = {"run_id": run_id, "pipeline": pipeline, "at": datetime.now(UTC), **asdict(expected)}
    connection.execute(sa.insert(estimates).values(**values))


def misses(connection: sa.Connection, pipeline: str, place: str) -> list[float]:
    """Return how far the last estimates were off, latest first: 0.1 for a request that cost a tenth more."""
    ours = sa.and_(chunks.c.pipeline == pipeline, chunks.c.run_id == estimates.c.run_id, _at(place))
    open_ones = chunks.alias()
    unfinished = (
        sa.select(open_ones.c.chunk_id)
        .where(
            open_ones.c.pipeline == pipeline,
            open_ones.c.run_id == estimates.c.run_id,
            open_ones.c.state.in_([str(state) for state in OPEN | {State.UNSEEN}]),
        )
        .exists()
    )
    query = (
        sa.select(
            (estimates.c.usd / estimates.c.n_requests).label("expected"),
            sa.func.sum(spend.c.cost_usd).label("usd"),
            sa.func.sum(spend.c.n_requests).label("n"),
        )
        .join(chunks, ours)
        .join(spend, spend.c.chunk_id == chunks.c.chunk_id)
        .where(estimates.c.pipeline == pipeline, estimates.c.usd > 0, ~unfinished)
        .group_by(estimates.c.run_id, estimates.c.at, estimates.c.usd, estimates.c.n_requests)
        .having(sa.func.count() == sa.func.count(spend.c.cost_usd), sa.func.sum(spend.c.n_requests) > 0)
        .order_by(estimates.c.at.desc())
        .limit(LATEST_RUNS)
    )
    return [float(row.usd) / int(row.n) / row.expected - 1 for row in connection.execute(query)]


def _at(place: str) -> sa.ColumnElement[bool]:
    return chunks.c.account.startswith(f"{place} ", autoescape=True)
