"""Send one chunk exactly once, leaving a trace before and after."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Ledger, Requests, State
from claude_batch_dagster.core.ports import Batch, BatchApi, Body, Clock
from claude_batch_dagster.core.sending.chunks import Chunk
from claude_batch_dagster.core.sending.gate import gated
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.core.sending.purse import Purse
from claude_batch_dagster.core.sending.redaction import shown
from claude_batch_dagster.errors import ApiError, ApiRefusedError, LedgerError

DEFINITE_NO = frozenset({400, 401, 402, 403, 404, 413, 422, 429})
"""
Statuses that prove nothing was accepted, when they come with the API's error envelope. Any other answer
after the last byte has left (408, 409, 5xx, a redirect, a page of HTML, silence) proves nothing.
"""


NAMED_ROW = re.compile(r"requests\.(\d{1,6})\.")
"""How the API names the row that it refuses a whole batch for."""


class Sent(StrEnum):
    """One of three things is true of a chunk that was sent."""

    YES = "yes"
    NO = "no"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Sends chunks for one pipeline of one run. The caller holds the pipeline's lock."""

    api: BatchApi
    ledger: Ledger
    clock: Clock
    pipeline: str
    run_id: str
    definition: str | None = None
    root_run_id: str | None = None
    backfill_id: str | None = None
    purse: Purse | None = None
    """From what it is paid; None for no budget."""
    live: LiveLane | None = None
    """Asks what does not wait for a batch."""
    give_up_at: datetime | None = None
    """When rows are not to wait any longer; None for as long as it takes."""

    def ask(self, chunk: Chunk, *, known: Collection[str] = ()) -> ApiError | None:
        """
        Ask the requests of a chunk live; its answers are on our disk when this returns.

        Claims and reserves as `submit` does, and raises as it does for what must not be sent. Returns what stood
        against asking all of them, if anything did.
        """
        if self.live is None:  # pragma: no cover  (whoever opens a run gives it both ways)
            raise AssertionError(chunk)
        self._intend(chunk, known)
        return self.live.ask(chunk)

    def submit(self, chunk: Chunk, *, known: Collection[str] = ()) -> ChunkRecord:
        """
        Send one chunk and return what the ledger then knows of it.

        The record's state is `ACCEPTED`; or `AMBIGUOUS` when recovery has to find out; or `HELD` when the API
        accepted another number of requests than were sent, until that batch proves whose it is. A chunk that
        was provably not accepted is written down as `REFUSED`, its rows are free, and the error is raised.
        `known` are the chunks whose claims were looked at when its rows were chosen. Raises `BudgetError` if it can
        cost more than is left of the budget.
        """
        self._intend(chunk, known)
        try:
            batch = self.api.create(self.withhold_last_byte(chunk))
        except ApiError as error:
            return self._failed(chunk, error)
        # A crash between the answer and the next line is what `recovery` is for.
        if self.ledger.chunk(chunk.nonce).state is State.SENDING:
            self.ledger.move(chunk.nonce, to=State.RELEASED, note="accepted before its last byte had left")
        if batch.counts.total != len(chunk.rows):
            accepted = counted(batch.counts.total, "request")
            note = f"the API accepted {accepted} of {len(chunk.rows)} as {batch.id}"
            return self.ledger.move(
                chunk.nonce, to=State.HELD, batch_id=batch.id, batch_created_at=batch.created_at, note=note
            )
        return self.accept(chunk, batch)

    def accept(self, chunk: Chunk, batch: Batch) -> ChunkRecord:
        """Write down the id that the API gave; if that fails, say it, since it was paid for."""
        try:
            return self.ledger.move(
                chunk.nonce, to=State.ACCEPTED, batch_id=batch.id, batch_created_at=batch.created_at
            )
        except LedgerError as error:
            error.add_note(f"The API accepted batch {batch.id}; the next run finds it in the API's list by itself.")
            raise

    def _intend(self, chunk: Chunk, known: Collection[str]) -> None:
        self.ledger.intend(*self.intent(chunk), known=known, allowance=self.purse.allowance if self.purse else None)

    def intent(self, chunk: Chunk) -> tuple[ChunkRecord, Requests]:
        """Return what is written down, in one transaction with the claim of its rows, before anything is sent."""
        most, now = chunk.max_cost_usd, self.clock.now()  # asked once: it looks at every request
        is_late = self.give_up_at is not None and chunk.lane is Lane.LIVE
        record = ChunkRecord(
            chunk_id=chunk.nonce,
            pipeline=self.pipeline,
            run_id=self.run_id,
            account=self.api.account,
            state=State.SENDING,
            n_requests=len(chunk.rows),
            n_bytes=chunk.body.n_bytes,
            intended_at=now,
            max_cost_usd=most,
            reserved_usd=most,
            budget=self.purse.budget.name if self.purse else None,
            definition=self.definition,
            root_run_id=self.root_run_id or self.run_id,
            backfill_id=self.backfill_id,
            lane=chunk.lane,
            give_up_at=self.give_up_at,
            given_up_at=now if is_late else None,  # what fails is asked live once more
        )
        return record, requests_of(chunk)

    def withhold_last_byte(self, chunk: Chunk) -> Body:
        """Withhold the last byte until `RELEASED` is durable."""

        def release() -> None:
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())

        return gated(chunk.body, release)

    def _failed(self, chunk: Chunk, error: ApiError) -> ChunkRecord:
        released = self.ledger.chunk(chunk.nonce).state is State.RELEASED
        if classify(error, released=released) is Sent.NO:
            self.ledger.move(chunk.nonce, to=State.REFUSED, note=error.brief)
            raise _without_documents(error, chunk)
        return self.ledger.move(chunk.nonce, to=State.AMBIGUOUS, note=error.brief)


def requests_of(chunk: Chunk) -> Requests:
    """Return the requests of a chunk as they are written down before it is sent: without their documents."""
    return Requests(
        partition_keys=tuple([row.partition_key for row in chunk.rows]),
        questions=tuple([row.question for row in chunk.rows]),
        attempts=tuple([row.attempt for row in chunk.rows]),
        keys=tuple([row.key for row in chunk.rows]),
        custom_ids=chunk.custom_ids,
        outcomes=(None,) * len(chunk.rows),
    )


def _without_documents(error: ApiError, chunk: Chunk) -> ApiError:
    if not isinstance(error, ApiRefusedError):
        return error
    return error.saying(shown(error.message, (row.params for row in chunk.rows)))


def classify(error: ApiError, *, released: bool) -> Sent:
    """Say what a failed create call proves."""
    if not released:
        return Sent.NO
    if isinstance(error, ApiRefusedError) and error.status in DEFINITE_NO and error.kind is not None:
        return Sent.NO
    return Sent.AMBIGUOUS


def culprit_of(error: ApiRefusedError, n_requests: int) -> int | None:
    """Return the ordinal of the one row for which a chunk was refused, if that is what the API said."""
    if error.status == 413 and n_requests == 1:  # noqa: PLR2004  (content too large)
        return 0
    named = set(NAMED_ROW.findall(f"{error.message}.")) if error.status == 400 else set()  # noqa: PLR2004  (bad request)
    [ordinal] = named if len(named) == 1 else [None]
    return int(ordinal) if ordinal is not None and n_requests > 1 and int(ordinal) < n_requests else None
