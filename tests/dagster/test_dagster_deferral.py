"""Submitting without a worker that waits: the submission asset, and the sensor that collects."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import pytest

from claude_batch_dagster import build_collect_sensor, build_submission_asset
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Batch
from claude_batch_dagster.errors import ConfigurationError, WarehouseLockedError
from tests.dagster.collecting import NOTHING, keys, launch, tick

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


def test_submitting_sends_and_does_not_wait(own_world: "DagsterWorld", classification: Declare) -> None:
    """The submission asset is materialized while the batch runs; each document was sent once."""
    world = own_world
    world.emulator.pace.batch_seconds = 3_600
    asset = classification()

    result = world.run(build_submission_asset(asset), span=ALL)

    materialized = {event.partition: event for event in result.get_asset_materialization_events()}
    assert set(materialized) == {"1790", "1791", "1792", "1793"}
    assert (world.n_posts, len(world.sent)) == (1, 4)
    assert [keys(request) for request in tick(world, asset)[0]] == [("1792", "1792")], "it has no documents"


def test_the_sensor_collects_when_the_batches_have_ended(world: "DagsterWorld", classification: Declare) -> None:
    """One run for neighbors, which finds the answers and sends nothing; then there is nothing left to collect."""
    asset = classification()
    assert tick(world, asset) == NOTHING
    world.run(build_submission_asset(asset), span=ALL)

    requests, _ = tick(world, asset)

    [request] = requests
    assert (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    ) == ALL
    launch(world, asset, request)
    assert world.statuses() == {"succeeded": 4}
    assert (world.n_posts, world.paid_twice) == (1, [])
    assert tick(world, asset) == NOTHING


def test_the_sensor_leaves_partitions_alone_whose_batches_run(
    own_world: "DagsterWorld", classification: Declare
) -> None:
    """Of two submissions the one that has ended is collected, the other waited for."""
    world = own_world
    asset = classification()
    submission = build_submission_asset(asset)
    world.run(submission, partition="1790")
    world.emulator.pace.batch_seconds = 3_600
    world.run(submission, partition="1793")

    requests, _ = tick(world, asset)

    assert [keys(request) for request in requests] == [("1790", "1790")]


def test_the_sensor_starts_a_run_that_keeps_the_deadline(
    own_world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cancels the batch that has not ended by then, and asks live what that has not answered."""
    world = own_world
    world.emulator.pace.batch_seconds = 10 * 3_600
    world.run(build_submission_asset(classification(deadline=timedelta(hours=6))), partition="1793")
    asset = classification(deadline=timedelta(milliseconds=1))
    assert tick(world, asset)[0] == [], "who has sent it gave it more time"
    world.run(build_submission_asset(asset), partition="1790")
    real = AnthropicBatches.cancel

    def cancel(api: AnthropicBatches, batch_id: str) -> Batch:
        batch = real(api, batch_id)
        world.emulator.advance(seconds=60)
        return batch

    monkeypatch.setattr(AnthropicBatches, "cancel", cancel)
    requests, _ = tick(world, asset)

    [request] = requests
    assert keys(request) == ("1790", "1790")
    launch(world, asset, request)
    assert set(world.answers("status, service_tier")) == {("succeeded", "standard")}


def test_an_api_that_does_not_answer_is_a_reason_to_skip(own_world: "DagsterWorld", classification: Declare) -> None:
    """Not a failed tick: the next one looks again."""
    world = own_world
    world.emulator.pace.batch_seconds = 3_600
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL)
    world.emulator.faults.add("500")

    requests, why = tick(world, asset)

    assert (requests, "Not now: HTTP 500" in str(why)) == ([], True)


RUNS_WAIT_SECONDS = 60
"""How long a run waits for a held ledger, the shortest of its waits: as much as a tick may take in all."""


@contextmanager
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let sensors have little patience, and be sure that no other limit of the defaults was waited for."""
    began = time.monotonic()
    with monkeypatch.context() as impatient:
        impatient.setattr("claude_batch_dagster.resource.PATIENCE_SECONDS", 1.0)
        yield
    assert time.monotonic() - began < RUNS_WAIT_SECONDS


def test_a_held_ledger_is_a_reason_to_skip(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick has 60 seconds in all; it does not spend them waiting for another writer."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1790")
    holder = sqlite3.connect(world.state / "ledger.sqlite", isolation_level=None)
    with closing(holder), quickly(monkeypatch):
        holder.execute("BEGIN IMMEDIATE")
        requests, why = tick(world, asset)

    assert (requests, "database is locked" in str(why)) == ([], True)
    assert [keys(request) for request in tick(world, asset)[0]] == [("1790", "1790")]


def test_the_collect_sensor_needs_no_database(world: "DagsterWorld", classification: Declare) -> None:
    """What is due is known to ledger and API: a DuckDB file that somebody holds keeps nobody from starting it."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1790")

    world.let_go()
    with duckdb.connect(world.database, config={"threads": 1}):
        upstream = declaration_of(asset).task.upstream
        with pytest.raises(WarehouseLockedError), world.resource(lock_timeout_seconds=0).open_upstream(upstream):
            pass
        requests, _ = tick(world, asset)

    assert [keys(request) for request in requests] == [("1790", "1790")]


@pytest.mark.parametrize(
    ("strange", "why"),
    [("UPDATE alembic_version SET version_num = 'later'", "newer version"), (None, "file is not a database")],
    ids=["later", "nonsense"],
)
def test_a_ledger_that_cannot_be_read_is_a_reason_to_skip(
    world: "DagsterWorld", classification: Declare, strange: str | None, why: str
) -> None:
    """The tick says what is wrong with it, and changes nothing."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1790")
    path = world.state / "ledger.sqlite"
    if strange:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(strange)
    else:
        path.write_bytes(b"nonsense" * 512)

    requests, told = tick(world, asset)

    assert (requests, why in str(told)) == ([], True), told


@pytest.mark.parametrize("n_batches", [1, 4], ids=["one", "list"])
def test_an_api_that_hangs_is_a_reason_to_skip(
    own_world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch, n_batches: int
) -> None:
    """It takes the connection and says nothing."""
    world = own_world
    world.emulator.pace.batch_seconds = 3_600
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL, max_requests_per_batch=4 // n_batches)
    world.emulator.faults.add("stall")
    with quickly(monkeypatch):
        requests, why = tick(world, asset)

    assert (requests, "Not now: no complete answer" in str(why)) == ([], True)


def test_an_api_that_is_slow_does_not_take_the_whole_tick(
    own_world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time is over no further page or batch is asked for."""
    world = own_world
    world.emulator.pace.batch_seconds = 3_600
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL, max_requests_per_batch=2)
    asked = []
    real = AnthropicBatches.retrieve

    def slowly(api: AnthropicBatches, batch_id: str) -> Batch:
        asked.append(batch_id)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 3_600)
        return real(api, batch_id)

    monkeypatch.setattr(AnthropicBatches, "retrieve", slowly)

    requests, why = tick(world, asset)

    assert (requests, "the API was too slow" in str(why), len(asked)) == ([], True, 1)


def test_a_partition_with_nothing_to_ask_is_collected_too(world: "DagsterWorld", classification: Declare) -> None:
    """1792 has no documents; submitted, it is materialized with nothing in it."""
    asset = classification()
    world.run(build_submission_asset(asset), partition="1792")

    [request], _ = tick(world, asset)

    launch(world, asset, request)
    assert tick(world, asset) == NOTHING


def test_without_partitions_the_whole_is_submitted_and_collected(
    world: "DagsterWorld", classification: Declare
) -> None:
    """The same two steps."""
    asset = classification(partitions_def=None, partition_expr=None)
    world.run(build_submission_asset(asset))

    [request], _ = tick(world, asset)

    launch(world, asset, request)
    assert (world.n_posts, tick(world, asset)) == (1, NOTHING)


def test_a_partition_that_was_deleted_is_not_collected(world: "DagsterWorld", classification: Declare) -> None:
    """No run can be for it, and the tick says so; added again, it is collected."""
    asset = classification(
        partitions_def=dg.DynamicPartitionsDefinition(name="years"),
        partition_expr="year(published_on::DATE)::VARCHAR",
    )
    world.instance.add_dynamic_partitions("years", ["1790", "1791"])
    submission = build_submission_asset(asset)
    world.run(submission, partition="1790")
    world.instance.delete_dynamic_partition("years", "1790")

    requests, why = tick(world, asset)
    assert (requests, "partitions that the asset does not have any more" in str(why)) == ([], True), why

    world.run(submission, partition="1791")
    assert [keys(request) for request in tick(world, asset)[0]] == [("1791", "1791")]
    world.instance.add_dynamic_partitions("years", ["1790"])
    assert {key for request in tick(world, asset)[0] for key in keys(request)} == {"1790", "1791"}


def test_an_asset_of_somebody_else_is_refused() -> None:
    """There is nothing known of what it would send."""

    @dg.asset
    def stranger() -> None:
        pass

    with pytest.raises(ConfigurationError, match="Give that object itself"):
        build_submission_asset(stranger)
    with pytest.raises(ConfigurationError, match="Give that object itself"):
        build_collect_sensor(stranger)
