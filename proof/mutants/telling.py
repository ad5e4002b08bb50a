"""What became of the planted bugs, for people and for the docs."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.findings import FOLDER, Finding
from proof.mutants.mutant import PACKAGE, Mutant
from proof.mutants.runner import Outcome
from proof.mutants.suite import ROOT

TABLE = FOLDER / "mutants_table.json"


def finding(outcomes: Sequence[Outcome], *, seconds: float) -> Finding:
    """Return the figures of all planted bugs."""
    n_caught = sum(outcome.caught for outcome in outcomes)
    return Finding(
        name="mutants",
        promise="A bug that would break a promise is caught by a test that was named before the bug was planted.",
        n_schedules=len(outcomes),
        n_lost=0,
        n_duplicate_rows=0,
        n_unreported_double_bills=0,
        seconds=round(seconds, 1),
        facts={"caught": n_caught, "survived": len(outcomes) - n_caught},
    )


def save_table(mutants: Sequence[Mutant]) -> Path:
    """Write down what is planted and what catches it, for the docs."""
    rows = [{"name": one.name, "what": one.what, "caught_by": list(one.caught_by)} for one in mutants]
    TABLE.write_text(json.dumps(rows, indent=2) + "\n")
    return TABLE


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print a table of all bugs, and how to see those that survived."""
    table = Table(title="Planted bugs")
    for heading in ("name", "what its author thought", "caught by", "seconds"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        tests = "\n".join(test_id.removeprefix("tests/") for test_id in outcome.mutant.caught_by)
        caught_by = tests if outcome.caught else f"SURVIVED: {outcome.survived}"
        cells = (outcome.mutant.name, outcome.mutant.what, caught_by, f"{outcome.seconds:.1f}")
        table.add_row(*map(escape, cells), style=None if outcome.caught else "bold red")
    console.print(table)
    survivors = [outcome for outcome in outcomes if not outcome.caught]
    for outcome in survivors:
        console.print(how_to_see(outcome), markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} planted bugs were caught.")


def how_to_see(outcome: Outcome) -> str:
    """Return what to apply and to run to see a bug survive."""
    tests = " ".join(map(repr, outcome.mutant.caught_by))
    name = outcome.mutant.name
    return f"\n{name} survived. Apply this, and run: pytest -n 0 {tests}\n\n{difference(outcome.mutant)}"


def difference(mutant: Mutant) -> str:
    """Return the bug as a patch."""
    name, source = f"{PACKAGE}/{mutant.file}", mutant.path(ROOT).read_text()
    before, after = (text.splitlines(keepends=True) for text in (source, mutant.planted_in(source)))
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))
