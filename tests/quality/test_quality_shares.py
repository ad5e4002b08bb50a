"""Corrected shares: by a regression of statsmodels, and by how often their bands cover the truth."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.intervals import Interval
from claude_batch_dagster.quality.shares import Share, shares
from tests.quality.tables import Case, Counts, cases, odd_cases

SEED = 20_266
NEARLY = 1e-12
MIDDLE = [
    Case(n_labels=5, accuracy=accuracy, n=150, is_skewed=is_skewed, is_confused=is_confused)
    for accuracy in (0.8, 0.9)
    for is_skewed in (False, True)
    for is_confused in (False, True)
]


def columns(counts: Counts) -> tuple[list[int], list[int]]:
    """Return answers and truths of gold rows that are given as counts."""
    true, predicted = np.nonzero(counts)
    often = counts[true, predicted]
    return np.repeat(predicted, often).tolist(), np.repeat(true, often).tolist()


def answers_of(case: Case) -> dict[int, int]:
    """Return how many rows of the whole table have each answer."""
    return dict(enumerate(case.table.sum(axis=0).tolist()))


def test_what_the_arithmetic_says_of_arrays_the_function_says_of_labels() -> None:
    """The simulations below draw a thousand tables at once, by the same arithmetic."""
    case = Case(n_labels=5, accuracy=0.8, n=150, n_rows=300, is_skewed=True)
    draws = case.draws(20, SEED)
    best, corrected = case.evidence(draws).best()

    for at, draw in enumerate(draws):
        found = {each.label: each for each in shares(answers_of(case), *columns(draw))}
        ours = [found[label] for label in range(5)]
        assert [each.is_corrected for each in ours] == corrected[at].tolist()
        for end in ("low", "estimate", "high"):
            assert [getattr(each.share, end) for each in ours] == pytest.approx(getattr(best, end)[at])


def test_the_estimate_is_that_of_a_regression_on_the_answers() -> None:
    """What PPI++ with the best lambda is: the regression's line, read where the whole table is."""
    case = Case(n_labels=5, accuracy=0.8, n=150)
    predicted, true = columns(case.draws(1, SEED)[0])

    for each in shares(answers_of(case), predicted, true):
        said, really = (np.array([label == each.label for label in column], float) for column in (predicted, true))
        line = sm.OLS(really, sm.add_constant(said)).fit()
        assert each.is_corrected
        assert each.share.estimate == pytest.approx(line.predict([[1.0, each.naive]])[0])
        assert each.naive == pytest.approx(0.2)
        assert each.gold.estimate == pytest.approx(really.mean())


def test_a_table_that_is_all_gold_is_counted() -> None:
    """Nothing is left to estimate."""
    found = shares({"a": 6, "b": 14}, ["a"] * 6 + ["b"] * 14, ["a"] * 5 + ["b"] * 8 + ["a"] * 7)

    assert [each.label for each in found] == ["b", "a"]
    assert [each.share.low for each in found] == pytest.approx([8 / 20 + 1 / 20 - 1 / 20, 12 / 20])
    assert [each.share.width for each in found] == pytest.approx([0.0, 0.0])


def test_how_many_rows_the_table_has_does_not_shorten_weighted_bands() -> None:
    """How many rows of each weight there are is not known."""
    gold = ["a"] * 10 + ["b"] * 10
    equal, plain = (shares({"a": 12, "b": 12}, gold, gold, weights) for weights in ([1.0] * 20, None))

    assert all(one.gold.width > other.gold.width for one, other in zip(equal, plain, strict=True))


def test_a_label_that_no_gold_row_has_may_be_of_some_rows_all_the_same() -> None:
    """Its band is that of no hits in so many gold rows; one that is true and was never answered is a label, too."""
    found = {
        each.label: each for each in shares({"a": 9_000, "b": 900, None: 100}, ["a"] * 100, ["a"] * 97 + ["new"] * 3)
    }

    assert list(found) == ["a", "b", None, "new"]
    assert found["b"].share == found["b"].gold
    assert (found["b"].share.low, found["b"].share.high) == pytest.approx((0.0, 0.0360), abs=1e-4)
    assert [found[label].naive for label in ("b", None, "new")] == [0.09, 0.01, 0.0]
    assert [each.is_corrected for each in found.values()] == [False] * 4
    assert found["new"].share.low > 0


@pytest.mark.parametrize(("n_true", "is_corrected"), [(4, False), (5, True)])
def test_a_label_of_four_gold_rows_is_not_corrected(n_true: int, *, is_corrected: bool) -> None:
    """Nor one that is missing from so few: bands would be narrowest where chance showed too few."""
    gold = ["b"] * n_true + ["a"] * (200 - n_true)
    found = shares({"a": 19_500, "b": 500}, gold, gold)

    assert [each.is_corrected for each in found] == [is_corrected] * 2


def test_answers_that_no_gold_row_has_are_not_corrected() -> None:
    """Whether they are right is not known at all."""
    found = {each.label: each for each in shares({"a": 9_900, "b": 100}, ["a"] * 50, ["a"] * 40 + ["b"] * 10)}

    assert not found["b"].is_corrected
    assert found["b"].share.estimate == 0.2


def test_the_worth_is_how_many_times_as_many_gold_rows() -> None:
    """By the width of bands, which falls with the root of the number of rows."""
    half = Share(
        label="a",
        share=Interval(0.2, 0.25, 0.3),
        is_corrected=True,
        naive=0.3,
        n_answers=1,
        n_gold=1,
        gold=Interval(0.1, 0.2, 0.3),
    )

    assert half.worth == pytest.approx(4.0)
    assert replace(half, share=half.gold).worth == 1.0
    assert replace(half, share=Interval(0.2, 0.2, 0.2), gold=Interval(0.2, 0.2, 0.2)).worth == 1.0


def test_gold_rows_of_another_table_are_refused() -> None:
    """Without naming a label, which may be of a document."""
    for counts in ({"a": 1, "b": 10}, {"b": 10}, {}):
        with pytest.raises(ConfigurationError, match="not of this table"):
            shares(counts, ["a", "a"], ["a", "b"])
    with pytest.raises(ConfigurationError, match="not of this table"):
        shares({}, [], [])
    with pytest.raises(ConfigurationError, match="1 answers for 2 gold rows"):
        shares({"a": 2}, ["a"], ["a", "b"])


def coverage(case: Case, times: int, seed: int) -> float:
    """Return how often the band of the least lucky label covers its share; none may be wider than gold's by 5 %."""
    evidence = case.evidence(case.draws(times, seed))
    best, _ = evidence.best()
    covered = (best.low <= case.truth + NEARLY) & (case.truth - NEARLY <= best.high)
    assert (best.width <= 1.05 * evidence.whole.bands().width).all()
    return float(covered.mean(axis=0).min())


def worth(case: Case, times: int) -> tuple[float, float]:
    """Return how many times as many gold rows the correction is worth: by the estimates' errors, by the bands."""
    evidence = case.evidence(case.draws(times, SEED))
    (best, _), gold = evidence.best(), evidence.whole.bands()
    errors = [((bands.estimate - case.truth) ** 2).mean() for bands in (gold, best)]
    widths = [(bands.width**2).mean() for bands in (gold, best)]
    return float(errors[0] / errors[1]), float(widths[0] / widths[1])


@pytest.mark.parametrize("n_labels", [2, 5, 12])
def test_bands_cover_the_share_of_every_label(n_labels: int) -> None:
    """Reduced: of each kind of table with 150 gold rows."""
    reduced = [case for case in cases() if case.n_labels == n_labels and case.n == 150]

    assert min(coverage(case, 400, SEED) for case in reduced) >= 0.92, f"seed {SEED}"  # 400 draws of 95 %: 3 deviations


@pytest.mark.verify
def test_bands_cover_the_share_of_every_label_in_thousands_of_draws() -> None:
    """Of each kind of table: of the one label, of more than a thousand, that is covered most seldom."""
    assert min(coverage(case, 2_000, SEED + at) for at, case in enumerate(cases())) >= 0.94, f"seed {SEED}"


@pytest.mark.verify
def test_bands_cover_the_share_of_every_label_of_odd_tables() -> None:
    """With labels of one row in a thousand, and others that are mostly taken for one another."""
    found = [coverage(case, 2_000, case.seed) for case in odd_cases(60, SEED)]

    assert min(found) >= 0.94, f"seed {SEED}"


@pytest.mark.parametrize("case", MIDDLE)
def test_the_correction_is_worth_half_as_many_gold_rows_again(case: Case) -> None:
    """In the middle: five labels, four of five answers right or nine of ten, 150 gold rows."""
    assert min(worth(case, 1_000)) >= 1.5, f"seed {SEED}"


def stratified(n_labels: int, times: int) -> float:
    """Return how often bands cover if as many gold rows were drawn of each answer, rare or not, and have weights."""
    case = Case(n_labels=n_labels, accuracy=0.8, n=150, is_skewed=True)
    rng = np.random.default_rng([SEED, n_labels])
    each, answered = case.n // n_labels, case.table.sum(axis=0)
    weights = np.repeat(answered / each, each)
    predicted = np.repeat(np.arange(n_labels), each).tolist()
    covered = []
    for _ in range(times):
        drawn = [rng.choice(n_labels, each, p=case.table[:, said] / answered[said]) for said in range(n_labels)]
        found = {
            each.label: each.share
            for each in shares(answers_of(case), predicted, np.concatenate(drawn).tolist(), weights)
        }
        covered.append([found[label].low <= case.truth[label] <= found[label].high for label in range(n_labels)])
    return float(np.mean(covered, axis=0).min())


def test_bands_of_gold_rows_with_weights_cover() -> None:
    """Reduced."""
    assert stratified(5, times=150) >= 0.92, f"seed {SEED}"


@pytest.mark.verify
@pytest.mark.parametrize("n_labels", [2, 5, 12])
def test_bands_of_gold_rows_with_weights_cover_in_a_thousand_draws(n_labels: int) -> None:
    """Of every label, those that are rare in the table among them."""
    assert stratified(n_labels, times=1_000) >= 0.94, f"seed {SEED}"
