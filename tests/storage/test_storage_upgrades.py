"""Ledgers of earlier versions: kept as text, upgraded by the code of today, with batches on their way."""

import gc
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage import migrations
from claude_batch_dagster.storage.ledger import schema
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.world import PIPELINE, World
from tests.storage.golden import contents, make

DEFAULT = re.compile(r"DEFAULT \((\d+)\)")
"""As some versions of what writes the tables say `DEFAULT 0`."""

GOLDEN = Path(make.__file__).parent
SCRIPTS = Path(migrations.__file__).parent
REVISIONS = sorted(file.stem for file in GOLDEN.glob("*.sql"))

Load = Callable[[str], Path]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that makes a file of a golden ledger."""

    def load(revision: str) -> Path:
        path = tmp_path / f"golden-{revision}.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript((GOLDEN / f"{revision}.sql").read_text(encoding="utf-8"))
        return path

    return load


@pytest.fixture
def opened() -> Iterator[Callable[[Path], SqlLedger]]:
    """Return a function that opens a ledger as a run does."""
    ledgers: list[SqlLedger] = []

    def opened(path: Path) -> SqlLedger:
        ledgers.append(SqlLedger(f"sqlite:///{path}"))
        return ledgers[-1]

    yield opened
    for ledger in ledgers:
        ledger.dispose()


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return everything in a ledger: rows of its tables, column by column."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')] for table in tables}  # noqa: S608


def structure(path: Path) -> list[str]:
    """Return everything in a ledger, its tables and indexes included, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# --- the migrations --------------------------------------------------------------------------------


def steps() -> list[Any]:
    """Return the migrations, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return list(ScriptDirectory.from_config(config).walk_revisions())[::-1]


def test_f113_migrations_follow_one_another() -> None:
    """One line without branches, numbered without gaps, each in a file that begins with its number."""
    found = steps()

    assert [step.revision for step in found] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    assert [step.down_revision for step in found] == [None, *(step.revision for step in found[:-1])]
    assert all(Path(step.path).name.startswith(f"{step.revision}_") for step in found)


def test_f113_every_revision_that_people_have_has_a_golden_ledger() -> None:
    """
    A new migration needs the ledger it is meant for, as text.

    Make it with `python -m tests.storage.golden.make <revision before the new one>`.
    """
    assert [step.revision for step in steps()[:-1]] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_golden_ledger_is_what_its_revision_leaves(revision: str) -> None:
    """Made anew today it is the same, so neither its tables nor the question of its rows have changed since."""
    golden = (GOLDEN / f"{revision}.sql").read_text(encoding="utf-8")

    assert DEFAULT.sub(r"DEFAULT \1", make.dump(revision)) == DEFAULT.sub(r"DEFAULT \1", golden)


# --- upgrades --------------------------------------------------------------------------------------

COLUMNS = {
    "partition_keys": "partition_key",
    "questions": "request_hash",
    "attempts": "attempt",
    "outcomes": "verdict",
    "keys": "key",
    "custom_ids": "custom_id",
}
"""Columns in which requests are kept today, each with what an older ledger calls it."""


def row_of(row: dict[str, Any]) -> list[Any]:
    """Return of a row of an older ledger what is kept."""
    return [row[name] for name in COLUMNS.values()]


def rows_in(lines: list[dict[str, Any]]) -> dict[tuple[str, int], list[Any]]:
    """Unpack the requests of today's ledger, by chunk and ordinal."""
    found: dict[tuple[str, int], list[Any]] = {}
    for line in lines:
        packed = [line[name] for name in COLUMNS]
        n = len(orjson.loads(zlib.decompress(line["custom_ids"])))
        columns = [[None] * n if one is None else orjson.loads(zlib.decompress(one)) for one in packed]
        found |= {(line["chunk_id"], place): list(cells) for place, cells in enumerate(zip(*columns, strict=True))}
    return found


def requests_in(old: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, int], list[Any]]:
    """Return the requests of an older ledger, by chunk and ordinal."""
    if "requests" in old:
        return rows_in(old["requests"])
    return {(row["chunk_id"], row["ordinal"]): row_of(row) for row in old["rows"]}


@pytest.mark.parametrize("revision", REVISIONS)
def test_f113_an_old_ledger_is_upgraded_with_all_that_is_in_it(
    load: Load, opened: Callable[[Path], SqlLedger], revision: str
) -> None:
    """Every cell is as it was, the tables are those of today, and every chunk can be read."""
    path = load(revision)
    before = content(path)

    ledger = opened(path)

    after = content(path)
    assert after.pop("alembic_version") == [{"version_num": steps()[-1].revision}]
    assert rows_in(after.pop("requests")) == requests_in(before)
    for table, rows in after.items():
        old_rows = before.get(table, [])
        assert [{name: row[name] for name in old} for row, old in zip(rows, old_rows, strict=True)] == old_rows
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    assert {str(chunk.state): chunk.chunk_id for chunk in ledger.chunks(PIPELINE, State)} == contents.chunk_ids()


@pytest.mark.parametrize("revision", REVISIONS[1:])  # the first did not know what a batch can cost
def test_money_that_may_still_be_billed_is_reserved_from_then_on(
    load: Load, opened: Callable[[Path], SqlLedger], revision: str
) -> None:
    """What an older version has sent, and nobody has seen the end of, counts in a budget of today."""
    ledger = opened(load(revision))

    reserved = {str(chunk.state): chunk.reserved_usd for chunk in ledger.chunks(PIPELINE, State)}

    assert {state for state, usd in reserved.items() if usd} == reserved.keys() - {"applied", "refused"}


class BreakError(Exception):
    """The upgrade breaks off here."""


@contextmanager
def breaking_at(n: int) -> Iterator[None]:
    """Break off at the n-th statement that changes something, counted from 0."""
    left = iter(range(n))

    def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if re.match(r"\s*(ALTER|CREATE|DROP|INSERT|UPDATE|DELETE)", statement) and next(left, None) is None:
            raise BreakError

    sa.event.listen(sa.Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", look)


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # what breaks off in mid-opening leaves one
@pytest.mark.parametrize("revision", REVISIONS)
def test_f113_an_upgrade_that_breaks_off_leaves_the_old_ledger(
    load: Load, opened: Callable[[Path], SqlLedger], revision: str
) -> None:
    """Whichever statement it breaks off at: nothing of the upgrade stays, and the next one goes through."""
    path = load(revision)
    before = structure(path)

    for n in count():
        with breaking_at(n), suppress(BreakError):
            opened(path)
            break
        assert structure(path) == before
    gc.collect()

    assert n > len(steps()) - int(revision)
    assert structure(path) != before


@pytest.mark.parametrize("revision", REVISIONS)
def test_f25_f113_an_older_package_refuses_a_newer_ledger_and_leaves_it_alone(load: Load, revision: str) -> None:
    """It might take for free what is on its way."""
    path = load(revision)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = structure(path)

    with pytest.raises(LedgerError, match=r"newer version .*revision 9999.*nothing was sent or changed"):
        SqlLedger(f"sqlite:///{path}")
    assert structure(path) == before


# --- batches on their way --------------------------------------------------------------------------

AT_THE_API = ["applied", "spooled", "ended", "accepted", "adopted", "held", "ambiguous", "released"]
"""States whose batch the API has, in this story; those that have ended come first."""

FREE = ["sending", "refused", "unseen"]
"""States whose rows nobody has been paid for."""


@pytest.fixture
def inherited(world: World, client: anthropic.Anthropic, load: Load, opened: Callable[[Path], SqlLedger]) -> Any:
    """Return a function that gives the world an old ledger, whose batches the API has."""

    def inherit(revision: str) -> None:
        path = load(revision)
        with closing(sqlite3.connect(path)) as connection, connection:
            for state in AT_THE_API:
                if state == "accepted":
                    world.emulator.clock.advance(minutes=10)
                chunk = contents.rows()[state]
                requests: Any = [
                    {"custom_id": row.custom_id, "params": orjson.loads(row.request.params)} for row in chunk
                ]
                batch = client.messages.batches.create(requests=requests)
                connection.execute(
                    "UPDATE chunks SET batch_id = ? WHERE state = ? AND batch_id IS NOT NULL", [batch.id, state]
                )
        world.ledger = opened(path)
        documents = [row for chunk in contents.rows().values() for row in chunk]
        world.sql(
            "CREATE TABLE docs AS SELECT unnest(?::INTEGER[]) AS id, unnest(?::VARCHAR[]) AS text, 'p' AS part",
            [[row.id for row in documents], [row.text for row in documents]],
        )

    return inherit


@pytest.mark.verify
@pytest.mark.parametrize("revision", REVISIONS)
def test_f113_batches_of_an_older_version_come_home_and_are_not_paid_again(
    world: World, inherited: Callable[[str], None], revision: str
) -> None:
    """A run of today finds, adopts and lands what the older one has sent, and sends only what nobody was paid for."""
    inherited(revision)

    report = world.run(prompt=contents.PROMPT, base=contents.BASE)

    lost = {row.id for row in contents.rows()["lost"]}
    asked = {row.id for state in FREE for row in contents.rows()[state]}
    statuses = world.statuses()
    assert (report.failure, report.n_sent) == (None, len(asked))
    assert statuses == {n: "missing" if n in lost else "succeeded" for n in range(len(statuses))}
    assert world.n_billed == [1] * (len(statuses) - len(lost))
    assert world.run(prompt=contents.PROMPT, base=contents.BASE).n_sent == 0
