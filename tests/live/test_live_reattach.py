"""Processes that die while batches run: the next run finds the batches and pays nothing twice."""

import os
import signal

import pytest

from tests.live.live_dev import MULTIPROCESS
from tests.live.world import LiveWorld, WorldOf

pytestmark = pytest.mark.dagster


def relaunched(world: LiveWorld, run: str) -> str:
    """Wait until Dagster has started a run anew; return the id of the new one."""
    dev = world.dev
    [again] = dev.until(lambda: dev.runs(dagster__parent_run_id=run), "the run is started again")
    return str(again["runId"])


def test_f62_a_run_that_is_killed_is_started_again_and_finds_its_batch(world: WorldOf) -> None:
    """SIGKILL in mid-wait: run monitoring starts the run anew; it lands the batch that was sent, and sends none."""
    again = world("again")
    again.write("1800", "1801")
    again.hold()
    run = again.dev.start(again.answers, "1800", "1801")
    again.dev.until_waiting(run)

    os.kill(again.dev.pid(run), signal.SIGKILL)

    second = relaunched(again, run)
    again.dev.until_waiting(second)
    again.release()
    assert again.dev.wait(second) == "SUCCESS"
    assert again.dev.status(run) == "FAILURE"
    assert again.answered("1800", "1801") == 4
    assert (again.n_posts, again.paid_twice) == (1, [])


@pytest.mark.soak
def test_f62_a_backfill_goes_on_after_its_run_was_killed(world: WorldOf) -> None:
    """Run worker and step killed in mid-wait: the backfill waits for the retry and ends well, downstream included."""
    again = world("again")
    years = ["1810", "1811", "1812"]
    again.write(*years)
    again.hold()
    dev = again.dev
    backfill = dev.backfill(again.answers, "again/report", keys=years, config=MULTIPROCESS)
    [run] = dev.until(lambda: dev.runs(dagster__backfill=backfill), "the backfill starts its run")
    dev.until_waiting(run["runId"])

    pids = dev.pids(run["runId"])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    assert len(pids) == 2
    dev.until_waiting(relaunched(again, run["runId"]))
    again.release()
    assert dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert dev.backfill_counts(backfill) == {"answers": (3, 0), "report": (3, 0)}
    assert again.answered(*years) == 6
    assert (again.n_posts, again.paid_twice) == (1, [])
