"""The sensor that materializes an asset when the batches of its submitted partitions have ended."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Self

import dagster as dg

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi
from claude_batch_dagster.core.waiting import look
from claude_batch_dagster.declarations import Declaration, declaration_of
from claude_batch_dagster.earlier_runs import Earlier, at_work
from claude_batch_dagster.errors import ClaudeBatchError
from claude_batch_dagster.jobs import MAX_RUNTIME
from claude_batch_dagster.partitions import all_keys, dimensions_of
from claude_batch_dagster.ranges import Places, partition_tags, stretches
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.storage.ledger import SqlLedger
from claude_batch_dagster.submission_asset import submission_key

COLLECTS = "claude_batch/collects"
"""Run tag: the asset that a run of the sensor brings home."""

NOTHING = "Nothing is submitted that is not collected."
GONE = (
    "What is submitted and not collected is of partitions that the asset does not have any more, and no run can be for "
    "them. Add them again to collect them."
)

RUNNING = [State.ACCEPTED, State.ADOPTED]
"""States in which only the API can say whether a batch has ended."""


def build_collect_sensor(asset: dg.AssetsDefinition, *, minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
    """
    Declare `<name>_collect`: it starts `<name>` for submitted partitions whose batches have ended.

    A tick reads the ledger and asks the API's list once for all open batches; it opens no database of
    documents. Neighboring partitions share a run, in two dimensions those that have one of the two in common. A run
    that failed or was canceled is asked for again, after a pause that doubles each time, up to an hour. While the
    API does not answer, the tick is skipped with the reason.

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


def _tick(
    instance: dg.DagsterInstance, declared: Declaration, resource: ClaudeBatchResource
) -> dg.SensorResult | dg.SkipReason:
    submitted = _latest(instance, submission_key(declared))
    if not submitted:
        return dg.SkipReason(NOTHING)
    materialized = _latest(instance, declared.spec.key)  # before the ledger: what lands meanwhile is not left over
    with resource.open_ledger(hurried=True) as ledger:
        travelling = Travelling.of(ledger, declared.question.pipeline)
    waiting = {key: str(mark) for key, mark in submitted.items() if mark > materialized.get(key, 0)}
    left = _left(submitted, waiting.keys(), travelling)
    keys, grid = all_keys(declared.spec.partitions_def, instance), bool(dimensions_of(declared.spec.partitions_def))
    there = set(keys)
    marks = {key: mark for key, mark in (waiting | left).items() if key in there}
    if not marks:
        return dg.SkipReason(GONE if waiting or left else NOTHING)
    places = Places(keys, grid=grid)
    earlier = Earlier.of(instance, {COLLECTS: declared.name}, places)
    busy = set(earlier.busy)
    if left:  # perhaps not left, but of a run by hand that will bring them home itself
        busy |= left.keys() & at_work(instance, declared.spec.key, places)
    ready = _ended(marks.keys() - busy, travelling, resource)
    if not ready:
        return dg.SkipReason(f"{len(marks)} partitions are submitted: their batches run, or they are collected now.")
    due = ready - earlier.resting()
    if not due:
        return dg.SkipReason("The last collection failed or was canceled; it waits.")
    found = stretches(keys, due, grid=grid)
    return dg.SensorResult(run_requests=[_request(declared, stretch, marks, earlier) for stretch in found])


def _left(
    submitted: Mapping[str | None, int], waiting: AbstractSet[str | None], travelling: "Travelling"
) -> dict[str | None, str]:
    """
    Return partitions materialized since they were submitted that have rows on their way all the same.

    The run that materialized them had looked at their documents before these rows were sent.
    """
    left = (submitted.keys() & travelling.carriers.keys()) - waiting
    return {key: f"{submitted[key]}:{max(travelling.carriers[key])}" for key in left}


def _ended(
    keys: AbstractSet[str | None], travelling: "Travelling", resource: ClaudeBatchResource
) -> AbstractSet[str | None]:
    """Return those of the partitions whose batches have all ended."""
    if not keys or not travelling.chunks:
        return keys
    with resource.open_api(hurried=True) as api:
        return keys - travelling.still_running(api)


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str | None, int]:
    """Return the position in the event log of each partition's latest materialization."""
    latest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    by_partition: dict[str | None, int] = dict(latest.items())
    if not by_partition and (record := instance.get_latest_materialization_event(key)):
        event = instance.fetch_materializations(key, limit=1).records[0]
        return {record.asset_materialization.partition if record.asset_materialization else None: event.storage_id}
    return by_partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Travelling:
    """What the ledger knows to be on its way, by one look."""

    carriers: Mapping[str | None, AbstractSet[str]]
    """The chunks that may still be at the API, by partition."""
    chunks: Mapping[str, ChunkRecord]
    """Those of which only the API can say whether they have ended."""

    @classmethod
    def of(cls, ledger: SqlLedger, pipeline: str) -> Self:
        """Read the ledger."""
        carriers = ledger.unfinished(pipeline)
        return cls(carriers=carriers, chunks={chunk.chunk_id: chunk for chunk in ledger.chunks(pipeline, RUNNING)})

    def still_running(self, api: BatchApi) -> set[str | None]:
        """Return the partitions with rows in a batch that has not ended, by one look at the API's list."""
        seen = look(api, [chunk.batch_id for chunk in self.chunks.values() if chunk.batch_id])
        if seen.trouble is not None:
            raise seen.trouble
        running = {
            chunk_id
            for chunk_id, chunk in self.chunks.items()
            if not _is_over(chunk, seen.batches.get(chunk.batch_id or ""))
        }
        return {key for key, carriers in self.carriers.items() if carriers & running}


def _is_over(chunk: ChunkRecord, batch: Batch | None) -> bool:
    """Whether there is something to collect, if only the news that the results are gone."""
    if batch is not None:
        return batch.ended
    return datetime.now(UTC) - (chunk.batch_created_at or chunk.intended_at) > RETENTION


def _request(
    declared: Declaration, stretch: Sequence[str | None], marks: Mapping[str | None, str], earlier: Earlier
) -> dg.RunRequest:
    """Ask for a run of neighbors."""
    told = "|".join(f"{key}:{marks[key]}" for key in stretch)
    return dg.RunRequest(
        # A key is run once, for ever: submitted anew, or failed once more, is another key.
        run_key=f"{sha256(told.encode(errors='surrogatepass')).hexdigest()[:16]}:{earlier.latest(stretch):.6f}",
        tags={COLLECTS: declared.name, **partition_tags(stretch), **MAX_RUNTIME},
    )
