"""What the core asks of the outside world: a clock, the batch API, files and a table of answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from claude_batch_dagster.core.ledger import RowKey

RETENTION = timedelta(days=29)
"""How long results can be downloaded, from the batch's creation (Claude docs, "Batch processing")."""


class Clock(Protocol):
    """Time, and the passing of it."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests of a batch by outcome; their sum is always the number of requests."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """Number of requests in the batch."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the API says of one Message Batch."""

    id: str
    processing_status: str
    """`in_progress`, `canceling` or `ended`; anything else is taken as not yet ended."""
    counts: Counts
    created_at: datetime
    ended_at: datetime | None = None
    archived_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether every request of the batch has its result."""
        return self.processing_status == "ended"

    @property
    def was_canceled(self) -> bool:
        """Whether somebody has asked to cancel it, as far as that is known or had an effect."""
        return self.processing_status == "canceling" or self.counts.canceled > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of batches, newest first."""

    batches: Sequence[Batch]
    has_more: bool
    served_at: datetime | None = None
    """The API's clock when it answered, if it told."""
    age_seconds: float = 0.0
    """How long a cache on the way has kept this page; 0 for one that comes from the API itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of one create call: read once, never held whole."""

    pieces: Iterable[bytes]
    n_bytes: int


def place_of(account: str) -> str:
    """Return base URL and workspace of an account tag: what stays when a key is rotated."""
    return account.rsplit(" ", 1)[0]


class BatchApi(Protocol):
    """The Message Batches API. Every method raises `ApiError` and nothing else for the API's faults."""

    @property
    def account(self) -> str:
        """Base URL, workspace and a hash of the key, with spaces between: tells accounts apart."""

    @property
    def answerer(self) -> str:
        """Who answers, if it is not Claude (`emulator`); else empty. Asks the API only on loopback."""

    def close(self) -> None:
        """Close the connections kept open."""

    def create(self, body: Body) -> Batch:
        """Send one batch, exactly once; nothing on the way tries again."""

    def retrieve(self, batch_id: str) -> Batch:
        """Return what the API says of the batch now."""

    def list_batches(self, *, after_id: str | None = None) -> Page:
        """Return a page of batches, newest first, those older than `after_id`."""

    def cancel(self, batch_id: str) -> Batch:
        """Ask the API to stop the batch; what has finished keeps its result."""

    def results(self, batch_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the stream of the raw bytes of the results."""


class Locks(Protocol):
    """Locks that only the death of their holder takes away."""

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock called `name`, waiting for whoever has it."""


class Spool(Protocol):
    """Raw results, kept as they came, by batch."""

    def write(self, batch_id: str, chunks: Iterable[bytes]) -> None:
        """Keep the results of a batch: durable and whole when this returns, absent before."""

    def lines(self, batch_id: str) -> Iterator[bytes]:
        """Read the results of a batch line by line, without line ends and blank lines."""

    def has(self, batch_id: str) -> bool:
        """Whether results of the batch are kept."""

    def discard(self, batch_id: str) -> None:
        """Forget the results of the batch, so that they are downloaded again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row of the output table."""

    row: RowKey
    status: str
    error: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """Output fields as JSON values; empty unless `status` is `succeeded`."""
    batch_id: str | None = None
    custom_id: str | None = None
    request_hash: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    attempt: int | None = None
    answered_at: datetime | None = None


class Answers(Protocol):
    """The output table. Each call is one short transaction."""

    def apply(self, chunk_id: str, answers: Iterable[Answer]) -> bool:
        """Land the answers of a chunk, once: `False` if the chunk has been landed before."""

    def restore(self, answers: Iterable[Answer], *, only_gaps: bool = False) -> None:
        """Land answers paid for earlier; a failure replaces no good one, and with `only_gaps` nothing is replaced."""
