"""Shares and their intervals: by statsmodels, by hand, and by how often they cover the truth."""

import sys

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.accuracy import Accuracy, accuracy
from claude_batch_dagster.quality.intervals import Interval, limits, lower_bound, p_at_most, proportion, tally

SEED = 20_261
NEARLY = 1e-12


def flags(hits: int, n: int) -> list[bool]:
    """Return n gold rows, so many of which count."""
    return [True] * hits + [False] * (n - hits)


@pytest.mark.parametrize("n", [1, 7, 50, 150, 500])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_is_that_of_statsmodels(n: int, confidence: float) -> None:
    """Clopper and Pearson's, for every number of hits."""
    hits = np.arange(n + 1.0)
    low, high = limits(hits, np.full(n + 1, float(n)), confidence)
    theirs = proportion_confint(hits, n, alpha=1 - confidence, method="beta")

    assert low == pytest.approx(np.nan_to_num(theirs[0], nan=0.0))
    assert high == pytest.approx(np.nan_to_num(theirs[1], nan=1.0))


@pytest.mark.parametrize("n", [50, 150, 500])
def test_the_interval_covers_every_accuracy_as_often_as_it_says(n: int) -> None:
    """Not by draws: the chance of each number of hits is known, for each accuracy from .6 to .99."""
    hits = np.arange(n + 1.0)
    low, high = limits(hits, np.full(n + 1, float(n)))
    truths = np.linspace(0.6, 0.99, 391)[:, None]
    covered = (stats.binom.pmf(hits, n, truths) * ((low <= truths) & (truths <= high))).sum(axis=1)

    assert covered.min() >= 0.95


@pytest.mark.parametrize(("n", "n_rows"), [(50, 60), (50, 100), (150, 300), (500, 700)])
def test_the_interval_of_a_small_table_covers_its_accuracy(n: int, n_rows: int) -> None:
    """Of a table most of which is gold; drawn without putting back, so that the chances are hypergeometric."""
    hits = np.arange(n + 1)
    intervals = [proportion(flags(int(k), n), n_rows=n_rows) for k in hits]
    low, high = (np.array([getattr(each, end) for each in intervals]) for end in ("low", "high"))
    right = np.arange(int(0.6 * n_rows), n_rows + 1)[:, None]
    truths = right / n_rows
    inside = (low <= truths + NEARLY) & (truths - NEARLY <= high)
    covered = (stats.hypergeom.pmf(hits, n_rows, right, n) * inside).sum(axis=1)

    assert covered.min() >= 0.94


def test_a_table_that_is_all_gold_leaves_nothing_open() -> None:
    """Its accuracy is counted, not estimated."""
    assert proportion(flags(40, 50), n_rows=50) == Interval(0.8, 0.8, 0.8)


def test_how_many_rows_the_table_has_does_not_shorten_weighted_intervals() -> None:
    """Heavy rows are few of many, light ones may be all that there are: the number alone does not say."""
    assert proportion([True, False], [1, 2], n_rows=2) == proportion([True, False], [1, 2])


def test_without_gold_rows_nothing_is_known() -> None:
    """An accuracy of nothing is none."""
    assert proportion([]) is None
    assert accuracy([], []) is None


def test_equal_weights_are_none() -> None:
    """Whatever their unit."""
    weighted, plain = accuracy(flags(120, 150), [7.0] * 150), accuracy(flags(120, 150))

    assert weighted is not None
    assert plain is not None
    assert weighted.effective_n == pytest.approx(150)
    assert (weighted.share.low, weighted.share.high) == pytest.approx((plain.share.low, plain.share.high))
    assert plain == Accuracy(share=Interval(plain.share.low, 0.8, plain.share.high), n=150, effective_n=150)


def test_weights_by_hand() -> None:
    """The weight of the right ones, of that of all; a heavy row that differs leaves fewer effective ones."""
    light, heavy = tally([True, False, True, True], [1, 1, 2, 4]), tally([False] + [True] * 12, [4] + [1] * 12)
    variance = (4**2 * 0.75**2 + 12 * 0.25**2) / 16**2

    assert (light.share, light.n) == pytest.approx((7 / 8, 8**2 / 22))
    assert (heavy.share, heavy.n) == pytest.approx((12 / 16, 0.75 * 0.25 / variance))
    assert heavy.n < 16**2 / 28


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_what_are_no_weights(weights: list[float]) -> None:
    """A row that stands for nothing was not drawn."""
    with pytest.raises(ConfigurationError, match="must be 2 positive numbers"):
        accuracy([True, False], weights)


def weighted_coverage(n: int, wrong: tuple[float, float], times: int) -> float:
    """Return how often the interval covers, if half of the gold rows are of the tenth of rows that looks doubtful."""
    rng = np.random.default_rng(SEED)
    truth = 1 - 0.1 * wrong[0] - 0.9 * wrong[1]
    weights = np.repeat([0.2, 1.8], n // 2)
    covered = 0
    for _ in range(times):
        interval = proportion(rng.random(n) >= np.repeat(wrong, n // 2), weights)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    return covered / times


WRONG = [(0.6, 0.02), (0.5, 0.1), (0.1, 0.1), (0.1, 0.4), (0.05, 0.005)]
"""How often rows that look doubtful, and others, are wrong."""


@pytest.mark.parametrize("wrong", WRONG)
def test_weighted_intervals_cover(wrong: tuple[float, float]) -> None:
    """Rows drawn more often where they are doubtful."""
    assert weighted_coverage(150, wrong, times=200) >= 0.94, f"seed {SEED}"


@pytest.mark.verify
@pytest.mark.parametrize("n", [50, 150, 500])
@pytest.mark.parametrize("wrong", WRONG)
def test_weighted_intervals_cover_in_a_thousand_draws(n: int, wrong: tuple[float, float]) -> None:
    """As above."""
    assert weighted_coverage(n, wrong, times=1_000) >= 0.94, f"seed {SEED}"


def test_the_lower_bound_and_the_p_value_are_one() -> None:
    """A bound is above a bar where it is less probable than the risk that the share is only the bar."""
    for hits in range(51):
        exact = stats.binomtest(hits, 50, 0.8, alternative="greater").pvalue
        assert p_at_most(0.8, hits, 50) == pytest.approx(exact)
        assert (lower_bound(hits, 50, 0.05) >= 0.8) == (exact <= 0.05)


def test_without_scipy_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs no distribution works all the same."""
    monkeypatch.setitem(sys.modules, "scipy.stats", None)

    assert tally([True, False]).share == 0.5
    with pytest.raises(ConfigurationError, match=r"pip install 'claude-batch-dagster\[quality\]'"):
        accuracy([True, False])
