"""A ledger that is only looked at, below the commands that look."""

import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.ledger.view import LedgerView
from tests.cli.conftest import Program


def test_nothing_can_be_written_through_it(program: Program) -> None:
    """Whatever is called by mistake, the database refuses."""
    program.world.documents({1: "war"})
    chunk = program.dead_run()
    view = LedgerView(program.world.state.ledger_url)

    with pytest.raises(LedgerError, match="readonly"):
        view.move(chunk.chunk_id, to=State.ENDED)
    with pytest.raises(LedgerError, match="readonly"):
        view.note(chunk.chunk_id, note="x")

    view.dispose()
    assert program.chunk == chunk


def test_f25_a_ledger_that_goes_away_is_not_made_anew(program: Program) -> None:
    """Not even when it is deleted between two looks."""
    program.world.ledger.dispose()
    view = LedgerView(program.world.state.ledger_url)
    view.dispose()
    ledger = program.world.state.path / "ledger.sqlite"
    ledger.unlink()

    with pytest.raises(LedgerError):
        view.sightings()

    view.dispose()
    assert not ledger.exists()
