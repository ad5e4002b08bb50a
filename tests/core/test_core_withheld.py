"""An answer that the API counts and does not hand out: each materialization says the same, until it turns up."""

from datetime import timedelta
from typing import Any

import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError
from tests.core.world import PIPELINE, World

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

TWO = {1: "a text of war", 2: "a text of peace"}
LOOKED_FOR = (
    "the API counts a result for this row, but the results it hands out lack it. It may have been paid for, so it is "
    "not sent again; while the API keeps the results (29 days), each materialization looks for it once more"
)
GIVEN_UP = (
    "the API counted a result for this row, never handed it out, and no longer has the results (29 days, or deleted). "
    "It may have been paid for, so it is not sent again by itself; change the row or the prompt to ask anew"
)


@pytest.fixture
def withheld(world: World) -> World:
    """Return a world with two answers, one of which the API counts and keeps to itself."""
    world.documents(TWO)
    world.emulator.faults.add("results_missing_line")
    world.run()
    return world


def errors(world: World, part: str = "p") -> set[str | None]:
    """Return what is said of the rows that have no answer."""
    return {error for status, error in world.rows("status, error", part) if status != "succeeded"}


def test_f72_each_materialization_says_what_the_first_one_said(withheld: World) -> None:
    """The row is not asked again but looked for, as its error goes on to say; then its answer lands."""
    said = [errors(withheld)]
    for _ in range(3):
        withheld.run()
        said.append(errors(withheld))
    withheld.emulator.faults.clear()
    withheld.run()

    assert said == [{LOOKED_FOR}] * 4
    assert (withheld.rows("id, status, error"), withheld.n_billed) == (
        [(1, "succeeded", None), (2, "succeeded", None)],
        [1, 1],
    )


def test_f72_the_rows_of_a_table_that_was_dropped_say_it_too(withheld: World) -> None:
    """What is restored is told by what the ledger knows."""
    withheld.sql("DROP TABLE answers")

    withheld.run()

    assert (errors(withheld), withheld.n_billed) == ({LOOKED_FOR}, [1, 1])


def test_f72_a_row_says_it_again_after_an_edit_that_was_taken_back(withheld: World) -> None:
    """In between it has another answer, which stays and says that the newer request has none."""
    withheld.emulator.faults.clear()
    withheld.documents({1: "another war", 2: "another war"})
    withheld.run()
    assert errors(withheld) == set()
    withheld.emulator.faults.add("results_missing_line")

    withheld.documents(TWO)
    withheld.run()

    kept = f"this answer is kept from an earlier request; the newer one is missing: {LOOKED_FOR}"
    assert sorted(error or "" for (error,) in withheld.rows("error")) == ["", kept]


@pytest.mark.sampled
@pytest.mark.parametrize("together", [True, False])
def test_f72_rows_that_share_the_question_say_it_and_get_the_answer(withheld: World, together: bool) -> None:  # noqa: FBT001
    """Rows of another partition, materialized with the first or by itself, again and again."""
    withheld.documents({n + 6: text for n, text in TWO.items()}, part="q")
    parts = ("p", "q") if together else ("q",)
    for _ in range(2):
        withheld.run(*parts)
        assert errors(withheld, "q") == {LOOKED_FOR}
    withheld.emulator.faults.clear()

    withheld.run(*parts)

    assert (errors(withheld, "q"), withheld.n_billed) == (set(), [1, 1])


@pytest.mark.sampled
@pytest.mark.parametrize("spool", ["kept", "deleted"])
def test_f72_an_answer_that_never_turned_up_is_given_up_with_the_results(withheld: World, spool: str) -> None:
    """After 29 days nobody has it any more; every row that asked the question says so, also one that shares it."""
    withheld.documents({n + 6: text for n, text in TWO.items()}, part="q")
    withheld.run("p", "q")
    withheld.clock.sleep(timedelta(days=30).total_seconds())
    if spool == "deleted":
        for file in withheld.state.spool.iterdir():
            file.unlink()

    for _ in range(2):
        report = withheld.run("p", "q")
        assert (report.failure, report.n_sent) == (None, 0)
        assert (errors(withheld), errors(withheld, "q")) == ({GIVEN_UP}, {GIVEN_UP})


def test_f72_a_withheld_answer_lands_though_somebody_has_deleted_the_results_on_disk(withheld: World) -> None:
    """The whole is downloaded again, and what is found is on the books once."""
    withheld.emulator.faults.clear()
    for path in withheld.state.spool.iterdir():
        path.unlink()

    report = withheld.run()

    assert (report.failure, report.n_sent, withheld.statuses()) == (None, 0, {1: "succeeded", 2: "succeeded"})
    price = sum(price for (price,) in withheld.rows("cost_usd"))
    assert report.partitions[0].cost_usd == pytest.approx(price)
    assert withheld.n_billed == [1, 1]


def test_f66_one_404_makes_no_answer_gone_for_good(world: World) -> None:
    """Everything but the ledger is lost, and the API does not find the results at first."""
    world.documents(TWO)
    world.run()
    world.lose_answers()
    for path in world.state.spool.iterdir():
        path.unlink()
    world.emulator.faults.add("404", endpoint="results", times=1)

    for _ in range(2):
        world.run()

    assert (world.statuses(), world.n_billed) == ({1: "succeeded", 2: "succeeded"}, [1, 1])


def test_f72_a_crash_before_a_withheld_answer_lands_counts_what_it_cost_once(
    withheld: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on the books and not yet in the table; the next run brings it there, and counts nothing twice."""

    def die(*_: Any) -> None:
        raise CrashError

    withheld.emulator.faults.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Landing, "write", die)
        with pytest.raises(CrashError):
            withheld.run()

    report = withheld.run()

    assert withheld.statuses() == {1: "succeeded", 2: "succeeded"}
    assert report.partitions[0].cost_usd == pytest.approx(sum(price for (price,) in withheld.rows("cost_usd")))


def test_f58_f72_a_crash_makes_no_answer_of_what_expired(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API counts no result for a row that expired: lacking its line costs nothing, whenever that is found out."""
    world.documents(TWO)
    world.emulator.faults.add("expired")
    world.emulator.faults.add("results_missing_line")

    def die(*_: Any, **__: Any) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "close", die)
        with pytest.raises(CrashError):
            world.run()
    assert world.states() == [State.SPOOLED]
    world.emulator.faults.clear("expired")
    world.run()

    assert [chunk.n_requests for chunk in world.ledger.chunks(PIPELINE, State)] == [2, 2]
    assert world.n_billed == [1, 1]
