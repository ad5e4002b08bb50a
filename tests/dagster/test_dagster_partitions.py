from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import Scene

Declare = Callable[..., dg.AssetsDefinition]


def partitions(result: dg.ExecuteInProcessResult) -> list[str | None]:
    """Return the partitions that a run has materialized, in order."""
    return [event.partition for event in result.asset_materializations_for_node("answers")]


def test_a_year_is_answered_alone(scene: "Scene", classification: Declare) -> None:
    """A run of one partition asks about its rows and no others."""
    result = scene.run(classification(), partition="1791")

    assert partitions(result) == ["1791"]
    assert scene.answers("id, label, status, partition_key") == [
        ("b", "war", "succeeded", "1791"),
        ("c", "economy", "succeeded", "1791"),
    ]


def test_a_range_is_one_run_and_one_batch(scene: "Scene", classification: Declare) -> None:
    """A range of partitions materializes each of them, out of one batch."""
    result = scene.run(classification(), span=("1790", "1793"))

    assert partitions(result) == ["1790", "1791", "1792", "1793"]
    assert scene.n_posts == 1
    assert scene.answers("partition_key, id, label") == [
        ("1790", "a", "economy"),
        ("1791", "b", "war"),
        ("1791", "c", "economy"),
        ("1793", "d", "war"),
    ]


def test_a_range_of_one(scene: "Scene", classification: Declare) -> None:
    """A range whose ends are the same is that one partition."""
    result = scene.run(classification(), span=("1793", "1793"))

    assert partitions(result) == ["1793"]
    assert scene.answers("id, partition_key") == [("d", "1793")]


def test_f7_an_empty_partition_says_so(scene: "Scene", classification: Declare) -> None:
    """A partition without rows materializes with 0 rows, a note, passing checks, and without a request."""
    result = scene.run(classification(), partition="1792")

    metadata = result.asset_materializations_for_node("answers")[0].metadata
    assert metadata["dagster/partition_row_count"].value == 0
    assert "no upstream rows" in str(metadata["claude_batch/note"].value)
    assert {check.passed for check in result.get_asset_check_evaluations()} == {True}
    assert (scene.n_posts, scene.answers()) == (0, [])


def test_f117_days_turn_over_in_their_time_zone(scene: "Scene", classification: Declare) -> None:
    """A row with a time and a zone is of the day that it is where the partitions are."""
    scene.write_documents(
        [("late", "tax", "2026-03-08 04:59:59+00"), ("early", "war", "2026-03-08 05:00:00+00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ',
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-07", end_date="2026-03-10", timezone="America/New_York")

    scene.run(classification(partitions_def=days, partition_expr='"at"'), span=("2026-03-07", "2026-03-09"))

    assert scene.answers("id, partition_key") == [("early", "2026-03-08"), ("late", "2026-03-07")]


def test_f117_the_hour_that_does_not_exist_is_lost_to_no_day(scene: "Scene", classification: Declare) -> None:
    """The day on which the clocks change has its rows, all of them, once."""
    moments = [f"2026-03-{8 + hour // 24:02d} {hour % 24:02d}:30:00+00" for hour in range(5, 28)]
    scene.write_documents(
        [(moment, f"tax {moment}", moment) for moment in moments], kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMPTZ'
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-08", end_date="2026-03-09", timezone="America/New_York")

    scene.run(classification(partitions_def=days, partition_expr='"at"'), partition="2026-03-08")

    assert sorted(row[0] for row in scene.answers("id")) == sorted(moments)


def test_f117_times_without_a_zone_are_local(scene: "Scene", classification: Declare) -> None:
    """A time without a zone is read in the zone of the partitions."""
    scene.write_documents(
        [("a", "tax", "2026-03-07 23:59:59"), ("b", "war", "2026-03-08 00:00:00")],
        kinds='id VARCHAR, text VARCHAR, "at" TIMESTAMP',
    )
    days = dg.DailyPartitionsDefinition(start_date="2026-03-07", end_date="2026-03-10", timezone="Asia/Tokyo")

    scene.run(classification(partitions_def=days, partition_expr='"at"'), span=("2026-03-07", "2026-03-08"))

    assert scene.answers("id, partition_key") == [("a", "2026-03-07"), ("b", "2026-03-08")]


HOSTILE = ["O'Brien", 'say "no"', "a,b;--", "é ☃", "x" * 200]


def test_f118_f119_static_partitions_with_hostile_names(scene: "Scene", classification: Declare) -> None:
    """Names of partitions are data: quotes, commas, semicolons and snowmen select their own rows."""
    scene.write_documents(
        [(f"k{n}", f"war {n}", name) for n, name in enumerate(HOSTILE)],
        kinds="id VARCHAR, text VARCHAR, region VARCHAR",
    )
    regions = dg.StaticPartitionsDefinition(HOSTILE)
    asset = classification(partitions_def=regions, partition_expr="region")

    for name in HOSTILE[:2]:
        scene.run(asset, partition=name)
    scene.run(asset, span=(HOSTILE[2], HOSTILE[-1]))

    assert scene.answers("id, partition_key") == [(f"k{n}", name) for n, name in enumerate(HOSTILE)]


def test_static_partitions_by_a_number(scene: "Scene", classification: Declare) -> None:
    """An expression that gives a number matches the partition of that name."""
    scene.write_documents([("a", "tax", 7), ("b", "war", 8)], kinds="id VARCHAR, text VARCHAR, shard INTEGER")
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["7", "8"]), partition_expr="shard")

    scene.run(asset, partition="8")

    assert scene.answers("id, partition_key") == [("b", "8")]


def test_dynamic_partitions(scene: "Scene", classification: Declare) -> None:
    """Partitions that came up after the definition are answered, alone and in a range."""
    tenants = dg.DynamicPartitionsDefinition(name="tenants")
    scene.instance.add_dynamic_partitions("tenants", ["zeta", "alpha", "mid"])
    scene.write_documents(
        [("1", "tax", "zeta"), ("2", "war", "alpha"), ("3", "navy", "mid")],
        kinds="id VARCHAR, text VARCHAR, tenant VARCHAR",
    )
    asset = classification(partitions_def=tenants, partition_expr="tenant")

    scene.run(asset, partition="zeta")
    result = scene.run(asset, span=("alpha", "mid"))

    assert sorted(str(name) for name in partitions(result)) == ["alpha", "mid"]
    assert scene.answers("id, partition_key") == [("1", "zeta"), ("2", "alpha"), ("3", "mid")]


def test_no_partitions(scene: "Scene", classification: Declare) -> None:
    """Without partitions the whole table is answered."""
    result = scene.run(classification(partitions_def=None))

    assert partitions(result) == [None]
    assert scene.statuses() == {"succeeded": 4}
    assert {row[0] for row in scene.answers("partition_key")} == {None}


def test_no_partitions_beside_a_neighbor_that_has_some(
    scene: "Scene", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """An asset without partitions is whole also in a run for one partition of its upstream."""

    @dg.asset(name="documents", partitions_def=years)
    def documents() -> None:
        pass

    result = scene.run(documents, classification(partitions_def=None, upstream=documents), partition="1790")

    assert partitions(result) == [None]
    assert scene.statuses() == {"succeeded": 4}


def test_a_run_must_say_which_partition(scene: "Scene", classification: Declare) -> None:
    """A partitioned asset that is run without a partition is an error, not an empty success."""
    with pytest.raises(Exception, match="partition"):
        scene.run(classification())

    assert scene.n_posts == 0


def test_f1_a_failing_partition_expression_sends_nothing(scene: "Scene", classification: Declare) -> None:
    """An expression over a column that is not there is named, before anything is sent."""
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr="region")

    with pytest.raises(Exception, match=r"partition_expr 'region' does not work.*Nothing was sent") as caught:
        scene.run(asset, partition="x")

    assert (type(caught.value).__name__, scene.n_posts) == ("UpstreamError", 0)


@pytest.mark.parametrize("expr", ["'x' ; DROP TABLE public.documents; --", "published_on) --"])
def test_an_expression_is_one_expression(scene: "Scene", classification: Declare, expr: str) -> None:
    """What is no single expression fails, and destroys nothing."""
    asset = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr=expr)

    with pytest.raises(Exception, match="partition_expr"):
        scene.run(asset, partition="x")

    assert scene.read("SELECT count(*) FROM public.documents") == [(4,)]


def test_the_output_tells_io_managers_how_to_select(classification: Declare, years: Any) -> None:
    """The metadata `partition_expr` is a moment for time windows, and the key otherwise."""
    static = classification(partitions_def=dg.StaticPartitionsDefinition(["x"]), partition_expr="region")

    def told(asset: dg.AssetsDefinition) -> Any:
        return asset.metadata_by_key[asset.key].get("partition_expr")

    assert told(classification()) == "strptime(partition_key, '%Y')"
    assert told(static) == "partition_key"
    assert told(classification(partitions_def=None)) is None
