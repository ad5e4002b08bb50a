"""Results of one chunk that are on our disk, read into the database, with what the ledger says was asked."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from claude_batch_dagster.core.collecting.answer_records import gone, recorded
from claude_batch_dagster.core.collecting.downloads import Downloads, batch_id_of
from claude_batch_dagster.core.ledger import ChunkRecord, Ledger, Requests
from claude_batch_dagster.core.ports import Answers, Clock, Landing, Locks, Receipt
from claude_batch_dagster.errors import ApiResponseError


@dataclass(frozen=True, kw_only=True)
class Receiving:
    """Reads what came back for chunks of one pipeline, and holds their locks meanwhile."""

    downloads: Downloads
    ledger: Ledger
    answers: Answers
    clock: Clock
    locks: Locks

    def held(self, chunk_id: str) -> AbstractContextManager[object]:
        """Hold the lock of a chunk while its results are brought home."""
        return self.locks.hold(lock_of(chunk_id))

    @contextmanager
    def receipt(self, chunk: ChunkRecord) -> Iterator[tuple[Requests, Receipt]]:
        """Read the results that are on our disk; what of them is to land has landed when the context ends."""
        with self.answers.landing() as landing:
            yield self.read(chunk, landing)

    def read(self, chunk: ChunkRecord, landing: Landing) -> tuple[Requests, Receipt]:
        """Read the results that are on our disk, with what the ledger says was asked."""
        # The database is open by now: until then another run may give questions their names of today.
        requests = self.ledger.requests(chunk.chunk_id)
        file = self.downloads.spool.file(batch_id_of(chunk))
        receipt = landing.receive(chunk, requests, file, self.clock.now())
        if receipt.is_contradictory:
            text = f"batch {chunk.batch_id} has two different results for one row"
            self.downloads.on_trouble(ApiResponseError(text))
        return requests, receipt

    def land_gone(self, chunk: ChunkRecord, places: set[int] | None = None) -> None:
        """Write down of all requests, or of some, that nobody has their results any more."""
        with self.answers.opened():  # first, as in `read`
            requests = self.ledger.requests(chunk.chunk_id)
            whole = range(chunk.n_requests) if places is None else sorted(places)
            outcomes = {place: gone(requests.outcomes[place], chunk) for place in whole}
            self.answers.land(chunk.chunk_id, recorded(chunk, requests, outcomes, self.clock.now()))


def lock_of(chunk_id: str) -> str:
    """Name the lock of a chunk: one of a thousand, since the files of locks are never deleted."""
    return f"collect {chunk_id[-2:]}"
