"""Where a batch stands at a given time: a pure function of what was written down."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

WINDOW = timedelta(hours=24)
RETENTION = timedelta(days=29)
_DRAIN = timedelta(seconds=25)
# How many requests the model works on at the same time, at most.
_IN_FLIGHT = 100


class Status(StrEnum):
    """The API's `processing_status`."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An accepted batch, as it was written down."""

    number: int
    """1 for the first batch ever accepted, and so on."""
    id: str
    workspace: str
    created_at: datetime
    seconds: float | None
    """How long its requests take if nothing intervenes; None if they never end."""
    n_requests: int
    version: str
    sha256: str
    """Of the body it came in."""
    n_retries: int | None
    """What the official SDK said about earlier attempts."""
    cancel_at: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a batch has come."""

    status: Status
    n_done: int
    """How many requests, in the order they are worked on, got as far as an outcome of their own."""
    rest: str
    """What becomes of the others: `canceled` or `expired`."""
    ended_at: datetime | None
    ends_at: datetime | None
    """When it ends, or ended; None if never."""

    @property
    def ended(self) -> bool:
        """Whether its results can be read."""
        return self.status is Status.ENDED


def standing(batch: Batch, now: datetime) -> Standing:
    """Return where the batch stands at `now`."""
    ends_at, rest = _end(batch)
    ended = ends_at is not None and now >= ends_at
    canceling = batch.cancel_at is not None and not ended
    return Standing(
        status=Status.ENDED if ended else Status.CANCELING if canceling else Status.IN_PROGRESS,
        n_done=_n_done(batch, min(now, ends_at or now)),
        rest=rest,
        ended_at=ends_at if ended else None,
        ends_at=ends_at,
    )


def _end(batch: Batch) -> tuple[datetime | None, str]:
    # A batch that hangs is a fault: it breaks the promise of 24 hours on purpose.
    limit = batch.created_at + WINDOW
    natural = None
    if batch.seconds is not None:
        natural = batch.created_at + min(timedelta(seconds=batch.seconds), WINDOW)
    if batch.cancel_at is None:
        return natural, "expired"
    drained = batch.cancel_at + _drain(batch)
    return min(drained, natural or limit, limit), "canceled"


def _drain(batch: Batch) -> timedelta:
    """Return how long requests in flight take to finish after a cancel."""
    return _DRAIN if batch.seconds is None else min(_DRAIN, timedelta(seconds=batch.seconds / 4))


def _n_done(batch: Batch, at: datetime) -> int:
    if batch.cancel_at is None or at < batch.cancel_at:
        return _n_finished(batch, at)
    finished = _n_finished(batch, batch.cancel_at)
    left = batch.n_requests - finished
    # One request alone is canceled; of more, some were already with the model and finish.
    in_flight = min(_IN_FLIGHT, max(left // 10, 1)) if left > 1 else 0
    return finished + in_flight


def _n_finished(batch: Batch, at: datetime) -> int:
    if batch.seconds is None:
        return 0
    elapsed = (min(at, batch.created_at + WINDOW) - batch.created_at).total_seconds()
    if elapsed >= batch.seconds:
        return batch.n_requests
    return int(batch.n_requests * elapsed / batch.seconds)
