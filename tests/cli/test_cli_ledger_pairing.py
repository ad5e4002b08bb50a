"""Accepting a ledger in place of one that is lost, with `claude-batch reconcile --accept-new-ledger`."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from claude_batch_dagster.errors import StrangeLedgerError
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.cli.conftest import FOUR, Program
from tests.core.world import World

ACCEPT = ("reconcile", "--accept-new-ledger")


@pytest.fixture
def bereft(program: Program) -> Iterator[World]:
    """Return the world after its ledger was lost: the next run makes a new one, and refuses to send."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.ledger.dispose()
    for path in program.world.state.path.glob("ledger.sqlite*"):
        path.unlink()
    world = replace(program.world, ledger=SqlLedger(program.world.state.ledger_url))
    with pytest.raises(StrangeLedgerError):
        world.run()
    yield world
    world.ledger.dispose()


def test_f26_a_new_ledger_is_accepted_after_a_question(program: Program, bereft: World) -> None:
    """Then runs send again; the second time there is nothing to accept."""
    told = program(*ACCEPT, answer="y\n")
    again = program(*ACCEPT)

    assert "Table main.answers: the table was filled by ledger" in told
    assert "they are paid for twice" in told
    assert f"Table main.answers belongs to ledger {bereft.ledger.ledger_id} now." in told
    assert again == "This ledger is the right one. Nothing to do.\n"
    bereft.documents({**FOUR, 9: "a war that is new"})
    bereft.run()
    assert bereft.statuses()[9] == "succeeded"


@pytest.mark.verify
def test_f26_whoever_says_no_changes_nothing(program: Program, bereft: World) -> None:
    """Exit code 1, and runs refuse to send as before."""
    assert "Take this ledger for the right one" in program(*ACCEPT, answer="n\n", code=1)

    with pytest.raises(StrangeLedgerError):
        bereft.run()


@pytest.mark.verify
def test_f26_one_table_can_be_chosen_and_no_question_asked(program: Program, bereft: World) -> None:
    """By name, with --yes; a name that is not there is a slip."""
    assert "no ledger ever filled table 'main.other' here. Filled were: main.answers" in program(
        *ACCEPT, "--pipeline", "main.other", "--yes", code=1
    )
    assert "belongs to ledger" in program(*ACCEPT, "--pipeline", "main.answers", "--yes")
    bereft.run()


def test_f27_a_copy_that_is_accepted_becomes_a_ledger_of_its_own(program: Program) -> None:
    """It gets a new id, so that the original is the stranger from then on."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.ledger.dispose()
    copy = program.world.state.path.with_name("copy")
    shutil.copytree(program.world.state.path, copy)
    here = ("--state-directory", str(copy))

    told = program(*here, *ACCEPT, "--yes")

    assert f"this ledger is a copy: the original is at {program.world.state.path}" in told
    assert program(*here, *ACCEPT) == "This ledger is the right one. Nothing to do.\n"
    with pytest.raises(StrangeLedgerError):
        program.world.run()


def test_the_database_must_be_named_and_there(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where the tables remember their ledger; none is created."""
    monkeypatch.delenv("CLAUDE_BATCH_DATABASE")

    assert "name the DuckDB file with --database" in program(*ACCEPT, code=1)
    assert "there is no DuckDB file at 'none.duckdb'" in program("--database", "none.duckdb", *ACCEPT, code=1)
    assert program.world.n_runs == 0
