"""Bugs on the way home: how results become answers, and when a row is called missing."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

from collections.abc import Sequence
from pathlib import Path

from claude_batch_dagster.core.collecting import recollecting
from claude_batch_dagster.core.collecting.downloads import Downloads
from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.core.ports import AnswerRecord, Batch
from claude_batch_dagster.core.running.pipeline import Pipeline
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.matching import SpooledReceipt
from claude_batch_dagster.storage.duckdb.collecting.output_table import mark_landed
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.files import state_directory
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

COLLECTION = "tests/core/test_core_collection.py"
PAID_ONCE = "tests/core/test_core_paid_once.py"
EDITS = "tests/core/test_core_edits.py"
RESTORING = "tests/core/test_core_restoring.py"
PROJECTION = "tests/storage/test_storage_projection.py"
FILES = "tests/storage/test_storage_files.py"
BETTER = f"{PROJECTION}::test_f93_of_two_answers_to_a_row_the_better_stands_in_either_order_of_landing"


@breaks(
    Promise.COUNTED,
    caught_by=(f"{PAID_ONCE}::test_f69_results_that_are_no_results_fail_the_run_and_cost_nothing_more",),
)
def results_not_counted(planter: Planter) -> None:
    """What was downloaded without an error is complete."""
    planter.replace(Downloads, "is_enough", lambda *_, **__: True)


@breaks(Promise.COUNTED, caught_by=(f"{COLLECTION}::test_f74_results_in_any_order_are_joined_by_custom_id",))
def matched_by_order(planter: Planter) -> None:
    """Results come in the order of the requests."""
    planter.rewrite(SpooledReceipt, "_match", "USING (custom_id)", "ON l.rowid = s.ordinal")


@breaks(
    Promise.COUNTED,
    caught_by=(
        f"{RESTORING}::test_f69_f90_answers_whose_download_was_cut_come_back_all_the_same",
        f"{RESTORING}::test_f90_a_file_of_the_spool_that_lacks_rows_is_completed",
    ),
)
def restored_uncounted(planter: Planter) -> None:
    """What is fetched to fill the table again is what had filled it."""
    planter.replace(recollecting, "lacking_in", lambda *_: set())


@breaks(
    Promise.NOTHING_LOST,
    caught_by=(
        f"{PAID_ONCE}::test_f62_a_batch_whose_rows_nobody_asks_for_any_more_is_brought_home",
        f"{PAID_ONCE}::test_f97_a_batch_that_landed_before_the_crash_is_booked_by_the_next_run",
    ),
)
def dead_runs_not_collected(planter: Planter) -> None:
    """A run brings home what it asks for itself."""
    planter.rewrite(Pipeline, "_begin", "self.following.collect_ended()", "pass")


@breaks(
    Promise.NOTHING_LOST,
    caught_by=(
        f"{COLLECTION}::test_a_batch_that_has_not_ended_is_left_alone",
        "tests/core/test_core_trouble.py::test_f53_f68_a_batch_that_cannot_be_seen_for_minutes_is_not_given_up",
    ),
)
def one_404_is_gone(planter: Planter) -> None:
    """A batch that the API does not know is lost."""
    are_gone = Downloads.are_gone

    def at_once(self: Downloads, chunk: ChunkRecord, batch: Batch | None) -> bool:
        return batch is None or are_gone(self, chunk, batch)

    planter.replace(Downloads, "are_gone", at_once)


@breaks(Promise.NOTHING_LOST, caught_by=(f"{FILES}::test_f120_what_a_killed_run_left_is_deleted_after_a_day",))
def old_results_swept_away(planter: Planter) -> None:
    """Whatever lies in the spool for a day is a leftover."""
    remove = state_directory._remove_leftovers  # noqa: SLF001  (where files are deleted)

    def all_of_them(folder: Path, *_: str) -> None:
        remove(folder, "*")

    planter.replace(state_directory, "_remove_leftovers", all_of_them)


@breaks(Promise.NOTHING_LOST, caught_by=(f"{PROJECTION}::test_f85_a_landing_that_breaks_off_leaves_nothing",))
def marker_first(planter: Planter) -> None:
    """Short transactions are good, so the marker has one of its own."""
    land = AnswerStore.land

    def in_two_steps(self: AnswerStore, chunk_id: str, records: Sequence[AnswerRecord]) -> None:
        with self.warehouse.connect() as connection:
            mark_landed(connection, self.target, [chunk_id])
        land(self, chunk_id, records)

    planter.replace(AnswerStore, "land", in_two_steps)


@breaks(
    Promise.NOTHING_LOST,
    caught_by=(f"{PROJECTION}::test_what_comes_for_some_requests_of_a_chunk_leaves_the_others_as_they_are",),
)
def what_came_back_erases_its_neighbours(planter: Planter) -> None:
    """Failures that a chunk had before are out of date once more of it comes."""
    planter.rewrite(answers, "land", "AND (chunk_id, ordinal) IN (SELECT (chunk_id, ordinal) FROM {GATHERED})", "")


@breaks(
    Promise.NOTHING_LOST,
    caught_by=(f"{PROJECTION}::test_what_comes_later_takes_the_place_of_a_failure_and_never_of_a_message",),
)
def message_forgotten(planter: Planter) -> None:
    """What came later is what counts."""
    planter.rewrite(answers, "land", "AND came <> '{Came.SUCCEEDED}' ", "")


@breaks(Promise.NOTHING_LOST, caught_by=(f"{BETTER}[bad-after-good]",))
def newest_result_shown(planter: Planter) -> None:
    """The newest result is what the table shows."""
    planter.rewrite(Projection, "_choose", "ORDER BY (j.{GOOD}) DESC", "ORDER BY chunk_id DESC")


@breaks(
    Promise.NOTHING_LOST,
    caught_by=(
        f"{PROJECTION}::test_an_answer_that_stays_though_the_row_asks_something_else_says_so",
        f"{EDITS}::test_of_several_failures_of_a_question_the_one_that_counts_is_shared",
    ),
)
def failure_replaces_answer(planter: Planter) -> None:
    """A row shows what came back for its question, good or bad."""
    planter.rewrite(Projection, "_replace", "(n.{GOOD} OR NOT n._cb_stands)", "TRUE")
