"""The page of the catalogue of faults."""

from collections.abc import Iterator, Sequence

from proof.catalogue import Fault
from proof.report.proofs import cell

OPENING = """\
# The catalogue of faults

[Reliability](../reliability.md) / faults

All that can go wrong on the way of a row, from the upstream table to the answer, and what is promised then.
"""


def page(catalogue: Sequence[Fault]) -> str:
    """Return the page."""
    return "\n".join([OPENING, *_summary(catalogue), "", *_table(catalogue)]) + "\n"


def n_proved(catalogue: Sequence[Fault]) -> int:
    """Count the faults that tests prove."""
    return sum(not fault.excused for fault in catalogue)


def _summary(catalogue: Sequence[Fault]) -> Iterator[str]:
    yield (
        f"There are {len(catalogue)} faults. {n_proved(catalogue)} are proved by tests that carry their number: "
        "`pytest -k f33` runs the tests of F33. The other "
        f"{len(catalogue) - n_proved(catalogue)} say in the last column why not. `python -m proof.catalogue` counts "
        "the tests of each, and `make verify` fails if a fault has none."
    )


def _table(catalogue: Sequence[Fault]) -> Iterator[str]:
    yield "| fault | stage | what goes wrong | what is promised | if not tested, why |"
    yield "| --- | --- | --- | --- | --- |"
    for fault in catalogue:
        cells = (fault.id, fault.stage, fault.fault, fault.outcome, fault.excused)
        yield f"| {' | '.join(cell(text) for text in cells)} |"
