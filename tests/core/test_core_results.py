from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.judging import judge
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.collecting.results import (
    Canceled,
    Errored,
    Expired,
    Succeeded,
    UnreadableLineError,
    Usage,
    decode,
)
from claude_batch_dagster.core.pricing import cost
from tests.judged import judgeable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Label(BaseModel):
    """A small output model."""

    label: str


def line(result: Any, custom_id: Any = "row") -> bytes:
    """Return one line of results."""
    return orjson.dumps({"custom_id": custom_id, "result": result})


def message(**fields: Any) -> dict[str, Any]:
    """Return a result that succeeded."""
    return {
        "type": "succeeded",
        "message": {
            "model": "claude-haiku-5-5",
            "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "hi"}],
            "usage": {"input_tokens": 1, "output_tokens": 2},
            **fields,
        },
    }


def succeeded(**fields: Any) -> Succeeded:
    """Return what a line of a message says."""
    result = decode(line(message(**fields)))
    assert isinstance(result, Succeeded)
    return result


@pytest.mark.parametrize(
    ("result", "read"),
    [
        (
            message(),
            Succeeded("row", "claude-haiku-5-5", "end_turn", "hi", Usage(input_tokens=1, output_tokens=2)),
        ),
        (
            {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "oops"}}},
            Errored("row", "api_error", "oops"),
        ),
        ({"type": "errored", "error": {"type": "error"}}, Errored("row", "unknown_error", "the API gave no reason")),
        ({"type": "errored", "error": None}, Errored("row", "unknown_error", "the API gave no reason")),
        ({"type": "canceled"}, Canceled("row")),
        ({"type": "expired", "field_of_next_year": 1}, Expired("row")),
    ],
)
def test_one_of_four_things_happened_to_a_row(result: Any, read: object) -> None:
    """Each type of result is read into its own record; unknown fields are passed over."""
    assert decode(line(result)) == read


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], ""),
        (None, ""),
        ("text", ""),
        ([{"type": "thinking", "thinking": "hm"}], ""),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "tool_use", "name": "f", "input": {"label": "x"}}], '{"label":"x"}'),
        ([{"type": "text", "text": None}, 3, None, {"type": "block_of_next_year"}], ""),
    ],
)
def test_f80_the_text_of_an_answer_is_its_text_blocks_joined(content: Any, text: str) -> None:
    """Thinking and unknown blocks are left out; a tool call counts as the JSON of its arguments."""
    assert succeeded(content=content).text == text


def test_usage_is_read_with_its_cache_tokens() -> None:
    """All input tokens are counted, those of the cache by their price."""
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 400,
        "cache_creation": {"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20},
    }
    read = succeeded(usage=usage).usage

    assert (read, read.total_input_tokens) == (Usage(1, 2, 30, 10, 400), 431)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "many",
        {},
        {"input_tokens": None, "cache_creation": None},
        {"input_tokens": "many", "output_tokens": [1], "cache_read_input_tokens": {"n": 1}},
        {"input_tokens": -1, "output_tokens": True, "cache_creation_input_tokens": 1e300},
        {"input_tokens": 2**64 - 1, "output_tokens": 2**63},
    ],
)
def test_f76_usage_that_makes_no_sense_counts_as_nothing(usage: Any) -> None:
    """Odd token counts neither stop the collection nor spoil the books."""
    assert succeeded(usage=usage).usage == Usage()


@pytest.mark.parametrize("stop_reason", [None, 3, [], {"a": 1}, True])
def test_f76_a_stop_reason_that_is_no_text_is_none(stop_reason: Any) -> None:
    """What the API does not document is not taken for a whole answer."""
    assert succeeded(stop_reason=stop_reason).stop_reason is None


def test_a_refusal_keeps_its_category() -> None:
    """The category of a refusal is kept, if it is a text."""
    details = succeeded(stop_reason="refusal", stop_details={"category": "bio"})
    odd = succeeded(stop_reason="refusal", stop_details={"category": ["bio"]})

    assert (details.stop_explanation, odd.stop_explanation) == ("bio", None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b'{"custom_id":"row"}',
        b'{"custom_id":"row","result":null}',
        b'{"custom_id":"row","result":{"type":"pending"}}',
        b'{"custom_id":"row","result":{"type":"succeeded","message":null}}',
        b'{"custom_id":null,"result":{"type":"expired"}}',
        b'{"custom_id":"row","result":{"type":"expired"}',
        b'{"custom_id":"row","result":{"type":"expi',
        b"[" * 200_000 + b"]" * 200_000,
        b'{"custom_id":' * 3_000,
        b'{"custom_id":"row","result":{"type":"expired","n":' + b"9" * 5_000 + b"}}",
        b"\xff\xfe\x00",
    ],
    ids=lambda raw: raw[:30].decode(errors="replace"),
)
def test_f76_what_is_no_result_is_unreadable_and_nothing_worse(raw: bytes) -> None:
    """Garbage, cut lines, deep nesting and endless numbers are told apart from results."""
    with pytest.raises(UnreadableLineError):
        decode(raw)


@given(raw=st.binary() | JSON.map(lambda value: str(value).encode(errors="surrogatepass")))
@example(b'\xef\xbb\xbf{"custom_id":"row"}')
@example(b'{"custom_id":"a","result":{"type":"expired"},"n":NaN,"m":1e999,"custom_id":"b"}')
def test_f76_any_bytes_are_a_result_or_unreadable(raw: bytes) -> None:
    """No bytes make the decoder fail in any other way."""
    try:
        result = decode(raw)
    except UnreadableLineError:
        return
    assert isinstance(result, Succeeded | Errored | Canceled | Expired)


@given(
    content=JSON | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": JSON}), max_size=3),
    usage=JSON | st.fixed_dictionaries({"input_tokens": JSON, "output_tokens": JSON, "cache_creation": JSON}),
    stop_reason=JSON,
    model=JSON,
    stop_details=JSON,
)
def test_f76_a_message_of_any_shape_has_a_verdict_and_a_price_or_none(**fields: Any) -> None:
    """Whatever a message holds, its row gets a verdict and the books add up."""
    result = decode(line(message(**fields)))
    assert isinstance(result, Succeeded)

    told, price = judge(judgeable(result), OutputSchema(Label)), cost(result.model, result.usage)

    assert told.verdict in {"succeeded", "invalid", "refused", "truncated"}
    assert price is None or price.batch_usd >= 0


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        pytest.param(b"half \\ud83d of it", "half \ufffd of it", id="F81-lone-surrogate"),
        pytest.param(b"\\ude00\\ud83d", "\ufffd\ufffd", id="F81-reversed-pair"),
        pytest.param(b"caf\xe9", "caf\ufffd", id="F76-bad-utf8"),
        pytest.param(b"\\ud83d\\ude00 \\ud83d", "\U0001f600 \ufffd", id="F81-pair-and-half"),
    ],
)
def test_an_answer_with_broken_characters_is_kept_and_marked(escaped: bytes, text: str) -> None:
    """It was paid for: half characters become U+FFFD, and the result says that it was mended."""
    raw = line(message(content=[{"type": "text", "text": "@"}])).replace(b"@", escaped)
    result = decode(raw)

    assert isinstance(result, Succeeded)
    assert (result.text, result.sanitized) == (text, True)


def test_f81_a_nul_character_is_kept() -> None:
    """NUL is a character of JSON like any other."""
    result = succeeded(content=[{"type": "text", "text": "a\x00b"}])

    assert (result.text, result.sanitized) == ("a\x00b", False)
