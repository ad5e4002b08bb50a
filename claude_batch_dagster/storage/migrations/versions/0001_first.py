"""The first tables."""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    identity = op.create_table(
        "identity",
        sa.Column("ledger_id", sa.String(36), primary_key=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    op.bulk_insert(identity, [{"ledger_id": str(uuid.uuid4()), "created_at": now}])
    op.create_table(
        "chunks",
        sa.Column("chunk_id", sa.String(26), primary_key=True),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("n_requests", sa.Integer, nullable=False),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("intended_at", sa.DateTime, nullable=False),
        sa.Column("batch_id", sa.Text, unique=True),
        sa.Column("released_at", sa.DateTime),
        sa.Column("batch_created_at", sa.DateTime),
        sa.Column("ended_at", sa.DateTime),
        sa.Column("quiet_since", sa.DateTime),
        sa.Column("n_silent_listings", sa.Integer, nullable=False),
        sa.Column("note", sa.Text),
    )
    op.create_index("chunks_by_state", "chunks", ["pipeline", "state"])
    op.create_table(
        "rows",
        sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True),
        sa.Column("partition_key", sa.Text),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("custom_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(24)),
    )
    op.create_index("rows_by_request", "rows", ["request_hash"])
    op.create_table(
        "events",
        sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), nullable=False, index=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text),
    )
    op.create_table(
        "spend",
        sa.Column("spend_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), nullable=False, index=True),
        sa.Column("partition_key", sa.Text),
        sa.Column("n_requests", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", sa.Float),
        sa.Column("live_cost_usd", sa.Float),
    )
