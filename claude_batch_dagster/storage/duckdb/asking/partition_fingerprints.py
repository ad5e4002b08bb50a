"""A look at the upstream table: the partitions that its rows name, and a fingerprint of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Self

import duckdb

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import UpstreamError
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.duckdb_errors import without_values
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse

LONGEST_LOOK_SECONDS = 30.0
"""For all that is asked at once: Dagster kills a tick after 60 seconds, and its reason with it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What there is upstream, as seen through one open connection: the file may have to be waited for."""

    connection: duckdb.DuckDBPyConnection
    upstream: Upstream
    warehouse: Warehouse

    @classmethod
    @contextmanager
    def opened(cls, warehouse: Warehouse, upstream: Upstream) -> Iterator[Self]:
        """Open the database once for all that is asked; raise `UpstreamError` when the table cannot be read in time."""
        with warehouse.connect() as connection, _limited(connection):
            try:
                yield cls(connection, upstream, warehouse)
            except duckdb.InterruptException:
                raise UpstreamError(
                    f"the upstream {upstream.shown_as} takes longer than {LONGEST_LOOK_SECONDS:.0f} s to look through, "
                    "and every tick does so. Make a table of what is a view or a query over files, or start the asset "
                    "by a schedule or an automation condition instead."
                ) from None
            except duckdb.Error as error:
                raise UpstreamError(
                    f"the upstream {upstream.shown_as} cannot be read: {without_values(error)}. Materialize it first."
                ) from None

    def fingerprints(self, partitions: Sequence[Partition]) -> dict[str | None, str]:
        """
        Return a fingerprint for each partition that has documents: the same as long as no row of it changes.

        It covers every column and the number of rows, whatever their order.
        """
        reader = Reader(connection=self.connection, upstream=self.upstream, target=TableName("main", ""))

        def query() -> str:
            return (
                "SELECT _cb_partition, concat_ws('-', count(*), bit_xor(hash(r)), sum(hash(r) % 1000000007)) "
                f"FROM {reader.own_rows(partitions)} AS r GROUP BY _cb_partition"
            )

        return dict(self._rows(query))

    def keys(self, dimension: int = 0) -> list[str]:
        """Return the partition keys that the rows name in one dimension, in order."""
        expr, relation = self.upstream.rule.dimensions[dimension].expr, self.upstream.relation
        query = f"SELECT DISTINCT CAST(({expr}) AS VARCHAR) AS k FROM {relation} WHERE k IS NOT NULL ORDER BY k"
        return [key for (key,) in self._rows(lambda: query)]

    def _rows(self, query: Callable[[], str]) -> list[Any]:
        """Run a query, whose making may take memory too, with all the memory there is if it needs that."""
        try:
            return self.connection.execute(query()).fetchall()
        except duckdb.OutOfMemoryException:
            if not self.warehouse.lift_limit(self.connection):
                raise
        return self.connection.execute(query()).fetchall()


@contextmanager
def _limited(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what the connection is at when the time is over, and what it begins after."""
    done = Event()

    def watch() -> None:
        pause = LONGEST_LOOK_SECONDS
        while not done.wait(pause):
            connection.interrupt()
            pause = 0.1

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()  # before the connection is closed
