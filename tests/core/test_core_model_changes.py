"""The output model is edited while answers to the old one are on their way, and edited back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from claude_batch_dagster.client import output_format
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.engine import Engine, RunReport
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.clocks import CrashError, Waking
from tests.core.world import BASE, Label, World

TWO = {1: "a text of war", 2: "a text of peace"}
HOUR = 3_600
BOTH_GOOD = [(1, "war", "succeeded"), (2, "peace", "succeeded")]


class Kind(BaseModel):
    """What the model is edited to: no answer to the old one fits it."""

    kind: Literal["war", "peace"]


class Strict(Label):
    """The same to the API, but no answer is good enough."""

    @field_validator("label")
    @classmethod
    def _refuse(cls, _: str) -> str:
        raise ValueError("not good enough")


class Dying(SqlLedger):
    """A ledger before which the process dies, its answers in the table."""

    def close(self, *_: Any, **__: Any) -> None:
        """Die."""
        raise CrashError


def edited(engine: Engine, model: type[BaseModel]) -> Engine:
    """Return the run with another output model, of which the API is told, too."""
    task = engine.task
    base = {**BASE, "output_config": {"format": output_format(model)}}
    builder = replace(task.builder, base=base)
    return replace(engine, task=replace(task, schema=OutputSchema(model), builder=builder))


def judged_by(engine: Engine, model: type[BaseModel]) -> Engine:
    """Return the run with another output model, of which the API hears nothing: it asks the same."""
    return replace(engine, task=replace(engine.task, schema=OutputSchema(model)))


def ask(engine: Engine) -> RunReport:
    """Materialize the one partition."""
    return engine.run([Partition(key="p")])


def dies_waiting(world: World) -> None:
    """Send everything, and die; the batch ends."""
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.clock.sleep(HOUR)


@pytest.mark.verify
def test_answers_that_landed_under_another_model_come_back_with_their_own(world: World) -> None:
    """What was paid for before the model was edited is not paid for again when the edit is taken back."""
    world.documents(TWO)
    dies_waiting(world)
    other = ask(edited(world.engine(), Kind))

    back = world.run()

    assert (other.n_sent, back.n_sent, back.failure) == (2, 0, None)
    assert world.rows() == BOTH_GOOD
    assert world.n_billed == [1, 1, 1, 1]
    assert world.run().n_sent == 0


@pytest.mark.verify
def test_a_run_whose_batch_another_model_landed_meanwhile_asks_nothing_again(world: World) -> None:
    """Two definitions at work on one table, as while a new one is deployed: each pays once, and the new one stands."""
    world.documents(TWO)

    def deploy() -> None:
        world.clock.sleep(HOUR)
        ask(edited(world.engine(), Kind))

    report = world.run(clock=Waking(world.clock, deploy))

    assert (report.n_sent, report.failure) == (2, None)
    assert world.rows("id, kind, status") == BOTH_GOOD
    assert world.n_billed == [1, 1, 1, 1]


@pytest.mark.verify
def test_answers_in_the_table_as_invalid_are_looked_at_again(world: World) -> None:
    """The other model's run lands them as `invalid` and dies; the right model finds them good, unpaid."""
    world.documents(TWO)
    dies_waiting(world)
    world.emulator.faults.add("billing_402", endpoint="create")
    assert ask(judged_by(world.engine(), Strict)).failure
    assert world.rows("id, status") == [(1, "invalid"), (2, "invalid")]
    world.emulator.faults.clear()

    assert world.run().n_sent == 0
    assert world.rows() == BOTH_GOOD
    assert world.n_billed == [1, 1]


def test_f97_answers_that_another_model_landed_before_a_crash_are_put_right(world: World) -> None:
    """The table has them as `invalid`, the ledger has no verdict yet: the run that closes the books mends the rows."""
    world.documents(TWO)
    dies_waiting(world)
    dying = Dying(world.state.ledger_url)
    with pytest.raises(CrashError):
        ask(judged_by(replace(world, ledger=dying).engine(), Strict))
    dying.dispose()
    assert world.rows("id, status") == [(1, "invalid"), (2, "invalid")]

    assert world.run().n_sent == 0
    assert world.rows() == BOTH_GOOD
    assert world.n_billed == [1, 1]


@pytest.mark.verify
@pytest.mark.parametrize("kept", [True, False], ids=["spool", "deleted-spool"])
def test_answers_that_a_stricter_model_refused_twice_are_free_under_a_looser_one(world: World, *, kept: bool) -> None:
    """Both attempts are spent; yet the answers were paid for, and are judged anew by what the model says now."""
    world.documents(TWO)
    ask(judged_by(world.engine(), Strict))
    assert world.rows("id, status") == [(1, "invalid"), (2, "invalid")]
    assert world.n_billed == [2, 2]
    if not kept:
        for path in world.state.spool.iterdir():
            path.unlink()

    report = world.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert world.rows() == BOTH_GOOD
    assert world.n_billed == [2, 2]
    assert report.partitions[0].cost_usd == pytest.approx(2 * sum(price for (price,) in world.rows("cost_usd")))


@pytest.mark.verify
def test_an_answer_that_cannot_be_looked_at_just_now_is_not_paid_for_again(world: World) -> None:
    """Neither on our disk nor to be had from the API at the moment: the run fails, and the next one has it."""
    world.documents(TWO)
    dies_waiting(world)
    world.emulator.faults.add("billing_402", endpoint="create")
    ask(edited(world.engine(), Kind))
    world.emulator.faults.clear()
    for path in world.state.spool.iterdir():
        path.unlink()
    world.lose_answers()
    world.emulator.faults.add("500", endpoint="results")

    failed = world.run()
    world.emulator.faults.clear()
    report = world.run()

    assert (failed.n_sent, failed.unfinished) == (0, frozenset({"p"}))
    assert (report.n_sent, report.failure) == (0, None)
    assert world.rows() == BOTH_GOOD
    assert world.n_billed == [1, 1]


@pytest.mark.verify
def test_f66_an_answer_that_nobody_can_look_at_any_more_is_not_paid_for_again(world: World) -> None:
    """Judged by another model, then gone from our disk and the API: it may have been good, so a person decides."""
    world.documents(TWO)
    dies_waiting(world)
    world.emulator.faults.add("billing_402", endpoint="create")
    ask(edited(world.engine(), Kind))
    world.emulator.faults.clear()
    for path in world.state.spool.iterdir():
        path.unlink()
    world.lose_answers()
    world.clock.sleep(timedelta(days=30).total_seconds())

    report = world.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert world.rows("id, status") == [(1, "missing"), (2, "missing")]
    assert world.n_billed == [1, 1]


def test_f115_an_answer_that_fits_no_model_is_asked_for_twice_and_no_more(world: World) -> None:
    """Looking at it again does not count as asking, nor does it bring another attempt."""
    world.documents(TWO)

    reports = []
    for _ in range(3):
        reports.append(ask(judged_by(world.engine(), Strict)))
        world.clock.sleep(timedelta(days=1).total_seconds())

    assert [report.n_sent for report in reports] == [4, 0, 0]
    assert world.n_billed == [2, 2]
