"""What does not wait for a batch is asked through the Messages API: by its deadline, or where little is to ask."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Sighting, State
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.planning.estimate import Basis
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.core.ports import Body, place_of
from claude_batch_dagster.core.pricing import FEMTO, rates_of
from claude_batch_dagster.core.reporting.overview import batch_status
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.core.sending.live import TRIES
from claude_batch_dagster.core.sending.recovery import Recovery
from claude_batch_dagster.emulator.bill import Bill
from claude_batch_dagster.errors import (
    ApiUnreachableError,
    ConfigurationError,
    CredentialError,
    HeldChunksError,
    SpendLimitError,
)
from claude_batch_dagster.storage.files.journals import FileJournals
from claude_batch_dagster.storage.files.spool import FileSpool
from tests.canary import KEY
from tests.core.clocks import CrashError
from tests.core.live_apis import Dying, Turning
from tests.core.world import PIPELINE, TEN, TEN_GOOD

if TYPE_CHECKING:
    from tests.core.world import World

HOURS = timedelta(hours=2)
ONE: dict[str, Any] = {"max_live_requests": 1}
"""One request at a time, so that it is known which of them meets a fault."""


def chunks(world: "World", lane: Lane) -> list[ChunkRecord]:
    """Return the chunks that were asked in one way, oldest first."""
    return [chunk for chunk in world.ledger.chunks(PIPELINE, State) if chunk.lane is lane]


def usd(bill: Bill, lane: Lane) -> float:
    """Return what tokens cost by the price list."""
    total = 0
    for model, tokens in bill.items():
        rates = rates_of(model)
        assert rates is not None
        of_input, of_output = (rates.live if lane is Lane.LIVE else rates.batch)[:2]
        total += tokens.input * of_input + tokens.output * of_output
    return total / FEMTO


def billed(world: "World") -> float:
    """Return what the emulator has billed, in both ways."""
    audit = world.emulator.audit
    return usd(audit.bill(), Lane.BATCH) + usd(audit.live_bill(), Lane.LIVE)


def asked_live(world: "World") -> int:
    """Return how many live requests were answered."""
    return len(world.emulator.audit.live())


# --- little to ask ---------------------------------------------------------------------------------


def test_a_small_plan_is_asked_live(world: "World") -> None:
    """Where a person wants that: no batch is made, the table is whole at once, and each row says what it cost."""
    world.documents(TEN)

    report = world.run(small_batches="live")

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert (world.n_posts, asked_live(world)) == (0, 10)
    [(tiers, cost, named)] = world.sql(
        "SELECT list(DISTINCT service_tier), sum(cost_usd), bool_and(starts_with(batch_id, 'live_')) FROM answers"
    )
    assert (tiers, named) == (["standard"], True)
    assert cost == pytest.approx(billed(world))
    [(paid, saved)] = world.sql("SELECT sum(paid_usd), sum(saved_by_batch_usd) FROM claude_batch.costs")
    assert (paid, saved) == (pytest.approx(cost), pytest.approx(0))


def test_what_is_no_usable_answer_has_its_price_too(world: "World") -> None:
    """Also of lines that are read one by one."""
    world.documents(TEN)
    world.emulator.faults.add("refusal", rate=1.0)

    world.run(small_batches="live")

    assert set(world.statuses().values()) == {"refused"}
    [(wasted,)] = world.sql("SELECT sum(wasted_usd) FROM claude_batch.costs")
    assert wasted == pytest.approx(billed(world))
    [(cost,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    assert cost == pytest.approx(billed(world))


def test_a_plan_that_is_not_small_is_a_batch(world: "World") -> None:
    """And so is any plan where nobody said anything."""
    world.documents(TEN)

    world.run(small_batches="live", small_batches_below=10)

    assert (world.n_accepted, asked_live(world)) == (3, 0)
    [(tiers,)] = world.sql("SELECT list(DISTINCT service_tier) FROM answers")
    assert tiers == ["batch"]


def test_an_answer_is_paid_for_once_whichever_way_it_came(world: "World") -> None:
    """What a batch has answered is not asked live, nor the other way round."""
    world.documents(TEN)
    world.run(small_batches="live")
    world.documents({**TEN, 10: "one more"})

    world.run()
    world.run(small_batches="live")

    assert (asked_live(world), world.n_accepted) == (10, 1)
    assert world.n_billed == [1] * 11


def test_what_fails_of_a_small_plan_is_asked_as_the_plan_was(world: "World") -> None:
    """Nobody waits for a batch because of a row that was cut off."""
    world.documents(TEN)
    world.emulator.faults.add("max_tokens", times=2)

    world.run(small_batches="live", **ONE)

    assert world.statuses() == TEN_GOOD
    assert (asked_live(world), world.n_posts) == (12, 0)


def test_what_is_asked_live_writes_no_cache(world: "World") -> None:
    """It is not marked, so the plan promises nothing, and nothing goes ahead."""
    world.documents(TEN)
    base = {"system": "Read the whole of it. " * 1_500, "model": "claude-opus-5"}
    cached = world.engine(base=base).plan([Partition(key="p")])
    live = world.engine(base=base, small_batches="live").plan([Partition(key="p")])

    assert (cached.caching is None, live.caching is None) == (False, True)
    world.run(base=base, small_batches="live")
    assert {tokens.cache_written_1h for tokens in world.emulator.audit.live_bill().values()} == {0}


def test_live_answers_are_no_measure_of_batches(world: "World") -> None:
    """Neither of what they cost nor of how long they take."""
    world.documents({n: f"text {n:02d}" for n in range(10)})
    world.run(small_batches="live")
    world.documents({n: f"text {n:02d}" for n in range(20)})

    plan = world.engine().plan([Partition(key="p")])

    assert plan.estimate is not None
    assert plan.estimate.basis is not Basis.HISTORY
    assert world.ledger.durations(PIPELINE, place=place_of(world.api.account)) == []


def test_rows_are_too_dear_by_the_price_at_which_they_go(world: "World") -> None:
    """What a batch could pay for may be too much for a live call."""
    price = bound_of_one(world)
    world.documents({0: TEN[0].replace("text", "tale")})

    world.run(small_batches="live", budget=Budget(usd=0.75 * price, per="run"))

    assert world.statuses() == {0: "blocked"}
    assert "allows at all" in world.rows("error")[0][0]
    assert asked_live(world) == 1


@pytest.mark.verify
def test_a_small_plan_is_no_word_on_other_rows(world: "World") -> None:
    """Those of an earlier batch that come up again are asked by a batch."""
    world.documents({n: f"text {n:02d}" for n in range(30)})
    world.emulator.pace.batch_seconds = 3 * 3_600
    world.engine(limits=Limits(max_requests=30)).submit([Partition(key="p")])
    world.documents({n: f"text {n:02d}" for n in range(32)})
    [flying] = world.emulator.audit.accepted()
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    world.emulator.handle("POST", f"/v1/messages/batches/{flying.id}/cancel", headers)

    world.run(small_batches="live")

    assert asked_live(world) == 2
    assert set(world.statuses().values()) == {"succeeded"}


def test_a_submission_lands_what_was_answered_at_once(world: "World") -> None:
    """The answers are on its disk, and not on that of whoever collects."""
    world.documents(TEN)

    world.engine(small_batches="live").submit([Partition(key="p")])

    assert world.statuses() == TEN_GOOD


# --- deadlines -------------------------------------------------------------------------------------


def test_a_batch_that_has_not_ended_by_its_deadline_is_given_up(world: "World") -> None:
    """The table is whole by then; what was answered in time is not asked again."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends", times=1)
    began = world.clock.now()
    given_up: list[str | None] = []

    report = world.run(deadline=HOURS, on_give_up=lambda chunk: given_up.append(chunk.batch_id))

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert world.clock.now() - began <= HOURS
    assert len(given_up) == 1
    assert {*given_up} <= {chunk.batch_id for chunk in chunks(world, Lane.BATCH)}
    assert asked_live(world) == 3  # one was under way when the batch was canceled
    assert world.n_billed == [1] * 10


def test_what_the_cancel_brings_back_counts_first(world: "World") -> None:
    """A batch that is given up may have been answered in part, which is at half the price."""
    world.documents(TEN)
    world.emulator.pace.batch_seconds = 3 * 3_600

    world.run(deadline=HOURS, limits=Limits(max_requests=10))

    assert world.statuses() == TEN_GOOD
    assert 0 < asked_live(world) < 5
    assert world.n_billed == [1] * 10
    tiers = dict(world.sql("SELECT service_tier, count(*) FROM answers GROUP BY ALL"))
    assert tiers == {"standard": asked_live(world), "batch": 10 - asked_live(world)}
    [(cost,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    assert cost == pytest.approx(billed(world))


def test_a_batch_that_ends_in_time_is_left_alone(world: "World") -> None:
    """A deadline that is kept costs nothing."""
    world.documents(TEN)

    world.run(deadline=HOURS)

    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 0


@pytest.mark.verify
def test_what_waits_for_room_is_asked_live_too_when_the_time_is_over(world: "World") -> None:
    """Rows that no batch has taken by then."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")

    world.run(deadline=HOURS, max_requests_in_flight=4)

    assert world.statuses() == TEN_GOOD
    assert (world.n_accepted, asked_live(world)) == (1, 9)
    assert world.n_billed == [1] * 10


@pytest.mark.verify
def test_what_fails_after_the_deadline_is_asked_live_once_more(world: "World") -> None:
    """There is no time for a batch."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends", times=3)
    world.emulator.faults.add("max_tokens", times=2)

    world.run(deadline=HOURS, **ONE)

    assert world.statuses() == TEN_GOOD
    assert world.n_accepted == 3


@pytest.mark.verify
def test_who_collects_keeps_the_deadline_of_who_has_sent(world: "World") -> None:
    """A submission has begun; the run that brings its batches home is another one."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")
    world.engine(deadline=HOURS).submit([Partition(key="p")])
    began = world.clock.now()

    report = world.run(deadline=HOURS)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert world.clock.now() - began <= HOURS


@pytest.mark.verify
def test_a_run_that_repeats_another_has_its_deadline(world: "World") -> None:
    """It goes on where that one was killed; but not days later."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")
    first = world.engine(deadline=HOURS)
    first.submit([Partition(key="p")])
    told = world.ledger.gives_up_at(PIPELINE, first.run_id)
    assert told is not None
    world.emulator.clock.advance(seconds=3_600)
    again = world.engine(deadline=HOURS, root_run_id=first.run_id)

    again.run([Partition(key="p")])
    assert {chunk.give_up_at for chunk in world.ledger.chunks(PIPELINE, State)} == {told}
    world.emulator.clock.advance(hours=48)
    world.emulator.faults.clear()
    world.documents({20: "a new text"})
    world.engine(deadline=HOURS, root_run_id=first.run_id).run([Partition(key="p")])

    assert world.statuses() == {20: "succeeded"}
    assert chunks(world, Lane.BATCH)[-1].run_id == f"run-{world.n_runs}"


@pytest.mark.verify
def test_deadlines_of_the_past_are_no_reason(world: "World") -> None:
    """What was given up yesterday, and failed, has the time of today's run."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")
    world.emulator.faults.add("529", endpoint="message")
    world.run(deadline=HOURS, max_attempts=2)
    assert "errored" in world.statuses().values()
    world.emulator.faults.clear()
    world.emulator.clock.advance(hours=30)
    n_live = asked_live(world)

    world.run(deadline=HOURS)

    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == n_live


def test_a_deadline_holds_while_no_batch_is_taken(world: "World") -> None:
    """Rows are not kept waiting for a queue."""
    world.documents(TEN)
    world.emulator.faults.add("429_no_retry_after", endpoint="create")
    began = world.clock.now()

    report = world.run(deadline=timedelta(minutes=20))

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert world.clock.now() - began <= timedelta(minutes=20)


def test_a_short_deadline_is_not_slept_through(world: "World") -> None:
    """However long the pauses between two looks are."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")
    began = world.clock.now()

    world.run(deadline=timedelta(minutes=4), max_poll_seconds=600, poll_growth=5)

    assert world.statuses() == TEN_GOOD
    assert world.clock.now() - began <= timedelta(minutes=14)


@pytest.mark.verify
def test_a_key_that_must_not_cancel_waits(world: "World") -> None:
    """Until the batch ends by itself."""
    world.documents(TEN)
    world.emulator.pace.batch_seconds = 3 * 3_600
    world.emulator.faults.add("403", endpoint="cancel")

    report = world.run(deadline=HOURS)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 0


def test_what_can_be_paid_in_vain_at_a_time_is_limited_live_too(world: "World") -> None:
    """By `max_unconfirmed_usd`."""
    world.documents(TEN)
    most = 3.5 * bound_of_one(world)

    world.run(small_batches="live", limits=Limits(max_usd=most))

    assert max(chunk.max_cost_usd or 0.0 for chunk in chunks(world, Lane.LIVE)) <= most


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"deadline": 6}, "deadline takes a time from the start of a run"),
        ({"deadline": timedelta(0)}, "deadline takes a time"),
        ({"small_batches": "cheap"}, "small_batches is 'batch' or 'live'"),
        ({"small_batches_below": 0}, "small_batches_below is a number of requests"),
    ],
)
def test_what_cannot_be_is_refused(world: "World", options: Any, match: str) -> None:
    """Where it is written."""
    with pytest.raises(ConfigurationError, match=match):
        world.run(**options)


# --- money -----------------------------------------------------------------------------------------


def test_live_prices_count_in_a_budget(world: "World") -> None:
    """What is asked live can never cost more than the money that is left, either."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends")
    bound = sum(chunk.max_cost_usd or 0.0 for chunk in chunks_of_a_run_that_sends_all(world))
    world.documents({n: f"another {text}" for n, text in TEN.items()})
    money = bound * 2.5  # by then, two thirds of it are reserved, or spent

    world.run(deadline=HOURS, budget=Budget(usd=money))

    counted = billed(world)
    assert counted <= money
    assert set(world.statuses().values()) >= {"succeeded"}


def chunks_of_a_run_that_sends_all(world: "World") -> list[ChunkRecord]:
    """Send all documents, and leave the batches where they are."""
    world.engine().submit([Partition(key="p")])
    return chunks(world, Lane.BATCH)


def test_half_the_money_asks_half(world: "World") -> None:
    """And the rest says so."""
    world.documents(TEN)
    price = bound_of_one(world)

    world.run(small_batches="live", budget=Budget(usd=5.5 * price), limits=Limits(max_requests=1), **ONE)

    statuses = list(world.statuses().values())
    assert set(statuses) <= {"succeeded", "blocked"}
    assert billed(world) <= 5.5 * price
    assert 3 <= chunks(world, Lane.LIVE)[1].n_requests <= 5


def bound_of_one(world: "World") -> float:
    """Return what one of the documents can cost live, about."""
    world.documents({99: TEN[0]}, part="elsewhere")
    world.run("elsewhere", small_batches="live")
    world.documents({99: TEN[0].replace("text", "test")}, part="elsewhere")
    world.run("elsewhere")
    [live], [batch] = chunks(world, Lane.LIVE), chunks(world, Lane.BATCH)
    assert live.max_cost_usd == pytest.approx(2 * (batch.max_cost_usd or 0.0))
    return live.max_cost_usd or 0.0


def test_a_plan_says_what_is_asked_live_and_what_that_costs(world: "World") -> None:
    """Before it is."""
    world.documents(TEN)
    batch = world.engine().plan([Partition(key="p")])
    small = world.engine(small_batches="live").plan([Partition(key="p")])
    later = world.engine(deadline=timedelta(hours=6)).plan([Partition(key="p")])

    assert batch.estimate is not None
    assert small.estimate is not None
    assert small.estimate.usd == pytest.approx(2 * batch.estimate.usd)
    assert small.notes == [
        "asked at once through the Messages API, for there are fewer than 20 requests (small_batches)"
    ]
    [note] = later.notes
    assert note.startswith("deadline: what has no answer by 2026-11-21 00:")
    assert "asked at once through the Messages API at its price; that would be about $" in note


# --- trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("n_at_once", [1, 8])
def test_what_was_answered_before_a_crash_is_not_asked_again(world: "World", n_at_once: int, *, before: bool) -> None:
    """Each answer is on disk at once; only the one that was on its way may be paid for again, and that is told."""
    world.documents(TEN)
    options: Any = {"small_batches": "live", "max_live_requests": n_at_once}
    with pytest.raises(CrashError):
        world.engine(api=Dying(world.api, at=5, before=before), **options).run([Partition(key="p")])

    report = world.run(**options)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    n_twice = 0 if before else 1
    assert asked_live(world) == 10 + n_twice
    assert sum(partition.doubts.n_possible_duplicates for partition in report.partitions) == n_twice


def test_where_nobody_may_pay_twice_a_person_decides(world: "World") -> None:
    """With `on_unconfirmed="hold"` a row whose answer was lost says so, and is asked where `retry_final` says so."""
    world.documents(TEN)
    options: Any = {"small_batches": "live", "on_unconfirmed": "hold", **ONE}
    world.emulator.faults.add("drop_after_accept", endpoint="message", times=1)

    world.run(**options)
    world.run(**options)

    assert sorted(world.statuses().values()) == ["missing", *["succeeded"] * 9]
    [(error,)] = world.sql("SELECT error FROM answers WHERE status = 'missing'")
    assert "the connection ended before the answer came" in error
    assert asked_live(world) == 10

    world.run(settings=RunSettings(retry_final=True), **options)

    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 11


def test_money_for_an_answer_that_was_lost_stays_reserved(world: "World") -> None:
    """It may have been billed."""
    world.documents({0: "a text"})
    world.emulator.faults.add("drop_after_accept", endpoint="message", times=1)

    world.run(small_batches="live", on_unconfirmed="hold", budget=Budget(usd=1))

    [chunk] = chunks(world, Lane.LIVE)
    assert chunk.reserved_usd == chunk.max_cost_usd


@pytest.mark.parametrize("fault", ["429", "529", "500", "connect_error", "drop_mid_body"])
def test_passing_trouble_is_waited_out(world: "World", fault: str) -> None:
    """And what cannot have been answered is offered again at once."""
    world.documents(TEN)
    world.emulator.faults.add(fault, endpoint="message", times=3)

    report = world.run(small_batches="live", **ONE)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 10


def test_an_answer_that_is_lost_is_asked_for_once_more(world: "World") -> None:
    """It may have been paid for, which is told."""
    world.documents(TEN)
    world.emulator.faults.add("504_after_accept", endpoint="message", times=2)

    report = world.run(small_batches="live", **ONE)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 12
    assert sum(partition.doubts.n_possible_duplicates for partition in report.partitions) == 2


@pytest.mark.parametrize("fault", ["html_200", "502", "504", "timeout_after_accept", "redirect_307"])
def test_where_no_answer_comes_through_no_more_is_asked(world: "World", fault: str) -> None:
    """Three rows at most may be paid for in vain; the others go when the way is open again."""
    world.documents(TEN)
    world.emulator.faults.add(fault, endpoint="message")
    options: Any = {"small_batches": "live", **ONE}

    report = world.run(**options)

    assert report.failure is not None
    world.emulator.faults.clear()
    assert world.run(**options).failure is None
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) <= 13


def test_answers_that_are_lost_now_and_then_stop_nothing(world: "World") -> None:
    """Only those in a row say that the way is broken."""
    world.documents(TEN)
    n_asked = iter(range(1, 100))

    class Flaky(Turning):
        def ask(self, body: Body) -> bytes:
            message = super().ask(body)
            if next(n_asked) % 2:
                raise ApiUnreachableError("lost")
            return message

    api = Flaky(world.api, at=0, act=int)

    report = world.engine(api=api, small_batches="live", **ONE).run([Partition(key="p")])

    assert report.failure is None
    assert list(world.statuses().values()).count("succeeded") >= 5


def test_a_disk_that_is_full_for_a_moment_costs_no_answer(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half written is no line, and what came back is written once there is room."""
    world.documents(TEN)
    real, n_calls = os.fsync, iter(range(1, 1_000))

    def fsync(handle: int) -> None:
        if next(n_calls) in {3, 4, 8}:  # an answer, twice, and the beginning of a request
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("claude_batch_dagster.storage.files.journals.os.fsync", fsync)

    report = world.run(small_batches="live", **ONE)

    assert report.failure is None
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 10


def test_a_key_that_is_none_any_more_ends_the_run(world: "World") -> None:
    """A cancel says so too."""
    world.documents(TEN)
    world.emulator.pace.batch_seconds = 3 * 3_600
    world.emulator.faults.add("401", endpoint="cancel")

    assert isinstance(world.run(deadline=HOURS).failure, CredentialError)


def test_what_had_not_begun_is_free(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the intent and the first request has asked nothing."""
    world.documents(TEN)

    def die(*_: object) -> None:
        raise CrashError

    with monkeypatch.context() as dying:
        dying.setattr(FileJournals, "writing", die)
        with pytest.raises(CrashError):
            world.run(small_batches="live")
    assert world.states() == [State.SENDING]

    world.run(small_batches="live")

    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 10


def test_what_others_write_is_not_sealed(world: "World") -> None:
    """A server may end the session that holds a pipeline's lock: whoever comes then waits all the same."""
    world.documents(TEN)
    found: list[bool] = []

    def look() -> None:
        engine = world.engine(small_batches="live", **ONE)
        engine.run_id = "another"
        recovery = Recovery(
            api=world.api,
            ledger=world.ledger,
            clock=world.clock,
            pipeline=PIPELINE,
            live=engine._live,  # noqa: SLF001  (as a run has it)
        )
        found.append(bool(recovery.settle()))

    api = Turning(world.api, at=5, act=look)

    world.engine(api=api, small_batches="live", **ONE).run([Partition(key="p")])

    assert found == [True]
    assert world.n_billed == [1] * 10


def test_trouble_that_does_not_pass_is_an_error_of_the_row(world: "World") -> None:
    """It cost nothing, and the next run asks again."""
    world.documents({0: "a text"})
    world.emulator.faults.add("529", endpoint="message")

    world.run(small_batches="live", max_attempts=1)

    assert world.statuses() == {0: "errored"}
    assert world.rows("error")[0][0].startswith("not_asked: ")
    world.emulator.faults.clear()
    world.run(small_batches="live")
    assert world.statuses() == {0: "succeeded"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", CredentialError),
        ("billing_402", SpendLimitError),
        ("spend_limit_400", SpendLimitError),
        ("enforced_spend_limit_429", SpendLimitError),
    ],
)
def test_what_stands_against_every_request_ends_the_run(world: "World", fault: str, error: type[Exception]) -> None:
    """What was answered until then lands; the others are asked by the next run."""
    world.documents(TEN)
    options: Any = {"small_batches": "live", **ONE}
    api = Turning(world.api, at=5, act=lambda: world.emulator.faults.add(fault, endpoint="message"))

    report = world.engine(api=api, **options).run([Partition(key="p")])

    assert isinstance(report.failure, error)
    assert asked_live(world) == 4
    assert list(world.statuses().values()).count("succeeded") == 4
    world.emulator.faults.clear()
    world.run(**options)
    assert world.statuses() == TEN_GOOD
    assert world.n_billed == [1] * 10


def test_a_request_that_the_api_refuses_is_an_error_of_its_row(world: "World") -> None:
    """As in a batch."""
    world.documents(TEN)

    world.run(small_batches="live", base={"max_tokens": 10_000_000})

    assert set(world.statuses().values()) == {"errored"}
    assert world.rows("error")[0][0].startswith("invalid_request_error: ")
    assert TRIES > 1
    assert asked_live(world) == 0


def test_a_journal_on_another_machine_is_waited_for(world: "World", tmp_path: Any) -> None:
    """Nobody here can say what was answered there; a person can, or the run that goes on there."""
    world.documents(TEN)
    with pytest.raises(CrashError):
        world.engine(api=Dying(world.api, at=5, before=False), small_batches="live", **ONE).run([Partition(key="p")])
    spool = FileSpool(world.state.spool)
    [journal] = world.state.spool.glob("*.journal")
    elsewhere = journal.rename(tmp_path / journal.name)

    report = world.run(small_batches="live", **ONE)

    assert isinstance(report.failure, HeldChunksError)
    [chunk] = chunks(world, Lane.LIVE)
    assert chunk.state is State.HELD
    assert spool.place in (chunk.note or "")
    world.emulator.clock.advance(days=25)
    later = world.run(small_batches="live", **ONE)
    assert [partition.oldest_open_days for partition in later.partitions] == [0.0], "the API keeps nothing of it"
    told = batch_status(Sighting(chunk=chunk, n_partitions=1, spent_usd=0.0), world.clock.now())
    assert (told.results_until, told.results_are_old) == (None, False)
    elsewhere.rename(journal)
    world.run(small_batches="live", **ONE)
    assert world.statuses() == TEN_GOOD
    assert asked_live(world) == 11
    assert not FileJournals(spool).has(chunk.chunk_id)


def test_answers_that_nobody_has_are_not_asked_again(world: "World") -> None:
    """They were paid for: the row says where they were kept."""
    world.documents(TEN)
    world.run(small_batches="live")
    for file in world.state.spool.glob("live_*"):
        file.unlink()
    world.lose_answers()

    world.run(small_batches="live")

    assert set(world.statuses().values()) == {"missing"}
    assert asked_live(world) == 10


def test_a_torn_line_is_an_answer_that_was_lost(world: "World") -> None:
    """Whoever wrote it was killed."""
    world.documents({0: "a text"})
    with pytest.raises(CrashError):
        world.engine(api=Dying(world.api, at=1, before=False), small_batches="live", **ONE).run([Partition(key="p")])
    [journal] = world.state.spool.glob("*.journal")
    custom_id = world.ledger.requests(chunks(world, Lane.LIVE)[0].chunk_id).custom_ids[0]
    with journal.open("ab") as file:
        file.write(b'{"custom_id":"%b","result":{"type":"succeeded","mess' % custom_id.encode())

    world.run(small_batches="live", on_unconfirmed="hold", **ONE)

    assert world.statuses() == {0: "missing"}
