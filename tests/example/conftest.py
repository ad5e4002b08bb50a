"""What the tests of the example share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
from dagster_duckdb import DuckDBResource

from example_project.settings import read_settings
from example_project.warehouse import duckdb_resource
from tests.canary import marked

Lines = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty EXAMPLE_HOME, offline, with nothing else set."""
    for name in ("DOCUMENTS", "POLL_SECONDS", "QUIET_PERIOD_SECONDS", "MAX_REQUESTS_PER_BATCH"):
        monkeypatch.delenv(f"EXAMPLE_{name}", raising=False)
    for name in ("API_KEY", "BASE_URL"):
        monkeypatch.delenv(f"ANTHROPIC_{name}", raising=False)
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("EXAMPLE_HOME", str(directory))
    return directory


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Write lines into the file that EXAMPLE_DOCUMENTS names: bytes as they are, a document with the canary in it."""

    def line(given: Any) -> bytes:
        if isinstance(given, dict) and "text" in given:
            given = given | {"text": marked(given["text"])}
        return given if isinstance(given, bytes) else orjson.dumps(given)

    def write(*given: Any) -> Path:
        path = tmp_path / "documents.jsonl"
        path.write_bytes(b"\n".join(map(line, given)))
        monkeypatch.setenv("EXAMPLE_DOCUMENTS", str(path))
        return path

    return write


@pytest.fixture
def database(home: Path) -> DuckDBResource:
    """Return the warehouse of the empty home."""
    return duckdb_resource(read_settings())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return a Dagster instance that is forgotten afterwards."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
