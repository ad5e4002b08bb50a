"""What the page about trials says of dollars is what the price list makes of it."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.reporting.trials import TrialLine

PAGE = (Path(__file__).parents[2] / "docs" / "trials.md").read_text(encoding="utf-8")
MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")
N_GOLD, N_ROWS = 300, 100_000


def usd(model: str, n: int) -> float:
    """Return what so many rows cost in batches, of 150 tokens and answers of 20."""
    price = cost(model, Usage(input_tokens=150, output_tokens=20))
    assert price is not None
    return n * price.batch_usd


def test_a_trial_is_told_against_the_table() -> None:
    """Three models on 300 gold rows beside 100,000 rows: below one percent of it, but for the cheapest of all."""
    if f"genai-prices {version('genai-prices')}" not in PAGE:
        pytest.skip("the page names another price list than the one that is installed")
    trial = {model: usd(model, N_GOLD) for model in MODELS}
    total = sum(trial.values())
    shares = {model: total / usd(model, N_ROWS) for model in MODELS}

    for model in MODELS:
        told = f"| `{model}` | ${trial[model]:.4f} | ${usd(model, N_ROWS):.2f} | {shares[model]:.1%} |".replace(
            "%", " %"
        )
        assert told in PAGE
    assert f"| all three | ${total:.4f} | | |" in PAGE
    assert [model for model in MODELS if shares[model] < 0.01] == ["claude-sonnet-5-5", "claude-opus-5-5"]


def test_beside_the_dearest_of_three_it_is_below_a_percent_whatever_they_cost() -> None:
    """300 rows of each of three, none dearer than that one, are at most nine in a thousand of its 100,000 rows."""
    dearest = max(usd(model, N_ROWS) for model in MODELS)

    assert sum(usd(model, N_GOLD) for model in MODELS) / dearest <= len(MODELS) * N_GOLD / N_ROWS < 0.01


def test_the_page_names_every_column() -> None:
    """Of the table of a trial."""
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(TrialLine.__dataclass_fields__) - named == set()
