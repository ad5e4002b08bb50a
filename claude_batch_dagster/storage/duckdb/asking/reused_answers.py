"""What a run had not to pay for, since the answers were there: written down for the view of costs."""

from datetime import datetime

import duckdb

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.costs import REUSED
from claude_batch_dagster.storage.duckdb.warehouse import exists


def note(  # noqa: PLR0913  (one for each column)
    connection: duckdb.DuckDBPyConnection,
    *,
    run_id: str,
    target: TableName,
    sent_to: str,
    asked: Asked,
    now: datetime,
) -> None:
    """
    Write down what a run had not to pay for.

    What it has said once stands: where a run tries again, it finds answers that it has paid for itself.
    """
    keys = [key for key in asked.n_keys if asked.n_answered[key] or asked.n_shared[key]]
    if not keys or not exists(connection, REUSED):
        return  # the latter: dropped since it began
    columns = {"partition_key": "VARCHAR", "n_answered": "BIGINT", "n_shared": "BIGINT"}
    counts = [asked.n_answered[key] for key in keys], [asked.n_shared[key] for key in keys]
    hand_over(connection, "_cb_reused", columns, dict(zip(columns, (keys, *counts), strict=True)))
    connection.execute(
        f"INSERT INTO {REUSED.sql} BY NAME SELECT n.*, $run_id AS run_id, $target AS table_name, $sent_to AS sent_to, "
        "$now::TIMESTAMP WITH TIME ZONE AS reused_at FROM _cb_reused AS n "
        f"WHERE NOT EXISTS (FROM {REUSED.sql} AS r WHERE r.run_id = $run_id AND r.table_name = $target "
        "AND r.partition_key IS NOT DISTINCT FROM n.partition_key)",
        {"run_id": run_id, "target": str(target), "sent_to": sent_to, "now": now.isoformat()},
    )
