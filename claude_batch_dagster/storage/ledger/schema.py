"""The tables of the ledger."""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

metadata = sa.MetaData()


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware time, kept in UTC; databases without zones hold it naive."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Strip the zone after moving to UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Put UTC back."""
        return value.replace(tzinfo=UTC) if value is not None else None


class Packed(sa.types.TypeDecorator[Sequence[Any]]):
    """One value for each request of a chunk, by ordinal: JSON, compressed by zlib."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Any) -> bytes | None:  # noqa: ARG002
        """Pack the values, fast rather than small."""
        return None if value is None else zlib.compress(orjson.dumps(value), level=1)

    def process_result_value(self, value: bytes | None, dialect: Any) -> Sequence[Any] | None:  # noqa: ARG002
        """Unpack the values."""
        return None if value is None else tuple(orjson.loads(zlib.decompress(value)))


chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("chunk_id", sa.String(26), primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("n_requests", sa.Integer, nullable=False),
    sa.Column("n_bytes", sa.BigInteger, nullable=False),
    # Of earlier versions; nobody reads it, and SQLite drops no column before 3.35.
    sa.Column("body_hash", sa.String(64), nullable=False, default=""),
    sa.Column("intended_at", UtcDateTime, nullable=False),
    sa.Column("batch_id", sa.Text, unique=True),
    sa.Column("released_at", UtcDateTime),
    sa.Column("batch_created_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("quiet_since", UtcDateTime),
    sa.Column("n_silent_listings", sa.Integer, nullable=False, default=0),
    sa.Column("note", sa.Text),
    sa.Column("max_cost_usd", sa.Float),
    sa.Column("set_free_at", UtcDateTime),
    sa.Column("looked_for_at", UtcDateTime),
    sa.Column("definition", sa.Text),
    sa.Column("root_run_id", sa.Text),
    sa.Column("backfill_id", sa.Text),
    sa.Column("budget", sa.Text),
    sa.Column("reserved_usd", sa.Float),
    sa.Column("lane", sa.String(8), nullable=False, server_default="batch"),
    sa.Column("give_up_at", UtcDateTime),
    sa.Column("given_up_at", UtcDateTime),
    sa.Index("chunks_by_state", "pipeline", "state"),
    sa.Index("chunks_by_intent", "intended_at"),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), primary_key=True),
    sa.Column("identity", sa.String(8), nullable=False),  # the version of all its questions; "" if some are earlier
    sa.Column("partition_keys", Packed, nullable=False),
    sa.Column("questions", Packed, nullable=False),
    sa.Column("attempts", Packed, nullable=False),
    sa.Column("outcomes", Packed),  # none until there is one
    sa.Column("keys", Packed, nullable=False),
    sa.Column("custom_ids", Packed, nullable=False),
)
"""A line for each chunk: a million requests are a hundred lines, written and read in columns."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("note", sa.Text),
)

spend = sa.Table(
    "spend",
    metadata,
    sa.Column("spend_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), nullable=False, index=True),
    sa.Column("partition_key", sa.Text),
    sa.Column("n_requests", sa.Integer, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_usd", sa.Float),
    sa.Column("live_cost_usd", sa.Float),
)

estimates = sa.Table(
    "estimates",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("n_requests", sa.Integer, nullable=False),
    sa.Column("usd", sa.Float, nullable=False),
    sa.Column("low_usd", sa.Float, nullable=False),
    sa.Column("high_usd", sa.Float, nullable=False),
    sa.Column("basis", sa.String(16), nullable=False),
)

marks = sa.Table(
    "marks",
    metadata,
    sa.Column("mark", sa.String(36), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)

identity = sa.Table(
    "identity",
    metadata,
    sa.Column("ledger_id", sa.String(36), primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("home", sa.Text),
)
