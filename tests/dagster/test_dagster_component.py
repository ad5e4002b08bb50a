"""An asset that was declared as a component runs as any other."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from claude_batch_dagster import ClaudeBatchComponent
from claude_batch_dagster.runs.materialization import Materialization

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

ATTRIBUTES = {
    "name": "answers",
    "upstream": "documents",
    "ask": {"labels": {"economy": "tax tariff trade money", "war": "army navy war battle"}},
}


class Announced(ClaudeBatchComponent):
    """A component of somebody's own."""

    def execute(self, context: dg.AssetExecutionContext, materialization: Materialization) -> Iterator[Any]:
        """Say something before and after."""
        context.log.info("announced")
        yield from super().execute(context, materialization)
        context.log.info("and done")


def test_the_component_answers_rows(world: "DagsterWorld") -> None:
    """Each document gets its label, once: a second run sends nothing."""
    asset = ClaudeBatchComponent.from_attributes_dict(attributes=ATTRIBUTES).build_asset()

    assert world.run(asset).success
    assert world.run(asset).success

    assert world.answers("id, label") == [("a", "economy"), ("b", "war"), ("c", "economy"), ("d", "war")]
    assert world.n_posts == 1


def test_a_subclass_may_do_something_before_and_after(world: "DagsterWorld") -> None:
    """`execute` runs in the step, around what the component does."""
    asset = Announced.from_attributes_dict(attributes=ATTRIBUTES).build_asset()

    result = world.run(asset)

    logged = [entry.user_message for entry in world.instance.all_logs(result.run_id)]
    assert [text for text in logged if text in {"announced", "and done"}] == ["announced", "and done"]
    assert world.statuses() == {"succeeded": 4}
