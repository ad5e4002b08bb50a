"""Bugs in what is kept on disk: ledger, spool, locks, and whether they belong together."""

from textwrap import indent

from proof.mutants.mutant import Mutant

LEDGER = "tests/storage/test_storage_ledger.py"
FILES = "tests/storage/test_storage_files.py"
CLAIMS = "tests/core/test_core_claims.py"
KINSHIP = "tests/core/test_core_kinship.py"
WAREHOUSE = "tests/storage/test_storage_warehouse.py"

WRITE = """\
                file = open_private(partial)
            with file:
                for chunk in chunks:  # what goes wrong at the other end is not ours to name
                    with self._translated():
                        file.write(chunk)
"""
SYNC = """\
                with self._translated():
                    file.flush()
                    os.fsync(file.fileno())
"""
NAME = """\
            with self._translated():
                partial.replace(final)
"""

KEEPING = (
    Mutant(
        name="lock-with-a-lease",
        what="A lock that nobody lets go of must not stop everything; its holder will be dead.",
        file="storage/file_locks.py",
        old="""\
        with self._lock(f"{hashed(name)}.lock"):
            yield
""",
        new="""\
        lock = self._lock(f"{hashed(name)}.lock", timeout=3_600)
        with suppress(Timeout):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
""",
        caught_by=(f"{FILES}::test_f29_a_lock_is_waited_for_however_long_it_is_held",),
    ),
    Mutant(
        name="no-lock",
        what="One machine, one daemon: there are no two runs of one asset.",
        file="storage/file_locks.py",
        old="""\
        with self._lock(f"{hashed(name)}.lock"):
            yield
""",
        new="        yield\n",
        caught_by=(f"{FILES}::test_f29_a_lock_is_waited_for_however_long_it_is_held",),
    ),
    Mutant(
        name="locks-of-the-file-system-unproved",
        what="Every file system keeps locks.",
        file="storage/state_directory.py",
        old="            _check_locks(root)\n",
        new="",
        caught_by=(f"{FILES}::test_f30_a_file_system_that_lets_two_hold_one_lock_is_refused",),
    ),
    Mutant(
        name="locks-by-existence",
        what="Where the file system keeps no locks, a file that exists will do.",
        file="storage/file_locks.py",
        old=", fallback_to_soft=False",
        new="",
        caught_by=(f"{FILES}::test_f30_a_file_system_without_locks_is_refused",),
    ),
    Mutant(
        name="locks-in-each-state-directory",
        what="Locks lie in the state directory, wherever the ledger is.",
        file="storage/locks.py",
        old="    return state if file is None else _beside(file, state)\n",
        new="    return state if file else state\n",
        caught_by=(
            f"{CLAIMS}::test_f30_runs_with_one_ledger_share_its_locks_whatever_their_state_directory",
            f"{CLAIMS}::test_f30_a_ledger_of_any_name_has_its_locks_beside_it",
        ),
    ),
    Mutant(
        name="program-locks-the-state-directory",
        what="The lock of the table lies in the state directory; every run knows that.",
        file="cli/reconcile.py",
        old="locked(self.ledger.shared_locks(self.state), pipeline)",
        new="locked(self.state, pipeline)",
        caught_by=("tests/cli/test_cli_program.py::test_f29_its_lock_is_that_of_the_runs_with_this_ledger",),
    ),
    Mutant(
        name="spool-not-synced",
        what="A file that was closed is on disk.",
        file="storage/spool.py",
        old="                    os.fsync(file.fileno())\n",
        new="",
        caught_by=(f"{FILES}::test_results_are_on_disk_before_they_have_their_name",),
    ),
    Mutant(
        name="spool-named-before-synced",
        what="Renaming first and syncing then is the same in the end.",
        file="storage/spool.py",
        old=SYNC + NAME,
        new=indent(NAME, "    ") + SYNC,
        caught_by=(f"{FILES}::test_results_are_on_disk_before_they_have_their_name",),
    ),
    Mutant(
        name="spool-readable-in-part",
        what="A file that is written in place needs no second name.",
        file="storage/spool.py",
        old=WRITE + SYNC + NAME,
        new=WRITE.replace("partial", "final") + SYNC,
        caught_by=(
            f"{FILES}::test_f78_results_are_absent_until_they_are_whole",
            f"{FILES}::test_f70_a_broken_second_download_leaves_the_first",
        ),
    ),
    Mutant(
        name="old-results-swept-away",
        what="Whatever lies in the spool for a day is a leftover.",
        file="storage/state_directory.py",
        old='_remove_leftovers(root / "spool", "*.partial")',
        new='_remove_leftovers(root / "spool", "*")',
        caught_by=(f"{FILES}::test_f120_what_a_killed_run_left_is_deleted_after_a_day",),
    ),
    Mutant(
        name="database-file-made-in-steps",
        what="DuckDB makes its file by itself.",
        file="storage/warehouse.py",
        old="        self._create()\n",
        new="",
        caught_by=(f"{WAREHOUSE}::test_f107_a_file_has_its_name_only_when_it_is_whole",),
    ),
    Mutant(
        name="database-file-made-anew",
        what="A file that was missing a moment ago is missing.",
        file="storage/warehouse.py",
        old="os.link(draft, file)",
        new="os.replace(draft, file)",
        caught_by=(f"{WAREHOUSE}::test_f107_a_file_that_another_process_makes_meanwhile_is_not_made_anew",),
    ),
    Mutant(
        name="copy-taken-for-a-held-ledger",
        what="A ledger that cannot be read is gone.",
        file="storage/identity.py",
        old="if primary == sqlite3.SQLITE_BUSY:",
        new="if False:",
        caught_by=(f"{LEDGER}::test_a_copy_does_not_pass_for_a_ledger_whose_original_is_held",),
    ),
    Mutant(
        name="file-of-another-run-missed",
        what="A file that was listed a moment ago is there.",
        file="storage/state_directory.py",
        old="with suppress(FileNotFoundError):  # other runs",
        new="with suppress():  # other runs",
        caught_by=(f"{FILES}::test_f28_a_file_that_another_run_takes_away_meanwhile_stops_nobody[outbox-requests]",),
    ),
    Mutant(
        name="ledger-not-synced",
        what="WAL is safe enough without a sync at every commit, and much faster.",
        file="storage/ledger.py",
        old='"synchronous=FULL"',
        new='"synchronous=OFF"',
        caught_by=(f"{LEDGER}::test_f98_every_commit_reaches_the_disk",),
    ),
    Mutant(
        name="intent-in-two-transactions",
        what="The rows of a chunk can follow in a transaction of their own.",
        file="storage/ledger.py",
        old="            connection.execute(sa.insert(schema.rows), values)\n",
        new="            connection.commit()\n            connection.begin()\n"
        "            connection.execute(sa.insert(schema.rows), values)\n",
        caught_by=(f"{LEDGER}::test_f23_an_intent_is_written_whole_or_not_at_all",),
    ),
    Mutant(
        name="intent-without-claim",
        what="Under the lock nobody else can have claimed the rows.",
        file="storage/ledger.py",
        old="            claims.check(connection, chunk)\n",
        new="",
        caught_by=(
            f"{CLAIMS}::test_f28_rows_that_another_run_has_sent_meanwhile_are_waited_for",
            f"{CLAIMS}::test_f28_rows_that_another_run_has_answered_meanwhile_are_not_sent",
            f"{CLAIMS}::test_f28_of_a_chunk_only_what_nobody_claimed_is_sent",
            f"{CLAIMS}::test_f29_nothing_is_sent_while_another_run_has_a_chunk_unconfirmed",
        ),
    ),
    Mutant(
        name="claim-of-open-rows-only",
        what="What has landed is in the table; the claim is about what is on its way.",
        file="storage/claims.py",
        old="_OTHER.c.attempt >= _MINE.c.attempt",
        new="_OTHER.c.attempt > _MINE.c.attempt + 1",
        caught_by=(f"{CLAIMS}::test_f28_an_attempt_that_another_run_has_made_meanwhile_counts",),
    ),
    Mutant(
        name="moves-without-condition",
        what="Whoever moves a chunk knows where it stands.",
        file="storage/ledger.py",
        old="table.c.chunk_id == chunk_id, table.c.state.in_(allowed)).values(",
        new="table.c.chunk_id == chunk_id).values(",
        caught_by=(f"{LEDGER}::test_of_two_runs_that_move_a_chunk_one_wins",),
    ),
    Mutant(
        name="newer-ledger-accepted",
        what="A ledger that has tables needs no upgrade.",
        file="storage/migrations/__init__.py",
        old="if current == script.get_current_head():",
        new="if current is not None:",
        caught_by=(f"{LEDGER}::test_f25_f113_a_ledger_of_a_newer_version_is_refused_and_left_alone",),
    ),
    Mutant(
        name="strange-ledger-unchecked",
        what="The ledger is where the settings say; there is nothing to check.",
        file="engine.py",
        old="        self._kinship.begin()\n",
        new="",
        caught_by=(
            f"{KINSHIP}::test_f26_a_ledger_that_was_deleted_is_missed",
            f"{KINSHIP}::test_f27_a_copy_of_a_ledger_that_is_still_in_use_is_refused",
        ),
    ),
    Mutant(
        name="backup-taken-for-the-ledger",
        what="A ledger with the right id is the right ledger.",
        file="storage/kinship.py",
        old="elif missing := self.ledger.unknown(self._landed()):",
        new="elif missing := self.ledger.unknown([]):",
        caught_by=(f"{KINSHIP}::test_f26_a_ledger_from_a_backup_is_noticed",),
    ),
    Mutant(
        name="no-mark-before-sending",
        what="What was sent shows in the table once it has landed; that is soon enough.",
        file="storage/kinship.py",
        old="        self.check()\n        self.mark()\n",
        new="        self.check()\n",
        caught_by=(f"{KINSHIP}::test_f26_a_ledger_from_a_backup_that_lacks_what_is_on_its_way_is_noticed",),
    ),
    Mutant(
        name="no-mark-after-sending",
        what="The mark at the start of a run is enough.",
        file="engine.py",
        old="            flying = pipeline.send(outbox)\n            table.settle(survey)\n"
        "            self._kinship.mark()\n",
        new="            flying = pipeline.send(outbox)\n            table.settle(survey)\n",
        caught_by=(f"{KINSHIP}::test_f26_a_ledger_from_a_backup_made_during_a_run_is_noticed_once_that_is_over",),
    ),
)
