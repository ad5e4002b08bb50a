"""
Find out what became of chunks whose answer is not known; `Pipeline` does it first of all, in every run.

`settle` takes each through the same steps: `reconcile` it with the API's list, `prove` that a candidate is
ours, `adopt` it, or else `listen` to the silence until the quiet period is over, and `let_go`. Chunks let
go are `watch`ed for as long as the API keeps results.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal

from claude_batch_dagster.core.ledger import UNCONFIRMED, ChunkRecord, Lane, Ledger, State
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi, Clock, place_of
from claude_batch_dagster.core.sending.evidence import Evidence
from claude_batch_dagster.core.sending.listing import Listing
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError

MIN_SILENT_LISTINGS = 5
"""Complete listings without a candidate before silence counts."""

OTHER_KEY = (
    "sent with another key, and nothing shows that the present one sees the same workspace, so that its silence proves "
    "nothing: look for it with that key"
)

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
    live: LiveLane | None = None
    """Makes results of what was asked live by a run that died."""

    @cached_property
    def evidence(self) -> Evidence:
        """What it looks at."""
        return Evidence(
            api=self.api,
            ledger=self.ledger,
            clock=self.clock,
            pipeline=self.pipeline,
            quiet_period=self.quiet_period,
        )

    def settle(self) -> list[ChunkRecord]:
        """
        Take every unconfirmed chunk one step further and return those still unconfirmed.

        Whoever sent them is dead or done, since we hold the lock. While one remains, send nothing.
        """
        for chunk in self.ledger.chunks(self.pipeline, [State.SENDING]):
            self.ledger.move(chunk.chunk_id, to=State.REFUSED, note="never left whole; its sender died")
        self._seal([State.RELEASED, State.HELD])
        for chunk in self.ledger.chunks(self.pipeline, [State.RELEASED]):
            if chunk.lane is Lane.LIVE:
                continue
            self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="no answer is written; its sender died")
        unsure = self._sent_here([State.AMBIGUOUS, State.HELD])
        nameless = [chunk for chunk in unsure if not chunk.batch_id]
        listing = self.evidence.list_for(nameless) if nameless else None
        for chunk in unsure:
            if chunk.batch_id:
                self.look_at_named(chunk)
            elif listing:
                self.reconcile(self._note_look(chunk, listing), listing)
        asking = [chunk for chunk in self.ledger.chunks(self.pipeline, [State.RELEASED]) if chunk.lane is Lane.LIVE]
        return [*self._sent_here(UNCONFIRMED), *asking]

    def watch(self) -> list[ChunkRecord]:
        """
        Look once more for chunks that were let go, and adopt those that turned up after all.

        They were paid for twice then: their answers land like any others, and the report says what it cost.
        """
        self._seal([State.UNSEEN])
        now = self.clock.now()
        let_go = [chunk for chunk in self._sent_here([State.UNSEEN]) if now - chunk.intended_at < RETENTION]
        listing = self.evidence.list_for(let_go) if let_go else None
        return [chunk for chunk in let_go if listing and self._turns_up(chunk, listing)]

    def _seal(self, states: Collection[State]) -> None:
        """Make results of what was asked live, where its journal is here; elsewhere nobody can say what came of it."""
        for chunk in self.ledger.chunks(self.pipeline, states):
            if chunk.lane is Lane.BATCH or (self.live and self.live.is_asking(chunk)):
                continue  # a server may have ended the session that held the pipeline's lock
            if not (self.live and self.live.seal(chunk)) and chunk.state is State.RELEASED:
                self.ledger.move(chunk.chunk_id, to=State.HELD, note=f"asked live, and {chunk.note}")

    def _turns_up(self, chunk: ChunkRecord, listing: Listing) -> bool:
        """Look for a chunk that was let go: under the id that the API gave it, if it did, and in the list."""
        if chunk.batch_id is not None and self.look_at_named(chunk):
            return True
        found = self.evidence.search(chunk, listing).found
        if found:
            self.adopt(chunk, found)
        return found is not None

    def reconcile(self, chunk: ChunkRecord, listing: Listing) -> None:
        """Look for one chunk in the list: adopt it, wait, or count one more silence."""
        search = self.evidence.search(chunk, listing)
        if search.found:
            self.adopt(chunk, search.found)
        elif search.unclear:
            # Not silence: one of them may be ours. Wait until it has ended and can be read.
            self.ledger.note(chunk.chunk_id, quiet_since=None, n_silent_listings=0)
        elif search.gone:
            self._hold(chunk, f"may be {', '.join(search.gone)}, whose results are gone or cannot be read")
        elif listing.doubt:
            self.ledger.note(chunk.chunk_id, note=listing.doubt)
        elif not self.evidence.can_see(chunk):
            self._hold(chunk, OTHER_KEY)
        elif chunk.state is State.AMBIGUOUS:
            self.listen(chunk, listing)
        elif self.on_unconfirmed == "resubmit":
            # Whoever held it may have listened for less long than we have to.
            once_more = self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="held; looked for once more")
            self.listen(once_more, listing)

    def _note_look(self, chunk: ChunkRecord, listing: Listing) -> ChunkRecord:
        """Write down when the chunk was first looked for: its sender was done by then, whatever our clocks said."""
        if chunk.looked_for_at or listing.doubt:
            return chunk
        return self.ledger.note(chunk.chunk_id, looked_for_at=listing.served_at or self.clock.now())

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
        proof = self.evidence.prove(batch, chunk.chunk_id)
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

    def _hold(self, chunk: ChunkRecord, reason: str) -> None:
        if chunk.state is not State.HELD:
            self.ledger.move(chunk.chunk_id, to=State.HELD, note=reason)

    def _sent_here(self, states: Iterable[State]) -> list[ChunkRecord]:
        """Leave out what was sent elsewhere, of which silence proves nothing, and what is in no list of batches."""
        chunks = self.ledger.chunks(self.pipeline, states)
        here = place_of(self.api.account)
        return [chunk for chunk in chunks if chunk.lane is Lane.BATCH and place_of(chunk.account) == here]


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
