"""The output table, made from what each row asks now and what came back for that: the one way for an answer."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import orjson
from pydantic import ValidationError

from claude_batch_dagster.core.collecting.judging import COMPLETE, Judgeable, judge
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.tables import TableName, listed, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.asking import refreshes
from claude_batch_dagster.storage.duckdb.asking.questions import LEFT_OUT, questions_of
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.output_table import mark_landed, service_tier

WINDOW = 20_000
"""Judgements handed to DuckDB at a time."""

GOOD = f"status = '{Verdict.SUCCEEDED}'"

TOLD = ("came", "detail", "explanation", "text", "sanitized")
"""All that a verdict depends on."""

JUDGED = {"place": "BIGINT", "status": "VARCHAR", "error": "VARCHAR", "answer": "VARCHAR"}
"""What is said of it, with the answer's fields as JSON."""

COSTS = ("input_tokens", "output_tokens", "cost_usd")
"""What an answer cost: of several rows that show it, one shows this."""

KEPT = "this answer is kept from an earlier request; the newer one is "
"""What a row says whose question has no usable answer, and whose earlier one had."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """
    Makes rows of one output table.

    An answer belongs to every row that asks its question now; a good answer is never replaced by a failure. It may be
    made again at any time, by any run: what is right already stays as it is.
    """

    target: TableName
    key_types: Mapping[str, str]
    """SQL types of the key columns."""
    schema: OutputSchema

    def project(self, connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str | None]) -> None:
        """Bring the rows of these partitions up to date, within the transaction of the connection."""
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_scope AS SELECT unnest(?::VARCHAR[]) AS partition_key",
            [list(partition_keys)],
        )
        self._drop_removed(connection)
        scope = "JOIN _cb_scope AS s ON q.partition_key IS NOT DISTINCT FROM s.partition_key"
        told = (
            f"(q.error IS NOT NULL OR q.{LEFT_OUT} IS NOT NULL OR t.status IS NOT NULL "
            f"OR q.request_hash IN (SELECT question FROM {refreshes.answers(connection)}))"
        )
        self._show(connection, scope, told)

    def show(self, connection: duckdb.DuckDBPyConnection, chunk_ids: Sequence[str]) -> str | None:
        """
        Bring the rows up to date, of whatever partition, that ask now what these chunks have answered.

        Returns a query of what was judged for that, if anything was, with the verdicts.
        """
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_scope AS SELECT question FROM {ANSWERS.sql} "
            "WHERE chunk_id BETWEEN $first AND $last AND chunk_id IN (SELECT unnest($chunk_ids::VARCHAR[]))",
            {"first": min(chunk_ids), "last": max(chunk_ids), "chunk_ids": list(chunk_ids)},
        )
        judged = self._show(connection, "SEMI JOIN _cb_scope AS s ON q.request_hash = s.question")
        mark_landed(connection, self.target, chunk_ids)
        return judged

    def kept(
        self, connection: duckdb.DuckDBPyConnection, on_their_way: Callable[[], Collection[str]]
    ) -> tuple[list[tuple[str | None, int, float]], int]:
        """
        Return how many rows of the projected partitions show the answer to an earlier question, and what that cost.

        And how many show a good answer at all, where there are such rows. Those are left out of which the question of
        today can never be asked, or is `on_their_way`.
        """
        rows = (
            f"FROM {self.target.sql} AS t JOIN _cb_scope AS s ON t.partition_key IS NOT DISTINCT FROM s.partition_key "
            f"JOIN {questions_of(self.target).sql} AS q ON {self._same_row('t', 'q')} "
            f"WHERE t.{GOOD} AND t.error IS NOT NULL AND t.request_hash IS DISTINCT FROM q.request_hash "
            f"AND q.error IS NULL AND q.request_hash NOT IN (SELECT question FROM {ANSWERS.sql})"
        )
        if connection.execute(f"SELECT 1 {rows} LIMIT 1").fetchone() is None:
            return [], 0
        hand_over(connection, "_cb_flying", {"question": "VARCHAR"}, {"question": list(on_their_way())})
        good = (
            f"SELECT count(*) FROM {self.target.sql} AS t JOIN _cb_scope AS s "
            f"ON t.partition_key IS NOT DISTINCT FROM s.partition_key WHERE t.{GOOD}"
        )
        found = connection.execute(
            f"SELECT t.partition_key, count(*), coalesce(sum(t.cost_usd), 0) {rows} "
            "AND q.request_hash NOT IN (SELECT question FROM _cb_flying) GROUP BY t.partition_key"
        ).fetchall()
        return found, int(connection.execute(good).fetchall()[0][0])

    def _show(self, connection: duckdb.DuckDBPyConnection, scope: str, told: str = "TRUE") -> str | None:
        """Bring the rows in a scope up to date, of which there is something to be told; return what was judged."""
        self._find_due(connection, scope, told)
        if not _any(connection, "_cb_due LIMIT 1"):
            return None
        judged = self._judge(connection)
        self._choose(connection, judged)
        self._replace(connection)
        return judged

    # --- what is due -------------------------------------------------------------------------------

    def _drop_removed(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Delete rows that nobody asks anything about: they have left upstream."""
        connection.execute(
            f"DELETE FROM {self.target.sql} WHERE rowid IN (SELECT t.rowid FROM {self.target.sql} AS t "
            "JOIN _cb_scope AS s ON t.partition_key IS NOT DISTINCT FROM s.partition_key "
            f"ANTI JOIN {questions_of(self.target).sql} AS q ON {self._same_row('t', 'q')})"
        )

    def _find_due(self, connection: duckdb.DuckDBPyConnection, scope: str, told: str) -> None:
        """Find the rows that do not show a good answer to what they ask, or say something beside it."""
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_due AS SELECT q.*, coalesce(t.{GOOD}, false) AS _cb_stands, "
            "coalesce(t.request_hash = q.request_hash, false) AS _cb_same "
            f"FROM (SELECT q.* FROM {questions_of(self.target).sql} AS q {scope}) AS q "
            f"LEFT JOIN {self.target.sql} AS t ON {self._same_row('t', 'q')} "
            f"WHERE NOT coalesce(t.{GOOD} AND t.error IS NULL AND t.request_hash = q.request_hash, false) AND {told}"
        )

    # --- what came back ----------------------------------------------------------------------------

    def _judge(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Judge what came back for questions of due rows; return a query of it, with the verdicts."""
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_came AS "
            f"SELECT row_number() OVER () - 1 AS place, a.* FROM {refreshes.answers(connection)} AS a "
            "SEMI JOIN _cb_due AS d ON a.question = d.request_hash"
        )
        different, joined = self._different(connection)
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_verdicts AS SELECT NULL::BIGINT AS place, NULL::VARCHAR AS status, "
            "NULL::VARCHAR AS error, json_transform_strict('null', $structure) AS answer WHERE false",
            {"structure": self._structure},
        )
        for start in range(0, _count(connection, different), WINDOW):
            found = connection.execute(
                f"SELECT place, {listed(TOLD)} FROM {different} WHERE place >= ? AND place < ?",
                [start, start + WINDOW],
            ).fetchall()
            columns = zip(*self._judgements(found), strict=True)
            hand_over(connection, "_cb_judged", JUDGED, dict(zip(JUDGED, columns, strict=True)))
            connection.execute(
                "INSERT INTO _cb_verdicts SELECT place, status, error, json_transform_strict(answer, $structure) "
                "FROM _cb_judged",
                {"structure": self._structure},
            )
        return f"SELECT a.* EXCLUDE (place), j.status, j.error, j.answer FROM _cb_came AS a {joined}"

    @staticmethod
    def _different(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
        """
        Return what is to be judged, each with a place, and how what came back is joined with the verdicts.

        What is the same is judged once, unless hardly anything is the same.
        """
        if _any(connection, "_cb_came HAVING 2 * approx_count_distinct(text) > count(*)"):
            return "_cb_came", "JOIN _cb_verdicts AS j ON j.place = a.place"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_different AS "
            f"SELECT row_number() OVER () - 1 AS place, * FROM (SELECT DISTINCT {listed(TOLD)} FROM _cb_came)"
        )
        same = " AND ".join(f"a.{name} IS NOT DISTINCT FROM d.{name}" for name in TOLD)
        return "_cb_different", f"JOIN _cb_different AS d ON {same} JOIN _cb_verdicts AS j ON j.place = d.place"

    @cached_property
    def _structure(self) -> str:
        """The types of the output fields, as DuckDB's JSON functions read them."""
        return orjson.dumps(self.schema.columns).decode()

    def _judgements(self, found: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, str, str | None, str]]:
        nothing, good = orjson.dumps(dict.fromkeys(self.schema.columns)).decode(), str(Verdict.SUCCEEDED)
        encode = self.schema.encode_plain
        for place, came, detail, explanation, text, sanitized in found:
            if encode is not None and detail in COMPLETE and not sanitized and came == Came.SUCCEEDED:
                with suppress(ValidationError):  # then it is told with more care what is wrong
                    yield place, good, None, encode(text)
                    continue
            verdict, error, answer = judge(Judgeable(Came(came), detail, explanation, text, sanitized), self.schema)
            yield place, str(verdict), error, answer or nothing

    # --- what they show ----------------------------------------------------------------------------

    def _choose(self, connection: duckdb.DuckDBPyConnection, judged: str) -> None:
        """Lay out what each due row is to show: a refreshed answer, or the first good one, or the latest failure."""
        best = judged
        if _any(connection, "_cb_came HAVING count(*) > count(DISTINCT question)"):
            best += (
                f" QUALIFY row_number() OVER (PARTITION BY question ORDER BY (j.{GOOD}) DESC, "
                f"CASE WHEN j.{GOOD} AND _cb_refreshed THEN chunk_id END DESC NULLS LAST, "
                f"CASE WHEN j.{GOOD} THEN chunk_id END, chunk_id DESC) = 1"
            )
        answer = "".join(f"b.answer.{quoted(name)} AS {quoted(name)}, " for name in self.schema.columns)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_new AS WITH best AS ({best}) "
            f"SELECT d._cb_stands, d._cb_same, {listed(self.key_types, 'd.')}, {answer}"
            f"CASE WHEN b.{GOOD} THEN b.status WHEN d.{LEFT_OUT} IS NOT NULL THEN '{Verdict.BLOCKED}' "
            f"ELSE coalesce(b.status, CASE WHEN d.error IS NOT NULL THEN '{Verdict.REJECTED}' END) END AS status, "
            f"CASE WHEN b.{GOOD} THEN b.error ELSE coalesce(d.{LEFT_OUT}, b.error, d.error) END AS error, "
            "d.partition_key, b.batch_id, b.custom_id, "
            "d.request_hash, b.model, "
            f"CASE WHEN b.came = '{Came.SUCCEEDED}' THEN b.detail END AS stop_reason, "
            "b.input_tokens, b.output_tokens, b.cost_usd, b.attempt, b.answered_at, "
            f"{service_tier('b.batch_id')} AS service_tier "
            "FROM _cb_due AS d LEFT JOIN best AS b ON b.question = d.request_hash"
        )
        self._share_costs(connection)

    def _share_costs(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let one row show what an answer cost, the first of those that show it; it was paid for once."""
        keys = listed(["partition_key", *self.key_types])
        costs = ", ".join(f"coalesce({name}, 0)" for name in COSTS)
        elsewhere = (
            f"SELECT custom_id FROM {self.target.sql} AS t SEMI JOIN _cb_new AS n USING (custom_id) "
            f"ANTI JOIN _cb_due AS d ON {self._same_row('t', 'd')} WHERE greatest({costs}) > 0"
        )
        free = ", ".join(f"{name} = CASE WHEN {name} IS NULL THEN NULL ELSE 0 END" for name in COSTS)
        connection.execute(
            f"UPDATE _cb_new SET {free} WHERE custom_id IS NOT NULL AND rowid IN (SELECT rowid FROM "
            f"(SELECT rowid, custom_id, row_number() OVER (PARTITION BY custom_id ORDER BY {keys}) AS place "
            f"FROM _cb_new) WHERE place > 1 OR custom_id IN ({elsewhere}))"
        )

    def _replace(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let the new rows take the place of the old, except that no failure takes that of a good answer."""
        target, same_row = self.target.sql, self._same_row("t", "n")
        connection.execute(
            f"DELETE FROM {target} AS t USING _cb_new AS n "
            f"WHERE {same_row} AND (n.status IS NOT NULL OR t.status = '{Verdict.BLOCKED}') "
            f"AND (n.{GOOD} OR NOT n._cb_stands)"
        )
        newer = f"'{KEPT}' || coalesce(n.status || coalesce(': ' || n.error, ''), 'not answered yet')"
        connection.execute(
            f"UPDATE {target} AS t SET error = CASE WHEN NOT n._cb_same THEN {newer} END FROM _cb_new AS n "
            f"WHERE {same_row} AND n._cb_stands AND NOT coalesce(n.{GOOD}, false)"
        )
        connection.execute(
            f"INSERT INTO {target} BY NAME SELECT n.* EXCLUDE (_cb_stands, _cb_same) FROM _cb_new AS n "
            f"ANTI JOIN {target} AS t ON {same_row} WHERE n.status IS NOT NULL"
        )

    def _same_row(self, one: str, other: str) -> str:
        names = [*self.key_types, "partition_key"]
        return " AND ".join(f"{one}.{quoted(name)} IS NOT DISTINCT FROM {other}.{quoted(name)}" for name in names)


def _any(connection: duckdb.DuckDBPyConnection, source: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {source}").fetchone() is not None


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Return how many places there are in a table."""
    return int(connection.execute(f"SELECT coalesce(max(place) + 1, 0) FROM {table}").fetchall()[0][0])
