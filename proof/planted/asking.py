"""Bugs in what a question is: the same one asked twice, or the answer to another one taken for its own."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

from collections.abc import Callable
from dataclasses import replace

from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.storage.duckdb.asking.asking import Asking
from claude_batch_dagster.storage.duckdb.asking.rendering import Rendering
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

HASH = "tests/core/test_core_requests.py::test_f110_the_hash_changes_with_anything_that_is_asked"
ASKING = "tests/storage/test_storage_asking.py"
PROJECTION = "tests/storage/test_storage_projection.py"
EDITS = "tests/core/test_core_edits.py"


def define(planter: Planter, change: Callable[[RequestBuilder], RequestBuilder]) -> None:
    """Name questions as those of another definition."""
    defined = vars(RequestBuilder)["definition"].func
    planter.replace(RequestBuilder, "definition", property(lambda builder: defined(change(builder))))


@breaks(Promise.ONE_QUESTION_ONE_ANSWER, caught_by=(f"{HASH}[model]",))
def hash_without_model(planter: Planter) -> None:
    """The question is the prompt with the document in it."""

    def without_model(builder: RequestBuilder) -> RequestBuilder:
        asked = builder.asked or builder.base
        return replace(builder, asked={name: value for name, value in asked.items() if name != "model"})

    define(planter, without_model)


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=("tests/client/test_client_answerer.py::test_rows_answered_offline_are_asked_again_of_claude",),
)
def emulator_taken_for_claude(planter: Planter) -> None:
    """The same request has the same answer, wherever it is sent."""
    define(planter, lambda builder: replace(builder, asked_of=""))


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=(
        f"{ASKING}::test_rows_that_ask_the_same_share_one_request",
        f"{ASKING}::test_rows_of_which_a_function_makes_the_same_share_one_request",
    ),
)
def shared_question_asked_twice(planter: Planter) -> None:
    """A row without an answer has to be asked."""
    planter.replace(Rendering, "_not_put", lambda _, asking: list(asking))
    planter.rewrite(Rendering, "render", "GROUP BY request_hash", "GROUP BY _cb_place")


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=(
        f"{PROJECTION}::test_two_rows_can_exchange_their_answers",
        f"{EDITS}::test_an_answer_to_an_earlier_question_lands_nowhere_and_is_kept",
    ),
)
def earlier_question_wins(planter: Planter) -> None:
    """A row with a good answer has what it needs."""
    planter.rewrite(Projection, "_find_due", " AND t.error IS NULL AND t.request_hash = q.request_hash", "")


@breaks(
    Promise.ONE_QUESTION_ONE_ANSWER,
    caught_by=(f"{ASKING}::test_what_a_partition_asked_before_is_replaced_and_others_keep_theirs",),
)
def earlier_questions_stay(planter: Planter) -> None:
    """What a row asked once, it may ask again."""
    planter.rewrite(Asking, "_write", "IS NOT DISTINCT FROM p._cb_partition", "= p._cb_partition AND false")
