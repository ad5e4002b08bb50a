"""
Run a proof: `python -m proof NAME`.

Each writes what it found to `proof/findings/NAME.json` and fails if a promise was broken.
"""

import sys
from collections.abc import Callable

import click

from proof import answers, cuts
from proof.findings import Finding
from proof.kills.__main__ import main as kills
from proof.kills.million import run_large
from proof.mutation.__main__ import main as mutation
from proof.planted.__main__ import main as planted
from proof.simulation import exhaustive, replaying, seeds


@click.group()
def main() -> None:
    """Prove that a document is paid for once and no answer that was paid for is lost."""


def conclude(finding: Finding) -> None:
    """Save a finding, print it, and exit with 1 if it does not hold."""
    path = finding.save()
    figures = {
        "schedules": finding.n_schedules,
        "lost": finding.n_lost,
        "duplicate rows": finding.n_duplicate_rows,
        "double bills in silence": finding.n_unreported_double_bills,
        "seconds": finding.seconds,
        **finding.facts,
    }
    for name, figure in figures.items():
        print(f"{name:>32}: {figure:,}" if not isinstance(figure, str) else f"{name:>32}: {figure}")
    print(f"Written to {path.relative_to(path.parents[2])}.")
    if not finding.holds or finding.facts.get("other promises broken"):
        sys.exit(1)


def proof(name: str, find: Callable[[], Finding], about: str) -> None:
    """Add a proof without options as a subcommand."""
    main.command(name, help=about)(lambda: conclude(find()))


proof("singles", exhaustive.singles, "Every fault at every call of a job of two chunks.")
proof("pairs", exhaustive.pairs, "Every pair of faults of a job of two chunks.")
proof("answers", answers.run, "Every answer to a create call, over a socket, against the answer table.")
proof("cuts", cuts.run, "The results of a batch, cut at every byte.")


@main.command("seeds")
@click.option("--n", default=10_000, help="How many seeds.")
@click.option("--first", default=0, help="The first of them.")
def seeds_command(n: int, first: int) -> None:
    """Play random schedules, each from one seed."""
    conclude(seeds.run_seeds(range(first, first + n)))


proof("million", run_large, "A million documents, through twenty kills.")
main.add_command(kills, "kills")
main.add_command(mutation, "mutation")


@main.command("planted")
@click.argument("names", nargs=-1)
def planted_command(names: tuple[str, ...]) -> None:
    """Plant bugs, those of these names or all, and see each caught by the tests that were named for it."""
    sys.exit(planted(names))


@main.command()
@click.argument("text")
def replay(text: str) -> None:
    """Run one schedule again, as a failure prints it, and show every call."""
    if not replaying.replay(text):
        sys.exit(1)


if __name__ == "__main__":
    main()
