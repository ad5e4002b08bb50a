"""One schedule: a job, the faults of each of its runs, then runs without faults until all is done, then the judge."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proof.simulation.ending import MAX_RECOVERIES, has_open_batches, look_back
from proof.simulation.gate import Fault, Plan, Point
from proof.simulation.jobs import JOBS
from proof.simulation.judge import Judgement, judge
from proof.simulation.runs import Order, Ran, run
from proof.simulation.spending import n_ahead
from proof.simulation.storage import SurvivingStorage
from proof.simulation.world import SimulatedWorld, new_world

_RUN = re.compile(r"run (\d+): (.+)")
_FAULT = re.compile(rf"(\d+) ({'|'.join(Fault)})")

OnPoint = Callable[[SimulatedWorld, int, Point], None]
"""Told of each point with the world and the number of the run."""


@dataclass(frozen=True)
class Schedule:
    """What happens, in full: the same schedule always goes the same way."""

    job: str
    """A name of `JOBS`."""
    plans: tuple[Plan, ...] = ()
    """Faults of the first run, the second, ..."""

    def __str__(self) -> str:
        """Return a text from which `parse` makes the schedule again."""
        runs = [
            f"run {number}: " + ", ".join(f"{at} {fault}" for at, fault in sorted(plan.items()))
            for number, plan in enumerate(self.plans, 1)
            if plan
        ]
        return "; ".join([self.job, *runs])

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read a schedule from its text; raise `ValueError` for anything else."""
        job, *runs = (part.strip() for part in text.split(";"))
        if job not in JOBS:
            raise ValueError(f"there is no job {job!r}; there are: {', '.join(JOBS)}")
        plans: dict[int, Plan] = {}
        for part in runs:
            if not (match := _RUN.fullmatch(part)):
                raise ValueError(f"{part!r} is not of the form 'run 1: 17 crash before, 20 lost answer'")
            plans[int(match[1])] = dict(_fault(fault.strip()) for fault in match[2].split(","))
        return cls(job, tuple(plans.get(number, {}) for number in range(1, max(plans, default=0) + 1)))


def _fault(text: str) -> tuple[int, Fault]:
    if not (match := _FAULT.fullmatch(text)):
        raise ValueError(f"{text!r} is not a number and one of: {', '.join(Fault)}")
    return int(match[1]), Fault(match[2])


@dataclass(kw_only=True)
class Outcome:
    """What came of a schedule."""

    schedule: str
    runs: Sequence[Ran]
    judgement: Judgement
    end: str
    """Hash of all that was durable in the end."""
    moves: Counter[str] = field(default_factory=Counter)
    """How many chunks came into each state."""
    n_ahead: int = 0
    """Plans of which something went ahead."""

    @property
    def trace(self) -> str:
        """Hash of every call of every run, and of the end."""
        calls = [line for ran in self.runs for line in ran.gate.trace]
        return hashlib.sha256("\n".join([*calls, self.end]).encode()).hexdigest()

    @property
    def failure(self) -> str:
        """What was broken and how to see it again; empty if nothing was."""
        broken = self.judgement.broken
        return "\n".join([f'python -m proof replay "{self.schedule}"', *broken]) if broken else ""


def execute(schedule: Schedule, storage: SurvivingStorage, on_point: OnPoint | None = None) -> Outcome:
    """Run a schedule to its end, and judge after every run."""
    with new_world(JOBS[schedule.job], storage) as world:
        runs: list[Ran] = []
        for plan in schedule.plans:
            runs.append(_run(world, plan, on_point))
            if (judgement := judge(world, runs, finished=False)).broken:
                return outcome_of(str(schedule), world, runs, judgement)
        for _ in range(MAX_RECOVERIES):
            if runs and not runs[-1].crashed and is_done(world):
                break
            runs.append(_run(world, {}, on_point))
        runs += look_back(world)
        return outcome_of(str(schedule), world, runs, judge(world, runs, finished=True))


def _run(world: SimulatedWorld, plan: Plan, on_point: OnPoint | None) -> Ran:
    number = world.n_runs + 1
    return run(world, Order(plan=plan), on_point and (lambda point: on_point(world, number, point)))


def is_done(world: SimulatedWorld) -> bool:
    """Whether every document has an answer and every batch is home, so that no further run is needed."""
    table = world.table()
    answered = len(table) == len(world.documents) and {row.status for row in table} <= world.job.expected
    return answered and not has_open_batches(world)


def outcome_of(schedule: str, world: SimulatedWorld, runs: list[Ran], judgement: Judgement) -> Outcome:
    """Sum up what came of a schedule."""
    moves = world.storage.rows("SELECT state, count(*) FROM events GROUP BY state")
    return Outcome(
        schedule=schedule,
        runs=runs,
        judgement=judgement,
        end=world.fingerprint(),
        moves=Counter(dict(moves)),
        n_ahead=n_ahead(world, runs),
    )
