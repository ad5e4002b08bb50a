"""A job and a schedule for one asset, with limits that suit batches of up to 24 hours."""

from typing import Any

import dagster as dg

from claude_batch_dagster.declarations import declaration_of
from claude_batch_dagster.partitions import all_keys

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
    return dg.define_asset_job(name or f"{declared.name}_job", selection=[asset], tags=MAX_RUNTIME)


def build_batch_schedule(
    asset: dg.AssetsDefinition, cron_schedule: str, *, name: str | None = None, timezone: str | None = None
) -> dg.ScheduleDefinition:
    """
    Declare a schedule that materializes the asset: its latest partition, or all of it without partitions.

    Rows that have their answer are not sent again, so a schedule that runs often costs no more than one that runs
    seldom.

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
        target=[asset],
        description=f"Materializes {declared.spec.key.to_user_string()}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = all_keys(declared.spec.partitions_def, context.instance)
        if not keys:
            return dg.SkipReason("There is no partition yet.")
        return dg.RunRequest(partition_key=keys[-1], tags=MAX_RUNTIME)

    return schedule
