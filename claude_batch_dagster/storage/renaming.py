"""Questions that were written down under hashes of an earlier version."""

from collections.abc import Mapping

import sqlalchemy as sa

from claude_batch_dagster.core.identity import NEXT_VERSION, VERSION
from claude_batch_dagster.storage.schema import chunks, rows


def has_earlier_names(connection: sa.Connection, pipeline: str) -> bool:
    """Whether a row of the pipeline has such a hash."""
    of_pipeline = sa.select(chunks.c.chunk_id).where(chunks.c.pipeline == pipeline)
    # As ranges, for which there is an index: this is asked by every run, of all that was ever sent.
    earlier = sa.or_(rows.c.request_hash < VERSION, rows.c.request_hash >= NEXT_VERSION)
    found = sa.select(rows.c.chunk_id).where(earlier, rows.c.chunk_id.in_(of_pipeline)).limit(1)
    return connection.execute(found).first() is not None


def rename(connection: sa.Connection, pipeline: str, names: Mapping[str, str]) -> None:
    """Write the hashes of today in place of the earlier ones, which are the keys of `names`."""
    of_pipeline = sa.select(chunks.c.chunk_id).where(chunks.c.pipeline == pipeline)
    renamed = (
        sa.update(rows)
        .where(rows.c.request_hash == sa.bindparam("earlier"), rows.c.chunk_id.in_(of_pipeline))
        .values(request_hash=sa.bindparam("today"))
    )
    connection.execute(renamed, [{"earlier": earlier, "today": today} for earlier, today in sorted(names.items())])
