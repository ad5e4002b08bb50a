"""Submitting without a worker that waits: the submission asset, and the sensor that collects."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_collect_sensor, build_submission_asset
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Batch
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.partitions import RANGE_END, RANGE_START

if TYPE_CHECKING:
    from tests.dagster.conftest import Scene

Declare = Callable[..., dg.AssetsDefinition]
REAL_TIME = time.time
ALL = ("1790", "1793")
WAITS: tuple[list[dg.RunRequest], str] = ([], "The last collection failed or was canceled; it waits.")
NOTHING: tuple[list[dg.RunRequest], str] = ([], "Nothing is submitted that is not collected.")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the sensor asks for its runs and materializations."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tick(scene: "Scene", asset: dg.AssetsDefinition, **settings: Any) -> tuple[list[dg.RunRequest], str | None]:
    """Let the sensor look once: return what it asks for, and why it asks for nothing."""
    sensor = build_collect_sensor(asset)
    resources = {"claude_batch": scene.resource(**settings)}
    repository = dg.Definitions(assets=[asset], sensors=[sensor], resources=resources).get_repository_def()
    with dg.build_sensor_context(instance=scene.instance, resources=resources, repository_def=repository) as context:
        told = sensor.evaluate_tick(context)
    return list(told.run_requests or []), told.skip_message


def keys(request: dg.RunRequest) -> tuple[str, str]:
    """Return the first and the last partition that is asked for."""
    return request.tags[RANGE_START], request.tags[RANGE_END]


def launch(scene: "Scene", asset: dg.AssetsDefinition, request: dg.RunRequest, *, raises: bool = True) -> None:
    """Run what the sensor asked for."""
    dg.materialize(
        [asset],
        instance=scene.instance,
        resources={"claude_batch": scene.resource()},
        tags=dict(request.tags),
        raise_on_error=raises,
    )


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the clock so many seconds ahead of the real one."""
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + seconds)


def canceled(scene: "Scene", asset: dg.AssetsDefinition, request: dg.RunRequest) -> dg.DagsterRun:
    """Let Dagster take up what the sensor asked for, and a person cancel it in the queue."""
    defs = dg.Definitions(assets=[asset], resources={"claude_batch": scene.resource()})
    job = defs.resolve_implicit_global_asset_job_def()
    run = scene.instance.create_run_for_job(job, tags=dict(request.tags))
    scene.instance.report_run_canceled(run)
    return run


def test_submitting_sends_and_does_not_wait(scene: "Scene", classification: Declare) -> None:
    """The submission asset is materialized while the batch runs; each document was sent once."""
    scene.emulator.pace.batch_seconds = 3_600
    asset = classification()

    result = scene.run(build_submission_asset(asset), span=ALL)

    materialized = {event.partition: event for event in result.get_asset_materialization_events()}
    assert set(materialized) == {"1790", "1791", "1792", "1793"}
    assert (scene.n_posts, len(scene.sent)) == (1, 4)
    assert [keys(request) for request in tick(scene, asset)[0]] == [("1792", "1792")], "it has no documents"


def test_the_sensor_collects_when_the_batches_have_ended(scene: "Scene", classification: Declare) -> None:
    """One run for neighbors, which finds the answers and sends nothing; then there is nothing left to collect."""
    asset = classification()
    assert tick(scene, asset) == NOTHING
    scene.run(build_submission_asset(asset), span=ALL)

    requests, _ = tick(scene, asset)

    [request] = requests
    assert (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    ) == ALL
    launch(scene, asset, request)
    assert scene.statuses() == {"succeeded": 4}
    assert (scene.n_posts, scene.paid_twice) == (1, [])
    assert tick(scene, asset) == NOTHING


def test_the_sensor_leaves_partitions_alone_whose_batches_run(scene: "Scene", classification: Declare) -> None:
    """Of two submissions the one that has ended is collected, the other waited for."""
    asset = classification()
    submission = build_submission_asset(asset)
    scene.run(submission, partition="1790")
    scene.emulator.pace.batch_seconds = 3_600
    scene.run(submission, partition="1793")

    requests, _ = tick(scene, asset)

    assert [keys(request) for request in requests] == [("1790", "1790")]


def test_a_collection_that_failed_is_asked_for_again(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another key, or Dagster would take it for done; after a pause that doubles."""
    asset = classification()
    scene.run(build_submission_asset(asset), span=ALL)
    [first], _ = tick(scene, asset)
    scene.emulator.faults.add("401")
    launch(scene, asset, first, raises=False)
    scene.emulator.faults.clear()

    assert tick(scene, asset) == WAITS
    later(monkeypatch, 121)
    again, _ = tick(scene, asset)

    assert {request.run_key for request in again}.isdisjoint({first.run_key})
    for request in again:
        launch(scene, asset, request)
    assert scene.statuses() == {"succeeded": 4}
    assert scene.paid_twice == []


def test_f105_a_collection_that_was_canceled_is_asked_for_again(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has brought nothing home either; each time under a key that there was not, also when old runs are gone."""
    asset = classification()
    scene.run(build_submission_asset(asset), span=ALL)
    runs, seen = [], set()

    for n in range(4):
        [request], _ = tick(scene, asset)
        assert request.run_key not in seen
        seen.add(request.run_key)
        runs.append(canceled(scene, asset, request))
        assert tick(scene, asset) == WAITS
        later(monkeypatch, 3_601 * (n + 1))
        if n:  # somebody tidies up: as many runs have failed as before
            scene.instance.delete_run(runs.pop(0).run_id)


def test_a_partition_that_failed_does_not_hold_back_its_neighbors(scene: "Scene", classification: Declare) -> None:
    """They are collected by themselves while it waits."""
    asset = classification()
    submission = build_submission_asset(asset)
    scene.run(submission, partition="1791")
    [first], _ = tick(scene, asset)
    canceled(scene, asset, first)
    scene.run(submission, partition="1790")

    assert [keys(request) for request in tick(scene, asset)[0]] == [("1790", "1790")]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something once, at the end of a run: its work is done, its materializations are not told."""
    real = AnthropicBatches.close

    def close(api: AnthropicBatches) -> None:
        real(api)
        monkeypatch.setattr(AnthropicBatches, "close", real)
        act()

    monkeypatch.setattr(AnthropicBatches, "close", close)


def overtaken(scene: "Scene", asset: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch) -> dg.RunRequest:
    """Submit a new row of 1790 while a run collects that partition; return what that run was asked by."""
    submission = build_submission_asset(asset)
    scene.run(submission, partition="1790")
    [first], _ = tick(scene, asset)

    def submit() -> None:
        scene.write("INSERT INTO public.documents VALUES ('new', 'the navy once more', '1790-03-03')")
        scene.run(submission, partition="1790")

    meanwhile(monkeypatch, submit)
    launch(scene, asset, first)
    assert scene.statuses() == {"succeeded": 1}
    return first


def test_rows_submitted_while_their_partition_is_collected_are_collected_too(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that was under way had looked at the documents before, though it is materialized after."""
    asset = classification()
    first = overtaken(scene, asset, monkeypatch)

    [second], _ = tick(scene, asset)

    assert second.run_key != first.run_key
    launch(scene, asset, second)
    assert scene.statuses() == {"succeeded": 2}
    assert (scene.paid_twice, tick(scene, asset)) == ([], NOTHING)


def test_rows_that_a_run_by_hand_waits_for_are_left_to_it(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that was submitted once may be materialized in any way: no second run joins in."""
    asset = classification()
    overtaken(scene, asset, monkeypatch)
    defs = dg.Definitions(assets=[asset], resources={"claude_batch": scene.resource()})
    by_hand = scene.instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        tags={"dagster/partition": "1790"},
        asset_selection={asset.key},
        status=dg.DagsterRunStatus.STARTED,
    )

    assert "collected now" in str(tick(scene, asset)[1])
    scene.instance.report_run_canceled(by_hand)
    assert [keys(request) for request in tick(scene, asset)[0]] == [("1790", "1790")]


def test_an_api_that_does_not_answer_is_a_reason_to_skip(scene: "Scene", classification: Declare) -> None:
    """Not a failed tick: the next one looks again."""
    scene.emulator.pace.batch_seconds = 3_600
    asset = classification()
    scene.run(build_submission_asset(asset), span=ALL)
    scene.emulator.faults.add("500")

    requests, why = tick(scene, asset)

    assert (requests, "Not now: HTTP 500" in str(why)) == ([], True)


@contextmanager
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let sensors have little patience, and be sure that no other limit of the defaults was waited for."""
    monkeypatch.setattr("claude_batch_dagster.resource.PATIENCE_SECONDS", 0.3)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5


def test_a_held_ledger_is_a_reason_to_skip(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick has 60 seconds in all; it does not spend them waiting for another writer."""
    asset = classification()
    scene.run(build_submission_asset(asset), partition="1790")
    holder = sqlite3.connect(scene.state / "ledger.sqlite", isolation_level=None)
    with closing(holder), quickly(monkeypatch):
        holder.execute("BEGIN IMMEDIATE")
        requests, why = tick(scene, asset)

    assert (requests, "database is locked" in str(why)) == ([], True)
    assert [keys(request) for request in tick(scene, asset)[0]] == [("1790", "1790")]


@pytest.mark.parametrize(
    ("strange", "why"),
    [("UPDATE alembic_version SET version_num = 'later'", "newer version"), (None, "file is not a database")],
    ids=["later", "nonsense"],
)
def test_a_ledger_that_cannot_be_read_is_a_reason_to_skip(
    scene: "Scene", classification: Declare, strange: str | None, why: str
) -> None:
    """The tick says what is wrong with it, and changes nothing."""
    asset = classification()
    scene.run(build_submission_asset(asset), partition="1790")
    path = scene.state / "ledger.sqlite"
    if strange:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(strange)
    else:
        path.write_bytes(b"nonsense" * 512)

    requests, told = tick(scene, asset)

    assert (requests, why in str(told)) == ([], True), told


@pytest.mark.parametrize("n_batches", [1, 4], ids=["one", "list"])
def test_an_api_that_hangs_is_a_reason_to_skip(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch, n_batches: int
) -> None:
    """It takes the connection and says nothing."""
    scene.emulator.pace.batch_seconds = 3_600
    asset = classification()
    scene.run(build_submission_asset(asset), span=ALL, max_requests_per_batch=4 // n_batches)
    with socket.create_server(("127.0.0.1", 0)) as silent, quickly(monkeypatch):
        _, port = silent.getsockname()
        requests, why = tick(scene, asset, base_url=f"http://127.0.0.1:{port}")

    assert (requests, "Not now: no complete answer" in str(why)) == ([], True)


def test_an_api_that_is_slow_does_not_take_the_whole_tick(
    scene: "Scene", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time is over no further page or batch is asked for."""
    scene.emulator.pace.batch_seconds = 3_600
    asset = classification()
    scene.run(build_submission_asset(asset), span=ALL, max_requests_per_batch=2)
    monkeypatch.setattr("claude_batch_dagster.resource.PATIENCE_SECONDS", 0.3)
    asked = []
    real = AnthropicBatches.retrieve

    def slowly(api: AnthropicBatches, batch_id: str) -> Batch:
        asked.append(batch_id)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 0.4)
        return real(api, batch_id)

    monkeypatch.setattr(AnthropicBatches, "retrieve", slowly)

    requests, why = tick(scene, asset)

    assert (requests, "the API was too slow" in str(why), len(asked)) == ([], True, 1)


def test_a_partition_with_nothing_to_ask_is_collected_too(scene: "Scene", classification: Declare) -> None:
    """1792 has no documents; submitted, it is materialized with nothing in it."""
    asset = classification()
    scene.run(build_submission_asset(asset), partition="1792")

    [request], _ = tick(scene, asset)

    launch(scene, asset, request)
    assert tick(scene, asset) == NOTHING


def test_without_partitions_the_whole_is_submitted_and_collected(scene: "Scene", classification: Declare) -> None:
    """The same two steps."""
    asset = classification(partitions_def=None, partition_expr=None)
    scene.run(build_submission_asset(asset))

    [request], _ = tick(scene, asset)

    launch(scene, asset, request)
    assert (scene.n_posts, tick(scene, asset)) == (1, NOTHING)


def test_a_partition_that_was_deleted_is_not_collected(scene: "Scene", classification: Declare) -> None:
    """No run can be for it, and the tick says so; added again, it is collected."""
    asset = classification(
        partitions_def=dg.DynamicPartitionsDefinition(name="years"),
        partition_expr="year(published_on::DATE)::VARCHAR",
    )
    scene.instance.add_dynamic_partitions("years", ["1790", "1791"])
    submission = build_submission_asset(asset)
    scene.run(submission, partition="1790")
    scene.instance.delete_dynamic_partition("years", "1790")

    requests, why = tick(scene, asset)
    assert (requests, "partitions that the asset does not have any more" in str(why)) == ([], True), why

    scene.run(submission, partition="1791")
    assert [keys(request) for request in tick(scene, asset)[0]] == [("1791", "1791")]
    scene.instance.add_dynamic_partitions("years", ["1790"])
    assert {key for request in tick(scene, asset)[0] for key in keys(request)} == {"1790", "1791"}


def test_an_asset_of_somebody_else_is_refused() -> None:
    """There is nothing known of what it would send."""

    @dg.asset
    def stranger() -> None:
        pass

    with pytest.raises(ConfigurationError, match="Give that object itself"):
        build_submission_asset(stranger)
    with pytest.raises(ConfigurationError, match="Give that object itself"):
        build_collect_sensor(stranger)
