import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_project.offline import Emulator, EmulatorError
from example_project.settings import CHECKOUT

START = (
    "import sys; from pathlib import Path; from example_project.offline import Emulator; "
    "emulator = Emulator(home=Path(sys.argv[1])); url = emulator.reserve(); "
    "emulator.ensure_running(url); print(url)"
)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """Return the emulator of an empty home, not started; stop it afterwards if it was."""
    one = Emulator(home=tmp_path / "home")
    yield one
    if one.ready_file.exists():
        stop(one)


def stop(emulator: Emulator) -> int:
    """Kill the process and wait until its port is silent."""
    pid: int = json.loads(emulator.ready_file.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    while emulator.healthy(emulator.reserve()):
        time.sleep(0.02)
    return pid


@pytest.mark.verify
def test_two_processes_start_one(emulator: Emulator) -> None:
    """Whoever comes second finds the emulator of the first, at the same address."""
    command = [sys.executable, "-c", START, str(emulator.home)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) for _ in range(2)]
    urls = {starter.communicate(timeout=60)[0].strip() for starter in starters}

    assert urls == {emulator.reserve()}
    assert (emulator.state / "emulator.log").read_text().count("listens on") == 1


def test_a_dead_one_is_replaced_at_the_same_address(emulator: Emulator) -> None:
    """An address that was handed out stays good when the emulator has to be started again."""
    url = emulator.reserve()
    emulator.ensure_running(url)
    dead = stop(emulator)

    emulator.ensure_running(emulator.reserve())

    assert json.loads(emulator.ready_file.read_text()) == {
        "url": url,
        "pid": pytest.approx(dead, abs=1_000_000),
    }
    assert json.loads(emulator.ready_file.read_text())["pid"] != dead


def test_reserving_starts_nothing(emulator: Emulator) -> None:
    """Loading the definitions needs the address only."""
    assert emulator.reserve() == emulator.reserve()
    assert not emulator.ready_file.exists()


def test_a_taken_port_is_left_to_its_owner(emulator: Emulator, tmp_path: Path) -> None:
    """Where another program listens, the next port is reserved, and the old address is refused."""
    other = Emulator(home=tmp_path / "other")
    url = emulator.reserve()
    other.ensure_running(url)

    assert emulator.reserve() != url
    with pytest.raises(EmulatorError, match="Another program listens at"):
        emulator.ensure_running(url)

    stop(other)


def test_one_that_cannot_start_says_where_to_look(emulator: Emulator) -> None:
    """The error names the log of the emulator."""
    broken = Emulator(home=emulator.home, pace="fast")

    with pytest.raises(EmulatorError, match=r"did not start; .*emulator\.log says why"):
        broken.ensure_running(broken.reserve())
