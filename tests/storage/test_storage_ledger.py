import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from claude_batch_dagster.core.ledger import NEXT, OPEN, ChunkRecord, Claimed, Requests, Spend, State
from claude_batch_dagster.errors import ClaimConflictError, LedgerConflictError, LedgerError
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger import schema
from claude_batch_dagster.storage.ledger.requests import TOGETHER
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def record(chunk_id: str = "chunk", **facts: Any) -> ChunkRecord:
    """Return a chunk as it is intended, at a place of its own."""
    return replace(
        ChunkRecord(
            chunk_id=chunk_id,
            pipeline="schema.table",
            run_id="run",
            account=f"https://{chunk_id} - key",
            state=State.SENDING,
            n_requests=2,
            n_bytes=3_000_000_000,
            intended_at=NOW,
        ),
        **facts,
    )


def rows(chunk_id: str = "chunk", *, hashes: tuple[str, ...] = (), attempt: int = 1) -> Requests:
    """Return the requests of a chunk, with questions of its own."""
    questions = hashes or (f"{chunk_id}-h0", f"{chunk_id}-h1")
    return Requests(
        partition_keys=("p",) * len(questions),
        questions=questions,
        attempts=(attempt,) * len(questions),
        keys=tuple(f'"k{n}"' for n in range(len(questions))),
        custom_ids=tuple(f"{chunk_id}-{n}" for n in range(len(questions))),
        outcomes=(None,) * len(questions),
    )


def spend(partition_key: str | None = "p", cost_usd: float | None = 0.5) -> Spend:
    """Return what a chunk cost for a partition."""
    return Spend(
        partition_key=partition_key,
        n_requests=2,
        input_tokens=2**40,
        output_tokens=3,
        cost_usd=cost_usd,
        live_cost_usd=None if cost_usd is None else 2 * cost_usd,
    )


def paths() -> dict[State, list[State]]:
    """Return, for every state, allowed moves that lead to it from the intent."""
    found: dict[State, list[State]] = {State.SENDING: []}
    while missing := [(a, b) for a, following in NEXT.items() for b in following if a in found and b not in found]:
        found |= {b: [*found[a], b] for a, b in missing}
    return found


@pytest.fixture
def other(state: StateDirectory, ledger: SqlLedger) -> Iterator[SqlLedger]:
    """Return another run's view of the same ledger."""
    other = SqlLedger(state.ledger_url)
    yield other
    other.dispose()


def test_an_intent_is_read_back_as_it_was_written(ledger: SqlLedger, other: SqlLedger) -> None:
    """Chunk and rows are there, whole, for whoever opens the ledger."""
    chunk = record(note="é \U0001f642 \u2028", quiet_since=NOW + timedelta(microseconds=1))
    ledger.intend(chunk, rows())

    assert (other.chunk("chunk"), other.requests("chunk")) == (chunk, rows())


def test_f117_times_come_back_in_utc(ledger: SqlLedger) -> None:
    """A time of any zone is the same moment afterwards."""
    away = NOW.astimezone(timezone(timedelta(hours=-9, minutes=30)))
    ledger.intend(record(intended_at=away), rows())

    kept = ledger.chunk("chunk").intended_at
    assert (kept, kept.tzinfo) == (NOW, UTC)


def test_f23_an_intent_is_written_whole_or_not_at_all(ledger: SqlLedger) -> None:
    """A chunk without its rows would be a batch without its people."""
    with pytest.raises(LedgerError):
        ledger.intend(record(), rows(hashes=("a", "no UTF-8: \ud800")))

    assert ledger.chunks("schema.table", State) == []


@pytest.mark.sampled
@pytest.mark.parametrize("was", State)
def test_a_chunk_makes_the_moves_of_the_table_and_no_other(ledger: SqlLedger, was: State) -> None:
    """Each allowed move is made, each other one raises and changes nothing."""
    for to in State:
        ledger.intend(record(to), rows(to))
        for step in paths()[was]:
            ledger.move(to, to=step)

        if to in NEXT[was]:
            assert ledger.move(to, to=to, note="moved") == record(to, state=to, note="moved")
        else:
            with pytest.raises(LedgerConflictError, match=f"chunk {to} is {was} and cannot become {to}") as caught:
                ledger.move(to, to=to, note="moved")
            assert (caught.value.chunk_id, caught.value.was, caught.value.wanted) == (to, was, to)
            assert ledger.chunk(to) == record(to, state=was)


def test_of_two_runs_that_move_a_chunk_one_wins(ledger: SqlLedger, other: SqlLedger) -> None:
    """A move is one conditional update: the second run is told, not obeyed."""
    ledger.intend(record(), rows())
    ledger.move("chunk", to=State.RELEASED)
    other.move("chunk", to=State.ACCEPTED, batch_id="theirs")

    with pytest.raises(LedgerConflictError):
        ledger.move("chunk", to=State.AMBIGUOUS)
    assert ledger.chunk("chunk").batch_id == "theirs"


def test_f52_one_batch_cannot_be_two_chunks(ledger: SqlLedger) -> None:
    """A batch id that is known already is refused."""
    for name in ("a", "b"):
        ledger.intend(record(name), rows(name))
        ledger.move(name, to=State.RELEASED)
    ledger.move("a", to=State.ACCEPTED, batch_id="msgbatch_1")

    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.move("b", to=State.ACCEPTED, batch_id="msgbatch_1")
    assert (ledger.chunk("b").state, set(ledger.batch_ids())) == (State.RELEASED, {"msgbatch_1"})


def test_a_note_adds_facts_and_moves_nothing(ledger: SqlLedger) -> None:
    """What was learned on the way is kept."""
    ledger.intend(record(), rows())

    assert ledger.note("chunk", n_silent_listings=3) == record(n_silent_listings=3)


def test_a_chunk_that_nobody_intended_is_unknown(ledger: SqlLedger) -> None:
    """Asking for it, noting or moving it raises."""
    with pytest.raises(LedgerError, match="knows no chunk nobody"):
        ledger.chunk("nobody")
    with pytest.raises(LedgerError, match="knows no chunk nobody"):
        ledger.note("nobody", note="x")
    with pytest.raises(LedgerConflictError, match="is unknown"):
        ledger.move("nobody", to=State.RELEASED)


def test_chunks_are_found_by_pipeline_state_and_run_oldest_first(ledger: SqlLedger) -> None:
    """A run sees its own and those that others left behind."""
    for name, run_id, pipeline in [("b", "1", "x"), ("a", "2", "x"), ("c", "1", "x"), ("d", "1", "y")]:
        ledger.intend(record(name, run_id=run_id, pipeline=pipeline), rows(name))
    ledger.move("c", to=State.REFUSED)

    def names(*states: State, run_id: str | None = None) -> list[str]:
        return [chunk.chunk_id for chunk in ledger.chunks("x", states, run_id=run_id)]

    assert names(State.SENDING) == ["a", "b"]
    assert names(State.SENDING, State.REFUSED, run_id="1") == ["b", "c"]
    assert names() == []


def reach(ledger: SqlLedger, state: State, chunk: ChunkRecord, carried: Requests) -> None:
    """Write a chunk down, and bring it to a state."""
    ledger.intend(chunk, carried)
    for step in paths()[state]:
        if step is State.APPLIED:
            ledger.close(chunk.chunk_id, to=step, outcome="errored", others={}, spends=[])
        else:
            ledger.move(chunk.chunk_id, to=step)


def test_questions_on_their_way_are_found_with_their_chunk(ledger: SqlLedger) -> None:
    """By state, or because the database lacks what came back; of one pipeline, with all chunks that were looked at."""
    reach(ledger, State.REFUSED, record("1", pipeline="x"), rows("1", hashes=("same", "own1")))
    reach(ledger, State.ACCEPTED, record("2", pipeline="x"), rows("2", hashes=("same", "own2")))
    reach(ledger, State.APPLIED, record("3", pipeline="x"), rows("3"))
    reach(ledger, State.ACCEPTED, record("4", pipeline="y"), rows("4", hashes=("same", "own4")))

    assert ledger.claimed("x") == Claimed({"same": "2", "own2": "2"}, frozenset("23"))
    lacking = {"same": "2", "own2": "2", "3-h0": "3", "3-h1": "3"}
    assert ledger.claimed("x", lacking=["1", "3", "4"]) == Claimed(lacking, frozenset("23"))
    assert ledger.claimed("z") == Claimed({}, frozenset())


def test_what_was_seen_when_the_choice_was_made_is_not_looked_at_again(ledger: SqlLedger) -> None:
    """Only of what came later it is not known yet what it claims."""
    reach(ledger, State.ACCEPTED, record("a"), rows("a", hashes=("same",)))

    with pytest.raises(ClaimConflictError):
        ledger.intend(record("b"), rows("b", hashes=("same",)), known=["another"])
    ledger.intend(record("b"), rows("b", hashes=("same",)), known=["a"])

    assert ledger.claimed("schema.table").in_flight == {"same": "b"}


def test_many_chunks_are_read_in_their_order(ledger: SqlLedger) -> None:
    """However many: some are read at a time."""
    names = [f"{n:03d}" for n in range(TOGETHER + 2)]
    for name in names:
        ledger.intend(record(name), rows(name, hashes=("same",)), known=names)

    assert ledger.claimed("schema.table") == Claimed({"same": names[-1]}, frozenset(names))
    assert ledger.unfinished("schema.table") == {"p": set(names)}


def test_questions_get_the_names_of_today_in_one_pipeline(ledger: SqlLedger) -> None:
    """The same question under its later name: on its way, answered or free; what nobody asks keeps its old one."""
    earlier, today = "0" * 32, "q1" + "0" * 30
    for name, pipeline in [("a", "x"), ("b", "x"), ("c", "y")]:
        reach(ledger, State.REFUSED, record(name, pipeline=pipeline), rows(name, hashes=(earlier, f"other{name}")))
    assert (ledger.has_earlier_names("x"), ledger.has_earlier_names("z")) == (True, False)

    ledger.rename("x", {earlier: today, "unknown": "q1 unknown"})

    assert [ledger.requests(name).questions for name in "abc"] == [
        (today, "othera"),
        (today, "otherb"),
        (earlier, "otherc"),
    ]
    assert ledger.has_earlier_names("x")
    ledger.rename("x", {"othera": "q1a", "otherb": "q1b"})
    assert (ledger.has_earlier_names("x"), ledger.has_earlier_names("y")) == (False, True)


@pytest.mark.sampled
@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_f28_a_question_is_claimed_once_while_it_is_on_its_way_and_once_for_each_attempt(
    ledger: SqlLedger, was: State, attempt: int
) -> None:
    """Another run carries it, or has made this very attempt or a later one: what came of that was not known here."""
    reach(ledger, was, record("a"), rows("a", hashes=("same", "own"), attempt=2))
    late = attempt <= 2 and was in {State.APPLIED, State.LOST}

    if was in OPEN or late:
        with pytest.raises(ClaimConflictError) as caught:
            ledger.intend(record("b"), rows("b", hashes=("new", "same"), attempt=attempt))
        assert (caught.value.chunk_id, ledger.requests("b").questions) == ("a", ())
    else:
        ledger.intend(record("b"), rows("b", hashes=("new", "same"), attempt=attempt))
        assert ledger.claimed("schema.table").in_flight["same"] == "b"


def test_f28_another_pipeline_or_question_claims_nothing(ledger: SqlLedger) -> None:
    """Each table has its own answers."""
    reach(ledger, State.ACCEPTED, record("a", pipeline="x"), rows("a", hashes=("same", "own")))

    ledger.intend(record("b", pipeline="y"), rows("b", hashes=("same", "own")))
    ledger.intend(record("c", pipeline="x"), rows("c"))

    assert [chunk.chunk_id for chunk in ledger.chunks("x", [State.SENDING])] == ["c"]


def applied(ledger: SqlLedger, chunk_id: str, spends: list[Spend], run_id: str = "run") -> None:
    """Take a chunk to its end."""
    ledger.intend(record(chunk_id, run_id=run_id), rows(chunk_id))
    for step in paths()[State.SPOOLED]:
        ledger.move(chunk_id, to=step)
    ledger.close(chunk_id, to=State.APPLIED, outcome="succeeded", others={1: "expired"}, spends=spends)


def test_closing_writes_outcomes_and_costs_once(ledger: SqlLedger) -> None:
    """A chunk closed a second time raises, and nothing is counted twice."""
    applied(ledger, "chunk", [spend()])

    with pytest.raises(LedgerConflictError):
        ledger.close("chunk", to=State.APPLIED, outcome="errored", others={}, spends=[spend()])
    assert ledger.requests("chunk").outcomes == ("succeeded", "expired")
    assert ledger.spends("schema.table") == [spend()]


def test_spends_add_up_by_partition_in_all_and_by_run(ledger: SqlLedger) -> None:
    """What a partition has cost so far, and what of it one run has spent."""
    applied(ledger, "a", [spend("p"), spend(None)], run_id="1")
    applied(ledger, "b", [spend("p", 0.25)], run_id="2")

    in_all = {
        item.partition_key: (item.n_requests, item.input_tokens, item.cost_usd, item.live_cost_usd)
        for item in ledger.spends("schema.table")
    }

    assert in_all == {"p": (4, 2**41, 0.75, 1.5), None: (2, 2**40, 0.5, 1.0)}
    assert ledger.spends("schema.table", run_id="2") == [spend("p", 0.25)]
    assert ledger.spends("another") == []


def test_one_unknown_price_makes_the_sum_unknown(ledger: SqlLedger) -> None:
    """Half a sum would look like a whole one."""
    applied(ledger, "a", [spend()])
    applied(ledger, "b", [spend(cost_usd=None)])

    assert [(item.cost_usd, item.live_cost_usd, item.output_tokens) for item in ledger.spends("schema.table")] == [
        (None, None, 6)
    ]


def test_every_move_leaves_an_event(state: StateDirectory, ledger: SqlLedger) -> None:
    """The way of a chunk can be told afterwards."""
    ledger.intend(record(), rows())
    ledger.move("chunk", to=State.RELEASED)
    ledger.move("chunk", to=State.AMBIGUOUS, note="lost")

    with closing(sqlite3.connect(state.path / "ledger.sqlite")) as connection, connection:
        events = connection.execute("SELECT state, note FROM events ORDER BY event_id").fetchall()
    connection.close()
    assert events == [("sending", None), ("released", None), ("ambiguous", "lost")]


def test_f98_every_commit_reaches_the_disk(ledger: SqlLedger) -> None:
    """The file is in WAL mode and synced at every commit, references hold, and writers wait for each other."""
    with ledger._engine.connect() as connection:  # noqa: SLF001  (the settings are per connection)
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}


# --- opening ---------------------------------------------------------------------------------------


def test_f113_the_upgrades_lead_to_the_tables_the_code_knows(ledger: SqlLedger) -> None:
    """Alembic finds no difference between an upgraded ledger and the schema."""
    with ledger._engine.connect() as connection:  # noqa: SLF001  (Alembic compares a connection)
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)

    assert differences == []


def test_f62_a_transaction_left_behind_by_an_interruption_locks_nobody_out(
    state: StateDirectory, ledger: SqlLedger
) -> None:
    """Closing the ledger ends it, undone, even half read: the next run in this very process writes at once."""
    left_behind = ledger._engine.connect()  # noqa: SLF001  (an interruption can strike before anything is undone)
    left_behind.execute(sa.delete(schema.identity))
    half_read = left_behind.connection.cursor().execute("WITH n(i) AS (VALUES (1), (2)) SELECT i FROM n")
    assert half_read.fetchone() == (1,)

    ledger.dispose()

    with closing(sqlite3.connect(state.path / "ledger.sqlite", timeout=0)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        assert len(connection.execute("SELECT * FROM identity").fetchall()) == 1
    connection.close()
    assert ledger.ledger_id


def test_a_ledger_is_opened_again_as_it_was_left(state: StateDirectory, ledger: SqlLedger) -> None:
    """Opening upgrades nothing twice and loses nothing."""
    ledger.intend(record(), rows())
    with closing(sqlite3.connect(state.path / "ledger.sqlite")) as connection, connection:
        identity = connection.execute("SELECT * FROM identity").fetchall()
    connection.close()

    again = SqlLedger(state.ledger_url)
    found = again.chunk("chunk")
    again.dispose()

    with closing(sqlite3.connect(state.path / "ledger.sqlite")) as connection, connection:
        assert connection.execute("SELECT * FROM identity").fetchall() == identity
    connection.close()
    assert (found, len(identity)) == (record(), 1)


def test_f25_f113_a_ledger_of_a_newer_version_is_refused_and_left_alone(
    state: StateDirectory, ledger: SqlLedger
) -> None:
    """An older package must not take a newer ledger for an empty one."""
    ledger.intend(record(), rows())
    with closing(sqlite3.connect(state.path / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(LedgerError, match=r"newer version .*revision 9999.*Upgrade the package"):
        SqlLedger(state.ledger_url)
    assert ledger.chunk("chunk") == record()


@pytest.mark.parametrize("content", [b"not a database, and long enough to be seen as none" * 50, b"\x00" * 8192])
def test_f25_f98_a_broken_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no ledger is never taken for an empty one, nor overwritten."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)

    with pytest.raises(LedgerError, match="Nothing is sent without it"):
        SqlLedger(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_f24_a_ledger_that_cannot_be_written_stops_the_run(ledger: SqlLedger) -> None:
    """When the disk is full nothing is sent, and the message says what to look at."""
    with ledger._engine.connect() as connection:  # noqa: SLF001  (a limit in place of a full disk)
        n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={n_pages}")

    with pytest.raises(LedgerError, match=r"disk is full.*Nothing is sent without it"):
        ledger.intend(record(account="x" * 100_000), rows())


@pytest.mark.parametrize(
    "url", ["", "ledger.sqlite", "nodatabase://x", "://", "sqlite:////no/such/folder/ledger.sqlite"]
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    """A URL may hold a password, so the message names only what is wrong."""
    with pytest.raises(LedgerError, match=r"ledger URL cannot be used .*sqlite:///path|Nothing is sent without it"):
        SqlLedger(url)


def _open(url: str, barrier: Any, outcomes: Any) -> None:
    barrier.wait()
    try:
        SqlLedger(url).dispose()
        outcomes.put("opened")
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent has to hear of it)
        outcomes.put(repr(error))


@pytest.mark.verify
def test_f107_four_processes_create_one_ledger_at_once(state: StateDirectory) -> None:
    """Runs of a backfill that start together find one ledger, created once."""
    processes = multiprocessing.get_context("spawn")
    barrier, outcomes = processes.Barrier(4), processes.Queue()
    runs = [processes.Process(target=_open, args=(state.ledger_url, barrier, outcomes)) for _ in range(4)]
    for run in runs:
        run.start()
    told = [outcomes.get(timeout=120) for _ in runs]
    for run in runs:
        run.join()

    engine = sa.create_engine(state.ledger_url)
    with engine.connect() as connection:
        n_identities = connection.execute(sa.select(sa.func.count()).select_from(schema.identity)).scalar()
    engine.dispose()
    assert (told, n_identities) == (["opened"] * 4, 1)


def test_a_copy_does_not_pass_for_a_ledger_whose_original_is_held(
    state: StateDirectory, ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the original is there cannot be seen while somebody holds it; that it is gone is not concluded."""
    assert ledger.original() is None
    ledger.dispose()
    original, copy = state.path / "ledger.sqlite", tmp_path / "copy.sqlite"
    shutil.copy(original, copy)
    other = SqlLedger(f"sqlite:///{copy}")
    with closing(sqlite3.connect(original, isolation_level=None)) as holder, monkeypatch.context() as impatient:
        impatient.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0.1))
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="is held; try again"):
            other.original()

    assert other.original() == str(original)
    other.dispose()


class BusyConnection(sqlite3.Connection):
    """A connection whose switch to write-ahead is refused at first, as when processes open a new file together."""

    refusals: ClassVar[list[int]] = []

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Refuse, or do it."""
        if self.refusals and "journal_mode" in sql:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.refusals.pop()
            raise error
        return super().execute(sql, parameters)


@pytest.mark.parametrize(
    ("refusals", "opens"), [([sqlite3.SQLITE_BUSY] * 5, True), ([sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY], False)]
)
def test_f107_the_switch_to_write_ahead_waits_for_other_processes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    refusals: list[int],
    opens: bool,
) -> None:
    """SQLite waits by itself everywhere but there; other trouble is told at once."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3.dbapi2, "connect", lambda *args, **options: connect(*args, **options, factory=BusyConnection)
    )
    monkeypatch.setattr(BusyConnection, "refusals", list(refusals))
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"

    if opens:
        SqlLedger(url).dispose()
    else:
        with pytest.raises(LedgerError, match="locked"):
            SqlLedger(url)
    assert BusyConnection.refusals == []


def test_nonces_order_chunks_as_the_ledger_does(ledger: SqlLedger) -> None:
    """The database sorts chunk ids as Python does, digits before letters."""
    names = ["0z", "1a", "9", "a0", "az", "b"]
    for name in reversed(names):
        ledger.intend(record(name), rows(name))

    found = [chunk.chunk_id for chunk in ledger.chunks("schema.table", State)]
    assert all(a < b for a, b in pairwise(found))


def test_f126_only_the_owner_reads_the_ledger(tmp_path: Path) -> None:
    """It holds keys of rows; the files beside it have the same mode, whatever the umask."""
    before = os.umask(0)
    try:
        ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        modes = {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        ledger.dispose()
    finally:
        os.umask(before)

    assert modes == {0o600}


def test_a_commit_that_is_interrupted_leaves_nothing_open(tmp_path: Path) -> None:
    """The next transaction of the same ledger begins anew, and sees nothing of what was not committed."""
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")

    def interrupt(_: sa.Connection) -> None:
        raise KeyboardInterrupt

    sa.event.listen(ledger._engine, "commit", interrupt, once=True)  # noqa: SLF001  (the moment that matters)
    with pytest.raises(KeyboardInterrupt):
        ledger.new_mark()

    mark = ledger.new_mark()
    assert ledger.has_mark(mark)
    ledger.dispose()
