import re
from pathlib import Path

import dagster as dg
import pytest

import example_project
from example_project.assets import measured_by
from example_project.instance import prepare_dagster_home
from tests.canary import KEY


@pytest.mark.filterwarnings("ignore:Asset job:UserWarning")
def test_definitions_load_without_starting_anything(home: Path) -> None:
    """Loading the code location offline validates it and leaves the emulator alone."""
    definitions = example_project.defs()

    dg.Definitions.validate_loadable(definitions)
    assert {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()} == {
        "documents",
        "classified_documents",
        "classified_documents_submission",
        "themes_by_decade",
        "cascaded_documents",
        "cascaded_documents_review",
    }
    assert not (home / "emulator.json").exists()


def test_documents_of_ones_own_are_held_against_no_gold_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that were labelled are of the built-in corpus: of others they say nothing."""
    monkeypatch.delenv("EXAMPLE_DOCUMENTS", raising=False)
    assert set(measured_by()) == {"gold", "checks"}
    monkeypatch.setenv("EXAMPLE_DOCUMENTS", "documents.jsonl")
    assert measured_by() == {}


def test_definitions_load_online(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key nothing of the emulator is prepared, and the key itself stays in the environment."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    definitions = example_project.defs()

    assert KEY not in repr(definitions.resources)
    assert list(home.iterdir()) == []


def test_dagster_home_is_prepared_once(tmp_path: Path) -> None:
    """Telemetry is off, and changes of the owner are kept."""
    directory = prepare_dagster_home(tmp_path / "home" / "dagster_home")
    config = directory / "dagster.yaml"
    assert "telemetry:\n  enabled: false\n" in config.read_text()
    assert "nux:\n  enabled: false\n" in config.read_text()

    config.write_text("telemetry: {enabled: false}\n")

    assert prepare_dagster_home(directory) == directory
    assert config.read_text() == "telemetry: {enabled: false}\n"


def test_the_example_imports_what_is_public() -> None:
    """What it shows, anybody can do: nothing from inside the package."""
    folder = Path(example_project.__file__).parent
    imported = re.findall(
        r"^from (claude_batch_dagster\S*) import",
        "".join(path.read_text() for path in folder.glob("*.py")),
        flags=re.MULTILINE,
    )

    assert set(imported) == {"claude_batch_dagster", "claude_batch_dagster.checks", "claude_batch_dagster.status"}
