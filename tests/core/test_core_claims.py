"""Two runs that both mean to send the same rows: the ledger lets one of them, whatever became of the locks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from claude_batch_dagster.core.ledger import ChunkRecord, Requests, State
from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.errors import ClaimConflictError
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError, Waking
from tests.core.world import World

TWO = {1: "a text of war", 2: "a text of peace"}


class NoLocks:
    """Locks that let everybody in, as where a session was cut off unnoticed."""

    def hold(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002  (the port asks for it)
        """Hold nothing."""
        return nullcontext()


class OvertakenLedger(SqlLedger):
    """A ledger in which another run is at work just before our first intent."""

    overtake: Callable[[], object] | None = None

    def intend(self, chunk: ChunkRecord, requests: Requests, **facts: Any) -> None:
        """Let the other run go first."""
        overtake, self.overtake = self.overtake, None
        if overtake:
            overtake()
        super().intend(chunk, requests, **facts)

    def shared_locks(self, state: StateDirectory) -> Locks:  # noqa: ARG002  (lost, wherever they are)
        """Return locks that let everybody in."""
        return NoLocks()


@dataclass(frozen=True)
class Overtaken:
    """A run that is overtaken between its decision and its intent."""

    world: World
    ledger: OvertakenLedger

    def by(self, other: Callable[[], object]) -> World:
        """Say what the other run does; return the world of the run that is overtaken."""
        self.ledger.overtake = other
        return replace(self.world, ledger=self.ledger)


@pytest.fixture
def overtaken(world: World) -> Iterator[Overtaken]:
    """Return a run with two documents to send."""
    world.documents(TWO)
    ledger = OvertakenLedger(world.state.ledger_url)
    yield Overtaken(world, ledger)
    ledger.dispose()


def dies_waiting(world: World) -> None:
    """Run, and die once the batch is on its way."""
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))


def test_f28_rows_that_another_run_has_sent_meanwhile_are_waited_for(overtaken: Overtaken, world: World) -> None:
    """The claim fails in the transaction of the intent; the run attaches to the other's batch, and does not fail."""
    report = overtaken.by(lambda: dies_waiting(world)).run()

    assert (report.failure, report.n_sent, world.n_posts, world.n_billed) == (None, 0, 1, [1, 1])
    assert world.statuses() == {1: "succeeded", 2: "succeeded"}


def test_f28_rows_that_another_run_has_answered_meanwhile_are_not_sent(overtaken: Overtaken, world: World) -> None:
    """Its batch has come home before our intent: there is nothing left to ask."""
    report = overtaken.by(world.run).run()

    assert (report.failure, report.n_sent, world.n_billed) == (None, 0, [1, 1])


def test_f28_an_answer_of_another_run_that_only_the_ledger_knows_stops_this_one(
    overtaken: Overtaken, world: World
) -> None:
    """Somebody has changed the answers in the database meanwhile: the run fails in place of asking again, for ever."""

    def other() -> None:
        world.run()
        world.sql("UPDATE claude_batch.answers SET question = 'q1 of somebody else'")
        world.sql("DELETE FROM answers")

    with pytest.raises(ClaimConflictError):
        overtaken.by(other).run()

    assert world.n_posts == 1


@pytest.mark.verify
def test_f28_of_a_chunk_only_what_nobody_claimed_is_sent(overtaken: Overtaken, world: World) -> None:
    """Rows that the other run did not have travel with the next intent."""

    def other() -> None:
        world.documents({7: TWO[1]}, part="q")
        with pytest.raises(CrashError):
            world.run("q", clock=Waking.never(world.clock))

    report = overtaken.by(other).run()

    assert (report.failure, report.n_sent, world.n_posts, world.n_billed) == (None, 1, 2, [1, 1])


def test_f29_nothing_is_sent_while_another_run_has_a_chunk_unconfirmed(overtaken: Overtaken, world: World) -> None:
    """Other rows, but one batch at a time may be lost: the intent is refused until it is known what became of that."""
    world.emulator.faults.add("drop_after_accept", times=1)
    world.documents({9: "a war of its own"}, part="q")

    def other() -> None:
        with pytest.raises(CrashError):
            world.run("q", clock=Waking.never(world.clock))
        assert world.states() == [State.AMBIGUOUS]

    report = overtaken.by(other).run("p")

    assert (report.failure, world.n_billed) == (None, [1, 1, 1])
    [found, sent] = world.ledger.chunks("main.answers", State)
    assert found.batch_created_at is not None
    assert sent.intended_at > found.batch_created_at
    assert (found.state, sent.n_requests) == (State.APPLIED, 2)


@pytest.mark.verify
def test_f28_an_attempt_that_another_run_has_made_meanwhile_counts(overtaken: Overtaken, world: World) -> None:
    """An answer that did not fit is paid for once more, ever: not once more by each run."""
    world.emulator.faults.add("misfit", times=99)
    dies = overtaken.by(world.run)

    report = dies.run()

    assert report.failure is None
    assert world.n_billed == [2, 2]


def test_f28_a_question_that_comes_twice_is_sent_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever made two of it: a plan forgets what it has sent."""
    once = Outbox.__iter__
    monkeypatch.setattr(Outbox, "__iter__", lambda outbox: (row for row in once(outbox) for _ in range(2)))
    world.documents(TWO)

    world.run(limits=Limits(max_requests=1))

    assert (world.n_billed, world.n_posts) == ([1, 1], 2)


def test_f30_runs_with_one_ledger_share_its_locks_whatever_their_state_directory(world: World, tmp_path: Path) -> None:
    """They lie beside the SQLite file, not in the state directory of each."""
    elsewhere = StateDirectory.open(tmp_path / "elsewhere")
    other = SqlLedger(f"sqlite:///{world.state.path / '..' / 'state' / 'ledger.sqlite'}")

    assert world.ledger.shared_locks(world.state) is world.state
    assert other.shared_locks(elsewhere) == world.ledger.shared_locks(elsewhere)
    with other.shared_locks(elsewhere).hold("a lock"):
        assert list(elsewhere.locks.iterdir()) == []
        assert len(list(world.state.locks.iterdir())) == 1
    other.dispose()


def test_f30_a_ledger_of_any_name_has_its_locks_beside_it(state: StateDirectory, tmp_path: Path) -> None:
    """In a folder named after it, for its owner only."""
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'books.db'}")

    with ledger.shared_locks(state).hold("a lock"):
        [file] = (tmp_path / "books.db-locks").iterdir()
        assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    ledger.dispose()
