"""How much an asset may spend without a person's word."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """How much an asset may spend without a person's word. Raises `ConfigurationError` for what cannot be."""

    confirm_repay_usd: float | None = 5.0
    """US dollars above which a run stops that asks again what has an answer; None for no limit."""

    canary: int = 20
    """Rows of a large plan that are sent alone first; 0 for none."""
    canary_from: int = 1_000
    """Requests from which on a plan is large."""
    budget: Budget | None = None
    caching: Literal["auto", "off"] = "auto"
    """Whether the shared beginning of requests is cached where that pays."""
    deadline: timedelta | None = None
    """How long after a run has begun its rows are to have answers, at whatever price; None for as long as it takes."""
    small_batches: Literal["batch", "live"] = "batch"
    """How plans of a few requests are asked."""
    small_batches_below: int = 20
    """Requests from which on a plan is not small."""

    def __post_init__(self) -> None:
        most: Any = self.confirm_repay_usd  # not everybody checks types
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if most is not None and not (is_number and most >= 0):
            raise ConfigurationError(
                f"confirm_repay_usd is a number of US dollars, from 0 on, or None for no limit; got {most!r}."
            )
        n: Any = self.canary
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ConfigurationError(f"canary is a number of rows, 0 for none; got {n!r}.")
        if self.caching not in {"auto", "off"}:
            raise ConfigurationError(f"caching is 'auto' or 'off'; got {self.caching!r}.")
        self._check_lanes()
        given: Any = self.budget
        if given is not None and not isinstance(given, Budget):
            raise ConfigurationError(f"budget takes a Budget: Budget(usd=10, per='day'); got {given!r}.")

    def _check_lanes(self) -> None:
        """Raise for what cannot be said of rows that do not wait for a batch."""
        after: Any = self.deadline
        if after is not None and not (isinstance(after, timedelta) and after > timedelta(0)):
            raise ConfigurationError(
                f"deadline takes a time from the start of a run: timedelta(hours=6); got {after!r}."
            )
        if self.small_batches not in {"batch", "live"}:
            raise ConfigurationError(f"small_batches is 'batch' or 'live'; got {self.small_batches!r}.")
        n: Any = self.small_batches_below
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ConfigurationError(f"small_batches_below is a number of requests, from 1 on; got {n!r}.")
