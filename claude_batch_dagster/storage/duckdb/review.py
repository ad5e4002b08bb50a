"""Draw the rows of a table of answers that a person is to read: by hashes of keys, so that the same rows come again."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.collecting.column_types import ddl
from claude_batch_dagster.core.reviewing import (
    AUDIT,
    CONFIDENCE,
    PARTITION_KEY,
    REASON,
    UNSURE,
    VOTES_DIFFER,
    WEIGHT,
    Drawn,
    Review,
)
from claude_batch_dagster.core.tables import literal, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.review_tables import check_tables, labelled_columns

LEAST_SURE_FIRST = "_cb_confidence ASC NULLS FIRST"

WEIGHT_DIGITS = 6
"""Digits kept behind the point of what weights add up to."""

PartitionsOf = Callable[[Sequence[str | None]], Sequence[Partition]]
"""Returns the partitions of some keys, but for those that are none any more."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One draw, in a transaction of the caller's."""

    connection: duckdb.DuckDBPyConnection
    review: Review
    reader: Reader
    """Reads the documents."""
    partitions_of: PartitionsOf

    def draw(self) -> Drawn:
        """
        Write the queue over that of before.

        Raises `UpstreamError` if answers, documents or labels are not there, and `ConfigurationError` if the queue of
        before holds labels that a person gave.
        """
        check_tables(self.connection, self.review, self.reader)
        self.pick()
        target, queue = self.review.task.target.sql, self.review.target.sql
        self.connection.execute(f"CREATE OR REPLACE TABLE {queue} AS {self._queue()}")
        told = self.connection.execute(f"SELECT reason, count(*), sum(weight) FROM {queue} GROUP BY ALL").fetchall()
        return Drawn(
            n_table=self._n_rows(f"SELECT count(*) FROM {target}"),
            n_by_reason=Counter({reason: n for reason, n, _ in told}),
            sum_of_weights=round(sum(weight for *_, weight in told), WEIGHT_DIGITS),
        )

    def pick(self) -> None:
        """
        Write down which rows are drawn, why, and with what weight, in `_cb_drawn`.

        First those that are there for certain, then some of all others by chance. Hashes of different purposes have
        nothing to do with each other: if ties in confidence were broken by those of the draw, the tied rows that are
        left would be drawn too seldom.
        """
        review, n_eligible = self.review, self._list_eligible()
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_drawn (_cb_row BIGINT, reason VARCHAR, weight DOUBLE)"
        )
        n = self._take(UNSURE, review.n_least_sure, LEAST_SURE_FIRST)
        if review.votes:
            n += self._take(VOTES_DIFFER, review.n_certain - n, LEAST_SURE_FIRST, where="_cb_differs")
        if review.doubt:
            n += self._take(UNSURE, review.n_certain - n, LEAST_SURE_FIRST)
        n_others = n_eligible - n
        n_audit = min(review.rows - n, n_others)
        self._take(AUDIT, n_audit, weight=n_others / max(1, n_audit))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of the queue as a person is shown them, in its order: all as text but numbers of ours."""
        numbers = {CONFIDENCE, WEIGHT}
        kept = (*self.review.shown, *(name for name in self.review.own if name not in self.review.shown))
        columns = ", ".join(
            quoted(name) if name in numbers else f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in kept
        )
        found = self.connection.execute(f"SELECT {columns} FROM {self.review.target.sql} ORDER BY rowid").fetchall()
        return (dict(zip(kept, row, strict=True)) for row in found)

    def _n_rows(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Return a number of rows: what a query counts, or how many a statement has written."""
        return int(self.connection.execute(statement, values).fetchall()[0][0])

    # --- who can be drawn ------------------------------------------------------------------

    def _list_eligible(self) -> int:
        """Write down which rows can be drawn, with what the draw goes by; return how many they are."""
        review = self.review
        number = f"CAST(t.{quoted(review.doubt)} AS DOUBLE)" if review.doubt else "NULL::DOUBLE"
        first, second = [f"CAST(t.{quoted(name)} AS VARCHAR)" for name in review.votes or ()] or ["NULL", "NULL"]
        return self._n_rows(
            "CREATE OR REPLACE TEMP TABLE _cb_eligible AS SELECT t.rowid AS _cb_row, "
            f"CASE WHEN isfinite({number}) THEN {number} END AS _cb_confidence, "
            f"{first} IS DISTINCT FROM {second} AS _cb_differs, {self._name()} AS _cb_name "
            f"FROM {review.task.target.sql} AS t WHERE t.status = {literal(Verdict.SUCCEEDED)}{self._unlabelled()}"
        )

    def _name(self) -> str:
        """Return the SQL of a row's key as one text: each value behind its length, so that no two are the same."""
        texts = [f"coalesce(CAST(t.{quoted(name)} AS VARCHAR), '')" for name in self.review.keys]
        return " || ".join(f"strlen({text}) || ':' || {text}" for text in texts)

    def _unlabelled(self) -> str:
        """Return the condition that a row has no true value yet."""
        labelled = self.review.labelled
        if labelled is None:
            return ""
        there = {name.lower() for name in labelled_columns(self.connection, self.review, labelled)}
        keys = [key for key in self.review.keys if key != PARTITION_KEY or key in there]
        same = [
            f"CAST(l.{quoted(key)} AS VARCHAR) IS NOT DISTINCT FROM CAST(t.{quoted(key)} AS VARCHAR)" for key in keys
        ]
        values = [
            f"nullif(trim(CAST(l.{quoted(name)} AS VARCHAR)), '')"
            for name in self.review.true_fields
            if name.lower() in there
        ]
        if values:
            same.append(f"coalesce({', '.join(values)}) IS NOT NULL")
        return f" AND NOT EXISTS (SELECT 1 FROM {labelled.relation} AS l WHERE {' AND '.join(same)})"

    def _take(self, reason: str, n: int, *order: str, where: str = "true", weight: float = 1.0) -> int:
        """Add up to `n` rows to those that are drawn, in an order, or else by chance; return how many were added."""
        if n <= 0:
            return 0
        return self._n_rows(
            "INSERT INTO _cb_drawn SELECT _cb_row, ?, ? FROM _cb_eligible ANTI JOIN _cb_drawn USING (_cb_row) "
            f"WHERE {where} ORDER BY {', '.join([*order, self._hash(reason)])} LIMIT {n}",
            [reason, weight],
        )

    def _hash(self, purpose: str) -> str:
        """Return the SQL of a row's place in an order by chance: MD5, which no version of DuckDB changes."""
        return f"md5({literal(f'{self.review.seed}:{purpose}:')} || _cb_name)"

    # --- the queue ------------------------------------------------------------------------------------

    def _queue(self) -> str:
        """Return the query for the rows of the queue, in an order that does not tell why a row is there."""
        review, columns = self.review, self.review.schema.columns
        own = {REASON: "d.reason", CONFIDENCE: "e._cb_confidence", WEIGHT: "d.weight"}
        selected = [
            *(f"t.{quoted(key)}" for key in review.keys),
            *(f"u.{quoted(name)}" for name in review.documents),
            *(f"t.{quoted(name)} AS {quoted(called)}" for name, called in review.answered.items()),
            *(f"{own[name]} AS {quoted(name)}" for name in review.own),
            *(f"CAST(NULL AS {ddl(columns[name])}) AS {quoted(name)}" for name in review.true_fields),
        ]
        return (
            f"SELECT {', '.join(selected)} FROM _cb_drawn AS d JOIN _cb_eligible AS e USING (_cb_row) "
            f"JOIN {review.task.target.sql} AS t ON t.rowid = d._cb_row LEFT JOIN {self._documents()} AS u "
            f"USING (_cb_row) ORDER BY {self._hash('order')}"
        )

    def _documents(self) -> str:
        """Return a query for the documents of the rows that are drawn; bytes are shown as the text that they are."""
        target, kinds = self.review.task.target.sql, self.reader.types()
        in_bytes = {name.lower() for name, kind in kinds.items() if kind == "BLOB"}
        drawn = self.connection.execute(
            f"SELECT DISTINCT t.partition_key FROM {target} AS t SEMI JOIN _cb_drawn AS d ON t.rowid = d._cb_row"
        ).fetchall()
        own_rows = self.reader.own_rows(self.partitions_of([key for (key,) in drawn]))
        shown = [
            f"try(decode(u.{quoted(name)})) AS {quoted(name)}"
            if name.lower() in in_bytes
            else f"u.{quoted(name)} AS {quoted(name)}"
            for name in self.review.documents
        ]
        same_key = " AND ".join(f"u.{quoted(name)} = t.{quoted(name)}" for name in self.review.task.upstream.key)
        return (
            f"(SELECT DISTINCT ON (d._cb_row) {', '.join(['d._cb_row', *shown])} FROM _cb_drawn AS d "
            f"JOIN {target} AS t ON t.rowid = d._cb_row "
            f"JOIN {own_rows} AS u ON {same_key} AND u._cb_partition IS NOT DISTINCT FROM t.partition_key)"
        )
