"""Labels: by scikit-learn and statsmodels, and by how often intervals cover the truth."""

import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.inter_rater import cohens_kappa

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.intervals import Interval
from claude_batch_dagster.quality.labels import LabelQuality, by_label, confusion, kappa, worst_recall
from tests.quality.tables import Case, Counts

SEED = 20_262
THREE = ["billing", "refund", "other"]


def drawn(n: int = 120) -> tuple[list[str], list[str], list[float]]:
    """Return answers, truths and weights of gold rows."""
    rng = np.random.default_rng(SEED)
    true = rng.choice(THREE, n, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.random(n) < 0.75, true, rng.choice([*THREE, "none"], n))
    return predicted.tolist(), true.tolist(), rng.uniform(0.5, 3, n).tolist()


@pytest.mark.parametrize("weighted", [False, True])
def test_estimates_are_those_of_scikit_learn(*, weighted: bool) -> None:
    """Precision, recall, F1, confusion and kappa."""
    predicted, true, weights = drawn()
    used = weights if weighted else None
    matrix, qualities = confusion(predicted, true, used), by_label(predicted, true, used)
    labels = list(matrix.labels)
    theirs = metrics.precision_recall_fscore_support(
        true, predicted, labels=labels, sample_weight=used, zero_division=0.0
    )
    beyond = kappa(predicted, true, used)

    assert labels == [*THREE, "none"]
    assert matrix.counts == pytest.approx(metrics.confusion_matrix(true, predicted, labels=labels, sample_weight=used))
    for index, figure in enumerate(("precision", "recall", "f1")):
        ours = [interval.estimate if (interval := getattr(each, figure)) else 0.0 for each in qualities]
        assert ours == pytest.approx(theirs[index])
    assert beyond is not None
    assert beyond.estimate == pytest.approx(metrics.cohen_kappa_score(true, predicted, sample_weight=used))
    if not weighted:
        assert beyond.estimate == pytest.approx(cohens_kappa(matrix.counts).kappa)
        assert [each.n_true for each in qualities] == theirs[3].tolist()


def test_of_a_label_that_no_gold_row_has_recall_is_not_known() -> None:
    """Nor its precision if it was never answered; no answer is a label as any other."""
    answered, never = by_label([None, "a"], ["a", "a"])[1], by_label(["a", "a"], ["b", "a"])[1]

    nothing_right = Interval(0.0, 0.0, 0.975)
    assert answered == LabelQuality(
        label=None, n_true=0, n_predicted=1, precision=nothing_right, recall=None, f1=answered.f1
    )
    assert (never.label, never.n_predicted, never.precision) == ("b", 0, None)


def test_answers_and_gold_rows_are_as_many() -> None:
    """A row more on either side is a mistake in how they were joined."""
    with pytest.raises(ConfigurationError, match="2 answers for 1 gold rows"):
        confusion(["a", "b"], ["a"])


def test_kappa_is_not_known_where_there_is_one_label_only() -> None:
    """Chance alone would be right always."""
    assert kappa(["a", "a"], ["a", "a"]) is None
    assert kappa([], []) is None


def test_the_worst_recall_is_of_the_label_that_is_missed_most() -> None:
    """Of two that are missed as often, the rarer one."""
    predicted = ["a"] * 9 + ["b"] + ["b"] * 2 + ["a"] * 2 + ["c"] + ["a"]
    true = ["a"] * 10 + ["b"] * 4 + ["c"] * 2
    worst = worst_recall(predicted, true)

    assert worst is not None
    assert (worst.label, worst.recall.estimate) == ("c", 0.5)
    assert worst.all_at_least < worst.recall.low
    assert worst_recall([], []) is None


def columns(counts: Counts) -> tuple[list[int], list[int]]:
    """Return answers and truths of a table of counts."""
    true, predicted = np.nonzero(counts)
    often = counts[true, predicted]
    return np.repeat(predicted, often).tolist(), np.repeat(true, often).tolist()


def how_often_covered(case: Case, times: int) -> tuple[float, float, float]:
    """Return how often the intervals of kappa and F1, and what all recalls are at least, hold."""
    table = case.table
    answers, truths = columns(table)
    truth = kappa(answers, truths)
    f1 = {each.label: each.f1.estimate for each in by_label(answers, truths) if each.f1}
    recall = (np.diag(table) / table.sum(axis=1)).min()
    of_kappa: list[bool] = []
    of_f1: list[bool] = []
    of_recall: list[bool] = []
    assert truth is not None
    for draw in case.draws(times, SEED):
        predicted, true = columns(draw)
        beyond, worst = kappa(predicted, true), worst_recall(predicted, true)
        of_kappa.append(beyond is None or beyond.low <= truth.estimate <= beyond.high)
        of_f1.extend(
            each.f1 is None or each.f1.low <= f1[each.label] <= each.f1.high for each in by_label(predicted, true)
        )
        of_recall.append(worst is not None and worst.all_at_least <= recall)
    return tuple(float(np.mean(each)) for each in (of_kappa, of_f1, of_recall))  # type: ignore[return-value]  # three


@pytest.mark.parametrize("accuracy", [0.6, 0.99])
def test_intervals_of_labels_cover(accuracy: float) -> None:
    """Kappa, F1, and the recall of all labels at once."""
    case = Case(n_labels=5, accuracy=accuracy, n=50, is_skewed=True)

    assert min(how_often_covered(case, times=100)) >= 0.94, f"seed {SEED}"


@pytest.mark.verify
@pytest.mark.parametrize(("n_labels", "accuracy", "n"), [(2, 0.99, 50), (5, 0.8, 50), (12, 0.6, 150)])
def test_intervals_of_labels_cover_in_a_thousand_draws(n_labels: int, accuracy: float, n: int) -> None:
    """As above."""
    case = Case(n_labels=n_labels, accuracy=accuracy, n=n, is_skewed=True)

    assert min(how_often_covered(case, times=1_000)) >= 0.94, f"seed {SEED}"
