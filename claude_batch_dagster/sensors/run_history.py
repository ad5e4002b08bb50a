"""What became of the runs that a sensor asked for: who is at work, and who failed and is left alone for a while."""

import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import dagster as dg

from claude_batch_dagster.assets.jobs import MAX_RUNTIME_SECONDS
from claude_batch_dagster.runs.ranges import Places

FIRST_PAUSE_SECONDS = 60.0
"""It doubles with each run that failed: two minutes after the first."""

LONGEST_PAUSE_SECONDS = 3_600.0
"""Between two runs for partitions that fail again and again."""

MANY_RUNS = 10_000
"""Runs of one kind looked back to."""

BEGUN = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

AT_WORK = [dg.DagsterRunStatus.QUEUED, *BEGUN]
"""Not `NOT_STARTED`: such a run is about to be queued, or was forgotten, and is when it is asked for again."""

FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Earlier runs of one sensor, by partition."""

    busy: AbstractSet[str | None]
    """Partitions that a run is at work on."""
    ends: Mapping[str | None, AbstractSet[float]]
    """When runs failed, were canceled or got lost since the last that succeeded, in seconds since 1970."""

    @classmethod
    def of(cls, instance: dg.DagsterInstance, tags: Mapping[str, str], places: Places, *, key: dg.AssetKey) -> Self:
        """Look back at the runs with these tags, which were to materialize the asset."""
        working = _runs(instance, tags, AT_WORK)
        lost = [record for record in working if _is_lost(record)]
        failed = _runs(instance, tags, FAILED) + lost
        # What is older than the first failure cannot have mended anything, so it is not gone through.
        since = min((record.create_timestamp for record in failed), default=None)
        mended = _runs(instance, tags, [dg.DagsterRunStatus.SUCCESS], since=since) if since else []
        return cls(
            busy={one for record in working if record not in lost for one in places.covered(record.dagster_run)},
            ends=_ends(instance, [*failed, *mended], places, key),
        )

    @property
    def failed(self) -> set[str | None]:
        """Partitions whose latest run failed or was canceled."""
        return self.ends.keys() - self.busy

    def resting(self) -> set[str | None]:
        """Return those of them that are left alone for now: twice as long after each failure."""
        return {key for key in self.failed if time.time() - max(self.ends[key]) < _pause(len(self.ends[key]))}

    def latest(self, keys: Iterable[str | None]) -> float:
        """Return when the latest run for any of these failed or was canceled; 0 if none did."""
        return max((max(self.ends[key]) for key in keys if key in self.ends), default=0.0)


def _runs(
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    statuses: Sequence[dg.DagsterRunStatus],
    *,
    since: datetime | None = None,
) -> list[dg.RunRecord]:
    wanted = dg.RunsFilter(tags=dict(tags), statuses=statuses, created_after=since)
    return list(instance.get_run_records(wanted, limit=MANY_RUNS))


def _ends(
    instance: dg.DagsterInstance, over: Iterable[dg.RunRecord], places: Places, key: dg.AssetKey
) -> dict[str | None, set[float]]:
    """Return when runs came to nothing since the last that did not, by partition."""
    mended: set[str | None] = set()
    ends: dict[str | None, set[float]] = {}
    for record in sorted(over, key=lambda record: record.storage_id, reverse=True):
        run, covered = record.dagster_run, places.covered(record.dagster_run) - mended
        if run.is_success:
            mended |= covered
            continue
        if latest := covered - ends.keys():
            mended |= latest & _materialized(instance, run, key)
        for one in covered - mended:
            ends.setdefault(one, set()).add(_end(record))
    return ends


def _materialized(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey) -> set[str | None]:
    """Return what a run has materialized: where a check failed it after that, another run would change nothing."""
    found = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {record.partition_key for record in found.records if record.asset_key == key}


def at_work(instance: dg.DagsterInstance, key: dg.AssetKey, places: Places) -> set[str | None]:
    """Return the partitions of an asset that any run is at work on, whoever started it."""
    found = instance.get_run_records(dg.RunsFilter(statuses=AT_WORK), limit=MANY_RUNS)
    runs = [record.dagster_run for record in found if not _is_lost(record)]
    return {partition for run in runs if _is_for(instance, run, key) for partition in places.covered(run)}


def _is_lost(record: dg.RunRecord) -> bool:
    """
    Whether a run is past the time in which every one ends, so that its process must have died.

    Without run monitoring, which is off by default, Dagster takes it for running for ever.
    """
    return record.dagster_run.status in BEGUN and _end(record) < time.time()


def _end(record: dg.RunRecord) -> float:
    """Return when a run that did not succeed ended, or is taken for lost."""
    if record.dagster_run.is_finished:
        return record.end_time or record.update_timestamp.timestamp()
    return (record.start_time or record.update_timestamp.timestamp()) + MAX_RUNTIME_SECONDS


def _is_for(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    """Whether a run is to materialize an asset; one of a whole job names no asset, and its plan says which ones."""
    if run.asset_selection is not None:
        return key in run.asset_selection
    planned = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    return any(record.asset_key == key for record in planned.records)


def _pause(n_failures: int) -> float:
    pause = FIRST_PAUSE_SECONDS
    for _ in range(n_failures):
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return pause
