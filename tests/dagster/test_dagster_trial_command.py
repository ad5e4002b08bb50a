"""`claude-batch trial` shows what candidates would cost, asks, and says which one is named."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from claude_batch_dagster import build_classification_asset
from claude_batch_dagster.cli import main
from tests.canary import KEY

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

PROJECT = """
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_classification_asset, build_trials_asset

labels = {{"war": "army navy war battle", "economy": "tax tariff trade money"}}
documents = dg.AssetSpec("documents")
answers = build_classification_asset(
    name="answers", upstream=documents, labels=labels, gold=dg.AssetSpec("labelled")
)
{more}
resource = ClaudeBatchResource(
    api_key=dg.EnvVar("TRIAL_TEST_KEY"),
    base_url={url!r},
    database=DuckDBResource(database={database!r}),
    state_directory={state!r},
    poll_interval_seconds=0.02,
)
defs = dg.Definitions(assets=[documents, {assets}], resources={{"claude_batch": resource}})
"""

TRIALS = 'trials = build_trials_asset(answers, models=["claude-haiku-5-5", "claude-opus-5"], bar=0.2)'

Trial = Callable[..., Result]


@pytest.fixture
def trial(world: "DagsterWorld", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Return a function that writes a project with gold rows, and tries its candidates."""
    monkeypatch.setenv("TRIAL_TEST_KEY", KEY)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    world.write(
        "CREATE TABLE public.labelled AS SELECT * FROM (VALUES ('a', 'economy'), ('b', 'war'), ('c', 'economy'), "
        "('d', 'war')) AS t(id, label)"
    )

    def trial(*words: str, more: str = TRIALS, assets: str = "answers, trials", answer: str = "") -> Result:
        file = tmp_path / "tried_project.py"
        file.write_text(
            PROJECT.format(url=world.url, database=world.database, state=str(world.state), more=more, assets=assets)
        )
        world.let_go()
        return CliRunner().invoke(main, ["trial", "-m", str(file), *words], input=answer)

    return trial


def test_the_plan_with_its_dollars_comes_first(world: "DagsterWorld", trial: Trial) -> None:
    """Who says no has paid for nothing, and who only wants to see the plan is not asked."""
    shown = trial("--dry-run")
    refused = trial(answer="n\n")

    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("answers_trials: 2 candidates, 8 requests, about $0.0")
    cells = [line.split() for line in shown.output.splitlines()]
    assert [line[:4] for line in cells if line and line[0].startswith("claude-")] == [
        ["claude-haiku-5-5", "4", "0", "4"],
        ["claude-opus-5", "4", "0", "4"],
    ]
    assert refused.exit_code == 1
    assert refused.output.startswith(shown.output)
    assert "Send 8 requests? [y/N]: n" in refused.output
    assert world.n_posts == 0


@pytest.mark.verify
def test_the_candidates_and_the_one_that_is_named(world: "DagsterWorld", trial: Trial) -> None:
    """After a yes they are asked; a second time there is nothing to send, and so nothing to ask for."""
    result = trial("answers", answer="y\n")

    assert result.exit_code == 0, result.output
    assert len(world.sent) == 8
    assert "- claude-haiku-5-5 is the cheapest of which 4 gold rows show that it is right in more than 20 %." in (
        result.output
    )
    [line] = [line.split() for line in result.output.splitlines() if line.split()[-1:] == ["yes"] and "haiku" in line]
    assert line[0] == "claude-haiku-5-5"

    again = trial("answers_trials")
    assert again.exit_code == 0, again.output
    assert "Send" not in again.output
    assert "answers_trials: 2 candidates, 0 requests" in again.output
    assert len(world.sent) == 8


@pytest.mark.verify
def test_a_trial_that_fails_says_why(world: "DagsterWorld", trial: Trial) -> None:
    """In a sentence, and with exit code 1."""
    world.emulator.faults.add("401", endpoint="retrieve")

    result = trial("--yes")

    assert result.exit_code == 1
    assert "Error: 2 candidates have rows without an answer: claude-haiku-5-5: HTTP 401" in result.output


STOPPED = """
import sqlite3
from contextlib import closing

def stopping(row):
    with closing(sqlite3.connect({ledger!r})) as ledger:
        if ledger.execute("SELECT 1 FROM chunks").fetchone():
            raise KeyboardInterrupt
    return "About: " + row["text"]

trials = build_trials_asset(answers, prompts={{"stopping": stopping}})
"""
"""The first candidate is sent when the second one stops the run."""


@pytest.mark.verify
def test_a_trial_that_is_stopped_says_what_becomes_of_it(world: "DagsterWorld", trial: Trial) -> None:
    """What was sent is not lost, and a person who has stopped it need not read a traceback to know."""
    result = trial("--yes", more=STOPPED.format(ledger=str(world.state / "ledger.sqlite")))

    assert result.exit_code == 1
    assert "\nError: stopped. Batches that were sent go on; the next trial takes them up\n" in result.output
    assert world.n_posts == 1


@pytest.mark.verify
def test_a_trial_that_has_to_wait_says_why(world: "DagsterWorld", trial: Trial) -> None:
    """What it has found out by itself, as what Dagster was told, is a sentence."""
    labels = {"war": "army navy war battle", "economy": "tax tariff trade money"}
    world.emulator.faults.add("401", endpoint="retrieve")
    world.run(build_classification_asset(name="answers", upstream="documents", labels=labels), raises=False)
    world.emulator.faults.clear()

    result = trial("--yes")

    assert result.exit_code == 1
    assert "\nError: table public.answers has 4 requests on their way that ask what the candidate" in result.output


@pytest.mark.parametrize(
    ("words", "options", "told"),
    [
        ([], {"more": "", "assets": "answers"}, "there are no trials. Declare some: build_trials_asset("),
        (["answer"], {}, "there are no trials of 'answer'. Those that there are: answers_trials."),
        (
            [],
            {
                "more": f"{TRIALS}\nothers = build_classification_asset(name='others', upstream=documents, "
                "labels=labels, gold='gold.csv')\nmore = build_trials_asset(others, efforts=['low'])",
                "assets": "answers, trials, others, more",
            },
            "say which trials. Those that there are: answers_trials, others_trials.",
        ),
    ],
)
def test_which_trials(trial: Trial, words: list[str], options: dict[str, str], told: str) -> None:
    """Where there are several they have to be named, and where there are none it is said how they are declared."""
    result = trial(*words, **options)

    assert (result.exit_code, told in result.output) == (1, True), result.output


@pytest.mark.verify
def test_gold_rows_that_cannot_be_used(world: "DagsterWorld", trial: Trial) -> None:
    """It is one sentence."""
    world.write("ALTER TABLE public.labelled RENAME COLUMN label TO theme")

    result = trial()

    assert result.exit_code == 1
    assert "Error: the gold rows, table public.labelled, have no column with true values" in result.output
