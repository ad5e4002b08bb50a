"""What a row signs on its way: the states of a chunk, the moves allowed, and the port of the ledger."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypedDict, Unpack


class Lane(StrEnum):
    """By which of the API's two ways the requests of a chunk are asked."""

    BATCH = "batch"
    """Together, as a Message Batch, at half the price."""
    LIVE = "live"
    """One by one, by the Messages API, at once."""


LIVE_PREFIX = "live_"
"""How the id begins under which the answers of a chunk are kept that was asked live: it has no batch."""


class State(StrEnum):
    """Where a chunk is on its way from our rows to their results."""

    SENDING = "sending"
    """
    The intent is written; the last byte of the body has not left. A crash here is harmless: the
    API cannot accept a body that is not complete.
    """

    RELEASED = "released"
    """
    The last byte may have left and no answer is written. A crash here is the one moment we cannot
    know: reconcile with the API before anything else is sent.
    """

    AMBIGUOUS = "ambiguous"
    """The answer to the create call was lost or unreadable; the chunk is looked for in the API's list."""

    ACCEPTED = "accepted"
    """The API gave us a batch id. Never send this chunk again."""

    ADOPTED = "adopted"
    """Found in the API's list and proved ours by the nonce in its custom_ids. As good as accepted."""

    ENDED = "ended"
    """Every request has its result at the API; they can be downloaded for 29 days from creation."""

    SPOOLED = "spooled"
    """The raw results are on our disk. From here no API is needed."""

    APPLIED = "applied"
    """What came back is written down in the database, and here in one word for each request."""

    REFUSED = "refused"
    """Proven never accepted: the API said no, or the body never left whole. Its rows are free again."""

    UNSEEN = "unseen"
    """
    Not in the API's list for the whole quiet period, so its rows were set free. It is looked for until
    results expire: should it turn up after all, it was paid for twice, and is reported and landed.
    """

    HELD = "held"
    """
    May or may not have been accepted; a person decides, or the batch that the API named instead. Its rows
    are not sent again; a run that may resubmit listens once more, for a quiet period of its own.
    """

    LOST = "lost"
    """Accepted and paid for, but its results are gone (29 days, or deleted)."""


NEXT: Mapping[State, frozenset[State]] = {
    State.SENDING: frozenset({State.RELEASED, State.REFUSED}),
    State.RELEASED: frozenset({State.ACCEPTED, State.AMBIGUOUS, State.HELD, State.REFUSED, State.ENDED}),
    State.AMBIGUOUS: frozenset({State.ADOPTED, State.UNSEEN, State.HELD}),
    State.HELD: frozenset({State.AMBIGUOUS, State.ADOPTED, State.UNSEEN, State.ENDED}),
    State.UNSEEN: frozenset({State.ADOPTED, State.ENDED}),
    State.ACCEPTED: frozenset({State.ENDED, State.LOST}),
    State.ADOPTED: frozenset({State.ENDED, State.LOST}),
    State.ENDED: frozenset({State.SPOOLED, State.LOST}),
    State.SPOOLED: frozenset({State.APPLIED}),
    State.APPLIED: frozenset(),
    State.REFUSED: frozenset(),
    State.LOST: frozenset(),
}
"""
The moves allowed. Every move is one conditional update, so two runs cannot both win.

What is asked live ends without having been accepted: its answers are in the journal of whoever asked.
"""

UNCONFIRMED = frozenset({State.SENDING, State.RELEASED, State.AMBIGUOUS})
"""While one chunk is in one of these, its pipeline sends no other."""

TRAVELLING = frozenset({State.ACCEPTED, State.ADOPTED, State.ENDED, State.SPOOLED})
"""The API has the chunk, or we have its results: waiting and collecting bring it home."""

AT_THE_API = UNCONFIRMED | {State.ACCEPTED, State.ADOPTED}
"""The chunk's requests may be waiting at the API."""

OPEN = UNCONFIRMED | TRAVELLING | {State.HELD}
"""Rows in such a chunk are in flight: they are waited for, never sent again."""

CLOSED = frozenset({State.APPLIED, State.LOST})
"""It was accepted, and nothing more will come of it."""

MOVING = frozenset(state for state, following in NEXT.items() if following)
"""Such a chunk has not come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """What the ledger knows of one chunk."""

    chunk_id: str
    """The nonce: the first part of every custom_id of this chunk, sortable by time of intent."""
    pipeline: str
    run_id: str
    account: str
    state: State
    n_requests: int
    n_bytes: int
    intended_at: datetime
    batch_id: str | None = None
    released_at: datetime | None = None
    batch_created_at: datetime | None = None
    ended_at: datetime | None = None
    quiet_since: datetime | None = None
    n_silent_listings: int = 0
    note: str | None = None
    max_cost_usd: float | None = None
    """What it can cost at most, in US dollars; None when a price is not known."""
    set_free_at: datetime | None = None
    """When its rows were set free although nobody knew whether it had been accepted (`UNSEEN`)."""
    looked_for_at: datetime | None = None
    """The API's time when it was first looked for in the API's list: whoever sent it was dead or done by then."""
    definition: str | None = None
    """Digest of what is asked of every row: chunks of the same one cost alike."""
    root_run_id: str | None = None
    """The first of the runs that repeat each other, of which `run_id` is one."""
    backfill_id: str | None = None
    budget: str | None = None
    """The name of the budget that it is paid from, if several tables share one."""
    reserved_usd: float | None = None
    """What of `max_cost_usd` may still be billed: all of it, until its results have landed."""
    lane: Lane = Lane.BATCH
    give_up_at: datetime | None = None
    """When its rows are not to wait for it any longer; None for as long as it takes."""
    given_up_at: datetime | None = None
    """When that was noticed: what of its rows was not answered is asked live."""


class Learned(TypedDict, total=False):
    """What can be learned of a chunk once it is written down; each as in its record."""

    batch_id: str | None
    released_at: datetime
    batch_created_at: datetime
    ended_at: datetime
    quiet_since: datetime | None
    n_silent_listings: int
    note: str
    set_free_at: datetime
    looked_for_at: datetime
    given_up_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One chunk, with what is known of its rows."""

    chunk: ChunkRecord
    n_partitions: int
    """How many partitions have rows in it; 0 for an asset without partitions, and where nobody counted."""
    spent_usd: float | None
    """What its answers have cost: 0 until they are in the table, None where a price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a ledger is found, before anybody relies on it."""

    ledger_id: str
    revision: str
    is_current: bool
    """Whether its tables are those of this version of the package; if not, nothing else is known."""
    damage: str | None = None
    """What is broken in the file, if anything is."""
    original: str | None = None
    """The ledger that this one is a copy of, if that is still there."""
    states: Sequence[State] = ()
    """The state of each chunk."""


class Requests(NamedTuple):
    """The requests of one chunk in columns: place n of each is that of ordinal n."""

    partition_keys: Sequence[str | None]
    questions: Sequence[str]
    attempts: Sequence[int]
    keys: Sequence[str]
    custom_ids: Sequence[str]
    outcomes: Sequence[str | None]
    """The ledger's word for what came back; None until the chunk has come to its end."""


class Made(NamedTuple):
    """The latest attempt at a question that the ledger knows to have come to its end."""

    number: int
    chunk_id: str


class Claimed(NamedTuple):
    """What the chunks of a pipeline have claimed, as of one moment."""

    in_flight: Mapping[str, str]
    """The questions on their way, each with the chunk that carries it."""
    chunk_ids: frozenset[str]
    """The chunks that carry questions, or have answered them: what they claim is known from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What the answers of one chunk cost for one partition."""

    partition_key: str | None
    n_requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """At batch prices; None when the model's price is not known."""
    live_cost_usd: float | None
    """What the live API would have cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the answers of one chunk came to: what is known of requests like them."""

    n_requests: int
    """Those that were answered, and so paid for."""
    n_bytes: int
    """Their share of the chunk's body."""
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the requests of a run were expected to cost, in US dollars at batch prices."""

    n_requests: int
    usd: float
    low_usd: float
    high_usd: float
    basis: str
    """What the estimate was made from."""


class Occasion(NamedTuple):
    """For what a chunk is sent."""

    pipeline: str
    place: str
    """Base URL and workspace."""
    run_id: str
    root_run_id: str | None = None
    """The first of the runs that repeat each other, of which `run_id` is one."""
    backfill_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much may be spent and reserved by certain chunks together: those that fulfil all that is said here."""

    usd: float
    place: str
    """Base URL and workspace."""
    pipeline: str | None = None
    budget: str | None = None
    since: datetime | None = None
    root_run_id: str | None = None
    backfill_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A chunk of which it was not known, once, whether it had been accepted: its part for one partition."""

    chunk_id: str
    partition_key: str | None
    state: State
    n_requests: int
    """Those of this partition."""
    set_free: bool
    """Whether its rows were free to be sent again."""
    max_cost_usd: float | None
    """This partition's share of what the chunk can cost at most."""
    cost_usd: float | None
    """What it did cost this partition, once its results have landed."""
    is_unheard: bool = False
    """Whether these were asked live, and their answers were lost on the way."""


class Ledger(Protocol):
    """
    The durable memory of what was sent, to whom, and what came of it.

    Each method is one transaction. Every method raises `LedgerError` when the store does not answer.
    """

    def intend(
        self,
        chunk: ChunkRecord,
        requests: Requests,
        *,
        known: Collection[str] = (),
        allowance: Allowance | None = None,
    ) -> None:
        """
        Write down a chunk and its requests, before anything of it is sent: this claims their questions.

        And it reserves what they can cost at most: raises `BudgetError`, and writes nothing, if that is more than is
        left of the allowance.

        Raises `ClaimConflictError`, and writes nothing, if another chunk has a question of them on its way or has
        answered it, or if another chunk of the pipeline is unconfirmed at the same place. Chunks that are `known`
        are not looked at again: whoever made the choice has seen what they claim.
        """

    @property
    def ledger_id(self) -> str:
        """A name of its own, given when the ledger was created."""

    def move(self, chunk_id: str, *, to: State, **learned: Unpack[Learned]) -> ChunkRecord:
        """Move a chunk to a state allowed by `NEXT`, with what was learned; raise on any other."""

    def note(self, chunk_id: str, **learned: Unpack[Learned]) -> ChunkRecord:
        """Write down what was learned of a chunk without moving it."""

    def chunk(self, chunk_id: str) -> ChunkRecord:
        """Return one chunk."""

    def chunks(self, pipeline: str, states: Iterable[State], *, run_id: str | None = None) -> list[ChunkRecord]:
        """Return the pipeline's chunks in these states, oldest first; of one run if given."""

    def gives_up_at(self, pipeline: str, root_run_id: str) -> datetime | None:
        """Return when rows of this run, or of one that it repeats, are not to wait any longer; None if none is told."""

    def sizes(self, pipeline: str, states: Iterable[State]) -> dict[str, int]:
        """Return how many requests each of the pipeline's chunks in these states has."""

    def batch_ids(self) -> frozenset[str]:
        """Return every batch id this ledger knows."""

    def unknown(self, chunk_ids: Iterable[str]) -> list[str]:
        """Return those of the chunks that this ledger has never heard of."""

    def requests(self, chunk_id: str) -> Requests:
        """Return the requests of a chunk in columns."""

    def claimed(self, pipeline: str, *, lacking: Collection[str] = ()) -> Claimed:
        """Return what is claimed now; questions of chunks that are `lacking` in the database count as on their way."""

    def made(self, pipeline: str, questions: AbstractSet[str]) -> dict[str, Made]:
        """Return the attempts at these questions that have come to their end, whatever the database knows of them."""

    def has_earlier_names(self, pipeline: str) -> bool:
        """Whether rows of the pipeline were asked under hashes of an earlier version."""

    def rename(self, pipeline: str, names: Mapping[str, str]) -> None:
        """Give questions of the pipeline other hashes: the same questions, by a later version's names."""

    def note_outcomes(self, chunk_id: str, outcomes: Mapping[int, str], spends: Sequence[Spend] = ()) -> None:
        """Write down what came back for some requests of a chunk, whatever stood there; add what they cost."""

    def doubts(self, pipeline: str) -> list[Doubt]:
        """Return every chunk that was ever unconfirmed after its last byte had left, partition by partition."""

    def close(
        self, chunk_id: str, *, to: State, outcome: str, others: Mapping[int, str], spends: Sequence[Spend]
    ) -> None:
        """
        Move the chunk to its end, with what came back and what it cost.

        `outcome` holds for all of its requests, but for the `others`, by ordinal.
        """

    def unfinished(self, pipeline: str) -> dict[str | None, set[str]]:
        """Return the chunks that may still be at the API, by each partition that has rows in them."""

    def spends(self, pipeline: str, *, run_id: str | None = None, place: str | None = None) -> list[Spend]:
        """Return what each partition has cost so far: in one run, or at one base URL and workspace, if given."""

    def asked_with(self, pipeline: str, *, definition: str, place: str) -> list[ChunkRecord]:
        """Return the latest chunks with this definition that were accepted, at one base URL and workspace."""

    def committed(self, allowance: Allowance) -> float:
        """Return what was spent of an allowance, and what is reserved, in US dollars."""

    def answered(self, pipeline: str, *, definition: str, place: str) -> list[Answered]:
        """Return what the latest chunks with this definition came to, at one base URL and workspace."""

    def expect(self, run_id: str, pipeline: str, expected: Expected) -> None:
        """Write down what a run is expected to cost, in place of what stood there."""

    def misses(self, pipeline: str, *, place: str) -> list[float]:
        """
        Return how far the last estimates were off, latest first: 0.1 for a request that cost a tenth more.

        Only those of runs all of whose chunks have come to their end.
        """
