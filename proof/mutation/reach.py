"""Which tests of the core run which of its lines: only those can notice that one has changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from coverage import CoverageData

from proof.planted.suite import ALL_PASSED, REPORT, run

TESTS = ("tests/core",)
"""What is asked if nothing else is."""

DATA = ".coverage"

SECONDS = 1_200.0
"""For all of them, with coverage, on a busy machine."""


class FailingTestsError(Exception):
    """The tests fail as they are, so that they prove nothing."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The tests that run each line, the quickest first."""

    by_line: Mapping[tuple[str, int], Sequence[str]]
    by_file: Mapping[str, Sequence[str]]

    def tests(self, file: str, first: int, last: int) -> Sequence[str]:
        """Return those that run one of these lines; all that run the file if it is run as it is imported."""
        for line in (*range(first, last + 1), *range(first - 1, 0, -1)[:3]):  # a statement may begin further up
            if found := self.by_line.get((file, line)):
                return found
        return self.by_file.get(file, ())


def measured(sound: Path, core: Path, asked: Sequence[str]) -> Reach:
    """Run these tests once in a copy of the project; raise `FailingTestsError` if one fails."""
    folder = sound.with_name("measured")
    counted = ["--cov=claude_batch_dagster.core", "--cov-context=test", "--cov-report="]
    suite = run(folder, [*counted, *asked], root=sound, seconds=SECONDS)
    if suite.exit_code != ALL_PASSED:
        raise FailingTestsError(suite.output[-2_000:])
    seconds = _seconds(folder / REPORT)
    data = CoverageData(str(sound / DATA))
    data.read()
    by_line: dict[tuple[str, int], list[str]] = {}
    by_file: dict[str, set[str]] = defaultdict(set)
    for path in sorted(data.measured_files()):
        if not Path(path).is_relative_to(sound / core):
            continue
        file = str(Path(path).relative_to(sound / core))
        for line, contexts in data.contexts_by_lineno(path).items():
            tests = {context.rpartition("|")[0] for context in contexts} - {""}
            by_file[file] |= tests
            by_line[file, line] = sorted(tests, key=lambda test: (seconds.get(test, 0.0), test))
    in_order = {file: sorted(tests, key=lambda test: (seconds.get(test, 0.0), test)) for file, tests in by_file.items()}
    return Reach(by_line, in_order)


def _seconds(report: Path) -> dict[str, float]:
    """Return how long each test took."""
    cases = ET.parse(report).iter("testcase")  # noqa: S314  (pytest has just written it)
    return {
        f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}": float(case.attrib["time"])
        for case in cases
    }
