"""Names of tables and columns, quoted by one function."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from claude_batch_dagster.errors import ConfigurationError

MAX_NAME_BYTES = 255

DUCKDBS_OWN = frozenset({"temp", "system"})
"""Databases that every connection has beside the file."""


def quoted(name: str) -> str:
    """Return a SQL identifier that stands for exactly this name, whatever it holds."""
    if not name or "\x00" in name or len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a table or column: it must have 1 to {MAX_NAME_BYTES} bytes and no NUL."
        )
    return '"' + name.replace('"', '""') + '"'


def check_schemas(database: str, schemas: Iterable[str]) -> None:
    """
    Raise if a schema has the name of the database file, or of a database that DuckDB has in any case.

    DuckDB names a database by its file, up to the first dot, and then does not know which of the two is meant.
    """
    catalog = PurePath(database).name.split(".", maxsplit=1)[0]
    taken = {catalog.lower(), *DUCKDBS_OWN} - {"main"}  # a file of that name is main_db to DuckDB
    for schema in schemas:
        if schema.lower() in taken:
            raise ConfigurationError(
                f"the schema {schema!r} has the name of a database, so DuckDB cannot tell the two apart: it calls the "
                f"file {database!r} {catalog!r}, and has databases temp and system of its own. Nothing was sent. "
                "Rename the file, or give the asset another schema=."
            )


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
