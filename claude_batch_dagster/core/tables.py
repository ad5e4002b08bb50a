"""Names of tables and columns, and texts, as SQL writes them."""

from collections.abc import Iterable
from dataclasses import dataclass

from claude_batch_dagster.errors import ConfigurationError

MAX_NAME_BYTES = 255


def quoted(name: str) -> str:
    """Return a SQL identifier that stands for exactly this name, whatever it holds."""
    if not name or "\x00" in name or len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a table or column: it must have 1 to {MAX_NAME_BYTES} bytes and no NUL."
        )
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    """Return a SQL literal of a text."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Return quoted names with commas between, each behind `prefix` (such as `"u."`)."""
    return ", ".join(prefix + quoted(name) for name in names)


@dataclass(frozen=True, slots=True)
class TableName:
    """A table in a schema."""

    schema: str
    table: str

    @property
    def sql(self) -> str:
        """The name as SQL."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"
