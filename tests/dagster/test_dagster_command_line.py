"""What people type: ranges of partitions from Dagster's command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.canary import KEY

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

PROJECT = """
import os
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_batch_job, build_classification_asset

years = dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *")
single = dg.BackfillPolicy.single_run() if os.environ.get("SINGLE_RUN") else None
answers = build_classification_asset(
    name="answers",
    upstream="documents",
    labels={"war": "army", "economy": "tax"},
    partitions_def=years,
    partition_expr="published_on",
    backfill_policy=single,
)
defs = dg.Definitions(
    assets=[answers],
    jobs=[build_batch_job(answers)],
    resources={
        "claude_batch": ClaudeBatchResource(
            api_key=dg.EnvVar("ANTHROPIC_API_KEY"),
            base_url=os.environ["ANTHROPIC_BASE_URL"],
            database=DuckDBResource(database=os.environ["DATABASE"]),
        )
    },
)
"""

BY_TAGS = {"dagster/asset_partition_range_start": "1790", "dagster/asset_partition_range_end": "1791"}


def dagster(world: "DagsterWorld", *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Dagster's command line on the project."""
    world.let_go()  # another process opens the database
    (world.folder / "project.py").write_text(PROJECT)
    home = world.folder / "home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dagster", *arguments],
        cwd=world.folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "DAGSTER_HOME": str(home),
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": world.url,
            "DATABASE": world.database,
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


MATERIALIZE = ("asset", "materialize", "-f", "project.py", "--select", "answers", "--partition-range", "1790...1791")


def test_a_range_by_the_tags_of_a_job(world: "DagsterWorld") -> None:
    """A job takes a range by two tags, whatever the backfill policy: the command that the docs name."""
    done = dagster(world, "job", "execute", "-f", "project.py", "-j", "answers_job", "--tags", json.dumps(BY_TAGS))

    assert done.returncode == 0, done.stderr[-2000:]
    assert world.answers("id") == [("a",), ("b",), ("c",)]
    assert world.n_posts == 1


def test_a_range_of_an_asset(world: "DagsterWorld") -> None:
    """`dagster asset materialize --partition-range` wants a policy of a single run, and says so; then it works."""
    refused = dagster(world, *MATERIALIZE)
    done = dagster(world, *MATERIALIZE, SINGLE_RUN="1")

    assert "BackfillPolicy.single_run()" in refused.stderr
    assert done.returncode == 0, done.stderr[-2000:]
    assert world.answers("id") == [("a",), ("b",), ("c",)]
    assert world.n_posts == 1
