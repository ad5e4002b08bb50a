"""Options of the factories that say how much may be spent."""

from typing import Any, TypedDict

from claude_batch_dagster.core.planning.spending import Spending


class SpendingOptions(TypedDict, total=False):
    """Options of the factories that say how much may be spent."""

    confirm_repay_usd: float | None
    """
    US dollars above which a run stops, before anything is sent, that would ask again rows that have an answer.

    For the definition was edited, or `full_refresh` asks for it. Default 5; None for no limit.
    """


def spending_of(options: SpendingOptions) -> Spending:
    """Return what the options say; raise `ConfigurationError` for what cannot be."""
    said: Any = {name: value for name, value in options.items() if name in SpendingOptions.__annotations__}
    return Spending(**said)
