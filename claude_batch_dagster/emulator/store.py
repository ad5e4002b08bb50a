"""Where accepted batches and live bills are kept: in memory, or in a folder that survives a kill."""

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from claude_batch_dagster.emulator.bill import Bill, Tokens
from claude_batch_dagster.emulator.lifecycle import Batch

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE, workspace TEXT, created_at INTEGER, seconds REAL,
  n_requests INTEGER, version TEXT, sha256 TEXT, n_retries INTEGER, cancel_at INTEGER, deleted INTEGER
);
CREATE TABLE IF NOT EXISTS requests (
  batch INTEGER, position INTEGER, custom_id TEXT, params_sha256 BLOB, kind TEXT,
  PRIMARY KEY (batch, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (at INTEGER, status INTEGER, batch INTEGER, n_retries INTEGER);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value REAL);
CREATE TABLE IF NOT EXISTS prefixes (
  digest BLOB, batch INTEGER, position INTEGER, at INTEGER, seconds INTEGER, PRIMARY KEY (digest, batch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bills (batch INTEGER, model TEXT, tokens TEXT);
CREATE TABLE IF NOT EXISTS calls (
  number INTEGER PRIMARY KEY, at INTEGER, workspace TEXT, params_sha256 BLOB, model TEXT, tokens TEXT
);
"""
_COLUMNS = "number, id, workspace, created_at, seconds, n_requests, version, sha256, n_retries, cancel_at, deleted"

# A killed process loses nothing that was committed; only the machine's own death could.
_PRAGMAS = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; BEGIN EXCLUSIVE; COMMIT;"
_PATIENCE_SECONDS = 1.0

RequestRow = tuple[int, str, bytes, str]
"""Position, custom_id, digest of the params, kind of result."""

CallRow = tuple[datetime, str, bytes, str, Tokens]
"""Of a live message that was answered: time, workspace, digest of the params, model, tokens."""

PrefixRow = tuple[bytes, int | None, int, datetime, int]
"""Digest of a prefix in the cache; who has used it: number of a batch, None for a call; position, time, seconds."""

_A_CALL = 0


class StateInUseError(RuntimeError):
    """The folder of the state belongs to another emulator that is still running."""


class Shelf:
    """Lines of accepted requests, one pile for each batch, in memory."""

    def __init__(self) -> None:
        self._piles: dict[str, Sequence[bytes]] = {}

    def put(self, batch_id: str, lines: Iterable[bytes]) -> None:
        """Keep the lines of a batch."""
        self._piles[batch_id] = list(lines)

    def lines(self, batch_id: str) -> Iterator[bytes]:
        """Return the lines of a batch as they were put."""
        return iter(self._piles.get(batch_id, ()))

    def drop(self, batch_id: str) -> None:
        """Forget the lines of a batch."""
        self._piles.pop(batch_id, None)


class FolderShelf(Shelf):
    """Lines of accepted requests, one file for each batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def put(self, batch_id: str, lines: Iterable[bytes]) -> None:
        """Write the lines of a batch; a kill leaves either no file that counts or a whole one."""
        with self._file(batch_id).open("wb", buffering=1 << 20) as file:
            for line in lines:
                file.write(line)
                file.write(b"\n")

    def lines(self, batch_id: str) -> Iterator[bytes]:
        """Read the lines of a batch as they were put."""
        with self._file(batch_id).open("rb", buffering=1 << 18) as file:
            yield from file

    def drop(self, batch_id: str) -> None:
        """Remove the lines of a batch."""
        self._file(batch_id).unlink(missing_ok=True)

    def _file(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.jsonl"


class Store:
    """Batches, digests of their requests, every attempt to create one, and live messages that were answered."""

    def __init__(self, state: Path | None) -> None:
        self._counts: dict[tuple[int, int], dict[str, int]] = {}
        self.shelf: Shelf = Shelf() if state is None else FolderShelf(state / "requests")
        self._db = sqlite3.connect(
            ":memory:" if state is None else state / "state.sqlite",
            check_same_thread=False,  # the emulator holds a lock around every use
            isolation_level=None,
            timeout=_PATIENCE_SECONDS,
        )
        weakref.finalize(self, self._db.close)  # nobody has to close an emulator in memory
        try:
            self._db.executescript(_PRAGMAS + _TABLES)
        except sqlite3.OperationalError as error:
            self._db.close()
            raise StateInUseError(f"{state} is in use by another emulator; stop it or choose another folder") from error

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()

    def add(self, batch: Batch, rows: Iterable[RequestRow], prefixes: Iterable[PrefixRow] = ()) -> None:
        """Keep a batch whose lines are on the shelf; when this returns it is there for good."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            f"INSERT INTO batches ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - constant columns
            (
                *(batch.number, batch.id, batch.workspace, _micros(batch.created_at), batch.seconds),
                *(batch.n_requests, batch.version, batch.sha256, batch.n_retries, None, 0),
            ),
        )
        self._db.executemany(
            f"INSERT INTO requests VALUES ({batch.number},?,?,?,?)",  # noqa: S608 - a number of ours
            rows,
        )
        self.add_prefixes(prefixes)
        self._db.execute("COMMIT")

    def cancel(self, batch: Batch, at: datetime) -> None:
        """Write down that a batch was asked to cancel."""
        self._db.execute(
            "UPDATE batches SET cancel_at = ? WHERE number = ? AND cancel_at IS NULL", (_micros(at), batch.number)
        )

    def delete(self, batch: Batch, bill: Bill) -> None:
        """Forget what a batch asked; that it was accepted stays known, and what it cost."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("UPDATE batches SET deleted = 1 WHERE number = ?", (batch.number,))
        rows = [(batch.number, model, _json(tokens)) for model, tokens in bill.items()]
        self._db.executemany("INSERT INTO bills VALUES (?,?,?)", rows)
        self._db.execute("COMMIT")
        self.shelf.drop(batch.id)

    def bill_of_deleted(self) -> list[tuple[str, Tokens]]:
        """Return what deleted batches cost, by model."""
        rows = self._db.execute("SELECT model, tokens FROM bills")
        return [(model, Tokens(**orjson.loads(tokens))) for model, tokens in rows]

    def add_call(self, call: CallRow, *, number: int) -> None:
        """Keep what answering a live message has cost; when this returns it is there for good."""
        at, workspace, digest, model, tokens = call
        row = (number, _micros(at), workspace, digest, model, _json(tokens))
        self._db.execute("INSERT INTO calls VALUES (?,?,?,?,?,?)", row)

    def calls(self) -> list[CallRow]:
        """Return every live message that was answered, oldest first."""
        rows = self._db.execute("SELECT at, workspace, params_sha256, model, tokens FROM calls ORDER BY at, number")
        return [(_moment(at), *known, Tokens(**orjson.loads(tokens))) for at, *known, tokens in rows]

    def next_call_number(self) -> int:
        """Return the number of the next live message."""
        return int(self._one("SELECT coalesce(max(number), 0) + 1 FROM calls"))

    def add_prefixes(self, rows: Iterable[PrefixRow]) -> None:
        """Write down who has written prefixes to the cache, or read them."""
        self._db.executemany(
            "INSERT OR REPLACE INTO prefixes VALUES (?,?,?,?,?)",
            [(digest, number or _A_CALL, position, _micros(at), s) for digest, number, position, at, s in rows],
        )

    def uses_of_prefix(self, digest: bytes) -> list[tuple[Batch | None, int, datetime, int]]:
        """Return who has used a prefix, latest first: a batch or a call, the position in it, when, for how long."""
        query = (
            f"SELECT position, at, p.seconds, p.batch, {_columns_of('b')} FROM prefixes AS p "  # noqa: S608 - constant
            "LEFT JOIN batches AS b ON b.number = p.batch WHERE digest = ? ORDER BY p.batch DESC"
        )
        return [
            (_batch(columns) if number != _A_CALL else None, position, _moment(at), seconds)
            for position, at, seconds, number, *columns in self._db.execute(query, (digest,))
        ]

    def next_number(self) -> int:
        """Return the number of the next batch."""
        return int(self._one("SELECT coalesce(max(number), 0) + 1 FROM batches"))

    def batch(self, batch_id: str) -> Batch | None:
        """Return a batch by its id, deleted or not."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM batches WHERE id = ?", (batch_id,))  # noqa: S608
        return next((_batch(row) for row in rows), None)

    def batches(self) -> list[Batch]:
        """Return every batch ever accepted, oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM batches ORDER BY number")  # noqa: S608
        return [_batch(row) for row in rows]

    def counts(self, batch: Batch, n_done: int) -> dict[str, int]:
        """Count the outcomes of the first `n_done` requests by kind."""
        at = (batch.number, n_done)
        if at not in self._counts:
            query = "SELECT kind, count(*) FROM requests WHERE batch = ? AND position < ? GROUP BY kind"
            self._counts[at] = dict(self._db.execute(query, at))
        return self._counts[at]

    def requests(self, batch: Batch) -> list[tuple[int, str, str, str]]:
        """Return position, custom_id, digest of the params and kind of every request of a batch."""
        return self._db.execute(
            "SELECT position, custom_id, lower(hex(params_sha256)), kind FROM requests"
            " WHERE batch = ? ORDER BY position",
            (batch.number,),
        ).fetchall()

    def add_post(self, *, at: datetime, status: int, batch: int | None, n_retries: int | None) -> None:
        """Write down that somebody tried to create a batch."""
        self._db.execute("INSERT INTO posts VALUES (?,?,?,?)", (_micros(at), status, batch, n_retries))

    def n_posts(self, *, refused: bool = False) -> int:
        """Count the attempts to create a batch, or those that came to nothing."""
        return int(self._one(f"SELECT count(*) FROM posts {'WHERE batch IS NULL' if refused else ''}"))  # noqa: S608

    def set(self, name: str, value: float) -> None:
        """Keep a setting."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?,?)", (name, value))

    def get(self, name: str) -> float | None:
        """Return a setting that was kept."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else float(row[0])

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]


def _columns_of(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in _COLUMNS.split(", "))


def _json(tokens: Tokens) -> str:
    return orjson.dumps(tokens).decode()


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _moment(micros: int) -> datetime:
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _batch(row: Sequence[Any]) -> Batch:
    (
        number,
        batch_id,
        workspace,
        created_at,
        seconds,
        n_requests,
        version,
        sha256,
        n_retries,
        cancel_at,
        deleted,
    ) = row
    return Batch(
        number=number,
        id=batch_id,
        workspace=workspace,
        created_at=_moment(created_at),
        seconds=seconds,
        n_requests=n_requests,
        version=version,
        sha256=sha256,
        n_retries=n_retries,
        cancel_at=None if cancel_at is None else _moment(cancel_at),
        deleted=bool(deleted),
    )
