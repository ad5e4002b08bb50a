"""Runs that are stopped while their batches run: by a person, by the machine."""

import os
import signal
from typing import Any

import pytest

from tests.live.live_dev import IN_PROCESS, MULTIPROCESS
from tests.live.world import LONG, LiveWorld, WorldOf

pytestmark = pytest.mark.dagster

LEFT = "Stopped while waiting. The batches go on; the next run lands their answers."


def start_and_wait(world: LiveWorld, *years: str, config: dict[str, Any] = IN_PROCESS) -> str:
    """Start a run for years with two documents each; return its id once it waits for its batch."""
    world.write(*years)
    world.hold()
    run = world.dev.start(world.answers, *years, config=config)
    world.dev.until_waiting(run)
    return run


@pytest.mark.parametrize(
    ("years", "config"),
    [
        pytest.param(("1800", "1801"), MULTIPROCESS, id="multiprocess"),
        pytest.param(("1810", "1811"), IN_PROCESS, id="in_process", marks=pytest.mark.soak),
    ],
)
def test_f63_a_click_on_terminate_cancels_the_batches(
    world: WorldOf, years: tuple[str, str], config: dict[str, Any]
) -> None:
    """The run log says what was canceled; the next run lands what was answered by then, and sends only the rest."""
    stopped = world("stopped")
    run = start_and_wait(stopped, *years, config=config)
    stopped.emulator.advance(seconds=LONG / 2)

    stopped.dev.terminate(run)

    assert stopped.dev.wait(run) == "CANCELED"
    assert "Terminated: 1 batch canceled (msgbatch_" in stopped.dev.messages(run)
    assert stopped.standings() == ["canceling"]
    stopped.release()
    assert stopped.dev.run(stopped.answers, *years) == "SUCCESS"
    assert set(years) <= stopped.dev.materialized(stopped.answers)
    assert stopped.answered(*years) == 4
    # Two rows were answered at half time and one more was with the model; one was canceled and is asked again.
    assert (stopped.n_posts, stopped.n_sent, stopped.paid_twice) == (2, 5, [])


def test_f63_batches_are_left_running_where_that_was_said(world: WorldOf) -> None:
    """With `on_terminate: leave` a click on Terminate ends the run and not its batch."""
    left = world("left")
    run = start_and_wait(left, "1800", "1801")

    left.dev.terminate(run)

    assert left.dev.wait(run) == "CANCELED"
    assert LEFT in left.dev.messages(run)
    assert left.standings() == ["in_progress"]


def test_f62_sigterm_leaves_the_batches_and_reexecution_from_failure_lands_them(world: WorldOf) -> None:
    """A run whose process is stopped says that its batch goes on; re-executed, it lands it and sends nothing."""
    stopped = world("stopped")
    run = start_and_wait(stopped, "1820", "1821")

    os.kill(stopped.dev.pid(run), signal.SIGTERM)

    assert stopped.dev.wait(run) == "FAILURE"
    assert LEFT in stopped.dev.messages(run)
    assert stopped.standings() == ["in_progress"]
    stopped.release()
    assert stopped.dev.wait(stopped.dev.reexecute(run)) == "SUCCESS"
    assert stopped.answered("1820", "1821") == 4
    assert (stopped.n_posts, stopped.paid_twice) == (1, [])


@pytest.mark.soak
def test_f62_a_run_that_takes_too_long_leaves_its_batches(world: WorldOf) -> None:
    """Run monitoring ends a run past its `dagster/max_runtime`; the batch goes on and the next run lands it."""
    stopped = world("stopped")
    run = start_and_wait(stopped, "1830", "1831")

    stopped.dev.tag(run, {"dagster/max_runtime": "1"})

    assert stopped.dev.wait(run) == "FAILURE"
    messages = stopped.dev.messages(run)
    assert "exceed" in messages
    assert LEFT in messages
    assert stopped.standings() == ["in_progress"]
    stopped.release()
    assert stopped.dev.run(stopped.answers, "1830", "1831") == "SUCCESS"
    assert stopped.answered("1830", "1831") == 4
    assert (stopped.n_posts, stopped.paid_twice) == (1, [])


def test_f63_canceling_a_backfill_cancels_its_batches(world: WorldOf) -> None:
    """A click on Cancel of a backfill cancels its batch and says so; what was answered lands with the next one."""
    stopped = world("stopped")
    years = ["1840", "1841", "1842"]
    stopped.write(*years)
    stopped.hold()
    dev = stopped.dev
    backfill = dev.backfill(stopped.answers, keys=years)
    [run] = dev.until(lambda: dev.runs(dagster__backfill=backfill), "the backfill starts its run")
    dev.until_waiting(run["runId"])

    assert dev.wait_for_backfill(backfill, cancel=True) == "CANCELED"
    assert dev.status(run["runId"]) == "CANCELED"
    assert "Terminated: 1 batch canceled (msgbatch_" in dev.messages(run["runId"])
    assert stopped.standings() == ["canceling"]
    stopped.release()
    assert dev.wait_for_backfill(dev.backfill(stopped.answers, keys=years)) == "COMPLETED_SUCCESS"
    assert (stopped.answered(*years), stopped.paid_twice) == (6, [])


@pytest.mark.soak
@pytest.mark.parametrize(
    ("years", "config"),
    [
        pytest.param(("1850", "1851"), MULTIPROCESS, id="multiprocess"),
        pytest.param(("1860", "1861"), IN_PROCESS, id="in_process"),
    ],
)
def test_f63_a_forced_termination_cancels_the_batches(
    world: WorldOf, years: tuple[str, str], config: dict[str, Any]
) -> None:
    """Forced, the run counts as canceled at once; its process, which is stopped too, still cancels the batch."""
    stopped = world("stopped")
    run = start_and_wait(stopped, *years, config=config)

    stopped.dev.terminate(run, policy="MARK_AS_CANCELED_IMMEDIATELY")

    assert stopped.dev.status(run) == "CANCELED"
    stopped.dev.until_said(run, "Terminated: 1 batch canceled (msgbatch_")
    assert stopped.standings() == ["canceling"]
    assert stopped.dev.status(run) == "CANCELED"


def test_f63_terminating_a_submission_that_waits_cancels_what_it_has_sent(world: WorldOf) -> None:
    """A submission waits, since enough is in flight; terminated, it cancels what it has sent, and sends no more."""
    cramped, years = world("cramped"), ("1800", "1801")
    dev = cramped.dev
    cramped.write(*years)
    cramped.hold()
    run = dev.start("cramped/answers_submission", *years)
    dev.until_said(run, "2 requests sent, 0 ended, 0 landed; 1 batch open")
    assert dev.status(run) == "STARTED"

    dev.terminate(run)

    assert dev.wait(run) == "CANCELED"
    assert "Terminated: 1 batch canceled (msgbatch_" in dev.messages(run)
    assert cramped.standings() == ["canceling"]
    assert (cramped.n_posts, cramped.n_sent) == (1, 2)
    assert dev.materialized("cramped/answers_submission") == set()
