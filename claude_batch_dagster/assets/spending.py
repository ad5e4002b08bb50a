"""Options of the factories that say how much may be spent."""

from datetime import timedelta
from typing import Any, Literal, TypedDict

from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.planning.spending import Spending


class SpendingOptions(TypedDict, total=False):
    """Options of the factories that say how much may be spent."""

    confirm_repay_usd: float | None
    """
    US dollars above which a run stops, before anything is sent, that would ask again rows that have an answer.

    For the definition was edited, or `full_refresh` asks for it. Default 5; None for no limit.
    """
    canary: int
    """
    Rows of a large plan (1,000 requests, or a dollar) that go alone first; default 20, 0 for none.

    If most of them come back without a usable answer, or cost more than was expected, the others are not sent.
    """
    caching: Literal["auto", "off"]
    """
    Whether the shared beginning of requests (system prompt, first instructions) is cached where that pays.

    Default `"auto"`: one request of a large plan goes first, and the others when it has been answered. `"off"`: never;
    a `cache_control` of your own in `params` or `system` stays.
    """
    budget: Budget | None
    """US dollars that may be spent by run, day, month or backfill; default no limit."""
    deadline: timedelta | None
    """
    How long after a run has begun its rows are to have answers; default None, for as long as batches take.

    Shortly before (a quarter of the time, at most ten minutes) batches that have not ended are canceled. What they
    have answered counts; the rest is asked at once through the Messages API, at its price, which is twice as much.
    """
    small_batches: Literal["batch", "live"]
    """
    How a plan of fewer than `small_batches_below` requests is asked.

    Default `"batch"`. `"live"`: at once, through the Messages API, at its price.
    """
    small_batches_below: int
    """Requests from which on a plan is worth a batch where `small_batches="live"`; default 20."""


def spending_of(options: SpendingOptions) -> Spending:
    """Return what the options say; raise `ConfigurationError` for what cannot be."""
    said: Any = {name: value for name, value in options.items() if name in SpendingOptions.__annotations__}
    return Spending(**said)
