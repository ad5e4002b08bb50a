"""The sensor that materializes an asset when the batches of its submitted partitions have ended."""

import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import dagster as dg

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import RETENTION, Batch
from claude_batch_dagster.core.waiting import look
from claude_batch_dagster.declarations import Declaration, declaration_of
from claude_batch_dagster.errors import ClaudeBatchError
from claude_batch_dagster.jobs import MAX_RUNTIME
from claude_batch_dagster.partitions import all_keys, dimensions_of
from claude_batch_dagster.ranges import Places, partition_tags, stretches
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.submission_asset import submission_key

COLLECTS = "claude_batch/collects"
"""Run tag: the asset that a run of the sensor brings home."""

RUNNING = [State.ACCEPTED, State.ADOPTED]
"""States in which only the API can say whether a batch has ended."""

LONGEST_PAUSE = timedelta(hours=1)
"""Between two runs for partitions whose collection fails again and again."""

MANY_RUNS = 1_000
"""Runs of the sensor looked back to."""


def build_collect_sensor(asset: dg.AssetsDefinition, *, minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
    """
    Declare `<name>_collect`: it starts `<name>` for submitted partitions whose batches have ended.

    A tick reads the ledger and asks the API's list once for all open batches; it opens no database of
    documents. Neighboring partitions share a run, in two dimensions those that have one of the two in common. A run
    that failed is asked for again, after a pause that doubles each time, up to an hour. While the API does
    not answer, the tick is skipped with the reason.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned.
        minimum_interval_seconds: Seconds between two ticks at least; default 60.

    Raises:
        ConfigurationError: `asset` is another one.

    """
    declared = declaration_of(asset)

    @dg.sensor(
        name=f"{declared.name}_collect",
        target=[asset],
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={declared.resource_key},
        description=f"Materializes {declared.spec.key.to_user_string()} for submitted partitions whose batches "
        "have ended.",
    )
    def collect(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        resource = getattr(context.resources, declared.resource_key)
        try:
            return _tick(context.instance, declared, resource)
        except ClaudeBatchError as error:
            return dg.SkipReason(f"Not now: {error}")

    return collect


Failures = Mapping[str | None, AbstractSet[float]]
"""When runs of the sensor failed, in seconds since 1970, by partition."""


def _tick(
    instance: dg.DagsterInstance, declared: Declaration, resource: ClaudeBatchResource
) -> dg.SensorResult | dg.SkipReason:
    waiting = _submitted(instance, declared)
    if not waiting:
        return dg.SkipReason("Nothing is submitted that is not collected.")
    keys, grid = all_keys(declared.spec.partitions_def, instance), bool(dimensions_of(declared.spec.partitions_def))
    busy, failures = _earlier(instance, declared, Places(keys, grid=grid))
    ready = waiting.keys() - busy
    if ready:
        ready -= _still_running(declared, resource)
    if not ready:
        return dg.SkipReason(f"{len(waiting)} partitions are submitted: their batches run, or they are collected now.")
    asked = (_request(declared, stretch, waiting, failures) for stretch in stretches(keys, ready, grid=grid))
    due = [request for request in asked if request]
    return dg.SensorResult(run_requests=due) if due else dg.SkipReason("The last collection failed; it waits.")


def _earlier(
    instance: dg.DagsterInstance, declared: Declaration, places: Places
) -> tuple[set[str | None], dict[str | None, set[float]]]:
    """Return the partitions that runs of the sensor are at work on, and when such runs failed."""
    busy: set[str | None] = set()
    failures: dict[str | None, set[float]] = {}
    for record in instance.get_run_records(dg.RunsFilter(tags={COLLECTS: declared.name}), limit=MANY_RUNS):
        run = record.dagster_run
        if not run.is_finished:
            busy |= places.covered(run)
        elif run.is_failure and record.end_time:
            for key in places.covered(run):
                failures.setdefault(key, set()).add(record.end_time)
    return busy, failures


def _submitted(instance: dg.DagsterInstance, declared: Declaration) -> dict[str | None, int]:
    """Return partitions submitted since they were last materialized, with the mark of that submission."""
    submitted = _latest(instance, submission_key(declared))
    materialized = _latest(instance, declared.spec.key)
    return {key: mark for key, mark in submitted.items() if mark > materialized.get(key, 0)}


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str | None, int]:
    """Return the position in the event log of each partition's latest materialization."""
    latest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    by_partition: dict[str | None, int] = dict(latest.items())
    if not by_partition and (record := instance.get_latest_materialization_event(key)):
        event = instance.fetch_materializations(key, limit=1).records[0]
        return {record.asset_materialization.partition if record.asset_materialization else None: event.storage_id}
    return by_partition


def _still_running(declared: Declaration, resource: ClaudeBatchResource) -> set[str | None]:
    """Return the partitions with rows in a batch that has not ended, by one look at the API's list."""
    with resource.open_ledger() as ledger, resource.open_api() as api:
        by_partition = ledger.unfinished(declared.question.pipeline)
        chunks = {chunk.chunk_id: chunk for chunk in ledger.chunks(declared.question.pipeline, RUNNING)}
        seen = look(api, [chunk.batch_id for chunk in chunks.values() if chunk.batch_id])
        if seen.trouble is not None:
            raise seen.trouble
    running = {
        chunk_id for chunk_id, chunk in chunks.items() if not _is_over(chunk, seen.batches.get(chunk.batch_id or ""))
    }
    return {key for key, carriers in by_partition.items() if carriers & running}


def _is_over(chunk: ChunkRecord, batch: Batch | None) -> bool:
    """Whether there is something to collect, if only the news that the results are gone."""
    if batch is not None:
        return batch.ended
    return datetime.now(UTC) - (chunk.batch_created_at or chunk.intended_at) > RETENTION


def _request(
    declared: Declaration, stretch: Sequence[str | None], marks: Mapping[str | None, int], failures: Failures
) -> dg.RunRequest | None:
    """Ask for a run of neighbors; None while the pause after a failure lasts."""
    ends = {end for key in stretch for end in failures.get(key, ())}
    lately = [end for end in ends if time.time() - end < 2 * LONGEST_PAUSE.total_seconds()]
    pause = min(LONGEST_PAUSE.total_seconds(), 60.0 * 2 ** len(lately))
    if lately and time.time() - max(lately) < pause:
        return None
    told = "|".join(f"{key}:{marks[key]}" for key in stretch)
    return dg.RunRequest(
        # A key is run once, for ever: submitted anew, or failed once more, is another key.
        run_key=f"{sha256(told.encode(errors='surrogatepass')).hexdigest()[:16]}:{len(ends)}",
        tags={COLLECTS: declared.name, **partition_tags(stretch), **MAX_RUNTIME},
    )
