"""Every answer that the API, or what stands before it, can give to a create call; and what each one proves."""

import tempfile
import time
from pathlib import Path

from proof.answers.cells import Cell, cells
from proof.answers.driving import Seen, answering_world, faults
from proof.answers.rules import rule
from proof.findings import Finding

__all__ = ["run"]

PROMISE = "Whatever answers a create call, it is sent once, and no answer is taken for a no that may have been a yes."


def run() -> Finding:
    """Drive every cell over a real socket, and count those that differ from the rule book."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, answering_world(Path(folder)) as world:
        seen = [(cell, world.drive(cell)) for cell in cells()]
    wrong = [(cell, what, problems) for cell, what in seen if (problems := faults(cell, what))]
    for cell, _, problems in wrong:
        print(cell, *problems, sep="; ")
    twice = [cell for cell, what, _ in wrong if _pays_twice(cell, what)]
    outcomes = [rule(cell).outcome for cell, _ in seen]
    return Finding(
        name="answers",
        promise=PROMISE,
        n_schedules=len(seen),
        n_lost=len(wrong) - len(twice),
        n_duplicate_rows=0,
        n_unreported_double_bills=len(twice),
        seconds=round(time.monotonic() - began, 1),
        facts={
            "POSTs": sum(what.n_posts for _, what in seen),
            **{f"answers that are a {outcome}": outcomes.count(outcome) for outcome in ("yes", "no")},
            "answers that are ambiguous": outcomes.count("ambiguous"),
            "redirects followed": max(what.n_elsewhere for _, what in seen),
        },
    )


def _pays_twice(cell: Cell, what: Seen) -> bool:
    """Whether rows were set free that may have been accepted, or were sent more than once."""
    return what.n_posts > 1 or (what.state == "refused" and rule(cell).outcome != "no")
