"""Which JSON schemas structured outputs accept."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson

_NO_BOUNDS = frozenset(
    [
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "maxItems", "uniqueItems"),
    ]
)
_WHERE = "output_config.format.schema"
_MOST_OPTIONAL, _MOST_UNIONS = 24, 16
_TOO_COMPLEX = "Schema is too complex for compilation."


@lru_cache(maxsize=256)
def schema_complaint(encoded: bytes) -> str:
    """Return what is wrong with a schema, empty if nothing is."""
    schema = orjson.loads(encoded)
    try:
        # First, for the other rules would not come back from a circle.
        _refuse_recursion(schema, schema, ())
        return next(_complaints(schema), "") or _too_complex(schema)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        return f"{_WHERE}: Invalid schema: {error}"


def _too_complex(schema: Mapping[str, Any]) -> str:
    """Say so if more fields may be left out, or be of several types, than are compiled."""
    objects = [one for one in _all_parts(schema) if "properties" in one]
    optional = sum(len(one["properties"].keys() - set(one.get("required", ()))) for one in objects)
    parts = [part for one in objects for part in one["properties"].values()]
    unions = sum(max(len(part.get(name, ())) for name in ("anyOf", "oneOf")) > 1 for part in parts)
    return _TOO_COMPLEX if optional > _MOST_OPTIONAL or unions > _MOST_UNIONS else ""


def _all_parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for part in _parts(schema):
        yield from _all_parts(part)


def _complaints(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type", "")
    if kind == "object" and schema.get("additionalProperties") is not False:
        yield f"{_WHERE}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if bounds := sorted(_NO_BOUNDS & schema.keys()):
        yield f"{_WHERE}: For '{kind}' type, properties {', '.join(bounds)} are not supported"
    if schema.get("minItems", 0) not in {0, 1}:
        yield f"{_WHERE}: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if "enum" in schema and not schema["enum"]:
        yield f"{_WHERE}: 'enum' must have at least one value"
    for part in _parts(schema):
        yield from _complaints(part)


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("properties", "$defs", "definitions"):
        yield from schema.get(name, {}).values()
    for name in ("anyOf", "allOf", "oneOf"):
        yield from schema.get(name, ())
    if "items" in schema:
        yield schema["items"]


def _refuse_recursion(root: Mapping[str, Any], schema: Mapping[str, Any], trail: tuple[str, ...]) -> None:
    if reference := schema.get("$ref"):
        if reference in trail:
            raise ValueError(f"recursive reference {reference} is not supported")
        _refuse_recursion(root, resolve(root, reference), (*trail, reference))
    for part in _parts({name: value for name, value in schema.items() if name not in {"$defs", "definitions"}}):
        _refuse_recursion(root, part, trail)


def resolve(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """Return what an internal reference points to."""
    if not reference.startswith("#"):
        raise ValueError(f"external reference {reference} is not supported")
    target: Any = root
    for step in filter(None, reference[1:].split("/")):
        target = target[step]
    if not isinstance(target, Mapping):
        raise TypeError(f"{reference} is not a schema")
    return target
