"""The page of figures says what the proofs found, and nothing else."""

from dataclasses import replace

from proof.catalogue import faults
from proof.findings import FOLDER, Finding
from proof.report import ORDER, PAGE, page, written


def test_the_page_is_what_the_command_writes() -> None:
    """Nobody edits figures: `python -m proof.report` makes the page anew from what was saved."""
    assert PAGE.read_text() == written()


AT_LEAST = {"seeds": 10_000, "kills": 500, "answers": 600, "planted": 40}
"""How much has to be tried before it is worth a line on the page."""


def test_every_proof_on_the_page_holds() -> None:
    """Lost 0, doubled 0, billed twice in silence 0; no other promise broken, no planted bug alive."""
    found = {path.stem: Finding.load(path) for path in FOLDER.glob("*.json") if path.stem in ORDER}

    assert found.keys() == set(ORDER)
    assert [name for name, finding in found.items() if not finding.holds] == []
    assert {finding.facts.get("other promises broken", 0) for finding in found.values()} == {0}
    assert found["planted"].facts["survived"] == 0
    assert [name for name, finding in found.items() if finding.n_schedules < AT_LEAST.get(name, 0)] == []
    assert int(found["kills"].facts["kills inside the POST"]) * 5 >= found["kills"].n_schedules


def test_a_proof_that_does_not_hold_shows() -> None:
    """A figure that is not zero stands in the table as it is."""
    broken = replace(Finding.load(FOLDER / "kills.json"), n_lost=3, n_unreported_double_bills=1_234)

    assert "kills | 3 | 0 | 1,234 |" in page([broken], [], faults())
