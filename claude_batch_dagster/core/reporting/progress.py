"""Where a run stands, and how long what it waits for usually takes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median, quantiles

from claude_batch_dagster.core.ledger import OPEN, ChunkRecord, State

AT_HOME = frozenset({State.SPOOLED, State.APPLIED})
"""The results are on our disk."""

MIN_BATCHES = 5
"""Batches of a table that must have ended before it is said how long they take."""


GRACE = timedelta(minutes=1)
"""Nobody is told of a delay of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, in requests."""

    n_sent: int
    n_ended: int
    n_landed: int
    n_open_batches: int
    n_before: int = 0
    """Those of `n_sent` that another run has sent."""
    batch_ids: tuple[str, ...] = field(default=(), compare=False)
    """The batches that carry them, oldest first."""
    oldest_open_at: datetime | None = field(default=None, compare=False)
    """When the oldest batch that is not yet home was created."""
    newest_open_at: datetime | None = field(default=None, compare=False)

    @classmethod
    def of(cls, chunks: Sequence[ChunkRecord], *, sent: Collection[str]) -> "Progress":
        """Add up the chunks that carry a run's rows; those in `sent` are its own."""
        opened = [chunk.batch_created_at for chunk in chunks if chunk.state in OPEN and chunk.batch_created_at]
        ended = [chunk for chunk in chunks if chunk.state in AT_HOME or chunk.state is State.ENDED]
        return cls(
            n_sent=sum(chunk.n_requests for chunk in chunks),
            n_ended=sum(chunk.n_requests for chunk in ended),
            n_landed=sum(chunk.n_requests for chunk in chunks if chunk.state is State.APPLIED),
            n_open_batches=sum(chunk.state in OPEN for chunk in chunks),
            n_before=sum(chunk.n_requests for chunk in chunks if chunk.chunk_id not in sent),
            batch_ids=tuple(chunk.batch_id for chunk in chunks if chunk.batch_id),
            oldest_open_at=min(opened, default=None),
            newest_open_at=max(opened, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How long the batches of a table have taken so far."""

    usual: timedelta
    """Half of them took no longer."""
    slow: timedelta
    """One in twenty took longer."""

    @classmethod
    def of(cls, durations: Sequence[timedelta]) -> "Tempo | None":
        """Sum up past batches; None while there are too few to say."""
        if len(durations) < MIN_BATCHES:
            return None
        seconds = [duration.total_seconds() for duration in durations]
        slow = quantiles(seconds, n=20, method="inclusive")[-1]
        return cls(usual=timedelta(seconds=median(seconds)), slow=timedelta(seconds=slow))

    def expected_end(self, progress: Progress) -> datetime | None:
        """Say when the last open batch is expected to have ended."""
        return progress.newest_open_at + self.usual if progress.newest_open_at else None

    def is_slow(self, progress: Progress, now: datetime) -> bool:
        """Whether the oldest open batch has taken longer than one in twenty does."""
        return progress.oldest_open_at is not None and now - progress.oldest_open_at > self.slow + GRACE
