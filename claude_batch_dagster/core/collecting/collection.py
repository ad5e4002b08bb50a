"""Collect a chunk: raw bytes to the spool, each request its result, what came back to the answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from claude_batch_dagster.core.collecting.answer_records import KEPT_IN, lack, word
from claude_batch_dagster.core.collecting.receiving import Receiving, lock_of
from claude_batch_dagster.core.collecting.recollecting import Recollection
from claude_batch_dagster.core.ledger import CLOSED, ChunkRecord, Lane, Spend, State
from claude_batch_dagster.core.more_memory import with_more_memory
from claude_batch_dagster.core.ports import Batch, Landing
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import GONE
from claude_batch_dagster.errors import LedgerError

CHUNKS_TOGETHER = 10
"""Chunks that land together: for each a lock is held, on a Postgres server with a connection of its own."""

REQUESTS_TOGETHER = 100_000
"""Requests that land together; a landing looks at the whole table once."""

BYTES_TOGETHER = 1 << 27
"""Bytes of results that land together; a chunk with more lands alone."""


class Fetched(NamedTuple):
    """A chunk whose results are on our disk."""

    chunk_id: str
    n_requests: int
    n_bytes: int
    batch: Batch | None
    """What the API shows of it."""
    whatever: bool
    """Whether they land also when they are not whole."""


class _Received(NamedTuple):
    """What the ledger is told of a chunk once it has landed."""

    chunk: ChunkRecord
    others: Mapping[int, str]
    """Outcomes of requests that did not succeed."""
    spends: Sequence[Spend]


class _Wanting(NamedTuple):
    """A chunk whose results are not enough."""

    chunk: ChunkRecord
    n_found: int


@dataclass(frozen=True, kw_only=True)
class Collection(Receiving):
    """Collects ended batches of one pipeline, and what of them is lacking later."""

    @cached_property
    def recollection(self) -> Recollection:
        """Collects once more what was collected before."""
        return Recollection(
            downloads=self.downloads, ledger=self.ledger, answers=self.answers, clock=self.clock, locks=self.locks
        )

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
        with self.held(chunk_id):
            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile
            if chunk.state is State.SPOOLED:
                kept = self.downloads.has(chunk)  # unless somebody has deleted it
                ready = kept or self.downloads.fetch(chunk)
                return self._fetched(chunk, batch or self.downloads.batch(chunk), whatever=kept) if ready else None
            if chunk.state not in {State.ACCEPTED, State.ADOPTED, State.ENDED}:
                return None
            n_kept = self._n_kept(chunk)
            whole = n_kept == chunk.n_requests
            # Of what was asked live there is no second copy.
            are_gone = not whole and (chunk.lane is Lane.LIVE or self.downloads.are_gone(chunk, batch))
            if are_gone and not n_kept:
                self._write_off(chunk)
                return None
            if chunk.state is not State.ENDED and (are_gone or (batch is not None and batch.ended)):
                ended_at = batch.ended_at if batch is not None else None
                chunk = self.ledger.move(chunk.chunk_id, to=State.ENDED, ended_at=ended_at or self.clock.now())
            ready = chunk.state is State.ENDED and (whole or are_gone or self.downloads.fetch(chunk))
            return self._fetched(chunk, batch, whatever=are_gone) if ready else None

    def _fetched(self, chunk: ChunkRecord, batch: Batch | None, *, whatever: bool) -> Fetched:
        return Fetched(chunk.chunk_id, chunk.n_requests, self.downloads.n_bytes(chunk), batch, whatever)

    def land(self, fetched: Sequence[Fetched]) -> None:
        """
        Write down what came back for some chunks; what is not enough is downloaded again, the next time.

        Raises what the first chunk met that could not land; all others have landed by then.
        """
        failures = list[Exception]()
        for together in in_groups(fetched):
            failures += self._failures(together)
        if failures:
            raise failures[0]

    def _failures(self, together: Sequence[Fetched]) -> Iterator[Exception]:
        """Land some chunks, together if they can; yield what those met that could not land at all."""
        try:
            self._land(together)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a chunk meets, also in the user's own validators)
            if len(together) == 1:
                yield error
            else:
                for one in together:
                    yield from self._failures([one])

    @with_more_memory
    def _land(self, together: Sequence[Fetched]) -> None:
        received, wanting = list[_Received](), list[_Wanting]()
        with ExitStack() as held:
            # All locks, in one order for all runs, before the database: else two runs could wait for each other.
            for name in sorted({lock_of(one.chunk_id) for one in together}):
                held.enter_context(self.locks.hold(name))
            with self.answers.landing() as landing:
                for one in together:
                    chunk = self.ledger.chunk(one.chunk_id)
                    if chunk.state not in {State.ENDED, State.SPOOLED} or not self.downloads.has(chunk):
                        continue
                    match self._receive(chunk, one, landing):
                        case _Received() as whole:
                            received.append(whole)
                        case lacking:
                            wanting.append(lacking)
                for each in received:
                    if each.chunk.state is State.ENDED:
                        note = f"{KEPT_IN}{self.downloads.place}"
                        self.ledger.move(each.chunk.chunk_id, to=State.SPOOLED, note=note)
            # A crash here is harmless: the database remembers the chunks, and the ledger catches up.
            for each in received:
                self.ledger.close(
                    each.chunk.chunk_id,
                    to=State.APPLIED,
                    outcome=word(Came.SUCCEEDED),
                    others=each.others,
                    spends=each.spends,
                )
            for chunk, n_found in wanting:
                self.downloads.repeat(chunk, n_found=n_found)

    @with_more_memory
    def _n_kept(self, chunk: ChunkRecord) -> int:
        """Return how many requests have a result on our disk."""
        if not self.downloads.has(chunk):
            return 0
        with self.receipt(chunk) as (_, receipt):
            return receipt.n_requests - len(receipt.lacking)

    def _receive(self, chunk: ChunkRecord, fetched: Fetched, landing: Landing) -> _Received | _Wanting:
        """Let land what came back, if it is enough, or whatever it is."""
        requests, receipt = self.read(chunk, landing)
        n_found = receipt.n_requests - len(receipt.lacking)
        if not (fetched.whatever or self.downloads.is_enough(chunk, n_found=n_found)):
            return _Wanting(chunk, n_found)
        withheld = fetched.batch is None or fetched.batch.counts.succeeded > receipt.n_succeeded
        without = {place: lack(requests.outcomes[place], withheld=withheld) for place in receipt.lacking}
        receipt.land(without)
        others = {**receipt.outcomes(), **{place: word(one.came) for place, one in without.items()}}
        return _Received(chunk, others, receipt.spends())

    def _write_off(self, chunk: ChunkRecord) -> None:
        self.land_gone(chunk)
        self.ledger.close(chunk.chunk_id, to=State.LOST, outcome=GONE, others={}, spends=[])


def in_groups(fetched: Sequence[Fetched]) -> Iterator[list[Fetched]]:
    """Fill groups of chunks that land together, in order."""
    group, n_requests, n_bytes = list[Fetched](), 0, 0
    for one in fetched:
        n_requests, n_bytes = n_requests + one.n_requests, n_bytes + one.n_bytes
        if len(group) == CHUNKS_TOGETHER or (group and (n_requests > REQUESTS_TOGETHER or n_bytes > BYTES_TOGETHER)):
            yield group
            group, n_requests, n_bytes = [], one.n_requests, one.n_bytes
        group.append(one)
    if group:
        yield group
