import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from claude_batch_dagster.emulator import Emulator, ManualClock
from claude_batch_dagster.errors import (
    ApiUnreachableError,
    ConfigurationError,
    CredentialError,
    LedgerError,
    StateDirectoryError,
    WarehouseCorruptError,
    WarehouseError,
    WarehouseLockedError,
)

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")

HOLDER = """
import pathlib, sys, time, duckdb
database, wanted, held, free = sys.argv[1:]
while not pathlib.Path(wanted).exists():
    time.sleep(0.01)
connection = duckdb.connect(database)
pathlib.Path(held).touch()
while not pathlib.Path(free).exists():
    time.sleep(0.01)
connection.close()
pathlib.Path(free).unlink()
"""


class Holder:
    """A process of its own that takes the DuckDB file when told, and lets go when told."""

    def __init__(self, world: "DagsterWorld") -> None:
        self.wanted, self.held, self.free = (world.folder / name for name in ("wanted", "held", "free"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, world.database, *map(str, (self.wanted, self.held, self.free))]
        )

    def hold(self) -> None:
        """Have the file held from here on."""
        self.wanted.touch()
        wait_for(self.held.exists)

    def let_go(self) -> None:
        """Have the file free from here on."""
        self.free.touch()
        self.process.wait(60)


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; fail after a minute."""
    for _ in range(6000):
        if happened():
            return
        sleep(0.01)
    raise AssertionError(happened)


@contextmanager
def once_sent(world: "DagsterWorld", act: Callable[[], None]) -> Iterator[None]:
    """Act, beside the block, as soon as the emulator has a batch."""

    def wait_and_act() -> None:
        wait_for(lambda: world.n_posts > 0)
        act()

    thread = Thread(target=wait_and_act, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture
def slow_world(other_world: Callable[[Emulator], "DagsterWorld"]) -> "DagsterWorld":
    """Return a world whose batches end when the emulator's clock is advanced by a minute."""
    return other_world(Emulator(clock=ManualClock(datetime.now(UTC)), batch_seconds=60))


@pytest.fixture
def holder(slow_world: "DagsterWorld") -> Iterator[Holder]:
    """Return a process that can hold the DuckDB file of `slow_world`."""
    holder = Holder(slow_world)
    yield holder
    holder.process.kill()
    holder.process.wait(60)


# --- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["401", "403"])
def test_f38_a_key_that_is_refused_stops_at_once(world: "DagsterWorld", classification: Declare, fault: str) -> None:
    """
    A wrong key, or one that may not do this: one call, nothing accepted, and a word on what to check.

    Of the four years one is empty, and so complete.
    """
    world.emulator.faults.add(fault, endpoint="create")

    with pytest.raises(dg.Failure, match=rf"1 of 4 partitions .*HTTP {fault}.*Check.* the API key") as caught:
        world.run(classification(), span=ALL)

    assert isinstance(caught.value.__cause__, CredentialError)
    assert caught.value.allow_retries is False
    assert (world.n_posts, world.sent) == (1, [])
    world.emulator.faults.clear()
    world.run(classification(), span=ALL)
    assert world.statuses() == {"succeeded": 4}


def test_f38_a_wrong_key_is_told_from_a_right_one(
    other_world: Callable[[Emulator], "DagsterWorld"], classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the API does not know is a failure of the run, until the right one is set."""
    world = other_world(
        Emulator(keys={"the right key": "default"}, clock=ManualClock(datetime.now(UTC)), batch_seconds=0)
    )

    with pytest.raises(dg.Failure, match=r"HTTP 401 authentication_error: API key is invalid\. Check the API key"):
        world.run(classification(), partition="1790")

    monkeypatch.setenv("CLAUDE_TEST_KEY", "the right key")
    world.run(classification(), partition="1790")
    assert world.statuses() == {"succeeded": 1}


@pytest.mark.parametrize("key", ["", " ", "canary\n", "can\u00e4ry"])
def test_what_can_be_no_key_is_refused_before_anything_is_sent(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A variable that holds nothing, or a line break, is no key; the message does not repeat it."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", key)

    with pytest.raises(ConfigurationError, match=r"api_key is empty, or.*Nothing was sent. Check the env") as caught:
        world.run(classification(), partition="1790")

    assert "canary" not in str(caught.value)
    assert world.n_posts == 0


@pytest.mark.parametrize(("status", "endpoint"), [("401", "retrieve"), ("403", "retrieve"), ("401", "results")])
def test_f54_a_key_revoked_while_waiting_loses_nothing(
    world: "DagsterWorld", classification: Declare, status: str, endpoint: str
) -> None:
    """A key revoked after the batch was accepted stops the run; the next run lands what was paid for."""
    world.emulator.faults.add(status, endpoint=endpoint)

    with pytest.raises(dg.Failure, match=rf"0 of 1 partition is complete: HTTP {status}"):
        world.run(classification(), partition="1791")
    assert world.statuses() == {}
    world.emulator.faults.clear()
    world.run(classification(), partition="1791")

    assert world.statuses() == {"succeeded": 2}
    assert (world.n_posts, world.paid_twice) == (1, [])


@pytest.mark.parametrize(("fault", "match"), [("billing_402", "HTTP 402"), ("enforced_spend_limit_429", "HTTP 429")])
def test_f39_f43_an_account_that_cannot_pay_fails_the_run_clearly(
    world: "DagsterWorld", classification: Declare, fault: str, match: str
) -> None:
    """No credit, or a limit: one call, a failure that says what to do, no attempt burnt."""
    world.emulator.faults.add(fault, endpoint="create")

    with pytest.raises(dg.Failure, match=rf"{match}.*Raise the limit or add credit.*nothing is lost"):
        world.run(classification(), partition="1791")

    assert world.n_posts == 1
    world.emulator.faults.clear()
    world.run(classification(), partition="1791")
    assert {row[0] for row in world.answers("attempt")} == {1}


# --- the state directory and the ledger ---------------------------------------------------------------


def test_f88_a_state_directory_that_cannot_be_written_sends_nothing(
    world: "DagsterWorld", classification: Declare
) -> None:
    """A state directory that cannot be used is told before anything is read or sent."""
    (world.folder / "file").touch()

    with pytest.raises(
        StateDirectoryError, match=r"cannot be used \(Not a directory\). Nothing was sent. Set state_dir"
    ):
        world.run(classification(), partition="1790", state_directory=str(world.folder / "file" / "state"))

    assert world.n_posts == 0


def test_f25_a_ledger_that_does_not_work_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """Without a ledger nothing is sent, and the error says so."""
    world.state.mkdir()
    (world.state / "ledger.sqlite").write_bytes(b"this is no database, whatever its name is" * 100)

    with pytest.raises(LedgerError, match=r"the ledger does not work.*Nothing is sent without it"):
        world.run(classification(), partition="1790")

    assert world.n_posts == 0


def test_a_ledger_url_that_is_none_is_told(world: "DagsterWorld", classification: Declare) -> None:
    """A ledger URL that cannot be used is told with an example."""
    with pytest.raises(LedgerError, match=r"ledger URL cannot be used.*Use sqlite:///"):
        world.run(classification(), partition="1790", ledger_url="nonesuch://host/ledger")


def test_f120_a_ledger_url_with_its_password_in_code_is_refused(world: "DagsterWorld", classification: Declare) -> None:
    """Dagster would show the password; the message says what to write, without repeating it."""
    with pytest.raises(ConfigurationError, match=r"ledger_url=dg\.EnvVar") as caught:
        world.run(classification(), partition="1790", ledger_url="postgresql://me:canary@host/ledger")

    assert "canary" not in str(caught.value)


def test_the_ledger_may_be_elsewhere(world: "DagsterWorld", classification: Declare) -> None:
    """`ledger_url` says where the ledger is; then none is in the state directory."""
    elsewhere = world.folder / "elsewhere.sqlite"

    world.run(classification(), partition="1790", ledger_url=f"sqlite:///{elsewhere}")

    assert elsewhere.exists()
    assert not (world.state / "ledger.sqlite").exists()


# --- DuckDB -------------------------------------------------------------------------------------------


def test_f86_a_file_held_by_another_process_sends_nothing(
    slow_world: "DagsterWorld", holder: Holder, classification: Declare
) -> None:
    """A DuckDB file that is held when the run begins: the log says by whom, then an error does, and nothing is sent."""
    holder.hold()

    with pytest.raises(
        WarehouseLockedError, match=rf"held by process {holder.process.pid}.*close the other connection and materialize"
    ):
        slow_world.run(classification(), partition="1790", lock_timeout_seconds=1.5)

    [run] = slow_world.instance.get_runs(limit=1)
    told = [entry.user_message for entry in slow_world.instance.all_logs(run.run_id)]
    assert any(f"is held by process {holder.process.pid}; waited 1 s, at most 2 s" in line for line in told)
    assert slow_world.n_posts == 0


def test_f86_a_file_held_when_answers_land_loses_nothing(
    slow_world: "DagsterWorld", holder: Holder, classification: Declare
) -> None:
    """A DuckDB file that is held when the batch ends: the run fails, the next lands what was paid for."""

    def hold_and_end() -> None:
        holder.hold()
        slow_world.emulator.clock.advance(minutes=1)

    with once_sent(slow_world, hold_and_end), pytest.raises(WarehouseLockedError, match="Nothing that was paid for is"):
        slow_world.run(classification(), span=ALL)
    holder.let_go()
    slow_world.run(classification(), span=ALL)

    assert slow_world.statuses() == {"succeeded": 4}
    assert (slow_world.n_posts, slow_world.paid_twice) == (1, [])


def test_f86_a_file_is_free_while_the_batch_is_waited_for(
    slow_world: "DagsterWorld", holder: Holder, classification: Declare
) -> None:
    """While a run waits, another process can open the file, and the run waits for it to let go."""

    def hold_end_and_let_go() -> None:
        holder.hold()
        slow_world.emulator.clock.advance(minutes=1)
        sleep(0.2)
        holder.let_go()

    with once_sent(slow_world, hold_end_and_let_go):
        result = slow_world.run(classification(), span=ALL, lock_timeout_seconds=120)

    assert result.success
    assert slow_world.statuses() == {"succeeded": 4}


def test_f95_a_document_that_is_deleted_while_a_run_waits_leaves_with_the_next(
    slow_world: "DagsterWorld", classification: Declare
) -> None:
    """Table, metadata and checks are of one reading; what is added or deleted meanwhile is for the next run."""

    def change_and_end() -> None:
        slow_world.write("DELETE FROM public.documents WHERE id = 'b'")
        slow_world.write("INSERT INTO public.documents VALUES ('e', 'a new tariff', '1790-02-02')")
        slow_world.emulator.clock.advance(minutes=1)

    with once_sent(slow_world, change_and_end):
        result = slow_world.run(classification(), span=ALL)

    assert [row[0] for row in slow_world.answers("id")] == ["a", "b", "c", "d"]
    found = {check.partition: check for check in result.get_asset_check_evaluations() if check.check_name == "complete"}
    assert {check.passed for check in found.values()} == {True}
    assert found["1791"].metadata["claude_batch/upstream_rows"].value == 2
    slow_world.emulator.pace.batch_seconds = 0
    slow_world.run(classification(), span=ALL)
    assert [row[0] for row in slow_world.answers("id")] == ["a", "c", "d", "e"]


def test_f89_a_corrupted_file_loses_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A file that is no database any more is told from others; once mended, answers are restored unpaid."""
    world.run(classification(), span=ALL)
    world.let_go()
    Path(world.database).write_bytes(b"not a database at all" * 1000)

    with pytest.raises(WarehouseCorruptError, match=r"cannot be opened as a DuckDB database.*Move it away.*at no cost"):
        world.run(classification(), span=ALL)
    Path(world.database).unlink()
    world.write_documents()
    world.run(classification(), span=ALL)

    assert world.statuses() == {"succeeded": 4}
    assert world.n_posts == 1


def test_a_database_in_memory_is_refused(world: "DagsterWorld", classification: Declare) -> None:
    """Answers in memory would be gone with the run, so that is refused."""
    with pytest.raises(ConfigurationError, match=r"in memory.*Give DuckDBResource a file"):
        world.run(classification(), partition="1790", database=DuckDBResource(database=":memory:"))


def test_f88_a_database_in_a_folder_that_is_not_there(world: "DagsterWorld", classification: Declare) -> None:
    """A path that cannot be opened is told, with what to check."""
    nowhere = DuckDBResource(database=str(world.folder / "no" / "such" / "folder.duckdb"))

    with pytest.raises(WarehouseError, match=r"cannot be opened.*Check the path and its permissions"):
        world.run(classification(), partition="1790", database=nowhere)

    assert world.n_posts == 0


def test_settings_of_duckdb_are_honored(world: "DagsterWorld", classification: Declare) -> None:
    """`connection_config` of the DuckDBResource is that of every connection."""
    world.let_go()
    database = DuckDBResource(database=world.database, connection_config={"nonesuch": "1"})

    with pytest.raises(WarehouseError, match="nonesuch"):
        world.run(classification(), partition="1790", database=database)


# --- the network --------------------------------------------------------------------------------------


def test_f31_an_api_that_is_not_there(world: "DagsterWorld", classification: Declare) -> None:
    """An API that does not answer at all fails the run, clearly and without a request on its way."""
    with pytest.raises(ApiUnreachableError, match=r"no complete answer from the API \(ConnectError\)"):
        world.run(classification(), partition="1790", base_url="http://127.0.0.1:9")

    world.run(classification(), partition="1790")
    assert world.n_posts == 1


@pytest.mark.parametrize("fault", ["drop_after_accept", "500_after_accept", "cut_json_200"])
def test_f34_f45_f46_an_answer_that_was_lost_is_not_paid_for_again(
    world: "DagsterWorld", classification: Declare, fault: str
) -> None:
    """A batch that was accepted although the answer was lost is found, proved ours, and landed."""
    world.emulator.faults.add(fault, times=1, endpoint="create")

    world.run(classification(), span=ALL, quiet_period_seconds=60)

    assert world.statuses() == {"succeeded": 4}
    assert (world.n_posts, world.paid_twice) == (1, [])


def test_a_batch_that_cannot_be_found_waits_for_a_person(world: "DagsterWorld", classification: Declare) -> None:
    """With `on_unconfirmed=hold` a batch whose fate is not known fails the run and says where to look."""
    world.emulator.faults.add("drop_before_accept", times=1)

    with pytest.raises(
        dg.Failure, match=r"0 of 1 partition is complete.*1 chunk is held.*set on_unconfirmed to 'resubmit'"
    ):
        world.run(classification(), partition="1790", on_unconfirmed="hold", quiet_period_seconds=0)
    world.run(classification(), partition="1790", quiet_period_seconds=0)

    assert world.statuses() == {"succeeded": 1}
