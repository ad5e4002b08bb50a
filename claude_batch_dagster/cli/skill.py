"""`claude-batch skill`: what a coding agent has to know of this package, put where it looks."""

import shutil
from pathlib import Path

import click

from claude_batch_dagster import skills

NAME = "claude-batch-dagster"


@click.command("skill")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".claude/skills"))
def command(folder: Path) -> None:
    """
    Put what a coding agent has to know of this package where it looks.

    That is FOLDER, by default .claude/skills in the current directory. A copy that is there is written over by that of
    the version that is installed; the result is the same however often it is done.
    """
    source = Path(next(iter(skills.__path__))) / NAME
    target = folder / NAME
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror or type(error).__name__}.") from None
    click.echo(f"{target}/SKILL.md is that of this version. An agent that works in this project finds it by itself.")
