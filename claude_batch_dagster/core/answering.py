"""What a result means for its row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_batch_dagster.core.outputs import InvalidOutputError, OutputSchema
from claude_batch_dagster.core.results import Canceled, Errored, Expired, Result, Succeeded
from claude_batch_dagster.core.verdicts import RETRYABLE_ERROR, TRANSIENT, Verdict

COMPLETE = frozenset({"end_turn", "stop_sequence", "tool_use"})
"""Stop reasons after which the answer is whole."""

CUT = {
    "max_tokens": "the answer stopped at max_tokens (it is asked for twice, the second time with four times the "
    "limit); raise max_tokens",
    "model_context_window_exceeded": "document and answer together exceed the model's context window; shorten it",
}
"""Stop reasons after which the answer is not whole."""

MAX_ERROR_LENGTH = 500
"""Characters kept of a message of the API."""


@dataclass(frozen=True, slots=True)
class Told:
    """A row's verdict, with the answer or the reason for none."""

    verdict: Verdict
    error: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    transient: bool = False
    """Asking the same again can help, and costs nothing."""
    final: bool = False
    """Asking again cannot help, or would pay twice, whatever else the verdict allows."""

    @property
    def mark(self) -> str:
        """The verdict as the ledger remembers it."""
        if self.transient:
            return RETRYABLE_ERROR
        return f"{self.verdict}:final" if self.final else self.verdict


def tell(result: Result | None, schema: OutputSchema) -> Told:
    """Return the verdict on one row; None stands for a row the results say nothing of."""
    match result:
        case Succeeded():
            return _tell_message(result, schema)
        case Errored(kind=kind, message=message):
            transient = kind in TRANSIENT
            advice = "materialize again to ask again" if transient else "mend the row, the prompt or the model"
            return Told(Verdict.ERRORED, f"{kind}: {message[:MAX_ERROR_LENGTH]} ({advice})", transient=transient)
        case Expired():
            return Told(Verdict.EXPIRED, "not processed within 24 hours; materialize again to ask again")
        case Canceled():
            return Told(Verdict.CANCELED, "the batch was canceled; materialize again to ask again")
        case None:
            return Told(Verdict.MISSING, "the batch ended without a result for this row; materialize again")


def _tell_message(message: Succeeded, schema: OutputSchema) -> Told:
    if message.stop_reason == "refusal":
        category = f" (category {message.stop_explanation})" if message.stop_explanation else ""
        return Told(Verdict.REFUSED, f"Claude declined to answer{category}; change the prompt or the model")
    if message.stop_reason in CUT:
        final = message.stop_reason != "max_tokens"
        return Told(Verdict.TRUNCATED, CUT[message.stop_reason], final=final)
    if message.stop_reason not in COMPLETE:
        return Told(Verdict.INVALID, f"the answer is not complete: it stopped with {message.stop_reason!r}")
    if not message.text.strip():
        return Told(Verdict.INVALID, "the answer is empty")
    try:
        values = schema.validate(message.text)
    except InvalidOutputError as error:
        return Told(Verdict.INVALID, f"the answer does not fit the output model: {error}")
    replaced = "parts of the answer were not valid Unicode and were replaced by U+FFFD"
    return Told(Verdict.SUCCEEDED, replaced if message.sanitized else None, values)
