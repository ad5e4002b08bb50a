"""Shares of labels as gold rows correct them: kept for charts, as a view beside each table."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import datetime

import duckdb

from claude_batch_dagster.core.reporting.gold import LabelShare
from claude_batch_dagster.core.tables import TableName, literal, quoted
from claude_batch_dagster.storage.duckdb.warehouse import exists

SHARES = TableName("claude_batch", "label_shares")

KINDS = {
    "field": "VARCHAR",
    "partition_key": "VARCHAR",
    "label": "VARCHAR",
    "answers": "BIGINT",
    "answered_share": "DOUBLE",
    "share": "DOUBLE",
    "share_low": "DOUBLE",
    "share_high": "DOUBLE",
    "is_corrected": "BOOLEAN",
    "gold_rows": "BIGINT",
}
"""The columns of the view."""


def view_of(table: TableName) -> TableName:
    """Return the view of a table's shares."""
    return TableName(table.schema, f"{table.table}_shares")


def keep(
    connection: duckdb.DuckDBPyConnection, table: TableName, shares: Sequence[LabelShare], *, now: datetime
) -> None:
    """Write the shares of a table over those of before, and make its view, unless something else has its name."""
    names = [one.name for one in fields(LabelShare)]
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(SHARES.schema)}")
    columns = ", ".join(f"{name} {kind}" for name, kind in KINDS.items())
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {SHARES.sql} (table_name VARCHAR, {columns}, measured_at TIMESTAMP WITH TIME ZONE)"
    )
    connection.begin()
    connection.execute(f"DELETE FROM {SHARES.sql} WHERE table_name = $name", {"name": str(table)})
    if shares:
        marks = ", ".join("?" for _ in range(len(names) + 2))
        connection.executemany(
            f"INSERT INTO {SHARES.sql} (table_name, {', '.join(names)}, measured_at) VALUES ({marks})",
            [(str(table), *astuple(one), now) for one in shares],
        )
    connection.commit()
    view = view_of(table)
    if not exists(connection, view):
        connection.execute(
            f"CREATE OR REPLACE VIEW {view.sql} AS SELECT {', '.join(KINDS)}, measured_at FROM {SHARES.sql} "
            f"WHERE table_name = {literal(str(table))}"
        )
