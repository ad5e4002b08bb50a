"""Bugs in what a question is: the same one asked twice, or the answer to another one taken for its own."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

from collections.abc import Sequence
from typing import Any

import orjson

from claude_batch_dagster.core import verdicts
from claude_batch_dagster.core.ledger import RowRecord
from claude_batch_dagster.core.requests import Request
from claude_batch_dagster.core.verdicts import Decision
from claude_batch_dagster.storage.ledger import SqlLedger
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

HASH = "tests/core/test_core_requests.py::test_f110_the_hash_changes_with_anything_that_is_asked"
SHARED = "tests/core/test_core_verdicts.py::test_a_question_is_paid_for_once_whoever_asks_it"
EDITS = "tests/core/test_core_edits.py"


def hash_without(param: str, planter: Planter) -> None:
    """Hash requests without one of their params."""
    request_of = Request.of

    def of(_: type[Request], params: bytes, *, asked_of: str = "") -> Request:
        rest = {name: value for name, value in orjson.loads(params).items() if name != param}
        return Request(params, request_of(orjson.dumps(rest), asked_of=asked_of).request_hash)

    planter.replace(Request, "of", classmethod(of))


@breaks(Promise.ONE_QUESTION_ONE_ANSWER, caught_by=(f"{HASH}[model]",))
def hash_without_model(planter: Planter) -> None:
    """The question is the prompt with the document in it."""
    hash_without("model", planter)


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=("tests/client/test_client_answerer.py::test_rows_answered_offline_are_asked_again_of_claude",),
)
def emulator_taken_for_claude(planter: Planter) -> None:
    """The same request has the same answer, wherever it is sent."""
    request_of = Request.of
    planter.replace(Request, "of", classmethod(lambda _, params, **__: request_of(params)))


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=(
        f"{SHARED}[answered]",
        f"{SHARED}[in-flight]",
    ),
)
def shared_question_asked_twice(planter: Planter) -> None:
    """A row looks at its own history."""
    decide = verdicts.decide

    def alone(history: Sequence[RowRecord], *_: object, **given: Any) -> Decision:
        return decide(history, **given)

    planter.replace(verdicts, "decide", alone)


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=(
        f"{EDITS}::test_an_edit_that_is_taken_back_while_its_batch_is_on_its_way_leaves_the_answer_that_stands",
        f"{EDITS}::test_an_answer_to_an_earlier_question_lands_nowhere_and_is_kept",
    ),
)
def earlier_question_wins(planter: Planter) -> None:
    """What lands last is the newest."""
    planter.replace(SqlLedger, "withdraw", lambda *_: None)
