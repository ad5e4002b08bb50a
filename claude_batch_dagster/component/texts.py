"""Texts of a YAML file: with template variables, from a file beside it, or out of the environment."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from jinja2 import Environment, StrictUndefined, TemplateError, Undefined
from pydantic import Field, StringConstraints

from claude_batch_dagster.errors import ClaudeBatchError, ConfigurationError

Templated = Annotated[str, StringConstraints(pattern=r"\{\{.*\}\}")]
"""A template variable in place of a number, a flag or an object: `{{ ... }}`."""

Made = TypeVar("Made")

OF_THE_ENVIRONMENT = re.compile(r"""\s*\{\{\s*env(?:\.(?P<name>\w+)|\(\s*['"](?P<called>\w+)['"]\s*\))\s*\}\}\s*""")


@contextmanager
def located(context: dg.ResolutionContext, *path: str, instead: str | None = None) -> Iterator[None]:
    """
    Raise what is wrong with an attribute as Dagster does: with file, line and the text that stands there.

    With `instead` that is said in place of the text, which may be a secret.
    """
    try:
        yield
    except ClaudeBatchError as error:
        tree = context.source_position_tree
        if tree is None:
            raise
        at = [*context.path, *path]
        where = tree.source_error(yaml_path=at, inline_error_message=str(error), value_error=True)
        place = f"{where.file_name}:{where.start_line_no} - {'.'.join(map(str, at))}"
        said = where.snippet if instead is None else f"{error} {instead}"
        raise ResolutionException(f"{place}\n{said}\n") from error


class TextFile(dg.Model):
    """A text in a file."""

    path: str = Field(
        description="Path of the file, from the folder of this YAML file on. Its text is taken as it is.",
        examples=["prompt.md"],
    )


Text = str | TextFile
"""A text, or where it is."""


def _said(value: Any) -> Any:
    """Let nothing that is not there become a word of a text."""
    if value is None:
        raise ConfigurationError("a template variable in it is not set. Set it, or write the text itself.")
    return value


_TEXTS = Environment(  # noqa: S701  (no HTML is made)
    undefined=StrictUndefined, keep_trailing_newline=True, finalize=_said
)
"""Fills in texts. Dagster's own way takes a text that reads as a number for one, and what is undefined for nothing."""

_ALONE = re.compile(r"\s*\{\{(?P<expression>(?:(?!\}\}|\{\{).)*)\}\}\s*", re.DOTALL)


def is_template(text: str) -> bool:
    """Whether there is anything to fill in."""
    return "{{" in text or "{%" in text


def rendered(context: dg.ResolutionContext, text: str) -> str:
    """Return a text with its template variables filled in, and otherwise as it is written, byte by byte."""
    if not is_template(text):
        return text
    try:
        return _TEXTS.from_string(text).render(**context.scope)
    except TemplateError as error:
        raise ConfigurationError(f"its template variables cannot be filled in: {error.message}.") from error


def evaluated(context: dg.ResolutionContext, text: str) -> Any:
    """Return what a text stands for: the object that a template variable alone is, or the text."""
    alone = _ALONE.fullmatch(text)
    if alone is None:
        return rendered(context, text)
    try:
        value = _TEXTS.compile_expression(alone["expression"], undefined_to_none=False)(**context.scope)
    except TemplateError as error:
        raise ConfigurationError(f"its template variables cannot be filled in: {error.message}.") from error
    if isinstance(value, Undefined):
        raise ConfigurationError(f"there is no template variable {alone['expression'].strip()}.")
    return _said(value)


def texts(context: dg.ResolutionContext, value: Any) -> Any:
    """Return a text, or texts in a list or by name, with their template variables filled in."""
    with located(context):
        if isinstance(value, str):
            return rendered(context, value)
    if isinstance(value, dict):
        return {name: texts(context.at_path(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [texts(context.at_path(n), item) for n, item in enumerate(value)]
    return value


def path_of(context: dg.ResolutionContext, file: TextFile) -> Path:
    """Return where a file is."""
    return context.resolve_source_relative_path(rendered(context.at_path("path"), file.path))


def text_of(context: dg.ResolutionContext, text: Text) -> str:
    """Return a text as it will be used."""
    if isinstance(text, str):
        return rendered(context, text)
    try:
        return path_of(context, text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"{text.path} cannot be read: {reason}. Its path begins at this YAML file.") from error


def filled(context: dg.ResolutionContext, value: Any) -> Any:
    """Return a value of YAML with what its template variables stand for: numbers, flags and objects among them."""
    if isinstance(value, dict):
        return {name: filled(context.at_path(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(context.at_path(n), item) for n, item in enumerate(value)]
    if isinstance(value, str) and is_template(value):
        with located(context):
            return evaluated(context, value)
    return value


def number(value: Any, name: str) -> Any:
    """Return a number that came as a text, as out of the environment; raise `ConfigurationError` for another text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if set(value) & set(".eE") else int(value)
    except ValueError:
        raise ConfigurationError(f"{name} is {value!r}, not a number.") from None


def made_of(context: dg.ResolutionContext, said: Any, kind: type[Made], make: Callable[[Any], Made]) -> Made | None:
    """
    Return the object that YAML describes, which `make` makes of its settings, or that a template variable is.

    Raises `ResolutionException` for one that cannot be.
    """
    if said is None:
        return None
    with located(context):
        if isinstance(said, str):
            found = evaluated(context, said)
            name = str(context.path[-1])
            check_kind(found, kind, name, f"our_{name}")
            return cast("Made", found)
        return make(filled(context, said.model_dump()))


def setting_of(context: dg.ResolutionContext, value: Any) -> Any:
    """Return a text of a resource: a variable of the environment as `EnvVar`, so that Dagster never stores it."""
    if isinstance(value, str) and (found := OF_THE_ENVIRONMENT.fullmatch(value)):
        return dg.EnvVar(found["name"] or found["called"])
    if isinstance(value, dict):
        return {name: setting_of(context.at_path(name), item) for name, item in value.items()}
    return filled(context, value)


def object_at(context: dg.ResolutionContext, dotted: str) -> Any:
    """Import what a dotted path names; with a dot before it, from the module of the YAML file's folder on."""
    path = dotted
    if path.startswith("."):
        load = dg.ComponentLoadContext.from_resolution_context(context)
        path = f"{load.defs_relative_module_name(load.path)}{path}"
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigurationError(f"{dotted!r} is no dotted path. Write the module too: my_project.models.{dotted}.")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{dotted}: there is no module {error.name}.") from error
    except AttributeError as error:
        raise ConfigurationError(f"{dotted}: the module {module} has no {name}.") from error


def function_at(context: dg.ResolutionContext, dotted: str) -> Callable[..., Any]:
    """Import a function."""
    function = object_at(context, dotted)
    if not callable(function):
        raise ConfigurationError(f"{dotted} is {type(function).__name__}, not a function.")
    return function  # type: ignore[no-any-return]


def check_kind(value: Any, kind: type, name: str, example: str) -> None:
    """Raise `ConfigurationError` unless a template variable was the object that it has to be."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(
            f"{name} is of type {type(value).__name__}, not {kind.__name__}. Write a template variable: "
            f"{{{{ {example} }}}}."
        )
