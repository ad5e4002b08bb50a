"""From the text of an answer to validated columns."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import chain, repeat
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, PydanticUndefinedAnnotation, RootModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from claude_batch_dagster.core.asking.schema_rules import check_expressible
from claude_batch_dagster.core.collecting.column_types import (
    ALWAYS_FITTING,
    Structure,
    columns_of,
    ddl,
    holds,
    is_rewritten,
    shaped,
)
from claude_batch_dagster.errors import OutputModelError

BOOKKEEPING: Mapping[str, str] = {
    "status": "VARCHAR",
    "error": "VARCHAR",
    "partition_key": "VARCHAR",
    "batch_id": "VARCHAR",
    "custom_id": "VARCHAR",
    "request_hash": "VARCHAR",
    "model": "VARCHAR",
    "stop_reason": "VARCHAR",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cost_usd": "DOUBLE",
    "attempt": "INTEGER",
    "answered_at": "TIMESTAMP WITH TIME ZONE",
    "service_tier": "VARCHAR",
}
"""The columns that follow the key and the output fields, with their SQL types."""

BOOKKEEPING_MEANING: Mapping[str, str] = {
    "status": "What became of the row: succeeded, invalid, truncated, refused, errored, expired, canceled, "
    "missing, rejected or blocked.",
    "error": "What happened and what to do, in one sentence; null for a plain success.",
    "partition_key": "Dagster partition key of the row; null without partitions.",
    "batch_id": "The Message Batch that carried the row; live_... for rows asked through the Messages API.",
    "custom_id": "The request within the batch.",
    "request_hash": "Hash of what was asked.",
    "model": "The model that answered.",
    "stop_reason": "Why the model stopped.",
    "input_tokens": "Tokens of the request, cached ones included.",
    "output_tokens": "Tokens of the answer, thinking included.",
    "cost_usd": "Cost of this answer in US dollars; 0 for an answer shared with an equal request.",
    "attempt": "How often this question had been asked when this came back.",
    "answered_at": "When the batch ended.",
    "service_tier": "How the row was asked: batch, or standard for the Messages API, at its price.",
}
"""One sentence for each bookkeeping column."""

OWN_WAYS = ("json_encoders", "ser_json_temporal", "ser_json_timedelta", "ser_json_bytes", "ser_json_inf_nan")
"""Settings of a model that change how values are written."""

MISSPELLED = frozenset({"literal_error", "enum", "union_tag_invalid"})
"""Errors of pydantic that a difference in capitalization alone can cause."""


class InvalidOutputError(Exception):
    """The answer does not fit the output model; the message says where."""


@dataclass(frozen=True)
class OutputSchema:
    """A pydantic model as columns of a table, and as the judge of answers."""

    model: type[BaseModel]

    def __post_init__(self) -> None:
        given: Any = self.model  # not everybody checks types
        if not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise OutputModelError(f"output= takes a pydantic model, a class derived from BaseModel; got {given!r}.")
        try:
            self.model.model_rebuild()  # parts that are defined below it are known by now
        except PydanticUndefinedAnnotation as error:
            raise OutputModelError(
                f"the output model {given.__name__} has a part of which nobody knows what it is: {error.name}. Define "
                f"that first, or call {given.__name__}.model_rebuild() where both are known."
            ) from None

    @cached_property
    def columns(self) -> dict[str, Structure]:
        """Name and SQL type of each output field, in order."""
        if issubclass(self.model, RootModel):
            raise OutputModelError(
                f"the output model {self.model.__name__} is not an object with fields; wrap it in one."
            )
        try:
            return columns_of(self.model)
        except RecursionError:
            raise OutputModelError(
                f"the output model {self.model.__name__} refers to itself, so it cannot be laid out as columns. "
                "Nest models to a fixed depth."
            ) from None

    @cached_property
    def closed(self) -> tuple[str, ...]:
        """The fields with a closed list of values, but those that may be something else, or null."""
        fields = self.model.model_fields.items()
        return tuple(name for name, field in fields if _values(field.annotation))

    @property
    def categorical(self) -> str | None:
        """The first field with a closed list of values: the one whose distribution is worth a look."""
        return next(iter(self.closed), None)

    def is_closed(self, name: str) -> bool:
        """Whether a field has one of a closed list of values, or some of it, or perhaps null."""
        return _is_closed(self.model.model_fields[name].annotation)

    def choices(self, name: str) -> tuple[str, ...]:
        """Return the values of a field with a closed list, null left out, as the column shows them; else nothing."""
        annotation = self.model.model_fields[name].annotation
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType] if _is_union(annotation) else []
        values = _values(kinds[0] if len(kinds) == 1 else annotation)
        told = (value for value in values if value is not None)
        return tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in told)

    def meaning(self, name: str) -> str | None:
        """Say what a field holds: its description, and its values if their list is closed and not described there."""
        field = self.model.model_fields[name]
        described = field.description or ""
        values = [str(value) for value in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
        listed = "" if all(value in described for value in values) else f"One of: {', '.join(values)}."
        return " ".join(part for part in (described, listed) if part) or None

    def check(self, *, keys: tuple[str, ...]) -> None:
        """Raise `OutputModelError` if columns would collide (names differ in more than case)."""
        seen: dict[str, str] = {}
        groups = {"key": keys, "output field": tuple(self.columns), "bookkeeping column": tuple(BOOKKEEPING)}
        for group, names in groups.items():
            for name in names:
                if other := seen.get(name.lower()):
                    raise OutputModelError(
                        f"the {group} {name!r} collides with the {other} of that name in the output table "
                        "(DuckDB ignores case). Rename it."
                    )
                seen[name.lower()] = group
        if not self.columns:
            raise OutputModelError(f"the output model {self.model.__name__} has no fields; add at least one.")
        check_expressible(self._json_schema)

    def encoded(self, text: str) -> str:
        """
        Return the answer's fields as JSON, as `validate` has them.

        Raises `InvalidOutputError`.
        """
        if (encode := self.encode_plain) is not None:
            with suppress(ValidationError):
                return encode(text)
        return orjson.dumps(self.validate(text)).decode()

    @cached_property
    def encode_plain(self) -> Callable[[str], str] | None:
        """
        What makes JSON of the fields of an answer that fits as it is, or raises pydantic's `ValidationError`.

        None for a model of which it takes more than pydantic's own two passes.
        """
        if not self._is_plain:
            return None
        validate = self.model.__pydantic_validator__.validate_json
        write = self.model.__pydantic_serializer__.to_json
        return lambda text: write(validate(text), by_alias=False).decode()

    @cached_property
    def _is_plain(self) -> bool:
        """Whether every answer that fits the model fits its columns, as the model's own JSON."""
        decorators = self.model.__pydantic_decorators__
        computed = (decorators.computed_fields, decorators.model_serializers, decorators.field_serializers)
        notes = (Annotated[field.annotation, *field.metadata, None] for field in self.model.model_fields.values())
        fields, config = self.model.model_fields.values(), self.model.model_config
        left_out = any(getattr(field, "exclude_if", None) is not None for field in fields)
        otherwise = config.get("extra") == "allow" or any(name in config for name in OWN_WAYS)
        others = otherwise or left_out or any(computed) or any(map(is_rewritten, notes))
        return not others and all(isinstance(kind, str) and kind in ALWAYS_FITTING for kind in self.columns.values())

    def validate(self, text: str) -> dict[str, Any]:
        """
        Return the answer's fields as JSON values.

        The capitalization of enum values is not guaranteed by the API (Claude docs, "Structured
        outputs"), so an answer that only differs in it is accepted. Raises `InvalidOutputError`.
        """
        try:
            answer = self.model.model_validate_json(text)
        except ValidationError as error:
            answer = self._validate_tolerantly(text, error)
        dumped = answer.model_dump(mode="json", by_alias=False, warnings=False)  # what does not fit is told below
        values = {name: shaped(kind, dumped.get(name)) for name, kind in self.columns.items()}
        for name, kind in self.columns.items():
            if not holds(kind, values[name]):
                raise InvalidOutputError(f"field {name!r}: what it is written as does not fit the column {ddl(kind)}")
        return values

    def _validate_tolerantly(self, text: str, error: ValidationError) -> BaseModel:
        if MISSPELLED.intersection(problem["type"] for problem in error.errors()):
            recased = _recased(from_json(text), self._json_schema, self._json_schema.get("$defs", {}))
            try:
                return self.model.model_validate_json(to_json(recased, inf_nan_mode="constants"))
            except ValidationError as still_wrong:
                error = still_wrong
        raise InvalidOutputError(self._problem(error)) from None

    def _problem(self, error: ValidationError) -> str:
        """Say where and how an answer is wrong, without repeating what it says: not even names it made up."""
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in self._names)
        what = _meaning(first)
        return f"field {where!r}: {what}" if where else what

    @cached_property
    def _names(self) -> frozenset[str]:
        """Names of fields, at any depth, as answers spell them."""
        objects = (self._json_schema, *self._json_schema.get("$defs", {}).values())
        return frozenset(name for schema in objects for name in schema.get("properties", {}))

    @cached_property
    def _json_schema(self) -> dict[str, Any]:
        return self.model.model_json_schema()


def _values(annotation: Any) -> tuple[Any, ...]:
    """Return all values of a type that lists them."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(member.value for member in annotation)
    return (True, False) if annotation is bool else ()


def _is_closed(annotation: Any) -> bool:
    parts = [part for part in get_args(annotation) if part not in {NoneType, ...}]
    return bool(_values(annotation)) or (bool(parts) and all(map(_is_closed, parts)))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, UnionType}


def _recased(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """Return the value with every enum string spelled as the schema spells it."""
    if reference := schema.get("$ref"):
        return _recased(value, definitions.get(str(reference).rsplit("/", 1)[-1], {}), definitions)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        value = _recased(value, branch, definitions)
    match value:
        case str():
            allowed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
            spelled = {str(item).lower(): item for item in allowed}
            return spelled.get(value.lower(), value)
        case list():
            kinds = chain(schema.get("prefixItems", ()), repeat(schema.get("items", {})))
            return [_recased(item, kind, definitions) for item, kind in zip(value, kinds, strict=False)]
        case dict():
            properties, others = schema.get("properties", {}), schema.get("additionalProperties")
            other = others if isinstance(others, dict) else {}
            return {name: _recased(item, properties.get(name, other), definitions) for name, item in value.items()}
        case _:
            return value


def _meaning(problem: ErrorDetails) -> str:
    match problem:
        case {"type": "json_invalid"}:
            return "the answer is not JSON"
        case {"type": "union_tag_invalid", "ctx": {"expected_tags": expected}}:
            return f"its kind should be one of {expected}"
        case _:
            return problem["msg"]
