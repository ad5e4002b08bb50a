"""What came back for a row: as a row of the output table, and as money spent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from claude_batch_dagster.core.answering import Told
from claude_batch_dagster.core.ledger import ChunkRecord, RowKey, RowRecord, Spend
from claude_batch_dagster.core.ports import Answer, Batch
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.results import Result, Succeeded
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, Verdict

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


def laid_out(chunk: ChunkRecord, outcomes: Iterable[Outcome], now: datetime) -> Iterator[Answer]:
    """Lay outcomes out as rows of the output table."""
    for outcome in outcomes:
        message = outcome.result if isinstance(outcome.result, Succeeded) else None
        price = cost(message.model, message.usage) if message else None
        yield Answer(
            row=outcome.row.row,
            status=outcome.told.verdict,
            error=outcome.told.error,
            values=outcome.told.values,
            batch_id=chunk.batch_id,
            custom_id=outcome.row.custom_id,
            request_hash=outcome.row.request_hash,
            model=message.model if message else None,
            stop_reason=message.stop_reason if message else None,
            input_tokens=message.usage.total_input_tokens if message else None,
            output_tokens=message.usage.output_tokens if message else None,
            cost_usd=price.batch_usd if price else None,
            attempt=outcome.row.attempt,
            answered_at=chunk.ended_at or now,
        )


def rejected(row: RowKey, asked: str, chunk: ChunkRecord) -> Answer:
    """Lay out a row for which the API refused a whole chunk; its own words are not kept, they may quote the row."""
    error = f"the API refuses this row's request ({chunk.note}); mend or shorten the row, or mend the prompt"
    return Answer(row=row, status=Verdict.REJECTED, error=error, request_hash=asked)


def taken_over(row: RowKey, outcome: Outcome, chunk: ChunkRecord, now: datetime) -> Answer:
    """Lay an outcome out for a row; what was paid for another row costs this one nothing."""
    [answer] = laid_out(chunk, [outcome], now)
    if outcome.row.row == row:
        return answer
    return replace(answer, row=row, input_tokens=0, output_tokens=0, cost_usd=None if answer.cost_usd is None else 0.0)


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
