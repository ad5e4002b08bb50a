"""Partitions in two dimensions: by time and by a value, or by two values."""

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.asset_key import AssetKey
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey

from claude_batch_dagster import build_collect_sensor, build_new_documents_sensor, build_submission_asset
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.partitions import RANGE_END, RANGE_START
from claude_batch_dagster.runs.ranges import stretches

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld, FrameIOManager

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]

BY = {"date": "published_on", "party": "party"}
KINDS = "id VARCHAR, text VARCHAR, published_on DATE, party VARCHAR"
ROWS = [
    ("a", "tax and tariff", "1790-01-05", "fed"),
    ("b", "army at war", "1791-05-05", "rep"),
    ("c", "taxes on trade", "1791-12-31", "fed"),
    ("d", "a battle", "1793-07-07", "rep"),
    ("e", "navy at war", "1793-12-31", "fed"),
]
WITH_ROWS = {"1790|fed", "1791|fed", "1791|rep", "1793|fed", "1793|rep"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: sensors ask for its runs, and partitions are added to it."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def grid(years: dg.TimeWindowPartitionsDefinition) -> dg.MultiPartitionsDefinition:
    """Return partitions by year and party, named in the other order than Dagster's."""
    return dg.MultiPartitionsDefinition({"party": dg.StaticPartitionsDefinition(["fed", "rep"]), "date": years})


@pytest.fixture
def answers(grid: dg.MultiPartitionsDefinition, classification: Declare, world: "DagsterWorld") -> dg.AssetsDefinition:
    """Return `answers` by year and party, beside documents of both parties."""
    world.write_documents(ROWS, kinds=KINDS)
    return classification(partitions_def=grid, partition_expr=BY)


def partitions(result: dg.ExecuteInProcessResult) -> set[str | None]:
    """Return the partitions that a run has materialized, none of them twice."""
    found = [event.partition for event in result.asset_materializations_for_node("answers")]
    assert len(found) == len(set(found))
    return set(found)


def test_a_row_is_of_a_partition_if_it_is_in_both_dimensions(
    world: "DagsterWorld", answers: dg.AssetsDefinition
) -> None:
    """The time is compared with the window, the value with the key; a run of one asks about its rows and no others."""
    result = world.run(answers, partition="1791|fed")

    assert partitions(result) == {"1791|fed"}
    assert world.answers("id, label, partition_key") == [("c", "economy", "1791|fed")]


@pytest.mark.parametrize(
    ("span", "covered"),
    [
        (("1791|rep", "1793|rep"), {"1791|rep", "1792|rep", "1793|rep"}),
        (("1791|fed", "1791|rep"), {"1791|fed", "1791|rep"}),
        (("1790|fed", "1791|rep"), {"1790|fed", "1790|rep", "1791|fed", "1791|rep"}),
    ],
    ids=["years", "parties", "rectangle"],
)
def test_a_range_is_the_rectangle_between_its_corners(
    world: "DagsterWorld", answers: dg.AssetsDefinition, span: tuple[str, str], covered: set[str]
) -> None:
    """What is asked, what is materialized and what is checked are the same partitions."""
    result = world.run(answers, span=span)

    assert partitions(result) == covered
    assert {key for (key,) in world.answers("partition_key")} == covered & WITH_ROWS
    records = world.instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    data = [record.event_log_entry.get_dagster_event().asset_check_evaluation_data for record in records.records]
    assert {one.partition for one in data if one.check_name == "complete" and one.partition} == covered


def test_a_range_between_the_wrong_corners_is_refused(world: "DagsterWorld", answers: dg.AssetsDefinition) -> None:
    """Neighbors in the list of all partitions are no range: Dagster would run it for no partition at all."""
    with pytest.raises(ConfigurationError, match=r"1790\|rep to 1791\|fed, in which there is no partition"):
        world.run(answers, span=("1790|rep", "1791|fed"))

    assert world.n_posts == 0


SELECTIONS = {
    "all": {f"{year}|{party}" for year in range(1790, 1794) for party in ("fed", "rep")},
    "corner": {"1790|fed", "1790|rep", "1791|rep", "1792|rep"},
    "neighbors in the list": {"1790|rep", "1791|fed"},
    "scattered": {"1790|fed", "1791|rep", "1793|fed"},
}


@pytest.mark.parametrize("wanted", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_a_backfill_covers_what_was_selected(
    world: "DagsterWorld", answers: dg.AssetsDefinition, grid: dg.MultiPartitionsDefinition, wanted: set[str]
) -> None:
    """The runs that Dagster makes of a backfill, under the policy of this asset, are for those partitions."""
    asked = build_run_requests_with_backfill_policies(
        {AssetKeyPartitionKey(AssetKey("answers"), grid.get_partition_key_from_str(key)) for key in wanted},
        AssetGraph.from_assets([answers]),
        world.instance,
    )

    done = [partitions(world.run(answers, span=(one.tags[RANGE_START], one.tags[RANGE_END]))) for one in asked]

    assert set().union(*done) == wanted
    assert sum(map(len, done)) == len(wanted)
    assert len(asked) <= 2 if wanted == SELECTIONS["all"] else True
    assert {key for (key,) in world.answers("partition_key")} == wanted & WITH_ROWS


@pytest.mark.parametrize("wanted", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_stretches_are_ranges(grid: dg.MultiPartitionsDefinition, wanted: set[str]) -> None:
    """What the sensors take for a stretch is what Dagster takes for the range between its ends."""
    found = stretches(grid.get_partition_keys(), wanted, grid=True)

    ranges = [grid.get_partition_keys_in_range(dg.PartitionKeyRange(*ends(stretch))) for stretch in found]
    assert [list(keys) for keys in ranges] == found
    assert sorted(key for keys in ranges for key in keys) == sorted(wanted)


def ends(stretch: list[str | None]) -> tuple[str, str]:
    """Return the first and the last of a stretch."""
    return str(stretch[0]), str(stretch[-1])


@pytest.mark.parametrize("span", [("1791|fed", "1791|fed"), ("1790|fed", "1793|fed"), ("1791|fed", "1791|rep")])
def test_io_managers_select_the_answers(
    world: "DagsterWorld",
    answers: dg.AssetsDefinition,
    grid: dg.MultiPartitionsDefinition,
    frames: "FrameIOManager",
    span: tuple[str, str],
) -> None:
    """dagster-duckdb reads partitions of the table of answers by what its metadata says, alone and in a range."""
    world.run(answers, span=("1790|fed", "1793|rep"))
    read: list[pd.DataFrame] = []

    @dg.asset(partitions_def=grid, ins={"answers": dg.AssetIn(input_manager_key="frames")})
    def report(answers: pd.DataFrame) -> None:
        read.append(answers)

    world.run(report, beside=[answers], span=span, resources={"frames": frames})

    keys = set(grid.get_partition_keys_in_range(dg.PartitionKeyRange(*span)))
    assert set(read[0]["partition_key"]) == keys & WITH_ROWS


def test_io_managers_hand_over_a_partition_of_two_dimensions(
    empty_world: "DagsterWorld", classification: Declare, grid: dg.MultiPartitionsDefinition, frames: "FrameIOManager"
) -> None:
    """Documents that an IO manager keeps by year and party are answered by year and party."""

    @dg.asset(partitions_def=grid, metadata={"partition_expr": BY}, io_manager_key="frames")
    def documents(context: dg.AssetExecutionContext) -> pd.DataFrame:
        date, party = context.partition_key.split("|")
        return pd.DataFrame({"id": [party], "text": ["war"], "published_on": [f"{date}-05-05"], "party": [party]})

    asset = classification(
        upstream=dg.AssetIn("documents", input_manager_key="frames"), partitions_def=grid, partition_expr=BY
    )
    for key in ("1790|fed", "1790|rep", "1791|fed"):
        empty_world.run(documents, partition=key, resources={"frames": frames})
    empty_world.run(asset, beside=[documents], partition="1790|rep", resources={"frames": frames})
    empty_world.run(asset, beside=[documents], span=("1790|fed", "1791|fed"), resources={"frames": frames})

    assert empty_world.answers("id, partition_key") == [("fed", "1790|fed"), ("fed", "1791|fed"), ("rep", "1790|rep")]


def test_two_dimensions_of_values_one_of_them_dynamic(world: "DagsterWorld", classification: Declare) -> None:
    """Values are compared as text, whatever the type of the column."""
    tenants = dg.DynamicPartitionsDefinition(name="tenants")
    world.instance.add_dynamic_partitions("tenants", ["7", "8"])
    grid = dg.MultiPartitionsDefinition({"tenant": tenants, "lang": dg.StaticPartitionsDefinition(["en", "fr"])})
    world.write_documents(
        [("1", "tax", 7, "en"), ("2", "war", 7, "fr"), ("3", "navy", 8, "fr")],
        kinds="id VARCHAR, text VARCHAR, tenant INTEGER, lang VARCHAR",
    )
    asset = classification(partitions_def=grid, partition_expr={"tenant": "tenant", "lang": "lower(lang)"})

    world.run(asset, partition="fr|7")
    world.run(asset, span=("fr|7", "fr|8"))

    assert world.answers("id, partition_key") == [("2", "fr|7"), ("3", "fr|8")]


def test_f117_a_dimension_has_its_time_zone(world: "DagsterWorld", classification: Declare) -> None:
    """A row with a time and a zone is of the day that it is where the dimension is."""
    days = dg.DailyPartitionsDefinition(start_date="2026-03-07", end_date="2026-03-10", timezone="America/New_York")
    grid = dg.MultiPartitionsDefinition({"day": days, "x": dg.StaticPartitionsDefinition(["x"])})
    world.write_documents(
        [("late", "tax", "2026-03-08 04:59:59+00"), ("early", "war", "2026-03-08 05:00:00+00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ',
    )

    asset = classification(partitions_def=grid, partition_expr={"day": '"at"', "x": "'x'"})
    world.run(asset, span=("2026-03-07|x", "2026-03-09|x"))

    assert world.answers("id, partition_key") == [("early", "2026-03-08|x"), ("late", "2026-03-07|x")]


@pytest.mark.parametrize("expr", ["published_on", {"date": "published_on"}, {**BY, "more": "1"}])
def test_each_dimension_needs_its_expression(
    classification: Declare, grid: dg.MultiPartitionsDefinition, expr: Any
) -> None:
    """One for both, one too few and one too many are refused, with what to write."""
    with pytest.raises(ConfigurationError, match=r"by name: partition_expr=\{'date': ..., 'party': ...\}"):
        classification(partitions_def=grid, partition_expr=expr)


def test_one_dimension_takes_one_expression(classification: Declare, years: Any) -> None:
    """An expression by dimension is refused where there are none."""
    with pytest.raises(ConfigurationError, match="needs a MultiPartitionsDefinition"):
        classification(partitions_def=years, partition_expr=BY)


def test_rows_that_lack_a_dimension_are_told(world: "DagsterWorld", answers: dg.AssetsDefinition) -> None:
    """A row without a party is of no partition, and the run log says how many there are."""
    world.write_documents([*ROWS, ("f", "war", "1793-01-01", None), ("g", "war", None, "fed")], kinds=KINDS)

    result = world.run(answers, partition="1793|fed")

    told = [entry.message for entry in world.instance.all_logs(result.run_id)]
    assert any(message.startswith("2 upstream rows belong to no partition") for message in told)


def test_partitions_that_are_done_before_a_failure_know_their_dimensions(
    world: "DagsterWorld", answers: dg.AssetsDefinition
) -> None:
    """What a failing run materializes carries the tags by which Dagster finds it in each dimension."""
    world.emulator.faults.add("401")

    result = world.run(answers, span=("1791|rep", "1793|rep"), raises=False)

    [done] = result.get_asset_materialization_events()
    assert done.partition == "1792|rep", "the others have rows"
    tags = done.materialization.tags or {}
    assert (tags["dagster/partition/date"], tags["dagster/partition/party"]) == ("1792", "rep")


def requests(
    world: "DagsterWorld", asset: dg.AssetsDefinition, sensor: dg.SensorDefinition, more: Collection[Any] = ()
) -> list[dg.RunRequest]:
    """Let a sensor look once, and add the dynamic partitions that it wants."""
    resources = {"claude_batch": world.resource()}
    repository = dg.Definitions(assets=[asset, *more], sensors=[sensor], resources=resources).get_repository_def()
    with dg.build_sensor_context(instance=world.instance, resources=resources, repository_def=repository) as context:
        told = sensor.evaluate_tick(context)
    for request in told.dynamic_partitions_requests or []:
        world.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return list(told.run_requests or [])


def launch(world: "DagsterWorld", asset: dg.AssetsDefinition, asked: dg.RunRequest) -> set[str | None]:
    """Run what a sensor asked for; return what was materialized."""
    return partitions(world.run(asset, span=(asked.tags[RANGE_START], asked.tags[RANGE_END])))


def test_new_documents_start_their_partitions_and_no_other(world: "DagsterWorld", answers: dg.AssetsDefinition) -> None:
    """Each run is for neighbors in one line, and all of them together for the partitions with documents."""
    asked = requests(world, answers, build_new_documents_sensor(answers, settle_seconds=0))

    done = [launch(world, answers, request) for request in asked]

    assert set().union(*done) == WITH_ROWS
    assert sum(map(len, done)) == len(WITH_ROWS)
    assert world.statuses() == {"succeeded": 5}


def test_new_values_of_a_dynamic_dimension_are_added(
    world: "DagsterWorld", classification: Declare, years: Any
) -> None:
    """Those with documents, before their run is asked for; a value that no key can hold is left out."""
    grid = dg.MultiPartitionsDefinition({"date": years, "party": dg.DynamicPartitionsDefinition(name="parties")})
    world.instance.add_dynamic_partitions("parties", ["rep"])
    world.write_documents([*ROWS, ("x", "war", "1790-01-01", "a|b"), ("y", "war", "1700-01-01", "old")], kinds=KINDS)
    asset = classification(partitions_def=grid, partition_expr=BY)

    asked = requests(world, asset, build_new_documents_sensor(asset, settle_seconds=0))

    assert world.instance.get_dynamic_partitions("parties") == ["rep", "fed"]
    assert set().union(*(launch(world, asset, request) for request in asked)) == WITH_ROWS


def test_what_was_submitted_is_collected(world: "DagsterWorld", answers: dg.AssetsDefinition) -> None:
    """The sensor asks for exactly the partitions that were submitted, and then for no more."""
    submission = build_submission_asset(answers)
    sensor = build_collect_sensor(answers)
    for span in (("1790|rep", "1790|rep"), ("1791|fed", "1793|fed")):
        world.run(submission, span=span)

    done = [launch(world, answers, request) for request in requests(world, answers, sensor)]

    assert set().union(*done) == {"1790|rep", "1791|fed", "1792|fed", "1793|fed"}
    assert requests(world, answers, sensor) == []
    assert world.paid_twice == []


def test_a_run_of_the_sensor_keeps_its_rectangle_busy(world: "DagsterWorld", answers: dg.AssetsDefinition) -> None:
    """What a run of the sensor is at work on is not asked for a second time, and nothing else is held up."""
    submission = build_submission_asset(answers)
    for span in (("1790|fed", "1790|rep"), ("1793|rep", "1793|rep")):
        world.run(submission, span=span)
    sensor = build_collect_sensor(answers)
    first, *_ = requests(world, answers, sensor)
    job = dg.Definitions(
        assets=[answers], resources={"claude_batch": world.resource()}
    ).resolve_implicit_global_asset_job_def()
    world.instance.create_run_for_job(job, tags=dict(first.tags), status=dg.DagsterRunStatus.STARTED)

    again = {
        tuple(request.tags[tag] for tag in (RANGE_START, RANGE_END)) for request in requests(world, answers, sensor)
    }

    assert (first.tags[RANGE_START], first.tags[RANGE_END]) == ("1790|fed", "1790|rep")
    assert again == {("1793|rep", "1793|rep")}
