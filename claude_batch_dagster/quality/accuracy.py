"""How many answers are right."""

from dataclasses import dataclass

from claude_batch_dagster.quality.intervals import CONFIDENCE, Flags, Interval, Weights, proportion, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of the table's answers that are right, from gold rows."""

    share: Interval
    n: int
    """Gold rows."""
    effective_n: float
    """As many rows, each drawn with the same chance, would tell as much: n unless rows have weights."""


def accuracy(
    matches: Flags, weights: Weights = None, *, confidence: float = CONFIDENCE, n_rows: int | None = None
) -> Accuracy | None:
    """
    Estimate how many answers are right: `matches` says of each gold row whether its answer is; None without gold rows.

    The interval covers the accuracy of all rows in at least 95 % of draws of gold rows. `n_rows` is how many rows the
    table has: with it the interval is shorter where many of them are gold.
    """
    share = proportion(matches, weights, confidence=confidence, n_rows=n_rows)
    if share is None:
        return None
    return Accuracy(share=share, n=len(matches), effective_n=tally(matches, weights).n)
