"""The test of the tests: what is to be planted can be planted, and what was named catches it."""

import io
import json

import pytest
from rich.console import Console

from proof.findings import FOLDER, Finding
from proof.mutants import suite
from proof.mutants.__main__ import main
from proof.mutants.mutant import Mutant
from proof.mutants.planted import MUTANTS, named
from proof.mutants.runner import BrokenTestsError, Outcome, run_all
from proof.mutants.suite import ROOT
from proof.mutants.telling import TABLE, finding, show
from proof.scratch import scratch

CHUNKS = "tests/core/test_core_chunks.py"
QUICK = named(("batch-beyond-its-bytes", "no-without-envelope"))


def no_bug(name: str, old: str, new: str, caught_by: str = "test_chunks_are_full_but_the_last") -> Mutant:
    """Return a change of the chunks that is no bug to be proud of catching."""
    return Mutant(
        name=name, what="", file="core/chunks.py", old=old, new=new, caught_by=(f"{CHUNKS}::{caught_by}",)
    )  # fmt: skip


HARMLESS = no_bug("harmless", '"""How much goes into one batch."""', '"""How much fits into one batch."""')
NONSENSE = no_bug("nonsense", "n_bytes=n_bytes + size", "n_bytes=n_bytes + length")
UNIMPORTABLE = no_bug("unimportable", "import hashlib\n", "import hashlib, no_such_module\n")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_planted_bug_fits_the_code(mutant: Mutant) -> None:
    """Its place is found exactly once, it changes something, and the code with it is still Python."""
    source = mutant.path(ROOT).read_text()

    planted = mutant.planted_in(source)

    assert planted != source
    compile(planted, mutant.file, "exec")
    assert (bool(mutant.caught_by), mutant.what.endswith((".", "?"))) == (True, True)


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    """Fewer would prove less."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 60


def test_every_named_test_exists() -> None:
    """Pytest finds each of them, down to the parametrized case."""
    test_ids = sorted({test_id for mutant in MUTANTS for test_id in mutant.caught_by})

    with scratch() as folder:
        found = suite.run(suite.copied(ROOT, folder / "copy"), ["--collect-only", *test_ids])

    assert found.exit_code == 0, found.output


def test_planted_bugs_are_caught_and_what_is_no_bug_is_not() -> None:
    """A change that no test minds survives, and code that does not work at all proves nothing about a test."""
    outcomes = {outcome.mutant.name: outcome for outcome in run_all([*QUICK, HARMLESS, NONSENSE, UNIMPORTABLE])}

    survived = {name: outcome.survived for name, outcome in outcomes.items() if not outcome.caught}
    assert survived.pop("harmless") == f"{HARMLESS.caught_by[0]} passes"
    assert survived.pop("nonsense") == "it is nonsense rather than a bug: NameError: name 'length' is not defined"
    assert "could not be run: " in str(unimportable := survived.pop("unimportable"))
    assert "No module named 'no_such_module'" in str(unimportable)
    assert survived == {}
    assert all("assert" in outcomes[mutant.name].told for mutant in QUICK)


def test_tests_that_fail_without_a_bug_prove_nothing() -> None:
    """The named tests have to pass first."""
    with pytest.raises(BrokenTestsError, match="not found"):
        run_all([no_bug("x", "import hashlib\n", "import hashlib\n", caught_by="test_that_is_not_there")])


def test_a_test_that_hangs_catches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and says so."""
    monkeypatch.setattr(suite, "TIMEOUT_SECONDS", 3)

    with scratch() as folder:
        copy = suite.copied(ROOT, folder / "copy")
        (copy / "tests" / "test_hangs.py").write_text("def test_hangs():\n    while True:\n        pass\n")
        told = suite.run(copy, ["tests/test_hangs.py::test_hangs"])

    assert (told.exit_code, told.failures, told.output) == (None, {}, "not done after 3 seconds")


def test_survivors_are_shown_with_the_change_and_the_tests_that_passed() -> None:
    """So that they can be seen by hand; they are counted in the finding."""
    outcomes = [Outcome(QUICK[0], None, "AssertionError", 1.0), Outcome(HARMLESS, "all tests pass", "", 2.0)]
    shown = io.StringIO()

    show(outcomes, Console(file=shown, width=300))

    assert "1 of 2 planted bugs were caught" in shown.getvalue()
    assert "SURVIVED: all tests pass" in shown.getvalue()
    assert f"pytest -n 0 '{HARMLESS.caught_by[0]}'" in shown.getvalue()
    assert '-    """How much goes into one batch."""\n+    """How much fits into one batch."""' in shown.getvalue()
    assert finding(outcomes, seconds=1.0).facts == {"caught": 1, "survived": 1}


def test_a_bug_of_no_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Together with the names that there are."""
    assert main(("nobody",)) == 2
    assert "There is no planted bug 'nobody'. There are: sdk-retries-on" in capsys.readouterr().out


def test_what_the_docs_say_is_what_is_planted() -> None:
    """The table and the figures are of the present bugs, every one of them caught."""
    rows = [{"name": one.name, "what": one.what, "caught_by": list(one.caught_by)} for one in MUTANTS]
    figures = Finding.load(FOLDER / "mutants.json")

    assert json.loads(TABLE.read_text()) == rows, "what is planted has changed: run `make mutants`"
    assert (figures.n_schedules, figures.facts) == (len(MUTANTS), {"caught": len(MUTANTS), "survived": 0})


@pytest.mark.soak
def test_every_planted_bug_is_caught() -> None:
    """All of them, each by every test that was named."""
    assert {outcome.mutant.name: outcome.survived for outcome in run_all(MUTANTS) if not outcome.caught} == {}
