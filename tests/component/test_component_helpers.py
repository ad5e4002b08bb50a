"""Dagster's own helpers for the tests of components, and what they leave out."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from dagster.components.testing.test_cases import TestOpCustomization, TestTranslation

from claude_batch_dagster import ClaudeBatchComponent
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.runs.materialization import Materialization
from tests.component.conftest import Load, asset_of


class TestOurTranslation(TestTranslation):
    """`translation:` changes the spec as it does in the official components."""

    def test_translation(
        self,
        attributes: dict[str, Any],
        assertion: Callable[[dg.AssetSpec], bool],
        key_modifier: Callable[[dg.AssetKey], dg.AssetKey] | None,
        load: Load,
    ) -> None:
        """Each attribute that Dagster names."""
        partitioned = {"partition_expr": "part"} if "partitions_def" in attributes else {}
        _, defs = load(translation=attributes, **partitioned)

        key = dg.AssetKey("answers")
        expected = key_modifier(key) if key_modifier else key
        [spec] = asset_of(defs, expected.path[-1]).specs
        assert spec.key == expected
        assert assertion(spec)


class TestOurOp(TestOpCustomization):
    """`op:` changes what runs the asset."""

    def test_op(self, attributes: dict[str, Any], assertion: Callable[[Any], bool], load: Load) -> None:
        """Each attribute that Dagster names."""
        _, defs = load(op=attributes)

        asset = asset_of(defs)
        assert assertion(asset if "backfill_policy" in attributes else asset.op)


def test_a_translated_key_is_where_the_answers_go(load: Load) -> None:
    """A prefix is the schema of the table, as for any asset."""
    _, defs = load(translation={"key_prefix": "silver"})

    assert str(declaration_of(asset_of(defs)).task.target) == "silver.answers"


def test_post_processing_changes_the_asset_and_keeps_what_runs_it(load_text: Any) -> None:
    """It comes after everything, as in any component."""
    _, defs = load_text(
        "type: claude_batch_dagster.ClaudeBatchComponent\n"
        "attributes: {name: answers, upstream: tickets, ask: {labels: {a: b, c: d}}, collect_sensor: true}\n"
        "post_processing:\n"
        "  assets:\n"
        "    - target: '*'\n"
        "      attributes: {group_name: later, tags: {late: 'yes'}}\n"
    )

    asset = asset_of(defs)
    [spec] = asset.specs
    assert (spec.group_name, spec.tags["late"]) == ("later", "yes")
    assert declaration_of(asset).spec.group_name == "later"


def test_tags_that_are_replaced_take_no_job_away(load_text: Any) -> None:
    """A job and a sensor of a component find its asset by its key, which nothing changes any more."""
    _, defs = load_text(
        "type: claude_batch_dagster.ClaudeBatchComponent\n"
        "attributes: {name: answers, upstream: tickets, ask: {labels: {a: b, c: d}}, job: true, collect_sensor: true}\n"
        "post_processing:\n"
        "  assets:\n"
        "    - {target: '*', operation: replace, attributes: {tags: {only: this}}}\n"
    )

    merged = dg.Definitions.merge(
        defs, dg.Definitions(resources={"claude_batch": dg.ResourceDefinition.none_resource()})
    )
    job = merged.resolve_job_def("answers_job")
    assert {key.path[-1] for key in job.asset_layer.selected_asset_keys} == {"answers"}


class Own(ClaudeBatchComponent):
    """A component of somebody's own."""

    def get_asset_spec(self) -> dg.AssetSpec:
        """Add an owner."""
        return super().get_asset_spec().replace_attributes(owners=["team:own"])

    def execute(self, context: dg.AssetExecutionContext, materialization: Materialization) -> Iterator[Any]:
        """Say something before."""
        context.log.info("before")
        yield from super().execute(context, materialization)


def test_a_subclass_may_change_the_spec() -> None:
    """Through `get_asset_spec`, as in the official components."""
    own = Own.from_attributes_dict(attributes={"name": "a", "upstream": "b", "ask": {"labels": {"x": "y", "z": "w"}}})

    [spec] = own.build_asset().specs
    assert spec.owners == ["team:own"]
