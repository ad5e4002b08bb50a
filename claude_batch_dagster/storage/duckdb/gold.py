"""Read gold rows beside what the table has answered to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import duckdb

from claude_batch_dagster.core.collecting.column_types import Structure, ddl
from claude_batch_dagster.core.reporting.gold import GoldAnswers, GoldField, GoldSource
from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import GoldError
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values

PARTITION = "partition_key"
"""The column by which gold rows of a table whose keys are unique within a partition only say which row they are of."""

N_FACTS = 4
"""Columns before those of the fields, as `_joined` has them."""


def answers_to_gold(connection: duckdb.DuckDBPyConnection, target: TableName, source: GoldSource) -> GoldAnswers:
    """Return the answers of a table beside true values; raise `GoldError` where there are none to be read."""
    present, fields = check(connection, source)
    weighed = source.weight.lower() in present
    by_partition = is_by_partition(present, source) and _has_partitions(connection, target)
    write(connection, target, source, fields, weighed=weighed, by_partition=by_partition)
    rows = _joined(connection, target, source.key, fields, by_partition=by_partition)
    found = _sorted_out(rows, source, tuple(fields), weighed=weighed)
    counted = {name: _labels(connection, target, name) for name in fields if name in source.labeled}
    return replace(found, n_answered=_answered(connection, target), labels=counted)


def columns_of(connection: duckdb.DuckDBPyConnection, source: GoldSource) -> frozenset[str]:
    """Return the columns of gold rows, in small letters; raise `GoldError` where there are none to be read."""
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source.relation}").fetchall()
    except duckdb.Error as error:
        raise GoldError(
            f"the gold rows, {source.shown_as}, cannot be read: {without_values(error)}. Materialize them, or say with "
            "gold= where they are. Answers are not concerned."
        ) from None
    return frozenset(str(name).lower() for name, *_ in described)


def is_by_partition(present: frozenset[str], source: GoldSource) -> bool:
    """Whether gold rows with these columns are told apart by partition and key."""
    return PARTITION in present and PARTITION not in {key.lower() for key in source.key}


def _has_partitions(connection: duckdb.DuckDBPyConnection, target: TableName) -> bool:
    """Whether the table has partitions: without, what gold rows say of one tells nothing."""
    query = f"SELECT 1 FROM {target.sql} WHERE {PARTITION} IS NOT NULL LIMIT 1"
    return connection.execute(query).fetchone() is not None


def check(connection: duckdb.DuckDBPyConnection, source: GoldSource) -> tuple[frozenset[str], Mapping[str, Structure]]:
    """Return the columns of gold rows, and the output fields among them; raise `GoldError` if one lacks."""
    present = columns_of(connection, source)
    fields = {name: kind for name, kind in source.fields.items() if name.lower() in present}
    for key in source.key:
        if key.lower() not in present:
            raise GoldError(
                f"the gold rows, {source.shown_as}, have no column {key!r}, which is the key of the table. Their "
                f"columns are: {', '.join(sorted(present))}."
            )
    if not fields:
        raise GoldError(
            f"the gold rows, {source.shown_as}, have no column with true values: name one as the output field that it "
            f"is of ({', '.join(source.fields)}). Their columns are: {', '.join(sorted(present))}."
        )
    return present, fields


def write(  # noqa: PLR0913  (two of them say which columns there are)
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    source: GoldSource,
    fields: Mapping[str, Structure],
    *,
    weighed: bool,
    by_partition: bool,
) -> None:
    """Write down each key once, with its true values in the types of the answers, in `_cb_gold`."""
    types = {name.lower(): kind for name, kind, *_ in connection.execute(f"DESCRIBE {target.sql}").fetchall()}
    keys = [f"TRY_CAST({quoted(key)} AS {types[key.lower()]}) AS _cb_k{n}" for n, key in enumerate(source.key)]
    if by_partition:
        keys.append(f"CAST({PARTITION} AS VARCHAR) AS _cb_k{len(keys)}")
    given = [
        f"{quoted(name)} IS NOT NULL AS _cb_given{n}, {comparable(f'TRY_CAST({quoted(name)} AS {ddl(kind)})', kind)} "
        f"AS _cb_t{n}"
        for n, (name, kind) in enumerate(fields.items())
    ]
    weight = f"TRY_CAST({quoted(source.weight)} AS DOUBLE)" if weighed else "1.0"
    read = f"SELECT {', '.join([*keys, *given, f'{weight} AS _cb_weight'])} FROM {source.relation}"
    names = [f"_cb_k{n}" for n in range(len(keys))]
    merged = [
        f"CASE WHEN count(DISTINCT _cb_t{n}) = 1 THEN min(_cb_t{n}) END AS _cb_t{n}, "
        f"count(DISTINCT _cb_t{n}) > 1 AS _cb_differ{n}, "
        f"bool_or(_cb_given{n}) AND count(_cb_t{n}) = 0 AS _cb_unread{n}"
        for n in range(len(fields))
    ]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE _cb_gold AS SELECT {', '.join([*names, *merged])}, "
        f"min(coalesce(_cb_weight, 0)) AS _cb_weight FROM ({read}) GROUP BY {', '.join(names)}"
    )


def _joined(
    connection: duckdb.DuckDBPyConnection,
    target: TableName,
    key: Sequence[str],
    fields: Mapping[str, Structure],
    *,
    by_partition: bool,
) -> list[tuple[Any, ...]]:
    """Return, a gold row each: partition, how many rows of the table it is, if one is answered, weight, and fields."""
    query = (
        f"SELECT any_value(t.{PARTITION}), count(t.status), "
        f"coalesce(bool_or(t.status = '{Verdict.SUCCEEDED}'), false), any_value(_cb_weight), {beside(fields)} "
        f"FROM (SELECT *, row_number() OVER () AS _cb_n FROM _cb_gold) AS g LEFT JOIN {target.sql} AS t "
        f"ON {same_row(key, by_partition=by_partition)} GROUP BY g._cb_n ORDER BY g._cb_n"
    )
    return connection.execute(query).fetchall()


def same_row(key: Sequence[str], *, by_partition: bool) -> str:
    """Return the SQL of a row t of a table being the gold row g."""
    same = [f"t.{quoted(name)} = g._cb_k{n}" for n, name in enumerate(key)]
    if by_partition:
        same.append(f"t.{PARTITION} IS NOT DISTINCT FROM g._cb_k{len(key)}")
    return " AND ".join(same)


def beside(fields: Mapping[str, Structure]) -> str:
    """Return the SQL of four columns a field: answer, true value, whether true values differ, or cannot be read."""
    return ", ".join(
        f"any_value({comparable(f't.{quoted(name)}', kind)}), any_value(_cb_t{n}), any_value(_cb_differ{n}), "
        f"any_value(_cb_unread{n})"
        for n, (name, kind) in enumerate(fields.items())
    )


def _sorted_out(
    rows: Sequence[tuple[Any, ...]],
    source: GoldSource,
    fields: Sequence[str],
    *,
    weighed: bool,
) -> GoldAnswers:
    """Put the rows that tell something of a field together, and count the others by what is wrong with them."""
    usable = [row for row in rows if row[1] == 1 and row[2]]
    if weighed:
        check_weights(source, (row[3] for row in usable))
    found: dict[str, GoldField] = {}
    for n, name in enumerate(fields):
        at = N_FACTS + 4 * n
        truthful = [row for row in usable if counts(row, at, nullable=name in source.nullable)]
        found[name] = GoldField(
            answers=[row[at] for row in truthful],
            truths=[row[at + 1] for row in truthful],
            partition_keys=[row[0] for row in truthful],
            weights=[row[3] for row in truthful] if weighed else None,
        )
    ends = range(N_FACTS, N_FACTS + 4 * len(fields), 4)
    return GoldAnswers(
        fields=found,
        n_gold=len(rows),
        n_absent=sum(row[1] == 0 for row in rows),
        n_unanswered=sum(row[1] == 1 and not row[2] for row in rows),
        n_ambiguous=sum(row[1] > 1 for row in rows),
        n_contradictory=sum(bool(row[at + 2]) for row in rows for at in ends),
        n_unreadable=sum(bool(row[at + 3]) for row in rows for at in ends),
    )


def check_weights(source: GoldSource, weights: Iterable[float]) -> None:
    """Raise `GoldError` if some of the weights are none."""
    if any(not 0 < weight < inf for weight in weights):
        raise GoldError(
            f"the gold rows, {source.shown_as}, have weights in {source.weight!r} that are no positive numbers. Each "
            "says how many rows of the table its row stands for; leave the column out if all had the same chance."
        )


def counts(row: tuple[Any, ...], at: int, *, nullable: bool) -> bool:
    """Whether a row has a true value: one that is there, or none where that is a value."""
    truth, differ, unread = row[at + 1 : at + 4]
    return truth is not None or (nullable and not differ and not unread)


def comparable(value: str, kind: Structure) -> str:
    """Return SQL of a value as Python can compare it: what has parts of its own as JSON."""
    match kind:
        case dict():
            return f"to_json({value})::VARCHAR"
        case [dict()]:
            return f"list_transform({value}, lambda part: to_json(part)::VARCHAR)"
        case _:
            return value


def _answered(connection: duckdb.DuckDBPyConnection, target: TableName) -> dict[str | None, int]:
    query = f"SELECT {PARTITION}, count(*) FROM {target.sql} WHERE status = '{Verdict.SUCCEEDED}' GROUP BY {PARTITION}"
    return dict(connection.execute(query).fetchall())


def _labels(connection: duckdb.DuckDBPyConnection, target: TableName, field: str) -> dict[str | None, dict[Any, int]]:
    """Count the answers of each partition by label."""
    query = (
        f"SELECT {PARTITION}, {quoted(field)}, count(*) FROM {target.sql} WHERE status = '{Verdict.SUCCEEDED}' "
        "GROUP BY ALL"
    )
    found: dict[str | None, dict[Any, int]] = {}
    for partition, label, n in connection.execute(query).fetchall():
        found.setdefault(partition, {})[label] = n
    return found
