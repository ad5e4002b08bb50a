"""The stores of a deployment: where they are, and what is created of them."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from claude_batch_dagster.engine import warehouse_of
from claude_batch_dagster.errors import ConfigurationError, LedgerError
from claude_batch_dagster.storage.ledger.identity import home_of
from claude_batch_dagster.storage.ledger.opening import BUSY_SECONDS
from claude_batch_dagster.stores import Stores


@pytest.mark.parametrize(
    "database",
    [
        "md:answers",
        "https://example.com/answers.duckdb",
        "ducklake:metadata.ducklake",
        "motherduck:answers",
        "postgres:dbname=x",
        "s3://b/a.db",
    ],
)
def test_a_database_that_is_no_file_needs_a_state_directory(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no folder beside it, and the ledger must not lie where nobody would look for it."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match=r"is no file, so there is no folder beside it: set state_directory\."):
        Stores(database=database).open_state_directory()

    assert list(tmp_path.iterdir()) == []
    assert Stores(database=database, state_directory="state").open_state_directory().path == tmp_path / "state"


def test_the_home_of_the_user_is_what_a_shell_would_make_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all three paths alike; no folder is called `~`."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    stores = Stores(database="~/w.duckdb", state_directory="~/state", ledger_url="sqlite:///~/ledger.db")

    with warehouse_of(stores).connect(), stores.ledger():
        stores.open_state_directory()

    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in (tmp_path / "home").iterdir()} >= {"w.duckdb", "state", "ledger.db"}


def test_a_folder_that_is_called_so_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that took `~` for a name has left a ledger there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~" / "state").mkdir(parents=True)

    assert Stores(state_directory="~/state").folder.absolute() == tmp_path / "~" / "state"


def test_the_home_of_a_ledger_on_a_server_names_nobody() -> None:
    """Neither user nor password, wherever a URL has them."""
    engine: Any = SimpleNamespace(url=sa.make_url("postgresql+psycopg://alice:secret@host:5/books?password=secret"))

    assert home_of(engine) == "postgresql+psycopg://host:5/books"


def test_git_takes_nothing_of_the_state_directory(tmp_path: Path) -> None:
    """It holds answers, and what was paid for; what somebody has said there himself stays."""
    stores = Stores(state_directory=str(tmp_path / "state"))
    ignore = stores.open_state_directory().path / ".gitignore"

    assert ignore.read_text() == "*\n"
    ignore.write_text("locks\n")
    stores.open_state_directory()
    assert ignore.read_text() == "locks\n"


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
