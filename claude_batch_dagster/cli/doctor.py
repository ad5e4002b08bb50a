"""`claude-batch doctor`: everything that a run needs, looked at before money is spent."""

from collections.abc import Callable, Iterator

import click

from claude_batch_dagster.cli import checkup_api, checkup_here
from claude_batch_dagster.cli.checkup import Finding, Level
from claude_batch_dagster.cli.places import Places

CHECKS: tuple[Callable[[Places], Iterator[Finding]], ...] = (
    checkup_api.look,
    checkup_here.state_directory,
    checkup_here.ledger,
    checkup_here.database,
    checkup_here.versions,
)

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """
    Check everything that a run needs.

    Makes one call to the API (a list of one batch) and changes nothing, however often it is done. The key itself is
    never shown. Exit code 1: there is a problem.
    """
    findings = [finding for check in CHECKS for finding in check(ctx.obj)]
    for finding in findings:
        level = click.style(f"{finding.level:<8}", fg=COLOURS[finding.level])
        click.echo(f"{level} {finding.subject:<16} {finding.text}")
        if finding.advice:
            click.echo(f"{'':<25} {finding.advice}")
    ctx.exit(1 if any(finding.level is Level.PROBLEM for finding in findings) else 0)
