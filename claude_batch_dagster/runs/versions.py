"""Versions of the answers, by which Dagster tells whether what is downstream of a partition is out of date."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import dagster as dg

from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.runs.dagster_internals import Internals


def data_version(code_version: str | None, reports: Iterable[PartitionReport]) -> dg.DataVersion:
    """Return a version that changes with the question and with the answers of these partitions, and nothing else."""
    told = "|".join(f"{report.partition_key}:{report.standing.fingerprint}" for report in reports)
    return dg.DataVersion(sha256(f"{code_version}|{told}".encode(errors="surrogatepass")).hexdigest()[:16])


def version_tags(
    context: dg.AssetExecutionContext, versions: Iterable[dg.DataVersion], known: Internals
) -> list[Mapping[str, str]]:
    """Return the tags that Dagster would give materializations of these versions: so it knows what they are of."""
    key = context.asset_key
    code_version = context.assets_def.code_versions_by_key[key] or context.run.run_id
    provenance = known.provenance_of(key, context.get_step_execution_context())
    return [
        known.build_tags(version, code_version, provenance, data_version_is_user_provided=True) for version in versions
    ]
