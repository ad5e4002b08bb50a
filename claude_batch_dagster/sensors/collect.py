"""The sensor that materializes an asset when the batches of its submitted partitions have ended."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

import dagster as dg

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.assets.jobs import MAX_RUNTIME
from claude_batch_dagster.assets.registry import Declaration, declaration_of
from claude_batch_dagster.assets.submission import submission_key
from claude_batch_dagster.errors import ClaudeBatchError
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.partitions import all_keys, dimensions_of
from claude_batch_dagster.runs.ranges import Places, partition_tags, stretches
from claude_batch_dagster.sensors.run_history import Earlier, at_work
from claude_batch_dagster.sensors.uncollected import Memory, Pending, Travelling

COLLECTS = "claude_batch/collects"
"""Run tag: the asset that a run of the sensor brings home."""

NOTHING = "Nothing is submitted that is not collected."
ONE_WAITS = "partition is submitted: its batches run, or it is collected now."
MANY_WAIT = "partitions are submitted: their batches run, or they are collected now."
ELSEWHERE = (
    "What is on its way was sent to another base URL or workspace than this resource's. Collect it with a resource for "
    "that place; nothing is started here, where it would be sent again."
)
GONE = (
    "What is submitted and not collected is of partitions that the asset does not have any more, and no run can be for "
    "them. Add them again to collect them."
)


def build_collect_sensor(asset: dg.AssetsDefinition, *, minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
    """
    Declare `<name>_collect`: it starts `<name>` for submitted partitions whose batches have ended.

    Partitions that a submission had begun to send when it died are started too; what a person canceled is not. A tick
    reads the ledger and asks the API's list once for all open batches; it opens no database of documents. Neighboring
    partitions share a run, in two dimensions those that have one of the two in common. A run that failed or was
    canceled is asked for again, after a pause that doubles each time, up to an hour. While the API does not answer,
    the tick is skipped with the reason.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned.
        minimum_interval_seconds: Seconds between two ticks at least; default 60.

    Raises:
        ConfigurationError: `asset` is another one.

    """
    declared = declaration_of(asset)

    @dg.sensor(
        name=f"{declared.name}_collect",
        target=declared.selection,
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={declared.resource_key},
        description=f"Materializes {declared.spec.key.to_user_string()} for submitted partitions whose batches "
        "have ended.",
    )
    def collect(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        resource = getattr(context.resources, declared.resource_key)
        try:
            return _tick(context, declared.loaded(context.repository_def), resource)
        except ClaudeBatchError as error:
            return dg.SkipReason(f"Not now: {error}")

    return collect


def _tick(context: dg.SensorEvaluationContext, declared: Declaration, resource: ClaudeBatchResource) -> dg.SensorResult:
    instance, definition = context.instance, declared.spec.partitions_def
    keys, grid = all_keys(definition, instance), bool(dimensions_of(definition))
    places = Places(keys, grid=grid)
    submitted = _latest(instance, submission_key(declared))
    materialized = _latest(instance, declared.spec.key)  # before the ledger: what lands meanwhile is not left over
    memory = Memory.of(context.cursor)
    earlier = Earlier.of(instance, {COLLECTS: declared.name}, places, key=declared.spec.key)
    # A run by hand, or of a job of somebody's own, brings its partitions home itself.
    busy = earlier.busy | at_work(instance, declared.spec.key, places)
    with resource.open_api(hurried=True) as api:
        with resource.open_ledger(hurried=True) as ledger:
            travelling = Travelling.of(ledger, declared.pipelines, account=api.account)
        pending = Pending.of(submitted, materialized, travelling, memory)
        pending = pending.without(pending.stray.keys() & at_work(instance, submission_key(declared), places))
        seen = travelling.seen(api, pending.marks.keys() - busy)
    pending = pending.without(pending.stray.keys() & seen.canceled)  # whoever canceled them did not want them
    there = pending.marks.keys() & set(keys)
    due = there - busy - seen.running - earlier.resting()
    reason = None if due else _why_not(there, there - busy - seen.running, pending, travelling)
    return dg.SensorResult(
        run_requests=[
            _request(declared, stretch, pending.marks, earlier) for stretch in stretches(keys, due, grid=grid)
        ],
        skip_reason=reason,
        cursor=Memory.after(pending, materialized).cursor,
    )


def _why_not(
    there: Collection[str | None], ready: Collection[str | None], pending: Pending, travelling: Travelling
) -> str:
    """Say why no run is started."""
    if ready:
        return "The last collection failed or was canceled; it waits."
    if there:
        return counted(len(there), ONE_WAITS, MANY_WAIT)
    if pending.marks:
        return GONE
    return ELSEWHERE if travelling.elsewhere else NOTHING


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str | None, int]:
    """Return the position in the event log of each partition's latest materialization."""
    latest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    by_partition: dict[str | None, int] = dict(latest.items())
    if not by_partition and (record := instance.get_latest_materialization_event(key)):
        event = instance.fetch_materializations(key, limit=1).records[0]
        return {record.asset_materialization.partition if record.asset_materialization else None: event.storage_id}
    return by_partition


def _request(
    declared: Declaration, stretch: Sequence[str | None], marks: Mapping[str | None, str], earlier: Earlier
) -> dg.RunRequest:
    """Ask for a run of neighbors."""
    told = "|".join(f"{key}:{marks[key]}" for key in stretch)
    return dg.RunRequest(
        # A key is run once, for ever: submitted anew, or failed once more, is another key.
        run_key=f"{sha256(told.encode(errors='surrogatepass')).hexdigest()[:16]}:{earlier.latest(stretch):.6f}",
        asset_selection=[declared.spec.key],
        tags={COLLECTS: declared.name, **partition_tags(stretch), **MAX_RUNTIME},
    )
