"""Send what a plan says: whatever the API refuses for a while, and whatever other runs do meanwhile."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import islice

from claude_batch_dagster.core.asking.requests import widened
from claude_batch_dagster.core.collecting.answer_records import rejected, word
from claude_batch_dagster.core.ledger import OPEN, Lane, Made
from claude_batch_dagster.core.planning.lanes import Lanes
from claude_batch_dagster.core.ports import Answers
from claude_batch_dagster.core.retries import FIRST, Attempt, Came, Plan, Rules
from claude_batch_dagster.core.running.following import Following
from claude_batch_dagster.core.sending.chunks import Chunk, Limits, OpenRow, chunked, new_nonce
from claude_batch_dagster.core.sending.submission import Submission, culprit_of
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiUnreachableError,
    BudgetError,
    ClaimConflictError,
    CredentialError,
    SpendLimitError,
)

MAX_FAILURES = 8
"""How often a chunk that provably was not accepted is offered before the run gives up."""

MOST_SHORT_ROUNDS = 20
"""Rounds in which a run goes on with money that answers have not needed: each has to wait for the one before."""

FULL_QUEUE_SECONDS = 8.0
"""Half the first pause after a refusal for rate that names none; each is twice as long: half an hour in all."""


LIVE_REQUESTS = 50
"""Requests that are asked live together."""

Mark = Callable[[bytes], bytes]


@dataclass(kw_only=True)
class Dispatch:
    """What one run sends for one output table, a round at a time."""

    following: Following
    submission: Submission
    answers: Answers
    lanes: Lanes
    """Says what is asked live."""
    entropy: Callable[[int], bytes]
    limits: Limits = field(default_factory=Limits)
    max_requests_in_flight: int = 100_000
    rules: Rules = field(default_factory=Rules)
    mark: Mark | None = None
    """Marks a request to be cached; None for none."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Questions that this run does not send, each with the reason."""
    n_sent: Counter[str | None] = field(default_factory=Counter)
    """Requests sent by this run, by partition."""
    plan: Plan = field(default_factory=Plan)
    """What was to be done when the round began, or when another run was last found to be faster."""
    made: Mapping[str, Made] = field(default_factory=dict)
    """The ledger's own memory of attempts at what is due: what it knows and the database does not is not sent."""
    is_short: bool = False
    """Whether there was not money enough, the last time, for all that is due."""
    n_short: int = 0
    """Rounds in which there was not money enough."""
    lacking: dict[str, ApiError] = field(default_factory=dict)
    """Chunks that were paid for, and that the database lacks for now, each with the reason."""

    def look(self) -> Plan:
        """Look at what there is to do now."""
        claimed = self.following.ledger.claimed(self.following.name, lacking=self.lacking.keys())
        plan = self.answers.plan(claimed, run_chunks=self.following.sent, rules=self.rules)
        if self.left_out:
            plan.leave_out(self.left_out)
        self.made = self.following.ledger.made(self.following.name, due) if (due := plan.due) else {}
        return plan

    def send(self, rows: Iterable[OpenRow], *, most: int | None = None) -> set[str]:
        """Send what may be sent, or the first rows of it; return the chunks that now carry questions of ours."""
        self.n_short += self.is_short
        plan, self.is_short = self.look(), False
        self.plan = plan
        flying = set(plan.followed - self.lacking.keys())
        if self.n_short >= MOST_SHORT_ROUNDS:
            self.is_short = True  # rather less today than a few rows an hour for days
            return flying
        live = self._live()
        waiting = (row for row in rows if row.question not in live) if live else rows
        askable = islice(_askable(waiting, plan, self.mark), most)
        for group in chunked(askable, self.limits.shared_by(len(plan.due))):
            self.following.wait_for_room(len(group), most=self.max_requests_in_flight)
            self._offer(group, flying, Lane.BATCH)
            if self.is_short:
                break
        if live and (most is None or plan.due <= live):
            self._ask(islice(_askable((row for row in rows if row.question in live), plan, None), most), flying)
        if most is None:
            self.mark = None  # what is sent hours later finds no cache, and would pay for writing one
        return flying

    def give_up(self) -> None:
        """Leave out what there was no money for."""
        if self.is_short and self.submission.purse is not None:
            self.left_out = {**dict.fromkeys(self.plan.due, self.submission.purse.refusal), **self.left_out}

    def _live(self) -> AbstractSet[str]:
        """Return the questions that do not wait for a batch: all, or those that have waited for one long enough."""
        if self.lanes.is_late:
            return set(self.plan.due)
        small = self.plan.due & self.lanes.small
        if self.lanes.give_up_at is None:
            return small
        ledger, ours = self.following.ledger, self.following.followed | self.following.sent
        chunk_ids = ours.intersection(made.chunk_id for made in self.made.values())  # what was long ago is over
        given_up = {chunk_id for chunk_id in chunk_ids if ledger.chunk(chunk_id).given_up_at is not None}
        return small | {question for question, made in self.made.items() if made.chunk_id in given_up}

    def _ask(self, rows: Iterable[OpenRow], flying: set[str]) -> None:
        """Ask rows live, a few at a time: the pipeline is locked for as long as it takes."""
        for group in chunked(rows, replace(self.limits, max_requests=LIVE_REQUESTS), Lane.LIVE):
            if not self.is_short:
                self._offer(group, flying, Lane.LIVE)

    def _offer(self, group: Sequence[OpenRow], flying: set[str], lane: Lane) -> None:
        """Send one chunk, in spite of passing refusals; halve it if the API finds it too large."""
        for n_failures in range(1, MAX_FAILURES + 1):
            if lane is Lane.BATCH and self.lanes.is_late:  # by now
                self._ask(group, flying)
                return
            try:
                self._submit_when_clear(group, flying, lane)
            except (CredentialError, SpendLimitError):
                raise
            except ApiRefusedError as error:
                if error.status == 413 and len(group) > 1:  # noqa: PLR2004  (content too large)
                    middle = len(group) // 2
                    self._offer(group[:middle], flying, lane)
                    self._offer(group[middle:], flying, lane)
                    return
                is_passing = error.status == 429 and lane is Lane.BATCH  # noqa: PLR2004  (a full queue, a rate limit)
                if not is_passing or n_failures == MAX_FAILURES:
                    raise
                self._wait_out(error, at_least=FULL_QUEUE_SECONDS * 2**n_failures)
            except ApiUnreachableError as error:
                if lane is Lane.LIVE or n_failures == MAX_FAILURES:  # of a live call the lane itself makes sure
                    raise
                self._wait_out(error)
            else:
                self.following.pace.restart()
                return

    def _wait_out(self, error: ApiError, *, at_least: float = 0.0) -> None:
        self.following.on_trouble(error)
        self.following.collect_ended()
        told = error.retry_after_seconds if isinstance(error, ApiRefusedError) else None
        self.following.pause(at_least=at_least if told is None else told)

    def _submit_when_clear(self, group: Sequence[OpenRow], flying: set[str], lane: Lane) -> None:
        """Send a chunk once nothing of this pipeline is unconfirmed."""
        while True:
            with self.following.locks.hold(self.following.name):
                if self.following.is_clear() and self._submit(group, flying, lane):
                    return
                self.following.tell_unconfirmed()
            self.following.collect_ended()
            self.following.pause()

    def _submit(self, group: Sequence[OpenRow], flying: set[str], lane: Lane) -> bool:
        """
        Reserve the questions that no other run has reserved meanwhile, and send them.

        `False` if another run was faster: look again, and wait for what that run has sent.
        """
        plan = self.plan
        rows = _numbered(group, plan)
        try:
            self._check_made(rows)
            rows = self._affordable(rows, lane)
            if rows:
                self._send_chunk(rows, flying, lane)
        except BudgetError:  # another run was faster
            self.is_short = True
        except ClaimConflictError as error:
            faster = self.following.ledger.chunk(error.chunk_id)
            before, plan = plan, self.look()
            self.plan = plan
            flying |= {plan.in_flight[one.question] for one in group if one.question in plan.in_flight}
            nothing_new = all(plan.attempt(one.question) == before.attempt(one.question) for one in group)
            if faster.state not in OPEN and nothing_new:
                raise  # the ledger knows an attempt that the database does not: asking again and again would not help
            return False
        return True

    def _affordable(self, rows: Sequence[OpenRow], lane: Lane) -> Sequence[OpenRow]:
        """Return the first of the rows, as many as there is money for."""
        purse = self.submission.purse
        if purse is None or not rows:
            return rows
        never = purse.unaffordable(rows, lane)
        self.left_out |= never
        rows = [row for row in rows if row.question not in never] if never else rows
        affordable = purse.affordable(rows, lane) if rows else rows
        self.is_short = self.is_short or len(affordable) < len(rows)
        return affordable

    def _check_made(self, rows: Iterable[OpenRow]) -> None:
        """Raise `ClaimConflictError` if the ledger knows this attempt at a question, or a later one, to be made."""
        for row in rows if self.made else ():
            made = self.made.get(row.question)
            if made and made.number >= row.attempt:
                raise ClaimConflictError(made.chunk_id, "it has answered rows of this one")

    def _send_chunk(self, rows: Sequence[OpenRow], flying: set[str], lane: Lane) -> None:
        """Send rows; without the one that the API finds at fault, if it names one."""
        chunk = self._chunk_of(rows, lane)
        try:
            self._dispatch(chunk, flying)
        except ApiRefusedError as error:
            culprit = culprit_of(error, len(rows))
            if culprit is None:
                raise
            if rest := [one for ordinal, one in enumerate(rows) if ordinal != culprit]:
                self._dispatch(self._chunk_of(rest, lane), flying)
            # Only now: had the rest been refused as well, that row would not have been the reason.
            self.following.ledger.note_outcomes(chunk.nonce, {culprit: word(Came.REJECTED)})
            refused, one = self.following.ledger.chunk(chunk.nonce), rows[culprit]
            fact = rejected(refused, question=one.question, attempt=one.attempt, ordinal=culprit)
            self.answers.land(chunk.nonce, [fact])

    def _chunk_of(self, rows: Sequence[OpenRow], lane: Lane) -> Chunk:
        return Chunk(new_nonce(self.following.clock.now(), self.entropy(10)), rows, lane)

    def _dispatch(self, chunk: Chunk, flying: set[str]) -> None:
        trouble: ApiError | None = None
        if chunk.lane is Lane.LIVE:
            trouble = self.submission.ask(chunk, known=self.plan.known)
        else:
            self.submission.submit(chunk, known=self.plan.known)
        self.plan.sent(chunk.nonce, [row.question for row in chunk.rows])
        flying.add(chunk.nonce)
        self.following.sent.add(chunk.nonce)
        self.n_sent.update(row.partition_key for row in chunk.rows)
        self.following.report()
        if trouble is not None:
            self.following.collect_ended({chunk.nonce})  # what was answered by then is paid for
            raise trouble


def _askable(rows: Iterable[OpenRow], plan: Plan, mark: Mark | None) -> Iterator[OpenRow]:
    """Pass on the rows to ask: marked to be cached, and those whose answers were cut off with more room."""
    for row in rows if plan.due else ():
        if row.question in plan.new:
            yield row if mark is None else row._replace(params=mark(row.params))
        elif attempt := plan.again.get(row.question):
            yield row._replace(n_truncated=attempt.n_truncated) if attempt.n_truncated else row


def _numbered(rows: Sequence[OpenRow], plan: Plan) -> Sequence[OpenRow]:
    """Return those of the rows that are due, as they are sent: each request with as much room as it needs by now."""
    if plan.new.issuperset([row.question for row in rows]):
        return rows
    return [_repeated(row, due) for row in rows if (due := plan.attempt(row.question))]


def _repeated(row: OpenRow, due: Attempt) -> OpenRow:
    if due is FIRST:
        return row
    return row._replace(params=widened(row.params, n_truncated=due.n_truncated), attempt=due.number)
