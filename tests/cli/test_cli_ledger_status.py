"""`LedgerStatus` tells programs what `claude-batch status` tells people."""

from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

from claude_batch_dagster.errors import ConfigurationError, LedgerError
from claude_batch_dagster.status import LedgerStatus, RequestCounts, Spending
from tests.cli.conftest import FOUR, Program
from tests.core.world import PIPELINE


def test_requests_are_counted_as_far_as_they_are(program: Program) -> None:
    """Sent while a batch runs, landed in the end; by run, too."""
    status = LedgerStatus(state_directory=str(program.world.state.path), clock=program.world.clock)
    program.world.documents(FOUR)

    chunk = program.dead_run()
    assert status.requests(PIPELINE) == RequestCounts(sent=4)
    assert status.requests(PIPELINE).in_flight == 4
    assert [one.batch_id for one in status.batches()] == [chunk.batch_id]
    assert status.spending(PIPELINE) == Spending()

    program.world.run()
    assert status.requests(PIPELINE) == RequestCounts(sent=4, ended=4, landed=4)
    assert status.requests(PIPELINE).in_flight == 0
    with pytest.raises(ConfigurationError, match=r"name the table with its schema: 'public\.answers'"):
        status.requests("answers")
    assert status.requests(PIPELINE, run_id=chunk.run_id).landed == 4
    assert status.requests(PIPELINE, run_id="another") == RequestCounts()
    assert status.batches() == []
    assert len(status.batches(everything=True)) == 1


def test_dollars_are_those_of_the_books(program: Program) -> None:
    """What the answers came to, at batch prices and at live ones."""
    status = LedgerStatus(state_directory=str(program.world.state.path))
    program.world.documents(FOUR)
    report = program.world.run()

    spending = status.spending(PIPELINE)

    assert spending.n_requests == 4
    assert status.spending(PIPELINE, run_id="another") == Spending()
    assert spending.cost_usd == pytest.approx(sum(part.cost_usd or 0 for part in report.partitions))
    assert spending.live_cost_usd == pytest.approx(2 * (spending.cost_usd or 0))
    assert [table.spent_usd for table in status.tables()] == [spending.cost_usd]


def test_programs_are_told_what_the_command_line_tells(program: Program) -> None:
    """The same figures, under the same names."""
    program.world.documents(FOUR)
    program.dead_run()
    status = LedgerStatus(state_directory=str(program.world.state.path), clock=program.world.clock)

    told = {"chunks": [asdict(one) for one in status.batches()], "pipelines": [asdict(one) for one in status.tables()]}

    assert orjson.loads(orjson.dumps(told)) == program.json()


def test_where_nothing_was_sent_everything_is_empty(tmp_path: Path) -> None:
    """And looking creates nothing."""
    status = LedgerStatus(state_directory=str(tmp_path))

    assert (status.batches(), status.tables()) == ([], [])
    assert (status.requests("public.answers"), status.spending("public.answers")) == (RequestCounts(), Spending())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A misspelled path would be taken for nothing sent."""
    with pytest.raises(ConfigurationError, match="there is no DuckDB file at"):
        LedgerStatus(database=str(tmp_path / "warehouse.duckdb")).tables()
    with pytest.raises(ConfigurationError, match="there is no state directory at"):
        LedgerStatus(state_directory=str(tmp_path / "state")).tables()


@pytest.mark.verify
def test_the_database_alone_says_where_its_ledger_is(program: Program) -> None:
    """Wherever the state directory is, as for the command line."""
    program.world.documents(FOUR)
    program.world.run()
    program.world.let_go()

    status = LedgerStatus(database=program.world.warehouse.database)

    assert status.requests(PIPELINE).landed == 4


def test_a_password_is_not_shown() -> None:
    """The URL of a ledger may hold one."""
    assert "hush" not in repr(LedgerStatus(ledger_url="postgresql://us:hush@host/db"))


def test_a_ledger_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Silence would be taken for nothing sent."""
    (tmp_path / "ledger.sqlite").write_text("no ledger")

    with pytest.raises(LedgerError):
        LedgerStatus(state_directory=str(tmp_path)).batches()
