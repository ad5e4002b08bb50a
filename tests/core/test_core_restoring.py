"""Answers are brought back to a table that lost them: what comes back is held against what the ledger remembers."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch_dagster.errors import ApiResponseError
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from tests.core.world import World

N = 4
ALL = {number: f"war {number}" for number in range(N)}
GOOD = dict.fromkeys(ALL, "succeeded")
CUT = "results_cut_between_lines_no_length"


@pytest.fixture
def emptied(world: World) -> World:
    """Return a world whose answers are paid for, and whose table and results are gone."""
    world.documents(ALL)
    world.run()
    drop_table(world)
    the_file(world).unlink()
    return world


def drop_table(world: World) -> None:
    """Delete the table and what remembers the landings."""
    world.sql("DROP SCHEMA claude_batch CASCADE")
    world.sql("DROP TABLE answers")


def the_file(world: World) -> Path:
    """Return the one file of the spool."""
    [path] = world.state.spool.iterdir()
    return path


def test_f69_f90_answers_whose_download_was_cut_come_back_all_the_same(emptied: World) -> None:
    """A download that ends early at a line's end, without a word, is repeated on the spot."""
    emptied.emulator.faults.add(CUT, times=1)

    report = emptied.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert emptied.statuses() == GOOD
    assert emptied.n_billed == [1] * N


def test_f69_f90_answers_that_the_api_holds_back_come_with_a_later_run(emptied: World) -> None:
    """What is there lands; for the rest the run fails, and no row is called missing that came back once."""
    emptied.emulator.faults.add(CUT)

    failed = emptied.run()
    landed = emptied.statuses()
    emptied.emulator.faults.clear()
    report = emptied.run()

    assert isinstance(failed.failure, ApiResponseError)
    assert failed.unfinished == frozenset({"p"})
    assert landed.items() < GOOD.items()
    assert landed
    assert (report.n_sent, report.failure) == (0, None)
    assert emptied.statuses() == GOOD
    assert emptied.n_billed == [1] * N


@pytest.mark.verify
@pytest.mark.parametrize("n_kept", [0, 1, N - 1])
def test_f90_a_file_of_the_spool_that_lacks_rows_is_completed(world: World, n_kept: int) -> None:
    """Somebody cut it, or the disk did: the ledger knows what was in it, and the API has it for 29 days."""
    world.documents(ALL)
    world.run()
    path = the_file(world)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:n_kept]))
    drop_table(world)

    report = world.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert world.statuses() == GOOD
    assert len(path.read_bytes().splitlines()) == N


@pytest.mark.verify
def test_f66_f90_what_a_cut_file_lacks_is_gone_when_the_api_has_it_no_more(world: World) -> None:
    """The rest of it lands, and stays on disk; the others are told as paid for and lost."""
    world.documents(ALL)
    world.run()
    path = the_file(world)
    kept = path.read_bytes().splitlines(keepends=True)[:1]
    path.write_bytes(b"".join(kept))
    drop_table(world)
    world.clock.sleep(30 * 86_400)

    report = world.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert sorted(world.statuses().values()) == ["missing", "missing", "missing", "succeeded"]
    assert "no longer has the results" in world.rows("error, status")[0 if world.statuses()[0] == "missing" else 1][0]
    assert path.read_bytes() == kept[0]


@pytest.mark.verify
def test_what_another_machine_has_is_not_lost(world: World, tmp_path: Path) -> None:
    """The API has forgotten a batch whose results lie on another machine: the row says where, and waits for them."""
    world.documents(ALL)
    world.run()
    world.lose_answers()
    world.delete_all()
    elsewhere = replace(world, state=StateDirectory.open(tmp_path / "elsewhere"))

    report = elsewhere.run()

    assert (report.n_sent, set(elsewhere.statuses().values())) == (0, {"missing"})
    [error] = {error for (error,) in elsewhere.rows("error")}
    assert f"They were kept in {world.state.spool} on {socket.gethostname()}: materialize there" in error

    shutil.copy(the_file(world), elsewhere.state.spool)
    assert (elsewhere.run().n_sent, elsewhere.statuses()) == (0, GOOD)
    assert world.n_billed == [1] * N
