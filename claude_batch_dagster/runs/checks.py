"""What Dagster is told of the checks: which there are, and what they say of a run and of its partitions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.checks.check import Check, Judgement
from claude_batch_dagster.checks.gold import GoldCheck
from claude_batch_dagster.checks.rows import RowCheck
from claude_batch_dagster.core.reporting.report import PartitionReport
from claude_batch_dagster.quality.field_quality import TableQuality
from claude_batch_dagster.runs.dagster_internals import has_checks_by_partition
from claude_batch_dagster.runs.gold_metadata import check_metadata

SEVERITY = {
    "pass": dg.AssetCheckSeverity.WARN,
    "warn": dg.AssetCheckSeverity.WARN,
    "fail": dg.AssetCheckSeverity.ERROR,
}
"""Dagster wants one also of what passes."""


def check_specs(
    asset: dg.AssetKey, checks: Sequence[Check], partitions_def: dg.PartitionsDefinition[str] | None
) -> list[dg.AssetCheckSpec]:
    """Declare the checks, by partition where this Dagster can."""
    parted: dict[str, Any] = {"partitions_def": partitions_def} if has_checks_by_partition() else {}
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=asset,
            description=check.description,
            blocking=check.blocking,
            **({} if check.of_the_table else parted),
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
        for check in _by_partition(checks):
            judgement = check.judge(report)
            yield dg.AssetCheckEvaluation(
                asset_key=asset,
                check_name=check.name,
                passed=judgement.level == "pass",
                severity=SEVERITY[judgement.level],
                partition=report.partition_key,
                **({"target_materialization_data": target} if target else {}),
                metadata={
                    key: dg.MetadataValue.float(value) if isinstance(value, float) else value
                    for key, value in judgement.metadata.items()
                },
            )


def results(
    asset: dg.AssetKey,
    checks: Sequence[Check],
    reports: Sequence[PartitionReport],
    quality: TableQuality | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """Give each check's result for the run as a whole: that of its worst partition, or of the table by gold rows."""
    for check in checks:
        match check:
            case RowCheck():
                judgement = _of_worst([(check.judge(report), report) for report in reports])
            case GoldCheck() if quality is not None:
                judgement = check.judge_table(quality)
                judgement = replace(judgement, metadata={**judgement.metadata, **check_metadata(check, quality)})
            case _:  # pragma: no cover  (no other kind is made)
                continue
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=check.name,
            passed=judgement.level == "pass",
            severity=SEVERITY[judgement.level],
            description=judgement.told,
            metadata=dict(judgement.metadata),
        )


def _by_partition(checks: Sequence[Check]) -> list[RowCheck]:
    return [check for check in checks if isinstance(check, RowCheck) and not check.of_the_table]


def _of_worst(judged: Sequence[tuple[Judgement, PartitionReport]]) -> Judgement:
    """Return what a check says of the worst partition, and how many others do not pass."""
    judgement, report = max(judged, key=lambda pair: pair[0].badness)
    n_bad = sum(one.level != "pass" for one, _ in judged)
    return replace(judgement, told=_summary(n_bad, len(judged), report.partition_key))


def nothing_checked(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    """Yield what Dagster wants of a run that evaluates no check: it records nothing of it."""
    for spec in context.assets_def.check_specs:
        yield dg.Output(None, context.assets_def.get_output_name_for_asset_check_key(spec.key))


def _summary(n_bad: int, n: int, worst: str | None) -> str | None:
    if n == 1:
        return None
    if not n_bad:
        return f"all {n} partitions pass"
    return f"{counted(n_bad, f'of {n} partitions does', f'of {n} partitions do')} not pass; the worst is {worst}"
