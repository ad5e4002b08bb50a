"""What the core asks of the outside world: a clock, the batch API, files and a table of answers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import ChunkRecord, Claimed, Requests, Spend
from claude_batch_dagster.core.retries import Came, Plan, Rules

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

    @property
    def betas(self) -> Sequence[str]:
        """Names of the beta features that every call asks for: with others, the same words are another question."""

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

    def count_tokens(self, params: bytes) -> int:
        """Return how many input tokens a request has: its params as they would be sent. It costs nothing."""

    def results(self, batch_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Open the stream of the raw bytes of the results."""


class LiveApi(Protocol):
    """The Messages API, which answers at once, and once. It raises as `BatchApi` does."""

    def ask(self, body: Body) -> bytes:
        """Send one request, exactly once; return the Message as it came, as JSON."""


class ClaudeApi(BatchApi, LiveApi, Protocol):
    """Both ways to ask."""


class OpenUpstream(Protocol):
    """The upstream table, looked at through one open connection."""

    def keys(self, dimension: int = 0) -> list[str]:
        """Return the partition keys that the rows name in one dimension, in order."""

    def fingerprints(self, partitions: Sequence[Partition]) -> dict[str | None, str]:
        """Return a fingerprint for each partition that has rows: the same as long as none of them changes."""


class Locks(Protocol):
    """Locks that only the death of their holder takes away."""

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock called `name`, waiting for whoever has it."""


class Spool(Protocol):
    """Raw results, kept as they came, by batch."""

    @property
    def place(self) -> str:
        """Where this is, for a person: the folder, and the machine."""

    def write(self, batch_id: str, pieces: Iterable[bytes]) -> None:
        """Keep the results of a batch: durable and whole when this returns, absent before."""

    def file(self, batch_id: str) -> Path:
        """Return where the results of a batch are, or would be."""

    def lines(self, batch_id: str) -> Iterator[bytes]:
        """Read the results of a batch line by line, without line ends and blank lines."""

    def has(self, batch_id: str) -> bool:
        """Whether results of the batch are kept."""

    def n_bytes(self, batch_id: str) -> int:
        """Return the size of what is kept of the batch; 0 for nothing."""

    def discard(self, batch_id: str) -> None:
        """Forget the results of the batch, so that they are downloaded again."""


class Journals(Protocol):
    """What is asked live, and what comes back, line by line as it happens."""

    @property
    def place(self) -> str:
        """Where this is, for a person: the folder, and the machine."""

    def writing(self, chunk_id: str) -> AbstractContextManager[Callable[[bytes], None]]:
        """
        Begin the journal of a chunk; the function writes a line, from whichever thread.

        The journal is there, and a line is durable, when the call returns.
        """

    def has(self, chunk_id: str) -> bool:
        """Whether the journal of a chunk is here."""

    def is_written(self, chunk_id: str) -> bool:
        """Whether somebody is writing the journal of a chunk at this moment."""

    def lines(self, chunk_id: str) -> Iterator[bytes]:
        """Read a journal; its last line may be torn."""

    def discard(self, chunk_id: str) -> None:
        """Forget the journal of a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """What came back for one request: a fact, whoever asked, and whatever it is worth today."""

    question: str
    chunk_id: str
    ordinal: int
    attempt: int
    came: Came
    text: str | None = None
    """Of a Message, the text; else what the API says of the failure."""
    sanitized: bool = False
    """Whether half characters in the text were replaced by U+FFFD."""
    detail: str | None = None
    """Stop reason of a Message; type of an error."""
    explanation: str | None = None
    """Category of a refusal."""
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    """What it cost; None if the price is not known."""
    batch_id: str | None = None
    custom_id: str | None = None
    answered_at: datetime | None = None


class Lack(NamedTuple):
    """Why a request has no result."""

    came: Came
    detail: str | None = None
    text: str | None = None
    """Where the result was kept once."""


class Receipt(Protocol):
    """The results of one chunk, each matched with its request by custom_id, and not written down yet."""

    @property
    def n_requests(self) -> int:
        """How many requests the chunk has."""

    @property
    def lacking(self) -> Collection[int]:
        """Requests without a result, by ordinal."""

    @property
    def n_succeeded(self) -> int:
        """How many results are Messages."""

    @property
    def is_contradictory(self) -> bool:
        """Whether there were two different results for one request; the first one counts."""

    def outcomes(self) -> Mapping[int, str]:
        """Return the ledger's word for each result that is no Message, by ordinal."""

    def spends(self, ordinals: Collection[int] | None = None) -> list[Spend]:
        """Return what the Messages cost: all of them, or those of some requests."""

    def land(self, without: Mapping[int, Lack]) -> None:
        """
        Let what came back be written down when the landing ends.

        `without` are requests that have no result, by ordinal, and why; of others that have none, nothing is said.
        """


class Landing(Protocol):
    """Chunks that land together: each is read, and then all of them are written down in one short transaction."""

    def receive(self, chunk: ChunkRecord, requests: Requests, file: Path, now: datetime) -> Receipt:
        """Read the results of a chunk from a file of the spool. What is asked of it is asked before the next one."""


class RunPlanner(Protocol):
    """What a run is going to do, known before anything is sent. The database is open when it is asked."""

    def leave_out(self, plan: Plan) -> dict[str, str]:
        """Return the questions that the run does not send, each with the reason."""

    def announce(self, plan: Plan) -> object:
        """Tell what is going to be done; raise `ClaudeBatchError` to stop before anything is sent."""

    @property
    def mark(self) -> Callable[[bytes], bytes] | None:
        """What marks a request to be cached; None where that would not pay."""

    @property
    def n_first(self) -> int:
        """How many rows of the plan are to be sent alone, before the others; 0 for none."""

    def sent_before(self) -> set[str]:
        """Return chunks in flight, of whatever run, that say as much as those rows would."""

    def judge(self, chunk_ids: Collection[str]) -> None:
        """Raise `CanaryError` if what came of those rows, in these chunks, speaks against sending the others."""


class Answers(Protocol):
    """What came back, and the output table that is made of it. What a call writes is one short transaction."""

    def opened(self) -> AbstractContextManager[None]:
        """Keep the database open, so that what lands meanwhile opens it at no cost."""

    def landing(self) -> AbstractContextManager[Landing]:
        """
        Let chunks land: what is to be written down is, in one transaction, when the context ends without an error.

        Every row that asks for it now shows it then. Doing it again changes nothing.
        """

    def land(self, chunk_id: str, records: Sequence[AnswerRecord]) -> None:
        """
        Write down what came back for a chunk, and let it be shown by every row that asks for it now.

        Doing it again changes nothing.
        """

    def landed(self) -> Mapping[str, int]:
        """Return of how many requests of each chunk it is written down what came back."""

    def without_results(self) -> frozenset[str]:
        """Return the chunks with results to questions of this run that are withheld or gone, and may turn up."""

    def plan(self, claimed: Claimed, *, run_chunks: Collection[str], rules: Rules) -> Plan:
        """Return what is to be done for the questions of this run; `run_chunks` are the chunks that it has sent."""

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Let the rows of this run that ask these questions, and have no good answer, say why they were not sent."""

    def partitions_of(self, asked: Collection[str]) -> frozenset[str | None]:
        """Return the partitions of this run with a row that asks one of these questions."""
