"""Read the upstream rows of some partitions, in one snapshot, from DuckDB or a DataFrame."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pandas as pd

from claude_batch_dagster.core.keys import canonical_key
from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.partitions import Partition, PartitionRule
from claude_batch_dagster.core.requests import RequestBuilder
from claude_batch_dagster.core.survey import NO_KEY, Record, Sorter, Survey
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.names import TableName, listed, quoted
from claude_batch_dagster.storage.outbox import Outbox
from claude_batch_dagster.storage.warehouse import without_values

WINDOW = 2_000
"""Rows fetched at a time."""

FRAME = "_claude_batch_frame"
"""The name under which a DataFrame is queried."""

KEY_TYPE = re.compile(
    r"VARCHAR|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UUID|DATE|TIME.*|DECIMAL.*|DOUBLE|FLOAT|BOOLEAN|ENUM.*"
)
"""Column types that can be keys."""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Where the documents are, and which columns matter."""

    relation: str
    """SQL that can stand behind FROM: a quoted table, or a query in parentheses."""
    shown_as: str
    """What messages call it."""
    key: tuple[str, ...]
    rule: PartitionRule
    sample_columns: tuple[str, ...] = ()
    """Columns to show in sample rows: none, unless documents may be seen in the UI."""
    frame: pd.DataFrame | None = None
    """The rows themselves, when an IO manager handed them over; `relation` is then `FRAME`."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one upstream with one open connection. The caller closes it before anything slow."""

    connection: duckdb.DuckDBPyConnection
    upstream: Upstream
    target: TableName
    awaited: frozenset[RowKey] = frozenset()
    """Rows with an answer on its way: the survey says what they ask now (`wanted`)."""

    def survey(
        self, partitions: Sequence[Partition], builder: RequestBuilder, outbox: Outbox
    ) -> tuple[Survey, dict[str, str]]:
        """
        Read and render the rows: those to ask go into the outbox, the rest into the survey.

        Returns the survey and the SQL types of the key columns. Raises `UpstreamError`, before anything is
        sent, when a table, a column or the partition expression is missing.
        """
        recoded: frozenset[str] = frozenset()
        if self.upstream.frame is not None:
            frame, recoded = encodable(self.upstream.frame, key=self.upstream.key)
            self.connection.register(FRAME, frame)
        types = self.types()
        columns = builder.columns if builder.columns is not None else tuple(types)
        key_types = self._check_columns(types, columns)
        try:
            return self._sorted(partitions, builder, outbox, columns, recoded), key_types
        except duckdb.DataError as error:
            raise UpstreamError(
                f"a value of the upstream {self.upstream.shown_as} cannot be read as partition_expr or sql= say: "
                f"{without_values(error)}. Nothing was sent. Use try_cast, or mend the value upstream."
            ) from None

    def _sorted(
        self,
        partitions: Sequence[Partition],
        builder: RequestBuilder,
        outbox: Outbox,
        columns: Sequence[str],
        recoded: frozenset[str],
    ) -> Survey:
        own_rows = self.own_rows(partitions)
        has_target = self._has_target()
        sorter = Sorter(
            builder=builder,
            repeated=self._repeated(own_rows),
            answered_elsewhere=self._answered if has_target else lambda _: frozenset(),
            put=outbox.add,
            awaited=self.awaited,
        )
        records = self._records(own_rows, columns, has_target=has_target)
        survey = sorter.sort(_decoded(records, recoded) if recoded else records)
        survey.n_homeless = self._n_homeless()
        if has_target:
            survey.removed = [row for row in self._removed(own_rows) if row not in survey.rejected]
        return survey

    # --- what is there -----------------------------------------------------------------------------

    def types(self) -> dict[str, str]:
        """Return the SQL type of each upstream column."""
        try:
            described = self.connection.execute(f"DESCRIBE SELECT * FROM {self.upstream.relation}").fetchall()
        except duckdb.Error as error:
            raise UpstreamError(
                f"the upstream {self.upstream.shown_as} cannot be read: {without_values(error)}. "
                "Nothing was sent. Materialize it first, or say with sql= where it is."
            ) from error
        return {name: kind for name, kind, *_ in described}

    def _check_columns(self, types: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
        folded = {name.lower(): kind for name, kind in types.items()}
        roles = {"key": self.upstream.key, "prompt": columns, "sample": self.upstream.sample_columns}
        for role, name in ((role, name) for role, names in roles.items() for name in names):
            if name.lower() not in folded:
                raise UpstreamError(
                    f"the {role} needs column {name!r}, which the upstream {self.upstream.shown_as} does not have. "
                    f"Nothing was sent. Its columns are: {', '.join(types)}."
                )
        key_types = {name: folded[name.lower()] for name in self.upstream.key}
        for name, kind in key_types.items():
            if not KEY_TYPE.fullmatch(kind):
                raise UpstreamError(
                    f"key column {name!r} is of type {kind}, which cannot be a key. Nothing was sent. "
                    "Cast it to VARCHAR upstream or with sql=."
                )
        return {name: "VARCHAR" if kind.startswith("ENUM") else kind for name, kind in key_types.items()}

    def _has_target(self) -> bool:
        query = (
            "SELECT 1 FROM duckdb_tables() "
            "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
        )
        return bool(self.connection.execute(query, [self.target.schema, self.target.table]).fetchone())

    def own_rows(self, partitions: Sequence[Partition]) -> str:
        """Return a query for the upstream rows of these partitions, each with its `_cb_partition`."""
        condition = " AND ".join(
            self._condition(rule, n, windows=any(partition.dimensions[n].start for partition in partitions))
            for n, rule in enumerate(self.upstream.rule.dimensions)
            if rule.expr is not None
        )
        self._list(partitions)
        return (
            f"(SELECT _cb_p._cb_partition, u.* FROM {self.upstream.relation} AS u, _cb_partitions AS _cb_p "
            f"WHERE {condition or 'TRUE'})"
        )

    def _list(self, partitions: Sequence[Partition]) -> None:
        """Write the partitions into a table, with what a row must have in each dimension."""
        columns = ["unnest($keys::VARCHAR[]) AS _cb_partition"]
        values: dict[str, Sequence[Any]] = {"keys": [partition.key for partition in partitions]}
        for n, _ in enumerate(self.upstream.rule.dimensions):
            parts = [partition.dimensions[n] for partition in partitions]
            columns += [
                f"unnest($keys{n}::VARCHAR[]) AS _cb_key{n}",
                f"unnest($starts{n}::TIMESTAMP[]) AS _cb_start{n}",
                f"unnest($ends{n}::TIMESTAMP[]) AS _cb_end{n}",
            ]
            values[f"keys{n}"] = [part.key for part in parts]
            values[f"starts{n}"] = [part.start for part in parts]
            values[f"ends{n}"] = [part.end for part in parts]
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE _cb_partitions AS SELECT {', '.join(columns)}", values)

    def _condition(self, rule: PartitionRule, n: int, *, windows: bool) -> str:
        """Return the SQL by which a row is of a partition in the dimension number `n`."""
        expr = rule.expr
        try:
            described = self.connection.execute(f"DESCRIBE SELECT ({expr}) FROM {self.upstream.relation}").fetchall()
        except duckdb.Error as error:
            raise UpstreamError(
                f"partition_expr {expr!r} does not work on the upstream {self.upstream.shown_as}: "
                f"{without_values(error)}. Nothing was sent."
            ) from error
        if not windows:
            return f"CAST(({expr}) AS VARCHAR) = _cb_p._cb_key{n}"
        zoned = described[0][1] == "TIMESTAMP WITH TIME ZONE"
        moment = f"({expr}) AT TIME ZONE '{rule.timezone}'" if zoned else f"CAST(({expr}) AS TIMESTAMP)"
        return f"{moment} >= _cb_p._cb_start{n} AND {moment} < _cb_p._cb_end{n}"

    # --- its rows ----------------------------------------------------------------------------------

    def _records(self, own_rows: str, columns: Sequence[str], *, has_target: bool) -> Iterator[list[Record]]:
        key = self.upstream.key
        standing, join = "NULL, NULL", ""
        if has_target:
            standing = "_cb_o.status, _cb_o.request_hash"
            same_key = " AND ".join(f"_cb_o.{quoted(name)} = u.{quoted(name)}" for name in key)
            join = (
                f"LEFT JOIN {self.target.sql} AS _cb_o ON {same_key} "
                "AND _cb_o.partition_key IS NOT DISTINCT FROM u._cb_partition"
            )
        result = self.connection.execute(
            f"SELECT u._cb_partition, {standing}, {listed((*key, *columns), 'u.')} FROM {own_rows} AS u {join}"
        )
        first_column = 3 + len(key)
        while window := result.fetchmany(WINDOW):
            yield [
                Record(
                    row_key(cells[0], cells[3:first_column]),
                    dict(zip(columns, cells[first_column:], strict=True)),
                    cells[1],
                    cells[2],
                )
                for cells in window
            ]

    def _n_homeless(self) -> int:
        exprs = self.upstream.rule.exprs
        if not exprs:
            return 0
        nowhere = " OR ".join(f"({expr}) IS NULL" for expr in exprs)
        query = f"SELECT count(*) FROM {self.upstream.relation} WHERE {nowhere}"
        return int(self.connection.execute(query).fetchall()[0][0])

    def _repeated(self, own_rows: str) -> frozenset[RowKey]:
        """Return the keys that several rows of one partition share."""
        names = f"_cb_partition, {listed(self.upstream.key)}"
        query = f"SELECT {names} FROM {own_rows} GROUP BY ALL HAVING count(*) > 1"
        return frozenset(row_key(cells[0], cells[1:]) for cells in self.connection.execute(query).fetchall())

    def _answered(self, request_hashes: Sequence[str]) -> frozenset[str]:
        # A cursor of its own: the rows are still being fetched from the connection.
        query = (
            f"SELECT DISTINCT request_hash FROM {self.target.sql} "
            "WHERE status = 'succeeded' AND request_hash IN (SELECT unnest(?::VARCHAR[]))"
        )
        cursor = self.connection.cursor()
        return frozenset(cells[0] for cells in cursor.execute(query, [list(request_hashes)]).fetchall())

    def _removed(self, own_rows: str) -> list[RowKey]:
        """Return the rows of the output table whose key is no longer upstream."""
        key = self.upstream.key
        same_key = " AND ".join(f"u.{quoted(name)} IS NOT DISTINCT FROM o.{quoted(name)}" for name in key)
        query = (
            f"SELECT o.partition_key, {listed(key, 'o.')} FROM {self.target.sql} AS o "
            "JOIN _cb_partitions AS p ON o.partition_key IS NOT DISTINCT FROM p._cb_partition "
            f"ANTI JOIN {own_rows} AS u ON {same_key} AND u._cb_partition IS NOT DISTINCT FROM o.partition_key"
        )
        return [row_key(cells[0], cells[1:]) for cells in self.connection.execute(query).fetchall()]


def row_key(partition_key: str | None, values: Sequence[Any]) -> RowKey:
    """Return the key of a row by the values of its key columns."""
    return RowKey(partition_key, canonical_key(values) or NO_KEY)


def encodable(frame: pd.DataFrame, *, key: Sequence[str]) -> tuple[pd.DataFrame, frozenset[str]]:
    """
    Return the frame with text columns that are not UTF-8 as bytes, and the names of those columns.

    DuckDB refuses a whole frame for one lone surrogate. Bytes it takes, and `_decoded` makes text of
    them again, so that only the row with the surrogate is rejected. In a key column such a value is NULL.
    """
    frame = frame.rename(columns=str)
    broken = frozenset(
        str(name)
        for name, values in frame.items()
        if values.dtype == object and not all(_encodes(value) for value in values)
    )
    keys = broken.intersection(key)
    recoded: dict[str, Any] = {
        name: [value.encode(errors="surrogatepass") if isinstance(value, str) else value for value in frame[name]]
        for name in broken - keys
    }
    emptied: dict[str, Any] = {name: [value if _encodes(value) else None for value in frame[name]] for name in keys}
    return frame.assign(**recoded, **emptied), broken - keys


def _encodes(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(windows: Iterable[list[Record]], names: frozenset[str]) -> Iterator[list[Record]]:
    for window in windows:
        yield [
            replace(
                record,
                values={
                    name: value.decode(errors="surrogatepass") if name in names and value is not None else value
                    for name, value in record.values.items()  # noqa: PD011  (no pandas here)
                },
            )
            for record in window
        ]
