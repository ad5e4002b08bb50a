"""The page of versions says what the sessions of the matrix found, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from proof import matrix
from proof.matrix import PAGE, SESSIONS, SHOWN, Cell, cell, load, page

PASSED = Cell(
    python="3.11.7", packages=dict.fromkeys(SHOWN, "1.0"), passed=2_000, failed=0, skipped=1, selected=""
)  # fmt: skip

REPORT = '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2"/></testsuites>'


def test_the_page_is_what_the_command_writes() -> None:
    """Nobody types versions in."""
    assert PAGE.read_text() == page(load())


def test_every_session_that_was_run_has_passed() -> None:
    """With all tests of `make test`, and none of them failed."""
    found = load()

    assert set(SESSIONS) - set(found) <= {"3.14 newest"}, "all but that one can be run where this was made"
    assert set(found) <= set(SESSIONS)
    assert {name: one.verdict for name, one in found.items() if one.failed or not one.passed or one.selected} == {}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (PASSED, "passed (2,000 tests; 1 skipped)"),
        (replace(PASSED, failed=3), "**3 failed**, 2,000 passed"),
        (replace(PASSED, passed=0, packages={}), "could not be installed"),
    ],
)
def test_a_session_says_what_became_of_it(found: Cell, words: str) -> None:
    """Passed, failed, or not to be installed; one that was not run says so as well."""
    text = page({SESSIONS[0]: found})

    assert words in text
    assert text.count("not run where this was made") == len(SESSIONS) - 1


def test_a_session_is_written_down_as_pytest_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the versions that are installed, beside those that were found before."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    monkeypatch.setattr(matrix, "FOUND", tmp_path / "matrix.json")

    matrix.main(["record", "3.11", "newest", str(report)])
    matrix.main(["record", "3.12", "newest", str(tmp_path / "none.xml"), "tests/core"])

    assert load()["3.11 newest"] == replace(cell(report, []), passed=5, failed=2, skipped=2)
    assert (load()["3.12 newest"].passed, load()["3.12 newest"].selected) == (0, "tests/core")
