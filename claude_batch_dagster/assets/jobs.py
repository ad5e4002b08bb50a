"""A job and a schedule for one asset, with limits that suit batches of up to 24 hours."""

from typing import Any

import dagster as dg

from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.runs.partitions import current_corners, dimensions_of
from claude_batch_dagster.runs.ranges import Keys, partition_tags

MAX_RUNTIME_SECONDS = 30 * 3_600
"""A batch takes up to 24 hours; its expired rows may be asked again."""

MAX_RUNTIME = {"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)}
"""Run tag by which Dagster's run monitoring ends a run that hangs. The batches go on; the next run lands them."""


def build_batch_job(asset: dg.AssetsDefinition, *, name: str | None = None) -> Any:
    """
    Declare a job that materializes the asset alone, and is ended after 30 hours if it hangs.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned.
        name: Name of the job; default `<name>_job`.

    Raises:
        ConfigurationError: `asset` is another one.

    """
    declared = declaration_of(asset)
    return dg.define_asset_job(name or f"{declared.name}_job", selection=declared.selection, tags=MAX_RUNTIME)


def build_batch_schedule(
    asset: dg.AssetsDefinition, cron_schedule: str, *, name: str | None = None, timezone: str | None = None
) -> dg.ScheduleDefinition:
    """
    Declare a schedule that materializes what is current of the asset, in one run.

    That is the latest time window, in two dimensions every cell of it; without time windows it is every partition
    there is, or the whole of an asset without partitions. A tick that comes late, as after the daemon was down, is for
    what was the latest time window when it should have come. Rows that have their answer are not sent again, so a
    schedule that runs often costs no more than one that runs seldom.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned.
        cron_schedule: When, as cron says it: `"0 6 * * *"` is every day at six.
        name: Name of the schedule; default `<name>_schedule`.
        timezone: Zone of `cron_schedule`; default UTC.

    Raises:
        ConfigurationError: `asset` is another one.

    """
    declared = declaration_of(asset)

    @dg.schedule(
        name=name or f"{declared.name}_schedule",
        cron_schedule=cron_schedule,
        execution_timezone=timezone,
        target=declared.selection,
        description=f"Materializes {declared.spec.key.to_user_string()}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # As of then: Dagster refuses a partition that there was not yet when the tick was due.
        corners = current_corners(declared.spec.partitions_def, context.instance, context.scheduled_execution_time)
        if not corners:
            return dg.SkipReason("There is no partition yet.")
        return _request(corners, grid=bool(dimensions_of(declared.spec.partitions_def)))

    return schedule


def _request(corners: Keys, *, grid: bool) -> dg.RunRequest:
    """Ask for one run; Dagster itself keeps apart those of different ticks."""
    # For a partition in two dimensions Dagster warns of the tags that it sets itself; for a range it does not.
    if corners[0] == corners[-1] and not grid:
        return dg.RunRequest(partition_key=corners[0], tags=MAX_RUNTIME)
    return dg.RunRequest(tags={**partition_tags(corners), **MAX_RUNTIME})
