"""The sensor that starts an asset when documents are new, changed or gone."""

import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product
from typing import Any

import dagster as dg

from claude_batch_dagster.assets.jobs import MAX_RUNTIME
from claude_batch_dagster.assets.registry import Declaration, declaration_of
from claude_batch_dagster.core.ports import OpenUpstream
from claude_batch_dagster.errors import ClaudeBatchError, ConfigurationError
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.partitions import BETWEEN, all_keys, dimensions_of, partitions_of_keys
from claude_batch_dagster.runs.ranges import Places, partition_tags, stretches
from claude_batch_dagster.sensors.changes import Memory, short
from claude_batch_dagster.sensors.run_history import Earlier

STARTS = "claude_batch/starts"
"""Run tag: the asset that a run of the sensor brings up to date."""


def build_new_documents_sensor(
    asset: dg.AssetsDefinition,
    *,
    settle_seconds: float = 60.0,
    max_partitions_per_tick: int = 100,
    minimum_interval_seconds: int = 60,
) -> dg.SensorDefinition:
    """
    Declare `<name>_new_documents`: it starts the asset for partitions whose documents are not what they were.

    Each tick opens the database once, for a fingerprint of every partition. A partition is started when its
    fingerprint is new and has not changed for `settle_seconds`, so that a table that is being loaded is left in
    peace; one that never rests is started after ten times as long. Of dynamic partitions those that are new upstream
    are added first. Rows that did not change are not sent again, so being started once too often costs nothing. A
    partition whose run failed or was canceled is started again, after a pause that doubles each time, up to an hour.
    While the database is locked the tick is skipped with the reason.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned, reading its table from DuckDB.
        settle_seconds: Seconds for which documents must not have changed; default 60. Ten times as long after their
            first change they are started all the same.
        max_partitions_per_tick: Partitions started in one tick at most; default 100.
        minimum_interval_seconds: Seconds between two ticks at least; default 60.

    Raises:
        ConfigurationError: `asset` is another one, or an IO manager hands over its documents.

    """
    declared = declaration_of(asset)
    if declared.source.ins:
        raise ConfigurationError(
            "a sensor cannot ask an IO manager for a DataFrame. Give the asset its upstream by name, so that the table "
            "is read from DuckDB, or write a sensor for where the documents come from."
        )

    @dg.sensor(
        name=f"{declared.name}_new_documents",
        target=declared.selection,
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={declared.resource_key},
        description=f"Materializes {declared.spec.key.to_user_string()} where documents are new, changed or gone.",
    )
    def new_documents(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            here = declared.loaded(context.repository_def)
            return _tick(context, here, settle_seconds=settle_seconds, limit=max_partitions_per_tick)
        except ClaudeBatchError as error:
            return dg.SkipReason(f"Not now: {error}")

    return new_documents


def _tick(
    context: dg.SensorEvaluationContext, declared: Declaration, *, settle_seconds: float, limit: int
) -> dg.SensorResult:
    known, found = _look(context, declared)
    places = Places(known.keys, grid=bool(dimensions_of(declared.spec.partitions_def)))
    earlier = Earlier.of(context.instance, {STARTS: declared.name}, places, key=declared.spec.key)
    memory = Memory.of(context.cursor)
    memory.forget(earlier.failed)
    resting = earlier.resting()
    due = memory.notice(found, now=time.time(), settle_seconds=settle_seconds, limit=limit, resting=resting)
    if not due:
        return dg.SensorResult(skip_reason=memory.reason, cursor=memory.cursor)
    return _result(declared, known, memory, due)


def _look(context: dg.SensorEvaluationContext, declared: Declaration) -> tuple["Known", dict[str | None, str]]:
    """Return the partitions there are, and a fingerprint of the documents of each that has some."""
    resource: ClaudeBatchResource = getattr(context.resources, declared.resource_key)
    listed = [list(all_keys(dimension, context.instance)) for dimension in _dimensions(declared)]
    # Opened once: each time it may have to be waited for, and a tick has a minute in all.
    with resource.open_upstream(declared.task.upstream) as upstream:
        known = _known(declared, listed, upstream)
        found = upstream.fingerprints(partitions_of_keys(declared.spec.partitions_def, known.keys))
    return known, {key: short(mark) for key, mark in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The partitions there are, and those that dynamic partitions will have to be given."""

    keys: Sequence[str | None]
    new: Mapping[str, Sequence[str]]
    """Keys that rows name and Dagster does not know, by the name of the dynamic partitions."""

    def requests(self, parts: AbstractSet[str]) -> list[Any]:
        """Ask for those of the new keys that are needed now."""
        wanted = {name: sorted(set(keys) & parts) for name, keys in self.new.items()}
        return [
            dg.DynamicPartitionsDefinition(name=name).build_add_request(keys) for name, keys in wanted.items() if keys
        ]


def _dimensions(declared: Declaration) -> list[dg.PartitionsDefinition[str] | None]:
    partitions_def = declared.spec.partitions_def
    return list(dimensions_of(partitions_def).values()) or [partitions_def]


def _known(declared: Declaration, listed: Sequence[list[str | None]], upstream: OpenUpstream) -> Known:
    """Add the keys that rows name to those that Dagster has listed, by dimension."""
    several = len(listed) > 1
    new: dict[str, list[str]] = {}
    for n, dimension in enumerate(_dimensions(declared)):
        if isinstance(dimension, dg.DynamicPartitionsDefinition) and dimension.name:
            # Where there are two dimensions Dagster takes no key with the mark that stands between them.
            usable = [key for key in upstream.keys(n) if not several or BETWEEN not in key]
            found = sorted(set(usable) - set(listed[n]))
            new.setdefault(dimension.name, []).extend(found)
            listed[n].extend(found)
    keys = [BETWEEN.join(map(str, parts)) for parts in product(*listed)] if several else listed[0]
    return Known(keys=keys, new=new)


def _result(declared: Declaration, known: Known, memory: Memory, due: Mapping[str | None, str]) -> dg.SensorResult:
    grid = bool(dimensions_of(declared.spec.partitions_def))
    there = {key for key, mark in due.items() if key is not None and mark}
    parts = {part for key in there for part in (key.split(BETWEEN) if grid else [key])}
    return dg.SensorResult(
        run_requests=[_request(declared, memory, stretch, due) for stretch in stretches(known.keys, due, grid=grid)],
        dynamic_partitions_requests=known.requests(parts),
        cursor=memory.cursor,
    )


def _request(
    declared: Declaration, memory: Memory, stretch: list[str | None], due: Mapping[str | None, str]
) -> dg.RunRequest:
    told = "|".join(f"{key}:{due[key]}" for key in stretch)
    return dg.RunRequest(
        run_key=memory.run_key(told),
        asset_selection=[declared.spec.key],
        tags={STARTS: declared.name, **partition_tags(stretch), **MAX_RUNTIME},
    )
