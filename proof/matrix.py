"""
With which versions the tests pass: `docs/versions.md`, made from what the sessions of `noxfile.py` found.

`python -m proof.matrix` writes the page; `python -m proof.matrix record PYTHON VERSIONS REPORT` is said by a session,
in its own environment, which needs nothing but Python for it.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from xml.etree import ElementTree as ET

from proof.findings import FOLDER

PAGE = Path(__file__).parents[1] / "docs" / "versions.md"
FOUND = FOLDER / "matrix.json"

SESSIONS = (
    *("3.11 newest", "3.11 lowest", "3.11 dagster ahead"),
    *("3.12 newest", "3.13 newest", "3.14 newest"),
)
SHOWN = ("dagster", "dagster-duckdb", "anthropic", "duckdb", "pandas", "pydantic", "sqlalchemy", "protobuf")

OPENING = """\
# Versions

`make matrix` runs `make test` in fresh environments, one for each line below. *Newest* is what
`pip install` chooses today; *lowest* is every direct dependency at the lower bound that `pyproject.toml` allows;
*dagster ahead* is the newest Dagster with its other parts a version behind, as it is between their releases (Dagster
warns of it, and nothing else comes of it). This page is made from what the runs found; nobody typed it in.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What became of the tests in one environment."""

    python: str
    """The exact version."""
    packages: Mapping[str, str]
    """Versions of the main packages; empty if they could not be installed."""
    passed: int
    failed: int
    skipped: int
    selected: str
    """Which tests were run, if not those of `make test`."""

    @property
    def verdict(self) -> str:
        """Say in a few words what became of it."""
        if not self.packages:
            return "could not be installed"
        if self.failed or not self.passed:
            return f"**{self.failed:,} failed**, {self.passed:,} passed"
        return f"passed ({self.passed:,} tests; {self.skipped:,} skipped)"


def cell(report: Path, selected: Sequence[str]) -> Cell:
    """Read pytest's report, and see which versions this environment has."""
    packages = dict(_installed())
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        suite = next(ET.parse(report).iter("testsuite"))  # noqa: S314  (pytest has just written it)
        counts = {name: int(suite.attrib[name]) for name in counts}
    failed = counts["failures"] + counts["errors"]
    return Cell(
        python=python_version(),
        packages=packages,
        passed=counts["tests"] - failed - counts["skipped"],
        failed=failed,
        skipped=counts["skipped"],
        selected=" ".join(selected),
    )


def _installed() -> Iterator[tuple[str, str]]:
    for name in SHOWN:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            return


def page(cells: Mapping[str, Cell]) -> str:
    """Return the whole page, with those that were not run."""
    lines = [
        OPENING,
        f"| Python | versions | {' | '.join(SHOWN)} | tests |",
        f"| --- | --- |{' --- |' * len(SHOWN)} --- |",
    ]
    for session in SESSIONS:
        python, _, versions = session.partition(" ")
        found = cells.get(session)
        if found is None:
            lines.append(f"| {python} | {versions} |{' |' * len(SHOWN)} not run where this was made |")
            continue
        packages = " | ".join(found.packages.get(name, "") for name in SHOWN)
        lines.append(f"| {found.python} | {versions} | {packages} | {found.verdict} |")
    return "\n".join(lines) + "\n"


def load() -> dict[str, Cell]:
    """Return what was found so far, by Python and choice of versions."""
    return {name: Cell(**one) for name, one in json.loads(FOUND.read_text()).items()} if FOUND.exists() else {}


def main(arguments: Sequence[str]) -> None:
    """Write the page, or put down what a session found."""
    if arguments[:1] == ["record"]:
        python, versions, report, *selected = arguments[1:]
        cells = load() | {f"{python} {versions}": cell(Path(report), selected)}
        FOUND.write_text(json.dumps({name: asdict(cells[name]) for name in sorted(cells)}, indent=2) + "\n")
    else:
        PAGE.write_text(page(load()))
        print(f"Written to {PAGE.relative_to(PAGE.parents[1])}.")


if __name__ == "__main__":
    main(sys.argv[1:])
