"""What the answers have cost, written down where they land: beside the ledger's books, for whoever asks in SQL."""

from collections.abc import Mapping, Sequence

import duckdb

from claude_batch_dagster.core.collecting.judging import Judgeable, judge
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.collecting.results import Result, Succeeded
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Requests
from claude_batch_dagster.core.ports import place_of
from claude_batch_dagster.core.pricing import cost, price_list, uncached
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.tables import literal
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting.answers import GATHERED
from claude_batch_dagster.storage.duckdb.costs import DOLLARS, SPENDING, SPENDING_COLUMNS, TOKENS

BILL = {
    "ordinal": "INTEGER",
    "partition_key": "VARCHAR",
    "model": "VARCHAR",
    **dict.fromkeys(TOKENS, "BIGINT"),
    **dict.fromkeys(DOLLARS, "DOUBLE"),
}
"""One Message, as it is billed."""

WINDOW = 20_000
"""Answers looked at in Python at a time."""

_NAMES = "chunk_id, table_name, partition_key, model, run_id, sent_to, sent_at, prices"


def lay_out(
    connection: duckdb.DuckDBPyConnection, requests: Requests, results: Mapping[int, Result], table: str, *, lane: Lane
) -> None:
    """Lay out in a temporary table what the Messages among some results of a chunk, by ordinal, are billed."""
    messages = [(place, result) for place, result in sorted(results.items()) if isinstance(result, Succeeded)]
    lines = [_bill(place, requests, message, lane) for place, message in messages]
    columns = zip(*lines, strict=True) if lines else [()] * len(BILL)
    hand_over(connection, table, BILL, dict(zip(BILL, columns, strict=True)))


def _bill(place: int, requests: Requests, message: Succeeded, lane: Lane) -> tuple[object, ...]:
    usage = message.usage
    price, without = cost(message.model, usage), cost(message.model, uncached(usage))
    return (
        place,
        requests.partition_keys[place],
        message.model,
        usage.total_input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        price and price.at(lane),
        price and price.live_usd,
        without and without.at(lane),
    )


def billed(chunk: ChunkRecord, table: str) -> str:
    """Return a query of what Messages of a chunk are billed that stand in a temporary table."""
    same = {
        "chunk_id": chunk.chunk_id,
        "table_name": chunk.pipeline,
        "run_id": chunk.run_id,
        "sent_to": place_of(chunk.account),
        "sent_at": chunk.intended_at.isoformat(),
        "prices": price_list(),
    }
    shared = ", ".join(f"{literal(value)}::{SPENDING_COLUMNS[name]} AS {name}" for name, value in same.items())
    return f"SELECT {', '.join(BILL)}, {shared} FROM {table}"


def land(connection: duckdb.DuckDBPyConnection, bills: Sequence[str], judged: str | None, schema: OutputSchema) -> None:
    """
    Write down what was billed, within the transaction that lands the answers.

    `bills` are queries as `billed` returns them; `judged` is one of the verdicts on what rows show of it now. A chunk
    that lands again changes nothing, unless it brings more Messages than before: then all of them are added up anew.
    """
    if not bills:
        return
    connection.execute(f"CREATE OR REPLACE TEMP VIEW _cb_bills AS {' UNION ALL '.join(bills)}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _cb_new_bills AS SELECT chunk_id FROM _cb_bills GROUP BY chunk_id "
        f"HAVING count(*) > coalesce((SELECT sum(n_requests) FROM {SPENDING.sql} AS s "
        "WHERE s.chunk_id = _cb_bills.chunk_id), 0)"
    )
    if connection.execute("FROM _cb_new_bills LIMIT 1").fetchone() is None:
        return
    _find_unusable(connection, judged, schema)
    connection.execute(f"DELETE FROM {SPENDING.sql} WHERE chunk_id IN (FROM _cb_new_bills)")
    sums = ", ".join(f"sum({name}) AS {name}" for name in TOKENS)
    known = ", ".join(f"CASE WHEN count({name}) = count(*) THEN sum({name}) END AS {name}" for name in DOLLARS)
    connection.execute(
        f"INSERT INTO {SPENDING.sql} BY NAME SELECT {_NAMES}, count(*) AS n_requests, "
        f"count(*) - count(cost_usd) AS n_unpriced, {sums}, {known}, count(u.ordinal) AS n_unusable, "
        "CASE WHEN count(cost_usd) FILTER (u.ordinal IS NOT NULL) = count(u.ordinal) "
        "THEN coalesce(sum(cost_usd) FILTER (u.ordinal IS NOT NULL), 0) END AS unusable_cost_usd "
        "FROM _cb_bills AS b SEMI JOIN _cb_new_bills USING (chunk_id) "
        f"LEFT JOIN _cb_unusable AS u USING (chunk_id, ordinal) GROUP BY {_NAMES}"
    )


def _find_unusable(connection: duckdb.DuckDBPyConnection, judged: str | None, schema: OutputSchema) -> None:
    """
    Find the Messages that are no usable answer by today's output model: truncated, refused, invalid.

    Most were judged for the rows that ask for them, and are not judged again. Those for which nobody asks any more
    are judged here.
    """
    verdicts = f"SELECT chunk_id, ordinal, status FROM ({judged})" if judged else "SELECT '', 0, '' WHERE false"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _cb_shown AS SELECT * "
        f"FROM ({verdicts}) AS v(chunk_id, ordinal, status) SEMI JOIN _cb_new_bills USING (chunk_id)"
    )
    rest = connection.execute(
        "SELECT chunk_id, ordinal, detail, explanation, text, sanitized "
        f"FROM {GATHERED} SEMI JOIN _cb_new_bills USING (chunk_id) ANTI JOIN _cb_shown USING (chunk_id, ordinal) "
        f"WHERE came = '{Came.SUCCEEDED}'"
    )
    unusable = list[tuple[str, int]]()
    while window := rest.fetchmany(WINDOW):
        unusable += [
            (chunk_id, ordinal)
            for chunk_id, ordinal, *told in window
            if not _is_usable(Judgeable(Came.SUCCEEDED, *told), schema)
        ]
    types = {"chunk_id": "VARCHAR", "ordinal": "INTEGER"}
    columns = zip(*unusable, strict=True) if unusable else [(), ()]
    hand_over(connection, "_cb_unusable", types, dict(zip(types, columns, strict=True)))
    connection.execute(
        f"INSERT INTO _cb_unusable SELECT chunk_id, ordinal FROM _cb_shown WHERE status <> '{Verdict.SUCCEEDED}'"
    )


def _is_usable(message: Judgeable, schema: OutputSchema) -> bool:
    try:
        return judge(message, schema).verdict is Verdict.SUCCEEDED
    except Exception:  # noqa: BLE001  (a validator of the user's, of an answer that no row shows: nothing may hang on it)
        return False
