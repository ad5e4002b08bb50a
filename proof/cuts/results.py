"""The results of one batch of 200 requests: every kind of line, in several scripts."""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel

N_ROWS = 200

WORDS = ("guerre", "Frieden", "мир", "平和", "שלום", "dove 🕊️", "naïve café", "👩‍🚀 peace", "a\u2028b", "\u0000")
"""Of one to four bytes a character, one of them a separator of lines and one of them NUL."""

ERRORS = (
    ("overloaded_error", "Overloaded"),
    ("invalid_request_error", "messages: Field required"),
    ("api_error", "Internal server error"),
)


class Note(BaseModel):
    """The output model."""

    label: Literal["war", "peace"]
    word: str


def lines(custom_ids: Sequence[str]) -> list[bytes]:
    """Return the line of each request, without line ends: of ten, six succeed."""
    return [orjson.dumps({"custom_id": name, "result": result(number)}) for number, name in enumerate(custom_ids)]


def result(number: int) -> dict[str, Any]:
    """Return what became of a request."""
    match number % 10:
        case 3:
            kind, message = ERRORS[number // 10 % 3]
            return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": message}}}
        case 1 | 6:
            return {"type": "expired"}
        case 9:
            return {"type": "canceled"}
        case _:
            text = orjson.dumps({"label": label(number), "word": WORDS[number // 10 % len(WORDS)]}).decode()
            return {"type": "succeeded", "message": _message(text)}


def label(number: int) -> str:
    """Return the label of a request that succeeded."""
    return "war" if number % 2 else "peace"


def _message(text: str) -> dict[str, Any]:
    return {
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 21, "output_tokens": 9},
    }


def expected(number: int) -> tuple[str, str | None, str | None]:
    """Return status, label and word that the row of a request has in the end."""
    match number % 10:
        case 3:
            return "errored", None, None
        case 1 | 6:
            return "expired", None, None
        case 9:
            return "canceled", None, None
        case _:
            return "succeeded", label(number), WORDS[number // 10 % len(WORDS)]
