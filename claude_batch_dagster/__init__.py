"""A table of documents in, a table of typed answers out: Claude's Message Batches API as a Dagster asset."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_batch_dagster.assets.ask import Ask
    from claude_batch_dagster.assets.cascade import Cascade
    from claude_batch_dagster.assets.factories import build_batch_asset, build_classification_asset
    from claude_batch_dagster.assets.gold import Gold
    from claude_batch_dagster.assets.jobs import build_batch_job, build_batch_schedule
    from claude_batch_dagster.assets.review import build_review_asset
    from claude_batch_dagster.assets.submission import build_submission_asset
    from claude_batch_dagster.assets.trials import build_trials_asset
    from claude_batch_dagster.component.claude_batch import ClaudeBatchComponent
    from claude_batch_dagster.core.asking.requests import DEFAULT_MODEL
    from claude_batch_dagster.core.planning.budget import Budget
    from claude_batch_dagster.errors import ClaudeBatchError
    from claude_batch_dagster.resource import ClaudeBatchResource
    from claude_batch_dagster.sensors.collect import build_collect_sensor
    from claude_batch_dagster.sensors.new_documents import build_new_documents_sensor

__all__ = [
    "DEFAULT_MODEL",
    "Ask",
    "Budget",
    "Cascade",
    "ClaudeBatchComponent",
    "ClaudeBatchError",
    "ClaudeBatchResource",
    "Gold",
    "build_batch_asset",
    "build_batch_job",
    "build_batch_schedule",
    "build_classification_asset",
    "build_collect_sensor",
    "build_new_documents_sensor",
    "build_review_asset",
    "build_submission_asset",
    "build_trials_asset",
]

_HOMES = {
    "DEFAULT_MODEL": "core.asking.requests",
    "Ask": "assets.ask",
    "Budget": "core.planning.budget",
    "Cascade": "assets.cascade",
    "ClaudeBatchComponent": "component.claude_batch",
    "ClaudeBatchError": "errors",
    "ClaudeBatchResource": "resource",
    "Gold": "assets.gold",
    "build_batch_asset": "assets.factories",
    "build_batch_job": "assets.jobs",
    "build_batch_schedule": "assets.jobs",
    "build_classification_asset": "assets.factories",
    "build_collect_sensor": "sensors.collect",
    "build_new_documents_sensor": "sensors.new_documents",
    "build_review_asset": "assets.review",
    "build_submission_asset": "assets.submission",
    "build_trials_asset": "assets.trials",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the emulator starts without waiting for Dagster."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
