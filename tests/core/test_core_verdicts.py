import re
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.answering import COMPLETE, Told, tell
from claude_batch_dagster.core.ledger import NEXT, OPEN, RowKey, RowRecord, State
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.results import Canceled, Errored, Expired, Result, Succeeded, Usage
from claude_batch_dagster.core.verdicts import (
    RETRYABLE_ERROR,
    TRANSIENT,
    Ask,
    Decision,
    InFlight,
    Settled,
    Verdict,
    decide,
    last_word,
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


def past(*told: tuple[str, str | None] | tuple[str, str | None, State]) -> list[RowRecord]:
    """Return the history of a row: chunk, verdict, and state if it is not `APPLIED`."""
    return [
        RowRecord(
            chunk_id=chunk_id,
            ordinal=0,
            row=RowKey(None, "1"),
            custom_id="id",
            request_hash="hash",
            attempt=number,
            state=rest[0] if rest else State.APPLIED,
            verdict=verdict,
        )
        for number, (chunk_id, verdict, *rest) in enumerate(told, start=1)
    ]


@pytest.mark.parametrize(
    ("history", "decision"),
    [
        pytest.param(past(), Ask(1, 0), id="new"),
        pytest.param(past(("a", None, State.REFUSED)), Ask(1, 0), id="refused-by-the-api-burns-no-attempt"),
        pytest.param(past(("a", None, State.UNSEEN)), Ask(1, 0), id="never-seen"),
        pytest.param(past(("a", "succeeded")), Settled("a", succeeded=True), id="answered"),
        pytest.param(past(("a", "succeeded"), ("b", "errored")), Settled("a", succeeded=True), id="good-stays"),
        pytest.param(past(("a", "expired"), ("b", "succeeded")), Settled("b", succeeded=True), id="good-at-last"),
        pytest.param(past(("a", "expired")), Ask(2, 0), id="expired"),
        pytest.param(past(("a", "canceled")), Ask(2, 0), id="canceled"),
        pytest.param(past(("a", "missing")), Ask(2, 0), id="missing"),
        pytest.param(past(("a", RETRYABLE_ERROR)), Ask(2, 0), id="overloaded"),
        pytest.param(past(*[("a", "expired")] * 9), Ask(10, 0), id="free-failures-of-earlier-runs-never-end-it"),
        pytest.param(past(("a", "truncated")), Ask(2, 1), id="truncated-once"),
        pytest.param(past(("a", "truncated"), ("b", "expired")), Ask(3, 1), id="truncated-then-expired"),
        pytest.param(past(("a", "truncated"), ("b", "truncated")), Settled("b", succeeded=False), id="F115-truncated"),
        pytest.param(past(("a", "invalid")), Ask(2, 0), id="invalid-once"),
        pytest.param(past(("a", "invalid"), ("b", "invalid")), Settled("b", succeeded=False), id="F115-invalid"),
        pytest.param(past(("a", "truncated"), ("b", "invalid")), Settled("b", succeeded=False), id="F115-mixed"),
        pytest.param(
            past(("a", "invalid"), ("b", "expired"), ("c", "invalid")), Settled("c", succeeded=False), id="F115-between"
        ),
        pytest.param(past(("a", "errored")), Settled("a", succeeded=False), id="invalid-request"),
        pytest.param(past(("a", "refused")), Settled("a", succeeded=False), id="refused"),
        pytest.param(past(("a", "missing:gone")), Settled("a", succeeded=False), id="F66-gone"),
        pytest.param(past(("mine", "expired"), ("mine", "expired")), Ask(3, 0), id="twice-in-this-run"),
        pytest.param(past(*[("mine", "expired")] * 3), Settled("mine", succeeded=False), id="limit-of-this-run"),
        pytest.param(
            past(("a", "expired"), ("mine", "expired"), ("mine", "expired")), Ask(4, 0), id="limit-counts-this-run-only"
        ),
        *[
            pytest.param(past(("a", "expired"), ("b", None, state)), InFlight("b"), id=f"F28-in-flight-{state}")
            for state in sorted(OPEN)
        ],
        pytest.param(
            past(("a", "succeeded"), ("b", None, State.AMBIGUOUS)), InFlight("b"), id="in-flight-before-all-else"
        ),
    ],
)
def test_a_row_is_asked_again_only_if_that_helps(history: list[RowRecord], decision: Decision) -> None:
    """What cost nothing is repeated up to a limit a run, what was paid for once ever, all else is final."""
    assert decide(history, run_chunks=frozenset({"mine"}), max_attempts=3) == decision


EXPIRED, INVALID = past(("mine", "expired")), past(("mine", "invalid"))


@pytest.mark.parametrize(
    ("own", "others", "decision"),
    [
        pytest.param([], past(("b", "succeeded")), Settled("b", succeeded=True, shared=True), id="answered"),
        pytest.param([], past(("b", None, State.ACCEPTED)), InFlight("b"), id="in-flight"),
        pytest.param([], past(("b", "refused")), Settled("b", succeeded=False, shared=True), id="refused"),
        pytest.param([], past(("b", "invalid")), Ask(2, 0), id="F115-invalid-once"),
        pytest.param(EXPIRED, past(("b", None, State.RELEASED)), InFlight("b"), id="F108-own-expired-in-flight"),
        pytest.param(
            EXPIRED, past(("b", "succeeded")), Settled("b", succeeded=True, shared=True), id="F108-own-expired-answered"
        ),
        pytest.param(
            INVALID, past(("b", "invalid")), Settled("b", succeeded=False, shared=True), id="F115-invalid-twice-in-all"
        ),
    ],
)
def test_a_question_is_paid_for_once_whoever_asks_it(
    own: list[RowRecord], others: list[RowRecord], decision: Decision
) -> None:
    """What other rows have asked counts as if the row had asked it, also after failures of its own."""
    decided = decide(own, [*own, *others], run_chunks=frozenset(), max_attempts=3)

    assert decided == decision


@pytest.mark.parametrize(
    ("records", "told"),
    [
        pytest.param(past(("a", "expired"), ("b", "errored")), {"hash": "b"}, id="the-latest-failure"),
        pytest.param(past(("a", "succeeded"), ("b", "invalid")), {"hash": "a"}, id="a-good-answer-stays"),
        pytest.param(past(("a", "succeeded"), ("b", "succeeded")), {"hash": "a"}, id="the-first-good-answer"),
        pytest.param(past(("a", "truncated"), ("b", "succeeded")), {"hash": "b"}, id="a-good-one-after-a-failure"),
        pytest.param(past(("a", "refused"), ("b", None, State.ACCEPTED)), {}, id="on-its-way"),
        pytest.param(past(("a", "refused"), ("b", None, State.REFUSED)), {"hash": "a"}, id="never-accepted"),
        pytest.param([], {}, id="never-asked"),
    ],
)
def test_the_last_word_on_a_question(records: list[RowRecord], told: dict[str, str]) -> None:
    """A good answer has it, else the latest verdict; none while the question is on its way again."""
    assert last_word(records) == told


def test_every_state_either_moves_on_or_is_an_end() -> None:
    """No state is forgotten: each is in the table of moves, and every open one leads somewhere."""
    assert set(NEXT) == set(State)
    assert all(NEXT[state] for state in OPEN)
