"""Requests in columns, a line for each chunk in place of one for each request."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

IDENTITY = "q1"
"""How hashes of questions begin that were made by the package's own code."""

COLUMNS = {
    "partition_keys": "partition_key",
    "questions": "request_hash",
    "attempts": "attempt",
    "outcomes": "verdict",
    "keys": "key",
    "custom_ids": "custom_id",
}
"""Each new column with the old one whose values it takes, by ordinal."""


def upgrade() -> None:
    connection = op.get_bind()
    requests = op.create_table(
        "requests",
        sa.Column("chunk_id", sa.String(26), sa.ForeignKey("chunks.chunk_id"), primary_key=True),
        sa.Column("identity", sa.String(8), nullable=False),
        *(sa.Column(name, sa.LargeBinary, nullable=name == "outcomes") for name in COLUMNS),
    )
    for line in _lines(connection):
        connection.execute(sa.insert(requests).values(**line))
    op.drop_table("rows")


def _lines(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    rows = sa.table("rows", *map(sa.column, ("chunk_id", "ordinal", *COLUMNS.values())))
    for chunk_id in connection.execute(sa.select(rows.c.chunk_id).distinct().order_by(rows.c.chunk_id)).scalars().all():
        query = sa.select(rows).where(rows.c.chunk_id == chunk_id).order_by(rows.c.ordinal)
        found = connection.execute(query).mappings().all()
        columns = {name: [row[old] for row in found] for name, old in COLUMNS.items()}
        is_current = all(question.startswith(IDENTITY) for question in columns["questions"])
        packed = {name: _packed(values) for name, values in columns.items()}
        if not any(columns["outcomes"]):
            packed["outcomes"] = None
        yield {"chunk_id": chunk_id, "identity": IDENTITY if is_current else "", **packed}


def _packed(values: Sequence[Any]) -> bytes | None:
    return zlib.compress(orjson.dumps(values), level=1)
