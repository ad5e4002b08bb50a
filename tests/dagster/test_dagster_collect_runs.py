"""The collect sensor among runs: its own that come to nothing, and those of others."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from claude_batch_dagster import build_batch_job, build_submission_asset
from tests.dagster.collecting import NOTHING, WAITS, canceled, died, keys, later, launch, overtaken, tick

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the sensor asks for its runs and materializations."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def test_a_collection_that_failed_is_asked_for_again(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another key, or Dagster would take it for done; after a pause that doubles."""
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL)
    [first], _ = tick(world, asset)
    world.emulator.faults.add("401")
    launch(world, asset, first, raises=False)
    world.emulator.faults.clear()

    assert tick(world, asset) == WAITS
    later(monkeypatch, 121)
    again, _ = tick(world, asset)

    assert {request.run_key for request in again}.isdisjoint({first.run_key})
    for request in again:
        launch(world, asset, request)
    assert world.statuses() == {"succeeded": 4}
    assert world.paid_twice == []


def test_f105_a_collection_that_was_canceled_is_asked_for_again(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has brought nothing home either; each time under a key that there was not, also when old runs are gone."""
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL)
    runs, seen = [], set()

    for n in range(4):
        [request], _ = tick(world, asset)
        assert request.run_key not in seen
        seen.add(request.run_key)
        runs.append(canceled(world, asset, request))
        assert tick(world, asset) == WAITS
        later(monkeypatch, 3_601 * (n + 1))
        if n:  # somebody tidies up: as many runs have failed as before
            world.instance.delete_run(runs.pop(0).run_id)


def test_a_partition_that_failed_does_not_hold_back_its_neighbors(
    world: "DagsterWorld", classification: Declare
) -> None:
    """They are collected by themselves while it waits."""
    asset = classification()
    submission = build_submission_asset(asset)
    world.run(submission, partition="1791")
    [first], _ = tick(world, asset)
    canceled(world, asset, first)
    world.run(submission, partition="1790")

    assert [keys(request) for request in tick(world, asset)[0]] == [("1790", "1790")]


def test_rows_submitted_while_their_partition_is_collected_are_collected_too(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that was under way had looked at the documents before, though it is materialized after."""
    asset = classification()
    first = overtaken(world, asset, monkeypatch)

    [second], _ = tick(world, asset)

    assert second.run_key != first.run_key
    launch(world, asset, second)
    assert world.statuses() == {"succeeded": 2}
    assert (world.paid_twice, tick(world, asset)) == ([], NOTHING)


@pytest.mark.parametrize("whole_job", [False, True], ids=["selected assets", "a job"])
def test_rows_that_a_run_by_hand_waits_for_are_left_to_it(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch, *, whole_job: bool
) -> None:
    """A partition that was submitted once may be materialized in any way: no second run joins in."""
    asset = classification()
    overtaken(world, asset, monkeypatch)
    jobs = [build_batch_job(asset, name="own"), dg.define_asset_job("other", [build_submission_asset(asset)])]
    assets = [asset, build_submission_asset(asset)]
    defs = dg.Definitions(assets=assets, jobs=jobs, resources={"claude_batch": world.resource()})

    def start(job: dg.JobDefinition, key: dg.AssetKey) -> dg.DagsterRun:
        # Of a job without a selection, as a schedule starts it, only the plan says which assets it is for.
        return world.instance.create_run_for_job(
            job,
            tags={"dagster/partition": "1790"},
            asset_selection=None if whole_job else {key},
            status=dg.DagsterRunStatus.STARTED,
        )

    job = defs.resolve_implicit_global_asset_job_def()
    by_hand = start(defs.resolve_job_def("own") if whole_job else job, asset.key)

    waits = "1 partition is submitted: its batches run, or it is collected now."
    assert tick(world, asset) == ([], waits)
    world.instance.report_run_canceled(by_hand)
    start(defs.resolve_job_def("other") if whole_job else job, assets[1].key)
    assert [keys(request) for request in tick(world, asset)[0]] == [("1790", "1790")]


def test_f105_a_collection_that_died_unnoticed_is_asked_for_again(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without run monitoring Dagster takes it for running for ever; past 30 hours the sensor does not."""
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL)
    [first], _ = tick(world, asset)
    died(world, asset, tags=first.tags)
    waits = "4 partitions are submitted: their batches run, or they are collected now."
    assert tick(world, asset) == ([], waits)

    later(monkeypatch, 30 * 3_600 - 60)
    assert tick(world, asset) == ([], waits)
    later(monkeypatch, 30 * 3_600 + 60)
    assert tick(world, asset) == WAITS
    later(monkeypatch, 30 * 3_600 + 180)
    [again], _ = tick(world, asset)

    assert again.run_key != first.run_key
    launch(world, asset, again)
    assert world.statuses() == {"succeeded": 4}


def test_a_run_by_hand_that_died_unnoticed_does_not_keep_the_sensor_from_its_partitions(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run takes longer than 30 hours, so one that seems to is dead."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1790")
    died(world, asset, tags={"dagster/partition": "1790"})
    assert tick(world, asset)[0] == []

    later(monkeypatch, 30 * 3_600 + 60)

    assert [keys(request) for request in tick(world, asset)[0]] == [("1790", "1790")]


@pytest.mark.parametrize("n_rows", ["all", "left"])
def test_a_job_of_somebodys_own_is_left_to_bring_its_partitions_home(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch, n_rows: str
) -> None:
    """Its runs name no assets; what they plan to materialize does. A job of other assets does not count."""
    asset = classification()
    if n_rows == "left":
        overtaken(world, asset, monkeypatch)
    else:
        world.run(build_submission_asset(asset), partition="1790")

    @dg.asset(partitions_def=asset.partitions_def)
    def other() -> None:
        pass

    jobs = [dg.define_asset_job("ours", selection=[asset]), dg.define_asset_job("theirs", selection=[other])]
    defs = dg.Definitions(assets=[asset, other], jobs=jobs, resources={"claude_batch": world.resource()})
    _, ours = (
        world.instance.create_run_for_job(
            defs.resolve_job_def(name),
            tags={"dagster/partition": "1790"},
            status=dg.DagsterRunStatus.STARTED,
        )
        for name in ("theirs", "ours")
    )
    assert ours.asset_selection is None

    assert "it is collected now" in str(tick(world, asset)[1])
    world.instance.report_run_canceled(ours)
    assert [keys(request) for request in tick(world, asset)[0]] == [("1790", "1790")]
