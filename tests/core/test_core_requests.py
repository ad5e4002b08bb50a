from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch_dagster.core.asking import requests
from claude_batch_dagster.core.asking.requests import (
    FORBIDDEN,
    RejectedRowError,
    Request,
    RequestBuilder,
    default_max_tokens,
    default_thinking,
    widened,
)
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.errors import ConfigurationError

BASE = {"model": "claude-haiku-5-5", "max_tokens": 100, "system": "Be short."}


def built(row: Mapping[str, Any], source: str = "Read: {text}", base: Mapping[str, Any] | None = None) -> Request:
    """Render one row of a template."""
    return RequestBuilder(prompt=Template.parse(source), base=base or BASE).build(row)


ASKED: dict[str, Any] = {"model": "claude-haiku-5-5", "max_tokens": None, "thinking": None, "params": {}}
OFF = {"type": "disabled"}


@pytest.mark.parametrize(
    ("message", "asked", "thinking", "max_tokens"),
    [
        ({}, {}, OFF, 1_024),
        ({"model": "claude-sonnet-5-5"}, {}, {"type": "between_tools"}, 16_000),
        ({"model": "claude-opus-4-8"}, {}, None, 16_000),
        ({"model": "claude-opus-4-8", "max_tokens": 5}, {}, None, 5),
        ({"model": "claude-opus-4-8", "thinking": {"type": "adaptive"}}, {}, {"type": "adaptive"}, 16_000),
        ({"model": "claude-opus-4-8"}, {"max_tokens": 7}, None, 7),
        ({"model": "claude-opus-4-8"}, {"thinking": OFF}, OFF, 1_024),
    ],
)
def test_a_model_that_a_row_names_has_its_own_defaults(
    message: dict[str, Any], asked: dict[str, Any], thinking: Any, max_tokens: int
) -> None:
    """Those of another model would be refused for every row; what was said stays."""
    base = {"model": "claude-haiku-5-5", "max_tokens": asked.get("max_tokens", 1_024), "thinking": OFF}
    one = {"messages": [{"role": "user", "content": "a"}], **message}
    builder = RequestBuilder(prompt=lambda _: one, base=base, asked={**ASKED, **asked})

    params = orjson.loads(builder.build({}).params)

    assert (params.get("thinking"), params["max_tokens"]) == (thinking, max_tokens)


def test_a_row_becomes_the_params_of_one_messages_call() -> None:
    """The shared params come first, as given; the rendered row is the one user message."""
    request = built({"text": 'a "quote"'})

    assert orjson.loads(request.params) == {**BASE, "messages": [{"role": "user", "content": 'Read: a "quote"'}]}


@given(text=st.text(min_size=1).filter(lambda text: text.strip()))
def test_f12_a_document_is_decoded_from_the_params_as_it_went_in(text: str) -> None:
    """Rendering and encoding lose nothing of a document."""
    assert orjson.loads(built({"text": text}, "{text}").params)["messages"][0]["content"] == text


@pytest.mark.parametrize(
    ("row", "source", "base"),
    [
        ({"text": "hello "}, "Read: {text}", BASE),
        ({"text": "hello"}, "Read : {text}", BASE),
        ({"text": "hello"}, "Read: {text}", {**BASE, "model": "claude-sonnet-5-5"}),
        ({"text": "hello"}, "Read: {text}", {**BASE, "max_tokens": 101}),
        ({"text": "hello"}, "Read: {text}", {**BASE, "system": "Be brief."}),
        ({"text": "hello"}, "Read: {text}", {**BASE, "output_config": {"format": {"type": "json_schema"}}}),
    ],
    ids=["document", "prompt", "model", "max_tokens", "system", "output_config"],
)
def test_f110_the_hash_changes_with_anything_that_is_asked(
    row: Mapping[str, Any], source: str, base: Mapping[str, Any]
) -> None:
    """Whatever changes the question changes its hash."""
    assert built(row, source, base).request_hash != built({"text": "hello"}).request_hash


def test_the_hash_does_not_depend_on_columns_that_are_not_asked_about() -> None:
    """A row that changes elsewhere is not asked again."""
    assert built({"text": "hello", "id": 1}) == built({"text": "hello", "id": 2})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"text": None}, "column 'text' is NULL", id="F2-null"),
        pytest.param({"text": ""}, "nothing to ask about: 'text' empty", id="F3-empty"),
        pytest.param({"text": " \n\t\u3000"}, "nothing to ask about: 'text' empty", id="F3-blank"),
        pytest.param({"text": "half \ud83d"}, r"cannot be encoded as UTF-8 JSON", id="F10-surrogate"),
        pytest.param({"text": b"caf\xe9"}, r"cannot be encoded .*UnicodeDecodeError", id="F10-bytes"),
    ],
)
def test_a_row_that_cannot_be_asked_is_rejected_with_its_reason(row: Mapping[str, Any], reason: str) -> None:
    """NULL, blank and undecodable texts are never sent."""
    with pytest.raises(RejectedRowError, match=reason):
        built(row)


def test_one_filled_column_is_enough_to_ask_about() -> None:
    """A blank column beside a filled one is no reason to reject the row."""
    assert b"T: " in built({"title": "T", "text": ""}, "{title}: {text}").params


def test_f10_a_nul_character_can_be_asked_about() -> None:
    """NUL is a character of JSON like any other."""
    assert orjson.loads(built({"text": "a\x00b"}, "{text}").params)["messages"][0]["content"] == "a\x00b"


def test_f17_a_request_above_the_limit_is_rejected_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts the bytes that are sent, not characters."""
    size = len(built({"text": "éé"}).params)
    monkeypatch.setattr(requests, "REQUEST_BYTES", size)
    assert len(built({"text": "éé"}).params) == size

    with pytest.raises(RejectedRowError, match=rf"the request is {size + 1:,} bytes, the limit is {size:,}"):
        built({"text": "ééa"})


def test_a_prompt_function_may_return_the_message() -> None:
    """A function sees the whole row and returns what to ask."""
    builder = RequestBuilder(prompt=lambda row: f"{row['a']}{row['b']}", base=BASE)

    message = orjson.loads(builder.build({"a": 1, "b": "{x}"}).params)["messages"]
    assert (message, builder.columns) == ([{"role": "user", "content": "1{x}"}], None)


def test_a_prompt_function_may_return_params_to_lay_over_the_defaults() -> None:
    """What the function returns takes the place of the default, the rest stays."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    builder = RequestBuilder(prompt=lambda _: {"messages": messages, "max_tokens": 7}, base=BASE)

    assert orjson.loads(builder.build({}).params) == {**BASE, "messages": messages, "max_tokens": 7}


def test_a_prompt_function_must_return_messages() -> None:
    """Params without messages are refused at once."""
    with pytest.raises(ConfigurationError, match="without 'messages'"):
        RequestBuilder(prompt=lambda _: {"max_tokens": 7}, base=BASE).build({})


@pytest.mark.parametrize("nothing", [None, 3, ["hi"]])
def test_a_prompt_function_must_return_text_or_params(nothing: Any) -> None:
    """A function that forgot to return is a mistake of the definition, not of every row."""
    with pytest.raises(ConfigurationError, match=f"returned {type(nothing).__name__}"):
        RequestBuilder(prompt=lambda _: nothing, base=BASE).build({})


def test_a_mistake_in_a_prompt_function_is_not_taken_for_a_bad_row() -> None:
    """Its exception comes through, or every row would be rejected in silence."""
    with pytest.raises(TypeError, match="concatenate"):
        RequestBuilder(prompt=lambda row: row["text"] + 1, base=BASE).build({"text": "a"})


@pytest.mark.parametrize("message", ["", "  \n"])
def test_f3_a_prompt_function_that_returns_nothing_rejects_the_row(message: str) -> None:
    """An empty prompt is not sent."""
    with pytest.raises(RejectedRowError, match="the prompt is empty"):
        RequestBuilder(prompt=lambda _: message, base=BASE).build({})


@pytest.mark.parametrize("value", [object(), {1: 2}, 2**70])
def test_params_that_are_no_json_reject_the_row(value: object) -> None:
    """What cannot be encoded is a fault of the row, not of the run."""
    with pytest.raises(RejectedRowError, match="cannot be encoded as UTF-8 JSON"):
        RequestBuilder(prompt=lambda _: {"messages": [value]}, base=BASE).build({})


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_params_that_the_api_refuses_for_every_row_are_refused_at_once(name: str) -> None:
    """A param that would come back errored hours later, for each row, is a mistake of the definition."""
    with pytest.raises(ConfigurationError, match=f"params must not hold '{name}'.*Remove it"):
        RequestBuilder(prompt=Template.parse("{text}"), base={**BASE, name: 1})


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_params_of_a_prompt_function_are_held_to_the_same_rule(name: str) -> None:
    """A function cannot slip in what a definition may not say."""
    messages = [{"role": "user", "content": "hi"}]

    with pytest.raises(ConfigurationError, match=f"params must not hold '{name}'"):
        RequestBuilder(prompt=lambda _: {"messages": messages, name: 1}, base=BASE).build({})


@pytest.mark.parametrize(
    ("model", "thinking", "max_tokens"),
    [
        ("claude-haiku-5-5", {"type": "disabled"}, 1024),
        ("claude-haiku-5-5-20261001", {"type": "disabled"}, 1024),
        ("claude-opus-5", {"type": "disabled"}, 1024),
        ("claude-sonnet-5-5", {"type": "between_tools"}, 16_000),
        ("claude-opus-5-5", None, 16_000),
        ("claude-haiku-4-5", None, 16_000),
        ("some-model-of-next-year", None, 16_000),
    ],
)
def test_a_small_limit_goes_to_the_answer(model: str, thinking: dict[str, str] | None, max_tokens: int) -> None:
    """Thinking is switched off where that can be done; elsewhere the limit leaves room for it."""
    assert (default_thinking(model), default_max_tokens(thinking)) == (thinking, max_tokens)


@pytest.mark.parametrize(
    ("max_tokens", "n_truncated", "wider"),
    [(100, 0, 100), (100, 1, 400), (100, 2, 1600), (30_000, 1, 64_000), (64_000, 1, 64_000), (90_000, 1, 90_000)],
)
def test_a_truncated_request_is_asked_with_four_times_the_limit(max_tokens: int, n_truncated: int, wider: int) -> None:
    """The limit grows fourfold for each truncation up to a ceiling, and never shrinks; nothing else changes."""
    params = orjson.dumps({**BASE, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "é"}]})

    assert orjson.loads(widened(params, n_truncated=n_truncated)) == {**orjson.loads(params), "max_tokens": wider}
