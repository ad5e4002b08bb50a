"""What `claude-batch status` shows, after runs that really happened."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.cli.conftest import Program, make_old_ledger
from tests.core.world import PIPELINE

NO_API = {"ANTHROPIC_API_KEY": None, "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "CLAUDE_BATCH_DATABASE": None}
"""An environment in which nothing but the ledger can be reached."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_batch_on_its_way_is_shown_with_what_it_can_cost(program: Program, base_url: str) -> None:
    """Its chunk, batch, table, rows, partitions, age, and the day until which its results are kept."""
    program.world.documents({1: "war", 2: "peace"})
    program.world.documents({1: "war of 1812"}, part="q")
    chunk = program.dead_run("p", "q")
    program.world.clock.sleep(7_300)

    [line] = program.json()["chunks"]

    assert chunk.batch_created_at is not None
    assert line == {
        "chunk_id": chunk.chunk_id,
        "pipeline": PIPELINE,
        "state": "accepted",
        "batch_id": chunk.batch_id,
        "n_requests": 3,
        "n_partitions": 2,
        "spent_usd": 0.0,
        "max_cost_usd": chunk.max_cost_usd,
        "age_seconds": 7_300.0,
        "results_until": (chunk.batch_created_at + timedelta(days=29)).isoformat(),
        "results_are_old": False,
        "base_url": base_url,
        "workspace_id": "default",
        "run_id": "run-1",
        "note": None,
    }
    assert chunk.max_cost_usd is not None
    assert chunk.max_cost_usd > 0
    shown = program("status")
    for told in (chunk.chunk_id, str(chunk.batch_id), PIPELINE, "accepted", "2 h", "2026-12-19", base_url):
        assert told in shown
    assert program("status") == shown


@pytest.mark.verify
@pytest.mark.parametrize("name", ["ledger.sqlite", "another.db"])
def test_the_database_alone_says_where_its_ledger_is(
    program: Program, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the state directory is: who looks need not know how the runs were set up."""
    program.world.documents({1: "war"})
    world = program.world
    if name != "ledger.sqlite":
        world = world.with_ledger(SqlLedger(f"sqlite:///{world.state.path / name}"), world.state)
    world.run()
    monkeypatch.delenv("CLAUDE_BATCH_STATE_DIRECTORY")
    monkeypatch.chdir(program.world.state.path)
    world.let_go()

    assert [one["pipeline"] for one in program.json()["pipelines"]] == [PIPELINE]
    world.ledger.dispose()


@pytest.mark.sampled
@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
def test_nothing_is_cut_off_on_a_narrow_terminal(program: Program, base_url: str, columns: int) -> None:
    """Ids can be copied whole: what is too wide is told one below the other."""
    program.world.documents({1: "war"})
    chunk = program.dead_run()

    shown = program("status", environment={"FORCE_COLOR": "1", "COLUMNS": str(columns)})

    for told in (
        chunk.chunk_id,
        str(chunk.batch_id),
        PIPELINE,
        "accepted",
        "2026-12-19",
        base_url,
        "unconfirmed sends",
    ):
        assert told in shown


@pytest.mark.verify
def test_what_has_landed_is_summed_up_with_its_price(program: Program, base_url: str) -> None:
    """Closed chunks are counted and paid for, and listed with --all only."""
    program.world.documents({1: "war", 2: "peace"})
    report = program.world.run()
    [chunk] = program.world.ledger.chunks(PIPELINE, State)

    told, everything = program.json(), program.json("--all")

    assert told["chunks"] == []
    assert told["pipelines"] == [
        {
            "pipeline": PIPELINE,
            "base_url": base_url,
            "workspace_id": "default",
            "n_in_flight": 0,
            "n_landed": 2,
            "spent_usd": report.partitions[0].cost_usd,
            "n_unconfirmed_sends": 0,
            "n_possible_duplicates": 0,
            "possible_duplicate_usd": 0,
        }
    ]
    assert report.partitions[0].cost_usd
    [line] = everything["chunks"]
    assert (line["chunk_id"], line["state"], line["n_partitions"]) == (chunk.chunk_id, "applied", 1)
    assert line["spent_usd"] == report.partitions[0].cost_usd
    assert "Nothing is on its way." in program("status")
    assert chunk.chunk_id not in program("status")
    assert chunk.chunk_id in program("status", "--all")


@pytest.mark.verify
def test_what_was_sent_to_two_places_is_summed_up_apart(program: Program, base_url: str) -> None:
    """An answer of one workspace says nothing about another, and an emulator's cost nothing."""
    program.world.documents({1: "war"})
    program.world.run()
    moved = {"account": f"{base_url} wrkspc_2 12345678", "chunk_id": "0" * 26, "state": "accepted"}
    with closing(sqlite3.connect(program.world.state.path / "ledger.sqlite")) as connection, connection:
        connection.row_factory = sqlite3.Row
        row = {**connection.execute("SELECT * FROM chunks").fetchone(), **moved, "batch_id": "other"}
        connection.execute(f"INSERT INTO chunks VALUES ({', '.join('?' * len(row))})", list(row.values()))  # noqa: S608

    told = program.json()["pipelines"]

    assert [(one["workspace_id"], one["n_in_flight"], one["n_landed"]) for one in told] == [
        ("default", 0, 1),
        ("wrkspc_2", 1, 0),
    ]
    assert f"{base_url} wrkspc_2" in program("status")


@pytest.mark.verify
def test_unconfirmed_and_possibly_doubled_requests_are_counted(program: Program) -> None:
    """First as an unconfirmed send; once its rows were set free, with what paying twice costs at most."""
    chunk = program.lost_run("drop_before_accept")
    [unconfirmed] = program.json()["pipelines"]
    assert (unconfirmed["n_unconfirmed_sends"], unconfirmed["n_possible_duplicates"]) == (1, 0)

    program.world.run()

    [doubled] = program.json()["pipelines"]
    assert program.world.states() == [State.UNSEEN, State.APPLIED]
    assert (doubled["n_unconfirmed_sends"], doubled["n_possible_duplicates"]) == (1, 4)
    assert doubled["possible_duplicate_usd"] == chunk.max_cost_usd
    assert doubled["n_landed"] == 4
    assert "4 (at most $0.00" in program("status")


@pytest.mark.parametrize(("days", "old"), [(19, False), (21, True)])
def test_f66_results_that_grow_old_are_pointed_out(program: Program, days: float, *, old: bool) -> None:
    """After 20 of their 29 days the date is in colour, and a line says what to do."""
    program.world.documents({1: "war"})
    program.dead_run()
    program.world.clock.sleep(days * 86_400)

    shown = program("status", environment={"FORCE_COLOR": "1", "COLUMNS": "200"})

    assert program.json()["chunks"][0]["results_are_old"] is old
    assert ("\x1b[31m2026-12-19\x1b[0m" in shown) is old
    assert ("older than 20 of their 29 days" in shown) is old
    assert "\x1b" not in program("status")


def test_it_works_while_a_run_is_going_on(program: Program) -> None:
    """The ledger's write lock, the table's lock and the database are a run's; the API is not asked."""
    program.world.documents({1: "war"})
    chunk = program.dead_run()
    ledger = program.world.state.path / "ledger.sqlite"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as run, program.world.state.hold(PIPELINE):
        run.execute("BEGIN IMMEDIATE")
        run.execute("UPDATE chunks SET note = 'not yet'")

        [line] = program.json()["chunks"]
        shown = program("status", environment=NO_API)

        run.execute("ROLLBACK")
    assert (line["chunk_id"], line["note"]) == (chunk.chunk_id, None)
    assert chunk.chunk_id in shown


def test_looking_changes_nothing(program: Program) -> None:
    """Not a byte of the state directory, however often it is done."""
    program.world.documents({1: "war"})
    program.world.run()
    program.world.ledger.dispose()
    before = contents(program.world.state.path)

    for _ in range(2):
        program("status", "--all")

    assert contents(program.world.state.path) == before


# --- where it looks --------------------------------------------------------------------------------


def test_the_ledger_is_found_beside_the_database_or_here_or_by_url(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options win; without any, `.claude_batch` in the current directory is meant."""
    program.world.documents({1: "war"})
    chunk = program.dead_run()
    beside = program.world.state.path.rename(tmp_path / ".claude_batch")
    monkeypatch.delenv("CLAUDE_BATCH_STATE_DIRECTORY")
    monkeypatch.delenv("CLAUDE_BATCH_DATABASE")
    database = str(tmp_path / "warehouse.duckdb")

    assert chunk.chunk_id in program("--database", database, "status")
    assert chunk.chunk_id in program("--state-directory", str(beside), "status")
    assert chunk.chunk_id in program("--ledger-url", f"sqlite:///{beside}/ledger.sqlite", "status")
    monkeypatch.chdir(tmp_path)
    assert chunk.chunk_id in program("status")


@pytest.mark.parametrize("command", ["status", "reconcile", "cancel"])
def test_f25_where_nothing_is_nothing_is_made(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A wrong folder is never taken for an empty ledger; the options that name the right one are told."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for name in ("CLAUDE_BATCH_STATE_DIRECTORY", "CLAUDE_BATCH_DATABASE"):
        monkeypatch.delenv(name)

    nowhere = program(command, code=1)
    no_ledger = program("--state-directory", str(empty), command, code=1)
    no_file = program("--ledger-url", f"sqlite:///{empty}/ledger.sqlite", command, code=1)

    assert "there is no state directory at '.claude_batch'" in nowhere
    assert "there is no ledger in the state directory" in no_ledger
    for told in (nowhere, no_ledger):
        assert "--state-directory (CLAUDE_BATCH_STATE_DIRECTORY)" in told
        assert "--database (CLAUDE_BATCH_DATABASE)" in told
    assert "looking creates none" in no_file
    assert list(empty.iterdir()) == []


GARBAGE = b"this is no database" * 100


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(lambda path: path.write_bytes(GARBAGE), "file is not a database", id="F25-garbage"),
        pytest.param(lambda path: path.write_bytes(b""), "its tables are missing", id="F25-empty"),
        pytest.param(lambda path: rename_revision(path, "9999"), "written by a newer version", id="F25-newer"),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["reconcile"], ["resolve", "x", "--not-sent"], ["cancel"]])
def test_f25_a_ledger_that_cannot_be_read_stops_every_command(
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    spoil: Callable[[Path], object],
    told: str,
) -> None:
    """In one sentence, and the file stays as it is: it is never taken for an empty one."""
    program.world.documents({1: "war"})
    program.world.run()
    program.world.ledger.dispose()
    ledger = program.world.state.path / "ledger.sqlite"
    spoil(ledger)
    before = contents(program.world.state.path)

    for _ in range(2):
        shown = program(*command, code=1)

        assert told in shown
        assert len(shown.splitlines()) == 1
    assert contents(program.world.state.path) == before


def test_a_ledger_of_an_older_version_is_upgraded_by_reconcile_only(program: Program, tmp_path: Path) -> None:
    """Looking at it says so and leaves it; working on it brings it up to date."""
    old = tmp_path / "old"
    make_old_ledger(old)
    here = ("--state-directory", str(old))

    assert "written by an older version" in program(*here, "status", code=1)
    assert "written by an older version" in program(*here, "status", code=1)
    assert "Nothing is unconfirmed" in program(*here, "reconcile")
    assert "Nothing was ever sent" in program(*here, "status")


def test_f120_a_password_of_the_ledger_is_not_shown(program: Program) -> None:
    """Not even when the ledger cannot be reached."""
    for url in ("sqlite://user:canary-password@/nowhere.sqlite", "nonsense+db://user:canary-password@host/db"):
        shown = program("--ledger-url", url, "status", code=1)

        assert "canary-password" not in shown


def rename_revision(path: Path, revision: str) -> None:
    """Let a ledger say that it has another revision."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
