"""Collect a chunk: raw bytes to the spool, each request its result, what came back to the answers."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from claude_batch_dagster.core.attempts import Came
from claude_batch_dagster.core.collecting.downloads import MAX_DOWNLOADS, Downloads, batch_id_of
from claude_batch_dagster.core.collecting.outcomes import gone, lack, recorded, word
from claude_batch_dagster.core.ledger import CLOSED, ChunkRecord, Ledger, Requests, State
from claude_batch_dagster.core.ports import Answers, Batch, Clock, Lack, Locks, Receipt, place_of
from claude_batch_dagster.core.room import with_room
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, Verdict
from claude_batch_dagster.errors import ApiResponseError
from claude_batch_dagster.wording import counted


class Fetched(NamedTuple):
    """A chunk whose results are on our disk."""

    chunk_id: str
    batch: Batch | None
    """What the API shows of it."""
    whatever: bool
    """Whether they land also when they are not whole."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Collects ended batches of one pipeline, and what of them is lacking later."""

    downloads: Downloads
    ledger: Ledger
    answers: Answers
    clock: Clock
    locks: Locks

    def collect(self, chunk_id: str, batch: Batch | None) -> bool:
        """
        Take a chunk as far as it goes; `True` once what came back is written down.

        `batch` is what the API shows of it, or None when it is not needed any more (`SPOOLED`). `False`
        means: not yet, look again later.
        """
        if fetched := self.fetch(chunk_id, batch):
            self.land([fetched])
        return self.is_home(chunk_id)

    def is_home(self, chunk_id: str) -> bool:
        """Whether what came back for a chunk is written down, whoever did it."""
        return self.ledger.chunk(chunk_id).state in CLOSED

    def fetch(self, chunk_id: str, batch: Batch | None) -> Fetched | None:
        """
        Bring the results of a chunk to our disk; None if they cannot be had yet, or nothing is left to do.

        They may be there: written down by a run that died before it noted it, and before it looked whether they are
        whole. What they lack is downloaded, unless nobody has it any more: then they are worth more than nothing.
        """
        with self.locks.hold(_lock_of(chunk_id)):
            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile
            if chunk.state is State.SPOOLED:
                kept = self.downloads.has(chunk)  # unless somebody has deleted it
                return Fetched(chunk_id, batch, kept) if kept or self.downloads.fetch(chunk) else None
            if chunk.state not in {State.ACCEPTED, State.ADOPTED, State.ENDED}:
                return None
            n_kept = self._n_kept(chunk)
            whole = n_kept == chunk.n_requests
            are_gone = not whole and self.downloads.are_gone(chunk, batch)
            if are_gone and not n_kept:
                self._write_off(chunk)
                return None
            if chunk.state is not State.ENDED and (are_gone or (batch is not None and batch.ended)):
                ended_at = batch.ended_at if batch is not None else None
                chunk = self.ledger.move(chunk.chunk_id, to=State.ENDED, ended_at=ended_at or self.clock.now())
            ready = chunk.state is State.ENDED and (whole or are_gone or self.downloads.fetch(chunk))
            return Fetched(chunk_id, batch, are_gone) if ready else None

    def land(self, fetched: Sequence[Fetched]) -> None:
        """Write down what came back for some chunks; what is not enough is downloaded again, the next time."""
        with ExitStack() as held:
            # All locks, in one order for all runs, before the database: else two runs could wait for each other.
            for name in sorted({_lock_of(one.chunk_id) for one in fetched}):
                held.enter_context(self.locks.hold(name))
            held.enter_context(self.answers.opened())
            for one in fetched:
                self._land_one(one)

    @with_room
    def _land_one(self, fetched: Fetched) -> None:
        chunk = self.ledger.chunk(fetched.chunk_id)
        if chunk.state in {State.ENDED, State.SPOOLED} and self.downloads.has(chunk):
            self._land(chunk, fetched.batch, whatever=fetched.whatever)

    @with_room
    def _n_kept(self, chunk: ChunkRecord) -> int:
        """Return how many requests have a result on our disk."""
        if not self.downloads.has(chunk):
            return 0
        with self._receipt(chunk) as (_, receipt):
            return receipt.n_requests - len(receipt.lacking)

    def _land(self, chunk: ChunkRecord, batch: Batch | None, *, whatever: bool) -> None:
        """Write down what came back, if it is enough, or `whatever` it is; else let it be downloaded again."""
        with self._receipt(chunk) as (requests, receipt):
            n_found = receipt.n_requests - len(receipt.lacking)
            if enough := whatever or self.downloads.is_enough(chunk, n_found=n_found):
                if chunk.state is State.ENDED:
                    self.ledger.move(chunk.chunk_id, to=State.SPOOLED)
                withheld = batch is None or batch.counts.succeeded > receipt.n_succeeded
                without = {place: lack(requests.outcomes[place], withheld=withheld) for place in receipt.lacking}
                receipt.land(without)
                # A crash here is harmless: the database remembers the chunk, and the ledger catches up.
                self.ledger.close(
                    chunk.chunk_id,
                    to=State.APPLIED,
                    outcome=word(Came.SUCCEEDED),
                    others={**receipt.outcomes(), **{place: word(one.came) for place, one in without.items()}},
                    spends=receipt.spends(),
                )
        if not enough:
            self.downloads.repeat(chunk, n_found=n_found)

    def _write_off(self, chunk: ChunkRecord) -> None:
        self._land_gone(chunk)
        self.ledger.close(chunk.chunk_id, to=State.LOST, outcome=GONE, others={}, spends=[])

    # --- what is lacking later ---------------------------------------------------------------------

    @with_room
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
            if chunk.state is State.LOST or not (self.downloads.has(chunk) or self.downloads.again(chunk)):
                self._land_gone(chunk)
                return
            n_lacking = self._land_again(chunk)
        if n_lacking:
            rows = counted(n_lacking, "row that was", "rows that were")
            text = f"the results of batch {chunk.batch_id} lack {rows} in them; try again later"
            raise ApiResponseError(text)

    def _land_again(self, chunk: ChunkRecord) -> int:
        """
        Land what is kept, or can still be had; return how many requests lack a result that they had before.

        Neither a file on our disk nor a download is taken for whole: what the ledger says came back must be there.
        """
        old = self.downloads.are_old(chunk)
        for n_tries in range(MAX_DOWNLOADS + 1):
            with self._receipt(chunk) as (requests, receipt):
                lacking = lacking_in(requests, receipt)
                if not lacking or n_tries == MAX_DOWNLOADS:
                    without: dict[int, Lack] = {}
                    for place in receipt.lacking:
                        known = requests.outcomes[place]
                        if old and (place in lacking or known == CLAIMED):
                            without[place] = gone(known)
                        elif place not in lacking:
                            without[place] = lack(known, withheld=False)
                    receipt.land(without)
                    return 0 if old else len(lacking)
            self.downloads.append(chunk, {requests.custom_ids[place] for place in lacking})
        raise AssertionError(chunk)  # pragma: no cover  (the last try lands)

    @with_room
    def look_again(self, chunk_id: str, *, here: bool = True) -> None:
        """
        Land results that nobody had until now, and that have turned up: they were paid for.

        The API counted them and did not hand them out at first; or their file was lost here, and was put back.
        """
        with self.locks.hold(_lock_of(chunk_id)):
            chunk = self.ledger.chunk(chunk_id)
            if not here and not self.downloads.has(chunk):
                return  # what another workspace does not show says nothing
            requests = self.ledger.requests(chunk_id)
            withheld = {place for place, known in enumerate(requests.outcomes) if known == CLAIMED}
            kept, old = self.downloads.has(chunk), self.downloads.are_old(chunk)
            if withheld and kept and not old:
                self.downloads.append(chunk, {requests.custom_ids[place] for place in withheld})
            if kept or (not old and self.downloads.again(chunk)):
                self._land_found(chunk, withheld if old else set())
            elif old:
                self._land_gone(chunk, withheld)

    def _land_found(self, chunk: ChunkRecord, gone_if_lacking: set[int]) -> None:
        with self._receipt(chunk) as (requests, receipt):
            without = {place: gone(requests.outcomes[place]) for place in gone_if_lacking.intersection(receipt.lacking)}
            missed = (place for place, known in enumerate(requests.outcomes) if known in {CLAIMED, GONE})
            # The books first: should this process die, what is found is found again, and is on the books already.
            if new := set(missed).difference(receipt.lacking):
                failures, good = receipt.outcomes(), word(Came.SUCCEEDED)
                outcomes = {place: failures.get(place, good) for place in sorted(new)}
                self.ledger.note_outcomes(chunk.chunk_id, outcomes, receipt.spends(new))
            receipt.land(without)

    # --- both --------------------------------------------------------------------------------------

    @contextmanager
    def _receipt(self, chunk: ChunkRecord) -> Iterator[tuple[Requests, Receipt]]:
        """Read the results that are on our disk."""
        with self.answers.opened():  # first: until then another run may give questions their names of today
            requests = self.ledger.requests(chunk.chunk_id)
            file = self.downloads.spool.file(batch_id_of(chunk))
            with self.answers.receive(chunk, requests, file, self.clock.now()) as receipt:
                if receipt.is_contradictory:
                    text = f"batch {chunk.batch_id} has two different results for one row"
                    self.downloads.on_trouble(ApiResponseError(text))
                yield requests, receipt

    def _land_gone(self, chunk: ChunkRecord, places: set[int] | None = None) -> None:
        """Write down of all requests, or of some, that nobody has their results any more."""
        with self.answers.opened():  # first, as above
            requests = self.ledger.requests(chunk.chunk_id)
            whole = range(chunk.n_requests) if places is None else sorted(places)
            outcomes = {place: gone(requests.outcomes[place]) for place in whole}
            self.answers.land(chunk.chunk_id, recorded(chunk, requests, outcomes, self.clock.now()))

    def _check_place(self, chunk: ChunkRecord, *, here: bool) -> None:
        """Raise if results would have to be asked for where they cannot be: silence there proves nothing."""
        if not here and chunk.state is not State.LOST and not self.downloads.has(chunk):
            place = place_of(chunk.account)
            raise ApiResponseError(f"the results of batch {chunk.batch_id} are where we do not send now: {place}")


def lacking_in(requests: Requests, receipt: Receipt) -> set[int]:
    """Return the requests whose results came back once, by the ledger's word, and are lacking now."""
    return {
        place
        for place in receipt.lacking
        if (known := requests.outcomes[place]) is not None and not known.startswith(Verdict.MISSING)
    }


def _lock_of(chunk_id: str) -> str:
    """Name the lock of a chunk: one of a thousand, since the files of locks are never deleted."""
    return f"collect {chunk_id[-2:]}"
