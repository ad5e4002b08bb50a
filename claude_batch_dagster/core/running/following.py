"""Follow what is on its way: learn what became of it, wait for it, and bring it home."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Collection as Members
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from claude_batch_dagster.core.collecting.collection import Collection, Fetched
from claude_batch_dagster.core.ledger import (
    AT_THE_API,
    MOVING,
    OPEN,
    TRAVELLING,
    UNCONFIRMED,
    ChunkRecord,
    Lane,
    Ledger,
    State,
)
from claude_batch_dagster.core.ports import Batch, BatchApi, Clock, Locks, place_of
from claude_batch_dagster.core.reporting.progress import Progress
from claude_batch_dagster.core.sending.recovery import Recovery, settled
from claude_batch_dagster.core.waiting import Look, Pace, look
from claude_batch_dagster.errors import (
    ApiError,
    BatchOverdueError,
    BatchVanishedError,
    CredentialError,
    HeldChunksError,
    UnconfirmedError,
)

OVERDUE = timedelta(hours=25)
"""Batches end after 24 hours; an hour later is strange."""

MAX_VANISHED = timedelta(minutes=30)
"""How long the API may answer 404 for a batch that it accepted. It is known to do so for minutes."""


@dataclass(kw_only=True)
class Following:
    """The batches of one output table, as one run sees them: its own, and those that others have left behind."""

    name: str
    """The pipeline: that of the output table."""
    api: BatchApi
    ledger: Ledger
    locks: Locks
    clock: Clock
    recovery: Recovery
    collection: Collection
    pace: Pace = field(default_factory=Pace)
    give_up_at: datetime | None = None
    """When this run waits for batches no longer; None if it waits for as long as they take."""
    on_progress: Callable[[Progress], None] = lambda _: None
    on_trouble: Callable[[ApiError], None] = lambda _: None
    """Told of each fault that is waited out."""
    on_give_up: Callable[[ChunkRecord], None] = lambda _: None
    """Told of each batch that has not ended by its deadline."""
    sent: set[str] = field(default_factory=set)
    """Chunks sent by this run."""
    followed: set[str] = field(default_factory=set)
    """Chunks that carry rows of this run and that it waits for, whoever sent them."""
    home: set[str] = field(default_factory=set)
    """Chunks brought home by this run."""
    ended: dict[str, ChunkRecord] = field(default_factory=dict)
    """Chunks of `followed` and `sent` that have come to their end."""
    vanished_since: dict[str, datetime] = field(default_factory=dict)
    """Since when the API has not shown a batch that it once accepted, by chunk."""

    # --- what is not confirmed ---------------------------------------------------------------------

    def watch(self) -> bool:
        """Look for chunks that were let go: `True` if one turned up after all."""
        if not self.ledger.chunks(self.name, [State.UNSEEN]):
            return False
        try:
            with self.locks.hold(self.name):
                return bool(self.recovery.watch())
        except CredentialError:
            raise
        except ApiError as error:
            self.on_trouble(error)
            return False

    def settle_unconfirmed(self) -> None:
        """Find out what became of chunks whose answer was lost, as far as that can be found out now."""
        if self.ledger.chunks(self.name, {*UNCONFIRMED, State.HELD}):
            with self.locks.hold(self.name):
                clear = self.is_clear()
            if not clear:
                self.tell_unconfirmed()

    def is_clear(self) -> bool:
        """Whether nothing of this pipeline is unconfirmed any more, after a look; the caller holds its lock."""
        return settled(self.recovery, self.on_trouble)

    def tell_unconfirmed(self) -> None:
        """Tell of each chunk that nothing is sent beside, for it is not known whether it was accepted."""
        for chunk in self.ledger.chunks(self.name, UNCONFIRMED):
            self.on_trouble(UnconfirmedError(chunk.chunk_id, chunk.n_requests, note=chunk.note))

    def _is_stuck(self, chunk: ChunkRecord) -> bool:
        """Whether only a person can say what became of the chunk: its batch, if the API named one, will not."""
        named = chunk.batch_id is not None and self.clock.now() - chunk.intended_at < OVERDUE
        return not self.is_here(chunk) or (chunk.state is State.HELD and not named)

    def is_here(self, chunk: ChunkRecord) -> bool:
        """Whether the chunk was sent to where we send."""
        return place_of(chunk.account) == place_of(self.api.account)

    # --- waiting and collecting --------------------------------------------------------------------

    def wait(self, chunk_ids: Iterable[str]) -> None:
        """Wait until every one of the chunks is in the table, or proved not to be at the API."""
        waiting = set(chunk_ids)
        while True:
            self.settle_unconfirmed()
            progressed = self.collect_ended(waiting)
            waiting = {chunk_id for chunk_id in waiting if self.ledger.chunk(chunk_id).state in OPEN}
            if not waiting:
                return
            unsure = self.ledger.chunks(self.name, [State.HELD, State.AMBIGUOUS])
            stuck = {chunk.chunk_id for chunk in unsure if self._is_stuck(chunk)}
            if waiting <= stuck:
                raise HeldChunksError(sorted(waiting))
            if not progressed:
                self.pause()

    def wait_for_room(self, n_requests: int, *, most: int) -> None:
        """Wait until the API has few enough of our requests to take these as well: `most` in all."""
        while in_flight := [chunk for chunk in self.ledger.chunks(self.name, AT_THE_API) if self.is_here(chunk)]:
            if sum(chunk.n_requests for chunk in in_flight) + n_requests <= most:
                return
            self.settle_unconfirmed()
            if not self.collect_ended({chunk.chunk_id for chunk in in_flight}):
                self.pause()

    def collect_ended(self, waiting: Members[str] = ()) -> bool:
        """
        Look at all of this pipeline's batches once and bring home those that have ended.

        Also those of runs that died: what was paid for is landed by whoever comes by. Batches that were
        sent elsewhere are left alone, unless we are `waiting` for them. Returns whether anything came home.
        """
        travelling = [
            chunk
            for chunk in self.ledger.chunks(self.name, TRAVELLING)
            if chunk.chunk_id in waiting or self.is_here(chunk)
        ]
        asked = {
            chunk.batch_id: chunk
            for chunk in travelling
            if chunk.state is not State.SPOOLED and chunk.lane is Lane.BATCH
        }
        seen = look(self.api, [batch_id for batch_id in asked if batch_id])
        if seen.trouble is not None:
            self.on_trouble(seen.trouble)
            self.clock.sleep(min(seen.retry_after_seconds, self.pace.longest_seconds))
        self._give_up(asked.values(), seen)
        before = len(self.home)
        fetched, hidden = self._fetch(travelling, seen)
        self._land(fetched)
        for chunk in hidden:
            if chunk.chunk_id in waiting and chunk.chunk_id not in self.home:
                self._miss(chunk)
        if len(self.home) > before:
            self.pace.restart()
        self.report()
        return len(self.home) > before

    def collect_answered(self, chunk_ids: Iterable[str]) -> None:
        """Land what was asked live: its answers are on this machine's disk only."""
        chunks = [self.ledger.chunk(chunk_id) for chunk_id in sorted(chunk_ids)]
        answered = [chunk for chunk in chunks if chunk.lane is Lane.LIVE and chunk.state is State.ENDED]
        self._land([one for chunk in answered if (one := self.collection.fetch(chunk.chunk_id, None))])

    def _give_up(self, chunks: Iterable[ChunkRecord], seen: Look) -> None:
        """Cancel batches that rows of this run have waited for long enough: what has finished keeps its result."""
        for chunk in chunks if self.give_up_at else ():
            is_ours = chunk.chunk_id in self.sent or chunk.chunk_id in self.followed
            if not is_ours or chunk.give_up_at is None or chunk.give_up_at > self.clock.now():
                continue
            batch = seen.batches.get(chunk.batch_id or "")
            if chunk.given_up_at is None:
                self.ledger.note(chunk.chunk_id, given_up_at=self.clock.now())
                if batch and not batch.ended:
                    self.on_give_up(chunk)
            if batch is None or batch.ended or batch.was_canceled:
                continue
            try:
                self.api.cancel(batch.id)
            except ApiError as error:
                if isinstance(error, CredentialError) and error.status == 401:  # noqa: PLR2004  (no such key)
                    raise
                self.on_trouble(error)  # the next look tries it again; a key may be one that must not cancel

    def _fetch(self, travelling: Iterable[ChunkRecord], seen: Look) -> tuple[list[Fetched], list[ChunkRecord]]:
        """Bring to our disk what has ended; return that, and the chunks that the API does not show."""
        fetched, hidden = list[Fetched](), list[ChunkRecord]()
        for chunk in travelling:
            batch = seen.batches.get(chunk.batch_id or "")
            if is_hidden := batch is None and seen.trouble is None and chunk.lane is Lane.BATCH:
                hidden.append(chunk)
            overdue = batch is not None and self._is_overdue(batch)
            if chunk.state in {State.SPOOLED, State.ENDED} or is_hidden or overdue or (batch and batch.ended):
                if one := self.collection.fetch(chunk.chunk_id, batch):
                    fetched.append(one)
                elif self.collection.is_home(chunk.chunk_id):
                    self.home.add(chunk.chunk_id)
            if batch:
                self.vanished_since.pop(chunk.chunk_id, None)
        return fetched, hidden

    def _land(self, fetched: Sequence[Fetched]) -> None:
        """Land what is on our disk."""
        self.collection.land(fetched)
        self.home |= {one.chunk_id for one in fetched if self.collection.is_home(one.chunk_id)}

    def _is_overdue(self, batch: Batch) -> bool:
        age = self.clock.now() - batch.created_at
        if batch.ended or age <= OVERDUE:
            return False
        self.on_trouble(BatchOverdueError(batch.id, hours=age / timedelta(hours=1)))
        return True

    def _miss(self, chunk: ChunkRecord) -> None:
        """Note that the API does not show a batch it accepted; give up, for this run, once that has lasted."""
        since = self.vanished_since.setdefault(chunk.chunk_id, self.clock.now())
        error = BatchVanishedError(chunk.batch_id, same_account=chunk.account == self.api.account)
        if self.clock.now() - since > MAX_VANISHED:
            raise error
        self.on_trouble(error)

    def pause(self, *, at_least: float = 0.0) -> None:
        """Wait for the next look, but not beyond the time at which batches are given up."""
        self.pace.pause(self.clock, at_least=at_least, until=self.give_up_at)

    def report(self) -> None:
        """Tell where the run stands; what has come to its end is read once."""
        ours = self.followed | self.sent
        moving = {chunk.chunk_id: chunk for chunk in self.ledger.chunks(self.name, MOVING)}
        self.ended |= {chunk_id: self.ledger.chunk(chunk_id) for chunk_id in ours - moving.keys() - self.ended.keys()}
        chunks = {**self.ended, **moving}
        self.on_progress(Progress.of([chunks[chunk_id] for chunk_id in sorted(ours)], sent=self.sent))
