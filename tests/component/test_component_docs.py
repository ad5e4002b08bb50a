"""The page about the component is complete, and every YAML in the docs loads."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from claude_batch_dagster import ClaudeBatchComponent
from claude_batch_dagster.component.output_fields import OutputField
from claude_batch_dagster.component.question import AskModel
from tests.component.conftest import TYPE, Loaded

REPOSITORY = Path(__file__).parents[2]
SKILL = REPOSITORY / "claude_batch_dagster" / "skills" / "claude-batch-dagster" / "SKILL.md"
PAGES = [REPOSITORY / "README.md", SKILL, *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = {
    f"{page.name}-{n}": block
    for page in PAGES
    for n, block in enumerate(
        re.findall(r"^```yaml\n(type: .*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    )
}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_yaml_in_the_docs_loads(load_text: Callable[..., Loaded], block: str) -> None:
    """As it stands, in a project that has a resource."""
    assert BLOCKS[block].startswith(f"type: {TYPE}")
    component, defs = load_text(BLOCKS[block])

    assert isinstance(component, ClaudeBatchComponent)
    resources = defs.resources or {"claude_batch": dg.ResourceDefinition.none_resource()}
    dg.Definitions.validate_loadable(dg.Definitions.merge(defs, dg.Definitions(resources={**resources})))


def test_the_page_names_every_attribute() -> None:
    """Of the component, of what is asked, of a field of the answer."""
    page = (REPOSITORY / "docs" / "component.md").read_text()
    names = {
        *(field.name for field in dataclasses.fields(ClaudeBatchComponent)),
        *AskModel.model_fields,
        *OutputField.model_fields,
    }

    assert {name for name in names if f"`{name}`" not in page} == set()
