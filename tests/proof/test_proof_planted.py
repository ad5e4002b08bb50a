"""The test of the tests: what is to be planted can be planted, and what was named catches it."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from claude_batch_dagster.core import ledger
from claude_batch_dagster.core.asking.requests import Request
from claude_batch_dagster.core.sending import chunks
from claude_batch_dagster.storage.ledger import chunks as stored_chunks
from proof.findings import FOLDER, Finding
from proof.planted import suite
from proof.planted.__main__ import main
from proof.planted.bug import Bug, breaks
from proof.planted.every import BUGS, named
from proof.planted.planter import MisplacedError, Planter
from proof.planted.promises import Promise
from proof.planted.reporting import TABLE, finding, rows, show
from proof.planted.runner import BrokenTestsError, Outcome, run_all

FILLED = ("tests/core/test_core_chunks.py::test_chunks_are_full_but_the_last",)
QUICK = named(("one-silent-listing", "no-without-envelope"))


@breaks(Promise.PAID_ONCE, caught_by=FILLED)
def harmless(planter: Planter) -> None:
    """Change no more than a docstring."""
    planter.rewrite(chunks, "chunked", "Fill chunks to the limits", "Fill chunks up")


@breaks(Promise.PAID_ONCE, caught_by=FILLED)
def nonsense(planter: Planter) -> None:
    """Write what no developer would have kept."""
    planter.rewrite(chunks, "chunked", "n_bytes + size", "n_bytes + length")


@breaks(Promise.PAID_ONCE, caught_by=FILLED)
def misplaced(planter: Planter) -> None:
    """Replace what is not there."""
    planter.replace(chunks, "chunk_up", list)


def test_every_bug_can_be_planted_and_taken_out_again() -> None:
    """Its place is there and it changes something; its author thought something, and some test is to catch it."""
    for bug in BUGS:
        planter = Planter()
        try:
            bug.plant(planter)
            replaced = [(owner, name, was, getattr(owner, name)) for owner, name, was in planter.replaced]
        finally:
            planter.undo()

        assert [name for _, name, was, new in replaced if was is new] == [], bug.name
        assert [name for owner, name, _, new in replaced if getattr(owner, name) is new] == [], bug.name
        assert (bool(bug.caught_by), bug.what.endswith((".", "?"))) == (True, True), bug.name


def test_every_sentence_of_the_promise_is_broken_by_two_bugs_or_more() -> None:
    """Each bug has a name of its own."""
    assert [promise.name for promise in Promise if Counter(bug.promise for bug in BUGS)[promise] < 2] == []
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_what_a_module_defines_is_replaced_wherever_it_was_imported() -> None:
    """A constant, here, in the module that has imported it before."""
    was, planter = ledger.NEXT, Planter()
    planter.replace(ledger, "NEXT", {})
    planted = [vars(module)["NEXT"] for module in (ledger, stored_chunks)]
    planter.undo()

    assert planted == [{}, {}]
    assert all(vars(module)["NEXT"] is was for module in (ledger, stored_chunks))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda planter: planter.replace(chunks, "chunk_up", list), "chunks defines no chunk_up"),
        (lambda planter: planter.replace(Request, "with_options", list), "Request defines no with_options"),
        (lambda planter: planter.replace(chunks, "chunked", lambda rows: rows), "chunked is no longer called like"),
        (lambda planter: planter.rewrite(chunks, "chunked", "yield chunk", ""), "'yield chunk' 2 times, not once"),
        (lambda _: None, "changes nothing"),
    ],
)
def test_a_bug_that_does_not_fit_the_code_any_more_says_so(change: object, told: str) -> None:
    """Nothing is planted by halves: the name is gone, or its parameters, or the text; or nothing was changed."""
    planter = Planter()

    with pytest.raises(MisplacedError, match=told):
        Bug(promise=Promise.PAID_ONCE, caught_by=FILLED, change=change).plant(planter)  # type: ignore[arg-type]

    assert planter.replaced == []


@pytest.mark.verify
def test_every_named_test_exists(tmp_path: Path) -> None:
    """Pytest finds each of them, down to the parametrized case."""
    test_ids = sorted({test_id for bug in BUGS for test_id in bug.caught_by})

    found = suite.run(tmp_path / "run", ["--collect-only", *test_ids])

    assert found.exit_code == 0, found.output


@pytest.mark.verify
def test_planted_bugs_are_caught_and_what_is_no_bug_is_not() -> None:
    """A change that no test minds survives, and code that does not work at all proves nothing about a test."""
    outcomes = {outcome.bug.name: outcome for outcome in run_all([*QUICK, harmless, nonsense, misplaced])}

    survived = {name: outcome.survived for name, outcome in outcomes.items() if not outcome.caught}
    unplanted = survived.pop("misplaced") or ""
    assert survived == {
        "harmless": f"{FILLED[0]} passes",
        "nonsense": "it is nonsense rather than a bug: NameError: name 'length' is not defined",
    }
    assert "could not be run: " in unplanted
    assert "claude_batch_dagster.core.sending.chunks defines no chunk_up" in unplanted
    assert all("assert" in outcomes[bug.name].said for bug in QUICK)


@pytest.mark.verify
def test_tests_that_fail_without_a_bug_prove_nothing() -> None:
    """The named tests have to pass first."""
    absent = Bug(promise=Promise.PAID_ONCE, caught_by=(f"{FILLED[0]}_and_more",), change=harmless.change)

    with pytest.raises(BrokenTestsError, match="not found"):
        run_all([absent])


@pytest.mark.verify
def test_a_test_that_hangs_catches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is ended, and says so."""
    monkeypatch.setattr(suite, "TIMEOUT_SECONDS", 3)
    (tmp_path / "test_hangs.py").write_text("def test_hangs():\n    while True:\n        pass\n")

    ended = suite.run(tmp_path / "run", [f"{tmp_path}/test_hangs.py"])

    assert (ended.exit_code, ended.failures, ended.output) == (None, {}, "not done after 3 seconds")


@pytest.mark.verify
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--plant=nobody"], "there is no planted bug 'nobody'. There are: sdk-retries-on"),
        (["--plant=one-silent-listing", "-n2"], "a bug is planted in this process only: run with -n 0"),
    ],
)
def test_a_bug_that_cannot_be_planted_by_hand_says_why(arguments: list[str], told: str, tmp_path: Path) -> None:
    """No test runs without the bug that was asked for."""
    refused = suite.run(tmp_path / "run", ["-p", "proof.planted.plugin", *arguments, *FILLED])

    assert (refused.exit_code, told in refused.output) == (4, True), refused.output


def test_survivors_are_shown_with_the_command_to_see_them() -> None:
    """They can be run by hand, and they are counted in the finding."""
    outcomes = [Outcome(QUICK[0], None, "AssertionError", 1.0), Outcome(QUICK[1], "all tests pass", "", 2.0)]
    shown = io.StringIO()

    show(outcomes, Console(file=shown, width=300))

    assert "1 of 2 planted bugs were caught" in shown.getvalue()
    assert "SURVIVED: all tests pass" in shown.getvalue()
    by_hand = f"python -m pytest -n 0 -p proof.planted.plugin --plant no-without-envelope '{QUICK[1].caught_by[0]}'"
    assert by_hand in shown.getvalue()
    assert finding(outcomes, seconds=1.0).facts == {"sentences of the promise": 2, "caught": 1, "survived": 1}


def test_a_bug_of_no_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Together with the names that there are."""
    assert main(("nobody",)) == 2
    assert "There is no planted bug 'nobody'. There are: sdk-retries-on" in capsys.readouterr().out


def test_what_the_docs_say_is_what_is_planted() -> None:
    """The table and the figures are of the present bugs, every one of them caught."""
    figures = Finding.load(FOLDER / "planted.json")

    assert json.loads(TABLE.read_text()) == rows(BUGS), "what is planted has changed: run `python -m proof planted`"
    assert (figures.n_schedules, figures.facts["caught"], figures.facts["survived"]) == (len(BUGS), len(BUGS), 0)


@pytest.mark.verify
@pytest.mark.timeout(3_600)
def test_every_planted_bug_is_caught() -> None:
    """All of them, each by every test that was named."""
    assert {outcome.bug.name: outcome.survived for outcome in run_all(BUGS) if not outcome.caught} == {}
