"""What can become of a row, and whether it is asked again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from claude_batch_dagster.core.ledger import OPEN, RowRecord


class Verdict(StrEnum):
    """The `status` of a row in the output table: a closed list."""

    SUCCEEDED = "succeeded"
    """Answered, complete, and valid by the output model."""
    INVALID = "invalid"
    """Answered, but the answer does not fit the output model."""
    TRUNCATED = "truncated"
    """The answer stopped at `max_tokens` or at the end of the context window."""
    REFUSED = "refused"
    """Claude declined to answer."""
    ERRORED = "errored"
    """The API reports an error for this request."""
    EXPIRED = "expired"
    """Not processed within the API's 24 hours."""
    CANCELED = "canceled"
    """The batch was canceled before this request was processed."""
    MISSING = "missing"
    """The batch ended without a result for this row."""
    REJECTED = "rejected"
    """Never asked: empty, not encodable, too large, a bad or duplicate key, or refused by the API as a request."""
    BLOCKED = "blocked"
    """Never sent: the budget does not allow it."""


TRANSIENT = frozenset({"api_error", "overloaded_error", "timeout_error", "rate_limit_error"})
"""Error types of an errored request for which asking the same again can help."""

RETRYABLE_ERROR = "errored:transient"
"""How the ledger marks an errored row whose error type is transient."""

CLAIMED = f"{Verdict.MISSING}:final"
"""How the ledger marks a row for which the API counted an answer that it has not handed out."""

GONE = f"{Verdict.MISSING}:gone"
"""How the ledger marks a row that was paid for and whose result is no longer available."""

UNJUDGED = f"{Verdict.INVALID}:unjudged"
"""An answer that did not fit the output model of another run, and cannot be held against today's just now."""

FORGOTTEN = f"{Verdict.INVALID}:gone"
"""The same, when nobody has the answer any more: it was paid for, and may have been good."""

FREE_TO_REPEAT = frozenset({Verdict.EXPIRED, Verdict.CANCELED, Verdict.MISSING, RETRYABLE_ERROR})
"""Verdicts that cost nothing and say nothing against the request itself."""

PAID_TO_REPEAT = frozenset({Verdict.INVALID, Verdict.TRUNCATED})
"""Verdicts that cost as much as an answer: one more try, then final."""

MAX_PAID_ATTEMPTS = 2
"""How often a request may be paid for without a usable answer, ever."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The row's question is on its way; wait for its chunk."""

    chunk_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The question has its final verdict, from this chunk."""

    chunk_id: str
    succeeded: bool
    shared: bool = False
    """The verdict is that of another row that asked the very same thing."""
    withdrawn: bool = False
    """The document had another question when the chunk was last expected, so the answer stayed out of the table."""
    claimed: bool = False
    """The API counted an answer that it has not handed out, or one could not be looked at: it may turn out good."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the row."""

    attempt: int
    """1 for the first time this request is asked for this row."""
    n_truncated: int
    """How many earlier attempts stopped at `max_tokens`; each widens it."""


Decision = InFlight | Settled | Ask


def decide(
    history: Sequence[RowRecord],
    asked_by_anyone: Sequence[RowRecord] = (),
    *,
    run_chunks: frozenset[str],
    max_attempts: int,
) -> Decision:
    """
    Say what to do with a row, from what the ledger knows of its question.

    `history` are the row's own records of this request, `asked_by_anyone` those of all rows, its own among
    them; both oldest first. A question is asked and paid for once, whoever asks it: a row shares a good
    answer, waits for one on its way, and takes a final failure over. `run_chunks` are the chunks sent by
    this run: a failure that cost nothing is repeated up to `max_attempts` times a run, and again
    whenever the partition is materialized anew; one that was paid for is repeated once, ever.
    """
    everyone = asked_by_anyone or history
    if flying := [record for record in history if record.state in OPEN]:
        return InFlight(flying[-1].chunk_id)
    for records in (history, everyone):
        if good := [record for record in records if record.verdict == Verdict.SUCCEEDED]:
            shared, withdrawn = records is not history, good[-1].withdrawn
            return Settled(good[-1].chunk_id, succeeded=True, shared=shared, withdrawn=withdrawn)
    if flying := [record for record in everyone if record.state in OPEN]:
        return InFlight(flying[-1].chunk_id)
    told = [record for record in everyone if record.verdict is not None]
    if not told:
        return Ask(attempt=1, n_truncated=0)
    unjudged = [record for record in told if record.verdict in {UNJUDGED, FORGOTTEN}]
    last = (unjudged or told)[-1]
    n_paid = sum(record.verdict in PAID_TO_REPEAT for record in told)
    n_this_run = sum(record.chunk_id in run_chunks for record in told)
    repeatable = last.verdict in FREE_TO_REPEAT or last.verdict in PAID_TO_REPEAT
    if history and history[-1].withdrawn and history[-1].chunk_id in run_chunks:
        repeatable = False  # a later run asks something else of this row: what we ask now would be paid for in vain
    if not repeatable or n_paid >= MAX_PAID_ATTEMPTS or n_this_run >= max_attempts:
        claimed = last.verdict in {CLAIMED, UNJUDGED}
        shared = last not in history
        return Settled(last.chunk_id, succeeded=False, shared=shared, withdrawn=last.withdrawn, claimed=claimed)
    n_truncated = sum(record.verdict == Verdict.TRUNCATED for record in told)
    # The highest, not the last: nonces are out of order where a clock went back, and a claim counts by attempts.
    return Ask(attempt=max(record.attempt for record in told) + 1, n_truncated=n_truncated)


def last_word(history: Iterable[RowRecord]) -> dict[str, str]:
    """Return which chunk has the verdict on each question, oldest records first: a good one, or the latest."""
    told: dict[str, RowRecord] = {}
    flying: set[str] = set()
    for record in history:
        known = told.get(record.request_hash)
        if record.state in OPEN:
            flying.add(record.request_hash)
        elif record.verdict is not None and (known is None or known.verdict != Verdict.SUCCEEDED):
            told[record.request_hash] = record
    return {asked: record.chunk_id for asked, record in told.items() if asked not in flying}
