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
        re.findall(r"^```yaml[^\n]*\n(type: .*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
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


def test_the_schema_says_what_each_attribute_is() -> None:
    """`dg utils inspect-component` and editors show a description of all that is ours, and examples on top."""
    schema = ClaudeBatchComponent.get_model_cls().model_json_schema()  # type: ignore[union-attr]
    dagsters = re.compile(r"(Hourly|Daily|Weekly|TimeWindow|Static|SingleRun|MultiRun|OpSpec|AssetSpec)\w*Model")
    ours = {"component": schema, **{n: part for n, part in schema["$defs"].items() if not dagsters.fullmatch(n)}}

    parts = {
        f"{name}.{field}": said for name, part in ours.items() for field, said in part.get("properties", {}).items()
    }
    assert [name for name, said in parts.items() if not said.get("description")] == []
    assert [name for name, said in schema["properties"].items() if not said.get("examples")] == []
