"""All that is used of Dagster's inside: each part is proved to do what is known of it, and done without otherwise."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import dagster as dg

DATA_VERSION = "dagster/data_version"
"""Tag of a materialization."""

STEPS = "dagster._core.execution.plan.execute_step"
"""The module of Dagster that makes materializations of what an asset body yields."""

EVALUATIONS = "dagster._core.definitions.asset_checks.asset_check_evaluation"
"""The module of Dagster that knows evaluations."""


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
    inspect.signature(found.provenance_of).bind(dg.AssetKey("asset"), None)
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
"""What this Dagster has of versions."""


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
"""What this Dagster has of targets. Without it checks are recorded, and count for no partition of a range."""


@contextmanager
def previews() -> Iterator[None]:
    """Use what Dagster calls beta or a preview (backfill policies, checks by partition) without a warning to users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (dg.BetaWarning, dg.PreviewWarning))  # they cannot act on it
        yield


def has_checks_by_partition() -> bool:
    """Whether this Dagster records checks by partition: a preview of 1.13, which may go as it came."""
    return "partitions_def" in inspect.signature(dg.AssetCheckSpec.__new__).parameters
