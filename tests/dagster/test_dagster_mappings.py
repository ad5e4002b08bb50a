"""Answers that are partitioned otherwise than the documents they are of."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pytest

from claude_batch_dagster import build_submission_asset

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld, FrameIOManager

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]

MONTHS = dg.MonthlyPartitionsDefinition(start_date="1790-01-01", end_date="1794-01-01")
YEAR_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
PARTIES = dg.StaticPartitionsDefinition(["fed", "rep"])
BY_YEAR = [("a", "1790"), ("b", "1791"), ("c", "1791"), ("d", "1793")]


def documents_by(partitions_def: dg.PartitionsDefinition[str] | None, *, kept: bool = False) -> dg.AssetsDefinition:
    """Return the asset whose table the documents are; `kept` by dagster-duckdb's IO manager, if told so."""

    @dg.asset(
        name="documents",
        partitions_def=partitions_def,
        metadata={"partition_expr": "published_on"},
        io_manager_key="frames" if kept else None,
    )
    def documents() -> None:
        pass

    return documents


def parents(world: "DagsterWorld", *assets: dg.AssetsDefinition, partition: str) -> list[str]:
    """Load the definitions, and return the partitions of `documents` that a partition of `answers` depends on."""
    graph = dg.Definitions(assets=assets, resources={"claude_batch": world.resource()}).resolve_asset_graph()
    mapped = graph.get_parent_partition_keys_for_child(partition, dg.AssetKey("documents"), dg.AssetKey("answers"))
    return sorted(mapped.partitions_subset.get_partition_keys())


GRID = dg.MultiPartitionsDefinition(
    {
        "date": dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *"),
        "party": PARTIES,
    }
)


@pytest.mark.parametrize(
    ("partitions_def", "mapping", "expected"),
    [
        (MONTHS, None, [f"1791-{month:02d}-01" for month in range(1, 13)]),
        (MONTHS, dg.LastPartitionMapping(), ["1793-12-01"]),
        (MONTHS, YEAR_BEFORE, [f"1790-{month:02d}-01" for month in range(1, 13)]),
        (PARTIES, dg.AllPartitionMapping(), ["fed", "rep"]),
        (PARTIES, dg.SpecificPartitionsPartitionMapping(["rep"]), ["rep"]),
        (GRID, None, ["1791|fed", "1791|rep"]),
        (None, None, None),
    ],
    ids=["months", "last", "the year before", "all", "one of them", "dimension", "none"],
)  # fmt: skip
def test_a_year_of_documents_that_are_partitioned_otherwise(
    world: "DagsterWorld",
    classification: Declare,
    partitions_def: dg.PartitionsDefinition[str] | None,
    mapping: dg.PartitionMapping | None,
    expected: list[str] | None,
) -> None:
    """The mapping says what Dagster waits for; `partition_expr` says which rows are of a year, as ever."""
    documents = documents_by(partitions_def)
    # Some mappings are tuples without members, and so as false as none.
    dep = documents if mapping is None else dg.AssetDep(documents, partition_mapping=mapping)
    asset = classification(upstream=dep)

    if expected is not None:
        assert parents(world, asset, documents, partition="1791") == expected
    world.run(asset, beside=[documents], partition="1791")
    assert world.answers("id, partition_key") == BY_YEAR[1:3]
    world.run(asset, beside=[documents], span=("1790", "1793"))
    assert world.answers("id, partition_key") == BY_YEAR
    assert world.paid_twice == []


@pytest.mark.parametrize("mapping", [None, dg.AllPartitionMapping()], ids=["the year's months", "all months"])
def test_months_that_an_io_manager_keeps(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, mapping: dg.PartitionMapping | None
) -> None:
    """Of what the IO manager hands over, the year's months or more, only rows of the year are asked."""
    documents = documents_by(MONTHS, kept=True)
    upstream = dg.AssetIn("documents", input_manager_key="frames", partition_mapping=mapping)
    asset = classification(upstream=upstream)

    world.run(asset, beside=[documents], partition="1791", resources={"frames": frames})
    assert world.answers("id, partition_key") == BY_YEAR[1:3]
    world.run(asset, beside=[documents], span=("1790", "1793"), resources={"frames": frames})
    assert world.answers("id, partition_key") == BY_YEAR


def test_a_whole_table_of_documents_by_month(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare
) -> None:
    """Answers without partitions are of all the months that the IO manager hands over."""
    documents = documents_by(MONTHS, kept=True)
    asset = classification(
        upstream=dg.AssetIn("documents", input_manager_key="frames"), partitions_def=None, partition_expr=None
    )

    world.run(asset, beside=[documents], resources={"frames": frames})

    assert world.statuses() == {"succeeded": 4}


def test_a_submission_waits_for_the_same_partitions(world: "DagsterWorld", classification: Declare) -> None:
    """The submission asset has the mapping of the asset that it submits for."""
    documents = documents_by(MONTHS)
    asset = classification(upstream=dg.AssetDep(documents, partition_mapping=YEAR_BEFORE))
    submission = build_submission_asset(asset)

    graph = dg.Definitions(
        assets=[asset, documents, submission], resources={"claude_batch": world.resource()}
    ).resolve_asset_graph()

    assert graph.get_partition_mapping(submission.key, documents.key) == YEAR_BEFORE


def test_a_year_downstream_of_months_of_answers(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """An asset by year that dagster-duckdb hands answers by month to gets those of its year."""
    asset = classification(partitions_def=MONTHS, partition_expr="published_on")
    world.run(asset, span=("1790-01-01", "1793-12-01"))
    read: list[pd.DataFrame] = []

    @dg.asset(partitions_def=years, ins={"answers": dg.AssetIn(input_manager_key="frames")})
    def report(answers: pd.DataFrame) -> None:
        read.append(answers)

    world.run(report, beside=[asset], partition="1791", resources={"frames": frames})

    assert sorted(read[0]["id"]) == ["b", "c"]
