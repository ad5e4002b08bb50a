"""How long an answer is going to be, guessed by the output that is asked for: before there is one to look at."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

BYTES_PER_TOKEN = 4.0
"""Of text in a language that is written in Latin letters, about."""

FREE_TEXT = 160
"""Characters of a text of which nobody has said how long it is."""

N_ITEMS = 3
"""Items of a list of which nobody has said how long it is."""

THOUGHT_TOKENS = 500
"""Tokens of thinking that an answer takes, about, where thinking is not switched off."""

FACTOR = 4.0
"""How much longer texts and lists may be than was guessed."""

DEEPEST = 8
"""Parts within parts that are looked at."""

Size = tuple[float, float]
"""Characters of a value's JSON: those that are sure, and those of texts and lists of any length."""


def answer_tokens(params: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the tokens of an answer to a request with these params: fewest, usual, most."""
    limit = float(params.get("max_tokens") or FREE_TEXT)
    schema = (params.get("output_config") or {}).get("format", {}).get("schema") or {"type": "string"}
    sure, free = _size(schema, schema.get("$defs") or {}, depth=0)
    usual, most = (sure + free) / BYTES_PER_TOKEN, (sure + FACTOR * free) / BYTES_PER_TOKEN
    if (params.get("thinking") or {}).get("type") != "disabled":
        usual, most = usual + THOUGHT_TOKENS, limit
    usual = max(1.0, min(usual, limit))
    return max(1.0, min(sure / BYTES_PER_TOKEN, usual)), usual, max(usual, min(most, limit))


def _size(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, depth: int) -> Size:
    if depth > DEEPEST:
        return 2.0, 0.0
    if reference := schema.get("$ref"):
        return _size(definitions.get(str(reference).rsplit("/", 1)[-1], {}), definitions, depth=depth + 1)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return _mean(len(orjson.dumps(value)) for value in values), 0.0
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        sizes = [_size(branch, definitions, depth=depth + 1) for branch in branches]
        return _mean(sure for sure, _ in sizes), _mean(free for _, free in sizes)
    return _size_of_type(schema, definitions, depth=depth)


def _size_of_type(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, depth: int) -> Size:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties") or {}
            sizes = [_size(field, definitions, depth=depth + 1) for field in fields.values()]
            names = sum(len(name) + 4 for name in fields)
            return 2.0 + names + sum(sure for sure, _ in sizes), sum(free for _, free in sizes)
        case "array":
            sure, free = _size(schema.get("items") or {}, definitions, depth=depth + 1)
            return 2.0, N_ITEMS * (sure + free + 1)
        case "integer" | "number" | "boolean" | "null":
            return 5.0, 0.0
        case _:
            return 2.0, float(FREE_TEXT)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
