"""How right answers are label by label: what people know under recall, precision, F1, confusion and kappa."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.intervals import (
    CONFIDENCE,
    Interval,
    Numbers,
    Weights,
    limits,
    proportion,
    tally,
    weighed,
)

Labels = Sequence[Hashable]
"""One label a row; None for no answer is a label as any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelQuality:
    """How right the answers of one label are. What no gold row tells is None."""

    label: Hashable
    n_true: int
    """Gold rows that truly have the label."""
    n_predicted: int
    """Gold rows whose answer it is."""
    precision: Interval | None
    """Of the rows whose answer it is, those that truly have it."""
    recall: Interval | None
    """Of the rows that truly have it, those whose answer it is."""
    f1: Interval | None
    """The harmonic mean of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often each true label (a row of the matrix) was answered by each label (a column)."""

    labels: tuple[Hashable, ...]
    """The most frequent true one first."""
    counts: Numbers
    """Gold rows, or their weights: `counts[i, j]` of those that are `labels[i]` and were answered by `labels[j]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRecall:
    """The label that is missed most."""

    label: Hashable
    recall: Interval
    """Of this label, by itself: of the least of many it says too little, for chance chose it too."""
    all_at_least: float
    """What the recall of every label of the gold rows is at least, with the confidence asked for, all at once."""


def by_label(
    predicted: Labels, true: Labels, weights: Weights = None, *, confidence: float = CONFIDENCE
) -> tuple[LabelQuality, ...]:
    """
    Judge each label that was answered or true, in the order of `Confusion.labels`.

    Each interval is exact for the rows that it is of. That of F1 is too: F1 is 2j / (1 + j), where j is the share of
    the rows that have both labels, among those that have either.
    """
    answers, truths, heavy = _columns(predicted, true, weights)

    def share(of: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Interval | None:
        return proportion(of[among], None if heavy is None else heavy[among], confidence=confidence)

    qualities = []
    for index, label in enumerate(_in_order(predicted, true)):
        answered, really = answers == index, truths == index
        both = share(answered & really, answered | really)
        qualities.append(
            LabelQuality(
                label=label,
                n_true=int(really.sum()),
                n_predicted=int(answered.sum()),
                precision=share(really, answered),
                recall=share(answered, really),
                f1=None if both is None else Interval(*(2 * j / (1 + j) for j in (both.low, both.estimate, both.high))),
            )
        )
    return tuple(qualities)


def confusion(predicted: Labels, true: Labels, weights: Weights = None) -> Confusion:
    """Count which true labels were answered by which."""
    answers, truths, heavy = _columns(predicted, true, weights)
    labels = _in_order(predicted, true)
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (truths, answers), 1.0 if heavy is None else heavy)
    return Confusion(labels=labels, counts=counts)


def kappa(
    predicted: Labels, true: Labels, weights: Weights = None, *, confidence: float = CONFIDENCE
) -> Interval | None:
    """
    Return Cohen's kappa: the agreement beyond what two that answer at random agree on, with as many of each label.

    1 is always right, 0 is chance, less is worse than chance. None without rows, or where all have one label only.
    The interval is that of the agreement, carried over; the usual one, by a normal approximation, says of 50 rows
    that are all right that kappa is 1 for certain.
    """
    counts = confusion(predicted, true, weights).counts
    agreement = proportion([a == t for a, t in zip(predicted, true, strict=True)], weights, confidence=confidence)
    if agreement is None:
        return None
    chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / counts.sum() ** 2
    if chance >= 1:
        return None
    return Interval(
        *(float((share - chance) / (1 - chance)) for share in (agreement.low, agreement.estimate, agreement.high))
    )


def worst_recall(
    predicted: Labels, true: Labels, weights: Weights = None, *, confidence: float = CONFIDENCE
) -> WorstRecall | None:
    """Return the label that is missed most, the rarer one of two; None without gold rows."""
    answers, truths, heavy = _columns(predicted, true, weights)
    labels = _in_order(predicted, true)
    seen = [index for index in range(len(labels)) if (truths == index).any()]
    if not seen:
        return None
    tallies = [
        tally((answers == index)[truths == index], None if heavy is None else heavy[truths == index]) for index in seen
    ]
    hits, n = np.array([each.hits for each in tallies]), np.array([each.n for each in tallies])
    low, high = limits(hits, n, confidence)
    lows, _ = limits(hits, n, 1 - 2 * (1 - confidence) / len(seen))  # one-sided, and Bonferroni's: all at once
    worst = min(range(len(seen)), key=lambda at: (tallies[at].share, -at))
    return WorstRecall(
        label=labels[seen[worst]],
        recall=Interval(float(low[worst]), tallies[worst].share, float(high[worst])),
        all_at_least=float(lows.min()),
    )


def one_answer_each(predicted: Labels, true: Labels) -> None:
    """Raise `ConfigurationError` if there are not as many answers as gold rows."""
    if len(predicted) != len(true):
        raise ConfigurationError(
            f"there are {len(predicted)} answers for {len(true)} gold rows: one is needed for each"
        )


def _in_order(predicted: Labels, true: Labels) -> tuple[Hashable, ...]:
    often = Counter(true)
    return tuple(sorted(dict.fromkeys((*true, *predicted)), key=lambda label: (-often[label], str(label))))


def _columns(
    predicted: Labels, true: Labels, weights: Weights
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Numbers | None]:
    """Return answers and truths as numbers of labels, and the weights."""
    one_answer_each(predicted, true)
    number = {label: index for index, label in enumerate(_in_order(predicted, true))}
    answers, truths = (np.array([number[label] for label in column], dtype=np.int64) for column in (predicted, true))
    return answers, truths, None if weights is None else weighed(weights, len(true))
