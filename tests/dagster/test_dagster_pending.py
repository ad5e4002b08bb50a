"""Rows on their way that no submission asset speaks of: the collect sensor brings them home all the same."""

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from claude_batch_dagster import build_submission_asset
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.core.sending.chunks import Chunk
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.dagster.collecting import NOTHING, Kept, died, keys, launch, overtaken, tick

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")
ELSEWHERE = "What is on its way was sent to another base URL or workspace than this resource's."


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the sensor asks for its runs and materializations."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def half_submitted(world: "DagsterWorld", asset: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submit all four years in batches of two rows; the run is evicted after the first batch."""
    real = Submission.submit

    def submit(submission: Submission, chunk: Chunk, *, known: Collection[str]) -> ChunkRecord:
        if world.n_posts:
            raise dg.DagsterExecutionInterruptedError
        return real(submission, chunk, known=known)

    with monkeypatch.context() as patched:
        patched.setattr(Submission, "submit", submit)
        with pytest.raises(dg.DagsterExecutionInterruptedError):
            world.run(build_submission_asset(asset), span=ALL, max_requests_per_batch=2)
    assert (world.n_posts, len(world.sent)) == (1, 2)


def test_f62_what_a_submission_had_sent_when_it_died_is_collected(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never materialized, but two rows are paid for: their partitions are finished, and no others started."""
    asset = classification()
    half_submitted(world, asset, monkeypatch)

    [request], _ = tick(world, asset)

    assert keys(request) == ("1790", "1791")
    launch(world, asset, request)
    assert (world.statuses(), world.n_posts) == ({"succeeded": 3}, 2)
    assert (world.paid_twice, tick(world, asset)) == ([], NOTHING)


@pytest.mark.verify
def test_a_submission_that_is_at_work_is_left_to_end(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first rows are on their way; they are collected when it is over."""
    asset = classification()
    half_submitted(world, asset, monkeypatch)
    died(world, build_submission_asset(asset), tags={"dagster/partition": "1790"})

    assert [keys(request) for request in tick(world, asset)[0]] == [("1791", "1791")]


def test_f63_what_a_person_has_canceled_is_not_started_again(
    own_world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission that was terminated left a canceled batch: the sensor does not ask its rows anew."""
    world = own_world
    world.emulator.pace.batch_seconds = 3_600
    asset = classification()
    half_submitted(world, asset, monkeypatch)
    batch = world.emulator.audit.accepted()[-1]
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}

    canceled = world.emulator.handle("POST", f"/v1/messages/batches/{batch.id}/cancel", headers)

    assert canceled.json()["processing_status"] == "canceling"
    assert tick(world, asset) == NOTHING
    world.emulator.advance(seconds=3_600)
    assert tick(world, asset) == NOTHING


@pytest.mark.verify
def test_rows_that_another_run_lands_are_told_to_dagster(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitted while their partition was collected, landed by a run for another: it is materialized once more."""
    asset, kept = classification(), Kept()
    overtaken(world, asset, monkeypatch)
    world.emulator.faults.add("500")
    tick(world, asset, kept)
    world.emulator.faults.clear()
    tick(world, asset, kept)
    world.run(build_submission_asset(asset), partition="1793")
    assert world.statuses() == {"succeeded": 2}

    requests, _ = tick(world, asset, kept)

    assert sorted(keys(request) for request in requests) == [("1790", "1790"), ("1793", "1793")]
    for request in requests:
        launch(world, asset, request)
    assert tick(world, asset, kept) == NOTHING
    assert kept.cursor == "[]"


def test_f112_what_was_sent_elsewhere_is_neither_waited_for_nor_started(
    world: "DagsterWorld", classification: Declare
) -> None:
    """Rows at another base URL cannot be collected from here, and are not asked again unless somebody says so."""
    asset = classification()
    with serving(Emulator(clock=SystemClock(), batch_seconds=3_600)) as elsewhere:
        world.run(build_submission_asset(asset), partition="1790", base_url=elsewhere)

        requests, why = tick(world, asset)

        assert (requests, str(why).startswith(ELSEWHERE)) == ([], True)
        waits = "1 partition is submitted: its batches run, or it is collected now."
        assert tick(world, asset, base_url=elsewhere) == ([], waits)


@pytest.mark.verify
def test_f112_what_is_sent_anew_is_collected_whatever_runs_elsewhere(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows tried out on an emulator and then sent to Claude: Claude's batch has ended, so it is collected."""
    asset = classification()
    submission = build_submission_asset(asset)
    with serving(Emulator(clock=SystemClock(), batch_seconds=3_600)) as elsewhere:
        world.run(submission, span=ALL, base_url=elsewhere)
    monkeypatch.setattr(AnthropicBatches, "answerer", "")  # nothing on this machine passes for Claude otherwise
    world.run(submission, span=ALL)

    [request], _ = tick(world, asset)

    assert keys(request) == ALL
