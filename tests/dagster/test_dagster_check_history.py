"""The history of a check as its page shows it, partition by partition, however the partitions were run."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
YEARS = ("1790", "1791", "1792", "1793")
ALL = ("1790", "1793")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the history is that of all its runs."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def history(world: "DagsterWorld", check: str) -> dict[str | None, list[str]]:
    """Return what the check's page lists for each partition, and for runs as a whole (None): latest first."""
    key = dg.AssetCheckKey(dg.AssetKey("answers"), check)
    found: dict[str | None, list[str]] = {}
    for record in world.instance.event_log_storage.get_asset_check_execution_history(key, limit=100):
        found.setdefault(record.partition, []).append(record.status.name)
    return found


WAYS: dict[str, list[dict[str, Any]]] = {
    "each alone": [{"partition": year} for year in YEARS],
    "one range": [{"span": ALL}],
    "several runs": [{"span": ("1790", "1791")}, {"span": ("1792", "1793")}],
    "a range of one": [{"span": ("1790", "1792")}, {"span": ("1793", "1793")}],
}


@pytest.mark.parametrize("way", WAYS)
def test_each_partition_has_one_entry_for_each_time_it_was_run(
    world: "DagsterWorld", classification: Declare, way: str
) -> None:
    """The partition with a bad row failed, and passes once that is mended; none is left as planned or skipped."""
    asset = classification()
    good = {year: ["SUCCEEDED"] for year in YEARS}
    world.write("UPDATE public.documents SET text = NULL WHERE id = 'b'")

    for run in WAYS[way]:
        world.run(asset, **run)
    first = history(world, "error_rate")
    world.write("UPDATE public.documents SET text = 'army at war' WHERE id = 'b'")
    for run in WAYS[way]:
        world.run(asset, **run)
    second = history(world, "error_rate")

    assert {key: told for key, told in first.items() if key} == {**good, "1791": ["FAILED"]}
    assert {key: told for key, told in second.items() if key} == {
        **{year: ["SUCCEEDED"] * 2 for year in YEARS},
        "1791": ["SUCCEEDED", "FAILED"],
    }


def test_a_check_of_the_table_has_one_entry_for_each_run(world: "DagsterWorld", classification: Declare) -> None:
    """`retention` is of the whole table: its results are those of runs, not of partitions."""
    asset = classification()

    world.run(asset, span=ALL)
    world.run(asset, partition="1790")

    found = history(world, "retention")
    assert found.pop(None) == ["SUCCEEDED"] * 2
    # Dagster plans a check for the partitions of a run even where it has none; such entries are no results.
    assert {status for told in found.values() for status in told} <= {"PLANNED"}


def test_a_range_that_fails_leaves_the_history_right(world: "DagsterWorld", classification: Declare) -> None:
    """The partition that was complete has its entry; those that were not are no success."""
    world.emulator.faults.add("401")

    world.run(classification(), span=ALL, raises=False)

    found = history(world, "complete")
    assert found["1792"] == ["SUCCEEDED"]
    assert all("SUCCEEDED" not in told for year, told in found.items() if year in {"1790", "1791", "1793"})


class OldSpec(dg.AssetCheckSpec):
    """The specification of a check in a Dagster that has no partitions for it."""

    def __new__(cls, name: str, *, asset: Any, description: str | None = None, blocking: bool = False) -> Self:
        """Take what there was before, and nothing else."""
        made: Self = super().__new__(cls, name, asset=asset, description=description, blocking=blocking)
        return made


def test_a_dagster_without_checks_by_partition(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks by partition are a preview: where they are missing the asset works, and each run is judged as a whole."""
    monkeypatch.setattr(dg, "AssetCheckSpec", OldSpec)
    world.write("UPDATE public.documents SET text = NULL WHERE id = 'b'")

    result = world.run(classification(), span=ALL)

    told = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert (told["error_rate"].passed, told["error_rate"].partition) == (False, None)
    assert told["error_rate"].description == "1 of 4 partitions does not pass; the worst is 1791"
    assert history(world, "error_rate")[None] == ["FAILED"]
    assert len(result.get_asset_materialization_events()) == 4
