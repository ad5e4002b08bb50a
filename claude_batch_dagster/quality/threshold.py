"""
From which confidence on a cheap model's answers may be kept, where the other rows go to a strong model.

What is promised is the agreement of the whole table with the strong model: rows that go up agree by definition, so what
is lost are the rows that are kept and disagree. The higher the threshold, the fewer these are, whatever the confidence
is worth. So the lowest threshold can be taken at which the pairs still speak against more than is allowed (learn then
test, in a fixed sequence from the top): where all higher ones pass as well, nothing is paid for having looked at many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.extra import distributions
from claude_batch_dagster.quality.intervals import Flags

AGREEMENT = 0.95
"""Of all rows, how many shall have the strong model's answer, unless told otherwise."""

DELTA = 0.05
"""In how many cases the promise may be broken, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A confidence; a row with as much, or more, keeps the cheap model's answer, the others go to the strong one."""

    value: float
    """In the unit of the confidences that it was chosen by."""
    kept: float
    """The share of the pairs whose answer is kept: about so many of the table's rows are not paid for twice."""
    agreement: float
    """The share of the pairs that would agree, those that go up among them: an estimate; what is promised is less."""


def choose_threshold(
    confidences: Sequence[float] | npt.NDArray[np.float64],
    agrees: Flags,
    *,
    agreement: float = AGREEMENT,
    delta: float = DELTA,
    n_rows: int | None = None,
) -> Threshold | None:
    """
    Choose the lowest threshold that keeps the whole table's agreement at `agreement` or above, but for a risk `delta`.

    Each pair is a row that both models answered, each row of the table having had the same chance: the
    cheap model's confidence, NaN for none, which is never kept, and whether it agrees with the strong model. With the
    true value in place of the strong model's answer, rows that go up count as right, whether they are or not.

    `n_rows` is how many rows the table has. With it the promise is of that very table, by the hypergeometric
    distribution, and a little more is kept; without, it is of a table without end.

    None where nothing can be promised: all rows go up. At 95 % and a risk of 5 % that is so with fewer than 59 pairs.
    """
    sure, wrong = np.asarray(confidences, dtype=float), ~np.asarray(agrees, dtype=bool)
    if sure.shape != wrong.shape:
        raise ConfigurationError(f"there are {sure.size} confidences for {wrong.size} answers: one is needed for each")
    allowed = most_wrong(sure.size, agreement=agreement, delta=delta, n_rows=n_rows)
    values = np.unique(sure[~np.isnan(sure)])
    lost = np.searchsorted(np.sort(-sure[wrong & ~np.isnan(sure)]), -values, side="right")
    fitting = values[lost <= allowed]
    if not fitting.size:
        return None
    kept = sure >= fitting[0]
    return Threshold(value=float(fitting[0]), kept=float(kept.mean()), agreement=float(1 - (kept & wrong).mean()))


@lru_cache(maxsize=256)
def most_wrong(n: int, *, agreement: float = AGREEMENT, delta: float = DELTA, n_rows: int | None = None) -> int:
    """
    Return of how many kept pairs, of n, may disagree, so that the whole table keeps its agreement; -1 if not even none.

    If more of the table did than is allowed, so few would be seen in at most `delta` of all cases.
    """
    seen = np.arange(n + 1)
    if n_rows is None:
        chances = distributions().binom.cdf(seen, n, 1 - agreement)
    else:
        if n > n_rows:
            raise ConfigurationError(f"{n} pairs cannot be of a table of {n_rows} rows")
        too_many = (
            math.floor(round((1 - agreement) * n_rows, 9)) + 1
        )  # 1 - 0.9 of 1,000 rows are 100, not 99.99999999999997
        chances = distributions().hypergeom.cdf(seen, n_rows, too_many, n)
    return int(np.searchsorted(chances, delta, side="right")) - 1


def pairs_needed(*, agreement: float = AGREEMENT, delta: float = DELTA) -> int:
    """Return the number of pairs with fewer of which nothing can be promised, of a table without end."""
    return math.ceil(math.log(delta) / math.log(agreement))
