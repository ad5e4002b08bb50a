"""Read an upstream once: key, question and partition of each row, in the one query that evaluates it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import duckdb

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.tables import listed, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import ConfigurationError, UpstreamError
from claude_batch_dagster.storage.duckdb.asking import refreshes
from claude_batch_dagster.storage.duckdb.asking.key_types import FLOATING, WHOLE
from claude_batch_dagster.storage.duckdb.asking.question_hash import question_hash
from claude_batch_dagster.storage.duckdb.asking.upstream import FRAME, Reader
from claude_batch_dagster.storage.duckdb.asking.upstream_columns import Shape
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values


@dataclass(kw_only=True)
class Reading:
    """Lays out the rows of some partitions: `_cb_read` with their documents, `_cb_rows` with what they ask."""

    reader: Reader
    shape: Shape
    partitions: Sequence[Partition]
    refresh: str | None = None
    """A token, if every row is to be asked again: it makes of each question another."""
    placed: str = field(default="TRUE", init=False)
    """How a row that was read and a place in the partitions belong together."""

    def read(self) -> None:
        """Read every row; raise `UpstreamError` when a value cannot be read."""
        try:
            self._read()
        except duckdb.DataError as error:
            shown = self.reader.upstream.shown_as
            raise UpstreamError(
                f"a value of the upstream {shown} cannot be read as partition_expr or sql= say: "
                f"{without_values(error)}. Nothing was sent. Use try_cast, or mend the value upstream."
            ) from None
        self._place()

    def check_stable(self) -> None:
        """
        Raise `ConfigurationError` if upstream gives other texts to ask about each time it is evaluated.

        A table does not, nor does a frame. A query does that takes a sample, or puts the time into a text: each run
        would ask, and pay for, something else. If somebody writes meanwhile, it is the same again from then on.
        """
        if not self._may_change:
            return
        query, values = self._rows()
        first, second = self._fingerprint("_cb_read", {}), self._fingerprint(query, values)
        if first != second != self._fingerprint(query, values):
            raise ConfigurationError(
                f"the upstream {self.reader.upstream.shown_as} gives other rows or texts each time it is read (does it "
                "take a sample, or use the time or chance?), so every materialization would pay anew. Nothing was "
                "sent. Make it depend on the data alone: a sample with REPEATABLE (42), an order within lists and "
                "limits; or materialize it as a table first."
            )

    def _fingerprint(self, source: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        query = f"SELECT count(*), bit_xor(hash(_cb_hash)), sum(_cb_hash % 1000000007) FROM {source}"
        [found] = self.reader.connection.execute(query, values).fetchall()
        return tuple(found)

    @cached_property
    def _may_change(self) -> bool:
        """Whether it is worth a second look."""
        relation = self.reader.upstream.relation
        name = "concat('\"', replace(schema_name, '\"', '\"\"'), '\".\"', replace(table_name, '\"', '\"\"'), '\"')"
        query = f"SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND {name} = ?"
        return relation != FRAME and self.reader.connection.execute(query, [relation]).fetchone() is None

    def _rows(self) -> tuple[str, dict[str, Any]]:
        """Return a query of the rows as they are laid out, each with a hash of what it asks if that may change."""
        dimensions, conditions, values = self._dimensions()
        templated = isinstance(self.shape.builder.prompt, Template)
        texts = [self.shape.as_text(name) if templated else f"u.{quoted(name)}" for name in self.shape.columns]
        named = (f"{text} AS {name}" for text, name in zip(texts, self.shape.names, strict=True))
        laid = ", ".join([*dimensions, *self._keys(), *named])
        where = " AND ".join([*conditions, *self._only("u")])
        rows = f"(SELECT {laid} FROM {self.reader.upstream.relation} AS u WHERE {where})"
        # What a prompt function makes of a row only that function knows: of its rows the keys are compared.
        asked = ", ".join(self.shape.names) if self.shape.in_sql else listed(self.shape.key_types)
        return (f"(SELECT *, hash({asked}) AS _cb_hash FROM {rows})" if self._may_change else rows), values

    def _read(self) -> None:
        """Read every row once: its key and question, and its columns unless the question has a good answer."""
        reader, names = self.reader, self.shape.names
        rows, values = self._rows()
        size = " + ".join(["0", *(f"coalesce(strlen(r.{name}::VARCHAR), 0)" for name in names)])
        hashed = question_hash(self.shape, reader.upstream.key[0]) if self.shape.in_sql else "NULL::VARCHAR"
        # Where all rows are asked again, it is not known yet which of them were already.
        is_kept = "TRUE" if self.refresh is not None else "g._cb_good IS NULL"
        kept = ", ".join(f"CASE WHEN {is_kept} THEN r.{name} END AS {name}" for name in names)
        reader.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_read AS SELECT r.* EXCLUDE ({', '.join(names)}), "
            f"g._cb_good IS NOT NULL AS _cb_answered, {size} AS _cb_size, {kept} FROM "
            f"(SELECT *, row_number() OVER () AS _cb_place, {hashed} AS _cb_question "
            f"FROM {rows}) AS r "
            f"LEFT JOIN ({good_answers(self.reader)}) AS g ON g._cb_good = r._cb_question",
            values,
        )

    def _only(self, row: str, partition: str | None = None) -> Iterator[str]:
        """Yield the SQL of a row being one of those that are asked at all: by its key, until its partition is known."""
        upstream = self.reader.upstream
        if upstream.only is None:
            return
        same = [f"o.{quoted(name)} = {row}.{quoted(name)}" for name in upstream.key]
        if partition is not None:
            same.append(f"o.partition_key IS NOT DISTINCT FROM {partition}")
        yield f"EXISTS (FROM {upstream.only} AS o WHERE {' AND '.join(same)})"

    def _keys(self) -> Iterator[str]:
        """Yield the key columns as the output table has them: without one of them a row has none."""
        names = self.reader.upstream.key
        missing = " OR ".join(self._is_missing(name) for name in names)
        for name in names:
            value = f"CASE WHEN {missing} THEN NULL ELSE u.{quoted(name)} END"
            yield f"CAST({value} AS {self.shape.key_types[name]}) AS {quoted(name)}"

    def _is_missing(self, name: str) -> str:
        column, floating = f"u.{quoted(name)}", self.shape.kind(name) in FLOATING
        conditions = [f"{column} IS NULL", *([f"NOT isfinite({column})"] if floating else [])]
        if floating and self.shape.key_types[name] in WHOLE:
            conditions.append(f"{column} <> trunc({column})")
        return " OR ".join(conditions)

    def _dimensions(self) -> tuple[list[str], list[str], dict[str, Any]]:
        """Return what places a row in each dimension, and what a row must have to be read at all."""
        self.reader.list_partitions(self.partitions)
        laid: list[str] = []
        conditions, values = ["TRUE"], dict[str, Any]()
        for n, rule in enumerate(self.reader.upstream.rule.dimensions):
            if rule.expr is None:
                continue
            bounds = [self.reader.bounds(rule, partition.dimensions[n]) for partition in self.partitions]
            starts, ends = [start for start, _ in bounds if start], [end for _, end in bounds if end]
            if starts:
                moment = self.reader.moment(rule)
                values |= {f"from{n}": min(starts), f"until{n}": max(ends)}
                conditions.append(f"({moment} IS NULL OR ({moment} >= $from{n} AND {moment} < $until{n}))")
            else:
                self.reader.moment(rule)  # raises if the expression does not work
                moment = f"CAST(({rule.expr}) AS VARCHAR)"
                conditions.append(f"({moment} IS NULL OR {moment} IN (SELECT _cb_key{n} FROM _cb_partitions))")
            laid.append(f"{moment} AS _cb_d{n}")
        return laid, conditions, values

    def _place(self) -> None:
        """Find the partition of each row, by the different moments and keys that there are."""
        dimensions = [
            (n, any(partition.dimensions[n].start for partition in self.partitions))
            for n, rule in enumerate(self.reader.upstream.rule.dimensions)
            if rule.expr is not None
        ]
        names = [f"_cb_d{n}" for n, _ in dimensions]
        different = f"(SELECT DISTINCT {', '.join(names)} FROM _cb_read)" if names else "(SELECT 1)"
        within = [
            f"v._cb_d{n} >= p._cb_start{n} AND v._cb_d{n} < p._cb_end{n}" if windows else f"v._cb_d{n} = p._cb_key{n}"
            for n, windows in dimensions
        ]
        connection = self.reader.connection
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_places AS SELECT {''.join(f'v.{name}, ' for name in names)}"
            f"p._cb_partition FROM {different} AS v JOIN _cb_partitions AS p ON {' AND '.join(within) or 'TRUE'}"
        )
        self.placed = " AND ".join(f"r.{name} = l.{name}" for name in names) or "TRUE"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_rows AS SELECT r._cb_place, l._cb_partition AS partition_key, "
            f"{listed(self.shape.key_types, 'r.')}, r._cb_question AS request_hash, r._cb_answered, "
            f"NULL::VARCHAR AS error FROM _cb_read AS r JOIN _cb_places AS l ON {self.placed} "
            f"WHERE {' AND '.join(['TRUE', *self._only('r', 'l._cb_partition')])}"
        )
        if self.refresh is not None:
            self._refresh(self.refresh)

    def _refresh(self, token: str) -> None:
        """Let rows ask their questions under other names."""
        other = refreshes.refreshed("request_hash", token)
        self.reader.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_aliases AS SELECT DISTINCT {other} AS refreshed, "
            "request_hash AS question FROM _cb_rows WHERE request_hash IS NOT NULL"
        )
        self.reader.connection.execute(f"UPDATE _cb_rows SET request_hash = {other}")
        self.reader.connection.execute(
            f"UPDATE _cb_rows SET _cb_answered = coalesce(request_hash IN ({good_answers(self.reader)}), false)"
        )

    @property
    def has_open_rows(self) -> bool:
        """Whether a row asks what has no good answer: it may be paid for."""
        known = "request_hash IS NOT NULL" if self.shape.in_sql else "TRUE"
        query = f"SELECT 1 FROM _cb_rows WHERE NOT _cb_answered AND {known} LIMIT 1"
        return self.reader.connection.execute(query).fetchone() is not None

    def n_homeless(self) -> int:
        """Return how many rows name no partition at all."""
        exprs = [n for n, rule in enumerate(self.reader.upstream.rule.dimensions) if rule.expr is not None]
        if not exprs:
            return 0
        nowhere = " OR ".join(f"_cb_d{n} IS NULL" for n in exprs)
        return int(self.reader.connection.execute(f"SELECT count(*) FROM _cb_read WHERE {nowhere}").fetchall()[0][0])


def good_answers(reader: Reader) -> str:
    """Return a query of the questions to which the output table holds a good answer."""
    if not reader.has_target():
        return "SELECT NULL::VARCHAR AS _cb_good WHERE false"
    return (
        f"SELECT DISTINCT request_hash AS _cb_good FROM {reader.target.sql} "
        f"WHERE status = '{Verdict.SUCCEEDED}' AND request_hash IS NOT NULL"
    )
