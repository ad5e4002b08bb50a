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
) -> frozenset[str]:
    """Return the parts that are others than when these partitions were asked last; write down those of today."""
    of_these = (
        f"FROM {DEFINITIONS.sql} AS d JOIN (SELECT unnest($keys::VARCHAR[]) AS key) AS k "
        'ON d.partition_key IS NOT DISTINCT FROM k.key WHERE d."table" = $target'
    )
    values = {"keys": list(partition_keys), "target": str(target)}
    found = [dict(known) for (known,) in connection.execute(f"SELECT DISTINCT parts {of_these}", values).fetchall()]
    if [dict(parts)] != found or _count(connection, of_these, values) < len(partition_keys):
        connection.execute(f"DELETE FROM {DEFINITIONS.sql} WHERE rowid IN (SELECT d.rowid {of_these})", values)
        connection.execute(
            f"INSERT INTO {DEFINITIONS.sql} SELECT $target, unnest($keys::VARCHAR[]), map($names::VARCHAR[], "
            "$digests::VARCHAR[])",
            {**values, "names": list(parts), "digests": list(parts.values())},
        )
    return frozenset(
        name for known in found for name in parts.keys() | known.keys() if known.get(name) != parts.get(name)
    )


def _count(connection: duckdb.DuckDBPyConnection, of_these: str, values: Mapping[str, object]) -> int:
    return int(connection.execute(f"SELECT count(*) {of_these}", values).fetchall()[0][0])
