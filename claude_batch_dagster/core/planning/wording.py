"""A plan in words: the same in the run log and on the command line."""

from collections.abc import Sequence

from claude_batch_dagster.core.planning.estimate import Basis, Estimate
from claude_batch_dagster.core.planning.forecast import SENT, Forecast, Reason
from claude_batch_dagster.core.planning.prompt_caching import NoCaching, PromptCaching
from claude_batch_dagster.plural import counted

A_CENT = 0.01

MEANING = {
    Reason.NEW: "new",
    Reason.DOCUMENT: "whose document changed",
    Reason.PROMPT: "for the definition changed",
    Reason.MODEL: "for the model changed",
    Reason.OUTPUT: "for the output changed",
    Reason.REFRESH: "for a full refresh",
    Reason.RETRY: "again, for they failed",
    Reason.ANSWERED: "answered already",
    Reason.SHARED: "that share another row's answer",
    Reason.IN_FLIGHT: "in flight",
    Reason.FINAL: "that failed for good",
    Reason.REJECTED: "that can never be asked",
    Reason.LEFT_OUT: "left out, as this run was told",
}
"""What is said of rows with a reason."""


def dollars(usd: float | None) -> str:
    """Return US dollars, small amounts too."""
    if usd is None:
        return "an unknown price"
    return f"${usd:,.2f}" if usd == 0 or usd >= A_CENT else f"${usd:.6f}"


def of_total(forecast: Forecast) -> str:
    """Return how many requests are sent, and what they cost."""
    requests = counted(forecast.n_requests, "request")
    if not forecast.n_requests:
        return "nothing to send"
    if (estimate := forecast.estimate) is None:
        return f"{requests}, for nobody knows how many dollars: the price of this model is not listed"
    low, high = dollars(estimate.low_usd), dollars(estimate.high_usd)
    return f"{requests}, about {dollars(estimate.usd)} at batch prices (from {low} to {high}, {of_basis(estimate)})"


def of_basis(estimate: Estimate) -> str:
    """Return what an estimate was made from."""
    match estimate.basis:
        case Basis.HISTORY:
            return f"by what {counted(estimate.n_seen, 'answer')} to this question have cost"
        case Basis.SAMPLE:
            return (
                f"by the input tokens of {counted(estimate.n_seen, 'request')}, which the API has counted, and a guess "
                "at the length of answers"
            )
        case Basis.BYTES:
            return "guessed by the bytes of the requests: nothing like them was answered yet"


def of_rows(forecast: Forecast, *, sent: bool) -> str:
    """Return the rows by reason: those that are sent, with what they cost, or the others."""
    rows = forecast.rows
    reasons = [reason for reason in Reason if rows[reason] and (reason in SENT) == sent]
    told = [f"{counted(rows[reason], 'row')} {MEANING[reason]}" for reason in reasons]
    if sent and len(told) > 1 and forecast.estimate is not None:
        told = [f"{text}, about {dollars(forecast.usd(reason))}" for text, reason in zip(told, reasons, strict=True)]
    return "; ".join(told)


def of_caching(caching: PromptCaching | NoCaching) -> str:
    """Return how requests use the prompt cache."""
    if isinstance(caching, NoCaching):
        return (
            f"prompt caching is off: {caching.reads:.0%} of what could be read from the cache was, the last times, so "
            "that it cost more than it saved"
        )
    first = "one request goes first, the others when it is answered; " if caching.is_primed else ""
    return (
        f"prompt caching: {first}the first {caching.prefix_tokens:,} tokens of each, about, are the same, which is "
        f"expected to save {dollars(caching.saved_usd)}"
    )


def of_misses(misses: Sequence[float]) -> str:
    """Return how far the last estimates were off."""
    told = ", ".join(f"{miss:+.0%}" for miss in misses)
    return f"the last {'estimate was' if len(misses) == 1 else 'estimates were'} off by {told}"
