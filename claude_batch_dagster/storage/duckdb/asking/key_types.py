"""The types of the key columns: those that the output table has, made wide enough for what upstream has today."""

import re
from collections.abc import Mapping

import duckdb

from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.duckdb.warehouse import exists

NOTHING = '"NULL"'
"""The type of a column of a frame in which there is no value."""

FLOATING = frozenset({"FLOAT", "DOUBLE"})
"""Types with values that are no key: NaN and infinity."""

WHOLE = frozenset(
    {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")} | {"INTEGER", "UINTEGER"}
)


def agreed(connection: duckdb.DuckDBPyConnection, target: TableName, key_types: Mapping[str, str]) -> Mapping[str, str]:
    """
    Return types that hold the keys of the output table and those that upstream has today.

    What has no value decides nothing: neither a table without keys, nor a frame in which all are missing. A frame that
    misses some makes floating numbers of whole ones, which they stay here.
    """
    present = _present(connection, target)
    return {
        name: _common(connection, target, name, present.get(name.lower()), kind) for name, kind in key_types.items()
    }


def _present(connection: duckdb.DuckDBPyConnection, target: TableName) -> dict[str, str]:
    if not exists(connection, target):
        return {}
    return {name.lower(): kind for name, kind, *_ in connection.execute(f"DESCRIBE {target.sql}").fetchall()}


def _common(
    connection: duckdb.DuckDBPyConnection, target: TableName, name: str, present: str | None, today: str
) -> str:
    if today == NOTHING:
        return present or "VARCHAR"
    if present in {None, today} or not _holds(connection, target, f"{quoted(name)} IS NOT NULL"):
        return today
    if present in WHOLE and today in FLOATING:
        return _as_wide_as_bigint(str(present))
    if present in FLOATING and today in WHOLE:
        has_fractions = _holds(connection, target, f"{quoted(name)} <> trunc({quoted(name)})")
        return str(present) if has_fractions else _as_wide_as_bigint(today)
    if "VARCHAR" in {present, today}:
        return "VARCHAR"
    common = _of_both(connection, str(present), today)
    if common is None:
        raise UpstreamError(
            f"the key column {name!r} is {present} in {target}, and {today} upstream, and no type holds both. Nothing "
            "was sent. Cast it upstream or with sql=; or drop the table: the next run makes it again of the answers "
            "that are kept, at no cost."
        )
    return common


def _as_wide_as_bigint(kind: str) -> str:
    """Return a type of whole numbers that holds those of a frame."""
    return kind if kind in {"UBIGINT", "HUGEINT", "UHUGEINT"} else "BIGINT"


def _of_both(connection: duckdb.DuckDBPyConnection, present: str, today: str) -> str | None:
    """Return the type that DuckDB gives to values of both, unless it rounds some."""
    try:
        query = f"SELECT typeof(CASE WHEN true THEN NULL::{present} ELSE NULL::{today} END)"
        common = str(connection.execute(query).fetchall()[0][0])
    except duckdb.BinderException:
        return None
    rounds = max(map(_scale, (present, today))) > _scale(common)
    return None if rounds or (common in FLOATING and not FLOATING.issuperset({present, today})) else common


def _scale(kind: str) -> int:
    """Return how many digits a decimal number has after the point."""
    found = re.fullmatch(r"DECIMAL\(\d+,(\d+)\)", kind)
    return int(found[1]) if found else 0


def _holds(connection: duckdb.DuckDBPyConnection, target: TableName, condition: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {target.sql} WHERE {condition} LIMIT 1").fetchone() is not None
