"""What of a pydantic model a structured output can say (Claude docs, "Structured outputs")."""

from collections.abc import Iterator, Mapping
from typing import Any

from claude_batch_dagster.errors import OutputModelError

MOST_OPTIONAL, MOST_UNIONS = 24, 16
"""Fields with a default, and fields of several types, that one structured output may have, at all depths together."""

TYPED = {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}
"""Any of these says what a value may be."""


def check_expressible(schema: Mapping[str, Any]) -> None:
    """Raise `OutputModelError` if the API could not be told what an answer may be: each would be paid for in vain."""
    definitions = schema.get("$defs", {})
    for name, node in schema.get("properties", {}).items():
        for problem in _problems(node, definitions, frozenset()):
            raise OutputModelError(f"the output field {name!r} {problem}")
    _check_limits(with_descriptions(schema))


def _check_limits(schema: Mapping[str, Any]) -> None:
    """Raise if there are more of some fields than the API compiles; each row would be refused, hours later."""
    fields = [(name, node, one) for one in _objects(schema) for name, node in one["properties"].items()]
    optional = [name for name, _, one in fields if name not in one.get("required", ())]
    unions = [name for name, node, _ in fields if max(len(node.get(one, ())) for one in ("anyOf", "oneOf")) > 1]
    for names, most, what, instead in (
        (optional, MOST_OPTIONAL, "with a default", "Take defaults away"),
        (
            unions,
            MOST_UNIONS,
            "of several types, such as str | None,",
            "Give them one type (an empty text for nothing)",
        ),
    ):
        if len(names) > most:
            raise OutputModelError(
                f"the output model has {len(names)} fields {what} and a structured output takes {most}, with those of "
                f"nested models: {', '.join(names[:3])} ... {instead}, or divide the model between two assets."
            )


def _objects(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what has fields, at any depth."""
    if "properties" in node:
        yield node
    for part in [*_parts(node), *node.get("$defs", {}).values()]:
        yield from _objects(part)


def _parts(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what a node is made of."""
    for name in ("anyOf", "oneOf", "allOf"):
        yield from node.get(name, ())
    yield from node.get("properties", {}).values()
    items = node.get("items")
    if isinstance(items, Mapping):
        yield items


def _problems(node: Mapping[str, Any], definitions: Mapping[str, Any], within: frozenset[str]) -> Iterator[str]:
    if reference := node.get("$ref"):
        if reference not in within:
            yield from _problems(definitions[reference.rsplit("/", 1)[-1]], definitions, within | {reference})
    elif not TYPED & node.keys():
        yield "does not say what it holds. Give it, and what is in it, a type such as str or list[str]."
    elif "prefixItems" in node:
        yield "is a tuple, which a structured output cannot describe. Use a model with a field for each part."
    elif node.get("type") == "object" and node.get("additionalProperties") and not node.get("properties"):
        yield (
            "is a dict, and a structured output has no fields but those it lists, so every answer would be empty. "
            "Use a list of a model with a field for the name and one for the value."
        )
    for part in _parts(node):
        yield from _problems(part, definitions, within)


def with_descriptions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a schema in which nothing that a field says of itself stands beside a reference, where it would be lost.

    It stands around one to an object, and in a copy of anything else, with both descriptions.
    """
    definitions = schema.get("$defs", {})

    def told(node: Any, within: frozenset[str]) -> Any:
        if isinstance(node, list):
            return [told(part, within) for part in node]
        if not isinstance(node, Mapping):
            return node
        reference = node.get("$ref")
        if not isinstance(reference, str) or "description" not in node or reference in within:
            return {name: told(part, within) for name, part in node.items()}
        meant = definitions[reference.rsplit("/", 1)[-1]]
        if "properties" in meant:
            return {"anyOf": [{"$ref": reference}], **{name: part for name, part in node.items() if name != "$ref"}}
        descriptions = dict.fromkeys(one["description"] for one in (node, meant) if "description" in one)
        copy = {**meant, **node, "description": "\n\n".join(descriptions)}
        del copy["$ref"]
        return told(copy, within | {reference})

    return {name: told(part, frozenset()) for name, part in schema.items()}
