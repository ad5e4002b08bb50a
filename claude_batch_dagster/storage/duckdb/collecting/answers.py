"""What came back for each question: facts, whoever asked, and whatever they are asked for today."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import duckdb

from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.core.retries import Came, Past, Retry, retry_rule
from claude_batch_dagster.core.sending.chunks import NONCE_LENGTH
from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over

ANSWERS = TableName("claude_batch", "answers")

GATHERED = "_cb_gathered"
"""A temporary view of what is to be written down next."""

COLUMNS = {
    "question": "VARCHAR",
    "chunk_id": "VARCHAR",
    "ordinal": "INTEGER",
    "attempt": "INTEGER",
    "came": "VARCHAR",
    "text": "VARCHAR",
    "sanitized": "BOOLEAN",
    "detail": "VARCHAR",
    "explanation": "VARCHAR",
    "model": "VARCHAR",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cost_usd": "DOUBLE",
    "batch_id": "VARCHAR",
    "custom_id": "VARCHAR",
    "answered_at": "TIMESTAMP WITH TIME ZONE",
}


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table of answers, unless it is there."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(ANSWERS.schema)}")
    definitions = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {ANSWERS.sql} ({definitions})")


def lay_out(connection: duckdb.DuckDBPyConnection, records: Sequence[AnswerRecord], table: str) -> None:
    """Lay out what came back in a temporary table."""
    names = [field.name for field in fields(AnswerRecord)]
    columns = zip(*map(attrgetter(*names), records), strict=True) if records else [()] * len(names)
    values: dict[str, Sequence[Any]] = dict(zip(names, columns, strict=True))
    values["answered_at"] = [at and at.isoformat() for at in values["answered_at"]]
    hand_over(connection, table, COLUMNS, values)


def land(connection: duckdb.DuckDBPyConnection, queries: Iterable[str]) -> None:
    """
    Write down what queries of temporary tables yield, within the transaction of the connection.

    Doing it again changes nothing. What came later takes the place of what was there, except that nothing takes the
    place of a Message.
    """
    typed = ", ".join(f"{name}::{kind} AS {name}" for name, kind in COLUMNS.items())
    together = " UNION ALL ".join(f"SELECT {typed} FROM ({query})" for query in queries)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {GATHERED} AS {together}")
    there = f"chunk_id BETWEEN (SELECT min(chunk_id) FROM {GATHERED}) AND (SELECT max(chunk_id) FROM {GATHERED})"
    connection.execute(
        f"DELETE FROM {ANSWERS.sql} WHERE {there} AND came <> '{Came.SUCCEEDED}' "
        f"AND (chunk_id, ordinal) IN (SELECT (chunk_id, ordinal) FROM {GATHERED})"
    )
    connection.execute(
        f"INSERT INTO {ANSWERS.sql} BY NAME SELECT f.* FROM {GATHERED} AS f "
        f"ANTI JOIN (SELECT chunk_id, ordinal FROM {ANSWERS.sql} WHERE {there}) AS a USING (chunk_id, ordinal)"
    )


def take_over(connection: duckdb.DuckDBPyConnection, target: TableName, fields: Collection[str]) -> None:
    """Write down the good answers that a table shows which was filled before answers were kept; by field of output."""
    text = f"to_json(struct_pack({', '.join(f'{quoted(name)} := {quoted(name)}' for name in fields)}))::VARCHAR"
    nonce, ordinal = f"left(custom_id, {NONCE_LENGTH})", f"substring(custom_id, {NONCE_LENGTH + 2}, 5)"
    connection.execute(
        f"INSERT INTO {ANSWERS.sql} BY NAME SELECT request_hash AS question, {nonce} AS chunk_id, "
        f"try_cast({ordinal} AS INTEGER) AS ordinal, coalesce(attempt, 1) AS attempt, '{Came.SUCCEEDED}' AS came, "
        f"{text} AS text, false AS sanitized, coalesce(stop_reason, 'end_turn') AS detail, model, input_tokens, "
        f"output_tokens, cost_usd, batch_id, custom_id, answered_at FROM {target.sql} AS t "
        f"ANTI JOIN {ANSWERS.sql} AS a USING (custom_id) "
        f"WHERE status = '{Came.SUCCEEDED}' AND request_hash IS NOT NULL AND custom_id IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY custom_id ORDER BY cost_usd DESC NULLS LAST) = 1"
    )


def landed(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return of how many requests of each chunk it is written down what came back."""
    return dict(connection.execute(f"SELECT chunk_id, count(*) FROM {ANSWERS.sql} GROUP BY chunk_id").fetchall())


def pasts(connection: duckdb.DuckDBPyConnection, questions: str, run_chunks: Collection[str]) -> dict[str, Past]:
    """
    Return what came back so far for questions without a usable answer.

    `questions` is a query of them, in a column `question`; `run_chunks` are the chunks that the present run has sent.
    """
    found = connection.execute(
        f"SELECT question, max(attempt), count(*) FILTER (came IN ('{Came.SUCCEEDED}', '{Came.UNHEARD}')), "
        f"count(*) FILTER (came = '{Came.SUCCEEDED}' AND detail = 'max_tokens'), "
        "count(*) FILTER (list_contains($run_chunks::VARCHAR[], chunk_id)), "
        "list(DISTINCT struct_pack(came := came, detail := detail)) "
        f"FROM {ANSWERS.sql} SEMI JOIN {questions} USING (question) GROUP BY question",
        {"run_chunks": list(run_chunks)},
    ).fetchall()
    return {
        question: Past(
            attempt=attempt,
            n_paid=n_paid,
            n_truncated=n_truncated,
            n_this_run=n_this_run,
            was_unheard=any(one["came"] == Came.UNHEARD for one in came),
            final=any(retry_rule(Came(one["came"]), one["detail"]) is Retry.NEVER for one in came),
            may_turn_up=any(one["came"] in {Came.WITHHELD, Came.GONE} for one in came),
        )
        for question, attempt, n_paid, n_truncated, n_this_run, came in found
    }
