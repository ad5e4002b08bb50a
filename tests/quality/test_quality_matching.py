"""When an answer is the gold value: by what people would say."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.matching import Kind, Rule, matches, plain_text

LABEL, TEXT, NUMBER, DATE = (Rule(kind=kind) for kind in Kind)
LABELS, TEXTS, NUMBERS, DATES = (Rule(kind=kind, is_list=True) for kind in Kind)
CENTS = Rule(kind=Kind.NUMBER, tolerance=0.01)
A_DAY = Rule(kind=Kind.DATE, tolerance=timedelta(days=1))
MAY = date(2024, 5, 1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "answer", "gold"),
    [
        (LABEL, "refund", "refund"),
        (LABEL, True, True),
        (LABEL, np.True_, True),
        (LABEL, 1, 1.0),
        (LABEL, None, None),
        (TEXT, "  The\tÉcole, “Normale”. ", "the ÉCOLE, “normale"),
        (TEXT, "ﬁne", "Fine!"),
        (TEXT, "(Straße)", "STRASSE"),
        (TEXT, "\uff23\uff03", "c#"),
        (TEXT, "5 \u3392", "5 MHz"),
        (TEXT, "?", "?"),
        (NUMBER, 3, 3.0),
        (NUMBER, Decimal("0.30"), 0.3),
        (NUMBER, np.float64(0.1), 0.1),
        (NUMBER, float("inf"), float("inf")),
        (NUMBER, float("nan"), None),
        (DATE, pd.NaT, None),
        (CENTS, 1.00, 1.01),
        (CENTS, Decimal("99.99"), 100),
        (DATE, MAY, datetime(2024, 5, 1)),  # noqa: DTZ001  # as databases give them
        (DATE, NOON, datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))),
        (A_DAY, MAY, date(2024, 5, 2)),
        (LABELS, ["a", "b", "a"], ("b", "a")),
        (LABELS, [], []),
        (TEXTS, ["A.", None], [float("nan"), "a"]),
        (NUMBERS, [1, 2], [2.0, Decimal(1)]),
        (DATES, [MAY], [datetime(2024, 5, 1)]),  # noqa: DTZ001  # as above
    ],
)
def test_it_is(rule: Rule, answer: Any, gold: Any) -> None:
    """Both ways round."""
    assert rule.matches(answer, gold)
    assert rule.matches(gold, answer)


@pytest.mark.parametrize(
    ("rule", "answer", "gold"),
    [
        (LABEL, "Refund", "refund"),
        (LABEL, True, 1),
        (LABEL, None, "refund"),
        (LABEL, "", None),
        (TEXT, "C", "C#"),
        (TEXT, "50 %", "50"),
        (TEXT, "well-known", "well known"),
        (TEXT, "?", "!"),
        (TEXT, "-5", "5"),
        (NUMBER, 3, 4),
        (NUMBER, 0, None),
        (CENTS, 1.00, 1.02),
        (CENTS, float("inf"), 1),
        (CENTS, float("inf"), float("-inf")),
        (DATE, MAY, date(2024, 5, 2)),
        (DATE, MAY, NOON),
        (A_DAY, MAY, date(2024, 5, 3)),
        (LABELS, ["a"], ["a", "b"]),
        (LABELS, [True], [1]),
        (LABELS, ["a"], None),
        (LABELS, [], None),
    ],
)
def test_it_is_not(rule: Rule, answer: Any, gold: Any) -> None:
    """Both ways round."""
    assert not rule.matches(answer, gold)
    assert not rule.matches(gold, answer)


def test_a_users_function_stands_in_for_all_rules() -> None:
    """It is asked of values that are there."""
    same_start = Rule(same=lambda answer, gold: answer[0] == gold[0])

    assert matches(["ab", "b", None, None], ["ac", "c", None, "d"], same_start).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("rule", "gold", "what"),
    [
        (NUMBER, "secret", "numbers"),
        (NUMBER, True, "numbers"),
        (TEXT, 3, "text"),
        (DATE, "2024-05-01", "dates"),
        (LABELS, "secret", "lists"),
    ],
)
def test_gold_of_another_type_is_said_without_its_value(rule: Rule, gold: Any, what: str) -> None:
    """It would never match, and a table of wrong answers would be blamed on the model."""
    answers: dict[Rule, Any] = {NUMBER: 3, TEXT: "a", DATE: MAY, LABELS: ["a"]}

    with pytest.raises(ConfigurationError, match=f"compared as {what}, and one is of the type") as caught:
        rule.matches(answers[rule], gold)
    assert "secret" not in str(caught.value)


def test_as_many_answers_as_gold_values() -> None:
    """A row more on either side is a mistake in how they were joined."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        matches(["a", "b"], ["a"], LABEL)


def test_plain_text_is_plain_already() -> None:
    """What was made plain is not changed again."""
    for text in ("  Hello, World!  ", "…ﬁ", "«a»", "?!"):
        assert plain_text(plain_text(text)) == plain_text(text)
