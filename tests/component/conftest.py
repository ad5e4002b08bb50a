"""What the tests of the component share: a project's `defs` folder, and what is loaded of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from claude_batch_dagster import ClaudeBatchComponent

TYPE = "claude_batch_dagster.ClaudeBatchComponent"
LABELS = {"labels": {"billing": "invoices, payments", "other": "anything else"}}
ATTRIBUTES: Mapping[str, Any] = {"name": "answers", "upstream": "tickets", "ask": LABELS}

DAGSTERS_OWN = (
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning",
    "ignore:.parse_obj_as. is deprecated:DeprecationWarning",
    "ignore:.*LocalFileCodeReference",
    "ignore:.*CodeReferencesMetadataValue",
    "ignore:Parameter .owners. of initializer .SensorDefinition",
    "ignore:Parameter .include_sources. of function",
    "ignore:Accessing `{{automation_condition",
)
"""Dagster 1.13.27 warns of itself: of nested resources, of what it does with YAML, and of its own test cases."""

Loaded = tuple[ClaudeBatchComponent, dg.Definitions]
Load = Callable[..., Loaded]


@pytest.fixture
def load_text() -> Iterator[Callable[..., Loaded]]:
    """Return a function that loads `defs/answers/defs.yaml` with this text, other files of a project beside it."""
    with ExitStack() as stack:

        def load(text: str, files: Mapping[str, str] | None = None) -> Loaded:
            sandbox = stack.enter_context(create_defs_folder_sandbox())
            folder = sandbox.defs_folder_path / "answers"
            folder.mkdir()
            for name, content in {"defs.yaml": text, **(files or {})}.items():
                (folder / name).write_text(content)
            return stack.enter_context(sandbox.load_component_and_build_defs(folder))  # type: ignore[return-value]

        yield load


@pytest.fixture
def load(load_text: Callable[..., Loaded]) -> Load:
    """Return a function that loads a component with these attributes laid over some that suffice."""

    def load(files: Mapping[str, str] | None = None, **attributes: Any) -> Loaded:
        text = yaml.safe_dump({"type": TYPE, "attributes": {**ATTRIBUTES, **attributes}}, sort_keys=False)
        return load_text(text, files)

    return load


def asset_of(defs: dg.Definitions, name: str = "answers") -> dg.AssetsDefinition:
    """Return an asset by the last part of its key."""
    [found] = [
        asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) and name in asset.key.path
    ]
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a warning pass that Dagster gives itself."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(*DAGSTERS_OWN))
