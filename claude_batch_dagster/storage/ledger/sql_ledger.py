"""The ledger on any database SQLAlchemy speaks: SQLite by default, Postgres by URL."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Unpack

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from claude_batch_dagster.core.ledger import (
    CLOSED,
    OPEN,
    Allowance,
    Answered,
    ChunkRecord,
    Claimed,
    Doubt,
    Expected,
    Learned,
    Made,
    Requests,
    Spend,
    State,
)
from claude_batch_dagster.core.ports import Locks
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger import budgets, chunks, estimates, identity, reservations, spending
from claude_batch_dagster.storage.ledger import requests as columns
from claude_batch_dagster.storage.ledger.double_payments import doubts
from claude_batch_dagster.storage.ledger.locks import locks_for
from claude_batch_dagster.storage.ledger.opening import BUSY_SECONDS, engine_of, translated
from claude_batch_dagster.storage.ledger.postgres import begun
from claude_batch_dagster.storage.migrations import upgrade


class SqlLedger:
    """The ledger; safe to use from many processes at once."""

    def __init__(self, url: str | sa.URL, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open it, or create it; wait no longer than `busy_seconds` for others that hold it."""
        self._use(engine_of(url, busy_seconds))
        try:
            with translated():
                upgrade(self._engine)
        except BaseException:
            self.dispose()
            raise
        if self._engine.dialect.name == "postgresql":
            self._patience_seconds = busy_seconds

    def _use(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._patience_seconds = 0.0
        """How long a server that has worked before may restart."""
        self._used: set[ConnectionPoolEntry] = set()
        sa.event.listen(engine, "checkout", lambda _, entry, __: self._used.add(entry))

    @property
    def ledger_id(self) -> str:
        """A name of its own, given when the ledger was created."""
        with self._transaction() as connection:
            return identity.ledger_id(connection)

    @property
    def home(self) -> str:
        """Where a person finds it: its path, or its server's URL without user and password."""
        return identity.home_of(self._engine)

    def original(self) -> str | None:
        """Return the path of the ledger that this one is a copy of, if that is still there."""
        with self._transaction() as connection:
            return identity.original_of(connection)

    def settle_down(self) -> None:
        """Make this place the ledger's home; a copy becomes a ledger of its own."""
        with self._transaction() as connection:
            identity.settle_down(connection)

    def new_mark(self) -> str:
        """Write down a mark that a table is to remember too."""
        with self._transaction() as connection:
            return identity.new_mark(connection)

    def has_mark(self, mark: str) -> bool:
        """Whether a mark that a table remembers is known: if not, this ledger is from before it was made."""
        with self._transaction() as connection:
            return identity.has_mark(connection, mark)

    def shared_locks(self, state: StateDirectory) -> Locks:
        """Return the locks that all runs with this ledger share: its server's, or those beside its file."""
        with translated():
            return locks_for(self._engine, state, patience_seconds=self._patience_seconds)

    def intend(
        self,
        chunk: ChunkRecord,
        requests: Requests,
        *,
        known: Collection[str] = (),
        allowance: Allowance | None = None,
    ) -> None:
        """Write down a chunk, before anything of it is sent; raise if it may not be, or costs more than is left."""
        with self._transaction() as connection:
            reservations.wait_for_turn(connection, chunk.pipeline)
            reservations.check(connection, chunk, requests, known)
            if allowance is not None:
                budgets.check(connection, chunk, allowance)
            chunks.write(connection, chunk)
            columns.write(connection, chunk.chunk_id, requests)

    def move(self, chunk_id: str, *, to: State, **learned: Unpack[Learned]) -> ChunkRecord:
        """Move a chunk to a state allowed by `NEXT`, with what was learned; raise on any other."""
        with self._transaction() as connection:
            chunks.move(connection, chunk_id, to, learned)
            if to is State.REFUSED:
                budgets.settle(connection, chunk_id)
            return chunks.read(connection, chunk_id)

    def note(self, chunk_id: str, **learned: Unpack[Learned]) -> ChunkRecord:
        """Write down what was learned of a chunk without moving it."""
        with self._transaction() as connection:
            chunks.note(connection, chunk_id, learned)
            return chunks.read(connection, chunk_id)

    def chunk(self, chunk_id: str) -> ChunkRecord:
        """Return one chunk; raise `LedgerError` if it is not known."""
        with self._transaction() as connection:
            return chunks.read(connection, chunk_id)

    def chunks(self, pipeline: str, states: Iterable[State], *, run_id: str | None = None) -> list[ChunkRecord]:
        """Return the pipeline's chunks in these states, oldest first; of one run if given."""
        with self._transaction() as connection:
            return chunks.find(connection, pipeline, states, run_id=run_id)

    def gives_up_at(self, pipeline: str, root_run_id: str) -> datetime | None:
        """Return when rows of this run, or of one that it repeats, are not to wait any longer; None if none is told."""
        with self._transaction() as connection:
            return chunks.gives_up_at(connection, pipeline, root_run_id)

    def sizes(self, pipeline: str, states: Iterable[State]) -> dict[str, int]:
        """Return how many requests each of the pipeline's chunks in these states has."""
        with self._transaction() as connection:
            return chunks.sizes(connection, pipeline, states)

    def with_batches(self, batch_ids: Collection[str]) -> list[ChunkRecord]:
        """Return the chunks that became these batches, in any order."""
        with self._transaction() as connection:
            return chunks.with_batches(connection, batch_ids)

    def batch_ids(self) -> frozenset[str]:
        """Return every batch id this ledger knows."""
        with self._transaction() as connection:
            return chunks.batch_ids(connection)

    def pipelines(self) -> list[str]:
        """Return the names of all pipelines that ever wrote a chunk here."""
        with self._transaction() as connection:
            return chunks.pipelines(connection)

    def unknown(self, chunk_ids: Iterable[str]) -> list[str]:
        """Return those of the chunks that this ledger has never heard of."""
        with self._transaction() as connection:
            known = chunks.chunk_ids(connection)
        return [chunk_id for chunk_id in chunk_ids if chunk_id not in known]

    def requests(self, chunk_id: str) -> Requests:
        """Return the requests of a chunk in columns."""
        with self._transaction() as connection:
            return columns.read(connection, chunk_id)

    def claimed(self, pipeline: str, *, lacking: Collection[str] = ()) -> Claimed:
        """Return what is claimed now; questions of chunks that are `lacking` in the database count as on their way."""
        with self._transaction() as connection:
            return reservations.claimed(connection, pipeline, lacking)

    def made(self, pipeline: str, questions: AbstractSet[str]) -> dict[str, Made]:
        """Return the attempts at these questions that have come to their end, whatever the database knows of them."""
        with self._transaction() as connection:
            return columns.made_in(connection, columns.chunk_ids_in(connection, pipeline, CLOSED), questions)

    def has_earlier_names(self, pipeline: str) -> bool:
        """Whether rows of the pipeline were asked under hashes of an earlier version."""
        with self._transaction() as connection:
            return columns.has_earlier_names(connection, pipeline)

    def rename(self, pipeline: str, names: Mapping[str, str]) -> None:
        """Give questions of the pipeline other hashes: the same questions, by a later version's names."""
        with self._transaction() as connection:
            columns.rename(connection, pipeline, names)

    def note_outcomes(self, chunk_id: str, outcomes: Mapping[int, str], spends: Sequence[Spend] = ()) -> None:
        """Write down what came back for some requests of a chunk, whatever stood there; add what they cost."""
        with self._transaction() as connection:
            columns.note_outcomes(connection, chunk_id, outcomes)
            spending.pay(connection, chunk_id, spends)
            budgets.settle(connection, chunk_id)

    def doubts(self, pipeline: str) -> list[Doubt]:
        """Return every chunk that was ever unconfirmed after its last byte had left, partition by partition."""
        with self._transaction() as connection:
            return doubts(connection, pipeline)

    def close(
        self, chunk_id: str, *, to: State, outcome: str, others: Mapping[int, str], spends: Sequence[Spend]
    ) -> None:
        """Move the chunk to its end; `outcome` holds for all of its requests, but for the `others`, by ordinal."""
        with self._transaction() as connection:
            chunks.move(connection, chunk_id, to, {})
            columns.note_outcomes(connection, chunk_id, others, of_all=outcome)
            spending.pay(connection, chunk_id, spends)
            budgets.settle(connection, chunk_id)

    def spends(self, pipeline: str, *, run_id: str | None = None, place: str | None = None) -> list[Spend]:
        """Return what each partition has cost so far: in one run, or at one base URL and workspace, if given."""
        with self._transaction() as connection:
            return spending.spends(connection, pipeline, run_id=run_id, place=place)

    def asked_with(self, pipeline: str, *, definition: str, place: str) -> list[ChunkRecord]:
        """Return the latest chunks with this definition that were accepted, at one base URL and workspace."""
        with self._transaction() as connection:
            return estimates.asked_with(connection, pipeline, definition, place)

    def committed(self, allowance: Allowance) -> float:
        """Return what was spent of an allowance, and what is reserved, in US dollars."""
        with self._transaction() as connection:
            return budgets.committed(connection, allowance)

    def answered(self, pipeline: str, *, definition: str, place: str) -> list[Answered]:
        """Return what the latest chunks with this definition came to, at one base URL and workspace."""
        with self._transaction() as connection:
            return estimates.answered(connection, pipeline, definition, place)

    def expect(self, run_id: str, pipeline: str, expected: Expected) -> None:
        """Write down what a run is expected to cost, in place of what stood there."""
        with self._transaction() as connection:
            estimates.expect(connection, run_id, pipeline, expected)

    def misses(self, pipeline: str, *, place: str) -> list[float]:
        """Return how far the last estimates were off, latest first: 0.1 for a request that cost a tenth more."""
        with self._transaction() as connection:
            return estimates.misses(connection, pipeline, place)

    def unfinished(self, pipeline: str) -> dict[str | None, set[str]]:
        """Return the chunks that may still be at the API, by each partition that has rows in them."""
        found: dict[str | None, set[str]] = {}
        with self._transaction() as connection:
            carrying = columns.chunk_ids_in(connection, pipeline, OPEN)
            for chunk_id, partition_keys in columns.partition_keys_in(connection, carrying):
                for partition_key in set(partition_keys):
                    found.setdefault(partition_key, set()).add(chunk_id)
        return found

    def durations(self, pipeline: str, *, place: str) -> list[timedelta]:
        """Return how long the latest batches sent to this base URL and workspace took to end."""
        with self._transaction() as connection:
            return chunks.durations(connection, pipeline, place)

    def dispose(self) -> None:
        """
        Close every connection, also one left behind by an interruption: its transaction would lock others out.

        The ledger can be used again afterwards, with new connections.
        """
        self._engine.dispose()
        while self._used:
            self._used.pop().invalidate()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with translated(), begun(self._engine, self._patience_seconds) as connection:
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()  # also of a commit that was interrupted: closing would keep its transaction open
                raise
