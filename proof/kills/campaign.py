"""Many jobs, one seed each, and what they found together."""

import time
from collections import Counter
from collections.abc import Callable

from proof.findings import Finding
from proof.kills.job import Job
from proof.kills.judge import Verdict
from proof.scratch import scratch

KILLS_PER_JOB = 5

REPEAT = "repeat it: python -m proof.kills --seed {seed}"


def run_job(seed: int, n_kills: int = KILLS_PER_JOB) -> Verdict:
    """Run the job of one seed."""
    try:
        with scratch() as path:
            return Job(seed=seed, n_kills=n_kills, path=path).run()
    except Exception as error:
        error.add_note(REPEAT.format(seed=seed))
        raise


def run(n_kills: int = 500, first_seed: int = 0, tell: Callable[[str], None] = print) -> Finding:
    """Kill so many runs; whatever is not as promised is told at once, with the seed that repeats it."""
    began, facts, verdicts = time.monotonic(), Counter[str](), list[Verdict]()
    n_jobs = -(-n_kills // KILLS_PER_JOB)
    for place in range(n_jobs):
        seed, left = first_seed + place, n_kills - place * KILLS_PER_JOB
        verdict = run_job(seed, min(KILLS_PER_JOB, left))
        facts.update(verdict.facts)
        verdicts.append(verdict)
        for complaint in verdict.complaints:
            tell(f"{complaint}\n{REPEAT.format(seed=seed)}")
    return Finding(
        name="kills",
        promise="A run that is killed at any moment loses no answer and pays for no document twice.",
        n_schedules=facts["kills"],
        n_lost=sum(verdict.n_lost for verdict in verdicts),
        n_duplicate_rows=sum(verdict.n_duplicate_rows for verdict in verdicts),
        n_unreported_double_bills=sum(verdict.n_unreported_double_bills for verdict in verdicts),
        seconds=round(time.monotonic() - began, 1),
        seeds=f"{first_seed}..{first_seed + n_jobs - 1}",
        facts={
            "other promises broken": sum(bool(verdict.complaints) for verdict in verdicts),
            **sorted_by_name(facts),
        },
    )


def sorted_by_name(facts: Counter[str]) -> dict[str, int]:
    """Return counts in the order of what they count."""
    return dict(sorted(facts.items()))
