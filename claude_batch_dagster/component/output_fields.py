"""The type of an answer in YAML: its fields with types and descriptions, as a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import BaseModel, Field, create_model

from claude_batch_dagster.component.texts import evaluated, object_at, texts
from claude_batch_dagster.errors import ConfigurationError

Kind = Literal["string", "integer", "number", "boolean", "date", "datetime", "list", "object"]
Plain = Literal["string", "integer", "number", "boolean", "date", "datetime", "list"]
"""What needs no more than to be named; a list is then one of texts."""

PLAIN: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "date": date,
    "datetime": datetime,
    "list": list[str],
}


class OutputField(dg.Model):
    """One field of the answer, and one column of the table."""

    type: Kind = Field(
        default="string",
        description="Type of the field: a text, a number, a flag, a day, a moment, a list of these or of objects, or "
        "an object with fields of its own.",
    )
    description: str | None = Field(
        default=None,
        description="What belongs into it. Claude reads it.",
        examples=["The product the customer names, if any."],
    )
    choices: list[str] | dict[str, str] | None = Field(
        default=None,
        description="The only values it may have, each perhaps with what belongs to it.",
        examples=[["low", "high"], {"low": "can wait a week", "high": "today"}],
    )
    optional: bool = Field(default=False, description="Whether it may be null, where the document does not say.")
    items: Plain | OutputField | None = Field(
        default=None, description="Of a list: what it is a list of; default texts."
    )
    fields: dict[str, Plain | OutputField] | None = Field(default=None, description="Of an object: its fields.")


Output = str | dict[str, Plain | OutputField]
"""A dotted path of a pydantic model, or its fields."""

EXAMPLES = [
    "my_project.models.Ticket",
    {"severity": {"choices": ["low", "high"]}, "product": {"type": "string", "optional": True}, "topics": "list"},
]


def model_of(context: dg.ResolutionContext, output: Output) -> type[BaseModel]:
    """Return the pydantic model that a dotted path or fields in YAML describe."""
    if isinstance(output, str):
        named = evaluated(context, output)
        found = object_at(context, named) if isinstance(named, str) else named
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            raise ConfigurationError(f"{output} is no pydantic model, but {type(found).__name__}.")
        return found
    return _model(context, "Answer", output)


def _model(context: dg.ResolutionContext, name: str, fields: Mapping[str, str | OutputField]) -> type[BaseModel]:
    if not fields:
        raise ConfigurationError("an answer needs a field at least: {summary: string}.")
    made: dict[str, Any] = {field: _field(context.at_path(field), field, said) for field, said in fields.items()}
    for field in made:
        if not field.isidentifier() or field.startswith("_"):
            raise ConfigurationError(f"{field!r} cannot be the name of a field: letters, digits and _, not _ first.")
    return create_model(name, **made)


def _field(context: dg.ResolutionContext, name: str, said: str | OutputField) -> tuple[Any, Any]:
    """Return the type and the description of a field."""
    if isinstance(said, str):
        return PLAIN[said], ...
    choices = [*(said.choices or ())]
    _check(name, said, choices)
    kind: Any = _kind(context, name, said, choices)
    described = [texts(context.at_path("description"), said.description)] if said.description else []
    if isinstance(said.choices, dict):
        lines = [
            f"- {choice}: {texts(context.at_path('choices').at_path(choice), meaning)}"
            for choice, meaning in said.choices.items()
        ]
        described.append("\n".join(["One of:", *lines]))
    default: Any = None if said.optional else ...
    return (kind | None if said.optional else kind), Field(default, description="\n".join(described) or None)


def _check(name: str, said: OutputField, choices: list[str]) -> None:
    """Raise if a field says what cannot be together."""
    of_a_list = said.type == "list"
    problem = None
    if choices and said.type not in {"string", "list"}:
        problem = f"choices are texts, but its type is {said.type}. Leave the type out"
    elif said.choices is not None and len({choice.lower() for choice in choices}) < max(2, len(choices)):
        problem = "choices are two or more, and differ in more than case"
    elif said.items is not None and not of_a_list:
        problem = "items are of a list. Write type: list"
    elif said.items is not None and choices:
        problem = "a list has choices or items. Leave one out, or give the items their choices"
    elif (said.fields is not None) != (said.type == "object"):
        problem = "an object has fields, and nothing else has. Write type: object with fields:"
    if problem:
        raise ConfigurationError(f"output field {name}: {problem}.")


def _kind(context: dg.ResolutionContext, name: str, said: OutputField, choices: list[str]) -> Any:
    match said.type:
        case "object":
            return _model(context.at_path("fields"), name.title().replace("_", ""), said.fields or {})
        case "list" if choices:
            return list[Literal[tuple(choices)]]  # type: ignore[misc]
        case "list":
            kind, told = _field(context.at_path("items"), name, said.items or "string")
            inner: Any = kind if told is ... or told.description is None else Annotated[kind, told]
            return list[inner]
        case _ if choices:
            return Literal[tuple(choices)]
        case plain:
            return PLAIN[plain]
