"""What `dg scaffold` writes loads at once."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from claude_batch_dagster import ClaudeBatchComponent
from claude_batch_dagster.component.scaffolder import EXAMPLE_LABELS, labels_of
from tests.component.conftest import asset_of


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"billing": "invoices, payments, refunds", "other": "anything else"}),
        ({"labels": ["a: one", "b: two: 2"]}, {"a": "one", "b": "two: 2"}),
        ({"labels": ["a,b"]}, {"a": "Everything about a.", "b": "Everything about b."}),
    ],
    ids=["nothing said", "meanings", "names alone"],
)
def test_what_is_scaffolded_loads(params: dict[str, Any], expected: dict[str, str]) -> None:
    """With what was said on the command line, and with nothing."""
    with create_defs_folder_sandbox() as sandbox:
        # Dagster's helper takes a class for what it is called in its own module; people name the public one.
        folder = sandbox.scaffold_component(
            ClaudeBatchComponent, defs_path="my_labels", scaffold_params={"upstream": "silver/tickets", **params}
        )
        said = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
        with sandbox.load_component_and_build_defs(folder) as (_, defs):
            dg.Definitions.validate_loadable(defs)
            [spec] = asset_of(defs, "my_labels").specs

    assert said["ask"]["labels"] == expected
    assert [dep.asset_key.path for dep in spec.deps] == [["silver", "tickets"]]
    assert said["resource"]["api_key"] == "{{ env.ANTHROPIC_API_KEY }}"


def test_python_can_be_scaffolded_too(tmp_path: Path) -> None:
    """`--format python`, as for any component."""
    request: dg.ScaffoldRequest[Any] = dg.ScaffoldRequest(
        type_name="claude_batch_dagster.ClaudeBatchComponent",
        target_path=tmp_path,
        scaffold_format="python",
        project_root=None,
        params=ClaudeBatchComponent.__scaffolder_cls__.get_scaffold_params()(),  # type: ignore[attr-defined]
    )

    ClaudeBatchComponent.__scaffolder_cls__().scaffold(request)  # type: ignore[attr-defined]

    assert "ClaudeBatchComponent" in (tmp_path / "component.py").read_text()


def test_labels_without_a_word_are_the_examples() -> None:
    """So that the file can be read, and changed."""
    assert labels_of([]) == labels_of(EXAMPLE_LABELS)
