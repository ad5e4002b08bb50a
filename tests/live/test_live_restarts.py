"""`dagster dev` as a whole, and its processes one by one, stopped and started while batches run."""

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from claude_batch_dagster.emulator import Emulator
from tests.canary import in_files
from tests.live.live_dev import LiveDev
from tests.live.live_instance import running_dev
from tests.live.world import LiveWorld

pytestmark = [pytest.mark.dagster, pytest.mark.soak]

YEARS = ("1800", "1801")


def wait_with_a_batch(home: Path, emulator: Emulator, dev: LiveDev) -> tuple[LiveWorld, str]:
    """Start a run; return its world and its id once it waits for its batch."""
    world = LiveWorld(family="again", home=home, emulator=emulator, dev=dev)
    world.write(*YEARS)
    world.hold()
    run = dev.start(world.answers, *YEARS)
    dev.until_waiting(run)
    return world, run


def prove_it_lands(world: LiveWorld, dev: LiveDev) -> None:
    """Materialize once more: the batch that was sent lands, and nothing else is sent."""
    world.dev = dev
    world.release()
    assert dev.run(world.answers, *YEARS) == "SUCCESS"
    prove_it_is_home(world)


def prove_it_is_home(world: LiveWorld) -> None:
    """See that all answers are there, of one batch that was sent once."""
    assert world.answered(*YEARS) == 4
    assert (world.n_posts, world.paid_twice) == (1, [])


def test_f62_ctrl_c_leaves_the_batches_for_the_next_session(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """Ctrl-C on `dagster dev` stops the run and not its batch; started again, a materialization lands it."""
    with running_dev(tmp_path, live_api) as dev:
        world, run = wait_with_a_batch(tmp_path, emulator, dev)
    with dg.DagsterInstance.from_config(str(tmp_path / "instance")) as instance:
        messages = [entry.message for entry in instance.all_logs(run)]

    assert world.standings() == ["in_progress"]
    assert "Stopped while waiting. The batches go on; the next run lands their answers." in messages
    with running_dev(tmp_path, live_api) as dev:
        prove_it_lands(world, dev)
    assert list(in_files(tmp_path)) == []


@pytest.mark.parametrize("program", ["dagster_webserver", "dagster._daemon"])
def test_f62_a_server_that_is_killed_costs_nothing(
    program: str, tmp_path: Path, emulator: Emulator, live_api: str
) -> None:
    """Webserver or daemon killed in mid-wait take `dagster dev` along; after a restart the batch lands, sent once."""
    with running_dev(tmp_path, live_api) as dev:
        world, _ = wait_with_a_batch(tmp_path, emulator, dev)
        dev.kill(program)
        dev.process.wait(120)

    assert world.standings() == ["in_progress"]
    with running_dev(tmp_path, live_api) as dev:
        prove_it_lands(world, dev)
    assert list(in_files(tmp_path)) == []


def test_f62_a_code_server_that_is_killed_costs_nothing(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """The code server killed in mid-wait does not take its runs along: the run lands its batch, sent once."""
    with running_dev(tmp_path, live_api) as dev:
        world, run = wait_with_a_batch(tmp_path, emulator, dev)
        dev.kill("dagster api grpc", "dagster code-server")
        world.release()
        assert dev.wait(run) == "SUCCESS"
        prove_it_is_home(world)
    assert list(in_files(tmp_path)) == []


def test_f62_everything_killed_at_once_costs_nothing(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """All processes of `dagster dev` and its runs killed, as by a power cut: the batch lands after a restart."""
    with running_dev(tmp_path, live_api) as dev:
        world, _ = wait_with_a_batch(tmp_path, emulator, dev)
        os.killpg(dev.process.pid, signal.SIGKILL)
        dev.process.wait(120)

    with running_dev(tmp_path, live_api) as dev:
        prove_it_lands(world, dev)
    assert list(in_files(tmp_path)) == []
