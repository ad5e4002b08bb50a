import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread, main_thread
from time import sleep
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_duckdb import DuckDBResource
from sqlalchemy.exc import SQLAlchemyError

from claude_batch_dagster import build_submission_asset
from claude_batch_dagster.core.waiting import SystemClock
from claude_batch_dagster.emulator import Emulator, ManualClock
from claude_batch_dagster.runs.termination import LOOK_SECONDS, AttentiveClock, is_over

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")
Act = Callable[[dg.DagsterInstance, dg.DagsterRun], None]


def by_a_person(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do what a click on Terminate does, before the signal."""
    instance.report_run_canceling(run)


def by_force(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do what a click on Terminate does with its box for a forced end: the run is canceled when the signal arrives."""
    instance.report_run_canceling(run)
    instance.report_run_canceled(run)


def by_max_runtime(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do what run monitoring does to a run that takes too long, before the signal."""
    instance.report_run_canceling(run, message="Canceling due to exceeding maximum runtime of 5 seconds.")
    instance.report_run_canceling(run, message="Sending run termination request.")


def by_max_runtime_and_force(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do what run monitoring does where a run that takes too long does not end by itself."""
    by_max_runtime(instance, run)
    instance.report_run_canceled(run)


def by_the_machine(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do nothing before the signal."""


def failing(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Do what run monitoring does to a run whose worker has died, though a step of it goes on elsewhere."""
    instance.report_run_failed(run)


class Passing(SystemClock):
    """A clock on which time passes at once."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.seconds += seconds


def wait_until_accepted(world: "DagsterWorld") -> None:
    """Wait until the ledger of the world knows that a batch was accepted."""
    engine = sa.create_engine(f"sqlite:///{world.state / 'ledger.sqlite'}")
    for _ in range(6000):  # a minute
        try:
            with engine.connect() as connection:
                if connection.execute(sa.text("SELECT 1 FROM chunks WHERE state = 'accepted'")).scalar():
                    break
        except SQLAlchemyError:
            pass  # not there yet
        sleep(0.01)
    else:
        raise AssertionError("no batch was accepted")
    engine.dispose()


def latest_log(world: "DagsterWorld", before: int) -> list[str]:
    """Return the log of the world's latest run, if there are more runs than before."""
    runs = world.instance.get_runs()
    return [entry.message for entry in world.instance.all_logs(runs[0].run_id)] if len(runs) > before else []


def wait_until(look: Callable[[], bool]) -> None:
    """Look until it is so."""
    for _ in range(6000):  # a minute
        if look():
            return
        sleep(0.01)
    raise AssertionError("not in time")


@contextmanager
def stopping(world: "DagsterWorld", act: Act, *, n_batches: int = 1) -> Iterator[None]:
    """Interrupt the latest run, that within the block, as Dagster does, once its batches are accepted and it waits."""
    before = world.instance.get_runs_count()

    def wait_and_stop() -> None:
        try:
            wait_until_accepted(world)
            wait_until(lambda: len([*world.emulator.audit.accepted()]) >= n_batches)
            wait_until(lambda: any("batch open" in line for line in latest_log(world, before)))
            act(world.instance, world.instance.get_runs(limit=1)[0])
        finally:  # else the run would wait for ever
            os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=wait_and_stop)
    thread.start()
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        yield
    thread.join()


def reading() -> bool:
    """Tell whether the run, in the main thread, is in the query that reads the upstream table."""
    frame = sys._current_frames().get(main_thread().ident or 0)  # noqa: SLF001  (documented, for such as this)
    return frame is not None and frame.f_code.co_qualname == "Reading._read"


def status(world: "DagsterWorld") -> str:
    """Return what the API says of the one batch of the world."""
    (only,) = statuses(world)
    return only


def statuses(world: "DagsterWorld") -> list[str]:
    """Return what the API says of each batch of the world."""
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    paths = [f"/v1/messages/batches/{batch.id}" for batch in world.emulator.audit.accepted()]
    return [str(world.emulator.handle("GET", path, headers, b"").json()["processing_status"]) for path in paths]


def log(world: "DagsterWorld") -> str:
    """Return the log of the world's first run."""
    (*_, run) = world.instance.get_runs()
    return "\n".join(entry.message for entry in world.instance.all_logs(run.run_id))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Return a Dagster instance in files: who stops a run is another process, and here another thread."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as kept:
        yield kept


@pytest.fixture
def waiting_world(other_world: Callable[[Emulator], "DagsterWorld"]) -> "DagsterWorld":
    """Return a world whose batches end when the emulator's clock is advanced by an hour."""
    return other_world(Emulator(clock=ManualClock(datetime.now(UTC)), batch_seconds=3600))


@pytest.mark.parametrize("act", [by_a_person, by_force])
def test_f63_a_person_who_terminates_a_run_cancels_its_batches(
    waiting_world: "DagsterWorld", classification: Declare, act: Act
) -> None:
    """A click on Terminate cancels the batch at the API; the next run asks what was not answered, and only that."""
    world = waiting_world
    with stopping(world, act):
        world.run(classification(), span=ALL)

    assert status(world) == "canceling"
    assert "Terminated: 1 batch canceled (msgbatch_" in log(world)
    world.emulator.clock.advance(hours=1)
    world.emulator.pace.batch_seconds = 0
    world.run(classification(), span=ALL)
    assert world.statuses() == {"succeeded": 4}
    assert world.paid_twice == []


def test_f63_terminating_a_cascade_cancels_the_batches_of_both_models(
    waiting_world: "DagsterWorld", classification: Declare
) -> None:
    """The cheap model's, for which the run waits, and the sample's, which is on its way beside it."""
    world = waiting_world
    asset = classification(confidences=True, escalate_to="claude-opus-5-5")
    with stopping(world, by_a_person, n_batches=2):
        world.run(asset, span=ALL)

    assert statuses(world) == ["canceling", "canceling"]
    world.emulator.clock.advance(hours=1)
    world.emulator.pace.batch_seconds = 0
    world.run(asset, span=ALL)
    assert world.statuses() == {"succeeded": 4}
    assert world.paid_twice == []


@pytest.mark.parametrize("act", [by_the_machine, by_max_runtime, by_max_runtime_and_force])
def test_f62_a_machine_that_stops_a_run_leaves_its_batches(
    waiting_world: "DagsterWorld", classification: Declare, act: Act
) -> None:
    """A signal, a restart or `max_runtime` leaves the batch alone; the next run lands it and sends nothing."""
    world = waiting_world
    with stopping(world, act):
        world.run(classification(), span=ALL)

    assert status(world) == "in_progress"
    assert "The batches go on; the next run lands their answers." in log(world)
    world.emulator.clock.advance(hours=1)
    world.run(classification(), span=ALL)
    assert world.statuses() == {"succeeded": 4}
    assert (world.n_posts, world.paid_twice) == (1, [])


@pytest.mark.parametrize(
    ("act", "word"), [(by_a_person, "canceling"), (by_force, "canceling"), (failing, "in_progress")]
)
def test_a_step_that_no_signal_reaches_asks_for_its_run(
    waiting_world: "DagsterWorld",
    classification: Declare,
    act: Act,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An executor that runs steps elsewhere hands no signal on: one that waits sees that its run is over."""
    monkeypatch.setattr("claude_batch_dagster.runs.termination.LOOK_SECONDS", 0.05)
    world = waiting_world

    def end() -> None:
        wait_until_accepted(world)
        act(world.instance, world.instance.get_runs(limit=1)[0])

    thread = Thread(target=end)
    thread.start()
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        world.run(classification(), span=ALL, poll_interval_seconds=0.1)
    thread.join()

    assert (world.n_posts, status(world)) == (1, word)


def test_a_storage_that_does_not_answer_is_no_reason_to_stop() -> None:
    """Dagster's database restarts while a run waits: the run goes on."""

    class Restarting:
        log = SimpleNamespace(debug=lambda *_: None)
        run = SimpleNamespace(run_id="run")

        @property
        def instance(self) -> Any:
            raise SQLAlchemyError

    assert not is_over(Restarting())  # type: ignore[arg-type]  # all of a context that is looked at


def test_a_pause_goes_on_while_the_run_is_wanted() -> None:
    """A pause is as long as it was to be, and its run is looked at every quarter of a minute, no more often."""
    passed, looks = Passing(), 0

    def is_over() -> bool:
        nonlocal looks
        looks += 1
        return passed.seconds > 200

    clock = AttentiveClock(passed, is_over, monotonic=lambda: passed.seconds)
    clock.sleep(40)
    assert (passed.seconds, looks) == (40, 2)
    for _ in range(10):
        clock.sleep(1)
    assert (passed.seconds, looks) == (50, 3)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        clock.sleep(1_000)
    assert passed.seconds <= 200 + LOOK_SECONDS


def test_f63_a_person_may_have_said_to_leave_batches(waiting_world: "DagsterWorld", classification: Declare) -> None:
    """With `on_terminate=leave` a click on Terminate stops the run and not the batch."""
    with stopping(waiting_world, by_a_person):
        waiting_world.run(classification(), span=ALL, on_terminate="leave")

    assert status(waiting_world) == "in_progress"


def test_a_submission_waits_while_enough_is_in_flight(waiting_world: "DagsterWorld", classification: Declare) -> None:
    """Terminated then, it has canceled the batch it has sent and says so; the asset asks the rest, and only that."""
    world = waiting_world
    submission = build_submission_asset(classification())
    with stopping(world, by_a_person):
        world.run(submission, span=ALL, max_requests_per_batch=1, max_requests_in_flight=1)

    assert (world.n_posts, status(world)) == (1, "canceling")
    assert "Terminated: 1 batch canceled (msgbatch_" in log(world)
    world.emulator.clock.advance(hours=1)
    world.emulator.pace.batch_seconds = 0
    world.run(classification(), span=ALL)
    assert world.statuses() == {"succeeded": 4}
    assert world.paid_twice == []


@pytest.mark.parametrize(
    ("act", "on_terminate"),
    [(by_the_machine, "cancel"), (by_max_runtime, "cancel"), (by_a_person, "leave")],
)
def test_a_submission_that_is_stopped_otherwise_leaves_its_batches(
    waiting_world: "DagsterWorld", classification: Declare, act: Act, on_terminate: str
) -> None:
    """A signal, `max_runtime`, or `on_terminate=leave`: the batch goes on, and the asset lands it."""
    world = waiting_world
    submission = build_submission_asset(classification())
    with stopping(world, act):
        world.run(submission, span=ALL, max_requests_per_batch=1, max_requests_in_flight=1, on_terminate=on_terminate)

    assert status(world) == "in_progress"
    assert "The batches go on; the next run lands their answers." in log(world)
    world.emulator.clock.advance(hours=1)
    world.emulator.pace.batch_seconds = 0
    world.run(classification(), span=ALL)
    assert (world.statuses(), len(world.sent), world.paid_twice) == ({"succeeded": 4}, 4, [])


def test_terminating_one_run_leaves_the_rows_of_others_alone(
    waiting_world: "DagsterWorld", classification: Declare
) -> None:
    """All years are submitted in one batch; a run by hand waits for one of them, and is terminated."""
    world = waiting_world
    asset = classification()
    world.run(build_submission_asset(asset), span=ALL)

    with stopping(world, by_a_person):
        world.run(asset, partition="1790")

    assert status(world) == "in_progress"
    told = latest_log(world, 1)
    assert any("Terminated: 0 batches canceled." in line for line in told)
    assert any("Not canceled: 1 batch that other runs or partitions need (msgbatch_" in line for line in told)


@pytest.mark.parametrize("submit", [False, True], ids=["asset", "submission"])
def test_f63_a_click_on_terminate_in_the_midst_of_a_query_is_one(
    waiting_world: "DagsterWorld", classification: Declare, *, submit: bool
) -> None:
    """DuckDB makes an error of what the signal raises; the run takes it for what it is, and tells what it did."""
    takes_minutes = "SELECT * FROM public.documents WHERE (SELECT sum(hash(range)) FROM range(20000000000)) > 0"
    asset = classification(sql=takes_minutes)
    waiting_world.let_go()
    one_thread = DuckDBResource(database=waiting_world.database, connection_config={"threads": "1"})

    def stop_while_it_reads() -> None:
        wait_until(reading)
        sleep(0.5)  # from its first lines into the query
        by_a_person(waiting_world.instance, waiting_world.instance.get_runs(limit=1)[0])
        os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=stop_while_it_reads)
    thread.start()
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        waiting_world.run(build_submission_asset(asset) if submit else asset, span=ALL, database=one_thread)
    thread.join()

    assert "Terminated: 0 batches canceled." in log(waiting_world)
    assert waiting_world.n_posts == 0


def test_f64_a_cancel_that_fails_stops_the_run_all_the_same(
    waiting_world: "DagsterWorld", classification: Declare
) -> None:
    """Where the API does not take the cancel the run ends, and says so."""
    waiting_world.emulator.faults.add("500", endpoint="cancel")
    with stopping(waiting_world, by_a_person):
        waiting_world.run(classification(), span=ALL)

    assert "could not be canceled: HTTP 500" in log(waiting_world)
    assert list((waiting_world.state / "outbox").iterdir()) == []


RUN = """
import sys
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_classification_asset

url, folder = sys.argv[1:]
asset = build_classification_asset(
    name="answers", upstream="documents",
    labels={"economy": "tax tariff trade money", "war": "army navy war battle", "other": "anything else"},
)
resource = ClaudeBatchResource(
    api_key=dg.EnvVar("CLAUDE_TEST_KEY"), base_url=url, database=DuckDBResource(database=f"{folder}/warehouse.duckdb"),
    state_directory=f"{folder}/state", poll_interval_seconds=0.05,
)
job = dg.Definitions(assets=[asset], resources={"claude_batch": resource}).get_implicit_global_asset_job_def()
with dg.DagsterInstance.local_temp(f"{folder}/dagster") as instance:
    job.execute_in_process(instance=instance)
"""


def test_f62_a_process_that_is_killed_softly_pays_nothing_twice(
    waiting_world: "DagsterWorld", classification: Declare
) -> None:
    """SIGTERM to a process of its own, as a restart sends it: the run fails, the next one lands its batch."""
    world = waiting_world
    (world.folder / "dagster").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, world.url, str(world.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_until_accepted(world)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()

    assert b"DagsterExecutionInterruptedError" in told
    with dg.DagsterInstance.local_temp(str(world.folder / "dagster")) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    world.emulator.clock.advance(hours=1)
    world.run(classification(partitions_def=None))
    assert world.statuses() == {"succeeded": 4}
    assert (world.n_posts, world.paid_twice) == (1, [])
