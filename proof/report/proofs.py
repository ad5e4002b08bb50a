"""The proofs that are reported: their order, their titles, and what each has found."""

from collections.abc import Iterator

from proof.findings import FOLDER, Finding

ORDER = ("singles", "pairs", "seeds", "kills", "million", "answers", "cuts", "planted")
"""The proofs, from the engine in a simulation to the tests of the tests."""

WHAT = {
    "singles": ("Every fault at every call", "schedules"),
    "pairs": ("Every pair of faults", "schedules"),
    "seeds": ("Random lives of a table", "seeds"),
    "kills": ("Real runs of Dagster, killed", "kills"),
    "million": ("A million documents, through kills", "documents"),
    "answers": ("Every answer to a create call", "answers"),
    "cuts": ("Results cut at every byte", "cuts"),
    "planted": ("Planted bugs", "bugs"),
}

OF_THE_TESTS = frozenset({"planted"})
"""Those that try the tests, not the product: nothing can be lost in them, so they are told beside the table."""


def found() -> list[Finding]:
    """Return what was found last, in order."""
    saved = {path.stem: Finding.load(path) for path in FOLDER.glob("*.json") if path.stem in ORDER}
    return [saved[name] for name in ORDER if name in saved]


def figures(finding: Finding) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each figure that is not zero, of how much was tried first."""
    unit = WHAT[finding.name][1]
    yield unit, f"{finding.n_schedules:,}"
    facts = finding.facts if not finding.seeds else {"seeds drawn from": finding.seeds, **finding.facts}
    for name, figure in {**facts, "seconds": finding.seconds}.items():
        if figure != 0 and name != unit:
            yield name, figure if isinstance(figure, str) else f"{figure:,}"


def anchor(title: str) -> str:
    """Return the name under which GitHub links to a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def cell(text: str) -> str:
    """Return text that cannot break a table."""
    return " ".join(text.replace("|", "\\|").split())
