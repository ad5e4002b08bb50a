"""Checks of how right the answers are, by gold rows: luck does not pass, for the low end of the interval has to."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.checks.check import Check, Judgement, Level
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.field_quality import FieldQuality, TableQuality

WORSE: Mapping[Level, int] = {"pass": 0, "warn": 1, "fail": 2}

DIGITS = 4
"""Of shares, behind the point."""

NO_ANSWER = "no gold row has an answer yet, so nothing is known"

NOT_THERE = "no gold row is in the table (yet): their keys, and partition_key if they have it, are those of no row"


@dataclass(frozen=True, kw_only=True)
class GoldCheck(Check):
    """A share that gold rows show to be reached: the low end of its interval (95 %), 0 where nothing is known."""

    of_the_table = True

    def check_range(self) -> None:
        """Raise unless the thresholds are shares."""
        if not (0 <= self.warn <= 1 and 0 <= self.fail <= 1):
            raise ConfigurationError(
                f"{self.name} measures a share: thresholds are between 0 and 1; got warn={self.warn}, fail={self.fail}."
            )

    def margin(self, value: float) -> float:
        """More is better."""
        return value

    @abstractmethod
    def shown(self, quality: FieldQuality) -> float | None:
        """Return what the answers to a field are shown to reach; None if that is no question for this field."""

    def of_partitions(self, quality: FieldQuality) -> Iterator[tuple[str, float]]:
        """Give what partitions with enough gold rows are shown to reach, each by its name."""
        del quality
        yield from ()

    def judge_table(self, quality: TableQuality) -> Judgement:
        """Hold the whole table against the thresholds: each field, and partitions that have enough gold rows."""
        found = {one.name: value for one in quality.fields if (value := self.shown(one)) is not None}
        value = min(found.values(), default=0.0)
        bad = [
            (partition, level)
            for one in quality.fields
            if one.name in found
            for partition, reached in self.of_partitions(one)
            if (level := self.level(reached)) != "pass"
        ]
        return Judgement(
            level=max((self.level(value), *(level for _, level in bad)), key=WORSE.__getitem__),
            badness=(False, -value),
            metadata={
                f"claude_batch/{self.figure}": round(value, DIGITS),
                **self.thresholds,
                "claude_batch/gold_rows": quality.n_gold,
                **{f"claude_batch/{name}": n for name, n in quality.oddities.items()},
                **self.facts(quality),
            },
            told=quality.problem or (_nothing(quality) if not found else _told_of([partition for partition, _ in bad])),
        )

    def facts(self, quality: TableQuality) -> Mapping[str, Any]:
        """Return further metadata."""
        del quality
        return {}


def _nothing(quality: TableQuality) -> str:
    """Say why nothing is known."""
    is_absent = quality.n_gold > 0 and quality.oddities.get("gold_rows_not_in_the_table") == quality.n_gold
    return NOT_THERE if is_absent else NO_ANSWER


def _told_of(partitions: list[str]) -> str | None:
    if not partitions:
        return None
    return f"{counted(len(partitions), 'partition does', 'partitions do')} not pass: {', '.join(partitions[:10])}"


@dataclass(frozen=True, kw_only=True)
class Accuracy(GoldCheck):
    """
    `accuracy`: the share of right answers that gold rows show; both thresholds are the lowest that passes.

    Only where the asset has gold rows. Of several fields with true values the worst counts. Each partition with enough
    gold rows, of which 99 in 100 would pass if they were as good as the table, is held against the thresholds too. It
    warns and, unless told to, never fails.
    """

    name = "accuracy"
    figure = "accuracy_at_least"
    about = "Share of answers that are right, as gold rows show it (the low end of the 95 % interval)."

    warn: float = 0.80
    fail: float = 0.0

    def shown(self, quality: FieldQuality) -> float | None:
        """Return the low end of the accuracy."""
        return quality.accuracy.share.low

    def of_partitions(self, quality: FieldQuality) -> Iterator[tuple[str, float]]:
        """Give the low ends of partitions with enough gold rows."""
        for key, own in quality.enough(self.warn):
            yield str(key), own.share.low


@dataclass(frozen=True, kw_only=True)
class LabelRecall(GoldCheck):
    """
    `label_recall`: which recall gold rows show for every label at once; both thresholds are the lowest that passes.

    Recall is the share of the rows that truly have a label whose answer it is. Only where the asset has gold rows and
    a field with a closed list of values. Labels with few gold rows show little, so the figure is lower than it sounds.
    It warns and, unless told to, never fails.
    """

    name = "label_recall"
    figure = "label_recall_at_least"
    about = (
        "Share of the rows of a label that are found, for the worst label, as gold rows show it (for all labels at "
        "once, 95 %)."
    )

    warn: float = 0.30
    fail: float = 0.0

    def shown(self, quality: FieldQuality) -> float | None:
        """Return what the recall of every label is at least."""
        return None if quality.labels is None else quality.labels.worst.all_at_least

    def facts(self, quality: TableQuality) -> Mapping[str, Any]:
        """Return which label is missed most, by field."""
        worst = {one.name: one.labels.worst for one in quality.fields if one.labels is not None}
        return {
            f"claude_batch/worst_label{f'_{name}' if len(worst) > 1 else ''}": f"{one.label}: {one.recall}"
            for name, one in worst.items()
        }
