"""Locks of the operating system, one file each: only letting go, or the death of the holder, frees one."""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class FileLocks:
    """A folder of lock files."""

    folder: Path

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`, waiting for whoever has it."""
        with self._lock(f"{hashed(name)}.lock"):
            yield

    def work(self) -> bool:
        """Whether a second lock on one file is refused: some network file systems let everybody in."""
        probe = f".probe-{os.getpid()}-{threading.get_ident()}"
        try:
            with self._lock(probe), suppress(Timeout), self._lock(probe, timeout=0):
                return False
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return False
            raise
        finally:
            (self.folder / probe).unlink(missing_ok=True)
        return True

    def _lock(self, name: str, *, timeout: float = -1) -> FileLock:
        """Never fall back to a file whose mere existence is the lock: that outlives who made it."""
        return FileLock(self.folder / name, timeout=timeout, mode=PRIVATE_FILE, fallback_to_soft=False)


def hashed(name: str) -> str:
    """Return a file's name for what may hold anything."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
