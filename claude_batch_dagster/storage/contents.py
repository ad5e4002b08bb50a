"""A fingerprint of the documents of each partition, by one query."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.names import TableName
from claude_batch_dagster.storage.upstream import Reader, Upstream
from claude_batch_dagster.storage.warehouse import Warehouse, without_values


def contents(warehouse: Warehouse, upstream: Upstream, partitions: Sequence[Partition]) -> dict[str | None, str]:
    """
    Return a fingerprint for each partition that has documents: the same as long as no row of it changes.

    It covers every column and the number of rows, whatever their order. Raises `UpstreamError` when the table
    cannot be read.
    """
    with _opened(warehouse, upstream) as connection:
        reader = Reader(connection=connection, upstream=upstream, target=TableName("main", ""))
        return _fingerprints(connection, reader.own_rows(partitions))


def keys_upstream(warehouse: Warehouse, upstream: Upstream, dimension: int = 0) -> list[str]:
    """Return the partition keys that the rows of the upstream table name in one dimension, in order."""
    expr = upstream.rule.dimensions[dimension].expr
    query = f"SELECT DISTINCT CAST(({expr}) AS VARCHAR) AS k FROM {upstream.relation} WHERE k IS NOT NULL ORDER BY k"
    with _opened(warehouse, upstream) as connection:
        return [key for (key,) in connection.execute(query).fetchall()]


@contextmanager
def _opened(warehouse: Warehouse, upstream: Upstream) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connect() as connection:
        try:
            yield connection
        except duckdb.Error as error:
            raise UpstreamError(
                f"the upstream {upstream.shown_as} cannot be read: {without_values(error)}. Materialize it first."
            ) from None


def _fingerprints(connection: duckdb.DuckDBPyConnection, rows: str) -> dict[str | None, str]:
    query = (
        "SELECT _cb_partition, concat_ws('-', count(*), bit_xor(hash(r)), sum(hash(r) % 1000000007)) "
        f"FROM {rows} AS r GROUP BY _cb_partition"
    )
    return dict(connection.execute(query).fetchall())
