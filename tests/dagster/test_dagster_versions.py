"""What Dagster's signs are made of: "code changed", and "upstream data changed" for what is downstream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from claude_batch_dagster.runs import dagster_internals, materialization

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
YEARS = ("1790", "1791", "1792", "1793")
ALL = ("1790", "1793")
FRESH, STALE = "FRESH", "STALE"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the latest materializations are the ones that count."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def documents(years: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return the documents, with a version for each load that says when they have changed."""

    @dg.asset(name="documents", partitions_def=years, config_schema={"load": str})
    def documents(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(data_version=dg.DataVersion(context.op_execution_context.op_config["load"]))

    return documents


@pytest.fixture
def report(years: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return an asset downstream of the answers, by year."""

    @dg.asset(name="report", deps=["answers"], partitions_def=years, code_version="1")
    def report() -> None:
        pass

    return report


def version(world: "DagsterWorld", partition: str | None, key: str = "answers") -> str | None:
    """Return the data version of the latest materialization of a partition."""
    record = world.instance.get_latest_data_version_record(dg.AssetKey(key), partition_key=partition)
    materialized = record.event_log_entry.asset_materialization if record else None
    return (materialized.tags or {}).get("dagster/data_version") if materialized else None


def versions(world: "DagsterWorld") -> list[str | None]:
    """Return the data versions of all years."""
    return [version(world, year) for year in YEARS]


def status(
    world: "DagsterWorld", key: str, partition: str | None, *assets: dg.AssetsDefinition
) -> tuple[str, list[str]]:
    """Return what Dagster says of a partition, and why."""
    graph = dg.Definitions(assets=assets, resources={"claude_batch": world.resource()}).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(world.instance, graph, LoadingContextForTest(world.instance))
    causes = resolver.get_stale_causes(dg.AssetKey(key), partition)
    return resolver.get_status(dg.AssetKey(key), partition).name, [cause.category.name for cause in causes]


def outdated(world: "DagsterWorld", *assets: dg.AssetsDefinition) -> set[str]:
    """Return the years of the report that Dagster calls out of date."""
    return {year for year in YEARS if status(world, "report", year, *assets)[0] == STALE}


def run_each_way(
    world: "DagsterWorld", asset: dg.AssetsDefinition, way: str, beside: Sequence[dg.AssetsDefinition] = ()
) -> None:
    """Materialize all years: in one range, in two, or each alone."""
    spans = {"range": [ALL], "two ranges": [("1790", "1791"), ("1792", "1793")], "alone": []}[way]
    for span in spans:
        world.run(asset, beside=beside, span=span)
    for year in () if spans else YEARS:
        world.run(asset, beside=beside, partition=year)


WAYS = pytest.mark.parametrize("way", ["range", "two ranges", "alone"])


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("range", {"model": "claude-sonnet-5-5"}),
        ("two ranges", {"system": "Sort."}),
        ("alone", {"labels": {"war": "w", "peace": "p"}}),
    ],
    ids=["model", "prompt", "schema"],
)
def test_another_question_is_another_code_version(
    world: "DagsterWorld", classification: Declare, way: str, change: dict[str, str]
) -> None:
    """Dagster says that the code changed of a partition that was asked by another prompt, model or schema."""
    before, after = classification(), classification(**change)

    run_each_way(world, before, way)

    assert {status(world, "answers", year, before)[0] for year in YEARS} == {FRESH}
    assert [status(world, "answers", year, after) for year in YEARS] == [(STALE, ["CODE"])] * 4
    world.run(after, partition="1791")
    assert status(world, "answers", "1791", after) == (FRESH, [])


@WAYS
def test_each_partition_has_its_version(world: "DagsterWorld", classification: Declare, way: str) -> None:
    """Partitions differ in it, and the same answers have the same one however they were run."""
    asset = classification()
    world.run(asset, span=ALL)
    before = versions(world)

    run_each_way(world, asset, way)

    assert versions(world) == before
    assert len(set(before)) == 4


@WAYS
def test_downstream_is_out_of_date_where_answers_changed(
    world: "DagsterWorld", classification: Declare, report: dg.AssetsDefinition, way: str
) -> None:
    """Running again is no change; another answer in one year makes the report of that year out of date, no other."""
    asset = classification()
    run_each_way(world, asset, way)
    run_each_way(world, report, way, beside=[asset])
    assert outdated(world, asset, report) == set()

    run_each_way(world, asset, way)
    assert outdated(world, asset, report) == set()

    world.write("UPDATE public.documents SET text = 'the navy at war' WHERE id = 'c'")
    run_each_way(world, asset, way)
    assert outdated(world, asset, report) == {"1791"}

    world.run(report, beside=[asset], partition="1791")
    assert outdated(world, asset, report) == set()


def test_an_answer_that_comes_late_is_a_change(
    world: "DagsterWorld", classification: Declare, report: dg.AssetsDefinition
) -> None:
    """A row that failed and is answered by a later run changes its partition, though no document has changed."""
    asset = classification(max_attempts=1)
    world.emulator.faults.add("errored")
    world.run(asset, span=ALL)
    world.emulator.faults.clear()
    assert world.statuses() == {"errored": 4}
    world.run(report, beside=[asset], span=ALL)

    world.run(asset, span=("1791", "1792"))

    assert world.statuses() == {"errored": 2, "succeeded": 2}
    assert outdated(world, asset, report) == {"1791"}


def test_without_partitions_too(world: "DagsterWorld", classification: Declare) -> None:
    """The whole table has one version: the same while the answers are, another when one changes."""
    asset = classification(partitions_def=None, partition_expr=None)
    found = []
    for change in ("text", "text", "text || ' on trade'", "'the navy at war'"):
        world.write(f"UPDATE public.documents SET text = {change} WHERE id = 'c'")  # noqa: S608  (the test's own)
        world.run(asset)
        found.append(version(world, None))

    assert found[0] == found[1] == found[2] != found[3]


@WAYS
def test_new_documents_make_the_answers_out_of_date(
    world: "DagsterWorld", classification: Declare, documents: dg.AssetsDefinition, way: str
) -> None:
    """A materialization knows which version of the documents it is of, in a range as well as alone."""
    asset = classification()

    def load(year: str, told: str) -> None:
        config = {"ops": {"documents": {"config": {"load": told}}}}
        dg.materialize([documents], instance=world.instance, partition_key=year, run_config=config)

    for year in YEARS:
        load(year, "first")
    run_each_way(world, asset, way, beside=[documents])
    assert {status(world, "answers", year, asset, documents)[0] for year in YEARS} == {FRESH}
    load("1791", "second")

    assert [status(world, "answers", year, asset, documents)[0] for year in YEARS] == [FRESH, STALE, FRESH, FRESH]


def test_what_a_failing_range_has_done_is_known_as_well(world: "DagsterWorld", classification: Declare) -> None:
    """The partition that was complete has code and data version, as if it had been run alone."""
    asset = classification()
    world.emulator.faults.add("401")
    world.run(asset, span=ALL, raises=False)
    world.emulator.faults.clear()
    done = version(world, "1792")

    world.run(asset, partition="1792")

    assert version(world, "1792") == done
    assert status(world, "answers", "1792", asset)[0] == FRESH
    assert version(world, "1791") is None


def materialized(result: dg.ExecuteInProcessResult, node: str = "answers") -> list[str | None]:
    """Return the partitions that a run has materialized, in order."""
    return [event.partition for event in result.asset_materializations_for_node(node)]


# --- under a later Dagster ----------------------------------------------------------------------------


def dagster_with(**changes: Any) -> Callable[[str], SimpleNamespace]:
    """Return a loader of Dagster's module as it is, but for these names; None for one that is gone."""

    def load(name: str) -> SimpleNamespace:
        names = {**vars(import_module(name)), **changes}
        return SimpleNamespace(**{name: value for name, value in names.items() if value is not None})

    return load


def tags_by_name(
    *, data_version: dg.DataVersion, code_version: str, input_provenance_data: object
) -> Mapping[str, str]:
    """Stand for Dagster's function with another signature."""
    return {"dagster/data_version": data_version.value}


def tags_of_another_kind(*_: object, **__: object) -> Mapping[str, str]:
    """Stand for Dagster's function with other tags."""
    return {"dagster/version": "3"}


def events_in_spite(*args: Any) -> Iterator[str]:
    """Stand for Dagster's function that makes an event of each result, whatever its metadata."""
    yield "materialization"


def events_through_context(context: Any, *_: object) -> Iterator[str]:
    """Stand for Dagster's function that looks into its context before the metadata."""
    yield context.run_id


def no_events(*_: object) -> list[str]:
    """Stand for Dagster's function that events are no longer made by."""
    return []


def no_module(name: str) -> SimpleNamespace:
    """Stand for a Dagster whose module is elsewhere."""
    raise ModuleNotFoundError(name)


KEY, EVENTS = "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION", "_log_materialization_or_observation_events_for_asset"
LATER = {
    "no module": no_module,
    "no key": dagster_with(**{KEY: None}),
    "another key": dagster_with(**{KEY: "__observation__"}),
    "no events": dagster_with(**{EVENTS: None}),
    "events in spite": dagster_with(**{EVENTS: events_in_spite}),
    "events through context": dagster_with(**{EVENTS: events_through_context}),
    "events elsewhere": dagster_with(**{EVENTS: no_events}),
    "no tags": dagster_with(_build_data_version_tags=None),
    "tags by name": dagster_with(_build_data_version_tags=tags_by_name),
    "other tags": dagster_with(_build_data_version_tags=tags_of_another_kind),
    "no provenance": dagster_with(_get_input_provenance_data=None),
    "provenance of more": dagster_with(_get_input_provenance_data=lambda _key, _step, _graph: {}),
}


def test_this_dagster_is_known() -> None:
    """With the Dagster that this is tested with, partitions of a range have versions of their own."""
    assert dagster_internals.internals(dagster_with()) == dagster_internals.internals() == dagster_internals.INTERNALS
    assert dagster_internals.INTERNALS is not None


@pytest.mark.parametrize("load", LATER.values(), ids=LATER.keys())
def test_a_dagster_that_has_changed_inside_is_noticed(load: Callable[[str], SimpleNamespace]) -> None:
    """When the package is imported, not in the middle of a run: whatever is not as it was is not used."""
    assert dagster_internals.internals(load) is None


def provenance_that_fails(*_: object) -> Mapping[dg.AssetKey, object]:
    """Stand for Dagster's function that looks the same and cannot be called any more."""
    raise TypeError("no such step")


KNOWN = dagster_internals.INTERNALS
assert KNOWN is not None
UNCALLABLE = replace(KNOWN, provenance_of=provenance_that_fails)


# Two assets of different backfill policies share a run here, as a person can make them do; Dagster says so.
@pytest.mark.filterwarnings("ignore:Asset job __ephemeral_asset_job__:UserWarning")
@pytest.mark.parametrize(
    ("internals", "n_versions"), [(KNOWN, 4), (None, 1), (UNCALLABLE, 1)], ids=["usual", "unknown", "changed in a run"]
)
def test_each_partition_is_materialized_once(
    world: "DagsterWorld",
    classification: Declare,
    report: dg.AssetsDefinition,
    monkeypatch: pytest.MonkeyPatch,
    internals: dagster_internals.Internals | None,
    n_versions: int,
) -> None:
    """With its metadata; what is downstream in the same run runs too. Also under a Dagster that has changed inside."""
    monkeypatch.setattr(materialization, "INTERNALS", internals)

    result = world.run(classification(), report, span=ALL)

    assert (materialized(result), materialized(result, "report")) == (list(YEARS), list(YEARS))
    rows = [event.metadata["claude_batch/rows"].value for event in result.asset_materializations_for_node("answers")]
    assert rows == [1, 2, 0, 1]
    assert len(set(versions(world))) == n_versions
    assert None not in versions(world)


@pytest.mark.parametrize("internals", [None, UNCALLABLE], ids=["unknown", "changed in a run"])
def test_what_a_failing_range_has_done_is_kept_under_any_dagster(
    world: "DagsterWorld",
    classification: Declare,
    monkeypatch: pytest.MonkeyPatch,
    internals: dagster_internals.Internals | None,
) -> None:
    """The partition that was complete is materialized, with its version, also where Dagster has changed inside."""
    monkeypatch.setattr(materialization, "INTERNALS", internals)
    world.emulator.faults.add("401")

    result = world.run(classification(), span=ALL, raises=False)

    assert materialized(result) == ["1792"]
    assert version(world, "1792") is not None
