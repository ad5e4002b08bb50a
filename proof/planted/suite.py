"""Some tests, run in a process of their own with or without a bug, and what became of each."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from proof.planted.bug import Bug

ROOT = Path(__file__).parents[2]

TIMEOUT_SECONDS = 300
"""The named tests take a fifth of it all together; a bug that makes one hang is not caught by it."""

ALL_PASSED, SOME_FAILED = 0, 1
"""What pytest exits with when it could run what it was asked to; other codes mean that it could not."""

LIBRARIES = [
    "alembic.command",
    "anthropic",
    "dagster",
    "duckdb",
    "hypothesis",
    "pandas",
    "pytest",
    "sqlalchemy",
    "uvicorn",
]
"""Imported once, by the process that the others are forked from: that takes longer than a test."""

REPORT, OUTPUT = "report.xml", "output.txt"

PROCESSES = (
    multiprocessing.get_context("forkserver") if sys.platform == "linux" else multiprocessing.get_context("spawn")
)
PROCESSES.set_forkserver_preload(LIBRARIES)


@dataclass(frozen=True, slots=True)
class Suite:
    """What one call of pytest said."""

    exit_code: int | None
    """None if it was stopped because it took too long."""
    failures: Mapping[str, str]
    """First line of what each failed test said, by its id."""
    output: str

    def failed(self, test_id: str) -> str | None:
        """Return why a test failed, or one of its parametrized cases; None if it passed."""
        return next(
            (why for one, why in self.failures.items() if one == test_id or one.startswith(f"{test_id}[")), None
        )


def run(
    folder: Path,
    arguments: Sequence[str],
    *,
    bug: Bug | None = None,
    root: Path = ROOT,
    seconds: float | None = None,
) -> Suite:
    """
    Run tests in a process of their own, with a bug if one is given; `folder` is for what they write.

    `root` may be a copy of the project: nothing of the project is imported but from there.
    """
    folder.mkdir()
    seconds = seconds or TIMEOUT_SECONDS
    planted = () if bug is None else ("-p", "proof.planted.plugin", f"--plant={bug.address}")
    process = PROCESSES.Process(target=_pytest, args=(folder, (*planted, *arguments), root))
    process.start()
    process.join(seconds)
    if process.is_alive():
        _kill(process)
        return Suite(None, {}, f"not done after {seconds:g} seconds")
    ran = process.exitcode in {ALL_PASSED, SOME_FAILED}
    return Suite(process.exitcode, _failures(folder / REPORT) if ran else {}, (folder / OUTPUT).read_text())


def _pytest(folder: Path, arguments: Sequence[str], root: Path) -> None:
    """Be a pytest that was started at the root of the project, or of a copy."""
    os.setsid()
    os.chdir(root)
    output = os.open(folder / OUTPUT, os.O_CREAT | os.O_WRONLY)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    _begin_at(root)
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*options, f"--basetemp={folder / 'tmp'}", f"--junitxml={folder / REPORT}", *arguments])
    sys.stdout.flush()
    sys.exit(int(code))


def _begin_at(root: Path) -> None:
    """Import the project from this root alone, and know nothing of a pytest that runs around this one."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"claude_batch_dagster", "proof", "tests"}]:
        del sys.modules[name]
    sys.path[:] = [str(root), *(entry for entry in sys.path if entry not in {"", str(ROOT)})]
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "COV_"))]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = str(root)


def _kill(process: ForkServerProcess | SpawnProcess) -> None:
    """End a process together with those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()


def _failures(report: Path) -> dict[str, str]:
    """Read from pytest's report which tests failed, or their fixtures, and what they said first."""
    told = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (pytest has just written it)
        for trouble in (*case.iter("failure"), *case.iter("error")):
            test_id = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
            told[test_id] = trouble.attrib.get("message", "").split("\n", 1)[0]
    return told
