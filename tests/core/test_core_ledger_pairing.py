"""A ledger that does not belong to its table is noticed before anything is sent."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import StrangeLedgerError
from claude_batch_dagster.storage.duckdb.ledger_pairing import LedgerPairing
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError, Waking
from tests.core.world import World

ONE = {1: "a text of war"}
TWO = {**ONE, 2: "a text of peace"}


def pairing(world: World) -> LedgerPairing:
    """Return what is between the world's table and its ledger."""
    return LedgerPairing(warehouse=world.warehouse, ledger=world.ledger, target=TableName("main", "answers"))


def moved_in(world: World, folder: Path) -> World:
    """Return the same world with the state directory in another place."""
    state = StateDirectory.open(folder)
    return world.with_ledger(SqlLedger(state.ledger_url), state)


def test_f26_a_ledger_that_was_deleted_is_missed(world: World, tmp_path: Path) -> None:
    """A new one in its place does not know what is on its way: nothing is sent until somebody accepts it."""
    world.documents(ONE)
    world.run()
    world.documents(TWO)
    bare = moved_in(world, tmp_path / "new")

    with pytest.raises(StrangeLedgerError, match=r"filled by ledger .* --accept-new-ledger") as caught:
        bare.run()
    assert f"({world.state.path / 'ledger.sqlite'}); this is" in str(caught.value)
    assert f"({bare.state.path / 'ledger.sqlite'})" in str(caught.value)

    assert world.n_posts == 1
    pairing(bare).accept()
    assert (bare.run().failure, bare.run().n_sent, world.n_billed) == (None, 0, [1, 1])
    bare.ledger.dispose()


def test_f26_a_ledger_from_a_backup_is_noticed(world: World, tmp_path: Path) -> None:
    """It is older than the table: batches have landed that it has never heard of."""
    world.documents(ONE)
    world.run()
    backup = tmp_path / "backup"
    shutil.copytree(world.state.path, backup)
    world.documents(TWO)
    world.run()
    world.ledger.dispose()
    shutil.rmtree(world.state.path)
    shutil.move(backup, world.state.path)
    restored = moved_in(world, world.state.path)

    with pytest.raises(StrangeLedgerError, match=r"older than the table .* it lacks 1 batch that landed"):
        restored.run()

    assert world.n_posts == 2
    pairing(restored).accept()
    assert (restored.run().failure, restored.run().n_sent, world.n_billed) == (None, 0, [1, 1])
    restored.ledger.dispose()


@pytest.mark.verify
def test_f26_a_ledger_from_a_backup_that_lacks_what_is_on_its_way_is_noticed(world: World, tmp_path: Path) -> None:
    """The run that sent it left a mark beside the table before; nothing else outside the ledger tells of it."""
    world.documents(ONE)
    world.run()
    backup = tmp_path / "backup"
    shutil.copytree(world.state.path, backup)
    world.documents(TWO)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.ledger.dispose()
    shutil.rmtree(world.state.path)
    shutil.move(backup, world.state.path)
    restored = moved_in(world, world.state.path)

    with pytest.raises(StrangeLedgerError, match=r"older than the table .* it lacks the latest run"):
        restored.run()
    with pytest.raises(StrangeLedgerError):  # trying again does not make it right
        restored.run()

    assert world.n_posts == 2
    pairing(restored).accept()
    assert restored.run().failure is None
    restored.ledger.dispose()


@pytest.mark.verify
def test_f26_a_ledger_from_a_backup_made_during_a_run_is_noticed_once_that_is_over(
    world: World, tmp_path: Path
) -> None:
    """A run that only submits leaves a second mark when it has sent."""
    world.documents(ONE)
    backup = tmp_path / "backup"

    def back_up(_: Asked) -> None:
        if not backup.exists():
            shutil.copytree(world.state.path, backup)

    world.engine(on_asked=back_up).submit([Partition(key="p")])
    assert world.states() == [State.ACCEPTED]
    world.ledger.dispose()
    shutil.rmtree(world.state.path)
    shutil.move(backup, world.state.path)
    restored = moved_in(world, world.state.path)

    with pytest.raises(StrangeLedgerError, match="it lacks the latest run"):
        restored.run()

    assert world.n_posts == 1
    restored.ledger.dispose()


@pytest.mark.verify
def test_a_table_of_an_earlier_version_gets_its_first_mark(world: World) -> None:
    """It has none, which is no reason to refuse it."""
    world.documents(ONE)
    world.run()
    world.sql("ALTER TABLE claude_batch.ledgers DROP COLUMN mark")
    world.sql("ALTER TABLE claude_batch.ledgers DROP COLUMN home")

    assert (world.run().failure, world.run().n_sent, world.n_billed) == (None, 0, [1])
    [(mark,)] = world.sql("SELECT mark FROM claude_batch.ledgers")
    assert world.ledger.has_mark(mark)
    assert not world.ledger.has_mark("another")


def test_f27_a_copy_of_a_ledger_that_is_still_in_use_is_refused(world: World, tmp_path: Path) -> None:
    """Two ledgers of one table would each send what the other has on its way; a copy can become its own."""
    world.documents(ONE)
    world.run()
    shutil.copytree(world.state.path, tmp_path / "copy")
    world.documents(TWO)
    copy = moved_in(world, tmp_path / "copy")

    with pytest.raises(StrangeLedgerError, match="this ledger is a copy: the original is at"):
        copy.run()

    assert world.n_posts == 1
    pairing(copy).accept()
    assert copy.ledger.ledger_id != world.ledger.ledger_id
    assert copy.run().failure is None
    with pytest.raises(StrangeLedgerError, match="filled by ledger"):
        world.run()
    copy.ledger.dispose()


@pytest.mark.verify
def test_a_ledger_may_move_with_its_table(world: World, tmp_path: Path) -> None:
    """A folder that was renamed is no copy."""
    world.documents(ONE)
    world.run()
    world.ledger.dispose()
    shutil.move(world.state.path, tmp_path / "moved")
    moved = moved_in(world, tmp_path / "moved")

    report = moved.run()

    assert (report.failure, report.n_sent) == (None, 0)
    moved.ledger.dispose()


@pytest.mark.verify
def test_a_table_that_was_deleted_comes_back(world: World, emulator: Emulator) -> None:
    """The ledger is the right one; it is the table that is gone."""
    world.documents(ONE)
    world.run()
    world.sql("DROP SCHEMA claude_batch CASCADE")
    world.sql("DROP TABLE answers")

    assert (world.run().n_sent, world.statuses()) == (0, {1: "succeeded"})


def test_f52_one_batch_is_never_written_down_for_two_chunks(world: World) -> None:
    """The ledger stops rather than believe it."""
    world.documents({n: f"war {n}" for n in range(8)})
    world.run()
    assert world.states() == [State.APPLIED, State.APPLIED]

    with closing(sqlite3.connect(str(world.state.ledger_url.database))) as connection, pytest.raises(
        sqlite3.IntegrityError, match="UNIQUE"
    ):  # fmt: skip
        connection.execute("UPDATE chunks SET batch_id = (SELECT max(batch_id) FROM chunks)")


def test_a_mark_waits_until_another_thread_has_written(world: World) -> None:
    """DuckDB refuses one of two threads that change a row at once, and a run failed whose answers had all landed."""
    pairing(world).accept()
    with ThreadPoolExecutor(1) as threads:
        with world.warehouse.writing(), world.warehouse.connect() as connection:
            connection.begin()
            connection.execute("UPDATE claude_batch.ledgers SET mark = 'of another run'")
            marked = threads.submit(pairing(world).mark)
            with pytest.raises(TimeoutError):
                marked.result(0.1)
            connection.commit()
        marked.result()

    ((mark,),) = world.sql("SELECT mark FROM claude_batch.ledgers")
    assert world.ledger.has_mark(mark)
