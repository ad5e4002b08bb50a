"""Collect a chunk: raw bytes to the spool, each request its result, what came back to the answers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from claude_batch_dagster.core.answering import tell
from claude_batch_dagster.core.ledger import ChunkRecord, Ledger, RowRecord, State
from claude_batch_dagster.core.outcomes import Outcome, claimed_by, gone, recorded, spending, told_before
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.ports import RETENTION, Answers, Batch, BatchApi, Clock, Locks, Spool, place_of
from claude_batch_dagster.core.results import Result, UnreadableLineError, decode
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, Verdict
from claude_batch_dagster.errors import ApiError, ApiRefusedError, ApiResponseError, CredentialError
from claude_batch_dagster.wording import counted

MAX_DOWNLOADS = 3
"""How often results with missing rows are downloaded, at least, before `missing` becomes a verdict."""

PATIENCE = timedelta(minutes=5)
"""How long results with missing rows are downloaded again, at least, before `missing` becomes a verdict."""

GIVE_UP = timedelta(minutes=30)
"""How long results that cannot be read at all are downloaded again before the run fails."""

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
    on_trouble: Callable[[ApiError], None] = lambda _: None
    """Told of each download that has to be repeated."""
    downloads: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    """When the results of a chunk were asked for in vain."""

    def collect(self, chunk_id: str, batch: Batch | None) -> bool:
        """
        Take a chunk as far as it goes; `True` once it is in the table.

        `batch` is what the API shows of it, or None when it is not needed any more (`SPOOLED`). `False`
        means: not yet, look again later.
        """
        with self.locks.hold(_lock_of(chunk_id)):
            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile
            if chunk.state in {State.ACCEPTED, State.ADOPTED, State.ENDED}:
                self._fetch(chunk, batch)
            elif chunk.state is State.SPOOLED and (matched := self._spooled(chunk)) is not None:
                self._land(chunk, matched, batch)
            return self.ledger.chunk(chunk_id).state in {State.APPLIED, State.LOST}

    def collect_again(self, chunk_id: str, *, here: bool = True) -> None:
        """
        Land a chunk that the database lacks once more, at no cost: from the spool, or from the API as long as it can.

        Requests whose results nobody has are gone: they were paid for, and are not sent again. Raises `ApiError` when
        the API cannot be asked just now, nor `here` where we send; or, once the others have landed, when it does not
        hand out every result that it had before.
        """
        with self.locks.hold(_lock_of(chunk_id)):
            chunk = self.ledger.chunk(chunk_id)
            self._check_place(chunk, here=here)
            matched = None if chunk.state is State.LOST else self._matched_again(chunk)
            if matched is None:
                self._write_down(chunk, self._gone(chunk))
                return
            lacking = lacking_in(matched)
            told = self._told(matched)
            if self._is_old(chunk):
                told = [self._without_result(one, lacking) for one in told]
            else:
                told = [one for one in told if one.row.custom_id not in lacking]
            self._write_down(chunk, told)
        if n_lacking := chunk.n_requests - len(told):
            rows = counted(n_lacking, "row that was", "rows that were")
            text = f"the results of batch {chunk.batch_id} lack {rows} in them; try again later"
            raise ApiResponseError(text)

    def look_again(self, chunk_id: str, *, here: bool = True) -> None:
        """
        Land results that nobody had until now, and that have turned up: they were paid for.

        The API counted them and did not hand them out at first; or their file was lost here, and was put back.
        """
        with self.locks.hold(_lock_of(chunk_id)):
            chunk = self.ledger.chunk(chunk_id)
            if not here and not self.spool.has(chunk.batch_id or ""):
                return  # what another workspace does not show says nothing
            withheld = {row.custom_id for row in self.ledger.rows(chunk_id) if row.verdict == CLAIMED}
            kept, old = self.spool.has(_batch_id(chunk)), self._is_old(chunk)
            if withheld and kept and not old:
                self._append(_batch_id(chunk), withheld)
            matched = self._reconcile(chunk) if kept or (not old and self._fetch_again(_batch_id(chunk))) else []
            found = [Outcome(row, result, tell(result, self.schema)) for row, result in matched if result is not None]
            if old:
                missing = withheld - {one.row.custom_id for one in found}
                found += [one for one in self._gone(chunk) if one.row.custom_id in missing]
            # The books first: should this process die, what is found is found again, and is on the books already.
            if new := [one for one in found if one.result is not None and one.row.verdict in {CLAIMED, GONE}]:
                verdicts = {one.row.ordinal: one.told.mark for one in new}
                self.ledger.judge(chunk.chunk_id, verdicts, spends=spending(new))
            if found:
                self._write_down(chunk, found)

    def _check_place(self, chunk: ChunkRecord, *, here: bool) -> None:
        """Raise if results would have to be asked for where they cannot be: silence there proves nothing."""
        if not here and chunk.state is not State.LOST and not self.spool.has(_batch_id(chunk)):
            place = place_of(chunk.account)
            raise ApiResponseError(f"the results of batch {chunk.batch_id} are where we do not send now: {place}")

    @staticmethod
    def _without_result(one: Outcome, lacking: AbstractSet[str]) -> Outcome:
        nobody_has_it = one.result is None and one.row.verdict == CLAIMED
        return Outcome(one.row, None, gone(one.row)) if nobody_has_it or one.row.custom_id in lacking else one

    def _fetch(self, chunk: ChunkRecord, batch: Batch | None) -> None:
        """
        Land the results, if they can be had: written down by a run that died before it noted it, or downloaded.

        That run may have died before it looked whether they are whole. What they lack is downloaded, unless
        nobody has it any more: then they are worth more than nothing.
        """
        kept = self._kept(chunk)
        whole = bool(kept) and all(result is not None for _, result in kept)
        gone = not whole and self._is_gone(chunk, batch)
        if gone and not kept:
            self._write_off(chunk)
            return
        if chunk.state is not State.ENDED and (gone or (batch is not None and batch.ended)):
            ended_at = batch.ended_at if batch is not None else None
            chunk = self.ledger.move(chunk.chunk_id, to=State.ENDED, ended_at=ended_at or self.clock.now())
        if chunk.state is State.ENDED and (matched := kept if whole or gone else self._download(chunk)) is not None:
            self.ledger.move(chunk.chunk_id, to=State.SPOOLED)
            self._land(chunk, matched, batch)

    def _kept(self, chunk: ChunkRecord) -> list[Matched]:
        """Match the results that are on our disk; an empty list if there are none that can be read."""
        matched = self._reconcile(chunk) if self.spool.has(_batch_id(chunk)) else []
        return matched if any(result is not None for _, result in matched) else []

    def _is_gone(self, chunk: ChunkRecord, batch: Batch | None) -> bool:
        """
        Whether the results can no longer be downloaded: archived, or too old and refused for a while.

        The calendar alone proves nothing: our clock may be wrong. As long as the API shows a batch that is not
        archived, or hands its results out, they are not gone.
        """
        if batch is not None and batch.archived_at:
            return True
        if not self._is_old(chunk) or (batch is not None and not batch.ended):
            return False
        try:
            with self.api.results(_batch_id(chunk)):
                return False
        except ApiError as error:
            if not isinstance(error, ApiRefusedError) or error.status != 404:  # noqa: PLR2004  (only that says: gone)
                return False  # other trouble is met again, and waited out, where the results are downloaded
        vain = self.downloads[chunk.chunk_id]
        vain.append(self.clock.now())
        return len(vain) >= MAX_DOWNLOADS and vain[-1] - vain[0] >= PATIENCE

    def _is_old(self, chunk: ChunkRecord) -> bool:
        """Whether the API need not have the results any more."""
        return self.clock.now() - (chunk.batch_created_at or chunk.intended_at) > RETENTION

    def _spooled(self, chunk: ChunkRecord) -> list[Matched] | None:
        """Read the spool; download again if somebody deleted it."""
        return self._reconcile(chunk) if self.spool.has(_batch_id(chunk)) else self._download(chunk)

    def _download(self, chunk: ChunkRecord) -> list[Matched] | None:
        """Download and match the results; None means: not yet, look again later."""
        try:
            self._stream(_batch_id(chunk))
        except CredentialError:
            raise
        except ApiError as error:  # a 404 right after the end passes; a cut stream is downloaded again
            self._postpone(chunk, error)
            return None
        matched = self._reconcile(chunk)
        if self._complete(chunk, matched):
            return matched
        self.spool.discard(_batch_id(chunk))
        n = sum(result is not None for _, result in matched)
        of = counted(chunk.n_requests, "row")
        text = f"the results of batch {chunk.batch_id} have {n} of {of} that can be read"
        self._postpone(chunk, ApiResponseError(text))
        return None

    def _complete(self, chunk: ChunkRecord, matched: list[Matched]) -> bool:
        """Whether every row has its result, or has lacked it in every download for a while."""
        found = [result for _, result in matched if result is not None]
        if len(found) == len(matched):
            return True
        vain = self.downloads[chunk.chunk_id]
        patient = len(vain) + 1 >= MAX_DOWNLOADS and self.clock.now() - vain[0] >= PATIENCE
        return bool(found) and patient

    def _postpone(self, chunk: ChunkRecord, error: ApiError) -> None:
        vain = self.downloads[chunk.chunk_id]
        vain.append(self.clock.now())
        if vain[-1] - vain[0] > GIVE_UP:
            raise error
        self.on_trouble(error)

    def _matched_again(self, chunk: ChunkRecord) -> list[Matched] | None:
        """
        Match what is kept, or can still be had, of a chunk that was at home; None if nobody has it.

        Neither a file on our disk nor a download is taken for whole: what the ledger says came back must be there.
        """
        if not self.spool.has(_batch_id(chunk)) and not self._fetch_again(_batch_id(chunk)):
            return None
        matched = self._reconcile(chunk)
        for _ in range(MAX_DOWNLOADS):
            if not (lacking := lacking_in(matched)):
                break
            self._append(_batch_id(chunk), lacking)
            matched = self._reconcile(chunk)
        return matched

    def _fetch_again(self, batch_id: str) -> bool:
        try:
            self._stream(batch_id)
        except ApiRefusedError as error:
            if error.status == 404:  # noqa: PLR2004  (29 days have passed, or somebody deleted them)
                return False
            raise
        return True

    def _append(self, batch_id: str, custom_ids: AbstractSet[str]) -> None:
        """Download the results once more, and add the lines of these rows to those that are kept."""
        apart = f"{batch_id}-again"
        try:
            self._stream(batch_id, into=apart)
            lines = [line for line in self.spool.lines(apart) if _custom_id(line) in custom_ids]
            if lines and self.spool.has(batch_id):
                kept = chain(self.spool.lines(batch_id), lines)
                self.spool.write(batch_id, (line + b"\n" for line in kept))
        except CredentialError:
            raise
        except ApiError as error:
            self.on_trouble(error)
        finally:
            self.spool.discard(apart)

    def _stream(self, batch_id: str, *, into: str | None = None) -> None:
        with self.api.results(batch_id) as pieces:
            self.spool.write(into or batch_id, pieces)

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
            if result.custom_id in sent and found.setdefault(result.custom_id, result) != result:
                self.on_trouble(ApiResponseError(f"batch {chunk.batch_id} has two different results for one row"))
        return [(row, found.get(row.custom_id)) for row in rows]

    def _land(self, chunk: ChunkRecord, matched: list[Matched], batch: Batch | None) -> None:
        told = claimed_by(self._told(matched), batch)
        self._write_down(chunk, told)
        # A crash here is harmless: the table remembers the chunk, and the ledger catches up.
        self.ledger.close(
            chunk.chunk_id,
            to=State.APPLIED,
            verdicts=[one.told.mark for one in told],
            spends=spending(told),
        )

    def _told(self, matched: list[Matched]) -> list[Outcome]:
        return [Outcome(row, result, told_before(row, result) or tell(result, self.schema)) for row, result in matched]

    def _write_off(self, chunk: ChunkRecord) -> None:
        lost = self._gone(chunk)
        self._write_down(chunk, lost)
        self.ledger.close(chunk.chunk_id, to=State.LOST, verdicts=[GONE] * len(lost), spends=[])

    def _write_down(self, chunk: ChunkRecord, outcomes: Sequence[Outcome]) -> None:
        now = self.clock.now()
        self.answers.land(chunk.chunk_id, [recorded(chunk, one, now) for one in outcomes])

    def _gone(self, chunk: ChunkRecord) -> list[Outcome]:
        return [Outcome(row, None, gone(row)) for row in self.ledger.rows(chunk.chunk_id)]


def lacking_in(matched: Iterable[Matched]) -> set[str]:
    """Return the custom_ids of rows that came back once, by the ledger's word, and now lack their result."""
    return {
        row.custom_id
        for row, result in matched
        if result is None and row.verdict is not None and not row.verdict.startswith(Verdict.MISSING)
    }


def _custom_id(line: bytes) -> str | None:
    try:
        return decode(line).custom_id
    except UnreadableLineError:
        return None


def _lock_of(chunk_id: str) -> str:
    """Name the lock of a chunk: one of a thousand, since the files of locks are never deleted."""
    return f"collect {chunk_id[-2:]}"


def _batch_id(chunk: ChunkRecord) -> str:
    if chunk.batch_id is None:  # pragma: no cover  (no move to ENDED without an id)
        raise AssertionError(chunk)
    return chunk.batch_id
