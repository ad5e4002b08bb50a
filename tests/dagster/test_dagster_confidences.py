"""A label with how sure Claude is of it, and with its second choice."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster.assets.labels import label_model
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.testing import EmulatedClaude

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

SURE: dict[str, Any] = {"label": "war", "confidence": 0.87, "runner_up": "other", "runner_up_confidence": 0.1}
COLUMNS = "id, label, confidence, runner_up, runner_up_confidence, status"


def test_a_label_comes_with_how_sure_it_is(
    world: "DagsterWorld", classification: Declare, claude: EmulatedClaude
) -> None:
    """Four columns behind the key, in their order; nothing else can be meant where there is no second choice."""
    claude.answers(lambda _: True, **SURE)
    claude.answers("battle", label="war", confidence=1, runner_up=None, runner_up_confidence=0)

    world.run(classification(partitions_def=None, confidences=True), base_url=claude.base_url)

    assert [name for name, *_ in world.read("DESCRIBE public.answers")][:6] == COLUMNS.split(", ")
    kinds = dict(world.read("SELECT column_name, column_type FROM (DESCRIBE public.answers)"))
    assert [kinds[name] for name in SURE] == ["VARCHAR", "DOUBLE", "VARCHAR", "DOUBLE"]
    assert world.answers(COLUMNS) == [
        *((key, "war", 0.87, "other", 0.1, "succeeded") for key in "abc"),
        ("d", "war", 1.0, None, 0.0, "succeeded"),
    ]


def test_what_the_emulator_makes_up_fits(world: "DagsterWorld", classification: Declare) -> None:
    """Some numbers between 0 and 1, and labels of the list."""
    world.run(classification(partitions_def=None, confidences=True))

    assert world.statuses() == {"succeeded": 4}
    for confidence, runner_up, other in world.read(
        "SELECT confidence, runner_up, runner_up_confidence FROM public.answers"
    ):
        assert 0 <= confidence <= 1
        assert runner_up in {"economy", "war", "other", None}
        assert 0 <= other <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 87},
        {"confidence": -0.1},
        {"confidence": "87%"},
        {"confidence": None},
        {"runner_up_confidence": 1.01},
        {"runner_up": "peace"},
    ],
    ids=str,
)
def test_a_confidence_that_is_none_is_no_answer(
    world: "DagsterWorld", classification: Declare, claude: EmulatedClaude, wrong: dict[str, Any]
) -> None:
    """Nobody knows what was meant by it; the row says which field it is, and nothing of the answer."""
    claude.answers(lambda _: True, **SURE)
    claude.answers("battle", **{**SURE, **wrong})

    world.run(classification(partitions_def=None, confidences=True), base_url=claude.base_url)

    [(label, confidence, status, error)] = world.read(
        "SELECT label, confidence, status, error FROM public.answers WHERE id = 'd'"
    )
    assert (label, confidence, status) == (None, None, "invalid")
    [(name, value)] = wrong.items()
    assert f"field '{name}'" in error
    assert str(value) not in error


def test_claude_is_told_what_a_confidence_is(
    world: "DagsterWorld", classification: Declare, claude: EmulatedClaude
) -> None:
    """By the schema that is sent: a probability and no percentage, and what it promises."""
    world.run(classification(partitions_def=None, confidences=True), base_url=claude.base_url)

    [schema] = {
        str(params["output_config"]["format"]["schema"]): params["output_config"]["format"]["schema"]
        for params in claude.emulator.audit.asked()
    }.values()
    told = {name: one["description"] for name, one in schema["properties"].items()}
    assert schema["required"] == [*SURE]
    assert "from 0 to 1" in told["confidence"]
    assert "0.87, not 87" in told["confidence"]
    assert "of 100 documents that you answer with 0.8, about 80 should be right" in told["confidence"]
    assert "null only if no other label could be meant" in told["runner_up"]
    assert "from 0 to 1" in told["runner_up_confidence"]


def test_labels_are_still_what_is_counted() -> None:
    """By the check of drift and the chart of a partition: not second choices."""
    model = label_model({"a": "one", "b": "two"}, confidences=True)

    assert OutputSchema(model).categorical == "label"
