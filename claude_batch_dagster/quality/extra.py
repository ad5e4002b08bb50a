"""What the extra `quality` brings."""

from importlib import import_module
from types import ModuleType

from claude_batch_dagster.errors import ConfigurationError


def distributions() -> ModuleType:
    """Return `scipy.stats`, first imported where a figure needs it; raise `ConfigurationError` where it is missing."""
    try:
        return import_module("scipy.stats")
    except ImportError:
        raise ConfigurationError(
            "statistics of gold rows need scipy, which pip install 'claude-batch-dagster[quality]' brings"
        ) from None
