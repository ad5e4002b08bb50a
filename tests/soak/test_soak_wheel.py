"""The package as it is installed: a wheel, in an environment that has nothing else."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.canary import KEY

REPOSITORY = Path(__file__).parents[2]

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

    built = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(built, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "-c", str(REPOSITORY / "constraints.txt"), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)

    script = PREPARE + code_of(REPOSITORY / "README.md") + CHECK
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANTHROPIC_API_KEY": KEY}
    done = subprocess.run(
        [python, "-c", script], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-3000:]
