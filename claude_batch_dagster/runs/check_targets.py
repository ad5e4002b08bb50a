"""Which materialization a check has judged: Dagster counts a partition's check only if that is the latest one."""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import dagster as dg

EVALUATIONS = "dagster._core.definitions.asset_checks.asset_check_evaluation"
"""The module of Dagster that knows evaluations."""

MOST_NAMED = 900
"""Partitions that a query names one by one: some databases take 999 parameters and no more."""


def target_type(load: Callable[[str], Any] = import_module) -> Callable[..., Any] | None:
    """Return what points an evaluation to a materialization; None unless this Dagster has it, as it is known."""
    try:
        found: Callable[..., Any] = load(EVALUATIONS).AssetCheckEvaluationTargetMaterializationData
        target = found(storage_id=1, run_id="2", timestamp=3.0)
        told = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("asset"), check_name="check", passed=True, target_materialization_data=target
        ).target_materialization_data
        known = told is not None and (told.storage_id, told.run_id, told.timestamp) == (1, "2", 3.0)
    except Exception:  # noqa: BLE001  (nobody knows what a later Dagster raises)
        return None
    return found if known else None


TARGET = target_type()
"""What this Dagster has. Without it checks are recorded all the same, and count for no partition of a range."""


def targets(context: dg.AssetExecutionContext, partitions: Sequence[str | None]) -> Mapping[str | None, Any]:
    """Return what points to the latest materialization of each partition: one query, however many there are."""
    if TARGET is None or not partitions:
        return {}
    named = {key for key in partitions if key is not None} if len(partitions) <= MOST_NAMED else None
    latest = context.instance.get_latest_storage_id_by_partition(
        context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, named
    )
    wanted, now = set(partitions), time.time()
    return {
        key: TARGET(storage_id=storage_id, run_id=context.run.run_id, timestamp=now)
        for key, storage_id in latest.items()
        if key in wanted
    }
