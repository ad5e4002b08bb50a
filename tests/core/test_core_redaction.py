"""What the API says of a refused batch is shown as far as it quotes no document."""

import orjson
import pytest

from claude_batch_dagster.core.sending.redaction import MOST, WITHHELD, shown

DOCUMENT = 'My "secret": the\ncode of the safe is 1234, and the key — \U0001f511 — lies under the mat'
PARAMS = orjson.dumps({"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": DOCUMENT}]})
PATH = "requests.0.params.messages.0"


@pytest.mark.parametrize(
    "message",
    [
        "requests.0.params.max_tokens: Field required",
        "messages: text content blocks must be non-empty",
        "model: claude-haiku-5-5 cannot be used in batches",
        "prompt is too long: 203112 tokens > 200000 maximum",
        "",
    ],
)
def test_what_quotes_nothing_is_shown(message: str) -> None:
    """Path, rule and name of the model are what a person needs to mend it."""
    assert shown(message, [PARAMS]) == message


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (f"{PATH}: bad value {DOCUMENT}", f"{PATH}: {WITHHELD}"),
        (f"{PATH}: bad value {DOCUMENT * 100}", f"{PATH}: {WITHHELD}"),
        (f"bad value in {DOCUMENT[20:]}", WITHHELD),
        (DOCUMENT, WITHHELD),
    ],
    ids=["path", "long", "end", "nothing else"],
)
def test_f120_what_quotes_a_document_is_not(message: str, told: str) -> None:
    """Only the path of what the API objects to stays."""
    assert shown(message, [b"{}", PARAMS]) == told


def test_a_message_of_many_words_is_cut() -> None:
    """It may be a page of HTML."""
    assert shown("word " * 1_000, [PARAMS]) == ("word " * 1_000)[:MOST] + "…"


def test_f120_words_that_utf_8_cannot_hold_are_shown_as_marks() -> None:
    """A lone surrogate in an error message breaks nothing."""
    assert shown("bad \ud800 value", [PARAMS]) == "bad ? value"
