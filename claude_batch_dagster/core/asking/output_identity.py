"""What an output model asks for, in a form of our own: names, types, constraints, descriptions, labels."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

PLAIN = (str, int, float, bool, NoneType)

TEXTUAL = (bytes, date, datetime, time, timedelta, Decimal, UUID, complex)
"""Types whose text says all of a value."""

TOLD = ("title", "description", "examples", "json_schema_extra", "alias", "validation_alias", "discriminator")
"""What a field says of itself, beside its type, that an answer's author gets to know."""


def meaning(model: type[BaseModel]) -> Any:
    """
    Return what answers are asked for, as plain JSON: the same under every version of pydantic and of the SDK.

    A class of the user's own that is no model and no enumeration is known by its name alone; what validators do is
    judged by, not asked for.
    """
    return _of_model(model, ())


def _of_model(model: type[BaseModel], within: tuple[type, ...]) -> Any:
    if model in within:
        return {"the model": within.index(model)}
    fields = {name: _of_field(field, (*within, model)) for name, field in model.model_fields.items()}
    told = {name: model.model_config.get(name) for name in ("title", "json_schema_extra")}
    return _without_none({"fields": list(fields.items()), "doc": _own_doc(model), **_plain(told)})


def _of_field(field: FieldInfo, within: tuple[type, ...]) -> Any:
    told = {name: getattr(field, name) for name in TOLD}
    default = {} if field.is_required() or field.default is PydanticUndefined else {"default": _plain(field.default)}
    return _without_none(
        {
            "type": _of_type(field.annotation, within),
            "constraints": _constraints(field.metadata),
            "required": field.is_required(),
            **_plain(told),
            **default,
        }
    )


def _of_type(kind: Any, within: tuple[type, ...]) -> Any:  # noqa: PLR0911  (one for each kind of annotation)
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "__value__"):  # what `type X = ...` makes, from Python 3.12 on
        return _of_type(kind.__value__, within)
    if isinstance(kind, NewType):
        return _of_type(kind.__supertype__, within)
    if origin is Annotated:
        return _of_annotated(arguments[0], arguments[1:], within)
    if origin is Literal:
        return ["literal", *map(_plain, arguments)]
    if origin in {Union, UnionType}:
        return ["union", *(_of_type(argument, within) for argument in arguments)]
    if origin is not None:
        return [_name(origin), *("..." if one is Ellipsis else _of_type(one, within) for one in arguments)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _of_model(kind, within)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _without_none({"enum": [_plain(member.value) for member in kind], "doc": _own_doc(kind)})
    return _name(kind)


def _of_annotated(kind: Any, notes: tuple[Any, ...], within: tuple[type, ...]) -> Any:
    told = {name: getattr(note, name) for note in notes if isinstance(note, FieldInfo) for name in TOLD}
    constraints = [item for note in notes for item in (note.metadata if isinstance(note, FieldInfo) else [note])]
    return _without_none({"type": _of_type(kind, within), "constraints": _constraints(constraints), **_plain(told)})


def _constraints(notes: Sequence[Any]) -> dict[str, Any]:
    """Merge what annotations such as `Gt(0)` or `MaxLen(5)` say, whatever class says it."""
    told = {name: _plain(value) for note in notes for name, value in _attributes(note)}
    return {name: value for name, value in told.items() if (name, value) != ("min_length", 0)}  # it says nothing


def _attributes(note: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(note) and not isinstance(note, type):
        told: Mapping[str, Any] = {field.name: getattr(note, field.name) for field in dataclasses.fields(note)}
    else:
        told = getattr(note, "__dict__", {})
    for name, value in told.items():
        if value is not None and isinstance(value, (*PLAIN, *TEXTUAL)) and not name.startswith("_"):
            yield name, value


def _own_doc(kind: type) -> str | None:
    """Return what a class says of itself: indentation apart, and not what it inherits."""
    doc = kind.__dict__.get("__doc__")
    return " ".join(doc.split()) or None if isinstance(doc, str) else None


def _name(kind: Any) -> str:
    return str(getattr(kind, "__qualname__", kind))


def _plain(value: Any) -> Any:  # noqa: PLR0911  (one for each kind of value)
    """Return a value as JSON has it; of what it has not, the type, and its text if that holds no address."""
    match value:
        case Enum():
            return _plain(value.value)
        case BaseModel():
            return _plain(value.__dict__)
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case set() | frozenset():
            return sorted(map(repr, value))
        case float() if not math.isfinite(value):
            return ["float", str(value)]
        case _ if isinstance(value, PLAIN):
            return value
        case _ if isinstance(value, TEXTUAL):
            return [_name(type(value)), str(value)]
        case _ if callable(value):
            return _name(value)
        case _:
            return [_name(type(value)), dict(_attributes(value))]


def _without_none(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value not in (None, {}, [])}
