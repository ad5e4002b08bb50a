from collections.abc import Callable
from datetime import UTC, datetime
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster.emulator import Emulator, ManualClock

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


def materialized(result: dg.ExecuteInProcessResult) -> list[str | None]:
    """Return the partitions that a run has materialized."""
    return [event.partition for event in result.asset_materializations_for_node("answers")]


def reason(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run failed."""
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    return str(failure.step_failure_data.error.message if failure.step_failure_data.error else "")


@pytest.fixture
def refusing_world(other_world: Callable[[Emulator], "DagsterWorld"]) -> "DagsterWorld":
    """Return a world whose batches end when the clock of its emulator is advanced."""
    return other_world(Emulator(clock=ManualClock(datetime.now(UTC)), batch_seconds=60))


def run_until_refused(world: "DagsterWorld", asset: dg.AssetsDefinition, fault: Any) -> dg.ExecuteInProcessResult:
    """Run over all years, one row a batch and one batch at a time, and refuse every batch after the second."""

    def end_two_batches_and_refuse() -> None:
        for n in (1, 2):
            while world.n_posts < n:
                sleep(0.005)
            if n == 2:
                world.emulator.faults.add(fault, endpoint="create")
            world.emulator.clock.advance(minutes=1)

    thread = Thread(target=end_two_batches_and_refuse)
    thread.start()
    try:
        return world.run(asset, span=ALL, raises=False, max_requests_per_batch=1, max_requests_in_flight=1)
    finally:
        thread.join()
        world.emulator.faults.clear()
        world.emulator.pace.batch_seconds = 0


@pytest.fixture
def asset(classification: Declare) -> dg.AssetsDefinition:
    """Return the labels by year, asked in the order of the documents."""
    return classification(sql="SELECT * FROM public.documents ORDER BY id")


@pytest.mark.parametrize("fault", ["spend_limit_400", "401"])
def test_what_is_complete_is_materialized_and_the_rest_is_not(
    refusing_world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str
) -> None:
    """A run that the API stops half way keeps its complete partitions, and fails with the reason."""
    result = run_until_refused(refusing_world, asset, fault)

    assert not result.success
    assert refusing_world.answers("partition_key, id") == [("1790", "a"), ("1791", "b")]
    assert materialized(result) == ["1790", "1792"]
    assert "2 of 4 partitions are complete. The others are not: HTTP 40" in reason(result)


def test_the_next_run_finishes_and_pays_nothing_twice(
    refusing_world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """After the limit is raised the same run asks what is left, and only that."""
    world = refusing_world
    run_until_refused(world, asset, "spend_limit_400")

    result = world.run(asset, span=ALL)

    assert materialized(result) == ["1790", "1791", "1792", "1793"]
    assert world.statuses() == {"succeeded": 4}
    assert (len(world.sent), world.paid_twice) == (4, [])


def test_checks_of_a_failed_run_are_those_of_complete_partitions(
    refusing_world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """A partition that is not complete is not judged; the run as a whole is."""
    result = run_until_refused(refusing_world, asset, "spend_limit_400")

    evaluations = result.get_asset_check_evaluations()
    judged = {one.partition for one in evaluations}
    assert judged == {"1790", "1792", None}
    assert [one.passed for one in evaluations if (one.check_name, one.partition) == ("complete", None)] == [False]


def test_metadata_of_a_failed_run_are_those_of_a_good_one(
    refusing_world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """The partitions that a failed run has completed carry the metadata they always carry."""
    result = run_until_refused(refusing_world, asset, "spend_limit_400")

    failed = {event.partition: set(event.metadata) for event in result.asset_materializations_for_node("answers")}
    good = {
        event.partition: set(event.metadata)
        for event in refusing_world.run(asset, span=ALL).asset_materializations_for_node("answers")
    }
    assert failed == {key: good[key] for key in failed}


def test_a_single_partition_that_is_not_complete_is_not_materialized(
    world: "DagsterWorld", classification: Declare
) -> None:
    """A run of one partition that fails leaves it as it was."""
    world.emulator.faults.add("spend_limit_400", endpoint="create")

    result = world.run(classification(), partition="1791", raises=False)

    assert (result.success, materialized(result)) == (False, [])
    assert "0 of 1 partition is complete: " in reason(result)


def test_an_asset_without_partitions_that_is_not_complete_is_not_materialized(
    world: "DagsterWorld", classification: Declare
) -> None:
    """The same without partitions."""
    world.emulator.faults.add("spend_limit_400", endpoint="create")

    result = world.run(classification(partitions_def=None), raises=False)

    assert (result.success, materialized(result)) == (False, [])
    assert "You have reached your specified API usage limits" in reason(result)


def test_a_row_that_waits_for_another_partitions_answer_is_not_complete(
    world: "DagsterWorld", classification: Declare
) -> None:
    """A partition whose row shares the question of one that failed has no answer yet: not materialized."""
    world.write_documents([("a", "tax", "1790-01-01"), ("b", "tax", "1791-01-01")])
    world.emulator.faults.add("401", endpoint="create")

    result = world.run(classification(), span=ALL, raises=False)

    assert materialized(result) == ["1792", "1793"]
    assert world.answers() == []


def test_lost_answers_are_restored_also_by_a_run_that_fails(world: "DagsterWorld", classification: Declare) -> None:
    """A partition whose answers were lost has them back before it counts as complete, whatever befalls the others."""
    world.run(classification(), partition="1790")
    world.write("DROP TABLE public.answers")
    world.emulator.faults.add("401", endpoint="create")

    result = world.run(classification(), span=ALL, raises=False)

    assert materialized(result) == ["1790", "1792"]
    assert world.answers() == [("a", "economy", "succeeded")]
    assert world.paid_twice == []


def test_downstream_of_a_failed_run_is_skipped(world: "DagsterWorld", classification: Declare) -> None:
    """What comes next in the same run does not go on without its input."""
    seen: list[str] = []

    @dg.asset(deps=["answers"])
    def after() -> None:
        seen.append("ran")

    world.emulator.faults.add("401", endpoint="create")
    world.run(classification(partitions_def=None), after, raises=False)

    assert seen == []


def test_the_run_log_tells_of_trouble_once(world: "DagsterWorld", classification: Declare) -> None:
    """Trouble that passes is waited out; the log says so once, and not at every look."""
    world.emulator.faults.add("500", endpoint="retrieve", times=5)

    result = world.run(classification(), span=ALL)

    warnings = [entry.message for entry in world.instance.all_logs(result.run_id) if entry.level == 30]  # WARNING
    assert world.statuses() == {"succeeded": 4}
    [told] = [message for message in warnings if "HTTP 500" in message]
    assert "Nothing is lost; trying again" in told


# Dagster warns of the policy of an asset that is not ours.
@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy` of function `asset` is currently in beta")
def test_a_failure_in_a_run_that_is_shared_keeps_all_downstream_back(
    world: "DagsterWorld", classification: Declare
) -> None:
    """1792 is complete, having no documents; what is downstream of it does not run, since it shares the run."""
    asset = classification()

    @dg.asset(deps=["answers"], partitions_def=asset.partitions_def, backfill_policy=asset.backfill_policy)
    def downstream() -> None:
        pass

    world.emulator.faults.add("401")

    result = world.run(asset, downstream, span=("1790", "1793"), raises=False)

    events = result.get_asset_materialization_events()
    assert [(event.step_key, event.partition) for event in events] == [("answers", "1792")]
