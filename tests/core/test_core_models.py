"""What is doubtful about the name of a model is said before a row is asked."""

from datetime import date

import pytest

from claude_batch_dagster.client import MODELS
from claude_batch_dagster.core.models import Models

KNOWN = Models(
    names=["claude-haiku-5-5", "claude-sonnet-5-5", "claude-old-1"],
    ends={"claude-old-1": "November 30th, 2026", "claude-odd": "some day"},
)
TODAY = date(2026, 11, 26)


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-haiku-5-5-20261001"])
def test_a_model_that_is_known_is_in_no_doubt(model: str) -> None:
    """By its name, or as a snapshot of one that is."""
    assert KNOWN.doubt_about(model, TODAY) is None


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("claude-haiku-5.5", "nobody here knows the model 'claude-haiku-5.5'. Do you mean 'claude-haiku-5-5'? "),
        ("my-gateway/some-model", "nobody here knows the model 'my-gateway/some-model'. If the API"),
        (
            "claude-haiku-5-5-2026",
            "nobody here knows the model 'claude-haiku-5-5-2026'. Do you mean 'claude-haiku-5-5'? ",
        ),
        ("claude-odd", "nobody here knows the model 'claude-odd'"),
    ],
)
def test_a_model_that_nobody_knows_is_doubted(model: str, told: str) -> None:
    """With the one that may be meant; a gateway may have others, so it is no error."""
    assert (KNOWN.doubt_about(model, TODAY) or "").startswith(told)


@pytest.mark.parametrize(
    ("today", "told"),
    [
        (date(2026, 9, 30), None),
        (date(2026, 10, 1), "the model 'claude-old-1' is retired on 30 November 2026"),
        (date(2026, 11, 29), "the model 'claude-old-1' is retired on 30 November 2026"),
        (date(2026, 11, 30), "the model 'claude-old-1' was retired on 30 November 2026"),
        (date(2027, 11, 30), "the model 'claude-old-1' was retired on 30 November 2026"),
    ],
)
def test_the_end_of_a_model_is_told_sixty_days_before(today: date, told: str | None) -> None:
    """Until its last day and after it; not before."""
    doubt = KNOWN.doubt_about("claude-old-1", today)

    assert doubt is None if told is None else (doubt or "").startswith(told)


def test_the_models_of_the_sdk_are_known() -> None:
    """The default is among them, and whatever ends is told some day."""
    assert MODELS.doubt_about("claude-haiku-5-5", TODAY) is None
    assert [model for model in MODELS.ends if MODELS.doubt_about(model, date(2099, 1, 1)) is None] == []
