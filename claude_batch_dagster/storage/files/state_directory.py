"""The folder where ledger, spool, outbox and locks live: ours alone, never named after data."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from claude_batch_dagster.errors import StateDirectoryError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_DIRECTORY, PRIVATE_FILE, FileLocks, hashed

LEDGER, IGNORED = "ledger.sqlite", ".gitignore"

BUFFER_BYTES = 1 << 18
"""What is written a little at a time goes to the disk in pieces that are worth a system call."""

LEFTOVER_SECONDS = 86_400
"""What is being written is finished in minutes and renamed; a file of this age has no owner."""


@dataclass(frozen=True)
class StateDirectory:
    """A private folder; every file in it is named by an id of ours or by a hash."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "StateDirectory":
        """Create the folder if need be and prove that it can be written, before money is spent."""
        root = Path(path)
        try:
            _check_private(root)
            root.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            for folder in (root / name for name in ("spool", "outbox", "locks")):
                folder.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            _remove_leftovers(root / "outbox", "*")
            _remove_leftovers(root / "spool", "*.partial")
            _keep_out_of_git(root)
            _check_locks(root)
        except OSError as error:
            raise StateDirectoryError(root, error.strerror or type(error).__name__) from error
        return cls(root)

    @property
    def spool(self) -> Path:
        """Raw results, one file a batch."""
        return self.path / "spool"

    @property
    def ledger_url(self) -> sa.URL:
        """The default ledger."""
        return sa.URL.create("sqlite", database=str(self.path / LEDGER))

    @property
    def has_ledger(self) -> bool:
        """Whether the default ledger is there."""
        return (self.path / LEDGER).is_file()

    def outbox(self, run_id: str) -> Path:
        """Return the file of the requests that one run may send."""
        return self.path / "outbox" / f"{hashed(run_id)}.jsonl"

    @property
    def locks(self) -> Path:
        """The files that are locked."""
        return self.path / "locks"

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`: the operating system's, so only letting go or dying ends it."""
        with FileLocks(self.locks).hold(name):
            yield


def others_can_write(mode: int) -> bool:
    """
    Whether a folder of this mode lets others put something into it.

    A group that is handed on (setgid) was let in on purpose, as by a volume of Kubernetes with an fsGroup.
    """
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not mode & stat.S_ISGID))


def _check_private(root: Path) -> None:
    """Refuse a folder in which others could put a ledger, or raw results, of theirs."""
    if not root.exists():
        return
    found = root.stat()
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise StateDirectoryError(root, f"it belongs to user {found.st_uid}, this process is user {os.geteuid()}")
    if others_can_write(found.st_mode):
        raise StateDirectoryError(root, f"others can write to it; chmod go-w {root}")


def _keep_out_of_git(root: Path) -> None:
    """Let no `git add` take along what is here: answers, and the memory of one machine."""
    if not (ignore := root / IGNORED).exists():
        with open_private(ignore) as file:
            file.write(b"*\n")


def _check_locks(root: Path) -> None:
    """Prove that a second lock on one file is refused: some network file systems let everybody in."""
    if not FileLocks(root / "locks").work():
        raise StateDirectoryError(root, "its file system does not keep locks; use a local disk")


def _remove_leftovers(folder: Path, pattern: str) -> None:
    """Delete what a run left that was killed while it wrote: documents, or half of some results."""
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):  # other runs take theirs away while we look
            if time.time() - file.stat().st_mtime > LEFTOVER_SECONDS:
                file.unlink()


def open_private(path: Path) -> IO[bytes]:
    """Open a file for writing that only its owner can read; empty it if it is there."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "w+b", BUFFER_BYTES)
