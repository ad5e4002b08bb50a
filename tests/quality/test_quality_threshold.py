"""The threshold of a cascade: the promise, and how often it is broken."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.threshold import Threshold, choose_threshold, most_wrong, pairs_needed
from tests.quality.tables import at_most

SEED = 20_265


def test_the_lowest_threshold_with_as_few_wrong_as_are_allowed() -> None:
    """Of a hundred pairs one may be wrong: so all above the second one that is, from the top."""
    confidences = np.arange(100) / 100
    agrees = np.ones(100, dtype=bool)
    agrees[[10, 40, 70]] = False

    assert most_wrong(100) == 1
    assert choose_threshold(confidences, agrees) == Threshold(value=0.41, kept=0.59, agreement=0.99)


def test_rows_of_one_confidence_are_kept_or_go_together() -> None:
    """A threshold cannot part them."""
    confidences = [0.9] * 50 + [0.8] * 50 + [0.7] * 50
    agrees = [True] * 50 + [False, True] * 25 + [True] * 50

    assert choose_threshold(confidences, agrees) == Threshold(value=0.9, kept=50 / 150, agreement=1.0)


def test_who_does_not_say_how_sure_it_is_goes_up() -> None:
    """Whether it is right or not: rows without a confidence are never kept."""
    confidences = [float("nan")] * 50 + [0.5] * 150
    agrees = [False] * 50 + [True] * 150

    assert choose_threshold(confidences, agrees) == Threshold(value=0.5, kept=0.75, agreement=1.0)


@pytest.mark.parametrize("n", [0, 1, 58])
def test_few_pairs_promise_nothing(n: int) -> None:
    """Though all agree."""
    assert pairs_needed() == 59
    assert choose_threshold([0.9] * n, [True] * n) is None
    assert choose_threshold([0.9] * 59, [True] * 59) == Threshold(value=0.9, kept=1.0, agreement=1.0)


def test_where_the_surest_are_wrong_nothing_is_promised() -> None:
    """All rows go up."""
    assert choose_threshold(np.arange(100) // 10 / 10, np.arange(100) < 90) is None
    assert choose_threshold([float("nan")] * 100, [True] * 100) is None


@pytest.mark.parametrize("n", [59, 150, 500])
@pytest.mark.parametrize("n_rows", [None, 600, 20_000])
def test_so_few_wrong_are_improbable_if_the_promise_were_broken(n: int, n_rows: int | None) -> None:
    """By the distribution of draws from the table, or from one without end."""
    allowed = most_wrong(n, n_rows=n_rows)
    seen = stats.hypergeom(n_rows, n_rows // 20 + 1, n) if n_rows else stats.binom(n, 0.05)

    assert seen.cdf(allowed) <= 0.05 < seen.cdf(allowed + 1)


def test_a_table_that_is_all_pairs_is_counted() -> None:
    """Fifty of a thousand may be wrong, or a hundred, and nothing is left to chance."""
    assert most_wrong(1_000, n_rows=1_000) == 50
    assert most_wrong(1_000, n_rows=1_000, agreement=0.9) == 100


def test_what_does_not_fit_together_is_said() -> None:
    """A confidence for each answer, and no more pairs than rows."""
    with pytest.raises(ConfigurationError, match="1 confidences for 2 answers"):
        choose_threshold([0.5], [True, True])
    with pytest.raises(ConfigurationError, match="100 pairs cannot be of a table of 99 rows"):
        choose_threshold([0.5] * 100, [True] * 100, n_rows=99)


KINDS = ("calibrated", "too sure", "coarse", "useless", "upside down")


def table(
    kind: str, n_labels: int, n_rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return confidences, and whether each row's two answers agree."""
    chance = 1 - (1 - 1 / n_labels) * rng.beta(0.6, 2.5, n_rows)  # of an answer to be right; guessed at worst
    strong = rng.integers(n_labels, size=n_rows)
    wrong = (strong + rng.integers(1, n_labels, size=n_rows)) % n_labels
    agrees = np.where(rng.random(n_rows) < chance, strong, wrong) == strong
    match kind:
        case "too sure":
            confidence = 1 - (1 - chance) ** 3
        case "coarse":
            confidence = np.floor(chance * 10) / 10
        case "useless":
            confidence = rng.random(n_rows)
        case "upside down":
            confidence = 1 - chance
        case _:
            confidence = chance
    return confidence, agrees


def broken(kind: str, n_labels: int, times: int, *, n: int = 300, n_rows: int = 5_000, knows_rows: bool = True) -> int:
    """Return of how many tables the promise is broken."""
    rng = np.random.default_rng([SEED, n_labels, KINDS.index(kind)])
    failures = 0
    for _ in range(times):
        confidence, agrees = table(kind, n_labels, n_rows, rng)
        pairs = rng.choice(n_rows, n, replace=False)
        chosen = choose_threshold(confidence[pairs], agrees[pairs], n_rows=n_rows if knows_rows else None)
        lost = 0 if chosen is None else int((~agrees & (confidence >= chosen.value)).sum())
        failures += lost > math.floor(0.05 * n_rows)
    return failures


@pytest.mark.parametrize("kind", KINDS)
def test_the_promise_is_seldom_broken(kind: str) -> None:
    """Reduced."""
    assert broken(kind, 5, times=100) <= at_most(100), f"seed {SEED}"


@pytest.mark.verify
@pytest.mark.parametrize(("n_labels", "knows_rows"), [(2, True), (5, True), (12, True), (5, False)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_promise_is_broken_for_at_most_fifty_of_a_thousand_tables(
    kind: str, n_labels: int, *, knows_rows: bool
) -> None:
    """Whatever the confidence is worth."""
    assert broken(kind, n_labels, times=1_000, knows_rows=knows_rows) <= 50, f"seed {SEED}"
