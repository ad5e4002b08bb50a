"""What a person sees of a run while its batches run, asked of the webserver in mid-wait."""

from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.canary import in_files
from tests.live.live_instance import running_dev
from tests.live.world import LiveWorld, WorldOf

pytestmark = pytest.mark.dagster


def test_a_run_that_waits_shows_how_far_it_is(world: WorldOf) -> None:
    """In mid-wait there are counts in the run log, the batch id among the run's tags, an observation of the asset."""
    seen = world("seen")
    dev = seen.dev
    seen.write("1800", "1801")
    seen.hold()

    run = dev.start(seen.answers, "1800", "1801")

    log = dev.until_said(run, "4 requests sent, 0 ended, 0 landed; 1 batch open")
    assert "4 upstream rows: 0 answered already, 4 without a usable answer" in log
    [batch] = seen.emulator.audit.accepted()[-1:]
    [found] = dev.until(lambda: dev.runs(claude_batch__batches=batch.id), "the run is found by its batch")
    assert (found["runId"], found["status"]) == (run, "STARTED")
    [observed] = [event for event in dev.observations(seen.answers) if event["runId"] == run]
    assert observed["description"] == "Waiting for Claude"
    assert observed["figures"] == {
        "claude_batch/requests_sent": 4,
        "claude_batch/requests_ended": 0,
        "claude_batch/requests_landed": 0,
        "claude_batch/open_batches": 1,
        "claude_batch/progress": 0.0,
    }
    seen.release()
    assert dev.wait(run) == "SUCCESS"
    assert "4 requests sent, 4 ended, 4 landed; 0 batches open" in dev.messages(run)


@pytest.mark.soak
def test_a_run_that_waits_longer_than_usual_says_so(tmp_path: Path) -> None:
    """After five batches a run says when it expects to end, and after three silent minutes that it is slow."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as api, running_dev(tmp_path, api) as dev:
        slow = LiveWorld(family="slow", home=tmp_path, emulator=emulator, dev=dev)
        slow.write("1800", per_year=5)
        assert dev.run(slow.answers, "1800") == "SUCCESS"
        slow.write("1801", per_year=1)
        slow.hold()
        run = dev.start(slow.answers, "1801")

        dev.until_said(run, "1 batch open. Expected to end about ")
        dev.until(lambda: "1 batch open. Slower than usual: 95 %" in dev.messages(run), "it is slow", seconds=300)

        slow.release()
        assert dev.wait(run) == "SUCCESS"
    emulator.close()
    assert list(in_files(tmp_path)) == []
