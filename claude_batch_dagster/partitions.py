"""Between Dagster's partitions and ours."""

from collections.abc import Sequence

import dagster as dg

from claude_batch_dagster.core.partitions import Partition, PartitionRule
from claude_batch_dagster.errors import ConfigurationError


def partition_rule(partitions_def: dg.PartitionsDefinition[str] | None, expr: str | None) -> PartitionRule:
    """Return how upstream rows name their partition; raise if that was not said."""
    if partitions_def is None:
        if expr is not None:
            raise ConfigurationError("partition_expr without partitions_def means nothing: give both, or neither.")
        return PartitionRule(expr=None)
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        raise ConfigurationError(
            "multi-dimensional partitions are not supported: partition by the dimension that changes, and keep "
            "the other as a column."
        )
    if expr is None:
        raise ConfigurationError(
            "a partitioned asset needs partition_expr: SQL over the upstream columns that gives a row's partition, "
            "such as partition_expr='published_on'."
        )
    zone = partitions_def.timezone if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition) else "UTC"
    return PartitionRule(expr=expr, timezone=zone)


def partitions_of(context: dg.AssetExecutionContext) -> list[Partition]:
    """Return the partitions this run is asked for: one, a range, or the whole of an unpartitioned asset."""
    partitions_def = context.assets_def.partitions_def
    if partitions_def is None:  # even when the run has a partition, for the sake of a neighbor
        return [Partition(key=None)]
    keys: Sequence[str] = context.partition_keys
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return [Partition(key=key) for key in keys]
    windows = ((key, partitions_def.time_window_for_partition_key(key)) for key in keys)
    return [
        Partition(key=key, start=window.start.replace(tzinfo=None), end=window.end.replace(tzinfo=None))
        for key, window in windows
    ]


def output_partition_expr(partitions_def: dg.PartitionsDefinition[str] | None) -> str | None:
    """
    Return the SQL by which IO managers of dagster-duckdb select partitions of the output table.

    They compare it with moments for time windows, and with partition keys otherwise.
    """
    if partitions_def is None:
        return None
    if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        fmt = partitions_def.fmt.replace("'", "''")
        return f"strptime(partition_key, '{fmt}')"
    return "partition_key"
