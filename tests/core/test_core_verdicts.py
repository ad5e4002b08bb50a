import re
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.answering import COMPLETE, Told, tell
from claude_batch_dagster.core.ledger import NEXT, OPEN, State
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.results import Canceled, Errored, Expired, Result, Succeeded, Usage
from claude_batch_dagster.core.verdicts import (
    RETRYABLE_ERROR,
    TRANSIENT,
    Verdict,
)


class Label(BaseModel):
    """A small output model."""

    label: Literal["war", "peace"]


SCHEMA = OutputSchema(Label)


def message(text: str = '{"label": "war"}', stop_reason: str | None = "end_turn", **fields: Any) -> Succeeded:
    """Return a result that succeeded."""
    return Succeeded("row", "claude-haiku-5-5", stop_reason, text, Usage(1, 2), **fields)


@pytest.mark.parametrize("stop_reason", sorted(COMPLETE))
def test_a_whole_valid_answer_succeeds(stop_reason: str) -> None:
    """The values of the answer come with the verdict, and no error."""
    told = tell(message(stop_reason=stop_reason), SCHEMA)

    assert (told, told.mark) == (Told(Verdict.SUCCEEDED, None, {"label": "war"}), "succeeded")


@pytest.mark.parametrize(
    ("result", "verdict", "error"),
    [
        pytest.param(message("", "refusal"), Verdict.REFUSED, "declined to answer; change", id="F79-refusal"),
        pytest.param(
            message("", "refusal", stop_explanation="bio"), Verdict.REFUSED, r"answer \(category bio\);", id="F79-why"
        ),
        pytest.param(message('{"la', "max_tokens"), Verdict.TRUNCATED, "four times the limit", id="F79-max"),
        pytest.param(message(stop_reason="pause_turn"), Verdict.INVALID, "stopped with 'pause_turn'", id="F79-pause"),
        pytest.param(message(stop_reason="of_next_year"), Verdict.INVALID, "not complete", id="F79-unknown"),
        pytest.param(message(stop_reason=None), Verdict.INVALID, "stopped with None", id="F79-none"),
        pytest.param(message(""), Verdict.INVALID, "the answer is empty", id="F80-empty"),
        pytest.param(message(" \n"), Verdict.INVALID, "the answer is empty", id="F80-blank"),
        pytest.param(message("war"), Verdict.INVALID, "output model: the answer is not JSON", id="F82-prose"),
        pytest.param(message('{"label": 1}'), Verdict.INVALID, "output model: field 'label'", id="F83-misfit"),
        pytest.param(Expired("row"), Verdict.EXPIRED, "24 hours; materialize again", id="F58-expired"),
        pytest.param(Canceled("row"), Verdict.CANCELED, "was canceled; materialize again", id="F57-canceled"),
        pytest.param(None, Verdict.MISSING, "without a result for this row", id="F72-missing"),
        pytest.param(
            Errored("row", "invalid_request_error", "too long"),
            Verdict.ERRORED,
            r"^invalid_request_error: too long \(mend",
            id="F36-invalid-request",
        ),
    ],
)
def test_every_other_end_has_its_verdict_and_says_what_to_do(result: Result | None, verdict: str, error: str) -> None:
    """Nothing but a whole valid answer is a success, and no values come with a failure."""
    told = tell(result, SCHEMA)

    assert (told.verdict, dict(told.values), told.mark) == (verdict, {}, verdict)
    assert told.error is not None
    assert re.search(error, told.error)


def test_f79_a_full_context_window_is_final() -> None:
    """More room for the answer cannot help, so the row is not paid for again."""
    told = tell(message('{"la', "model_context_window_exceeded"), SCHEMA)

    assert (told.verdict, told.mark) == (Verdict.TRUNCATED, "truncated:final")
    assert "shorten it" in str(told.error)


@pytest.mark.parametrize("kind", sorted(TRANSIENT))
def test_a_passing_error_is_marked_for_another_attempt(kind: str) -> None:
    """Errors of the service are asked again; the ledger can tell them from errors of the request."""
    told = tell(Errored("row", kind, "x" * 900), SCHEMA)

    assert (told.verdict, told.mark) == (Verdict.ERRORED, RETRYABLE_ERROR)
    assert told.error == f"{kind}: {'x' * 500} (materialize again to ask again)"


def test_f81_a_mended_answer_succeeds_and_says_so() -> None:
    """An answer with replaced characters is good, and flagged."""
    told = tell(message(sanitized=True), SCHEMA)

    assert told.verdict == Verdict.SUCCEEDED
    assert "U+FFFD" in (told.error or "")


def test_every_state_either_moves_on_or_is_an_end() -> None:
    """No state is forgotten: each is in the table of moves, and every open one leads somewhere."""
    assert set(NEXT) == set(State)
    assert all(NEXT[state] for state in OPEN)
