"""What is wrong inside `params` comes back hours later, as an errored line."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_batch_dagster.emulator import Emulator

Ask = Callable[..., Any]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
BUDGET = (
    '"thinking.type.enabled" is not supported for this model. '
    'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
)
WHERE = "output_config.format.schema"


def result_of(params: Any, version: str = "2026-10-21") -> dict[str, Any]:
    """Return the result of a batch of one request."""
    emulator = Emulator(batch_seconds=0)
    headers = {**HEADERS, "anthropic-version": version}
    body = orjson.dumps({"requests": [{"custom_id": "a", "params": params}]})
    batch_id = emulator.handle("POST", PATH, headers, body).json()["id"]
    line = emulator.handle("GET", f"{PATH}/{batch_id}/results", headers).json()
    result: dict[str, Any] = line["result"]
    return result


def schema(**keywords: Any) -> dict[str, Any]:
    """Return params that ask for a schema."""
    return {"output_config": {"format": {"type": "json_schema", "schema": keywords}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model: Input should be a valid string"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": ["x"]}, "messages.0: Input should be a valid dictionary"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        (
            {"messages": [{"role": "x", "content": ""}]},
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages.0.content: Input should be a valid string",
        ),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "messages.0: user messages must have non-empty content",
        ),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
        (
            {"max_tokens": 9999999, "model": "claude-haiku-4-5"},
            "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5",
        ),
        ({"stream": True}, '"stream=True" is not supported in the Message Batches API'),
        ({"speed": "fast"}, "speed: Extra inputs are not permitted"),
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]},
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            BUDGET,
        ),
        (
            {"thinking": {"type": "disabled"}, "model": "claude-opus-5-5"},
            '"thinking.type.disabled" is not supported for this model.',
        ),
        (
            {"thinking": {"type": "adaptive"}, "model": "claude-sonnet-4-5"},
            '"thinking.type.adaptive" is not supported for this model.',
        ),
        (
            {"thinking": "yes"},
            "thinking: Input should be a valid dictionary or object to extract fields from",
        ),
        (
            {"output_config": "x"},
            "output_config: Input should be a valid dictionary or object to extract fields from",
        ),
        (
            {"output_config": {"format": {}}},
            "output_config.format: Input should be a json_schema with a schema",
        ),
        (
            schema(type="object", properties={}),
            f"{WHERE}: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            schema(anyOf=[{"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}}]),
            f"{WHERE}: For 'integer' type, properties maximum, minimum are not supported",
        ),
        (
            schema(type="array", minItems=2),
            f"{WHERE}: For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        ),
        (schema(enum=[]), f"{WHERE}: 'enum' must have at least one value"),
        (
            schema(**{"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}]}}}),
            f"{WHERE}: Invalid schema: recursive reference #/$defs/A is not supported",
        ),
        (
            schema(**{"$ref": "http://example.com"}),
            f"{WHERE}: Invalid schema: external reference http://example.com is not supported",
        ),
        (schema(**{"$ref": "#/title", "title": "x"}), f"{WHERE}: Invalid schema: #/title is not a schema"),
    ],
)
def test_broken_params_are_an_errored_line(ask: Ask, changes: dict[str, Any], message: str) -> None:
    """Each rule has its message; no worker ever saw the request."""
    assert result_of({**ask()["params"], **changes}) == {
        "type": "errored",
        "error": {
            "type": "error",
            "error": {
                "details": {"error_visibility": "user_facing"},
                "type": "invalid_request_error",
                "message": message,
            },
            "request_id": None,
        },
    }


@pytest.mark.parametrize("missing", ["model", "messages", "max_tokens"])
def test_missing_params_are_an_errored_line(ask: Ask, missing: str) -> None:
    """What every request needs is asked for by name."""
    params = ask()["params"]
    del params[missing]

    assert result_of(params)["error"]["error"]["message"] == f"{missing}: Field required"


def test_unknown_models_are_not_found(ask: Ask) -> None:
    """A model that does not exist is a `not_found_error`."""
    error = result_of(ask(model="claude-does-not-exist-9")["params"])["error"]["error"]

    assert (error["type"], error["message"]) == ("not_found_error", "model: claude-does-not-exist-9")


def test_the_older_version_takes_sampling_parameters(ask: Ask) -> None:
    """Sampling parameters are refused from version 2026-10-21 on."""
    assert result_of(ask(temperature=0.5)["params"], version="2023-06-01")["type"] == "succeeded"


def test_older_models_take_a_prefill_and_a_budget(ask: Ask) -> None:
    """Rules follow the model."""
    params = ask(
        model="claude-sonnet-4-5-20250929",
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}],
    )["params"]

    assert result_of(params)["type"] == "succeeded"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "system", "thinking", "output_config", "tools", "cache_control", "max_tokens", "$ref"]
)


@settings(max_examples=200, deadline=None)
@given(
    fields=st.dictionaries(FIELDS, JSON, max_size=3),
    inner=st.dictionaries(st.text(max_size=9), JSON, max_size=3),
)
def test_no_params_whatsoever_break_the_emulator(fields: dict[str, Any], inner: dict[str, Any]) -> None:
    """Any JSON object gets a result."""
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [inner]}],
        "output_config": {"format": {"type": "json_schema", "schema": inner}},
        **fields,
    }

    assert result_of(params)["type"] in {"succeeded", "errored"}


@settings(max_examples=150, deadline=None)
@given(
    keywords=st.dictionaries(
        st.sampled_from(
            [
                "type",
                "enum",
                "const",
                "anyOf",
                "allOf",
                "properties",
                "required",
                "items",
                "$ref",
                "format",
                "minItems",
            ]
        ),
        JSON | st.sampled_from(["object", "array", "string", "#", "date"]),
        max_size=4,
    )
)
def test_no_schema_whatsoever_breaks_the_emulator(keywords: dict[str, Any]) -> None:
    """Any schema is answered or complained about."""
    keywords = {"additionalProperties": False, **keywords}
    params = {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "a"}]}

    assert result_of({**params, **schema(**keywords)})["type"] in {"succeeded", "errored"}
