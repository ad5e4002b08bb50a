"""A table of documents in, a table of typed answers out: Claude's Message Batches API as a Dagster asset."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_batch_dagster.assets import build_batch_asset, build_classification_asset
    from claude_batch_dagster.checks import AbsoluteThresholds, Thresholds
    from claude_batch_dagster.collect_sensor import build_collect_sensor
    from claude_batch_dagster.core.requests import DEFAULT_MODEL
    from claude_batch_dagster.errors import ClaudeBatchError
    from claude_batch_dagster.jobs import build_batch_job, build_batch_schedule
    from claude_batch_dagster.new_documents_sensor import build_new_documents_sensor
    from claude_batch_dagster.resource import ClaudeBatchResource
    from claude_batch_dagster.submission_asset import build_submission_asset

__all__ = [
    "DEFAULT_MODEL",
    "AbsoluteThresholds",
    "ClaudeBatchError",
    "ClaudeBatchResource",
    "Thresholds",
    "build_batch_asset",
    "build_batch_job",
    "build_batch_schedule",
    "build_classification_asset",
    "build_collect_sensor",
    "build_new_documents_sensor",
    "build_submission_asset",
]

_HOMES = {
    "DEFAULT_MODEL": "core.requests",
    "AbsoluteThresholds": "checks",
    "ClaudeBatchError": "errors",
    "ClaudeBatchResource": "resource",
    "Thresholds": "checks",
    "build_batch_asset": "assets",
    "build_batch_job": "jobs",
    "build_batch_schedule": "jobs",
    "build_classification_asset": "assets",
    "build_collect_sensor": "collect_sensor",
    "build_new_documents_sensor": "new_documents_sensor",
    "build_submission_asset": "submission_asset",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the emulator starts without waiting for Dagster."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
