"""Collect a chunk: raw bytes to the spool, each request its result, what came back to the answers."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from claude_batch_dagster.core.attempts import Came
from claude_batch_dagster.core.collecting.again import Again
from claude_batch_dagster.core.collecting.outcomes import lack, word
from claude_batch_dagster.core.collecting.receiving import Receiving, lock_of
from claude_batch_dagster.core.ledger import CLOSED, ChunkRecord, State
from claude_batch_dagster.core.ports import Batch
from claude_batch_dagster.core.room import with_room
from claude_batch_dagster.core.verdicts import GONE


class Fetched(NamedTuple):
    """A chunk whose results are on our disk."""

    chunk_id: str
    batch: Batch | None
    """What the API shows of it."""
    whatever: bool
    """Whether they land also when they are not whole."""


@dataclass(frozen=True, kw_only=True)
class Collection(Receiving):
    """Collects ended batches of one pipeline, and what of them is lacking later."""

    @cached_property
    def again(self) -> Again:
        """Collects once more what was collected before."""
        return Again(
            downloads=self.downloads, ledger=self.ledger, answers=self.answers, clock=self.clock, locks=self.locks
        )

    def collect(self, chunk_id: str, batch: Batch | None) -> bool:
        """
        Take a chunk as far as it goes; `True` once what came back is written down.

        `batch` is what the API shows of it, or None when it is not needed any more (`SPOOLED`). `False`
        means: not yet, look again later.
        """
        if fetched := self.fetch(chunk_id, batch):
            self.land([fetched])
        return self.is_home(chunk_id)

    def is_home(self, chunk_id: str) -> bool:
        """Whether what came back for a chunk is written down, whoever did it."""
        return self.ledger.chunk(chunk_id).state in CLOSED

    def fetch(self, chunk_id: str, batch: Batch | None) -> Fetched | None:
        """
        Bring the results of a chunk to our disk; None if they cannot be had yet, or nothing is left to do.

        They may be there: written down by a run that died before it noted it, and before it looked whether they are
        whole. What they lack is downloaded, unless nobody has it any more: then they are worth more than nothing.
        """
        with self.held(chunk_id):
            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile
            if chunk.state is State.SPOOLED:
                kept = self.downloads.has(chunk)  # unless somebody has deleted it
                return Fetched(chunk_id, batch, kept) if kept or self.downloads.fetch(chunk) else None
            if chunk.state not in {State.ACCEPTED, State.ADOPTED, State.ENDED}:
                return None
            n_kept = self._n_kept(chunk)
            whole = n_kept == chunk.n_requests
            are_gone = not whole and self.downloads.are_gone(chunk, batch)
            if are_gone and not n_kept:
                self._write_off(chunk)
                return None
            if chunk.state is not State.ENDED and (are_gone or (batch is not None and batch.ended)):
                ended_at = batch.ended_at if batch is not None else None
                chunk = self.ledger.move(chunk.chunk_id, to=State.ENDED, ended_at=ended_at or self.clock.now())
            ready = chunk.state is State.ENDED and (whole or are_gone or self.downloads.fetch(chunk))
            return Fetched(chunk_id, batch, are_gone) if ready else None

    def land(self, fetched: Sequence[Fetched]) -> None:
        """Write down what came back for some chunks; what is not enough is downloaded again, the next time."""
        with ExitStack() as held:
            # All locks, in one order for all runs, before the database: else two runs could wait for each other.
            for name in sorted({lock_of(one.chunk_id) for one in fetched}):
                held.enter_context(self.locks.hold(name))
            held.enter_context(self.answers.opened())
            for one in fetched:
                self._land_one(one)

    @with_room
    def _land_one(self, fetched: Fetched) -> None:
        chunk = self.ledger.chunk(fetched.chunk_id)
        if chunk.state in {State.ENDED, State.SPOOLED} and self.downloads.has(chunk):
            self._land(chunk, fetched.batch, whatever=fetched.whatever)

    @with_room
    def _n_kept(self, chunk: ChunkRecord) -> int:
        """Return how many requests have a result on our disk."""
        if not self.downloads.has(chunk):
            return 0
        with self.receipt(chunk) as (_, receipt):
            return receipt.n_requests - len(receipt.lacking)

    def _land(self, chunk: ChunkRecord, batch: Batch | None, *, whatever: bool) -> None:
        """Write down what came back, if it is enough, or `whatever` it is; else let it be downloaded again."""
        with self.receipt(chunk) as (requests, receipt):
            n_found = receipt.n_requests - len(receipt.lacking)
            if enough := whatever or self.downloads.is_enough(chunk, n_found=n_found):
                if chunk.state is State.ENDED:
                    self.ledger.move(chunk.chunk_id, to=State.SPOOLED)
                withheld = batch is None or batch.counts.succeeded > receipt.n_succeeded
                without = {place: lack(requests.outcomes[place], withheld=withheld) for place in receipt.lacking}
                receipt.land(without)
                # A crash here is harmless: the database remembers the chunk, and the ledger catches up.
                self.ledger.close(
                    chunk.chunk_id,
                    to=State.APPLIED,
                    outcome=word(Came.SUCCEEDED),
                    others={**receipt.outcomes(), **{place: word(one.came) for place, one in without.items()}},
                    spends=receipt.spends(),
                )
        if not enough:
            self.downloads.repeat(chunk, n_found=n_found)

    def _write_off(self, chunk: ChunkRecord) -> None:
        self.land_gone(chunk)
        self.ledger.close(chunk.chunk_id, to=State.LOST, outcome=GONE, others={}, spends=[])
