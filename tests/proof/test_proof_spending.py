"""Lives in which money is short, or one request goes ahead of the others; and that the judge sees what goes wrong."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from claude_batch_dagster.core.planning.budget import Budget, Period
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.errors import CanaryError
from proof.simulation.acts import Act, Edit, Run, StepClock, Trouble, Wait
from proof.simulation.drawing import EVENINGS
from proof.simulation.jobs import BRIEF, GUIDED, EmulatorFault, Job, most_usd, text_of
from proof.simulation.judge import judge
from proof.simulation.runs import Order, Ran
from proof.simulation.spending import beyond_budget, n_ahead, too_many_ahead
from proof.simulation.storage import SurvivingStorage
from proof.simulation.world import SimulatedWorld, new_world

pytestmark = pytest.mark.verify

HOUR = 3_600
DIES_WAITING = Run(order=Order(patience=1))
RUN = Run(order=Order())
SAME = ("run", "day", "month", "backfill")
ONE_ROW = 1.3 * most_usd(BRIEF)
"""Money for one row at a time, and for two in all: one costs a sixth of what it can cost."""


@dataclass(kw_only=True)
class Life:
    """A world, and the runs in it."""

    world: SimulatedWorld
    runs: list[Ran] = field(default_factory=list)

    def let(self, *acts: Act) -> None:
        """Let things happen; after each of them every promise is kept."""
        for act in acts:
            self.runs += act.do(self.world)
            assert judge(self.world, self.runs, finished=False).broken == []

    @property
    def sizes(self) -> list[int]:
        """Requests in each batch that was accepted, in order."""
        return [batch.n_requests for batch in self.world.emulator.audit.accepted()]

    @property
    def n_by_day(self) -> Counter[str]:
        """Requests accepted, by the day on which they were sent by the clock of the machine."""
        accepted = self.world.emulator.audit.accepted()
        return Counter(f"{self.world.sent[one.sha256].at:%m-%d}" for one in accepted for _ in range(one.n_requests))


@contextmanager
def life(
    storage: SurvivingStorage, budget: Budget | None, n: int = 12, canary: int = 0, **facts: Any
) -> Iterator[Life]:
    """Begin a life with some documents, a budget, and rows that go first."""
    documents = {"p": {key: text_of(key) for key in range(n)}}
    spending = Spending(budget=budget, canary=canary, canary_from=2)
    job = Job(documents=documents, spending=spending, **{"task": BRIEF, **facts})
    with new_world(job, storage) as world:
        yield Life(world=world)


@pytest.mark.parametrize("per", SAME)
def test_f114_what_a_killed_run_has_sent_counts(storage: SurvivingStorage, per: Period) -> None:
    """Hours later its batch still is on its way, and there is no money for another: whatever the budget is per."""
    with life(storage, Budget(usd=ONE_ROW, per=per), repeats=per == "run", batch_seconds=20 * HOUR) as one:
        one.let(DIES_WAITING, Wait(seconds=2 * HOUR), DIES_WAITING)

        assert one.sizes == [1]


@pytest.mark.parametrize("per", SAME)
def test_f114_what_nobody_has_seen_counts(storage: SurvivingStorage, per: Period) -> None:
    """A batch that was accepted, and that the list hides beyond the quiet period, may be paid for: no other goes."""
    hidden = (EmulatorFault(name="list_lag", options={"seconds": 9 * HOUR}),)
    lost = Trouble(name="drop_after_accept", options={"times": 1, "endpoint": "create"})
    with life(
        storage, Budget(usd=ONE_ROW, per=per), repeats=per == "run", facts=hidden, batch_seconds=20 * HOUR
    ) as one:
        one.let(lost, RUN, RUN)

        assert one.sizes == [1]
        assert "not allow it" in str(one.runs[-1].report)


def test_f114_each_day_has_its_own_money(storage: SurvivingStorage) -> None:
    """At midnight there is new money, also for a run that goes on with what was sent before."""
    with life(storage, Budget(usd=ONE_ROW, per="day"), begins=EVENINGS[0]) as one:
        one.let(DIES_WAITING, Wait(seconds=HOUR / 4), RUN)

        assert one.n_by_day == {"11-20": 1, "11-21": 2}


def test_f114_what_landed_on_the_next_day_counts_on_the_day_before(storage: SurvivingStorage) -> None:
    """The time at which it was sent counts, as is seen when a clock is set back to that day."""
    budget = Budget(usd=1.1 * most_usd(BRIEF), per="day")
    with life(storage, budget, n=1, begins=EVENINGS[0], batch_seconds=600.0) as one:
        one.let(DIES_WAITING, Wait(seconds=HOUR / 4), RUN)
        one.let(StepClock(hours=-24), Edit(partition="p", texts={key: text_of(key) for key in range(4)}), RUN)

        assert one.n_by_day == {"11-20": 1}


def test_f114_each_run_has_its_own_money_unless_it_repeats_one(storage: SurvivingStorage) -> None:
    """Runs of their own go on where the last one stopped."""
    budget = Budget(usd=ONE_ROW, per="run")
    with life(storage, budget) as apart:
        apart.let(RUN, RUN)
        assert sum(apart.sizes) == 4
    with life(storage, budget, repeats=True) as together:
        together.let(RUN, RUN)
        assert sum(together.sizes) == 2


def test_f116_a_bad_question_costs_its_first_rows(storage: SurvivingStorage) -> None:
    """They are refused, and the run stops there; so does the next one."""
    with life(storage, None, canary=1) as one:
        one.let(Trouble(name="refusal", options={"rate": 1.0}), RUN, RUN)

        assert one.sizes == [1, 1]
        assert [type(ran.error) for ran in one.runs] == [CanaryError] * 2


def test_one_request_goes_ahead_of_each_plan(storage: SurvivingStorage) -> None:
    """Killed while the first is on its way, or left alone: no plan has two of them, and nothing is paid for twice."""
    with life(storage, None, task=GUIDED, n=6) as one:
        one.let(Run(order=Order(patience=1)), RUN)

        assert one.sizes[0] == 1
        assert n_ahead(one.world, one.runs) == 1
        assert set(one.world.emulator.audit.billed().values()) == {1}


def test_the_judge_sees_what_is_beyond_a_budget(storage: SurvivingStorage) -> None:
    """Rows that went without one, held against one: at stake when the second was accepted, and in the end billed."""
    with life(storage, None) as one:
        one.let(RUN)
        assert list(beyond_budget(one.world)) == []
        assert told(one.world, Budget(usd=most_usd(BRIEF) * 13, per="day")) == []
        [at_stake] = told(one.world, Budget(usd=most_usd(BRIEF) * 6, per="month"))

        assert "were at stake for what was sent in 2026-11, and the budget of this asset" in at_stake


def test_the_judge_sees_too_many_ahead(storage: SurvivingStorage) -> None:
    """Two runs, each with one request ahead, taken for one."""
    with life(storage, None, task=GUIDED, n=6) as one:
        one.let(RUN)
        one.world.set_documents("p", {key: text_of(key + 100) for key in range(6)})
        one.world.pass_time(2 * HOUR)
        one.let(RUN)
        one.world.sent = {sha256: replace(sent, run_id="run-1") for sha256, sent in one.world.sent.items()}

        assert list(too_many_ahead(one.world, one.runs)) == [
            "run run-1 has sent questions of one plan one after the other: [1, 5, 1, 5]"
        ]


def told(world: SimulatedWorld, budget: Budget) -> Sequence[str]:
    """Say what the judge finds if all that was sent had been sent with a budget."""
    world.sent = {sha256: replace(sent, budget=budget) for sha256, sent in world.sent.items()}
    return list(beyond_budget(world))
