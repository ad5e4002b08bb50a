"""What one run is told beside its partitions."""

from collections.abc import Sequence
from dataclasses import dataclass

from claude_batch_dagster.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What one run is told beside its partitions. Raises `ConfigurationError` for what cannot be."""

    limit: int | None = None
    """Questions that are sent at most; the others are left out. None for all."""
    only_keys: Sequence[str] = ()
    """Keys of the rows that are sent, as text; of several key columns a JSON list. Empty for all."""
    refresh: str | None = None
    """A token, if rows are asked again that have an answer: but those that were asked with this very token are not."""
    retry_final: bool = False
    """Whether rows are asked once more whose failures are final."""
    confirm_repay: bool = False
    """Whether rows with an answer may be asked again whatever it costs."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise ConfigurationError(f"limit is a number of requests, from 0 on; got {self.limit}. Nothing was sent.")
