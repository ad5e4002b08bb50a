"""Which materialization a check has judged: Dagster counts a partition's check only if that is the latest one."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from claude_batch_dagster.runs import dagster_internals

MOST_NAMED = 900
"""Partitions that a query names one by one: some databases take 999 parameters and no more."""


def targets(context: dg.AssetExecutionContext, partitions: Sequence[str | None]) -> Mapping[str | None, Any]:
    """Return what points to the latest materialization of each partition: one query, however many there are."""
    target = dagster_internals.TARGET
    if target is None or not partitions:
        return {}
    named = {key for key in partitions if key is not None} if len(partitions) <= MOST_NAMED else None
    latest = context.instance.get_latest_storage_id_by_partition(
        context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, named
    )
    wanted, now = set(partitions), time.time()
    return {
        key: target(storage_id=storage_id, run_id=context.run.run_id, timestamp=now)
        for key, storage_id in latest.items()
        if key in wanted
    }
