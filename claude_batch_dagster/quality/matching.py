"""
When an answer is the gold value.

Each kind of field has its rule: labels and booleans exactly, text as people read it, numbers and dates within a
tolerance, lists as sets. A user's own function stands in for any of them.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.errors import ConfigurationError

SENTENCE_MARKS = ".,;:!?…·¡¿。、"
OUTER = frozenset({"Ps", "Pe", "Pi", "Pf"})
"""Unicode's categories of brackets and quotes. Not of all punctuation: C# is not C, nor is 5 % five."""


class Kind(StrEnum):
    """How a field's answers are compared with gold values."""

    LABEL = "label"
    """Equal and of one type: labels, booleans, whatever has no rule of its own."""

    TEXT = "text"
    """Equal but for case, spaces, the way characters are encoded, and quotes, brackets and full stops around."""

    NUMBER = "number"
    """No further from one another than the tolerance, a number; computed in decimals, so that 0.3 is 0.1 from 0.2."""

    DATE = "date"
    """No further from one another than the tolerance, a timedelta. A date is its midnight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one field is compared: `rule.matches(answer, gold)`."""

    kind: Kind = Kind.LABEL
    """Of the field; of what is in the list, where it is one."""
    is_list: bool = False
    """Lists are compared as sets: neither order counts, nor how often a thing stands there, nor a tolerance."""
    tolerance: float | Decimal | timedelta = 0
    """Of numbers in their unit, of dates a timedelta; nothing by default."""
    same: Callable[[Any, Any], bool] | None = None
    """Says whether an answer is as good as a gold value, both not None: in place of all rules above."""

    def matches(self, answer: object, gold: object) -> bool:
        """Whether an answer is the gold value. None, NaN and NaT are nothing, which only nothing is equal to."""
        if _is_missing(answer) or _is_missing(gold):
            return _is_missing(answer) and _is_missing(gold)
        if self.same is not None:
            return self._said_to_be_same(answer, gold)
        if self.is_list:
            return self._set_of(answer) == self._set_of(gold)
        match self.kind:
            case Kind.NUMBER:
                return _near(_number(answer), _number(gold), Decimal(str(self.tolerance)))
            case Kind.DATE:
                within = self.tolerance if isinstance(self.tolerance, timedelta) else timedelta(0)
                return abs(_moment(answer) - _moment(gold)) <= within
            case _:
                return self._plain(answer) == self._plain(gold)

    def _said_to_be_same(self, answer: object, gold: object) -> bool:
        """Ask the user's function; what it raises may quote a document, so only its kind is told."""
        assert self.same is not None  # noqa: S101  (whoever asks has looked)
        try:
            return bool(self.same(answer, gold))
        except Exception as error:  # noqa: BLE001  (nobody knows what it raises)
            kind = type(error).__name__
        raise ConfigurationError(
            f"the function that says whether an answer is right (same) has raised {kind}. Let it return True or False "
            "for whatever it is given."
        )

    def _set_of(self, values: object) -> frozenset[object]:
        if not isinstance(values, Collection) or isinstance(values, str | bytes):
            raise _unlike("lists", values)
        return frozenset(None if _is_missing(value) else self._plain(value) for value in values)

    def _plain(self, value: object) -> object:
        """Return what is equal to its like for equal values, and only for these."""
        match self.kind:
            case Kind.TEXT:
                return plain_text(value)
            case Kind.NUMBER:
                return _number(value)
            case Kind.DATE:
                return _moment(value)
        return isinstance(value, bool | np.bool_), value  # for True == 1


def matches(answers: Iterable[object], gold: Iterable[object], rule: Rule) -> npt.NDArray[np.bool_]:
    """Say of each row whether its answer is the gold value; there must be as many of the one as of the other."""
    return np.array([rule.matches(answer, value) for answer, value in zip(answers, gold, strict=True)], dtype=bool)


def plain_text(value: object) -> str:
    """Return a text without what people do not mind: case, spaces, encoding, quotes and full stops around."""
    if not isinstance(value, str):
        raise _unlike("text", value)
    words = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    start, end = 0, len(words)
    while start < end and _is_outer(words[start]):
        start += 1
    while start < end and _is_outer(words[end - 1]):
        end -= 1
    return words[start:end] or words


def _is_outer(character: str) -> bool:
    return character.isspace() or character in "\"'" + SENTENCE_MARKS or unicodedata.category(character) in OUTER


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating | Decimal | datetime) and bool(value != value))  # noqa: PLR0124


def _number(value: object) -> Decimal:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal):
        raise _unlike("numbers", value)
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _near(one: Decimal, other: Decimal, tolerance: Decimal) -> bool:
    """Whether two numbers are this close; infinity is so to itself only."""
    return one == other or abs(one - other) <= tolerance


def _moment(value: object) -> datetime:
    """Return a point in time without a zone, which is UTC where a value has one."""
    match value:
        case datetime():
            return value.replace(tzinfo=None) - (value.utcoffset() or timedelta(0))
        case date():
            return datetime(value.year, value.month, value.day)  # noqa: DTZ001
    raise _unlike("dates", value)


def _unlike(what: str, value: object) -> ConfigurationError:
    """Say what a value is, not which: it may be of a document."""
    return ConfigurationError(
        f"answers and gold values are compared as {what}, and one is of the type {type(value).__name__}. "
        "Give the gold column the type of the output field."
    )
