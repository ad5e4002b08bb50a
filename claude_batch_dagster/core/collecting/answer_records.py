"""What came back for a request, as it is written down: in the answers, and in the ledger as one word."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from claude_batch_dagster.core.collecting.results import Canceled, Errored, Expired, Result, Succeeded, Unheard
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Requests, Spend
from claude_batch_dagster.core.ports import AnswerRecord, Lack
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, UNHEARD

NEVER = "never handed out"
"""Detail of what is gone, if the API had only counted it."""


KEPT_IN = "raw results are kept in "
"""Begins the note of a chunk whose results were on the disk of some machine: only that one can have them for ever."""

NO_RESULT = Lack(Came.MISSING)
WITHHELD = Lack(Came.WITHHELD)
LOST = Lack(Came.GONE)
NOT_HEARD = Lack(Came.UNHEARD)
NEVER_HANDED_OUT = Lack(Came.GONE, NEVER)

WORDS: Mapping[Came, str] = {Came.WITHHELD: CLAIMED, Came.GONE: GONE, Came.UNHEARD: UNHEARD}
"""How the ledger calls what it does not call as the answers do."""


def word(came: Came) -> str:
    """Return how the ledger calls what came back."""
    return WORDS.get(came, str(came))


def lack(known: str | None, *, withheld: bool) -> Lack:
    """
    Say why a request has no result, by the ledger's word for it, if it has one already.

    The API counts results by type. If it counts more successes than it hands out (`withheld`), a request without a
    result may be one of them: it was paid for, so it is not asked again by itself.
    """
    if known == UNHEARD:
        return NOT_HEARD
    if withheld or known == CLAIMED:
        return WITHHELD
    return LOST if known == GONE else NO_RESULT


def gone(known: str | None, chunk: ChunkRecord | None = None) -> Lack:
    """Say of a request that nobody has its result any more; and where it was kept, if the chunk tells."""
    if known == UNHEARD:
        return NOT_HEARD
    if known == CLAIMED:
        return NEVER_HANDED_OUT
    note = (chunk and chunk.note) or ""
    return LOST._replace(text=note.removeprefix(KEPT_IN)) if note.startswith(KEPT_IN) else LOST


def came_of(result: Result) -> Came:
    """Return the API's word for a result."""
    match result:
        case Succeeded():
            return Came.SUCCEEDED
        case Errored():
            return Came.ERRORED
        case Canceled():
            return Came.CANCELED
        case Expired():
            return Came.EXPIRED
        case Unheard():
            return Came.UNHEARD


def recorded(
    chunk: ChunkRecord, requests: Requests, outcomes: Mapping[int, Result | Lack], now: datetime
) -> list[AnswerRecord]:
    """Return what is written down of what came back, by ordinal; not what it is worth today."""
    return [
        AnswerRecord(
            question=requests.questions[ordinal],
            chunk_id=chunk.chunk_id,
            ordinal=ordinal,
            attempt=requests.attempts[ordinal],
            batch_id=chunk.batch_id,
            custom_id=requests.custom_ids[ordinal],
            answered_at=chunk.ended_at or now,
            **facts_of(outcome, chunk.lane),
        )
        for ordinal, outcome in outcomes.items()
    ]


def facts_of(outcome: Result | Lack, lane: Lane = Lane.BATCH) -> dict[str, Any]:
    """Return what is written down of what came back, whichever request it was for."""
    match outcome:
        case Lack(came, detail, text):
            return {"came": came, "detail": detail, "text": text}
        case Succeeded():
            return _message(outcome, lane)
        case Errored(kind=kind, message=message):
            return {"came": Came.ERRORED, "detail": kind, "text": message}
        case Canceled() | Expired() | Unheard():
            return {"came": came_of(outcome)}


def _message(message: Succeeded, lane: Lane) -> dict[str, Any]:
    price = cost(message.model, message.usage)
    return {
        "came": Came.SUCCEEDED,
        "text": message.text,
        "sanitized": message.sanitized,
        "detail": message.stop_reason,
        "explanation": message.stop_explanation,
        "model": message.model,
        "input_tokens": message.usage.total_input_tokens,
        "output_tokens": message.usage.output_tokens,
        "cost_usd": price.at(lane) if price else None,
    }


def rejected(chunk: ChunkRecord, *, question: str, attempt: int, ordinal: int) -> AnswerRecord:
    """Return what is written down of a row for which the API refused a whole chunk; its words may quote the row."""
    error = f"the API refuses this row's request ({chunk.note}); mend or shorten the row, or mend the prompt"
    fact = partial(AnswerRecord, question=question, chunk_id=chunk.chunk_id, ordinal=ordinal, attempt=attempt)
    return fact(came=Came.REJECTED, text=error)


def spending(billed: Iterable[tuple[str | None, Succeeded]], lane: Lane = Lane.BATCH) -> list[Spend]:
    """Add up what Messages cost, each with its partition. Only results of type `succeeded` are billed."""
    by_partition: dict[str | None, list[Succeeded]] = defaultdict(list)
    for partition_key, message in billed:
        by_partition[partition_key].append(message)
    return [_spend(partition_key, messages, lane) for partition_key, messages in by_partition.items()]


def _spend(partition_key: str | None, messages: Sequence[Succeeded], lane: Lane) -> Spend:
    costs = [cost(message.model, message.usage) for message in messages]
    known = [price for price in costs if price is not None]
    return Spend(
        partition_key=partition_key,
        n_requests=len(messages),
        input_tokens=sum(message.usage.total_input_tokens for message in messages),
        output_tokens=sum(message.usage.output_tokens for message in messages),
        cost_usd=sum(price.at(lane) for price in known) if len(known) == len(costs) else None,
        live_cost_usd=sum(price.live_usd for price in known) if len(known) == len(costs) else None,
    )
