"""
The checks that every asset carries, and the thresholds by which they warn and fail.

`checks=[ErrorRate(warn=0.01, fail=0.05)]` sets the thresholds of one; those that are not named keep their own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from claude_batch_dagster.core.ports import RETENTION
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.errors import ConfigurationError

__all__ = [
    "BudgetUsed",
    "Check",
    "Complete",
    "ErrorRate",
    "ExpiryRate",
    "InvalidRate",
    "LabelDrift",
    "PaidOnce",
    "Retention",
]


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """One figure of a partition, held against two thresholds: the last values that still pass."""

    warn: float
    fail: float
    blocking: bool = False
    """Whether the run fails when the check fails (not when it warns), so that nothing downstream in it is started."""

    name: ClassVar[str]
    """What Dagster calls it."""
    figure: ClassVar[str]
    """Metadata key of the figure."""
    about: ClassVar[str]
    """What Dagster shows beside the name; may name its thresholds."""
    of_the_table: ClassVar[bool] = False
    """
    Whether a run evaluates it once, for the worst of its partitions; each has its rate in its metadata.

    An evaluation costs Dagster as much as a materialization.
    """

    def __post_init__(self) -> None:
        for limit in (self.warn, self.fail):
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                raise ConfigurationError(f"{self.name} takes numbers as thresholds; got {limit!r}.")
        self.check_range()
        if self.margin(self.warn) < self.margin(self.fail):
            side = "above" if self.margin(1) < self.margin(0) else "below"
            raise ConfigurationError(f"{self.name} would fail before it warns: warn must not be {side} fail.")

    @property
    def description(self) -> str:
        """What Dagster shows beside the name: what is measured, and where it warns and fails."""
        side = "below" if self.margin(1) > self.margin(0) else "above"
        limits = f"Warns {side} {self.warn:g}" + (f", fails {side} {self.fail:g}" if math.isfinite(self.fail) else "")
        return f"{self.about.format(check=self)} {limits}{', and then blocks' if self.blocking else ''}."

    @abstractmethod
    def check_range(self) -> None:
        """Raise unless the thresholds are values that the figure can have."""

    @abstractmethod
    def measure(self, report: PartitionReport) -> float:
        """Return the figure of a partition."""

    def margin(self, value: float) -> float:
        """Return how good a value of the figure is: more is better."""
        return -value

    def balanced(self, report: PartitionReport) -> bool:  # noqa: ARG002  (all but one do not care)
        """Whether the partition may pass at all."""
        return True

    def facts(self, report: PartitionReport) -> Mapping[str, Any]:  # noqa: ARG002  (most have none)
        """Return further metadata."""
        return {}

    def judge(self, report: PartitionReport) -> "Judgement":
        """Hold one partition against the thresholds."""
        value, balanced = self.measure(report), self.balanced(report)
        fails = not balanced or self.margin(value) < self.margin(self.fail)
        warns = self.margin(value) < self.margin(self.warn)
        return Judgement(
            level="fail" if fails else "warn" if warns else "pass",
            badness=(not balanced, -self.margin(value)),
            metadata={
                f"claude_batch/{self.figure}": value,
                "claude_batch/warn_threshold": self.warn,
                **({"claude_batch/fail_threshold": self.fail} if math.isfinite(self.fail) else {}),
                "claude_batch/rows": report.n_rows,
                "claude_batch/upstream_rows": report.n_expected,
                **{f"claude_batch/{name}": fact for name, fact in self.facts(report).items()},
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a check says of one partition."""

    level: Literal["pass", "warn", "fail"]
    badness: tuple[bool, float]
    """More is worse."""
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Share(Check):
    """A share of rows, 0 to 1."""

    def check_range(self) -> None:
        if not (0 <= self.warn <= 1 and 0 <= self.fail <= 1):
            raise ConfigurationError(
                f"{self.name} measures a share: thresholds are between 0 and 1; got warn={self.warn}, fail={self.fail}."
            )


@dataclass(frozen=True, kw_only=True)
class _Number(Check):
    """A number of requests or days. Without `fail` it warns and never fails."""

    of_the_table = True

    def check_range(self) -> None:
        if not (0 <= self.warn < math.inf and self.fail >= 0):
            raise ConfigurationError(
                f"{self.name} measures a number: thresholds are from 0 on; got warn={self.warn}, fail={self.fail}."
            )


@dataclass(frozen=True, kw_only=True)
class ErrorRate(_Share):
    """`error_rate`: the share of rows that failed; both thresholds are the highest share that passes."""

    name = figure = "error_rate"
    about = "Share of rows that failed: errored, invalid, truncated, refused, missing or rejected."

    warn: float = 0.02
    fail: float = 0.10

    def measure(self, report: PartitionReport) -> float:
        """Return the share of rows whose verdict speaks against the row, the request or the service."""
        return report.error_rate


@dataclass(frozen=True, kw_only=True)
class ExpiryRate(_Share):
    """`expiry_rate`: the share of rows not processed within 24 hours; the highest that passes."""

    name = figure = "expiry_rate"
    about = "Share of rows that the API did not get to within 24 hours."

    warn: float = 0.01
    fail: float = 0.05

    def measure(self, report: PartitionReport) -> float:
        """Return the share of rows that expired."""
        return report.expiry_rate


@dataclass(frozen=True, kw_only=True)
class Complete(_Share):
    """`complete`: the share of upstream rows with a usable answer; both thresholds are the lowest that passes."""

    name = "complete"
    figure = "completeness"
    about = "Share of upstream rows with a usable answer; fails also when a row has no verdict at all."

    warn: float = 0.95
    fail: float = 0.80

    def measure(self, report: PartitionReport) -> float:
        """Return the share of upstream keys with a usable answer."""
        return report.completeness

    def margin(self, value: float) -> float:
        """More of them are better."""
        return value

    def balanced(self, report: PartitionReport) -> bool:
        """Whether every upstream key has exactly one row."""
        return report.balanced


@dataclass(frozen=True, kw_only=True)
class InvalidRate(_Share):
    """`invalid_rate`: the share of rows whose answer does not fit the output model; the highest that passes."""

    name = figure = "invalid_rate"
    about = "Share of rows whose answer does not fit the output model."
    of_the_table = True

    warn: float = 0.02
    fail: float = 0.10

    def measure(self, report: PartitionReport) -> float:
        """Return the share of rows with an invalid answer."""
        return report.invalid_rate


@dataclass(frozen=True, kw_only=True)
class LabelDrift(_Share):
    """
    `label_drift`: how far the labels of a partition are from those of the others, 0 (the same shares) to 1.

    Only where the output has a field with a closed list of values. It warns and, unless told to, never fails: that
    documents change is no fault.
    """

    name = figure = "label_drift"
    about = "How far the labels are from those of the other partitions, 0 (the same shares) to 1."
    of_the_table = True

    warn: float = 0.40
    fail: float = 1.0

    def measure(self, report: PartitionReport) -> float:
        """Return the share of labels that would have to be others."""
        return report.label_drift


@dataclass(frozen=True, kw_only=True)
class PaidOnce(_Number):
    """
    `paid_once`: how many requests may have been paid for twice; the highest number that passes.

    It warns from the first on and, unless told to, never fails, since nobody can fix it.
    """

    name = "paid_once"
    figure = "possible_duplicate_requests"
    about = "Warns of requests that may be paid for twice: sent again, since their batch stayed unseen."

    warn: float = 0
    fail: float = math.inf

    def measure(self, report: PartitionReport) -> float:
        """Return the number for the whole table."""
        return report.table_doubts.n_possible_duplicates

    def facts(self, report: PartitionReport) -> Mapping[str, Any]:
        """Return at most how many dollars it is about, and what is still open."""
        return report.table_doubts.figures


@dataclass(frozen=True, kw_only=True)
class Retention(_Number):
    """
    `retention`: for how many days the results of a batch were not collected; the highest number that passes.

    The API keeps results for 29 days (Claude docs, "Batch processing").
    """

    name = "retention"
    figure = "oldest_open_batch_days"
    about = (
        "Warns when a batch, even one in doubt, was not collected for {check.warn:g} days; results are kept for "
        f"{RETENTION.days}."
    )

    warn: float = 20
    fail: float = 27

    def check_range(self) -> None:
        """Raise also if it would warn when the results are gone."""
        super().check_range()
        if self.warn >= RETENTION.days:
            raise ConfigurationError(
                f"retention would warn too late: the API keeps results for {RETENTION.days} days. Set warn below that."
            )

    def measure(self, report: PartitionReport) -> float:
        """Return the age of the oldest batch of the table whose results are not on our disk, in days."""
        return report.oldest_open_days


@dataclass(frozen=True, kw_only=True)
class BudgetUsed(Check):
    """
    `budget`: the share of the budget that is spent or reserved; the highest that passes.

    Only where the asset has a budget. It warns and, unless told to, never fails: rows beyond it are blocked anyway.
    """

    name = "budget"
    figure = "budget_used"
    about = "Share of the budget that is spent, or reserved for batches on their way."
    of_the_table = True

    warn: float = 0.80
    fail: float = math.inf

    def check_range(self) -> None:
        """Raise unless the thresholds are shares."""
        if not (0 <= self.warn <= 1 and self.fail >= 0):
            raise ConfigurationError(
                f"{self.name} measures a share: thresholds are from 0 on, and it warns at 1 at the latest; got "
                f"warn={self.warn}, fail={self.fail}."
            )

    def measure(self, report: PartitionReport) -> float:
        """Return the share of the budget that is spent or reserved."""
        return report.committed_usd / report.budget_usd if report.budget_usd else 0.0

    def facts(self, report: PartitionReport) -> Mapping[str, Any]:
        """Return the dollars."""
        return {"committed_usd": report.committed_usd, "budget_usd": report.budget_usd or 0.0}


USUAL: Mapping[type[Check], Callable[[], Check]] = {
    kind: kind for kind in (ErrorRate, ExpiryRate, InvalidRate, LabelDrift, Complete, PaidOnce, Retention, BudgetUsed)
}
"""All there are, in the order in which Dagster is told of them."""


def checks_of(given: Iterable[Check], *, labeled: bool, budgeted: bool = False) -> Sequence[Check]:
    """
    Return the checks of an asset: those given, and the usual ones in place of those that are not.

    `labeled` says whether there are labels that can drift, `budgeted` whether there is a budget. Raises
    `ConfigurationError` for what is no check, for one that is given twice, and for one that has nothing to check.
    """
    if isinstance(given, Check):
        raise ConfigurationError(f"checks= takes a list: [{type(given).__name__}(...)].")
    by_kind: dict[type[Check], Check] = {}
    for check in given:
        if type(check) not in USUAL:
            raise ConfigurationError(
                f"checks= takes instances of {', '.join(kind.__name__ for kind in USUAL)}, such as "
                f"ErrorRate(warn=0.02, fail=0.10); got {check!r}."
            )
        if by_kind.setdefault(type(check), check) is not check:
            raise ConfigurationError(f"checks= names {type(check).__name__} twice. Leave one out.")
    if LabelDrift in by_kind and not labeled:
        raise ConfigurationError(
            "checks= names LabelDrift, but the output has no field with a closed list of values that could drift. "
            "Leave it out, or give a field such a type: Literal['low', 'high']."
        )
    if BudgetUsed in by_kind and not budgeted:
        raise ConfigurationError(
            "checks= names BudgetUsed, but the asset has no budget. Leave it out, or give one: budget=Budget(usd=10)."
        )
    idle = {kind for kind, has in ((LabelDrift, labeled), (BudgetUsed, budgeted)) if not has}
    return [by_kind.get(kind) or usual() for kind, usual in USUAL.items() if kind not in idle]
