"""Many schedules added up to one finding."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from claude_batch_dagster.core.ledger import State
from proof.findings import Finding
from proof.simulation.runs import Ran
from proof.simulation.schedules import Outcome

MAX_FAILURES = 20
"""Failures that are kept to be printed."""


@dataclass(kw_only=True)
class Tally:
    """What came of many schedules."""

    n_schedules: int = 0
    """Tried, or proved to go the same way as one that was."""
    n_executed: int = 0
    n_lost: int = 0
    n_duplicate_rows: int = 0
    n_unreported: int = 0
    n_others: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, *, n_alike: int = 1) -> None:
        """Count one schedule, and those that go the same way."""
        wrong = outcome.judgement
        self.n_schedules += n_alike
        self.n_executed += 1
        self.n_lost += len(wrong.lost)
        self.n_duplicate_rows += len(wrong.duplicate_rows)
        self.n_unreported += len(wrong.unreported)
        self.n_others += len(wrong.others)
        self.counts += Counter(
            {
                "crashes": sum(ran.crashed for ran in outcome.runs),
                "calls": sum(len(ran.gate.trace) for ran in outcome.runs),
                "batches adopted": outcome.moves[State.ADOPTED],
                "chunks set free unseen": outcome.moves[State.UNSEEN],
                "plans with a request ahead": outcome.n_ahead,
                "runs short of money": sum(_is_short(ran) for ran in outcome.runs),
            }
        )
        if outcome.failure and len(self.failures) < MAX_FAILURES:
            self.failures.append(outcome.failure)

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Add up tallies."""
        whole = cls()
        for tally in tallies:
            whole.n_schedules += tally.n_schedules
            whole.n_executed += tally.n_executed
            whole.n_lost += tally.n_lost
            whole.n_duplicate_rows += tally.n_duplicate_rows
            whole.n_unreported += tally.n_unreported
            whole.n_others += tally.n_others
            whole.counts += tally.counts
            whole.failures = [*whole.failures, *tally.failures][:MAX_FAILURES]
        return whole

    def finding(self, name: str, promise: str, *, seconds: float, seeds: str = "") -> Finding:
        """Return the finding; failures are printed, each with what is needed to see it again."""
        for failure in self.failures:
            print(failure)
        return Finding(
            name=name,
            promise=promise,
            n_schedules=self.n_schedules,
            n_lost=self.n_lost,
            n_duplicate_rows=self.n_duplicate_rows,
            n_unreported_double_bills=self.n_unreported,
            seconds=round(seconds, 1),
            seeds=seeds,
            facts={"schedules executed": self.n_executed, "other promises broken": self.n_others, **self.counts},
        )


def _is_short(ran: Ran) -> bool:
    """Whether a run has left something out for which there was no money."""
    return ran.report is not None and any("does not allow it" in reason for reason in ran.report.left_out)
