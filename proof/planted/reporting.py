"""What became of the planted bugs, for people and for the docs."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.findings import FOLDER, Finding
from proof.planted.bug import Bug
from proof.planted.runner import Outcome

TABLE = FOLDER / "planted_table.json"


def finding(outcomes: Sequence[Outcome], *, seconds: float) -> Finding:
    """Return the figures of all planted bugs."""
    n_caught = sum(outcome.caught for outcome in outcomes)
    return Finding(
        name="planted",
        promise="A bug that would break a promise is caught by a test that was named before the bug was planted.",
        n_schedules=len(outcomes),
        n_lost=0,
        n_duplicate_rows=0,
        n_unreported_double_bills=0,
        seconds=round(seconds, 1),
        facts={
            "sentences of the promise": len({outcome.bug.promise for outcome in outcomes}),
            "caught": n_caught,
            "survived": len(outcomes) - n_caught,
        },
    )


def rows(bugs: Sequence[Bug]) -> list[dict[str, object]]:
    """Return the table for the docs: what is planted, which sentence it breaks, and what catches it."""
    return [
        {"name": bug.name, "promise": bug.promise, "what": bug.what, "caught_by": list(bug.caught_by)} for bug in bugs
    ]


def save_table(bugs: Sequence[Bug]) -> Path:
    """Write the table for the docs."""
    TABLE.write_text(json.dumps(rows(bugs), indent=2) + "\n")
    return TABLE


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print a table of all bugs, and how to see those that survived."""
    table = Table(title="Planted bugs")
    for heading in ("name", "breaks", "what its author thought", "caught by", "seconds"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        tests = "\n".join(test_id.removeprefix("tests/") for test_id in outcome.bug.caught_by)
        caught_by = tests if outcome.caught else f"SURVIVED: {outcome.survived}"
        cells = (outcome.bug.name, outcome.bug.promise.name, outcome.bug.what, caught_by, f"{outcome.seconds:.1f}")
        table.add_row(*map(escape, cells), style=None if outcome.caught else "bold red")
    console.print(table)
    survivors = [outcome for outcome in outcomes if not outcome.caught]
    for outcome in survivors:
        text = f"\n{outcome.bug.name} survived. See it:\n{how_to_see(outcome.bug)}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} planted bugs were caught.")


def how_to_see(bug: Bug) -> str:
    """Return the command that runs the tests that were named for a bug, with the bug."""
    tests = " ".join(map(repr, bug.caught_by))
    return f"python -m pytest -n 0 -p proof.planted.plugin --plant {bug.name} {tests}"
