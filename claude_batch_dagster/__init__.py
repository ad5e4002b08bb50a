"""A table of documents in, a table of typed answers out: Claude's Message Batches API as a Dagster asset."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_batch_dagster.assets import build_batch_asset, build_classification_asset
    from claude_batch_dagster.checks import Thresholds
    from claude_batch_dagster.core.requests import DEFAULT_MODEL
    from claude_batch_dagster.errors import ClaudeBatchError
    from claude_batch_dagster.resource import ClaudeBatchResource

__all__ = [
    "DEFAULT_MODEL",
    "ClaudeBatchError",
    "ClaudeBatchResource",
    "Thresholds",
    "build_batch_asset",
    "build_classification_asset",
]

_HOMES = {
    "DEFAULT_MODEL": "core.requests",
    "ClaudeBatchError": "errors",
    "ClaudeBatchResource": "resource",
    "Thresholds": "checks",
    "build_batch_asset": "assets",
    "build_classification_asset": "assets",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the emulator starts without waiting for Dagster."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
