"""Submitting without waiting: `<name>_submission` materializes as soon as its rows are at the API."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from claude_batch_dagster.assets.registry import Declaration, declaration_of
from claude_batch_dagster.assets.sources import FRAME_INPUT, whole_frame
from claude_batch_dagster.engine import Submitted
from claude_batch_dagster.errors import CanaryError, ConfigurationError, RepayError
from claude_batch_dagster.runs.dagster_internals import previews
from claude_batch_dagster.runs.opening import open_engine
from claude_batch_dagster.runs.partitions import partitions_of
from claude_batch_dagster.runs.plan import tell_left_out, tell_plan
from claude_batch_dagster.runs.run_config import SubmissionConfig
from claude_batch_dagster.runs.termination import INTERRUPTIONS, stop


def build_submission_asset(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """
    Declare `<name>_submission`: it sends the rows of `<name>` and is done, so no worker waits for Claude.

    Backfill it in place of `<name>`, and switch on the sensor of `build_collect_sensor`, which materializes
    `<name>` for partitions whose batches have ended. Rows travel, and are paid for, exactly as they would with
    `<name>` itself: the two may be mixed. It waits only while `max_requests_in_flight` are out, or while it is not
    known whether a batch was accepted, or for the first rows of a large plan; a person who terminates it then cancels
    the batches that it has sent.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned.

    Raises:
        ConfigurationError: `asset` is another one, or has a budget per run or backfill.

    """
    declared = declaration_of(asset)
    budget = declared.task.spending.budget
    if budget is not None and budget.per in {"run", "backfill"}:
        raise ConfigurationError(
            f"a budget per {budget.per} cannot be kept with a submission: the run that collects is another one, and "
            "would have money of its own. Write per='day' or per='month'."
        )
    return _declare(declared, submission_key(declared))


def submission_key(declared: Declaration) -> dg.AssetKey:
    """Return the key of the submission asset: beside the asset, `_submission` behind its name."""
    *prefix, name = declared.spec.key.path
    return dg.AssetKey([*prefix, f"{name}_submission"])


def _declare(declared: Declaration, key: dg.AssetKey) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        key,
        deps=declared.spec.deps,
        description=f"The rows of `{declared.spec.key.to_user_string()}` at the Message Batches API. Materializing it "
        "submits them and does not wait; the collect sensor brings the answers home.",
        group_name=declared.spec.group_name,
        code_version=declared.spec.code_version,
        skippable=True,
        owners=declared.spec.owners,
        kinds={"claude"},
        partitions_def=declared.spec.partitions_def,
    )

    def body(
        context: dg.AssetExecutionContext, config: SubmissionConfig, **frames: Any
    ) -> Iterator[dg.MaterializeResult[Any]]:
        frame = whole_frame(frames[FRAME_INPUT]) if frames else None
        resource = getattr(context.resources, declared.resource_key)
        [loaded] = context.assets_def.specs
        task = declared.waiting_for(loaded.deps).task
        engine = open_engine(context, resource, task, config)
        try:
            if config.dry_run:
                tell_plan(context, engine.plan(partitions_of(context), frame))
                return
            submitted = engine.submit(partitions_of(context), frame)
        except (RepayError, CanaryError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except INTERRUPTIONS as interruption:
            stop(context, engine, on_terminate=resource.on_terminate)
            raise dg.DagsterExecutionInterruptedError from interruption
        finally:
            engine.close()
        tell_left_out(context, submitted.left_out)
        _tell(context, submitted)
        yield dg.MaterializeResult(asset_key=context.asset_key)

    with previews():
        return dg.multi_asset(
            name=key.to_python_identifier(),
            specs=[spec],
            ins=declared.source.ins,
            required_resource_keys={declared.resource_key},
            backfill_policy=declared.backfill_policy,
            **declared.execution,
        )(body)


def _tell(context: dg.AssetExecutionContext, submitted: Submitted) -> None:
    key = context.asset_key
    for partition_key in submitted.partition_keys:
        metadata = {
            "claude_batch/requests_sent": submitted.n_asked[partition_key],
            "claude_batch/upstream_rows": submitted.n_expected[partition_key],
            "claude_batch/batch_ids": list(submitted.batch_ids),
        }
        if partition_key is None:
            context.add_asset_metadata(metadata, asset_key=key)
        else:
            context.add_asset_metadata(metadata, asset_key=key, partition_key=partition_key)
