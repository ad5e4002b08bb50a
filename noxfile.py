"""
The tests with the newest and the lowest versions of what the package depends on: `make matrix`.

Each session writes what it found to `proof/findings/matrix.json`, from which `python -m proof.matrix` makes a page of
docs. A session whose Python is not on this machine is skipped, and says so. `nox -s "tests(3.13 newest)" -- tests/core`
runs one session, with other arguments for pytest, which are written down with what it found.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

EXTRAS = ("example", "postgres", "quality")
"""What a user may install besides the package itself."""

AHEAD = ("dagster", "grpcio", "grpcio-health-checking", "protobuf")
"""What comes out in new versions while Dagster's other parts still ask for older ones."""

PURE = "yattag"
"""Of Python alone, and without a wheel."""

OWN_TESTS = "tests/proof/test_proof_matrix.py"
"""What says that all sessions have passed is not asked by one of them."""

NEWEST, LOWEST, DAGSTER_AHEAD = "newest", "lowest", "dagster ahead"

MAKE_TEST = ("-n", "3", "--dist", "loadfile", "-m", "not verify and not soak")

nox.options.default_venv_backend = "venv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False


def _pyenv() -> Iterator[str]:
    """Yield where pyenv keeps its Pythons: those that are not chosen at the moment are not on the path."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for version in PYTHONS:
        yield from (str(folder) for folder in sorted(root.glob(f"versions/{version}.*/bin"), reverse=True))


os.environ["PATH"] = os.pathsep.join([*_pyenv(), os.environ["PATH"]])


def lowest() -> list[str]:
    """Return every direct dependency at its lower bound."""
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra])]
    pins = []
    for requirement in map(Requirement, texts):
        (bound,) = (one.version for one in requirement.specifier if one.operator == ">=")
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        pins.append(f"{requirement.name}=={bound}{marker}")
    return pins


def cases() -> Iterator[nox.param]:
    """Yield the newest of everything on every Python, and each other choice on the oldest."""
    for python in PYTHONS:
        for versions in (NEWEST, LOWEST, DAGSTER_AHEAD) if python == PYTHONS[0] else (NEWEST,):
            yield nox.param(python, versions, id=f"{python} {versions}")


@nox.session
@nox.parametrize(["python", "versions"], list(cases()))
def tests(session: nox.Session, versions: str) -> None:
    """Run `make test` with these versions."""
    report = Path(session.create_tmp()).absolute() / "report.xml"
    report.unlink(missing_ok=True)
    chosen = session.posargs or [*MAKE_TEST, f"--ignore={OWN_TESTS}"]
    try:
        install(session, versions)
        session.run("pytest", *chosen, f"--junitxml={report}")
    except CommandFailed:
        session.warn(f"Python {session.python} with the versions {versions!r} does not pass")
        raise
    finally:
        record = ["python", "-m", "proof.matrix", "record", str(session.python), versions, str(report)]
        session.run(*record, *session.posargs)


def install(session: nox.Session, versions: str) -> None:
    """Install the package with these versions of its dependencies; no compiler is asked for."""
    pins = Path(session.create_tmp()).absolute() / "lowest.txt"
    pins.write_text("\n".join(lowest() if versions == LOWEST else []) + "\n")
    session.install("--only-binary=:all:", f"--no-binary={PURE}", "-c", str(pins), "-e", ".[dev,postgres]")
    if versions == DAGSTER_AHEAD:  # pip says what does not fit together, and installs it
        session.install("--upgrade", *AHEAD)
