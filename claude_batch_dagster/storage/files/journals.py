"""Journals of what is asked live: the Messages API hands an answer out once, so it is on disk at once."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from claude_batch_dagster.storage.files.spool import FileSpool, lines_of
from claude_batch_dagster.storage.files.state_directory import open_private


@dataclass(frozen=True)
class FileJournals:
    """One file for each chunk, beside the raw results."""

    spool: FileSpool

    @property
    def place(self) -> str:
        """Where this is, for a person: the folder, and the machine."""
        return self.spool.place

    @contextmanager
    def writing(self, chunk_id: str) -> Iterator[Callable[[bytes], None]]:
        """
        Begin the journal of a chunk; the function that is yielded writes a line, from whichever thread.

        The file is there, and a line is on disk, when the call returns. Raises `SpoolError` if that cannot be.
        """
        lock, torn = Lock(), Event()
        with self.spool.translated():
            file = open_private(self._path(chunk_id))
            self.spool.sync_folder()

        def write(line: bytes) -> None:
            with lock, self.spool.translated():
                start = b"\n" if torn.is_set() else b""
                torn.set()
                file.write(start + line + b"\n")
                file.flush()
                os.fsync(file.fileno())
                torn.clear()

        with file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until its writer is done, or dead
            yield write

    def is_written(self, chunk_id: str) -> bool:
        """Whether somebody is writing the journal of a chunk at this moment."""
        try:
            with self._path(chunk_id).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def has(self, chunk_id: str) -> bool:
        """Whether the journal of a chunk is here."""
        return self._path(chunk_id).exists()

    def lines(self, chunk_id: str) -> Iterator[bytes]:
        """Read a journal; its last line may be torn, if whoever wrote it was killed."""
        return lines_of(self._path(chunk_id))

    def discard(self, chunk_id: str) -> None:
        """Forget the journal of a chunk."""
        self._path(chunk_id).unlink(missing_ok=True)

    def _path(self, chunk_id: str) -> Path:
        return self.spool.folder / f"{chunk_id}.journal"
