"""
Real runs of Dagster, killed with `kill -9` at any moment, many of them within the call that costs money.

`python -m proof.kills --kills 500` repeats it; `--seed N` repeats one job.
"""

from proof.kills.campaign import KILLS_PER_JOB, run, run_job

__all__ = ["KILLS_PER_JOB", "run", "run_job"]
