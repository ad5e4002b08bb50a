"""`claude-batch trial`: which model, prompt and effort is the cheapest that is right often enough."""

import click
from rich.markup import escape

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cli import console


@click.command("trial")
@click.argument("asset", required=False)
@click.option(
    "-m", "--module", "place", help="Module with the definitions, or the path of a Python file.", required=True
)
@click.option("--yes", is_flag=True, help="Do not ask before it is sent.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and end.")
def command(*, asset: str | None, place: str, yes: bool, dry_run: bool) -> None:
    """
    Find out on gold rows which model is the cheapest that is right often enough.

    And which prompt and effort: those that the trials of ASSET try; it need not be named if there is only one. First it
    shows what each candidate would cost. Then it materializes the trials in this process, and waits for the batches: on
    the Dagster instance of DAGSTER_HOME, if that is set. Safe to do twice: what was answered is not asked again, and
    what was sent is taken up.
    """
    from claude_batch_dagster.assets.plans import definitions_in  # noqa: PLC0415  (Dagster)
    from claude_batch_dagster.assets.trying import plans_of, trials_in, try_out  # noqa: PLC0415  (as above)
    from claude_batch_dagster.runs.trial_plans import n_requests, plan_lines, plan_table  # noqa: PLC0415  (as above)

    screen = console.console()
    defs = definitions_in(place)
    trials = trials_in(defs, asset)
    plans = plans_of(defs, trials)
    total, *_ = plan_lines(plans)
    screen.print(f"{escape(trials.key.to_user_string())}: {escape(total)}", soft_wrap=True)
    console.table(
        screen, "Plan", [{name: escape(str(cell)) for name, cell in line.items()} for line in plan_table(plans)]
    )
    for name, plan in plans.items():
        for note in plan.notes:
            screen.print(f"{escape(name)}: {escape(note.rstrip('.'))}.", soft_wrap=True)
    if dry_run:
        return
    if (n := n_requests(plans)) and not yes:
        click.confirm(f"Send {counted(n, 'request')}?", abort=True)
    outcome = try_out(trials)
    if outcome.failure is not None:
        raise click.ClickException(outcome.failure)
    lines = [{name: escape(str(cell)) for name, cell in line.items()} for line in outcome.candidates]
    console.table(screen, "Candidates", lines)
    screen.print(escape(outcome.sentences), soft_wrap=True)
