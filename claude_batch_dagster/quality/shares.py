"""
How many of a table's rows truly have each label.

To count the answers is exact and biased, to count gold rows is unbiased and vague. `bands` joins them.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.bands import Bands, Cells, Evidence
from claude_batch_dagster.quality.intervals import CONFIDENCE, Interval, Numbers, Weights, tally, weighed
from claude_batch_dagster.quality.labels import Labels, one_answer_each


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which share of all rows of the table truly has a label, 0 to 1."""

    label: Hashable
    share: Interval
    """The best that is known: corrected, or the gold rows alone."""
    is_corrected: bool
    """Whether it is corrected. Not where that would be worse, or where fewer than 5 gold rows have the label."""
    naive: float
    """The share of the answers that are this label: exact, and as wrong as the answers are."""
    gold: Interval
    """What the gold rows say alone."""
    n_answers: int
    """Rows of the table that were answered with it."""
    n_gold: int
    """Gold rows, of whatever label."""

    @property
    def worth(self) -> float:
        """How many times as many gold rows would be needed without the answers, by the widths; 1 if not corrected."""
        return (self.gold.width / self.share.width) ** 2 if self.share.width else 1.0


def shares(
    counts: Mapping[Any, int],
    predicted: Labels,
    true: Labels,
    weights: Weights = None,
    *,
    confidence: float = CONFIDENCE,
) -> tuple[Share, ...]:
    """
    Estimate the share of each label that was answered, or is true of a gold row: the most frequent answer first.

    `counts` says of each answer how many rows of the whole table have it, gold rows among them; None may be one, for
    rows without an answer. `predicted` and `true` are the answers and the true labels of the gold rows.

    A band covers the share in this very table in at least 95 % of draws of gold rows, and is never wider than that of
    the gold rows alone. In simulations with 2, 5 and 12 labels and 50 to 500 gold rows it did so for labels on the
    average in 98 %, for the least lucky of 1,700 labels in 94 %. Each label is corrected by itself: the shares need
    not add up to 1 exactly.
    """
    _check(counts, predicted, true)
    labels = sorted(dict.fromkeys((*counts, *true)), key=lambda label: (-counts.get(label, 0), str(label)))
    evidence = _evidence(labels, counts, predicted, true, weights)
    gold, (best, corrected) = evidence.whole.bands(confidence), evidence.best(confidence)
    return tuple(
        Share(
            label=label,
            share=_interval(best, at),
            is_corrected=bool(corrected[at]),
            naive=float(evidence.naive[at]),
            gold=_interval(gold, at),
            n_answers=counts.get(label, 0),
            n_gold=len(true),
        )
        for at, label in enumerate(labels)
    )


def _evidence(labels: Labels, counts: Mapping[Any, int], predicted: Labels, true: Labels, weights: Weights) -> Evidence:
    """Lay out what is known, one place a label."""
    n, n_labels = len(true), len(labels)
    answered = np.array([counts.get(label, 0) for label in labels], dtype=float)
    n_rows = np.full(n_labels, answered.sum())
    really, said = (
        np.array([[value == label for value in column] for label in labels], dtype=bool).reshape(n_labels, n)
        for column in (true, predicted)
    )
    heavy = None if weights is None else weighed(weights, n)

    def cells(among: npt.NDArray[np.bool_], n_rows: Numbers) -> Cells:
        return _cells(really, among, heavy, n_rows)

    return Evidence(
        naive=answered / n_rows,
        whole=cells(np.ones_like(said), n_rows),
        answered=cells(said, answered),
        others=cells(~said, n_rows - answered),
        n_true=really.sum(axis=1).astype(float),
        n=np.full(n_labels, float(n)),
    )


def _cells(
    really: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], weights: Numbers | None, n_rows: Numbers
) -> Cells:
    """Count the rows that really have a label among those of one kind: one label a row of the arrays."""
    tallies = [tally(has[of], None if weights is None else weights[of]) for has, of in zip(really, among, strict=True)]
    return Cells(
        hits=np.array([each.hits for each in tallies]),
        n=np.array([each.n for each in tallies]),
        n_rows=n_rows if weights is None else np.full(len(tallies), np.inf),
    )


def _interval(bands: Bands, at: int) -> Interval:
    return Interval(float(bands.low[at]), float(bands.estimate[at]), float(bands.high[at]))


def _check(counts: Mapping[Any, int], predicted: Labels, true: Labels) -> None:
    """Raise `ConfigurationError` for gold rows that cannot be rows of this table."""
    one_answer_each(predicted, true)
    if not sum(counts.values()) or any(n > counts.get(label, 0) for label, n in Counter(predicted).items()):
        raise ConfigurationError(
            "the gold rows are not of this table: more of them were answered with a label than rows of it. "
            "Count the answers of all rows, the gold ones among them."
        )
