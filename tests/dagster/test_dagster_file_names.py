"""Names that DuckDB takes for something else: a file that is called as a schema in it."""

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("file", "options", "named"),
    [
        ("answers.of.2026.duckdb", {"key_prefix": "answers"}, "answers"),
        ("Public.duckdb", {}, "public"),
        ("claude_batch.duckdb", {}, "claude_batch"),
        ("other.duckdb", {"schema": "temp"}, "temp"),
    ],
    ids=["prefix", "default", "bookkeeping", "duckdb"],
)
def test_f119_a_file_that_is_called_as_a_schema_is_refused(
    world: "DagsterWorld", classification: Declare, file: str, options: dict[str, Any], named: str
) -> None:
    """DuckDB cannot tell the two apart; the run says so before it sends anything, and leaves the file as it is."""
    path = shutil.copyfile(world.database, world.folder / file)
    before = path.read_bytes()

    with pytest.raises(ConfigurationError, match=rf"the schema '{named}' has the name of a database.*Rename the file"):
        world.run(classification(**options), partition="1790", database=DuckDBResource(database=str(path)))

    assert (world.n_posts, path.read_bytes() == before) == (0, True)


@pytest.mark.verify
def test_a_file_called_main_is_a_file_like_any_other(world: "DagsterWorld", classification: Declare) -> None:
    """DuckDB calls that database otherwise, so that its schema `main` can be meant."""
    path = shutil.copyfile(world.database, world.folder / "main.duckdb")

    world.run(classification(schema="main"), partition="1790", database=DuckDBResource(database=str(path)))

    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT status FROM main.answers").fetchall() == [("succeeded",)]
