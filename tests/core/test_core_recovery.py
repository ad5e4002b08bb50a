"""What becomes of a chunk whose answer is not known, asked of the emulator through the real client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import anthropic
import orjson
import pytest
from anthropic.types import MessageParam

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.ports import Batch, Body, Clock, Page
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow, new_nonce
from claude_batch_dagster.core.sending.recovery import MIN_SILENT_LISTINGS, OnUnconfirmed, Recovery, settled
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import marked
from tests.core.clocks import Shifted
from tests.core.world import BASE, PIPELINE

Lose = Callable[..., Chunk]
Recover = Callable[..., Recovery]


def chunk_of(n: int, entropy: bytes = b"0123456789", *, at: Clock) -> Chunk:
    """Return a chunk of `n` rows that the emulator will answer."""
    params = [
        orjson.dumps({**BASE, "messages": [{"role": "user", "content": marked(f"war {key}")}]}) for key in range(n)
    ]
    rows = [OpenRow("p", str(key), f"{entropy.decode()} {key}", one, 1) for key, one in enumerate(params)]
    return Chunk(new_nonce(at.now(), entropy), rows)


@pytest.fixture
def lose(api: AnthropicBatches, emulator: Emulator, ledger: SqlLedger, clock: Clock) -> Lose:
    """Return a function that sends a chunk and loses the answer."""

    def lose(n: int = 3, fault: str = "drop_after_accept", entropy: bytes = b"0123456789") -> Chunk:
        emulator.faults.add(fault, endpoint="create", times=1)
        chunk = chunk_of(n, entropy, at=clock)
        submission = Submission(api=api, ledger=ledger, clock=clock, pipeline=PIPELINE, run_id="run")
        assert submission.submit(chunk).state is State.AMBIGUOUS
        return chunk

    return lose


@pytest.fixture
def recover(api: AnthropicBatches, ledger: SqlLedger, clock: Clock) -> Recover:
    """Return a function that makes a recovery."""

    def recover(on_unconfirmed: OnUnconfirmed = "resubmit", minutes: float = 15) -> Recovery:
        return Recovery(
            api=api,
            ledger=ledger,
            clock=clock,
            pipeline=PIPELINE,
            quiet_period=timedelta(minutes=minutes),
            on_unconfirmed=on_unconfirmed,
        )

    return recover


def foreign(client: anthropic.Anthropic, n: int = 3) -> None:
    """Send a batch of somebody else's, of `n` requests."""
    messages: list[MessageParam] = [{"role": "user", "content": "x"}]
    client.messages.batches.create(
        requests=[
            {
                "custom_id": f"theirs-{key}",
                "params": {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": messages},
            }
            for key in range(n)
        ]
    )


class DeadError(BaseException):
    """The sender dies here."""


class DyingApi(AnthropicBatches):
    """The API, whose caller dies before or after the body has left."""

    sends = False

    def create(self, body: Body) -> Batch:
        """Send the body, or not even all of it, and die."""
        if self.sends:
            super().create(body)
        else:
            next(iter(body.pieces))
        raise DeadError


def die(client: anthropic.Anthropic, ledger: SqlLedger, clock: Clock, *, sends: bool) -> Chunk:
    """Submit a chunk and die on the way."""
    api = DyingApi(client)
    api.sends = sends
    chunk = chunk_of(3, at=clock)
    with pytest.raises(DeadError):
        Submission(api=api, ledger=ledger, clock=clock, pipeline=PIPELINE, run_id="dead").submit(chunk)
    return chunk


def test_f32_a_chunk_that_never_left_whole_is_free_at_once(
    client: anthropic.Anthropic, ledger: SqlLedger, clock: Clock, recover: Recover, emulator: Emulator
) -> None:
    """Its sender died in the upload: no listing, no waiting."""
    chunk = die(client, ledger, clock, sends=False)
    emulator.faults.add("500")

    assert recover().settle() == []
    assert ledger.chunk(chunk.nonce).state is State.REFUSED


def test_f33_f50_a_chunk_whose_sender_died_after_the_last_byte_is_adopted_once_it_has_ended(
    client: anthropic.Anthropic, ledger: SqlLedger, clock: Clock, recover: Recover
) -> None:
    """While its batch runs it cannot be proved ours, so it is waited for, however long that takes."""
    chunk = die(client, ledger, clock, sends=True)
    recovery = recover(minutes=0)
    for _ in range(9):
        assert [left.state for left in recovery.settle()] == [State.AMBIGUOUS]
        clock.sleep(6)
    clock.sleep(6)

    assert recovery.settle() == []
    record = ledger.chunk(chunk.nonce)
    assert (record.state, record.n_silent_listings, record.quiet_since) == (State.ADOPTED, 0, None)
    (batch,) = client.messages.batches.list().data
    assert (record.batch_id, record.batch_created_at) == (batch.id, batch.created_at)


def test_f34_a_foreign_batch_of_equal_size_is_never_adopted(
    client: anthropic.Anthropic, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """The nonce is the proof; ours is found between others, whichever came first."""
    foreign(client)
    chunk = lose()
    foreign(client)
    clock.sleep(120)

    assert recover().settle() == []
    adopted = ledger.chunk(chunk.nonce)
    assert adopted.state is State.ADOPTED
    results = client.messages.batches.results(adopted.batch_id or "")
    assert {line.custom_id for line in results} == set(chunk.custom_ids)


def test_f33_a_batch_that_is_not_the_chunk_looked_for_may_be_another_of_ours(
    ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """A chunk that was let go is looked for first; what it finds is not kept from the chunk that it belongs to."""
    gone = lose(fault="drop_before_accept")
    while ledger.chunk(gone.nonce).state is State.AMBIGUOUS:
        recover(minutes=0).settle()
    chunk = lose(entropy=b"another000")
    clock.sleep(120)
    recovery = recover()

    assert recovery.watch() == []
    assert recovery.settle() == []
    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_batches_of_another_size_or_from_long_before_or_known_are_not_opened(
    client: anthropic.Anthropic, emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """Their results would have to be downloaded to tell; they cannot be ours."""
    foreign(client)
    clock.sleep(2 * 86_400)
    foreign(client, n=2)
    known = lose()
    clock.sleep(120)
    recover().settle()
    assert ledger.chunk(known.nonce).state is State.ADOPTED
    chunk = lose(fault="drop_before_accept", entropy=b"another000")
    emulator.faults.add("500", endpoint="results")

    recover().settle()

    record = ledger.chunk(chunk.nonce)
    assert (record.state, record.n_silent_listings) == (State.AMBIGUOUS, 1)


@pytest.mark.parametrize(
    ("minutes", "step_seconds", "n_looks"), [(15, 60, 16), (15, 600, 5), (0, 1, MIN_SILENT_LISTINGS), (60, 1200, 5)]
)
def test_silence_must_last_the_quiet_period_and_several_listings(
    ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover, minutes: float, step_seconds: float, n_looks: int
) -> None:
    """Both: the time, counted from the first silent listing, and the number of complete listings."""
    chunk = lose(fault="drop_before_accept")
    recovery, n = recover(minutes=minutes), 0
    while ledger.chunk(chunk.nonce).state is State.AMBIGUOUS:
        recovery.settle()
        clock.sleep(step_seconds)
        n += 1

    assert (ledger.chunk(chunk.nonce).state, n) == (State.UNSEEN, n_looks)


def test_f55_listings_that_fail_do_not_count_as_silence(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """An API that does not answer says nothing; the caller is told and looks again."""
    chunk = lose(fault="drop_before_accept")
    emulator.faults.add("500", endpoint="list")
    troubles: list[ApiError] = []
    for _ in range(20):
        assert not settled(recover(), troubles.append)
        clock.sleep(300)

    record = ledger.chunk(chunk.nonce)
    assert (record.state, record.n_silent_listings, len(troubles)) == (State.AMBIGUOUS, 0, 20)
    assert all(isinstance(trouble, ApiRefusedError) for trouble in troubles)


def test_f54_a_key_that_is_not_accepted_is_no_silence_either(emulator: Emulator, lose: Lose, recover: Recover) -> None:
    """It raises: waiting would not mend it."""
    lose()
    emulator.faults.add("401", endpoint="list")

    with pytest.raises(CredentialError):
        settled(recover())


def test_f124_f125_the_list_is_read_page_by_page_down_to_the_intent(
    client: anthropic.Anthropic,
    ledger: SqlLedger,
    clock: Clock,
    lose: Lose,
    recover: Recover,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch on a later page is found; pages behind it are not read."""
    monkeypatch.setattr("claude_batch_dagster.client.PAGE_SIZE", 2)
    for _ in range(3):
        foreign(client, n=1)
    clock.sleep(2 * 86_400)
    chunk = lose()
    for _ in range(5):
        foreign(client, n=1)
    clock.sleep(120)
    asked: list[str | None] = []
    recovery = recover()
    list_batches = recovery.api.list_batches

    def ask(*, after_id: str | None = None) -> Page:
        asked.append(after_id)
        return list_batches(after_id=after_id)

    monkeypatch.setattr(recovery.api, "list_batches", ask)

    recovery.settle()

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED
    assert len(asked) == 8, "twice, down to the page with the first that is too old"
    assert asked[:4] == asked[4:]
    assert all(a != b for a, b in pairwise(asked))


def test_f34_a_batch_that_is_listed_late_is_found_within_the_quiet_period(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """The list may lag by minutes; so silence is not believed at once."""
    emulator.faults.add("list_lag", seconds=600)
    chunk = lose()
    for _ in range(12):
        recover().settle()
        clock.sleep(60)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


class BeginningApi(AnthropicBatches):
    """The API, whose results begin with something else, and come byte by byte."""

    beginning = b""

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """Stream the results behind the beginning."""
        with super().results(batch_id) as pieces:
            yield (bytes([byte]) for byte in self.beginning + b"".join(pieces))


FOREIGN = b'{"custom_id":"row-of-another-batch","result":{"type":"expired"}}\n'


@pytest.mark.parametrize(
    ("beginning", "ours"),
    [
        pytest.param(b"\n\r\n", True, id="F75-blank"),
        pytest.param(b'{"custom_id":"row-that-was-mang\n', True, id="F76-garbage"),
        pytest.param(FOREIGN, True, id="F73-foreign"),
        pytest.param(FOREIGN * 20, False, id="F73-foreign-throughout"),
    ],
)
def test_odd_lines_before_the_first_do_not_hide_the_proof(
    client: anthropic.Anthropic,
    ledger: SqlLedger,
    clock: Clock,
    lose: Lose,
    recover: Recover,
    *,
    beginning: bytes,
    ours: bool,
) -> None:
    """Blank, cut and foreign lines are passed over until ours is found, but not without end."""
    chunk = lose()
    clock.sleep(120)
    api = BeginningApi(client)
    api.beginning = beginning

    replace(recover(), api=api).settle()

    assert ledger.chunk(chunk.nonce).state is (State.ADOPTED if ours else State.AMBIGUOUS)


@pytest.mark.parametrize("fault", ["404", "500", "connect_error", "results_cut_between_lines_no_length"])
def test_f68_results_that_cannot_be_read_yet_are_read_later(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover, fault: str
) -> None:
    """A 404 right after the end, or a stream that ends before its first line, passes."""
    chunk = lose(1)
    clock.sleep(120)
    emulator.faults.add(fault, endpoint="results", times=3)
    for _ in range(4):
        settled(recover())
        clock.sleep(60)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_f66_a_batch_that_is_archived_can_never_be_proved_ours(
    ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """After 29 days it is held, and named: it may have been accepted and paid for."""
    chunk = lose()
    clock.sleep(30 * 86_400)
    recovery = recover(minutes=0)
    for _ in range(MIN_SILENT_LISTINGS):
        recovery.settle()

    record = ledger.chunk(chunk.nonce)
    assert record.state is State.HELD
    assert "msgbatch_" in str(record.note)


@pytest.mark.parametrize("policy", ["hold", "resubmit"])
def test_f56_f112_silence_elsewhere_proves_nothing(
    client: anthropic.Anthropic,
    ledger: SqlLedger,
    clock: Clock,
    lose: Lose,
    recover: Recover,
    policy: OnUnconfirmed,
) -> None:
    """A run with another workspace or base URL leaves the chunk to those who can see it, and is free to send."""
    chunk = lose()
    elsewhere = replace(recover(policy, minutes=0), api=AnthropicBatches(client, workspace_id="wrkspc_2"))
    for _ in range(9):
        assert elsewhere.settle() == []
        clock.sleep(600)
    assert ledger.chunk(chunk.nonce).state is State.AMBIGUOUS

    recover().settle()
    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_hold_leaves_the_chunk_to_a_person_until_resubmit_is_said(
    ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """Held chunks do not keep others from being sent; a policy that sets them free listens for its own quiet period."""
    chunk = lose(fault="drop_before_accept")
    began = clock.now()
    for _ in range(MIN_SILENT_LISTINGS):
        recover("hold", minutes=0).settle()
    assert ledger.chunk(chunk.nonce).state is State.HELD

    assert recover("hold").settle() == []
    assert ledger.chunk(chunk.nonce).state is State.HELD
    while [left.state for left in recover("resubmit", minutes=60).settle()] == [State.AMBIGUOUS]:
        clock.sleep(300)
    assert ledger.chunk(chunk.nonce).state is State.UNSEEN
    assert clock.now() - began == timedelta(minutes=60)


def test_f34_a_chunk_held_too_early_is_found_by_the_run_that_may_resubmit(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """The command line held it after a quiet period shorter than the run's, and the list lags by more than that."""
    emulator.faults.add("list_lag", seconds=2_400)
    chunk = lose()
    for _ in range(9):
        recover("hold").settle()
        clock.sleep(120)
    assert ledger.chunk(chunk.nonce).state is State.HELD

    while recover("resubmit", minutes=60).settle():
        clock.sleep(120)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


@pytest.mark.parametrize(("policy", "becomes"), [("hold", State.HELD), ("resubmit", State.UNSEEN)])
def test_f48_a_chunk_whose_named_batch_is_foreign_is_listened_for(
    client: anthropic.Anthropic,
    ledger: SqlLedger,
    clock: Clock,
    lose: Lose,
    recover: Recover,
    policy: OnUnconfirmed,
    becomes: State,
) -> None:
    """What the API said of it was wrong, so it is unconfirmed like any other: the whole quiet period has to pass."""
    foreign(client, n=2)
    [batch] = client.messages.batches.list().data
    chunk = lose(fault="drop_before_accept")
    ledger.move(chunk.nonce, to=State.HELD, batch_id=batch.id, note="named")
    clock.sleep(120)
    began, recovery = clock.now(), recover(policy)

    while recovery.settle():
        clock.sleep(60)

    assert (ledger.chunk(chunk.nonce).state, ledger.chunk(chunk.nonce).batch_id) == (becomes, None)
    assert clock.now() - began >= timedelta(minutes=15)


@pytest.mark.parametrize("policy", ["hold", "resubmit"])
def test_a_held_chunk_that_turns_up_after_all_is_adopted(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover, policy: OnUnconfirmed
) -> None:
    """Before it is set free it is looked for once more: it was paid for."""
    emulator.faults.add("list_lag", seconds=3_600)
    chunk = lose()
    for _ in range(MIN_SILENT_LISTINGS):
        recover("hold", minutes=0).settle()
    assert ledger.chunk(chunk.nonce).state is State.HELD
    clock.sleep(4_000)

    recover(policy).settle()

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("hours", "days_later"), [(-30, 0), (-30, 2), (-2, 0), (-2, 2), (2, 0), (2, 2), (24, 0), (24, 2), (30, 0), (30, 1)]
)
def test_f49_a_clock_that_is_set_right_after_the_intent_does_not_hide_the_batch(
    api: AnthropicBatches, emulator: Emulator, ledger: SqlLedger, clock: Clock, hours: float, days_later: float
) -> None:
    """By a day, or by more if it still seems to come: the batch is found where the API's clock has put it."""
    wrong = Shifted(clock, timedelta(hours=hours))
    emulator.faults.add("drop_after_accept", endpoint="create", times=1)
    chunk = chunk_of(3, at=wrong)
    Submission(api=api, ledger=ledger, clock=wrong, pipeline=PIPELINE, run_id="run").submit(chunk)
    clock.sleep(days_later * 86_400)
    recovery = Recovery(api=api, ledger=ledger, clock=clock, pipeline=PIPELINE)

    while recovery.settle():
        clock.sleep(60)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_f49_a_clock_that_jumps_does_not_end_the_quiet_period(
    emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """It is measured by the API's clock: a batch that is listed late is found, however far ours is set forward."""
    emulator.faults.add("list_lag", seconds=600)
    chunk = lose()
    for n in range(12):
        replace(recover(), clock=Shifted(clock, timedelta(hours=n // 2))).settle()
        clock.sleep(60)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


@pytest.mark.parametrize("hours", [2, 24])
def test_f34_f49_what_was_let_go_is_found_under_any_clock(
    api: AnthropicBatches, emulator: Emulator, ledger: SqlLedger, clock: Clock, recover: Recover, hours: float
) -> None:
    """The list lags beyond the quiet period, and the clock was ahead when the chunk was sent."""
    wrong = Shifted(clock, timedelta(hours=hours))
    emulator.faults.add("drop_after_accept", endpoint="create", times=1)
    emulator.faults.add("list_lag", seconds=3_600)
    chunk = chunk_of(3, at=wrong)
    Submission(api=api, ledger=ledger, clock=wrong, pipeline=PIPELINE, run_id="run").submit(chunk)
    while recover().settle():
        clock.sleep(120)
    assert ledger.chunk(chunk.nonce).state is State.UNSEEN
    clock.sleep(2 * 86_400)

    assert len(recover().watch()) == 1
    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_f34_batches_of_others_that_keep_coming_do_not_keep_a_chunk_unconfirmed(
    client: anthropic.Anthropic, emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """Every few minutes one of equal size: those created long after our call are not waited for."""
    emulator.pace.batch_seconds = 3_600
    chunk = lose(fault="drop_before_accept")
    began = clock.now()

    recovery = recover()
    while recovery.settle():
        foreign(client)
        clock.sleep(300)
        assert clock.now() - began < timedelta(hours=4)

    assert ledger.chunk(chunk.nonce).state is State.UNSEEN


def test_f34_a_batch_within_the_time_of_our_call_is_waited_for_among_others(
    client: anthropic.Anthropic, emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """The bound leaves out what came later, and not ours, however late that is listed and however long it takes."""
    emulator.pace.batch_seconds = 3_600
    emulator.faults.add("list_lag", seconds=600)
    chunk = lose()
    recovery = recover()
    while recovery.settle():
        foreign(client)
        clock.sleep(300)

    assert ledger.chunk(chunk.nonce).state is State.ADOPTED


def test_f68_a_candidate_that_never_can_be_read_is_left_to_a_person(
    client: anthropic.Anthropic, emulator: Emulator, ledger: SqlLedger, clock: Clock, lose: Lose, recover: Recover
) -> None:
    """It may be ours, so nothing is set free; and it does not keep the table from being filled."""
    foreign(client)
    chunk = lose(fault="drop_before_accept")
    emulator.faults.add("404", endpoint="results")
    recovery = recover()
    while recovery.settle():
        clock.sleep(1_800)

    record = ledger.chunk(chunk.nonce)
    assert (record.state, "whose results are gone or cannot be read" in str(record.note)) == (State.HELD, True)
    emulator.faults.clear()
    while recovery.settle() or ledger.chunk(chunk.nonce).state is State.HELD:
        clock.sleep(300)
    assert ledger.chunk(chunk.nonce).state is State.UNSEEN
