"""The package as it is installed: a wheel, in an environment that has nothing else."""

from pathlib import Path

import pytest

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


@pytest.mark.soak
def test_readme_runs_on_the_installed_wheel(tmp_path: Path) -> None:
    """Built as a wheel and installed in an empty environment, the README's own code runs."""
    from tests.docs.test_docs import code_of  # noqa: PLC0415  (the soak suite needs nothing else of it)

    python = install(tmp_path)
    script = PREPARE + code_of(REPOSITORY / "README.md") + CHECK
    run(python, script, tmp_path)
