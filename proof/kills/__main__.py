"""`python -m proof.kills`: kill runs, and write down what came of it."""

import json
import sys
from dataclasses import asdict

import click

from proof.kills.campaign import run, run_job


@click.command()
@click.option("--kills", default=500, show_default=True, help="How many runs to kill.")
@click.option("--first-seed", default=0, show_default=True, help="Seed of the first job of five kills.")
@click.option("--seed", type=int, help="Repeat the one job of this seed.")
def main(*, kills: int, first_seed: int, seed: int | None) -> None:
    """Kill real runs of Dagster with SIGKILL; exit with 1 if any of them lost or paid too much."""
    if seed is not None:
        verdict = run_job(seed)
        click.echo("\n".join([*verdict.complaints, json.dumps(verdict.facts, indent=2, sort_keys=True)]))
        sys.exit(bool(verdict.complaints))
    finding = run(kills, first_seed, click.echo)
    click.echo(json.dumps(asdict(finding), indent=2))
    finding.save()
    sys.exit(not finding.holds or bool(finding.facts["other promises broken"]))


if __name__ == "__main__":
    main()
