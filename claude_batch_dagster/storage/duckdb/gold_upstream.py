"""Of an upstream the rows that have a gold row, and no other; of the gold rows nothing but their keys."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import duckdb

from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.reporting.gold import GoldSource
from claude_batch_dagster.core.tables import TableName, literal, quoted
from claude_batch_dagster.storage.duckdb import gold
from claude_batch_dagster.storage.duckdb.asking.key_types import NOTHING
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader


def partition_keys(connection: duckdb.DuckDBPyConnection, source: GoldSource) -> list[str] | None:
    """Return the partitions that gold rows say they are of; None if they are told apart by their keys alone."""
    if not gold.is_by_partition(gold.columns_of(connection, source), source):
        return None
    query = (
        f"SELECT DISTINCT CAST({gold.PARTITION} AS VARCHAR) AS key FROM {source.relation} "
        "WHERE key IS NOT NULL ORDER BY key"
    )
    return [key for (key,) in connection.execute(query).fetchall()]


def with_gold_rows(
    connection: duckdb.DuckDBPyConnection,
    upstream: Upstream,
    source: GoldSource,
    *,
    target: TableName,
    partitions: Sequence[Partition] | None,
) -> Upstream:
    """
    Return the upstream with the rows only that have a gold row, all of their columns, and none of the gold rows'.

    With `partitions`, those of the gold rows, a row is of its partition and has its key; without, the rows have no
    partition. Raises `GoldError` for gold rows that cannot be used, `UpstreamError` for an upstream that cannot be
    read.
    """
    gold.check(connection, source)
    reader = Reader(connection=connection, upstream=upstream, target=target)
    kinds = reader.check_columns(reader.types(), ())
    keys = [
        f"TRY_CAST({quoted(name)} AS {'VARCHAR' if kind == NOTHING else kind}) AS _cb_k{n}"
        for n, (name, kind) in enumerate(kinds.items())
    ]
    same_key = [f"u.{quoted(name)} = w._cb_k{n}" for n, name in enumerate(kinds)]
    shown_as = f"{upstream.shown_as}, of which gold rows are asked,"
    if partitions is None:
        wanted = f"(SELECT {', '.join(keys)} FROM {source.relation})"
        relation = f"(SELECT u.* FROM {upstream.relation} AS u SEMI JOIN {wanted} AS w ON {' AND '.join(same_key)})"
        return replace(upstream, relation=relation, shown_as=shown_as, rule=PartitionRule(expr=None))
    places = [*_places(reader, partitions)]
    laid = ", ".join(place for place, _, _ in places)
    bounds = ", ".join(f"({', '.join(row)})" for row in _bounds(partitions, [values for _, _, values in places]))
    names = ", ".join(["_cb_key", *(f"_cb_low{n}, _cb_high{n}" for n in range(len(places)))])
    wanted = (
        f"(SELECT * FROM (SELECT {', '.join(keys)}, CAST({gold.PARTITION} AS VARCHAR) AS _cb_of "
        f"FROM {source.relation}) AS g JOIN (VALUES {bounds}) AS p({names}) ON g._cb_of = p._cb_key)"
    )
    same_row = " AND ".join([*same_key, *(same for _, same, _ in places)])
    relation = (
        f"(SELECT u.* EXCLUDE ({', '.join(f'_cb_at{n}' for n in range(len(places)))}) "
        f"FROM (SELECT *, {laid} FROM {upstream.relation}) AS u SEMI JOIN {wanted} AS w ON {same_row})"
    )
    return replace(upstream, relation=relation, shown_as=shown_as)


def _places(reader: Reader, partitions: Sequence[Partition]) -> Iterator[tuple[str, str, Sequence[tuple[str, str]]]]:
    """Yield of each dimension what places a row in it, when it is within bounds, and the bounds of each partition."""
    for n, rule in enumerate(reader.upstream.rule.dimensions):
        parts = [partition.dimensions[n] for partition in partitions]
        if any(part.start for part in parts):
            bounds = [reader.bounds(rule, part) for part in parts]
            yield (
                f"{reader.moment(rule)} AS _cb_at{n}",
                f"u._cb_at{n} >= w._cb_low{n} AND u._cb_at{n} < w._cb_high{n}",
                [(f"TIMESTAMP '{start}'", f"TIMESTAMP '{end}'") for start, end in bounds],
            )
        else:
            yield (
                f"CAST(({rule.expr}) AS VARCHAR) AS _cb_at{n}",
                f"u._cb_at{n} = w._cb_low{n}",
                [(literal(part.key), "NULL") for part in parts],
            )


def _bounds(partitions: Sequence[Partition], bounds: Sequence[Sequence[tuple[str, str]]]) -> Iterator[list[str]]:
    """Yield the key of each partition as SQL, and its bounds in each dimension."""
    for place, partition in enumerate(partitions):
        yield [literal(partition.key), *(side for values in bounds for side in values[place])]
