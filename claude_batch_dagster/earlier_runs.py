"""What became of the runs that a sensor asked for: who is at work, and who failed and is left alone for a while."""

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

import dagster as dg

from claude_batch_dagster.ranges import Places

FIRST_PAUSE_SECONDS = 60.0
"""It doubles with each run that failed: two minutes after the first."""

LONGEST_PAUSE_SECONDS = 3_600.0
"""Between two runs for partitions that fail again and again."""

MANY_RUNS = 1_000
"""Runs of the sensor looked back to."""

AT_WORK = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Earlier runs of one sensor, by partition."""

    busy: AbstractSet[str | None]
    """Partitions that a run is at work on."""
    ends: Mapping[str | None, AbstractSet[float]]
    """When runs failed or were canceled since the last that succeeded, in seconds since 1970."""

    @classmethod
    def of(cls, instance: dg.DagsterInstance, tags: Mapping[str, str], places: Places) -> Self:
        """Look back at the runs with these tags."""
        found = instance.get_run_records(dg.RunsFilter(tags=dict(tags)), limit=MANY_RUNS)
        busy: set[str | None] = set()
        succeeded: set[str | None] = set()
        ends: dict[str | None, set[float]] = {}
        # Newest first. What is older than the first failure cannot have mended anything, so it is not gone through.
        oldest = max((n for n, record in enumerate(found) if not record.dagster_run.is_success), default=-1)
        for record in found[: oldest + 1]:
            run, covered = record.dagster_run, places.covered(record.dagster_run)
            if not run.is_finished:
                busy |= covered
            elif run.is_success:
                succeeded |= covered
            else:
                for key in covered - succeeded:
                    ends.setdefault(key, set()).add(record.end_time or record.update_timestamp.timestamp())
        return cls(busy=busy, ends=ends)

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


def at_work(instance: dg.DagsterInstance, key: dg.AssetKey, places: Places) -> set[str | None]:
    """Return the partitions of an asset that any run is at work on, whoever started it."""
    found = instance.get_run_records(dg.RunsFilter(statuses=AT_WORK), limit=MANY_RUNS)
    runs = [record.dagster_run for record in found if key in (record.dagster_run.asset_selection or ())]
    return {partition for run in runs for partition in places.covered(run)}


def _pause(n_failures: int) -> float:
    pause = FIRST_PAUSE_SECONDS
    for _ in range(n_failures):
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return pause
