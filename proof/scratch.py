"""A folder for files that are written ten thousand times: in memory where the system offers that."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (the folder in it gets a name that nobody can guess)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder for as long as the block runs."""
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="claude-batch-proof-", dir=place) as folder:
        yield Path(folder)
