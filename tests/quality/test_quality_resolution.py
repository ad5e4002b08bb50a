"""What gold rows can tell: by the power of the exact test, counted out."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from claude_batch_dagster.quality.comparison import mcnemar
from claude_batch_dagster.quality.intervals import limits
from claude_batch_dagster.quality.resolution import Resolution, paired_resolution, resolution, rows_to_show

SEED = 20_263


def power(n: int, accuracy: float, other: float) -> float:
    """Return how often n rows of another accuracy have fewer or more right than 2.5 % of draws would, at each end."""
    right = np.arange(n + 1)
    odd = (stats.binom.cdf(right, n, accuracy) <= 0.025) | (stats.binom.sf(right - 1, n, accuracy) <= 0.025)
    return float(stats.binom.pmf(right, n, other)[odd].sum())


@pytest.mark.parametrize("n", [50, 150, 500])
@pytest.mark.parametrize("accuracy", [0.6, 0.8, 0.9])
def test_what_is_told_is_seen_four_times_in_five(n: int, accuracy: float) -> None:
    """At both ends, and no more often."""
    told = resolution(n, accuracy)

    assert told.below is not None
    assert told.above is not None
    assert [power(n, accuracy, end) for end in (told.below, told.above)] == pytest.approx([0.8, 0.8], abs=1e-6)
    assert told.below < accuracy < told.above


def test_the_sentence_of_a_hundred_and_fifty_rows() -> None:
    """As people would say it."""
    told = resolution(150, 0.80)

    assert told.cannot_tell(0.86) == "with 150 gold rows this cannot tell 80 % from 86 %"
    assert [told.cannot_tell(other) for other in (0.65, 0.89)] == [None, None]
    assert str(told) == "with 150 gold rows this cannot tell 80 % from anything between 69.9 % and 88.4 %"


def test_where_no_other_is_told() -> None:
    """Fifty rows that are all right may be of 99 %, or of 100 %; one row tells nothing."""
    assert resolution(50, 0.99).above is None
    assert str(resolution(50, 0.99)).endswith("99 % from anything between 91.7 % and 100 %")
    assert resolution(1, 0.5) == Resolution(n=1, accuracy=0.5, below=None, above=None)
    assert str(resolution(1, 0.5)) == "with 1 gold row this cannot tell 50 % from anything between 0 % and 100 %"


def test_more_rows_tell_more() -> None:
    """Four times as many tell about half the difference."""
    told = [((resolution(n, 0.8).above or 1.0) - 0.8) * n**0.5 for n in (50, 200, 800, 3_200)]

    assert told == pytest.approx([1.05] * 4, rel=0.12)


@pytest.mark.parametrize(("n", "disagreement"), [(50, 0.3), (150, 0.2), (500, 0.05)])
def test_a_paired_difference_that_is_told_is_seen_four_times_in_five(n: int, disagreement: float) -> None:
    """By drawn gold rows and McNemar's test."""
    difference = paired_resolution(n, disagreement)
    assert difference is not None
    rng = np.random.default_rng(SEED)
    won, lost = (disagreement + difference) / 2, (disagreement - difference) / 2
    draws = rng.multinomial(n, [won, lost, 1 - disagreement], size=2_000)
    p = cache(mcnemar)
    seen = np.mean([p(int(one), int(other)) <= 0.05 for one, other, _ in draws])

    assert seen == pytest.approx(0.8, abs=0.03), f"seed {SEED}"
    assert difference < disagreement


def test_too_few_disagreements_tell_nothing() -> None:
    """Five rows may all be one's by chance."""
    assert paired_resolution(50, 0.02) is None
    assert paired_resolution(50, 0.0) is None


@pytest.mark.parametrize(("bar", "accuracy"), [(0.8, 0.86), (0.9, 0.95), (0.5, 0.9), (0.95, 1.0)])
def test_so_many_rows_show_it_and_one_less_may_not(bar: float, accuracy: float) -> None:
    """Counted out: how often the lower bound is not below the bar."""

    def shown(n: int) -> float:
        right = np.arange(n + 1.0)
        fits = limits(right, np.full_like(right, n), 0.9)[0] >= bar
        return float(stats.binom.pmf(right, n, accuracy)[fits].sum())

    rows = rows_to_show(bar, accuracy)

    assert rows is not None
    assert shown(rows - 1) < 0.8
    assert min(shown(n) for n in range(rows, rows + 40)) >= 0.8


def test_what_is_not_above_the_bar_is_never_shown() -> None:
    """Nor does it take rows to be above nothing."""
    assert rows_to_show(0.8, 0.8) is None
    assert rows_to_show(0.8, 0.7) is None
    assert rows_to_show(0.0, 0.7) == 1


def test_many_rows_are_counted_by_the_normal_distribution() -> None:
    """Where the two meet they say the same, to a thirtieth."""
    exact, normal = rows_to_show(0.8, 0.8161), rows_to_show(0.8, 0.8139)

    assert exact is not None
    assert normal is not None
    assert exact * (0.0161 / 0.0139) ** 2 == pytest.approx(normal, rel=1 / 30)
