"""Ways to pay twice that look harmless: each one closed."""

from datetime import timedelta

import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import ApiResponseError
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError, Shifted, Waking
from tests.core.world import World

HALF_AN_HOUR = timedelta(minutes=30)
TWO = {1: "a text of war", 2: "a text of peace"}


@pytest.mark.verify
def test_f69_results_that_are_no_results_fail_the_run_and_cost_nothing_more(world: World) -> None:
    """A page of HTML in place of results: no row is called missing, none is sent again, and all land later."""
    world.documents(TWO)
    world.emulator.faults.add("html_200", endpoint="results")
    troubles: list[str] = []

    report = world.run(on_trouble=lambda error: troubles.append(str(error)))

    assert isinstance(report.failure, ApiResponseError)
    assert "0 of 2 rows" in troubles[0]
    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses(), world.n_billed, world.n_accepted) == (
        None, dict.fromkeys(TWO, "succeeded"), [1, 1], 1
    )  # fmt: skip


@pytest.mark.verify
def test_f72_a_row_that_stays_missing_is_not_paid_for_again(world: World) -> None:
    """The API counts a result for it, so it was billed: it is told, and waits for a person."""
    world.documents(TWO)
    world.emulator.faults.add("results_missing_line")

    report = world.run()

    assert (report.failure, sorted(world.statuses().values())) == (None, ["missing", "succeeded"])
    assert (world.run().n_sent, world.n_billed) == (0, [1, 1])


def test_f72_an_answer_that_was_held_back_lands_when_the_api_hands_it_out(world: World) -> None:
    """Its row was told `missing`; each materialization looks for it once more, and it costs what it cost."""
    world.documents(TWO)
    world.emulator.faults.add("results_missing_line")
    before = world.run()
    assert sorted(world.statuses().values()) == ["missing", "succeeded"]
    world.emulator.faults.clear()

    after = world.run()

    assert (after.n_sent, set(world.statuses().values()), world.n_billed) == (0, {"succeeded"}, [1, 1])
    price = sum(price for (price,) in world.rows("cost_usd"))
    assert after.partitions[0].cost_usd == pytest.approx(price)
    assert (before.partitions[0].cost_usd or 0.0) < price
    assert world.sql("SELECT DISTINCT came FROM claude_batch.answers") == [("succeeded",)], "nobody looks for it now"


@pytest.mark.verify
def test_f68_a_candidate_that_cannot_be_read_yet_is_not_silence(world: World) -> None:
    """The answer was lost, and the results of the batch stay 404 for longer than the quiet period."""
    world.documents(TWO)
    world.emulator.faults.add("drop_after_accept", times=1)
    world.emulator.faults.add("404_after_end", seconds=1_500)

    report = world.run()

    assert (report.failure, world.states(), world.n_accepted) == (None, [State.APPLIED], 1)
    assert world.n_billed == [1, 1]


def test_f49_a_clock_that_is_fast_does_not_hide_the_batch(world: World) -> None:
    """The window of candidates is an hour wider than our clock says."""
    world.documents(TWO)
    world.emulator.faults.add("drop_after_accept", times=1)

    report = world.run(clock=Shifted(world.clock, HALF_AN_HOUR))

    assert (report.failure, world.n_accepted, world.n_billed) == (None, 1, [1, 1])


@pytest.mark.verify
def test_f108_another_partition_takes_over_an_answer_that_only_the_ledger_knows(world: World) -> None:
    """Two partitions ask the same; the table is dropped; the one that never asked is brought back for nothing."""
    world.documents({1: "a text of war"}, part="p")
    world.documents({7: "a text of war"}, part="q")
    world.run("p")
    world.lose_answers()

    report = world.run("q")

    assert (report.n_sent, world.rows("id, label, status", "q")) == (0, [(7, "war", "succeeded")])
    assert world.n_billed == [1]


def test_f108_another_partition_waits_for_a_question_on_its_way(world: World) -> None:
    """A run died while it waited; the run of another partition that asks the same lands both."""
    world.documents({1: "a text of war"}, part="p")
    world.documents({7: "a text of war"}, part="q")
    with pytest.raises(CrashError):
        world.run("p", clock=Waking.never(Shifted(world.clock, HALF_AN_HOUR)))

    report = world.run("q")

    assert (report.n_sent, report.failure, world.n_billed) == (0, None, [1])
    assert (world.statuses("p"), world.statuses("q")) == ({1: "succeeded"}, {7: "succeeded"})


def test_a_row_takes_over_the_answer_to_what_it_asks_now(world: World) -> None:
    """Its own earlier answer is to another question, though it came in the same batch."""
    world.documents({1: "a text of peace", 2: "a text of war"})
    world.run()
    world.sql("DROP TABLE answers")
    world.documents({1: "a text of war"})

    report = world.run()

    assert (report.n_sent, world.rows()) == (0, [(1, "war", "succeeded")])


def test_f62_a_batch_whose_rows_nobody_asks_for_any_more_is_brought_home(world: World) -> None:
    """It was paid for: a run that has nothing to ask books it all the same."""
    world.documents(TWO)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(Shifted(world.clock, HALF_AN_HOUR)))
    world.clock.sleep(600)
    world.documents({})

    report = world.run()

    assert (report.n_sent, world.states()) == (0, [State.APPLIED])
    assert (report.partitions[0].cost_usd or 0) > 0


def test_f97_a_batch_that_landed_before_the_crash_is_booked_by_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row has its answer, so nothing is asked; what the answers cost is told all the same."""
    world.documents(TWO)

    def die(*_: object, **__: object) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "close", die)
        with pytest.raises(CrashError):
            world.run()

    report = world.run()

    assert (report.n_sent, world.states()) == (0, [State.APPLIED])
    assert report.partitions[0].cost_usd == pytest.approx(sum(cost for (cost,) in world.rows("cost_usd")))


def test_f108_a_row_that_failed_for_nothing_waits_for_another_that_asks_the_same(world: World) -> None:
    """Two partitions ask the same; the one whose request expired finds the other's on its way."""
    world.documents({1: "a text of war"}, part="p")
    world.documents({7: "a text of war"}, part="q")
    world.emulator.faults.add("expired", times=1)
    world.run("p", max_attempts=1)
    with pytest.raises(CrashError):
        world.run("q", clock=Waking.never(Shifted(world.clock, HALF_AN_HOUR)))

    report = world.run("p")

    assert (report.n_sent, world.statuses("p"), world.n_billed) == (0, {1: "succeeded"}, [1])
