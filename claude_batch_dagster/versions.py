"""Versions of the answers, by which Dagster tells whether what is downstream of a partition is out of date."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import dagster as dg

from claude_batch_dagster.core.report import PartitionReport

SILENT = "__source_asset_observation__"
"""Metadata of a result of which Dagster makes no events itself, since the body has logged them."""

try:
    # Dagster gives all partitions of a range one version. The parts it makes its own events of are not public, so
    # whether they are there is asked, and what is lost without them is that partitions of a range differ in version.
    from dagster._core.execution.plan.execute_step import (
        _build_data_version_tags as build_tags,
    )
    from dagster._core.execution.plan.execute_step import (
        _get_input_provenance_data as provenance_of,
    )
    from dagster._core.execution.plan.execute_step import (
        _log_materialization_or_observation_events_for_asset as records,
    )

    BY_PARTITION = "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION" in records.__code__.co_names
except (ImportError, AttributeError):  # pragma: no cover  (no Dagster that we know of)
    BY_PARTITION = False


def data_version(code_version: str | None, reports: Iterable[PartitionReport]) -> dg.DataVersion:
    """Return a version that changes with the question and with the answers of these partitions, and nothing else."""
    told = "|".join(f"{report.partition_key}:{report.standing.fingerprint}" for report in reports)
    return dg.DataVersion(sha256(f"{code_version}|{told}".encode(errors="surrogatepass")).hexdigest()[:16])


def version_tags(context: dg.AssetExecutionContext, version: dg.DataVersion) -> Mapping[str, str]:
    """Return the tags that Dagster would give a materialization of this version: with them it knows what it is of."""
    if not BY_PARTITION:
        return {"dagster/data_version": version.value}
    step: Any = context.get_step_execution_context()
    key = context.asset_key
    code_version = context.assets_def.code_versions_by_key[key] or context.run.run_id
    return build_tags(version, code_version, provenance_of(key, step), data_version_is_user_provided=True)
