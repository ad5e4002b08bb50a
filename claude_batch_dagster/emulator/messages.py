"""Messages: the answer to one request, good or deliberately bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from claude_batch_dagster.emulator.answers import answerer
from claude_batch_dagster.emulator.caching import CacheUse
from claude_batch_dagster.emulator.ids import identifier
from claude_batch_dagster.emulator.models import find_model, snapshot
from claude_batch_dagster.emulator.reading import (
    Reading,
    cut_to_tokens,
    last_user_text,
    n_input_tokens,
    n_tokens,
    system_text,
)
from claude_batch_dagster.emulator.scripts import Scripted

_THINKING_TOKENS = 16
_REFUSAL = {
    "type": "refusal",
    "category": "general_harms",
    "explanation": "This request was declined because the emulator was told to decline it.",
}


@dataclass(frozen=True)
class _Answer:
    content: list[dict[str, Any]]
    stop_reason: str
    n_output: int
    n_thinking: int = 0


def message(  # noqa: PLR0913 - what was decided before, each by its name
    params: Mapping[str, Any],
    *,
    salt: str,
    shape: str = "",
    tier: str = "batch",
    scripted: Scripted | None = None,
    cache: CacheUse | None = None,
    ability: float = 1.0,
) -> dict[str, Any]:
    """Return the Message that answers `params`; `shape` names the row fault that bends it, if any."""
    answer = _answer(params, shape, scripted, ability)
    return {
        "model": snapshot(params["model"]),
        "id": identifier("msg", salt),
        "type": "message",
        "role": "assistant",
        "content": answer.content,
        "container": None,
        "stop_reason": answer.stop_reason,
        "stop_sequence": None,
        "stop_details": _REFUSAL if shape == "refusal" else None,
        "usage": _usage(params, answer, tier, cache or CacheUse()),
        "diagnostics": None,
    }


def _usage(params: Mapping[str, Any], answer: _Answer, tier: str, cache: CacheUse) -> dict[str, Any]:
    total = n_input_tokens(params)
    return {
        "input_tokens": total - cache.n_read - cache.n_written,
        "cache_creation_input_tokens": cache.n_written,
        "cache_read_input_tokens": cache.n_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if cache.for_an_hour else cache.n_written,
            "ephemeral_1h_input_tokens": cache.n_written if cache.for_an_hour else 0,
        },
        "output_tokens": answer.n_output,
        **({"output_tokens_details": {"thinking_tokens": answer.n_thinking}} if answer.n_thinking else {}),
        "service_tier": tier,
        "inference_geo": "not_available",
    }


def _answer(params: Mapping[str, Any], shape: str, scripted: Scripted | None, ability: float) -> _Answer:
    # A refusal comes before any text, and is billed for next to nothing.
    if shape == "refusal":
        return _Answer([], "refusal", 1)
    if shape == "empty_content":
        return _Answer([], "end_turn", 2)
    text = _text(params, shape, scripted, ability)
    most = max(1, n_tokens(text) // 2) if shape == "max_tokens" else params["max_tokens"]
    thinking = _thinking(params)
    n_thinking = min(_THINKING_TOKENS, most) if thinking and shape != "max_tokens" else 0
    # Thoughts count toward `max_tokens`: a small limit can be eaten up by them.
    left = most - n_thinking
    stop_reason = "end_turn"
    if n_tokens(text) > left:
        text, stop_reason = cut_to_tokens(text, left), "max_tokens"
    blocks = [{"type": "text", "text": text}] if text else []
    return _Answer([*thinking, *blocks], stop_reason, n_tokens(text) + n_thinking, n_thinking)


def _thinking(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the block of thought that comes first; its text is withheld, as it is by default."""
    model = find_model(params["model"])
    asked = params.get("thinking") or {}
    if asked.get("type") in {"adaptive", "enabled"} or (model and model.thinks_always):
        return [{"type": "thinking", "thinking": "", "signature": "ZW11bGF0ZWQ="}]
    return []


def _text(params: Mapping[str, Any], shape: str, scripted: Scripted | None, ability: float) -> str:
    if isinstance(scripted, str):
        return scripted
    text, flip_case = last_user_text(params), shape == "wrong_case"
    reading = Reading(text, flip_case=flip_case, ability=ability, written=scripted or {})
    if shape == "not_json":
        return f"Here is what I found. {reading.extract()} ..."
    schema = ((params.get("output_config") or {}).get("format") or {}).get("schema")
    if schema is None:
        return f"In short: {reading.extract(24)}" if scripted is None else orjson.dumps(scripted).decode()
    value = answerer(schema, system_text(params))(reading)
    if scripted is not None:
        value = {**(value if isinstance(value, dict) else {}), **scripted}
    return orjson.dumps(_misfit(value) if shape == "misfit" else value).decode()


def _misfit(value: Any) -> Any:
    """Return a value of the same kind that no closed schema of it allows."""
    if not isinstance(value, dict):
        return {"unexpected": value}
    kept = dict(list(value.items())[1:])
    return {**kept, "unexpected": "field"}
