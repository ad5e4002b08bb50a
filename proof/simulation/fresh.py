"""Seeds that nobody has played before: drawn from the commit, so that each push proves something new."""

import os
import subprocess
from pathlib import Path

FIRST_SEED = "PROOF_FIRST_SEED"
"""The environment variable that plays the seeds of another commit again."""

N_OLD = 10_000
"""Seeds below are those of `make proof`, the same every time."""

N_FIRSTS = 1_000_000_000


def commit() -> str:
    """Return the hash of the commit that is checked out; an empty string outside of a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(  # noqa: S603  (no word of it comes from outside)
            command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def first_seed(of: str | None = None) -> int:
    """Return the first of a commit's seeds; of the one that is checked out, unless `PROOF_FIRST_SEED` names another."""
    if of is None:
        if told := os.environ.get(FIRST_SEED):
            return int(told)
        of = commit()
    return N_OLD + int(of[:12] or "0", 16) % N_FIRSTS
