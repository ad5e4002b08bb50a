"""Tables whose truth is known: what the statistics are tried on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from claude_batch_dagster.quality.bands import Cells, Evidence

N_LABELS, ACCURACIES, N_GOLD = (2, 5, 12), (0.6, 0.8, 0.9, 0.99), (50, 150, 500)

LARGE = 20_000
"""Rows of a table beside which the gold rows are few."""

RISK = 0.05


def at_most(times: int) -> int:
    """Return how often, of so many times, what happens once in twenty happens at most, but for once in a thousand."""
    return int(stats.binom.ppf(0.999, times, RISK))


Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kind of table, and a number of gold rows of it."""

    n_labels: int
    accuracy: float
    n: int
    """Gold rows."""
    n_rows: int = LARGE
    is_skewed: bool = False
    """Whether labels are of very different frequency; else all are as frequent."""
    is_confused: bool = False
    """Whether the wrong answers to one label are all one other label; else they are of all others."""

    @cached_property
    def table(self) -> Counts:
        """How many rows have a true label (a row) and an answer (a column): the truth."""
        rows = self.n_rows * self.chances
        whole = np.floor(rows).astype(np.int64)
        most = np.argsort((whole - rows).ravel(), kind="stable")[: self.n_rows - whole.sum()]
        whole.ravel()[most] += 1
        table: Counts = whole
        return table

    @property
    def chances(self) -> npt.NDArray[np.float64]:
        """Which share of the rows has a true label (a row) and an answer (a column)."""
        frequencies = 0.6 ** np.arange(self.n_labels) if self.is_skewed else np.ones(self.n_labels)
        same = np.eye(self.n_labels)
        wrong = np.roll(same, 1, axis=1) if self.is_confused else (1 - same) / (self.n_labels - 1)
        answers = self.accuracy * same + (1 - self.accuracy) * wrong
        chances: npt.NDArray[np.float64] = (frequencies / frequencies.sum())[:, None] * answers
        return chances

    @property
    def truth(self) -> npt.NDArray[np.float64]:
        """The share of each true label."""
        shares: npt.NDArray[np.float64] = self.table.sum(axis=1) / self.n_rows
        return shares

    def draws(self, times: int, seed: int) -> Counts:
        """Draw gold rows so many times, without putting them back: tables as `table`, one a draw."""
        rng = np.random.default_rng(seed)
        drawn = rng.multivariate_hypergeometric(self.table.ravel(), self.n, size=times, method="marginals")
        return drawn.reshape(times, self.n_labels, self.n_labels)

    def evidence(self, draws: Counts) -> Evidence:
        """Lay out what each draw tells of each label."""
        counts = draws.astype(float)
        really, said, right = counts.sum(axis=2), counts.sum(axis=1), np.diagonal(counts, axis1=1, axis2=2)
        n_said, n = np.broadcast_to(self.table.sum(axis=0).astype(float), really.shape), np.full_like(really, self.n)
        n_rows = np.full_like(really, self.n_rows)
        return Evidence(
            naive=n_said / self.n_rows,
            whole=Cells(hits=really, n=n, n_rows=n_rows),
            answered=Cells(hits=right, n=said, n_rows=n_said),
            others=Cells(hits=really - right, n=n - said, n_rows=n_rows - n_said),
            n_true=really,
            n=n,
        )


@dataclass(frozen=True, kw_only=True)
class Odd(Case):
    """A table in which labels are as frequent, as often right and as often taken for another as a seed says."""

    seed: int

    @property
    def chances(self) -> npt.NDArray[np.float64]:
        """As of any case; how often a label is right lies around the accuracy."""
        rng = np.random.default_rng(self.seed)
        frequencies = rng.dirichlet(np.full(self.n_labels, rng.choice([0.5, 1.0, 5.0])))
        right = np.clip(self.accuracy + rng.uniform(-0.25, 0.25, self.n_labels), 0, 1)[:, None]
        wrong = rng.dirichlet(np.full(self.n_labels, 0.3), self.n_labels)
        return frequencies[:, None] * (right * np.eye(self.n_labels) + (1 - right) * wrong)


def odd_cases(times: int, seed: int) -> Iterator[Odd]:
    """Yield so many tables that no rule made, large and small."""
    rng = np.random.default_rng(seed)
    for at in range(times):
        n = int(rng.choice(N_GOLD))
        yield Odd(
            n_labels=int(rng.choice(N_LABELS)),
            accuracy=0.75,
            n=n,
            n_rows=int(rng.choice([2 * n, 4 * n, LARGE])),
            seed=seed + at,
        )


def cases(*, n_labels: tuple[int, ...] = N_LABELS) -> Iterator[Case]:
    """Yield every kind of table, large and only twice as large as the gold rows are many."""
    flags = (False, True)
    for labels, accuracy, n, is_large, skewed, confused in product(n_labels, ACCURACIES, N_GOLD, flags, flags, flags):
        if labels == 2 and confused:
            continue  # there is one other label only
        n_rows = LARGE if is_large else 2 * n
        yield Case(n_labels=labels, accuracy=accuracy, n=n, n_rows=n_rows, is_skewed=skewed, is_confused=confused)
