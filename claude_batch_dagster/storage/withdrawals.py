"""Which answers are still to come, and which of them nobody asks for any more."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import OPEN, State
from claude_batch_dagster.storage.schema import chunks, rows

FEW = 500
"""So many partitions are told to the database; of more it gives all rows."""


def awaited(pipeline: str, partition_keys: AbstractSet[str | None], since: datetime) -> sa.Select[Any]:
    """Select the rows in flight, and those of chunks intended after `since` and let go; perhaps of more partitions."""
    named = [key for key in partition_keys if key is not None]
    those: sa.ColumnElement[bool] = rows.c.partition_key.in_(named)
    if None in partition_keys:
        those = sa.or_(those, rows.c.partition_key.is_(None))
    return (
        sa.select(rows, chunks.c.state)
        .join(chunks, chunks.c.chunk_id == rows.c.chunk_id)
        .where(
            chunks.c.pipeline == pipeline,
            those if len(named) <= FEW else sa.true(),
            sa.or_(
                chunks.c.state.in_([str(state) for state in OPEN]),
                sa.and_(chunks.c.state == str(State.UNSEEN), chunks.c.intended_at > since),
            ),
        )
    )


def withdraw(connection: sa.Connection, withdrawn: Mapping[tuple[str, int], bool]) -> None:
    """Note of rows, by chunk and ordinal, whether their document has another question by now, or none."""
    if not withdrawn:
        return
    noted = (
        sa.update(rows)
        .where(rows.c.chunk_id == sa.bindparam("of_chunk"), rows.c.ordinal == sa.bindparam("at_ordinal"))
        .values(withdrawn=sa.bindparam("is_withdrawn"))
    )
    connection.execute(
        noted,
        [
            {"of_chunk": chunk_id, "at_ordinal": ordinal, "is_withdrawn": is_withdrawn}
            for (chunk_id, ordinal), is_withdrawn in sorted(withdrawn.items())  # locks in the order of others
        ],
    )
