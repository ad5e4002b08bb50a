"""Money: reserved in the transaction that writes down a chunk, and settled when its results have landed."""

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import CLOSED, Allowance, ChunkRecord, State
from claude_batch_dagster.core.verdicts import MAYBE_PAID
from claude_batch_dagster.errors import BudgetError
from claude_batch_dagster.storage.ledger.locks import key_of
from claude_batch_dagster.storage.ledger.schema import chunks, requests, spend


def wait_for_turn(connection: sa.Connection) -> None:
    """Let one intent at a time look at the money of this ledger, to its commit; SQLite lets one writer in anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key_of("money")})


def committed(connection: sa.Connection, allowance: Allowance) -> float:
    """Return what was spent of an allowance, and what is reserved, in US dollars."""
    conditions = [chunks.c.account.startswith(f"{allowance.place} ", autoescape=True)]
    wanted = {
        chunks.c.pipeline: allowance.pipeline,
        chunks.c.budget: allowance.budget,
        chunks.c.root_run_id: allowance.root_run_id,
        chunks.c.backfill_id: allowance.backfill_id,
    }
    conditions += [column == value for column, value in wanted.items() if value is not None]
    if allowance.since is not None:
        conditions.append(chunks.c.intended_at >= allowance.since)
    reserved = sa.select(sa.func.coalesce(sa.func.sum(chunks.c.reserved_usd), 0.0)).where(*conditions)
    spent = (
        sa.select(sa.func.coalesce(sa.func.sum(spend.c.cost_usd), 0.0))
        .join(chunks, chunks.c.chunk_id == spend.c.chunk_id)
        .where(*conditions)
    )
    return float(connection.execute(reserved).scalar_one()) + float(connection.execute(spent).scalar_one())


def check(connection: sa.Connection, chunk: ChunkRecord, allowance: Allowance) -> None:
    """Raise `BudgetError` if a chunk can cost more than is left of an allowance."""
    wait_for_turn(connection)
    left = allowance.usd - committed(connection, allowance)
    if chunk.max_cost_usd is None or chunk.max_cost_usd > left:
        raise BudgetError(chunk.max_cost_usd, left_usd=left)


def settle(connection: sa.Connection, chunk_id: str) -> None:
    """
    Release what was reserved for a chunk that has come to its end, but for results that may have been paid for.

    Those are withheld or gone, or of a price that nobody knows.
    """
    known = chunks.c.chunk_id == chunk_id
    state, most = connection.execute(sa.select(chunks.c.state, chunks.c.max_cost_usd).where(known)).one()
    if State(state) not in CLOSED | {State.REFUSED} or most is None:
        return
    outcomes = connection.execute(sa.select(requests.c.outcomes).where(requests.c.chunk_id == chunk_id)).scalar()
    share = sum(word in MAYBE_PAID for word in outcomes) / len(outcomes) if outcomes else 0.0
    unpriced = sa.select(spend.c.spend_id).where(spend.c.chunk_id == chunk_id, spend.c.cost_usd.is_(None)).limit(1)
    if connection.execute(unpriced).first() is not None:
        share = 1.0
    connection.execute(sa.update(chunks).where(known).values(reserved_usd=share * most))
