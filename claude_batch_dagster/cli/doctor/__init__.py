"""`claude-batch doctor`: everything that a run needs, looked at before money is spent."""

from collections.abc import Callable, Iterator

import click

from claude_batch_dagster.cli.doctor import api, machine
from claude_batch_dagster.cli.doctor.findings import Finding, Level
from claude_batch_dagster.cli.options import Options

CHECKS: tuple[Callable[[Options], Iterator[Finding]], ...] = (
    api.look,
    machine.state_directory,
    machine.ledger,
    machine.database,
    machine.versions,
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
