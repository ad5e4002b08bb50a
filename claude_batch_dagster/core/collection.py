"""Bring a chunk home: raw bytes to the spool, every row a verdict, the answers into the table."""

from collections import defaultdict
from collections.abc import Collection as Members
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from claude_batch_dagster.core.answering import Told, tell
from claude_batch_dagster.core.ledger import ChunkRecord, Ledger, RowKey, RowRecord, Spend, State
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.ports import Answer, Answers, Batch, BatchApi, Clock, Locks, Spool
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.results import Result, Succeeded, UnreadableLineError, decode
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError

RETENTION = timedelta(days=29)
"""How long results can be downloaded, from the batch's creation (Claude docs, "Batch processing")."""

MAX_DOWNLOADS = 3
"""How often results with missing rows are downloaded before `missing` becomes a verdict."""

GONE = "missing:gone"
"""How the ledger marks rows that were paid for and whose results are no longer available."""

GONE_ERROR = (
    "answered and paid for, but the API no longer has the results (29 days, or deleted). "
    "Not sent again by itself; change the row or the prompt to ask anew"
)


Matched = tuple[RowRecord, Result | None]
"""A row sent, and the result that came back for it, if one did."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Collects ended batches of one pipeline."""

    api: BatchApi
    ledger: Ledger
    spool: Spool
    answers: Answers
    schema: OutputSchema
    clock: Clock
    locks: Locks
    downloads: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def collect(self, chunk_id: str, batch: Batch | None) -> bool:
        """
        Take a chunk as far as it goes; `True` once it is in the table.

        `batch` is what the API shows of it, or None when it is not needed any more (`SPOOLED`). `False`
        means: not yet, look again later.
        """
        with self.locks.hold(f"collect {chunk_id}"):
            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile
            if chunk.state in {State.ACCEPTED, State.ADOPTED, State.ENDED} and self._is_past(chunk, batch):
                self._write_off(chunk)
                return True
            if chunk.state in {State.ACCEPTED, State.ADOPTED} and batch is not None and batch.ended:
                chunk = self.ledger.move(chunk_id, to=State.ENDED, ended_at=batch.ended_at or self.clock.now())
            if chunk.state is State.ENDED and (matched := self._download(chunk)) is not None:
                self.ledger.move(chunk_id, to=State.SPOOLED)
                self._land(chunk, matched)
            elif chunk.state is State.SPOOLED:
                self._land(chunk, self._reconcile(chunk))
            return self.ledger.chunk(chunk_id).state in {State.APPLIED, State.LOST}

    def restore(self, chunk_id: str, wanted: Members[RowKey]) -> None:
        """
        Land rows of a chunk again, at no cost: from the spool, or from the API while it has the results.

        Rows whose results neither has get the verdict `missing`: they were paid for and are not sent again.
        Raises `ApiError` when the API cannot be asked just now.
        """
        with self.locks.hold(f"collect {chunk_id}"):
            chunk = self.ledger.chunk(chunk_id)
            here = self.spool.has(_batch_id(chunk)) or self._fetch_again(_batch_id(chunk))
            told = self._told(self._reconcile(chunk)) if here else self._gone(chunk)
            self.answers.restore(_answers(chunk, (one for one in told if one.row.row in wanted), self.clock.now()))

    def _is_past(self, chunk: ChunkRecord, batch: Batch | None) -> bool:
        """Whether the results can no longer be downloaded: not shown or archived, and long ago."""
        created_at = batch.created_at if batch else chunk.batch_created_at or chunk.intended_at
        return bool(batch and batch.archived_at) or self.clock.now() - created_at > RETENTION

    def _download(self, chunk: ChunkRecord) -> list[Matched] | None:
        batch_id = _batch_id(chunk)
        if not self._fetch(batch_id):
            return None  # a 404 right after the end passes; a cut stream is downloaded again
        self.downloads[chunk.chunk_id] += 1
        matched = self._reconcile(chunk)
        complete = all(result is not None for _, result in matched)
        if not complete and self.downloads[chunk.chunk_id] < MAX_DOWNLOADS:
            self.spool.discard(batch_id)
            return None
        return matched

    def _fetch_again(self, batch_id: str) -> bool:
        try:
            self._stream(batch_id)
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (29 days have passed, or somebody deleted them)
                return False
            raise
        return True

    def _fetch(self, batch_id: str) -> bool:
        try:
            self._stream(batch_id)
        except CredentialError:
            raise
        except ApiError:
            return False
        return True

    def _stream(self, batch_id: str) -> None:
        with self.api.results(batch_id) as pieces:
            self.spool.write(batch_id, pieces)

    def _reconcile(self, chunk: ChunkRecord) -> list[Matched]:
        """
        Match the spooled lines with the rows sent, by custom_id, in any order.

        The first of two results for one row counts. Lines for rows that were never sent, and lines that
        cannot be read, stay in the spool and are never joined to a row.
        """
        rows = self.ledger.rows(chunk.chunk_id)
        sent = {row.custom_id for row in rows}
        found: dict[str, Result] = {}
        for line in self.spool.lines(_batch_id(chunk)):
            try:
                result = decode(line)
            except UnreadableLineError:
                continue
            if result.custom_id in sent:
                found.setdefault(result.custom_id, result)
        return [(row, found.get(row.custom_id)) for row in rows]

    def _land(self, chunk: ChunkRecord, matched: list[Matched]) -> None:
        told = self._told(matched)
        self.answers.apply(chunk.chunk_id, _answers(chunk, told, self.clock.now()))
        # A crash here is harmless: the table remembers the chunk, and the ledger catches up.
        self.ledger.close(
            chunk.chunk_id,
            to=State.APPLIED,
            verdicts=[one.told.mark for one in told],
            spends=spending(told),
        )

    def _told(self, matched: list[Matched]) -> list["_Outcome"]:
        return [_Outcome(row, result, tell(result, self.schema)) for row, result in matched]

    def _write_off(self, chunk: ChunkRecord) -> None:
        lost = self._gone(chunk)
        self.answers.apply(chunk.chunk_id, _answers(chunk, lost, self.clock.now()))
        self.ledger.close(chunk.chunk_id, to=State.LOST, verdicts=[GONE] * len(lost), spends=[])

    def _gone(self, chunk: ChunkRecord) -> list["_Outcome"]:
        told = Told(Verdict.MISSING, GONE_ERROR)
        return [_Outcome(row, None, told) for row in self.ledger.rows(chunk.chunk_id)]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A row sent, what came back for it, and what that means."""

    row: RowRecord
    result: Result | None
    told: Told


def _answers(chunk: ChunkRecord, outcomes: Iterable[_Outcome], now: datetime) -> Iterator[Answer]:
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


def spending(outcomes: Iterable[_Outcome]) -> list[Spend]:
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


def _batch_id(chunk: ChunkRecord) -> str:
    if chunk.batch_id is None:  # pragma: no cover  (no move to ENDED without an id)
        raise AssertionError(chunk)
    return chunk.batch_id
