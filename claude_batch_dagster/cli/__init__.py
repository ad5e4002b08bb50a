"""
`claude-batch`: see what is on its way, and settle by hand what a person has to settle.

The commands are imported when they are asked for, so that the program starts at once. Only those that load
definitions need Dagster, and each is safe to do twice.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from importlib import import_module
from typing import Any

import click

from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.core.waiting import SystemClock
from claude_batch_dagster.errors import ClaudeBatchError

__all__ = ["main"]

COMMANDS = {
    "plan": "Show what a run would send, why, and what it would cost.",
    "trial": "Find out on gold rows which model is the cheapest that is right often enough.",
    "status": "Show what is on its way and what it has cost.",
    "cost": "Show what answers have cost, and what was saved.",
    "reconcile": "Find out what became of batches whose acceptance is not known.",
    "resolve": "Say of one batch, as a person, whether it was sent.",
    "cancel": "Ask the API to stop batches that are on their way.",
    "doctor": "Check everything that a run needs.",
    "skill": "Put what a coding agent has to know of this package where it looks.",
}
"""What each command does, told without importing it."""


WHERE: Mapping[str, tuple[str | None, str]] = {
    "--state-directory": (
        "CLAUDE_BATCH_STATE_DIRECTORY",
        "Folder of ledger, raw results and locks. [default: .claude_batch beside the database, else here]",
    ),
    "--ledger-url": (
        "CLAUDE_BATCH_LEDGER_URL",
        (
            "SQLAlchemy URL of the ledger. One with a password belongs into the environment. "
            "[default: ledger.sqlite in the state directory]"
        ),
    ),
    "--database": ("CLAUDE_BATCH_DATABASE", "The DuckDB file of documents and answers."),
    "--base-url": ("ANTHROPIC_BASE_URL", "Base URL of the API. [default: https://api.anthropic.com]"),
    "--workspace-id": (None, "Workspace that the runs use, for keys that may act in several."),
}
"""Where ledger, database and API are: each option with its environment variable and what it says."""


def _where(main: Callable[..., None]) -> Callable[..., None]:
    for flag, (variable, text) in reversed([*WHERE.items()]):
        main = click.option(flag, envvar=variable, show_envvar=variable is not None, help=text)(main)
    return main


class Commands(click.Group):
    """The commands, each a module with a `command`; errors of ours are told in one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names of the commands, as the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (as above)
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = copy(import_module(f"{__name__}.{cmd_name}").command)
        behind = [
            click.Option([flag], help=text, expose_value=False, callback=_said) for flag, (_, text) in WHERE.items()
        ]
        command.params = [*command.params, *behind]  # people write them on either side
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (as above)
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong is one sentence and exit code 1, never a traceback."""
        try:
            return super().invoke(ctx)
        except ClaudeBatchError as error:
            raise click.ClickException(str(error)) from None


def _said(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Note what an option behind the command says: it stands over what was said before the command."""
    if value is not None and param.name:
        ctx.obj = replace(ctx.obj, **{param.name: value})


@click.group(cls=Commands)
@_where
@click.version_option(package_name="claude-batch-dagster")
@click.pass_context
def main(  # noqa: PLR0913 - one argument for each option
    ctx: click.Context,
    /,
    *,
    state_directory: str | None,
    ledger_url: str | None,
    database: str | None,
    base_url: str | None,
    workspace_id: str | None,
) -> None:
    """
    See and settle what is on its way at Claude's Message Batches API.

    The API key is read from ANTHROPIC_API_KEY and nowhere else. Every command is safe to do twice: the
    second time it finds nothing to do and exits with 0.

    Exit codes: 0 done, or nothing to do; 1 a problem, told in a sentence; 2 wrong usage; 3 not known yet,
    so come again later.
    """
    ctx.obj = Options(
        state_directory=state_directory,
        ledger_url=ledger_url,
        database=database,
        base_url=base_url,
        workspace_id=workspace_id,
        clock=ctx.obj or SystemClock(),  # who calls this from code may bring a clock
    )
