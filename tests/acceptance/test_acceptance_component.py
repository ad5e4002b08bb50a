"""What a person sees of an asset that is a component: the page of the docs, declared and looked at."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.acceptance.visitor import Visitor
from tests.canary import KEY
from tests.dagster_dev import REPOSITORY, DagsterDev, serving_module

pytestmark = [
    pytest.mark.dagster,
    pytest.mark.browser,
    pytest.mark.soak,
]

YAML = re.findall(
    r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs" / "component.md").read_text(), re.MULTILINE | re.DOTALL
)[1]

DEFINITIONS = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""

TICKETS = '''
import os
import dagster as dg
import duckdb

SUBJECTS = ("Charged twice", "The app crashes", "Where is my invoice", "Nobody can work")

@dg.asset
def tickets() -> None:
    """Tickets of the support desk."""
    with duckdb.connect(os.environ["WAREHOUSE"]) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute("CREATE OR REPLACE TABLE public.tickets (id INT, subject TEXT, body TEXT, created_at DATE)")
        for n in range(60):
            row = [n, SUBJECTS[n % 4], f"{SUBJECTS[n % 4]}, says customer {n}", f"2026-11-0{1 + n % 3}"]
            connection.execute("INSERT INTO public.tickets VALUES (?, ?, ?, ?)", row)
'''

RESOURCES = """
import os
import dagster as dg
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource

@dg.definitions
def resources():
    database = DuckDBResource(database=os.environ["WAREHOUSE"])
    resource = ClaudeBatchResource(
        api_key=dg.EnvVar("ANTHROPIC_API_KEY"), database=database, poll_interval_seconds=0.1
    )
    return dg.Definitions(resources={"claude_batch": resource})
"""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DagsterDev]:
    """`dagster dev` on a project made as the docs say."""
    defs = tmp_path / "src" / "support" / "defs"
    (defs / "triaged_tickets").mkdir(parents=True)
    settings = '[project]\nname = "support"\n[tool.dg]\ndirectory_type = "project"\n'
    (tmp_path / "pyproject.toml").write_text(f'{settings}[tool.dg.project]\nroot_module = "support"\n')
    for package in (defs.parent, defs):
        (package / "__init__.py").touch()
    (defs.parent / "definitions.py").write_text(DEFINITIONS)
    (defs / "tickets.py").write_text(TICKETS)
    (defs / "resources.py").write_text(RESOURCES)
    (defs / "triaged_tickets" / "defs.yaml").write_text(YAML)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as url:
        env = {
            **os.environ,
            "PYTHONPATH": f"{tmp_path / 'src'}:{REPOSITORY}",
            "PYTHONWARNINGS": "ignore",
            "DAGSTER_HOME": str(home),
            "WAREHOUSE": str(tmp_path / "warehouse.duckdb"),
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": url,
        }
        with serving_module("support.definitions", tmp_path / "dev.log", env) as dev:
            dev.graphql("mutation { setNuxSeen }")  # no invitation in front of the pages
            yield dev
    emulator.close()


def test_the_page_of_a_component_says_where_it_is_written(dev: DagsterDev, visitor: Visitor) -> None:
    """Its columns with their descriptions, its checks, its owner, and a link to the YAML."""
    assert dev.wait(dev.launch("tickets", tags={})) == "SUCCESS"
    assert dev.materialize("triaged_tickets", "2026-11-01", "2026-11-03") == "SUCCESS"

    shown = visitor.visit(
        f"{dev.url}/assets/triaged_tickets?view=overview", expect="defs.yaml", picture="component", height=1100
    )

    for told in ("How bad it is for the customer.", "defs.yaml", "Claude", "support", "topics"):
        assert told in shown
    assert visitor.errors == []
