"""
How sure an answer is, where an object asks for that beside its label.

`confidence`, `runner_up` and `runner_up_confidence` are about the first choice among labels in their object.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from claude_batch_dagster.emulator.lexicon import Scorer
from claude_batch_dagster.emulator.reading import Reading

CONFIDENCE, RUNNER_UP, RUNNER_UP_CONFIDENCE = FIELDS = ("confidence", "runner_up", "runner_up_confidence")

# Nobody reads the third digit of a confidence.
_DIGITS = 2


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of a label, by the names of the fields that say it."""

    confidence: float
    runner_up: str
    """The next best label."""
    runner_up_confidence: float
    """Together with the other no more than 1, also as they are rounded."""
    is_close: bool
    """Whether any word speaks for the next best label."""


def judged(scorer: Scorer, field: str, nullable: Mapping[str, bool]) -> dict[str, Callable[[Reading], Any]]:
    """
    Return what answers fields beside a label.

    Args:
        scorer: Of at least two labels.
        field: The field of the label, by which it may have been written down; empty if it cannot have been.
        nullable: Which of `FIELDS` are asked for, and whether they may be null.

    """
    # One text is judged for all of its fields.
    judge = lru_cache(maxsize=1)(partial(_judge, scorer, field))
    return {name: partial(_say, judge, name, may_be_null=nullable[name]) for name in nullable}


def _say(judge: Callable[[Reading], Judgement], name: str, reading: Reading, *, may_be_null: bool) -> Any:
    judgement = judge(reading)
    # A next best label that nothing speaks for is none.
    missing = may_be_null and name != CONFIDENCE and not judgement.is_close
    return None if missing else getattr(judgement, name)


def _judge(scorer: Scorer, field: str, reading: Reading) -> Judgement:
    ranked = scorer.ranked(reading.words)
    confidence, (runner_up, score, share) = round(ranked[0].share, _DIGITS), ranked[1]
    written = reading.written.get(field)
    others = [one for one in ranked if not isinstance(written, str) or one.label.lower() != written.lower()]
    if 0 < len(others) < len(ranked):
        # A label that was written down is sure: nobody has weighed words for it.
        confidence, (runner_up, score, share) = 1.0, others[0]
    return Judgement(
        confidence=confidence,
        runner_up=runner_up.swapcase() if reading.flip_case else runner_up,
        runner_up_confidence=min(round(share, _DIGITS), round(1 - confidence, _DIGITS)) if score else 0.0,
        is_close=score > 0,
    )
