"""A DuckDBResource of the user's own class is used as it is: what it attaches, loads or sets is there for us too."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import build_new_documents_sensor

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

UPSTREAM = "SELECT * FROM elsewhere.main.letters"


class Attaching(DuckDBResource):
    """Has another database beside the warehouse."""

    beside: str

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse with the other one attached."""
        with super().get_connection() as connection:
            connection.execute(f"ATTACH IF NOT EXISTS '{self.beside}' AS elsewhere (READ_ONLY)")
            yield connection


class OpeningOtherwise(Attaching):
    """Opens the file itself, with settings that nobody else has, and logs what goes wrong meanwhile."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse with the other one attached."""
        connection = duckdb.connect(self.database, config={"default_null_order": "nulls_first"})
        try:
            connection.execute(f"ATTACH IF NOT EXISTS '{self.beside}' AS elsewhere (READ_ONLY)")
            yield connection
        except Exception:  # as people do who mean only to log it
            logging.getLogger(__name__).exception("something went wrong")


class Tidy(Attaching):
    """Attaches without looking, and has something to do in the end."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse with the other one attached."""
        with DuckDBResource.get_connection(self) as connection:
            connection.execute(f"ATTACH '{self.beside}' AS elsewhere (READ_ONLY)")
            try:
                yield connection
            finally:
                connection.execute("DETACH elsewhere")


@pytest.fixture
def beside(tmp_path: Path) -> str:
    """Return the path of another database, which holds the documents."""
    path = str(tmp_path / "beside.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE letters AS SELECT 'a' AS id, 'the tax on tea' AS text")
    return path


@pytest.fixture
def declare(classification: Declare) -> Declare:
    """Return a function that declares the labels of what is in the other database."""
    return lambda **options: classification(partitions_def=None, sql=UPSTREAM, **options)


@pytest.mark.verify
@pytest.mark.parametrize("kind", [Attaching, OpeningOtherwise, Tidy])
def test_what_it_attaches_is_there(
    empty_world: "DagsterWorld", beside: str, declare: Declare, kind: type[Attaching]
) -> None:
    """Documents of a database that the resource attaches are read and answered, and nothing is left open."""
    database = kind(database=empty_world.database, beside=beside)

    empty_world.run(declare(), database=database)

    assert empty_world.answers() == [("a", "economy", "succeeded")]
    with duckdb.connect(beside) as connection:  # READ_ONLY no more: the run has let go of it
        connection.execute("DELETE FROM letters")


@pytest.mark.sampled
@pytest.mark.parametrize("kind", [Attaching, OpeningOtherwise, Tidy])
def test_an_error_is_an_error(
    empty_world: "DagsterWorld", beside: str, declare: Declare, kind: type[Attaching]
) -> None:
    """What goes wrong while it is open reaches Dagster, also where the resource means to swallow it."""
    asset = declare(key="number")
    database = kind(database=empty_world.database, beside=beside)

    result = empty_world.run(asset, database=database, raises=False)

    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "needs column 'number'" in str(failure.step_failure_data.error)
    assert empty_world.n_posts == 0


def test_a_held_file_is_waited_for(empty_world: "DagsterWorld", beside: str, declare: Declare) -> None:
    """While another connection has the file, it is waited for as ever, and said so in the end."""
    database = Attaching(database=empty_world.database, beside=beside)
    with duckdb.connect(empty_world.database, config={"default_null_order": "nulls_first"}):
        result = empty_world.run(declare(), database=database, raises=False, lock_timeout_seconds=0.2)

    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "is held by another process" in str(failure.step_failure_data.error)


def test_a_sensor_uses_it_too(empty_world: "DagsterWorld", beside: str, declare: Declare) -> None:
    """A look at the upstream query is a look through the resource."""
    sensor = build_new_documents_sensor(declare(), settle_seconds=0)
    resource = empty_world.resource(database=Attaching(database=empty_world.database, beside=beside))

    with dg.build_sensor_context(instance=empty_world.instance, resources={"claude_batch": resource}) as context:
        tick = sensor.evaluate_tick(context)

    assert len(tick.run_requests or ()) == 1
