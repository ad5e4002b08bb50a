"""A plan in words: the same in the run log and on the command line."""

from collections.abc import Sequence
from datetime import datetime

from claude_batch_dagster.amounts import counted, dollars
from claude_batch_dagster.core.planning.estimate import Basis, Estimate
from claude_batch_dagster.core.planning.forecast import SENT, Forecast, Reason
from claude_batch_dagster.core.planning.lanes import Lanes
from claude_batch_dagster.core.planning.prompt_caching import NoCaching

MEANING = {
    Reason.NEW: "new",
    Reason.DOCUMENT: "again because the document changed",
    Reason.PROMPT: "again because the definition changed",
    Reason.MODEL: "again because the model changed",
    Reason.OUTPUT: "again because the output changed",
    Reason.REFRESH: "again for a full refresh",
    Reason.RETRY: "again after a failure",
    Reason.ANSWERED: "have their answer",
    Reason.SHARED: "get the answer of a row that asks the same",
    Reason.IN_FLIGHT: "sent by an earlier run, not answered yet",
    Reason.FINAL: "failed for good",
    Reason.REJECTED: "cannot be asked (error says why)",
    Reason.LEFT_OUT: "left out, as this run was told",
}
"""What is said of rows with a reason."""


def of_total(forecast: Forecast) -> str:
    """Return how many requests are sent, and what they cost."""
    requests = counted(forecast.n_requests, "request")
    if not forecast.n_requests:
        return "nothing to send"
    if (estimate := forecast.estimate) is None:
        return f"{requests}, for nobody knows how many dollars: the price of this model is not listed"
    low, high = dollars(estimate.low_usd), dollars(estimate.high_usd)
    return (
        f"{requests}, about {dollars(estimate.usd)} at {forecast.lane} prices (between {low} and {high}, "
        f"{of_basis(estimate)})"
    )


def of_basis(estimate: Estimate) -> str:
    """Return what an estimate was made from."""
    match estimate.basis:
        case Basis.HISTORY:
            return f"by the cost of the last {counted(estimate.n_seen, 'answer')} with this definition"
        case Basis.SAMPLE:
            return (
                f"by the input tokens of {counted(estimate.n_seen, 'request')}, which the API has counted; the length "
                "of answers is a guess"
            )
        case Basis.BYTES:
            return "a guess by the bytes of the requests, for nothing like them was answered yet"


def of_rows(forecast: Forecast, *, sent: bool) -> str:
    """Return the rows by reason: those that are sent, with what they cost, or the others."""
    rows = forecast.rows
    reasons = [reason for reason in Reason if rows[reason] and (reason in SENT) == sent]
    told = [f"{rows[reason]:,} {MEANING[reason]}" for reason in reasons]
    if sent and len(told) > 1 and forecast.estimate is not None:
        told = [f"{text}, about {dollars(forecast.usd(reason))}" for text, reason in zip(told, reasons, strict=True)]
    return "; ".join(told)


def of_caching(forecast: Forecast) -> str | None:
    """Return how requests use the prompt cache; None where they do not."""
    caching = forecast.caching
    if isinstance(caching, NoCaching):
        return (
            f"prompt caching is off: of what could be read from the cache only {caching.reads:.0%} was, the last "
            "times, so it cost more than it saved"
        )
    if caching is None:
        return None
    first = "one request goes ahead and writes them to the cache, the others read them" if caching.is_primed else ""
    first = "the first rows write them to the cache, the others read them" if first and forecast.n_canary else first
    return (
        f"prompt caching: all requests share their first tokens, about {caching.prefix_tokens:,}; "
        f"{first or 'a batch of the last hour has written them to the cache'}, which should save about "
        f"{dollars(caching.saved_usd)} (taken off the estimate)"
    )


def of_canary(forecast: Forecast) -> str | None:
    """Return what is sent first; None where all of it goes at once."""
    n, rest = forecast.n_canary, forecast.n_requests - forecast.n_canary
    if not n:
        return None
    return (
        f"first {counted(n, 'row')}, as a batch of {'its' if n == 1 else 'their'} own; the other {rest:,} follow "
        "unless more than half of these have no usable answer"
    )


def of_lanes(lanes: Lanes, live_usd: float | None) -> str | None:
    """Return which requests do not wait for a batch, and what that costs (`live_usd` for all); None where all wait."""
    if lanes.small:
        return (
            "asked at once through the Messages API, for there are fewer than "
            f"{counted(lanes.small_below, 'request')} (small_batches)"
        )
    if lanes.is_late:
        return f"asked at once through the Messages API, for its deadline of {lanes.give_up_at:%H:%M} UTC is over"
    if lanes.give_up_at is None:
        return None
    cost = "" if live_usd is None else f"; that would be about {dollars(live_usd)} if it were all of it"
    return (
        f"deadline: what has no answer by {lanes.give_up_at:%Y-%m-%d %H:%M} UTC is canceled, and asked at once through "
        f"the Messages API at its price{cost}"
    )


def of_flying(n_requests: int, give_up_at: datetime) -> str:
    """Return what becomes of requests on their way that are not answered in time."""
    return (
        f"of {counted(n_requests, 'request')} on their way, what has no answer by {give_up_at:%Y-%m-%d %H:%M} UTC, or "
        "by the deadline of the run that has sent them, is asked through the Messages API at its price too"
    )


def of_misses(misses: Sequence[float]) -> str:
    """Return how far the last estimates were off."""
    told = ", ".join(f"{abs(miss):.0%} {'more' if miss >= 0 else 'less'}" for miss in misses)
    runs = "the last run" if len(misses) == 1 else "the last runs"
    return f"{runs} cost {told} than estimated" + (" (latest first)" if len(misses) > 1 else "")
