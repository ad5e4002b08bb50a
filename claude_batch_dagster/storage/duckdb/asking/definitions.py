"""What each partition was asked about last, part by part: so that a run can say why it asks again."""

from collections.abc import Mapping, Sequence

import duckdb

from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking.questions import SCHEMA

DEFINITIONS = TableName(SCHEMA, "definitions")

COLUMNS = '"table" VARCHAR, partition_key VARCHAR, parts MAP(VARCHAR, VARCHAR)'
"""Of each part of a definition a digest: no prompt is kept."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table where it is absent."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {DEFINITIONS.sql} ({COLUMNS})")


def changed(
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    partition_keys: Sequence[str | None],
    parts: Mapping[str, str],
) -> frozenset[str] | None:
    """
    Return the parts that are others than when these partitions were answered last; None if nobody knows of any.

    Partitions of which nobody has written down anything have no answers yet, but for those of earlier versions.
    """
    rows = connection.execute(
        f"SELECT parts, count(*) {_OF_THESE} GROUP BY parts", _values(target, partition_keys)
    ).fetchall()
    if not rows:
        return None
    return frozenset(
        name
        for known in (dict(found) for found, _ in rows)
        for name in parts.keys() | known.keys()
        if known.get(name) != parts.get(name)
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    partition_keys: Sequence[str | None],
    parts: Mapping[str, str],
) -> None:
    """Write down the parts that these partitions are answered by, in place of what stood there."""
    values = _values(target, partition_keys)
    connection.execute(f"DELETE FROM {DEFINITIONS.sql} WHERE rowid IN (SELECT d.rowid {_OF_THESE})", values)
    connection.execute(
        f"INSERT INTO {DEFINITIONS.sql} SELECT $target, unnest($keys::VARCHAR[]), map($names::VARCHAR[], "
        "$digests::VARCHAR[])",
        {**values, "names": list(parts), "digests": list(parts.values())},
    )


_OF_THESE = (
    f"FROM {DEFINITIONS.sql} AS d JOIN (SELECT unnest($keys::VARCHAR[]) AS key) AS k "
    'ON d.partition_key IS NOT DISTINCT FROM k.key WHERE d."table" = $target'
)


def _values(target: TableName, partition_keys: Sequence[str | None]) -> dict[str, object]:
    return {"keys": list(partition_keys), "target": str(target)}
