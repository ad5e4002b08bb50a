"""What `claude-batch doctor` finds in good and in bad surroundings."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import duckdb
import pytest

from claude_batch_dagster.core import waiting
from claude_batch_dagster.emulator import Emulator, SystemClock
from tests.cli.conftest import FOUR, KEY, Program, make_old_ledger
from tests.core.world import World

pytestmark = pytest.mark.verify


@pytest.fixture(autouse=True)
def _free_file(world: World) -> None:
    """Let go of the DuckDB file: what is looked at here is whether it can be opened."""
    world.let_go()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator in this machine's time: its answers carry a true `Date`."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    yield emulator
    emulator.close()


@pytest.fixture
def clock() -> waiting.SystemClock:
    """Return this machine's clock."""
    return waiting.SystemClock()


def findings(told: str) -> dict[str, list[str]]:
    """Return what is told of each subject, its level first."""
    found: dict[str, list[str]] = {}
    for line in told.splitlines():
        if not line.startswith(" "):
            level, subject, text = line[:8].strip(), line[9:25].strip(), line[26:]
            found.setdefault(subject, []).append(f"{level}: {text}")
    return found


def test_all_is_well(program: Program, base_url: str) -> None:
    """After a run every line is ok, but for the emulator's, whose answers are not Claude's; twice the same."""
    program.world.documents(FOUR)
    program.world.run()

    told = program("doctor")

    found = findings(told)
    ledger_id = program.world.ledger.ledger_id
    assert found["API key"] == ["ok: ANTHROPIC_API_KEY is set and accepted"]
    assert found["base URL"] == [f"ok: {base_url}"]
    assert found["workspace"] == ["ok: that of the key"]
    assert found["answers"] == ["warning: of the emulator, not Claude's; they cost nothing"]
    assert found["clock"][0].startswith("ok: ")
    assert found["state directory"] == [f"ok: {program.world.state.path}, open to its owner only"]
    assert found["disk"][0].endswith("GB free")
    assert found["ledger"] == [f"ok: revision {newest()}, id {ledger_id}, 0 open chunks"]
    assert found["DuckDB file"] == [f"ok: {program.world.warehouse.database} opens"]
    assert found["table"] == ["ok: main.answers was filled by this ledger"]
    assert f"duckdb {version('duckdb')}" in found["versions"][0]
    assert findings(program("doctor")).keys() == found.keys()


def newest() -> str:
    """Return the number of the newest migration."""
    versions = Path(sys.modules["claude_batch_dagster"].__path__[0], "storage", "migrations", "versions")
    return max(path.name[:4] for path in versions.glob("[0-9]*.py"))


# --- the API ---------------------------------------------------------------------------------------


def test_f38_f120_a_key_that_is_not_accepted_is_a_problem_and_never_shown(program: Program, emulator: Emulator) -> None:
    """Exit code 1; the next step is told."""
    emulator.faults.add("401")

    told = program("doctor", code=1)

    assert "problem: ANTHROPIC_API_KEY is set and not accepted: HTTP 401" in findings(told)["API key"][0]
    assert "Set a key of the right workspace." in told


@pytest.mark.parametrize(
    ("key", "told"), [(None, "ANTHROPIC_API_KEY is not set"), (f" {KEY}", "ANTHROPIC_API_KEY holds white space")]
)
def test_f120_a_key_that_is_missing_or_odd_is_a_problem(program: Program, key: str | None, told: str) -> None:
    """Nothing is asked with it."""
    found = findings(program("doctor", code=1, environment={"ANTHROPIC_API_KEY": key}))

    assert told in found["API key"][0]
    assert "base URL" not in found


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9", "no complete answer from the API"),
        ("http://api.example.com", "is not https"),
        ("https://user:canary-password@api.example.com", "must not hold a user or password"),
    ],
)
def test_a_base_url_that_does_not_work_is_a_problem(program: Program, url: str, told: str) -> None:
    """Nobody there, not encrypted, or with a password: which is not shown."""
    shown = program("--base-url", url, "doctor", code=1)

    assert told in findings(shown)["base URL"][0]
    assert "canary-password" not in shown


@contextmanager
def api_whose_clock_is_off(by: timedelta) -> Iterator[str]:
    """Serve an empty list of batches with a `Date` of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer with an empty list."""
            body = b'{"data": [], "has_more": false, "first_id": null, "last_id": null}'
            self.send_response_only(200)
            self.send_header("Date", format_datetime(datetime.now(UTC) + by, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("minutes", "level", "where"),
    [
        pytest.param(0, "ok", "s ", id="F49-none"),
        pytest.param(10, "warning", "s behind the API's", id="F49-behind"),
        pytest.param(-10, "warning", "s ahead of the API's", id="F49-ahead"),
        pytest.param(-90, "problem", "s ahead of the API's", id="F49-more-than-recovery-allows-for"),
    ],
)
def test_f49_a_clock_that_is_off_is_told(program: Program, minutes: float, level: str, where: str) -> None:
    """By how many seconds, in which direction, and how bad that is."""
    with api_whose_clock_is_off(timedelta(minutes=minutes)) as url:
        told = program("--base-url", url, "doctor", code=1 if level == "problem" else 0)

    found = findings(told)
    assert found["clock"][0].startswith(f"{level}: ")
    assert where in found["clock"][0]
    assert abs(float(found["clock"][0].split()[1]) - abs(minutes) * 60) <= 3
    assert found["answers"] == ["ok: of what serves the base URL; it is not our emulator"]


# --- the state directory ---------------------------------------------------------------------------


def test_where_nothing_is_nothing_is_made(program: Program, tmp_path: Path) -> None:
    """Before the first run that is as it should be: a warning that says how to name another folder."""
    nowhere = tmp_path / "nowhere"

    told = program("--state-directory", str(nowhere), "--database", str(nowhere / "x.duckdb"), "doctor")

    found = findings(told)
    assert found["state directory"] == [f"warning: none at {str(nowhere)!r}"]
    assert found["ledger"] == [f"warning: none in {str(nowhere)!r}"]
    assert found["DuckDB file"] == [f"warning: none at {str(nowhere / 'x.duckdb')!r}"]
    assert "--state-directory (CLAUDE_BATCH_STATE_DIRECTORY)" in told
    assert not nowhere.exists()


def test_a_database_that_is_no_file_keeps_nobody_from_looking(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is looked for where the command is given, as if no database were named."""
    monkeypatch.delenv("CLAUDE_BATCH_STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)

    found = findings(program("--state-directory", "", "--database", "md:answers", "doctor"))

    assert found["state directory"] == ["warning: none at '.claude_batch'"]
    assert found["DuckDB file"] == ["warning: none at 'md:answers'"]
    assert found["versions"]


def test_f126_a_folder_that_others_can_enter_is_pointed_out(program: Program) -> None:
    """With the command that closes it."""
    program.world.state.path.chmod(0o755)

    told = program("doctor")

    assert findings(told)["state directory"] == [f"warning: {program.world.state.path} is open to others (mode 755)"]
    assert f"chmod -R go= {program.world.state.path}" in told


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_f126_a_folder_that_others_can_write_is_a_problem(program: Program, mode: int) -> None:
    """A run refuses it, since others could put a ledger of theirs there."""
    program.world.state.path.chmod(mode)

    assert findings(program("doctor", code=1))["state directory"][0].startswith("problem: ")


def test_f126_a_folder_of_somebody_else_is_a_problem(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is, and who asks."""
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    told = program("doctor", code=1)

    assert f"belongs to user {owner}, this is user {owner + 1}" in findings(told)["state directory"][0]


@pytest.mark.parametrize(("free", "level"), [(5e9, "ok"), (5e8, "warning"), (5e7, "problem")])
def test_f87_little_space_is_pointed_out(
    program: Program, monkeypatch: pytest.MonkeyPatch, free: float, level: str
) -> None:
    """Before a run finds out with results in its hands."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(free)))

    told = program("doctor", code=1 if level == "problem" else 0)

    assert findings(told)["disk"] == [f"{level}: {free / 1e9:.1f} GB free"]


# --- the ledger ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"this is no database" * 100, "file is not a database", id="F25-garbage"),
        pytest.param(b"", "its tables are missing", id="F25-empty"),
    ],
)
def test_f25_a_ledger_that_cannot_be_read_is_a_problem(program: Program, content: bytes, told: str) -> None:
    """It is never taken for an empty one, and never to be deleted."""
    program.world.ledger.dispose()
    (program.world.state.path / "ledger.sqlite").write_bytes(content)

    for _ in range(2):
        shown = program("doctor", code=1)

        assert told in findings(shown)["ledger"][0]
        assert "Never delete it" in shown


def test_f98_a_ledger_that_is_damaged_inside_is_a_problem(program: Program) -> None:
    """Also where no other command looks: the whole file is read through."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.ledger.dispose()
    ledger = program.world.state.path / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    whole = ledger.read_bytes()
    start = (page - 1) * size
    ledger.write_bytes(whole[:start] + b"\xff" * size + whole[start + size :])

    assert program.json()["pipelines"][0]["n_landed"] == 4
    assert "damaged (" in findings(program("doctor", code=1))["ledger"][0]
    ledger.write_bytes(whole)
    assert findings(program("doctor"))["ledger"][0].startswith("ok: ")


def test_a_ledger_that_was_moved_is_well_and_looking_does_not_move_it(program: Program, tmp_path: Path) -> None:
    """It takes note of its new place when it is next worked with, not when it is looked at."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.ledger.dispose()
    moved = program.world.state.path.rename(tmp_path / "moved")
    before = (moved / "ledger.sqlite").read_bytes()

    told = program("--state-directory", str(moved), "doctor")

    assert findings(told)["ledger"][0].startswith("ok: ")
    assert (moved / "ledger.sqlite").read_bytes() == before


def test_a_ledger_of_an_older_version_is_told_and_left(program: Program, tmp_path: Path) -> None:
    """The next run upgrades it; the doctor does not."""
    old = tmp_path / "old"
    make_old_ledger(old)

    for _ in range(2):
        told = program("--state-directory", str(old), "doctor")

        assert findings(told)["ledger"][0].startswith("warning: revision 0001, id ")
        assert "The next run, or `claude-batch reconcile`, upgrades it." in told


def test_a_database_without_its_ledger_opens_all_the_same(program: Program, tmp_path: Path) -> None:
    """That the ledger is missing is told once."""
    program.world.documents(FOUR)
    program.world.run()

    found = findings(program("--state-directory", str(tmp_path / "none"), "doctor"))

    assert found["DuckDB file"] == [f"ok: {program.world.warehouse.database} opens"]
    assert ("table" in found, len(found["ledger"])) == (False, 1)


def test_what_waits_for_recovery_or_a_person_is_told(program: Program) -> None:
    """With the command that goes on from there."""
    chunk = program.lost_run("drop_before_accept")
    unconfirmed = program("doctor")
    program.world.ledger.move(chunk.chunk_id, to="held", note="a person decides")  # type: ignore[arg-type]  # by value
    held = program("doctor")

    assert findings(unconfirmed)["chunks"] == ["warning: 1 unconfirmed"]
    assert "claude-batch reconcile" in unconfirmed
    assert findings(held)["chunks"] == ["warning: 1 held for a person to decide"]
    assert "claude-batch resolve" in held
    assert findings(held)["ledger"][0].endswith("1 open chunk")


# --- the DuckDB file -------------------------------------------------------------------------------

HOLD = "import duckdb, sys; connection = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_f86_who_holds_the_database_is_told(program: Program) -> None:
    """By its process id: runs wait for it."""
    program.world.documents(FOUR)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, program.world.warehouse.database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        told = program("doctor")
        holder.communicate("")

    assert findings(told)["DuckDB file"] == [
        f"warning: {program.world.warehouse.database} is held by process {holder.pid}"
    ]
    assert findings(program("doctor"))["DuckDB file"][0].endswith("opens")


def test_f89_a_file_that_is_no_database_is_a_problem(program: Program) -> None:
    """It is not touched."""
    Path(program.world.warehouse.database).write_bytes(b"no database at all, this" * 1_000)

    assert "cannot be opened as a DuckDB database" in findings(program("doctor", code=1))["DuckDB file"][0]


def test_f26_a_ledger_that_did_not_fill_the_table_is_a_problem(program: Program, tmp_path: Path) -> None:
    """A run would refuse to send; the way out is told."""
    program.world.documents(FOUR)
    program.world.run()
    known = program.world.ledger.ledger_id
    with duckdb.connect(program.world.warehouse.database) as connection:
        connection.execute("UPDATE claude_batch.ledgers SET ledger_id = 'lost'")

    told = program("doctor", code=1)

    assert findings(told)["table"] == ["problem: main.answers was filled by ledger lost, not by this one"]
    assert "claude-batch --database FILE reconcile --accept-new-ledger" in told
    assert known in told


def test_f27_a_copy_of_a_ledger_is_a_problem(program: Program, tmp_path: Path) -> None:
    """The original is named; looking does not make the copy a ledger of its own."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.ledger.dispose()
    copy = tmp_path / "copy"
    shutil.copytree(program.world.state.path, copy)

    for _ in range(2):
        told = program("--state-directory", str(copy), "doctor", code=1)

        assert f"a copy of {program.world.state.path}" in findings(told)["ledger"][0]
