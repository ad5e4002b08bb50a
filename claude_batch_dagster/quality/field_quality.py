"""All that gold rows say of the answers to one output field."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from claude_batch_dagster.quality.accuracy import Accuracy, accuracy
from claude_batch_dagster.quality.intervals import Flags, Interval, Numbers, Weights
from claude_batch_dagster.quality.labels import (
    Confusion,
    LabelQuality,
    Labels,
    WorstRecall,
    by_label,
    confusion,
    kappa,
    worst_recall,
)
from claude_batch_dagster.quality.matching import Kind, Rule, matches
from claude_batch_dagster.quality.resolution import resolution, rows_to_show
from claude_batch_dagster.quality.shares import Share, shares

FEWEST = 30
"""Gold rows of a partition below which nothing is said of it."""

WHOLE = None
"""Stands for the whole table, where partitions are named."""

SURE = 0.99
"""How likely a partition that is as good as the table passes, where it is held against a bar at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsQuality:
    """How right the answers are label by label, for a field whose values are labels."""

    by_label: tuple[LabelQuality, ...]
    confusion: Confusion
    kappa: Interval | None
    worst: WorstRecall


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldQuality:
    """What gold rows say of one output field."""

    name: str
    accuracy: Accuracy
    partitions: Mapping[Hashable, Accuracy] = field(default_factory=dict)
    """Accuracy within each partition with at least 30 gold rows."""
    labels: LabelsQuality | None = None
    shares: Mapping[Hashable, tuple[Share, ...]] = field(default_factory=dict)
    """How many rows truly have each label: of the whole table (`WHOLE`), and of partitions with 30 gold rows."""

    @property
    def resolution(self) -> str:
        """What so few gold rows cannot tell, in a sentence."""
        return str(resolution(max(int(self.accuracy.effective_n), 1), self.accuracy.share.estimate))

    def enough(self, bar: float) -> Iterator[tuple[Hashable, Accuracy]]:
        """
        Give the partitions that have enough gold rows to be held against a bar.

        A partition as good as the whole table would pass with 99 of 100 draws of so many rows; of fewer, most would
        fail for lack of rows alone.
        """
        needed = rows_to_show(bar, self.accuracy.share.estimate, risk=0.025, power=SURE)
        for key, own in self.partitions.items():
            if needed is None or own.effective_n >= needed:
                yield key, own


def field_quality(  # noqa: PLR0913  (columns of one table)
    name: str,
    answers: Sequence[Any],
    truths: Sequence[Any],
    rule: Rule,
    *,
    closed: bool = False,
    weights: Weights = None,
    partitions: Sequence[Hashable] = (),
    n_rows: Mapping[Any, int] | None = None,
    counts: Mapping[Any, Mapping[Any, int]] | None = None,
) -> FieldQuality | None:
    """
    Judge the answers to one field, one gold row each; None without gold rows.

    `closed` says that its values are labels, of a closed list. `partitions` says of each gold row which partition it is
    of, `n_rows` how many answers each partition has, and `counts` how many of these with which label.
    """
    right = matches(answers, truths, rule)
    whole = accuracy(right, weights, n_rows=sum(n_rows.values()) if n_rows else None)
    if whole is None:
        return None
    is_label = closed and rule.kind is Kind.LABEL and not rule.is_list and rule.same is None
    return FieldQuality(
        name=name,
        accuracy=whole,
        partitions=_by_partition(right, weights, partitions, n_rows or {}),
        labels=_labels(answers, truths, weights) if is_label else None,
        shares=_shares(answers, truths, weights, partitions, counts or {}) if is_label else {},
    )


def _labels(answers: Labels, truths: Labels, weights: Weights) -> LabelsQuality | None:
    """Judge each label; None without gold rows."""
    worst = worst_recall(answers, truths, weights)
    if worst is None:  # pragma: no cover  (whoever asks has some)
        return None
    return LabelsQuality(
        by_label=by_label(answers, truths, weights),
        confusion=confusion(answers, truths, weights),
        kappa=kappa(answers, truths, weights),
        worst=worst,
    )


def _shares(
    answers: Labels,
    truths: Labels,
    weights: Weights,
    partitions: Sequence[Hashable],
    counts: Mapping[Any, Mapping[Any, int]],
) -> dict[Hashable, tuple[Share, ...]]:
    """Estimate the shares of labels in the whole table, and in each partition with enough gold rows."""
    if not counts:
        return {}
    whole = Counter[Any]()
    for own in counts.values():
        whole.update(own)
    found: dict[Hashable, tuple[Share, ...]] = {WHOLE: shares(whole, answers, truths, weights)}
    heavy = None if weights is None else np.asarray(weights, dtype=float)
    for key, n in Counter(partitions).items():
        if key is None or n < FEWEST:
            continue
        rows = [at for at, partition in enumerate(partitions) if partition == key]
        own_answers, own_truths = [answers[at] for at in rows], [truths[at] for at in rows]
        found[key] = shares(counts[key], own_answers, own_truths, None if heavy is None else heavy[rows])
    return found


def _by_partition(
    right: Flags, weights: Weights, partitions: Sequence[Hashable], n_rows: Mapping[Any, int]
) -> dict[Hashable, Accuracy]:
    heavy: Numbers | None = None if weights is None else np.asarray(weights, dtype=float)
    flags, places = np.asarray(right, dtype=bool), np.array([str(key) for key in partitions])
    found = {}
    for key in dict.fromkeys(partitions):
        own = places == str(key)
        if key is None or own.sum() < FEWEST:
            continue
        judged = accuracy(flags[own], None if heavy is None else heavy[own], n_rows=n_rows.get(key))
        if judged is not None:
            found[key] = judged
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQuality:
    """What gold rows say of a table."""

    fields: tuple[FieldQuality, ...] = ()
    """Those fields of which a gold row has both an answer and a true value."""
    n_gold: int = 0
    """Gold rows, whether or not they have an answer."""
    oddities: Mapping[str, int] = field(default_factory=dict)
    """How many gold rows or values tell nothing, by what is the matter with them."""
    problem: str | None = None
    """Why nothing is known, if nothing can be."""
