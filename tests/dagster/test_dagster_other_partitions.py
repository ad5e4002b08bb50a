"""A table is of the partitions that its definition has: what is of another one leaves, and comes back at no cost."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_submission_asset
from claude_batch_dagster.runs.partitions import all_keys

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

Declare = Callable[..., dg.AssetsDefinition]

EVERY_ROW = [("a", "economy"), ("b", "war"), ("c", "economy"), ("d", "war")]

DECADES = dg.StaticPartitionsDefinition(["179", "180"])
YEARS_AND_LETTERS = dg.MultiPartitionsDefinition(
    {
        "year": dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *"),
        "letter": dg.StaticPartitionsDefinition(["a", "b", "c", "d"]),
    }
)


def run_all(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """Materialize all that a definition has, in one run."""
    keys = all_keys(asset.partitions_def, world.instance)
    world.run(asset, span=(str(keys[0]), str(keys[-1])) if asset.partitions_def else None)


OTHERS: dict[str, dict[str, Any]] = {
    "none": {"partitions_def": None, "partition_expr": None},
    "months": {"partitions_def": dg.MonthlyPartitionsDefinition("1790-01-01", end_date="1794-01-01")},
    "decades": {"partitions_def": DECADES, "partition_expr": "left(strftime(published_on, '%Y'), 3)"},
    "years written otherwise": {
        "partitions_def": dg.TimeWindowPartitionsDefinition(
            start="Y1790", end="Y1794", fmt="Y%Y", cron_schedule="0 0 1 1 *"
        )
    },
    "two dimensions": {
        "partitions_def": YEARS_AND_LETTERS,
        "partition_expr": {"year": "published_on", "letter": "id"},
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize("other", OTHERS)
def test_other_partitions_and_back(world: "DagsterWorld", classification: Declare, other: str) -> None:
    """Whatever the definition becomes, each row stands in the table once, and nothing is asked again."""
    before, after = classification(), classification(**{"partition_expr": "published_on", **OTHERS[other]})

    for asset in (before, after, before):
        run_all(world, asset)
        assert world.answers("id, label") == EVERY_ROW
    assert world.n_posts == 1


def test_what_is_gone_leaves_with_the_first_partition(world: "DagsterWorld", classification: Declare) -> None:
    """One partition of the new definition is enough for rows of the old ones to leave, and that is said."""
    run_all(world, classification(partitions_def=None))

    result = world.run(classification(), partition="1791")

    assert world.answers("id, partition_key") == [("b", "1791"), ("c", "1791")]
    assert world.n_posts == 1
    logged = [entry.user_message for entry in world.instance.all_logs(result.run_id)]
    [said] = [line for line in logged if "left the table" in line]
    assert said.startswith("4 rows of 1 partition that the definition no longer has left the table")


@pytest.mark.verify
def test_a_deleted_dynamic_partition_leaves(world: "DagsterWorld", classification: Declare) -> None:
    """Rows of a dynamic partition that was deleted leave; added again, it has them back."""
    regions = dg.DynamicPartitionsDefinition(name="decades")
    asset = classification(partitions_def=regions, partition_expr="strftime(published_on, '%Y')")
    world.instance.add_dynamic_partitions("decades", ["1790", "1791", "1793"])
    for key in ("1790", "1791", "1793"):
        world.run(asset, partition=key)

    world.instance.delete_dynamic_partition("decades", "1791")
    world.run(asset, partition="1790")
    assert world.answers("id") == [("a",), ("d",)]

    world.instance.add_dynamic_partitions("decades", ["1791"])
    world.run(asset, partition="1791")
    assert world.answers("id, label") == EVERY_ROW
    assert world.n_posts == 3


@pytest.mark.verify
def test_submission_leaves_no_partition_behind_either(world: "DagsterWorld", classification: Declare) -> None:
    """Sending without waiting is held to the same definition."""
    run_all(world, classification(partitions_def=None))
    asset = classification()

    world.run(build_submission_asset(asset), beside=[asset], partition="1793")

    assert world.answers("id") == [("d",)]
    assert world.n_posts == 1


def test_an_instance_that_does_not_know_the_keys_takes_nothing_away(
    world: "DagsterWorld", classification: Declare
) -> None:
    """Dynamic partitions are those of an instance: that of a branch deployment knows nothing of the others'."""
    regions = dg.DynamicPartitionsDefinition(name="elsewhere")
    asset = classification(partitions_def=regions, partition_expr="strftime(published_on, '%Y')")
    world.instance.add_dynamic_partitions("elsewhere", ["1790", "1791", "1793"])
    world.run(asset, span=("1790", "1793"))

    with dg.DagsterInstance.ephemeral() as other:
        other.add_dynamic_partitions("elsewhere", ["1790"])
        replace(world, instance=other).run(asset, partition="1790")

    assert world.answers("id, label") == EVERY_ROW
