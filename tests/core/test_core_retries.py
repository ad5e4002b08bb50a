"""Whether a question is asked, and asked again: what comes back decides, whoever asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch_dagster.core.retries import Attempt, Came, Past, Plan, Retry, Rules, next_attempt, retry_rule
from claude_batch_dagster.core.verdicts import TRANSIENT


def past(attempt: int = 1, *, n_paid: int = 0, n_truncated: int = 0, n_this_run: int = 0, final: bool = False) -> Past:
    """Return what came back for a question so far."""
    return Past(attempt=attempt, n_paid=n_paid, n_truncated=n_truncated, n_this_run=n_this_run, final=final)


@pytest.mark.parametrize(
    ("came", "detail", "rule"),
    [
        pytest.param(Came.SUCCEEDED, "end_turn", Retry.ONCE, id="F115-invalid"),
        pytest.param(Came.SUCCEEDED, "max_tokens", Retry.ONCE, id="F79-truncated"),
        pytest.param(Came.SUCCEEDED, None, Retry.ONCE, id="F79-of-no-reason"),
        pytest.param(Came.SUCCEEDED, "refusal", Retry.NEVER, id="F79-refused"),
        pytest.param(Came.SUCCEEDED, "model_context_window_exceeded", Retry.NEVER, id="F79-too-long"),
        *(pytest.param(Came.ERRORED, kind, Retry.FREE, id=f"F60-{kind}") for kind in sorted(TRANSIENT)),
        pytest.param(Came.ERRORED, "invalid_request_error", Retry.NEVER, id="F60-invalid-request"),
        pytest.param(Came.ERRORED, None, Retry.NEVER, id="F60-of-no-type"),
        pytest.param(Came.EXPIRED, None, Retry.FREE, id="F58-expired"),
        pytest.param(Came.CANCELED, None, Retry.FREE, id="F57-canceled"),
        pytest.param(Came.MISSING, None, Retry.FREE, id="F72-missing"),
        pytest.param(Came.WITHHELD, None, Retry.NEVER, id="F72-withheld"),
        pytest.param(Came.GONE, None, Retry.NEVER, id="F66-gone"),
        pytest.param(Came.REJECTED, None, Retry.NEVER, id="rejected"),
    ],
)
def test_what_came_back_says_whether_asking_again_can_help(came: Came, detail: str | None, rule: Retry) -> None:
    """For free, once for the price of an answer, or never."""
    assert retry_rule(came, detail) is rule


@pytest.mark.parametrize(
    ("before", "attempt"),
    [
        pytest.param(None, Attempt(1, 0), id="new"),
        pytest.param(past(), Attempt(2, 0), id="free-again"),
        pytest.param(past(7), Attempt(8, 0), id="free-in-later-runs"),
        pytest.param(past(2, n_this_run=2), Attempt(3, 0), id="free-twice-in-this-run"),
        pytest.param(past(3, n_this_run=3), None, id="three-times-in-this-run"),
        pytest.param(past(n_paid=1), Attempt(2, 0), id="F115-paid-once"),
        pytest.param(past(2, n_paid=2), None, id="F115-paid-twice"),
        pytest.param(past(2, n_paid=1, n_truncated=1), Attempt(3, 1), id="F79-truncated-and-expired"),
        pytest.param(past(final=True), None, id="final"),
    ],
)
def test_a_question_is_asked_again_as_long_as_it_may_be(before: Past | None, attempt: Attempt | None) -> None:
    """What cost nothing three times a run, what was paid for twice ever, and what is final not at all."""
    assert next_attempt(before, Rules()) == attempt


NAMES = st.sampled_from("abcdef")


@given(
    open_=st.frozensets(NAMES),
    failed=st.frozensets(NAMES),
    final=st.frozensets(NAMES),
    sent=st.frozensets(NAMES),
    in_flight=st.dictionaries(NAMES, st.sampled_from(["chunk 1", "chunk 2"])),
)
def test_f28_f108_a_plan_sends_what_is_open_and_neither_final_nor_in_flight(
    open_: frozenset[str],
    failed: frozenset[str],
    final: frozenset[str],
    sent: frozenset[str],
    in_flight: dict[str, str],
) -> None:
    """What is in flight is followed; what is final, or asked by no row, is left alone."""
    before = {one: past(final=True) for one in final} | {one: past(4) for one in failed - final}
    plan = Plan.of(set(open_), past=before, in_flight=in_flight, known=["chunk 0"], rules=Rules())

    due = open_ - final - in_flight.keys()
    assert {one for one in "abcdef" if plan.attempt(one)} == plan.due == due
    assert plan.new == due - failed
    assert plan.again == dict.fromkeys(due & failed, Attempt(5, 0))
    assert plan.followed == {chunk for one, chunk in in_flight.items() if one in open_}
    assert plan.unfinished == {one for one in open_ if one in in_flight or one not in final}

    plan.sent("chunk 3", sorted(sent))
    assert plan.due == due - sent
    assert plan.known == {"chunk 0", "chunk 3"}
