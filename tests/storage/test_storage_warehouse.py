import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from claude_batch_dagster.errors import (
    ConfigurationError,
    WarehouseCorruptError,
    WarehouseError,
    WarehouseLockedError,
)
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse, in_order

HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
connection.close()
print("free", flush=True)
sys.stdin.readline()
"""

LetGo = Callable[[], None]


@contextmanager
def held(database: str) -> Iterator[tuple[int, LetGo]]:
    """Let another process hold a database; give its id, and what makes it let go."""
    command = [sys.executable, "-c", HOLDER, database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        assert stdout.readline() == "held\n"

        def let_go() -> None:
            stdin.write("\n")
            stdin.flush()
            assert stdout.readline() == "free\n"

        yield process.pid, let_go
        process.kill()


def rows(warehouse: Warehouse) -> list[tuple[int]]:
    """Return what the table holds."""
    with warehouse.connect() as connection:
        return connection.execute("SELECT n FROM t ORDER BY n").fetchall()


def test_f62_an_interruption_in_the_midst_of_a_statement_is_one(warehouse: Warehouse) -> None:
    """DuckDB makes a plain error of what a signal raises; it comes out as an interruption, and the file is free."""
    one_thread = replace(warehouse, config={"threads": 1})  # the one that hears of signals, and it looks up from work
    takes_minutes = "SELECT sum(hash(a.range)) FROM range(20000000000) AS a"  # there is no shorter way to know
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), one_thread.connect() as connection:
        connection.execute(takes_minutes).fetchall()

    with held(warehouse.database) as (pid, _):
        assert pid > 0


def test_an_error_of_python_is_no_interruption(warehouse: Warehouse) -> None:
    """Only what DuckDB says of a signal is taken for one."""
    with pytest.raises(RuntimeError, match="something else"), warehouse.connect():
        raise RuntimeError("something else")


def test_f107_a_file_that_another_process_makes_meanwhile_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that see no file both make one: the first stays, with what was put into it, and no draft is left."""
    warehouse = Warehouse(str(tmp_path / "w.duckdb"))
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    monkeypatch.setattr(Path, "exists", lambda _: False)

    assert rows(warehouse) == [(1,)]
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


def test_f107_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks while it is made sees none, or a database: never a file without content."""
    seen: list[bool] = []
    connect = duckdb.connect

    def look_first(database: str, **options: object) -> duckdb.DuckDBPyConnection:
        seen.append((tmp_path / "w.duckdb").exists())
        return connect(database, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(duckdb, "connect", look_first)
    with Warehouse(str(tmp_path / "w.duckdb")).connect():
        pass

    assert seen == [False, True]


@pytest.mark.parametrize("database", ["", ":memory:"])
def test_a_database_in_memory_is_refused(database: str) -> None:
    """Answers that were paid for must outlive the run."""
    with pytest.raises(ConfigurationError, match=r"in memory.*Give DuckDBResource a file"):
        Warehouse(database)


def test_f85_a_transaction_happens_whole_or_not_at_all(warehouse: Warehouse) -> None:
    """What a body did before it raised is undone, and its own exception comes through."""
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")

    def fail() -> None:
        with warehouse.connect() as connection:
            connection.begin()
            connection.execute("INSERT INTO t VALUES (2)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert rows(warehouse) == [(1,)]


def test_the_file_is_free_after_an_exception(warehouse: Warehouse) -> None:
    """Another process can open the database at once."""
    with pytest.raises(KeyError), warehouse.connect():
        raise KeyError

    with held(warehouse.database) as (pid, _):
        assert pid > 0


def test_what_duckdb_says_is_translated_to_its_first_line(warehouse: Warehouse) -> None:
    """The rest of the message would repeat the statement."""
    with pytest.raises(WarehouseError) as caught, warehouse.connect() as connection:
        connection.execute("SELECT * FROM nowhere WHERE document = 'SECRET'")

    assert "nowhere" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_f120_an_error_about_a_value_does_not_repeat_it(warehouse: Warehouse) -> None:
    """The value may be a document."""
    with pytest.raises(WarehouseError, match=r"Conversion Error \(the value is not shown") as caught:
        rows_of(warehouse, "SELECT CAST('SECRET' AS INTEGER)")

    assert "SECRET" not in str(caught.value)


def rows_of(warehouse: Warehouse, sql: str) -> list[tuple[object, ...]]:
    """Run a query."""
    with warehouse.connect() as connection:
        return connection.execute(sql).fetchall()


def test_times_are_shown_in_utc(warehouse: Warehouse) -> None:
    """The zone of the machine does not matter."""
    with warehouse.connect() as connection:
        assert connection.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)


def test_settings_of_the_user_are_used(tmp_path: Path) -> None:
    """The configuration of the DuckDBResource is that of the connection."""
    with Warehouse(str(tmp_path / "w.duckdb"), {"threads": 1}).connect() as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchone() == (1,)


def test_f86_a_file_held_by_another_process_is_waited_for_and_then_named(warehouse: Warehouse) -> None:
    """The message says who holds it, and that nothing is lost."""
    with held(warehouse.database) as (pid, _), pytest.raises(WarehouseLockedError) as caught:
        rows(warehouse)

    assert f"(held by process {pid}). Nothing that was paid for is lost" in str(caught.value)
    assert caught.value.database == warehouse.database
    assert caught.value.waited_seconds >= 0.5


@pytest.mark.verify
def test_f86_who_is_waited_for_is_said_every_fifteen_seconds(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of a lock of less than a second; nobody wonders for two minutes what a run is at."""
    told: list[str] = []
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(
        "claude_batch_dagster.storage.duckdb.opening.time", SimpleNamespace(sleep=sleep, monotonic=lambda: now)
    )
    waiting = replace(warehouse, lock_timeout_seconds=17, on_wait=told.append)
    with held(warehouse.database) as (pid, _), pytest.raises(WarehouseLockedError):
        rows(waiting)

    assert [told[0].split("; ")[0], len(told)] == [
        f"The DuckDB file {warehouse.database!r} is held by process {pid}",
        2,
    ]
    assert [line.split("; ")[1] for line in told] == [f"waited {n} s, at most 17 s" for n in (1, 16)]


def test_f86_a_file_that_is_let_go_in_time_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short lock of a notebook is no trouble; pauses grow up to a limit."""
    warehouse = Warehouse(str(tmp_path / "w.duckdb"), lock_timeout_seconds=600)
    pauses: list[float] = []
    with held(warehouse.database) as (_, let_go):

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 9:
                let_go()

        monkeypatch.setattr("claude_batch_dagster.storage.duckdb.opening.time.sleep", sleep)
        with warehouse.connect() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

    assert len(pauses) == 9
    assert 0.025 <= pauses[0] <= 0.05
    assert 0.125 <= pauses[-1] <= 0.25


def test_f86_a_connection_of_this_process_with_other_settings_is_waited_for_too(warehouse: Warehouse) -> None:
    """DuckDB shares a file within a process only among equals."""
    connection = duckdb.connect(warehouse.database)
    try:
        with pytest.raises(WarehouseLockedError, match="another connection of this process"):
            rows(warehouse)
    finally:
        connection.close()


def test_threads_of_one_process_share_the_file(warehouse: Warehouse) -> None:
    """Connections set up alike do not shut each other out."""
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")

    def insert(n: int) -> None:
        with warehouse.connect() as connection:
            connection.execute("INSERT INTO t VALUES (?)", [n])

    threads = [threading.Thread(target=insert, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert rows(warehouse) == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"x"])
def test_f89_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """The message says how to get the answers back at no cost."""
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)

    with pytest.raises(WarehouseCorruptError, match="restored from the spool at no cost") as caught:
        rows(Warehouse(str(path)))
    assert (caught.value.database, path.read_bytes()) == (str(path), content)


def test_f89_a_damaged_database_is_told_from_a_locked_one(warehouse: Warehouse) -> None:
    """A checksum that does not fit stops the run at once."""
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS n FROM range(1000)")
    path = Path(warehouse.database)
    content = bytearray(path.read_bytes())
    content[4096:12288] = bytes(8192)
    path.write_bytes(content)

    with pytest.raises(WarehouseCorruptError):
        rows(warehouse)


def test_a_path_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A missing folder is neither a lock nor a corrupt file."""
    with pytest.raises(WarehouseError, match=r"cannot be opened.*Check the path and its permissions") as caught:
        rows(Warehouse(str(tmp_path / "no" / "such" / "folder" / "w.duckdb")))

    assert type(caught.value) is WarehouseError


def test_f89_a_file_of_a_newer_duckdb_is_no_corrupt_file(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs another DuckDB, and must not be moved away."""
    text = (
        "Serialization Error: Trying to read a database file with version number 99, but we can only read version 64."
    )

    def connect(*_: object, **__: object) -> duckdb.DuckDBPyConnection:
        raise duckdb.SerializationException(text)

    monkeypatch.setattr(duckdb, "connect", connect)
    with pytest.raises(WarehouseError, match=r"version number 99.*Open it with the DuckDB version") as caught:
        rows(warehouse)
    assert type(caught.value) is WarehouseError


@pytest.mark.parametrize(("config", "limit"), [({}, "228.8 MiB"), ({"memory_limit": "100MB"}, "95.3 MiB")])
def test_memory_is_bounded_as_the_user_says(tmp_path: Path, config: dict[str, str], limit: str) -> None:
    """Else as little is held as a table of any size needs."""
    with Warehouse(str(tmp_path / "warehouse.duckdb"), config).connect() as connection:
        found = connection.execute("SELECT current_setting('memory_limit')").fetchall()

    assert found == [(limit,)]


@pytest.mark.parametrize("external", [1, 2])
def test_threads_are_given_back_after_reading_in_order(tmp_path: Path, external: int) -> None:
    """Also if it fails; and never fewer than somebody outside of DuckDB has brought."""
    warehouse = Warehouse(str(tmp_path / "warehouse.duckdb"), {"threads": 3, "external_threads": external})
    query = "SELECT current_setting('threads')"

    with warehouse.connect() as connection:
        with suppress(KeyError), in_order(connection):
            meanwhile = connection.execute(query).fetchone()
            raise KeyError
        after = connection.execute(query).fetchone()

    assert (meanwhile, after) == ((external,), (3,))


def test_a_file_can_be_made_for_an_earlier_duckdb(tmp_path: Path) -> None:
    """The setting of DuckDB's own is passed on, from the first moment of the file."""
    path = str(tmp_path / "w.duckdb")
    with Warehouse(path, {"storage_compatibility_version": "v1.5.0"}).connect() as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 1 AS n")

    with Warehouse(path).connect() as connection:
        query = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        assert connection.execute(query).fetchall() == [("v1.5.0+",)]
