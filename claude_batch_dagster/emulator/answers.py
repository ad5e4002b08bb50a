"""
Answers that fit a JSON schema.

A schema is compiled once into a tree of small answerers, for thousands of
requests share one. Where a choice among strings is asked for, the lexical
scorer chooses; everything else is filled in plausibly. None of it is Claude's.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from claude_batch_dagster.emulator.lexicon import Scorer
from claude_batch_dagster.emulator.reading import Reading
from claude_batch_dagster.emulator.schemas import resolve

Answerer = Callable[[Reading], Any]
Schema = Mapping[str, Any]

_DEEPEST = 12
_LABEL_LINE = re.compile(r"^[ \t]*([-*][ \t]+)?[\"'`*]*([^:\"'`*\n]+?)[\"'`*]*[ \t]*:[ \t]*(\S.*)$", re.MULTILINE)
_FORMATS: Mapping[str, tuple[str, str]] = {
    "date": (r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b", "2026-01-01"),
    "date-time": (
        r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T[0-2]\d:[0-5]\d:[0-5]\dZ",
        "2026-01-01T00:00:00Z",
    ),
    "time": (r"\b[01]\d:[0-5]\d:[0-5]\dZ", "12:00:00Z"),
    "duration": (r"\bP\d+D\b", "P1D"),
    "email": (r"\b[\w.]+@[\w-]+\.[a-z]{2,}\b", "someone@example.com"),
    "hostname": (r"\b(?:[a-z0-9-]+\.)+(?:com|org|net)\b", "example.com"),
    "uri": (r"\bhttps?://[\w./-]+", "https://example.com/"),
    "ipv4": (r"\b(?:1?\d?\d\.){3}1?\d?\d\b", "192.0.2.1"),
    "ipv6": (r"\b(?:[0-9a-f]{4}:){7}[0-9a-f]{4}\b", "2001:db8::1"),
    "uuid": (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "00000000-0000-4000-8000-000000000000",
    ),
}
"""For each format how it is found in a text, and what is answered if it is not there."""


def answerer(schema: Schema, system: str) -> Answerer:
    """Return what answers requests with this schema and system prompt; compiled once for both."""
    return _compiled(orjson.dumps(schema), system)


@lru_cache(maxsize=64)
def _compiled(schema: bytes, system: str) -> Answerer:
    root = orjson.loads(schema)
    return _Compiler(root, system).compile(root, path="")


@lru_cache(maxsize=256)
def is_answerable(schema: bytes) -> bool:
    """Whether a schema makes sense as far as it is needed for an answer."""
    try:
        orjson.dumps(_compiled(schema, "")(Reading("")))
    except (AttributeError, LookupError, TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class _Compiler:
    root: Schema
    system: str

    def compile(self, schema: Schema, *, path: str, depth: int = 0) -> Answerer:
        schema = self._resolved(schema)
        # Recursive schemas are refused elsewhere; this only bounds the harm.
        if depth > _DEEPEST:
            return _nothing(path)
        # Before everything else: a choice among strings is the one question worth reading the text for.
        if labels := self._labels(schema):
            return _choice(Scorer(labels))
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else list(schema["enum"])
            return lambda reading: values[int(reading.chance(path) * len(values))]
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self.compile(_told(self._branch(branches), schema), path=path, depth=depth + 1)
        return self._typed(schema, path, depth)

    def _typed(self, schema: Schema, path: str, depth: int) -> Answerer:
        match _type(schema):
            case "object":
                return self._object(schema, path, depth)
            case "array":
                return self._array(schema, path, depth)
            case "string":
                return _string(schema)
            case kind:
                return _SCALARS.get(kind, _nothing)(path)

    def _object(self, schema: Schema, path: str, depth: int) -> Answerer:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        # The API puts required properties first, whatever order the schema has.
        names = [name for name in properties if name in required]
        names += [name for name in properties if name not in required]
        fields = [(name, self.compile(properties[name], path=f"{path}.{name}", depth=depth + 1)) for name in names]
        return lambda reading: {name: field(reading) for name, field in fields}

    def _array(self, schema: Schema, path: str, depth: int) -> Answerer:
        n_items = max(int(schema.get("minItems", 1)), 0 if depth == _DEEPEST else 1)
        items = _told(self._resolved(schema.get("items", {"type": "string"})), schema)
        item = [self.compile(items, path=f"{path}.{index}", depth=depth + 1) for index in range(n_items)]
        return lambda reading: [one(reading) for one in item]

    def _branch(self, branches: Sequence[Schema]) -> Schema:
        """Prefer a value over null: an empty answer teaches nobody anything."""
        resolved = [self._resolved(branch) for branch in branches]
        return next((branch for branch in resolved if _type(branch) != "null"), resolved[0])

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                own = {name: value for name, value in schema.items() if name != "$ref"}
                schema = {**resolve(self.root, schema["$ref"]), **own}
            elif "allOf" in schema:
                schema = _merged(schema)
        return schema

    def _labels(self, schema: Schema) -> dict[str, str]:
        """Return the strings to choose from with what is known about them; empty if it is no such choice."""
        branches = [self._resolved(branch) for branch in schema.get("anyOf") or schema.get("oneOf") or ()]
        constants = [branch for branch in branches if isinstance(branch.get("const"), str)]
        if constants and len(constants) == sum(_type(branch) != "null" for branch in branches):
            names = [branch["const"] for branch in constants]
            own = {branch["const"]: str(branch.get("description", "")) for branch in constants}
        else:
            names, own = [value for value in schema.get("enum") or () if isinstance(value, str)], {}
        told = described(names, str(schema.get("description", "")), lists_only=True)
        prompted = described(names, self.system)
        return {name: own.get(name) or told.get(name) or prompted.get(name, "") for name in names}


def described(names: Iterable[str], text: str, *, lists_only: bool = False) -> dict[str, str]:
    """Find a description of each name: a line of the form `name: description`, with or without a dash."""
    wanted = {name.lower(): name for name in names}
    found: dict[str, str] = {}
    for match in _LABEL_LINE.finditer(text) if wanted else ():
        if lists_only and not match[1]:
            continue
        if (name := wanted.get(match[2].strip().lower())) and name not in found:
            found[name] = match[3].strip()
    return found


def _choice(scorer: Scorer) -> Answerer:
    def choose(reading: Reading) -> str:
        label = scorer.best(reading.words)
        return label.swapcase() if reading.flip_case else label

    return choose


def _string(schema: Schema) -> Answerer:
    if pair := _FORMATS.get(schema.get("format", "")):
        pattern, otherwise = pair
        return lambda reading: reading.first(pattern) or otherwise
    return lambda reading: reading.extract() or "empty"


def _nothing(_: str) -> Answerer:
    return lambda _: None


_SCALARS: Mapping[str, Callable[[str], Answerer]] = {
    "integer": lambda path: lambda reading: int(reading.chance(path) * 10),
    "number": lambda path: lambda reading: round(reading.chance(path), 2),
    "boolean": lambda path: lambda reading: reading.chance(path) * 2 < 1,
}
"""What answers where the text cannot: small values that depend on the text."""


def _merged(schema: Schema) -> Schema:
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part
        merged |= {"properties": properties, "required": required} if properties else {}
    return merged


def _told(part: Schema, whole: Schema) -> Schema:
    """Let a part that is not described share the description of the whole."""
    return {"description": whole.get("description", ""), **part}


def _type(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    if kind:
        return str(kind)
    if "const" in schema:
        return "null" if schema["const"] is None else ""
    return "object" if "properties" in schema else "array" if "items" in schema else ""
