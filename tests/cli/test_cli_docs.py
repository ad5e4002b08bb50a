"""What docs/command-line.md says is true: each example is what the program prints after real runs."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from claude_batch_dagster.cli import COMMANDS, main
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.emulator import Emulator, ManualClock
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from tests.cli.conftest import Program

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
EXAMPLE = re.compile(r"```console\n\$ (?P<command>.*)\n(?P<printed>(?:.*\n)*?)```\n")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

CHANGING = {
    r"\b[0-9a-hjkmnp-tv-z]{26}\b": "CHUNK",
    r"msgbatch_\w+": "BATCH",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "LEDGER",
    r"127\.0\.0\.1:\d+": "ADDRESS",
    r"\d{4}-\d\d-\d\d": "DATE",
    r"\d\d:\d\d UTC": "TIME",
    r"\d+ s (ahead of|behind) the": "SECONDS of the",
    r"[\d,]+\.\d GB": "SPACE",
    r"\$\d+\.\d+": "DOLLARS",
    r"(?<=[a-zA-Z] )\d+(\.\d+)+": "VERSION",
    r"revision \d+": "REVISION",
    r"[ ─]+\n": "\n",
    r"[ ─]{2,}": "  ",
}
"""What differs from machine to machine and from day to day."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator of today that answers at once."""
    emulator = Emulator(clock=ManualClock(datetime.now(UTC)), batch_seconds=0)
    yield emulator
    emulator.close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """Return the state directory where a run would have it, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return StateDirectory.open(tmp_path / ".claude_batch")


@pytest.fixture
def printed(program: Program, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what the commands of the page print, one after the other, after real runs."""
    monkeypatch.delenv("CLAUDE_BATCH_STATE_DIRECTORY")
    monkeypatch.setenv("CLAUDE_BATCH_DATABASE", "warehouse.duckdb")
    program.world.let_go()  # the doctor opens the file
    told: dict[str, str] = {}

    def do(*arguments: str, answer: str = "", code: int = 0) -> None:
        told[" ".join(["claude-batch", *arguments])] = program(*arguments, answer=answer, code=code)

    world = program.world
    world.pacing = Pacing(limits=Limits(max_requests=1_000))
    world.documents({n: f"the war of the year {1800 + n}" for n in range(100, 300)})
    world.run()
    world.documents({n: f"the trade of the year {1700 + n}" for n in range(50)}, part="r")
    world.run("p", "r")
    do("cost", "--by", "partition")
    do("doctor")
    world.clock.sleep(1)
    world.emulator.pace.batch_seconds = 7_200
    chunk = program.lost_run("drop_before_accept")
    do("reconcile", code=3)
    for _ in range(4):
        world.clock.sleep(300)
        program("reconcile", code=3 if program.chunk.n_silent_listings < 4 else 0)
    do("reconcile", "--wait")
    world.documents({n: f"the peace of the year {1900 + n}" for n in range(3)}, part="q")
    program.dead_run("q", on_unconfirmed="hold")
    world.clock.sleep(3_600)
    do("status")
    do("resolve", chunk.chunk_id, "--not-sent", answer="y\n")
    do("cancel", answer="y\n")
    return told


def masked(text: str) -> str:
    """Return text without what may differ."""
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text)
    return text


def updated(page: str, printed: dict[str, str]) -> str:
    """Return the page with what is printed today."""
    commands = {masked(command): command for command in printed}

    def example(found: re.Match[str]) -> str:
        command = commands[masked(found["command"])]
        shown = "".join(f"{line.rstrip()}\n" for line in printed[command].strip("\n").splitlines())
        return f"```console\n$ {command}\n{shown}```\n"

    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8765", EXAMPLE.sub(example, page))


@pytest.mark.verify
def test_the_examples_are_what_the_program_prints(printed: dict[str, str]) -> None:
    """
    Each example is the output of its command after real runs, but for ids, dates, addresses and versions.

    `UPDATE_DOCS=1` writes what is printed today.
    """
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(updated(PAGE.read_text(), printed))
    page = PAGE.read_text()

    assert {masked(found["command"]) for found in EXAMPLE.finditer(page)} == {masked(command) for command in printed}
    assert masked(page) == masked(updated(page, printed))


def every_command() -> list[click.Command]:
    """Return the program and its commands."""
    commands = [main.get_command(click.Context(main), name) for name in COMMANDS]
    return [main, *(command for command in commands if command)]


def test_the_page_has_every_command_and_every_option_and_no_other() -> None:
    """A section for each command, a word on each option and its environment variable."""
    page = PAGE.read_text()
    parameters = [parameter for command in every_command() for parameter in command.params]
    options = {option for parameter in parameters for option in parameter.opts if option.startswith("--")}
    variables = {str(parameter.envvar) for parameter in parameters if parameter.envvar}

    assert {*re.findall(r"^## `(\w+)`$", page, re.MULTILINE)} == set(COMMANDS)
    assert {*OPTION.findall(page)} - {"--help"} == options
    assert {variable for variable in variables if f"`{variable}`" not in page} == set()


def test_the_page_has_every_exit_code() -> None:
    """What a script has to know."""
    page = PAGE.read_text()

    assert re.findall(r"^\| (\d) \|", page, re.MULTILINE) == ["0", "1", "2", "3"]
