"""The stores of a deployment: where they are, and what is created of them."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from claude_batch_dagster.errors import ConfigurationError, LedgerError
from claude_batch_dagster.storage.ledger.opening import BUSY_SECONDS
from claude_batch_dagster.stores import Stores


@pytest.mark.parametrize("database", ["md:answers", "https://example.com/answers.duckdb"])
def test_a_database_that_is_no_file_needs_a_state_directory(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no folder beside it, and the ledger must not lie where nobody would look for it."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match=r"is no file, so there is no folder beside it: set state_directory\."):
        Stores(database=database).open_state_directory()

    assert list(tmp_path.iterdir()) == []
    assert Stores(database=database, state_directory="state").open_state_directory().path == tmp_path / "state"


def test_the_state_directory_stays_where_it_is_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it lies beside the database, however that is named."""
    monkeypatch.chdir(tmp_path)

    assert Stores(database="warehouse.duckdb").open_state_directory().path == tmp_path / ".claude_batch"


def test_a_look_in_a_hurry_does_not_wait_for_long(tmp_path: Path) -> None:
    """A ledger that somebody writes to is waited for as long as was said, not as long as a run would."""
    stores = Stores(state_directory=str(tmp_path), busy_seconds=0.1)
    with stores.ledger():
        pass
    began = time.monotonic()

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError), stores.ledger() as ledger:
            ledger.pipelines()

    assert time.monotonic() - began < BUSY_SECONDS / 2
