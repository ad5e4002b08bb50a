"""What the sensors know of the runs that they have asked for: who is at work, who failed, who only seems to."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from claude_batch_dagster.runs.ranges import Places, partition_tags
from claude_batch_dagster.sensors.run_history import Earlier

Declare = Callable[..., dg.AssetsDefinition]
TAGS = {"claude_batch/collects": "answers"}
KEY = dg.AssetKey("answers")
PLACES = Places(["a", "b", "c"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@dg.job
def nothing() -> None:
    """Stand for whatever a run does."""


def run(instance: dg.DagsterInstance, *keys: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Return a run of the sensor for a stretch of partitions."""
    return instance.create_run_for_job(nothing, tags={**TAGS, **partition_tags(keys)}, status=status)


def earlier(instance: dg.DagsterInstance) -> Earlier:
    """Look back."""
    return Earlier.of(instance, TAGS, PLACES, key=KEY)


def test_a_failure_is_remembered_behind_any_number_of_runs(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More runs than are looked back to have succeeded since, for other partitions."""
    monkeypatch.setattr("claude_batch_dagster.sensors.run_history.MANY_RUNS", 3)
    run(instance, "a", status=dg.DagsterRunStatus.FAILURE)
    for _ in range(5):
        run(instance, "b", status=dg.DagsterRunStatus.SUCCESS)

    assert earlier(instance).failed == {"a"}


def test_what_succeeded_later_has_not_failed(instance: dg.DagsterInstance) -> None:
    """The latest run counts, of whichever kind."""
    run(instance, "a", "b", "c", status=dg.DagsterRunStatus.FAILURE)
    run(instance, "a", "b", status=dg.DagsterRunStatus.SUCCESS)
    run(instance, "a", status=dg.DagsterRunStatus.CANCELED)

    assert earlier(instance).failed == {"a", "c"}


@pytest.mark.parametrize(
    ("status", "busy"),
    [
        (dg.DagsterRunStatus.STARTING, {"a"}),
        (dg.DagsterRunStatus.STARTED, {"a"}),
        (dg.DagsterRunStatus.CANCELING, {"a"}),
        (dg.DagsterRunStatus.NOT_STARTED, set()),
    ],
)
def test_who_is_at_work(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, busy: set[str]) -> None:
    """A run that was never queued is none: Dagster queues it when it is asked for again under its key."""
    run(instance, "a", status=status)

    assert (earlier(instance).busy, earlier(instance).failed) == (busy, set())


def test_a_run_that_failed_after_it_had_materialized_a_partition_has_not_failed_for_it(
    instance: dg.DagsterInstance,
) -> None:
    """Its blocking check failed: another run could not change that, until the documents change."""
    run(instance, "b", status=dg.DagsterRunStatus.FAILURE)
    failed = run(instance, "a", "b", "c", status=dg.DagsterRunStatus.FAILURE)
    for key in ("a", "b"):
        materialized = dg.DagsterEvent(
            dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            "nothing",
            event_specific_data=_data(dg.AssetMaterialization(KEY, partition=key)),
        )
        instance.report_dagster_event(materialized, failed.run_id)

    assert earlier(instance).failed == {"c"}


def _data(materialization: dg.AssetMaterialization) -> Any:
    from dagster._core.events import StepMaterializationData  # noqa: PLC0415  (Dagster does not export it)

    return StepMaterializationData(materialization)
