import re
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.judging import COMPLETE, Judgeable, Told, judge
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.ledger import NEXT, OPEN, State
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import TRANSIENT, Verdict


class Label(BaseModel):
    """A small output model."""

    label: Literal["war", "peace"]


SCHEMA = OutputSchema(Label)


def message(text: str = '{"label": "war"}', stop_reason: str | None = "end_turn", **fields: Any) -> Judgeable:
    """Return a Message that came back."""
    return Judgeable(Came.SUCCEEDED, stop_reason, text=text, **fields)


@pytest.mark.parametrize("stop_reason", sorted(COMPLETE))
def test_a_whole_valid_answer_succeeds(stop_reason: str) -> None:
    """The values of the answer come with the verdict, and no error."""
    assert judge(message(stop_reason=stop_reason), SCHEMA) == Told(Verdict.SUCCEEDED, None, '{"label":"war"}')


@pytest.mark.parametrize(
    ("result", "verdict", "error"),
    [
        pytest.param(message("", "refusal"), Verdict.REFUSED, "declined to answer; change", id="F79-refusal"),
        pytest.param(
            message("", "refusal", explanation="bio"), Verdict.REFUSED, r"answer \(category bio\);", id="F79-why"
        ),
        pytest.param(message('{"la', "max_tokens"), Verdict.TRUNCATED, "four times the limit", id="F79-max"),
        pytest.param(message(stop_reason="pause_turn"), Verdict.INVALID, "stopped with 'pause_turn'", id="F79-pause"),
        pytest.param(message(stop_reason="of_next_year"), Verdict.INVALID, "not complete", id="F79-unknown"),
        pytest.param(message(stop_reason=None), Verdict.INVALID, "stopped with None", id="F79-none"),
        pytest.param(message(""), Verdict.INVALID, "the answer is empty", id="F80-empty"),
        pytest.param(message(" \n"), Verdict.INVALID, "the answer is empty", id="F80-blank"),
        pytest.param(message("war"), Verdict.INVALID, "output model: the answer is not JSON", id="F82-prose"),
        pytest.param(message('{"label": 1}'), Verdict.INVALID, "output model: field 'label'", id="F83-misfit"),
        pytest.param(Judgeable(Came.EXPIRED), Verdict.EXPIRED, "24 hours; materialize again", id="F58-expired"),
        pytest.param(Judgeable(Came.CANCELED), Verdict.CANCELED, "was canceled; materialize again", id="F57-canceled"),
        pytest.param(Judgeable(Came.MISSING), Verdict.MISSING, "without a result for this row", id="F72-missing"),
        pytest.param(
            Judgeable(Came.ERRORED, "invalid_request_error", text="too long"),
            Verdict.ERRORED,
            r"^invalid_request_error: too long \(mend",
            id="F36-invalid-request",
        ),
    ],
)
def test_every_other_end_has_its_verdict_and_says_what_to_do(result: Judgeable, verdict: str, error: str) -> None:
    """Nothing but a whole valid answer is a success, and no values come with a failure."""
    told = judge(result, SCHEMA)

    assert (told.verdict, told.answer) == (verdict, None)
    assert told.error is not None
    assert re.search(error, told.error)


def test_f79_a_full_context_window_is_told_with_what_to_do() -> None:
    """More room for the answer cannot help."""
    told = judge(message('{"la', "model_context_window_exceeded"), SCHEMA)

    assert told.verdict == Verdict.TRUNCATED
    assert "shorten it" in str(told.error)


@pytest.mark.parametrize("kind", sorted(TRANSIENT))
def test_a_passing_error_is_told_to_pass(kind: str) -> None:
    """Errors of the service are asked again; of what the API says, not more than is worth reading is kept."""
    told = judge(Judgeable(Came.ERRORED, kind, text="x" * 900), SCHEMA)

    assert told.verdict == Verdict.ERRORED
    assert told.error == f"{kind}: {'x' * 500} (materialize again to ask again)"


def test_f81_a_mended_answer_succeeds_and_says_so() -> None:
    """An answer with replaced characters is good, and flagged."""
    told = judge(message(sanitized=True), SCHEMA)

    assert told.verdict == Verdict.SUCCEEDED
    assert "U+FFFD" in (told.error or "")


def test_every_state_either_moves_on_or_is_an_end() -> None:
    """No state is forgotten: each is in the table of moves, and every open one leads somewhere."""
    assert set(NEXT) == set(State)
    assert all(NEXT[state] for state in OPEN)
