"""A folder for files that are written ten thousand times: in memory where the system offers that."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (the folder in it gets a name that nobody can guess)

ROOM_BYTES = 1 << 30
"""More than any proof takes; containers often have less there."""


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder for as long as the block runs."""
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > ROOM_BYTES
    place = SHARED_MEMORY if roomy else None
    with tempfile.TemporaryDirectory(prefix="claude-batch-proof-", dir=place) as folder:
        yield Path(folder)
