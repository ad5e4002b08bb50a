"""What each row of an output table asks now: written in the very opening of the database that reads upstream."""

from collections import Counter
from collections.abc import Mapping, Sequence

import duckdb

from claude_batch_dagster.core.asking.question_hash import digest
from claude_batch_dagster.core.tables import MAX_NAME_BYTES, TableName, quoted

SCHEMA = "claude_batch"

COLUMNS = {"partition_key": "VARCHAR", "request_hash": "VARCHAR", "error": "VARCHAR"}
"""Columns beside the key: the question, or why there is none. They are named as in the output table: no key is."""


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


def forget(connection: duckdb.DuckDBPyConnection, target: TableName, partition_keys: Sequence[str | None]) -> None:
    """Delete the questions of partitions, within the transaction of the connection."""
    table = questions_of(target).sql
    if partition_keys:
        connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT q.rowid FROM {table} AS q JOIN "
            "(SELECT unnest(?::VARCHAR[]) AS gone) AS g ON q.partition_key IS NOT DISTINCT FROM g.gone)",
            [list(partition_keys)],
        )
