"""Answers to the create call that get lost, and runs that meet, die, are stopped, or follow each other."""

from datetime import timedelta

import anthropic
import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.running.canceling import Cancellation
from claude_batch_dagster.errors import (
    ApiError,
    BatchVanishedError,
    HeldChunksError,
)
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import KEY
from tests.core.clocks import CrashError, Waking, die
from tests.core.world import TEN, TEN_GOOD, World


def over(_run_id: str) -> bool:
    """Say of every run that it has ended."""
    return True


# --- answers that get lost -------------------------------------------------------------------------

LOST = [
    pytest.param("drop_after_accept", id="F34-reset"),
    pytest.param("timeout_after_accept", id="F34-timeout"),
    pytest.param("408_after_accept", id="F45-408"),
    pytest.param("409_after_accept", id="F45-409"),
    pytest.param("500_after_accept", id="F45-500"),
    pytest.param("502_after_accept", id="F45-502"),
    pytest.param("504_after_accept", id="F45-504"),
    pytest.param("529_after_accept", id="F45-529"),
    pytest.param("html_200_after_accept", id="F46-html"),
    pytest.param("cut_json_200", id="F46-cut"),
    pytest.param("empty_id_200", id="F46-empty-id"),
    pytest.param("wrong_count_200", id="F48-count"),
    pytest.param("redirect_307_after_accept", id="F47-redirect"),
]


@pytest.mark.sampled
@pytest.mark.parametrize("fault", LOST)
def test_a_batch_whose_answer_was_lost_is_found_adopted_and_billed_once(world: World, fault: str) -> None:
    """One POST for each chunk (F35), whatever the SDK would have retried; the lost one is proved by its nonce."""
    world.documents(TEN)
    world.emulator.faults.add(fault, endpoint="create", times=1)

    report = world.run()

    assert (report.failure, world.statuses()) == (None, TEN_GOOD)
    assert (world.n_posts, world.n_accepted, world.n_billed) == (3, 3, [1] * 10)
    assert {batch.n_retries for batch in world.emulator.audit.accepted()} <= {0, None}


@pytest.mark.sampled
@pytest.mark.parametrize("fault", ["drop_before_accept", "529", "redirect_307", "html_200"])
def test_f45_what_the_api_never_accepted_is_sent_again_after_the_quiet_period(world: World, fault: str) -> None:
    """Silence has to last; then the rows go out once more, and are billed once."""
    world.documents(TEN)
    began = world.clock.now()
    world.emulator.faults.add(fault, endpoint="create", times=1)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert (world.n_posts, world.n_accepted, world.states()[0]) == (4, 3, State.UNSEEN)
    assert world.clock.now() - began > timedelta(minutes=15)


@pytest.mark.verify
def test_f107_a_lost_answer_with_all_room_taken_is_settled(world: World) -> None:
    """The chunk that is looked for counts as waiting at the API, and must not be waited for without looking."""
    world.documents(TEN)
    world.emulator.faults.add("drop_after_accept", times=1)

    report = world.run(max_requests_in_flight=4)

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)


def test_f107_while_one_chunk_is_ambiguous_no_other_is_sent(world: World) -> None:
    """The exposure is one chunk at a time; what is under way is collected meanwhile."""
    world.documents(TEN)
    world.emulator.faults.add("drop_before_accept", endpoint="create", rate=1.0, times=1)
    n_posts: list[int] = []

    class Watching(Waking):
        def sleep(self, seconds: float) -> None:
            if State.AMBIGUOUS in world.states():
                n_posts.append(world.n_posts)
            super().sleep(seconds)

    world.run(clock=Watching(world.clock, lambda: None))

    assert set(n_posts) == {1}


@pytest.mark.verify
def test_f66_the_age_of_the_oldest_batch_counts_those_that_are_held(world: World) -> None:
    """Should the API have accepted it after all, its results are gone after 29 days like any others."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("drop_before_accept", times=1)
    world.run(on_unconfirmed="hold")
    assert world.states() == [State.HELD]
    world.clock.sleep(21 * 86_400)

    [report] = world.run(on_unconfirmed="hold").partitions

    assert 21 <= report.oldest_open_days < 22


@pytest.mark.verify
def test_hold_leaves_a_lost_chunk_to_a_person(world: World) -> None:
    """Nothing is sent again until on_unconfirmed says so; the run says which chunk and what to do."""
    world.documents({1: "war"})
    world.emulator.faults.add("drop_before_accept", times=1)

    report = world.run(on_unconfirmed="hold")
    assert isinstance(report.failure, HeldChunksError)
    assert (world.states(), set(report.unfinished), world.n_accepted) == ([State.HELD], {"p"}, 0)
    assert report.failure.chunk_ids == [chunk.chunk_id for chunk in world.ledger.chunks("main.answers", State)]

    assert isinstance(world.run(on_unconfirmed="hold").failure, HeldChunksError)
    assert (world.run(on_unconfirmed="resubmit").failure, world.statuses()) == (None, {1: "succeeded"})
    assert (world.n_accepted, world.states()) == (1, [State.UNSEEN, State.APPLIED])


@pytest.mark.verify
def test_a_held_chunk_of_another_partition_is_no_failure_of_this_one(world: World) -> None:
    """Its rows wait for a person; the rows of this run do not."""
    world.documents({1: "war"}, part="held")
    world.emulator.faults.add("drop_before_accept", times=1)
    world.run("held", on_unconfirmed="hold")

    world.documents({2: "peace"}, part="p")
    report = world.run("p", on_unconfirmed="hold")

    assert (report.failure, world.statuses("p")) == (None, {2: "succeeded"})


# --- several runs ----------------------------------------------------------------------------------


def test_f28_a_second_run_attaches_to_the_batches_of_the_first(world: World) -> None:
    """A double click sends nothing twice: both runs end with the answers, one of them sent them."""
    world.documents(TEN)
    reports = []

    first = world.run(clock=Waking(world.clock, lambda: reports.append(world.run())))

    assert (first.n_sent, reports[0].n_sent, world.n_billed) == (10, 0, [1] * 10)
    assert [part.balanced for report in (first, *reports) for part in report.partitions] == [True, True]


def test_f28_rows_that_another_run_claimed_first_are_left_to_it(world: World) -> None:
    """Between the reading of a row and its sending another run may have sent it: it is waited for, not sent again."""
    world.documents(TEN)
    world.emulator.faults.add("429", endpoint="create", times=1)

    def overtake(_: ApiError) -> None:
        with pytest.raises(CrashError):
            world.run(clock=Waking.never(world.clock))

    report = world.run(on_trouble=overtake)

    assert (report.n_sent, report.failure, world.statuses(), world.n_billed) == (0, None, TEN_GOOD, [1] * 10)


@pytest.mark.verify
def test_f112_requests_that_wait_elsewhere_take_no_room_here(world: World) -> None:
    """A batch of another workspace or base URL is not ours to wait for, unless it carries our rows."""
    world.documents({1: "war", 2: "peace"}, part="elsewhere")
    with pytest.raises(CrashError):
        world.run("elsewhere", clock=Waking.never(world.clock))
    world.documents(TEN)
    report = world.run(api=world.api_with(KEY, workspace_id="wrkspc_2"), max_requests_in_flight=4)

    assert (report.failure, world.statuses(), world.states().count(State.ACCEPTED)) == (None, TEN_GOOD, 1)


@pytest.mark.verify
def test_f112_rows_that_may_have_been_accepted_elsewhere_are_not_sent_here(world: World) -> None:
    """A person decides, or a run that can see them does."""
    world.documents({1: "war"})
    world.emulator.faults.add("drop_after_accept", times=1)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    report = world.run(api=world.api_with(KEY, workspace_id="wrkspc_2"))
    assert isinstance(report.failure, HeldChunksError)
    assert world.states() == [State.AMBIGUOUS]

    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


@pytest.mark.verify
def test_f56_a_batch_out_of_sight_does_not_keep_the_room_forever(world: World) -> None:
    """The run ends with its name rather than wait for a month."""
    world.documents({1: "war"}, part="before")
    with pytest.raises(CrashError):
        world.run("before", clock=Waking.never(world.clock))
    world.delete_all()
    world.documents(TEN)

    report = world.run(max_requests_in_flight=4)

    assert isinstance(report.failure, BatchVanishedError)
    assert set(report.unfinished) == {"p"}


@pytest.mark.verify
def test_f108_a_run_of_another_partition_shares_no_rows_and_lands_what_it_finds(world: World) -> None:
    """Overlapping runs of one table send their own rows only."""
    world.documents(TEN)
    world.documents({20: "war elsewhere"}, part="q")
    reports = []

    world.run(clock=Waking(world.clock, lambda: reports.append(world.run("q"))))

    assert (reports[0].n_sent, world.statuses(), world.statuses("q")) == (1, TEN_GOOD, {20: "succeeded"})
    assert world.n_posts == 4


@pytest.mark.sampled
@pytest.mark.parametrize("at", [1, 2, 3])
def test_f62_what_a_dead_run_sent_is_collected_by_the_next(world: World, at: int) -> None:
    """Whenever it died while waiting: its batches come home, and nothing is sent twice."""
    world.documents(TEN)
    with pytest.raises(CrashError):
        world.run(clock=Waking(world.clock, die, at=at), max_requests_in_flight=8)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert list(world.state.path.glob("outbox/*")) == []


def test_f64_a_batch_that_has_ended_is_not_canceled(world: World) -> None:
    """There is nothing left to stop."""
    world.documents({1: "war"})
    engine = world.engine()
    world.emulator.faults.add("500", endpoint="results")
    engine.clock = Waking(world.clock, die, at=9)
    with pytest.raises(CrashError):
        engine.run([Partition(key="p")])

    assert (world.states(), engine.cancel(is_over=over)) == ([State.ENDED], Cancellation())


@pytest.mark.verify
def test_f62_a_batch_of_rows_that_are_gone_meanwhile_is_landed_and_settled(world: World) -> None:
    """It was paid for; then the table holds what upstream holds."""
    world.documents({1: "war", 2: "peace"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.documents({1: "war"})
    world.run()
    report = world.run()

    assert (world.statuses(), report.partitions[0].balanced, world.n_posts) == ({1: "succeeded"}, True, 1)


def test_f63_f65_a_run_cancels_its_own_batches_and_the_next_lands_what_was_answered(world: World) -> None:
    """What is canceled is told from what was answered, and asked again."""
    world.documents(TEN)
    engine = world.engine()
    canceled: list[str] = []

    def stop() -> None:
        canceled.extend(engine.cancel(is_over=over).canceled)
        raise CrashError

    engine.clock = Waking(world.clock, stop)
    with pytest.raises(CrashError):
        engine.run([Partition(key="p")])
    assert sorted(canceled) == sorted(batch.id for batch in world.emulator.audit.accepted())
    assert world.engine().cancel(is_over=over) == Cancellation()

    report = world.run()
    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert engine.cancel(is_over=over) == Cancellation()


def test_f63_a_run_that_was_interrupted_in_a_transaction_still_cancels(world: World) -> None:
    """What the interruption left open is undone first, else the ledger would be locked for the run's own last act."""
    world.documents({1: "war"})
    engine = world.engine(ledger=SqlLedger(world.state.ledger_url, busy_seconds=1))
    [sent] = engine.submit([Partition(key="p")]).batch_ids
    left_behind = engine.ledger._engine.connect()  # noqa: SLF001  (an interruption can strike before anything is undone)
    left_behind.begin()
    half_read = left_behind.connection.cursor().execute("WITH n(i) AS (VALUES (1), (2)) SELECT i FROM n")
    assert half_read.fetchone() == (1,)

    assert engine.cancel(is_over=over).canceled == [sent]
    engine.ledger.dispose()


def test_f63_a_run_that_only_sends_cancels_what_it_has_sent_and_nothing_else(world: World) -> None:
    """The rows of the other run are the other run's to wait for, though this one was asked for them, too."""
    world.documents({1: "war", 2: "peace"})
    [other] = world.engine().submit([Partition(key="p")]).batch_ids
    world.documents({1: "war", 2: "peace", 3: "another war"})
    engine = world.engine()

    submitted = engine.submit([Partition(key="p")])
    done = engine.cancel(is_over=over)

    assert (len(done.canceled), done.left, done.failures) == (1, [], [])
    assert {*done.canceled, other} == set(submitted.batch_ids)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("sent_for", "ended", "stopped"),
    [
        pytest.param("p", True, True, id="nobody else needs it"),
        pytest.param("p", False, False, id="the run that sent it still waits"),
        pytest.param("pq", True, False, id="it has rows of another partition"),
    ],
)
def test_f63_a_batch_that_others_need_is_not_canceled(
    world: World, sent_for: str, *, ended: bool, stopped: bool
) -> None:
    """A run that is terminated while it waits for the batch of another run stops it if it alone has a use for it."""
    world.documents({1: "war"}, part="p")
    world.documents({2: "peace"}, part="q")
    [other] = world.engine().submit([Partition(key=key) for key in sent_for]).batch_ids
    engine = world.engine()
    engine.clock = Waking(world.clock, die)
    with pytest.raises(CrashError):
        engine.run([Partition(key="p")])

    done = engine.cancel(is_over=lambda run_id: ended and run_id != engine.run_id)

    assert (done.canceled, done.left) == (([other], []) if stopped else ([], [other]))


def test_closing_an_engine_closes_what_it_opened(world: World, client: anthropic.Anthropic) -> None:
    """No connection stays open."""
    world.engine().close()

    assert client.is_closed()
