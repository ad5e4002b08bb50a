"""A fingerprint of the documents of each partition, by one query."""

from collections.abc import Sequence

import duckdb

from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.names import TableName
from claude_batch_dagster.storage.upstream import Reader, Upstream
from claude_batch_dagster.storage.warehouse import Warehouse, without_values


def contents(warehouse: Warehouse, upstream: Upstream, partitions: Sequence[Partition] | None) -> dict[str | None, str]:
    """
    Return a fingerprint for each partition that has documents: the same as long as no row of it changes.

    It covers every column and the number of rows, whatever their order. `partitions` None means: whatever the
    partition expression gives. Raises `UpstreamError` when the table cannot be read.
    """
    with warehouse.connect() as connection:
        reader = Reader(connection=connection, upstream=upstream, target=TableName("main", ""))
        try:
            return _fingerprints(connection, _rows(reader, upstream, partitions))
        except duckdb.Error as error:
            raise UpstreamError(
                f"the upstream {upstream.shown_as} cannot be read: {without_values(error)}. Materialize it first."
            ) from None


def _rows(reader: Reader, upstream: Upstream, partitions: Sequence[Partition] | None) -> str:
    if partitions is not None:
        return reader.own_rows(partitions)
    expr = upstream.rule.expr
    return f"(SELECT CAST(({expr}) AS VARCHAR) AS _cb_partition, u.* FROM {upstream.relation} AS u)"


def _fingerprints(connection: duckdb.DuckDBPyConnection, rows: str) -> dict[str | None, str]:
    query = (
        "SELECT _cb_partition, concat_ws('-', count(*), bit_xor(hash(r)), sum(hash(r) % 1000000007)) "
        f"FROM {rows} AS r GROUP BY _cb_partition"
    )
    return dict(connection.execute(query).fetchall())
