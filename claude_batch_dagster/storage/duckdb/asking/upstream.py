"""Read the upstream rows of some partitions, in one snapshot, from DuckDB or a DataFrame."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import duckdb
import pandas as pd

from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.duckdb.asking.key_types import NOTHING
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values
from claude_batch_dagster.storage.duckdb.warehouse import exists

WINDOW = 2_000
"""Rows fetched at a time."""

FRAME = "_claude_batch_frame"
"""The name under which a DataFrame is queried."""

KEY_TYPE = re.compile(
    r"VARCHAR|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UUID|DATE|TIME.*|DECIMAL.*|DOUBLE|FLOAT|BOOLEAN|ENUM.*"
)
"""Column types that can be keys."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one upstream with one open connection. The caller closes it before anything slow."""

    connection: duckdb.DuckDBPyConnection
    upstream: Upstream
    target: TableName
    recoded: frozenset[str] = frozenset()
    """Text columns of a DataFrame that hold bytes, for not all of them are UTF-8."""
    _zoned: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Whether an expression gives times with a zone."""

    @classmethod
    def of(
        cls,
        connection: duckdb.DuckDBPyConnection,
        upstream: Upstream,
        *,
        target: TableName,
        frame: pd.DataFrame | None = None,
    ) -> Self:
        """Read from the upstream table; from the frame, if an IO manager has handed one over in its place."""
        if frame is None:
            return cls(connection=connection, upstream=upstream, target=target)
        encoded, recoded = encodable(frame, key=upstream.key)
        connection.register(FRAME, encoded)
        upstream = replace(upstream, relation=FRAME)
        return cls(connection=connection, upstream=upstream, target=target, recoded=recoded)

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

    def check_columns(self, types: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
        """Return the SQL types of the key columns; raise `UpstreamError` for a column that is missing, or is no key."""
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
            if kind != NOTHING and not KEY_TYPE.fullmatch(kind):
                raise UpstreamError(
                    f"key column {name!r} is of type {kind}, which cannot be a key. Nothing was sent. "
                    "Cast it to VARCHAR upstream or with sql=."
                )
        return {name: "VARCHAR" if kind.startswith("ENUM") else kind for name, kind in key_types.items()}

    def has_target(self) -> bool:
        """Whether the output table is there."""
        return exists(self.connection, self.target)

    def own_rows(self, partitions: Sequence[Partition]) -> str:
        """Return a query for the upstream rows of these partitions, each with its `_cb_partition`."""
        self.list_partitions(partitions)
        joins, conditions = [], ["TRUE"]
        for n, rule in enumerate(self.upstream.rule.dimensions):
            if rule.expr is None:
                continue
            starts = {partition.dimensions[n].start for partition in partitions} - {None}
            moment = self.moment(rule)
            if not starts:
                conditions.append(f"CAST(({rule.expr}) AS VARCHAR) = _cb_p._cb_key{n}")
            elif len(starts) == 1:
                conditions.append(f"{moment} >= _cb_p._cb_start{n} AND {moment} < _cb_p._cb_end{n}")
            else:
                self._find_windows(moment, n)
                joins.append(f"JOIN _cb_moments{n} AS _cb_m{n} ON _cb_m{n}._cb_moment = {moment}")
                conditions += [f"_cb_p._cb_{side}{n} = _cb_m{n}._cb_{side}" for side in ("start", "end")]
        if self.upstream.only is not None:
            same = [f"o.{quoted(name)} = u.{quoted(name)}" for name in self.upstream.key]
            same.append("o.partition_key IS NOT DISTINCT FROM _cb_p._cb_partition")
            conditions.append(f"EXISTS (FROM {self.upstream.only} AS o WHERE {' AND '.join(same)})")
        return (
            f"(SELECT _cb_p._cb_partition, u.* FROM {self.upstream.relation} AS u {' '.join(joins)}, "
            f"_cb_partitions AS _cb_p WHERE {' AND '.join(conditions)})"
        )

    def list_partitions(self, partitions: Sequence[Partition]) -> None:
        """Write the partitions into a table, with what a row must have in each dimension."""
        columns = ["unnest($keys::VARCHAR[]) AS _cb_partition"]
        values: dict[str, Sequence[Any]] = {"keys": [partition.key for partition in partitions]}
        for n, rule in enumerate(self.upstream.rule.dimensions):
            parts = [partition.dimensions[n] for partition in partitions]
            bounds = [self.bounds(rule, part) for part in parts]
            columns += [
                f"unnest($keys{n}::VARCHAR[]) AS _cb_key{n}",
                f"unnest($starts{n}::TIMESTAMP[]) AS _cb_start{n}",
                f"unnest($ends{n}::TIMESTAMP[]) AS _cb_end{n}",
            ]
            values[f"keys{n}"] = [part.key for part in parts]
            values[f"starts{n}"] = [start for start, _ in bounds]
            values[f"ends{n}"] = [end for _, end in bounds]
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE _cb_partitions AS SELECT {', '.join(columns)}", values)

    def _find_windows(self, moment: str, n: int) -> None:
        """Write down in which window each moment is: joined by ranges, DuckDB would sort the documents themselves."""
        windows = f"(SELECT DISTINCT _cb_start{n} AS _cb_start, _cb_end{n} AS _cb_end FROM _cb_partitions)"
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_moments{n} AS SELECT m._cb_moment, w._cb_start, w._cb_end "
            f"FROM (SELECT DISTINCT {moment} AS _cb_moment FROM {self.upstream.relation}) AS m "
            f"JOIN {windows} AS w ON m._cb_moment >= w._cb_start AND m._cb_moment < w._cb_end"
        )

    def moment(self, rule: PartitionRule) -> str:
        """Return the SQL of the moment that decides in which window a row is: without zone, as its `bounds` are."""
        return f"(({rule.expr}) AT TIME ZONE 'UTC')" if self._is_zoned(rule) else f"CAST(({rule.expr}) AS TIMESTAMP)"

    def bounds(self, rule: PartitionRule, part: Partition) -> tuple[datetime | None, datetime | None]:
        """
        Return the first moment of a window, and the first after it.

        Times with a zone are compared as instants, those without one by the clock where the partitions are.
        """
        if part.instants is not None and rule.expr is not None and self._is_zoned(rule):
            return part.instants
        return part.start, part.end

    def _is_zoned(self, rule: PartitionRule) -> bool:
        expr = rule.expr or "NULL"
        if expr not in self._zoned:
            try:
                query = f"DESCRIBE SELECT ({expr}) FROM {self.upstream.relation}"
                kind = str(self.connection.execute(query).fetchall()[0][1])
            except duckdb.Error as error:
                raise UpstreamError(
                    f"partition_expr {expr!r} does not work on the upstream {self.upstream.shown_as}: "
                    f"{without_values(error)}. Nothing was sent."
                ) from error
            self._zoned[expr] = kind.startswith("TIMESTAMP") and ("TIME ZONE" in kind or "TZ" in kind)
        return self._zoned[expr]


def encodable(frame: pd.DataFrame, *, key: Sequence[str]) -> tuple[pd.DataFrame, frozenset[str]]:
    """
    Return the frame with text columns that are not UTF-8 as bytes, and the names of those columns.

    DuckDB refuses a whole frame for one lone surrogate. Bytes it takes, and the rendering makes text of
    them again, so that only the row with the surrogate is rejected. In a key column such a value is NULL.
    """
    frame = frame.rename(columns=str)
    frame = frame.assign(**{str(name): _readable(values) for name, values in frame.items()})
    broken = frozenset(
        str(name)
        for name, values in frame.items()
        if _may_hold_text(values) and not all(_encodes(value) for value in values)
    )
    keys = broken.intersection(key)
    recoded: dict[str, Any] = {
        name: [value.encode(errors="surrogatepass") if isinstance(value, str) else value for value in frame[name]]
        for name in broken - keys
    }
    emptied: dict[str, Any] = {name: [value if _encodes(value) else None for value in frame[name]] for name in keys}
    return frame.assign(**recoded, **emptied), broken - keys


def _readable(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column as one that DuckDB reads: a kind that it does not know as text, one with holes without them."""
    if isinstance(values.dtype, (pd.PeriodDtype, pd.IntervalDtype)) or values.dtype.kind == "c":
        return values.astype("string")
    return values.astype(values.dtype.subtype) if isinstance(values.dtype, pd.SparseDtype) else values


def _may_hold_text(values: "pd.Series[Any]") -> bool:
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype)


def _encodes(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
