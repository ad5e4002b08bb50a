"""Partitions whose rows were all asked again, for a person has said so: since then they ask questions of their own."""

from collections.abc import Mapping, Sequence

import duckdb

from claude_batch_dagster.core.asking.question_hash import LENGTH, VERSION
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.asking.questions import SCHEMA
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over

REFRESHES = TableName(SCHEMA, "refreshes")

COLUMNS = '"table" VARCHAR, partition_key VARCHAR, token VARCHAR'

TOKENS = {"_cb_refreshed": "VARCHAR", "token": "VARCHAR"}
"""Columns of the temporary table of the tokens of a run's partitions."""

REFRESHED = f"left('{VERSION}' || sha256(r.request_hash || ':' || k.token), {LENGTH})"
"""The SQL of a question as it is asked since: the same as `core.asking.question_hash.refreshed` makes."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table where it is absent."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {REFRESHES.sql} ({COLUMNS})")


def tokens_of(
    connection: duckdb.DuckDBPyConnection, target: TableName, partition_keys: Sequence[str | None]
) -> dict[str | None, str]:
    """Return the token of each of these partitions that were refreshed once."""
    wanted = set(partition_keys)
    query = f'SELECT partition_key, token FROM {REFRESHES.sql} WHERE "table" = ?'
    return {key: token for key, token in connection.execute(query, [str(target)]).fetchall() if key in wanted}


def lay_out(connection: duckdb.DuckDBPyConnection, tokens: Mapping[str | None, str]) -> None:
    """Lay out the tokens in a temporary table."""
    hand_over(connection, "_cb_tokens", TOKENS, {"_cb_refreshed": list(tokens), "token": list(tokens.values())})


def write(
    connection: duckdb.DuckDBPyConnection, target: TableName, partition_keys: Sequence[str | None], token: str
) -> None:
    """Write down that these partitions are refreshed, within the transaction of the connection."""
    values = {"target": str(target), "keys": list(partition_keys)}
    connection.execute(
        f"DELETE FROM {REFRESHES.sql} WHERE rowid IN (SELECT r.rowid FROM {REFRESHES.sql} AS r "
        "JOIN (SELECT unnest($keys::VARCHAR[]) AS key) AS k ON r.partition_key IS NOT DISTINCT FROM k.key "
        'WHERE r."table" = $target)',
        values,
    )
    connection.execute(
        f"INSERT INTO {REFRESHES.sql} SELECT $target, unnest($keys::VARCHAR[]), $token", {**values, "token": token}
    )
