"""A batch that was let go and turns up after all: found, landed, and told with what it cost."""

from datetime import timedelta

import pytest

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.reporting.double_payments import Doubts
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.emulator import Fault
from claude_batch_dagster.errors import HeldChunksError
from tests.core.clocks import CrashError, Waking
from tests.core.world import PIPELINE, World

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

TWO = {1: "a text of war", 2: "a text of peace"}


def told(report: PartitionReport) -> dict[str, float]:
    """Return what is reported of doubts, but for the dollars."""
    return {name: value for name, value in report.doubts.figures.items() if not name.endswith("usd")}


def lose_sight(world: World) -> None:
    """Accept the next batch, lose the answer, and keep it out of the list for an hour."""
    world.emulator.faults.add("drop_after_accept", times=1)
    world.emulator.faults.add("list_lag", seconds=3_600)


def test_f34_a_batch_that_turns_up_after_the_quiet_period_is_found_landed_and_told(world: World) -> None:
    """It was paid for twice: the run that sent again says so at once, as a bound; a later one with the cost."""
    world.documents(TWO)
    lose_sight(world)

    first = world.run().partitions[0]

    assert (world.states(), world.n_billed) == ([State.UNSEEN, State.APPLIED], [2, 2])
    assert told(first) == {
        "possible_duplicate_requests": 2, "unconfirmed_sends": 1, "held_chunks": 0, "adopted_orphans": 0
    }  # fmt: skip
    bound = first.doubts.possible_duplicate_usd or 0
    once = first.cost_usd or 0
    assert bound >= once > 0, "what it can cost at most is no less than what it costs"

    world.clock.sleep(3_600)
    second = world.run().partitions[0]

    assert world.states() == [State.APPLIED, State.APPLIED]
    assert told(second) == {
        "possible_duplicate_requests": 2, "unconfirmed_sends": 0, "held_chunks": 0, "adopted_orphans": 1
    }  # fmt: skip
    assert second.doubts.possible_duplicate_usd == pytest.approx(once)
    assert second.cost_usd == pytest.approx(2 * once), "the books say what the bill says"
    assert world.statuses() == {1: "succeeded", 2: "succeeded"}
    assert second.n_rows == 2


@pytest.mark.verify
def test_f34_a_batch_that_never_turns_up_is_looked_for_for_29_days(world: World) -> None:
    """After that nobody could tell any more; the doubt stays on the books."""
    world.documents(TWO)
    world.emulator.faults.add("drop_before_accept", times=1)
    world.run()
    world.emulator.faults.add("500", endpoint="list")

    troubles: list[str] = []
    world.clock.sleep(28 * 86_400)
    world.run(on_trouble=lambda error: troubles.append(str(error)))
    assert len(troubles) == 2, "looked for at the beginning and at the end"
    world.clock.sleep(2 * 86_400)
    report = world.run(on_trouble=lambda error: troubles.append(str(error)))

    assert len(troubles) == 2
    assert report.partitions[0].doubts.n_possible_duplicates == 2


def test_a_run_without_doubts_says_so(world: World) -> None:
    """A batch whose answer came has nothing to tell."""
    world.documents(TWO)

    assert world.run().partitions[0].doubts == Doubts()


def test_an_adopted_batch_is_told_and_is_no_duplicate(world: World) -> None:
    """Its answer was lost, it was found in the list, and nothing was sent again."""
    world.documents(TWO)
    world.emulator.faults.add("drop_after_accept", times=1)

    report = world.run().partitions[0]

    assert told(report) == {
        "possible_duplicate_requests": 0, "unconfirmed_sends": 0, "held_chunks": 0, "adopted_orphans": 1
    }  # fmt: skip


def test_doubts_are_told_to_the_partitions_whose_rows_they_carry(world: World) -> None:
    """Rows of two partitions travelled in the batch, those of a third did not."""
    world.documents({1: "war"}, part="p")
    world.documents({2: "peace", 3: "war and peace"}, part="q")
    world.documents({4: "peace in time of war"}, part="r")
    world.run("r")
    world.emulator.faults.add("drop_before_accept", times=1)

    report = world.run("p", "q", "r")

    assert [part.doubts.n_possible_duplicates for part in report.partitions] == [1, 2, 0]
    assert [part.table_doubts.n_possible_duplicates for part in report.partitions] == [3, 3, 3]
    usd = [part.doubts.possible_duplicate_usd or 0 for part in report.partitions]
    assert usd[1] == pytest.approx(2 * usd[0])
    assert usd[2] == 0
    [unseen] = world.ledger.chunks(PIPELINE, [State.UNSEEN])
    assert sum(usd) == pytest.approx(unseen.max_cost_usd)


def test_held_chunks_are_told(world: World) -> None:
    """With on_unconfirmed='hold' nothing is paid twice, and the run says what waits for a person."""
    world.documents(TWO)
    world.emulator.faults.add("drop_before_accept", times=1)

    report = world.run(on_unconfirmed="hold")

    assert isinstance(report.failure, HeldChunksError)
    assert told(report.partitions[0]) == {
        "possible_duplicate_requests": 0, "unconfirmed_sends": 1, "held_chunks": 1, "adopted_orphans": 0
    }  # fmt: skip


def test_f48_a_batch_of_another_size_is_adopted_once_its_results_prove_it(world: World) -> None:
    """The API miscounted in its answer; the batch is waited for, not sent again, and brought home."""
    world.documents(TWO)
    world.emulator.faults.add("wrong_count_200", times=1, endpoint="create")

    report = world.run()

    assert (report.failure, world.states(), world.n_billed) == (None, [State.APPLIED], [1, 1])
    assert report.partitions[0].doubts.n_adopted == 1


@pytest.mark.verify
def test_f48_a_batch_that_the_api_named_and_never_shows_is_held_for_a_person(world: World) -> None:
    """It is waited for a day; then nobody but a person can tell."""
    world.documents(TWO)
    world.emulator.faults.add("wrong_count_200", times=1, endpoint="create")
    world.emulator.faults.add("404_after_create", seconds=40 * 86_400)
    began = world.clock.now()

    report = world.run(poll_seconds=600, max_poll_seconds=600)

    assert isinstance(report.failure, HeldChunksError)
    assert timedelta(hours=25) <= world.clock.now() - began < timedelta(hours=26)
    assert world.n_accepted == 1


@pytest.mark.sampled
@pytest.mark.parametrize("seconds", [0, 60], ids=["sent-again", "found-in-time"])
@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(Fault(name="404", endpoint="retrieve", times=1), id="listed"),
        pytest.param(Fault(name="list_lag", seconds=7_200), id="named"),
    ],
)
def test_f48_a_batch_that_the_api_named_is_watched_for(world: World, seconds: float, hidden: Fault) -> None:
    """The id that the ledger has of it must not hide it: it is adopted, its answers land, and it is told."""
    world.documents(TWO)
    world.emulator.faults.add("wrong_count_200", times=1, endpoint="create")
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    [chunk] = world.ledger.chunks(PIPELINE, [State.HELD])
    assert chunk.batch_id is not None
    world.ledger.move(chunk.chunk_id, to=State.UNSEEN, note="a person said no", set_free_at=world.clock.now())
    world.clock.sleep(seconds)
    world.emulator.faults.put(hidden)

    report = world.run()

    assert (report.failure, set(world.states())) == (None, {State.APPLIED})
    assert world.n_billed == ([1, 1] if seconds else [2, 2])
    assert told(report.partitions[0]) == {
        "possible_duplicate_requests": 2, "unconfirmed_sends": 0, "held_chunks": 0, "adopted_orphans": 1
    }  # fmt: skip
