"""What a check says of each partition now: the UI and automation go by it, and it is of the latest materialization."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from claude_batch_dagster.checks import ErrorRate
from claude_batch_dagster.runs import check_targets, dagster_internals, materialization

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
YEARS = {"1790", "1791", "1792", "1793"}
ALL = ("1790", "1793")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the latest materializations are the ones that count."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def statuses(world: "DagsterWorld", asset: dg.AssetsDefinition, check: str = "error_rate") -> dict[str, set[str]]:
    """Return the partitions by what the check says of them; those that it says nothing of are not there."""
    key = dg.AssetCheckKey(asset.key, check)
    [found] = world.instance.event_log_storage.get_asset_check_state([(key, asset.partitions_def)]).values()
    by_status = {status.name: set(subset.subset_value.get_partition_keys()) for status, subset in found.subsets.items()}
    return {status: keys for status, keys in by_status.items() if keys}


def spoil(world: "DagsterWorld") -> None:
    """Give 1791 a row that fails."""
    world.write("UPDATE public.documents SET text = NULL WHERE id = 'b'")


WAYS: dict[str, list[dict[str, Any]]] = {
    "each alone": [{"partition": year} for year in sorted(YEARS)],
    "one range": [{"span": ALL}],
    "several runs": [{"span": ("1790", "1791")}, {"span": ("1792", "1793")}],
    "a range of one": [{"span": ("1790", "1792")}, {"span": ("1793", "1793")}],
}


@pytest.mark.parametrize("way", WAYS)
def test_each_partition_has_the_status_of_its_last_run(
    world: "DagsterWorld", classification: Declare, way: str
) -> None:
    """One bad row fails its partition and no other; mended, and run again, all partitions pass."""
    asset = classification()
    spoil(world)

    for run in WAYS[way]:
        world.run(asset, **run)
    first = statuses(world, asset)
    world.write("UPDATE public.documents SET text = 'army at war' WHERE id = 'b'")
    for run in WAYS[way]:
        world.run(asset, **run)

    assert first == {"SUCCEEDED": YEARS - {"1791"}, "FAILED": {"1791"}}
    assert statuses(world, asset) == {"SUCCEEDED": YEARS}


def test_two_dimensions_have_a_status_too(world: "DagsterWorld", classification: Declare) -> None:
    """A range over both dimensions gives each of its partitions the status of that very partition."""
    parties, places = dg.StaticPartitionsDefinition(["fed", "rep"]), dg.StaticPartitionsDefinition(["ny", "va"])
    rows = [("a", "tax", "fed", "ny"), ("b", None, "rep", "va")]
    world.write_documents(rows, kinds="id VARCHAR, text VARCHAR, party VARCHAR, place VARCHAR")
    asset = classification(
        partitions_def=dg.MultiPartitionsDefinition({"party": parties, "place": places}),
        partition_expr={"party": "party", "place": "place"},
    )

    world.run(asset, span=("fed|ny", "rep|va"))

    assert statuses(world, asset) == {"SUCCEEDED": {"fed|ny", "fed|va", "rep|ny"}, "FAILED": {"rep|va"}}


def test_a_range_that_fails_has_a_status_for_what_it_has_done(world: "DagsterWorld", classification: Declare) -> None:
    """The partition that was complete passes; of the others the checks were not executed."""
    asset = classification()
    world.emulator.faults.add("401")

    world.run(asset, span=ALL, raises=False)

    assert statuses(world, asset, "complete") == {"SUCCEEDED": {"1792"}, "EXECUTION_FAILED": YEARS - {"1792"}}


def test_partitions_too_many_to_name_have_a_status_too(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More partitions than a database takes parameters are asked for without their names."""
    asset = classification()
    monkeypatch.setattr(check_targets, "MOST_NAMED", 2)
    world.run(asset, partition="1793")
    spoil(world)

    world.run(asset, span=("1790", "1792"))

    assert statuses(world, asset) == {"SUCCEEDED": YEARS - {"1791"}, "FAILED": {"1791"}}


def n_selects(world: "DagsterWorld", asset: dg.AssetsDefinition) -> int:
    """Count the SELECTs of one run over all partitions, those of Dagster among them."""
    selects: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            selects.append(statement)

    sa.event.listen(Engine, "before_cursor_execute", listen)
    try:
        world.run(asset, span=("00", "39"))
    finally:
        sa.event.remove(Engine, "before_cursor_execute", listen)
    return len(selects)


def test_materializations_are_looked_up_at_once(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That checks point to them costs a range of forty partitions one query, and what Dagster asks for that."""
    parts = dg.StaticPartitionsDefinition([f"{n:02d}" for n in range(40)])
    asset = classification(partitions_def=parts, partition_expr="'00'")
    world.run(asset, span=("00", "39"))

    pointing = n_selects(world, asset)
    monkeypatch.setattr(dagster_internals, "TARGET", None)

    assert 1 <= pointing - n_selects(world, asset) <= 3


# --- under a later Dagster ----------------------------------------------------------------------------


def dagster_with(target: Any) -> Callable[[str], SimpleNamespace]:
    """Return a loader of Dagster's module as it is, but for what points to materializations."""

    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(**{**vars(import_module(name)), "AssetCheckEvaluationTargetMaterializationData": target})

    return load


def no_module(name: str) -> SimpleNamespace:
    """Stand for a Dagster whose module is elsewhere."""
    raise ModuleNotFoundError(name)


def by_place(storage_id: int, run: str, at: float) -> Mapping[str, Any]:
    """Stand for a class with other fields."""
    return {"storage_id": storage_id, "run": run, "at": at}


LATER = {
    "no module": no_module,
    "no class": lambda _name: SimpleNamespace(),
    "other fields": dagster_with(by_place),
    "another kind": dagster_with(SimpleNamespace),
    "nothing": dagster_with(lambda **_: None),
}


def test_this_dagster_is_known() -> None:
    """With the Dagster that this is tested with, checks point to materializations."""
    assert dagster_internals.target_type() is dagster_internals.TARGET is not None


@pytest.mark.parametrize("load", LATER.values(), ids=LATER.keys())
def test_a_dagster_whose_checks_point_otherwise_is_noticed(load: Callable[[str], Any]) -> None:
    """When the package is imported, not in the middle of a run: whatever is not as it was is not used."""
    assert dagster_internals.target_type(load) is None


@pytest.mark.parametrize(
    ("target", "told_now"),
    [(dagster_internals.TARGET, {"SUCCEEDED": YEARS - {"1791"}, "FAILED": {"1791"}}), (None, {})],
    ids=["usual", "unknown"],
)
@pytest.mark.parametrize(("fail", "severity"), [(0.1, "ERROR"), (1.0, "WARN")])
def test_each_partition_of_a_range_has_its_evaluation(
    world: "DagsterWorld",
    classification: Declare,
    monkeypatch: pytest.MonkeyPatch,
    target: Any,
    told_now: dict[str, set[str]],
    fail: float,
    severity: str,
) -> None:
    """One, with its severity, also where nothing points to materializations; only the status is not known there."""
    asset = classification(checks=[ErrorRate(warn=0.02, fail=fail)])
    spoil(world)
    monkeypatch.setattr(dagster_internals, "TARGET", target)

    result = world.run(asset, span=ALL)

    told = [one for one in result.get_asset_check_evaluations() if one.check_name == "error_rate" and one.partition]
    assert sorted((one.partition, one.passed) for one in told) == [(year, year != "1791") for year in sorted(YEARS)]
    assert [one.severity.name for one in told if not one.passed] == [severity]
    assert statuses(world, asset) == told_now


def test_materializations_that_dagster_makes_itself_are_pointed_to_as_well(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where partitions of a range cannot have versions of their own, they have the status of a check all the same."""
    monkeypatch.setattr(materialization, "INTERNALS", None)
    asset = classification()
    spoil(world)

    world.run(asset, span=ALL)

    assert statuses(world, asset) == {"SUCCEEDED": YEARS - {"1791"}, "FAILED": {"1791"}}
