"""Bugs in what is kept on disk: ledger, spool, locks, and whether they belong together."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from filelock import FileLock, Timeout

from claude_batch_dagster.core import ledger as core_ledger
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.storage.duckdb.ledger_pairing import LedgerPairing
from claude_batch_dagster.storage.files.file_locks import FileLocks
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import open_private
from claude_batch_dagster.storage.ledger import locks, opening, reservations
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

LEDGER = "tests/storage/test_storage_ledger.py"
FILES = "tests/storage/test_storage_files.py"
CLAIMS = "tests/core/test_core_claims.py"
KINSHIP = "tests/core/test_core_ledger_pairing.py"
WAITED_FOR = f"{FILES}::test_f29_a_lock_is_waited_for_however_long_it_is_held"


@breaks(Promise.ONE_RUN_AT_A_TIME, caught_by=(WAITED_FOR,))
def no_lock(planter: Planter) -> None:
    """One machine, one daemon: there are no two runs of one asset."""
    planter.replace(FileLocks, "hold", lambda *_: nullcontext())


@breaks(Promise.ONE_RUN_AT_A_TIME, caught_by=(WAITED_FOR,))
def lock_with_a_lease(planter: Planter) -> None:
    """A lock that nobody lets go of must not stop everything; its holder will be dead."""

    @contextmanager
    def hold(self: FileLocks, name: str) -> Iterator[None]:
        lock = FileLock(self.folder / f"{name}.lock", timeout=3_600)
        with suppress(Timeout):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    planter.replace(FileLocks, "hold", hold)


@breaks(
    Promise.ONE_RUN_AT_A_TIME,
    caught_by=(
        f"{CLAIMS}::test_f30_runs_with_one_ledger_share_its_locks_whatever_their_state_directory",
        f"{CLAIMS}::test_f30_a_ledger_of_any_name_has_its_locks_beside_it",
    ),
)
def locks_in_each_state_directory(planter: Planter) -> None:
    """Locks lie in the state directory, wherever the ledger is."""
    planter.replace(locks, "locks_for", lambda *given, **_: given[1])


@breaks(
    Promise.ONE_RUN_AT_A_TIME,
    caught_by=(
        f"{CLAIMS}::test_f28_rows_that_another_run_has_sent_meanwhile_are_waited_for",
        f"{CLAIMS}::test_f28_rows_that_another_run_has_answered_meanwhile_are_not_sent",
        f"{CLAIMS}::test_f28_of_a_chunk_only_what_nobody_claimed_is_sent",
        f"{CLAIMS}::test_f29_nothing_is_sent_while_another_run_has_a_chunk_unconfirmed",
    ),
)
def intent_without_claim(planter: Planter) -> None:
    """Under the lock nobody else can have claimed the rows."""
    planter.replace(reservations, "check", lambda *_: None)


@breaks(Promise.ONE_RUN_AT_A_TIME, caught_by=(f"{LEDGER}::test_of_two_runs_that_move_a_chunk_one_wins",))
def moves_without_condition(planter: Planter) -> None:
    """Whoever moves a chunk knows where it stands."""
    planter.replace(core_ledger, "NEXT", dict.fromkeys(State, frozenset(State)))


@breaks(Promise.ON_DISK_BEFORE_NAMED, caught_by=(f"{LEDGER}::test_f98_every_commit_reaches_the_disk",))
def ledger_not_synced(planter: Planter) -> None:
    """WAL is safe enough without a sync at every commit, and much faster."""
    prepare = opening._prepare_sqlite  # noqa: SLF001  (where SQLite is told how to write)

    def quickly(connection: Any, busy_seconds: float) -> None:
        prepare(connection, busy_seconds)
        connection.execute("PRAGMA synchronous=OFF")

    planter.replace(opening, "_prepare_sqlite", quickly)


@breaks(Promise.ON_DISK_BEFORE_NAMED, caught_by=(f"{FILES}::test_results_are_on_disk_before_they_have_their_name",))
def spool_named_before_synced(planter: Planter) -> None:
    """Renaming first and syncing then is the same in the end."""

    def write(self: FileSpool, batch_id: str, pieces: Iterable[bytes]) -> None:
        partial = self.folder / f"{batch_id}.partial"
        with open_private(partial) as file:
            file.writelines(pieces)
            partial.replace(self.folder / f"{batch_id}.jsonl")
            file.flush()
            os.fsync(file.fileno())

    planter.replace(FileSpool, "write", write)


@breaks(
    Promise.ON_DISK_BEFORE_NAMED,
    caught_by=(
        f"{FILES}::test_f78_results_are_absent_until_they_are_whole",
        f"{FILES}::test_f70_a_broken_second_download_leaves_the_first",
    ),
)
def spool_readable_in_part(planter: Planter) -> None:
    """A file that is written in place needs no second name."""

    def write(self: FileSpool, batch_id: str, pieces: Iterable[bytes]) -> None:
        with open_private(self.folder / f"{batch_id}.jsonl") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())

    planter.replace(FileSpool, "write", write)


@breaks(
    Promise.LEDGER_PAIRED,
    caught_by=(
        f"{KINSHIP}::test_f26_a_ledger_that_was_deleted_is_missed",
        f"{KINSHIP}::test_f27_a_copy_of_a_ledger_that_is_still_in_use_is_refused",
    ),
)
def strange_ledger_unchecked(planter: Planter) -> None:
    """The ledger is where the settings say; there is nothing to check."""
    planter.replace(LedgerPairing, "begin", lambda *_: None)


@breaks(Promise.LEDGER_PAIRED, caught_by=(f"{KINSHIP}::test_f26_a_ledger_from_a_backup_is_noticed",))
def backup_taken_for_the_ledger(planter: Planter) -> None:
    """A ledger with the right id is the right ledger."""
    planter.replace(SqlLedger, "unknown", lambda *_: [])


@breaks(
    Promise.LEDGER_PAIRED,
    caught_by=(f"{KINSHIP}::test_f26_a_ledger_from_a_backup_that_lacks_what_is_on_its_way_is_noticed",),
)
def no_mark_before_sending(planter: Planter) -> None:
    """What was sent shows in the table once it has landed; that is soon enough."""
    planter.replace(LedgerPairing, "begin", LedgerPairing.check)
