"""What the API checks about `params`: at once in a live call, hours later in a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from claude_batch_dagster.emulator.answers import is_answerable
from claude_batch_dagster.emulator.models import Model, find_model
from claude_batch_dagster.emulator.schemas import schema_complaint

Params = Mapping[str, Any]

_NO_SAMPLING_SINCE = "2026-10-21"
_LONG_OUTPUT = ("output-300k-2026-03-24", 300_000)
_SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """Why a request cannot be answered."""

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the rules depend on besides the params."""

    version: str
    betas: frozenset[str] = frozenset()
    in_batch: bool = True


def complaint_about(params: Params, setting: Setting) -> Complaint | None:
    """Return the first rule that the params break, None if they can be answered."""
    shape = _shape(params)
    if shape:
        return _invalid(shape)
    model = find_model(params["model"])
    if model is None:
        return Complaint(kind="not_found_error", message=f"model: {params['model']}")
    for rule in _RULES:
        if message := rule(params, model, setting):
            return _invalid(message)
    return None


def _invalid(message: str) -> Complaint:
    return Complaint(kind="invalid_request_error", message=message)


def _shape(params: Params) -> str:
    for name, kind, called in (
        ("model", str, "string"),
        ("messages", list, "list"),
        ("max_tokens", int, "integer"),
    ):
        if name not in params:
            return f"{name}: Field required"
        if not isinstance(params[name], kind) or isinstance(params[name], bool):
            return f"{name}: Input should be a valid {called}"
    if not params["messages"]:
        return "messages: at least one message is required"
    return _shape_of_messages(params["messages"])


def _shape_of_messages(messages: list[Any]) -> str:
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"messages.{position}: Input should be a valid dictionary"
        for name in ("role", "content"):
            if name not in message:
                return f"messages.{position}.{name}: Field required"
        if message["role"] not in {"user", "assistant"}:
            return f"messages.{position}.role: Input should be 'user' or 'assistant'"
        if not isinstance(message["content"], str | list):
            return f"messages.{position}.content: Input should be a valid string"
    if _is_blank(messages[-1]):
        return f"messages.{len(messages) - 1}: user messages must have non-empty content"
    return ""


def _is_blank(message: Mapping[str, Any]) -> bool:
    return message["role"] == "user" and not message["content"]


def _stream(params: Params, _: Model, setting: Setting) -> str:
    if not params.get("stream"):
        return ""
    where = "in the Message Batches API" if setting.in_batch else "by this emulator"
    return f'"stream=True" is not supported {where}'


def _speed(params: Params, _: Model, setting: Setting) -> str:
    return "speed: Extra inputs are not permitted" if setting.in_batch and "speed" in params else ""


def _max_tokens(params: Params, model: Model, setting: Setting) -> str:
    asked, most = params["max_tokens"], model.max_tokens
    beta, longer = _LONG_OUTPUT
    if beta in setting.betas and model.long_output:
        most = longer
    if asked < 1:
        return "max_tokens: must be greater than or equal to 1"
    if asked > most:
        return (
            f"max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for {params['model']}"
        )
    return ""


def _sampling(params: Params, _: Model, setting: Setting) -> str:
    # Versions are dates, and compare as text.
    if setting.version < _NO_SAMPLING_SINCE:
        return ""
    extra = next((name for name in _SAMPLING if name in params), "")
    return f"{extra}: Extra inputs are not permitted" if extra else ""


def _prefill(params: Params, model: Model, _: Setting) -> str:
    if model.takes_prefill or params["messages"][-1]["role"] == "user":
        return ""
    return "This model does not support assistant message prefill. The conversation must end with a user message."


def _thinking(params: Params, model: Model, _: Setting) -> str:
    thinking = params.get("thinking") or {}
    if not isinstance(thinking, dict):
        return "thinking: Input should be a valid dictionary or object to extract fields from"
    kind = thinking.get("type")
    refused = {
        "enabled": not model.takes_budget,
        "adaptive": not model.takes_adaptive,
        "disabled": not model.takes_disabled,
        "between_tools": model.thinks_always,
    }
    if not refused.get(kind or ""):
        return ""
    advice = ' Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
    return f'"thinking.type.{kind}" is not supported for this model.{advice if kind == "enabled" else ""}'


def _format(params: Params, _: Model, __: Setting) -> str:
    config = params.get("output_config") or {}
    if not isinstance(config, dict):
        return "output_config: Input should be a valid dictionary or object to extract fields from"
    match config.get("format"):
        case None:
            return ""
        case {"type": "json_schema", "schema": dict(schema)}:
            encoded = orjson.dumps(schema)
            nonsense = "" if is_answerable(encoded) else "output_config.format.schema: Invalid schema"
            return schema_complaint(encoded) or nonsense
        case _:
            return "output_config.format: Input should be a json_schema with a schema"


# The order decides which complaint a request with several faults gets.
_RULES: tuple[Callable[[Params, Model, Setting], str], ...] = (
    _stream,
    _speed,
    _max_tokens,
    _sampling,
    _prefill,
    _thinking,
    _format,
)
