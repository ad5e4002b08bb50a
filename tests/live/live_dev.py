"""Everything the UI can ask of a `dagster dev`, and tell it, by GraphQL."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import dagster as dg
import pytest

from tests.dagster_dev import FINISHED, RANGE, DagsterDev
from tests.live.queries import (
    ADD_PARTITION,
    BACKFILL,
    BACKFILL_STATUS,
    CANCEL_BACKFILL,
    CHECK_STATUSES,
    CHECKS,
    LOG,
    MATERIALIZATIONS,
    OBSERVATIONS,
    PAGE,
    REEXECUTE,
    RELOAD,
    RUNS,
    STALE,
    START_SCHEDULE,
    START_SENSOR,
    STOP_SCHEDULE,
    STOP_SENSOR,
    TERMINATE,
    TICKS,
)

PATIENCE = 180.0
"""Seconds for what takes a few on a machine with nothing else to do."""

IN_PROCESS: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}
MULTIPROCESS: dict[str, Any] = {"execution": {"config": {"multiprocess": {}}}}

Found = TypeVar("Found")


class LiveDev(DagsterDev):
    """What a person can do in the UI, and see there."""

    def until(self, look: Callable[[], Found], what: str, *, seconds: float = PATIENCE) -> Found:
        """Look until there is something; fail, with the end of the log, if it takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.2)
        pytest.fail(f"{what}: not after {seconds} s\n{self.log.read_text()[-3000:]}")

    # --- runs --------------------------------------------------------------------------------------

    def start(
        self, asset: str, *years: str, config: Mapping[str, Any] = IN_PROCESS, tags: Mapping[str, str] | None = None
    ) -> str:
        """Launch a run for one year, or for all between two; return its id."""
        range_tags = dict(zip(RANGE, years, strict=True)) if len(years) > 1 else {"dagster/partition": years[0]}
        return self.launch(asset, tags={**range_tags, **(tags or {})}, config=config)

    def run(self, asset: str, *years: str, config: Mapping[str, Any] = IN_PROCESS) -> str:
        """Launch a run and wait for it; return its status."""
        return self.wait(self.start(asset, *years, config=config), seconds=PATIENCE)

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Return the runs with these tags (`__` for a slash), latest first."""
        wanted = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        runs: list[dict[str, Any]] = self.graphql(RUNS, filter={"tags": wanted})["runsOrError"]["results"]
        return runs

    def runs_of(self, asset: str) -> list[dict[str, Any]]:
        """Return the runs that an asset was selected for, latest first."""
        path = {"path": asset.split("/")}
        return [run for run in self.runs() if path in (run["assetSelection"] or [])]

    def unfinished(self) -> list[dict[str, Any]]:
        """Return the runs that have not ended."""
        return [run for run in self.runs() if run["status"] not in FINISHED]

    def terminate(self, run_id: str, *, policy: str = "SAFE_TERMINATE") -> None:
        """Click on Terminate; forced with `MARK_AS_CANCELED_IMMEDIATELY`."""
        told = self.graphql(TERMINATE, id=run_id, policy=policy)["terminateRun"]["__typename"]
        assert told == "TerminateRunSuccess"

    def reexecute(self, run_id: str, strategy: str = "FROM_FAILURE") -> str:
        """Click on re-execute; return the id of the new run."""
        launched = self.graphql(REEXECUTE, params={"parentRunId": run_id, "strategy": strategy})["launchRunReexecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def messages(self, run_id: str) -> str:
        """Return the log of a run, with its errors."""
        lines: list[str] = []
        after, more = None, True
        while more:
            page = self.graphql(LOG, id=run_id, after=after)["logsForRun"]
            after, more = page["cursor"], page["hasMore"]
            for event in page["events"]:
                lines += [event.get("message") or "", (event.get("error") or {}).get("message") or ""]
        return "\n".join(lines)

    def until_said(self, run_id: str, text: str) -> str:
        """Wait until the log of a run holds a text; return the log."""

        def said() -> str:
            messages = self.messages(run_id)
            return messages if text in messages else ""

        return self.until(said, f"the run says {text!r}")

    def until_waiting(self, run_id: str) -> None:
        """Wait until a run has a batch at the API and waits for it."""
        self.until_said(run_id, "1 batch open")

    def pid(self, run_id: str) -> int:
        """Return the process of a run."""
        found = re.search(r"Started process for run \(pid: (\d+)\)", self.messages(run_id))
        assert found, "the run has no process yet"
        return int(found[1])

    def pids(self, run_id: str) -> set[int]:
        """Return all processes of a run: the worker, and those of its steps if they have their own."""
        return {int(pid) for pid in re.findall(r"\(pid: (\d+)\)", self.messages(run_id))}

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run that is on its way; the UI has nothing for that."""
        with dg.DagsterInstance.from_config(str(self.log.parent / "instance")) as instance:
            instance.add_run_tags(run_id, tags)

    # --- processes ---------------------------------------------------------------------------------

    def kill(self, *programs: str) -> None:
        """Kill the processes of this `dagster dev` whose command line holds one of these texts."""
        listed = subprocess.run(["ps", "-axo", "pid=,pgid=,args="], capture_output=True, text=True, check=True)  # noqa: S607  (wherever it is)
        processes = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
        own = [(int(pid), args) for pid, group, args in processes if int(group) == self.process.pid]
        found = [pid for pid, args in own if any(program in args for program in programs)]
        assert found, f"no process of {programs} among {own}"
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # --- backfills ---------------------------------------------------------------------------------

    def backfill(self, *assets: str, keys: Sequence[str], config: Mapping[str, Any] = IN_PROCESS) -> str:
        """Launch a backfill; return its id."""
        selection = [{"path": asset.split("/")} for asset in assets]
        params = {"assetSelection": selection, "partitionNames": list(keys), "runConfigData": config}
        launched = self.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        """Return the status of a backfill."""
        return str(self.graphql(BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["status"])

    def backfill_counts(self, backfill_id: str) -> dict[str, tuple[int, int]]:
        """Return how many partitions of each asset a backfill has materialized, and how many failed."""
        data = self.graphql(BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["assetBackfillData"]
        return {
            one["assetKey"]["path"][-1]: (one["numPartitionsMaterialized"], one["numPartitionsFailed"])
            for one in data["assetBackfillStatuses"]
        }

    def wait_for_backfill(self, backfill_id: str, *, seconds: float = PATIENCE, cancel: bool = False) -> str:
        """
        Wait for the end of a backfill; return its status.

        To `cancel` is to click on Cancel, and again as long as it goes on: Dagster's daemon writes down at the end of
        a tick what it has read at its beginning, and so forgets a click that came between.
        """
        over = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED"}

        def status() -> str:
            now = self.backfill_status(backfill_id)
            if cancel and now == "REQUESTED":
                told = self.graphql(CANCEL_BACKFILL, id=backfill_id)["cancelPartitionBackfill"]["__typename"]
                assert told == "CancelBackfillSuccess"
            return now if now in over else ""

        return self.until(status, "the backfill ends", seconds=seconds)

    # --- assets ------------------------------------------------------------------------------------

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        """Return the materializations of an asset, latest first."""
        found = self.graphql(MATERIALIZATIONS, key={"path": asset.split("/")})["assetOrError"]
        events: list[dict[str, Any]] = found.get("assetMaterializations") or []
        return events

    def materialized(self, asset: str) -> set[str]:
        """Return the partitions of an asset that are materialized."""
        return {event["partition"] for event in self.materializations(asset)}

    def observations(self, asset: str) -> list[dict[str, Any]]:
        """Return the observations of an asset, latest first, with their figures by label."""
        found = self.graphql(OBSERVATIONS, key={"path": asset.split("/")})["assetOrError"]
        return [
            {**event, "figures": {entry["label"]: _figure(entry) for entry in event["metadataEntries"]}}
            for event in found.get("assetObservations") or []
        ]

    def page(self, asset: str) -> dict[str, Any]:
        """Return what an asset's page says of its definition; metadata by label."""
        found: dict[str, Any] = self.graphql(PAGE, key={"path": asset.split("/")})["assetNodeOrError"]
        return {**found, "metadata": {entry["label"]: entry for entry in found["metadataEntries"]}}

    def stale(self, asset: str, *years: str) -> list[tuple[str, list[str]]]:
        """Return whether each of these partitions is out of date, and the reasons."""
        found = self.graphql(STALE, key={"path": asset.split("/")}, years=list(years))["assetNodeOrError"]
        causes = [[cause["reason"] for cause in causes] for causes in found["staleCausesByPartition"]]
        return list(zip(found["staleStatusByPartition"], causes, strict=True))

    def reload(self) -> None:
        """Click on Reload: the code is read anew."""
        told = self.graphql(RELOAD, location=self.location)["reloadRepositoryLocation"]
        assert (told["__typename"], told.get("loadStatus")) == ("WorkspaceLocationEntry", "LOADED"), told

    def add_partition(self, name: str, key: str) -> None:
        """Add a key to dynamic partitions."""
        repository = {"repositoryName": "__repository__", "repositoryLocationName": self.location}
        added = self.graphql(ADD_PARTITION, repository=repository, name=name, key=key)["addDynamicPartition"]
        assert added["__typename"] == "AddDynamicPartitionSuccess", added

    def checks(self, asset: str, name: str) -> list[dict[str, Any]]:
        """Return the executions of a check, latest first."""
        found: list[dict[str, Any]] = self.graphql(CHECKS, key={"path": asset.split("/")}, name=name)[
            "assetCheckExecutions"
        ]
        return found

    def check_statuses(self, asset: str, name: str) -> dict[tuple[str, str], str]:
        """Return what a check says of partitions now: its status by the first and the last of each stretch."""
        found = self.graphql(CHECK_STATUSES, key={"path": asset.split("/")}, name=name)["assetNodeOrError"]
        ranges = found["assetCheckOrError"]["partitionStatuses"]["ranges"]
        return {(one["startKey"], one["endKey"]): one["status"] for one in ranges}

    # --- sensors and schedules -----------------------------------------------------------------------

    @contextmanager
    def sensing(self, sensor: str) -> Iterator[None]:
        """Switch a sensor on for as long as the block runs."""
        started = self.graphql(START_SENSOR, sensor=self._sensor(sensor))["startSensor"]
        assert started["__typename"] == "Sensor", started
        try:
            yield
        finally:
            self.until(lambda: self._stopped(sensor, started["id"]), f"{sensor} is switched off")

    def _stopped(self, sensor: str, state_id: str) -> bool:
        # A tick that is under way may write back, at its end, that the sensor is on.
        self.graphql(STOP_SENSOR, id=state_id)
        busy = any(tick["status"] == "STARTED" for tick in self.ticks(sensor))
        state = self.graphql(TICKS, sensor=self._sensor(sensor))["sensorOrError"]["sensorState"]
        return not busy and state["status"] == "STOPPED"

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Return the ticks of a sensor, latest first."""
        state = self.graphql(TICKS, sensor=self._sensor(sensor))["sensorOrError"]["sensorState"]
        ticks: list[dict[str, Any]] = state["ticks"]
        return ticks

    def until_skipped(self, sensor: str, why: str) -> None:
        """Wait for a tick that was skipped for a reason, the latest so far or one to come."""

        def skipped() -> bool:
            ticks = [tick for tick in self.ticks(sensor) if tick["status"] != "STARTED"]
            return bool(ticks) and why in (ticks[0]["skipReason"] or "")

        self.until(skipped, f"{sensor} skips: {why}")

    @contextmanager
    def scheduling(self, schedule: str) -> Iterator[None]:
        """Switch a schedule on for as long as the block runs."""
        repository = {"repositoryName": "__repository__", "repositoryLocationName": self.location}
        started = self.graphql(START_SCHEDULE, schedule={**repository, "scheduleName": schedule})["startSchedule"]
        assert started["__typename"] == "ScheduleStateResult", started
        try:
            yield
        finally:
            stopped = self.graphql(STOP_SCHEDULE, id=started["scheduleState"]["id"])["stopRunningSchedule"]
            assert stopped["scheduleState"]["status"] == "STOPPED", stopped

    def _sensor(self, name: str) -> dict[str, str]:
        return {"repositoryName": "__repository__", "repositoryLocationName": self.location, "sensorName": name}


def _figure(entry: Mapping[str, Any]) -> float | None:
    return entry["intValue"] if entry.get("intValue") is not None else entry.get("floatValue")
