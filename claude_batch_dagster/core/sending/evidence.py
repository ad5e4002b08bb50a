"""
What shows that a batch is ours, and what does not: candidates in the API's list, and the nonce in their results.

Silence is evidence only where the key would have seen the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from claude_batch_dagster.core.collecting.results import UnreadableLineError, decode
from claude_batch_dagster.core.ledger import TRAVELLING, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi, Clock
from claude_batch_dagster.core.sending.chunks import NONCE_LENGTH
from claude_batch_dagster.core.sending.listing import SKEW, Listing, list_since
from claude_batch_dagster.errors import ApiRefusedError

MAX_LINES = 20
"""Lines of a batch's results that are read for the proof: the first may be blank, cut or foreign."""

MAX_WITNESSES = 3
"""Batches sent with another key that ours is tried on: a person may have deleted one."""

PROVED = frozenset({*TRAVELLING, State.APPLIED})
"""States of chunks whose batch is known to be where their key looks."""

STEP = timedelta(hours=26)
"""How far our clock may have been ahead when an intent was written, and set right since: more than a time zone."""

CREATE_TIMEOUT = timedelta(minutes=15)
"""How long a create call may take, and something on the way may keep its body."""

OVERDUE = timedelta(hours=26)
"""Age from which a batch that cannot be read will not be read soon: batches end after 24 hours."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Looks into the API for the batch of a chunk whose acceptance is not known."""

    api: BatchApi
    ledger: Ledger
    clock: Clock
    pipeline: str
    quiet_period: timedelta
    foreign: set[tuple[str, str]] = field(default_factory=set)
    """Batches with a chunk that each is proved not to be: looked into once. It may be another chunk of ours."""
    kindred: set[str] = field(default_factory=set)
    """Accounts, with other keys than ours, whose batches our key is known to see."""

    def search(self, chunk: ChunkRecord, listing: Listing) -> "Search":
        """Look through the candidates for one chunk."""
        unclear, gone = False, []
        for batch in self.candidates(chunk, listing):
            proof = self.prove(batch, chunk.chunk_id)
            if proof:
                return Search(found=batch)
            if proof is None:
                overdue = self.clock.now() - listing.behind - batch.created_at > OVERDUE
                hopeless = batch.archived_at is not None or overdue
                gone += [batch.id] * hopeless
                unclear |= not hopeless
        return Search(unclear=unclear, gone=gone)

    def candidates(self, chunk: ChunkRecord, listing: Listing) -> Iterator[Batch]:
        """Pick the batches that could be this chunk: unknown, of its size, created while it may have been sent."""
        known, until = self.ledger.batch_ids() - {chunk.batch_id}, self._latest(chunk)
        for batch in listing.created_since(self.earliest(chunk)):
            looked_into = batch.id in known or (batch.id, chunk.chunk_id) in self.foreign
            in_time = until is None or batch.created_at <= until
            if in_time and not looked_into and batch.counts.total == chunk.n_requests:
                yield batch

    def earliest(self, chunk: ChunkRecord) -> datetime:
        """Return the earliest moment of our clock at which the batch may have been created."""
        now = self.clock.now()
        # An intent in the future was written by a clock that has been set back: nobody knows how far.
        return now - RETENTION if chunk.intended_at > now else chunk.intended_at - STEP

    def _latest(self, chunk: ChunkRecord) -> datetime | None:
        """
        Return the latest moment of the API's clock at which the batch may have been created.

        Later batches are of somebody else. Without a bound a busy workspace would never be silent. What was let go
        is watched for without one: there is nothing to wait for any more.
        """
        if chunk.looked_for_at is None or chunk.state is State.UNSEEN:
            return None
        return chunk.looked_for_at + CREATE_TIMEOUT + self.quiet_period + SKEW

    def prove(self, batch: Batch, nonce: str) -> bool | None:
        """Say whether our nonce is in the custom_ids of the batch's results; None while they cannot be read."""
        if batch.archived_at or not batch.ended:
            return None
        try:
            with self.api.results(batch.id) as pieces:
                nonces = {_nonce_of(line) for line in islice(_lines(pieces), MAX_LINES)} - {None}
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (not absence: it passes)
                return None
            raise
        if nonces and nonce not in nonces:
            self.foreign.add((batch.id, nonce))
        return nonce in nonces if nonces else None

    def can_see(self, chunk: ChunkRecord) -> bool:
        """
        Say whether our key would see the chunk's batch: only then its silence means anything.

        Without a workspace_id the key alone decides which workspace is looked at. So it has to be the key that the
        chunk was sent with, or one that sees what that key has sent before.
        """
        account = chunk.account
        if account != self.api.account and account not in self.kindred:
            sent = [one for one in self.ledger.chunks(self.pipeline, PROVED) if one.account == account and one.batch_id]
            if any(self._shows(str(one.batch_id)) for one in sent[-MAX_WITNESSES:]):
                self.kindred.add(account)
        return account == self.api.account or account in self.kindred

    def _shows(self, batch_id: str) -> bool:
        try:
            self.api.retrieve(batch_id)
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (not seen with this key, or deleted)
                return False
            raise
        return True

    def list_for(self, chunks: Iterable[ChunkRecord]) -> Listing:
        """Read the API's list as far back as one of the chunks may have been sent."""
        return list_since(self.api, self.clock, min(map(self.earliest, chunks)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What came of looking through the candidates for one chunk."""

    found: Batch | None = None
    """The one that is proved to be ours."""
    unclear: bool = False
    """A candidate runs, or cannot be read just now."""
    gone: Sequence[str] = ()
    """Candidates whose results are gone, or should have been readable long since: nobody can tell."""


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream at its newlines."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


def _nonce_of(line: bytes) -> str | None:
    try:
        return decode(line).custom_id[:NONCE_LENGTH]
    except UnreadableLineError:
        return None
