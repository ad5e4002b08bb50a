"""The canary can fail: every kind of leak, planted on purpose, is found."""

import gzip
import logging
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_batch_dagster.errors import ApiRefusedError, ConfigurationError
from tests.canary import DOCUMENT, KEY, Canary, marked
from tests.core.world import World

Plant = Callable[[Path, str], object]


@pytest.fixture
def canary() -> Iterator[Canary]:
    """Watch as in every test, but leave the judging to the test: here leaks are planted."""
    with Canary() as canary:
        yield canary


def cell(path: Path, kind: str, value: object) -> None:
    """Put a value into a SQLite database of its own."""
    with closing(sqlite3.connect(path / "ledger.sqlite")) as connection, connection:
        connection.execute(f'CREATE TABLE "a ""table""" (id INTEGER, cell {kind})')
        connection.execute('INSERT INTO "a ""table""" VALUES (1, ?)', [value])


def cut_cell(path: Path, sign: str) -> None:
    """Put a text into a database where the end of a page cuts the canary in two."""
    database, n = path / "ledger.sqlite", 3_500
    while not database.exists() or sign.encode() in database.read_bytes():
        database.unlink(missing_ok=True)
        cell(path, "TEXT", "x" * n + sign + "y" * (16_000 - n))
        n += 5


def written_ahead(path: Path, sign: str) -> None:
    """Leave a text in the log of a database, where it stays while somebody has it open."""
    connection = sqlite3.connect(path / "ledger.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    with connection:
        connection.execute("CREATE TABLE t AS SELECT ? AS cell", [sign])
    KEPT_OPEN.append(connection)


KEPT_OPEN: list[sqlite3.Connection] = []

FILES: dict[str, Plant] = {
    "plain-file": lambda path, sign: (path / "notes.txt").write_text(f"... {sign} ..."),
    "spool": lambda path, sign: (path / "state" / "spool" / "msgbatch_1.jsonl").write_text(sign),
    "text-cell": lambda path, sign: cell(path, "TEXT", f"... {sign} ..."),
    "blob-cell": lambda path, sign: cell(path, "BLOB", sign.encode()),
    "zlib-cell": lambda path, sign: cell(path, "BLOB", zlib.compress(f'{{"prompt": "{sign}"}}'.encode())),
    "gzip-cell": lambda path, sign: cell(path, "BLOB", gzip.compress(f"... {sign} ...".encode())),
    "cell-over-two-pages": cut_cell,
    "write-ahead-log": written_ahead,
}


@pytest.mark.parametrize("sign", [KEY, DOCUMENT])
@pytest.mark.parametrize("plant", FILES.values(), ids=FILES)
def test_f120_a_canary_in_a_file_is_found(canary: Canary, tmp_path: Path, plant: Plant, sign: str) -> None:
    """Wherever a file lies and however it is packed."""
    (tmp_path / "state" / "spool").mkdir(parents=True)
    (tmp_path / "empty").touch()
    assert canary.leaks(tmp_path) == []

    plant(tmp_path, sign)

    assert {leak.split(" in ")[0] for leak in canary.leaks(tmp_path)} == {sign}
    while KEPT_OPEN:
        KEPT_OPEN.pop().close()


@pytest.mark.parametrize("name", ["warehouse.duckdb", "warehouse.duckdb.wal", "documents.jsonl", "outbox/1.jsonl"])
def test_f120_documents_have_their_places_and_the_key_has_none(canary: Canary, tmp_path: Path, name: str) -> None:
    """Tables, inputs and the outbox may hold documents; no file may hold the key."""
    (tmp_path / "outbox").mkdir()

    (tmp_path / name).write_text(DOCUMENT)
    assert canary.leaks(tmp_path) == []
    (tmp_path / name).write_text(KEY)
    assert canary.leaks(tmp_path) == [f"{KEY} in {name}"]


def fail() -> None:
    """Raise an error that holds the key, as the SDK does."""
    raise ValueError(KEY)


def log_what_was_caught(level: int) -> None:
    """Log an error that holds the key."""
    try:
        fail()
    except ValueError:
        logging.getLogger("somebody").log(level, "caught", exc_info=True)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_f120_a_canary_in_a_log_is_found(canary: Canary, level: int) -> None:
    """At whatever level, also in the traceback of what was caught."""
    logging.getLogger("httpx2").log(level, "Request options: %s", {"text": marked("a tax")})
    log_what_was_caught(level)

    assert canary.leaks() == [f"{DOCUMENT} in the log of httpx2", f"{KEY} in the log of somebody"]


def test_f120_a_canary_that_was_printed_is_found(canary: Canary) -> None:
    """Standard output and standard error are handed over by pytest."""
    assert canary.leaks(printed=f"Captured stderr\n{KEY}") == [f"{KEY} in what was printed"]


def raised_as_argument() -> None:
    """Hold the key in an argument."""
    raise ConfigurationError("wrong", {"key": KEY})


def raised_as_attribute() -> None:
    """Hold the key in an attribute, set after the error was made."""
    error = ApiRefusedError("no", status=400, kind=None)
    error.message = KEY
    raise error


def raised_as_note() -> None:
    """Hold the key in a note."""
    error = ConfigurationError("wrong")
    error.add_note(KEY)
    raise error


def raised_as_cause() -> None:
    """Hold the key in the cause."""
    raise ConfigurationError("wrong") from ValueError(KEY)


def raised_as_context() -> None:
    """Hold the key in what was being handled."""
    try:
        fail()
    except ValueError:
        raise ConfigurationError("wrong")  # noqa: B904  (the leak that is planted)


RAISES = [raised_as_argument, raised_as_attribute, raised_as_note, raised_as_cause, raised_as_context]


@pytest.mark.parametrize("leak", RAISES, ids=lambda leak: leak.__name__)
def test_f120_a_canary_in_an_error_is_found(canary: Canary, leak: Callable[[], None]) -> None:
    """Though nobody shows the error."""
    with pytest.raises((ConfigurationError, ApiRefusedError)):
        leak()

    assert [found.split(" in ")[0] for found in canary.leaks()] == [KEY]


def raise_without_cause() -> None:
    """Hold the key in an error that is not shown."""
    try:
        fail()
    except ValueError:
        raise ConfigurationError("wrong") from None


def test_f120_a_cause_that_nobody_is_shown_is_no_leak(canary: Canary) -> None:
    """`from None` is how the client keeps the SDK's errors, and the requests in them, to itself."""
    with pytest.raises(ConfigurationError):
        raise_without_cause()

    assert canary.leaks() == []


def test_the_documents_of_the_tests_carry_the_canary(world: World) -> None:
    """Once each, behind more words than the emulator quotes; what asks nothing still asks nothing."""
    world.documents({1: "war", 2: marked("war"), 3: None, 4: " "})

    texts = dict(world.sql("SELECT id, text FROM docs"))
    assert texts == {1: marked("war"), 2: marked("war"), 3: None, 4: " "}
    assert len(texts[1].partition(DOCUMENT)[0].split()) > 24


LEAKING_TESTS = """
import logging
import sys
from claude_batch_dagster.errors import LedgerError

def test_file(tmp_path):
    (tmp_path / "left").write_text("canary-of-the-" + "key")

def test_stdout():
    print("canary-of-the-" + "document")

def test_stderr():
    print("canary-of-the-" + "document", file=sys.stderr)

def test_log():
    logging.getLogger("x").debug("canary-of-the-%s", "key")

def test_error():
    LedgerError("canary-of-the-" + "key")

def test_nothing():
    pass
"""


@pytest.mark.verify
def test_f120_any_test_that_leaks_fails(tmp_path: Path) -> None:
    """The search is on in every test, whether it asks for it or not."""
    root = Path(__file__).parents[2]
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(root)!r})\nfrom tests.conftest import *\n"
    )
    (tmp_path / "test_leaks.py").write_text(LEAKING_TESTS)
    options = ["-q", "-rE", "-n", "0", "-p", "no:cacheprovider", "-c", root / "pyproject.toml", "--rootdir", tmp_path]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options), "--basetemp", str(tmp_path / "base"), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    failed = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("ERROR ")]
    assert failed == ["test_file", "test_stdout", "test_stderr", "test_log", "test_error"], done.stdout
    assert "6 passed, 5 errors" in done.stdout
