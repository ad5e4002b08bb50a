"""A table of documents in, a table of typed answers out: Claude's Message Batches API as a Dagster asset."""

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
