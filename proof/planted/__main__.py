"""Plant bugs and see them caught: `python -m proof.planted [NAME ...]`. Exits with 1 if one survives."""

import sys
import time

from rich.console import Console

from proof.planted.every import BUGS, named
from proof.planted.reporting import finding, how_to_see, save_table, show
from proof.planted.runner import BrokenTestsError, Outcome, run_all
from proof.planted.suite import ROOT

WIDTH = 160
"""Of what is printed to a file."""


def main(names: tuple[str, ...]) -> int:
    """Plant the bugs of these names, or all of them; what becomes of all of them is saved for the docs."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        bugs = named(names)
    except KeyError as error:
        console.print(f"There is no planted bug {error}. There are: {', '.join(bug.name for bug in BUGS)}")
        return 2

    def report(outcome: Outcome) -> None:
        word, why = ("caught", outcome.said) if outcome.caught else ("SURVIVED", outcome.survived)
        console.print(f"{word:>8}  {outcome.bug.name}: {why}", highlight=False, markup=False, no_wrap=True)

    began = time.monotonic()
    try:
        outcomes = run_all(bugs, report)
    except BrokenTestsError as error:
        console.print(f"The named tests fail without a bug, so they prove nothing:\n{error}", markup=False)
        return 1
    show(outcomes, console)
    if bugs == BUGS:
        for path in (finding(outcomes, seconds=time.monotonic() - began).save(), save_table(bugs)):
            console.print(f"Written to {path.relative_to(ROOT)}.")
    else:
        for bug in bugs:
            console.print(
                f"\nAll that its tests say:\n{how_to_see(bug)}", markup=False, highlight=False, soft_wrap=True
            )
    return 0 if all(outcome.caught for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
