"""
Answers that fit a JSON schema.

A schema is compiled once into a tree of small answerers, for thousands of
requests share one. Where a choice among strings is asked for, the lexical
scorer chooses; everything else is filled in plausibly. None of it is Claude's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from claude_batch_dagster.emulator.fillers import SCALARS, Answerer, Schema, nothing, string
from claude_batch_dagster.emulator.judgements import FIELDS, RUNNER_UP, judged
from claude_batch_dagster.emulator.lexicon import Scorer
from claude_batch_dagster.emulator.reading import Reading
from claude_batch_dagster.emulator.schemas import resolve

_DEEPEST = 12
_LABEL_LINE = re.compile(r"^[ \t]*([-*][ \t]+)?[\"'`*]*([^:\"'`*\n]+?)[\"'`*]*[ \t]*:[ \t]*(\S.*)$", re.MULTILINE)


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
            return nothing(path)
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
                return string(schema)
            case kind:
                return SCALARS.get(kind, nothing)(path)

    def _object(self, schema: Schema, path: str, depth: int) -> Answerer:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        # The API puts required properties first, whatever order the schema has.
        names = [name for name in properties if name in required]
        names += [name for name in properties if name not in required]
        told = self._judged({name: properties[name] for name in names}, path)
        fields = [
            (name, told.get(name) or self.compile(properties[name], path=f"{path}.{name}", depth=depth + 1))
            for name in names
        ]
        return lambda reading: {name: field(reading) for name, field in fields}

    def _judged(self, properties: Mapping[str, Schema], path: str) -> dict[str, Answerer]:
        """Return what answers the fields that say how sure the first choice among labels is."""
        asked = [name for name in FIELDS if name in properties]
        field, labels = self._first_choice(properties) if asked else ("", {})
        if not field:
            return {}
        nullable = {
            name: self._is_nullable(properties[name])
            for name in asked
            if self._is_judged(name, self._value(properties[name]), labels)
        }
        # Only fields of the whole answer are ever written down.
        return judged(Scorer(labels), "" if path else field, nullable)

    def _first_choice(self, properties: Mapping[str, Schema]) -> tuple[str, dict[str, str]]:
        choices = ((name, self._labels(self._value(part))) for name, part in properties.items() if name not in FIELDS)
        return next(((name, labels) for name, labels in choices if len(labels) > 1), ("", {}))

    def _is_judged(self, name: str, part: Schema, labels: Mapping[str, str]) -> bool:
        """Whether a field is what its name promises: one of the same labels, or a number of any size."""
        if name == RUNNER_UP:
            return self._labels(part).keys() == labels.keys()
        return _type(part) == "number" and not {"enum", "const"} & part.keys()

    def _value(self, schema: Schema) -> Schema:
        """Return what a schema asks for where null is not the answer."""
        schema = self._resolved(schema)
        for _ in range(_DEEPEST):
            branches = schema.get("anyOf") or schema.get("oneOf")
            if not branches or self._labels(schema):
                break
            schema = self._resolved(_told(self._branch(branches), schema))
        return schema

    def _is_nullable(self, schema: Schema) -> bool:
        schema = self._resolved(schema)
        branches = [self._resolved(branch) for branch in schema.get("anyOf") or schema.get("oneOf") or ()]
        kinds = [schema.get("type"), *map(_type, branches)]
        return "null" in kinds or "null" in (schema.get("type") or ()) or None in schema.get("enum", ())

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
