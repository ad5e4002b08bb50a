"""Bugs on the way out: what is sent again, and what is written down before."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D400, D401

from collections.abc import Collection, Iterator
from typing import Any

from anthropic import Anthropic

from claude_batch_dagster import client
from claude_batch_dagster.core import retries
from claude_batch_dagster.core.collecting import collection
from claude_batch_dagster.core.collecting.answer_records import lack
from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import Body
from claude_batch_dagster.core.retries import Plan
from claude_batch_dagster.core.sending import submission
from claude_batch_dagster.core.sending.chunks import Chunk
from claude_batch_dagster.core.sending.submission import DEFINITE_NO, Sent, Submission
from claude_batch_dagster.errors import ApiError, ApiRefusedError
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

CLIENT = "tests/client/test_client.py"
SUBMISSION = "tests/core/test_core_submission.py"
SEVERAL_RUNS = "tests/core/test_core_several_runs.py"
PAID_ONCE = "tests/core/test_core_paid_once.py"
LOST = f"{SEVERAL_RUNS}::test_a_batch_whose_answer_was_lost_is_found_adopted_and_billed_once"
ATTEMPTS = "tests/core/test_core_retries.py"


@breaks(Promise.PAID_ONCE, caught_by=(f"{CLIENT}::test_f35_f47_our_client_tries_nothing_twice_and_follows_nobody",))
def sdk_retries_on(planter: Planter) -> None:
    """The SDK repeats failed calls by itself; why should ours not?"""
    new_client = client.new_client

    def retrying(**given: Any) -> Anthropic:
        return new_client(**given).with_options(max_retries=2)

    planter.replace(client, "new_client", retrying)


@breaks(Promise.PAID_ONCE, caught_by=(f"{SUBMISSION}::test_f36_to_f47_what_an_error_status_proves[True-None-400]",))
def no_without_envelope(planter: Planter) -> None:
    """A 400 is a 400, whoever says it."""
    classify = submission.classify

    def by_status(error: ApiError, *, released: bool) -> Sent:
        is_no = isinstance(error, ApiRefusedError) and error.status in DEFINITE_NO
        return Sent.NO if is_no else classify(error, released=released)

    planter.replace(submission, "classify", by_status)


@breaks(Promise.PAID_ONCE, caught_by=(f"{LOST}[F34-reset]", f"{LOST}[F46-html]"))
def lost_answer_is_a_no(planter: Planter) -> None:
    """A call that raised did not work, so its rows are free."""
    planter.replace(submission, "classify", lambda *_, **__: Sent.NO)


@breaks(
    Promise.PAID_ONCE,
    caught_by=(f"{ATTEMPTS}::test_f28_f108_a_plan_sends_what_is_open_and_neither_final_nor_in_flight",),
)
def in_flight_asked_again(planter: Planter) -> None:
    """What has no answer is asked."""
    planter.rewrite(Plan, "of", "difference_update(carried, attempts)", "difference_update(attempts)")


@breaks(
    Promise.PAID_ONCE,
    caught_by=(
        f"{ATTEMPTS}::test_a_question_is_asked_again_as_long_as_it_may_be[F115-paid-twice]",
        "tests/core/test_core_claims.py::test_f28_an_attempt_that_another_run_has_made_meanwhile_counts",
    ),
)
def paid_failures_asked_for_ever(planter: Planter) -> None:
    """An answer that did not fit is no answer."""
    planter.rewrite(retries, "next_attempt", "past.n_paid >= MAX_PAID_ATTEMPTS", "False")


@breaks(Promise.PAID_ONCE, caught_by=(f"{PAID_ONCE}::test_f72_a_row_that_stays_missing_is_not_paid_for_again",))
def claimed_row_asked_again(planter: Planter) -> None:
    """A missing row has no answer, so it is asked again like any other."""
    planter.replace(collection, "lack", lambda known, **_: lack(known, withheld=False))


@breaks(Promise.WRITTEN_DOWN_FIRST, caught_by=(f"{SUBMISSION}::test_f32_f33_a_crash_leaves_what_recovery_needs",))
def intent_after_post(planter: Planter) -> None:
    """The ledger is written once there is something to write: the answer."""

    def submit(self: Submission, chunk: Chunk, *, known: Collection[str] = ()) -> ChunkRecord:
        batch = self.api.create(chunk.body)
        self.ledger.intend(*self.intent(chunk), known=known)
        self.ledger.move(chunk.nonce, to=State.RELEASED)
        return self.accept(chunk, batch)

    planter.replace(Submission, "submit", submit)


@breaks(
    Promise.WRITTEN_DOWN_FIRST,
    caught_by=(
        f"{SUBMISSION}::test_f23_f32_the_intent_precedes_the_first_byte_and_the_release_the_last",
        f"{SUBMISSION}::test_f32_f33_a_crash_leaves_what_recovery_needs[after it]",
    ),
)
def last_byte_not_withheld(planter: Planter) -> None:
    """A body is released when it has left, so that is when it is written down."""

    def withhold_nothing(self: Submission, chunk: Chunk) -> Body:
        def pieces() -> Iterator[bytes]:
            yield from chunk.body.pieces
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())

        return Body(pieces=pieces(), n_bytes=chunk.body.n_bytes)

    planter.replace(Submission, "withhold_last_byte", withhold_nothing)


@breaks(
    Promise.WRITTEN_DOWN_FIRST,
    caught_by=("tests/storage/test_storage_ledger.py::test_f23_an_intent_is_written_whole_or_not_at_all",),
)
def intent_in_two_transactions(planter: Planter) -> None:
    """The rows of a chunk can follow in a transaction of their own."""
    insert = "columns.write(connection, chunk.chunk_id, requests)"
    planter.rewrite(SqlLedger, "intend", insert, f"connection.commit(); connection.begin(); {insert}")
