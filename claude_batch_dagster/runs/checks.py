"""The asset checks, which say whether the table is worth building on."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import dagster as dg

from claude_batch_dagster.core.ports import RETENTION as RESULTS_KEPT
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.plural import counted
from claude_batch_dagster.runs.dagster_internals import has_checks_by_partition


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a check begins to warn, and where it fails: the last values that still pass."""

    warn: float
    fail: float


@dataclass(frozen=True, slots=True)
class Thresholds(Bounds):
    """
    Where a check begins to warn, and where it fails. Shares, 0 to 1.

    For rates both are the highest value that still passes, `warn` the lower one; for `complete` the lowest.
    """

    def __post_init__(self) -> None:
        if not (0 <= self.warn <= 1 and 0 <= self.fail <= 1):
            raise ConfigurationError(f"thresholds are shares between 0 and 1; got {self.warn} and {self.fail}.")


@dataclass(frozen=True, slots=True)
class AbsoluteThresholds(Bounds):
    """
    Where a check begins to warn, and where it fails. Numbers of requests (`paid_once`), or days (`retention`).

    Both are the highest value that still passes. Without `fail` the check warns and never fails.
    """

    fail: float = math.inf

    def __post_init__(self) -> None:
        if not (0 <= self.warn < math.inf and self.fail >= 0):
            raise ConfigurationError(
                f"absolute thresholds are counts or days from 0 on; got {self.warn} and {self.fail}."
            )


ERROR_RATE = Thresholds(warn=0.02, fail=0.10)
EXPIRY_RATE = Thresholds(warn=0.01, fail=0.05)
COMPLETE = Thresholds(warn=0.95, fail=0.80)
INVALID_RATE = Thresholds(warn=0.02, fail=0.10)
LABEL_DRIFT = Thresholds(warn=0.40, fail=1.0)
"""What passes unless said otherwise. Drift only warns: that documents change is no fault."""

USUAL = {
    "error_rate": ERROR_RATE,
    "expiry_rate": EXPIRY_RATE,
    "invalid_rate": INVALID_RATE,
    "label_drift": LABEL_DRIFT,
}

PAID_ONCE = AbsoluteThresholds(warn=0)
"""Any batch that may have been paid for twice warns; it never fails, since nobody can mend it."""

RETENTION = AbsoluteThresholds(warn=20, fail=27)
"""Days: results can be downloaded for 29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure of a partition, held against two thresholds."""

    name: str
    figure: str
    """Metadata key of the figure."""
    description: str
    measure: Callable[[PartitionReport], float]
    thresholds: Bounds
    higher_is_worse: bool = True
    facts: Callable[[PartitionReport], Mapping[str, Any]] = lambda _: {}
    """Further metadata."""

    @property
    def of_the_table(self) -> bool:
        """Whether partitions have no history of their own: it is evaluated once in a run, for the worst of them."""
        return self.name in OF_THE_TABLE

    def judge(self, report: PartitionReport) -> "Judgement":
        """Hold one partition against the thresholds."""
        value, limits = self.measure(report), self.thresholds
        sign = 1 if self.higher_is_worse else -1
        unbalanced = not self.higher_is_worse and not report.balanced
        fails = sign * value > sign * limits.fail or unbalanced
        warns = sign * value > sign * limits.warn
        return Judgement(
            passed=not (warns or fails),
            severity=dg.AssetCheckSeverity.ERROR if fails else dg.AssetCheckSeverity.WARN,
            badness=sign * value + (1 if unbalanced else 0),
            metadata={
                f"claude_batch/{self.figure}": value,
                "claude_batch/warn_threshold": limits.warn,
                **({"claude_batch/fail_threshold": limits.fail} if math.isfinite(limits.fail) else {}),
                "claude_batch/rows": report.n_rows,
                "claude_batch/upstream_rows": report.n_expected,
                **{f"claude_batch/{name}": fact for name, fact in self.facts(report).items()},
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a check says of one partition."""

    passed: bool
    severity: dg.AssetCheckSeverity
    badness: float
    metadata: Mapping[str, Any]


OF_THE_TABLE = frozenset({"invalid_rate", "label_drift", "paid_once", "retention"})
"""
Checks that a run evaluates once, whatever its partitions: each evaluation costs Dagster as much as a materialization.

What the rates among them are in each partition is in its metadata.
"""

RATES = {
    "error_rate": "Share of rows that failed: errored, invalid, truncated, refused, missing or rejected.",
    "expiry_rate": "Share of rows that the API did not get to within 24 hours.",
    "invalid_rate": "Share of rows whose answer does not fit the output model.",
    "label_drift": "How far the labels are from those of the other partitions, 0 (the same shares) to 1.",
}
"""Checks of figures that had better be low."""


def checks(
    *,
    complete: Thresholds = COMPLETE,
    paid_once: AbsoluteThresholds = PAID_ONCE,
    retention: AbsoluteThresholds = RETENTION,
    labeled: bool = True,
    **rates: Thresholds,
) -> tuple[Check, ...]:
    """
    Return the checks of an asset; raise if one would fail before it warns, or measures something else.

    `rates` are thresholds in place of the usual ones; `labeled` says whether there are labels that can drift.
    """
    limits = {**USUAL, **rates}
    _insist(Thresholds, "shares", {**limits, "complete": complete})
    _insist(AbsoluteThresholds, "counts", {"paid_once": paid_once})
    _insist(AbsoluteThresholds, "days", {"retention": retention})
    _check_order({**limits, "paid_once": paid_once, "retention": retention}, complete)
    low = [
        Check(
            name=name,
            figure=name,
            description=description,
            measure=attrgetter(name),
            thresholds=limits[name],
        )
        for name, description in RATES.items()
        if labeled or name != "label_drift"
    ]
    return (*low, _complete(complete), _paid_once(paid_once), _retention(retention))


def _insist(kind: type[Bounds], measured: str, given: Mapping[str, Bounds]) -> None:
    """Raise if one was given thresholds of the other kind."""
    for name, limits in given.items():
        if not isinstance(limits, kind):
            raise ConfigurationError(
                f"{name} takes {kind.__name__}(warn=..., fail=...), since it measures {measured}; got {limits!r}."
            )


def _check_order(low: Mapping[str, Bounds], complete: Bounds) -> None:
    """Raise if a check would fail before it warns, or warn when it is too late; `low` are figures best low."""
    for name, limits in low.items():
        if limits.warn > limits.fail:
            raise ConfigurationError(f"{name} would fail before it warns: warn must not be above fail.")
    if complete.warn < complete.fail:
        raise ConfigurationError("complete would fail before it warns: warn must not be below fail.")
    if low["retention"].warn >= RESULTS_KEPT.days:
        raise ConfigurationError(
            f"retention would warn too late: the API keeps results for {RESULTS_KEPT.days} days. Set warn below that."
        )


def _complete(thresholds: Thresholds) -> Check:
    return Check(
        name="complete",
        figure="completeness",
        description="Share of upstream rows with a usable answer; fails also when a row has no verdict at all.",
        measure=lambda report: report.completeness,
        thresholds=thresholds,
        higher_is_worse=False,
    )


def _paid_once(thresholds: AbsoluteThresholds) -> Check:
    return Check(
        name="paid_once",
        figure="possible_duplicate_requests",
        description="Warns of requests that may be paid for twice: sent again, since their batch stayed unseen.",
        measure=lambda report: report.table_doubts.n_possible_duplicates,
        thresholds=thresholds,
        facts=lambda report: report.table_doubts.figures,
    )


def _retention(thresholds: AbsoluteThresholds) -> Check:
    return Check(
        name="retention",
        figure="oldest_open_batch_days",
        description=f"Warns when a batch, even one in doubt, was not collected for {thresholds.warn:g} days; "
        f"results are kept for {RESULTS_KEPT.days}.",
        measure=lambda report: report.oldest_open_days,
        thresholds=thresholds,
    )


def check_blocking(blocking: Collection[str], checks: Sequence[Check]) -> None:
    """Raise unless each of the checks that are to block exists."""
    names = [check.name for check in checks]
    if unknown := sorted(set(blocking) - set(names)):
        raise ConfigurationError(
            f"blocking_checks names {', '.join(unknown)}, which this asset does not have. It has {', '.join(names)}."
        )


def check_specs(
    asset: dg.AssetKey,
    checks: Sequence[Check],
    partitions_def: dg.PartitionsDefinition[str] | None,
    blocking: Collection[str] = (),
) -> list[dg.AssetCheckSpec]:
    """Declare the checks, by partition where this Dagster can; `blocking` ones fail the run."""
    parted: dict[str, Any] = {"partitions_def": partitions_def} if has_checks_by_partition() else {}
    whole: dict[str, Any] = {}
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=asset,
            description=check.description,
            blocking=check.name in blocking,
            **(whole if check.of_the_table else parted),
        )
        for check in checks
    ]


def evaluations(
    asset: dg.AssetKey,
    checks: Sequence[Check],
    reports: Sequence[PartitionReport],
    targets: Mapping[str | None, Any],
) -> Iterator[dg.AssetCheckEvaluation]:
    """
    Evaluate each check for each partition, but for those of the whole table.

    A run over a range has to log these itself, also when the range is one partition: the result it yields
    is recorded without a partition. None where Dagster does not record checks by partition. `targets` points
    to the materialization of each partition.
    """
    for report in reports if has_checks_by_partition() else ():
        target = targets.get(report.partition_key)
        for check in (check for check in checks if not check.of_the_table):
            judgement = check.judge(report)
            yield dg.AssetCheckEvaluation(
                asset_key=asset,
                check_name=check.name,
                passed=judgement.passed,
                severity=judgement.severity,
                partition=report.partition_key,
                **({"target_materialization_data": target} if target else {}),
                metadata={
                    key: dg.MetadataValue.float(value) if isinstance(value, float) else value
                    for key, value in judgement.metadata.items()
                },
            )


def results(
    asset: dg.AssetKey, checks: Sequence[Check], reports: Sequence[PartitionReport]
) -> Iterator[dg.AssetCheckResult]:
    """Give each check's result for the run as a whole: that of its worst partition."""
    for check in checks:
        judged = [(check.judge(report), report) for report in reports]
        judgement, report = max(judged, key=lambda pair: pair[0].badness)
        n_bad = sum(not one.passed for one, _ in judged)
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=check.name,
            passed=judgement.passed,
            severity=judgement.severity,
            description=_summary(n_bad, len(judged), report.partition_key),
            metadata=dict(judgement.metadata),
        )


def _summary(n_bad: int, n: int, worst: str | None) -> str | None:
    if n == 1:
        return None
    if not n_bad:
        return f"all {n} partitions pass"
    return f"{counted(n_bad, f'of {n} partitions does', f'of {n} partitions do')} not pass; the worst is {worst}"
