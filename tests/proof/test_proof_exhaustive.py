"""The real engine, stopped at the calls it makes: a few on every change, more on every push, all in `make soak`."""

import pytest

from proof.simulation import exhaustive
from proof.simulation.gate import LOCAL, REMOTE, Fault
from proof.simulation.jobs import JOBS
from proof.simulation.schedules import Schedule, execute
from proof.simulation.storage import SurvivingStorage


def test_a_fault_at_every_thirteenth_call_costs_nothing_and_loses_nothing(storage: SurvivingStorage) -> None:
    """Die there, or lose the request or its answer: billed once, answered, and the books balance."""
    tally = exhaustive.every_single("2 chunks", storage, REMOTE, step=13)

    assert tally.failures == []
    assert tally.counts["crashes"] >= 3


@pytest.mark.verify
@pytest.mark.parametrize("job", JOBS)
def test_f11_f23_f33_f34_f50_f78_f85_f97_a_fault_at_any_call_costs_nothing_and_loses_nothing(
    job: str, storage: SurvivingStorage
) -> None:
    """
    Die before or after any call, or lose any request or answer: billed once, answered, and the books balance.

    At every fourth call, in bad surroundings at every eighth; the others are under `make soak`.
    """
    step = 4 if job == "2 chunks" else 8
    tally = exhaustive.every_single(job, storage, REMOTE, step=step)

    assert tally.failures == []
    assert tally.n_schedules > 200 / step
    assert tally.counts["crashes"] >= 20 / step


@pytest.mark.verify
@pytest.mark.parametrize("fault", [Fault.FAILS, Fault.FAILS_AFTER])
def test_f24_f51_f86_f87_trouble_of_storage_at_any_call_costs_nothing_and_loses_nothing(
    storage: SurvivingStorage, fault: Fault
) -> None:
    """
    The ledger, the spool or the table refuses at any one call, or does what it is told and then says that it failed.

    The run fails, and the next one makes it good.
    """
    tally = exhaustive.every_single("2 chunks", storage, frozenset({fault}), step=6)

    assert tally.failures == []
    assert tally.n_executed > 15


def test_every_call_of_a_run_is_a_point(storage: SurvivingStorage) -> None:
    """No call is left out: each can be died before, and each call to the API can lose its request and its answer."""
    numbers = {fault: set[int]() for fault in Fault}
    outcome = execute(Schedule("2 chunks"), storage, lambda _, __, point: numbers[point.fault].add(point.number))
    trace = dict(enumerate(outcome.runs[0].gate.trace, 1))

    assert numbers[Fault.CRASH_BEFORE] == set(trace)
    assert {trace[at] for at in numbers[Fault.LOST_ANSWER]} == {
        "api create", "api retrieve", "api results", "api results piece"
    }  # fmt: skip
    assert {*LOCAL, *REMOTE} == set(Fault)


@pytest.mark.verify
def test_crashes_that_leave_the_same_behind_have_the_same_future(storage: SurvivingStorage) -> None:
    """One crash may stand for all that leave the same durable state: the end is the same to the last byte."""
    schedule = Schedule("2 chunks")
    alike: dict[str, list[Schedule]] = {}

    execute(
        schedule,
        storage,
        lambda world, number, point: (
            alike.setdefault(world.fingerprint(), []).append(Schedule("2 chunks", ({point.number: point.fault},)))
            if point.fault.kills and number == 1
            else None
        ),
    )
    for schedules in list(alike.values())[::3]:
        ends = {
            (len(outcome.runs), outcome.end)
            for outcome in (execute(one, storage) for one in schedules[:: len(schedules) - 1 or 1])
        }
        assert len(ends) == 1, str(schedules[0])


@pytest.mark.verify
def test_the_same_schedule_goes_the_same_way(storage: SurvivingStorage) -> None:
    """Its text is enough to see it again: the same calls, the same ids, the same end."""
    schedule = Schedule("2 chunks", ({22: Fault.LOST_REQUEST}, {30: Fault.CRASH_AFTER}))
    traces = {execute(one, storage).trace for one in (schedule, Schedule.parse(str(schedule)), schedule)}

    assert str(schedule) == "2 chunks; run 1: 22 lost request; run 2: 30 crash after"
    assert len(traces) == 1


@pytest.mark.parametrize("text", ["no such job", "2 chunks; 17 crash before", "2 chunks; run 1: 17 hiccup"])
def test_a_text_that_is_no_schedule_is_refused(text: str) -> None:
    """It says what it should have been."""
    with pytest.raises(ValueError, match=r"there is no job|not of the form|not a number and one of"):
        Schedule.parse(text)


@pytest.mark.soak
def test_a_fault_at_any_call_whatever_the_surroundings_costs_nothing_and_loses_nothing() -> None:
    """Every single fault in every job."""
    finding = exhaustive.singles()

    assert finding.holds
    assert finding.facts["other promises broken"] == 0


@pytest.mark.soak
def test_a_second_fault_at_any_call_costs_nothing_and_loses_nothing_either() -> None:
    """Every pair of faults of a job of two chunks."""
    finding = exhaustive.pairs()

    assert finding.holds
    assert finding.facts["other promises broken"] == 0
