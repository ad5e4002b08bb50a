"""`dagster dev` as a whole, and its processes one by one, stopped and started while batches run."""

import os
import signal
from pathlib import Path

import dagster as dg
import pytest

from claude_batch_dagster.emulator import Emulator
from tests.canary import in_files
from tests.live.live_instance import live_dev
from tests.live.live_studio import LiveDev
from tests.live.scene import LiveScene

pytestmark = [pytest.mark.dagster, pytest.mark.soak]

YEARS = ("1800", "1801")


def wait_with_a_batch(home: Path, emulator: Emulator, dev: LiveDev) -> tuple[LiveScene, str]:
    """Start a run; return its scene and its id once it waits for its batch."""
    scene = LiveScene(family="again", home=home, emulator=emulator, dev=dev)
    scene.write(*YEARS)
    scene.hold()
    run = dev.start(scene.answers, *YEARS)
    dev.until_waiting(run)
    return scene, run


def prove_it_lands(scene: LiveScene, dev: LiveDev) -> None:
    """Materialize once more: the batch that was sent lands, and nothing else is sent."""
    scene.dev = dev
    scene.release()
    assert dev.run(scene.answers, *YEARS) == "SUCCESS"
    prove_it_is_home(scene)


def prove_it_is_home(scene: LiveScene) -> None:
    """See that all answers are there, of one batch that was sent once."""
    assert scene.answered(*YEARS) == 4
    assert (scene.n_posts, scene.paid_twice) == (1, [])


def test_f62_ctrl_c_leaves_the_batches_for_the_next_session(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """Ctrl-C on `dagster dev` stops the run and not its batch; started again, a materialization lands it."""
    with live_dev(tmp_path, live_api) as dev:
        scene, run = wait_with_a_batch(tmp_path, emulator, dev)
    with dg.DagsterInstance.from_config(str(tmp_path / "instance")) as instance:
        messages = [entry.message for entry in instance.all_logs(run)]

    assert scene.standings() == ["in_progress"]
    assert "Stopped while waiting. The batches go on; the next run lands their answers." in messages
    with live_dev(tmp_path, live_api) as dev:
        prove_it_lands(scene, dev)
    assert list(in_files(tmp_path)) == []


@pytest.mark.parametrize("program", ["dagster_webserver", "dagster._daemon"])
def test_f62_a_server_that_is_killed_costs_nothing(
    program: str, tmp_path: Path, emulator: Emulator, live_api: str
) -> None:
    """Webserver or daemon killed in mid-wait take `dagster dev` along; after a restart the batch lands, sent once."""
    with live_dev(tmp_path, live_api) as dev:
        scene, _ = wait_with_a_batch(tmp_path, emulator, dev)
        dev.kill(program)
        dev.process.wait(120)

    assert scene.standings() == ["in_progress"]
    with live_dev(tmp_path, live_api) as dev:
        prove_it_lands(scene, dev)
    assert list(in_files(tmp_path)) == []


def test_f62_a_code_server_that_is_killed_costs_nothing(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """The code server killed in mid-wait does not take its runs along: the run lands its batch, sent once."""
    with live_dev(tmp_path, live_api) as dev:
        scene, run = wait_with_a_batch(tmp_path, emulator, dev)
        dev.kill("dagster api grpc", "dagster code-server")
        scene.release()
        assert dev.wait(run) == "SUCCESS"
        prove_it_is_home(scene)
    assert list(in_files(tmp_path)) == []


def test_f62_everything_killed_at_once_costs_nothing(tmp_path: Path, emulator: Emulator, live_api: str) -> None:
    """All processes of `dagster dev` and its runs killed, as by a power cut: the batch lands after a restart."""
    with live_dev(tmp_path, live_api) as dev:
        scene, _ = wait_with_a_batch(tmp_path, emulator, dev)
        os.killpg(dev.process.pid, signal.SIGKILL)
        dev.process.wait(120)

    with live_dev(tmp_path, live_api) as dev:
        prove_it_lands(scene, dev)
    assert list(in_files(tmp_path)) == []
