"""Trials without a code location: what `claude-batch trial` shows, asks and does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from claude_batch_dagster.assets.plans import opened_instance, opened_resource
from claude_batch_dagster.assets.trials import DeclaredTrials, trials_of
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.open_trial import OpenTrial
from claude_batch_dagster.runs.trial_plans import Plans
from claude_batch_dagster.runs.trial_results import CANDIDATES, OUTCOME

QUIET = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
"""What a person sees of a run that they wait for: what it says, not each of Dagster's events."""

HOW_TO = "Declare some: build_trials_asset(classified_tickets, models=[...]), or trials: {models: [...]} in YAML."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial, or why nothing did."""

    sentences: str = ""
    candidates: Sequence[Mapping[str, Any]] = ()
    failure: str | None = None


def trials_in(defs: dg.Definitions, name: str | None) -> dg.AssetsDefinition:
    """Return the trials of an asset with a name, or under a name of their own; the only ones, if none is named."""
    found: dict[str, dg.AssetsDefinition] = {}
    for asset in defs.get_repository_def().assets_defs_by_key.values():
        if trials_of(asset) is not None:
            found[asset.key.to_user_string()] = asset
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    chosen = found.get(name or "") or found.get(f"{name}_trials")
    if chosen is None:
        asked = (
            "say which trials" if name is None and found else f"there are no trials{f' of {name!r}' if name else ''}"
        )
        listed = f"Those that there are: {', '.join(sorted(found))}." if found else HOW_TO
        raise ConfigurationError(f"{asked}. {listed}")
    return chosen


def plans_of(defs: dg.Definitions, asset: dg.AssetsDefinition) -> Plans:
    """
    Return what a trial would send for each candidate; nothing is sent, and no table changed.

    Raises what `Engine.plan` raises, and `GoldError` for gold rows that cannot be used.
    """
    declared = _declared(asset)
    [spec] = asset.specs
    key = declared.declared.resource_key
    with opened_instance() as instance, opened_resource(defs, key, instance) as resource:

        def open_engine(task: Task) -> Engine:
            return resource.open_engine(task, run_id="plan")

        with OpenTrial.opened(declared.of(spec), resource, open_engine, instance) as trial:
            return trial.plan()


def try_out(asset: dg.AssetsDefinition) -> Outcome:
    """
    Materialize a trial in this process, on the instance of this machine, and return what came of it.

    The asset is one of `trials_in`: bound to the resources of its definitions.
    """
    with opened_instance() as instance:
        result = dg.materialize([asset], instance=instance, run_config=QUIET, raise_on_error=False)
    for event in result.get_asset_materialization_events():
        told = event.materialization.metadata
        outcome, table = told[OUTCOME].value, told[CANDIDATES]
        records = table.records if isinstance(table, dg.TableMetadataValue) else []
        return Outcome(sentences=str(outcome), candidates=[record.data for record in records])
    return Outcome(failure=_failure(result))


def _declared(asset: dg.AssetsDefinition) -> DeclaredTrials:
    found = trials_of(asset)
    if found is None:  # pragma: no cover  (whoever asks has found it among the trials)
        raise ConfigurationError(HOW_TO)
    return found


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run has failed: what the body has said, without the name of the error that it was."""
    for event in result.all_events:
        failed = event.step_failure_data if event.is_step_failure else None
        if failed is None:
            continue
        if failed.user_failure_data is not None and failed.user_failure_data.description:
            return str(failed.user_failure_data.description)
        if failed.error is not None:
            raised = failed.error.cause or failed.error
            if failed.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                return "stopped. Batches that were sent go on; the next trial takes them up"
            _, _, said = raised.message.partition(f"{raised.cls_name}: ")
            return said.strip() or raised.message
    return "the run has not ended well; its log says why"
