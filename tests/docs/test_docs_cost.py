"""The price tables of the docs are what the command makes of the price list that they name."""

from importlib.metadata import version

import genai_prices
import pytest

from bench.cost import (
    GUIDED,
    N_DOCUMENTS,
    PAGE,
    PICTURE,
    READS,
    SHORT,
    bill_of,
    current_models,
    picture,
    usd,
    whole_page,
)

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture
def _same_versions() -> None:
    """Skip where the page was made with another price list, or for the models of another SDK."""
    for package in ("genai-prices", "anthropic"):
        if f"{package} {version(package)}" not in " ".join(TEXT.split()):
            pytest.skip(f"the page names another version of {package} than {version(package)}; `make prices` renews it")


@pytest.mark.usefixtures("_same_versions")
def test_the_page_and_its_picture_are_what_the_command_makes() -> None:
    """Nobody has written a figure by hand; what stands around them stays."""
    assert whole_page(TEXT) == TEXT
    assert picture() == PICTURE.read_text(encoding="utf-8")


def test_what_stands_around_the_tables_is_kept() -> None:
    """Other sections are written by people."""
    around = whole_page(f"# Before\n{TEXT}\n## After\n")

    assert around == f"# Before\n{whole_page(TEXT)}\n## After\n"


def test_the_dollars_are_those_of_the_price_list() -> None:
    """Ten thousand times what it says of one document, live and in a batch."""
    tokens = genai_prices.Usage(input_tokens=500, output_tokens=100)
    for model in current_models():
        bill = bill_of(model, SHORT)
        if bill is None:
            continue
        live, batch = (
            genai_prices.calc_price(tokens, model_ref=model, provider_id="anthropic", price_context=context)
            for context in ({}, {"processing": "batch"})
        )
        assert bill.live == pytest.approx(N_DOCUMENTS * float(live.total_price))
        assert bill.batch == pytest.approx(N_DOCUMENTS * float(batch.total_price))
        assert bill.batch == pytest.approx(bill.live / 2)
        assert bill.again == pytest.approx(bill.batch / 100)
        assert bill.cached is None


def test_a_guide_is_cached_where_it_is_long_enough() -> None:
    """By hand, for Sonnet 5.5: 10,000 documents and answers at full price, one guide written, the others read."""
    bill, older = bill_of("claude-sonnet-5-5", GUIDED), bill_of("claude-haiku-4-5", GUIDED)

    assert bill is not None
    assert older is not None
    rest = 10_000 * (150 * 1 + 100 * 5) / 1e6
    guides = (1_200 + 9_999 * (READS * 600 * 0.05 + (1 - READS) * 1_200)) / 1e6
    assert bill.cached == pytest.approx(rest + guides)
    assert bill.input_saved > 0.6
    assert older.cached is None


@pytest.mark.usefixtures("_same_versions")
def test_only_models_that_stay_are_shown() -> None:
    """None that is retired, or has a day on which it will be, and no snapshot of another."""
    models = list(current_models())

    assert "claude-haiku-5-5" in models
    assert {"claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5-20251001"}.isdisjoint(models)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(1_234.5, "$1,234.50"), (0.625, "$0.63"), (0.1, "$0.10"), (0.0996, "$0.100"), (0.0625, "$0.063"), (0, "$0.000")],
)
def test_dollars_are_written_with_cents(amount: float, text: str) -> None:
    """Halves are rounded up, as people do."""
    assert usd(amount) == text
