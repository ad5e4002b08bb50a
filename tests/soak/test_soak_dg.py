"""What `dg check` says of mistakes in the YAML, as people run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.test_component_mistakes import MISTAKES, SECRET
from tests.docs.test_docs import PROJECT_SETTINGS

BY_SCHEMA = {name for name, (_, _, said) in MISTAKES.items() if said in {"labelz", "lables", "eror_rate"}} | {
    "a number in place of a text",
    "nothing asked",
    "a type that there is not",
    "a threshold in words",
    "partitions that there are not",
    "an effort that there is not",
    "a negative time",
}
"""Mistakes that the schema shows: `dg check yaml` finds them without loading anything."""

DEFINITIONS = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project without a component."""
    package = tmp_path / "src" / "planted"
    (package / "defs").mkdir(parents=True)
    for folder in (package, package / "defs"):
        (folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(PROJECT_SETTINGS.replace("my_project", "planted"))
    (package / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def plant(project: Path, mistake: str) -> Path:
    """Write a component with a mistake into the project."""
    file = project / "src" / "planted" / "defs" / re.sub(r"\W+", "_", mistake) / "defs.yaml"
    file.parent.mkdir()
    file.write_text(MISTAKES[mistake][0])
    return file


def dg_check(project: Path, what: str) -> tuple[int, str]:
    """Run `dg check`; return its exit code and what it prints."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "check", what],
        cwd=project,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(project / "src"),
            "PYTHONWARNINGS": "ignore",
            "COLUMNS": "400",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_before_anything_runs(project: Path, mistake: str) -> None:
    """`dg check yaml` or `dg check defs` says where, and what; never a secret."""
    file = plant(project, mistake)
    _, line, said = MISTAKES[mistake]
    by_schema = mistake in BY_SCHEMA

    code, told = dg_check(project, "yaml" if by_schema else "defs")

    assert code != 0
    assert file.parent.name in told
    if line is not None:
        assert re.search(rf"{file.parent.name}/defs\.yaml:\d+", told), told
    assert by_schema or said.split("'")[0] in told, told
    assert SECRET not in told
