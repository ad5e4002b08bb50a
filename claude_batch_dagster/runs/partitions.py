"""Between Dagster's partitions and ours."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

import dagster as dg

from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.tables import literal, quoted
from claude_batch_dagster.errors import ConfigurationError

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"

BETWEEN = "|"
"""What Dagster writes between the keys of two dimensions; no key of either may hold it."""

COLUMN = re.compile(r"[^\W\d]\w*")
"""The plain name of a column, which may be a word of SQL."""

PartitionExpr = str | Mapping[str, str]
"""SQL that says which partition a row is of; in two dimensions one by the name of each."""

Dimensions = Mapping[str, dg.PartitionsDefinition[str]]


def dimensions_of(partitions_def: dg.PartitionsDefinition[str] | None) -> Dimensions:
    """Return the dimensions by name, in the order in which keys name them; none if there is one only."""
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return {}
    return {dimension.name: dimension.partitions_def for dimension in partitions_def.partitions_defs}


def partition_rule(partitions_def: dg.PartitionsDefinition[str] | None, expr: PartitionExpr | None) -> PartitionRule:
    """Return how upstream rows name their partition; raise if that was not said."""
    if partitions_def is None:
        if expr is not None:
            raise ConfigurationError("partition_expr without partitions_def means nothing: give both, or neither.")
        return PartitionRule(expr=None)
    if expr is None:
        raise ConfigurationError(
            "a partitioned asset needs partition_expr: SQL over the upstream columns that gives a row's partition, "
            "such as partition_expr='published_on'."
        )
    if dimensions := dimensions_of(partitions_def):
        return PartitionRule(expr=None, parts=_rules(dimensions, expr))
    if not isinstance(expr, str):
        raise ConfigurationError("partition_expr by dimension needs a MultiPartitionsDefinition; give one expression.")
    return _rule(partitions_def, expr)


def _rules(dimensions: Dimensions, expr: PartitionExpr) -> tuple[PartitionRule, ...]:
    if isinstance(expr, str) or set(expr) != set(dimensions):
        wanted = ", ".join(f"{name!r}: ..." for name in dimensions)
        raise ConfigurationError(
            f"partitions in two dimensions need a partition_expr for each, by name: partition_expr={{{wanted}}}."
        )
    return tuple(_rule(dimension, expr[name]) for name, dimension in dimensions.items())


def _rule(partitions_def: dg.PartitionsDefinition[str], expr: str) -> PartitionRule:
    zone = partitions_def.timezone if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition) else "UTC"
    return PartitionRule(expr=quoted(expr) if COLUMN.fullmatch(expr) else expr, timezone=zone)


def partitions_of(context: dg.AssetExecutionContext) -> list[Partition]:
    """Return the partitions this run is asked for: one, a range, or the whole of an unpartitioned asset."""
    partitions_def = context.assets_def.partitions_def
    if partitions_def is None:  # even when the run has a partition, for the sake of a neighbor
        return [Partition(key=None)]
    partitions = partitions_of_keys(partitions_def, context.partition_keys)
    if not partitions:
        raise ConfigurationError(
            f"the run is for the range {context.partition_key_range.start} to {context.partition_key_range.end}, in "
            "which there is no partition. In two dimensions a range is the rectangle between two corners, the first of "
            "which is the lower one in both. Nothing was sent."
        )
    return partitions


def partitions_of_keys(
    partitions_def: dg.PartitionsDefinition[str] | None, keys: Sequence[str | None]
) -> list[Partition]:
    """Return partitions by key; time windows with their first moment and the first after them."""
    dimensions = dimensions_of(partitions_def)
    return [
        Partition(key=str(key), parts=_parts(dimensions, key))
        if dimensions and key
        else _partition(partitions_def, key)
        for key in keys
    ]


def _parts(dimensions: Dimensions, key: str) -> tuple[Partition, ...]:
    pairs = zip(dimensions.values(), key.split(BETWEEN), strict=True)
    return tuple(_partition(dimension, part) for dimension, part in pairs)


def _partition(partitions_def: dg.PartitionsDefinition[str] | None, key: str | None) -> Partition:
    if key is None or not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return Partition(key=key)
    window = partitions_def.time_window_for_partition_key(key)
    start, end = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (window.start, window.end))
    local = (window.start.replace(tzinfo=None), window.end.replace(tzinfo=None))
    return Partition(key=key, start=local[0], end=local[1], instants=(start, end))


def dimension_tags(partitions_def: dg.PartitionsDefinition[str] | None, key: str | None) -> dict[str, str]:
    """Return the tags by which Dagster finds a materialization in each of two dimensions; none for one."""
    parts = zip(dimensions_of(partitions_def), (key or "").split(BETWEEN), strict=False)
    return {f"dagster/partition/{name}": part for name, part in parts}


def output_partition_expr(partitions_def: dg.PartitionsDefinition[str] | None) -> PartitionExpr | None:
    """
    Return the SQL by which IO managers of dagster-duckdb select partitions of the output table.

    They compare it with moments for time windows, and with partition keys otherwise; in two dimensions
    each of the two. Where a clock is set back, Dagster tells the two hours apart by the offset behind the key.
    """
    if partitions_def is None:
        return None
    if dimensions := dimensions_of(partitions_def):
        return {
            name: _expr(dimension, f"split_part(partition_key, '{BETWEEN}', {n})")
            for n, (name, dimension) in enumerate(dimensions.items(), start=1)
        }
    return _expr(partitions_def, "partition_key")


def _expr(partitions_def: dg.PartitionsDefinition[str], key: str) -> str:
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return key
    fmt, zone = partitions_def.fmt, partitions_def.timezone
    moment = f"try_strptime({key}, {literal(fmt)})"
    if zone == "UTC":
        return moment
    return f"coalesce({moment}, try_strptime({key}, {literal(f'{fmt}%z')}) AT TIME ZONE {literal(zone)})"


def is_partition(
    partitions_def: dg.PartitionsDefinition[str] | None, instance: dg.DagsterInstance, asset_key: dg.AssetKey
) -> Callable[[str | None], bool]:
    """
    Return what says of a key whether there is a partition of it today, as far as this instance knows.

    A dynamic partition is gone only where the instance has materialized it: another instance, as that of a branch
    deployment, does not know those of this one.
    """
    dimensions = list(dimensions_of(partitions_def).values()) or ([partitions_def] if partitions_def else [])

    @cache
    def dynamic(name: str) -> frozenset[str]:
        return frozenset(instance.get_dynamic_partitions(name))

    @cache
    def materialized() -> frozenset[str]:
        return frozenset(instance.get_materialized_partitions(asset_key))

    @cache
    def has_key(n: int, key: str) -> bool:
        dimension = dimensions[n]
        if isinstance(dimension, dg.DynamicPartitionsDefinition) and dimension.name:
            return key in dynamic(dimension.name)
        return dimension.has_partition_key(key)

    def is_one(key: str | None) -> bool:
        if key is None or not dimensions:
            return key is None and not dimensions
        parts = key.split(BETWEEN) if len(dimensions) > 1 else [key]
        if len(parts) != len(dimensions):
            return False
        lacking = [dimensions[n] for n, part in enumerate(parts) if not has_key(n, part)]
        unknown = all(isinstance(dimension, dg.DynamicPartitionsDefinition) for dimension in lacking)
        return not lacking or (unknown and key not in materialized())

    return is_one


def all_keys(partitions_def: dg.PartitionsDefinition[str] | None, instance: dg.DagsterInstance) -> Sequence[str | None]:
    """Return every partition key there is now, in order; one None for an asset without partitions."""
    if partitions_def is None:
        return [None]
    return partitions_def.get_partition_keys(dynamic_partitions_store=instance)


def current_corners(
    partitions_def: dg.PartitionsDefinition[str] | None, instance: dg.DagsterInstance, at: datetime
) -> Sequence[str | None]:
    """
    Return the first and the last of the partitions that were current at a moment; nothing if there were none.

    Of time windows only the latest is current, and all there is of anything else: in two dimensions
    these are the corners of a line, or of the whole grid. An asset without partitions has one None.
    """
    if partitions_def is None:
        return [None]
    dimensions = dimensions_of(partitions_def)
    if not dimensions:
        return _ends(_current(partitions_def, instance, at))
    # Dagster takes no key with the mark that stands between the two.
    lists = [[key for key in _current(one, instance, at) if BETWEEN not in key] for one in dimensions.values()]
    return [BETWEEN.join(corner) for corner in zip(*map(_ends, lists), strict=True)] if all(lists) else []


def _current(partitions_def: dg.PartitionsDefinition[str], instance: dg.DagsterInstance, at: datetime) -> Sequence[str]:
    keys = partitions_def.get_partition_keys(current_time=at, dynamic_partitions_store=instance)
    return keys[-1:] if isinstance(partitions_def, dg.TimeWindowPartitionsDefinition) else keys


def _ends(keys: Sequence[str]) -> list[str]:
    return [keys[0], keys[-1]] if keys else []
