"""The ledger and its locks on a real Postgres server, made for these tests."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from claude_batch_dagster.core.ledger import ChunkRecord, Requests, State
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.errors import ClaimConflictError, LedgerError
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.locks import AdvisoryLocks, key_of
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests import canary
from tests.core.clocks import CrashError, Waking
from tests.core.world import World
from tests.storage.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.verify,
    pytest.mark.skipif(not PostgresServer.is_there(), reason="needs a Postgres server (initdb on the PATH)"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of an empty database on a server of our own, reached by a socket in a folder."""
    with PostgresServer.at(tmp_path_factory.mktemp("pg")) as running:
        yield running.url


def wipe(server: str) -> None:
    """Take away all that is in the database."""
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS claude_batch CASCADE")
    engine.dispose()


@pytest.fixture
def on_server(server: str) -> Iterator[SqlLedger]:
    """Return an empty ledger on the server."""
    wipe(server)
    ledger = SqlLedger(server)
    yield ledger
    ledger.dispose()


@pytest.fixture
def locks(server: str) -> Iterator[AdvisoryLocks]:
    """Return the server's locks."""
    engine = sa.create_engine(server)
    yield AdvisoryLocks(engine)
    engine.dispose()


def test_a_run_keeps_its_books_on_a_server(world: World, on_server: SqlLedger) -> None:
    """Lost answers, adoption and doubts are as with a file; the locks are the server's."""
    world.documents({n: f"war and peace {n}" for n in range(10)})
    world.emulator.faults.add("drop_after_accept", times=1)
    there = replace(world, ledger=on_server)

    report = there.run()

    assert (report.failure, there.states(), there.n_billed) == (None, [State.APPLIED] * 3, [1] * 10)
    assert report.partitions[0].doubts.n_adopted == 1
    assert there.run().n_sent == 0
    assert isinstance(on_server.shared_locks(world.state), AdvisoryLocks)
    assert not list(world.state.path.glob("locks/*"))
    assert isinstance(world.ledger.shared_locks(world.state), StateDirectory)


def test_many_batches_that_have_ended_land_on_a_server_that_lends_few_connections(
    world: World, on_server: SqlLedger
) -> None:
    """Each lock takes one, of fifteen."""
    world.documents({n: f"war and peace {n}" for n in range(20)})
    there = replace(world, ledger=on_server, pacing=Pacing(limits=Limits(max_requests=1)))

    assert (there.run().failure, there.states(), there.n_billed) == (None, [State.APPLIED] * 20, [1] * 20)


OPEN = """
import sys
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
print("ready", flush=True)
sys.stdin.readline()
print(SqlLedger(sys.argv[1]).ledger_id)
"""


def test_f107_four_processes_create_one_ledger_on_a_server(server: str) -> None:
    """Runs of a backfill that start together find one ledger, created once: Postgres itself lets two create a table."""
    wipe(server)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    told = [run.communicate(timeout=60) for run in runs]

    assert [run.returncode for run in runs] == [0] * 4, told
    assert len({ledger_id for ledger_id, _ in told}) == 1


def test_an_answer_to_what_was_asked_before_an_edit_stays_out(world: World, on_server: SqlLedger) -> None:
    """It comes home with a server as with a file, is written down, and shows nowhere."""
    there = replace(world, ledger=on_server)
    there.documents({1: "a text of war"})
    with pytest.raises(CrashError):
        there.run(clock=Waking.never(there.clock))
    there.documents({1: "a text of peace"})

    there.run()

    assert there.rows() == [(1, "peace", "succeeded")]
    assert there.states() == [State.APPLIED] * 2
    assert there.sql("SELECT came FROM claude_batch.answers") == [("succeeded",)] * 2


def test_questions_get_the_names_of_today_on_a_server(on_server: SqlLedger) -> None:
    """What an earlier version has asked is found by its later name."""
    chunk, requests = intent("first", "same", "other")
    on_server.intend(chunk, requests)
    assert on_server.has_earlier_names(chunk.pipeline)

    on_server.rename(chunk.pipeline, {"same": "q1 same", "other": "q1 other", "unknown": "q1 unknown"})

    assert on_server.claimed(chunk.pipeline).in_flight == {"q1 same": "first", "q1 other": "first"}
    assert not on_server.has_earlier_names(chunk.pipeline)


def test_f29_a_lock_of_the_server_shuts_out_everybody_else(locks: AdvisoryLocks) -> None:
    """Another session waits until its holder lets go; locks of other names are free."""
    entered = threading.Event()

    def enter() -> None:
        with locks.hold("pipeline"):
            entered.set()

    other = threading.Thread(target=enter)
    with locks.hold("pipeline"):
        other.start()
        with locks.hold("another"):
            pass
        assert not entered.wait(timeout=1.0)
    assert entered.wait(timeout=60.0)
    other.join()


def test_f29_a_holder_that_dies_frees_its_lock(locks: AdvisoryLocks, server: str) -> None:
    """The end of the session is what ends it: killed with SIGKILL, it is free at once."""
    code = (
        "import sys, time, sqlalchemy as sa\n"
        "from claude_batch_dagster.storage.ledger.locks import AdvisoryLocks\n"
        "with AdvisoryLocks(sa.create_engine(sys.argv[1])).hold('pipeline'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, server], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with locks.engine.connect() as connection:
            taken = connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key_of("pipeline")})
            assert taken.scalar_one() is False
        holder.kill()
        with locks.hold("pipeline"):
            pass


def test_a_lock_does_not_outlive_an_error(locks: AdvisoryLocks) -> None:
    """What goes wrong inside leaves the lock free."""
    with pytest.raises(ZeroDivisionError), locks.hold("pipeline"):
        raise ZeroDivisionError
    with locks.hold("pipeline"):
        pass


def test_f25_a_server_that_does_not_answer_stops_the_run(tmp_path: Path) -> None:
    """Nothing is sent without the lock."""
    nowhere = AdvisoryLocks(sa.create_engine(f"postgresql+psycopg://ledger@/postgres?host={tmp_path}"))

    with pytest.raises(LedgerError, match="the ledger's server does not answer"), nowhere.hold("pipeline"):
        pass


class CutLedger(SqlLedger):
    """A ledger whose server ends the sessions that hold locks, just before our first intent; another run goes on."""

    other: World | None = None

    def intend(self, chunk: ChunkRecord, requests: Requests, **facts: Any) -> None:
        """Lose the lock, and be overtaken."""
        other, self.other = self.other, None
        if other:
            with self._engine.begin() as connection:
                connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            assert other.run().failure is None
        super().intend(chunk, requests, **facts)


def test_f29_a_run_whose_lock_is_cut_off_sends_nothing_twice(world: World, on_server: SqlLedger, server: str) -> None:
    """Another run takes the lock and sends; the first finds its rows claimed, and that there is nothing to unlock."""
    world.documents({1: "a text of war", 2: "a text of peace"})
    ledger = CutLedger(server)
    ledger.other = replace(world, ledger=on_server)

    report = replace(world, ledger=ledger).run()

    ledger.dispose()
    assert (report.failure, report.n_sent, world.n_billed) == (None, 0, [1, 1])


def intent(chunk_id: str, *questions: str) -> tuple[ChunkRecord, Requests]:
    """Return a chunk with always the same question unless others are given, at a place of its own."""
    asked = questions or ("same",)
    chunk = ChunkRecord(
        chunk_id=chunk_id,
        pipeline="main.answers",
        run_id="run",
        account=f"https://{chunk_id} - key",
        state=State.SENDING,
        n_requests=len(asked),
        n_bytes=1,
        intended_at=datetime(2026, 11, 22, tzinfo=UTC),
    )
    requests = Requests(
        partition_keys=["p"] * len(asked),
        questions=asked,
        attempts=[1] * len(asked),
        keys=['"k"'] * len(asked),
        custom_ids=[f"{chunk_id}-{n}" for n in range(len(asked))],
        outcomes=[None] * len(asked),
    )
    return chunk, requests


def test_f28_of_two_intents_at_once_one_claims_the_row(on_server: SqlLedger, server: str) -> None:
    """Neither transaction sees what the other has not committed; so the second waits for the first."""
    second, looking = SqlLedger(server), sa.create_engine(server, isolation_level="AUTOCOMMIT")
    conflicts: list[str] = []

    def intend() -> None:
        try:
            second.intend(*intent("second"))
        except ClaimConflictError as error:
            conflicts.append(error.chunk_id)

    thread = threading.Thread(target=intend)

    def before_commit(_: sa.Connection) -> None:
        thread.start()
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with looking.connect() as connection:
            while thread.is_alive() and not connection.execute(waiting).scalar():
                thread.join(timeout=0.01)

    sa.event.listen(on_server._engine, "commit", before_commit, once=True)  # noqa: SLF001  (the moment that matters)
    on_server.intend(*intent("first"))
    thread.join()

    looking.dispose()
    second.dispose()
    assert conflicts == ["first"]
    assert [chunk.chunk_id for chunk in on_server.chunks("main.answers", State)] == ["first"]


def test_f29_the_command_line_waits_for_the_lock_that_runs_take(
    world: World, on_server: SqlLedger, server: str
) -> None:
    """A run is in the middle of its POST: what it has written down is not taken for what a dead run left behind."""
    on_server.intend(*intent("chunk"))
    environment = {
        "ANTHROPIC_API_KEY": canary.KEY,
        "CLAUDE_BATCH_STATE_DIRECTORY": str(world.state.path),
        "CLAUDE_BATCH_LEDGER_URL": server,
    }
    command = [sys.executable, "-m", "claude_batch_dagster.cli", "reconcile"]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        with on_server.shared_locks(world.state).hold("main.answers"):
            assert program.stderr.readline() == "Waiting for a run that is sending for main.answers ...\n"
            assert on_server.chunk("chunk").state is State.SENDING
        program.communicate()

    assert (program.returncode, on_server.chunk("chunk").state) == (0, State.REFUSED)


@pytest.fixture
def hurried(server: str) -> Iterator[Callable[[], SqlLedger]]:
    """Return a function that opens the ledger as a sensor does, with two seconds to spare."""
    with ExitStack() as stack:

        def opened() -> SqlLedger:
            ledger = SqlLedger(server, busy_seconds=2)
            stack.callback(ledger.dispose)
            return ledger

        yield opened


@pytest.mark.usefixtures("on_server")
@pytest.mark.parametrize("held", ["chunks", "alembic_version"], ids=["asking", "opening"])
def test_a_ledger_that_somebody_holds_is_given_up_in_time(
    server: str, hurried: Callable[[], SqlLedger], held: str
) -> None:
    """Who is in a hurry, as a sensor is, waits about as long as was said and is told why; then all is well again."""
    holder = sa.create_engine(server)
    with holder.begin() as connection:
        connection.exec_driver_sql(f"LOCK TABLE claude_batch.{held} IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(LedgerError, match=r"the ledger does not work \(QueryCanceled: .*statement timeout"):
            hurried().chunks("main.answers", State)
        waited = time.monotonic() - began
    holder.dispose()

    assert 1.9 < waited < 120
    assert hurried().chunks("main.answers", State) == []


@pytest.mark.timeout(300)
def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    """A host that takes the connection and says nothing: who is in a hurry gives up instead of waiting for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://ledger@127.0.0.1:{silent.getsockname()[1]}/ledger"

        with pytest.raises(LedgerError, match=r"the ledger does not work \(ConnectionTimeout"):
            SqlLedger(url, busy_seconds=0.5)
