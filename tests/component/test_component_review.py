"""The review queue in YAML is that of the factory."""

import inspect
from typing import Any

import dagster as dg
import pytest

from claude_batch_dagster import build_review_asset
from claude_batch_dagster.component.review import ReviewModel
from tests.component.conftest import LABELS, Load, asset_of


def test_everything_that_the_factory_takes_is_an_attribute() -> None:
    """With the same default; whoever adds an option to one adds it to the other."""
    parameters = {name: one.default for name, one in inspect.signature(build_review_asset).parameters.items()}
    del parameters["classified"]

    assert {name: field.default for name, field in ReviewModel.model_fields.items()} == parameters


@pytest.mark.parametrize("switch", [True, "{{ 1 == 1 }}", {}])
def test_a_review_is_switched_on(load: Load, switch: Any) -> None:
    """Beside the asset, with what is usual."""
    component, defs = load(review=switch, key_prefix="silver", submission=True)

    [spec] = asset_of(defs, "answers_review").specs
    assert component.review == {}
    assert spec.key == dg.AssetKey(["silver", "answers_review"])
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["silver/answers", "tickets"]
    assert len(list(defs.assets or ())) == 3


@pytest.mark.parametrize("switch", [False, None, "{{ 1 == 2 }}"])
def test_a_review_is_not_there_unless_it_is_asked_for(load: Load, switch: Any) -> None:
    """As everything that costs a person's time."""
    _, defs = load(review=switch)

    assert len(list(defs.assets or ())) == 1


def test_settings_of_a_review_reach_it(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """With template variables; a text that reads as a number stays a text."""
    monkeypatch.setenv("ROWS", "50")
    said = {
        "rows": "{{ env.ROWS }}",
        "unsure_share": "{{ 1 / 4 }}",
        "confidence": None,
        "votes": ["label", "runner_up"],
        "fields": ["label"],
        "columns": ["text", "subject"],
        "labelled": "gold/labels",
        "seed": "2",
        "show_answers": True,
        "folder": "{{ context.project_root }}/queue",
    }
    component, defs = load(review=said, ask={**LABELS, "confidences": True})

    assert component.review is not None
    settings = dict(component.review)
    assert settings.pop("folder").endswith("/queue")
    assert settings == {
        **{name: value for name, value in said.items() if name != "folder"},
        "rows": 50,
        "unsure_share": 0.25,
        "labelled": dg.AssetKey(["gold", "labels"]),
    }
    [spec] = asset_of(defs, "answers_review").specs
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["answers", "tickets", "gold/labels"]
    columns = [column.name for column in spec.metadata["dagster/column_schema"].columns]
    assert columns[:3] == ["id", "text", "subject"]


def test_labels_may_come_from_an_io_manager(load: Load) -> None:
    """As the documents may."""
    component, defs = load(review={"labelled": {"key": "gold", "io_manager": True}})

    assert component.review is not None
    assert isinstance(component.review["labelled"], dg.AssetIn)
    assert "labelled" in asset_of(defs, "answers_review").node_def.input_dict
