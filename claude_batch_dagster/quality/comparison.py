"""
Which of two candidates is better, on the same gold rows.

Two candidates are mostly right and wrong on the same rows. What tells them apart are the rows on which one alone is
right: of these, chance would give each the half (McNemar's exact test).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.extra import distributions
from claude_batch_dagster.quality.intervals import RISK, Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two candidates that answered the same gold rows."""

    first: str
    second: str
    only_first: int
    """Gold rows on which the first alone is right."""
    only_second: int
    difference: float
    """The accuracy of the first less that of the second, on the gold rows: -1 to 1."""
    p: float
    """How probable at least such a difference is between equals, adjusted for the number of pairs (Holm)."""

    def better(self, risk: float = RISK) -> str | None:
        """Return which is better; None if the gold rows do not tell. Of all pairs, one is wrong with this risk."""
        if self.p > risk:
            return None
        return self.first if self.difference > 0 else self.second

    def __str__(self) -> str:
        """Return it in a sentence, without its full stop."""
        alone = (
            f"{self.first} alone is right on {self.only_first}, {self.second} alone on {self.only_second}; "
            f"p = {self.p:.2g}"
        )
        if (better := self.better()) is None:
            return f"the gold rows do not tell {self.first} from {self.second} ({alone})"
        other = self.second if better == self.first else self.first
        return f"{better} is right more often than {other} on the same gold rows ({alone})"


def compare(candidates: Mapping[str, Flags]) -> tuple[Pair, ...]:
    """
    Compare each candidate with each other: of every one is said on which gold rows it is right, in the same order.

    It is about rows like the gold rows: where these were not drawn with the same chance, so are not the table's.
    """
    right = {name: np.asarray(flags, dtype=bool) for name, flags in candidates.items()}
    rows_in_common(right.values())
    alone = {
        (one, other): (int((right[one] & ~right[other]).sum()), int((right[other] & ~right[one]).sum()))
        for one, other in combinations(right, 2)
    }
    adjusted = holm([mcnemar(*counts) for counts in alone.values()])
    return tuple(
        Pair(
            first=one,
            second=other,
            only_first=won,
            only_second=lost,
            difference=(won - lost) / right[one].size if right[one].size else 0.0,
            p=p,
        )
        for ((one, other), (won, lost)), p in zip(alone.items(), adjusted, strict=True)
    )


def compare_neighbours(candidates: Mapping[str, Flags]) -> tuple[Pair, ...]:
    """Compare each candidate with the next one only: fewer questions than `compare` asks, so more of them are told."""
    pairs = [pair for two in pairwise(candidates.items()) for pair in compare(dict(two))]
    return tuple(replace(pair, p=p) for pair, p in zip(pairs, holm([pair.p for pair in pairs]), strict=True))


def rows_in_common(candidates: Iterable[Flags]) -> int:
    """Return how many gold rows all candidates have answered; raise `ConfigurationError` if not the same number."""
    numbers = {len(flags) for flags in candidates}
    if len(numbers) > 1:
        raise ConfigurationError(f"candidates are compared on the same gold rows, and have answered {sorted(numbers)}")
    return numbers.pop() if numbers else 0


def mcnemar(only_first: int, only_second: int) -> float:
    """Return how probable a split at least as uneven is, if each of the rows could as well be the other's."""
    n = only_first + only_second
    return float(distributions().binomtest(only_first, n).pvalue) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several questions: the chance that any is taken for true wrongly is then what each says."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
