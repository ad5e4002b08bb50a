"""What is said of a partition in the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_batch_dagster.core.reporting.costs import NOT_KNOWN, PartitionCost
from claude_batch_dagster.core.reporting.double_payments import NO_DOUBTS, Doubts
from claude_batch_dagster.core.verdicts import Verdict

NOT_ERRORS = frozenset({Verdict.SUCCEEDED, Verdict.EXPIRED, Verdict.CANCELED, Verdict.BLOCKED})
"""Verdicts that say nothing against a row, its request or the service."""


MIN_LABELS = 30
"""Labels on either side below which their shares are not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the output table holds of one partition."""

    verdicts: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    """Answers by the value of the first categorical output field."""
    labels_elsewhere: Counter[str] = field(default_factory=Counter)
    """The same for all other partitions of the table together."""
    batch_ids: tuple[str, ...] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    """A few rows: key, output fields, status."""
    fingerprint: str = ""
    """Changes with any key, output field or status of its rows, and with nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport:
    """One partition after a run."""

    partition_key: str | None
    n_expected: int
    """Different keys upstream at the end, but for those that have come since it was read and have no row yet."""
    n_asked: int
    """Requests sent for it in this run."""
    n_shared: int
    """Rows that took over the answer of a row that asks the same."""
    standing: Standing
    cost_usd: float | None
    """What this partition has cost in all, in US dollars at batch prices; None if a price is not known."""
    live_cost_usd: float | None
    """What the live API would have cost."""
    run_cost_usd: float | None
    """The part of `cost_usd` that this run has spent."""
    estimated_usd: float | None = None
    """What this run was expected to spend on it; None where nothing was to be sent, or a price is not known."""
    seconds_to_answer: float | None
    """From the first intent to the last end of the batches that hold the answers."""
    doubts: Doubts = NO_DOUBTS
    """Batches with rows of this partition whose acceptance was not known at some time."""
    table_doubts: Doubts = NO_DOUBTS
    """Those of the whole table."""
    budget_usd: float | None = None
    """How much may be spent; None for no budget."""
    committed_usd: float = 0.0
    """What of that is spent or reserved."""
    oldest_open_days: float = 0.0
    """Age of the oldest batch of the whole table whose results are not on our disk, in days."""
    costs: PartitionCost = NOT_KNOWN
    """Where the money has gone."""

    @property
    def n_rows(self) -> int:
        """Rows in the output table."""
        return self.standing.verdicts.total()

    @property
    def balanced(self) -> bool:
        """Whether every upstream key has exactly one row, and no other has one."""
        return self.n_rows == self.n_expected

    def n(self, verdict: Verdict) -> int:
        """Rows with this verdict."""
        return self.standing.verdicts[verdict]

    @property
    def error_rate(self) -> float:
        """Share of rows whose request failed: errored, invalid, truncated, refused, missing or rejected."""
        n_errors = sum(n for verdict, n in self.standing.verdicts.items() if verdict not in NOT_ERRORS)
        return n_errors / self.n_rows if self.n_rows else 0.0

    @property
    def invalid_rate(self) -> float:
        """Share of rows whose answer does not fit the output model."""
        return self.n(Verdict.INVALID) / self.n_rows if self.n_rows else 0.0

    @property
    def label_drift(self) -> float:
        """
        How far the labels are from those of the other partitions, 0 (the same shares) to 1 (nothing in common).

        It is the share of labels that would have to be others (total variation distance); 0 while either side
        has fewer than 30 labels, where chance alone makes a difference.
        """
        own, others = self.standing.labels, self.standing.labels_elsewhere
        if min(own.total(), others.total()) < MIN_LABELS:
            return 0.0
        shares = [own[label] / own.total() - others[label] / others.total() for label in own | others]
        return sum(abs(difference) for difference in shares) / 2

    @property
    def expiry_rate(self) -> float:
        """Share of rows that the API did not get to within 24 hours."""
        return self.n(Verdict.EXPIRED) / self.n_rows if self.n_rows else 0.0

    @property
    def completeness(self) -> float:
        """Share of upstream keys with a usable answer; 1 for an empty partition."""
        return self.n(Verdict.SUCCEEDED) / self.n_expected if self.n_expected else 1.0
