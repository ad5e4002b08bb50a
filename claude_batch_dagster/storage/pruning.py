"""Hold the output table against upstream when a run ends: what is gone there goes, and what is lacking is told."""

from collections import Counter
from collections.abc import Iterator, Sequence

import duckdb

from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.core.survey import Survey
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.names import listed, quoted
from claude_batch_dagster.storage.upstream import WINDOW, Reader, row_key

FLOATING = frozenset({"FLOAT", "DOUBLE"})
"""Types with values that JSON does not have, nor the key of a row: they are NULL in the output table."""


def prune(reader: Reader, partitions: Sequence[Partition], survey: Survey, *, keep_others: bool) -> Counter[str | None]:
    """
    Delete the rows of these partitions whose key is not upstream, within the transaction of the reader's connection.

    Returns how many rows the table must hold, by partition: one for each key that is upstream, but for those that have
    come since the survey and have no row yet. Upstream is read once. With `keep_others`, what is read may be older
    than what other runs have read: rows of keys that it lacks are theirs, and count. Raises `UpstreamError` when
    upstream cannot be read any more, and nothing is deleted.
    """
    connection, target, key = reader.connection, reader.target.sql, reader.upstream.key
    try:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_keys AS "
            f"SELECT DISTINCT _cb_partition, {_as_landed(reader)} FROM {reader.own_rows(partitions)}"
        )
    except duckdb.Error as error:
        raise UpstreamError(f"the upstream {reader.upstream.shown_as} cannot be read any more") from error
    same_row = " AND ".join(
        f"k.{theirs} IS NOT DISTINCT FROM t.{ours}"
        for theirs, ours in [("_cb_partition", "partition_key"), *((quoted(name), quoted(name)) for name in key)]
    )
    others = (
        f"FROM {target} AS t JOIN _cb_partitions AS p "
        f"ON t.partition_key IS NOT DISTINCT FROM p._cb_partition ANTI JOIN _cb_keys AS k ON {same_row}"
    )
    n_keys = _counted(connection, "SELECT _cb_partition, count(*) FROM _cb_keys GROUP BY ALL")
    if keep_others:
        n_keys += _counted(connection, f"SELECT t.partition_key, count(*) {others} GROUP BY ALL")
    else:
        connection.execute(f"DELETE FROM {target} WHERE rowid IN (SELECT t.rowid {others})")
    lacking = connection.execute(
        f"SELECT _cb_partition, {listed(key)} FROM _cb_keys AS k ANTI JOIN {target} AS t ON {same_row}"
    )
    return n_keys - survey.n_unread(_rows(lacking))


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[RowKey]:
    while window := result.fetchmany(WINDOW):
        yield from (row_key(cells[0], cells[1:]) for cells in window)


def _counted(connection: duckdb.DuckDBPyConnection, query: str) -> Counter[str | None]:
    return Counter(dict(connection.execute(query).fetchall()))


def _as_landed(reader: Reader) -> str:
    """Return the key columns as the output table has them: without one of them a row has none."""
    types = {name.lower(): kind for name, kind in reader.types().items()}
    names = reader.upstream.key
    no_key = " OR ".join(f"{quoted(name)} IS NULL" for name in names)
    unlanded = {name: f" OR NOT isfinite({quoted(name)})" for name in names if types.get(name.lower()) in FLOATING}
    return ", ".join(
        f"CASE WHEN {no_key}{unlanded.get(name, '')} THEN NULL ELSE {quoted(name)} END AS {quoted(name)}"
        for name in names
    )
