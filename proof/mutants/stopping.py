"""Bugs of what is stopped with a run, and of what the collect sensor starts anew."""

from proof.mutants.mutant import Mutant

SEVERAL_RUNS = "tests/core/test_core_several_runs.py"
LEDGER = "tests/storage/test_storage_ledger.py"
INTERRUPTIONS = "tests/storage/test_storage_interruptions.py"
FREE = f"{INTERRUPTIONS}::test_f62_wherever_an_interruption_strikes_the_ledger_is_free_once_it_is_closed"
PENDING = "tests/dagster/test_dagster_pending.py"
WAREHOUSE = "tests/storage/test_storage_warehouse.py"

STOPPING = (
    Mutant(
        name="batches-of-others-canceled",
        what="Who terminates a run wants its batches to stop, all of them.",
        file="core/canceling.py",
        old="if is_needed(chunk):",
        new="if False:",
        caught_by=(
            f"{SEVERAL_RUNS}::test_f63_a_batch_that_others_need_is_not_canceled[the run that sent it still waits]",
            f"{SEVERAL_RUNS}::test_f63_a_batch_that_others_need_is_not_canceled[it has rows of another partition]",
        ),
    ),
    Mutant(
        name="interruption-locks-its-own-run-out",
        what="An interrupted run has left the ledger as it found it.",
        file="engine.py",
        old="        self.ledger.dispose()  # an interruption",
        new="        # an interruption",
        caught_by=(f"{SEVERAL_RUNS}::test_f63_a_run_that_was_interrupted_in_a_transaction_still_cancels",),
    ),
    Mutant(
        name="interruption-locks-the-next-run-out",
        what="A connection that is closed holds no lock.",
        file="storage/ledger.py",
        old="    connection.rollback()",
        new="    pass",
        caught_by=(f"{FREE}[read-every seventh line]",),
    ),
    Mutant(
        name="interrupted-connection-left-open",
        what="The pool closes whatever it has opened.",
        file="storage/ledger.py",
        old="self._used.pop().invalidate()",
        new="self._used.pop()",
        caught_by=(f"{LEDGER}::test_f62_a_transaction_left_behind_by_an_interruption_locks_nobody_out",),
    ),
    Mutant(
        name="interruption-of-a-query-taken-for-a-fault",
        what="What DuckDB raises is an error of DuckDB.",
        file="storage/warehouse.py",
        old="                raise KeyboardInterrupt from None",
        new="                raise WarehouseError(INTERRUPTED) from None",
        caught_by=(f"{WAREHOUSE}::test_f62_an_interruption_in_the_midst_of_a_statement_is_one",),
    ),
    Mutant(
        name="half-submitted-forgotten",
        what="What was submitted is what the submission asset says.",
        file="pending.py",
        old="stray={key: mark for key, mark in sent.items() if key not in submitted},",
        new="stray={},",
        caught_by=(f"{PENDING}::test_f62_what_a_submission_had_sent_when_it_died_is_collected",),
    ),
    Mutant(
        name="canceled-by-a-person-started-again",
        what="Rows on their way are rows that somebody wants.",
        file="pending.py",
        old="if batch and batch.was_canceled}",
        new="if False}",
        caught_by=(f"{PENDING}::test_f63_what_a_person_has_canceled_is_not_started_again",),
    ),
    Mutant(
        name="batches-elsewhere-waited-for",
        what="One ledger, one list: whatever is on its way is waited for.",
        file="pending.py",
        old="if place_of(chunk.account) == place_of(account)",
        new="if True",
        caught_by=(
            f"{PENDING}::test_f112_what_was_sent_elsewhere_is_neither_waited_for_nor_started",
            f"{PENDING}::test_f112_what_is_sent_anew_is_collected_whatever_runs_elsewhere",
        ),
    ),
)
