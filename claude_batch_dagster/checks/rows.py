"""Checks of what rows say of themselves: whether they failed, expired, drifted, were paid for twice."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from claude_batch_dagster.checks.check import Check, Judgement
from claude_batch_dagster.core.ports import RETENTION
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class RowCheck(Check):
    """One figure of a partition, from what its rows say of themselves."""

    @abstractmethod
    def measure(self, report: PartitionReport) -> float:
        """Return the figure of a partition."""

    def balanced(self, report: PartitionReport) -> bool:  # noqa: ARG002  (all but one do not care)
        """Whether the partition may pass at all."""
        return True

    def facts(self, report: PartitionReport) -> Mapping[str, Any]:  # noqa: ARG002  (most have none)
        """Return further metadata."""
        return {}

    def judge(self, report: PartitionReport) -> "Judgement":
        """Hold one partition against the thresholds."""
        value, balanced = self.measure(report), self.balanced(report)
        return Judgement(
            level=self.level(value) if balanced else "fail",
            badness=(not balanced, -self.margin(value)),
            metadata={
                f"claude_batch/{self.figure}": value,
                **self.thresholds,
                "claude_batch/rows": report.n_rows,
                "claude_batch/upstream_rows": report.n_expected,
                **{f"claude_batch/{name}": fact for name, fact in self.facts(report).items()},
            },
        )


@dataclass(frozen=True, kw_only=True)
class _Share(RowCheck):
    """A share of rows, 0 to 1."""

    def check_range(self) -> None:
        if not (0 <= self.warn <= 1 and 0 <= self.fail <= 1):
            raise ConfigurationError(
                f"{self.name} measures a share: thresholds are between 0 and 1; got warn={self.warn}, fail={self.fail}."
            )


@dataclass(frozen=True, kw_only=True)
class _Number(RowCheck):
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
class BudgetUsed(RowCheck):
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
