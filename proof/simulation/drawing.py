"""From one number, a job and what happens to it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from claude_batch_dagster.core.planning.budget import ALL, OWN, Budget, Period
from claude_batch_dagster.core.planning.spending import Spending
from proof.simulation.acts import (
    Act,
    Cancel,
    Edit,
    LoseDatabase,
    LoseSpool,
    LoseTable,
    Reconcile,
    Resolve,
    Run,
    StepClock,
    Trouble,
    TwoRuns,
    Upgrade,
    Wait,
)
from proof.simulation.gate import Fault, Plan
from proof.simulation.jobs import BRIEF, GUIDED, EmulatorFault, Job, most_usd, text_of
from proof.simulation.runs import Order
from proof.simulation.troubles import LEAVES, SURVIVABLE, UNSURE

HOUR = 3_600
PATIENCE = 25
"""Sleeps after which somebody kills a run: a batch that never ends is waited for for days."""

N_TEXTS = 8
"""Different documents there are: few, so that rows share questions."""

LAST_CALL = 190
"""A fault is planned at one of so many calls of a run; later ones are the run's end, or do not happen."""


PERIODS: tuple[Period, ...] = ("run", "day", "day", "month", "backfill")

EVENINGS = (5.33 * HOUR, 5.33 * HOUR + 10 * 24 * HOUR)
"""After so long the emulator's clock is some minutes before midnight: of any day, and of the last of a month."""

ENOUGH_TO_CACHE = 5
"""Different questions of which one goes ahead."""

BUDGETED_ROWS = (0.9, 1.1, 1.3, 1.7, 2.4)
"""How many rows a budget could pay for if each cost as much as it can; in fact, six rows cost as much as that."""

DEADLINES = (20, 120, 900, 2 * HOUR)
"""Seconds: shorter than a batch takes, and longer."""

MORE_THAN_BUDGETED = 12
"""Different questions that cost more than most of the budgets together."""

FIRST_SENDING = range(56, 92)
"""Calls of a run among which it usually sends its first batches."""


@dataclass(frozen=True)
class Script:
    """A job and everything that happens to it before the troubles stop."""

    seed: int
    job: Job
    acts: tuple[Act, ...]

    def __str__(self) -> str:
        """Return the text from which it is drawn again."""
        return f"seed {self.seed}"


def draw(seed: int) -> Script:
    """Return the script of a seed."""
    chance = random.Random(seed)
    documents = {part: _texts(chance) for part in "pqr"[: chance.choice((1, 1, 1, 2, 3))]}
    acts = tuple(_acts(chance, tuple(documents)))
    names = {act.name for act in acts if isinstance(act, Trouble)}
    batch_seconds = chance.choice((0.0, *[45.0] * 9, *[600.0] * 4, 30.0 * HOUR))
    job = Job(
        documents=documents,
        chunk_size=chance.choice((1, 2, 2, 3, 4)),
        facts=tuple(_facts(chance)),
        n_foreign=chance.choice((0, 0, 1, 3)),
        batch_seconds=batch_seconds,
        max_poll_seconds=480.0 if batch_seconds < HOUR else 3.0 * HOUR,
        expected=frozenset({"succeeded", *(LEAVES[name] for name in names if name in LEAVES)}),
    )
    return Script(seed, _with_lanes(chance, _with_money(chance, job)), acts)


def _with_money(chance: random.Random, job: Job) -> Job:
    """
    Return a job with a budget in one life of three, from not even a row to nearly all of them.

    In one of four rows go first; in one of six requests share a guide, which one of them goes ahead to write.
    """
    n_rows = chance.choice(BUDGETED_ROWS) if chance.random() < 0.33 else None  # noqa: PLR2004  (one in three)
    canary = chance.choice((0, 0, 0, 1))
    if chance.random() < 1 / 6:
        job = replace(job, task=GUIDED, documents={**job.documents, "p": _different(ENOUGH_TO_CACHE)})
    elif n_rows is not None:
        job = replace(job, task=BRIEF, documents={**job.documents, "p": _different(MORE_THAN_BUDGETED)})
    if n_rows is None:
        return replace(job, spending=Spending(canary=canary, canary_from=2))
    budget = _budget(chance, n_rows * most_usd(job.task))
    return replace(
        job,
        spending=Spending(budget=budget, canary=canary, canary_from=2),
        repeats=chance.random() < 0.3,  # noqa: PLR2004  (three in ten)
        begins=chance.choice((0, 0, *EVENINGS)),
    )


def _with_lanes(chance: random.Random, job: Job) -> Job:
    """
    Return a job with a deadline in one life of four, and one whose few rows are asked live in one of eight.

    Not beside budgets of a time: a bill of live answers does not say for which run they were.
    """
    deadline = timedelta(seconds=chance.choice(DEADLINES)) if chance.random() < 1 / 4 else None
    small: Literal["batch", "live"] = "live" if chance.random() < 1 / 8 else "batch"
    below = chance.choice((2, 4, 20))
    if job.spending.budget is not None and job.spending.budget.per != "backfill":
        return job
    return replace(
        job,
        spending=replace(job.spending, deadline=deadline, small_batches=small, small_batches_below=below),
    )


def _budget(chance: random.Random, usd: float) -> Budget:
    per = chance.choice(PERIODS)
    return Budget(usd=usd, per=per, scope=chance.choice((OWN, OWN, ALL, "support")))


def _different(n: int) -> dict[int, str]:
    return {key: text_of(key) for key in range(n)}


def _texts(chance: random.Random) -> dict[int, str]:
    return {key: text_of(chance.randrange(N_TEXTS)) for key in chance.sample(range(10), chance.randint(1, 4))}


def _facts(chance: random.Random) -> Iterator[EmulatorFault]:
    if chance.random() < 0.3:  # noqa: PLR2004  (three in ten)
        name = chance.choice(("list_lag", "404_after_create", "404_after_end"))
        yield EmulatorFault(name=name, options={"seconds": chance.choice((5, 120, 600, 1_200, 2_400))})


def _acts(chance: random.Random, parts: tuple[str, ...]) -> Iterator[Act]:
    """Yield one to five things that go wrong, around one to three runs."""
    for _ in range(chance.choice((1, 1, 2, 2, 3))):
        for _ in range(chance.randint(0, 2)):
            yield _around(chance, parts)
        if chance.random() < 0.25:  # noqa: PLR2004  (one in four)
            yield TwoRuns(orders=(_order(chance, parts), _order(chance, parts)), seed=chance.getrandbits(32))
        else:
            yield Run(order=_order(chance, parts))
        if chance.random() < 0.15:  # noqa: PLR2004  (three in twenty)
            yield from _doubt(chance, parts)


def _doubt(chance: random.Random, parts: tuple[str, ...]) -> Iterator[Act]:
    """Yield a run that dies in doubt, and what people do about it."""
    yield _edit(chance, parts)  # else there may be nothing to send
    yield _unsure(chance, parts)
    yield Run(order=replace(_order(chance, parts), plan={}, patience=chance.randint(1, 4)))
    for _ in range(chance.randint(1, 3)):
        yield chance.choice((_step_clock, _reconcile, _reconcile, _resolve, _wait))(chance, parts)


def _order(chance: random.Random, parts: tuple[str, ...]) -> Order:
    some = tuple(sorted(chance.sample(parts, chance.randint(1, len(parts)))))
    return Order(plan=_plan(chance), partitions=some, patience=PATIENCE)


def _plan(chance: random.Random) -> Plan:
    calls = (range(1, LAST_CALL), FIRST_SENDING)  # where most is at stake, as often as anywhere
    return {
        chance.choice(chance.choice(calls)): chance.choice(tuple(Fault)) for _ in range(chance.choice((0, 1, 1, 2)))
    }


def _around(chance: random.Random, parts: tuple[str, ...]) -> Act:
    kinds = (
        _trouble,
        _trouble,
        _unsure,
        _unsure,
        _edit,
        _edit,
        _cancel,
        _wait,
        _wait,
        _lose_table,
        _lose_database,
        _lose_spool,
        _upgrade,
        _step_clock,
        _reconcile,
        _resolve,
    )
    return chance.choice(kinds)(chance, parts)


def _trouble(chance: random.Random, _: tuple[str, ...]) -> Act:
    options: dict[str, Any] = {"times": chance.randint(1, 3)}
    return Trouble(name=chance.choice(SURVIVABLE), options=options)


def _unsure(chance: random.Random, _: tuple[str, ...]) -> Act:
    return Trouble(name=chance.choice(UNSURE), options={"times": chance.randint(1, 2), "endpoint": "create"})


def _edit(chance: random.Random, parts: tuple[str, ...]) -> Act:
    return Edit(partition=chance.choice(parts), texts=_texts(chance))


def _cancel(_: random.Random, __: tuple[str, ...]) -> Act:
    return Cancel()


def _wait(chance: random.Random, _: tuple[str, ...]) -> Act:
    return Wait(seconds=chance.choice((60, 600, 1_000, HOUR, 25 * HOUR, 6 * 24 * HOUR)))


def _lose_table(_: random.Random, __: tuple[str, ...]) -> Act:
    return LoseTable()


def _lose_database(_: random.Random, __: tuple[str, ...]) -> Act:
    return LoseDatabase()


def _lose_spool(_: random.Random, __: tuple[str, ...]) -> Act:
    return LoseSpool()


def _upgrade(_: random.Random, __: tuple[str, ...]) -> Act:
    return Upgrade()


def _step_clock(chance: random.Random, _: tuple[str, ...]) -> Act:
    return StepClock(hours=chance.choice((-24, -2, -0.1, 0, 0.1, 2, 24)))


def _reconcile(chance: random.Random, _: tuple[str, ...]) -> Act:
    return Reconcile(quiet_seconds=chance.choice((0, 0, 900)), n_looks=chance.choice((1, 6, 20)))


def _resolve(chance: random.Random, _: tuple[str, ...]) -> Act:
    return Resolve(careless=chance.random() < 0.3)  # noqa: PLR2004  (three in ten)
