"""What runs first after a crash: find out what became of chunks whose answer is not known."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Literal

from claude_batch_dagster.core.chunks import NONCE_LENGTH
from claude_batch_dagster.core.ledger import UNCONFIRMED, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import Batch, BatchApi, Clock, place_of
from claude_batch_dagster.core.results import UnreadableLineError, decode
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError

SKEW = timedelta(hours=1)
"""How far the API's clock may be behind ours. The nonce is the proof, so a wide window costs a look, no more."""

MIN_SILENT_LISTINGS = 5
"""Complete listings without a candidate before silence counts."""

MAX_LINES = 20
"""Lines of a batch's results that are read for the proof: the first may be blank, cut or foreign."""

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
    foreign: set[str] = field(default_factory=set)
    """Batches proved not ours: looked into once."""

    def settle(self) -> list[ChunkRecord]:
        """
        Take every unconfirmed chunk one step further and return those still unconfirmed.

        Whoever sent them is dead or done, since we hold the lock. While one remains, send nothing.
        """
        for chunk in self.ledger.chunks(self.pipeline, [State.SENDING]):
            self.ledger.move(chunk.chunk_id, to=State.REFUSED, note="never left whole; its sender died")
        for chunk in self.ledger.chunks(self.pipeline, [State.RELEASED]):
            self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="no answer is written; its sender died")
        for chunk in self._sent_here([State.AMBIGUOUS, State.HELD]):
            self._reconcile(chunk)
        return self._sent_here(UNCONFIRMED)

    def _sent_here(self, states: Iterable[State]) -> list[ChunkRecord]:
        """Leave out what was sent elsewhere: silence of another workspace or base URL proves nothing."""
        chunks = self.ledger.chunks(self.pipeline, states)
        return [chunk for chunk in chunks if place_of(chunk.account) == place_of(self.api.account)]

    def _reconcile(self, chunk: ChunkRecord) -> None:
        unclear = []
        for batch in self._candidates(chunk):
            proof = self._carries(batch, chunk.chunk_id) if batch.ended else None
            if proof:
                self._adopt(chunk, batch)
                return
            if proof is None:
                unclear.append(batch)
        if any(not batch.archived_at for batch in unclear):
            # Not silence: it may be ours. Wait until it has ended and can be read.
            self.ledger.note(chunk.chunk_id, quiet_since=None, n_silent_listings=0)
        elif unclear and chunk.state is State.AMBIGUOUS:
            names = ", ".join(batch.id for batch in unclear)
            self.ledger.move(chunk.chunk_id, to=State.HELD, note=f"may be {names}, whose results are gone")
        elif chunk.state is State.AMBIGUOUS:
            self._listen(chunk)
        elif self.on_unconfirmed == "resubmit" and not unclear:
            self.ledger.move(chunk.chunk_id, to=State.UNSEEN, note="held, then set free by on_unconfirmed")

    def _candidates(self, chunk: ChunkRecord) -> Iterator[Batch]:
        """List batches that could be this chunk: unknown, of its size, created since its intent."""
        known = self.ledger.batch_ids()
        for batch in self._created_since(chunk):
            if batch.id not in known and batch.id not in self.foreign and batch.counts.total == chunk.n_requests:
                yield batch

    def _created_since(self, chunk: ChunkRecord) -> Iterator[Batch]:
        oldest = chunk.intended_at - SKEW
        after_id: str | None = None
        while True:
            page = self.api.list_batches(after_id=after_id)
            for batch in page.batches:
                if batch.created_at < oldest:
                    return
                yield batch
            if not page.has_more or not page.batches:
                return
            after_id = page.batches[-1].id

    def _carries(self, batch: Batch, nonce: str) -> bool | None:
        """Whether our nonce is in the custom_ids of the batch's results; None while they cannot be read."""
        if batch.archived_at:
            return None
        try:
            with self.api.results(batch.id) as pieces:
                nonces = {_nonce_of(line) for line in islice(_lines(pieces), MAX_LINES)} - {None}
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (not absence: it passes)
                return None
            raise
        if nonces and nonce not in nonces:
            self.foreign.add(batch.id)
        return nonce in nonces if nonces else None

    def _adopt(self, chunk: ChunkRecord, batch: Batch) -> None:
        self.ledger.move(
            chunk.chunk_id,
            to=State.ADOPTED,
            batch_id=batch.id,
            batch_created_at=batch.created_at,
            note="found in the list of batches and proved by its nonce",
        )

    def _listen(self, chunk: ChunkRecord) -> None:
        """Count one more complete listing without a trace; act once the silence has lasted."""
        now = self.clock.now()
        since = chunk.quiet_since or now
        n_listings = chunk.n_silent_listings + 1
        self.ledger.note(chunk.chunk_id, quiet_since=since, n_silent_listings=n_listings)
        if now - since < self.quiet_period or n_listings < MIN_SILENT_LISTINGS:
            return
        if self.on_unconfirmed == "hold":
            self.ledger.move(chunk.chunk_id, to=State.HELD, note="not listed for the whole quiet period")
        else:
            self.ledger.move(chunk.chunk_id, to=State.UNSEEN, note="not listed for the whole quiet period")


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
