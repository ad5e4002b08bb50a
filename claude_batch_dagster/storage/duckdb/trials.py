"""Trials: read what candidates have answered to gold rows, and write down what came of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

import duckdb

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.reporting.gold import GoldSource
from claude_batch_dagster.core.reporting.trials import TrialLine, TriedRow, TriedRows
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.tables import TableName, literal, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb import gold
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.projection import KEPT

KINDS = {
    **dict.fromkeys(("candidate", "model", "prompt", "effort", "field", "note", "run_id"), "VARCHAR"),
    **dict.fromkeys(("gold_rows", "answers", "right_answers", "more_rows", "held_out_rows"), "BIGINT"),
    **dict.fromkeys(("is_current", "passes", "named", "on_frontier"), "BOOLEAN"),
    "tried_at": "TIMESTAMP WITH TIME ZONE",
}
"""Types of the columns of a trial's table, by name; all others are numbers with a point."""

UNANSWERED = "unanswered"
"""Stands for the verdict on a row that shows the answer to an earlier question, for there is none to today's."""

N_FACTS = 5
"""Columns before those of the fields, as `_joined` has them."""

Costs = Mapping[str, float | None]
"""US dollars by question; None: not known."""


def tried(
    connection: duckdb.DuckDBPyConnection, target: TableName, source: GoldSource, *, by_partition: bool
) -> TriedRows:
    """Return all gold rows as one candidate has answered them; raise `GoldError` for some that cannot be used."""
    present, named = gold.check(connection, source)
    is_weighed = source.weight.lower() in present
    gold.write(connection, target, source, named, weighed=is_weighed, by_partition=by_partition)
    costs = _costs(connection, target)
    rows = {
        row[0]: _tried_row(row, source, tuple(named), costs)
        for row in _joined(connection, target, source, by_partition=by_partition)
    }
    if is_weighed:
        gold.check_weights(source, (row.weight for row in rows.values() if row.status is not None))
    usd = None if None in costs.values() else sum(one for one in costs.values() if one is not None)
    return TriedRows(fields=tuple(named), rows=rows, is_weighed=is_weighed, usd=usd)


def _joined(
    connection: duckdb.DuckDBPyConnection, target: TableName, source: GoldSource, *, by_partition: bool
) -> list[tuple[Any, ...]]:
    """Return, a gold row each: key, how many rows it is, verdict, question, weight, and fields as `gold.write` does."""
    _, named = gold.check(connection, source)
    names = [f"_cb_k{n}" for n in range(len(source.key) + by_partition)]
    verdict = f"CASE WHEN starts_with(t.error, {literal(KEPT)}) THEN '{UNANSWERED}' ELSE t.status END"
    key = f"to_json([{', '.join(f'CAST({name} AS VARCHAR)' for name in names)}])::VARCHAR"
    query = (
        f"SELECT {key} AS _cb_key, count(t.status), any_value({verdict}), any_value(t.request_hash), "
        f"any_value(_cb_weight), {gold.beside(named)} FROM _cb_gold AS g LEFT JOIN {target.sql} AS t "
        f"ON {gold.same_row(source.key, by_partition=by_partition)} GROUP BY _cb_key ORDER BY _cb_key"
    )
    return connection.execute(query).fetchall()


def _tried_row(row: tuple[Any, ...], source: GoldSource, named: Sequence[str], costs: Costs) -> TriedRow:
    _, n_rows, status, question, weight, *_ = row
    at = {name: N_FACTS + 4 * n for n, name in enumerate(named)}
    is_answered = status == Verdict.SUCCEEDED
    return TriedRow(
        status=status if n_rows == 1 else None,
        weight=float(weight),
        cost_usd=costs.get(question, 0.0),
        answers={name: row[place] if is_answered else None for name, place in at.items()},
        truths={
            name: row[place + 1]
            for name, place in at.items()
            if gold.counts(row, place, nullable=name in source.nullable)
        },
    )


def _costs(connection: duckdb.DuckDBPyConnection, target: TableName) -> Costs:
    """
    Return what all Messages cost that came back for each question of a table, whoever had them sent.

    At batch prices and without the cache, as if each had been asked alone: so what candidates cost can be compared.
    """
    priced = "model, input_tokens, output_tokens, cost_usd"
    messages = connection.execute(
        f"WITH asked AS (SELECT DISTINCT request_hash AS question, custom_id FROM {target.sql} "
        "WHERE request_hash IS NOT NULL), "
        f"own AS (SELECT question, {priced} FROM {ANSWERS.sql} SEMI JOIN asked USING (question) "
        f"WHERE came = '{Came.SUCCEEDED}'), "
        # What a person has had asked again stands under another name.
        f"again AS (SELECT s.question, {', '.join(f'a.{name}' for name in priced.split(', '))} FROM {ANSWERS.sql} AS a "
        f"JOIN asked AS s USING (custom_id) WHERE came = '{Came.SUCCEEDED}') "
        "FROM own UNION ALL FROM (FROM again ANTI JOIN own USING (question))"
    ).fetchall()
    found: dict[str, float | None] = defaultdict(float)
    for question, *message in messages:
        before, usd = found[question], _price(*message)
        found[question] = None if before is None or usd is None else before + usd
    return found


def _price(model: str, input_tokens: int | None, output_tokens: int | None, cost_usd: float | None) -> float | None:
    """Return what a Message costs in a batch; what it did cost, if nobody has counted its tokens."""
    if cost_usd is None or input_tokens is None or output_tokens is None:
        return cost_usd
    price = cost(model, Usage(input_tokens=input_tokens, output_tokens=output_tokens))
    return price.batch_usd if price else None


def n_tables(connection: duckdb.DuckDBPyConnection, schema: str, ending: str) -> int:
    """Return how many tables of a schema have a name that ends like this."""
    query = (
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? "
        "AND ends_with(table_name, ?)"
    )
    return int(connection.execute(query, [schema, ending]).fetchall()[0][0])


def keep(connection: duckdb.DuckDBPyConnection, table: TableName, lines: Sequence[TrialLine]) -> None:
    """Write what came of a trial over what stood there."""
    names = [one.name for one in fields(TrialLine)]
    columns = ", ".join(f"{name} {KINDS.get(name, 'DOUBLE')}" for name in names)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.schema)}")
    connection.begin()
    connection.execute(f"CREATE OR REPLACE TABLE {table.sql} ({columns})")
    connection.executemany(f"INSERT INTO {table.sql} VALUES ({', '.join('?' for _ in names)})", [*map(astuple, lines)])
    connection.commit()
