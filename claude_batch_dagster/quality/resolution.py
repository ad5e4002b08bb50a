"""What a number of gold rows can tell, and how many are needed to show something."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.quality.extra import distributions
from claude_batch_dagster.quality.intervals import CONFIDENCE, RISK, percent

POWER = 0.80
"""How often what is there is to be seen, unless told otherwise."""

LARGEST_EXACT = 5_000
"""Gold rows up to which the binomial distribution says how many are needed; beyond, the normal one does as well."""

FINEST = 1e-9
"""How exactly the accuracy is found from which on a difference is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Which accuracies can be told from one, by a two-sided exact test (95 %, power 80 % unless told otherwise)."""

    n: int
    """Gold rows."""
    accuracy: float
    """Which others are told from."""
    below: float | None
    """An accuracy as low as this is told from it; None if none is."""
    above: float | None
    """An accuracy as high as this is told from it; None if none is."""

    def can_tell(self, other: float) -> bool:
        """Whether another accuracy is told from this one, four times in five or more often."""
        return (self.below is not None and other <= self.below) or (self.above is not None and other >= self.above)

    def cannot_tell(self, other: float) -> str | None:
        """Say in a sentence that another accuracy is not told from this one; None if it is."""
        if self.can_tell(other):
            return None
        return f"with {counted(self.n, 'gold row')} this cannot tell {percent(self.accuracy)} from {percent(other)}"

    def __str__(self) -> str:
        ends = (
            "0 %" if self.below is None else percent(math.ceil(self.below * 1_000) / 1_000),
            "100 %" if self.above is None else percent(math.floor(self.above * 1_000) / 1_000),
        )
        rows = counted(self.n, "gold row")
        return f"with {rows} this cannot tell {percent(self.accuracy)} from anything between {ends[0]} and {ends[1]}"


def resolution(n: int, accuracy: float, *, confidence: float = CONFIDENCE, power: float = POWER) -> Resolution:
    """Say what n gold rows, drawn at random, can tell from an accuracy, both ways."""
    binomial, tail = distributions().binom, (1 - confidence) / 2
    few = binomial.ppf(tail, n, accuracy) - 1  # so few right, or fewer, speak against the accuracy
    many = binomial.isf(tail, n, accuracy) + 1

    def told(other: float) -> float:
        return float(binomial.cdf(few, n, other) + binomial.sf(many - 1, n, other))

    return Resolution(
        n=n,
        accuracy=accuracy,
        below=_where(lambda other: told(other) >= power, accuracy, 0.0) if few >= 0 else None,
        above=_where(lambda other: told(other) >= power, accuracy, 1.0) if many <= n else None,
    )


def paired_resolution(
    n: int, disagreement: float, *, confidence: float = CONFIDENCE, power: float = POWER
) -> float | None:
    """
    Return the smallest difference in accuracy of two candidates that n gold rows tell, by McNemar's exact test.

    Both answered the same rows, and on a share of them, `disagreement`, one alone is right: the rarer that is, the
    smaller a difference is told. None if even that all of these were one's would not be.
    """
    binomial, tail = distributions().binom, (1 - confidence) / 2
    split = np.arange(n + 1)  # rows on which one alone is right
    often = binomial.pmf(split, n, disagreement)
    few = binomial.ppf(tail, split, 0.5) - 1

    def told(difference: float) -> float:
        chance = (1 + difference / disagreement) / 2
        lost_or_won = binomial.cdf(few, split, 1 - chance) + binomial.cdf(few, split, chance)
        return float((often * lost_or_won).sum())

    if not disagreement or told(disagreement) < power:
        return None
    return _where(lambda difference: told(difference) >= power, 0.0, disagreement)


@lru_cache(maxsize=1_024)  # candidates are often as accurate as others were
def rows_to_show(bar: float, accuracy: float, *, risk: float = RISK, power: float = POWER) -> int | None:
    """
    Return how many gold rows show that an accuracy is at least a bar, if it is what was seen; None if it is not above.

    Shown it is when its one-sided lower bound (`intervals.lower_bound`, wrong with this risk) is not below the bar.
    With so many gold rows, and with any number above, that is so with the power asked for.
    """
    if accuracy <= bar:
        return None
    if bar <= 0:
        return 1
    normal, binomial = distributions().norm, distributions().binom
    spread = normal.isf(risk) * math.sqrt(bar * (1 - bar)) + normal.isf(1 - power) * math.sqrt(
        accuracy * (1 - accuracy)
    )
    about: float = (spread / (accuracy - bar)) ** 2
    if about > LARGEST_EXACT:
        return math.ceil(about)
    rows = np.arange(1, 2 * math.ceil(about) + math.ceil(2 * math.log(risk) / math.log(bar)))
    shown = binomial.sf(binomial.isf(risk, rows, bar), rows, accuracy)
    return 1 + int(rows[shown < power].max(initial=0))


def _where(holds: Callable[[float], bool], not_here: float, here: float) -> float:
    """Return where a condition begins to hold, between a number for which it does not and one for which it does."""
    while abs(here - not_here) > FINEST:
        middle = (here + not_here) / 2
        not_here, here = (not_here, middle) if holds(middle) else (middle, here)
    return here
