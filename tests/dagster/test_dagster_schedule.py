"""The schedule: what each tick asks for, on time or late, whatever the partitions are."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_batch_schedule
from claude_batch_dagster.runs.partitions import RANGE_END, RANGE_START

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]

YEARS = dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *")
PARTIES = dg.StaticPartitionsDefinition(["fed", "rep", "whig"])
READERS = dg.DynamicPartitionsDefinition(name="readers")
ONE = dg.StaticPartitionsDefinition(["x"])

LATE = datetime(1793, 7, 8, 6, tzinfo=UTC)
"""A tick that was due when 1792 was the latest year that is over; today all four are."""

KINDS = "id VARCHAR, text VARCHAR, published_on DATE, party VARCHAR"
ROWS = [
    ("a", "tax and tariff", "1791-01-05", "rep"),
    ("b", "army at war", "1792-05-05", "fed"),
    ("c", "taxes on trade", "1792-12-31", "whig"),
    ("d", "a battle", "1793-07-07", "rep"),
]


@pytest.fixture
def kept() -> Iterator[dg.DagsterInstance]:
    """Return an instance that other processes could open: a schedule is given no other."""
    with dg.instance_for_test() as instance:
        yield instance


class Schedule:
    """The schedule of an asset, tick by tick."""

    def __init__(self, world: "DagsterWorld", instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> None:
        self.instance = instance
        self.schedule = build_batch_schedule(asset, "0 6 * * *")
        self.repository = dg.Definitions(
            assets=[asset], schedules=[self.schedule], resources={"claude_batch": world.resource()}
        ).get_repository_def()
        self.why: str | None = None

    def tick(self, at: datetime = LATE) -> list[Any]:
        """Return the partition, or the first and the last one, of each run asked for by the tick of a moment."""
        with dg.build_schedule_context(
            instance=self.instance, repository_def=self.repository, scheduled_execution_time=at
        ) as context:
            told = self.schedule.evaluate_tick(context)
        requests, self.why = told.run_requests or [], told.skip_message
        assert {request.tags["dagster/max_runtime"] for request in requests} <= {"108000"}
        return [_span(request) for request in requests]


def _span(request: dg.RunRequest) -> Any:
    first = request.tags.get(RANGE_START)
    return (first, request.tags[RANGE_END]) if first else request.partition_key


def test_the_schedule_asks_for_the_latest_time_window(
    world: "DagsterWorld", classification: Declare, kept: dg.DagsterInstance
) -> None:
    """On time it is the latest year there is."""
    schedule = Schedule(world, kept, classification())

    assert schedule.tick(datetime.now(UTC)) == ["1793"]


def test_a_late_tick_asks_for_what_was_the_latest_then(
    world: "DagsterWorld", classification: Declare, kept: dg.DagsterInstance
) -> None:
    """Whichever tick is made up for after the daemon was down, it has its own year, and Dagster does not refuse it."""
    schedule = Schedule(world, kept, classification())

    asked = [schedule.tick(LATE.replace(year=year)) for year in (1791, 1792, 1793)]

    assert asked == [["1790"], ["1791"], ["1792"]]


@pytest.mark.parametrize(
    ("partitions_def", "asked"),
    [
        (None, [None]),
        (PARTIES, [("fed", "whig")]),
        (READERS, [("bob", "a|b")]),
        ({"party": PARTIES, "day": YEARS}, [("1792|fed", "1792|whig")]),
        ({"day": YEARS, "x": ONE}, [("1792|x", "1792|x")]),
        ({"party": PARTIES, "x": ONE}, [("fed|x", "whig|x")]),
        ({"party": PARTIES, "reader": READERS}, [("fed|bob", "whig|alice")]),
    ],
    ids=["whole", "static", "dynamic", "time and static", "one cell", "two static", "static and dynamic"],
)
def test_the_schedule_asks_for_all_that_is_current(
    world: "DagsterWorld", classification: Declare, kept: dg.DagsterInstance, partitions_def: Any, asked: list[Any]
) -> None:
    """In two dimensions every cell of the latest time window; without time windows every partition there is."""
    kept.add_dynamic_partitions("readers", ["bob", "alice", "a|b"])
    expr: Any = None if partitions_def is None else "'x'"
    if isinstance(partitions_def, dict):
        expr = {name: "published_on" if name == "day" else "'x'" for name in partitions_def}
        partitions_def = dg.MultiPartitionsDefinition(partitions_def)

    schedule = Schedule(world, kept, classification(partitions_def=partitions_def, partition_expr=expr))

    assert schedule.tick() == asked


@pytest.mark.parametrize(
    "partitions_def",
    [READERS, dg.MultiPartitionsDefinition({"day": YEARS, "reader": READERS})],
    ids=["one dimension", "two"],
)
def test_without_partitions_the_schedule_skips(
    world: "DagsterWorld", classification: Declare, kept: dg.DagsterInstance, partitions_def: Any
) -> None:
    """Dynamic partitions that nobody has added yet are no failure."""
    several = isinstance(partitions_def, dg.MultiPartitionsDefinition)
    expr = {"day": "published_on", "reader": "id"} if several else "id"
    schedule = Schedule(world, kept, classification(partitions_def=partitions_def, partition_expr=expr))

    assert (schedule.tick(), schedule.why) == ([], "There is no partition yet.")


@pytest.mark.parametrize(
    ("partitions_def", "expr", "answered"),
    [
        (PARTIES, "party", ["a", "b", "c", "d"]),
        (
            dg.MultiPartitionsDefinition({"day": YEARS, "party": PARTIES}),
            {"day": "published_on", "party": "party"},
            ["b", "c"],
        ),
        (
            dg.MultiPartitionsDefinition({"id": dg.StaticPartitionsDefinition(["a", "c", "d"]), "party": PARTIES}),
            {"id": "id", "party": "party"},
            ["a", "c", "d"],
        ),
    ],
    ids=["static", "time and static", "two static"],
)
def test_a_run_of_the_schedule_answers_all_of_it_and_once(
    world: "DagsterWorld",
    classification: Declare,
    kept: dg.DagsterInstance,
    partitions_def: Any,
    expr: Any,
    answered: list[str],
) -> None:
    """What is between the two partitions asked for is materialized in one batch; the next tick sends nothing."""
    world.write_documents(ROWS, kinds=KINDS)
    asset = classification(partitions_def=partitions_def, partition_expr=expr)

    for _ in range(2):
        [span] = Schedule(world, kept, asset).tick()
        world.run(asset, span=span)

    assert ([key for (key,) in world.answers("id")], world.n_posts) == (answered, 1)
