"""What a cascade saves and what a review queue finds: on paragraphs of the example, the whole way."""

from pathlib import Path

import pytest

from bench.worth import measure, sample

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")


@pytest.mark.verify
def test_of_two_thousand_paragraphs(tmp_path: Path) -> None:
    """
    The promise is kept for more than half of the money, and the queue has 2.5 times what a random sample has.

    By 400 of so few rows the threshold is chosen, which go up in any case.
    """
    worth = measure(tmp_path, sample(2_000))

    assert worth.n_rows == 2_000
    assert worth.agreement >= 0.95 > worth.cheap_agreement
    assert worth.saved >= 0.55
    assert worth.found >= 2.5


@pytest.mark.soak
@pytest.mark.timeout(3_000)
def test_of_the_whole_corpus(tmp_path: Path) -> None:
    """95 of 100 answers of the strong model for a quarter of what it costs, and less. Takes minutes."""
    worth = measure(tmp_path, sample())

    assert worth.agreement >= 0.95 > worth.cheap_agreement
    assert worth.saved >= 0.75
    assert worth.found >= 2.5
    assert worth.gold_wrong_unsure > 1.25 * worth.gold_wrong_all
