"""Types of columns: which one a field of an output model has, and whether a value fits it."""

import dataclasses
import inspect
import typing
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, NotRequired, Required, Union, get_args, get_origin
from uuid import UUID

import orjson
import pydantic
from pydantic import BaseModel, PlainSerializer, RootModel, WrapSerializer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typing_extensions import ReadOnly, is_typeddict

from claude_batch_dagster.core.asking.keys import INT64
from claude_batch_dagster.core.tables import quoted
from claude_batch_dagster.errors import OutputModelError

SQL_TYPES: Mapping[Any, str] = {
    str: "VARCHAR",
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    Decimal: "DECIMAL(38,10)",
    date: "DATE",
    datetime: "TIMESTAMP WITH TIME ZONE",
    time: "TIME",
    UUID: "UUID",
    **dict.fromkeys(
        (pydantic.AwareDatetime, pydantic.NaiveDatetime, pydantic.PastDatetime, pydantic.FutureDatetime),
        "TIMESTAMP WITH TIME ZONE",
    ),
    **dict.fromkeys((pydantic.PastDate, pydantic.FutureDate), "DATE"),
    pydantic.ByteSize: "BIGINT",
    pydantic.EmailStr: "VARCHAR",
    pydantic.IPvAnyAddress: "VARCHAR",
}
"""Types whose JSON is text or a number that fits such a column."""

TEXTS = (pydantic.AnyUrl, pydantic.HttpUrl, PurePath)
"""Classes whose every kind is text in JSON."""

LISTS = frozenset({list, set, frozenset, Sequence, Iterable, Collection, deque, MutableSequence, AbstractSet})
"""What is a list in JSON, of whatever is in it."""

REQUIRED = frozenset({Required, NotRequired, ReadOnly})
"""What a TypedDict says of a part of it, beside its type."""

SECRET = (pydantic.SecretStr, pydantic.SecretBytes)

ALWAYS_FITTING = frozenset({"VARCHAR", "BOOLEAN", "DOUBLE", "DATE", "TIMESTAMP WITH TIME ZONE", "TIME", "UUID"})
"""Types whose columns have room for whatever pydantic lets pass."""

MAX_DECIMAL = 10**28 - 1
"""The largest number that `DECIMAL(38,10)` holds in any case."""

MAX_EXPONENT = 1_000
"""DuckDB reads none far beyond it (32,768), of 0 and of numbers that round to 0 either."""

Structure = str | list[Any] | dict[str, Any]
"""A SQL type as DuckDB's JSON functions write it: `"BIGINT"`, `["VARCHAR"]`, `{"x": "DOUBLE"}`."""


def sql_type(annotation: Any) -> Structure:
    """Return the SQL type of a Python annotation; JSON for what has no closer match."""
    inner = _unwrapped(annotation)
    if inner is not annotation:
        return sql_type(inner)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _common({type(value) for value in arguments})
    if origin in (Union, UnionType):
        kinds = [sql_type(argument) for argument in arguments if argument is not NoneType]
        return kinds[0] if all(kind == kinds[0] for kind in kinds) else "JSON"
    if (origin in LISTS or (origin is tuple and arguments[1:] == (Ellipsis,))) and arguments:
        return [sql_type(arguments[0])]
    if isinstance(annotation, type):
        return _sql_type_of_class(annotation)
    return "JSON"


def _unwrapped(annotation: Any) -> Any:
    """Return what stands behind another name for a type, and what an annotated one is written as."""
    if hasattr(annotation, "__value__"):  # what `type X = ...` makes, from Python 3.12 on
        return annotation.__value__
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    if get_origin(annotation) in REQUIRED:
        return get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        return _written_as(annotation.__metadata__, get_args(annotation)[0])
    return annotation


def _sql_type_of_class(annotation: type) -> Structure:
    if annotation in SQL_TYPES:
        return SQL_TYPES[annotation]
    if issubclass(annotation, SECRET):
        raise OutputModelError(f"a {annotation.__name__} is written as asterisks; a str would be kept as it is")
    if issubclass(annotation, TEXTS):
        return "VARCHAR"
    if issubclass(annotation, Enum):
        return _common({type(member.value) for member in annotation})
    if issubclass(annotation, RootModel):
        return columns_of(annotation)["root"]
    if issubclass(annotation, BaseModel) and annotation.model_fields:
        return columns_of(annotation)
    return _type_of_parts(annotation)


def _type_of_parts(annotation: type) -> Structure:
    """Return the type of a TypedDict or a dataclass; JSON for what is neither, or writes itself in a way of its own."""
    own = getattr(annotation, "__pydantic_decorators__", None)
    is_own = own is not None and bool(own.field_serializers or own.model_serializers)
    if is_own or not (is_typeddict(annotation) or dataclasses.is_dataclass(annotation)):
        return "JSON"
    try:
        parts = typing.get_type_hints(annotation, include_extras=True)
    except NameError:
        return "JSON"
    hidden = {name for name, one in getattr(annotation, "__pydantic_fields__", {}).items() if one.exclude}
    names = [one.name for one in dataclasses.fields(annotation)] if dataclasses.is_dataclass(annotation) else [*parts]
    return {name: sql_type(parts[name]) for name in names if name not in hidden} or "JSON"


def columns_of(model: type[BaseModel]) -> dict[str, Structure]:
    """
    Return name and type of each field of a model, as the model writes them.

    Raises `OutputModelError`, with the field's name, for what cannot be a column.
    """
    if model.__pydantic_decorators__.model_serializers:
        raise OutputModelError(
            f"the output model {model.__name__} writes itself in a way of its own (model_serializer), so nobody knows "
            "its columns. Let validators change values, or give single fields a field_serializer."
        )
    return {name: _type_of_field(model, name, field) for name, field in model.model_fields.items() if not field.exclude}


def _type_of_field(model: type[BaseModel], name: str, field: FieldInfo) -> Structure:
    try:
        written = _written_as(field.metadata, field.annotation)
        for one in model.__pydantic_decorators__.field_serializers.values():
            if {name, "*"}.intersection(one.info.fields):
                written = _said(one.info.return_type, one.func)
        return sql_type(written)
    except OutputModelError as error:
        raise OutputModelError(f"the field {name!r} of {model.__name__} cannot be a column: {error}") from None


def _written_as(notes: Iterable[Any], annotation: Any) -> Any:
    """Return what a value is written as: what its serializer says that it returns, or else what it is."""
    for note in notes:
        if isinstance(note, (PlainSerializer, WrapSerializer)):
            annotation = _said(note.return_type, note.func)
    return annotation


def _said(return_type: Any, function: Any) -> Any:
    """Return the type that a serializer says it returns; raise `OutputModelError` if it does not say."""
    said = _returned(function) if return_type is PydanticUndefined else return_type
    if said is None:
        raise OutputModelError("its serializer does not say what it returns; annotate that, such as -> str")
    return said


def _returned(function: Any) -> Any:
    """Return the type that a function says it returns, or that is called as one; None if it does not say."""
    if isinstance(function, type):
        return function
    function = inspect.unwrap(getattr(function, "__func__", function))
    said = {name: kind for name, kind in getattr(function, "__annotations__", {}).items() if name == "return"}
    told = type("Told", (), {"__annotations__": said})  # a parameter of which nobody knows the type is no matter
    with suppress(NameError):
        return typing.get_type_hints(told, getattr(function, "__globals__", {}), include_extras=True).get("return")
    return None


def _common(kinds: set[type]) -> str:
    return SQL_TYPES.get(kinds.pop(), "JSON") if len(kinds) == 1 else "JSON"


def holds(kind: Structure, value: Any) -> bool:
    """Whether a column of this type has room for a JSON value."""
    match kind, value:
        case _, None:
            return True
        case str(), _:
            return FITS[kind](value)
        case [item], list():
            return all(holds(item, one) for one in value)
        case dict(), dict():
            return all(holds(field, value.get(name)) for name, field in kind.items())
        case _:
            return False


def shaped(kind: Structure, value: Any) -> Any:
    """Return a JSON value with all parts that its column has, and no others: what it lacks is null."""
    match kind, value:
        case [item], list():
            return [shaped(item, one) for one in value]
        case dict(), dict():
            return {name: shaped(field, value.get(name)) for name, field in kind.items()}
        case _:
            return value


def _read_by(reader: Callable[[str], Any]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            reader(value)
        except (ValueError, TypeError, AttributeError):
            return False
        return True

    return fits


def _is_decimal(value: Any) -> bool:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return False
    return number.is_finite() and abs(number) <= MAX_DECIMAL and abs(int(number.as_tuple().exponent)) <= MAX_EXPONENT


def _is_plain_json(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


FITS: Mapping[str, Callable[[Any], bool]] = {
    "VARCHAR": lambda value: isinstance(value, str),
    "BOOLEAN": lambda value: isinstance(value, bool),
    "BIGINT": lambda value: type(value) is int and value in INT64,
    "DOUBLE": lambda value: type(value) in {int, float},
    "DECIMAL(38,10)": _is_decimal,
    "DATE": _read_by(date.fromisoformat),
    "TIME": _read_by(time.fromisoformat),
    "TIMESTAMP WITH TIME ZONE": _read_by(datetime.fromisoformat),
    "UUID": _read_by(UUID),
    "JSON": _is_plain_json,
}
"""What fits each type, as JSON has it."""


def is_rewritten(annotation: Any) -> bool:
    """Whether a value of this type is written by a serializer of somebody's own, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return True  # whatever it does with what it holds
    notes = getattr(annotation, "__metadata__", ())
    own = any(isinstance(note, (PlainSerializer, WrapSerializer)) for note in notes)
    inner = _unwrapped(annotation) if not notes else annotation
    return own or (inner is not annotation and is_rewritten(inner)) or any(map(is_rewritten, get_args(annotation)))


def ddl(kind: Structure) -> str:
    """Write a type as DuckDB's column definitions do: `["BIGINT"]` is `BIGINT[]`."""
    match kind:
        case str():
            return kind
        case [item]:
            return f"{ddl(item)}[]"
        case dict():
            return f"STRUCT({', '.join(f'{quoted(name)} {ddl(field)}' for name, field in kind.items())})"
        case _:  # pragma: no cover  (no other structure is made)
            raise OutputModelError(f"{kind!r} is not a column type")
