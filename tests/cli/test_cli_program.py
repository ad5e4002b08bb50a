"""The program as it is started from a shell, and what holds for all of its commands."""

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

import click
import orjson
import pytest

from claude_batch_dagster.cli import COMMANDS, main
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.cli.conftest import FOUR, KEY, DyingApi, Program
from tests.core.clocks import CrashError
from tests.core.world import PIPELINE

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "claude_batch_dagster.cli"]
HEAVY = ("alembic", "anthropic", "dagster", "duckdb", "pandas", "rich", "sqlalchemy")


def loaded_by(code: str) -> list[str]:
    """Return which heavy packages a piece of code loads in a process of its own."""
    tell = f"import sys, orjson; print(orjson.dumps([name for name in {HEAVY!r} if name in sys.modules]).decode())"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], check=True, capture_output=True, cwd=REPOSITORY)
    names: list[str] = orjson.loads(done.stdout.splitlines()[-1])
    return names


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


@pytest.mark.verify
def test_a_shell_sees_what_a_run_has_left(program: Program, emulator: Emulator) -> None:
    """A process of its own, the real clock: status, reconcile twice, and the answers land."""
    chunk = program.lost_run()
    program.world.clock.sleep(60)

    first, second = shell("reconcile"), shell("reconcile")
    status = shell("status", "--json")

    [batch] = emulator.audit.accepted()
    assert (first.returncode, first.stderr) == (0, "")
    assert f"is batch {batch.id}. Its answers land" in first.stdout
    assert (second.returncode, second.stdout) == (0, "Nothing is unconfirmed.\n")
    [line] = orjson.loads(status.stdout)["chunks"]
    assert (line["chunk_id"], line["state"]) == (chunk.chunk_id, "adopted")
    program.world.run()
    assert (program.world.statuses(), program.world.n_billed) == (dict.fromkeys(FOUR, "succeeded"), [1] * 4)


@pytest.mark.verify
def test_f29_it_waits_for_a_run_that_is_sending_and_says_so(program: Program) -> None:
    """The lock of the table is the run's; nobody takes it over while the run lives."""
    program.lost_run()
    program.world.clock.sleep(60)
    with program.world.state.hold(PIPELINE):
        waiting = subprocess.Popen(
            [*PROGRAM, "reconcile"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"Waiting for a run that is sending for {PIPELINE} ...\n"
        assert program.chunk.state == "ambiguous"
    told, _ = waiting.communicate()

    assert waiting.returncode == 0
    assert "Its answers land with the next materialization." in told


@pytest.mark.verify
def test_f29_its_lock_is_that_of_the_runs_with_this_ledger(program: Program, tmp_path: Path) -> None:
    """Wherever the ledger is: a lock in the state directory alone would let the program in while a run sends."""
    program.world.documents(FOUR)
    url = f"sqlite:///{tmp_path / 'books.db'}"
    ledger = SqlLedger(url)
    with pytest.raises(CrashError):
        replace(program.world, ledger=ledger).run(api=DyingApi(program.world.api._client))  # noqa: SLF001  (its client)
    [chunk] = ledger.chunks(PIPELINE, State)
    command = [*PROGRAM, "--ledger-url", url, "reconcile"]
    with ledger.shared_locks(program.world.state).hold(PIPELINE):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"Waiting for a run that is sending for {PIPELINE} ...\n"
        assert ledger.chunk(chunk.chunk_id).state is State.SENDING
    waiting.communicate()

    assert ledger.chunk(chunk.chunk_id).state is State.REFUSED
    ledger.dispose()


@pytest.mark.verify
def test_errors_are_one_sentence_without_a_traceback(tmp_path: Path) -> None:
    """In a shell: on standard error, exit code 1; wrong usage is 2."""
    nowhere = shell("--state-directory", str(tmp_path / "none"), "status")
    usage = shell("resolve")

    assert (nowhere.returncode, nowhere.stdout, len(nowhere.stderr.splitlines())) == (1, "", 1)
    assert nowhere.stderr.startswith("Error: there is no state directory at")
    assert usage.returncode == 2
    assert "Missing argument 'CHUNK_ID'" in usage.stderr
    assert shell("nonsense").returncode == 2


@pytest.mark.verify
@pytest.mark.parametrize("command", ["reconcile", "doctor"])
@pytest.mark.parametrize("fault", ["", "500"])
def test_f120_the_key_is_not_told_even_when_the_sdk_talks(program: Program, command: str, fault: str) -> None:
    """With the SDK's own log at its loudest, whatever the API answers."""
    program.lost_run()
    if fault:
        program.world.emulator.faults.add(fault)

    done = shell(command, ANTHROPIC_LOG="debug")

    assert KEY not in done.stdout + done.stderr
    assert ("HTTP 500" in done.stdout + done.stderr) is bool(fault)
    assert "Traceback" not in done.stderr


@pytest.mark.verify
def test_the_help_is_there_at_once() -> None:
    """It loads none of the packages that take their time; status loads neither the SDK nor DuckDB nor Dagster."""
    start = "import click, contextlib\nfrom claude_batch_dagster.cli import main\n"
    no_ledger = "with contextlib.suppress(click.ClickException): "
    shown = loaded_by(f"{start}main(['--help'], standalone_mode=False)")
    explained = loaded_by(f"{start}main(['status', '--help'], standalone_mode=False)")
    looked = loaded_by(f"{start}{no_ledger}main(['--state-directory', 'none', 'status'], standalone_mode=False)")

    assert shown == []
    assert explained == ["rich"]
    assert set(looked) == {"alembic", "rich", "sqlalchemy"}


@pytest.mark.verify
def test_no_command_loads_dagster() -> None:
    """Nor pandas: they work where only the ledger is."""
    load = "\n".join(f"import claude_batch_dagster.cli.{name}" for name in COMMANDS)

    assert set(HEAVY) - set(loaded_by(load)) == {"dagster", "pandas"}


@pytest.mark.parametrize(("name", "told"), COMMANDS.items())
def test_every_command_says_what_it_does_and_that_it_is_safe_to_do_twice(name: str, told: str) -> None:
    """The program's help says the same as the command's own, which has more."""
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.help is not None
    assert command.name == name
    assert cleandoc(command.help).startswith(told)
    assert any(
        promise in cleandoc(command.help).replace("\n", " ")
        for promise in ("Safe to do twice", "however often it is done")
    )


def test_f120_no_option_takes_the_key() -> None:
    """A key on the command line would stand in the shell's history and in the list of processes."""
    commands = [main, *(main.get_command(click.Context(main), name) for name in COMMANDS)]
    options = [option for command in commands if command for parameter in command.params for option in parameter.opts]

    assert "--base-url" in options
    assert [option for option in options if "key" in option or "token" in option] == []


def test_the_program_is_installed_by_its_name() -> None:
    """`claude-batch` is the entry point of this very function."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["claude-batch"].partition(":")

    assert getattr(import_module(module), name) is main
    assert project["version"] in shell("--version").stdout


def test_the_cli_and_a_run_agree_on_the_defaults() -> None:
    """The quiet period of the command is that of a run."""
    command = main.get_command(click.Context(main), "reconcile")
    assert command is not None
    [option] = [parameter for parameter in command.params if parameter.name == "quiet_period_seconds"]

    assert option.default == Pacing().quiet_period.total_seconds()


def test_where_things_are_may_be_said_on_either_side(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the command or behind it; what is said last counts."""
    state = str(program.world.state.path)
    program.world.documents({1: "war"})
    program.world.run()
    monkeypatch.delenv("CLAUDE_BATCH_STATE_DIRECTORY")
    monkeypatch.delenv("CLAUDE_BATCH_DATABASE")

    before = program("--state-directory", state, "status")

    assert program("status", "--state-directory", state) == before
    assert program("--state-directory", "/nowhere", "status", "--state-directory", state) == before
    assert "there is no state directory at '/nowhere'" in program("status", "--state-directory", "/nowhere", code=1)
