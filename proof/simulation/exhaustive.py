"""Every fault at every call of a job of two chunks, alone and in pairs."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proof.findings import Finding
from proof.simulation.gate import REMOTE, Fault, Plan, Point
from proof.simulation.jobs import JOBS
from proof.simulation.schedules import Schedule, execute
from proof.simulation.storage import SurvivingStorage, new_storage
from proof.simulation.tally import Tally
from proof.simulation.workers import spread
from proof.simulation.world import SimulatedWorld

PROMISE = (
    "Whatever call a run dies at, and whatever request or answer is lost, each document is billed once and answered"
)


@dataclass(frozen=True)
class Stop:
    """A fault at a point, and all the points where it leaves the very same behind."""

    schedule: Schedule
    number: int
    fault: Fault
    n_alike: int


def stops(
    schedule: Schedule, in_run: int, storage: SurvivingStorage, *, after: int = 0, faults: frozenset[Fault] = REMOTE
) -> list[Stop]:
    """
    Return every different way in which one more of these faults can strike a run of the schedule.

    Two crashes of one run that leave the same durable state behind (ledger, spool, table, server, clock) have the
    same future, since a new process knows nothing else: one of them stands for all. Faults that the process
    survives are never put together.
    """
    seen: dict[tuple[Fault | None, str | int], list[Point]] = {}

    def note(world: SimulatedWorld, number: int, point: Point) -> None:
        if number == in_run and point.number > after and point.fault in faults:
            alike = (None, world.fingerprint()) if point.fault.kills else (point.fault, point.number)
            seen.setdefault(alike, []).append(point)

    execute(schedule, storage, note)
    return [Stop(schedule, points[0].number, points[0].fault, len(points)) for points in seen.values()]


def with_fault(schedule: Schedule, in_run: int, stop: Stop) -> Schedule:
    """Return the schedule with one more fault."""
    plans: list[Plan] = [*schedule.plans, *({} for _ in range(in_run - len(schedule.plans)))]
    plans[in_run - 1] = {**plans[in_run - 1], stop.number: stop.fault}
    return Schedule(schedule.job, tuple(plans))


# --- one fault -------------------------------------------------------------------------------------


def every_single(
    job: str, storage: SurvivingStorage, faults: frozenset[Fault] = frozenset(Fault), *, step: int = 1
) -> Tally:
    """Try these faults at every call of the first run of a job; with a step only at every so many of them."""
    tally = Tally()
    for stop in stops(Schedule(job), 1, storage, faults=faults)[::step]:
        tally.add(execute(with_fault(stop.schedule, 1, stop), storage), n_alike=stop.n_alike)
    return tally


def singles(jobs: Sequence[str] = tuple(JOBS), *, n_processes: int = 2) -> Finding:
    """Try every single fault in every job."""
    began = time.monotonic()
    tally = Tally.sum(spread(every_single, jobs, n_processes=n_processes))
    return tally.finding("singles", PROMISE, seconds=time.monotonic() - began)


# --- two faults ------------------------------------------------------------------------------------


def every_second(first: Stop, storage: SurvivingStorage) -> Tally:
    """Try every second fault after a first one: in the same run if that goes on, else in the one that follows."""
    once = with_fault(first.schedule, 1, first)
    tally = Tally()
    for in_run, second in _seconds(first, once, storage):
        outcome = execute(with_fault(once, in_run, second), storage)
        tally.add(outcome, n_alike=first.n_alike * second.n_alike)
    return tally


def _seconds(first: Stop, once: Schedule, storage: SurvivingStorage) -> Iterator[tuple[int, Stop]]:
    if not first.fault.kills:
        yield from ((1, stop) for stop in stops(once, 1, storage, after=first.number))
    yield from ((2, stop) for stop in stops(once, 2, storage))


def firsts(job: str) -> list[Stop]:
    """Return every different first fault of a job."""
    with new_storage() as storage:
        return stops(Schedule(job), 1, storage)


def pairs(jobs: Sequence[str] = ("2 chunks",), *, n_processes: int = 2) -> Finding:
    """Try every pair of faults in every job."""
    began = time.monotonic()
    tasks = [stop for job in jobs for stop in firsts(job)]
    tally = Tally.sum(spread(every_second, tasks, n_processes=n_processes))
    return tally.finding("pairs", PROMISE, seconds=time.monotonic() - began)
