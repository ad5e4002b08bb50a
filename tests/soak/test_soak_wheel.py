"""The package as it is installed: a wheel, in an environment that has nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.canary import KEY
from tests.soak.installed import REPOSITORY, install, run

PREPARE = """
import os
import duckdb
os.mkdir("trial")
with duckdb.connect("trial/warehouse.duckdb") as connection:
    connection.execute("CREATE SCHEMA public")
    connection.execute(
        "CREATE TABLE public.tickets AS "
        "SELECT 't1' AS id, 'Invoice' AS subject, 'refund the payment' AS body, "
        "TIMESTAMP '2026-11-02 09:00' AS created_at"
    )
"""

CHECK = """
import duckdb
with duckdb.connect("trial/warehouse.duckdb") as connection:
    rows = connection.execute("SELECT id, label, status FROM public.classified_tickets").fetchall()
assert rows == [("t1", "billing", "succeeded")], rows
"""


FILL = """
import duckdb
with duckdb.connect("support/warehouse.duckdb") as connection:
    connection.execute("CREATE SCHEMA public")
    connection.execute(
        "CREATE TABLE public.tickets AS FROM (VALUES ('t1', 'refund the payment'), ('t2', 'the rest')) AS t(id, text)"
    )
"""

READ = """
import duckdb
with duckdb.connect("support/warehouse.duckdb") as connection:
    rows = connection.execute("SELECT id, label, status FROM public.my_labels ORDER BY id").fetchall()
assert rows == [("t1", "billing", "succeeded"), ("t2", "other", "succeeded")], rows
"""

COMPONENT = "claude_batch_dagster.ClaudeBatchComponent"


@pytest.mark.soak
def test_a_project_without_a_line_of_python(tmp_path: Path) -> None:
    """From an empty folder, as a new user types it: a project, a component, a green materialization."""
    python = install(tmp_path, beside=("create-dagster", "dagster-dg-cli", "hatchling", "editables"))
    commands, project = Path(python).parent, tmp_path / "support"
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)

    with serving(emulator) as base_url:

        def type_in(*words: str, folder: Path = project) -> str:
            variables = {
                "PATH": f"{commands}:{os.environ['PATH']}",
                "VIRTUAL_ENV": str(commands.parent),
                "HOME": str(tmp_path),
                "ANTHROPIC_API_KEY": KEY,
                "ANTHROPIC_BASE_URL": base_url,
            }
            done = subprocess.run(words, cwd=folder, env=variables, check=False, capture_output=True, text=True)
            assert done.returncode == 0, f"{words}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
            return done.stdout + done.stderr

        type_in("create-dagster", "project", "support", "--no-uv-sync", folder=tmp_path)
        type_in("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", ".")
        run(python, FILL, tmp_path)
        assert COMPONENT in type_in("dg", "list", "components", "--json")
        type_in(
            *("dg", "scaffold", "defs", COMPONENT, "my_labels", "--upstream", "tickets"),
            *("--labels", "billing: payment, refund", "--labels", "other: the rest"),
        )
        type_in("dg", "check", "yaml")
        type_in("dg", "check", "defs")
        assert "my_labels" in type_in("dg", "list", "defs", "--json")
        assert "RUN_SUCCESS" in type_in("dg", "launch", "--assets", "my_labels")
    run(python, READ, tmp_path)
    assert emulator.audit.n_posts() == 1

    broken = project / "src" / "support" / "defs" / "my_labels" / "defs.yaml"
    broken.write_text(broken.read_text().replace("upstream", "upstraem"))
    with pytest.raises(AssertionError, match=r"defs\.yaml:\d+ .*upstraem"):
        type_in("dg", "check", "yaml")


@pytest.mark.soak
def test_readme_runs_on_the_installed_wheel(tmp_path: Path) -> None:
    """Built as a wheel and installed in an empty environment, the README's own code runs."""
    from tests.docs.test_docs import code_of  # noqa: PLC0415  (the soak suite needs nothing else of it)

    python = install(tmp_path)
    script = PREPARE + code_of(REPOSITORY / "README.md") + CHECK
    run(python, script, tmp_path)
