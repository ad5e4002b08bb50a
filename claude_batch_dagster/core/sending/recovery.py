"""
What runs first after a crash: find out what became of chunks whose answer is not known.

`settle` takes each through the same steps: `reconcile` it with the API's list, `prove` that a candidate is
ours, `adopt` it, or else `listen` to the silence until the quiet period is over, and `let_go`. Chunks let
go are `watch`ed for as long as the API keeps results.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from claude_batch_dagster.core.collecting.results import UnreadableLineError, decode
from claude_batch_dagster.core.ledger import TRAVELLING, UNCONFIRMED, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi, Clock, place_of
from claude_batch_dagster.core.sending.chunks import NONCE_LENGTH
from claude_batch_dagster.core.sending.listing import SKEW, Listing, list_since
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError

MIN_SILENT_LISTINGS = 5
"""Complete listings without a candidate before silence counts."""

MAX_LINES = 20
"""Lines of a batch's results that are read for the proof: the first may be blank, cut or foreign."""

MAX_WITNESSES = 3
"""Batches sent with another key that ours is tried on: a person may have deleted one."""

PROVED = frozenset({*TRAVELLING, State.APPLIED})
"""States of chunks whose batch is known to be where their key looks."""

OTHER_KEY = (
    "sent with another key, and nothing shows that the present one sees the same workspace, so that its silence proves "
    "nothing: look for it with that key"
)

STEP = timedelta(hours=26)
"""How far our clock may have been ahead when an intent was written, and set right since: more than a time zone."""

CREATE_TIMEOUT = timedelta(minutes=15)
"""How long a create call may take, and something on the way may keep its body."""

OVERDUE = timedelta(hours=26)
"""Age from which a batch that cannot be read will not be read soon: batches end after 24 hours."""

OnUnconfirmed = Literal["resubmit", "hold"]


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Settles chunks whose acceptance is not known. The caller holds the pipeline's lock."""

    api: BatchApi
    ledger: Ledger
    clock: Clock
    pipeline: str
    quiet_period: timedelta = timedelta(minutes=15)
    on_unconfirmed: OnUnconfirmed = "resubmit"
    foreign: set[tuple[str, str]] = field(default_factory=set)
    """Batches with a chunk that each is proved not to be: looked into once. It may be another chunk of ours."""
    kindred: set[str] = field(default_factory=set)
    """Accounts, with other keys than ours, whose batches our key is known to see."""

    def settle(self) -> list[ChunkRecord]:
        """
        Take every unconfirmed chunk one step further and return those still unconfirmed.

        Whoever sent them is dead or done, since we hold the lock. While one remains, send nothing.
        """
        for chunk in self.ledger.chunks(self.pipeline, [State.SENDING]):
            self.ledger.move(chunk.chunk_id, to=State.REFUSED, note="never left whole; its sender died")
        for chunk in self.ledger.chunks(self.pipeline, [State.RELEASED]):
            self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="no answer is written; its sender died")
        unsure = self._sent_here([State.AMBIGUOUS, State.HELD])
        nameless = [chunk for chunk in unsure if not chunk.batch_id]
        listing = self.list_for(nameless) if nameless else None
        for chunk in unsure:
            if chunk.batch_id:
                self.look_at_named(chunk)
            elif listing:
                self.reconcile(self._note_look(chunk, listing), listing)
        return self._sent_here(UNCONFIRMED)

    def watch(self) -> list[ChunkRecord]:
        """
        Look once more for chunks that were let go, and adopt those that turned up after all.

        They were paid for twice then: their answers land like any others, and the report says what it cost.
        """
        now = self.clock.now()
        let_go = [chunk for chunk in self._sent_here([State.UNSEEN]) if now - chunk.intended_at < RETENTION]
        listing = self.list_for(let_go) if let_go else None
        return [chunk for chunk in let_go if listing and self._turns_up(chunk, listing)]

    def _turns_up(self, chunk: ChunkRecord, listing: Listing) -> bool:
        """Look for a chunk that was let go: under the id that the API gave it, if it did, and in the list."""
        return (chunk.batch_id is not None and self.look_at_named(chunk)) or self._search(chunk, listing).adopted

    def reconcile(self, chunk: ChunkRecord, listing: Listing) -> None:
        """Look for one chunk in the list: adopt it, wait, or count one more silence."""
        search = self._search(chunk, listing)
        if search.adopted:
            return
        if search.unclear:
            # Not silence: one of them may be ours. Wait until it has ended and can be read.
            self.ledger.note(chunk.chunk_id, quiet_since=None, n_silent_listings=0)
        elif search.gone:
            self._hold(chunk, f"may be {', '.join(search.gone)}, whose results are gone or cannot be read")
        elif listing.doubt:
            self.ledger.note(chunk.chunk_id, note=listing.doubt)
        elif not self.can_see(chunk):
            self._hold(chunk, OTHER_KEY)
        elif chunk.state is State.AMBIGUOUS:
            self.listen(chunk, listing)
        elif self.on_unconfirmed == "resubmit":
            # Whoever held it may have listened for less long than we have to.
            once_more = self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="held; looked for once more")
            self.listen(once_more, listing)

    def candidates(self, chunk: ChunkRecord, listing: Listing) -> Iterator[Batch]:
        """Pick the batches that could be this chunk: unknown, of its size, created while it may have been sent."""
        known, until = self.ledger.batch_ids() - {chunk.batch_id}, self._latest(chunk)
        for batch in listing.created_since(self._earliest(chunk)):
            looked_into = batch.id in known or (batch.id, chunk.chunk_id) in self.foreign
            in_time = until is None or batch.created_at <= until
            if in_time and not looked_into and batch.counts.total == chunk.n_requests:
                yield batch

    def _earliest(self, chunk: ChunkRecord) -> datetime:
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

    def _note_look(self, chunk: ChunkRecord, listing: Listing) -> ChunkRecord:
        """Write down when the chunk was first looked for: its sender was done by then, whatever our clocks said."""
        if chunk.looked_for_at or listing.doubt:
            return chunk
        return self.ledger.note(chunk.chunk_id, looked_for_at=listing.served_at or self.clock.now())

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

    def adopt(self, chunk: ChunkRecord, batch: Batch) -> None:
        """Take the batch as the one that was made of the chunk: proved, and as good as accepted."""
        self.ledger.move(
            chunk.chunk_id,
            to=State.ADOPTED,
            batch_id=batch.id,
            batch_created_at=batch.created_at,
            note="found at the API and proved by its nonce",
        )

    def listen(self, chunk: ChunkRecord, listing: Listing) -> None:
        """Count one more complete listing without a trace; act once the silence has lasted, by the API's clock."""
        now = listing.served_at or self.clock.now()
        since = chunk.quiet_since or now
        n_listings = chunk.n_silent_listings + 1
        self.ledger.note(chunk.chunk_id, quiet_since=since, n_silent_listings=n_listings)
        if now - since < self.quiet_period or n_listings < MIN_SILENT_LISTINGS:
            return
        if self.on_unconfirmed == "hold":
            self._hold(chunk, "not listed for the whole quiet period")
        else:
            self.let_go(chunk, "not listed for the whole quiet period")

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

    def let_go(self, chunk: ChunkRecord, reason: str) -> None:
        """Set the chunk's rows free to be sent again: the one step that can pay twice."""
        self.ledger.move(chunk.chunk_id, to=State.UNSEEN, note=reason, set_free_at=self.clock.now())

    def look_at_named(self, chunk: ChunkRecord) -> bool:
        """Look at the batch that the API named in an answer that did not fit; once ended it proves itself: `True`."""
        try:
            batch = self.api.retrieve(chunk.batch_id or "")
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (not absence)
                return False
            raise
        proof = self.prove(batch, chunk.chunk_id)
        if proof:
            self.adopt(chunk, batch)
        elif proof is False:
            self._unname(chunk, f"{batch.id}, named by the API, is not this chunk")
        return bool(proof)

    def _unname(self, chunk: ChunkRecord, reason: str) -> None:
        """Forget the batch that the API named; what was held for its sake is looked for like any other."""
        if chunk.state is State.HELD:
            self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, batch_id=None, note=reason)
        else:
            self.ledger.note(chunk.chunk_id, batch_id=None, note=reason)

    def _search(self, chunk: ChunkRecord, listing: Listing) -> "_Search":
        unclear, gone = False, []
        for batch in self.candidates(chunk, listing):
            proof = self.prove(batch, chunk.chunk_id)
            if proof:
                self.adopt(chunk, batch)
                return _Search(adopted=True)
            if proof is None:
                overdue = self.clock.now() - listing.behind - batch.created_at > OVERDUE
                hopeless = batch.archived_at is not None or overdue
                gone += [batch.id] * hopeless
                unclear |= not hopeless
        return _Search(unclear=unclear, gone=gone)

    def _hold(self, chunk: ChunkRecord, reason: str) -> None:
        if chunk.state is not State.HELD:
            self.ledger.move(chunk.chunk_id, to=State.HELD, note=reason)

    def list_for(self, chunks: Iterable[ChunkRecord]) -> Listing:
        """Read the API's list as far back as one of the chunks may have been sent."""
        return list_since(self.api, self.clock, min(map(self._earliest, chunks)))

    def _sent_here(self, states: Iterable[State]) -> list[ChunkRecord]:
        """Leave out what was sent elsewhere: silence of another workspace or base URL proves nothing."""
        chunks = self.ledger.chunks(self.pipeline, states)
        return [chunk for chunk in chunks if place_of(chunk.account) == place_of(self.api.account)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What came of looking through the candidates for one chunk."""

    adopted: bool = False
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


def settled(recovery: Recovery, on_trouble: Callable[[ApiError], None] = lambda _: None) -> bool:
    """
    Settle what can be settled; `False` while something is unconfirmed or the API does not answer.

    Only a key that is no longer accepted raises (`CredentialError`); `on_trouble` is told of other faults.
    """
    try:
        return not recovery.settle()
    except CredentialError:
        raise
    except ApiError as error:
        on_trouble(error)
        return False
