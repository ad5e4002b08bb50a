"""Bugs on the way home: how results become answers, and when a row is called missing."""

from proof.mutants.mutant import Mutant

COLLECTION = "tests/core/test_core_collection.py"
TROUBLE = "tests/core/test_core_trouble.py"
PAID_ANSWERS = "tests/core/test_core_paid_answers.py"
SEVERAL_RUNS = "tests/core/test_core_several_runs.py"
PAID_ONCE = "tests/core/test_core_paid_once.py"
RESTORING = "tests/core/test_core_restoring.py"
DOWNLOADS = "tests/proof/test_proof_downloads.py"
OUTPUTS = "tests/storage/test_storage_outputs.py"
EDITS = "tests/core/test_core_edits.py"
BETTER = f"{OUTPUTS}::test_f93_of_two_answers_to_a_row_the_better_stands_in_either_order_of_landing"

MARK = """\
            connection.execute(f"INSERT INTO {MARKERS.sql} VALUES (?, ?, now())", marker)
"""
UNMARK = """\
            connection.execute(f"DELETE FROM {MARKERS.sql} WHERE (chunk_id, table_name) = (?, ?)", marker)
"""
IF_KNOWN = """\
            if connection.execute(known, marker).fetchone():
                return False
"""
STAGE = """\
            self._stage(connection, answers)
"""

COLLECTING = (
    Mutant(
        name="one-404-is-gone",
        what="A batch that the API does not know is lost.",
        file="core/collection.py",
        old="if batch is not None and batch.archived_at:",
        new="if batch is None or batch.archived_at:",
        caught_by=(
            f"{COLLECTION}::test_a_batch_that_has_not_ended_is_left_alone",
            f"{TROUBLE}::test_f53_f68_a_batch_that_cannot_be_seen_for_minutes_is_not_given_up",
        ),
    ),
    Mutant(
        name="results-not-counted",
        what="What was downloaded without an error is complete.",
        file="core/collection.py",
        old="        if self._complete(chunk, matched):\n",
        new="        if matched:\n",
        caught_by=(f"{PAID_ONCE}::test_f69_results_that_are_no_results_fail_the_run_and_cost_nothing_more",),
    ),
    Mutant(
        name="missing-at-once",
        what="A row that the results lack is missing; downloading them again changes nothing.",
        file="core/collection.py",
        old="return bool(found) and patient",
        new="return bool(found)",
        caught_by=(
            f"{COLLECTION}::test_f68_f69_f70_results_that_came_in_part_are_downloaded_again[results_missing_line]",
        ),
    ),
    Mutant(
        name="claimed-row-asked-again",
        what="A missing row has no answer, so it is asked again like any other.",
        file="core/collection.py",
        old="told = claimed_by(self._told(matched), batch)",
        new="told = self._told(matched)",
        caught_by=(f"{PAID_ONCE}::test_f72_a_row_that_stays_missing_is_not_paid_for_again",),
    ),
    Mutant(
        name="claimed-row-forgotten",
        what="What was missing once is missing for good; nobody looks whether the API hands it out by now.",
        file="core/pipeline.py",
        old="decision.succeeded or decision.claimed or not candidate.landed",
        new="decision.succeeded or not candidate.landed",
        caught_by=(f"{PAID_ONCE}::test_f72_an_answer_that_was_held_back_lands_when_the_api_hands_it_out",),
    ),
    Mutant(
        name="matched-by-order",
        what="Results come in the order of the requests.",
        file="core/collection.py",
        old="return [(row, found.get(row.custom_id)) for row in rows]",
        new="return list(zip(rows, [*found.values(), *[None] * len(rows)], strict=False))",
        caught_by=(f"{COLLECTION}::test_f74_results_in_any_order_are_joined_by_custom_id",),
    ),
    Mutant(
        name="last-line-wins",
        what="Of two results for a row the newer one counts.",
        file="core/collection.py",
        old="if result.custom_id in sent and found.setdefault(result.custom_id, result) != result:",
        new="if result.custom_id in sent:\n                found[result.custom_id] = result\n"
        "            if len(found) > len(sent):",
        caught_by=(f"{COLLECTION}::test_f71_of_two_results_for_a_row_the_first_counts",),
    ),
    Mutant(
        name="collecting-without-the-lock",
        what="Landing is idempotent, so two runs may well do it at once.",
        file="core/collection.py",
        old="        with self.locks.hold(_lock_of(chunk_id)):\n"
        "            chunk = self.ledger.chunk(chunk_id)  # another run may have brought it home meanwhile\n",
        new="        if self.locks:\n            chunk = self.ledger.chunk(chunk_id)\n",
        caught_by=("tests/core/test_core_locks.py::test_f93_one_run_at_a_time_brings_a_chunk_home",),
    ),
    Mutant(
        name="written-off-on-our-disk",
        what="What the API has no more and the ledger does not call spooled is lost.",
        file="core/collection.py",
        old="        kept = self._kept(chunk)\n",
        new="        kept: list[Matched] = []\n",
        caught_by=(
            f"{COLLECTION}::test_f66_f78_results_on_our_disk_are_not_written_off",
            f"{COLLECTION}::test_f66_f69_results_on_our_disk_that_lack_rows_are_completed_or_land_as_they_are[30]",
        ),
    ),
    Mutant(
        name="half-a-file-taken-for-whole",
        what="What is in the spool has been looked through before.",
        file="core/collection.py",
        old="whole = bool(kept) and all(result is not None for _, result in kept)",
        new="whole = bool(kept)",
        caught_by=(
            f"{COLLECTION}::test_f66_f69_results_on_our_disk_that_lack_rows_are_completed_or_land_as_they_are[0]",
        ),
    ),
    Mutant(
        name="29-days-not-written-off",
        what="As long as the API does not say that it is archived, there is hope.",
        file="core/collection.py",
        old="return len(vain) >= MAX_DOWNLOADS and vain[-1] - vain[0] >= PATIENCE",
        new="return False",
        caught_by=(f"{COLLECTION}::test_f66_results_of_29_days_ago_are_written_off[not-shown]",),
    ),
    Mutant(
        name="written-off-by-the-calendar",
        what="After 29 days the results are gone; that is documented.",
        file="core/collection.py",
        old="            with self.api.results(_batch_id(chunk)):\n                return False\n",
        new="            return True\n",
        caught_by=(f"{DOWNLOADS}::test_f66_f49_results_that_can_be_had_are_not_written_off_by_the_calendar",),
    ),
    Mutant(
        name="trouble-is-gone",
        what="Results that cannot be fetched are lost; the row says so.",
        file="core/collection.py",
        old="            if error.status == 404:  # noqa: PLR2004  (29 days have passed, or somebody deleted them)\n"
        "                return False\n            raise\n",
        new="            return not error\n",
        caught_by=(f"{PAID_ANSWERS}::test_answers_that_cannot_be_fetched_just_now_are_fetched_by_the_next_run[500]",),
    ),
    Mutant(
        name="restored-uncounted",
        what="What is fetched to fill the table again is what had filled it.",
        file="core/collection.py",
        old="            if not (lacking := lacking_in(matched)):\n                break\n",
        new="            if lacking := lacking_in(matched):\n                break\n",
        caught_by=(
            f"{RESTORING}::test_f69_f90_answers_whose_download_was_cut_come_back_all_the_same",
            f"{RESTORING}::test_f90_a_file_of_the_spool_that_lacks_rows_is_completed",
        ),
    ),
    Mutant(
        name="restored-rows-missing",
        what="A row without a result is missing, now as before.",
        file="core/collection.py",
        old="return [one for one in told if one.row.custom_id not in lacking]",
        new="return told",
        caught_by=(
            f"{RESTORING}::test_f69_f90_answers_that_the_api_holds_back_come_with_a_later_run",
            "tests/proof/test_proof_cuts.py::test_f69_f90_answers_that_come_back_cut_are_not_taken_for_whole",
        ),
    ),
    Mutant(
        name="dead-runs-not-collected",
        what="A run brings home what it asks for itself.",
        file="core/pipeline.py",
        old="        self._collect_ended()  # also what nobody asks for any more: it was paid for\n",
        new="",
        caught_by=(
            f"{PAID_ONCE}::test_f62_a_batch_whose_rows_nobody_asks_for_any_more_is_brought_home",
            f"{PAID_ONCE}::test_f97_a_batch_that_landed_before_the_crash_is_booked_by_the_next_run",
        ),
    ),
    Mutant(
        name="marker-first",
        what="Short transactions are good, so the marker has one of its own.",
        file="storage/outputs.py",
        old=IF_KNOWN + STAGE,
        new=f"{IF_KNOWN}{MARK}            connection.commit()\n            connection.begin()\n{UNMARK}{STAGE}",
        caught_by=(f"{OUTPUTS}::test_f85_a_landing_that_breaks_off_leaves_nothing",),
    ),
    Mutant(
        name="marker-last",
        what="Only what has landed can be marked as landed.",
        file="storage/outputs.py",
        old=MARK,
        new=f"        with self.warehouse.transaction() as connection:\n{MARK}",
        caught_by=(f"{OUTPUTS}::test_f97_a_crash_right_after_the_landing_is_a_landing",),
    ),
    Mutant(
        name="marker-unchecked",
        what="Landing the same rows again gives the same table.",
        file="storage/outputs.py",
        old=IF_KNOWN,
        new=UNMARK,
        caught_by=(f"{OUTPUTS}::test_f85_f97_a_chunk_lands_once",),
    ),
    Mutant(
        name="failure-replaces-answer",
        what="The newest result is what the table shows.",
        file="storage/outputs.py",
        old='UNLESS_WORSE = f"s.{GOOD} OR (NOT t.{GOOD} AND {NEWER})"',
        new='UNLESS_WORSE = "TRUE"',
        caught_by=(f"{BETTER}[bad-after-good]",),
    ),
    Mutant(
        name="earlier-question-wins",
        what="What lands last is the newest.",
        file="core/collection.py",
        old="(one for one in told if not one.row.withdrawn)",
        new="(one for one in told)",
        caught_by=(
            f"{EDITS}::test_an_edit_that_is_taken_back_while_its_batch_is_on_its_way_leaves_the_answer_that_stands",
            f"{EDITS}::test_an_answer_to_an_earlier_question_lands_nowhere_and_is_kept",
        ),
    ),
    Mutant(
        name="late-answer-undoes-edit",
        what="Nobody waits for a batch that was let go, so its rows are as they were.",
        file="storage/withdrawals.py",
        old="sa.and_(chunks.c.state == str(State.UNSEEN), chunks.c.intended_at > since)",
        new="sa.false()",
        caught_by=(f"{EDITS}::test_a_batch_that_was_let_go_and_turns_up_after_an_edit_does_not_undo_it",),
    ),
    Mutant(
        name="overtaken-run-wins",
        what="A run ends with the answers that it has waited for.",
        file="core/pipeline.py",
        old="overtaken = met_in_flight and decision.withdrawn",
        new="overtaken = False and decision.withdrawn",
        caught_by=(f"{EDITS}::test_an_answer_that_a_later_run_does_not_ask_for_fills_a_gap",),
    ),
    Mutant(
        name="overtaken-where-others-landed",
        what="Only what a run has landed itself can have been overtaken.",
        file="core/pipeline.py",
        old="overtaken = met_in_flight and decision.withdrawn",
        new="overtaken = landed_here and decision.withdrawn",
        caught_by=(f"{EDITS}::test_a_later_run_that_lands_both_batches_has_the_last_word",),
    ),
    Mutant(
        name="late-failure-counts",
        what="A failure that lands last is the latest.",
        file="storage/outputs.py",
        old="coalesce(s.custom_id, '') >= coalesce(t.custom_id, '')",
        new="TRUE",
        caught_by=(
            f"{EDITS}::test_f34_a_failure_that_turns_up_late_says_nothing_against_the_answer_that_stands",
            f"{EDITS}::test_f34_a_failure_that_turns_up_late_does_not_hide_the_final_one",
        ),
    ),
    Mutant(
        name="withdrawn-question-asked-again",
        what="What failed at no cost is asked again.",
        file="core/verdicts.py",
        old="        repeatable = False  # a later run",
        new="        pass  # a later run",
        caught_by=(f"{EDITS}::test_a_question_that_a_later_run_has_replaced_is_not_asked_again",),
    ),
    Mutant(
        name="deleted-document-comes-back",
        what="What has landed was asked for, so it stays.",
        file="storage/pruning.py",
        old="WHERE rowid IN (",
        new="WHERE FALSE AND rowid IN (",
        caught_by=(f"{EDITS}::test_f95_a_document_that_was_deleted_while_a_run_waits_does_not_come_back",),
    ),
    Mutant(
        name="overtaken-answer-replaces",
        what="What is brought back takes the place of whatever stands there.",
        file="storage/outputs.py",
        old="if only_gaps:",
        new="if False:",
        caught_by=(f"{EDITS}::test_an_answer_that_a_later_run_does_not_ask_for_replaces_none",),
    ),
    Mutant(
        name="shared-verdict-only-from-the-table",
        what="A row that asks what another asks finds the verdict in the other's row.",
        file="engine.py",
        old="pipeline.collection.verdicts_for(pipeline.name, shared).items()",
        new="{}.items()",
        caught_by=(
            f"{EDITS}::test_a_row_that_shares_a_question_gets_its_verdict_though_the_other_keeps_an_older_answer[war]",
        ),
    ),
    Mutant(
        name="retention-without-held-chunks",
        what="A batch that nobody knows of has no results to lose.",
        file="engine.py",
        old="State.ENDED, State.AMBIGUOUS, State.HELD]",
        new="State.ENDED]",
        caught_by=(f"{SEVERAL_RUNS}::test_f66_the_age_of_the_oldest_batch_counts_those_that_are_held",),
    ),
)
