"""One `dagster dev` for all live tests of a session, an emulator behind it, and what a test sees of both."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.canary import in_files
from tests.live.live_dev import LiveDev
from tests.live.live_instance import running_dev
from tests.live.world import LiveWorld, WorldOf


@pytest.fixture(scope="session")
def served_emulator() -> Iterator[tuple[Emulator, str]]:
    """Return an emulator behind a real socket, and its URL."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as url:
        yield emulator, url
    emulator.close()


@pytest.fixture(scope="session")
def live_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of everything; searched for canaries in the end."""
    home = tmp_path_factory.mktemp("live")
    yield home
    assert list(in_files(home)) == []


_RUNNING = ExitStack()


@pytest.fixture(scope="session")
def shared_dev(live_home: Path, served_emulator: tuple[Emulator, str]) -> Iterator[LiveDev]:
    """Return the one `dagster dev`, for tests that leave it as it was."""
    with _RUNNING:
        yield _RUNNING.enter_context(running_dev(live_home, served_emulator[1]))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End it after the last test that is live: it works on, and others have a use for the processor."""
    if nextitem is None or nextitem.path.parent != Path(__file__).parent:
        _RUNNING.close()


@pytest.fixture
def emulator(served_emulator: tuple[Emulator, str]) -> Iterator[Emulator]:
    """Return the emulator; its faults are lifted afterwards, and its batches end at once."""
    yield served_emulator[0]
    served_emulator[0].faults.clear()
    served_emulator[0].pace.batch_seconds = 0


@pytest.fixture
def live_api(served_emulator: tuple[Emulator, str]) -> str:
    """Return the emulator's URL, for a `dagster dev` of the test's own."""
    return served_emulator[1]


@pytest.fixture
def world(shared_dev: LiveDev, live_home: Path, emulator: Emulator) -> WorldOf:
    """Return a function that gives the world of a family in the shared `dagster dev`."""

    def of(family: str) -> LiveWorld:
        return LiveWorld(family=family, home=live_home, emulator=emulator, dev=shared_dev)

    return of
