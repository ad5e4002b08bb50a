"""Locks for runs on several machines, kept by the Postgres server that keeps the ledger."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.state_directory import StateDirectory

PAUSE_SECONDS = 0.25
"""Between two tries; waiting inside the server could not be interrupted."""


@dataclass(frozen=True)
class AdvisoryLocks:
    """
    Postgres' advisory locks, each on a session of its own: only letting go, or the end of the session, frees one.

    Should the network cut a session off, its holder does not notice; but each of its moves in the ledger is
    conditional, so what another run has taken over by then is not sent.
    """

    engine: sa.Engine

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`, waiting for whoever has it."""
        key = {"key": key_of(name)}
        with self._session() as session:
            while not session.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one():
                time.sleep(PAUSE_SECONDS)
            try:
                yield
            finally:
                session.execute(sa.text("SELECT pg_advisory_unlock(:key)"), key)

    @contextmanager
    def _session(self) -> Iterator[sa.Connection]:
        try:
            session = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError as error:
            raise LedgerError(
                f"the ledger's server does not answer ({type(error).__name__}). Nothing is sent."
            ) from None
        try:
            yield session
        finally:
            session.invalidate()  # never back into the pool: a lock must not outlive its holder
            session.close()


def key_of(name: str) -> int:
    """Return the number by which Postgres knows the lock: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], signed=True)


def locks_for(engine: sa.Engine, state: StateDirectory) -> Locks:
    """Return the locks that all runs with this ledger share: the server's, or the file system's."""
    return AdvisoryLocks(engine) if engine.dialect.name == "postgresql" else state
