"""
The arithmetic of corrected shares, on arrays of any shape: one label, all labels of a table, or a thousand tables.

Of the rows that were answered with a label, some have it; of all others, some have it too. Both shares come from the
gold rows; how many rows there are of each comes from the whole table:

    share = naive * precision + (1 - naive) * missed

This is post-stratification by whether the answer is the label, and the same number as prediction-powered inference
with the best tuning for that label (PPI++): its lambda is `precision - missed`. Put this way, both parts are shares of
counted rows, with exact intervals even of few rows, and where none of them was wrong. They are joined by the distances
of their ends (MOVER). With Jeffreys' shorter intervals, of one label in seven the truth is covered too seldom.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.quality.intervals import CONFIDENCE, Numbers, limits, unseen

FEWEST = 5
"""Gold rows that must have a label, and that must not: of fewer, the band is narrowest where chance showed too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Shares, 0 to 1, and between what they lie."""

    low: Numbers
    estimate: Numbers
    high: Numbers

    @property
    def width(self) -> Numbers:
        """From the low ends to the high ones."""
        return self.high - self.low

    @property
    def below(self) -> Numbers:
        """From the estimates down to the low ends."""
        return self.estimate - self.low

    @property
    def above(self) -> Numbers:
        """From the estimates up to the high ends."""
        return self.high - self.estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Gold rows of one kind: counts, or effective numbers (`intervals.Tally`) where rows have weights."""

    hits: Numbers
    """Those that truly have the label."""
    n: Numbers
    """All of them."""
    n_rows: Numbers
    """The table's rows of that kind, of which these were drawn with the same chance; infinite where it differed."""

    def bands(self, confidence: float = CONFIDENCE) -> Bands:
        """Return which share of the table's rows of that kind has the label; 0 to 1 where no gold row is."""
        share = np.divide(self.hits, self.n, out=np.zeros_like(self.n), where=self.n > 0)
        low, high = limits(self.hits, self.n, confidence)
        bounded = np.isfinite(self.n_rows)
        shrink = np.where(bounded, unseen(self.n, np.where(bounded, self.n_rows, 1)), 1)
        return Bands(low=share - (share - low) * shrink, estimate=share, high=share + (high - share) * shrink)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of labels: arrays of one shape."""

    naive: Numbers
    """The share of all rows that were answered with the label."""
    whole: Cells
    """All gold rows."""
    answered: Cells
    """Those that were answered with the label."""
    others: Cells
    """Those that were not."""
    n_true: Numbers
    """How many gold rows have the label, by number, whatever their weights."""
    n: Numbers
    """How many gold rows there are, by number."""

    def corrected(self, confidence: float = CONFIDENCE) -> Bands:
        """Return the shares corrected by what the gold rows say of the answers."""
        inside, outside = self.answered.bands(confidence), self.others.bands(confidence)
        estimate = self.naive * inside.estimate + (1 - self.naive) * outside.estimate
        below = np.hypot(self.naive * inside.below, (1 - self.naive) * outside.below)
        above = np.hypot(self.naive * inside.above, (1 - self.naive) * outside.above)
        return Bands(low=estimate - below, estimate=estimate, high=estimate + above)

    def correction_serves(self, gold: Bands, corrected: Bands) -> npt.NDArray[np.bool_]:
        """Whether the corrected share is the better one, and few gold rows are no reason to doubt its band."""
        seen = np.minimum(self.n_true, self.n - self.n_true)
        known = (self.answered.n > 0) & (self.others.n > 0)
        return known & (seen >= FEWEST) & (corrected.width < gold.width)

    def best(self, confidence: float = CONFIDENCE) -> tuple[Bands, npt.NDArray[np.bool_]]:
        """Return the best shares that there are, and which are corrected; the others are the gold rows' alone."""
        gold, corrected = self.whole.bands(confidence), self.corrected(confidence)
        serves = self.correction_serves(gold, corrected)
        return Bands(
            low=np.where(serves, corrected.low, gold.low),
            estimate=np.where(serves, corrected.estimate, gold.estimate),
            high=np.where(serves, corrected.high, gold.high),
        ), serves
