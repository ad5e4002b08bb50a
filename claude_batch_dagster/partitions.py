"""Between Dagster's partitions and ours, and the runs that cover many of them."""

from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from claude_batch_dagster.core.partitions import Partition, PartitionRule
from claude_batch_dagster.errors import ConfigurationError

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


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
    return partitions_of_keys(partitions_def, context.partition_keys)


def partitions_of_keys(
    partitions_def: dg.PartitionsDefinition[str] | None, keys: Sequence[str | None]
) -> list[Partition]:
    """Return partitions by key; time windows with their first moment and the first after them."""
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return [Partition(key=key) for key in keys]
    windows = ((key, partitions_def.time_window_for_partition_key(key)) for key in keys if key is not None)
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


def all_keys(partitions_def: dg.PartitionsDefinition[str] | None, instance: dg.DagsterInstance) -> Sequence[str | None]:
    """Return every partition key there is now, in order; one None for an asset without partitions."""
    if partitions_def is None:
        return [None]
    return partitions_def.get_partition_keys(dynamic_partitions_store=instance)


def stretches(all_keys: Sequence[str | None], wanted: Collection[str | None]) -> Iterator[list[str | None]]:
    """Group the wanted partitions into stretches without a gap, in the order of the partitions definition."""
    stretch: list[str | None] = []
    for key in all_keys:
        if key in wanted:
            stretch.append(key)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def partition_tags(keys: Sequence[str | None]) -> dict[str, str]:
    """Return the tags of a run over one stretch of partitions; none for an asset without partitions."""
    first, last = keys[0], keys[-1]
    return {} if first is None or last is None else {RANGE_START: first, RANGE_END: last}


def covered(run: dg.DagsterRun, all_keys: Sequence[str | None]) -> set[str | None]:
    """Return the partitions that a run is for."""
    if RANGE_START in run.tags and run.tags[RANGE_START] in all_keys and run.tags[RANGE_END] in all_keys:
        first, last = all_keys.index(run.tags[RANGE_START]), all_keys.index(run.tags[RANGE_END])
        return set(all_keys[first : last + 1])
    return {run.tags.get("dagster/partition")}
