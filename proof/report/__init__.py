"""
The pages of figures: `docs/reliability.md`, and what it links to in `docs/reliability/`.

Nothing on these pages is written by hand but the sentences between their figures, which stand here.
`python -m proof.report` writes all of them, from what the proofs found last.
"""

from pathlib import Path

from proof.catalogue import faults
from proof.mutation import page as mutation
from proof.report import catalogue, front, methods, planted_bugs
from proof.report.proofs import found

DOCS = Path(__file__).parents[2] / "docs"


def pages() -> dict[Path, str]:
    """Return every page, by its path, as the figures saved last make it."""
    findings = found()
    return {
        DOCS / "reliability.md": front.page(findings, faults()),
        DOCS / "reliability" / "methods.md": methods.page(findings),
        DOCS / "reliability" / "faults.md": catalogue.page(faults()),
        DOCS / "reliability" / "planted-bugs.md": planted_bugs.page(planted_bugs.planted()),
        DOCS / "reliability" / "mutation.md": mutation.written(),
    }
