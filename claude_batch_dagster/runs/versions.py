"""Versions of the answers, by which Dagster tells whether what is downstream of a partition is out of date."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from inspect import signature
from typing import Any

import dagster as dg

from claude_batch_dagster.core.reporting.report import PartitionReport

DATA_VERSION = "dagster/data_version"
"""Tag of a materialization."""

STEPS = "dagster._core.execution.plan.execute_step"
"""The module of Dagster that makes materializations of what an asset body yields."""


@dataclass(frozen=True, slots=True)
class Internals:
    """
    What Dagster makes materializations of, which is not public.

    Without it all partitions of a range have one version, as Dagster gives them.
    """

    silent: str
    """Metadata of a result of which Dagster makes no events itself, since the body has logged them."""
    build_tags: Callable[..., Mapping[str, str]]
    provenance_of: Callable[..., Any]


def internals(load: Callable[[str], Any] = import_module) -> Internals | None:
    """Return the parts of this Dagster that are not public; None unless all of them do what is known of them."""
    try:
        steps = load(STEPS)
        found = Internals(
            silent=steps.SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
            build_tags=steps._build_data_version_tags,  # noqa: SLF001  (what this module is for)
            provenance_of=steps._get_input_provenance_data,  # noqa: SLF001  (as above)
        )
        log_events = steps._log_materialization_or_observation_events_for_asset  # noqa: SLF001  (as above)
        known = _silences(found.silent, log_events) and _builds(found)
    except Exception:  # noqa: BLE001  (nobody knows what a later Dagster raises)
        return None
    return found if known else None


def _silences(silent: str, log_events: Callable[..., Iterable[Any]]) -> bool:
    """Whether a result with this metadata makes no event, and one without it is looked into."""
    quiet = list(log_events(None, None, dg.Output(None, metadata={silent: True}), None, {}))
    try:
        list(log_events(None, None, dg.Output(None), None, {}))
    except AttributeError:  # it asks the contexts, which are not there
        return not quiet
    return False


def _builds(found: Internals) -> bool:
    """Whether the tags are those of a version, and provenance is asked for by key and step."""
    signature(found.provenance_of).bind(dg.AssetKey("asset"), None)
    source = {dg.AssetKey("source"): {"data_version": dg.DataVersion("1"), "storage_id": 2}}
    tags = found.build_tags(dg.DataVersion("3"), "4", source, data_version_is_user_provided=True)
    return dict(tags) == {
        DATA_VERSION: "3",
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": "4",
        "dagster/input_data_version/source": "1",
        "dagster/input_event_pointer/source": "2",
    }


INTERNALS = internals()
"""What this Dagster has."""


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
