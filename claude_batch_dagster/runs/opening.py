"""Opening the engine for one Dagster run: it tells the run log what it does, and asks Dagster what partitions exist."""

import dagster as dg

from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.log import RunLog
from claude_batch_dagster.runs.partitions import is_partition
from claude_batch_dagster.runs.plan import observe_plan
from claude_batch_dagster.runs.run_config import SubmissionConfig
from claude_batch_dagster.runs.termination import AttentiveClock, is_over

BACKFILL_TAG = "dagster/backfill"
"""Tag of the runs of a backfill."""


def open_engine(
    context: dg.AssetExecutionContext, resource: ClaudeBatchResource, task: Task, config: SubmissionConfig
) -> Engine:
    """Open everything that the run needs; raise before money is spent if something of it cannot work."""
    engine = resource.open_engine(task, run_id=context.run.run_id)
    root_run_id = engine.root_run_id = context.run.root_run_id or context.run.run_id
    engine.backfill_id = context.run.tags.get(BACKFILL_TAG)
    engine.settings = config.settings(root_run_id)
    engine.on_plan = lambda forecast: observe_plan(context, forecast)
    log = RunLog(context, tempo=engine.tempo, answerer=lambda: engine.api.answerer)
    engine.on_asked, engine.on_progress, engine.on_trouble = log.tell_asked, log.tell_progress, log.tell_trouble
    engine.on_wait, engine.on_give_up = log.tell_waiting, log.tell_given_up
    engine.is_partition = is_partition(context.assets_def.partitions_def, context.instance, context.asset_key)
    engine.clock = AttentiveClock(engine.clock, lambda: is_over(context))
    return engine
