"""The folder where ledger, spool, outbox and locks live: ours alone, never named after data."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from claude_batch_dagster.errors import StateDirectoryError

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class StateDirectory:
    """A private folder; every file in it is named by an id of ours or by a hash."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "StateDirectory":
        """Create the folder if need be and prove that it can be written, before money is spent."""
        root = Path(path)
        try:
            for folder in (root, *(root / name for name in ("spool", "outbox", "locks"))):
                folder.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            probe = root / "locks" / f".probe-{os.getpid()}"
            probe.touch(mode=PRIVATE_FILE)
            probe.unlink()
        except OSError as error:
            raise StateDirectoryError(root, error.strerror or type(error).__name__) from error
        return cls(root)

    @property
    def spool(self) -> Path:
        """Raw results, one file a batch."""
        return self.path / "spool"

    @property
    def ledger_url(self) -> str:
        """The default ledger."""
        return f"sqlite:///{self.path / 'ledger.sqlite'}"

    def outbox(self, run_id: str) -> Path:
        """Return the file of the requests that one run may send."""
        return self.path / "outbox" / f"{_hashed(run_id)}.jsonl"

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`: the operating system's, so only letting go or dying ends it."""
        with FileLock(self.path / "locks" / f"{_hashed(name)}.lock", mode=PRIVATE_FILE):
            yield


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def open_private(path: Path) -> IO[bytes]:
    """Open a file for writing that only its owner can read; empty it if it is there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb")
