"""Faults of the disk under the output table, and rows that change meanwhile: what was paid for is never lost."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import WarehouseCorruptError, WarehouseError
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.core.clocks import CrashError
from tests.core.world import World

pytestmark = pytest.mark.verify

FOUR = {n: f"a text of war, number {n}" for n in range(4)}
GOOD = dict.fromkeys(FOUR, "succeeded")


def die(*_: Any) -> Any:
    """Die."""
    raise CrashError


def wal(warehouse: Warehouse) -> Path:
    """Return DuckDB's write-ahead log."""
    return Path(f"{warehouse.database}.wal")


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let the operating system refuse to make any file longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_f87_a_disk_that_is_full_when_answers_land_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the batch lands, its results stay in the spool, and the next run lands them without the API."""
    world.documents(FOUR)
    write = Landing.write

    def write_on_a_full_disk(landing: Landing) -> None:
        with full_disk(wal(world.warehouse).stat().st_size):
            write(landing)

    with monkeypatch.context() as patch:
        patch.setattr(Landing, "write", write_on_a_full_disk)
        with pytest.raises(WarehouseError):
            world.run()
    world.let_go()
    assert (world.rows(), world.states()) == ([], [State.SPOOLED])
    world.emulator.faults.add("500", endpoint="results")

    assert (world.run().failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 4)


def test_f88_a_database_that_cannot_be_written_is_told_before_money_is_spent(world: World) -> None:
    """Opened for reading only, by the user's own setting: the run ends before its first call."""
    world.documents(FOUR)
    world.let_go()
    world.warehouse = replace(world.warehouse, config={"access_mode": "READ_ONLY"})

    with pytest.raises(WarehouseError, match="read-only"):
        world.run()
    assert (world.n_posts, world.states()) == (0, [])


@pytest.fixture
def killed(world: World, tmp_path: Path) -> World:
    """Return the world after a run, with the files of its warehouse as a kill leaves them: not yet checkpointed."""
    world.documents(FOUR)
    world.run()
    left = replace(world.warehouse, database=str(tmp_path / "left.duckdb"))
    shutil.copy(world.warehouse.database, left.database)
    shutil.copy(wal(world.warehouse), wal(left))
    return replace(world, warehouse=left)


def test_f92_what_a_kill_left_in_the_log_of_the_database_is_there(killed: World) -> None:
    """Tables made and rows landed since the last checkpoint, and the mark of the batch that they came with."""
    assert wal(killed.warehouse).stat().st_size > 0

    assert (killed.run().n_sent, killed.statuses(), killed.n_posts) == (0, GOOD, 1)


def test_f92_a_log_that_cannot_be_replayed_costs_nothing(killed: World) -> None:
    """The run says so before it sends anything; with the file out of the way all answers come back unpaid."""
    before = bytearray(wal(killed.warehouse).read_bytes())
    before[len(before) // 2] ^= 0xFF
    wal(killed.warehouse).write_bytes(before)

    with pytest.raises(WarehouseCorruptError, match="Move it away"):
        killed.run()
    for file in (Path(killed.warehouse.database), wal(killed.warehouse)):
        file.unlink()
    killed.documents(FOUR)

    assert (killed.run().n_sent, killed.statuses(), killed.n_posts, killed.n_billed) == (0, GOOD, 1, [1] * 4)


def test_f92_the_duckdb_in_use_replays_what_kills_leave() -> None:
    """Older ones did not always."""
    assert tuple(map(int, duckdb.__version__.split(".")[:2])) >= (1, 5)


class Deadly:
    """A clock that kills whoever waits."""

    def __init__(self, world: World) -> None:
        self.now = world.clock.now
        self.sleep = die


def test_f94_a_row_that_changes_while_its_answer_is_on_its_way_is_asked_anew(world: World) -> None:
    """The answer to the old text lands under the old question and counts for no other; only the new text is sent."""
    world.documents({1: "a text of war", 2: "a text of peace"})
    with pytest.raises(CrashError):
        world.run(clock=Deadly(world))
    world.clock.sleep(1)
    world.documents({1: "now it is peace", 2: "a text of peace"})

    report = world.run()

    assert (report.n_sent, world.rows("id, label"), world.n_billed) == (1, [(1, "peace"), (2, "peace")], [1] * 3)
    world.documents({1: "a text of war", 2: "a text of peace"})
    assert (world.run().n_sent, world.rows("id, label"), world.n_posts) == (0, [(1, "war"), (2, "peace")], 2)
