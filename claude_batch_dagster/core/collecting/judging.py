"""What came back for a request, judged by the output model of today."""

from collections.abc import Mapping
from typing import NamedTuple

from claude_batch_dagster.core.collecting.answer_records import NEVER
from claude_batch_dagster.core.collecting.output_schema import InvalidOutputError, OutputSchema
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import TRANSIENT, Verdict

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


class Judgeable(NamedTuple):
    """All that a verdict depends on."""

    came: Came
    detail: str | None = None
    """Stop reason of a Message; type of an error."""
    explanation: str | None = None
    """Category of a refusal."""
    text: str | None = None
    """Of a Message, the text; else what the API says of the failure."""
    sanitized: bool = False


class Told(NamedTuple):
    """A row's verdict, with the answer or the reason for none."""

    verdict: Verdict
    error: str | None = None
    answer: str | None = None
    """The output fields, as JSON."""


WITHOUT_RESULT: Mapping[Came, Told] = {
    Came.EXPIRED: Told(Verdict.EXPIRED, "not processed within 24 hours; materialize again to ask again"),
    Came.CANCELED: Told(Verdict.CANCELED, "the batch was canceled; materialize again to ask again"),
    Came.MISSING: Told(Verdict.MISSING, "the batch ended without a result for this row; materialize again"),
    Came.UNHEARD: Told(
        Verdict.MISSING,
        "asked through the Messages API, and the connection ended before the answer came: it may have been paid for. "
        "It is asked once more, with on_unconfirmed='hold' only where retry_final: true in the run config says so",
    ),
    Came.WITHHELD: Told(
        Verdict.MISSING,
        "the API counts a result for this row, but the results it hands out lack it. It may have been paid for, so it "
        "is not sent again; while the API keeps the results (29 days), each materialization looks for it once more",
    ),
    Came.GONE: Told(
        Verdict.MISSING,
        "answered and paid for, but the API no longer has the results (29 days, or deleted). "
        "Not sent again by itself; change the row or the prompt to ask anew",
    ),
}
"""The verdict where nothing came back, whatever the request."""

NEVER_HANDED_OUT = Told(
    Verdict.MISSING,
    "the API counted a result for this row, never handed it out, and no longer has the results (29 days, or deleted). "
    "It may have been paid for, so it is not sent again by itself; change the row or the prompt to ask anew",
)


def judge(one: Judgeable, schema: OutputSchema) -> Told:
    """Return the verdict on what came back."""
    match one.came:
        case Came.SUCCEEDED:
            return _judge_message(one, schema)
        case Came.ERRORED:
            passing = one.detail in TRANSIENT
            advice = "materialize again to ask again" if passing else "mend the row, the prompt or the model"
            return Told(Verdict.ERRORED, f"{one.detail}: {(one.text or '')[:MAX_ERROR_LENGTH]} ({advice})")
        case Came.REJECTED:
            return Told(Verdict.REJECTED, one.text)
        case Came.GONE if one.detail == NEVER:
            return NEVER_HANDED_OUT
        case Came.GONE if one.text:
            return Told(
                Verdict.MISSING,
                "answered and paid for, but the API no longer has the results (29 days, or deleted), and they are not "
                f"here. They were kept in {one.text}: materialize there, or bring its files here, and the answer comes "
                "back. Where they are lost, change the row or the prompt to ask anew",
            )
        case _:
            return WITHOUT_RESULT[one.came]


def _judge_message(message: Judgeable, schema: OutputSchema) -> Told:
    text = message.text or ""
    if message.detail not in COMPLETE:
        return _stopped(message)
    if not text.strip():
        return Told(Verdict.INVALID, "the answer is empty")
    try:
        answer = schema.encoded(text)
    except InvalidOutputError as error:
        return Told(Verdict.INVALID, f"the answer does not fit the output model: {error}")
    replaced = "parts of the answer were not valid Unicode and were replaced by U+FFFD"
    return Told(Verdict.SUCCEEDED, replaced if message.sanitized else None, answer)


def _stopped(message: Judgeable) -> Told:
    if message.detail == "refusal":
        category = f" (category {message.explanation})" if message.explanation else ""
        return Told(Verdict.REFUSED, f"Claude declined to answer{category}; change the prompt or the model")
    if message.detail in CUT:
        return Told(Verdict.TRUNCATED, CUT[message.detail])
    return Told(Verdict.INVALID, f"the answer is not complete: it stopped with {message.detail!r}")
