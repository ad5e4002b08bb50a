from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


def partitions(result: dg.ExecuteInProcessResult) -> list[str | None]:
    """Return the partitions that a run has materialized, in order."""
    return [event.partition for event in result.asset_materializations_for_node("answers")]


def test_a_year_is_answered_alone(world: "DagsterWorld", classification: Declare) -> None:
    """A run of one partition asks about its rows and no others."""
    result = world.run(classification(), partition="1791")

    assert partitions(result) == ["1791"]
    assert world.answers("id, label, status, partition_key") == [
        ("b", "war", "succeeded", "1791"),
        ("c", "economy", "succeeded", "1791"),
    ]


def test_a_range_is_one_run_and_one_batch(world: "DagsterWorld", classification: Declare) -> None:
    """A range of partitions materializes each of them, out of one batch."""
    result = world.run(classification(), span=("1790", "1793"))

    assert partitions(result) == ["1790", "1791", "1792", "1793"]
    assert world.n_posts == 1
    assert world.answers("partition_key, id, label") == [
        ("1790", "a", "economy"),
        ("1791", "b", "war"),
        ("1791", "c", "economy"),
        ("1793", "d", "war"),
    ]


@pytest.mark.verify
def test_a_range_of_one(world: "DagsterWorld", classification: Declare) -> None:
    """A range whose ends are the same is that one partition."""
    result = world.run(classification(), span=("1793", "1793"))

    assert partitions(result) == ["1793"]
    assert world.answers("id, partition_key") == [("d", "1793")]


def test_f7_an_empty_partition_says_so(world: "DagsterWorld", classification: Declare) -> None:
    """A partition without rows materializes with 0 rows, a note, passing checks, and without a request."""
    result = world.run(classification(), partition="1792")

    metadata = result.asset_materializations_for_node("answers")[0].metadata
    assert metadata["dagster/partition_row_count"].value == 0
    assert "no upstream rows" in str(metadata["claude_batch/note"].value)
    assert {check.passed for check in result.get_asset_check_evaluations()} == {True}
    assert (world.n_posts, world.answers()) == (0, [])


def test_f117_days_turn_over_in_their_time_zone(world: "DagsterWorld", classification: Declare) -> None:
    """A row with a time and a zone is of the day that it is where the partitions are."""
    world.write_documents(
        [("late", "tax", "2026-03-08 04:59:59+00"), ("early", "war", "2026-03-08 05:00:00+00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ',
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-07", end_date="2026-03-10", timezone="America/New_York")

    world.run(classification(partitions_def=days, partition_expr='"at"'), span=("2026-03-07", "2026-03-09"))

    assert world.answers("id, partition_key") == [("early", "2026-03-08"), ("late", "2026-03-07")]


@pytest.mark.verify
def test_f117_the_hour_that_does_not_exist_is_lost_to_no_day(world: "DagsterWorld", classification: Declare) -> None:
    """The day on which the clocks change has its rows, all of them, once."""
    moments = [f"2026-03-{8 + hour // 24:02d} {hour % 24:02d}:30:00+00" for hour in range(5, 28)]
    world.write_documents(
        [(moment, f"tax {moment}", moment) for moment in moments], kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ'
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-08", end_date="2026-03-09", timezone="America/New_York")

    world.run(classification(partitions_def=days, partition_expr='"at"'), partition="2026-03-08")

    assert sorted(row[0] for row in world.answers("id")) == sorted(moments)


BERLIN = dg.HourlyPartitionsDefinition(
    start_date="2026-10-25-01:00", end_date="2026-10-25-04:00", timezone="Europe/Berlin"
)
"""The night in which the clocks are set back: there are two hours that begin at two."""

NIGHT = {
    "01:30": "2026-10-24 23:30",
    "summer": "2026-10-25 00:30",
    "winter": "2026-10-25 01:30",
    "03:30": "2026-10-25 02:30",
}
"""Rows by the time on the clock, with the moment in UTC."""


def test_f117_the_hour_that_comes_twice_is_two_hours(world: "DagsterWorld", classification: Declare) -> None:
    """A row is of the hour that it happened in, not of the one that a clock shows; without a zone nobody can know."""
    world.write_documents(
        [(name, f"tax {name}", f"{moment}:00+00") for name, moment in NIGHT.items()],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ',
    )
    asset = classification(partitions_def=BERLIN, partition_expr="at")

    world.run(asset, span=("2026-10-25-01:00", "2026-10-25-03:00"))

    assert sorted(world.answers("id, partition_key")) == [
        ("01:30", "2026-10-25-01:00"),
        ("03:30", "2026-10-25-03:00"),
        ("summer", "2026-10-25-02:00"),
        ("winter", "2026-10-25-02:00+0100"),
    ]


@pytest.mark.verify
@pytest.mark.parametrize("zone", ["America/Vancouver", "America/Edmonton", "America/Havana", "Africa/Cairo"])
def test_f117_a_date_is_of_its_own_day_wherever_that_is(
    world: "DagsterWorld", classification: Declare, zone: str
) -> None:
    """Also where those who keep the zones disagree on an hour."""
    dates = ["2026-10-30", "2026-11-01", "2026-11-26", "2026-11-27"]
    world.write_documents([(day, f"tax {day}", day) for day in dates], kinds='id VARCHAR, text VARCHAR, "on" DATE')
    days = dg.DailyPartitionsDefinition(start_date="2026-10-29", end_date="2026-11-29", timezone=zone)

    world.run(classification(partitions_def=days, partition_expr="on"), span=("2026-10-29", "2026-11-28"))

    assert sorted(world.answers("id, partition_key")) == [(day, day) for day in dates]


@pytest.mark.verify
def test_f117_each_row_without_a_zone_is_of_one_of_two_hours(world: "DagsterWorld", classification: Declare) -> None:
    """It is lost to neither, and in neither twice."""
    world.write_documents(
        [("a", "tax", "2026-10-25 02:30:00"), ("b", "war", "2026-10-25 01:59:59")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMP',
    )

    world.run(classification(partitions_def=BERLIN, partition_expr="at"), span=("2026-10-25-01:00", "2026-10-25-03:00"))

    found = dict(world.answers("id, partition_key"))
    assert found.keys() == {"a", "b"}
    assert found["a"].startswith("2026-10-25-02:00")
    assert found["b"] == "2026-10-25-01:00"


@pytest.mark.verify
@pytest.mark.parametrize("name", ["at", "end", "order", "Größe", "from", "_x1"])
def test_the_name_of_a_column_may_be_a_word_of_sql(world: "DagsterWorld", classification: Declare, name: str) -> None:
    """A plain name is that of a column, whatever else it means."""
    world.write_documents([("a", "tax", "x"), ("b", "war", "y")], kinds=f'id VARCHAR, text VARCHAR, "{name}" VARCHAR')
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["x", "y"]), partition_expr=name)

    world.run(asset, partition="y")

    assert world.answers("id, partition_key") == [("b", "y")]


@pytest.mark.verify
def test_f117_times_without_a_zone_are_local(world: "DagsterWorld", classification: Declare) -> None:
    """A time without a zone is read in the zone of the partitions."""
    world.write_documents(
        [("a", "tax", "2026-03-07 23:59:59"), ("b", "war", "2026-03-08 00:00:00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMP',
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-07", end_date="2026-03-10", timezone="Asia/Tokyo")

    world.run(classification(partitions_def=days, partition_expr='"at"'), span=("2026-03-07", "2026-03-08"))

    assert world.answers("id, partition_key") == [("a", "2026-03-07"), ("b", "2026-03-08")]


HOSTILE = ["O'Brien", 'say "no"', "a,b;--", "é ☃", "x" * 200]


@pytest.mark.verify
def test_f118_f119_static_partitions_with_hostile_names(world: "DagsterWorld", classification: Declare) -> None:
    """Names of partitions are data: quotes, commas, semicolons and snowmen select their own rows."""
    world.write_documents(
        [(f"k{n}", f"war {n}", name) for n, name in enumerate(HOSTILE)],
        kinds="id VARCHAR, text VARCHAR, region VARCHAR",
    )
    regions = dg.StaticPartitionsDefinition(HOSTILE)
    asset = classification(partitions_def=regions, partition_expr="region")

    for name in HOSTILE[:2]:
        world.run(asset, partition=name)
    world.run(asset, span=(HOSTILE[2], HOSTILE[-1]))

    assert world.answers("id, partition_key") == [(f"k{n}", name) for n, name in enumerate(HOSTILE)]


@pytest.mark.verify
def test_static_partitions_by_a_number(world: "DagsterWorld", classification: Declare) -> None:
    """An expression that gives a number matches the partition of that name."""
    world.write_documents([("a", "tax", 7), ("b", "war", 8)], kinds="id VARCHAR, text VARCHAR, shard INTEGER")
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["7", "8"]), partition_expr="shard")

    world.run(asset, partition="8")

    assert world.answers("id, partition_key") == [("b", "8")]


def test_dynamic_partitions(world: "DagsterWorld", classification: Declare) -> None:
    """Partitions that came up after the definition are answered, alone and in a range."""
    tenants = dg.DynamicPartitionsDefinition(name="tenants")
    world.instance.add_dynamic_partitions("tenants", ["zeta", "alpha", "mid"])
    world.write_documents(
        [("1", "tax", "zeta"), ("2", "war", "alpha"), ("3", "navy", "mid")],
        kinds="id VARCHAR, text VARCHAR, tenant VARCHAR",
    )
    asset = classification(partitions_def=tenants, partition_expr="tenant")

    world.run(asset, partition="zeta")
    result = world.run(asset, span=("alpha", "mid"))

    assert sorted(str(name) for name in partitions(result)) == ["alpha", "mid"]
    assert world.answers("id, partition_key") == [("1", "zeta"), ("2", "alpha"), ("3", "mid")]


def test_no_partitions(world: "DagsterWorld", classification: Declare) -> None:
    """Without partitions the whole table is answered."""
    result = world.run(classification(partitions_def=None))

    assert partitions(result) == [None]
    assert world.statuses() == {"succeeded": 4}
    assert {row[0] for row in world.answers("partition_key")} == {None}


@pytest.mark.verify
def test_no_partitions_beside_a_neighbor_that_has_some(
    world: "DagsterWorld", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """An asset without partitions is whole also in a run for one partition of its upstream."""

    @dg.asset(name="documents", partitions_def=years)
    def documents() -> None:
        pass

    result = world.run(documents, classification(partitions_def=None, upstream=documents), partition="1790")

    assert partitions(result) == [None]
    assert world.statuses() == {"succeeded": 4}


def test_a_run_must_say_which_partition(world: "DagsterWorld", classification: Declare) -> None:
    """A partitioned asset that is run without a partition is an error, not an empty success."""
    with pytest.raises(Exception, match="partition"):
        world.run(classification())

    assert world.n_posts == 0


def test_f1_a_failing_partition_expression_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """An expression over a column that is not there is named, before anything is sent."""
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr="region")

    with pytest.raises(Exception, match=r"partition_expr '\"region\"' does not work.*Nothing was sent") as caught:
        world.run(asset, partition="x")

    assert (type(caught.value).__name__, world.n_posts) == ("UpstreamError", 0)


@pytest.mark.parametrize("expr", ["'x' ; DROP TABLE public.documents; --", "published_on) --"])
def test_an_expression_is_one_expression(world: "DagsterWorld", classification: Declare, expr: str) -> None:
    """What is no single expression fails, and destroys nothing."""
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr=expr)

    with pytest.raises(Exception, match="partition_expr"):
        world.run(asset, partition="x")

    assert world.read("SELECT count(*) FROM public.documents") == [(4,)]


def test_the_output_tells_io_managers_how_to_select(classification: Declare, years: Any) -> None:
    """The metadata `partition_expr` is a moment for time windows, and the key otherwise."""
    static = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr="region")

    def told(asset: dg.AssetsDefinition) -> Any:
        return asset.metadata_by_key[asset.key].get("partition_expr")

    assert told(classification()) == "try_strptime(partition_key, '%Y')"
    assert told(static) == "partition_key"
    assert told(classification(partitions_def=None)) is None
