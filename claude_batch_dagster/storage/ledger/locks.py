"""The locks that all runs with one ledger share: of the Postgres server that keeps it, or beside its SQLite file."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_DIRECTORY, FileLocks
from claude_batch_dagster.storage.files.state_directory import LEDGER, StateDirectory
from claude_batch_dagster.storage.ledger.postgres import begun, setting

PAUSE_SECONDS = 0.25
"""Between two tries; waiting inside the server could not be interrupted."""


@dataclass(frozen=True)
class AdvisoryLocks:
    """
    Postgres' advisory locks, each of a transaction of its own: only its end, or that of the session, frees one.

    A lock of a session would stay behind at a pooler that hands sessions on. Should the network or the server cut a
    session off, its holder does not notice. That is why an intent claims its rows in one transaction
    (`reservations`): what another run has claimed by then is not sent.
    """

    engine: sa.Engine
    patience_seconds: float = 0.0
    """How long a server that has worked before may restart."""
    _mine: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)
    """The session in which this thread holds locks."""

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """
        Hold the lock called `name`, waiting for whoever has it.

        Locks that a thread takes meanwhile are in the same transaction, and are let go with this one: a pooler has few
        sessions to lend, and a landing takes ten locks.
        """
        wanted = sa.select(sa.func.pg_try_advisory_xact_lock(key_of(name)))
        if outer := getattr(self._mine, "session", None):
            while not _try(outer, wanted):
                time.sleep(PAUSE_SECONDS)
            yield
            return
        while (session := self._held(wanted)) is None:
            time.sleep(PAUSE_SECONDS)
        self._mine.session = session
        try:
            yield
        finally:
            self._mine.session = None
            _end(session)

    def _held(self, wanted: sa.Select[bool]) -> sa.Connection | None:
        """Return a session that holds the lock; None if another one does."""
        with _translated():
            session = begun(self.engine, self.patience_seconds)
        try:
            if _try(session, wanted):
                return session
        except BaseException:
            _end(session)
            raise
        _end(session)
        return None


NEVER_IDLE = sa.select(setting("idle_in_transaction_session_timeout", "0"))
"""Let a server that ends idle transactions leave the lock's alone."""


def _try(session: sa.Connection, wanted: sa.Select[bool]) -> bool:
    with _translated():
        session.execute(NEVER_IDLE)
        return bool(session.execute(wanted).scalar_one())


def _end(session: sa.Connection) -> None:
    with suppress(SQLAlchemyError):  # its server may have ended it already
        session.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger's server does not answer ({type(error).__name__}). Nothing is sent.") from None


def key_of(name: str) -> int:
    """Return the number by which Postgres knows the lock: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], signed=True)


def locks_for(engine: sa.Engine, state: StateDirectory, *, patience_seconds: float) -> Locks:
    """Return the locks that all runs with this ledger share, whatever state directory each of them has."""
    if engine.dialect.name == "postgresql":
        return AdvisoryLocks(engine, patience_seconds)
    file = _file_of(engine)
    return state if file is None else _beside(file, state)


def _file_of(engine: sa.Engine) -> Path | None:
    """Return where a SQLite ledger is; None for one in memory."""
    if engine.dialect.name != "sqlite":
        return None
    with engine.connect() as connection:
        [name] = [row.file for row in connection.exec_driver_sql("PRAGMA database_list") if row.name == "main"]
    return Path(name).resolve() if name else None


def _beside(file: Path, state: StateDirectory) -> Locks:
    """Return the locks that lie beside a SQLite file: those of its state directory, if it is in its usual place."""
    folder = file.with_name("locks") if file.name == LEDGER else file.with_name(f"{file.name}-locks")
    if folder == state.locks.resolve():
        return state
    locks = FileLocks(folder)
    try:
        folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        works = locks.work()
    except OSError as error:
        raise LedgerError(
            f"the locks of the ledger cannot be kept in {str(folder)!r} ({error.strerror}). Nothing is sent."
        ) from error
    if not works:
        raise LedgerError(f"the file system of {str(folder)!r} does not keep locks; use a local disk. Nothing is sent.")
    return locks
