"""`claude-batch plan` shows what a run would send, by the definitions of a project, and changes nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from claude_batch_dagster.cli import main
from tests.canary import KEY

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

PROJECT = """
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_classification_asset

years = dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *")

@dg.asset
def documents(): ...

labels = {{"war": "army navy", "economy": "tax trade"}}
answers = build_classification_asset(
    name="answers", upstream=documents, labels=labels, partitions_def=years, partition_expr="published_on"
)
{more}
resource = ClaudeBatchResource(
    api_key=dg.EnvVar("PLAN_TEST_KEY"),
    base_url={url!r},
    database=DuckDBResource(database={database!r}),
    state_directory={state!r},
)
defs = dg.Definitions(assets=[documents, {assets}], resources={{"claude_batch": resource}})
"""

Plan = Callable[..., Result]


@pytest.fixture
def plan(world: "DagsterWorld", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return a function that writes a project and asks for its plan."""
    monkeypatch.setenv("PLAN_TEST_KEY", KEY)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def plan(*words: str, more: str = "", assets: str = "answers") -> Result:
        file = tmp_path / "planned_project.py"
        file.write_text(
            PROJECT.format(url=world.url, database=world.database, state=str(world.state), more=more, assets=assets)
        )
        world.let_go()
        return CliRunner().invoke(main, ["plan", "-m", str(file), *words])

    return plan


def test_what_would_be_sent(world: "DagsterWorld", plan: Plan) -> None:
    """Requests, dollars, the reason of each row, and each partition; nothing is sent."""
    result = plan()

    assert result.exit_code == 0, result.output
    assert result.output.startswith("answers: 4 requests, about $0.0000")
    assert "by the input tokens of 4 requests, which the API has counted" in result.output
    cells = [line.split() for line in result.output.splitlines()]
    assert ["new", "yes", "4"] in [line[:3] for line in cells]
    assert [line[:2] for line in cells if line and line[0].startswith("179")] == [
        ["1791", "2"],
        ["1790", "1"],
        ["1793", "1"],
    ]
    assert world.n_posts == 0
    assert world.read("SELECT table_name FROM duckdb_tables()") == [("documents",)]


def test_one_partition_as_json(plan: Plan) -> None:
    """For machines, and for some partitions."""
    result = plan("answers", "--partition", "1791", "--json", "--limit", "1")

    data = json.loads(result.output)
    assert (data["requests"], data["rows"]) == (1, {"new": 1, "left out": 1})
    [part] = data["partitions"]
    assert part["partition"] == "1791"
    assert data["estimate"]["low_usd"] < data["estimate"]["usd"] < data["estimate"]["high_usd"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["answer"], "there is no asset 'answer' that asks Claude. Those that ask Claude here are: answers."),
        (["answers", "--partition", "1800"], "answers has no partition '1800'."),
        (["--limit", "-1"], "limit is a number of requests, from 0 on; got -1."),
    ],
)
@pytest.mark.verify
def test_what_there_is_not(plan: Plan, words: list[str], told: str) -> None:
    """A mistake is one sentence."""
    result = plan(*words)

    assert result.exit_code == 1
    assert told in result.output


@pytest.mark.verify
def test_several_assets(plan: Plan) -> None:
    """With more than one, it has to be said which."""
    more = 'others = build_classification_asset(name="others", upstream=documents, labels=labels)'
    result = plan(more=more, assets="answers, others")

    assert (result.exit_code, result.output) == (
        1,
        "Error: say which asset. Those that ask Claude here are: answers, others.\n",
    )
    assert plan("others", more=more, assets="answers, others").output.startswith("others: 4 requests")


@pytest.mark.verify
def test_a_module_by_name(world: "DagsterWorld", plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the current folder is found as Dagster finds it."""
    plan()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lazy_project.py").write_text(
        "import dagster as dg\nimport planned_project\n\n"
        "@dg.definitions\ndef defs():\n    globals()['more'] = planned_project\n    return planned_project.defs\n"
    )

    assert CliRunner().invoke(main, ["plan", "-m", "planned_project"]).output.startswith("answers: 4 requests")
    assert CliRunner().invoke(main, ["plan", "-m", "lazy_project"]).output.startswith("answers: 4 requests")
    missing = CliRunner().invoke(main, ["plan", "-m", "no_project"])
    assert (missing.exit_code, "there is no module 'no_project'" in missing.output) == (1, True)
    assert world.n_posts == 0


def test_a_file_that_is_not_there() -> None:
    """A wrong path is said so."""
    result = CliRunner().invoke(main, ["plan", "-m", "nowhere/project.py"])

    assert (result.exit_code, result.output) == (1, "Error: there is no file 'nowhere/project.py'.\n")
