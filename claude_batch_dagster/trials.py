"""What a trial asks of the database: the rows that have a gold row, and what candidates have answered to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.reporting.gold import GoldSource
from claude_batch_dagster.core.reporting.trials import TrialLine, TriedRows
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import GoldError
from claude_batch_dagster.storage.duckdb import gold_upstream, trials
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse

WHOLE = (Partition(key=None),)
"""The one partition of rows without partitions."""


class GoldRowsUpstream(NamedTuple):
    """Where the rows are that have a gold row, and the partitions that they are asked in."""

    upstream: Upstream
    partitions: Sequence[Partition]

    @property
    def is_by_partition(self) -> bool:
        """Whether gold rows say of which partition they are."""
        return self.partitions is not WHOLE


@dataclass(frozen=True, kw_only=True)
class TrialStore:
    """What a trial reads and writes, in short openings of the database."""

    warehouse: Warehouse
    source: GoldSource

    def gold_rows_of(
        self,
        upstream: Upstream,
        target: TableName,
        partitions_of: Callable[[Sequence[str]], Sequence[Partition]],
    ) -> GoldRowsUpstream:
        """
        Return where the rows of an upstream are that have a gold row; `target` is the table that its answers are in.

        Where the asset has partitions and the gold rows name them, rows are told apart by partition and key;
        `partitions_of` returns those that there are. Else they are told apart by key. Raises `GoldError` for gold
        rows that cannot be used.
        """
        with self.warehouse.connect() as connection:
            keys = gold_upstream.partition_keys(connection, self.source) if upstream.rule.exprs else None
            partitions = None if keys is None else partitions_of(keys)
            if partitions is not None and not partitions:
                raise GoldError(
                    f"the gold rows, {self.source.shown_as}, are of no partition that there is: of each, the column "
                    "partition_key has to say which it is of. Nothing was sent."
                )
            own = gold_upstream.with_gold_rows(connection, upstream, self.source, target=target, partitions=partitions)
        return GoldRowsUpstream(own, WHOLE if partitions is None else partitions)

    def tried(self, target: TableName, *, is_by_partition: bool) -> TriedRows:
        """Return all gold rows as the candidate has answered them whose answers are in a table."""
        with self.warehouse.connect() as connection:
            return trials.tried(connection, target, self.source, by_partition=is_by_partition)

    def n_tables(self, schema: str, ending: str) -> int:
        """Return how many tables of a schema have a name that ends like this."""
        with self.warehouse.connect() as connection:
            return trials.n_tables(connection, schema, ending)

    def keep(self, table: TableName, lines: Sequence[TrialLine]) -> None:
        """Write what came of a trial over what stood there."""
        with self.warehouse.connect() as connection, self.warehouse.writing():
            trials.keep(connection, table, lines)
