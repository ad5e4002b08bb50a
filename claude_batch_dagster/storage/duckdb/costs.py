"""What answers have cost, and what was saved, as one view: for SQL, the command line and the reports of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date

import duckdb

from claude_batch_dagster.core.reporting.costs import CostLine, CostReport, PartitionCost
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.storage.duckdb.warehouse import exists

COSTS = TableName("claude_batch", "costs")

SPENDING = TableName("claude_batch", "spending")
"""A row for each chunk, partition and model: dollars are NULL where the price of one of its requests is not known."""

TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
DOLLARS = ("cost_usd", "live_cost_usd", "uncached_cost_usd")

SPENDING_COLUMNS = {
    "chunk_id": "VARCHAR",
    "table_name": "VARCHAR",
    "partition_key": "VARCHAR",
    "model": "VARCHAR",
    "run_id": "VARCHAR",
    "sent_to": "VARCHAR",
    "sent_at": "TIMESTAMP WITH TIME ZONE",
    "prices": "VARCHAR",
    "n_requests": "BIGINT",
    "n_unpriced": "BIGINT",
    **dict.fromkeys(TOKENS, "BIGINT"),
    **dict.fromkeys(DOLLARS, "DOUBLE"),
    "n_unusable": "BIGINT",
    "unusable_cost_usd": "DOUBLE",
}

REUSED = TableName("claude_batch", "reused_answers")
"""How many rows each run had not to pay for, by partition."""

REUSED_COLUMNS = (
    "run_id VARCHAR, table_name VARCHAR, partition_key VARCHAR, sent_to VARCHAR, reused_at TIMESTAMP WITH TIME ZONE, "
    "n_answered BIGINT, n_shared BIGINT"
)

BY: Mapping[str, Mapping[str, str]] = {
    "day": {"day": "day::VARCHAR"},
    "table": {"table": "table_name"},
    "model": {"model": "model"},
    "partition": {"table": "table_name", "partition": "partition_key"},
    "run": {"run": "run_id"},
}
"""What costs can be added up by, each with its columns: partitions of two tables are not the same."""

FIGURES = tuple(field.name for field in fields(CostLine) if field.name not in {"group", "sent_to"})


def known_sum(name: str) -> str:
    """Return the SQL of a sum of dollars that is NULL where one of them is: rather no figure than a wrong one."""
    return f"CASE WHEN count({name}) = count(*) THEN sum({name}) END"


VIEW = f"""
CREATE OR REPLACE VIEW {COSTS.sql} AS
WITH means AS (
    SELECT table_name, sent_to, sum(cost_usd) / sum(n_requests) AS mean_usd
    FROM {SPENDING.sql} WHERE cost_usd IS NOT NULL GROUP BY ALL
), reused AS (
    SELECT r.*,
        CASE n_answered WHEN 0 THEN 0 ELSE n_answered * mean_usd END AS answered_usd,
        CASE n_shared WHEN 0 THEN 0 ELSE n_shared * mean_usd END AS shared_usd
    FROM {REUSED.sql} AS r LEFT JOIN means USING (table_name, sent_to)
), lines AS (
    SELECT s.*, 0 AS n_answered, 0 AS n_shared, 0 AS answered_usd, 0 AS shared_usd FROM {SPENDING.sql} AS s
    UNION ALL BY NAME
    SELECT * RENAME (reused_at AS sent_at), 0 AS n_requests, 0 AS n_unpriced, 0 AS n_unusable, 0 AS input_tokens,
        0 AS output_tokens, 0 AS cache_read_tokens, 0 AS cache_write_tokens, 0 AS cost_usd, 0 AS live_cost_usd,
        0 AS uncached_cost_usd, 0 AS unusable_cost_usd FROM reused
)
SELECT (sent_at AT TIME ZONE 'UTC')::DATE AS day, table_name, model, partition_key, run_id, sent_to,
    sum(n_requests)::BIGINT AS requests,
    sum(n_unusable)::BIGINT AS unusable_requests,
    sum(n_unpriced)::BIGINT AS unpriced_requests,
    sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens,
    sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
    sum(cache_write_tokens)::BIGINT AS cache_write_tokens,
    sum(n_answered)::BIGINT AS answered_rows,
    sum(n_shared)::BIGINT AS shared_rows,
    {known_sum("cost_usd")} AS paid_usd,
    {known_sum("live_cost_usd")} AS live_usd,
    {known_sum("live_cost_usd - cost_usd")} AS saved_by_batch_usd,
    {known_sum("answered_usd")} AS saved_by_increments_usd,
    {known_sum("shared_usd")} AS saved_by_sharing_usd,
    {known_sum("uncached_cost_usd - cost_usd")} AS saved_by_caching_usd,
    {known_sum("unusable_cost_usd")} AS wasted_usd,
    string_agg(DISTINCT prices, ', ' ORDER BY prices) AS prices
FROM lines GROUP BY day, table_name, model, partition_key, run_id, sent_to
"""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what is absent, and the view as this version has it."""
    definitions = ", ".join(f"{name} {kind}" for name, kind in SPENDING_COLUMNS.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {SPENDING.sql} ({definitions})")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {REUSED.sql} ({REUSED_COLUMNS})")
    connection.execute(VIEW)


def by_partition(
    connection: duckdb.DuckDBPyConnection, target: TableName, sent_to: str
) -> dict[str | None, PartitionCost]:
    """Return where the money of each partition of a table has gone that was spent at one place."""
    if not exists(connection, SPENDING):
        return {}
    found = connection.execute(
        f"SELECT partition_key, sum(n_requests), {known_sum('unusable_cost_usd')}, "
        f"{known_sum('uncached_cost_usd - cost_usd')}, "
        "CASE WHEN sum(cache_read_tokens + cache_write_tokens) > 0 "
        "THEN sum(cache_read_tokens) / sum(input_tokens) END "
        f"FROM {SPENDING.sql} WHERE table_name = ? AND sent_to = ? GROUP BY partition_key",
        [str(target), sent_to],
    ).fetchall()
    return {
        key: PartitionCost(n_requests=int(n), wasted_usd=wasted, saved_by_caching_usd=saved, cache_read_share=share)
        for key, n, wasted, saved, share in found
    }


def is_known(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database has the view: one that only an earlier version has written to lacks it."""
    query = (
        "SELECT 1 FROM duckdb_views() "
        "WHERE database_name = current_database() AND schema_name = ? AND view_name = ? LIMIT 1"
    )
    return connection.execute(query, [COSTS.schema, COSTS.table]).fetchone() is not None


def report(connection: duckdb.DuckDBPyConnection, *, by: str, since: date | None) -> CostReport:
    """Add up what the view says, since a day if one is given."""
    connection.execute(
        f"CREATE TEMP TABLE _cb_costs AS FROM {COSTS.sql} WHERE coalesce(day >= $since, true)", {"since": since}
    )
    listed = connection.execute("SELECT DISTINCT unnest(string_split(prices, ', ')) AS one FROM _cb_costs ORDER BY one")
    prices = [name for (name,) in listed.fetchall()]
    return CostReport(
        by=list(BY[by]),
        lines=_lines(connection, list(BY[by].values())),
        totals=_lines(connection, []),
        prices=prices,
    )


def _lines(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> list[CostLine]:
    sums = ", ".join(known_sum(name) if name.endswith("_usd") else f"sum({name})::BIGINT" for name in FIGURES)
    groups = "".join(f"{column}, " for column in columns)
    found = connection.execute(
        f"SELECT {groups}sent_to, {sums} FROM _cb_costs GROUP BY ALL ORDER BY sent_to, {groups}sent_to"
    ).fetchall()
    n = len(columns)
    return [CostLine(group=row[:n], sent_to=row[n], **dict(zip(FIGURES, row[n + 1 :], strict=True))) for row in found]
