"""The package as a user installs it: a wheel, in an environment that has nothing else."""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.canary import KEY

REPOSITORY = Path(__file__).parents[2]


def install(folder: Path, *, extra: str = "", beside: Sequence[str] = ()) -> str:
    """Build the wheel, install it in an empty environment with what is tried out here, and return its Python."""
    built = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(built, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    pins = folder / "pins.txt"
    # An extra may need another version of what it names itself.
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins.write_text("\n".join(line for line in lines if not (extra and line.startswith("sqlalchemy=="))))
    pip = [python, "-m", "pip", "install", "--quiet", "-c", str(pins), f"{wheel}{extra}", *beside]
    # What is on the path of this process must not be taken for installed there.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(pip, check=True, capture_output=True, env=alone)
    return python


def run(python: str, script: str, folder: Path, **environment: str) -> None:
    """Run a script there; it must end well."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "ANTHROPIC_API_KEY": KEY, **environment}
    done = subprocess.run(
        [python, "-c", script], cwd=folder, env=variables, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
