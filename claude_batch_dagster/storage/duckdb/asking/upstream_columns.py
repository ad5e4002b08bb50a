"""What is known of an upstream before a row of it is read: its columns, their types, and who says what a row asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.tables import quoted


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The columns of one upstream, as one definition uses them."""

    builder: RequestBuilder
    types: Mapping[str, str]
    """SQL types of all columns."""
    key_types: Mapping[str, str]
    """SQL types of the key columns, as the output table has them."""
    recoded: frozenset[str] = frozenset()
    """Columns of a frame that were handed over as bytes, for they hold texts that are not UTF-8."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that a prompt needs."""
        return self.builder.columns if self.builder.columns is not None else tuple(self.types)

    @property
    def names(self) -> list[str]:
        """What these columns are called once they are read."""
        return [f"_cb_c{n}" for n in range(len(self.columns))]

    @property
    def in_sql(self) -> bool:
        """Whether SQL can say what a row asks: not what a function makes of it, nor whether bytes are UTF-8."""
        kinds = {self.kind(name) for name in self.columns}
        return isinstance(self.builder.prompt, Template) and "BLOB" not in kinds

    def kind(self, name: str) -> str:
        """Return the SQL type of a column."""
        return {column.lower(): kind for column, kind in self.types.items()}[name.lower()]

    def as_text(self, name: str) -> str:
        """Return the SQL of a column as the text that stands in a prompt."""
        plain = self.kind(name) in {"VARCHAR", "BLOB"}
        return f"u.{quoted(name)}" if plain else f"CAST(u.{quoted(name)} AS VARCHAR)"
