"""What came back for a row: as a row of the output table, and as money spent."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from claude_batch_dagster.core.answering import Told
from claude_batch_dagster.core.attempts import Came
from claude_batch_dagster.core.ledger import ChunkRecord, RowRecord, Spend
from claude_batch_dagster.core.ports import AnswerRecord, Batch
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.results import Canceled, Errored, Expired, Result, Succeeded
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, Verdict

NEVER = "never handed out"
"""Detail of what is gone, if the API had only counted it."""

GONE_TOLD = Told(
    Verdict.MISSING,
    "answered and paid for, but the API no longer has the results (29 days, or deleted). "
    "Not sent again by itself; change the row or the prompt to ask anew",
)

CLAIMED_TOLD = Told(
    Verdict.MISSING,
    "the API counts a result for this row, but the results it hands out lack it. It may have been paid for, so it is "
    "not sent again; while the API keeps the results (29 days), each materialization looks for it once more",
    final=True,
)

NEVER_HANDED_OUT = Told(
    Verdict.MISSING,
    "the API counted a result for this row, never handed it out, and no longer has the results (29 days, or deleted). "
    "It may have been paid for, so it is not sent again by itself; change the row or the prompt to ask anew",
    final=True,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row sent, what came back for it, and what that means."""

    row: RowRecord
    result: Result | None
    told: Told


def claimed_by(outcomes: list[Outcome], batch: Batch | None) -> list[Outcome]:
    """
    Tell rows without a result that were billed from those that were not.

    The API counts results by type. If it counts more successes than it hands out, a missing row may be one
    of them: it was paid for, so it is not asked again by itself.
    """
    n_found = sum(isinstance(one.result, Succeeded) for one in outcomes)
    if batch is not None and batch.counts.succeeded <= n_found:
        return outcomes
    return [replace(one, told=CLAIMED_TOLD) if one.result is None else one for one in outcomes]


def told_before(row: RowRecord, result: Result | None) -> Told | None:
    """Say again of a row without a result what the API's counts said of it when its batch landed, if they did."""
    return {CLAIMED: CLAIMED_TOLD, GONE: GONE_TOLD}.get(row.verdict or "") if result is None else None


def gone(row: RowRecord) -> Told:
    """Say of a row that nobody has its result any more."""
    return NEVER_HANDED_OUT if row.verdict == CLAIMED else GONE_TOLD


def recorded(chunk: ChunkRecord, outcome: Outcome, now: datetime) -> AnswerRecord:
    """Return what is written down of an outcome: what came back, without what it is worth today."""
    row, result = outcome.row, outcome.result
    fact = partial(_fact, row, batch_id=chunk.batch_id, custom_id=row.custom_id, answered_at=chunk.ended_at or now)
    match result:
        case Succeeded():
            price = cost(result.model, result.usage)
            return fact(
                came=Came.SUCCEEDED,
                text=result.text,
                sanitized=result.sanitized,
                detail=result.stop_reason,
                explanation=result.stop_explanation,
                model=result.model,
                input_tokens=result.usage.total_input_tokens,
                output_tokens=result.usage.output_tokens,
                cost_usd=price.batch_usd if price else None,
            )
        case Errored(kind=kind, message=message):
            return fact(came=Came.ERRORED, detail=kind, text=message)
        case Canceled():
            return fact(came=Came.CANCELED)
        case Expired():
            return fact(came=Came.EXPIRED)
        case None:
            return fact(came=_without_result(outcome.told), detail=NEVER if outcome.told == NEVER_HANDED_OUT else None)


def _without_result(told: Told) -> Came:
    if told == CLAIMED_TOLD:
        return Came.WITHHELD
    return Came.GONE if told in (GONE_TOLD, NEVER_HANDED_OUT) else Came.MISSING


def rejected(chunk: ChunkRecord, row: RowRecord) -> AnswerRecord:
    """Return what is written down of a row for which the API refused a whole chunk; its words may quote the row."""
    error = f"the API refuses this row's request ({chunk.note}); mend or shorten the row, or mend the prompt"
    return _fact(row, came=Came.REJECTED, text=error)


def _fact(row: RowRecord, **facts: Any) -> AnswerRecord:
    return AnswerRecord(
        question=row.request_hash, chunk_id=row.chunk_id, ordinal=row.ordinal, attempt=row.attempt, **facts
    )


def spending(outcomes: Iterable[Outcome]) -> list[Spend]:
    """Add up what a chunk cost, by partition. Only results of type `succeeded` are billed."""
    by_partition: dict[str | None, list[Succeeded]] = defaultdict(list)
    for outcome in outcomes:
        if isinstance(outcome.result, Succeeded):
            by_partition[outcome.row.row.partition_key].append(outcome.result)
    return [_spend(partition_key, results) for partition_key, results in by_partition.items()]


def _spend(partition_key: str | None, results: Sequence[Succeeded]) -> Spend:
    costs = [cost(result.model, result.usage) for result in results]
    known = [price for price in costs if price is not None]
    return Spend(
        partition_key=partition_key,
        n_requests=len(results),
        input_tokens=sum(result.usage.total_input_tokens for result in results),
        output_tokens=sum(result.usage.output_tokens for result in results),
        cost_usd=sum(price.batch_usd for price in known) if len(known) == len(costs) else None,
        live_cost_usd=sum(price.live_usd for price in known) if len(known) == len(costs) else None,
    )
