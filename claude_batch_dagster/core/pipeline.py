"""The way of a row, from a question to a verdict in the table."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as Members
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from claude_batch_dagster.core.asking.requests import widened
from claude_batch_dagster.core.attempts import FIRST, Attempt, Came, Plan
from claude_batch_dagster.core.collecting.collection import Collection, Fetched
from claude_batch_dagster.core.collecting.outcomes import rejected, word
from claude_batch_dagster.core.ledger import (
    AT_THE_API,
    CLOSED,
    MOVING,
    OPEN,
    TRAVELLING,
    UNCONFIRMED,
    ChunkRecord,
    Ledger,
    State,
)
from claude_batch_dagster.core.ports import Answers, Batch, BatchApi, Clock, Locks, place_of
from claude_batch_dagster.core.reporting.progress import Progress
from claude_batch_dagster.core.sending.chunks import Chunk, Limits, OpenRow, chunked, new_nonce
from claude_batch_dagster.core.sending.recovery import Recovery, settled
from claude_batch_dagster.core.sending.submission import Submission, culprit_of
from claude_batch_dagster.core.waiting import Look, Pace, look
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiUnreachableError,
    BatchOverdueError,
    BatchUnseenError,
    ClaimConflictError,
    CredentialError,
    HeldChunksError,
    SpendLimitError,
    UnconfirmedError,
)

MAX_FAILURES = 8
"""How often a chunk that provably was not accepted is offered before the run gives up."""

FULL_QUEUE_SECONDS = 8.0
"""Half the first pause after a refusal for rate that names none; each is twice as long: half an hour in all."""

OVERDUE = timedelta(hours=25)
"""Batches end after 24 hours; an hour later is strange."""

LANDED_TOGETHER = 10
"""Chunks that land while the database is held once: opening and closing it takes as long as landing one."""

MAX_UNSEEN = timedelta(minutes=30)
"""How long the API may answer 404 for a batch that it accepted. It is known to do so for minutes."""


@dataclass(kw_only=True)
class Pipeline:
    """
    Everything one run does for the rows of one output table.

    Runs first what a crash left behind, then sends, waits and collects, in rounds: a round asks every row
    that has no final verdict, until none is left.
    """

    name: str
    api: BatchApi
    ledger: Ledger
    locks: Locks
    clock: Clock
    recovery: Recovery
    submission: Submission
    collection: Collection
    answers: Answers
    entropy: Callable[[int], bytes]
    limits: Limits = field(default_factory=Limits)
    max_requests_in_flight: int = 100_000
    max_attempts: int = 3
    pace: Pace = field(default_factory=Pace)
    on_progress: Callable[[Progress], None] = lambda _: None
    on_trouble: Callable[[ApiError], None] = lambda _: None
    """Told of each fault that is waited out."""
    sent: set[str] = field(default_factory=set)
    """Chunks sent by this run."""
    asked: Counter[str | None] = field(default_factory=Counter)
    """Requests sent by this run, by partition."""
    followed: set[str] = field(default_factory=set)
    """Chunks that carry rows of this run and that it waits for, whoever sent them."""
    home: set[str] = field(default_factory=set)
    """Chunks brought home by this run."""
    plan: Plan = field(default_factory=Plan)
    """What was to be done when the round began, or when another run was last found to be faster."""
    lacking: dict[str, ApiError] = field(default_factory=dict)
    """Chunks that were paid for, and that the database lacks for now, each with the reason."""
    ended: dict[str, ChunkRecord] = field(default_factory=dict)
    """Chunks of `followed` and `sent` that have come to their end."""
    unseen_since: dict[str, datetime] = field(default_factory=dict)
    """Since when the API has not shown a batch that it once accepted, by chunk."""

    def answer(self, rows: Iterable[OpenRow]) -> None:
        """
        See to it that every question has its final verdict.

        `rows` are those to ask, one for each question, read once per round. Returns when no question of the run
        is open. Raises `ApiError` when the API refuses to go on, `HeldChunksError` when a person has to decide;
        whatever was sent by then is in the ledger, and the next run takes it up.
        """
        self._begin()
        while flying := self._send(rows):
            self.followed |= flying
            self._wait(flying)
        if self._watch():
            self._collect_ended()
        for chunk_id in sorted(self.lacking.keys() & self.plan.followed):
            raise self.lacking[chunk_id]

    def send(self, rows: Iterable[OpenRow]) -> set[str]:
        """Send what may be sent without waiting for answers; return the chunks that carry questions of ours."""
        self._begin()
        return self._send(rows)

    def _begin(self) -> None:
        """Do first what earlier runs have left: what was paid for comes before anything is sent."""
        self._watch()
        self._settle_unconfirmed()
        self._collect_ended()  # also what nobody asks for any more: it was paid for
        self._collect_again()

    def _collect_again(self) -> None:
        """Land what was collected once and the database lacks; look for what the API has withheld so far."""
        with self.answers.opened():
            landed, withheld = self.answers.landed(), self.answers.without_results()
        sizes = self.ledger.sizes(self.name, CLOSED)
        lacking = sorted(chunk_id for chunk_id, n in sizes.items() if landed.get(chunk_id, 0) < n)
        for chunk_id in lacking:
            self._repeat(self.collection.collect_again, chunk_id, here=self._is_here(self.ledger.chunk(chunk_id)))
        if lacking:  # of which some may be withheld
            withheld = self.answers.without_results()
        for chunk_id in sorted(withheld - self.lacking.keys()):
            self._repeat(self.collection.look_again, chunk_id, here=self._is_here(self.ledger.chunk(chunk_id)))

    def _repeat(self, collect: Callable[..., None], chunk_id: str, *, here: bool) -> None:
        try:
            collect(chunk_id, here=here)
        except CredentialError:
            raise
        except ApiError as error:  # its questions are not asked meanwhile; who needs them meets it in the end
            self.lacking[chunk_id] = error

    def unfinished(self) -> frozenset[str | None]:
        """Return the partitions with questions whose last word is not spoken, after `answer` has raised."""
        return self.answers.partitions_of(self._plan().unfinished)

    def _plan(self) -> Plan:
        claimed = self.ledger.claimed(self.name, lacking=self.lacking.keys())
        return self.answers.plan(claimed, run_chunks=self.sent, max_attempts=self.max_attempts)

    def _watch(self) -> bool:
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

    # --- sending -----------------------------------------------------------------------------------

    def _send(self, rows: Iterable[OpenRow]) -> set[str]:
        """Send what may be sent; return the chunks that now carry questions of ours."""
        plan = self.plan = self._plan()
        flying = set(plan.followed - self.lacking.keys())
        for group in chunked(_askable(rows, plan), self.limits):
            self._make_room(len(group))
            self._offer(group, flying)
        return flying

    def _offer(self, group: Sequence[OpenRow], flying: set[str]) -> None:
        """Send one chunk, in spite of passing refusals; halve it if the API finds it too large."""
        for n_failures in range(1, MAX_FAILURES + 1):
            try:
                self._submit_when_clear(group, flying)
            except (CredentialError, SpendLimitError):
                raise
            except ApiRefusedError as error:
                if error.status == 413 and len(group) > 1:  # noqa: PLR2004  (content too large)
                    middle = len(group) // 2
                    self._offer(group[:middle], flying)
                    self._offer(group[middle:], flying)
                    return
                if error.status != 429 or n_failures == MAX_FAILURES:  # noqa: PLR2004  (a full queue, a rate limit)
                    raise
                self._wait_out(error, at_least=FULL_QUEUE_SECONDS * 2**n_failures)
            except ApiUnreachableError as error:
                if n_failures == MAX_FAILURES:
                    raise
                self._wait_out(error)
            else:
                self.pace.restart()
                return

    def _wait_out(self, error: ApiError, *, at_least: float = 0.0) -> None:
        self.on_trouble(error)
        self._collect_ended()
        told = error.retry_after_seconds if isinstance(error, ApiRefusedError) else None
        self.pace.pause(self.clock, at_least=at_least if told is None else told)

    def _submit_when_clear(self, group: Sequence[OpenRow], flying: set[str]) -> None:
        """Send a chunk once nothing of this pipeline is unconfirmed."""
        while True:
            with self.locks.hold(self.name):
                if settled(self.recovery, self.on_trouble) and self._submit(group, flying):
                    return
                self._tell_unconfirmed()
            self._collect_ended()
            self.pace.pause(self.clock)

    def _submit(self, group: Sequence[OpenRow], flying: set[str]) -> bool:
        """
        Reserve the questions that no other run has reserved meanwhile, and send them.

        `False` if another run was faster: look again, and wait for what that run has sent.
        """
        plan = self.plan
        rows = [_numbered(row, due) for row in group if (due := plan.attempt(row.question))]
        try:
            if rows:
                self._send_chunk(rows, flying)
        except ClaimConflictError as error:
            faster = self.ledger.chunk(error.chunk_id)
            before, plan = plan, self._plan()
            self.plan = plan
            flying |= {plan.in_flight[one.question] for one in group if one.question in plan.in_flight}
            nothing_new = all(plan.attempt(one.question) == before.attempt(one.question) for one in group)
            if faster.state not in OPEN and nothing_new:
                raise  # the ledger knows an attempt that the database does not: asking again and again would not help
            return False
        return True

    def _send_chunk(self, rows: Sequence[OpenRow], flying: set[str]) -> None:
        """Send rows; without the one that the API finds at fault, if it names one."""
        chunk = self._chunk_of(rows)
        try:
            self._dispatch(chunk, flying)
        except ApiRefusedError as error:
            culprit = culprit_of(error, len(rows))
            if culprit is None:
                raise
            if rest := [one for ordinal, one in enumerate(rows) if ordinal != culprit]:
                self._dispatch(self._chunk_of(rest), flying)
            # Only now: had the rest been refused as well, that row would not have been the reason.
            self.ledger.note_outcomes(chunk.nonce, {culprit: word(Came.REJECTED)})
            refused, one = self.ledger.chunk(chunk.nonce), rows[culprit]
            fact = rejected(refused, question=one.question, attempt=one.attempt, ordinal=culprit)
            self.answers.land(chunk.nonce, [fact])

    def _chunk_of(self, rows: Sequence[OpenRow]) -> Chunk:
        return Chunk(new_nonce(self.clock.now(), self.entropy(10)), rows)

    def _dispatch(self, chunk: Chunk, flying: set[str]) -> None:
        self.submission.submit(chunk, known=self.plan.known)
        self.plan.sent(chunk.nonce, (row.question for row in chunk.rows))
        flying.add(chunk.nonce)
        self.sent.add(chunk.nonce)
        self.asked.update(row.partition_key for row in chunk.rows)
        self._report()

    def _tell_unconfirmed(self) -> None:
        for chunk in self.ledger.chunks(self.name, UNCONFIRMED):
            self.on_trouble(UnconfirmedError(chunk.chunk_id, chunk.n_requests, note=chunk.note))

    def _make_room(self, n_requests: int) -> None:
        """Wait until the API has few enough of our requests to take these as well."""
        while in_flight := [chunk for chunk in self.ledger.chunks(self.name, AT_THE_API) if self._is_here(chunk)]:
            if sum(chunk.n_requests for chunk in in_flight) + n_requests <= self.max_requests_in_flight:
                return
            self._settle_unconfirmed()
            if not self._collect_ended({chunk.chunk_id for chunk in in_flight}):
                self.pace.pause(self.clock)

    def _is_stuck(self, chunk: ChunkRecord) -> bool:
        """Whether only a person can say what became of the chunk: its batch, if the API named one, will not."""
        named = chunk.batch_id is not None and self.clock.now() - chunk.intended_at < OVERDUE
        return not self._is_here(chunk) or (chunk.state is State.HELD and not named)

    def _is_here(self, chunk: ChunkRecord) -> bool:
        """Whether the chunk was sent to where we send."""
        return place_of(chunk.account) == place_of(self.api.account)

    # --- waiting and collecting --------------------------------------------------------------------

    def _wait(self, chunk_ids: Iterable[str]) -> None:
        """Wait until every one of the chunks is in the table, or proved not to be at the API."""
        waiting = set(chunk_ids)
        while True:
            self._settle_unconfirmed()
            progressed = self._collect_ended(waiting)
            waiting = {chunk_id for chunk_id in waiting if self.ledger.chunk(chunk_id).state in OPEN}
            if not waiting:
                return
            unsure = self.ledger.chunks(self.name, [State.HELD, State.AMBIGUOUS])
            stuck = {chunk.chunk_id for chunk in unsure if self._is_stuck(chunk)}
            if waiting <= stuck:
                raise HeldChunksError(sorted(waiting))
            if not progressed:
                self.pace.pause(self.clock)

    def _settle_unconfirmed(self) -> None:
        if self.ledger.chunks(self.name, {*UNCONFIRMED, State.HELD}):
            with self.locks.hold(self.name):
                clear = settled(self.recovery, self.on_trouble)
            if not clear:
                self._tell_unconfirmed()

    def _collect_ended(self, waiting: Members[str] = ()) -> bool:
        """
        Look at all of this pipeline's batches once and bring home those that have ended.

        Also those of runs that died: what was paid for is landed by whoever comes by. Batches that were
        sent elsewhere are left alone, unless we are `waiting` for them. Returns whether anything came home.
        """
        travelling = [
            chunk
            for chunk in self.ledger.chunks(self.name, TRAVELLING)
            if chunk.chunk_id in waiting or self._is_here(chunk)
        ]
        asked = {chunk.batch_id: chunk for chunk in travelling if chunk.state is not State.SPOOLED}
        seen = look(self.api, [batch_id for batch_id in asked if batch_id])
        if seen.trouble is not None:
            self.on_trouble(seen.trouble)
            self.clock.sleep(min(seen.retry_after_seconds, self.pace.longest_seconds))
        before = len(self.home)
        fetched, hidden = self._fetch(travelling, seen)
        self._land(fetched)
        for chunk in hidden:
            if chunk.chunk_id in waiting and chunk.chunk_id not in self.home:
                self._miss(chunk)
        if len(self.home) > before:
            self.pace.restart()
        self._report()
        return len(self.home) > before

    def _fetch(self, travelling: Iterable[ChunkRecord], seen: Look) -> tuple[list[Fetched], list[ChunkRecord]]:
        """Bring to our disk what has ended; return that, and the chunks that the API does not show."""
        fetched, hidden = list[Fetched](), list[ChunkRecord]()
        for chunk in travelling:
            batch = seen.batches.get(chunk.batch_id or "")
            if is_hidden := batch is None and seen.trouble is None:
                hidden.append(chunk)
            overdue = batch is not None and self._is_overdue(batch)
            if chunk.state in {State.SPOOLED, State.ENDED} or is_hidden or overdue or (batch and batch.ended):
                if one := self.collection.fetch(chunk.chunk_id, batch):
                    fetched.append(one)
                elif self.collection.is_home(chunk.chunk_id):
                    self.home.add(chunk.chunk_id)
            if batch:
                self.unseen_since.pop(chunk.chunk_id, None)
        return fetched, hidden

    def _land(self, fetched: Sequence[Fetched]) -> None:
        """Land what is on our disk; the database is held for a few chunks at a time."""
        for start in range(0, len(fetched), LANDED_TOGETHER):
            together = fetched[start : start + LANDED_TOGETHER]
            self.collection.land(together)
            self.home |= {one.chunk_id for one in together if self.collection.is_home(one.chunk_id)}

    def _is_overdue(self, batch: Batch) -> bool:
        age = self.clock.now() - batch.created_at
        if batch.ended or age <= OVERDUE:
            return False
        self.on_trouble(BatchOverdueError(batch.id, hours=age / timedelta(hours=1)))
        return True

    def _miss(self, chunk: ChunkRecord) -> None:
        """Note that the API does not show a batch it accepted; give up, for this run, once that has lasted."""
        since = self.unseen_since.setdefault(chunk.chunk_id, self.clock.now())
        error = BatchUnseenError(chunk.batch_id, same_account=chunk.account == self.api.account)
        if self.clock.now() - since > MAX_UNSEEN:
            raise error
        self.on_trouble(error)

    def _report(self) -> None:
        """Tell where the run stands; what has come to its end is read once."""
        ours = self.followed | self.sent
        moving = {chunk.chunk_id: chunk for chunk in self.ledger.chunks(self.name, MOVING)}
        self.ended |= {chunk_id: self.ledger.chunk(chunk_id) for chunk_id in ours - moving.keys() - self.ended.keys()}
        chunks = {**self.ended, **moving}
        self.on_progress(Progress.of([chunks[chunk_id] for chunk_id in sorted(ours)], sent=self.sent))


def _askable(rows: Iterable[OpenRow], plan: Plan) -> Iterator[OpenRow]:
    """Pass on the rows to ask, those whose answers were cut off with more room."""
    for row in rows if plan.open else ():
        if attempt := plan.attempt(row.question):
            yield row._replace(n_truncated=attempt.n_truncated) if attempt.n_truncated else row


def _numbered(row: OpenRow, due: Attempt) -> OpenRow:
    """Return the row as it is sent: its request with as much room as it needs by now."""
    if due is FIRST:
        return row
    return row._replace(params=widened(row.params, n_truncated=due.n_truncated), attempt=due.number)
