"""Texts of a YAML file: with template variables, from a file beside it, or out of the environment."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from pydantic import Field, StringConstraints

from claude_batch_dagster.errors import ClaudeBatchError, ConfigurationError

Templated = Annotated[str, StringConstraints(pattern=r"\{\{.*\}\}")]
"""A template variable in place of a number, a flag or an object: `{{ ... }}`."""

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


def rendered(context: dg.ResolutionContext, text: str) -> str:
    """Return a text with its template variables filled in, and otherwise as it is written, byte by byte."""
    if "{{" not in text and "{%" not in text:
        return text  # rendering would take "1" for a number, and the last end of line away
    value = context.resolve_value(text)
    if value is None:
        raise ConfigurationError(f"{text.strip()} is not set. Set it, or write the text itself.")
    filled = value if isinstance(value, str) else str(value)
    return filled + "\n" if text.endswith("\n") and not filled.endswith("\n") else filled


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
    """Return a value of YAML with the template variables of all of its texts filled in."""
    if isinstance(value, dict):
        return {name: filled(context.at_path(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(context.at_path(n), item) for n, item in enumerate(value)]
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        return context.resolve_value(value)
    return value


def setting_of(context: dg.ResolutionContext, value: Any) -> Any:
    """Return a setting of a resource: a variable of the environment as `EnvVar`, so that Dagster never stores it."""
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
