"""What all tests share: an emulator, a clock that moves with it, the client and the stores in front."""

import gc
import os
import shutil
import signal
import sqlite3
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import anthropic
import certifi
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it comes without types

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.state_directory import LEDGER, StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.simulation import fresh
from tests.canary import KEY, Canary, keep_watch
from tests.core.world import World

# The same examples in every run; a failure prints what is needed to see it again.
settings.register_profile(
    "promises",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the test
)
settings.load_profile("promises")

keep_watch()

# Who is started in the background of a shell ignores Ctrl-C, and so would every process that a test means to stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

PRINTED = pytest.StashKey[str]()
"""What was printed and logged by the time of a test's latest report."""

SIMULATIONS = frozenset(f"tests/proof/test_proof_{name}.py" for name in ("exhaustive", "seeds", "stateful"))
"""Files of tests that need nothing but a processor, and much of it."""

OWN_DEV = "tests/live/test_live_restarts.py"
"""Tests that each start a `dagster dev` of their own, to kill it."""

LIVE = tuple(Path(__file__).parent / name for name in ("acceptance", "live"))
"""Rooms of tests that start a real `dagster dev`, which takes longer than what they then look at."""

SOAK_SECONDS = 4 * 3_600.0
"""The longest that a test of `make soak` may take."""


def is_live(item: pytest.Item) -> bool:
    """Whether a test starts a real `dagster dev`."""
    return any(item.path.is_relative_to(room) for room in LIVE)


class Dealer(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """Deals tests to workers, those together that share what is slow to start, in the order in which they stand."""

    def _split_scope(self, nodeid: str) -> str:
        return together_with(nodeid)


def together_with(nodeid: str) -> str:
    """Return what a test shares with others: one `dagster dev`, or its file; simulations share nothing."""
    file = nodeid.split("::", 1)[0]
    if file in SIMULATIONS:
        return nodeid
    return "tests/live" if file.startswith("tests/live/") and file != OWN_DEV else file


def pytest_configure() -> None:
    """Settle which random lives are played, for all processes and to the end, whatever is committed meanwhile."""
    os.environ.setdefault(fresh.FIRST_SEED, str(fresh.first_seed()))


def pytest_report_header() -> str:
    """Say which random lives `make verify` plays, and how to play them again."""
    first = os.environ[fresh.FIRST_SEED]
    whose = "this commit's own" if fresh.commit() else "the same as in any folder that is no repository"
    return f"random lives: seeds from {first}, {whose} ({fresh.FIRST_SEED}={first} plays them again)"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealer:
    """Tell pytest-xdist how tests are dealt."""
    config.option.loadscopereorder = False  # they stand in order: see `pytest_collection_modifyitems`
    return Dealer(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """
    Leave what is live, and all but one case of what is sampled, to `make verify`; give long tests their time.

    What mostly waits stands first, and then what takes long, so that no worker is alone with it in the end.
    """
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        sampled_before = item.get_closest_marker("sampled") and test in seen
        seen.add(test)
        if sampled_before or is_live(item):
            item.add_marker(pytest.mark.verify)
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(SOAK_SECONDS))
    yield
    sizes = Counter(together_with(item.nodeid) for item in items)
    long = {together_with(item.nodeid) for item in items if item.get_closest_marker("verify")}
    items.sort(
        key=lambda item: (
            not is_live(item),
            (group := together_with(item.nodeid)) not in long,
            -sizes[group],
        )
    )


def pytest_collection_finish() -> None:
    """Take modules and tests out of the garbage collector's hands, which would look through them time and again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test has printed, for the canary to look through."""
    report = yield
    item.stash[PRINTED] = "\n".join(text for _, text in report.sections)
    return report


@pytest.fixture(autouse=True)
def canary(request: pytest.FixtureRequest) -> Iterator[Canary]:
    """See to it that neither key nor document turns up where it does not belong, in any test."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    with Canary() as canary:
        yield canary
        assert canary.leaks(folder, request.node.stash.get(PRINTED, "")) == []


@pytest.fixture(scope="session", autouse=True)
def _quick_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients load the first of certifi's certificates: no test speaks TLS, and all take longer than a request."""
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    end = "-----END CERTIFICATE-----"
    path.write_text(Path(certifi.where()).read_text(encoding="utf-8").split(end, 1)[0] + end + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


MANY_SLEEPS = 5_000
"""More than any test needs: who sleeps oftener never wakes."""


class MovingClock:
    """A clock that goes as far as someone sleeps, and takes the emulator's along."""

    def __init__(self, emulator: Emulator) -> None:
        self._clock = emulator.clock
        self._n_sleeps = 0

    def now(self) -> datetime:
        """Return the emulator's time."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass in no time; raise for a loop without end."""
        self._n_sleeps += 1
        assert self._n_sleeps < MANY_SLEEPS, "this loop would never end"
        self._clock.advance(seconds=seconds)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator in memory whose clock stands still."""
    emulator = Emulator()
    yield emulator
    emulator.close()


@pytest.fixture
def clock(emulator: Emulator) -> Clock:
    """Return a clock whose hours pass in milliseconds, the emulator's with it."""
    return MovingClock(emulator)


@pytest.fixture
def client(emulator: Emulator) -> Iterator[anthropic.Anthropic]:
    """Return the official client, joined to the emulator without a socket, that tries once as ours does."""
    transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator), follow_redirects=False)
    with anthropic.Anthropic(api_key=KEY, http_client=transport, max_retries=0) as client:
        yield client


@pytest.fixture
def api(client: anthropic.Anthropic) -> AnthropicBatches:
    """Return the batch API as the core sees it."""
    return AnthropicBatches(client)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Return a state directory of its own."""
    return StateDirectory.open(tmp_path / "state")


@pytest.fixture(scope="session")
def blank_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a ledger that nobody has used: copying it is quicker than taking every step to it again."""
    path = tmp_path_factory.mktemp("blank") / "ledger.sqlite"
    SqlLedger(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an empty database."""
    path = tmp_path_factory.mktemp("blank") / "warehouse.duckdb"
    with Warehouse(str(path)).connect():
        return path


@pytest.fixture
def ledger(state: StateDirectory, blank_ledger: Path) -> Iterator[SqlLedger]:
    """Return an empty ledger in a file, with an id of its own."""
    path = state.path / LEDGER
    shutil.copyfile(blank_ledger, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE identity SET ledger_id = ?", [str(uuid.uuid4())])
    ledger = SqlLedger(state.ledger_url)
    yield ledger
    ledger.dispose()


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Return a DuckDB database in a file that is not there yet."""
    return Warehouse(str(tmp_path / "warehouse.duckdb"), lock_timeout_seconds=0.5)


@pytest.fixture
def world(
    emulator: Emulator,
    clock: Clock,
    api: AnthropicBatches,
    state: StateDirectory,
    ledger: SqlLedger,
    warehouse: Warehouse,
    blank_database: Path,
) -> Iterator[World]:
    """Return everything around one output table, with nothing in it."""
    if not Path(warehouse.database).exists():  # as another fixture has left it
        shutil.copyfile(blank_database, warehouse.database)
    world = World(emulator=emulator, clock=clock, api=api, state=state, ledger=ledger, warehouse=warehouse)
    world.keep_open()
    yield world
    world.let_go()
