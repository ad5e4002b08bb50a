"""The promises, checked from outside: by what the server billed, the ledger and the output table say."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from claude_batch_dagster.core.collecting.answer_records import word
from claude_batch_dagster.core.ledger import OPEN, State
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import UNHEARD, Verdict
from claude_batch_dagster.engine import RunReport
from proof.canary import DOCUMENT, KEY
from proof.money import ROUNDING_USD
from proof.simulation.books import Books
from proof.simulation.ending import let_go
from proof.simulation.jobs import label_of
from proof.simulation.runs import Ran
from proof.simulation.spending import (
    beyond_budget,
    beyond_budget_with_live_answers,
    beyond_canary,
    too_many_ahead,
)
from proof.simulation.world import SimulatedWorld

NEVER_ACCEPTED = frozenset({State.SENDING, State.REFUSED})
CLOSED = frozenset({State.APPLIED, State.LOST})
OUTCOMES = frozenset(word(came) for came in Came)
PAID_TO_REPEAT = frozenset({"invalid", "truncated"})
"""What cost as much as an answer and is none: one more try."""


@dataclass(kw_only=True)
class Judgement:
    """What is wrong after a schedule; all empty when every promise was kept."""

    lost: list[str] = field(default_factory=list)
    """Documents whose paid answer nobody has."""
    duplicate_rows: list[str] = field(default_factory=list)
    """Rows of the output table beyond one for each document."""
    unreported: list[str] = field(default_factory=list)
    """Documents billed more often than the product says."""
    others: list[str] = field(default_factory=list)
    """Every other promise that was broken."""

    @property
    def broken(self) -> list[str]:
        """All of it, as text."""
        return [
            *(f"lost: {text}" for text in self.lost),
            *(f"duplicate row: {text}" for text in self.duplicate_rows),
            *(f"billed twice in silence: {text}" for text in self.unreported),
            *self.others,
        ]


def judge(world: SimulatedWorld, runs: Sequence[Ran], *, finished: bool) -> Judgement:
    """Check every promise; with `finished`, also that nothing is left to do."""
    books = Books.of(world)
    judgement = Judgement(
        lost=list(_lost(world, books)),
        duplicate_rows=list(_duplicates(books)),
        unreported=list(_unreported(books)),
        others=[
            *_needless(world, books),
            *beyond_budget(world),
            *beyond_budget_with_live_answers(world),
            *beyond_canary(world, runs),
            *too_many_ahead(world, runs),
            *_misbooked(books),
            *_mistold(world, books),
            *_leaks(world, books, runs),
            *_surprises(runs),
        ],
    )
    if finished:
        judgement.others += _unfinished(world, books)
        if (report := runs[-1].report) is not None:
            judgement.unreported += _untold(books, report)
    return judgement


# --- money -----------------------------------------------------------------------------------------


def _extra(books: Books) -> Counter[str]:
    """Count the bills for each question beyond one, and beyond a second one after an answer of no use."""
    useless = {
        asked: any(books.worth.get(row.custom_id) in PAID_TO_REPEAT for row in rows)
        for asked, rows in books.billed.items()
    }
    return +Counter({asked: len(rows) - 1 - useless[asked] for asked, rows in books.billed.items()})


def _unreported(books: Books) -> Iterator[str]:
    """Find questions billed more often than the ledger doubts."""
    for asked, n_extra in _extra(books).items():
        chunks = {row.chunk.chunk_id for row in books.planned.values() if row.request_hash == asked}
        n_doubts = sum(books.chunks[chunk_id].doubted for chunk_id in chunks)
        if n_extra > n_doubts:
            yield f"question {asked}, {n_extra} times too often, {n_doubts} of them in the ledger's doubts"


def _cost_of_doubted(books: Books) -> dict[str, float]:
    """
    Return what the answers cost that turned up in batches which were given up for lost, by question.

    That of the answer that came after is no measure: it may have been asked live, or found the cache as it was not.
    """
    cost: dict[str, float] = {}
    for one in books.answers:
        row = books.planned.get(one.custom_id or "")
        if row is not None and row.chunk.doubted and one.came == "succeeded":
            cost[row.request_hash] = cost.get(row.request_hash, 0.0) + (one.cost_usd or 0.0)
    return cost


def _untold(books: Books, report: RunReport) -> Iterator[str]:
    """Find more double bills, or dearer ones, than the report of a run over everything tells of."""
    extra, told = _extra(books), [partition.doubts for partition in report.partitions]
    n_told = sum(doubts.n_possible_duplicates for doubts in told)
    if extra.total() > n_told:
        yield f"{extra.total()} bills too many, and the report tells of {n_told}"
    usd_told = sum(inf if doubts.possible_duplicate_usd is None else doubts.possible_duplicate_usd for doubts in told)
    price = {row.request_hash: row.cost_usd or 0.0 for row in sorted(books.table, key=lambda row: row.cost_usd or 0.0)}
    found = _cost_of_doubted(books)
    usd = sum(found.get(asked, n * price.get(asked, 0.0)) for asked, n in extra.items())
    if usd > usd_told + ROUNDING_USD:
        yield f"{usd:.8f} USD too much, and the report tells of at most {usd_told:.8f}"


def _needless(world: SimulatedWorld, books: Books) -> Iterator[str]:
    """Find questions billed twice, reported or not, although nobody let go of a batch that could be found in time."""
    if not world.job.hides and not world.careless:
        unheard = Counter(row.request_hash for row in books.planned.values() if row.outcome == UNHEARD)
        for asked, n_extra in (_extra(books) - unheard).items():
            yield f"question {asked} was billed {n_extra} times too often, and every batch could be found in time"


def _lost(world: SimulatedWorld, books: Books) -> Iterator[str]:
    """Find paid answers that are neither on our disk nor in the database nor still to be fetched."""
    kept = books.spooled.keys() | {one.custom_id for one in books.answers if one.came == Came.SUCCEEDED}
    for row in (row for rows in books.billed.values() for row in rows):
        # What is doubted was set free to be asked again, and is told as a possible duplicate.
        excused = row.chunk.doubted or row.chunk.batch_id in world.deleted or row.outcome == UNHEARD
        if row.custom_id not in kept and row.chunk.state not in OPEN and not excused:
            yield f"request {row.custom_id}, its chunk is {row.chunk.state}, what came back {row.outcome}"


# --- books -----------------------------------------------------------------------------------------


def _misbooked(books: Books) -> Iterator[str]:
    """Find what the ledger says of a chunk and the server did not do."""
    for custom_id, requests in books.accepted.items():
        row = books.planned.get(custom_id)
        if row is None:
            yield f"request {custom_id} was accepted and never planned"
        elif row.chunk.state in NEVER_ACCEPTED:
            yield f"request {custom_id} was accepted, its chunk is {row.chunk.state}"
        elif row.chunk.batch_id not in {None, *(request.batch_id for request in requests)}:
            yield f"request {custom_id} was accepted in another batch than its chunk's {row.chunk.batch_id}"
        if len(requests) > 1:
            yield f"request {custom_id} was accepted {len(requests)} times: one body, sent twice"
    yield from _unplanned(books)
    for row in books.planned.values():
        if row.chunk.batch_id is not None and not row.chunk.is_live and row.custom_id not in books.accepted:
            yield f"request {row.custom_id} is said to be in batch {row.chunk.batch_id}, which does not have it"
    yield from _wrong_sums(books)
    for (chunk_id, ordinal), n in Counter((one.chunk_id, one.ordinal) for one in books.answers).items():
        if n > 1:
            yield f"request {ordinal} of chunk {chunk_id} is written down {n} times"


def _unplanned(books: Books) -> Iterator[str]:
    """Find questions that were answered live more often than the ledger has planned."""
    planned = Counter(row.request_hash for row in books.planned.values() if row.chunk.is_live)
    for question, n in books.answered_live.items():
        if planned[question] < n:
            yield f"question {question} was answered live {n} times, and planned {planned[question]} times"


def _wrong_sums(books: Books) -> Iterator[str]:
    listed = Counter(row.chunk.chunk_id for row in books.planned.values())
    told = Counter(row.chunk.chunk_id for row in books.planned.values() if row.outcome is not None)
    for chunk_id, chunk in books.chunks.items():
        n, n_told, state = listed[chunk_id], told[chunk_id], chunk.state
        if chunk.n_requests != n:
            yield f"chunk {chunk_id} was planned with {chunk.n_requests} requests and has {n}"
        # Of a batch that was refused because of one row, that row knows it.
        if n_told != (n if state in CLOSED else 0) and (state, n_told) != (State.REFUSED, 1):
            yield f"chunk {chunk_id} is {state}, and {n_told} of its {n} requests have a verdict"


def _mistold(world: SimulatedWorld, books: Books) -> Iterator[str]:
    """Find verdicts of no list, and answers of another document."""
    for planned in books.planned.values():
        if planned.outcome is not None and planned.outcome not in OUTCOMES:
            yield f"request {planned.custom_id} came to {planned.outcome!r}"
    for row in books.table:
        place = (row.partition, row.key)
        if row.status not in set(Verdict):
            yield f"row {place} has the status {row.status!r}"
        text = world.documents.get(place, "")
        current = bool(text) and row.request_hash == world.hash_of(text)
        if row.status == Verdict.SUCCEEDED and current and row.label != label_of(text):
            yield f"row {place} has the label {row.label} of another document"


# --- rows ------------------------------------------------------------------------------------------


def _duplicates(books: Books) -> Iterator[str]:
    found = Counter((row.partition, row.key) for row in books.table)
    for place, n in found.items():
        yield from (str(place) for _ in range(n - 1))


def _unfinished(world: SimulatedWorld, books: Books) -> Iterator[str]:
    """Find documents without their answer, the one to what stands upstream now, and batches left behind."""
    rows = {(row.partition, row.key): row for row in books.table}
    unheard = {row.request_hash for row in books.planned.values() if row.outcome == UNHEARD}
    for place in sorted(rows.keys() - world.documents.keys()):
        yield f"row {place} is left, though its document is gone"
    for place, text in world.documents.items():
        row = rows.get(place)
        if row and row.status == Verdict.MISSING and world.hash_of(text) in unheard:
            continue  # its answer was lost on the way, and it was asked once more
        if row is None or row.status not in world.job.expected:
            yield f"row {place} ends as {row and row.status}"
        elif row.status == Verdict.SUCCEEDED and row.request_hash != world.hash_of(text):
            came_to_nothing = _verdicts(books, world.hash_of(text)) & (world.job.expected - {Verdict.SUCCEEDED})
            if not came_to_nothing:  # else the good answer is kept, as documented
                yield f"row {place} ends with the answer to what was asked before"
    for chunk in books.chunks.values():
        if chunk.state in OPEN:
            yield f"chunk {chunk.chunk_id} is still {chunk.state}"
    yield from _unbalanced(world, books)
    for custom_id in let_go(books):
        yield f"request {custom_id} was accepted, its chunk was let go, and nobody found it again"


def _unbalanced(world: SimulatedWorld, books: Books) -> Iterator[str]:
    """Find chunks of which the database does not hold all that came back, and costs of what did not."""
    written = Counter(one.chunk_id for one in books.answers)
    for chunk in books.chunks.values():
        if chunk.state in CLOSED and written[chunk.chunk_id] != chunk.n_requests:
            n = written[chunk.chunk_id]
            yield f"chunk {chunk.chunk_id} has {chunk.n_requests} requests, of which {n} are written down"
    [(n_spent,)] = world.storage.rows("SELECT coalesce(sum(n_requests), 0) FROM spend")
    n_paid = sum(one.came == Came.SUCCEEDED for one in books.answers)
    if n_spent != n_paid:
        yield f"{n_spent} answers are booked as paid for, and {n_paid} are written down"


def _verdicts(books: Books, asked: str) -> set[str]:
    """Return the verdicts on a question: those on its Messages, and the ledger's words for all else."""
    ended = [row for row in books.planned.values() if row.request_hash == asked and row.outcome]
    messages = {books.worth[row.custom_id] for row in ended if row.custom_id in books.worth}
    return messages | {str(row.outcome).partition(":")[0] for row in ended if row.outcome != word(Came.SUCCEEDED)}


# --- secrets, surprises ----------------------------------------------------------------------------


def _leaks(world: SimulatedWorld, books: Books, runs: Sequence[Ran]) -> Iterator[str]:
    """Find documents and keys where they have no business."""
    places = {
        "ledger": world.storage.ledger_dump(),
        "table": books.table,
        "log": [ran.troubles for ran in runs],
        "error": [repr(ran.error) for ran in runs],
        "report": [repr(ran.report) for ran in runs],
    }
    for place, content in places.items():
        text = repr(content)
        yield from (f"{canary} stands in the {place}" for canary in (DOCUMENT, KEY) if canary in text)
    # An answer that is no JSON may quote its document, and is kept as it came.
    for file in world.storage.state.spool.iterdir():
        if KEY.encode() in file.read_bytes():
            yield f"{KEY} stands in the spool"


def _surprises(runs: Sequence[Ran]) -> Iterator[str]:
    for ran in runs:
        if ran.surprise is not None:
            yield f"a run raised {ran.surprise!r}"
