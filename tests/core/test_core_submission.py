import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
import pytest

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import Batch, Body, Clock, Counts, Page
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow, new_nonce
from claude_batch_dagster.core.sending.submission import DEFINITE_NO, Sent, Submission, classify, culprit_of
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiResponseError,
    ApiUnreachableError,
    LedgerConflictError,
    LedgerError,
)
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError
from tests.core.world import PIPELINE

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Judge = Callable[[int], Batch]
Send = Callable[..., ChunkRecord]


def chunk(n: int = 3) -> Chunk:
    """Return a chunk of `n` rows."""
    params = orjson.dumps({"messages": [{"role": "user", "content": "hi"}]})
    passengers = [OpenRow("p", str(key), f"hash {key}", params, attempt=key + 1) for key in range(n)]
    return Chunk(new_nonce(NOW, b"0123456789"), passengers)


def batch(n: int) -> Batch:
    """Return a batch of `n` requests, just accepted."""
    return Batch(id="msgbatch_1", processing_status="in_progress", counts=Counts(processing=n), created_at=NOW)


@dataclass
class Wire:
    """An API that looks into the ledger while it reads a body, and then answers as it is told to."""

    ledger: SqlLedger
    judge: Judge = batch
    max_bytes: int | None = None
    early: bool = False
    """Whether it answers before it has read the body."""
    read: bytes = b""
    seen: list[tuple[int, State]] = field(default_factory=list)
    """After how many bytes the ledger said what."""
    account: str = "an account"
    answerer: str = ""
    betas: tuple[str, ...] = ()

    def create(self, body: Body) -> Batch:
        """Read the body, looking, and answer."""
        self._look()
        if self.early:
            return self.judge(3)
        for piece in body.pieces:
            self.read += piece
            self._look()
            if self.max_bytes is not None and len(self.read) >= self.max_bytes:
                raise ApiUnreachableError("cut")
        assert len(self.read) == body.n_bytes
        return self.judge(len(orjson.loads(self.read)["requests"]))

    def _look(self) -> None:
        (known,) = self.ledger.chunks(PIPELINE, State)
        self.seen.append((len(self.read), known.state))

    def close(self) -> None:
        """Never called."""

    def retrieve(self, batch_id: str) -> Batch:
        """Never called."""
        raise NotImplementedError

    def list_batches(self, *, after_id: str | None = None) -> Page:
        """Never called."""
        raise NotImplementedError

    def count_tokens(self, params: bytes) -> int:
        """Never called."""
        raise NotImplementedError

    def cancel(self, batch_id: str) -> Batch:
        """Never called."""
        raise NotImplementedError

    def results(self, batch_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Never called."""
        raise NotImplementedError


@pytest.fixture
def wire(ledger: SqlLedger) -> Wire:
    """Return an API that accepts."""
    return Wire(ledger)


@pytest.fixture
def send(wire: Wire, ledger: SqlLedger, clock: Clock) -> Send:
    """Return a function that submits a chunk."""
    return Submission(api=wire, ledger=ledger, clock=clock, pipeline=PIPELINE, run_id="run").submit


def raising(error: BaseException) -> Judge:
    """Return a judge that raises."""

    def judge(_: int) -> Batch:
        raise error

    return judge


def test_f23_f32_the_intent_precedes_the_first_byte_and_the_release_the_last(wire: Wire, send: Send) -> None:
    """Whatever byte a crash comes at, the ledger knows whether the body can have been whole."""
    sent = chunk()
    send(sent)

    n_bytes = sent.body.n_bytes
    assert wire.read == b"".join(sent.body.pieces)
    assert (wire.seen[0], wire.seen[-1]) == ((0, State.SENDING), (n_bytes, State.RELEASED))
    assert all((n == n_bytes) == (state is State.RELEASED) for n, state in wire.seen)
    assert n_bytes - 1 in {n for n, _ in wire.seen}


def test_an_accepted_chunk_has_its_id_in_the_ledger(send: Send, ledger: SqlLedger, clock: Clock) -> None:
    """With everything that a later run needs: who carried which row, when, and for which account."""
    sent = chunk()

    record = send(sent)

    assert record == ledger.chunk(sent.nonce)
    assert record == ChunkRecord(
        chunk_id=sent.nonce,
        pipeline=PIPELINE,
        run_id="run",
        account="an account",
        state=State.ACCEPTED,
        n_requests=3,
        n_bytes=sent.body.n_bytes,
        intended_at=clock.now(),
        batch_id="msgbatch_1",
        released_at=clock.now(),
        batch_created_at=NOW,
        root_run_id="run",
    )
    kept = ledger.requests(sent.nonce)
    rows = list(zip(kept.keys, kept.custom_ids, kept.questions, kept.attempts, strict=True))
    assert rows == [(str(n), sent.custom_ids[n], f"hash {n}", n + 1) for n in range(3)]


def test_f48_a_batch_of_another_size_is_held_until_it_proves_itself(wire: Wire, send: Send) -> None:
    """The API names it, so it is remembered; it is not collected blindly, nor are its rows sent again."""
    wire.judge = lambda n: batch(n - 1)

    record = send(chunk())

    assert (record.state, record.batch_id) == (State.HELD, batch(2).id)
    assert record.note == f"the API accepted 2 requests of 3 as {batch(2).id}"


def test_f32_a_body_that_broke_off_is_free_again(wire: Wire, send: Send, ledger: SqlLedger) -> None:
    """Proven never sent: the error is raised, and no listing is needed."""
    wire.max_bytes = 40

    with pytest.raises(ApiUnreachableError):
        send(chunk())
    assert ledger.chunk(chunk().nonce).state is State.REFUSED


@pytest.mark.parametrize("at", ["before a byte", "before the last byte", "after it"])
def test_f32_f33_a_crash_leaves_what_recovery_needs(wire: Wire, send: Send, ledger: SqlLedger, at: str) -> None:
    """Nothing runs after a crash; the state alone says what can have happened."""
    last = chunk().body.n_bytes - 1

    def look() -> None:
        if (at, len(wire.read)) in {("before a byte", 0), ("before the last byte", last), ("after it", last + 1)}:
            raise CrashError

    wire._look = look  # type: ignore[method-assign]  # noqa: SLF001  (a wire of this test)
    with pytest.raises(CrashError):
        send(chunk())

    expected = State.RELEASED if at == "after it" else State.SENDING
    assert ledger.chunk(chunk().nonce).state is expected


def test_f29_a_chunk_that_another_run_has_written_off_is_not_released(
    wire: Wire, send: Send, ledger: SqlLedger
) -> None:
    """A sender that slept for hours finds its intent taken back, and holds the last byte."""
    sent = chunk()
    look = wire._look  # noqa: SLF001  (a wire of this test)

    def interfere() -> None:
        look()
        if wire.read and ledger.chunk(sent.nonce).state is State.SENDING:
            ledger.move(sent.nonce, to=State.REFUSED)

    wire._look = interfere  # type: ignore[method-assign]  # noqa: SLF001
    with pytest.raises(LedgerConflictError):
        send(sent)
    assert len(wire.read) < sent.body.n_bytes


STATUSES = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 307, 499, 500, 502, 503, 504, 529]


def refusal(status: int, kind: str | None = "some_error") -> ApiRefusedError:
    """Return an answer with an error status; without an envelope if `kind` is None."""
    return ApiRefusedError("SECRET document", status=status, kind=kind, request_id="req_1")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("kind", ["some_error", None])
@pytest.mark.parametrize("released", [True, False])
def test_f36_to_f47_what_an_error_status_proves(status: int, kind: str | None, released: bool) -> None:  # noqa: FBT001
    """Before the last byte everything is a no; after it only a refusal in the API's own words."""
    definite = not released or (status in DEFINITE_NO and kind is not None)

    assert classify(refusal(status, kind), released=released) is (Sent.NO if definite else Sent.AMBIGUOUS)


def refused_for(message: str, status: int = 400) -> ApiRefusedError:
    """Return a refusal of the API in these words."""
    return ApiRefusedError(message, status=status, kind="invalid_request_error")


@pytest.mark.parametrize(
    ("error", "n_requests", "culprit"),
    [
        pytest.param(refused_for("requests.2.params.messages: empty"), 3, 2, id="named"),
        pytest.param(refused_for("requests.1.params: a; requests.1.params.system: b"), 3, 1, id="named-twice"),
        pytest.param(refused_for("requests.2"), 3, 2, id="named-at-the-end"),
        pytest.param(refused_for("requests.0.params: a; requests.1.params: b"), 3, None, id="two-named"),
        pytest.param(refused_for("requests.3.params: empty"), 3, None, id="of-another-batch"),
        pytest.param(refused_for("requests.0.params: empty"), 1, None, id="all-there-is"),
        pytest.param(refused_for("no credit"), 3, None, id="none-named"),
        pytest.param(refused_for("requests.2.params: slow", 429), 3, None, id="not-about-the-row"),
        pytest.param(refused_for("too large", 413), 1, 0, id="one-too-large"),
        pytest.param(refused_for("too large", 413), 2, None, id="together-too-large"),
    ],
)
def test_a_row_is_at_fault_only_if_the_api_names_it_alone(
    error: ApiRefusedError, n_requests: int, culprit: int | None
) -> None:
    """One row, of several, in a refusal that is about requests; or the only one, if it is too large by itself."""
    assert culprit_of(error, n_requests) == culprit


def test_the_definite_refusals_are_the_api_s_own() -> None:
    """No 5xx, no timeout, no conflict, no redirect proves that nothing was accepted."""
    assert sorted(DEFINITE_NO) == [400, 401, 402, 403, 404, 413, 422, 429]


@pytest.mark.parametrize("error", [ApiUnreachableError("x"), ApiResponseError("x"), ApiError("x")])
@pytest.mark.parametrize(("released", "proof"), [(True, Sent.AMBIGUOUS), (False, Sent.NO)])
def test_f31_f34_f46_silence_proves_something_only_before_the_last_byte(
    error: ApiError,
    released: bool,  # noqa: FBT001
    proof: Sent,
) -> None:
    """A lost or unreadable answer to a whole body may have been a yes."""
    assert classify(error, released=released) is proof


def test_f120_a_refusal_that_quotes_a_document_is_raised_without_it(wire: Wire, send: Send) -> None:
    """The path of what the API objects to stays, with status, type and request id."""
    words = "a letter that nobody is meant to read"
    params = orjson.dumps({"messages": [{"role": "user", "content": words}]})
    wire.judge = raising(ApiRefusedError(f"requests.0.params.messages: bad value {words}", status=400, kind="some"))

    with pytest.raises(ApiRefusedError, match=r"HTTP 400 some: requests\.0\.params\.messages: \(") as caught:
        send(Chunk(new_nonce(NOW, b"0123456789"), [OpenRow("p", "1", "hash", params, attempt=1)]))

    assert "nobody" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (refusal(400), State.REFUSED),
        (refusal(400, None), State.AMBIGUOUS),
        (refusal(500), State.AMBIGUOUS),
        (ApiUnreachableError("SECRET"), State.AMBIGUOUS),
        (ApiResponseError("SECRET"), State.AMBIGUOUS),
    ],
)
def test_a_failed_call_is_written_down_as_what_it_proves(
    wire: Wire, send: Send, ledger: SqlLedger, error: ApiError, outcome: State
) -> None:
    """A no is raised, a perhaps is returned; and the ledger keeps nothing that a request may have held."""
    wire.judge = raising(error)
    if outcome is State.REFUSED:
        with pytest.raises(type(error)):
            send(chunk())
    else:
        assert send(chunk()).state is outcome

    record = ledger.chunk(chunk().nonce)
    assert (record.state, record.batch_id) == (outcome, None)
    assert record.note
    assert "SECRET" not in record.note


def test_f50_a_crash_before_the_id_is_written_leaves_the_chunk_released(
    wire: Wire, send: Send, ledger: SqlLedger
) -> None:
    """From there recovery finds the batch in the list."""
    wire.judge = raising(CrashError())

    with pytest.raises(CrashError):
        send(chunk())
    assert ledger.chunk(chunk().nonce).state is State.RELEASED


def test_f51_an_id_that_cannot_be_written_down_is_told_and_found_again(
    wire: Wire, send: Send, ledger: SqlLedger, state: StateDirectory
) -> None:
    """The disk fails between the answer and the ledger: the error names the batch, and the chunk is looked for."""

    def breaking(n: int) -> Batch:
        with closing(sqlite3.connect(str(state.ledger_url.database))) as connection, connection:
            connection.execute("ALTER TABLE events RENAME TO gone")
        return batch(n)

    wire.judge = breaking
    sent = chunk()

    with pytest.raises(LedgerError) as caught:
        send(sent)

    assert caught.value.__notes__ == [
        "The API accepted batch msgbatch_1; the next run finds it in the API's list by itself."
    ]
    assert ledger.chunk(sent.nonce).state is State.RELEASED


def test_f48_an_answer_before_the_last_byte_is_believed(wire: Wire, send: Send) -> None:
    """An API that names a batch has one: whatever it had read by then, those rows are not sent again."""
    wire.early = True

    record = send(chunk())

    assert (record.state, record.batch_id) == (State.ACCEPTED, "msgbatch_1")
