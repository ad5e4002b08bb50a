"""Raw results as they came: from here on no fault of ours can lose an answer that was paid for."""

import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from claude_batch_dagster.errors import SpoolError
from claude_batch_dagster.storage.files.state_directory import open_private

PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Batch ids that can be names of files; any other is hashed."""


@dataclass(frozen=True)
class FileSpool:
    """One file for each batch."""

    folder: Path

    @property
    def place(self) -> str:
        """Where this is, for a person: the folder, and the machine."""
        return f"{self.folder} on {socket.gethostname()}"

    def write(self, batch_id: str, pieces: Iterable[bytes]) -> None:
        """Keep the results of a batch: on disk and whole when this returns, absent before."""
        final = self._path(batch_id)
        partial = final.with_suffix(f".{os.getpid()}.partial")
        try:
            with self.translated():
                file = open_private(partial)
            with file:
                for piece in pieces:  # what goes wrong at the other end is not ours to name
                    with self.translated():
                        file.write(piece)
                with self.translated():
                    file.flush()
                    os.fsync(file.fileno())
            with self.translated():
                partial.replace(final)
                self.sync_folder()
        finally:
            partial.unlink(missing_ok=True)

    def lines(self, batch_id: str) -> Iterator[bytes]:
        """Read the results line by line; a blank line or a carriage return is no part of them."""
        return lines_of(self.file(batch_id))

    def has(self, batch_id: str) -> bool:
        """Whether results of the batch are kept."""
        return self._path(batch_id).exists()

    def n_bytes(self, batch_id: str) -> int:
        """Return the size of what is kept of the batch; 0 for nothing."""
        with suppress(FileNotFoundError):
            return self._path(batch_id).stat().st_size
        return 0

    def discard(self, batch_id: str) -> None:
        """Forget the results of the batch, so that they are downloaded again."""
        self._path(batch_id).unlink(missing_ok=True)

    def file(self, batch_id: str) -> Path:
        """Return where the results of a batch are, or would be."""
        return self._path(batch_id)

    def _path(self, batch_id: str) -> Path:
        plain = PLAIN_ID.fullmatch(batch_id)
        name = batch_id if plain else hashlib.sha256(batch_id.encode(errors="surrogatepass")).hexdigest()
        return self.folder / f"{name}.jsonl"

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the operating system says of a file here into `SpoolError`."""
        try:
            yield
        except OSError as error:
            raise SpoolError(self.folder, error.strerror or type(error).__name__) from error

    def sync_folder(self) -> None:
        """Let the names of new files be on disk."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def lines_of(file: Path) -> Iterator[bytes]:
    """Read results line by line; a blank line, a carriage return or a byte order mark is no part of them."""
    with file.open("rb") as lines:
        for line in lines:
            if stripped := line.strip(b"\r\n \t\xef\xbb\xbf"):
                yield stripped
