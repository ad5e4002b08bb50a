"""What each row of an output table asks now: written in the very opening of the database that reads upstream."""

from collections import Counter
from collections.abc import Mapping, Sequence

import duckdb

from claude_batch_dagster.core.asking.question_hash import digest
from claude_batch_dagster.core.tables import MAX_NAME_BYTES, TableName, quoted
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over

SCHEMA = "claude_batch"

LEFT_OUT = "_cb_left_out"

COLUMNS = {"partition_key": "VARCHAR", "request_hash": "VARCHAR", "error": "VARCHAR", LEFT_OUT: "VARCHAR"}
"""
Columns beside the key: the question, or why there is none; and why the last run has not sent it, if it has not.

They are named as no key is: as in the output table, or as nobody names a column.
"""


Columns = list[tuple[str, str]]
"""Names and types."""


def questions_of(target: TableName) -> TableName:
    """Return the name of the table of questions of an output table."""
    name = str(target)
    return TableName(SCHEMA, name if len(name.encode()) <= MAX_NAME_BYTES else digest(name))


def prepare(connection: duckdb.DuckDBPyConnection, target: TableName, key_types: Mapping[str, str]) -> bool:
    """
    Create the table of questions, unless it is there with these key columns; return whether it held no question.

    Key columns of another type are given that of today, where it holds what they hold. Else, and with other columns,
    nobody could compare its rows with those of today: it is made again, partition by partition.
    """
    table = questions_of(target)
    is_new = True
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(SCHEMA)}")
    columns = {**key_types, **COLUMNS}
    found = _columns_of(connection, table)
    wanted = [
        (name, connection.execute(f"SELECT typeof(NULL::{kind})").fetchall()[0][0]) for name, kind in columns.items()
    ]
    if found and LEFT_OUT not in dict(found):
        connection.execute(f"ALTER TABLE {table.sql} ADD COLUMN {LEFT_OUT} {COLUMNS[LEFT_OUT]}")
        found = _columns_of(connection, table)
    if found:
        is_new = connection.execute(f"SELECT 1 FROM {table.sql} LIMIT 1").fetchone() is None
    if found and not _adapt(connection, table, found, wanted):
        connection.execute(f"DROP TABLE {table.sql}")
    definitions = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table.sql} ({definitions})")
    return is_new


def _adapt(connection: duckdb.DuckDBPyConnection, table: TableName, found: Columns, wanted: Columns) -> bool:
    """Give the columns the types that are wanted; return whether that can be done."""
    if [name for name, _ in found] != [name for name, _ in wanted]:
        return False
    try:
        for (name, kind), (_, new) in zip(found, wanted, strict=True):
            if kind != new:
                connection.execute(f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(name)} SET DATA TYPE {new}")
    except (duckdb.ConversionException, duckdb.BinderException):
        return False
    return True


def _columns_of(connection: duckdb.DuckDBPyConnection, table: TableName) -> Columns:
    query = (
        "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = ? AND table_name = ? ORDER BY column_index"
    )
    return connection.execute(query, [table.schema, table.table]).fetchall()


def counted(connection: duckdb.DuckDBPyConnection, target: TableName) -> Counter[str | None]:
    """Return how many rows an output table must hold, by partition: one for each different key upstream."""
    query = f"SELECT partition_key, count(*) FROM {questions_of(target).sql} GROUP BY partition_key"
    return Counter(dict(connection.execute(query).fetchall()))


def leave_out(
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    partition_keys: Sequence[str | None],
    reasons: Mapping[str, str],
) -> None:
    """Write down, within the transaction of the connection, why questions of these partitions were not sent."""
    table = questions_of(target).sql
    given = {"question": list(reasons), "reason": list(reasons.values())}
    hand_over(connection, "_cb_reasons", dict.fromkeys(given, "VARCHAR"), given)
    connection.execute(
        f"UPDATE {table} AS q SET {LEFT_OUT} = r.reason FROM _cb_reasons AS r WHERE q.request_hash = r.question "
        "AND EXISTS (SELECT 1 FROM (SELECT unnest(?::VARCHAR[]) AS key) AS k "
        "WHERE k.key IS NOT DISTINCT FROM q.partition_key)",
        [list(partition_keys)],
    )


def forget(connection: duckdb.DuckDBPyConnection, target: TableName, partition_keys: Sequence[str | None]) -> None:
    """Delete the questions of partitions, within the transaction of the connection."""
    table = questions_of(target).sql
    if partition_keys:
        connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT q.rowid FROM {table} AS q JOIN "
            "(SELECT unnest(?::VARCHAR[]) AS gone) AS g ON q.partition_key IS NOT DISTINCT FROM g.gone)",
            [list(partition_keys)],
        )
