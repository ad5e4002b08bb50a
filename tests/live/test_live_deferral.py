"""Submitting without a worker that waits, with a real daemon that ticks the collect sensor."""

import pytest

from tests.live.world import LiveWorld, WorldOf

pytestmark = pytest.mark.dagster


def submit(world: LiveWorld, *years: str) -> None:
    """Submit years with two documents each, by a backfill, while batches run."""
    world.write(*years)
    world.hold()
    backfill = world.dev.backfill(f"{world.family}/answers_submission", keys=years)
    assert world.dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert {"in_progress"} == set(world.standings())


def test_no_worker_waits_and_the_sensor_collects(world: WorldOf) -> None:
    """A backfill of the submission asset ends while its batch runs; later the sensor materializes the asset."""
    deferred, years = world("deferred"), ["1800", "1801", "1802"]
    dev, sensor = deferred.dev, "deferred__answers_collect"
    submit(deferred, *years)
    assert dev.unfinished() == []

    with dev.sensing(sensor):
        dev.until_skipped(sensor, "3 partitions are submitted: their batches run")
        assert dev.runs(claude_batch__collects="deferred__answers") == []
        deferred.release()
        dev.until(lambda: dev.materialized(deferred.answers) == set(years), "the answers are collected")
        dev.until_skipped(sensor, "Nothing is submitted that is not collected.")

    [run] = dev.runs(claude_batch__collects="deferred__answers")
    assert dev.wait(run["runId"]) == "SUCCESS"
    assert deferred.answered(*years) == 6
    assert (deferred.n_posts, deferred.paid_twice) == (1, [])


def test_while_the_api_is_down_the_sensor_skips(world: WorldOf) -> None:
    """An API that answers 500 to everything is a reason to skip a tick, and no failure of it."""
    outage = world("outage")
    dev, sensor = outage.dev, "outage__answers_collect"
    submit(outage, "1800")
    outage.emulator.faults.add("500")

    with dev.sensing(sensor):
        dev.until_skipped(sensor, "Not now: HTTP 500")
        assert {tick["status"] for tick in dev.ticks(sensor)} <= {"SKIPPED", "STARTED"}
        outage.emulator.faults.clear()
        dev.until_skipped(sensor, "1 partition is submitted: its batches run")


def test_while_the_database_is_locked_the_sensor_skips(world: WorldOf) -> None:
    """A DuckDB file that another process holds is a reason to skip a tick, and no failure of it."""
    locked = world("locked")
    dev, sensor = locked.dev, "locked__answers_new_documents"

    with locked.database(), dev.sensing(sensor):
        dev.until_skipped(sensor, "Not now: ")
        ticks = dev.ticks(sensor)

    assert {tick["status"] for tick in ticks} <= {"SKIPPED", "STARTED"}
    assert any("locked" in str(tick["skipReason"]) or "lock" in str(tick["skipReason"]) for tick in ticks)


@pytest.mark.soak
def test_a_collection_that_failed_is_asked_for_again(world: WorldOf) -> None:
    """The sensor starts another run two minutes after one that failed; nothing is sent or paid again."""
    failing = world("failing")
    dev, sensor = failing.dev, "failing__answers_collect"
    submit(failing, "1800", "1801")
    failing.release()
    failing.emulator.faults.add("401", endpoint="results")

    with dev.sensing(sensor):
        [run] = dev.until(lambda: dev.runs(claude_batch__collects="failing__answers"), "the sensor starts a run")
        assert dev.wait(run["runId"]) == "FAILURE"
        failing.emulator.faults.clear()
        dev.until_skipped(sensor, "The last collection failed or was canceled; it waits.")
        dev.until(lambda: dev.materialized(failing.answers) == {"1800", "1801"}, "it is asked for again", seconds=400)

    assert len(dev.runs(claude_batch__collects="failing__answers")) == 2
    assert failing.answered("1800", "1801") == 4
    assert (failing.n_posts, failing.paid_twice) == (1, [])
