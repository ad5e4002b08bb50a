"""Questions that were asked again although they had an answer, for a person has said so: each by a name of its own."""

from collections.abc import Mapping

import duckdb

from claude_batch_dagster.core.asking.question_hash import LENGTH, VERSION
from claude_batch_dagster.core.tables import TableName, literal
from claude_batch_dagster.storage.duckdb.asking.questions import SCHEMA
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS

REFRESHES = TableName(SCHEMA, "refreshes")

COLUMNS = {"refreshed": "VARCHAR", "question": "VARCHAR"}
"""The name under which it was asked again, and the question itself."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table where it is absent."""
    definitions = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {REFRESHES.sql} ({definitions})")


def refreshed(column: str, token: str) -> str:
    """Return the SQL of a question's other name: the same as `core.asking.question_hash.refreshed` makes."""
    return f"left('{VERSION}' || sha256({column} || ':' || {literal(token)}), {LENGTH})"


def write(connection: duckdb.DuckDBPyConnection, names: Mapping[str, str]) -> None:
    """Write down other names of questions, beside those in `_cb_aliases`, within the transaction of the connection."""
    hand_over(connection, "_cb_names", COLUMNS, {"refreshed": list(names), "question": list(names.values())})
    connection.execute(
        f"INSERT INTO {REFRESHES.sql} BY NAME SELECT DISTINCT refreshed, question FROM "
        f"(FROM _cb_aliases UNION ALL BY NAME FROM _cb_names) AS n ANTI JOIN {REFRESHES.sql} AS r USING (refreshed)"
    )


def answers(connection: duckdb.DuckDBPyConnection) -> str:
    """
    Return the source of what came back for each question, under whatever name it was asked.

    Its column `_cb_refreshed` says whether a person wanted that answer in place of an earlier one.
    """
    if connection.execute(f"SELECT 1 FROM {REFRESHES.sql} LIMIT 1").fetchone() is None:
        return f"(SELECT *, false AS _cb_refreshed FROM {ANSWERS.sql})"
    return (
        f"(SELECT *, false AS _cb_refreshed FROM {ANSWERS.sql} UNION ALL BY NAME "
        f"SELECT a.* REPLACE (r.question AS question), true AS _cb_refreshed FROM {ANSWERS.sql} AS a "
        f"JOIN {REFRESHES.sql} AS r ON a.question = r.refreshed)"
    )
