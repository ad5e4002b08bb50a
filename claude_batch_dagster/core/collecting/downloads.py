"""Bring the results of a batch to the spool, and know when that is in vain."""

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.collecting.results import UnreadableLineError, decode
from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi, Clock, Spool
from claude_batch_dagster.errors import ApiError, ApiRefusedError, ApiResponseError, CredentialError

MAX_DOWNLOADS = 3
"""How often results with missing rows are downloaded, at least, before `missing` becomes a verdict."""

PATIENCE = timedelta(minutes=5)
"""How long results with missing rows are downloaded again, at least, before `missing` becomes a verdict."""

GIVE_UP = timedelta(minutes=30)
"""How long results that cannot be read at all are downloaded again before the run fails."""


@dataclass(frozen=True, kw_only=True)
class Downloads:
    """Downloads of one run."""

    api: BatchApi
    spool: Spool
    clock: Clock
    on_trouble: Callable[[ApiError], None] = lambda _: None
    """Told of each download that has to be repeated."""
    vain: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    """When the results of a chunk were asked for in vain."""

    def has(self, chunk: ChunkRecord) -> bool:
        """Whether results of the chunk are on our disk, whole or not."""
        return self.spool.has(batch_id_of(chunk))

    @property
    def place(self) -> str:
        """Where results are kept, for a person."""
        return self.spool.place

    def n_bytes(self, chunk: ChunkRecord) -> int:
        """Return how much is on our disk of the chunk's results."""
        return self.spool.n_bytes(batch_id_of(chunk))

    def batch(self, chunk: ChunkRecord) -> Batch | None:
        """Return what the API shows of the chunk's batch; None if it cannot be asked just now."""
        try:
            return self.api.retrieve(batch_id_of(chunk))
        except CredentialError:
            raise
        except ApiError:
            return None

    def fetch(self, chunk: ChunkRecord) -> bool:
        """Download the results; `False` means: not yet, look again later."""
        try:
            self._stream(batch_id_of(chunk))
        except CredentialError:
            raise
        except ApiError as error:  # a 404 right after the end passes; a cut stream is downloaded again
            self._postpone(chunk, error)
            return False
        return True

    def is_enough(self, chunk: ChunkRecord, *, n_found: int) -> bool:
        """Whether every request has its result, or has lacked it in every download for a while."""
        if n_found == chunk.n_requests:
            return True
        vain = self.vain[chunk.chunk_id]
        patient = len(vain) + 1 >= MAX_DOWNLOADS and self.clock.now() - vain[0] >= PATIENCE
        return n_found > 0 and patient

    def repeat(self, chunk: ChunkRecord, *, n_found: int) -> None:
        """Forget results that are not enough, so that they are downloaded again."""
        self.spool.discard(batch_id_of(chunk))
        of = counted(chunk.n_requests, "row")
        text = f"the results of batch {chunk.batch_id} have {n_found} of {of} that can be read"
        self._postpone(chunk, ApiResponseError(text))

    def again(self, chunk: ChunkRecord) -> bool:
        """Download results that were here once; `False` if the API does not have them any more."""
        try:
            self._stream(batch_id_of(chunk))
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (29 days have passed, or somebody deleted them)
                return False
            raise
        return True

    def append(self, chunk: ChunkRecord, custom_ids: AbstractSet[str]) -> None:
        """Download the results once more, and add the lines of these requests to those that are kept."""
        batch_id = batch_id_of(chunk)
        apart = f"{batch_id}-again"
        try:
            self._stream(batch_id, into=apart)
            lines = [line for line in self.spool.lines(apart) if _custom_id(line) in custom_ids]
            if lines and self.spool.has(batch_id):
                kept = chain(self.spool.lines(batch_id), lines)
                self.spool.write(batch_id, (line + b"\n" for line in kept))
        except CredentialError:
            raise
        except ApiError as error:
            self.on_trouble(error)
        finally:
            self.spool.discard(apart)

    def are_gone(self, chunk: ChunkRecord, batch: Batch | None) -> bool:
        """
        Whether the results can no longer be downloaded: archived, or too old and refused for a while.

        The calendar alone proves nothing: our clock may be wrong. As long as the API shows a batch that is not
        archived, or hands its results out, they are not gone.
        """
        if batch is not None and batch.archived_at:
            return True
        if not self.are_old(chunk) or (batch is not None and not batch.ended):
            return False
        try:
            with self.api.results(batch_id_of(chunk)):
                return False
        except ApiError as error:
            if not isinstance(error, ApiRefusedError) or error.status != 404:  # noqa: PLR2004  (only that says: gone)
                return False  # other trouble is met again, and waited out, where the results are downloaded
        vain = self.vain[chunk.chunk_id]
        vain.append(self.clock.now())
        return len(vain) >= MAX_DOWNLOADS and vain[-1] - vain[0] >= PATIENCE

    def are_old(self, chunk: ChunkRecord) -> bool:
        """Whether the API need not have the results any more."""
        return self.clock.now() - (chunk.batch_created_at or chunk.intended_at) > RETENTION

    def _postpone(self, chunk: ChunkRecord, error: ApiError) -> None:
        vain = self.vain[chunk.chunk_id]
        vain.append(self.clock.now())
        if vain[-1] - vain[0] > GIVE_UP:
            raise error
        self.on_trouble(error)

    def _stream(self, batch_id: str, *, into: str | None = None) -> None:
        with self.api.results(batch_id) as pieces:
            self.spool.write(into or batch_id, pieces)


def batch_id_of(chunk: ChunkRecord) -> str:
    """Return the id of the batch that a chunk became."""
    if chunk.batch_id is None:  # pragma: no cover  (no move to ENDED without an id)
        raise AssertionError(chunk)
    return chunk.batch_id


def _custom_id(line: bytes) -> str | None:
    try:
        return decode(line).custom_id
    except UnreadableLineError:
        return None
