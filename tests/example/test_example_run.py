import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from example_project.settings import CHECKOUT


@pytest.fixture
def emulated(home: Path) -> Iterator[Path]:
    """Return the home, and stop the emulator that was started for it."""
    yield home
    ready = home / "emulator.json"
    if ready.exists():
        os.kill(json.loads(ready.read_text())["pid"], signal.SIGKILL)


def run() -> subprocess.CompletedProcess[str]:
    """Run the example as `make run` does, with the environment of the test."""
    return subprocess.run(
        [sys.executable, "-m", "example_project.run"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


@pytest.mark.soak
@pytest.mark.dagster
def test_the_second_run_sends_nothing(emulated: Path, lines: Any) -> None:
    """The example runs from end to end offline, and what is classified is not sent again."""
    lines(
        {"id": "a", "text": "The army won the battle.", "published_on": "1862-12-01"},
        {"id": "b", "text": "", "published_on": "1900-12-01"},
    )

    first, second = run(), run()

    assert [first.returncode, second.returncode] == [0, 0], first.stderr + second.stderr
    assert "1 request sent.\n" in first.stdout
    assert "0 requests sent: everything was already classified.\n" in second.stdout
    assert (emulated / "themes_by_decade.svg").exists()


@pytest.mark.verify
def test_a_failure_is_one_sentence(home: Path, lines: Any) -> None:
    """A wrong line ends the run with exit code 1 and a sentence that names it, not with a stack trace."""
    path = lines({"id": "a", "text": "Too early.", "published_on": "1066-10-14"})

    ended = run()

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{path}, line 1: 'published_on' is 1066-10-14, but the partitions are")
    assert ended.stderr.count("\n") == 1
