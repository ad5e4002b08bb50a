"""Faults between the table and what Dagster is told of it."""

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import dagster as dg
import pytest

from claude_batch_dagster.core.reporting.report import PartitionReport, Standing
from claude_batch_dagster.runs import materialization
from claude_batch_dagster.runs.metadata import partition_metadata

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


def told(result: dg.ExecuteInProcessResult) -> list[str | None]:
    """Return the partitions that a run has told Dagster of."""
    return [event.partition for event in result.asset_materializations_for_node("answers")]


@pytest.mark.verify
def test_f100_a_run_that_dies_before_its_event_is_told_by_the_next(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers have landed, Dagster has heard nothing: the next run tells it, and sends nothing."""

    def die(_: PartitionReport) -> NoReturn:
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(materialization, "partition_metadata", die)
        first = world.run(classification(), partition="1791", raises=False)
    assert (told(first), world.statuses()) == ([], {"succeeded": 2})

    assert told(world.run(classification(), partition="1791")) == ["1791"]
    assert (world.n_posts, world.statuses()) == (1, {"succeeded": 2})


ODD: dict[str, Any] = {
    "not a number": float("nan"),
    "endless": float("-inf"),
    "huge": 10**40,
    "half a character": "\ud83d",
    "text": "é \x00 \u2028 | \n" * 100_000,
    "nothing": None,
}


def test_f101_figures_and_samples_of_any_kind_are_taken_by_dagster() -> None:
    """NaN, halves of characters and endless text fail no run, and what is kept is JSON that any page can read."""
    labels = Counter({"\ud83d": 2, "a long label" * 20: 3, "a|b\nc": 1})
    standing = Standing(verdicts=Counter({"succeeded": 6}), labels=labels, samples=[ODD, ODD])
    report = PartitionReport(
        partition_key=None, n_expected=6, n_asked=6, n_shared=0, standing=standing, cost_usd=None, live_cost_usd=None,
        run_cost_usd=None, seconds_to_answer=None,
    )  # fmt: skip

    @dg.asset
    def answers() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=partition_metadata(report))

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([answers], instance=instance).success
        kept = instance.get_latest_materialization_event(dg.AssetKey("answers"))

    assert kept is not None
    written = dg.serialize_value(kept)
    assert len(written.encode()) < 20_000
    json.loads(written, parse_constant=pytest.fail)
