"""The locks that all runs with one ledger share: of the Postgres server that keeps it, or beside its SQLite file."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_DIRECTORY, FileLocks
from claude_batch_dagster.storage.files.state_directory import LEDGER, StateDirectory

PAUSE_SECONDS = 0.25
"""Between two tries; waiting inside the server could not be interrupted."""


@dataclass(frozen=True)
class AdvisoryLocks:
    """
    Postgres' advisory locks, each on a session of its own: only letting go, or the end of the session, frees one.

    Should the network or the server cut a session off, its holder does not notice. That is why an intent claims its
    rows in one transaction (`reservations`): what another run has claimed by then is not sent.
    """

    engine: sa.Engine

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`, waiting for whoever has it."""
        key = {"key": key_of(name)}
        with self._session() as session:
            while not _try(session, key):
                time.sleep(PAUSE_SECONDS)
            try:
                yield
            finally:
                with suppress(SQLAlchemyError):  # the end of the session lets go as well, if that has not come already
                    session.execute(sa.text("SELECT pg_advisory_unlock(:key)"), key)

    @contextmanager
    def _session(self) -> Iterator[sa.Connection]:
        with _translated():
            session = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield session
        finally:
            with suppress(SQLAlchemyError):
                session.invalidate()  # never back into the pool: a lock must not outlive its holder
                session.close()


def _try(session: sa.Connection, key: dict[str, int]) -> bool:
    with _translated():
        return bool(session.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one())


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger's server does not answer ({type(error).__name__}). Nothing is sent.") from None


def key_of(name: str) -> int:
    """Return the number by which Postgres knows the lock: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], signed=True)


def locks_for(engine: sa.Engine, state: StateDirectory) -> Locks:
    """Return the locks that all runs with this ledger share, whatever state directory each of them has."""
    if engine.dialect.name == "postgresql":
        return AdvisoryLocks(engine)
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
