"""The pages of figures say what the proofs found, and nothing else."""

from dataclasses import replace

from proof.catalogue import faults
from proof.findings import FOLDER, Finding
from proof.report import DOCS, front, pages
from proof.report.methods import METHOD
from proof.report.proofs import ORDER, WHAT, found


def test_the_pages_are_what_the_command_writes() -> None:
    """Nobody edits figures: `python -m proof.report` makes every page anew from what was saved; there is no other."""
    there = {DOCS / "reliability.md", *(DOCS / "reliability").iterdir()}

    assert {path: path.read_text() for path in there} == pages()


AT_LEAST = {"seeds": 10_000, "kills": 500, "million": 1_000_000, "answers": 600, "planted": 40}
"""How much has to be tried before it is worth a line on the page."""


def test_every_proof_on_the_page_holds() -> None:
    """Lost 0, doubled 0, billed twice in silence 0; no other promise broken, no planted bug alive."""
    findings = {finding.name: finding for finding in found()}

    assert tuple(findings) == ORDER
    assert [name for name, finding in findings.items() if not finding.holds] == []
    assert {finding.facts.get("other promises broken", 0) for finding in findings.values()} == {0}
    assert findings["planted"].facts["survived"] == 0
    assert [name for name, finding in findings.items() if finding.n_schedules < AT_LEAST.get(name, 0)] == []
    assert int(findings["kills"].facts["kills inside the POST"]) * 5 >= findings["kills"].n_schedules


def test_every_proof_is_explained() -> None:
    """Each has its title, its unit and its method."""
    assert set(ORDER) == set(WHAT) == set(METHOD)


def test_a_proof_that_does_not_hold_shows() -> None:
    """A figure that is not zero stands in the table as it is; a bug that nobody caught is missing from those caught."""
    broken = replace(Finding.load(FOLDER / "kills.json"), n_lost=3, n_unreported_double_bills=1_234)
    alive = replace(Finding.load(FOLDER / "planted.json"), n_schedules=10, facts={"caught": 9})
    page = front.page([broken, alive], faults())

    assert "kills | 3 | 0 | 1,234 |" in page
    assert "10 [bugs were planted](reliability/planted-bugs.md), one at a time, and 9 of them were caught" in page
