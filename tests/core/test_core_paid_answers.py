"""Answers that were paid for come back: after a loss, a prompt that is reverted, a clock that is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from claude_batch_dagster.core.asking.question_hash import earlier_hash
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.reporting.progress import Progress
from claude_batch_dagster.core.waiting import SystemClock
from claude_batch_dagster.errors import (
    ApiError,
    BatchOverdueError,
    ClaimConflictError,
)
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.ledger import schema
from tests.canary import KEY
from tests.core.clocks import CrashError, Waking
from tests.core.world import PIPELINE, TEN, TEN_GOOD, World

TWO = {1: "a text of war", 2: "a text of peace"}

# --- answers that were paid for come back ----------------------------------------------------------


def lose_warehouse(world: World) -> None:
    """Delete the DuckDB file and put the documents into a new one."""
    rows = world.sql("SELECT id, text FROM docs ORDER BY id")
    world.let_go()
    Path(world.warehouse.database).unlink()
    world.documents(dict(rows))


Harm = Callable[[World], object]
HARMS: Mapping[str, Harm] = {
    "F90-table-dropped": lambda world: world.sql("DROP TABLE answers"),
    "F90-answers-lost": lambda world: world.lose_answers(),
    "F90-some-answers-lost": lambda world: world.sql("DELETE FROM claude_batch.answers WHERE ordinal = 0"),
    "F90-rows-deleted": lambda world: world.sql("DELETE FROM answers WHERE id < 3"),
    "F89-file-deleted": lose_warehouse,
}


@pytest.mark.sampled
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("spool", ["kept", "deleted"])
def test_answers_come_back_without_a_post(world: World, harm: Harm, spool: str) -> None:
    """From the spool, or from the API while it has them; the table is as it was."""
    world.documents(TEN)
    world.run()
    columns = "id, label, status, batch_id, custom_id, request_hash, cost_usd, attempt, answered_at"
    before = world.rows(columns)

    harm(world)
    if spool == "deleted":
        for file in world.state.spool.iterdir():
            file.unlink()
    report = world.run()

    assert (world.rows(columns), world.n_posts, report.n_sent) == (before, 3, 0)
    assert report.partitions[0].balanced


@pytest.mark.verify
def test_failures_and_shared_answers_come_back_too(world: World) -> None:
    """Every final verdict is in the ledger, every reason in the spool."""
    world.documents({1: "war", 2: "peace", 3: "war", 4: None})
    world.emulator.faults.add("refusal", times=1)
    world.run()
    before = world.rows("id, label, status, error, request_hash")

    world.sql("DROP TABLE answers")
    world.run()

    assert (world.rows("id, label, status, error, request_hash"), world.n_posts) == (before, 1)


@pytest.mark.verify
@pytest.mark.parametrize("fault", ["500", "connect_error", "429"])
def test_answers_that_cannot_be_fetched_just_now_are_fetched_by_the_next_run(world: World, fault: str) -> None:
    """Trouble on the way is no proof that the API has lost them."""
    world.documents({1: "war"})
    world.run()
    world.lose_answers()
    for file in world.state.spool.iterdir():
        file.unlink()
    world.emulator.faults.add(fault, endpoint="results")

    report = world.run()
    assert (set(report.unfinished), world.rows()) == ({"p"}, [])
    assert isinstance(report.failure, ApiError)

    world.emulator.faults.clear()
    assert (world.run().failure, world.rows(), world.n_posts) == (None, [(1, "war", "succeeded")], 1)


def test_f66_answers_that_neither_spool_nor_api_has_are_missing_and_not_paid_again(world: World) -> None:
    """The row says so, in this run and the next; should the spool come back, so does the answer."""
    world.documents({1: "war", 2: "peace"})
    world.run()
    world.lose_answers()
    (file,) = world.state.spool.iterdir()
    kept = file.read_bytes()
    file.unlink()
    world.emulator.clock.advance(days=30)

    for _ in range(2):
        report = world.run()
        assert (report.failure, world.statuses()) == (None, {1: "missing", 2: "missing"})
    assert "paid for" in world.rows("error")[0][0]

    file.write_bytes(kept)
    world.run()
    assert (world.statuses(), world.n_posts) == ({1: "succeeded", 2: "succeeded"}, 1)


def test_f110_a_prompt_that_is_reverted_gets_its_old_answers_back_without_a_post(world: World) -> None:
    """An answer is good for its question whenever that is asked again."""
    world.documents(TEN)
    world.run()
    before = world.rows("id, custom_id, error")
    world.run(prompt="Another: {text}")

    report = world.run()

    assert (report.n_sent, world.rows("id, custom_id, error"), world.n_billed) == (0, before, [1] * 20)


@pytest.mark.verify
def test_f110_a_batch_of_an_older_prompt_lands_under_its_own_question(world: World) -> None:
    """The newer answer stands, the older one was paid for and is kept for its own prompt."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.clock.sleep(1)
    world.run(prompt="Another: {text}")
    newer = world.rows("custom_id")

    assert world.run(prompt="Another: {text}").n_sent == 0
    assert world.rows("custom_id") == newer
    assert (world.run().n_sent, world.rows("custom_id") < newer, world.n_posts) == (0, True, 2)


@pytest.mark.verify
def test_a_failure_does_not_keep_paid_answers_from_coming_back(world: World) -> None:
    """A partition that needs no sending is restored though another cannot be sent."""
    world.documents({1: "war"}, part="p")
    world.run()
    world.sql("DROP TABLE answers")
    world.documents({2: "peace"}, part="q")
    world.emulator.faults.add("401", endpoint="create")

    report = world.run("q", "p")

    assert (set(report.unfinished), world.statuses("p"), world.statuses("q")) == ({"q"}, {1: "succeeded"}, {})


def test_the_system_clock_is_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aware, in UTC, and passing."""
    clock = SystemClock()
    began = clock.now()
    clock.sleep(0.001)

    assert clock.now() > began
    assert began.utcoffset() == timedelta()


def test_f61_a_batch_that_does_not_end_is_told_of_and_waited_for(world: World) -> None:
    """An hour after its 24 the run log says so; it is asked after for as long as the API shows it, and lands."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("never_ends")
    troubles: list[ApiError] = []

    def cancel_after_three_days() -> None:
        for batch in world.api.list_batches().batches:
            world.api.cancel(batch.id)

    report = world.run(
        poll_seconds=3_600,
        max_poll_seconds=3_600,
        on_trouble=troubles.append,
        clock=Waking(world.clock, cancel_after_three_days, at=3 * 24),
        max_attempts=1,
    )

    overdue = [error for error in troubles if isinstance(error, BatchOverdueError)]
    assert (overdue[0].hours, "has not ended after 26 hours" in str(overdue[0])) == (26, True)
    assert (report.failure, world.states(), world.statuses()) == (None, [State.APPLIED], {1: "canceled"})


@pytest.mark.verify
def test_f95_a_row_that_left_while_its_answer_was_on_its_way_leaves_the_table_with_the_next_run(world: World) -> None:
    """Upstream is read once a run; the answer was paid for and is kept, for whoever asks again."""
    world.documents(TEN)

    report = world.run(clock=Waking(world.clock, lambda: world.documents({n: TEN[n] for n in range(9)})))
    assert (report.failure, report.partitions[0].balanced, world.statuses()) == (None, True, TEN_GOOD)
    report = world.run()
    assert (report.partitions[0].balanced, sorted(world.statuses())) == (True, list(range(9)))

    world.documents(TEN)
    assert (report.failure, world.run().n_sent, world.statuses(), world.n_billed) == (None, 0, TEN_GOOD, [1] * 10)


@pytest.mark.verify
def test_f66_a_clock_that_is_a_year_ahead_loses_no_answer(world: World) -> None:
    """What the calendar says is gone is asked for all the same; only the API can say that it is gone."""

    class YearAhead:
        """A clock that a person has set wrong."""

        def now(self) -> datetime:
            """Return a time that has not come yet."""
            return world.clock.now() + timedelta(days=365)

        def sleep(self, seconds: float) -> None:
            """Let `seconds` pass."""
            world.clock.sleep(seconds)

    world.documents(TEN)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.clock.sleep(120)

    report = world.run(clock=YearAhead())

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)


@pytest.mark.verify
def test_f66_results_that_are_gone_are_asked_for_several_times_before_they_are_given_up(world: World) -> None:
    """One 404 is no proof; after several in some minutes the rows say what happened, and are not sent again."""
    world.documents({1: "a text of war"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.clock.sleep(40 * 86_400)
    world.emulator.faults.add("404", endpoint="retrieve")
    world.emulator.faults.add("404", endpoint="results")
    began = world.clock.now()

    report = world.run()

    assert (report.failure, world.states(), world.statuses()) == (None, [State.LOST], {1: "missing"})
    assert world.clock.now() - began >= timedelta(minutes=5)
    assert (world.run().n_sent, world.n_posts) == (0, 1)


# --- what only one of database and ledger knows ----------------------------------------------------


@pytest.mark.verify
def test_answers_of_an_earlier_version_are_shared_though_only_the_table_has_them(world: World) -> None:
    """It kept no answers beside the table; the spool was deleted, and the API has nothing after 29 days."""
    world.documents({1: "war"})
    world.run()
    world.sql("DROP SCHEMA claude_batch CASCADE")
    for file in world.state.spool.iterdir():
        file.unlink()
    world.emulator.clock.advance(days=30)
    world.documents({1: "war", 2: "war"})

    report = world.run()

    assert (report.failure, report.n_sent, world.statuses()) == (None, 0, {1: "succeeded", 2: "succeeded"})


@pytest.mark.verify
def test_f56_results_in_another_workspace_are_neither_given_up_nor_paid_again(world: World) -> None:
    """What it does not show proves nothing: the run fails and says where they are; sent is nothing."""
    world.documents({1: "war"})
    world.run()
    world.lose_answers()
    for file in world.state.spool.iterdir():
        file.unlink()

    report = world.run(api=world.api_with(KEY, workspace_id="wrkspc_theirs"))

    assert "are where we do not send now: https://api.anthropic.com default" in str(report.failure)
    assert (set(report.unfinished), world.sql("SELECT count(*) FROM claude_batch.answers")) == ({"p"}, [(0,)])
    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


@pytest.mark.verify
def test_answers_that_nobody_asks_for_fail_no_run_when_they_cannot_be_had(world: World) -> None:
    """Those to an earlier question were lost, and the API is down."""
    world.documents({1: "war"})
    world.run()
    for file in world.state.spool.iterdir():
        file.unlink()
    world.sql("DELETE FROM claude_batch.answers")
    world.documents({1: "peace"})
    world.emulator.faults.add("500", endpoint="results", times=1)

    report = world.run()

    assert (report.failure, world.rows()) == (None, [(1, "peace", "succeeded")])


def test_f28_a_question_of_which_only_the_ledger_knows_that_it_was_answered_is_not_sent(world: World) -> None:
    """Somebody has changed the answers in the database: the run fails in place of asking again, or for ever."""
    world.documents({1: "war"})
    world.run()
    world.sql("UPDATE claude_batch.answers SET question = 'q1 of somebody else'")
    world.sql("DELETE FROM answers")

    with pytest.raises(ClaimConflictError):
        world.run()

    assert world.n_posts == 1


def test_f90_answers_that_vanish_while_a_run_waits_are_landed_again(world: World) -> None:
    """The database is free for hours meanwhile: somebody puts a backup back, and nothing is paid for again."""
    world.documents(TWO)
    lost = list[Any]()

    def lose(_: Progress) -> None:
        if not lost and world.states() == [State.APPLIED]:
            lost.append(world.sql("DELETE FROM claude_batch.answers"))
            world.sql("DELETE FROM answers")

    report = world.run(on_progress=lose)

    assert lost
    assert (report.failure, world.n_billed) == (None, [1, 1])
    assert set(world.statuses().values()) == {"succeeded"}


def test_f108_runs_of_two_databases_with_one_ledger_pay_once(world: World, tmp_path: Path) -> None:
    """The second waits for what the first has sent, and lands it in its own database too."""
    world.documents(TWO)
    other = replace(world, warehouse=Warehouse(str(tmp_path / "other.duckdb")))
    other.documents(TWO)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))

    report = other.run(clock=Waking(world.clock, world.run))

    assert (report.failure, world.n_billed) == (None, [1, 1])
    assert set(world.statuses().values()) == set(other.statuses().values()) == {"succeeded"}


def test_answers_that_landed_under_earlier_names_are_found_by_those_of_today(world: World) -> None:
    """A run of one partition lands what an earlier version has asked for another one, which is run later."""
    world.documents({1: TWO[1]}, part="p")
    world.documents({2: TWO[2]}, part="q")
    with pytest.raises(CrashError):
        world.run("p", "q", clock=Waking.never(world.clock))
    builder = replace(world.engine().task.builder, asked_of=world.api.answerer)
    requests = [builder.build({"text": text}) for (text,) in world.sql("SELECT text FROM docs")]
    names = {one.request_hash: earlier_hash(one.params, asked_of=builder.asked_of) for one in requests}
    [chunk] = world.ledger.chunks(PIPELINE, State)
    asked = world.ledger.requests(chunk.chunk_id).questions
    with world.ledger._engine.begin() as connection:  # noqa: SLF001  (as 0.1.0 would have written it)
        earlier = tuple(names[question] for question in asked)
        connection.execute(sa.update(schema.requests).values(questions=earlier, identity=""))
    world.sql('DELETE FROM claude_batch."main.answers"')

    first, second = world.run("p"), world.run("q")

    assert (first.failure, second.failure, world.n_billed) == (None, None, [1, 1])
    assert [*world.statuses("p").values(), *world.statuses("q").values()] == ["succeeded"] * 2
