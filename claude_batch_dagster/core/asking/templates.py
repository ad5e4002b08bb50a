"""Prompt templates: documents are substituted into them, never formatted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from claude_batch_dagster.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Template:
    r"""
    Text with the names of columns in braces: `"Summarize:\\n{text}"`.

    A name is a plain Python identifier; `{{` and `}}` stand for braces. Whatever a document holds
    (braces, percent signs, code) arrives byte-identical, since only the template is ever parsed.
    """

    source: str
    parts: tuple[tuple[str, int | None], ...]
    """Literal text, and the place in `columns` of the value that follows it (None at the end)."""
    columns: tuple[str, ...]
    """The columns named, in order of first appearance."""

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Read a template; raise `TemplateError` for anything but plain names of columns."""
        parts: list[tuple[str, str | None]] = []
        try:
            source.encode()
        except UnicodeEncodeError as error:
            raise TemplateError(
                f"the prompt template cannot be sent: character {error.start} is half of a surrogate pair. Remove it."
            ) from None
        try:
            for literal, name, spec, conversion in Formatter().parse(source):
                if name is not None:
                    _check_plain(name, spec, conversion)
                parts.append((literal, name))
        except ValueError as error:
            if isinstance(error, TemplateError):
                raise
            raise TemplateError(
                f"the prompt template cannot be read ({error}). Write {{{{ and }}}} for braces "
                "that are part of the text, for example of a JSON example."
            ) from error
        columns = tuple(dict.fromkeys(name for _, name in parts if name is not None))
        placed = ((literal, None if name is None else columns.index(name)) for literal, name in parts)
        return cls(source, tuple(placed), columns)

    @property
    def beginning(self) -> str:
        """The text before the first column."""
        first = next((n for n, (_, place) in enumerate(self.parts) if place is not None), len(self.parts))
        return "".join(literal for literal, _ in self.parts[: first + 1])

    def fill(self, row: Mapping[str, Any]) -> str:
        """Return the text with each name replaced by the row's value."""
        return self.join(self.values_of(row))

    def join(self, values: Sequence[str]) -> str:
        """Return the text with each name replaced by its value, one for each of `columns`."""
        return "".join([literal if place is None else literal + values[place] for literal, place in self.parts])

    def values_of(self, row: Mapping[str, Any]) -> list[str]:
        """Return the row's part of the text: the value of each column, once."""
        return [as_text(row[name]) for name in self.columns]


def _check_plain(name: str, spec: str | None, conversion: str | None) -> None:
    if not name.isidentifier() or spec or conversion:
        shown = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        raise TemplateError(
            f"the prompt template holds {{{shown}}}, which is not the plain name of a column. "
            "Use names such as {text} only (rename other columns with sql=). "
            "Write {{ and }} for braces that are part of the text."
        )


def as_text(value: Any) -> str:
    """Return a database value as the text that stands in a prompt; bytes must be UTF-8."""
    return value.decode() if isinstance(value, bytes) else str(value)
