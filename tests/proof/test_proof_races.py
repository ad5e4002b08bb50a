import signal
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.canary import DOCUMENT
from proof.kills.gate import gate
from proof.kills.holds import PATIENCE_SECONDS, Fate, Hold, Part
from proof.kills.judge import last_words, leaks
from proof.kills.order import PER_BATCH, WORDS, YEARS, Order
from proof.kills.paths import JobPaths
from proof.kills.processes import Process, zygote
from proof.kills.proxy import Proxy, proxied
from proof.scratch import scratch

pytestmark = pytest.mark.verify

HEALTH = "/_emulator/health"
"""What a run asks last before it waits for the lock of its table."""

LONG = " and so on" * 50_000
"""What makes a text too long for the buffers of a socket: whoever sends it stands still once it is not read."""

N_ROUNDS = 5

A_WHILE_SECONDS = 0.5
"""In which a run that may go on would have sent."""


@dataclass(kw_only=True)
class RaceWorld:
    """One warehouse, one API, and runs in processes of their own."""

    paths: JobPaths
    emulator: Emulator
    proxy: Proxy
    n_documents: int = 0

    def write(self, *years: str, each: int = PER_BATCH, filler: str = "") -> None:
        """Let the table hold so many documents of each year, none of them asked before."""
        keys = [(f"{year}-{self.n_documents}-{n}", year) for year in years for n in range(each)]
        self.n_documents += len(keys)
        self.paths.write([(key, f"{WORDS['war']}, {key}, {DOCUMENT}{filler}", f"{year}-05-01") for key, year in keys])
        self.paths.load()

    def start(
        self, *, partition: str | None = None, span: tuple[str, str] | None = None, at: tuple[str, int] | None = None
    ) -> Process:
        """Start a run of a partition, or of a range of them; `at` is the gate where it waits."""
        order = Order(folder=str(self.paths.folder), url=self.proxy.url, partition=partition, span=span, gate=at)
        return zygote().start(order)

    def start_and_hold(self, hold: Hold) -> Process:
        """Start a run of 1790, and return when its call is held."""
        self.proxy.arm(hold)
        process = self.start(partition="1790")
        assert hold.reached.wait(PATIENCE_SECONDS)
        return process

    def start_a_second(self) -> Process:
        """Start another run of 1790, and return when it can do nothing but wait for the lock."""
        process = self.start(partition="1790")
        self.proxy.wait_for(HEALTH, 2)
        return process

    def see_end_well(self, *runs: Process) -> None:
        """Wait until these runs have ended, all of them well."""
        assert [run.wait() for run in runs] == [0 for _ in runs], last_words(self.paths)

    @property
    def paid(self) -> list[int]:
        """How often each document was paid for."""
        return list(self.emulator.audit.billed().values())

    def rows(self) -> list[tuple[str, int]]:
        """Return the verdicts in the table, with their numbers."""
        with duckdb.connect(str(self.paths.database)) as connection:
            return connection.execute("SELECT status, count(*)::INT FROM public.answers GROUP BY ALL").fetchall()


@pytest.fixture
def world() -> Iterator[RaceWorld]:
    """Return a world whose batches take a fifth of a second."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0.2)
    with scratch() as path, serving(emulator) as url, proxied(url) as proxy:
        yield RaceWorld(paths=JobPaths(folder=path), emulator=emulator, proxy=proxy)
        assert leaks(JobPaths(folder=path)) == []
    emulator.close()


def goes_on_waiting(process: Process) -> bool:
    """Whether a run is still there after a while."""
    return not process.ended.wait(A_WHILE_SECONDS)


@pytest.mark.parametrize("n_batches", [2, 3])
def test_f28_f109_two_runs_of_one_partition(world: RaceWorld, n_batches: int) -> None:
    """Two runs of the same partition that start together pay once for each document, and both end well."""
    for n_round in range(1, N_ROUNDS + 1):
        world.write("1790", each=n_batches * PER_BATCH)
        with gate() as shut:
            runs = [world.start(partition="1790", at=shut.address) for _ in range(2)]
            shut.open(2)
            world.see_end_well(*runs)
        assert world.proxy.calls["create"] == n_round * n_batches  # who comes second sends nothing again
        assert world.paid == [1] * world.n_documents
    assert world.rows() == [("succeeded", n_batches * PER_BATCH)]


def test_f108_a_backfill_and_a_run_of_one_of_its_partitions(world: RaceWorld) -> None:
    """A range of partitions and one partition within it, at once: one bill for each document, both materialize."""
    for _ in range(3):
        world.write(*YEARS, each=PER_BATCH + 1)
        with gate() as shut:
            runs = [world.start(span=(YEARS[0], YEARS[-1]), at=shut.address)]
            runs.append(world.start(partition="1791", at=shut.address))
            shut.open(2)
            world.see_end_well(*runs)
        assert world.paid == [1] * world.n_documents
    assert world.rows() == [("succeeded", len(YEARS) * (PER_BATCH + 1))]


@pytest.mark.parametrize(
    ("part", "at", "fate"),
    [
        pytest.param(Part.ANSWER, 0, Fate.PASSED, id="F29-answer-comes-meanwhile"),
        pytest.param(Part.ANSWER, 0, Fate.DROPPED, id="F29-answer-is-lost"),
        pytest.param(Part.TAIL, 1, Fate.PASSED, id="F29-last-byte-on-its-way"),
        pytest.param(Part.UPLOAD, 0.01, Fate.DROPPED, id="F29-body-on-its-way"),
    ],
)
def test_f29_a_holder_that_sleeps_keeps_its_lock(world: RaceWorld, part: Part, at: float, fate: Fate) -> None:
    """While a run that was stopped inside its call lives, no other sends or decides; awake, it ends well."""
    world.write("1790", each=2 * PER_BATCH, filler=LONG if part is Part.UPLOAD else "")
    hold = Hold(endpoint="create", part=part, at=at)
    sleeper = world.start_and_hold(hold)
    sleeper.send(signal.SIGSTOP)
    second = world.start_a_second()

    assert goes_on_waiting(second)
    assert (world.proxy.calls["create"], world.proxy.calls["list"]) == (1, 0)
    hold.release(fate)
    sleeper.send(signal.SIGCONT)
    world.see_end_well(sleeper, second)
    assert world.paid == [1] * world.n_documents
    assert world.rows() == [("succeeded", world.n_documents)]


def test_f29_the_batch_of_a_sleeper_is_landed_by_others(world: RaceWorld) -> None:
    """A run stopped while it waits holds nothing: another lands its answers, and it ends well once it is awake."""
    world.write("1790")
    hold = Hold(endpoint="retrieve", part=Part.ANSWER)
    sleeper = world.start_and_hold(hold)
    sleeper.send(signal.SIGSTOP)
    hold.release(Fate.PASSED)

    world.see_end_well(world.start(partition="1790"))
    assert world.rows() == [("succeeded", world.n_documents)]
    sleeper.send(signal.SIGCONT)
    world.see_end_well(sleeper)
    assert (world.proxy.calls["create"], world.proxy.calls["results"]) == (1, 1)
    assert world.paid == [1] * world.n_documents
    assert world.rows() == [("succeeded", world.n_documents)]


def test_f29_a_sleeper_in_its_download_is_waited_for(world: RaceWorld) -> None:
    """A run stopped in the midst of the results is waited for; then both end well, and each row is there once."""
    world.write("1790")
    hold = Hold(endpoint="results", part=Part.DOWNLOAD, at=100)
    sleeper = world.start_and_hold(hold)
    sleeper.send(signal.SIGSTOP)
    second = world.start_a_second()

    assert goes_on_waiting(second)
    hold.release(Fate.PASSED)
    sleeper.send(signal.SIGCONT)
    world.see_end_well(sleeper, second)
    assert (world.proxy.calls["create"], world.paid) == (1, [1] * world.n_documents)
    assert world.rows() == [("succeeded", world.n_documents)]


def test_f29_death_frees_the_lock_at_once(world: RaceWorld) -> None:
    """A run killed inside its call leaves no lock behind: the one that waited looks for its batch and adopts it."""
    world.write("1790")
    hold = Hold(endpoint="create", part=Part.ANSWER)
    holder = world.start_and_hold(hold)
    second = world.start_a_second()

    assert goes_on_waiting(second)
    assert world.proxy.calls["list"] == 0
    assert holder.kill() == -signal.SIGKILL
    world.proxy.wait_for("list", 1)
    hold.release(Fate.DROPPED)
    world.see_end_well(second)
    assert (world.proxy.calls["create"], world.paid) == (1, [1] * world.n_documents)
    assert world.rows() == [("succeeded", world.n_documents)]
